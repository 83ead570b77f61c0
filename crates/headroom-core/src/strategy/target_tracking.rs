//! Target tracking: keep a signal at a target (A3).
//!
//! Two forms. A *total* (requests a second, messages) is shared out: `ceil(total ÷ per replica)`. It does not
//! depend on how many replicas there are, so it answers a surge at once and exactly once. A value *each replica
//! shows* (CPU) is brought to its target in proportion: `ceil(ready × value ÷ target)`, with the HPA's tolerance
//! of 10 % in which nothing changes.
//!
//! Cooldowns as AWS's target tracking has them (300 s out, 600 s in, A3): the one for growing never holds back
//! a growth beyond what is already asked for, so it only bears on the second form, whose value is still that of
//! the old fleet; the one for shrinking counts from the last shrink.
//!
//! Source of rule and defaults: A3; the tolerance: Kubernetes' HPA.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::{Context, Direction};
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Scope, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span};

/// Keep a signal at a target. Exactly one of `target` and `perReplica` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TargetTracking {
    /// The signal to watch.
    pub signal: SignalName,
    /// The value each replica is to show (A3: 70%).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Quantity>,
    /// How much of the total one replica is to carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_replica: Option<Quantity>,
    /// How long to wait after growing before growing on the same evidence again (A3: 300s).
    #[serde(default = "scale_out_cooldown")]
    pub scale_out_cooldown: Span,
    /// How long to wait after shrinking before shrinking again (A3: 600s).
    #[serde(default = "scale_in_cooldown")]
    pub scale_in_cooldown: Span,
    /// At most so many more at a time; by default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_scale_up: Option<Replicas>,
    /// At most so many fewer at a time; by default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_scale_down: Option<Replicas>,
    /// How far from `target` a value may be without a change (the HPA's 10%).
    #[serde(default = "tolerance")]
    pub tolerance: Quantity,
}

fn scale_out_cooldown() -> Span {
    Span::seconds(300)
}
fn scale_in_cooldown() -> Span {
    Span::seconds(600)
}
fn tolerance() -> Quantity {
    Quantity::ratio(Level::new(0.1).unwrap_or(Level::ZERO))
}

/// The count for a value at `factor` times its target: in proportion, rounded up, unless the factor is within
/// `tolerance` of 1. From zero the factor itself is the count.
#[must_use]
pub fn by_factor(count: Replicas, factor: f64, tolerance: Level) -> Replicas {
    if count == Replicas::ZERO {
        Replicas::ceil(factor)
    } else if super::is_within(factor, tolerance) {
        count
    } else {
        Replicas::ceil(count.as_f64() * factor)
    }
}

/// The change whose cooldown a change in direction `wanted` waits for: a growth for that of a growth, unless it is
/// beyond what is asked for already, a shrink for that of a shrink. A growth never waits for a shrink.
#[must_use]
pub fn waits_for(wanted: Direction) -> Direction {
    wanted
}

