//! What the workloads of a fleet share: limits, priorities, and the breaker.
//!
//! A database takes so many connections, an account so many machines, a month so much money. Each is one inequality:
//!
//! ```text
//! Σ each × replicas  ≤  supply + Σ each × ready replicas of suppliers
//! ```
//!
//! so there is one type for all of them. Amounts are whole numbers of whatever the limit counts (connections,
//! thousandths of a core, cents an hour): sums of them are exact.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FleetSpec, Path, Problem};
use crate::names::WorkloadName;
use crate::units::{Level, Quantity, Replicas, Span, Unit};

/// What several workloads draw from together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SharedLimit {
    /// How much one replica of each workload takes (A33: 20 connections).
    pub uses: BTreeMap<WorkloadName, u64>,
    /// How much there is in any case (A33: 1000 connections).
    #[serde(default)]
    pub supply: u64,
    /// How much one replica of each supplier adds. Only ready replicas count, and only while they can be seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suppliers: BTreeMap<WorkloadName, u64>,
}

impl SharedLimit {
    fn check(&self, spec: &FleetSpec, at: &Path, problems: &mut Vec<Problem>) {
        let known = || spec.workloads.keys().map(|name| name.as_str().to_owned());
        for (key, weights) in [("uses", &self.uses), ("suppliers", &self.suppliers)] {
            for (name, each) in weights {
                let at = at.key(key).key(name.as_str());
                if !spec.workloads.contains_key(name) {
                    let what = format!("no workload called `{name}` in this fleet");
                    problems.push(Problem::new(at, what).candidates(name.as_str(), known()));
                } else if *each == 0 {
                    problems.push(
                        Problem::new(at, "0 of it is no part in the limit").help("leave the workload out"),
                    );
                } else if key == "suppliers" && self.uses.contains_key(name) {
                    problems.push(Problem::new(at, format!("`{name}` can't both use and supply the same")));
                }
            }
        }
        if self.uses.is_empty() {
            problems.push(Problem::new(at.key("uses"), "a limit that nothing uses limits nothing"));
        }
        let sum = |weights: &BTreeMap<WorkloadName, u64>, count: fn(&super::ReplicaRange) -> Replicas| {
            let one = |(name, each): (&WorkloadName, &u64)| {
                let replicas = spec.workloads.get(name).map_or(0, |w| count(&w.replicas).0);
                u128::from(*each) * u128::from(replicas)
            };
            weights.iter().map(one).sum::<u128>()
        };
        let least = sum(&self.uses, |range| range.min);
        let most = u128::from(self.supply) + sum(&self.suppliers, |range| range.max);
        if least > most {
            problems.push(
                Problem::new(
                    at.key(if self.suppliers.is_empty() { "supply" } else { "suppliers" }),
                    format!(
                        "the least the workloads may have takes {least}, and there is never more than {most}"
                    ),
                )
                .help("raise the supply, or lower `replicas.min` of a workload that uses it"),
            );
        }
    }
}

/// Stops the fleet from changing too much at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BreakerSettings {
    /// The most of the fleet's replicas that may change within `within`, as a share of those there were at its
    /// beginning (30%: a zone of three may go at once, and not a second one).
    pub most: Quantity,
    /// The stretch over which changes are added up (5m: the HPA's stabilisation window).
    pub within: Span,
    /// So many replicas may change in any case, so that a small fleet is not stuck (3: one change of B14).
    pub at_least: Replicas,
    /// Whether growth counts and is stopped too. By default it is not: too many is only dear, and a surge does not
    /// wait.
    pub growth: bool,
    /// How long it stays open before it closes by itself (15m: three times `within`). A person may close it sooner.
    pub hold: Span,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            most: Quantity::ratio(Level::new(0.3).unwrap_or(Level::ZERO)),
            within: Span::minutes(5),
            at_least: Replicas(3),
            growth: false,
            hold: Span::minutes(15),
        }
    }
}

impl BreakerSettings {
    fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        if !self.most.fits(Unit::Ratio) || self.most.level == Level::ZERO {
            problems.push(Problem::new(at.key("most"), "a share above 0%, such as 30%"));
        }
        for (key, span) in [("within", self.within), ("hold", self.hold)] {
            if span.is_zero() || span > Self::LONGEST {
                problems.push(Problem::new(
                    at.key(key),
                    format!("must be longer than nothing and at most {}", Self::LONGEST),
                ));
            }
        }
    }

    /// The longest stretch and hold: changes are remembered for a day (B14), so nothing longer could be counted.
    const LONGEST: Span = Span::hours(24);
}

