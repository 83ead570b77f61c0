//! `headroom top` in a terminal of its own, which `script` of util-linux makes.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::rig::{Rig, eventually, headroom, policy, signal};

/// What begins and ends the alternate screen, and each picture on it.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";

/// A terminal of 120 by 30 in which a shell says how it is set, runs `top`, and says so again.
struct Terminal {
    process: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn top(rig: &Rig) -> Self {
        let command = format!(
            "stty cols 120 rows 30; stty -g; {} top --server {} --data {}; stty -g",
            headroom(),
            rig.server(),
            rig.data().display()
        );
        let mut process = Command::new("script")
            .args(["--quiet", "--flush", "--command", &command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = process.stdin.take().unwrap();
        let mut out = process.stdout.take().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let all = Arc::clone(&shown);
        std::thread::spawn(move || {
            let (mut bytes, mut some) = (Vec::new(), [0; 4096]);
            while let Ok(n @ 1..) = out.read(&mut some) {
                bytes.extend_from_slice(&some[..n]);
                *all.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        Self { process, keys, shown }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until the last whole picture is as it should be.
    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        eventually(what, || {
            let shown = self.shown.lock().unwrap();
            holds(shown.rsplit(HOME).nth(1)?).then_some(())
        });
    }

    /// How the terminal was set before and after, once it is left.
    fn settings(&mut self) -> (String, String) {
        eventually("the terminal is left", || self.process.try_wait().unwrap());
        let shown = eventually("the end is shown", || {
            let shown = self.shown.lock().unwrap().clone();
            shown.split(LEAVE).nth(1).is_some_and(|after| after.contains(':')).then_some(shown)
        });
        let (before, _) = shown.split_once(ENTER).unwrap();
        (before.trim().to_owned(), shown.rsplit(LEAVE).next().unwrap().trim().to_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn top_shows_filters_explains_and_leaves_the_terminal_as_it_was() {
    let mut rig = Rig::new(&policy(1, 4));
    rig.start_until_ready(1);
    let mut terminal = Terminal::top(&rig);
    terminal.until("the table", |p| p.contains("WORKLOAD") && p.contains("▸ web") && p.contains("q: quit"));
    terminal.press("/nothing");
    terminal.until("nothing fits", |p| p.contains("/nothing▏") && !p.contains("▸ web"));
    terminal.press("\u{1b}");
    terminal.until("all is back", |p| p.contains("▸ web"));
    terminal.press("/we\r");
    terminal.until("what fits stays", |p| p.contains("▸ web") && p.contains("/we "));
    terminal.press("\r");
    terminal.until("it is explained", |p| p.contains("esc: back") && p.contains("targetTracking"));
    terminal.press("q");
    terminal.until("back to the table", |p| p.contains("WORKLOAD"));
    terminal.press("q");
    let (before, after) = terminal.settings();
    assert!(before.contains(':'), "{before}");
    assert_eq!(after, before);
}

/// A signal comes while a key is waited for, when the terminal is raw.
#[test]
fn a_signal_that_ends_top_leaves_the_terminal_as_it_was() {
    let mut rig = Rig::new(&policy(1, 4));
    rig.start_until_ready(1);
    for name in ["TERM", "HUP"] {
        let mut terminal = Terminal::top(&rig);
        terminal.until("the table", |p| p.contains("▸ web"));
        signal(eventually("top runs", || rig.pid_of("top")), name);
        let (before, after) = terminal.settings();
        assert_eq!(after, before, "{name}");
    }
}
