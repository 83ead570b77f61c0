//! Stabilise: the HPA's stabilisation windows (A4).
//!
//! Shrinking goes no lower than the highest recommendation of the last `scaleDown.stabilization` (5 min),
//! growing no higher than the lowest of the last `scaleUp.stabilization` (0 s). A short dip or spike passes
//! without a change.
//!
//! Where the policy lets a proved forecast be sure of what is enough (`predictive: { earlyScaleIn: true }`), shrinking
//! need not wait for the window: what it waits for, a load that comes back, is what the forecast denies.
//!
//! Source of rule and defaults: Kubernetes' HPA (300 s for shrinking, 0 s for growing), A4; ending it early, A8.

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::extremes::Extremes;
use crate::reason::Reason;
use crate::strategy::Strategy;
use crate::units::{Replicas, Span, Timestamp};

/// The count between `current` and `desired` that the windows allow: shrinking to no less than the highest
/// recommendation, growing to no more than the lowest. `current` and `desired` may lie beyond any window.
#[must_use]
pub fn stabilised(current: i64, desired: i64, highest: &Extremes, lowest: &Extremes, at: Timestamp) -> i64 {
    let count = |extreme: Option<(Replicas, Timestamp)>| extreme.map(|(count, _)| i64::from(count.0));
    if desired < current {
        count(highest.extreme(at)).unwrap_or(desired).clamp(desired, current)
    } else {
        count(lowest.extreme(at)).unwrap_or(desired).clamp(current, desired)
    }
}

/// A window ends early only where that takes a tenth away or more (the HPA's tolerance): within it, a load that wanders
/// about the edge of a forecast would move the fleet to and fro.
const WORTH_IT: f64 = 0.9;

/// What proved forecasts are sure is enough until the window is over; where there are several, the most careful counts.
fn released(cx: &Context<'_>, window: Span) -> Option<(Replicas, Reason)> {
    let strategies = cx.workload().strategies.iter().enumerate();
    let sure = strategies.filter_map(|(strategy, rule)| match rule {
        Strategy::Predictive(rule) => rule.releases(&Context { strategy, ..*cx }, window),
        _ => None,
    });
    sure.max_by_key(|(enough, _)| *enough)
}

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let behavior = &cx.workload().behavior;
    let (highest, lowest) = (&cx.memory().highest, &cx.memory().lowest);
    let (from, wanted) = (i64::from(draft.from().0), i64::from(draft.wanted().0));
    let window = if draft.shrinks() { cx.workload().down_window() } else { behavior.up_window() };
    let unknown = draft.shrinks() && highest.is_empty() && !window.is_zero();
    // Before any recommendation is known the present count stands for the unknown past (as in the HPA), so
    // the first move after a start is never down.
    let to = if unknown { from } else { stabilised(from, wanted, highest, lowest, cx.at()) };
    if to == wanted {
        return;
    }
    let why = if draft.shrinks() {
        let until = highest.extreme(cx.at()).map_or(cx.at().plus(window), |(_, until)| until);
        Reason::StabilisingDown { window, until }
    } else {
        let until = lowest.extreme(cx.at()).map_or(cx.at().plus(window), |(_, until)| until);
        Reason::StabilisingUp { window, until }
    };
    let held = Replicas(u32::try_from(to).unwrap_or(u32::MAX));
    let wanted = draft.wanted();
    let sure = if unknown || !draft.shrinks() { None } else { released(cx, window) };
    draft.move_to(held, By::Stabilise, why);
    if let Some((enough, why)) = sure.filter(|(enough, _)| enough.as_f64() <= WORTH_IT * held.as_f64()) {
        draft.move_to(enough.max(wanted), By::Stabilise, why);
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    /// A4: `behavior` with scaleDown stabilisation 300 s, scaleUp 60 s.
    #[test]
    fn shrinking_takes_the_highest_of_the_window_and_growing_the_lowest() {
        let windows = r#"{ "scaleUp": { "stabilization": "60s" }, "scaleDown": { "stabilization": "5m" } }"#;
        for (want, past, expected) in [
            (4, vec![(299, 7)], 7),
            (4, vec![(300, 7)], 4),
            (4, vec![(10, 30)], 10), // held, never grown
            (16, vec![(59, 12)], 12),
            (16, vec![(60, 12)], 16),
            (16, vec![(10, 3)], 10),
        ] {
            let case = Case::new(10, want).behavior(windows).recommended(&past);
            assert_eq!(case.limited(super::limit), expected, "10 → {want} after {past:?}");
        }
    }
}
