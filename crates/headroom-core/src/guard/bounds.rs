//! Bounds: the least and the most replicas.
//!
//! The last word on the number, in both directions: what lies outside comes back inside, whatever any strategy wants.
//!
//! ```text
//! min ≤ count ≤ max, or what a proved forecast raises max to: ⌈forecast × (1 + buffer)⌉, at most `atMost`
//! ```
//!
//! Source: A1 (2 to 50), A9 (20 % above the maximum). There are no defaults: what may be spent is for the policy to say.

use crate::context::Context;
use crate::decision::{By, Draft, Recommendation};
use crate::fleet::{ReplicaRange, Workload};
use crate::reason::Reason;
use crate::strategy::Strategy;
use crate::units::Replicas;

/// The most replicas where a forecast is allowed to break the policy's maximum: the forecast and `buffer` (a share)
/// on top, never less than the maximum itself (A9: 20 % above).
#[must_use]
pub fn raised_maximum(max: Replicas, forecast: Replicas, buffer: f64) -> Replicas {
    Replicas::ceil(forecast.as_f64() * (1.0 + buffer.max(0.0))).max(max)
}

/// The most replicas `workload` may have now: the policy's maximum, or what a forecast has raised it to.
pub(crate) fn maximum(workload: &Workload, said: &[Recommendation], current: Replicas) -> Replicas {
    let max = workload.replicas.max;
    let raised = said.iter().filter_map(|r| match workload.strategies.get(r.index)? {
        Strategy::Predictive(rule) => Some(rule.maximum(max, current, r.advice.why())),
        _ => None,
    });
    raised.fold(max, Replicas::max)
}

/// The count nearest to `draft`'s that may be, and why it is not that one.
fn nearest(cx: &Context<'_>, said: &[Recommendation], draft: &Draft) -> (Replicas, Reason) {
    let max = maximum(cx.workload(), said, cx.current());
    let range = ReplicaRange { max, ..cx.workload().replicas };
    let within = range.clamp(draft.wanted());
    let above = within < draft.wanted();
    (within, if above { Reason::AtMaximum { max } } else { Reason::AtMinimum { min: range.min } })
}

pub(super) fn limit(cx: &Context<'_>, said: &[Recommendation], draft: &mut Draft) {
    let (within, why) = nearest(cx, said, draft);
    draft.move_to(within, By::Bounds, why);
}

/// A plan that another policy allowed is not made to fit this one.
pub(super) fn refuse(cx: &Context<'_>, said: &[Recommendation], draft: &mut Draft) {
    let (within, why) = nearest(cx, said, draft);
    if within != draft.wanted() {
        draft.refuse(By::Bounds, why);
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    #[test]
    fn no_count_leaves_its_range() {
        for (from, want, expected) in
            [(5, 0, 2), (5, 1, 2), (5, 2, 2), (5, 20, 20), (5, 21, 20), (30, 30, 20), (1, 1, 2)]
        {
            assert_eq!(
                Case::new(from, want).range(2, 20).limited(|cx, draft| super::limit(cx, &[], draft)),
                expected,
                "{from} → {want}"
            );
        }
    }
}
