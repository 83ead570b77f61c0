//! Where replicas write: one file for each start, never a pipe, since the reader of a pipe is the
//! controller, and a replica must outlive it.
//!
//! Bounded two ways: only the last files are kept, and a file that grows too large is moved aside and
//! emptied while its replica goes on appending to it (what it writes between the copy and the cut is
//! lost: the price of not being in its way).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log larger than this is moved to `….old` and emptied, so one replica keeps at most twice this.
const LARGEST: u64 = 16 * 1024 * 1024;

/// So many files of earlier starts are kept for a workload: enough to read back through a crash loop.
const KEPT: usize = 20;

/// So much of the end of a log is quoted in a finding.
const QUOTED: u64 = 600;
const QUOTED_LINES: usize = 3;

/// The log of one start.
pub(crate) fn path(directory: &Path, replica: &str, start: u64) -> PathBuf {
    directory.join(format!("{replica}.{start}.log"))
}

/// Opens a log for the replica to append to.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Removes the oldest logs that are not `in_use`.
pub(crate) fn prune(directory: &Path, in_use: &[PathBuf]) -> io::Result<()> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log && !in_use.contains(&path) {
            logs.push((entry.metadata()?.modified()?, path));
        }
    }
    logs.sort();
    for (_, path) in logs.iter().rev().skip(KEPT) {
        std::fs::remove_file(path)?;
        // There is one only if the log was ever too large.
        let _ = std::fs::remove_file(aside(path));
    }
    Ok(())
}

/// Moves a log that has grown too large aside.
pub(crate) fn bound(path: &Path) -> io::Result<()> {
    bound_at(path, LARGEST)
}

fn bound_at(path: &Path, largest: u64) -> io::Result<()> {
    if std::fs::metadata(path)?.len() > largest {
        std::fs::copy(path, aside(path))?;
        // The replica's own descriptor appends, so it goes on at the new end.
        OpenOptions::new().write(true).open(path)?.set_len(0)?;
    }
    Ok(())
}

/// The last lines of a log, on one line; empty if there are none or it can't be read.
pub(crate) fn last_words(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(QUOTED)))?;
        let mut tail = Vec::new();
        file.take(QUOTED).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = lines[lines.len().saturating_sub(QUOTED_LINES)..].join(" | ");
    // What a replica wrote is shown on a terminal: no escape sequence of its own gets there.
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.old")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn last_words_are_the_last_lines_without_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        for (written, expected) in [
            ("", ""),
            ("one\n", "one"),
            ("one\ntwo\n\n three \nfour", "two | three | four"),
            ("\x1b[31mred\x07", " [31mred "),
        ] {
            std::fs::write(&log, written).unwrap();
            assert_eq!(last_words(&log), expected, "{written:?}");
        }
        std::fs::write(&log, vec![b'x'; 100_000]).unwrap();
        assert_eq!(last_words(&log).len(), 600);
        assert_eq!(last_words(&dir.path().join("none.log")), "");
    }

    #[test]
    fn a_log_over_its_limit_is_moved_aside_while_it_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.1.log");
        let mut replica = open(&log).unwrap();
        replica.write_all(b"12345").unwrap();
        bound_at(&log, 5).unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"12345", "at the limit it stays");
        replica.write_all(b"6").unwrap();
        bound_at(&log, 5).unwrap();
        replica.write_all(b"7").unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"7");
        assert_eq!(std::fs::read(dir.path().join("a.1.log.old")).unwrap(), b"123456");
    }

    #[test]
    fn only_the_last_logs_and_those_in_use_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let logs: Vec<PathBuf> = (0..30).map(|start| path(dir.path(), "web-1", start)).collect();
        for (age, log) in logs.iter().enumerate() {
            let file = open(log).unwrap();
            let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + age as u64);
            file.set_modified(written).unwrap();
        }
        prune(dir.path(), &logs[..1]).unwrap();
        let left: Vec<bool> = logs.iter().map(|log| log.exists()).collect();
        assert!(left[0], "the oldest is in use");
        assert_eq!(left.iter().filter(|left| **left).count(), 1 + KEPT);
        assert!(left[10..].iter().all(|left| *left));
    }
}
