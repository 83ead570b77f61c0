//! Stabilise: the HPA's stabilisation windows (A4).
//!
//! Shrinking goes no lower than the highest recommendation of the last `scaleDown.stabilization` (5 min),
//! growing no higher than the lowest of the last `scaleUp.stabilization` (0 s). A short dip or spike passes
//! without a change.

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let behavior = &cx.workload().behavior;
    if draft.shrinks() {
        // Before any recommendation is known the present count stands for the unknown past (as in the HPA), so
        // the first move after a start is never down.
        let window = behavior.down_window();
        let unknown = cx.memory().highest.is_empty() && !window.is_zero();
        let past = cx.memory().highest.extreme(cx.at());
        let past = past.or_else(|| unknown.then(|| (draft.from(), cx.at().plus(window))));
        if let Some((highest, until)) = past
            && highest > draft.wanted()
        {
            let why = Reason::StabilisingDown { window, until };
            draft.move_to(highest.min(draft.from()), By::Stabilise, why);
        }
    } else if draft.grows()
        && let Some((lowest, until)) = cx.memory().lowest.extreme(cx.at())
        && lowest < draft.wanted()
    {
        let why = Reason::StabilisingUp { window: behavior.up_window(), until };
        draft.move_to(lowest.max(draft.from()), By::Stabilise, why);
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
