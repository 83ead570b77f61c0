//! The handle to a supervisor: start it, tell it how many, see what is, stop it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::actor::{Actor, Command, Ground};
use super::adopt::{self, Adoption, Candidate};
use super::clock::Clock;
use super::command::{PORT, REPLICA};
use super::host;
use super::ports::Ports;
use super::record::{Found, Record, Store};
use super::spec::ReplicaSpec;
use super::status::Status;
use super::token::{self, Home, Token};

/// Commands wait in a queue of this length: a controller sends about one per second.
const COMMANDS: usize = 64;

/// How often and how long to wait for a predecessor to let go of the directory: a controller that was
/// killed does so at once, one that is stopping needs a moment.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What a supervisor needs to know beside the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorConfig {
    /// The workload; replicas are called `<workload>-1`, `-2`, ….
    pub workload: String,
    /// Its own directory: the record, the lock and the logs. Kept over restarts.
    pub directory: PathBuf,
    /// Where ports come from.
    pub ports: Ports,
    /// Makes the jitter of back-offs repeatable.
    pub seed: u64,
}

/// What is left of the replicas when a supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing: all are drained for `drain` at most (and no longer than the spec says), told to stop,
    /// and killed if they don't.
    StopAll {
        /// The longest drain.
        drain: Duration,
    },
    /// All: they go on serving, and the next supervisor on the directory adopts them.
    Detach,
}

