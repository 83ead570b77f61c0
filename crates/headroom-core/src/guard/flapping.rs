//! Flap detection: a workload that swings is damped, and people are told why.
//!
//! Growing and shrinking in turn costs starts and stops and helps nobody; it is the sign of limits too close
//! together, or of a signal that follows the count. When the direction has turned several times within a stretch,
//! shrinking waits for a while after the last change. Growing never waits: too many is only dear.
//!
//! Source: C1 (flapping prevented). Defaults: 15 min, three times the HPA's stabilisation window, within which it looks
//! for the highest recommendation itself; three turns, the least that is no single correction.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::safety::comes_back;
use crate::context::Context;
use crate::decision::{By, Draft};
use crate::memory::Change;
use crate::reason::Reason;
use crate::units::Span;

/// How swinging is told, and how long shrinking then waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Flapping {
    /// So many turns of direction are swinging (3: up, down, up, down).
    pub turns: u32,
    /// Within this stretch (15m: three times the HPA's stabilisation window).
    pub within: Span,
    /// So long after the last change nothing shrinks (15m).
    pub hold: Span,
}

impl Default for Flapping {
    fn default() -> Self {
        Self { turns: 3, within: Span::minutes(15), hold: Span::minutes(15) }
    }
}

/// How often the direction turned.
pub fn turns<'a>(changes: impl IntoIterator<Item = &'a Change>) -> u32 {
    let mut last = None;
    let mut turns = 0;
    for change in changes.into_iter().filter(|c| c.from != c.to) {
        let up = change.to > change.from;
        turns += u32::from(last.is_some_and(|before| before != up));
        last = Some(up);
    }
    turns
}

pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.flapping else { return };
    if !draft.shrinks() || comes_back(cx, draft) {
        return;
    }
    let since = cx.at().minus(settings.within);
    let turns = turns(cx.memory().changes().take_while(|c| c.at > since));
    if turns >= settings.turns
        && let Some(until) = cx.pause_until(None, settings.hold)
    {
        draft.refuse(By::Flapping, Reason::Swings { turns, within: settings.within, until });
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    #[test]
    fn swinging_stops_at_the_top() {
        let swings = [(800, 6, 8), (600, 8, 6), (400, 6, 8), (200, 8, 6)];
        let case = |want| Case::new(8, want).guards(r#"{ "flapping": {} }"#);
        assert_eq!(case(6).changed(&swings).limited(super::refuse), 8);
        assert_eq!(case(12).changed(&swings).limited(super::refuse), 12, "growing never waits");
        assert_eq!(case(6).changed(&swings[1..]).limited(super::refuse), 6, "two turns are none");
        let old = [(1800, 6, 8), (1600, 8, 6), (1400, 6, 8), (901, 8, 6)];
        assert_eq!(case(6).changed(&old).limited(super::refuse), 6);
        assert_eq!(Case::new(8, 6).changed(&swings).limited(super::refuse), 6, "off unless asked for");
    }

    proptest::proptest! {
        /// However the past looks, growth is never refused.
        #[test]
        fn growth_is_never_refused(ages in proptest::collection::vec((0_i64..2000, 0_u32..20, 0_u32..20), 0..20)) {
            let mut changes = ages;
            changes.sort_by_key(|(age, ..)| std::cmp::Reverse(*age));
            let case = Case::new(8, 9).guards(r#"{ "flapping": { "turns": 1 } }"#).changed(&changes);
            proptest::prop_assert_eq!(case.limited(super::refuse), 9);
        }
    }
}
