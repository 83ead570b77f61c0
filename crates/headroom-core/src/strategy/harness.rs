//! One table and one set of properties over every strategy.
//!
//! The kinds come from the type itself, and [`example`] matches on all of them: a strategy without a line here does not
//! compile. Each strategy's own file holds the tests of its formula; this holds what is asked of all of them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::testing::{Case, any_case, any_value, behaves, problems, says};
use super::{Strategy, StrategyKind};
use crate::decision::Advice;

/// The moment of all rows: a Monday morning, so that schedules have something to say.
const MONDAY: &str = "2026-11-23T09:30:00Z";
/// Each row has been so for this long, second by second.
const HELD: u64 = 600;

/// One strategy, the signal that its table varies, and what it says of ten replicas in each row.
struct Example {
    settings: serde_json::Value,
    signal: &'static str,
    threshold: f64,
    over: f64,
    /// The signals without which it must not shrink.
    needs: &'static [&'static str],
    /// Whether a higher value never asks for fewer.
    monotone: bool,
    /// Zero, the threshold, just over it, huge, not a number, absent.
    rows: [&'static str; 6],
}

fn on(
    signal: &'static str,
    settings: serde_json::Value,
    (threshold, over): (f64, f64),
    rows: [&'static str; 6],
) -> Example {
    Example { settings, signal, threshold, over, needs: &[], monotone: true, rows }
}

const ABSENT: &str = "abstains: signal-absent";
const CPU: &[&str] = &["cpu"];
const RPS: &[&str] = &["rps"];

/// What is tried of each kind.
fn example(kind: StrategyKind) -> Example {
    use StrategyKind as K;
    match kind {
        K::Threshold => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "signal": "cpu" }),
                (0.7, 0.701),
                [
                    "wants 0: towards-target",
                    "content with 10: within-band",
                    "wants 12: towards-target",
                    "wants 1000000: towards-target",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::TargetTracking => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "signal": "cpu", "target": "60%" }),
                (0.66, 0.661),
                [
                    "wants 0: towards-target",
                    "wants 10: within-tolerance",
                    "wants 12: towards-target",
                    "wants 1000000: towards-target",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Hpa => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "metrics": [{ "signal": "cpu", "target": { "utilization": "70%" } }] }),
                (0.77, 0.78),
                [
                    "wants 0: towards-target",
                    "wants 10: within-tolerance",
                    "wants 12: towards-target",
                    "wants 1000000: towards-target",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::AnyAll => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({
                    "upIfAny": [{ "signal": "cpu", "limit": "80%" }],
                    "downIfAll": [{ "signal": "cpu", "limit": "20%" }] }),
                (0.8, 0.801),
                [
                    "wants 9: all-below",
                    "wants 10: not-all-below",
                    "wants 12: signal-above",
                    "wants 12: signal-above",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::FastSteps => Example {
            needs: RPS,
            ..on(
                "rps",
                json!({
                    "signal": "rps", "below": 50,
                    "steps": [{ "from": 100, "add": 1 }, { "from": 150, "add": 2 }, { "from": 200, "add": 4 }] }),
                (999.0, 1000.0),
                [
                    "wants 9: signal-below",
                    "content with 10: within-band",
                    "wants 11: fast-step",
                    "wants 14: fast-step",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::DualWindow => Example {
            needs: RPS,
            ..on(
                "rps",
                json!({ "signal": "rps", "perReplica": 50 }),
                (350.0, 351.0),
                [
                    "wants 10: panicking",
                    "wants 10: panicking",
                    "wants 11: panicking",
                    "wants 10000: panicking",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Schedule => Example {
            monotone: false,
            ..on(
                "rps",
                json!({ "entries": [{ "cron": "0 8 * * 1-5", "replicas": 15 }] }),
                (1.0, 2.0),
                ["wants 15: scheduled"; 6],
            )
        },
        K::TrafficPattern => Example {
            monotone: false,
            ..on(
                "rps",
                json!({ "baseline": 10, "classes": [{ "hours": { "from": "09:00", "to": "10:00" }, "load": "200%" }] }),
                (1.0, 2.0),
                ["wants 20: scheduled"; 6],
            )
        },
        K::Queue => Example {
            needs: &["queue"],
            ..on(
                "queue",
                json!({ "backlog": ["queue"], "perWorker": 10 }),
                (100.0, 101.0),
                [
                    "wants 0: share-per-replica",
                    "wants 10: share-per-replica",
                    "wants 11: share-per-replica",
                    "wants 1000000: share-per-replica",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Watermark => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "signal": "cpu", "algorithm": "average", "low": "40%", "high": "70%" }),
                (0.7, 0.78),
                [
                    "wants 8: rate-of-change",
                    "wants 10: within-band",
                    "wants 12: towards-target",
                    "wants 15: rate-of-change",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Alarm => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "signal": "cpu", "comparison": "above", "threshold": "70%", "by": 2, "period": "60s" }),
                (0.7, 0.701),
                [
                    "abstains: alarm-quiet",
                    "abstains: alarm-quiet",
                    "wants 12: alarm-rings",
                    "wants 12: alarm-rings",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::PassThrough => Example {
            needs: &["users"],
            ..on(
                "users",
                json!({ "signal": "users" }),
                (10.0, 10.1),
                [
                    "wants 0: asked-for",
                    "wants 10: asked-for",
                    "wants 11: asked-for",
                    "wants 1000000: asked-for",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Fixed => Example {
            monotone: false,
            ..on("cpu", json!({ "replicas": 4 }), (1.0, 2.0), ["wants 4: fixed-count"; 6])
        },
        K::Expression => Example {
            needs: RPS,
            ..on(
                "rps",
                json!({ "formula": "rps / 100" }),
                (1000.0, 1001.0),
                [
                    "wants 0: formula-gives",
                    "wants 10: formula-gives",
                    "wants 11: formula-gives",
                    "wants 1000000: formula-gives",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Score => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "figures": [{ "signal": "cpu", "weight": 1, "up": "70%", "down": "30%" }] }),
                (0.7, 0.8),
                [
                    "wants 9: scored",
                    "wants 10: scored",
                    "wants 12: scored",
                    "wants 14: scored",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Adaptive => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "signal": "cpu" }),
                (0.7, 0.701),
                [
                    "wants 0: signal-below",
                    "content with 10: within-band",
                    "wants 12: signal-above",
                    "wants 1000000: signal-above",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Phases => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "signal": "cpu" }),
                (0.699, 0.7),
                [
                    "abstains: no-phase",
                    "abstains: no-phase",
                    "wants 12: phase-holds",
                    "wants 40: phase-holds",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::ReadReplicas => Example {
            needs: &["iops", "cpu"],
            ..on(
                "iops",
                json!({ "reads": "iops", "cpu": "cpu", "most": 50 }),
                (1000.0, 1001.0),
                [
                    "wants 10: within-band",
                    "wants 10: within-band",
                    "wants 11: signal-above",
                    "wants 11: signal-above",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Pressure => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "ratios": [{ "signal": "cpu", "at": "60%" }] }),
                (0.72, 0.721),
                [
                    "wants 9: under-pressure",
                    "wants 10: under-pressure",
                    "wants 14: under-pressure",
                    "wants 1000000: under-pressure",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        K::Doubling => Example {
            needs: CPU,
            ..on(
                "cpu",
                json!({ "signal": "cpu" }),
                (0.8, 0.801),
                [
                    "wants 5: signal-below",
                    "content with 10: within-band",
                    "wants 20: signal-above",
                    "wants 20: signal-above",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
        // Without a forecast there is nothing to say; with one, `predictive.rs` has the table.
        K::Predictive => Example {
            needs: RPS,
            ..on(
                "rps",
                json!({ "signal": "rps", "perReplica": 70 }),
                (700.0, 701.0),
                ["abstains: forecast-missing"; 6],
            )
        },
        // Without a learned past nothing can be said; with one, `objective/tests.rs` has the table.
        K::Objective => Example {
            needs: RPS,
            ..on(
                "rps",
                json!({ "signal": "rps", "capacity": { "perReplica": 100 } }),
                (1000.0, 1001.0),
                [
                    "abstains: capacity-unknown",
                    "abstains: capacity-unknown",
                    "abstains: capacity-unknown",
                    "abstains: capacity-unknown",
                    ABSENT,
                    ABSENT,
                ],
            )
        },
    }
}

fn kinds() -> Vec<StrategyKind> {
    let schema = serde_json::to_value(schemars::schema_for!(StrategyKind)).unwrap();
    let names = schema["oneOf"].as_array().unwrap().iter().map(|one| one["const"].clone());
    names.map(|name| serde_json::from_value(name).unwrap()).collect()
}

fn strategy(kind: StrategyKind) -> Strategy {
    serde_json::from_value(json!({ kind.name(): example(kind).settings })).unwrap()
}

fn said(advice: &Advice) -> String {
    match advice {
        Advice::Wants { replicas, why } => format!("wants {replicas}: {}", why.code()),
        Advice::Floor { replicas, why } => format!("floor {replicas}: {}", why.code()),
        Advice::Ceiling { replicas, why } => format!("ceiling {replicas}: {}", why.code()),
        Advice::Content { replicas, why } => format!("content with {replicas}: {}", why.code()),
        Advice::Abstains { why } => format!("abstains: {}", why.code()),
    }
}

#[test]
fn every_kind_is_of_its_own_and_passes_its_check() {
    let kinds = kinds();
    let names: BTreeSet<_> = kinds.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), kinds.len());
    for kind in kinds {
        let strategy = strategy(kind);
        assert_eq!(strategy.kind_of(), kind);
        assert_eq!(problems(strategy.rule()), Vec::<String>::new(), "{}", kind.name());
    }
}

/// Zero, the threshold, just over it, huge, not a number and absent, of every strategy.
#[test]
fn every_strategy_keeps_its_table() {
    let mut wrong = Vec::new();
    for kind in kinds() {
        let (strategy, example) = (strategy(kind), example(kind));
        let ten = Case::absent().replicas(10).at(MONDAY).for_seconds(HELD);
        // The figures that are not varied are high, so that they stop no growth.
        let others =
            ["cpu"].into_iter().filter(|name| *name != example.signal && example.needs.contains(name));
        let ten = others.fold(ten, |case, name| case.with(name, 0.9));
        let cases = [
            ten.clone().with(example.signal, 0.0),
            ten.clone().with(example.signal, example.threshold),
            ten.clone().with(example.signal, example.over),
            ten.clone().with(example.signal, 1e300),
            ten.clone().not_a_number(example.signal),
            ten,
        ];
        let rows = cases.map(|case| said(&says(strategy.rule(), &case)));
        if rows.each_ref().map(String::as_str) != example.rows {
            wrong.push(format!("{} says {rows:#?}", kind.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    /// Whatever is seen: no panic, a count within the limit, the same twice, and no shrink on what is absent.
    #[test]
    fn every_strategy_behaves(case in any_case(&["cpu", "rps", "queue", "users", "iops"])) {
        for kind in kinds() {
            let strategy = strategy(kind);
            behaves(strategy.rule(), &case, example(kind).needs)?;
            let (once, again) = (says(strategy.rule(), &case), says(strategy.rule(), &case));
            prop_assert_eq!(once, again, "{}", kind.name());
        }
    }

    /// More of what is measured never asks for fewer.
    #[test]
    fn more_load_never_wants_fewer(a in any_value(), b in any_value(), count in 1_u32..100) {
        for kind in kinds() {
            let (strategy, example) = (strategy(kind), example(kind));
            if !example.monotone {
                continue;
            }
            let wants = |value: f64| {
                let case = Case::absent().with("cpu", 0.9).with(example.signal, value).replicas(count);
                match says(strategy.rule(), &case.for_seconds(HELD).at(MONDAY)) {
                    Advice::Wants { replicas, .. } => Some(replicas),
                    _ => None,
                }
            };
            if let (Some(low), Some(high)) = (wants(a.min(b)), wants(a.max(b))) {
                prop_assert!(low <= high, "{}: {low} at {}, {high} at {}", kind.name(), a.min(b), a.max(b));
            }
        }
    }
}
