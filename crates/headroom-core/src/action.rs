//! Actions: what a target is asked to do.
//!
//! An action is absolute ("make it 12, I saw 9, valid until 10:04:30"), so doing it twice is harmless and a
//! stale one can be refused. An [`Action`] is made only from an inspected plan: its constructor is private to
//! this crate, and it can't be read from a file. What the journal and plan files hold is an [`ActionRecord`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::DecisionId;
use crate::names::WorkloadName;
use crate::units::{Replicas, Span, Timestamp};

/// How long an action may wait for its turn before it is refused as stale. The world a decision saw is not the
/// world ten seconds later; the next tick decides anew.
pub const VALID_FOR: Span = Span::seconds(10);

/// What a target was asked to do, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionRecord {
    /// The decision it carries out.
    pub decision: DecisionId,
    /// When it was decided.
    pub at: Timestamp,
    /// The count that was seen.
    pub saw: Replicas,
    /// The count to be.
    pub to: Replicas,
    /// After this moment the target refuses it.
    pub valid_until: Timestamp,
}

/// An action that may be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Action(ActionRecord);

impl Action {
    pub(crate) fn inspected(record: ActionRecord) -> Self {
        Self(record)
    }

    /// The action as data.
    #[must_use]
    pub fn record(&self) -> &ActionRecord {
        &self.0
    }

    /// The workload it changes.
    #[must_use]
    pub fn workload(&self) -> &WorkloadName {
        &self.0.decision.workload
    }

    /// The count to be.
    #[must_use]
    pub fn to(&self) -> Replicas {
        self.0.to
    }

    /// The count that was seen when it was decided.
    #[must_use]
    pub fn saw(&self) -> Replicas {
        self.0.saw
    }

    /// Whether it came too late to be carried out.
    #[must_use]
    pub fn is_stale(&self, at: Timestamp) -> bool {
        at > self.0.valid_until
    }
}
