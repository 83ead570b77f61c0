//! Approval: a large change waits for a person.
//!
//! Above a limit a change is only said; a person makes it by applying the plan (`headroom apply`), which then passes
//! the check of the plan like any other. Small changes go on by themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::safety::comes_back;
use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;
use crate::units::Replicas;

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

pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.approval else { return };
    let size = Replicas(draft.wanted().0.abs_diff(draft.from().0));
    let limit = if draft.grows() { settings.grow_above } else { settings.shrink_above };
    if size > Replicas::ZERO
        && !comes_back(cx, draft)
        && let Some(limit) = limit.filter(|limit| size > *limit)
    {
        draft.refuse(By::Approval, Reason::NeedsApproval { limit });
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
