//! Several metrics at once, exactly as the Horizontal Pod Autoscaler (v2) reckons (A4).
//!
//! Each metric proposes a count; the highest proposal wins. A metric that can't be read proposes nothing: the
//! others may still grow the workload, but nothing shrinks. Within a tolerance of 10 % of the target nothing
//! changes. The arithmetic is [`calculator`], which replicas count and how is [`pods`]; both follow the peer to the
//! last digit, and the peer's own test tables are run against them (`docs/conformance.md`).
//!
//! Where a sample comes with the parts of each replica, replicas without a part are *missing* and those that start
//! are *unready*, as in the HPA. Where it is only an average, every ready replica is taken to show it, and the
//! starting ones are unready. A part of a replica the target does not know is left out.
//!
//! Source of rule and defaults: Kubernetes, HPA v2 and the flags of its controller (tolerance 10 %, CPU initialization
//! period 5 min, initial readiness delay 30 s).

pub mod calculator;
pub mod pods;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::calculator::{Milli, Pods, Proposal, Refused, Tolerance};
use self::pods::{Class, Pod, PodPhase, Readiness, Sampled};
use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, ProcessSignal, Scope, Signal, SignalSource, Workload};
use crate::names::SignalName;
use crate::observation::{Phase, ReplicaStatus};
use crate::reading::Sample;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span, Unit};

/// Several metrics, the highest proposal wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Hpa {
    /// The metrics (A4: CPU 70 %, memory 80 %, requests per second averaging 1000 a replica, …).
    pub metrics: Vec<HpaMetric>,
    /// How far from a target a value may be without a change (HPA: 10%). `behavior.scaleUp.tolerance` and
    /// `behavior.scaleDown.tolerance` go before it, as in the HPA.
    #[serde(default = "tolerance")]
    pub tolerance: Quantity,
    /// How long a replica's CPU may be that of its start, so that it counts only once measured for a whole window
    /// since it is ready (HPA: 5m).
    #[serde(default = "initialization")]
    pub cpu_initialization_period: Span,
    /// A replica whose readiness last changed within this after its start has never been ready (HPA: 30s).
    #[serde(default = "initial_delay")]
    pub initial_readiness_delay: Span,
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
    /// A share of what a replica may use (resource metrics), in whole per cent.
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
fn initialization() -> Span {
    Readiness::default().initialization
}
fn initial_delay() -> Span {
    Readiness::default().initial_delay
}

/// A level in thousandths, rounded up as Kubernetes does, but not on the residue of a multiplication.
fn milli(level: Level) -> Milli {
    let value = level.get() * 1000.0;
    let up = (value - 1e-9 * value.max(1.0)).ceil();
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
    {
        up as Milli
    }
}

/// What each replica is taken to request where utilisation is a ratio of 1: one whole.
const WHOLE: Milli = 1000;

impl Hpa {
    fn tolerance(&self, workload: &Workload) -> Tolerance {
        let of = |rules: &Option<crate::fleet::ScalingRules>| {
            rules.as_ref().and_then(|r| r.tolerance).unwrap_or(self.tolerance).level.get()
        };
        Tolerance { down: of(&workload.behavior.scale_down), up: of(&workload.behavior.scale_up) }
    }

