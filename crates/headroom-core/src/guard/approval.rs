//! Approval: a large change waits for a person.
//!
//! Above a limit a change is only said, and waits: `headroom approve web-17` lets it be made, `headroom reject web-17`
//! keeps it from being asked for again for an hour. An approval lets everything pass that goes no further than what was
//! asked for, for ten minutes; every other guard still has its say. What waits for an hour without a word is asked for
//! anew. All of it is remembered over a restart. Small changes go on by themselves, and a plan that a person applies
//! needs no second word.
//!
//! ```text
//! |wanted − present|  >  growAbove or shrinkAbove
//! ```
//!
//! There are no default limits: which change is large is for the policy to say.
//!
//! Source: B6 (approval required), B7 (plan, approve, apply).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::safety::comes_back;
use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;
use crate::units::{Replicas, Span};

/// How long a change waits before it is asked for anew: whoever is on call answers within the hour.
pub const PENDING_FOR: Span = Span::hours(1);
/// How long an approval holds: time for a pause after a failed action (at most 1 min) and for the largest rate-limited
/// step (B14: 300 s apart), not for another situation.
pub const APPROVED_FOR: Span = Span::minutes(10);
/// How long a refusal holds: as long as it would have waited.
pub const REJECTED_FOR: Span = Span::hours(1);

/// From which size on a change waits for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Approval {
    /// Growing by more than this needs a person; by default no growth does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grow_above: Option<Replicas>,
    /// Shrinking by more than this needs a person; by default no shrinking does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrink_above: Option<Replicas>,
}

/// Refuses a large change without a person's word.
pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.approval else { return };
    let size = Replicas(draft.wanted().0.abs_diff(draft.from().0));
    let limit = if draft.grows() { settings.grow_above } else { settings.shrink_above };
    if size > Replicas::ZERO
        && !comes_back(cx, draft)
        && let Some(limit) = limit.filter(|limit| size > *limit)
    {
        match cx.memory().answer(cx.at()).filter(|answer| answer.covers(draft.from(), draft.wanted())) {
            Some(answer) if answer.approved => {}
            Some(answer) => {
                let (by, why, until) = (answer.by.clone(), answer.why.clone(), answer.until);
                draft.refuse(By::Approval, Reason::ApprovalRefused { by, why, until });
            }
            None => draft.refuse(By::Approval, Reason::NeedsApproval { limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    #[test]
    fn only_a_large_change_waits() {
        let json = r#"{ "approval": { "growAbove": 4, "shrinkAbove": 0 } }"#;
        for (want, expected) in [(12, 12), (13, 8), (8, 8), (7, 8), (1000, 8)] {
            assert_eq!(Case::new(8, want).guards(json).limited(super::refuse), expected, "8 → {want}");
        }
        assert_eq!(Case::new(8, 0).guards(r#"{ "approval": {} }"#).limited(super::refuse), 0);
        assert_eq!(
            Case::new(8, 30).guards(json).range(10, 40).limited(super::refuse),
            30,
            "back into bounds"
        );
    }
}
