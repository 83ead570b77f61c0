//! Threshold: grow over one limit, shrink under another (A1).
//!
//! The rule of the source: over 70 % grow, under 30 % shrink, to `ready × value ÷ 60 %`, and wait 300 s after a
//! change. Two mends: growing rounds up (the source truncates, so one per cent over the limit may add nothing),
//! and shrinking, which the source leaves out, mirrors growing and rounds up too, so that the target is not
//! exceeded by what remains. Between the limits it wants no change, which is what keeps the rule calm, and lets other
//! strategies shrink as far as the value would come to the target (ADR 85).
//!
//! The count starts from the *ready* replicas, as in the HPA: what each shows says nothing about those that
//! still start, and counting those would answer one surge twice.
//!
//! Source of rule and defaults: A1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::{Context, Direction};
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span};

/// Grow over one limit, shrink under another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Threshold {
    /// The signal to watch; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// Grow when the value is above this (A1: 70%).
    #[serde(default = "seventy_percent")]
    pub above: Quantity,
    /// Shrink when the value is below this (A1: 30%).
    #[serde(default = "thirty_percent")]
    pub below: Quantity,
    /// The value to come to (A1: 60%).
    #[serde(default = "sixty_percent")]
    pub target: Quantity,
    /// How long to wait after a change (A1: 300s).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

fn percent(p: f64) -> Quantity {
    Quantity::ratio(Level::new(p / 100.0).unwrap_or(Level::ZERO))
}
fn seventy_percent() -> Quantity {
    percent(70.0)
}
fn thirty_percent() -> Quantity {
    percent(30.0)
}
fn sixty_percent() -> Quantity {
    percent(60.0)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

/// Ready replicas times value over target, rounded up, and never against `direction`.
pub(super) fn proportional(cx: &Context<'_>, value: Level, target: Level, direction: Direction) -> Replicas {
    let want = Replicas::ceil(cx.ready().as_f64() * value.get() / target.get());
    match direction {
        Direction::Up => want.max(cx.current()),
        Direction::Down => want.min(cx.current()),
    }
}

impl Recommend for Threshold {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let sample = match cx.fresh(&self.signal) {
            Ok(sample) => sample,
            Err(why) => return Advice::abstains(why),
        };
        if cx.ready() == Replicas::ZERO {
            return Advice::abstains(Reason::NoReadyReplica);
        }
        let Some(value) = cx.per_replica(&self.signal, sample) else {
            return Advice::abstains(Reason::NoReadyReplica);
        };
        let seen = Seen { value, ..cx.seen(&self.signal, sample) };
        let (above, below, target) = (self.above.level, self.below.level, self.target.level);
        let (want, why) = if value > above {
            (
                proportional(cx, value, target, Direction::Up),
                Reason::TowardsTarget { seen, target, ready: cx.ready() },
            )
        } else if value < below {
            (
                proportional(cx, value, target, Direction::Down),
                Reason::TowardsTarget { seen, target, ready: cx.ready() },
            )
        } else {
            return super::content(cx, value, target, Reason::WithinBand { seen, low: below, high: above });
        };
        match cx.pause_until(None, self.cooldown) {
            Some(until) if want != cx.current() => {
                Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want })
            }
            Some(_) | None => Advice::wants(want, why),
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        for (key, quantity) in [("above", &self.above), ("below", &self.below), ("target", &self.target)] {
            super::check_unit(quantity, signal, &at.key(key), problems);
        }
        if self.below.level >= self.above.level {
            problems.push(
                Problem::new(at.key("below"), format!("{} is not below {}", self.below, self.above))
                    .help("leave a band between the limits, or the count swings at every tick"),
            );
        }
        if self.target.level <= self.below.level || self.target.level > self.above.level {
            problems.push(
                Problem::new(
                    at.key("target"),
                    format!("{} lies outside the band from {} to {}", self.target, self.below, self.above),
                )
                .help("a target outside its own band is left again at once"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, content, wants};

    fn rule() -> Threshold {
        Threshold {
            signal: "cpu".parse().unwrap(),
            above: seventy_percent(),
            below: thirty_percent(),
            target: sixty_percent(),
            cooldown: five_minutes(),
        }
    }

    /// A1: the formula, its edges, and the mends.
    #[test]
    fn grows_over_the_limit_and_shrinks_under_it() {
        for (ready, current, cpu, expected, code) in [
            (8, 8, 0.98, 14, "towards-target"),    // 8 × 98 ÷ 60 = 13.07
            (10, 10, 0.701, 12, "towards-target"), // mend: one per mille over adds, rounded up
            (10, 10, 0.29, 5, "towards-target"),   // 10 × 29 ÷ 60 = 4.83: five stay at 58 %
            (10, 10, 0.0, 0, "towards-target"),
            (4, 10, 0.98, 10, "towards-target"), // six still start: 4 × 98 ÷ 60 = 7, and growth never takes away
            (1, 1, 1e9, 1_000_000, "towards-target"),
        ] {
            let case = Case::cpu(cpu).ready(ready).current(current);
            assert_eq!(wants(&rule(), &case), (expected, code), "{ready} ready of {current} at {cpu}");
        }
    }

    /// A1, D2: inside the band nothing is wanted, and others may go down to where the value comes to its target. The
    /// limits themselves are inside.
    #[test]
    fn between_the_limits_it_is_content() {
        for (ready, current, cpu, least) in [
            (10, 10, 0.70, 10), // over the target: it needs what there is
            (10, 10, 0.60, 10),
            (10, 10, 0.55, 10), // 9.17, rounded up
            (10, 10, 0.45, 8),
            (10, 10, 0.30, 5),
            (4, 10, 0.60, 4), // six still start; these four are enough
        ] {
            let case = Case::cpu(cpu).ready(ready).current(current).changed_seconds_ago(1);
            assert_eq!(
                content(&rule(), &case),
                (least, "within-band"),
                "{ready} ready of {current} at {cpu}"
            );
        }
    }

    #[test]
    fn waits_after_a_change_and_says_until_when() {
        let case = Case::cpu(0.98).ready(8).current(8).changed_seconds_ago(299);
        assert_eq!(wants(&rule(), &case), (8, "strategy-cooling-down"));
        assert_eq!(wants(&rule(), &case.changed_seconds_ago(300)), (14, "towards-target"));
    }

    #[test]
    fn abstains_without_a_value_or_a_ready_replica() {
        use crate::strategy::testing::abstains;
        assert_eq!(abstains(&rule(), &Case::absent().ready(8).current(8)), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::cpu(0.98).ready(8).current(8).aged(11)), "signal-stale");
        assert_eq!(abstains(&rule(), &Case::cpu(0.98).ready(0).current(8)), "no-ready-replica");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_seen(case in crate::strategy::testing::any_case(&["cpu"])) {
            crate::strategy::testing::behaves(&rule(), &case, &["cpu"])?;
        }
    }
}
