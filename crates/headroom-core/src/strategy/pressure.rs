//! Pressure: the worst of several ratios moves the count (A35).
//!
//! The source's web rule: pressure is the highest of cpu ÷ 60 %, response time ÷ 2 s and requests a second ÷ 100 for
//! each replica. Above 1.2 the count becomes count × pressure × 1.1, below .6 count × .9. Growing needs one ratio
//! that can be read; shrinking needs them all. Growth rounds up; a shrink rounds down but by one at least.
//!
//! Source of rule and defaults: A35; the cooldown: A13.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::{Context, Direction};
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span};

/// The worst of several ratios moves the count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pressure {
    /// The ratios (A35: cpu at 60%, response time at 2s, requests a second at 100 for each replica).
    pub ratios: Vec<Ratio>,
    /// Grow above this pressure (A35: 1.2).
    #[serde(default = "above")]
    pub above: Level,
    /// Shrink below this pressure (A35: .6).
    #[serde(default = "below")]
    pub below: Level,
    /// So much more than the pressure asks for (A35: 1.1).
    #[serde(default = "reserve")]
    pub reserve: Level,
    /// What a shrink leaves (A35: .9).
    #[serde(default = "leaves")]
    pub leaves: Level,
    /// How long to wait after a change of the same direction (A13: 300s).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

/// One ratio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Ratio {
    /// The signal; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// The value at which the ratio is 1.
    pub at: Quantity,
}

fn level(value: f64) -> Level {
    Level::new(value).unwrap_or(Level::ZERO)
}
fn above() -> Level {
    level(1.2)
}
fn below() -> Level {
    level(0.6)
}
fn reserve() -> Level {
    level(1.1)
}
fn leaves() -> Level {
    level(0.9)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

impl Recommend for Pressure {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let mut worst: Option<(f64, Seen)> = None;
        let mut absent = None;
        for ratio in &self.ratios {
            match super::look(cx, &ratio.signal) {
                Ok(seen) => {
                    let pressure = seen.value.get() / ratio.at.level.get();
                    if worst.as_ref().is_none_or(|(highest, _)| pressure > *highest) {
                        worst = Some((pressure, seen));
                    }
                }
                Err(why) => absent = absent.or(Some(why)),
            }
        }
        let Some((pressure, seen)) = worst else {
            return Advice::abstains(absent.unwrap_or(Reason::NobodyWants));
        };
        // Beyond the largest float the pressure is as high as can be.
        let pressure = Level::new(pressure).unwrap_or(level(f64::MAX));
        let count = cx.current().as_f64();
        let why = Reason::UnderPressure { seen, pressure };
        let (want, direction) = if pressure > self.above {
            (Replicas::ceil(count * pressure.get() * self.reserve.get()), Direction::Up)
        } else if pressure < self.below {
            if let Some(why) = absent {
                return Advice::abstains(why);
            }
            // What is left, rounded up, but one fewer than there are.
            let left = Replicas::ceil(count * self.leaves.get());
            (left.min(cx.current().minus(1)), Direction::Down)
        } else {
            return Advice::wants(cx.current(), why);
        };
        match cx.pause_until(Some(direction), self.cooldown) {
            Some(until) => Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want }),
            None => Advice::wants(want, why),
        }
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.ratios.is_empty() {
            problems.push(Problem::new(at.key("ratios"), "without a ratio there is no pressure"));
        }
        for (index, ratio) in self.ratios.iter().enumerate() {
            let at = at.key("ratios").index(index);
            if let Some(signal) = workload.require_signal(&ratio.signal, &at.key("signal"), problems) {
                super::check_unit(&ratio.at, signal, &at.key("at"), problems);
                super::check_positive(&ratio.at, &at.key("at"), problems);
            }
        }
        if self.below >= self.above {
            problems.push(Problem::new(at.key("below"), "is not below `above`"));
        }
        if self.leaves.get() >= 1.0 || self.reserve.get() < 1.0 {
            problems.push(Problem::new(at.key("leaves"), "`leaves` is below 1, `reserve` at least 1"));
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.ratios.iter().map(|r| r.signal.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, problems, wants};
    use proptest::prelude::*;

    fn rule() -> Pressure {
        serde_json::from_value(serde_json::json!({ "ratios": [
            { "signal": "cpu", "at": "60%" }, { "signal": "p95", "at": "2s" }, { "signal": "rps", "at": 100 } ] }))
        .unwrap()
    }
    fn case(cpu: f64, p95: f64, rps: f64) -> Case {
        Case::cpu(cpu).with("p95", p95).with("rps", rps).replicas(10)
    }

    /// A35: the web rule of the source.
    #[test]
    fn the_worst_ratio_decides() {
        for (case, expected) in [
            (case(0.9, 0.1, 100.0), 17),  // 1.5 × 10 × 1.1
            (case(0.72, 0.1, 100.0), 10), // exactly 1.2
            (case(0.1, 3.0, 100.0), 17),
            (case(0.1, 0.1, 1500.0), 17), // 150 for each
            (case(0.1, 0.1, 100.0), 9),
            (case(0.0, 0.0, 0.0), 9),
            (case(0.36, 0.1, 100.0), 10), // exactly .6
            (case(1e300, 0.1, 100.0), 1_000_000),
        ] {
            assert_eq!(wants(&rule(), &case), (expected, "under-pressure"), "{case:?}");
        }
        assert_eq!(wants(&rule(), &Case::cpu(0.9).replicas(10)).0, 17, "one that can be read grows");
        assert_eq!(abstains(&rule(), &Case::cpu(0.1).replicas(10)), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::absent().not_a_number("cpu")), "signal-absent");
        assert_eq!(wants(&rule(), &case(0.1, 0.1, 10.0).replicas(1)).0, 0, "bounds keep the last one");
        assert_eq!(problems(&rule()), Vec::<String>::new());
        assert_eq!(problems(&Pressure { below: above(), ..rule() }), ["below"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu", "p95", "rps"])) {
            behaves(&rule(), &case, &["cpu", "p95", "rps"])?;
        }
    }
}
