//! Dynamic cooldown: the pause after a change follows the situation (A18).
//!
//! Before growing: 300 s × (1 + half for each change of the last 600 s, at most 2), divided by the urgency. Before
//! shrinking: 900 s times the same factor and times the urgency: a busy workload keeps what it has for longer. Never
//! under 60 s. Mend: the source multiplies by half the number of recent events, which is zero where there was none.
//!
//! Source of rule and defaults: A18.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::urgency::{UrgencyRule, urgency};
use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;
use crate::units::Span;

/// A pause after a change that follows the situation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DynamicCooldown {
    /// The base before growing (A18: 300s).
    pub up: Span,
    /// The base before shrinking (A18: 900s).
    pub down: Span,
    /// The shortest pause (A18: 60s).
    pub least: Span,
    /// What makes it urgent.
    pub urgency: Vec<UrgencyRule>,
}

impl Default for DynamicCooldown {
    fn default() -> Self {
        let (up, down, least) = (Span::seconds(300), Span::seconds(900), Span::seconds(60));
        Self { up, down, least, urgency: Vec::new() }
    }
}

/// Changes within this stretch lengthen the pause (A18).
const RECENT: Span = Span::seconds(600);

impl DynamicCooldown {
    /// The pause, given how many changes there were of late and how urgent it is.
    #[must_use]
    pub fn pause(&self, grows: bool, recent: usize, urgency: f64) -> Span {
        #[expect(clippy::cast_precision_loss, reason = "at most some hundreds of changes")]
        let factor = 1.0 + (0.5 * recent as f64).min(2.0);
        let (base, factor) =
            if grows { (self.up, factor / urgency.max(0.5)) } else { (self.down, factor * urgency.max(1.0)) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let pause = Span::millis((base.as_secs_f64() * factor * 1000.0) as u64);
        pause.max(self.least)
    }
}

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.dynamic_cooldown else { return };
    if draft.wanted() == draft.from() {
        return;
    }
    let since = cx.at().minus(RECENT);
    let recent = cx.memory().changes().take_while(|c| c.at > since).count();
    let pause = settings.pause(draft.grows(), recent, urgency(cx, &settings.urgency));
    if let Some(until) = cx.pause_until(None, pause) {
        draft.move_to(draft.from(), By::Cooldown, Reason::CoolingDown { until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::testing::Case;

    /// A18: the formula, its mend and its floor.
    #[test]
    fn the_pause_follows_changes_and_urgency() {
        let rule = DynamicCooldown::default();
        for (grows, recent, urgency, seconds) in [
            (true, 0, 1.0, 300),
            (true, 1, 1.0, 450),
            (true, 4, 1.0, 900),
            (true, 100, 1.0, 900),
            (true, 0, 3.0, 100),
            (true, 0, 7.0, 60),
            (true, 0, f64::INFINITY, 60),
            (false, 0, 1.0, 900),
            (false, 1, 2.0, 2700),
        ] {
            assert_eq!(
                rule.pause(grows, recent, urgency),
                Span::seconds(seconds),
                "{grows} {recent} {urgency}"
            );
        }
    }

    #[test]
    fn a_recent_change_holds_the_next() {
        let case = |want| Case::new(8, want).guards(r#"{ "dynamicCooldown": {} }"#);
        assert_eq!(case(12).changed(&[(449, 6, 8)]).limited(super::limit), 8);
        assert_eq!(case(12).changed(&[(450, 6, 8)]).limited(super::limit), 12);
        assert_eq!(case(4).changed(&[(899, 6, 8)]).limited(super::limit), 8);
        assert_eq!(case(4).changed(&[(900, 6, 8)]).limited(super::limit), 4);
        assert_eq!(Case::new(8, 12).changed(&[(1, 6, 8)]).limited(super::limit), 12, "off unless asked for");
    }
}
