//! Random policies.
//!
//! They are written as data and read by the types of the policy format, so a field that a kind of strategy gains
//! later has its default here, and a kind that is not known to this version is left out. What the policy check
//! refuses is drawn anew: only policies that would be accepted live are tried.

use headroom_core::fleet::{Fleet, FleetDocument, Workload};
use headroom_core::strategy::Strategy;
use serde_json::{Value, json};

use crate::rng::Rng;

/// Draws until a policy passes its check; nearly every one does.
const DRAWS: usize = 100;

/// A random fleet of `workloads` workloads. `more` draws what was added to the format later, so that most seeds still
/// mean the fleet they once meant.
pub(super) fn fleet(rng: &mut Rng, more: &mut Rng, workloads: usize) -> FleetDocument {
    for _ in 0..DRAWS {
        let all: serde_json::Map<String, Value> = (0..workloads)
            .map(|i| {
                let mut workload = workload(rng);
                extend(more, &mut workload);
                (format!("w{i}"), workload)
            })
            .collect();
        let mut spec = json!({ "workloads": all });
        if rng.chance(0.3) {
            spec["limits"] = json!({ "connections": limit(rng, workloads) });
            if more.chance(0.4) {
                // Whoever supplies the one limit uses the other.
                let uses: serde_json::Map<String, Value> =
                    (0..workloads).map(|i| (format!("w{i}"), json!(1 + more.below(5)))).collect();
                spec["limits"]["machines"] = json!({ "uses": uses, "supply": 20 + more.below(200) });
            }
        }
        if rng.chance(0.2) {
            spec["breaker"] = json!({
                "most": *rng.pick(&["10%", "30%", "80%"]), "growth": rng.chance(0.3),
                "within": span(rng, &[60, 300]), "hold": span(rng, &[60, 900]),
            });
        }
        let text = json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet",
            "metadata": { "name": "swarm" }, "spec": spec,
        });
        if let Ok(document) = serde_json::from_value::<FleetDocument>(text)
            && Fleet::new(document.clone()).is_ok()
        {
            return document;
        }
    }
    unreachable!("a hundred random policies in a row did not pass the policy check")
}

/// What the workloads draw from together; of several the last may be who supplies it.
fn limit(rng: &mut Rng, workloads: usize) -> Value {
    let supplies = workloads > 1 && rng.chance(0.4);
    let users = if supplies { workloads - 1 } else { workloads };
    let uses: serde_json::Map<String, Value> =
        (0..users).map(|i| (format!("w{i}"), json!(1 + rng.below(20)))).collect();
    let mut limit = json!({ "uses": uses, "supply": 50 + rng.below(500) });
    if supplies {
        limit["suppliers"] = json!({ format!("w{users}"): 10 + rng.below(100) });
    }
    limit
}

/// Every workload has the same signals, so that one policy can replace another while a run goes on.
fn workload(rng: &mut Rng) -> Value {
    let min = *rng.pick(&[0_u64, 0, 1, 1, 2, 2, 3, 5]);
    let max = min.max(1) + *rng.pick(&[0_u64, 1, 3, 10, 20, 40, 100]);
    let mut strategies: Vec<Value> = Vec::new();
    let wanted = 1 + rng.below(3);
    // Ends: of the kinds below at least five are known to every version.
    while (strategies.len() as u64) < wanted {
        let drawn = strategy(rng);
        if serde_json::from_value::<Strategy>(drawn.clone()).is_ok() {
            strategies.push(drawn);
        }
    }
    let mut workload = json!({
        "priority": rng.below(3),
        "target": { "process": { "command": ["./app"] } },
        "balancer": { "listen": "127.0.0.1:0" },
        "replicas": { "min": min, "max": max },
        "signals": {
            "rps": { "balancer": "requestsPerSecond" },
            "p95": { "balancer": { "latency": "p95" }, "window": "5s" },
            "errors": { "balancer": "errorRatio" },
            "cpu": { "process": "cpu", "freshFor": "30s" },
            "queue": { "push": { "unit": "count" } },
        },
        "strategies": strategies,
    });
    if rng.chance(0.7) {
        workload["behavior"] = behavior(rng);
    }
    if rng.chance(0.6) {
        workload["guards"] = guards(rng);
    }
    workload
}

/// What looks ahead, keeps warm, or decides in another way than by the highest want.
fn extend(rng: &mut Rng, workload: &mut Value) {
    if rng.chance(0.2) {
        let foreseeing = foreseeing(rng);
        if rng.chance(0.5) {
            workload["strategies"] = json!([foreseeing]);
        } else if let Some(strategies) = workload["strategies"].as_array_mut() {
            strategies.push(foreseeing);
        }
    }
    if rng.chance(0.15) {
        workload["warmPool"] = json!({ "keep": rng.below(4), "ahead": span(rng, &[600, 3600]) });
    }
    if rng.chance(0.1) {
        workload["combine"] = json!({ "by": *rng.pick(&["priority", "all", "fitness"]) });
    }
    if rng.chance(0.3) {
        let health = match rng.below(3) {
            0 => json!([]),
            1 => json!([{ "signal": "p95", "wellBelow": "400ms" }]),
            _ => json!([{ "signal": "errors", "wellBelow": "5%" }]),
        };
        let watch = json!({
            "for": span(rng, &[60, 300]), "unwellFor": span(rng, &[0, 30]), "hold": span(rng, &[60, 900]),
            "health": health,
        });
        workload["guards"]["watch"] = watch;
    }
}

