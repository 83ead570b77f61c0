//! What can go wrong with the journal, and what to do then.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why the journal could not do what was asked. Cheap to clone: one failed commit answers several callers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk, or the quota of the user, is full. Nothing of the batch was written; the same batch may be
    /// appended again once there is space.
    #[error(
        "no space is left for the journal {path}. Nothing is acted on that can't be recorded: free space on that file \
         system; headroom goes on by itself then", path = path.display()
    )]
    Full {
        /// The journal's file.
        path: PathBuf,
    },
    /// The file may not be written.
    #[error(
        "the journal {path} can't be written. Check the owner and mode of the file and its directory, and that the file \
         system is not mounted read-only", path = path.display()
    )]
    ReadOnly {
        /// The journal's file.
        path: PathBuf,
    },
    /// A later headroom wrote it.
    #[error(
        "the journal {path} has version {found}, and this headroom knows versions up to {known}. It was left untouched: \
         use the headroom that wrote it, or start afresh with another --data", path = path.display()
    )]
    Newer {
        /// The journal's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version this headroom knows.
        known: i64,
    },
    /// The file is not ours.
    #[error(
        "{path} is some other program's database. It was left untouched: move it away, or name another directory with \
         --data", path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was damaged while it was open.
    #[error(
        "the journal {path} is damaged ({detail}). Restart headroom: it sets the damaged file aside and starts a new one",
        path = path.display()
    )]
    Corrupt {
        /// The journal's file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// A record is there and can't be understood.
    #[error("{what} in the journal can't be read: {detail}")]
    Unreadable {
        /// Which record.
        what: String,
        /// Why not.
        detail: String,
    },
    /// There is no such file.
    #[error("there is no journal at {path}. Name the --data of a controller that has run", path = path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Anything else SQLite says.
    #[error("can't {doing} in the journal {path}", path = path.display())]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// The journal's file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Anything else the system says.
    #[error("can't {doing} {path}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The journal was closed, or its writer is gone.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether the same call may succeed later without a restart: keep the batch and try again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Sqlite { .. } | Self::Io { .. } => true,
            Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Corrupt { .. }
            | Self::Unreadable { .. }
            | Self::Missing { .. }
            | Self::Closed => false,
        }
    }

    /// What SQLite said while `doing` something with the file at `path`.
    pub(crate) fn sqlite(doing: &'static str, path: &std::path::Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, detail: source.to_string() }
            }
            _ => Self::Sqlite { doing, path, source: Arc::new(source) },
        }
    }

    pub(crate) fn io(doing: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn unreadable(what: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::Unreadable { what: what.into(), detail: detail.to_string() }
    }
}
