//! Why a replica isn't serving, in words for whoever has to mend it: what failed, why, what to do next.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is gone; how is known to its parent only, and that was an earlier controller.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(9) => write!(f, "was killed by signal 9 (SIGKILL: by hand, or for want of memory)"),
            Self::Signal(11) => write!(f, "was ended by signal 11 (SIGSEGV)"),
            Self::Signal(6) => write!(f, "was ended by signal 6 (SIGABRT)"),
            Self::Signal(15) => write!(f, "was ended by signal 15 (SIGTERM), which headroom didn't send"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unknown => write!(f, "ended (its exit status went to an earlier controller)"),
        }
    }
}

/// Why a replica failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// There is no such program.
    #[error(
        "no such command {command:?} (looked in {}); is it built? is the path relative to the policy file?",
        list(looked_in)
    )]
    CommandNotFound {
        /// The program as the policy names it.
        command: String,
        /// The paths or directories that were tried.
        looked_in: Vec<PathBuf>,
    },
    /// The program is a file that can't be executed.
    #[error("{} is not executable; is it the right file? `chmod +x` it if so", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The working directory is missing.
    #[error("no such working directory {}; create it, or correct `workingDir`", dir.display())]
    NoWorkingDir {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused to start it.
    #[error("starting {command:?} failed: {error}{}", spawn_advice(error))]
    Spawn {
        /// The program as the policy names it.
        command: String,
        /// What the operating system said.
        error: String,
    },
    /// The process ended by itself.
    #[error("{exit} after {}{}{}", short(*after), exit_advice(*exit), said(last_words))]
    Exited {
        /// How.
        exit: Exit,
        /// How long it had lived.
        after: Duration,
        /// Whether it had been ready before.
        was_ready: bool,
        /// The last lines of its log; empty if it wrote nothing.
        last_words: String,
    },
    /// It didn't get ready within its start grace.
    #[error("not ready {} after its start: {probe}; raise `startGrace` if it needs longer{}", short(*grace), said(last_words))]
    NeverReady {
        /// The start grace.
        grace: Duration,
        /// What the last probe met.
        probe: String,
        /// The last lines of its log; empty if it wrote nothing.
        last_words: String,
    },
    /// It was ready, failed its health checks, and didn't recover.
    #[error("unhealthy for {}: {probe}", short(*lasted))]
    Unhealthy {
        /// For how long.
        lasted: Duration,
        /// What the last probe met.
        probe: String,
    },
    /// Another process holds the port it was given.
    #[error(
        "port {port} was taken by another process before the replica could listen on it; it starts again on another port (does the command use $PORT?)"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// No port is left to give.
    #[error(
        "no free port between {first} and {last}; widen the range of ports, or lower the maximum of replicas"
    )]
    NoFreePort {
        /// The first port of the range.
        first: u16,
        /// The last port of the range.
        last: u16,
    },
    /// What is needed before a start failed.
    #[error(
        "not started, since {what} failed: {error}; is the disk full, or the data directory not writable?"
    )]
    Unprepared {
        /// What was done.
        what: String,
        /// What the operating system said.
        error: String,
    },
}

impl Fault {
    /// The stable name of this kind of fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CommandNotFound { .. } => "command-not-found",
            Self::NotExecutable { .. } => "not-executable",
            Self::NoWorkingDir { .. } => "no-working-dir",
            Self::Spawn { .. } => "spawn-failed",
            Self::Exited { .. } => "exited",
            Self::NeverReady { .. } => "never-ready",
            Self::Unhealthy { .. } => "unhealthy",
            Self::PortTaken { .. } => "port-taken",
            Self::NoFreePort { .. } => "no-free-port",
            Self::Unprepared { .. } => "unprepared",
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "an empty PATH".to_owned();
    }
    let texts: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    texts.join(", ")
}

fn spawn_advice(error: &str) -> &'static str {
    if error.contains("Exec format") { "; a script needs a first line like #!/bin/sh" } else { "" }
}

fn exit_advice(exit: Exit) -> &'static str {
    match exit {
        Exit::Code(0) => "; a replica must stay in the foreground",
        _ => "",
    }
}

fn said(last_words: &str) -> String {
    if last_words.is_empty() {
        "; it wrote nothing".to_owned()
    } else {
        format!("; it last wrote: {last_words}")
    }
}

/// A span as people say it; the exact figure is in the record.
fn short(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else if span < Duration::from_secs(120) {
        format!("{:.1} s", span.as_secs_f64())
    } else {
        format!("{} min", span.as_secs() / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_says_what_failed_and_what_to_do() {
        let faults = [
            Fault::CommandNotFound {
                command: "./shop-web".to_owned(),
                looked_in: vec!["/srv/shop/shop-web".into()],
            },
            Fault::CommandNotFound { command: "shop-web".to_owned(), looked_in: vec![] },
            Fault::NotExecutable { path: "/srv/shop/notes.txt".into() },
            Fault::NoWorkingDir { dir: "/srv/nowhere".into() },
            Fault::Spawn { command: "run".to_owned(), error: "Exec format error (os error 8)".to_owned() },
            Fault::Exited {
                exit: Exit::Code(3),
                after: Duration::from_millis(40),
                was_ready: false,
                last_words: "cannot reach the database".to_owned(),
            },
            Fault::Exited {
                exit: Exit::Code(0),
                after: Duration::from_millis(1500),
                was_ready: false,
                last_words: String::new(),
            },
            Fault::Exited {
                exit: Exit::Signal(9),
                after: Duration::from_secs(7200),
                was_ready: true,
                last_words: String::new(),
            },
            Fault::NeverReady {
                grace: Duration::from_secs(60),
                probe: "GET /health answered 503 Service Unavailable".to_owned(),
                last_words: "warming up".to_owned(),
            },
            Fault::Unhealthy {
                lasted: Duration::from_secs(61),
                probe: "no answer to GET /health within 5s".to_owned(),
            },
            Fault::PortTaken { port: 20001 },
            Fault::NoFreePort { first: 20000, last: 20001 },
            Fault::Unprepared {
                what: "opening the log".to_owned(),
                error: "No space left on device".to_owned(),
            },
        ];
        let texts: Vec<String> = faults.iter().map(|f| format!("{}: {f}", f.code())).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }
}
