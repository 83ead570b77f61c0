//! What a supervisor shows of its replicas. Sizes come from here and nowhere else.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::fault::Fault;

/// All replicas of a workload, as they are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The workload.
    pub workload: String,
    /// How many replicas are wanted.
    pub desired: u32,
    /// How many are wanted warm beside those.
    pub pool: u32,
    /// Rises by one with every change of the wanted number, over restarts of the controller too.
    pub generation: u64,
    /// The replicas, oldest name first.
    pub replicas: Vec<ReplicaStatus>,
    /// What went wrong lately, newest last; at most [`Status::MOST_FINDINGS`].
    pub findings: Vec<Finding>,
}

impl Status {
    /// A page of findings: more are repetitions, and are counted instead.
    pub const MOST_FINDINGS: usize = 32;

    /// How many replicas can take traffic.
    pub fn ready(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready).count()
    }

    /// Whether this differs from `other` in more than what is measured.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let plain = |status: &Self| {
            let mut status = status.clone();
            status.replicas.iter_mut().for_each(|replica| replica.usage = None);
            status
        };
        plain(self) != plain(other)
    }
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Its name, e.g. `web-3`; kept over restarts of its process, never given to another.
    pub id: String,
    /// Where it stands.
    pub state: ReplicaState,
    /// Where it is reached; `None` for a worker, and while it has no process.
    pub address: Option<SocketAddr>,
    /// The pid of its first process.
    pub pid: Option<u32>,
    /// When its last start was asked for.
    pub asked_at: Timestamp,
    /// When its process was started.
    pub started_at: Option<Timestamp>,
    /// When its process first got ready.
    pub ready_at: Option<Timestamp>,
    /// What it uses; `None` until it has been measured twice.
    pub usage: Option<Usage>,
    /// How often it was started anew after a failure.
    pub restarts: u32,
    /// Where it writes to.
    pub log: Option<PathBuf>,
    /// Whether an earlier controller started it.
    pub adopted: bool,
    /// The version it runs ([`super::ReplicaSpec::hash`]); empty if that isn't known any more.
    pub spec_hash: String,
}

/// Where a replica stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplicaState {
    /// On its way up; gets no traffic.
    Starting,
    /// On its way up for the warm pool; gets no traffic.
    Warming,
    /// Waits, warm, for traffic; gets none.
    Warm,
    /// Takes traffic.
    Ready,
    /// Was ready and fails its health checks; gets no traffic until it recovers or is replaced.
    Unhealthy {
        /// What the last failed probe met.
        probe: String,
    },
    /// Finishes what it has; gets no new traffic.
    Draining,
    /// Was told to stop, or its remains are being cleared away.
    Stopping,
    /// Has no process; one is started later.
    Failed {
        /// Why.
        fault: Fault,
        /// Whether it fails again and again.
        crash_loop: bool,
        /// When it is tried again.
        next_try: Timestamp,
    },
}

/// What a replica uses, all its processes together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When it was measured.
    pub at: Timestamp,
    /// Processor time per time, since the last measurement a second ago; 1.0 is one core in full use.
    /// `None` if it can't be told: the first measurement, or a child's time went elsewhere.
    pub cpu_cores: Option<f64>,
    /// Resident memory in bytes. What processes of one replica share counts once for each.
    pub memory_bytes: u64,
}

/// Something people should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// A stable name, e.g. `crash-loop`, `command-not-found`.
    pub code: String,
    /// The replica concerned; `None` if it is none in particular.
    pub replica: Option<String>,
    /// What failed, why, what to do next.
    pub text: String,
    /// When it was last seen.
    pub at: Timestamp,
    /// How often it was seen.
    pub count: u32,
}
