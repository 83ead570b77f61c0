//! What is seen of a workload at one moment.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ReplicaId;
use crate::units::{Level, Replicas, Timestamp};

/// What a look at a target shows. Sizes come from here and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TargetStatus {
    /// The count the target was asked for last, whoever asked.
    pub wanted: Replicas,
    /// Replicas that take traffic.
    pub ready: Replicas,
    /// Replicas that start.
    #[serde(default)]
    pub starting: Replicas,
    /// Replicas that finish what they have and take nothing new.
    #[serde(default)]
    pub draining: Replicas,
    /// Replicas that wait, warm, for traffic; `None` where the target keeps no pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolStatus>,
    /// Replicas that ought to run and don't.
    #[serde(default)]
    pub failed: Replicas,
    /// The replicas one by one, where the target knows them. Shared, because a look that shows nothing new is handed
    /// on every second, in a fleet of any size.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub replicas: Arc<[ReplicaStatus]>,
    /// What is wrong with the target, in its own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
}

/// The warm pool of a target: replicas beside those that take traffic, none of which is counted above.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PoolStatus {
    /// How many were asked for last.
    pub wanted: Replicas,
    /// How many are warm.
    pub warm: Replicas,
    /// How many are on their way.
    pub warming: Replicas,
    /// They one by one, where the target knows them; a ready one is warm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaStatus>,
}

impl PoolStatus {
    /// How many are paid for.
    #[must_use]
    pub fn running(&self) -> Replicas {
        self.warm.plus(self.warming.0)
    }
}

fn is_empty(replicas: &Arc<[ReplicaStatus]>) -> bool {
    replicas.is_empty()
}

/// One replica as its target shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// What the target calls it.
    pub id: ReplicaId,
    /// What it is doing.
    pub phase: Phase,
    /// When its start was asked for.
    pub started_at: Timestamp,
    /// When it first was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// Where it answers, as `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The share of one core it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Level>,
    /// Its resident memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Level>,
    /// How often it was started anew.
    #[serde(default)]
    pub restarts: u32,
    /// What it runs: replicas of the same version say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Started, not yet well.
    Starting,
    /// Takes traffic.
    Ready,
    /// Runs but fails its health checks.
    Unhealthy,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Does not run though it should.
    Failed,
}

/// Something wrong with a target that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Trouble {
    /// A stable code, such as `crash-loop` or `command-not-found`.
    pub code: String,
    /// What is wrong, why, and what to do next.
    pub message: String,
}

impl Trouble {
    /// The code of a workload whose balancer does not listen where the policy says.
    pub const NOT_LISTENING: &str = "not-listening";
}
