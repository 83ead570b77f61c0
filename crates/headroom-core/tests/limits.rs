//! What workloads share, through the live controller: limits, priorities, suppliers, the breaker.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom_core::action::Action;
use headroom_core::controller::{Controller, Effect, Input, Measured, Order, Settled};
use headroom_core::decision::Decision;
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

const START: i64 = 1_000_000_000_000;

/// A fleet, its targets, and a clock. Every target does at once what it is asked for, unless it is `slow`.
struct World {
    controller: Controller,
    at: Timestamp,
    targets: BTreeMap<String, TargetStatus>,
    slow: bool,
    under_way: Vec<Action>,
    notices: Vec<String>,
    decided: BTreeMap<String, Decision>,
}

/// A workload that wants as many replicas as its signal says.
fn workload(min: u32, max: u32, more: &Value) -> Value {
    let mut workload = json!({
        "target": { "process": { "command": ["app"] } },
        "replicas": { "min": min, "max": max },
        "signals": { "want": { "push": { "unit": "count" }, "freshFor": "1h" } },
        "strategies": [{ "targetTracking": { "signal": "want", "perReplica": 1, "scaleInCooldown": "0s" } }],
        "behavior": { "scaleDown": { "stabilization": "0s" } },
    });
    workload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    workload
}

fn fleet(workloads: &Value, more: &Value) -> Arc<Fleet> {
    let mut spec = json!({ "workloads": workloads });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let document: FleetDocument = serde_json::from_value(json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" }, "spec": spec,
    }))
    .unwrap();
    Arc::new(Fleet::new(document).unwrap())
}

impl World {
    /// Every workload as `counts` says, all ready and all seen.
    fn new(workloads: &Value, more: &Value, counts: &[(&str, u32)]) -> Self {
        let mut world = Self {
            controller: Controller::new(fleet(workloads, more)),
            at: Timestamp::from_millis(START),
            targets: BTreeMap::new(),
            slow: false,
            under_way: Vec::new(),
            notices: Vec::new(),
            decided: BTreeMap::new(),
        };
        for (name, count) in counts {
            world.show(name, *count, *count);
        }
        world
    }

    fn name(name: &str) -> WorkloadName {
        name.parse().unwrap()
    }

    fn show(&mut self, name: &str, wanted: u32, ready: u32) {
        let status =
            TargetStatus { wanted: Replicas(wanted), ready: Replicas(ready), ..TargetStatus::default() };
        self.targets.insert(name.to_owned(), status);
        self.look(name);
    }

    fn look(&mut self, name: &str) {
        let status = Ok(self.targets[name].clone());
        self.give(Input::Looked { at: self.at, workload: Self::name(name), status });
    }

    fn want(&mut self, name: &str, count: Option<u32>) {
        let value = match count {
            Some(count) => Ok(Sample::new(self.at, Level::new(f64::from(count)).unwrap())),
            None => Err(Absence::SourceFailed("refused".to_owned())),
        };
        let sample = Measured { workload: Self::name(name), signal: "want".parse().unwrap(), value };
        self.give(Input::Sampled { at: self.at, samples: vec![sample] });
    }

    /// A second passes: everything is looked at and looked over.
    fn second(&mut self) {
        self.at = self.at.plus(Span::seconds(1));
        for name in self.targets.keys().cloned().collect::<Vec<_>>() {
            self.look(&name);
        }
        self.give(Input::Tick { at: self.at });
    }

    fn seconds(&mut self, seconds: u32) {
        (0..seconds).for_each(|_| self.second());
    }

    fn settle(&mut self) {
        for action in std::mem::take(&mut self.under_way) {
            let (workload, decision) = (action.workload().clone(), action.record().decision.clone());
            let status = TargetStatus { wanted: action.to(), ready: action.to(), ..TargetStatus::default() };
            self.targets.insert(workload.to_string(), status.clone());
            self.give(Input::Settled { at: self.at, workload, decision, outcome: Settled::Done(status) });
        }
    }

