//! How far a count may move now: the HPA's policies of speed, as arithmetic (A4).
//!
//! A policy allows so many replicas, or so many per cent, within a period. What counts is the count at the
//! period's start: the present one less what the period added and plus what it took, in whichever direction.
//! Percentages of growth round up and of shrinking round down, so that a small workload is not stuck. Of several
//! policies the one that allows most counts, or the one that allows least, as written.

use crate::context::Direction;
use crate::fleet::{Burst, PolicySelect, ScalingPolicy, ScalingRules};
use crate::units::Span;

/// What changed within a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Replicas added.
    pub added: i64,
    /// Replicas taken away.
    pub taken: i64,
}

impl Moved {
    /// Sums up changes, given newest first as age and difference (positive: added), that are younger than
    /// `period`. A change exactly as old as the period is over.
    #[must_use]
    pub fn within(period: Span, changes: impl IntoIterator<Item = (Span, i64)>) -> Self {
        let mut moved = Self::default();
        for (_, by) in changes.into_iter().filter(|(age, _)| *age < period) {
            if by > 0 {
                moved.added += by;
            } else {
                moved.taken -= by;
            }
        }
        moved
    }
}

/// The furthest count the rules allow to go to from `present`, never on the other side of it, and the period
/// of the policy that says so (no length: the limit of one change); `None` where nothing is written. A direction that is switched off goes nowhere.
pub fn furthest(
    rules: &ScalingRules,
    direction: Direction,
    present: i64,
    moved: impl Fn(Span) -> Moved,
) -> Option<(i64, Span)> {
    if rules.select == PolicySelect::Disabled {
        return Some((present, Span::ZERO));
    }
    let burst = rules.burst.filter(|_| direction == Direction::Up).map(|b| burst(&b, present));
    let edges = rules.policies.iter().map(|p| (edge(p, direction, present, moved(p.period)), p.period));
    // Growing as far as possible is the largest count, shrinking as far as possible the smallest.
    let by_policy = match (direction, rules.select) {
        (Direction::Up, PolicySelect::Max) | (Direction::Down, PolicySelect::Min) => {
            edges.max_by_key(|e| e.0)
        }
        (Direction::Up | Direction::Down, _) => edges.min_by_key(|e| e.0),
    };
    let (edge, period) = match (by_policy, burst) {
        (Some((edge, _)), Some(burst)) if burst < edge => (burst, Span::ZERO),
        (None, Some(burst)) => (burst, Span::ZERO),
        (by_policy, _) => by_policy?,
    };
    let edge = match direction {
        Direction::Up => edge.max(present),
        Direction::Down => edge.min(present),
    };
    Some((edge, period))
}

/// How far one change may grow.
fn burst(burst: &Burst, present: i64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "counts are below 2^31, and a float beyond the range saturates"
    )]
    let times = (burst.factor * present as f64) as i64;
    times.max(i64::from(burst.at_least.0))
}

/// How far one policy allows to go.
fn edge(policy: &ScalingPolicy, direction: Direction, present: i64, moved: Moved) -> i64 {
    let start = present - moved.added + moved.taken;
    let percent = f64::from(policy.percent.unwrap_or(0)) / 100.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "counts are below 2^31, and a float beyond the range saturates"
    )]
    match (direction, policy.replicas) {
        (Direction::Up, Some(replicas)) => start + i64::from(replicas),
        (Direction::Down, Some(replicas)) => start - i64::from(replicas),
        (Direction::Up, None) => (start as f64 * (1.0 + percent)).ceil() as i64,
        (Direction::Down, None) => (start as f64 * (1.0 - percent)) as i64,
    }
}

impl ScalingRules {
    /// These rules with the HPA's own defaults for what is not written: growing by 4 replicas or 100 % within
    /// 15 s, whichever is more; shrinking by all within 15 s; no stabilisation for growing. For manifests of the
    /// HPA: headroom's own default is no limit of speed.
    #[must_use]
    pub fn completed_as_hpa(mut self, direction: Direction) -> Self {
        let period = Span::seconds(15);
        let percent = ScalingPolicy { percent: Some(100), replicas: None, period };
        if self.policies.is_empty() {
            self.policies = match direction {
                Direction::Up => {
                    vec![ScalingPolicy { percent: None, replicas: Some(4), period }, percent]
                }
                Direction::Down => vec![percent],
            };
        }
        if direction == Direction::Up {
            self.stabilization.get_or_insert(Span::ZERO);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(select: PolicySelect, policies: &[(Option<u32>, Option<u32>)]) -> ScalingRules {
        let period = Span::seconds(60);
        ScalingRules {
            policies: policies
                .iter()
                .map(|&(percent, replicas)| ScalingPolicy { percent, replicas, period })
                .collect(),
            select,
            ..ScalingRules::default()
        }
    }

    /// A4: rounding, the base at the period's start, and a base that was overtaken.
    #[test]
    fn the_edge_counts_from_the_start_of_the_period() {
        let percent = |p| rules(PolicySelect::Max, &[(Some(p), None)]);
        for (rules, direction, present, added, taken, expected) in [
            (percent(1), Direction::Up, 3, 0, 0, 4),      // 3.03 rounds up
            (percent(10), Direction::Down, 5, 0, 0, 4),   // 4.5 rounds down
            (percent(100), Direction::Up, 20, 10, 0, 20), // ten at the start
            (percent(50), Direction::Down, 10, 2, 4, 6),  // twelve at the start
            (percent(100), Direction::Up, 5, 9, 0, 5),    // a negative base goes nowhere
            (percent(0), Direction::Up, 5, 0, 0, 5),
            (rules(PolicySelect::Disabled, &[]), Direction::Up, 5, 0, 0, 5),
            (rules(PolicySelect::Min, &[(Some(50), None), (None, Some(10))]), Direction::Down, 80, 0, 20, 80),
        ] {
            let edge = furthest(&rules, direction, present, |_| Moved { added, taken });
            assert_eq!(edge.unwrap().0, expected, "{rules:?} from {present}");
        }
        assert_eq!(furthest(&ScalingRules::default(), Direction::Up, 5, |_| Moved::default()), None);
    }

    #[test]
    fn a_change_as_old_as_the_period_is_over() {
        let changes = [(Span::seconds(59), 3), (Span::seconds(60), 5), (Span::seconds(10), -2)];
        assert_eq!(Moved::within(Span::seconds(60), changes), Moved { added: 3, taken: 2 });
    }

    proptest::proptest! {
        /// No policy turns a change round.
        #[test]
        fn an_edge_lies_on_its_side(
            percent in 0_u32..400, replicas in 0_u32..50, present in 0_i64..10_000,
            added in 0_i64..10_000, taken in 0_i64..10_000, max in proptest::bool::ANY,
        ) {
            let select = if max { PolicySelect::Max } else { PolicySelect::Min };
            let rules = rules(select, &[(Some(percent), None), (None, Some(replicas))]);
            let moved = |_| Moved { added, taken };
            proptest::prop_assert!(furthest(&rules, Direction::Up, present, moved).unwrap().0 >= present);
            proptest::prop_assert!(furthest(&rules, Direction::Down, present, moved).unwrap().0 <= present);
        }
    }
}
