//! One table and one set of properties over every guard.
//!
//! The guards come from the type that names who moves a number, and [`examples`] matches on all of it: a guard without
//! a line here does not compile. Each guard's own file holds the tests of its formula; this holds what is asked of all.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::Case;
use super::*;
use crate::decision::By;
use crate::fleet::Fleet;
use crate::memory::Memory;
use crate::reading::Absence;
use crate::together::{BreakerMemory, Tight};

type Rule = fn(&Context<'_>, &mut Draft);

/// One guard, settings that switch it on, and what becomes of a change in each row of its table.
struct Example {
    name: &'static str,
    rule: Rule,
    settings: &'static str,
    /// Zero, the threshold, just over it, huge, not a number, absent.
    cases: [Case; 6],
    /// The count after each, and why it is not the one wanted.
    rows: [&'static str; 6],
}

const HUGE: u32 = 1_000_000;

/// The wanted count is what varies. Where a signal can't be read, "just over" is wanted: a guard that looks at no
/// signal must not mind.
fn wanting(base: &Case, threshold: u32, over: u32) -> [Case; 6] {
    let blind = |absence| base.clone().want(over).sees("cpu", Err(absence));
    let [zero, at, over, huge] = [0, threshold, over, HUGE].map(|want| base.clone().want(want));
    [zero, at, over, huge, blind(Absence::NotANumber), blind(Absence::NeverSeen)]
}

/// A signal is what varies.
fn seeing(base: &Case, signal: &str, threshold: f64, over: f64) -> [Case; 6] {
    let (nan, absent) = (Err(Absence::NotANumber), Err(Absence::NeverSeen));
    [Ok(0.0), Ok(threshold), Ok(over), Ok(1e300), nan, absent].map(|value| base.clone().sees(signal, value))
}

/// Ten replicas, of which nothing is wanted yet.
fn ten() -> Case {
    Case::new(10, 10)
}

/// What is tried of each guard; nothing for who is no guard.
fn examples(by: By) -> Vec<Example> {
    let one = |name, rule: Rule, settings, cases, rows| vec![Example { name, rule, settings, cases, rows }];
    match by {
        By::Strategies | By::Waiting | By::Person | By::Inspect => Vec::new(),
        By::Settled => one(
            "settled",
            |cx, draft| {
                settled::limit(cx, draft);
                settled::refuse(cx, draft);
            },
            "{}",
            wanting(&Case::new(12, 12).in_flight(8, 12), 12, 13),
            ["12: action-in-flight", "12", "13", "1000000", "13", "13"],
        ),
        By::Absence => {
            // The age of the value is what has a threshold.
            let four = ten().want(4);
            let aged = |seconds| four.clone().saw("cpu", seconds, Ok(0.5));
            let [zero, _, _, huge, nan, absent] = seeing(&four, "cpu", 0.0, 0.0);
            one(
                "absence",
                |cx, draft| absence::limit(cx, &[], draft),
                "{}",
                [zero, aged(30), aged(31), huge, nan, absent],
                ["4", "4", "10: held-for-absence", "4", "10: held-for-absence", "10: held-for-absence"],
            )
        }
        By::Stabilise => one(
            "stabilise",
            stabilise::limit,
            "{}",
            wanting(
                &ten().behavior(r#"{ "scaleDown": { "stabilization": "5m" } }"#).recommended(&[(10, 7)]),
                7,
                8,
            ),
            ["7: stabilising-down", "7", "8", "1000000", "8", "8"],
        ),
        By::Step => one(
            "step",
            step::limit,
            "{}",
            wanting(
                &ten().behavior(
                    r#"{ "scaleUp": { "policies": [{ "replicas": 5, "period": "60s" }] },
                         "scaleDown": { "policies": [{ "percent": 10, "period": "60s" }] } }"#,
                ),
                15,
                16,
            ),
            [
                "9: step-down-limited",
                "15",
                "15: step-up-limited",
                "15: step-up-limited",
                "15: step-up-limited",
                "15: step-up-limited",
            ],
        ),
        By::Cooldown => {
            // The time since the last change is what has a threshold.
            let ago = |seconds| ten().want(12).changed(&[(seconds, 8, 10)]);
            let blind = |absence| ago(0).sees("cpu", Err(absence));
            let cases = [
                ago(0),
                ago(300),
                ago(301),
                ago(1_000_000_000),
                blind(Absence::NotANumber),
                blind(Absence::NeverSeen),
            ];
            let rows = ["10: cooling-down", "12", "12", "12", "10: cooling-down", "10: cooling-down"];
            let mut both = one("cooldown", cooldown::limit, r#"{ "cooldown": {} }"#, cases, rows);
            // Urgency 2 halves a pause of 450 s.
            both.extend(one(
                "dynamic cooldown",
                dynamic_cooldown::limit,
                r#"{ "dynamicCooldown": { "urgency": [{ "signal": "cpu", "above": "90%", "points": 2 }] } }"#,
                seeing(&ago(300), "cpu", 0.9, 0.901),
                ["10: cooling-down", "10: cooling-down", "12", "12", "10: cooling-down", "10: cooling-down"],
            ));
            both
        }
        By::Bounds => one(
            "bounds",
            |cx, draft| bounds::limit(cx, &[], draft),
            "{}",
            wanting(&ten().range(2, 20), 20, 21),
            ["2: at-minimum", "20", "20: at-maximum", "20: at-maximum", "20: at-maximum", "20: at-maximum"],
        ),
        By::Share => one(
            "share",
            within_a_share,
            "{}",
            wanting(&ten(), 12, 13),
            [
                "8: supply-held",
                "12",
                "12: limit-reached",
                "12: limit-reached",
                "12: limit-reached",
                "12: limit-reached",
            ],
        ),
        By::RateLimit => one(
            "rate limit",
            |cx, draft| {
                rate_limit::limit(cx, draft);
                rate_limit::refuse(cx, draft);
            },
            r#"{ "rateLimit": {} }"#,
            wanting(&ten(), 13, 14),
            [
                "7: change-too-large",
                "13",
                "13: change-too-large",
                "13: change-too-large",
                "13: change-too-large",
                "13: change-too-large",
            ],
        ),
        By::GradualSteps => one(
            "gradual steps",
            gradual::limit,
            r#"{ "gradualSteps": { "urgency": [{ "signal": "cpu", "above": "90%", "points": 2 }] } }"#,
            seeing(&ten().want(20), "cpu", 0.9, 0.901),
            [
                "11: gradual-step",
                "11: gradual-step",
                "12: gradual-step",
                "12: gradual-step",
                "11: gradual-step",
                "11: gradual-step",
            ],
        ),
        By::Safety => one(
            "safety",
            |cx, draft| {
                safety::limit(cx, draft);
                safety::refuse(cx, draft);
            },
            r#"{ "safety": { "dependencies": [{ "signal": "p95", "wellBelow": "100ms" }] } }"#,
            seeing(&ten().want(12), "p95", 0.1, 0.101),
            [
                "12",
                "10: dependency-unwell",
                "10: dependency-unwell",
                "10: dependency-unwell",
                "10: dependency-unwell",
                "10: dependency-unwell",
            ],
        ),
        By::QuietHours => one(
            "quiet hours",
            quiet_hours::refuse,
            r#"{ "quietHours": { "hours": [{ "from": "00:00", "to": "23:00" }] } }"#,
            wanting(&ten(), 10, 11),
            ["10: quiet-hours", "10", "11", "1000000", "11", "11"],
        ),
        By::Flapping => one(
            "flapping",
            flapping::refuse,
            r#"{ "flapping": { "turns": 1 } }"#,
            wanting(&ten().changed(&[(200, 8, 12), (100, 12, 10)]), 10, 11),
            ["10: swings", "10", "11", "1000000", "11", "11"],
        ),
        By::Approval => one(
            "approval",
            approval::refuse,
            r#"{ "approval": { "growAbove": 3, "shrinkAbove": 3 } }"#,
            wanting(&ten(), 13, 14),
            [
                "10: needs-approval",
                "13",
                "10: needs-approval",
                "10: needs-approval",
                "10: needs-approval",
                "10: needs-approval",
            ],
        ),
        By::Watch => one(
            "watch",
            watch::limit,
            r#"{ "watch": {} }"#,
            wanting(&Case::new(6, 6).undone(10, 1), 10, 11),
            ["10: shrink-undone", "10", "11", "1000000", "11", "11"],
        ),
        By::Freeze => one(
            "freeze",
            freeze::refuse,
            "{}",
            wanting(&ten().frozen_for(Some(1)), 10, 11),
            ["10: frozen", "10", "10: frozen", "10: frozen", "10: frozen", "10: frozen"],
        ),
        By::Breaker => one(
            "breaker",
            under_a_breaker,
            "{}",
            wanting(&ten(), 11, 12),
            [
                "10: breaker-trips",
                "11",
                "10: breaker-trips",
                "10: breaker-trips",
                "10: breaker-trips",
                "10: breaker-trips",
            ],
        ),
    }
}

/// Room to grow to 12, and 8 that others hold.
fn within_a_share(cx: &Context<'_>, draft: &mut Draft) {
    let limit: crate::names::LimitName = "connections".parse().unwrap();
    let tight = |bound| Some(Tight { limit: limit.clone(), bound: Replicas(bound), supply: 12, held: 10 });
    let room = Room { growth: tight(12), gives: None, keeps: tight(8) };
    share::limit(cx, &[], &room, draft);
}

/// A fleet of which nothing may change.
fn under_a_breaker(cx: &Context<'_>, draft: &mut Draft) {
    let document = serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "test" },
        "spec": {
            "breaker": { "most": "1%", "atLeast": 1, "growth": true },
            "workloads": { "web": {
                "target": { "process": { "command": ["app"] } },
                "replicas": { "min": 1, "max": 100 },
                "strategies": [{ "fixed": { "replicas": 1 } }],
            } } }
    }))
    .unwrap();
    let fleet = Fleet::new(document).unwrap();
    let memories: BTreeMap<_, _> =
        fleet.workloads().iter().map(|(name, workload)| (name.clone(), Memory::new(workload))).collect();
    breaker::refuse(cx, &Together::new(&fleet, &memories, BreakerMemory::default()), draft);
}