impl Recommend for TargetTracking {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let sample = match cx.fresh(&self.signal) {
            Ok(sample) => sample,
            Err(why) => return Advice::abstains(why),
        };
        let seen = cx.seen(&self.signal, sample);
        let (want, why, is_total) = match (self.per_replica, self.target) {
            (Some(share), _) => match sample.value.replicas_for(share.level) {
                Some(want) => (want, Reason::SharePerReplica { seen, per_replica: share.level }, true),
                None => return Advice::abstains(Reason::NobodyWants),
            },
            (None, Some(target)) => {
                let Some(value) =
                    cx.per_replica(&self.signal, sample).filter(|_| cx.ready() > Replicas::ZERO)
                else {
                    return Advice::abstains(Reason::NoReadyReplica);
                };
                let seen = Seen { value, ..seen };
                let (target, tolerance) = (target.level, self.tolerance.level);
                let ratio = value.get() / target.get();
                if super::is_within(ratio, tolerance) {
                    (cx.current(), Reason::WithinTolerance { seen, target, tolerance }, false)
                } else {
                    let want = by_factor(cx.ready(), ratio, tolerance);
                    // What still starts says nothing yet: a growth never takes away, a shrink never adds.
                    let want = if ratio > 1.0 { want.max(cx.current()) } else { want.min(cx.current()) };
                    (want, Reason::TowardsTarget { seen, target, ready: cx.ready() }, false)
                }
            }
            (None, None) => return Advice::abstains(Reason::NobodyWants),
        };
        let (wanted, want) =
            (want, super::pass_through::within(cx.current(), want, self.max_scale_up, self.max_scale_down));
        let why = if want == wanted { why } else { Reason::RateOfChange { wanted, allowed: want } };
        let pause = if want > cx.current() && !is_total {
            cx.pause_until(Some(waits_for(Direction::Up)), self.scale_out_cooldown)
        } else if want < cx.current() {
            cx.pause_until(Some(waits_for(Direction::Down)), self.scale_in_cooldown)
        } else {
            None
        };
        match pause {
            Some(until) => Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want }),
            None => Advice::wants(want, why),
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        match (&self.target, &self.per_replica) {
            (Some(target), None) => {
                super::check_unit(target, signal, &at.key("target"), problems);
                super::check_positive(target, &at.key("target"), problems);
            }
            (None, Some(share)) => {
                super::check_unit(share, signal, &at.key("perReplica"), problems);
                super::check_positive(share, &at.key("perReplica"), problems);
                if signal.scope() != Scope::Total {
                    problems.push(
                        Problem::new(
                            at.key("perReplica"),
                            format!("`{}` is no total that replicas could share", self.signal),
                        )
                        .help("write `target` instead"),
                    );
                }
            }
            (Some(_), Some(_)) | (None, None) => {
                problems
                    .push(Problem::new(at.clone(), "exactly one of `target` and `perReplica` is needed").help(
                    "`perReplica` for totals such as requests a second, `target` for what each replica shows",
                ));
            }
        }
        if self.tolerance.level.get() >= 1.0 || !self.tolerance.fits(crate::units::Unit::Ratio) {
            problems
                .push(Problem::new(at.key("tolerance"), "a tolerance is a share below 100%, such as 10%"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, wants};

    fn of_total(per_replica: &str) -> TargetTracking {
        TargetTracking {
            signal: "rps".parse().unwrap(),
            target: None,
            per_replica: Some(per_replica.parse().unwrap()),
            scale_out_cooldown: scale_out_cooldown(),
            scale_in_cooldown: scale_in_cooldown(),
            max_scale_up: None,
            max_scale_down: None,
            tolerance: tolerance(),
        }
    }
    fn of_cpu() -> TargetTracking {
        TargetTracking {
            signal: "cpu".parse().unwrap(),
            target: Some("70%".parse().unwrap()),
            per_replica: None,
            ..of_total("1")
        }
    }

    /// A3: a total is shared out, rounded up, whatever is ready.
    #[test]
    fn a_total_is_shared_out() {
        for (rps, expected) in [(0.0, 0), (0.1, 1), (100.0, 1), (100.1, 2), (1200.0, 12), (1e12, 1_000_000)] {
            for ready in [0, 3] {
                let case = Case::rps(rps).ready(ready).current(3);
                assert_eq!(wants(&of_total("100"), &case), (expected, "share-per-replica"), "{rps}");
            }
        }
    }

    /// A3: the scale-out cooldown does not hold back a growth beyond what is asked for already.
    #[test]
    fn a_growing_total_is_answered_during_the_scale_out_cooldown() {
        let case = Case::rps(1200.0).ready(3).current(3).grew_seconds_ago(1);
        assert_eq!(wants(&of_total("100"), &case).0, 12);
        let case = Case::rps(100.0).ready(3).current(3).shrank_seconds_ago(599);
        assert_eq!(wants(&of_total("100"), &case), (3, "strategy-cooling-down"));
        assert_eq!(wants(&of_total("100"), &case.shrank_seconds_ago(600)).0, 1);
    }

    /// A3: target 70 % with the HPA's tolerance; the edge itself changes nothing.
    #[test]
    fn a_share_is_brought_to_its_target_in_proportion() {
        for (cpu, expected, code) in [
            (0.70, 10, "within-tolerance"),
            (0.77, 10, "within-tolerance"),
            (0.78, 12, "towards-target"),
            (0.63, 10, "within-tolerance"),
            (0.62, 9, "towards-target"),
            (1.40, 20, "towards-target"),
            (0.0, 0, "towards-target"),
        ] {
            assert_eq!(wants(&of_cpu(), &Case::cpu(cpu).ready(10).current(10)), (expected, code), "{cpu}");
        }
    }

    #[test]
    fn abstains_without_a_value() {
        assert_eq!(abstains(&of_total("100"), &Case::absent().ready(3).current(3)), "signal-absent");
        assert_eq!(abstains(&of_cpu(), &Case::cpu(0.9).ready(0).current(3)), "no-ready-replica");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_seen(case in crate::strategy::testing::any_case(&["cpu", "rps"])) {
            crate::strategy::testing::behaves(&of_cpu(), &case, &["cpu"])?;
        }
    }
}
