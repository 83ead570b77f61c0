//! The IO beside the actor: each task does one thing, has an end, and reports.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::fault::Exit;
use super::host::{self, Census, Hold, ProcessId};
use super::logs;
use super::probe;
use super::spec::{PreloadSpec, Probe};
use super::token::{self, Token};

/// How long SIGKILL is repeated on what a replica left behind. A process outlives that only inside the
/// kernel (a dead disk), where nothing can be done about it but tell people.
const SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks at what is left: short while it is being killed, longer while it may still work.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);
const RESPITE_PAUSE: Duration = Duration::from_millis(50);

/// How often a process is asked after that can't be waited for.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// Which start of which replica a report is about, so that one of an earlier start is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which {
    pub(crate) index: u32,
    pub(crate) start: u64,
}

/// What tasks tell the actor.
#[derive(Debug)]
pub(crate) enum Report {
    /// A probe was answered, or not.
    Probed { which: Which, answer: Result<(), String> },
    /// A replica of the warm pool did what warms it, or not.
    Preloaded { which: Which, answer: Result<(), String> },
    /// These are the replica's processes at the moment before SIGTERM. Comes before `Exited` of what
    /// they die of, so that what loses its parent then isn't lost itself.
    Found { which: Which, members: BTreeSet<ProcessId> },
    /// The replica's own process ended.
    Exited { which: Which, exit: Exit },
    /// All of a replica is gone, but for these.
    Swept { which: Which, left: BTreeSet<ProcessId> },
    /// All processes were looked at.
    Sampled(io::Result<Census>),
}

/// All of one replica, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) root: Option<ProcessId>,
    pub(crate) token: Option<Token>,
    pub(crate) known: BTreeSet<ProcessId>,
}

impl Body {
    /// Looks for everything that is alive of it. Blocks on `/proc`.
    fn find(&self) -> io::Result<BTreeSet<ProcessId>> {
        let snapshot = host::snapshot()?;
        // No process has pid 0, so no process is this root.
        let root = self.root.unwrap_or(ProcessId { pid: 0, start: 0 });
        Ok(host::members(&snapshot, root, &self.known, |pid| match &self.token {
            Some(token) => host::variable(pid, token::VARIABLE).as_deref() == Some(token.as_str()),
            None => false,
        }))
    }

    /// Kills all of it, `after` a respite, until two looks in a row find nothing (one could have missed
    /// a child born behind its back). Returns what is left at the limit.
    pub(crate) async fn sweep(mut self, after: Duration) -> BTreeSet<ProcessId> {
        let kill_at = Instant::now() + after;
        let give_up_at = kill_at + SWEEP_LIMIT;
        let mut clean_looks = 0;
        loop {
            let body = self.clone();
            let kills = Instant::now() >= kill_at;
            let found = spawn_blocking(move || {
                let found = body.find()?;
                if kills {
                    for id in &found {
                        if let Some(hold) = Hold::take(*id)? {
                            hold.kill()?;
                        }
                    }
                }
                io::Result::Ok(found)
            });
            match found.await {
                Ok(Ok(found)) if found.is_empty() => {
                    clean_looks += 1;
                    if clean_looks == 2 {
                        return found;
                    }
                    continue;
                }
                Ok(Ok(found)) => {
                    clean_looks = 0;
                    self.known.extend(&found);
                    if Instant::now() >= give_up_at {
                        return found;
                    }
                }
                // Too few descriptors, say: try again until the limit, and never call it clean.
                Ok(Err(_)) | Err(_) => {
                    if Instant::now() >= give_up_at {
                        return self.known;
                    }
                }
            }
            sleep(if kills { SWEEP_PAUSE } else { RESPITE_PAUSE }).await;
        }
    }
}

/// Starts tasks. Dropping it ends them; what they watch lives on.
#[derive(Debug)]
pub(crate) struct Tasks {
    running: JoinSet<()>,
    reports: mpsc::Sender<Report>,
}

impl Tasks {
    pub(crate) fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { running: JoinSet::new(), reports }
    }

    /// Forgets the tasks that have ended.
    pub(crate) fn tidy(&mut self) {
        while self.running.try_join_next().is_some() {}
    }

    pub(crate) fn probe(&mut self, which: Which, probe: Probe, port: Option<u16>, timeout: Duration) {
        self.report(async move { Report::Probed { which, answer: probe::ask(&probe, port, timeout).await } });
    }

    pub(crate) fn preload(
        &mut self,
        which: Which,
        requests: Vec<PreloadSpec>,
        port: Option<u16>,
        timeout: Duration,
    ) {
        self.report(async move {
            Report::Preloaded { which, answer: probe::preload(&requests, port, timeout).await }
        });
    }

    /// Waits for the end of a child, and reaps it.
    pub(crate) fn watch_child(&mut self, which: Which, mut child: Child) {
        self.report(async move {
            let exit = match child.wait().await {
                Ok(status) => match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Unknown,
                },
                Err(_) => Exit::Unknown,
            };
            Report::Exited { which, exit }
        });
    }

    /// Waits for the end of a process that is no child of this one.
    pub(crate) fn watch_adopted(&mut self, which: Which, id: ProcessId, hold: Hold) {
        self.report(async move {
            if let Err(error) = hold.ended().await {
                // The kernel won't tell, so it is asked: a replica that serves isn't given up for that.
                tracing::warn!(pid = id.pid, %error, "an adopted process is watched by asking");
                while host::runs(id) {
                    sleep(ASK_PAUSE).await;
                }
            }
            Report::Exited { which, exit: Exit::Unknown }
        });
    }

    /// Sends SIGTERM to all of a replica, after a look at who that is.
    pub(crate) fn terminate(&mut self, which: Which, body: Body) {
        let reports = self.reports.clone();
        self.running.spawn(async move {
            let root = body.root;
            let found = spawn_blocking(move || body.find()).await;
            // Without a look, the replica itself at least; its children are swept after.
            let members = match found {
                Ok(Ok(members)) => members,
                Ok(Err(_)) | Err(_) => root.into_iter().collect(),
            };
            // It fails only when the actor has ended, and the next supervisor goes on with the stop.
            let _ = reports.send(Report::Found { which, members: members.clone() }).await;
            for id in members {
                if let Ok(Some(hold)) = Hold::take(id) {
                    // What can't be signalled is killed after the grace, and reported if that fails.
                    let _ = hold.terminate();
                }
            }
        });
    }

    pub(crate) fn sweep(&mut self, which: Which, body: Body, after: Duration) {
        self.report(async move { Report::Swept { which, left: body.sweep(after).await } });
    }

    /// Ends processes that belong to no replica.
    pub(crate) fn sweep_strays(&mut self, strays: BTreeSet<ProcessId>) {
        let body = Body { root: None, token: None, known: strays };
        self.running.spawn(async move {
            body.sweep(Duration::ZERO).await;
        });
    }

    /// Looks at all processes, and keeps logs within their bounds.
    pub(crate) fn sample(&mut self, logs: Vec<PathBuf>) {
        self.report(async move {
            let sampled = spawn_blocking(move || {
                for log in logs {
                    // A log that was deleted by hand is nothing to act on.
                    let _ = logs::bound(&log);
                }
                host::census()
            });
            Report::Sampled(sampled.await.unwrap_or_else(|error| Err(io::Error::other(error))))
        });
    }

    fn report(&mut self, task: impl Future<Output = Report> + Send + 'static) {
        let reports = self.reports.clone();
        self.running.spawn(async move {
            // It fails only when the actor has ended, and then nobody wants to know.
            let _ = reports.send(task.await).await;
        });
    }
}