fn guards() -> Vec<(By, Example)> {
    let schema = serde_json::to_value(schemars::schema_for!(By)).unwrap();
    let names = schema["oneOf"].as_array().unwrap().iter().map(|one| one["const"].clone());
    let all = names.map(|name| serde_json::from_value(name).unwrap());
    all.flat_map(|by| examples(by).into_iter().map(move |example| (by, example))).collect()
}

/// The count after a guard, and why it is not the one that was wanted.
fn became(draft: &Draft) -> String {
    let (wanted, steps, refusal) = draft.clone().into_parts();
    let moved = steps.last().filter(|step| step.by != By::Strategies).map(|step| step.why.code());
    match refusal.map(|refusal| refusal.why.code()).or(moved) {
        Some(why) => format!("{wanted}: {why}"),
        None => wanted.to_string(),
    }
}

/// Zero, the threshold, just over it, huge, not a number and absent, of every guard.
#[test]
fn every_guard_keeps_its_table() {
    let mut wrong = Vec::new();
    for (_, Example { name, rule, settings, cases, rows }) in guards() {
        let found = cases.map(|case| became(&case.guards(settings).drafted(rule)));
        if found.each_ref().map(String::as_str) != rows {
            wrong.push(format!("{name} gives {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Any past, any present, any want.
fn any_change() -> impl Strategy<Value = (u32, u32, Case)> {
    let want = prop_oneof![0_u32..60, Just(u32::MAX)];
    let changes = proptest::collection::vec((-100_i64..5000, 0_u32..60, 0_u32..60), 0..12);
    let past = proptest::collection::vec((0_u64..700, 0_u32..60), 0..6);
    let moments = (proptest::option::of(0_u64..3), proptest::option::of(0_u64..3), proptest::bool::ANY);
    let undone = proptest::option::of((0_u32..40, 0_u64..3));
    (2_u32..40, want, changes, past, moments, undone).prop_map(
        |(from, want, mut changes, mut past, (failed, frozen, busy), undone)| {
            changes.sort_by_key(|(ago, ..)| std::cmp::Reverse(*ago));
            past.sort_by_key(|(ago, _)| std::cmp::Reverse(*ago));
            let mut case = Case::new(from, want).range(2, 40).changed(&changes).recommended(&past);
            if let Some(seconds) = failed {
                case = case.failed_until(seconds);
            }
            if let Some(seconds) = frozen {
                case = case.frozen_for(Some(seconds));
            }
            if busy {
                case = case.in_flight(2, from);
            }
            if let Some((floor, seconds)) = undone {
                case = case.undone(floor, seconds);
            }
            (from, want, case)
        },
    )
}

proptest! {
    /// No panic, the same twice, and never further than what was wanted or back to what there is: a guard limits. Only
    /// bounds and an undo ask for more, and they stay within what the policy allows and what there was before.
    #[test]
    fn every_guard_only_limits((from, want, case) in any_change()) {
        for (by, Example { rule, settings, .. }) in guards() {
            let case = case.clone().guards(settings);
            let draft = case.drafted(rule);
            prop_assert_eq!(&draft, &case.drafted(rule), "{:?}", by);
            let to = draft.wanted().0;
            match by {
                By::Bounds => prop_assert!((2..=40).contains(&to), "{by:?}: {from} → {want} became {to}"),
                By::Watch => prop_assert!(to >= want, "{by:?}: {from} → {want} became {to}"),
                _ => prop_assert!(
                    (from.min(want)..=from.max(want)).contains(&to),
                    "{by:?}: {from} → {want} became {to}"
                ),
            }
        }
    }

    /// All of them together leave what the policy allows only where that was so before, and never shrink what is busy
    /// or frozen.
    #[test]
    fn together_they_stay_within_bounds((from, want, case) in any_change()) {
        let settings = r#"{ "cooldown": {}, "rateLimit": {}, "safety": {}, "flapping": {}, "watch": {},
            "approval": { "growAbove": 3, "shrinkAbove": 3 } }"#;
        let all = |cx: &Context<'_>, draft: &mut Draft| {
            limit(cx, &[], draft);
            refuse(cx, draft);
        };
        let to = case.guards(settings).limited(all);
        prop_assert!((2..=40).contains(&to) || to == from, "{from} → {want} became {to}");
    }
}

/// A plan that a person applied is done as it is or not at all: speed and size are no matter any more, but what may have
/// changed since it was made is.
#[test]
fn an_applied_plan_is_held_against_what_may_have_changed() {
    let blind = |case: Case| case.sees("cpu", Err(Absence::NotANumber));
    let limits = r#"{ "cooldown": {}, "rateLimit": {}, "safety": {}, "approval": { "growAbove": 1 } }"#;
    for (case, expected) in [
        (ten().want(40).guards(limits).changed(&[(1, 9, 10)]), "40"),
        (ten().want(12).sees("cpu", Ok(0.0)), "12"),
        (blind(ten().want(12)), "12"),
        (ten().want(5).sees("cpu", Ok(0.0)), "5"),
        (blind(ten().want(5)), "10: held-for-absence"),
        (blind(ten().range(1, 8).want(8)), "8"),
        (ten().range(1, 8).want(9), "10: at-maximum"),
        (ten().range(5, 20).want(4), "10: at-minimum"),
        (ten().in_flight(12, 10).want(5), "10: action-in-flight"),
        (ten().in_flight(8, 10).want(12), "12"),
        (ten().frozen_for(None).want(12), "10: frozen"),
        (ten().frozen_for(Some(0)).want(12), "12"),
    ] {
        let draft = case.drafted(|cx, draft| run_over_plan(cx, &[], None, None, draft));
        assert_eq!(became(&draft), expected, "{case:?}");
    }
}