    /// The replicas with their parts of `sample`, as the HPA counts pods.
    fn pods(&self, cx: &Context<'_>, signal: Option<&Signal>, sample: &Sample) -> Pods {
        let readiness = Readiness {
            initialization: self.cpu_initialization_period,
            initial_delay: self.initial_readiness_delay,
        };
        let judged = is_cpu(signal).then_some(&readiness);
        let window = signal.map_or(Span::ZERO, |s| s.window);
        let mut pods = Pods::default();
        let status = cx.status();
        let Some(parts) = sample.by_replica.as_deref().filter(|_| !status.replicas.is_empty()) else {
            let ready = i64::from(status.ready.0);
            let total = signal.is_some_and(|s| s.scope() == Scope::Total);
            let value = milli(sample.value);
            pods.ready = ready;
            (pods.samples, pods.known) = (ready, ready);
            pods.usage = if total { value } else { value.saturating_mul(ready) };
            pods.known_usage = pods.usage;
            pods.known_requests = WHOLE * ready;
            pods.unready = i64::from(status.starting.0);
            pods.unready_requests = WHOLE * pods.unready;
            return pods;
        };
        let sampled = Sampled { age: cx.at().since(sample.at), window };
        for (index, replica) in status.replicas.iter().enumerate() {
            // Sources and targets mostly list replicas in the same order; only where not, a search is needed.
            let part = parts
                .get(index)
                .filter(|p| p.replica == replica.id)
                .or_else(|| parts.iter().find(|p| p.replica == replica.id));
            match pods::classify(&pod(cx, replica), part.map(|_| sampled), judged) {
                Class::Ready => pods.add_ready(part.map_or(0, |p| milli(p.value)), WHOLE),
                Class::Unready => pods.add_unready(WHOLE),
                Class::Missing => pods.missing.push(WHOLE),
                Class::Ignored => {}
            }
        }
        pods
    }

    fn propose(&self, metric: &HpaMetric, cx: &Context<'_>) -> Result<(Proposal, Seen), Reason> {
        let sample = cx.fresh(&metric.signal)?;
        let seen = cx.seen(&metric.signal, sample);
        let signal = cx.signal(&metric.signal);
        let tolerance = self.tolerance(cx.workload());
        let current = i64::from(cx.current().0);
        let target = metric.target.quantity().level;
        let is_total = signal.is_some_and(|s| s.scope() == Scope::Total);
        let proposal = match metric.target {
            HpaTarget::AverageValue(_) if is_total => {
                calculator::by_share(reported(cx), milli(sample.value), milli(target), tolerance)
            }
            HpaTarget::Value(_) => {
                let ready = i64::from(cx.ready().0);
                if current > 0 && reported(cx) == 0 {
                    return Err(Refused::NoPods.into());
                }
                calculator::by_value(current, milli(sample.value), milli(target), tolerance, ready)
            }
            HpaTarget::AverageValue(_) => {
                let pods = self.pods(cx, signal, sample);
                calculator::by_average(current, milli(target), tolerance, &pods)?
            }
            HpaTarget::Utilization(_) => {
                let pods = self.pods(cx, signal, sample);
                calculator::by_utilization(current, percent(target), tolerance, &pods)?
            }
        };
        Ok((proposal, seen))
    }

    /// Why a metric proposes what it proposes.
    fn why(&self, metric: &HpaMetric, cx: &Context<'_>, proposal: &Proposal, seen: Seen) -> Reason {
        let target = metric.target.quantity().level;
        let is_total = cx.signal(&metric.signal).is_some_and(|s| s.scope() == Scope::Total);
        if proposal.replicas == i64::from(cx.current().0) && (proposal.ratio - 1.0).abs() < 1.0 {
            let edge = if proposal.ratio < 1.0 {
                self.tolerance(cx.workload()).down
            } else {
                self.tolerance(cx.workload()).up
            };
            let tolerance = Level::new(edge).unwrap_or(Level::ZERO);
            return Reason::WithinTolerance { seen, target, tolerance };
        }
        match metric.target {
            HpaTarget::AverageValue(_) if is_total => Reason::SharePerReplica { seen, per_replica: target },
            HpaTarget::Utilization(_) | HpaTarget::AverageValue(_) | HpaTarget::Value(_) => {
                Reason::TowardsTarget { seen, target, ready: cx.ready() }
            }
        }
    }
}

impl From<Refused> for Reason {
    fn from(_: Refused) -> Self {
        Self::NoReadyReplica
    }
}

/// Whether the readiness rules of CPU apply.
fn is_cpu(signal: Option<&Signal>) -> bool {
    signal.is_some_and(|s| matches!(s.source, SignalSource::Process(ProcessSignal::Cpu)))
}