/// Adds what is wrong with what the workloads share.
pub(super) fn check(spec: &FleetSpec, problems: &mut Vec<Problem>) {
    let root = Path::root().key("spec");
    for (name, limit) in &spec.limits {
        limit.check(spec, &root.key("limits").key(name.as_str()), problems);
    }
    for tier in spec.priorities.keys() {
        let tiers = || spec.workloads.values().filter_map(|w| w.tier.clone());
        if !tiers().any(|t| t == *tier) {
            problems.push(
                Problem::new(
                    root.key("priorities").key(tier),
                    format!("no workload belongs to the tier `{tier}`"),
                )
                .candidates(tier, tiers()),
            );
        }
    }
    for (name, workload) in &spec.workloads {
        for (signal, settings) in &workload.signals {
            let Some(of) = settings.replicas_of() else { continue };
            let at = root.key("workloads").key(name.as_str()).key("signals").key(signal.as_str());
            let at = at.key("replicasOf");
            if !spec.workloads.contains_key(of) {
                let known = spec.workloads.keys().map(|name| name.as_str().to_owned());
                let what = format!("no workload called `{of}` in this fleet");
                problems.push(Problem::new(at, what).candidates(of.as_str(), known));
            } else if of == name {
                problems.push(Problem::new(at, "a workload's own count says nothing about what it needs"));
            }
        }
    }
    if let Some(breaker) = &spec.breaker {
        breaker.check(&root.key("breaker"), problems);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fleet::{Fleet, FleetDocument};

    fn problems(more: &serde_json::Value) -> Vec<String> {
        let workload = |min: u32, tier: &str| {
            json!({ "target": { "process": { "command": ["app"] } }, "replicas": { "min": min, "max": 30 },
                    "tier": tier, "strategies": [{ "fixed": { "replicas": 2 } }] })
        };
        let mut spec = json!({ "workloads": { "app": workload(2, "web"), "db": workload(1, "data") } });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let document: FleetDocument = serde_json::from_value(json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" }, "spec": spec,
        }))
        .unwrap();
        match Fleet::new(document) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(|p| p.path.to_string()).collect(),
        }
    }

    /// A33: what can't be meant is refused with its place.
    #[test]
    fn impossible_limits_are_refused() {
        for (limit, expected) in [
            (json!({ "uses": { "app": 20 }, "supply": 1000 }), vec![]),
            (json!({ "uses": { "app": 20 }, "suppliers": { "db": 100 } }), vec![]),
            (json!({ "uses": { "app": 20 }, "supply": 40 }), vec![]),
            (json!({ "uses": { "app": 20 }, "supply": 39 }), vec!["supply"]),
            (json!({ "uses": { "app": 20 } }), vec!["supply"]),
            (json!({ "uses": { "ap": 20 }, "supply": 1000 }), vec!["uses.ap"]),
            (json!({ "uses": { "app": 0 }, "supply": 1000 }), vec!["uses.app"]),
            (json!({ "uses": {}, "supply": 1000 }), vec!["uses"]),
            (json!({ "uses": { "app": 1, "db": 1 }, "suppliers": { "db": 9 } }), vec!["suppliers.db"]),
            (json!({ "uses": { "app": u64::MAX }, "supply": u64::MAX }), vec!["supply"]),
        ] {
            let expected: Vec<String> =
                expected.iter().map(|path| format!("spec.limits.connections.{path}")).collect();
            assert_eq!(problems(&json!({ "limits": { "connections": limit } })), expected, "{limit}");
        }
    }

    #[test]
    fn priorities_name_tiers_and_a_breaker_has_a_share() {
        assert!(problems(&json!({ "priorities": { "web": 10, "data": 20 } })).is_empty());
        assert_eq!(problems(&json!({ "priorities": { "wbe": 10 } })), ["spec.priorities.wbe"]);
        assert!(problems(&json!({ "breaker": {} })).is_empty());
        for (breaker, path) in [
            (json!({ "most": "0%" }), "most"),
            (json!({ "most": "5s" }), "most"),
            (json!({ "within": "0s" }), "within"),
            (json!({ "hold": "25h" }), "hold"),
        ] {
            assert_eq!(problems(&json!({ "breaker": breaker })), [format!("spec.breaker.{path}")]);
        }
    }
}
