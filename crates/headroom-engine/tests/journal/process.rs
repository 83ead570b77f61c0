//! Real processes: one that is killed in the middle of its commits, one without rights.
//!
//! The test program starts itself again as the child; [`CHILD`] tells the child what to do.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use headroom_core::controller::{Controller, Input};
use headroom_core::units::Span;
use headroom_engine::journal::{Batch, DataDir, DataDirError, Reader};

use crate::world::{World, open};

const CHILD: &str = "HEADROOM_TEST_JOURNAL_CHILD";
/// Anyone but root, to whom no mode says no.
const NOBODY: u32 = 65_534;

fn child(program: &Path, test: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(CHILD, dir).stdout(Stdio::piped());
    command
}

/// The child's part of the kill test: goes on where the journal stands and says what was acknowledged, for ever.
async fn write_for_ever(dir: &Path) {
    let (journal, opened) = open(dir);
    assert_eq!(opened.set_aside, None);
    let mut world = World::new();
    match journal.restore().await.unwrap() {
        None => drop(journal.append(world.first()).await.unwrap()),
        Some((snapshot, inputs)) => {
            let mut controller = Controller::restore(snapshot).unwrap();
            for input in inputs {
                let _ = controller.handle(input);
            }
            // The world's clock goes on too: a second for each two inputs is never too early.
            world.at = world.at.plus(Span::seconds(opened.last.get()));
            world.controller = controller;
            let mut batch = Batch::new(world.at);
            let at = world.at;
            world.handle(&mut batch, Input::Restarted { at });
            journal.append(batch).await.unwrap();
        }
    }
    for n in 1_u64.. {
        let mut batch = world.second();
        if n.is_multiple_of(50) {
            batch.snapshot = Some(world.controller.snapshot());
        }
        let seq = journal.append(batch).await.unwrap();
        println!("acknowledged {seq}");
    }
}

/// What was acknowledged is there after `kill -9`, the file is sound, and the lock is free: ten times on one journal.
#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    if let Some(dir) = env::var_os(CHILD) {
        return write_for_ever(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let test = "process::kill_9_loses_nothing_acknowledged";
        let mut child = child(&env::current_exe().unwrap(), test, dir.path()).spawn().unwrap();
        let mut acknowledged = 0;
        // Some lines, more in each round: the kill falls at another place of the log each time.
        let wanted = 40 + round * 17;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            // The harness prints on the same line before the first.
            if let Some((_, seq)) = line.split_once("acknowledged ") {
                acknowledged = seq.parse().unwrap();
                seen += 1;
            }
        }
        child.kill().unwrap();
        // What it said between the last line read and its end counts too.
        for line in lines {
            if let Some((_, seq)) = line.unwrap().split_once("acknowledged ") {
                acknowledged = seq.parse().unwrap_or(acknowledged);
            }
        }
        child.wait().unwrap();

        let (journal, opened) = open(dir.path());
        assert_eq!(opened.set_aside, None, "round {round}");
        assert!(opened.last.get() >= acknowledged, "round {round}: {} < {acknowledged}", opened.last);
        let report = journal.replay().await.unwrap().unwrap();
        assert_eq!(report.difference, None, "round {round}");
        assert_eq!(report.inputs, opened.last.get(), "round {round}: none is missing");
        // Every sample is counted once, whether its second was written before the kill or is counted again.
        let db = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        let names = journal.series_names(&crate::world::web()).await.unwrap();
        assert!(names.contains(&"rps".to_owned()));
        let counted: i64 = db
            .query_row(
                "SELECT sum(count) FROM point_1m JOIN series ON series = id WHERE name = 'rps'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        let sampled: i64 =
            db.query_row("SELECT count(*) FROM input WHERE kind = 1", [], |r| r.get(0)).unwrap();
        assert_eq!(counted, sampled, "round {round}");
        journal.close().await.unwrap();
    }
}

/// The second controller on one directory, as a process: refused, with the first one's process id.
#[tokio::test]
async fn two_controllers_on_one_directory_are_refused() {
    if let Some(dir) = env::var_os(CHILD) {
        let error = DataDir::open(&dir).unwrap_err();
        assert!(matches!(error, DataDirError::InUse { .. }));
        println!("refused: {error}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let test = "process::two_controllers_on_one_directory_are_refused";
    let out = child(&env::current_exe().unwrap(), test, dir.path()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("refused: another headroom"), "{text}");
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    drop(journal);
}

/// A directory, and then a journal, that may only be read.
#[tokio::test]
async fn a_read_only_directory_is_refused_with_the_next_step() {
    if let Some(dir) = env::var_os(CHILD) {
        println!("refused: {}", DataDir::open(&dir).unwrap_err());
        assert!(Reader::open(Path::new(&dir)).is_err());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    // Where the test program can be run by anyone.
    let program = dir.path().join("program");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(dir.path(), 0o755);
    mode(&data, 0o555);
    let mut command = child(&program, "process::a_read_only_directory_is_refused_with_the_next_step", &data);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY);
    }
    let out = command.output().unwrap();
    mode(&data, 0o755);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("refused: can't write") && text.contains("--data"), "{text}");
}
