//! Rate limit: at most so many changes an hour, so far apart, so large (B14).
//!
//! Its memory is the journal's, so a restart does not forget. A change that is too large is cut to size (the
//! source refuses it, which would leave a workload that needs four for ever without); one too many is refused.
//!
//! ```text
//! |change| ≤ replicasPerChange,  changes within an hour < perHour,  now ≥ last change + apart
//! ```
//!
//! Source of rule and defaults: B14 (5 an hour, 3 replicas, 300 s).

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;
use crate::units::{Replicas, Span};

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.rate_limit else { return };
    let most = settings.replicas_per_change;
    let from = draft.from();
    let within = draft.wanted().clamp(from.minus(most.0), from.plus(most.0));
    draft.move_to(within, By::RateLimit, Reason::ChangeTooLarge { most });
}

pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.rate_limit else { return };
    if draft.wanted() == draft.from() {
        return;
    }
    let hour = Span::hours(1);
    let hour_ago = cx.at().minus(hour);
    let recent: Vec<_> =
        cx.memory().changes().take_while(|c| c.at > hour_ago).map(|c| c.at.min(cx.at())).collect();
    let per_hour = settings.per_hour;
    let apart = recent.first().map(|last| last.plus(settings.apart)).filter(|until| cx.at() < *until);
    // The change that must leave the window before the next may come.
    let full =
        usize::try_from(per_hour).ok().and_then(|n| recent.get(n.checked_sub(1)?)).map(|at| at.plus(hour));
    if let Some(until) = apart.max(full) {
        // Coming back into the allowed range is no change of mind; bounds are never refused.
        if cx.workload().replicas.clamp(draft.from()) == draft.from() || cx.current() == Replicas::ZERO {
            draft.refuse(By::RateLimit, Reason::RateLimited { until, per_hour });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    fn case(from: u32, want: u32) -> Case {
        Case::new(from, want).guards(r#"{ "rateLimit": {} }"#)
    }

    /// B14: at most 3 replicas a change.
    #[test]
    fn a_change_is_cut_to_size() {
        for (want, expected) in [(9, 9), (11, 11), (12, 11), (100, 11), (5, 5), (4, 5), (8, 8)] {
            assert_eq!(case(8, want).limited(super::limit), expected, "8 → {want}");
        }
    }

    /// B14: at most 5 changes an hour, at least 300 s apart.
    #[test]
    fn changes_are_counted_and_kept_apart() {
        let five = [(3500, 1, 2), (3000, 2, 3), (2000, 3, 4), (1000, 4, 5), (301, 5, 8)];
        assert_eq!(case(8, 9).changed(&five).limited(super::refuse), 8);
        assert_eq!(case(8, 9).changed(&five[1..]).limited(super::refuse), 9);
        assert_eq!(case(8, 9).changed(&[(299, 5, 8)]).limited(super::refuse), 8);
        assert_eq!(case(8, 9).changed(&[(300, 5, 8)]).limited(super::refuse), 9);
    }
}
