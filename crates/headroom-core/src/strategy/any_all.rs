//! Any/all: grow if any condition holds, shrink only if all do (A7, B12).
//!
//! The source's rule: up if cpu > 80 %, memory > 85 %, response > 2 s or errors > 5 %; down only if cpu < 20 %,
//! memory < 20 %, response < 0.5 s and errors < 1 %; 300 s between changes. It says nothing about the size of a
//! step; two up and one down is the usual asymmetry, and both can be set. Growing needs one condition that can
//! be read; shrinking needs all of them, so an absent signal can never shrink anything.
//!
//! Source of rule and defaults: A7 (limits, 300 s), B12; the steps of two and one: A19, moderate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Quantity, Replicas, Span};

/// Grow if any condition holds, shrink only if all do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AnyAll {
    /// Grow if any of these signals is above its limit.
    pub up_if_any: Vec<Condition>,
    /// Shrink if all of these signals are below their limits. Without any, it never shrinks.
    #[serde(default)]
    pub down_if_all: Vec<Condition>,
    /// Replicas added at a time.
    #[serde(default = "two")]
    pub add: Replicas,
    /// Replicas taken away at a time.
    #[serde(default = "one")]
    pub remove: Replicas,
    /// How long to wait after a change (A7: 300s).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

/// A signal and its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Condition {
    /// The signal; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// The limit.
    pub limit: Quantity,
}

fn one() -> Replicas {
    Replicas(1)
}
fn two() -> Replicas {
    Replicas(2)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

impl Condition {
    fn look(&self, cx: &Context<'_>) -> Result<Seen, Reason> {
        let sample = cx.fresh(&self.signal)?;
        let value = cx.per_replica(&self.signal, sample).ok_or(Reason::NoReadyReplica)?;
        Ok(Seen { value, ..cx.seen(&self.signal, sample) })
    }
}

impl AnyAll {
    fn want(&self, cx: &Context<'_>) -> Advice {
        let mut absent = None;
        for condition in &self.up_if_any {
            match condition.look(cx) {
                Ok(seen) if seen.value > condition.limit.level => {
                    let limit = condition.limit.level;
                    return Advice::wants(cx.current().plus(self.add.0), Reason::SignalAbove { seen, limit });
                }
                Ok(_) => {}
                Err(why) => absent = absent.or(Some(why)),
            }
        }
        let mut below = Vec::with_capacity(self.down_if_all.len());
        for condition in &self.down_if_all {
            match condition.look(cx) {
                Ok(seen) if seen.value < condition.limit.level => below.push(seen),
                Ok(seen) => {
                    let limit = condition.limit.level;
                    return Advice::wants(cx.current(), Reason::NotAllBelow { seen, limit });
                }
                Err(why) => absent = absent.or(Some(why)),
            }
        }
        match absent {
            Some(why) => Advice::abstains(why),
            None if below.is_empty() => Advice::abstains(Reason::NobodyWants),
            None => Advice::wants(cx.current().minus(self.remove.0), Reason::AllBelow { seen: below }),
        }
    }
}

impl Recommend for AnyAll {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        match self.want(cx) {
            Advice::Wants { replicas, why } if replicas != cx.current() => {
                match cx.pause_until(None, self.cooldown) {
                    Some(until) => {
                        Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: replicas })
                    }
                    None => Advice::wants(replicas, why),
                }
            }
            advice => advice,
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.down_if_all.iter().map(|c| c.signal.clone()));
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.up_if_any.is_empty() {
            problems.push(Problem::new(at.key("upIfAny"), "without a condition it never grows"));
        }
        for (key, conditions) in [("upIfAny", &self.up_if_any), ("downIfAll", &self.down_if_all)] {
            for (index, condition) in conditions.iter().enumerate() {
                let at = at.key(key).index(index);
                if let Some(signal) = workload.require_signal(&condition.signal, &at.key("signal"), problems)
                {
                    super::check_unit(&condition.limit, signal, &at.key("limit"), problems);
                }
            }
        }
        for (key, count) in [("add", self.add), ("remove", self.remove)] {
            if count == Replicas::ZERO {
                problems.push(Problem::new(at.key(key), "a step of 0 changes nothing"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, wants};

    fn rule() -> AnyAll {
        let c = |signal: &str, limit: &str| Condition {
            signal: signal.parse().unwrap(),
            limit: limit.parse().unwrap(),
        };
        AnyAll {
            up_if_any: vec![c("cpu", "80%"), c("p95", "2s")],
            down_if_all: vec![c("cpu", "20%"), c("p95", "500ms")],
            add: two(),
            remove: one(),
            cooldown: five_minutes(),
        }
    }

    /// A7, B12: any condition grows, all are needed to shrink; limits themselves do neither.
    #[test]
    fn any_grows_and_all_shrink() {
        for (cpu, p95, expected, code) in [
            (0.81, 0.1, 12, "signal-above"),
            (0.10, 2.1, 12, "signal-above"),
            (0.80, 2.0, 10, "not-all-below"),
            (0.19, 0.4, 9, "all-below"),
            (0.20, 0.4, 10, "not-all-below"),
            (0.10, 0.5, 10, "not-all-below"),
            (0.0, 0.0, 9, "all-below"),
        ] {
            let case = Case::cpu(cpu).with("p95", p95).ready(10).current(10);
            assert_eq!(wants(&rule(), &case), (expected, code), "cpu {cpu}, p95 {p95}");
        }
    }

    /// A7 and absence: one breach that can be read grows; shrinking needs every signal.
    #[test]
    fn an_absent_signal_never_shrinks_but_does_not_stop_growth() {
        assert_eq!(wants(&rule(), &Case::cpu(0.9).ready(10).current(10)), (12, "signal-above"));
        assert_eq!(abstains(&rule(), &Case::cpu(0.1).ready(10).current(10)), "signal-absent");
    }

    #[test]
    fn waits_between_changes() {
        let case = Case::cpu(0.9).with("p95", 0.1).ready(10).current(10).changed_seconds_ago(10);
        assert_eq!(wants(&rule(), &case), (10, "strategy-cooling-down"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_seen(case in crate::strategy::testing::any_case(&["cpu", "p95"])) {
            crate::strategy::testing::behaves(&rule(), &case, &["cpu", "p95"])?;
        }
    }
}