    fn give(&mut self, input: Input) {
        for effect in self.controller.handle(input) {
            match effect {
                Effect::Act(action) => self.under_way.push(action),
                Effect::Notify(notice) => self.notices.push(notice.code),
                Effect::Record(decision) => {
                    self.decided.insert(decision.id.workload.to_string(), *decision);
                }
                _ => {}
            }
        }
        if !self.slow {
            self.settle();
        }
    }

    fn count(&self, name: &str) -> u32 {
        self.targets[name].wanted.0
    }

    fn why(&self, name: &str) -> &'static str {
        self.decided[name].main_reason().unwrap().code()
    }
}

fn connections() -> Value {
    json!({ "limits": { "connections": { "uses": { "app": 20 }, "supply": 1000 } } })
}

/// A33: 20 connections a replica, 1000 in all: the app tier can't outgrow the database.
#[test]
fn growth_ends_where_the_connections_end() {
    for (want, expected, why) in [
        (0, 1, "at-minimum"),
        (49, 49, "share-per-replica"),
        (50, 50, "share-per-replica"),
        (51, 50, "limit-reached"),
        (1_000_000, 50, "limit-reached"),
    ] {
        let mut world =
            World::new(&json!({ "app": workload(1, 200, &json!({})) }), &connections(), &[("app", 10)]);
        world.want("app", Some(want));
        assert_eq!((world.count("app"), world.why("app")), (expected, why), "wanting {want}");
        assert!(world.notices.is_empty(), "{:?}", world.notices);
    }
}

/// A33: each replica's pool is the limit ÷ the replicas, those under way included.
#[test]
fn the_pool_of_each_replica_follows_the_count() {
    let mut world =
        World::new(&json!({ "app": workload(1, 200, &json!({})) }), &connections(), &[("app", 10)]);
    let pool = |world: &World| world.controller.parts(&World::name("app"), world.at)[0].pool;
    assert_eq!(pool(&world), 100);
    world.slow = true;
    world.want("app", Some(40));
    assert_eq!(pool(&world), 25, "the thirty that come are reckoned with before they are there");
    world.settle();
    assert_eq!(pool(&world), 25);
    world.slow = false;
    world.want("app", Some(60));
    assert_eq!(pool(&world), 20, "never less than the policy reckons with");
}

/// A33: two workloads are never promised the same room, whoever asks in which order, and what is under way counts.
#[test]
fn room_is_promised_once() {
    let limit = json!({ "limits": { "connections": { "uses": { "app": 20, "jobs": 10 }, "supply": 1000 } } });
    let both = json!({ "app": workload(1, 200, &json!({})), "jobs": workload(1, 200, &json!({})) });
    let mut world = World::new(&both, &limit, &[("app", 10), ("jobs", 10)]);
    world.slow = true;
    world.want("jobs", Some(100));
    world.want("app", Some(100));
    let asked: Vec<u32> = world.under_way.iter().map(|a| a.to().0).collect();
    // 10 × 20 are held by the app, so jobs get 80 × 10; nothing is left for the app.
    assert_eq!(asked, [80]);
    assert_eq!(world.why("app"), "limit-reached");
    world.settle();
    world.want("jobs", Some(20));
    assert_eq!(world.under_way.len(), 1);
    world.want("app", Some(100));
    assert_eq!(world.why("app"), "limit-reached", "those that go still hold theirs until they are gone");
    world.settle();
    world.second();
    world.settle();
    assert_eq!((world.count("jobs"), world.count("app")), (20, 40));
}

