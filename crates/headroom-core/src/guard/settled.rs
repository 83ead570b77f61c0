//! Settled: one action at a time.
//!
//! While the target works on an action, a second one would be decided on a view that is already out of date.
//! Only a larger growth may overtake: a surge does not wait. After a failed action there is a pause, doubling
//! with each failure in a row, in which only a larger growth is tried.

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    if draft.wanted() == draft.from() {
        return;
    }
    if let Some(action) = &cx.memory().in_flight {
        if draft.wanted() <= action.to {
            draft.move_to(
                draft.from(),
                By::Settled,
                Reason::ActionInFlight { to: action.to, since: action.at },
            );
        }
    } else if let Some(failure) = cx.memory().failure.as_ref().filter(|f| cx.at() < f.until) {
        let until = failure.until;
        let why = match failure.error.clone() {
            Some(error) => Reason::ActionFailed { error, until },
            None => Reason::AdvisedOnly { until },
        };
        draft.move_to(draft.from(), By::Settled, why);
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    #[test]
    fn only_a_larger_growth_overtakes_an_action_under_way() {
        for (want, expected) in [(20, 20), (12, 12), (11, 12), (5, 12)] {
            let case = Case::new(12, want).in_flight(8, 12);
            assert_eq!(case.limited(super::limit), expected, "wanting {want} while 8 → 12 is under way");
        }
    }

    #[test]
    fn a_failed_action_is_not_repeated_at_once() {
        assert_eq!(Case::new(8, 12).failed_until(1).limited(super::limit), 8);
        assert_eq!(Case::new(8, 12).failed_until(0).limited(super::limit), 12);
    }
}
