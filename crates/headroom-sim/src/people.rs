//! People: what is said to the controller while a run goes on.
//!
//! A freeze, a thaw and an approval are inputs like any other, and guards wait for them; a policy that is tested
//! without them is tested by half.

use headroom_core::controller::{Controller, Input, Override};
use headroom_core::memory::{AppliedPlan, Freeze};
use headroom_core::names::WorkloadName;
use headroom_core::units::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Who people are in a run.
const SOMEBODY: &str = "somebody";
/// How long an approval is good for: as long as an applied plan's.
const GOOD_FOR: Span = Span::minutes(5);

/// One word and when it is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Word {
    /// When, from the start.
    pub at: Span,
    /// What.
    pub what: Say,
    /// Of which workload; of all, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadName>,
}

/// What people may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Say {
    /// Leave it alone.
    Freeze {
        /// For how long; until it is thawed, if not given.
        #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
        lasts: Option<Span>,
        /// Why.
        why: String,
    },
    /// Go on.
    Thaw,
    /// Do what a guard held back: `headroom apply` of what `headroom plan` shows then. Where nothing is held back, it
    /// says nothing.
    Approve,
}

impl Say {
    /// The input it is at `at`; `None` where it says nothing.
    pub(crate) fn input(
        &self,
        controller: &Controller,
        workload: &WorkloadName,
        at: Timestamp,
    ) -> Option<Input> {
        let word = match self {
            Self::Freeze { lasts, why } => Override::Freeze(Freeze {
                until: lasts.map(|lasts| at.plus(lasts)),
                by: SOMEBODY.to_owned(),
                why: why.clone(),
            }),
            Self::Thaw => Override::Thaw,
            Self::Approve => {
                let held = controller.memory(workload)?.latest()?;
                let to = held.refusal.as_ref()?.wanted;
                let (saw, until) = (held.from, at.plus(GOOD_FOR));
                Override::Apply(AppliedPlan { saw, to, by: SOMEBODY.to_owned(), until })
            }
        };
        Some(Input::Overridden { at, workload: workload.clone(), word })
    }
}