/// Why a supervisor can't do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The name of the workload makes no file name.
    #[error("the workload name {workload:?} can't name processes and files; use letters, digits, - and _")]
    WorkloadName {
        /// The name.
        workload: String,
    },
    /// Another supervisor is at work.
    #[error("another headroom runs the replicas of {workload:?} (it holds {}); stop it first, or give this one another data directory", directory.display())]
    Held {
        /// The workload.
        workload: String,
        /// The directory.
        directory: PathBuf,
    },
    /// Its directory can't be used.
    #[error("the data directory {} of {workload:?} can't be used; is it writable?", directory.display())]
    Directory {
        /// The workload.
        workload: String,
        /// The directory.
        directory: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The machine can't be looked at.
    #[error("the processes of this machine can't be read; is /proc mounted?")]
    Machine {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The size has changed since it was seen.
    #[error("{desired} replicas are wanted by now, not {seen} as seen; look again before stopping any")]
    Stale {
        /// What the caller had seen.
        seen: u32,
        /// What is.
        desired: u32,
    },
    /// It has been shut down.
    #[error("the supervisor of {workload:?} has been shut down")]
    Ended {
        /// The workload.
        workload: String,
    },
}

/// Keeps a number of replicas of one workload running. Cloning gives another handle to the same.
///
/// When the last handle is dropped the replicas go on running, as with [`Shutdown::Detach`].
#[derive(Debug, Clone)]
pub struct ProcessSupervisor {
    workload: Arc<str>,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Arc<Status>>,
    changes: watch::Receiver<u64>,
}

/// A supervisor that holds its directory and does not run yet. Dropped, it lets go of all it found.
#[derive(Debug)]
pub struct HeldSupervisor {
    supervisor: ProcessSupervisor,
    actor: Actor,
    inbox: mpsc::Receiver<Command>,
}

impl HeldSupervisor {
    /// Lets it keep its replicas.
    #[must_use]
    pub fn run(self) -> ProcessSupervisor {
        tokio::spawn(self.actor.run(self.inbox));
        self.supervisor
    }
}

impl ProcessSupervisor {
    /// Starts a supervisor and adopts what an earlier one left running in its directory. Without such,
    /// there are no replicas until [`set_desired`](Self::set_desired).
    ///
    /// # Errors
    /// If the directory is in use or unusable, or the machine's processes can't be read. A command that
    /// can't be started is no error here but a finding: it may be built later.
    pub async fn start(spec: ReplicaSpec, config: SupervisorConfig) -> Result<Self, SupervisorError> {
        Ok(Self::hold(spec, config).await?.run())
    }

    /// All of a start that can fail: takes the directory and looks at what runs there. No replica is started before it
    /// [runs](HeldSupervisor::run).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn hold(
        spec: ReplicaSpec,
        config: SupervisorConfig,
    ) -> Result<HeldSupervisor, SupervisorError> {
        let workload: Arc<str> = config.workload.as_str().into();
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (actor, status, changes) = Self::actor(spec, config).await?;
        Ok(HeldSupervisor { supervisor: Self { workload, commands, status, changes }, actor, inbox })
    }

    /// Ends the replicas that an earlier supervisor left running for a workload that is wanted no more, with the
    /// default drain and grace; starts none. Returns when they are gone.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn retire(config: SupervisorConfig) -> Result<(), SupervisorError> {
        let nothing = ReplicaSpec::of_nothing();
        let (mut actor, _status, _changes) = Self::actor(nothing, config).await?;
        actor.stop_all(Duration::MAX);
        let (_commands, inbox) = mpsc::channel(COMMANDS);
        actor.run(inbox).await;
        Ok(())
    }

    /// The owner of what an earlier supervisor left in the directory, not running yet.
    async fn actor(
        spec: ReplicaSpec,
        config: SupervisorConfig,
    ) -> Result<(Actor, watch::Receiver<Arc<Status>>, watch::Receiver<u64>), SupervisorError> {
        let SupervisorConfig { workload, directory, ports, seed } = config;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if workload.is_empty() || workload.starts_with('.') || !workload.chars().all(plain) {
            return Err(SupervisorError::WorkloadName { workload });
        }
        let store = hold(&workload, &directory).await?;
        let home = Home::of(store.directory());
        let name = workload.clone();
        let survey = spawn_blocking(move || survey(store, &home, &name)).await;
        let survey = survey.unwrap_or_else(|error| Err(Lost::Machine(io::Error::other(error))));
        let survey = survey.map_err(|lost| match lost {
            Lost::Machine(source) => SupervisorError::Machine { source },
            Lost::Directory(source) => SupervisorError::Directory {
                workload: workload.clone(),
                directory: directory.clone(),
                source,
            },
        })?;

        let ground = Ground {
            workload,
            home: Home::of(survey.store.directory()),
            clock: survey.clock,
            store: Arc::new(survey.store),
            ports,
            seed,
        };
        Ok(Actor::new(spec, ground, survey.record, survey.adoption, survey.damage))
    }

    /// Makes it `to` replicas. Saying so again changes nothing. Returns the generation.
    ///
    /// `seen` is the size this was decided on. If it isn't the size wanted now, fewer are refused: nothing
    /// is stopped on an outdated view. More are not: growth may overtake an earlier change.
    ///
    /// # Errors
    /// [`SupervisorError::Stale`] if refused, [`SupervisorError::Ended`] after a shutdown.
    pub async fn set_desired(&self, to: u32, seen: Option<u32>) -> Result<u64, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::SetDesired { to, seen, reply }).await;
        let answer = if sent.is_ok() { answer.await.ok() } else { None };
        answer
            .ok_or_else(|| self.ended())?
            .map_err(|desired| SupervisorError::Stale { seen: seen.unwrap_or(desired), desired })
    }

    /// The status once it shows the size of `generation`, or of a later one.
    ///
    /// # Errors
    /// [`SupervisorError::Ended`] after a shutdown.
    pub async fn shown(&self, generation: u64) -> Result<Arc<Status>, SupervisorError> {
        let mut statuses = self.status.clone();
        let found = statuses.wait_for(|status| status.generation >= generation).await;
        found.map(|status| Arc::clone(&status)).map_err(|_| self.ended())
    }

    /// Keeps `count` replicas started and warm beside those that serve. Growing takes from them first, and they are
    /// replaced. Saying so again changes nothing.
    ///
    /// # Errors
    /// [`SupervisorError::Ended`] after a shutdown.
    pub async fn keep_warm(&self, count: u32) -> Result<(), SupervisorError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::KeepWarm { count, reply }).await;
        let answer = if sent.is_ok() { answer.await.ok() } else { None };
        answer.ok_or_else(|| self.ended())
    }

    /// Runs `spec` from now on. Rules of life apply at once; another command, environment or directory is
    /// rolled out one replica at a time, each ready before the one it replaces is drained. Replicas that
    /// don't serve are started anew at once.
    ///
    /// A supervisor that adopts replicas of another version rolls its own out in the same way.
    ///
    /// # Errors
    /// [`SupervisorError::Ended`] after a shutdown.
    pub async fn set_spec(&self, spec: ReplicaSpec) -> Result<(), SupervisorError> {
        let sent = self.commands.send(Command::SetSpec { spec: Box::new(spec) }).await;
        sent.map_err(|_| self.ended())
    }

    /// Says that the balancer has nothing in flight to this draining replica any more, so that its drain
    /// ends now. Another replica, or one that isn't draining, is left alone.
    pub async fn drained(&self, replica: &str) {
        // After a shutdown there is nothing to drain.
        let _ = self.commands.send(Command::Drained { replica: replica.to_owned() }).await;
    }

    /// The status as it changes, measurements included (every second while replicas run).
    pub fn statuses(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// What is, at this moment.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// A number that changes whenever the status changes in more than measurements. A poke: it says
    /// "look again", never what happened, so a slow reader misses nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Ends the supervisor, and returns when it has ended: with [`Shutdown::StopAll`] after at most the
    /// drain, the grace after SIGTERM, and a few seconds. After an earlier shutdown it returns at once.
    pub async fn shutdown(&self, how: Shutdown) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Shutdown { how, reply }).await.is_ok() {
            let _ = answer.await;
        }
    }

    fn ended(&self) -> SupervisorError {
        SupervisorError::Ended { workload: self.workload.to_string() }
    }
}