/// A35: lower priorities give way when a higher one is short, the lowest first, down to its minimum.
#[test]
fn lower_priorities_give_way() {
    let limit = json!({
        "limits": { "machines": { "uses": { "web": 1, "reports": 1, "batch": 1 }, "supply": 30 } },
        "priorities": { "front": 100, "back": 10 },
    });
    let three = json!({
        "web": workload(2, 100, &json!({ "tier": "front" })),
        "reports": workload(2, 100, &json!({ "tier": "back" })),
        "batch": workload(2, 100, &json!({})),
    });
    let mut world = World::new(&three, &limit, &[("web", 10), ("reports", 10), ("batch", 10)]);
    for (name, want) in [("web", 10), ("reports", 10), ("batch", 10)] {
        world.want(name, Some(want));
    }
    world.seconds(3);
    assert_eq!((world.count("web"), world.count("reports"), world.count("batch")), (10, 10, 10));
    world.want("web", Some(16));
    world.seconds(5);
    assert_eq!((world.count("web"), world.count("reports"), world.count("batch")), (16, 10, 4));
    assert!(["limit-reached", "gives-way"].contains(&world.why("batch")));
    world.want("web", Some(24));
    world.seconds(5);
    assert_eq!((world.count("web"), world.count("reports"), world.count("batch")), (24, 4, 2));
    world.want("web", Some(100));
    world.seconds(5);
    assert_eq!((world.count("web"), world.count("reports"), world.count("batch")), (26, 2, 2), "minima stay");
    world.want("web", Some(10));
    world.seconds(5);
    assert_eq!((world.count("web"), world.count("reports"), world.count("batch")), (10, 10, 10), "and back");
    assert!(world.notices.is_empty(), "{:?}", world.notices);
}

/// A35: what is blind or frozen does not give way; the next higher gives instead, and nobody else is stopped.
#[test]
fn who_cannot_give_is_passed_over() {
    let limit = json!({
        "limits": { "machines": { "uses": { "web": 1, "reports": 1, "batch": 1 }, "supply": 30 } },
    });
    let three = json!({
        "web": workload(2, 100, &json!({ "priority": 3 })),
        "reports": workload(2, 100, &json!({ "priority": 2 })),
        "batch": workload(2, 100, &json!({ "priority": 1 })),
    });
    let mut world = World::new(&three, &limit, &[("web", 10), ("reports", 10), ("batch", 10)]);
    world.want("web", Some(16));
    world.want("reports", Some(10));
    world.want("batch", None);
    world.seconds(5);
    assert_eq!((world.count("web"), world.count("reports"), world.count("batch")), (16, 4, 10));
    assert!(world.notices.is_empty(), "{:?}", world.notices);
}

/// A33: a supplier counts when it is ready and seen, and does not shrink below what is held of it.
#[test]
fn suppliers_count_only_when_ready() {
    let limit = json!({
        "limits": { "connections": { "uses": { "app": 20 }, "supply": 200, "suppliers": { "db": 100 } } },
    });
    let both = json!({ "app": workload(1, 200, &json!({})), "db": workload(1, 3, &json!({})) });
    let mut world = World::new(&both, &limit, &[("app", 5)]);
    world.want("app", Some(100));
    assert_eq!(world.count("app"), 10, "the database was never seen: only the fixed supply counts");
    world.show("db", 2, 1);
    world.second();
    assert_eq!(world.count("app"), 15, "one of two is ready");
    world.show("db", 2, 2);
    world.second();
    assert_eq!(world.count("app"), 20);
    world.want("db", Some(1));
    assert_eq!((world.count("db"), world.why("db")), (2, "supply-held"));
    world.want("app", Some(12));
    world.second();
    assert_eq!((world.count("app"), world.count("db")), (12, 1), "one is enough for twelve");
    // The database can't be seen any more: nothing grows on what it may have, and nothing is taken away.
    world.want("app", Some(14));
    assert_eq!(world.count("app"), 14);
    let error = Err("no answer".to_owned());
    world.give(Input::Looked { at: world.at, workload: World::name("db"), status: error });
    world.want("app", Some(15));
    assert_eq!((world.count("app"), world.why("app")), (14, "limit-reached"));
}

/// A33: where a supplier fails and less is ready than is held, none of its replicas goes: the one that starts is missing.
#[test]
fn a_supplier_keeps_all_while_the_limit_is_overdrawn() {
    let limit = json!({
        "limits": { "connections": { "uses": { "app": 20 }, "supply": 0, "suppliers": { "db": 100 } } },
    });
    let both = json!({ "app": workload(1, 200, &json!({})), "db": workload(1, 9, &json!({})) });
    let mut world = World::new(&both, &limit, &[("app", 25), ("db", 7)]);
    world.want("app", Some(25));
    world.show("db", 7, 4);
    world.want("db", Some(5));
    assert_eq!((world.count("db"), world.why("db")), (7, "supply-held"), "five would do, four are ready");
    world.show("db", 7, 5);
    world.second();
    assert_eq!(world.count("db"), 5);
    assert!(world.notices.is_empty(), "{:?}", world.notices);
}