/// The count the target reports: what is there, ready or not, without those that are going.
fn reported(cx: &Context<'_>) -> i64 {
    let status = cx.status();
    if status.replicas.is_empty() {
        return i64::from(status.ready.0) + i64::from(status.starting.0);
    }
    let there = |r: &&ReplicaStatus| matches!(r.phase, Phase::Ready | Phase::Starting | Phase::Unhealthy);
    i64::try_from(status.replicas.iter().filter(there).count()).unwrap_or(i64::MAX)
}

/// A replica as the HPA would see a pod.
pub(super) fn pod(cx: &Context<'_>, replica: &ReplicaStatus) -> Pod {
    let ready_changed = replica.ready_at.unwrap_or(replica.started_at);
    Pod {
        phase: match replica.phase {
            Phase::Starting => PodPhase::Pending,
            Phase::Ready | Phase::Unhealthy | Phase::Draining => PodPhase::Running,
            Phase::Failed => PodPhase::Ended,
        },
        deleting: replica.phase == Phase::Draining,
        ready: Some(replica.phase == Phase::Ready),
        started: Some(cx.at().since(replica.started_at)),
        ready_changed: Some(cx.at().since(ready_changed)),
    }
}

/// A ratio in whole per cent.
fn percent(ratio: Level) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
    {
        (ratio.get() * 100.0).round() as i64
    }
}

impl Recommend for Hpa {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let mut best: Option<(usize, Proposal, Seen)> = None;
        let proposals = self.metrics.iter().enumerate().map(|(index, metric)| {
            let (proposal, seen) = self.propose(metric, cx)?;
            if best.as_ref().is_none_or(|(_, b, _)| proposal.replicas > b.replicas) {
                best = Some((index, proposal, seen));
            }
            Ok(proposal.replicas)
        });
        let highest = calculator::highest(i64::from(cx.current().0), proposals);
        match (highest, best) {
            (Ok((_, count)), Some((index, proposal, seen))) => {
                let why = self.metrics.get(index).map(|metric| self.why(metric, cx, &proposal, seen));
                let count = u32::try_from(count).unwrap_or(u32::MAX).min(Replicas::LIMIT.0);
                Advice::wants(Replicas(count), why.unwrap_or(Reason::NobodyWants))
            }
            (Ok(_), None) => Advice::abstains(Reason::NobodyWants),
            (Err(why), _) => Advice::abstains(why),
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.metrics.iter().map(|m| m.signal.clone()));
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.metrics.is_empty() {
            problems.push(Problem::new(at.key("metrics"), "without a metric nothing is proposed"));
        }
        super::check_tolerance(&self.tolerance, &at.key("tolerance"), problems);
        for (index, metric) in self.metrics.iter().enumerate() {
            let at = at.key("metrics").index(index);
            let Some(signal) = workload.require_signal(&metric.signal, &at.key("signal"), problems) else {
                continue;
            };
            let quantity = metric.target.quantity();
            super::check_unit(quantity, signal, &at.key("target"), problems);
            super::check_positive(quantity, &at.key("target"), problems);
            if matches!(metric.target, HpaTarget::Utilization(_)) {
                let whole = quantity.level.get() * 100.0;
                if signal.unit() != Unit::Ratio || (whole - whole.round()).abs() > 1e-9 || whole < 1.0 {
                    problems.push(
                        Problem::new(at.key("target"), "a utilisation is a share in whole per cent")
                            .help("write it like 70%, or use averageValue"),
                    );
                }
            } else if quantity.level.get() * 1000.0 < 1.0 {
                problems.push(Problem::new(
                    at.key("target"),
                    "the HPA reckons in thousandths; a target below one thousandth is none",
                ));
            }
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
            cpu_initialization_period: initialization(),
            initial_readiness_delay: initial_delay(),
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

    proptest::proptest! {
        #[test]
        fn whatever_is_seen(case in crate::strategy::testing::any_case(&["cpu", "rps"])) {
            crate::strategy::testing::behaves(&rule(), &case, &["cpu", "rps"])?;
        }
    }
}