async fn hold(workload: &str, directory: &Path) -> Result<Store, SupervisorError> {
    for _ in 0..LOCK_TRIES {
        match Store::open(directory) {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => sleep(LOCK_PAUSE).await,
            Err(source) => {
                let (workload, directory) = (workload.to_owned(), directory.to_owned());
                return Err(SupervisorError::Directory { workload, directory, source });
            }
        }
    }
    Err(SupervisorError::Held { workload: workload.to_owned(), directory: directory.to_owned() })
}

/// What there was at the start.
struct Survey {
    store: Store,
    clock: Clock,
    record: Record,
    adoption: Adoption,
    damage: Option<String>,
}

enum Lost {
    Directory(io::Error),
    Machine(io::Error),
}

/// Reads record and machine. Blocks.
fn survey(store: Store, home: &Home, workload: &str) -> Result<Survey, Lost> {
    let boot_id = host::boot_id().map_err(Lost::Machine)?;
    let (record, damage) = match store.load().map_err(Lost::Directory)? {
        Found::Record(record) => (Some(record), None),
        Found::Nothing => (None, None),
        Found::Damaged(how) => (None, Some(how)),
    };
    let snapshot = host::snapshot().map_err(Lost::Machine)?;
    let recorded: BTreeSet<u32> =
        record.iter().flat_map(|r| &r.replicas).filter_map(|r| Some(r.process?.pid)).collect();
    let candidates: Vec<Candidate> = snapshot
        .values()
        .filter(|seen| !seen.ended)
        .filter_map(|seen| {
            let pid = seen.id.pid;
            let token = host::variable(pid, token::VARIABLE).map(Token::claimed);
            let matters = token.as_ref().is_some_and(|token| home.owns(token)) || recorded.contains(&pid);
            matters.then(|| Candidate {
                id: seen.id,
                group: seen.group,
                replica: host::variable(pid, REPLICA),
                port: host::variable(pid, PORT).and_then(|port| port.parse().ok()),
                token,
            })
        })
        .collect();
    let adoption = adopt::sort(record.as_ref(), &boot_id, home, workload, &candidates);

    let adopted = || adoption.adopted.iter().map(|(replica, _)| replica);
    let mut record = record.unwrap_or_else(|| {
        let mut record = Record::new(workload, &boot_id);
        record.desired = u32::try_from(adoption.adopted.len()).unwrap_or(u32::MAX);
        record
    });
    // Also where a record was edited by hand: no name is given out twice.
    record.next_index = adopted().map(|replica| replica.index + 1).fold(record.next_index, u32::max);
    record.next_start = adopted().map(|replica| replica.start + 1).fold(record.next_start, u64::max);
    record.boot_id = boot_id;
    let now = host::since_boot().map_err(Lost::Machine)?;
    let clock = Clock::anchored(now, jiff::Timestamp::now());
    Ok(Survey { store, clock, record, adoption, damage })
}