/// A33: more than ten app replicas and a read load above 70 % ask for a read replica, at most three.
#[test]
fn replicas_of_another_workload_are_a_signal() {
    let rule = json!({
        "signals": {
            "apps": { "replicasOf": "app" },
            "load": { "push": { "unit": "ratio", "scope": "quality" }, "freshFor": "1h" },
        },
        "strategies": [{ "readReplicas": {
            "reads": "apps", "readsAbove": 10, "cpu": "load", "cpuAbove": "70%", "most": 3, "cooldown": "0s" } }],
    });
    let both = json!({ "app": workload(1, 200, &json!({})), "db": workload(1, 9, &rule) });
    for (apps, load, expected) in
        [(10, 0.9, 1), (11, 0.7, 1), (11, 0.71, 3), (200, 0.9, 3), (0, 0.9, 1), (11, 0.0, 1)]
    {
        let mut world = World::new(&both, &json!({}), &[("app", apps), ("db", 1)]);
        world.want("app", Some(apps));
        let value = Ok(Sample::new(world.at, Level::new(load).unwrap()));
        let sample = Measured { workload: World::name("db"), signal: "load".parse().unwrap(), value };
        world.give(Input::Sampled { at: world.at, samples: vec![sample] });
        world.seconds(5);
        assert_eq!(world.count("db"), expected, "{apps} app replicas at {load}");
    }
}

/// A restart forgets nothing that is held: what was under way may have been done.
#[test]
fn a_restart_keeps_what_is_held() {
    let limit = json!({ "limits": { "machines": { "uses": { "a": 1, "b": 1 }, "supply": 20 } } });
    let both = json!({ "a": workload(1, 100, &json!({})), "b": workload(1, 100, &json!({})) });
    let mut world = World::new(&both, &limit, &[("a", 5), ("b", 5)]);
    world.slow = true;
    world.want("a", Some(15));
    assert_eq!(world.under_way.len(), 1);
    let text = serde_json::to_string(&world.controller.snapshot()).unwrap();
    world.controller = Controller::restore(serde_json::from_str(&text).unwrap()).unwrap();
    world.give(Input::Restarted { at: world.at });
    world.show("b", 5, 5);
    world.want("b", Some(15));
    assert_eq!((world.under_way.len(), world.why("b")), (1, "limit-reached"));
    world.show("a", 5, 5);
    world.want("b", Some(15));
    assert_eq!(world.under_way.len(), 2, "it was not done, so the room is free");
}

fn three_of_ten(breaker: &Value) -> World {
    let three = json!({
        "a": workload(0, 100, &json!({})), "b": workload(0, 100, &json!({})), "c": workload(0, 100, &json!({})),
    });
    let mut world = World::new(&three, &json!({ "breaker": breaker }), &[("a", 10), ("b", 10), ("c", 10)]);
    for name in ["a", "b", "c"] {
        world.want(name, Some(10));
    }
    world
}

/// No more of the fleet goes at once than the policy allows; people are told; it closes by itself.
#[test]
fn the_breaker_opens_holds_and_closes_by_itself() {
    let mut world = three_of_ten(&json!({}));
    world.want("a", Some(5));
    world.want("b", Some(6));
    assert_eq!((world.count("a"), world.count("b")), (5, 6), "nine of thirty are 30 %");
    world.want("c", Some(9));
    assert_eq!((world.count("c"), world.why("c")), (10, "breaker-trips"));
    assert_eq!(world.notices, ["breaker-open"]);
    world.want("a", Some(4));
    assert_eq!((world.count("a"), world.why("a")), (5, "breaker-open"));
    world.want("b", Some(20));
    assert_eq!(world.count("b"), 20, "growth goes on");
    world.want("b", Some(20));
    world.seconds(15 * 60 - 1);
    assert_eq!((world.count("a"), world.count("c")), (5, 10));
    world.second();
    assert_eq!(world.notices, ["breaker-open", "breaker-closed"]);
    assert_eq!((world.count("a"), world.count("c")), (4, 9), "the stretch is over");
}

