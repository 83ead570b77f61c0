//! Settled: one action at a time.
//!
//! While the target works on an action, a second one would be decided on a view that is already out of date.
//! Only a larger growth may overtake: a surge does not wait. After an action that failed, or that was only said in
//! advise mode, there is a pause in which no change is made, whoever wants it; it doubles with each failure in a
//! row. That is a refusal, after every other guard: also coming back into bounds is not repeated ten times a
//! second.
//!
//! ```text
//! under way to n:            only more than n passes
//! k-th failure in a row:     nothing for min(1 s × 2^(k−1), 60 s)
//! only said (advise mode):   nothing for 60 s
//! ```
//!
//! Source: A35 (out of the way while a change is under way); the pauses run from one tick of headroom to one of the source.

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    if let Some(action) = &cx.memory().in_flight
        && draft.wanted() <= action.to
    {
        let why = Reason::ActionInFlight { to: action.to, since: action.at };
        draft.move_to(draft.from(), By::Settled, why);
    }
}

/// Whatever is wanted, only a larger growth overtakes what is under way.
pub(super) fn refuse_overtaking(cx: &Context<'_>, draft: &mut Draft) {
    if let Some(action) = &cx.memory().in_flight
        && draft.wanted() <= action.to
    {
        draft.refuse(By::Settled, Reason::ActionInFlight { to: action.to, since: action.at });
    }
}

pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    // A later guard may have brought it down all the same: a new policy with a lower maximum waits its turn, too.
    refuse_overtaking(cx, draft);
    let Some(failure) = cx.memory().failure.as_ref().filter(|f| cx.at() < f.until) else { return };
    let until = failure.until;
    let why = match failure.error.clone() {
        Some(error) => Reason::ActionFailed { error, until },
        None => Reason::AdvisedOnly { until },
    };
    draft.refuse(By::Settled, why);
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

    /// A lower maximum than what is under way is come back to after it has settled.
    #[test]
    fn coming_back_into_bounds_waits_too() {
        for (want, expected) in [(11, 12), (0, 12), (12, 12), (13, 13)] {
            let case = Case::new(12, want).range(0, 11).in_flight(8, 12);
            assert_eq!(case.limited(super::refuse), expected, "wanting {want} while 8 → 12 is under way");
        }
    }

    #[test]
    fn a_failed_action_is_not_repeated_at_once() {
        assert_eq!(Case::new(8, 12).failed_until(1).limited(super::refuse), 8);
        assert_eq!(Case::new(8, 12).failed_until(0).limited(super::refuse), 12);
    }
}
