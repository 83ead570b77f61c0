//! Absence: nothing shrinks because something could not be read.
//!
//! A strategy that lacks its signal abstains. If the others then want less, the highest want may be missing from
//! the comparison, so the count is held. Growing on what *is* known stays allowed. A source that fails holds all it
//! feeds, whichever strategy asks: it may be the first to notice what the others can't see yet.
//!
//! A policy may say what stands in for a signal, by direction ([`AbsentRule`](crate::fleet::AbsentRule)). What comes of
//! every fault in either direction is a table in `docs/data-quality.md`, each cell of which a test checks.
//!
//! Source: Kubernetes' HPA, which skips a shrink while a metric is missing; that zero and absent differ is headroom's own
//! rule. There are no defaults but that: hold.

use crate::context::Context;
use crate::decision::{Advice, By, Draft, Recommendation, SeenSignal};
use crate::fleet::WhenAbsent;
use crate::names::SignalName;
use crate::reading::{Absence, Reading};
use crate::reason::Reason;
use crate::units::Replicas;

pub(super) fn limit(cx: &Context<'_>, recommendations: &[Recommendation], draft: &mut Draft) {
    // Without a fault there is nothing to do, and that is nearly always.
    if !cx.signals.iter().any(|s| s.reading.is_fault()) {
        return;
    }
    let mut needs = Vec::new();
    for strategy in &cx.workload().strategies {
        strategy.needs(&mut needs);
    }
    let silent = !recommendations.iter().any(|r| matches!(r.advice, Advice::Wants { .. }));
    let faults = || cx.signals.iter().filter(|s| s.reading.is_fault() && matters(s, &needs, recommendations));
    for seen in faults() {
        let Some(signal) = cx.signal(&seen.name) else { continue };
        let why = |replicas| Reason::FallbackReplicas { signal: seen.name.clone(), replicas };
        if let WhenAbsent::Replicas(least) = signal.absent.grow
            && draft.wanted() < least
            && !draft.shrinks()
        {
            draft.move_to(least, By::Absence, why(least));
        }
        if let WhenAbsent::Replicas(least) = signal.absent.shrink
            && silent
            && least < draft.wanted()
            && !draft.grows()
        {
            draft.move_to(least, By::Absence, why(least));
        }
    }
    if draft.shrinks()
        && let Some((floor, signal)) = floor_of_faults(cx, recommendations)
        && draft.wanted() < floor
    {
        draft.move_to(floor, By::Absence, Reason::HeldForAbsence { signal: signal.clone() });
    }
}

/// What a person asked for does not shrink on what can't be read either; coming down to the maximum is the policy's word.
pub(super) fn refuse(cx: &Context<'_>, recommendations: &[Recommendation], draft: &mut Draft) {
    if draft.shrinks()
        && draft.from() <= super::maximum(cx.workload(), recommendations, cx.current())
        && let Some((floor, signal)) = floor_of_faults(cx, recommendations)
        && draft.wanted() < floor
    {
        draft.refuse(By::Absence, Reason::HeldForAbsence { signal: signal.clone() });
    }
}

/// How far the count may shrink with what can't be read; `None` where all can.
pub(super) fn floor_of_faults<'a>(
    cx: &Context<'a>,
    recommendations: &[Recommendation],
) -> Option<(Replicas, &'a SignalName)> {
    if !cx.signals.iter().any(|s| s.reading.is_fault()) {
        return None;
    }
    let mut needs = Vec::new();
    for strategy in &cx.workload().strategies {
        strategy.needs(&mut needs);
    }
    let faults = cx.signals.iter().filter(|s| s.reading.is_fault() && matters(s, &needs, recommendations));
    // Of several signals at fault the one that allows least counts.
    faults.map(|seen| (floor(cx, seen, cx.current()), &seen.name)).max_by_key(|(floor, _)| *floor)
}

/// Whether a fault of this signal concerns the decision: a strategy needs it, abstains for it, or its source failed.
fn matters(seen: &SeenSignal, needs: &[SignalName], recommendations: &[Recommendation]) -> bool {
    needs.contains(&seen.name)
        || matches!(seen.reading, Reading::Missing(Absence::SourceFailed(_)))
        || recommendations.iter().any(|r| r.advice.why().absent_signal() == Some(&seen.name))
}

/// How far the count may shrink while this signal is at fault.
fn floor(cx: &Context<'_>, seen: &SeenSignal, from: Replicas) -> Replicas {
    let Some(signal) = cx.signal(&seen.name) else { return from };
    match &signal.absent.shrink {
        WhenAbsent::Hold => from,
        WhenAbsent::Replicas(least) => (*least).min(from),
        rule => cx.stands_in(&seen.name, rule).map_or(from, |_| Replicas::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::AbsentRule;
    use crate::strategy::StrategyKind;
    use crate::strategy::testing::{Case, seeing_with};

    /// Where a draft from ten to `want` ends, while a strategy abstains for `signal`.
    fn limited(case: &Case, signal: &str, rule: AbsentRule, want: u32) -> u32 {
        let name: SignalName = signal.parse().unwrap();
        let set = |w: &mut crate::fleet::Workload| w.signals.get_mut(&name).unwrap().absent = rule;
        seeing_with(&case.clone().replicas(10), set, |cx| {
            let advice = Advice::abstains(cx.fresh(&name).err().unwrap_or(Reason::NobodyWants));
            let abstains = [Recommendation { strategy: StrategyKind::Threshold, index: 0, advice }];
            let mut draft = Draft::starting_at(Replicas(10), Vec::new());
            draft.move_to(Replicas(want), By::Strategies, Reason::NobodyWants);
            limit(cx, &abstains, &mut draft);
            draft.wanted().0
        })
    }

    #[test]
    fn a_missing_or_stale_signal_holds_shrinking_and_nothing_else() {
        for case in [Case::absent(), Case::absent().not_a_number("cpu"), Case::cpu(0.5).aged(60)] {
            assert_eq!(limited(&case, "cpu", AbsentRule::default(), 4), 10, "{case:?}");
            assert_eq!(limited(&case, "cpu", AbsentRule::default(), 12), 12, "{case:?}");
        }
        assert_eq!(limited(&Case::cpu(0.0), "cpu", AbsentRule::default(), 4), 4, "zero is a value");
    }

    #[test]
    fn fallback_replicas_are_gone_to_where_nobody_wants_anything() {
        let rule = |grow: Option<u32>, shrink: Option<u32>| AbsentRule {
            grow: grow.map_or(WhenAbsent::Hold, |n| WhenAbsent::Replicas(Replicas(n))),
            shrink: shrink.map_or(WhenAbsent::Hold, |n| WhenAbsent::Replicas(Replicas(n))),
        };
        for (grow, shrink, expected) in [
            (Some(15), None, 15),
            (Some(5), None, 10),
            (None, Some(6), 6),
            (None, Some(12), 10),
            (None, None, 10),
        ] {
            assert_eq!(
                limited(&Case::absent(), "cpu", rule(grow, shrink), 10),
                expected,
                "{grow:?} {shrink:?}"
            );
        }
    }
}
