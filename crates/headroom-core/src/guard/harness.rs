//! One set of properties over every guard.
//!
//! The guards come from the type that names who moves a number, and [`guard`] matches on all of it: a guard without a
//! line here does not compile. Each guard's own file holds its table.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::Case;
use super::*;
use crate::decision::By;
use crate::fleet::Fleet;
use crate::memory::Memory;
use crate::together::{BreakerMemory, Tight};

type Rule = fn(&Context<'_>, &mut Draft);

/// What is tried of each guard, with settings that switch it on; `None` for who is no guard.
fn guard(by: By) -> Option<(Rule, &'static str)> {
    Some(match by {
        By::Strategies | By::Waiting | By::Person | By::Inspect => return None,
        By::Settled => (
            |cx, draft| {
                settled::limit(cx, draft);
                settled::refuse(cx, draft);
            },
            "{}",
        ),
        By::Absence => (|cx, draft| absence::limit(cx, &[], draft), "{}"),
        By::Stabilise => (stabilise::limit, "{}"),
        By::Step => (step::limit, "{}"),
        By::Cooldown => (
            |cx, draft| {
                cooldown::limit(cx, draft);
                dynamic_cooldown::limit(cx, draft);
            },
            r#"{ "cooldown": {}, "dynamicCooldown": { "urgency": [] } }"#,
        ),
        By::Bounds => (|cx, draft| bounds::limit(cx, &[], draft), "{}"),
        By::Share => (within_a_share, "{}"),
        By::RateLimit => (
            |cx, draft| {
                rate_limit::limit(cx, draft);
                rate_limit::refuse(cx, draft);
            },
            r#"{ "rateLimit": {} }"#,
        ),
        By::GradualSteps => (gradual::limit, r#"{ "gradualSteps": { "urgency": [] } }"#),
        By::Safety => (
            |cx, draft| {
                safety::limit(cx, draft);
                safety::refuse(cx, draft);
            },
            r#"{ "safety": {} }"#,
        ),
        By::QuietHours => {
            (quiet_hours::refuse, r#"{ "quietHours": { "hours": [{ "from": "00:00", "to": "23:00" }] } }"#)
        }
        By::Flapping => (flapping::refuse, r#"{ "flapping": { "turns": 1 } }"#),
        By::Approval => (approval::refuse, r#"{ "approval": { "growAbove": 3, "shrinkAbove": 3 } }"#),
        By::Watch => (watch::limit, r#"{ "watch": {} }"#),
        By::Freeze => (freeze::refuse, "{}"),
        By::Breaker => (under_a_breaker, "{}"),
    })
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

fn guards() -> Vec<By> {
    let schema = serde_json::to_value(schemars::schema_for!(By)).unwrap();
    let names = schema["oneOf"].as_array().unwrap().iter().map(|one| one["const"].clone());
    names.map(|name| serde_json::from_value(name).unwrap()).filter(|by| guard(*by).is_some()).collect()
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
        for by in guards() {
            let (rule, settings) = guard(by).unwrap();
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