/// A person closes it, and for one stretch everything passes; the state outlives a restart.
#[test]
fn a_person_closes_the_breaker() {
    let mut world = three_of_ten(&json!({}));
    world.want("a", Some(0));
    assert_eq!((world.count("a"), world.controller.breaker().unwrap().changed), (10, 10));
    let text = serde_json::to_string(&world.controller.snapshot()).unwrap();
    world.controller = Controller::restore(serde_json::from_str(&text).unwrap()).unwrap();
    assert!(world.controller.breaker().is_some(), "it is open after a restart");
    let word = Order::CloseBreaker { by: "mina".to_owned(), why: "the batch is over".to_owned() };
    world.give(Input::Ordered { at: world.at, word });
    world.second();
    assert_eq!((world.count("a"), world.notices.last().unwrap().as_str()), (0, "breaker-closed"));
}

/// The share, its edges, the least, growth, and a fleet of nothing.
#[test]
fn the_breaker_counts_to_its_edge() {
    for (breaker, first, expected) in [
        (json!({ "most": "30%" }), 1, 1),
        (json!({ "most": "29%" }), 1, 10),
        (json!({ "most": "1%", "atLeast": 9 }), 1, 1),
        (json!({ "most": "1%" }), 7, 7),
        (json!({ "most": "1%" }), 6, 10),
        (json!({ "most": "30%" }), 1000, 100),
        (json!({ "most": "30%", "growth": true }), 19, 19),
        (json!({ "most": "30%", "growth": true }), 20, 10),
    ] {
        let mut world = three_of_ten(&breaker);
        world.want("a", Some(first));
        assert_eq!(world.count("a"), expected, "{breaker}, 10 → {first}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A33, A35: whatever is wanted, seen, lost and restarted, nothing grows beyond the limit, and no plan is rejected
    /// by its check.
    #[test]
    fn the_inequality_holds_whatever_happens(
        weights in proptest::collection::vec(1_u64..30, 3),
        priorities in proptest::collection::vec(0_i32..3, 3),
        supply in 60_u64..600,
        each in 1_u64..60,
        steps in proptest::collection::vec((0_usize..4, 0_u32..60, 0_u8..10), 1..80),
    ) {
        let names = ["a", "b", "c"];
        let mut all = serde_json::Map::new();
        for (name, priority) in names.iter().zip(&priorities) {
            all.insert((*name).to_owned(), workload(0, 60, &json!({ "priority": priority })));
        }
        all.insert("db".to_owned(), workload(0, 5, &json!({})));
        let uses: BTreeMap<_, _> = names.iter().zip(&weights).collect();
        let limits = json!({ "limits": { "l": { "uses": uses, "supply": supply, "suppliers": { "db": each } } } });
        let mut world = World::new(&all.into(), &limits, &[("a", 0), ("b", 0), ("c", 0), ("db", 0)]);
        for (who, count, what) in steps {
            let name = ["a", "b", "c", "db"][who];
            let held: u64 = names.iter().zip(&weights).map(|(n, w)| w * u64::from(world.count(n))).sum();
            match what {
                0 => world.slow = !world.slow,
                1 => world.want(name, None),
                2 => {
                    let error = Err("no answer".to_owned());
                    world.give(Input::Looked { at: world.at, workload: World::name(name), status: error });
                }
                3 => {
                    let text = serde_json::to_string(&world.controller.snapshot()).unwrap();
                    world.controller = Controller::restore(serde_json::from_str(&text).unwrap()).unwrap();
                    world.settle();
                    world.give(Input::Restarted { at: world.at });
                }
                4 | 5 => world.second(),
                6 => world.settle(),
                _ => world.want(name, Some(count)),
            }
            let after: u64 = names.iter().zip(&weights).map(|(n, w)| w * u64::from(world.count(n))).sum();
            let there = supply + each * u64::from(world.count("db"));
            prop_assert!(after <= held.max(there), "{held} became {after} of {there}");
            prop_assert!(world.notices.is_empty(), "{:?}", world.notices);
        }
    }
}
