//! What breaks, and what the journal does then: never silence, never a lost file.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use headroom_core::controller::{Controller, Input, Snapshot};
use headroom_engine::journal::{DataDir, DecisionQuery, Journal, JournalError, Reader, Retention};

use crate::world::{World, open};

/// A journal of two minutes, closed: everything is in the file.
async fn closed_journal() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    World::new().fill(&journal, 130).await;
    journal.close().await.unwrap();
    drop(journal);
    let file = dir.path().join("journal.db");
    assert!(fs::metadata(&file).unwrap().len() > 20 * 4096, "there are pages to damage");
    (dir, file)
}

fn write_at(file: &Path, at: u64, bytes: &[u8]) {
    fs::File::options().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

/// After `damage`, the journal opens anew, and the damaged bytes are kept and named.
async fn is_set_aside(what: &str, damage: impl FnOnce(&Path)) {
    let (dir, file) = closed_journal().await;
    damage(&file);
    let damaged = fs::read(&file).unwrap();
    let (journal, opened) = open(dir.path());
    let aside = opened.set_aside.unwrap_or_else(|| panic!("{what}: nothing was set aside"));
    assert_eq!(opened.last.get(), 0, "{what}");
    assert_eq!(fs::read(&aside.path).unwrap(), damaged, "{what}: every byte is kept");
    assert!(aside.message.contains(&aside.path.display().to_string()), "{what}: {}", aside.message);
    assert!(aside.message.contains("sizes do not"), "{what}: {}", aside.message);
    assert!(journal.restore().await.unwrap().is_none(), "{what}");
    World::new().fill(&journal, 10).await;
    assert!(journal.restore().await.unwrap().is_some(), "{what}: the new journal works");
}

#[tokio::test]
async fn a_corrupt_header_is_set_aside() {
    is_set_aside("header", |file| write_at(file, 0, &[0xAA; 100])).await;
}

/// Half of a page was written and half was not: each half of every page but the first. Either the file is set aside,
/// or the damage lies within texts; then what is answered is right, or it is an error, and never wrong.
#[tokio::test]
async fn a_torn_page_in_the_middle_is_set_aside_or_its_records_are_refused() {
    let (dir, file) = closed_journal().await;
    let (sound, world) = (fs::read(&file).unwrap(), World::after(130));
    let decisions = Reader::open(dir.path()).unwrap().decisions(DecisionQuery::default()).await.unwrap();
    let (mut set_aside, mut refused) = (0, 0);
    for at in (2..2 * sound.len() / 4096).map(|half| half * 2048) {
        let dir = tempfile::tempdir().unwrap();
        let mut damaged = sound.clone();
        damaged[at..at + 2048].fill(0);
        if damaged == sound {
            continue; // The page was empty there.
        }
        fs::write(dir.path().join("journal.db"), &damaged).unwrap();
        let (journal, opened) = open(dir.path());
        if let Some(aside) = opened.set_aside {
            set_aside += 1;
            assert_eq!(fs::read(&aside.path).unwrap(), damaged, "every byte is kept");
            continue;
        }
        match journal.restore().await {
            Ok(restored) => {
                let (snapshot, inputs) = restored.unwrap();
                assert_eq!(restore(snapshot, inputs).snapshot(), world.controller.snapshot(), "torn at {at}");
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error, JournalError::Unreadable { .. }), "torn at {at}: {error}");
            }
        }
        match journal.decisions(DecisionQuery::default()).await {
            Ok(page) => assert_eq!(page, decisions, "torn at {at}"),
            Err(error) => {
                refused += 1;
                assert!(matches!(error, JournalError::Unreadable { .. }), "torn at {at}: {error}");
            }
        }
    }
    assert!(set_aside > 20 && set_aside > refused, "{set_aside} set aside, {refused} refused");
}

fn restore(snapshot: Snapshot, inputs: Vec<Input>) -> Controller {
    let mut restored = Controller::restore(snapshot).unwrap();
    for input in inputs {
        let _ = restored.handle(input);
    }
    restored
}

