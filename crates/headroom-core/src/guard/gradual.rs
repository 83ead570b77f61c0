//! Gradual steps: how many replicas one change may move follows the urgency (A19).
//!
//! Conservative one up and one down, from an urgency of 1.5 moderate two up and one down, from 3 aggressive four up
//! and two down. The wanted count is reached all the same, in more steps while there is time.
//!
//! Source of rule and defaults: A19; the urgency: A18.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::urgency::{UrgencyRule, urgency};
use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;
use crate::units::{Level, Replicas};

/// Steps by urgency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct GradualSteps {
    /// While nothing is urgent (A19: 1 and 1).
    pub conservative: StepSize,
    /// From an urgency of 1.5 (A19: 2 and 1).
    pub moderate: StepSize,
    /// From an urgency of 3 (A19: 4 and 2).
    pub aggressive: StepSize,
    /// What makes it urgent.
    pub urgency: Vec<UrgencyRule>,
}

/// The most replicas one change moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StepSize {
    /// When growing.
    pub up: Replicas,
    /// When shrinking.
    pub down: Replicas,
}

impl Default for GradualSteps {
    fn default() -> Self {
        let size = |up, down| StepSize { up: Replicas(up), down: Replicas(down) };
        let (conservative, moderate, aggressive) = (size(1, 1), size(2, 1), size(4, 2));
        Self { conservative, moderate, aggressive, urgency: Vec::new() }
    }
}

impl GradualSteps {
    /// The size of a step at an urgency.
    #[must_use]
    pub fn size(&self, urgency: f64) -> StepSize {
        match urgency {
            u if u >= 3.0 => self.aggressive,
            u if u >= 1.5 => self.moderate,
            _ => self.conservative,
        }
    }
}

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.gradual_steps else { return };
    let urgency = urgency(cx, &settings.urgency);
    let size = settings.size(urgency);
    let from = draft.from();
    let within = draft.wanted().max(from.minus(size.down.0)).min(from.plus(size.up.0));
    let most = if draft.grows() { size.up } else { size.down };
    let urgency = Level::new(urgency).unwrap_or(Level::ZERO);
    draft.move_to(within, By::GradualSteps, Reason::GradualStep { most, urgency });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::testing::Case;

    /// A19: the step sizes and their edges.
    #[test]
    fn the_step_follows_the_urgency() {
        let rule = GradualSteps::default();
        for (urgency, up, down) in
            [(1.0, 1, 1), (1.49, 1, 1), (1.5, 2, 1), (2.9, 2, 1), (3.0, 4, 2), (9.0, 4, 2)]
        {
            assert_eq!(rule.size(urgency), StepSize { up: Replicas(up), down: Replicas(down) }, "{urgency}");
        }
        assert_eq!(rule.size(f64::NAN), rule.conservative);
        let case = |want| Case::new(8, want).guards(r#"{ "gradualSteps": {} }"#);
        for (want, expected) in [(20, 9), (9, 9), (8, 8), (7, 7), (0, 7)] {
            assert_eq!(case(want).limited(super::limit), expected, "8 → {want}");
        }
    }
}
