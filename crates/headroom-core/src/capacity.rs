//! What one replica carries within the objective.
//!
//! A policy that states an objective needs this one figure to turn load into replicas. A person may know it and
//! write it down as a [`CapacityHint`]; else it is learned from what is seen. Whoever needs it asks
//! [`Context::capacity`] and gets it with its bounds and where it comes from; nobody else reckons one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::fleet::{BalancerSignal, Path, Problem, ProcessSignal, Scope, SignalSource, Workload};
use crate::names::SignalName;
use crate::units::{Level, Quantity, Unit};

/// What a person knows of the capacity of one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CapacityHint {
    /// The most one replica carries, in the unit of the demand signal.
    pub per_replica: Quantity,
    /// How much of it is used, 90% by default: at its very limit a queue grows without bound, and the last tenth
    /// takes up what the seconds within a measurement differ by.
    #[serde(default = "default_usable")]
    pub usable: Quantity,
}

fn default_usable() -> Quantity {
    Quantity::ratio(Level::new(0.9).expect("a share is a level"))
}

impl CapacityHint {
    /// What may be used of one replica.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        Level::new(self.per_replica.level.get() * self.usable.level.get()).ok()
    }

    /// Adds what is wrong with the hint. `unit` is the demand signal's, where that is known.
    pub fn check(&self, unit: Option<Unit>, at: &Path, problems: &mut Vec<Problem>) {
        if self.per_replica.level == Level::ZERO {
            problems.push(
                Problem::new(at.key("perReplica"), "a replica that carries nothing would never be enough")
                    .help("write what one replica carries, or leave `capacity` out to have it learned"),
            );
        }
        if let Some(unit) = unit.filter(|unit| !self.per_replica.fits(*unit)) {
            problems.push(
                Problem::new(
                    at.key("perReplica"),
                    format!("{} is not in the unit of the signal", self.per_replica),
                )
                .help(format!("write it like {}", unit.example())),
            );
        }
        let usable = self.usable.level.get();
        if !self.usable.fits(Unit::Ratio) || usable > 1.0 || usable <= 0.0 {
            problems
                .push(Problem::new(at.key("usable"), "is a share above 0% and at most 100%, such as 90%"));
        }
    }
}

/// What the capacity of a workload's replicas is learned from, as the strategy that asks for it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Learning {
    /// The load: a total, such as requests a second or messages being worked on.
    pub demand: SignalName,
    /// The latency of the objective and its limit in seconds, where the objective is one.
    pub latency: Option<(SignalName, Level)>,
    /// The share of errors and the most that is borne, where errors are seen.
    pub errors: Option<(SignalName, Level)>,
    /// Requests being worked on, in all.
    pub in_flight: Option<SignalName>,
    /// The share of one core that a replica uses.
    pub cpu: Option<SignalName>,
    /// What the policy says of the capacity.
    pub hint: Option<Level>,
}

/// The share of errors that is borne unless an objective says otherwise: 1 %, far above a retried connection and far
/// below a service that sheds load.
const ERRORS_BORNE: f64 = 0.01;

impl Learning {
    /// Learning of `demand`; errors, requests in flight and cpu are taken from the signals the workload has.
    #[must_use]
    pub fn of(
        workload: &Workload,
        demand: &SignalName,
        latency: Option<(SignalName, Level)>,
        hint: Option<&CapacityHint>,
    ) -> Self {
        let find = |source: &SignalSource| {
            workload.signals.iter().find(|(_, s)| s.source == *source).map(|(name, _)| name.clone())
        };
        let errors = find(&SignalSource::Balancer(BalancerSignal::ErrorRatio));
        let in_flight = find(&SignalSource::Balancer(BalancerSignal::InFlight));
        let cpu = find(&SignalSource::Process(ProcessSignal::Cpu)).or_else(|| {
            let pushed = |s: &crate::fleet::Signal| s.unit() == Unit::Ratio && s.scope() == Scope::PerReplica;
            workload.signals.iter().find(|(_, s)| pushed(s)).map(|(name, _)| name.clone())
        });
        Self {
            demand: demand.clone(),
            latency,
            errors: errors.and_then(|name| Some((name, Level::new(ERRORS_BORNE).ok()?))),
            in_flight,
            cpu,
            hint: hint.and_then(CapacityHint::level),
        }
    }
}

/// What one replica carries within the objective, in the unit of the demand signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// What may be put on one replica: what decisions reckon with. Never zero.
    pub usable: Level,
    /// So much was carried, or is taken on the policy's word.
    pub low: Level,
    /// More than this is not carried; absent where nothing says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<Level>,
    /// How many measurements it rests on; 0 for a figure that only the policy gives.
    pub evidence: u32,
    /// Where `usable` comes from.
    pub basis: Basis,
}

/// Where a figure of capacity comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// The policy says so, and nothing seen speaks against it.
    Hint,
}

impl Context<'_> {
    /// What one replica carries within the objective of the strategy that asks; `None` while neither the policy nor
    /// experience says.
    #[must_use]
    pub fn capacity(&self) -> Option<Capacity> {
        let learning = self.workload().strategies.get(self.strategy)?.learns(self.workload())?;
        let hint = learning.hint.filter(|hint| *hint > Level::ZERO)?;
        Some(Capacity { usable: hint, low: hint, high: None, evidence: 0, basis: Basis::Hint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(per_replica: &str, usable: &str) -> CapacityHint {
        CapacityHint { per_replica: per_replica.parse().unwrap(), usable: usable.parse().unwrap() }
    }

    #[test]
    fn a_hint_is_used_to_the_share_it_names() {
        assert_eq!(hint("100/s", "90%").level(), Level::new(90.0).ok());
        assert_eq!(default_usable().to_string(), "90%");
    }

    #[test]
    fn a_hint_that_says_nothing_is_refused() {
        let table = [
            ("100/s", "90%", vec![]),
            ("100/s", "100%", vec![]),
            ("0/s", "90%", vec!["perReplica"]),
            ("100ms", "90%", vec!["perReplica"]),
            ("100/s", "0%", vec!["usable"]),
            ("100/s", "101%", vec!["usable"]),
            ("100/s", "1", vec!["usable"]),
        ];
        for (per_replica, usable, wrong) in table {
            let mut problems = Vec::new();
            hint(per_replica, usable).check(Some(Unit::PerSecond), &Path::root(), &mut problems);
            let keys: Vec<String> = problems.iter().map(|p| p.path.to_string()).collect();
            assert_eq!(keys, wrong, "{per_replica} at {usable}");
        }
    }
}
