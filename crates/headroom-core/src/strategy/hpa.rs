//! Several metrics at once, as the Horizontal Pod Autoscaler (v2) reckons (A4).
//!
//! Each metric proposes a count; the highest proposal wins. A metric that can't be read proposes nothing: the
//! others may still grow the workload, but nothing shrinks. Within a tolerance of 10 % of the target nothing
//! changes. Utilisation and values each replica shows start from the ready replicas; totals with an average
//! target are divided by it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::{Context, Direction};
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Scope, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::strategy::threshold::proportional;
use crate::units::{Level, Quantity, Replicas};

/// Several metrics, the highest proposal wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Hpa {
    /// The metrics (A4: CPU 70 %, memory 80 %, requests per second averaging 1000 a replica, …).
    pub metrics: Vec<HpaMetric>,
    /// How far from a target a value may be without a change (HPA: 10%).
    #[serde(default = "tolerance")]
    pub tolerance: Quantity,
}

/// A metric and its target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HpaMetric {
    /// The signal.
    pub signal: SignalName,
    /// What it is to be brought to.
    pub target: HpaTarget,
}

/// The HPA's kinds of target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HpaTarget {
    /// A share of what a replica may use (resource metrics).
    Utilization(Quantity),
    /// So much for each replica (pods metrics, and object and external ones with an average).
    AverageValue(Quantity),
    /// This value in all (object and external metrics).
    Value(Quantity),
}

impl HpaTarget {
    /// The amount.
    #[must_use]
    pub fn quantity(&self) -> &Quantity {
        match self {
            Self::Utilization(q) | Self::AverageValue(q) | Self::Value(q) => q,
        }
    }
}

fn tolerance() -> Quantity {
    Quantity::ratio(Level::new(0.1).unwrap_or(Level::ZERO))
}

impl HpaMetric {
    fn propose(&self, cx: &Context<'_>, tolerance: Level) -> Result<(Replicas, Reason), Reason> {
        let sample = cx.fresh(&self.signal)?;
        let seen = cx.seen(&self.signal, sample);
        let target = self.target.quantity().level;
        let total = cx.signal(&self.signal).is_some_and(|s| s.scope() == Scope::Total);
        let value = match self.target {
            // An average of a total compares with what the present count would carry.
            HpaTarget::AverageValue(_) if total => {
                let ratio = seen.value.get() / (target.get() * cx.current().as_f64().max(1.0));
                if super::is_within(ratio, tolerance) && cx.current() > Replicas::ZERO {
                    return Ok((cx.current(), Reason::WithinTolerance { seen, target, tolerance }));
                }
                let want = seen.value.replicas_for(target).ok_or(Reason::NobodyWants)?;
                return Ok((want, Reason::SharePerReplica { seen, per_replica: target }));
            }
            HpaTarget::Utilization(_) | HpaTarget::AverageValue(_) => {
                cx.per_replica(&self.signal, sample).ok_or(Reason::NoReadyReplica)?
            }
            HpaTarget::Value(_) => seen.value,
        };
        if cx.ready() == Replicas::ZERO {
            return Err(Reason::NoReadyReplica);
        }
        let seen = Seen { value, ..seen };
        let ratio = value.get() / target.get();
        if super::is_within(ratio, tolerance) {
            return Ok((cx.current(), Reason::WithinTolerance { seen, target, tolerance }));
        }
        let direction = if ratio > 1.0 { Direction::Up } else { Direction::Down };
        let want = proportional(cx, value, target, direction);
        Ok((want, Reason::TowardsTarget { seen, target, ready: cx.ready() }))
    }
}

impl Recommend for Hpa {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let mut best: Option<(Replicas, Reason)> = None;
        let mut absent = None;
        for metric in &self.metrics {
            match metric.propose(cx, self.tolerance.level) {
                Ok(proposal) if best.as_ref().is_none_or(|(count, _)| proposal.0 > *count) => {
                    best = Some(proposal);
                }
                Ok(_) => {}
                Err(why) => absent = absent.or(Some(why)),
            }
        }
        match (best, absent) {
            (Some((count, _)), Some(why)) if count < cx.current() => Advice::abstains(why),
            (Some((count, why)), _) => Advice::wants(count, why),
            (None, Some(why)) => Advice::abstains(why),
            (None, None) => Advice::abstains(Reason::NobodyWants),
        }
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.metrics.is_empty() {
            problems.push(Problem::new(at.key("metrics"), "without a metric nothing is proposed"));
        }
        for (index, metric) in self.metrics.iter().enumerate() {
            let at = at.key("metrics").index(index);
            let Some(signal) = workload.require_signal(&metric.signal, &at.key("signal"), problems) else {
                continue;
            };
            super::check_unit(metric.target.quantity(), signal, &at.key("target"), problems);
            super::check_positive(metric.target.quantity(), &at.key("target"), problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, wants};

    fn rule() -> Hpa {
        let q = |text: &str| text.parse::<Quantity>().unwrap();
        Hpa {
            metrics: vec![
                HpaMetric { signal: "cpu".parse().unwrap(), target: HpaTarget::Utilization(q("70%")) },
                HpaMetric { signal: "rps".parse().unwrap(), target: HpaTarget::AverageValue(q("1000")) },
            ],
            tolerance: tolerance(),
        }
    }

    /// A4: the highest proposal wins.
    #[test]
    fn the_highest_proposal_wins() {
        for (cpu, rps, expected, code) in [
            (1.4, 1000.0, 20, "towards-target"),
            (0.7, 14_001.0, 15, "share-per-replica"),
            (0.7, 10_500.0, 10, "within-tolerance"),
            (0.35, 2000.0, 5, "towards-target"),
            (0.0, 0.0, 0, "towards-target"),
        ] {
            let case = Case::cpu(cpu).with("rps", rps).ready(10).current(10);
            assert_eq!(wants(&rule(), &case), (expected, code), "cpu {cpu}, rps {rps}");
        }
    }

    /// A4: a metric that can't be read stops shrinking, not growing.
    #[test]
    fn an_absent_metric_stops_shrinking_only() {
        assert_eq!(wants(&rule(), &Case::cpu(1.4).ready(10).current(10)).0, 20);
        assert_eq!(abstains(&rule(), &Case::cpu(0.1).ready(10).current(10)), "signal-absent");
    }
}
