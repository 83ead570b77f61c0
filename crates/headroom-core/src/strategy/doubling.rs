//! Doubling and halving (B9).
//!
//! The source's horizontal rule: twice as many above 80 %, half as many below 30 %, 1 to 10. Crude, but a surge of
//! unknown size is found in the logarithm of its size. A half is rounded up: what remains must carry the load, and
//! below 30 % twice that is still below the 80 % at which it would double again.
//!
//! Source of rule and defaults: B9; the cooldown: B14 (300 s between two events).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Level, Quantity, Replicas, Span};

/// Twice as many above one limit, half as many below another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Doubling {
    /// The signal to watch; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// Double above this (B9: 80%).
    #[serde(default = "eighty")]
    pub above: Quantity,
    /// Halve below this (B9: 30%).
    #[serde(default = "thirty")]
    pub below: Quantity,
    /// How long to wait after a change (B14: 300s).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

fn eighty() -> Quantity {
    Quantity::ratio(Level::new(0.8).unwrap_or(Level::ZERO))
}
fn thirty() -> Quantity {
    Quantity::ratio(Level::new(0.3).unwrap_or(Level::ZERO))
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

impl Recommend for Doubling {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let seen = match super::look(cx, &self.signal) {
            Ok(seen) => seen,
            Err(why) => return Advice::abstains(why),
        };
        let (low, high) = (self.below.level, self.above.level);
        let (want, why) = if seen.value > high {
            (cx.current().max(Replicas::ONE).plus(cx.current().0), Reason::SignalAbove { seen, limit: high })
        } else if seen.value < low {
            (Replicas(cx.current().0.div_ceil(2)), Reason::SignalBelow { seen, limit: low })
        } else {
            // The fewest at which the value stays within the band.
            return super::content(cx, seen.value, high, Reason::WithinBand { seen, low, high });
        };
        super::after_cooldown(cx, want, why, self.cooldown)
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        super::check_unit(&self.above, signal, &at.key("above"), problems);
        super::check_unit(&self.below, signal, &at.key("below"), problems);
        if self.below.level.get() * 2.0 > self.above.level.get() {
            problems.push(
                Problem::new(at.key("below"), "is more than half of `above`")
                    .help("half as many replicas show twice the value, which would double them again"),
            );
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, content, problems, wants};
    use proptest::prelude::*;

    fn rule() -> Doubling {
        serde_json::from_value(serde_json::json!({ "signal": "cpu" })).unwrap()
    }

    /// B9: × 2 above 80 %, ÷ 2 below 30 %.
    #[test]
    fn it_doubles_and_halves() {
        for (cpu, current, expected, code) in [
            (0.81, 4, 8, "signal-above"),
            (0.29, 5, 3, "signal-below"),
            (0.0, 1, 1, "signal-below"),
            (1e300, 900_000, 1_000_000, "signal-above"),
        ] {
            assert_eq!(wants(&rule(), &Case::cpu(cpu).replicas(current)), (expected, code), "{cpu}");
        }
        assert_eq!(content(&rule(), &Case::cpu(0.80).replicas(4)), (4, "within-band"));
        assert_eq!(content(&rule(), &Case::cpu(0.30).replicas(5)), (2, "within-band"), "two come to 75 %");
        assert_eq!(abstains(&rule(), &Case::absent().replicas(4)), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::absent().not_a_number("cpu")), "signal-absent");
        assert_eq!(wants(&rule(), &Case::cpu(0.9).replicas(4).changed_seconds_ago(299)).0, 4);
        assert_eq!(problems(&rule()), Vec::<String>::new());
        assert_eq!(
            problems(&Doubling { below: Quantity::ratio(Level::new(0.5).unwrap()), ..rule() }),
            ["below"]
        );
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"])) {
            behaves(&rule(), &case, &["cpu"])?;
        }
    }
}
