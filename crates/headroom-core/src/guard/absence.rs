//! Absence: nothing shrinks because something could not be read.
//!
//! A strategy that lacks its signal abstains. If the others then want less, the highest want may be missing from
//! the comparison, so the count is held. Growing on what *is* known stays allowed.

use crate::decision::{By, Draft, Recommendation};
use crate::reason::Reason;

pub(super) fn limit(recommendations: &[Recommendation], draft: &mut Draft) {
    if !draft.shrinks() {
        return;
    }
    if let Some(signal) = recommendations.iter().find_map(|r| r.advice.why().absent_signal()) {
        draft.move_to(draft.from(), By::Absence, Reason::HeldForAbsence { signal: signal.clone() });
    }
}

#[cfg(test)]
mod tests {
    use crate::decision::{Advice, Recommendation};
    use crate::guard::testing::Case;
    use crate::reading::Absence;
    use crate::reason::Reason;
    use crate::strategy::StrategyKind;
    use crate::units::Span;

    #[test]
    fn a_missing_or_stale_signal_holds_shrinking_and_nothing_else() {
        let signal = || "cpu".parse().unwrap();
        for why in [
            Reason::SignalAbsent { signal: signal(), absence: Absence::NotANumber },
            Reason::SignalStale { signal: signal(), age: Span::seconds(60) },
        ] {
            let abstains = [Recommendation {
                strategy: StrategyKind::Threshold,
                index: 0,
                advice: Advice::abstains(why),
            }];
            let limit = |_: &crate::context::Context<'_>, draft: &mut _| super::limit(&abstains, draft);
            assert_eq!(Case::new(8, 4).limited(limit), 8);
            assert_eq!(Case::new(8, 12).limited(limit), 12);
        }
    }
    #[test]
    fn having_nothing_to_measure_is_no_fault_and_holds_nothing() {
        let why = Reason::SignalAbsent { signal: "p95".parse().unwrap(), absence: Absence::Idle };
        let abstains =
            [Recommendation { strategy: StrategyKind::Threshold, index: 0, advice: Advice::abstains(why) }];
        let limit = |_: &crate::context::Context<'_>, draft: &mut _| super::limit(&abstains, draft);
        assert_eq!(Case::new(8, 4).limited(limit), 4);
    }
}