/// An objective or a forecast, whose figures come from the load itself.
fn foreseeing(rng: &mut Rng) -> Value {
    let mut objective = json!({
        "signal": "rps", "violations": *rng.pick(&["0.1%", "1%"]), "startUp": span(rng, &[0, 30, 120]),
        "foresee": rng.chance(0.7),
    });
    match rng.below(6) {
        0 => objective["latency"] = json!({ "signal": "p95", "below": "400ms" }),
        1 => objective["utilisation"] = json!({ "signal": "cpu", "below": "80%" }),
        2 => objective["drain"] = json!({ "signal": "queue", "within": "60s" }),
        3 | 4 => objective["capacity"] = json!({ "perReplica": 100, "usable": "90%" }),
        _ => {
            return json!({ "predictive": {
                "mode": *rng.pick(&["forecastOnly", "forecastAndScale"]), "signal": "rps", "perReplica": 70,
                "buffer": span(rng, &[0, 600]) } });
        }
    }
    json!({ "objective": objective })
}

fn span(rng: &mut Rng, seconds: &[u64]) -> Value {
    Value::from(format!("{}s", rng.pick(seconds)))
}

const PAUSES: [u64; 6] = [0, 10, 30, 60, 300, 600];

fn strategy(rng: &mut Rng) -> Value {
    match rng.below(17) {
        0 => json!({ "threshold": {
            "signal": "cpu", "above": "70%", "below": "30%", "target": "60%", "cooldown": span(rng, &PAUSES) } }),
        1 => json!({ "targetTracking": {
            "signal": "rps", "perReplica": *rng.pick(&[20, 50, 70, 90]),
            "scaleOutCooldown": span(rng, &PAUSES), "scaleInCooldown": span(rng, &PAUSES) } }),
        2 => json!({ "targetTracking": {
            "signal": "cpu", "target": "60%",
            "scaleOutCooldown": span(rng, &PAUSES), "scaleInCooldown": span(rng, &PAUSES) } }),
        3 => json!({ "targetTracking": { "signal": "queue", "perReplica": *rng.pick(&[10, 100]) } }),
        4 => json!({ "hpa": { "metrics": [
            { "signal": "cpu", "target": { "utilization": "70%" } },
            { "signal": "rps", "target": { "averageValue": *rng.pick(&[50, 80]) } } ] } }),
        5 => json!({ "anyAll": {
            "upIfAny": [
                { "signal": "cpu", "limit": "80%" },
                { "signal": "p95", "limit": "400ms" },
                { "signal": "errors", "limit": "5%" } ],
            "downIfAll": [ { "signal": "cpu", "limit": "20%" }, { "signal": "p95", "limit": "300ms" } ],
            "cooldown": span(rng, &PAUSES) } }),
        6 => json!({ "watermark": {
            "signal": "cpu", "algorithm": "average", "low": "40%", "high": "70%",
            "downDelay": span(rng, &[0, 60]) } }),
        7 => json!({ "dualWindow": {
            "signal": "rps", "perReplica": *rng.pick(&[50, 80]), "utilization": "70%",
            "stableWindow": "60s", "panicWindow": "6s" } }),
        8 => json!({ "queue": {
            "backlog": ["queue"], "perWorker": *rng.pick(&[10, 100]), "idleFor": span(rng, &[60, 300]) } }),
        9 => json!({ "phases": { "signal": "cpu" } }),
        10 => json!({ "pressure": { "ratios": [
            { "signal": "cpu", "at": "60%" }, { "signal": "p95", "at": "400ms" }, { "signal": "rps", "at": 80 } ] } }),
        11 => json!({ "doubling": { "signal": "cpu" } }),
        12 => json!({ "adaptive": {
            "signal": "cpu", "above": "70%", "below": "30%", "target": "60%", "ceiling": "85%" } }),
        13 => json!({ "alarm": {
            "signal": "cpu", "comparison": *rng.pick(&["above", "above", "below"]), "threshold": "60%",
            "period": span(rng, &[10, 60]), "by": *rng.pick(&[2, 5]), "cooldown": span(rng, &PAUSES) } }),
        14 => json!({ "expression": { "formula": "rps / 80 + ((p95 ?? 0) > 0.4 ? 2 : 0)" } }),
        15 => json!({ "schedule": { "timeZone": "Europe/Paris", "entries": [
            { "cron": "0 8 * * *", "min": *rng.pick(&[1, 3, 8]) }, { "cron": "0 20 * * *", "min": 1 } ] } }),
        _ => json!({ "fastSteps": {
            "signal": "rps", "below": 30, "belowFor": span(rng, &[10, 60, 180]),
            "steps": [ { "from": 60, "add": 1 }, { "from": 80, "add": 2 }, { "from": 150, "add": 8 } ],
            "scaleInCooldown": span(rng, &PAUSES) } }),
    }
}

