//! The data directory: one controller at a time.
//!
//! Two controllers on one directory would both act on the same targets and interleave their records. So the
//! directory carries an advisory lock that the kernel takes back when the process ends, however it ends: there is
//! no stale lock to be removed by hand. The directory is made for its owner alone (mode 0700), for it holds what
//! the services do, and an existing one keeps the mode it has.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The layout of the directory (which files there are, and their names); the journal has a version of its own.
const LAYOUT: u32 = 1;

/// A data directory that belongs to this process. Clones share the lock; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Arc<Lock>,
}

/// Lets go when it is dropped, not when the last copy of the descriptor is closed: a child between its fork and its
/// exec has a copy for a moment.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails, closing does it.
        let _ = self.0.unlock();
    }
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another controller works on it.
    #[error(
        "another headroom {who} works on the data directory {dir}; two would act against each other. Stop that one, \
         or give this one a directory of its own with --data", dir = path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, as `(pid 17)`, where it wrote that down.
        who: String,
    },
    /// A later headroom made it.
    #[error(
        "the data directory {dir} has layout {found}, and this headroom knows layouts up to {LAYOUT}. It was left \
         untouched: use the headroom that made it, or another directory with --data", dir = path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The layout found, as it is written there.
        found: String,
    },
    /// The system refuses.
    #[error(
        "can't {doing} {path}: {source}. headroom keeps its journal there and must be able to write: give the user it \
         runs as that right, or name another directory with --data", path = path.display()
    )]
    Io {
        /// What was tried: `create`, `write`.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Rights that nobody needs: of those outside the group, and to write for the group.
const OTHERS: u32 = 0o027;

impl DataDir {
    /// Makes the directory if there is none, and takes it for this process.
    ///
    /// # Errors
    /// [`DataDirError`]: in use, made by a later headroom, or not writable. Nothing is changed then.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        let failed = |doing, at: &Path| {
            let path = at.to_owned();
            move |source| DataDirError::Io { doing, path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed("create the directory", &path))?;
        let mode = fs::metadata(&path).map_err(failed("look at the directory", &path))?.permissions().mode();
        if mode & OTHERS != 0 {
            tracing::warn!(
                path = %path.display(),
                mode = %format_args!("{:o}", mode & 0o777),
                "others may look into the data directory; chmod 700 keeps them out"
            );
        }
        let lock_path = path.join("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let who = holder(&mut lock).map(|pid| format!("(pid {pid})")).unwrap_or_default();
                return Err(DataDirError::InUse { path, who });
            }
            Err(TryLockError::Error(source)) => {
                return Err(DataDirError::Io { doing: "lock", path: lock_path, source });
            }
        }
        check_layout(&path)?;
        let write_pid = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        // A full disk is no reason to refuse: the lock holds without its text.
        if let Err(error) = write_pid(&mut lock) {
            tracing::warn!(path = %lock_path.display(), %error, "can't note the process id in the lock file");
        }
        Ok(Self { path, _lock: Arc::new(Lock(lock)) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The process that holds the lock, if it has written its id yet.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    // A process id has at most ten digits; anything longer is not ours.
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn check_layout(dir: &Path) -> Result<(), DataDirError> {
    let path = dir.join("layout");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().parse::<u32>().is_ok_and(|found| (1..=LAYOUT).contains(&found)) => Ok(()),
        Ok(text) if !text.trim().is_empty() => {
            let found = text.trim().chars().take(32).collect();
            Err(DataDirError::Newer { path: dir.to_owned(), found })
        }
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DataDirError::Io { doing: "read", path, source })
        }
        // None yet, or one whose writing was cut short.
        Ok(_) | Err(_) => fs::write(&path, format!("{LAYOUT}\n")).map_err(|source| DataDirError::Io {
            doing: "write",
            path,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_controller_refuses_and_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let refused = DataDir::open(dir.path()).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, DataDirError::InUse { .. }), "{text}");
        assert!(text.contains(&format!("(pid {})", std::process::id())) && text.contains("--data"), "{text}");
        let clone = first.clone();
        drop(first);
        assert!(DataDir::open(dir.path()).is_err(), "a clone holds the lock too");
        drop(clone);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_new_directory_is_for_its_owner_alone_and_an_old_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b");
        DataDir::open(&made).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o750)).unwrap();
        DataDir::open(&made).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o750);
    }

    #[test]
    fn a_later_layout_is_refused_and_left_untouched() {
        for (text, fine) in [("1\n", true), ("", true), ("2\n", false), ("0", false), ("banana", false)] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("layout"), text).unwrap();
            let opened = DataDir::open(dir.path());
            assert_eq!(opened.is_ok(), fine, "{text:?}");
            if let Err(error) = opened {
                assert!(matches!(error, DataDirError::Newer { .. }), "{error}");
                assert_eq!(fs::read_to_string(dir.path().join("layout")).unwrap(), text);
            }
        }
    }

    #[test]
    fn what_is_no_directory_is_refused_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let text = DataDir::open(&file).unwrap_err().to_string();
        assert!(text.contains("file") && text.contains("--data"), "{text}");
    }
}
