//! Adjustments of a count: by so many, by per cent, or to an exact count (A13).
//!
//! The rounding is AWS's, because its users bring their step policies: a share above one rounds down, one below
//! one counts as one, so that a small group moves at all; a share never moves less than `minMagnitude`. Rounding
//! the new count up instead is Nomad's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Replicas;

/// What an adjustment's amount means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AdjustmentKind {
    /// So many replicas more (or fewer, if negative).
    #[default]
    Change,
    /// So many per cent more (or fewer).
    Percent,
    /// To this count.
    Exact,
}

/// How a share of a count becomes whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Rounding {
    /// The change towards zero, but at least one (AWS).
    #[default]
    TowardsZero,
    /// The new count up (Nomad).
    Up,
}

/// A change as a whole number: towards zero, but at least one where it is not zero.
#[must_use]
pub fn whole_change(raw: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
    let whole = raw.trunc() as i64;
    match whole {
        0 if raw > 0.0 => 1,
        0 if raw < 0.0 => -1,
        whole => whole,
    }
}

/// The count after an adjustment of `count` by `amount`.
#[must_use]
pub fn adjusted(
    kind: AdjustmentKind,
    rounding: Rounding,
    count: Replicas,
    amount: f64,
    min_magnitude: Replicas,
) -> Replicas {
    let at_least = |change: i64| match change {
        0 => 0,
        change if change > 0 => change.max(i64::from(min_magnitude.0)),
        change => change.min(-i64::from(min_magnitude.0)),
    };
    let moved = |change: i64| {
        let count = i64::from(count.0).saturating_add(change).clamp(0, i64::from(Replicas::LIMIT.0));
        Replicas(u32::try_from(count).unwrap_or(u32::MAX))
    };
    match (kind, rounding) {
        (AdjustmentKind::Change, _) => moved(whole_change(amount)),
        (AdjustmentKind::Percent, Rounding::TowardsZero) => {
            moved(at_least(whole_change(count.as_f64() * amount / 100.0)))
        }
        (AdjustmentKind::Percent, Rounding::Up) => Replicas::ceil(count.as_f64() * (1.0 + amount / 100.0)),
        (AdjustmentKind::Exact, _) => Replicas::ceil(amount.max(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A13: the three kinds, and their rounding.
    #[test]
    fn a_share_moves_at_least_one() {
        use AdjustmentKind::{Change, Exact, Percent};
        for (kind, rounding, count, amount, least, expected) in [
            (Change, Rounding::TowardsZero, 3, 2.0, 0, 5),
            (Change, Rounding::TowardsZero, 1, -4.0, 0, 0),
            (Percent, Rounding::TowardsZero, 10, 25.0, 0, 12), // 2.5 rounds down
            (Percent, Rounding::TowardsZero, 3, 10.0, 0, 4),   // 0.3 is one
            (Percent, Rounding::TowardsZero, 3, -10.0, 0, 2),
            (Percent, Rounding::TowardsZero, 10, 10.0, 2, 12),
            (Percent, Rounding::TowardsZero, 10, 0.0, 2, 10),
            (Percent, Rounding::Up, 5, 30.0, 0, 7),
            (Percent, Rounding::Up, 10, -25.0, 0, 8),
            (Exact, Rounding::TowardsZero, 3, 5.0, 0, 5),
            (Change, Rounding::TowardsZero, 1, 1e300, 0, Replicas::LIMIT.0),
        ] {
            let after = adjusted(kind, rounding, Replicas(count), amount, Replicas(least));
            assert_eq!(after, Replicas(expected), "{kind:?} {count} by {amount}");
        }
    }

    proptest! {
        #[test]
        fn an_adjustment_goes_its_way(count in 0_u32..100_000, amount in -200.0..200.0_f64) {
            for kind in [AdjustmentKind::Change, AdjustmentKind::Percent] {
                let after = adjusted(kind, Rounding::TowardsZero, Replicas(count), amount, Replicas::ZERO);
                let its_way = if amount >= 0.0 { after.0 >= count } else { after.0 <= count };
                prop_assert!(its_way, "from {} to {}", count, after);
            }
        }
    }
}