#[tokio::test]
async fn a_truncated_file_is_set_aside() {
    for part in [3, 2] {
        is_set_aside("truncated", |file| {
            let length = fs::metadata(file).unwrap().len() / 4096 / part * 4096;
            fs::File::options().write(true).open(file).unwrap().set_len(length).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_at_all_is_set_aside() {
    is_set_aside("text", |file| {
        fs::write(file, "not a database, but long enough to be one\n".repeat(500)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn two_damaged_files_are_both_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for n in 0..3 {
        fs::write(dir.path().join("journal.db"), format!("damaged {n} ").repeat(500)).unwrap();
        let (journal, opened) = open(dir.path());
        paths.push(opened.set_aside.unwrap().path);
        journal.close().await.unwrap();
    }
    for (n, path) in paths.iter().enumerate() {
        assert!(fs::read_to_string(path).unwrap().starts_with(&format!("damaged {n} ")));
    }
}

/// A copy of a journal as a crash leaves it: with its log.
async fn crashed_journal() -> (tempfile::TempDir, PathBuf, World) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    world.fill(&journal, 130).await;
    let crashed = tempfile::tempdir().unwrap();
    for file in ["journal.db", "journal.db-wal"] {
        fs::copy(dir.path().join(file), crashed.path().join(file)).unwrap();
    }
    let log = crashed.path().join("journal.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 100_000, "the log holds commits");
    (crashed, log, world)
}

#[tokio::test]
async fn a_crash_leaves_a_log_and_nothing_is_lost() {
    let (dir, _, world) = crashed_journal().await;
    let (journal, opened) = open(dir.path());
    assert_eq!(opened.set_aside, None);
    let (snapshot, inputs) = journal.restore().await.unwrap().unwrap();
    assert_eq!(restore(snapshot, inputs).snapshot(), world.controller.snapshot());
    assert_eq!(journal.replay().await.unwrap().unwrap().difference, None);
}

/// SQLite would pass over a log it can't read without a word, and with it over acknowledged commits.
#[tokio::test]
async fn a_garbage_log_is_kept_and_told() {
    let (dir, log, _) = crashed_journal().await;
    let garbage = b"garbage!".repeat(10_000);
    fs::write(&log, &garbage).unwrap();
    let (journal, opened) = open(dir.path());
    let aside = opened.set_aside.unwrap();
    assert_eq!(fs::read(&aside.path).unwrap(), garbage);
    assert!(aside.message.contains("write-ahead log"), "{}", aside.message);
    World::new().fill(&journal, 10).await;
}

#[tokio::test]
async fn a_log_damaged_in_the_middle_is_read_up_to_there_and_told() {
    let (dir, log, _) = crashed_journal().await;
    let length = fs::metadata(&log).unwrap().len();
    write_at(&log, length / 2, &[0x55; 64]);
    let (journal, opened) = open(dir.path());
    let aside = opened.set_aside.unwrap();
    assert!(aside.message.contains("could be read"), "{}", aside.message);
    let last = opened.last.get();
    assert!((50..250).contains(&last), "about half of 263 inputs: {last}");
    assert_eq!(journal.replay().await.unwrap().unwrap().difference, None, "what is there is whole");
    assert!(journal.restore().await.unwrap().is_some());
}

/// The end of a commit that was being written when the power went: nobody was told of it.
#[tokio::test]
async fn a_log_with_a_torn_end_is_no_damage() {
    let (dir, log, _) = crashed_journal().await;
    let mut bytes = fs::read(&log).unwrap();
    bytes.truncate(bytes.len() - 1000);
    fs::write(&log, bytes).unwrap();
    assert_eq!(open(dir.path()).1.set_aside, None);
}

fn refused(dir: &Path) -> JournalError {
    Journal::open(&DataDir::open(dir).unwrap(), Retention::default()).unwrap_err()
}

#[tokio::test]
async fn a_later_version_is_refused_and_left_untouched() {
    let (dir, file) = closed_journal().await;
    // As a crash of the later headroom leaves it: the version is in the log, not in the file.
    let (before, log) = {
        let db = rusqlite::Connection::open(&file).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        (fs::read(&file).unwrap(), fs::read(dir.path().join("journal.db-wal")).unwrap())
    };
    fs::write(&file, &before).unwrap();
    fs::write(dir.path().join("journal.db-wal"), &log).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, JournalError::Newer { found: 99, known: 3, .. }), "{error}");
    assert!(error.to_string().contains("left untouched") && error.to_string().contains("--data"));
    assert!(matches!(Reader::open(dir.path()).unwrap_err(), JournalError::Newer { .. }));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read(dir.path().join("journal.db-wal")).unwrap(), log);
}

#[tokio::test]
async fn somebody_elses_database_is_refused_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("journal.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = fs::read(&file).unwrap();
    assert!(refused(dir.path()).to_string().contains("some other program's database"));
    assert_eq!(fs::read(&file).unwrap(), before);
}

/// Version 1 is brought forward, with all that is in it.
#[tokio::test]
async fn a_journal_of_version_1_is_read() {
    let (dir, file) = closed_journal().await;
    let version = || -> i64 {
        let db = rusqlite::Connection::open(&file).unwrap();
        db.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap()
    };
    assert_eq!(version(), 3, "a new version: take what it adds away below, too");
    // Without what later versions added it is what version 1 wrote.
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("DROP TABLE raised; DROP TABLE delivery; DROP TABLE progress; PRAGMA user_version = 1")
        .unwrap();
    let journal = open(dir.path()).0;
    assert!(journal.restore().await.unwrap().is_some());
    assert_eq!((journal.raised().await.unwrap(), journal.untold().await.unwrap()), (vec![], vec![]));
    assert!(journal.progress().await.unwrap().is_empty());
    assert_eq!(version(), 3);
}
