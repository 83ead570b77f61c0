//! Opening: is the file sound, and if not, where does it go?
//!
//! Never into the void. A file that SQLite can't trust is renamed with its log to `journal.db.damaged-…`, and a
//! new journal is begun; the message says so and what is lost. A later version's file, and one that is no journal,
//! are refused and left as they are: they are somebody's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::JournalError;
use super::schema::{self, Found};
use super::wal;
use super::{beside, open_reader};

/// How long a connection waits for another's lock. Ours never hold one for long; a person's `sqlite3` may.
pub(crate) const BUSY_FOR: Duration = Duration::from_secs(5);

/// Something of the journal that could not be read and was kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What happened, what is lost, what to do: for people.
    pub message: String,
}

/// A sound journal of this version, and what had to be set aside for that.
pub(crate) fn open(path: &Path) -> Result<(Connection, Option<SetAside>), JournalError> {
    let mut set_aside = rescue_log(path)?;
    let detail = match open_sound(path) {
        Ok(db) => return Ok((db, set_aside)),
        Err(JournalError::Corrupt { detail, .. }) => detail,
        Err(error) => return Err(error),
    };
    set_aside = Some(put_aside(path, &detail)?);
    open_sound(path).map(|db| (db, set_aside))
}

fn open_sound(path: &Path) -> Result<Connection, JournalError> {
    let failed = |e| JournalError::sqlite("open", path, e);
    // First without the right to write: what is refused stays as it is, its log too.
    if path.exists() {
        look(&open_reader(path)?, path)?;
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(BUSY_FOR).map_err(failed)?;
    let version = look(&db, path)?;
    if version > 0 {
        check_pages(&db, path)?;
    }
    schema::prepare_writer(&db).map_err(failed)?;
    schema::migrate(&mut db, version).map_err(failed)?;
    restrict(path);
    Ok(db)
}

/// The version of a journal of ours, 0 for an empty file; anything else is refused.
pub(crate) fn look(db: &Connection, path: &Path) -> Result<i64, JournalError> {
    let path = || path.to_owned();
    match schema::look(db).map_err(|e| JournalError::sqlite("open", &path(), e))? {
        Found::Empty => Ok(0),
        Found::Ours(version) if version <= schema::VERSION => Ok(version),
        Found::Ours(found) => Err(JournalError::Newer { path: path(), found, known: schema::VERSION }),
        Found::Foreign => Err(JournalError::Foreign { path: path() }),
    }
}

/// Reads every page. `quick_check` finds what is cut off, out of order or torn where it matters for finding a record;
/// what is torn inside a record's text is found by its seal when it is read. It leaves out the comparison of each
/// index with its table, which takes several times as long.
fn check_pages(db: &Connection, path: &Path) -> Result<(), JournalError> {
    let verdict: String = db
        .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
        .map_err(|e| JournalError::sqlite("check", path, e))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(JournalError::Corrupt { path: path.to_owned(), detail: verdict.replace('\n', " ") })
    }
}

/// Keeps a copy of a log of which SQLite would silently drop a part.
fn rescue_log(path: &Path) -> Result<Option<SetAside>, JournalError> {
    let log = beside(path, "-wal");
    let verdict = match wal::check(&log) {
        Ok(verdict) => verdict,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(JournalError::io("read", &log, e)),
    };
    let wal::Verdict::Broken { readable, lost } = verdict else { return Ok(None) };
    let kept = free_name(&beside(path, ".damaged"), "-wal");
    fs::copy(&log, &kept).map_err(|e| JournalError::io("copy", &log, e))?;
    let message = format!(
        "the write-ahead log of the journal is damaged: {readable} of its commits could be read, {lost} after them \
         could not. What they recorded (the last seconds before the end) is missing from the journal. A copy of the \
         log is at {kept}; delete it when nobody needs it, and check the disk",
        lost = lost.map_or_else(|| "those".to_owned(), |n| n.to_string()),
        kept = kept.display(),
    );
    tracing::error!(path = %kept.display(), "{message}");
    Ok(Some(SetAside { path: kept, message }))
}

fn put_aside(path: &Path, detail: &str) -> Result<SetAside, JournalError> {
    let kept = free_name(&beside(path, ".damaged"), "");
    fs::rename(path, &kept).map_err(|e| JournalError::io("set aside", path, e))?;
    // The log belongs to the file: on a new one it would be nonsense. The index of the log is made from the log.
    let log = beside(path, "-wal");
    if log.exists() {
        fs::rename(&log, beside(&kept, "-wal")).map_err(|e| JournalError::io("set aside", &log, e))?;
    }
    let index = beside(path, "-shm");
    if index.exists() {
        fs::remove_file(&index).map_err(|e| JournalError::io("remove", &index, e))?;
    }
    let message = format!(
        "the journal was damaged ({detail}) and a new one was begun: history, charts, cooldowns and learned start-up \
         times start from nothing; sizes do not, they come from the targets. The damaged file is at {kept}; `sqlite3 \
         {kept} .recover` may bring back parts of it. Delete it when nobody needs it, and check the disk",
        kept = kept.display(),
    );
    tracing::error!(path = %kept.display(), "{message}");
    Ok(SetAside { path: kept, message })
}

/// `base-20261121T093000Z` + `suffix`, with a number if there is one already.
fn free_name(base: &Path, suffix: &str) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    // Two within a second take a restart loop; a hundred don't happen before a person looks.
    let names =
        (1..100).map(|n| if n == 1 { format!("-{now}{suffix}") } else { format!("-{now}.{n}{suffix}") });
    let mut names = names.map(|name| beside(base, &name)).filter(|path| !path.exists());
    names.next().unwrap_or_else(|| beside(base, &format!("-{now}.last{suffix}")))
}

/// The journal is for its owner; best effort, for a mounted volume may not know modes.
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(0o600)) {
        tracing::debug!(%error, "the journal keeps its mode");
    }
}