fn behavior(rng: &mut Rng) -> Value {
    let mut rules = |up: bool| {
        let mut policies = Vec::new();
        for _ in 0..rng.below(3) {
            let period = span(rng, &[15, 60, 300]);
            policies.push(if rng.chance(0.5) {
                json!({ "percent": *rng.pick(&[10, 50, 100]), "period": period })
            } else {
                json!({ "replicas": *rng.pick(&[1, 4, 10]), "period": period })
            });
        }
        let windows: &[u64] = if up { &[0, 0, 60] } else { &[0, 60, 300] };
        json!({
            "stabilization": span(rng, windows), "policies": policies,
            "select": *rng.pick(&["max", "max", "min"]),
        })
    };
    json!({ "scaleUp": rules(true), "scaleDown": rules(false) })
}

fn guards(rng: &mut Rng) -> Value {
    let mut guards = json!({});
    if rng.chance(0.5) {
        guards["cooldown"] = json!({ "up": span(rng, &PAUSES), "down": span(rng, &PAUSES) });
    }
    if rng.chance(0.5) {
        guards["rateLimit"] = json!({
            "perHour": *rng.pick(&[1, 5, 20]),
            "replicasPerChange": *rng.pick(&[1, 3, 10]),
            "apart": span(rng, &PAUSES),
        });
    }
    if rng.chance(0.2) {
        guards["dynamicCooldown"] = json!({ "urgency": [{ "signal": "cpu", "above": "90%", "points": 2 }] });
    }
    if rng.chance(0.2) {
        guards["gradualSteps"] = json!({ "urgency": [{ "signal": "p95", "above": "1s", "points": 3 }] });
    }
    if rng.chance(0.2) {
        guards["safety"] =
            json!({ "maxStep": "50%", "dependencies": [{ "signal": "p95", "wellBelow": "5s" }] });
    }
    if rng.chance(0.2) {
        guards["quietHours"] = json!({ "hours": [{ "from": "19:00", "to": "23:00" }] });
    }
    if rng.chance(0.2) {
        guards["flapping"] = json!({ "turns": *rng.pick(&[1, 3]) });
    }
    if rng.chance(0.2) {
        guards["approval"] = json!({ "shrinkAbove": *rng.pick(&[1, 5]), "growAbove": *rng.pick(&[10, 50]) });
    }
    guards
}

/// The signals whose absence keeps `workload` from shrinking: those its strategies name.
pub(super) fn needed_signals(workload: &Workload) -> Vec<String> {
    fn collect(value: &Value, known: &[String], found: &mut Vec<String>) {
        match value {
            Value::String(text) if known.contains(text) && !found.contains(text) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|v| collect(v, known, found)),
            Value::Object(fields) => fields.values().for_each(|v| collect(v, known, found)),
            _ => {}
        }
    }
    let known: Vec<String> = workload.signals.keys().map(ToString::to_string).collect();
    let mut found = Vec::new();
    for strategy in &workload.strategies {
        let value = serde_json::to_value(strategy).unwrap_or(Value::Null);
        collect(&value, &known, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_policies_pass_their_check_and_differ() {
        let (mut rng, mut more) = (Rng::new(3), Rng::new(4));
        let drawn: Vec<FleetDocument> = (0..50).map(|_| fleet(&mut rng, &mut more, 2)).collect();
        assert!(drawn.windows(2).all(|w| w[0] != w[1]));
        let kinds: std::collections::BTreeSet<&str> = drawn
            .iter()
            .flat_map(|d| d.spec.workloads.values())
            .flat_map(|w| w.strategies.iter().map(Strategy::kind))
            .collect();
        assert!(kinds.contains("objective") && kinds.contains("predictive"), "{kinds:?}");
        assert!(kinds.len() >= 15, "{kinds:?}");
        let all = |has: fn(&Workload) -> bool| drawn.iter().flat_map(|d| d.spec.workloads.values()).any(has);
        assert!(all(|w| w.warm_pool.is_some()) && all(|w| w.guards.watch.is_some()));
        assert!(all(|w| w.guards.approval.is_some()));
        assert!(
            drawn.iter().any(|d| d.spec.breaker.is_some()) && drawn.iter().any(|d| !d.spec.limits.is_empty())
        );
    }

    #[test]
    fn needed_signals_are_those_the_strategies_name() {
        let (mut rng, mut more) = (Rng::new(3), Rng::new(4));
        for _ in 0..50 {
            for workload in fleet(&mut rng, &mut more, 1).spec.workloads.values() {
                let needed = needed_signals(workload);
                let text = serde_json::to_string(&workload.strategies).unwrap();
                assert!(needed.iter().all(|n| text.contains(&format!("\"{n}\""))), "{needed:?} in {text}");
            }
        }
    }
}
