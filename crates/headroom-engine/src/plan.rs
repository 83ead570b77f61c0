//! Plans: what would change now, to be shown, kept, and applied exactly.
//!
//! A plan is a file a person may read and a pipeline may approve. Applying it does just what it says, or nothing:
//! it is refused when it is old, when any count it saw is not the count there is, or when a guard that looks at what may
//! have changed since (a freeze, absent data, an action under way, a limit, the breaker) stands against a part of it.

use headroom_core::decision::Decision;
use headroom_core::names::{FleetName, WorkloadName};
use headroom_core::units::{Price, Replicas, Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a plan may be applied. The counts it saw are compared again, so this only bounds how old a reason
/// people act on.
pub const VALID_FOR: Span = Span::minutes(15);

/// What would change now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The version of this format: 1.
    pub version: u32,
    /// The fleet it is for.
    pub fleet: FleetName,
    /// When it was made.
    pub at: Timestamp,
    /// After this moment it is refused.
    pub valid_until: Timestamp,
    /// One entry for each workload, changed or not, by name.
    pub workloads: Vec<PlanEntry>,
}

/// What a plan says of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanEntry {
    /// Which workload.
    pub workload: WorkloadName,
    /// The count it saw.
    pub saw: Replicas,
    /// The count it asks for.
    pub to: Replicas,
    /// The warm pool it saw; `None` where there was none. What it becomes stands in the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_saw: Option<Replicas>,
    /// What one replica costs, where that is known.
    pub price: Option<Price>,
    /// How the count came about.
    pub decision: Decision,
}

impl PlanEntry {
    /// How many more are kept warm than before; fewer, where it is negative.
    #[must_use]
    pub fn warm_change(&self) -> i64 {
        let wanted = self.decision.warm.as_ref().map_or(0, |warm| i64::from(warm.wanted.0));
        wanted - i64::from(self.warm_saw.map_or(0, |saw| saw.0))
    }

    /// What the change costs an hour, the warm pool included, in millionths of a dollar: negative saves. `None` where the price is not
    /// known.
    #[must_use]
    pub fn cost_change_micro_dollars_per_hour(&self) -> Option<i64> {
        let price = i64::try_from(self.price?.as_micro_dollars_per_hour()).ok()?;
        let replicas = i64::from(self.to.0) - i64::from(self.saw.0) + self.warm_change();
        Some(price.saturating_mul(replicas))
    }
}

impl Plan {
    /// Whether applying it would change anything.
    #[must_use]
    pub fn changes_anything(&self) -> bool {
        self.workloads.iter().any(|entry| entry.to != entry.saw)
    }
}
