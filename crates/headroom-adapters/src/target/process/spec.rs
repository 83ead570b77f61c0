//! What a replica is: its command, and the rules of its life. Plain values; reading them from a policy
//! file is the config crate's work.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::token::hex;

/// The shortest interval between two probes of one replica: ten a second tell everything a probe can,
/// and a zero in a policy file must not become a busy loop.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// How one replica of a workload is run, checked and stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSpec {
    command: Vec<String>,
    /// Environment on top of the controller's own (from which every `HEADROOM_…` variable is taken
    /// out). `$PORT` and `${PORT}` are replaced in the values.
    pub env: BTreeMap<String, String>,
    /// Where the replica runs, and what a relative command is relative to.
    pub working_dir: PathBuf,
    /// How it is found out whether the replica can serve.
    pub health: HealthSpec,
    /// How it is stopped.
    pub stop: StopSpec,
    /// How fast a failing replica is started again.
    pub backoff: BackoffSpec,
    /// After this age a replica is replaced, one at a time, its replacement ready first (A29 names
    /// 7 days for machines). `None`, the default, lets it live: a process doesn't rot by age alone.
    pub max_lifetime: Option<Duration>,
    /// What a replica of the warm pool is asked, in this order, before it counts as warm.
    pub preload: Vec<PreloadSpec>,
}

/// One request that warms a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreloadSpec {
    /// Whether it is a POST, with nothing in it; else a GET.
    pub posts: bool,
    /// The path, with its leading slash.
    pub path: String,
}

/// A command without even a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the command of a process target is empty: name the program first, e.g. [./shop-web, --port, \"$PORT\"]"
)]
pub struct EmptyCommand;

impl ReplicaSpec {
    /// A spec with the default rules.
    ///
    /// `command` is the program and its arguments, no shell in between. `$PORT` and `${PORT}` in the
    /// arguments become the replica's port.
    ///
    /// # Errors
    /// [`EmptyCommand`] if there is no program.
    pub fn new(command: Vec<String>, working_dir: impl Into<PathBuf>) -> Result<Self, EmptyCommand> {
        if command.first().is_none_or(String::is_empty) {
            return Err(EmptyCommand);
        }
        Ok(Self { command, working_dir: working_dir.into(), ..Self::of_nothing() })
    }

    /// What ends replicas and starts none: no program, the default rules.
    pub(crate) fn of_nothing() -> Self {
        Self {
            command: Vec::new(),
            env: BTreeMap::new(),
            working_dir: PathBuf::new(),
            health: HealthSpec::default(),
            stop: StopSpec::default(),
            backoff: BackoffSpec::default(),
            max_lifetime: None,
            preload: Vec::new(),
        }
    }

    /// The program and its arguments; never empty of a spec that starts any.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// A hash of what makes a running replica this version of the workload: command, environment,
    /// directory and whether it has a port, not the rules of its life. 64 bits in hexadecimal.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        // Each part goes in with its length, so that ["a b"] and ["a", "b"] differ.
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(self.working_dir.as_os_str().as_encoded_bytes());
        self.command.iter().for_each(|word| add(word.as_bytes()));
        add(b"env");
        for (name, value) in &self.env {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(if self.health.probe.needs_port() { b"port" } else { b"none" });
        hex(&hash.finalize()[..8])
    }
}

/// What a probe of a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `GET` of this path on the replica's port; any 2xx within the timeout is a success.
    Http {
        /// The path, with its leading slash.
        path: String,
    },
    /// A TCP connection to the replica's port counts.
    Tcp,
    /// A worker without a port: being alive counts. It gets no `$PORT` and isn't drained before its
    /// SIGTERM, since no balancer sends it anything.
    Alive,
}

impl Probe {
    /// Whether the replica listens on a port.
    pub fn needs_port(&self) -> bool {
        !matches!(self, Self::Alive)
    }
}

/// How it is found out whether a replica can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSpec {
    /// What is asked.
    pub probe: Probe,
    /// From one probe to the next; 5 s by default (C; A14 has 30 s for machines behind a cloud's
    /// balancer). Below 100 ms it counts as 100 ms. A replica that is starting is probed every 100 ms.
    pub interval: Duration,
    /// How long an answer may take; 5 s by default (A14).
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy replica healthy again; 2 by default (A14). A starting
    /// replica is ready with its first.
    pub healthy: NonZeroU32,
    /// Failures in a row that make a ready replica unhealthy; 3 by default (A14).
    pub unhealthy: NonZeroU32,
    /// How long a replica may take to get ready, and an unhealthy one to recover; 60 s by default. A29
    /// has 300 s, for machines that boot; a process that isn't ready in a minute won't be.
    pub start_grace: Duration,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            probe: Probe::Http { path: "/health".to_owned() },
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            healthy: NonZeroU32::new(2).expect("two is not zero"),
            unhealthy: NonZeroU32::new(3).expect("three is not zero"),
            start_grace: Duration::from_secs(60),
        }
    }
}

/// How a replica is stopped: drain, SIGTERM, SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSpec {
    /// How long a replica that served is left alone after it is marked as draining, so that the
    /// balancer can take it out and requests can finish: 30 s at most by default (A14's deregistration
    /// delay). Ends sooner when the balancer reports the replica empty.
    pub drain: Duration,
    /// From SIGTERM to SIGKILL; 10 s by default, as with `docker stop`.
    pub term_grace: Duration,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self { drain: Duration::from_secs(30), term_grace: Duration::from_secs(10) }
    }
}

/// How fast a failing replica is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffSpec {
    /// The wait after the first failure; doubled by each further one. 100 ms by default: one crash is
    /// mended at once.
    pub first: Duration,
    /// The longest wait; 30 s by default: a dependency that came back is noticed within half a minute.
    pub max: Duration,
    /// A replica ready for this long has failed nothing: the count of failures starts anew. 60 s by
    /// default.
    pub stable: Duration,
    /// This many failures in a row, none of them stable in between, are a crash loop: it is said so, and
    /// every further wait is the longest. 5 by default.
    pub crash_loop: NonZeroU32,
}

impl Default for BackoffSpec {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(30),
            stable: Duration::from_secs(60),
            crash_loop: NonZeroU32::new(5).expect("five is not zero"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: &[&str]) -> Result<ReplicaSpec, EmptyCommand> {
        ReplicaSpec::new(command.iter().map(ToString::to_string).collect(), "/")
    }

    #[test]
    fn a_command_without_a_program_is_refused() {
        assert_eq!(spec(&[]), Err(EmptyCommand));
        assert_eq!(spec(&["", "x"]), Err(EmptyCommand));
        assert!(spec(&["x"]).is_ok());
    }

    #[test]
    fn the_hash_tells_versions_apart_and_ignores_the_rules_of_life() {
        let one = spec(&["a", "b"]).unwrap();
        assert_ne!(one.hash(), spec(&["a b"]).unwrap().hash());
        let mut slower = one.clone();
        slower.stop.drain = Duration::ZERO;
        slower.health.probe = Probe::Tcp;
        assert_eq!(one.hash(), slower.hash());
        let mut worker = one.clone();
        worker.health.probe = Probe::Alive;
        assert_ne!(one.hash(), worker.hash());
        let mut other = one.clone();
        other.env.insert("MODE".to_owned(), "fast".to_owned());
        assert_ne!(one.hash(), other.hash());
    }
}
