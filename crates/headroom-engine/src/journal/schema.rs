//! The tables, and how an older journal becomes a newer one.
//!
//! The version is SQLite's `user_version`. [`MIGRATIONS`] holds one script for each step; a journal is brought
//! forward in one transaction, and a later one is refused untouched. A script that has been released is never
//! changed: add one.

use rusqlite::Connection;

/// The step from version n to n + 1 at index n.
const MIGRATIONS: &[&str] =
    &[include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// The version this headroom writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// `HDRM`: tells our files from other SQLite files.
const APPLICATION_ID: i64 = 0x4844_524D;

/// What is in a file that SQLite can open.
pub(crate) enum Found {
    /// Nothing yet.
    Empty,
    /// A journal of this version.
    Ours(i64),
    /// Some other program's tables.
    Foreign,
}

/// Looks without writing.
pub(crate) fn look(db: &Connection) -> rusqlite::Result<Found> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let application: i64 = db.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    Ok(match (application, tables) {
        (APPLICATION_ID, _) => Found::Ours(version),
        (0, 0) => Found::Empty,
        _ => Found::Foreign,
    })
}

/// Settings of a connection that writes.
///
/// `synchronous = NORMAL` with a write-ahead log: what was acknowledged survives the death of the process, `kill
/// -9` included, for it is in the kernel's hands. A power loss may take the last commits since the last checkpoint
/// (never the consistency of the file). That is good enough here: the targets, asked on the next start, are the
/// truth about sizes, and an fsync for each of ten commits a second would wear a disk and stall the loop.
pub(crate) fn prepare_writer(db: &Connection) -> rusqlite::Result<()> {
    // Before the first table, else it has no effect: freed pages can be given back in small portions.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    // SQLite's default, written down: a checkpoint per 4 MB of log takes milliseconds.
    db.pragma_update(None, "wal_autocheckpoint", 1000)?;
    // A log that a long read has let grow shrinks to this again.
    db.pragma_update(None, "journal_size_limit", 16 << 20)?;
    Ok(())
}

/// Makes the tables, or brings an older journal forward.
pub(crate) fn migrate(db: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let steps = MIGRATIONS.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let step = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for script in steps {
        step.execute_batch(script)?;
    }
    step.pragma_update(None, "application_id", APPLICATION_ID)?;
    step.pragma_update(None, "user_version", VERSION)?;
    step.commit()
}
