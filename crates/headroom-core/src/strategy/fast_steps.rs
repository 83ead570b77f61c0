//! Fast steps: a reaction within seconds, in steps that grow with the breach (C1).
//!
//! The recipe of the source for ten-second scale-out, made for one-second figures: requests a second per
//! replica of 100 to 150 add one, up to 200 two, from 200 on four; shrinking takes one away when the value has
//! been below half for 3 × 60 s. Growing pauses 10 s so that one surge is answered once per start, shrinking
//! 300 s (the figure of its code; its text says at least 30 s).
//!
//! Source of rule and defaults: C1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::{Context, Direction};
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span};

/// Steps that grow with the breach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FastSteps {
    /// The signal to watch; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// From which value on how many replicas are added (C1: from 100 one, from 150 two, from 200 four).
    pub steps: Vec<StepAt>,
    /// Take one away when the value has been below this (C1: 50).
    pub below: Quantity,
    /// For how long it must have been below (C1: 3 × 60s).
    #[serde(default = "three_minutes")]
    pub below_for: Span,
    /// How long to wait after growing before growing again (C1: 0 to 10s).
    #[serde(default = "ten_seconds")]
    pub scale_out_cooldown: Span,
    /// How long to wait after any change before shrinking (C1: 300s).
    #[serde(default = "five_minutes")]
    pub scale_in_cooldown: Span,
}

/// A step and the value it starts at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StepAt {
    /// The value, inclusive.
    pub from: Quantity,
    /// Replicas added.
    pub add: Replicas,
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}
fn three_minutes() -> Span {
    Span::seconds(180)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

impl FastSteps {
    /// The largest step whose value is reached.
    fn step_for(&self, value: Level) -> Option<&StepAt> {
        self.steps.iter().rev().find(|step| value >= step.from.level)
    }
}

impl Recommend for FastSteps {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let sample = match cx.fresh(&self.signal) {
            Ok(sample) => sample,
            Err(why) => return Advice::abstains(why),
        };
        let Some(value) = cx.per_replica(&self.signal, sample).filter(|_| cx.ready() > Replicas::ZERO) else {
            return Advice::abstains(Reason::NoReadyReplica);
        };
        let seen = Seen { value, ..cx.seen(&self.signal, sample) };
        if let Some(step) = self.step_for(value) {
            let want = cx.current().plus(step.add.0);
            return match cx.pause_until(Some(Direction::Up), self.scale_out_cooldown) {
                Some(until) => {
                    Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want })
                }
                None => {
                    Advice::wants(want, Reason::FastStep { seen, limit: step.from.level, step: step.add })
                }
            };
        }
        let (low, high) = (self.below.level, self.steps.first().map_or(self.below.level, |s| s.from.level));
        if value >= low {
            return super::content(cx, value, high, Reason::WithinBand { seen, low, high });
        }
        // The series holds the raw signal; a total is compared with the limit times the ready replicas.
        let factor = if value == sample.value { 1.0 } else { cx.ready().as_f64() };
        let held = cx.held(&self.signal, self.below_for, |_, max| max.get() < low.get() * factor);
        if held < self.below_for {
            let needed = self.below_for;
            return Advice::wants(cx.current(), Reason::NotYetLongEnough { seen, limit: low, held, needed });
        }
        let want = cx.current().minus(1);
        match cx.pause_until(None, self.scale_in_cooldown) {
            Some(until) => Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want }),
            None => Advice::wants(want, Reason::SignalBelow { seen, limit: low }),
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        super::check_unit(&self.below, signal, &at.key("below"), problems);
        if self.steps.is_empty() {
            problems.push(Problem::new(at.key("steps"), "without a step it never grows"));
        }
        for (index, step) in self.steps.iter().enumerate() {
            let at = at.key("steps").index(index);
            super::check_unit(&step.from, signal, &at.key("from"), problems);
            if step.add == Replicas::ZERO {
                problems.push(Problem::new(at.key("add"), "a step of 0 changes nothing"));
            }
            let before = index.checked_sub(1).and_then(|i| self.steps.get(i));
            if before.is_some_and(|b| b.from.level >= step.from.level || b.add > step.add) {
                problems.push(
                    Problem::new(at.key("from"), "steps must rise: a larger breach, a larger step")
                        .help("order the steps by `from`, and let `add` grow with it"),
                );
            }
        }
        if self.steps.first().is_some_and(|first| self.below.level >= first.from.level) {
            problems.push(Problem::new(at.key("below"), "is not below the first step, so it would swing"));
        }
    }

    fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        if *signal == self.signal {
            windows.push(self.below_for.plus(Span::seconds(5)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, content, wants};

    fn rule() -> FastSteps {
        let step = |from: &str, add| StepAt { from: from.parse().unwrap(), add: Replicas(add) };
        FastSteps {
            signal: "rps".parse().unwrap(),
            steps: vec![step("100", 1), step("150", 2), step("200", 4)],
            below: "50".parse().unwrap(),
            below_for: three_minutes(),
            scale_out_cooldown: ten_seconds(),
            scale_in_cooldown: five_minutes(),
        }
    }

    /// C1: the step grows with the breach; the value is per ready replica.
    #[test]
    fn the_step_grows_with_the_breach() {
        for (rps, expected, code) in [
            (200.0, 3, "fast-step"),
            (299.0, 3, "fast-step"),
            (300.0, 4, "fast-step"),
            (400.0, 6, "fast-step"),
            (1e9, 6, "fast-step"),
        ] {
            assert_eq!(wants(&rule(), &Case::rps(rps).ready(2).current(2)), (expected, code), "{rps} on two");
        }
        // Under the first step it is there for surges, and keeps nobody else from shrinking to what stays under it.
        assert_eq!(content(&rule(), &Case::rps(198.0).ready(2).current(2)), (2, "within-band"));
        assert_eq!(content(&rule(), &Case::rps(198.0).ready(3).current(3)), (2, "within-band"));
    }

    /// C1: scale-in only after 3 × 60 s below half, and 300 s after a change.
    #[test]
    fn shrinks_one_at_a_time_and_only_after_a_while() {
        let calm = |seconds| Case::rps(60.0).for_seconds(seconds).ready(2).current(2);
        assert_eq!(wants(&rule(), &calm(179)), (2, "not-yet-long-enough"));
        assert_eq!(wants(&rule(), &calm(180)), (1, "signal-below"));
        assert_eq!(wants(&rule(), &calm(180).changed_seconds_ago(299)), (2, "strategy-cooling-down"));
    }

    #[test]
    fn answers_a_surge_once_per_pause() {
        let case = Case::rps(1000.0).ready(2).current(6).grew_seconds_ago(9);
        assert_eq!(wants(&rule(), &case), (6, "strategy-cooling-down"));
        assert_eq!(wants(&rule(), &case.grew_seconds_ago(10)), (10, "fast-step"));
        assert_eq!(abstains(&rule(), &Case::rps(1000.0).ready(0).current(2)), "no-ready-replica");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_seen(case in crate::strategy::testing::any_case(&["rps"])) {
            crate::strategy::testing::behaves(&rule(), &case, &["rps"])?;
        }
    }
}
