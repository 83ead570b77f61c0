//! Cooldown: leave a workload alone for a while after it changed (D7).
//!
//! A change shows in the signals only after replicas have started and traffic has moved. Acting again before
//! that doubles the answer to one question.
//!
//! ```text
//! now < last change + (growing: up, shrinking: down)   nothing changes
//! ```
//!
//! Source of defaults: A3 and A13 (300 s out, 600 s in).

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.cooldown else { return };
    let length = if draft.grows() {
        settings.up
    } else if draft.shrinks() {
        settings.down
    } else {
        return;
    };
    if let Some(until) = cx.pause_until(None, length) {
        draft.move_to(draft.from(), By::Cooldown, Reason::CoolingDown { until });
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    /// D7: 300 s before growing, 600 s before shrinking.
    #[test]
    fn a_change_is_followed_by_a_pause() {
        for (want, ago, expected) in [(12, 299, 8), (12, 300, 12), (4, 599, 8), (4, 600, 4), (8, 0, 8)] {
            let case = Case::new(8, want).guards(r#"{ "cooldown": {} }"#).changed(&[(ago, 6, 8)]);
            assert_eq!(case.limited(super::limit), expected, "8 → {want}, changed {ago} s ago");
        }
        assert_eq!(Case::new(8, 12).changed(&[(0, 6, 8)]).limited(super::limit), 12, "off unless asked for");
    }

    #[test]
    fn a_change_that_seems_to_lie_ahead_pauses_no_longer_than_any_other() {
        // The clock was set back an hour after the change.
        let case = Case::new(8, 12).guards(r#"{ "cooldown": {} }"#).changed(&[(-3600, 6, 8)]);
        assert_eq!(case.limited(super::limit), 8);
    }
}
