//! Alerts of a workload, through the live controller: what raises each, and what ends it (B15).

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::sync::Arc;

use headroom_core::action::Action;
use headroom_core::alert::{AlertKind, AlertNews, Alerts, Seen, State};
use headroom_core::controller::{Controller, Effect, Input, Measured, Override, Settled};
use headroom_core::fleet::{AlertSettings, Fleet, FleetDocument};
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Replicas, Timestamp};
use serde_json::json;

/// One workload that wants as many replicas as its signal says, its target, and a clock.
struct World {
    controller: Controller,
    alerts: Alerts,
    at: Timestamp,
    target: Result<TargetStatus, String>,
    /// Why the target refuses what it is asked for.
    refuses: Option<String>,
    /// Whether what is asked for becomes ready.
    starts: bool,
    told: Vec<AlertNews>,
}

impl World {
    fn new() -> Self {
        let document: FleetDocument = serde_json::from_value(json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" },
            "spec": { "workloads": { "web": {
                "target": { "process": { "command": ["app"] } },
                "price": "0.1 USD/h",
                "replicas": { "min": 1, "max": 10 },
                "signals": {
                    "want": { "push": { "unit": "count" }, "freshFor": "5s" },
                    "cpu": { "process": "cpu", "freshFor": "5s" },
                },
                "strategies": [{ "targetTracking": {
                    "signal": "want", "perReplica": 1, "scaleInCooldown": "0s", "scaleOutCooldown": "0s" } }],
                "behavior": { "scaleDown": { "stabilization": "0s" } },
                "guards": { "approval": { "shrinkAbove": 6 } },
            } } },
        }))
        .unwrap();
        let two = Replicas(2);
        Self {
            controller: Controller::new(Arc::new(Fleet::new(document).unwrap())),
            alerts: Alerts::default(),
            at: Timestamp::from_millis(1_000_000_000_000),
            target: Ok(TargetStatus { wanted: two, ready: two, ..TargetStatus::default() }),
            refuses: None,
            starts: true,
            told: Vec::new(),
        }
    }

    fn web() -> WorkloadName {
        "web".parse().unwrap()
    }

    /// Seconds in which the signals say this; `None` says that they can't be read.
    fn pass(&mut self, seconds: u64, want: Option<f64>, cpu: Option<f64>) {
        for _ in 0..seconds {
            self.at = self.at.plus(headroom_core::units::Span::seconds(1));
            let at = self.at;
            let measured = |signal: &str, value: Option<f64>| Measured {
                workload: Self::web(),
                signal: signal.parse().unwrap(),
                value: value
                    .map(|v| Sample::new(at, Level::new(v).unwrap()))
                    .ok_or_else(|| Absence::SourceFailed("gone".to_owned())),
            };
            let samples = vec![measured("want", want), measured("cpu", cpu)];
            self.put(Input::Looked { at, workload: Self::web(), status: self.target.clone() });
            self.put(Input::Sampled { at, samples });
            self.put(Input::Tick { at });
            let fleet = Arc::clone(self.controller.fleet());
            let name = Self::web();
            let (workload, memory) = (fleet.workload(&name).unwrap(), self.controller.memory(&name).unwrap());
            let seen = Seen { at, name: &name, workload, memory };
            self.told.extend(self.alerts.look(&AlertSettings::default(), &seen));
        }
    }

    fn put(&mut self, input: Input) {
        for effect in self.controller.handle(input) {
            if let Effect::Act(action) = effect {
                self.act(&action);
            }
        }
    }

    fn act(&mut self, action: &Action) {
        let outcome = match (&self.refuses, &mut self.target) {
            (Some(why), _) => Settled::Failed(why.clone()),
            (None, Ok(status)) => {
                status.wanted = action.to();
                status.ready = if self.starts { action.to() } else { status.ready.min(action.to()) };
                Settled::Done(status.clone())
            }
            (None, Err(why)) => Settled::Failed(why.clone()),
        };
        let (at, decision) = (self.at, action.record().decision.clone());
        self.put(Input::Settled { at, workload: Self::web(), decision, outcome });
    }

    /// What was told since the last time.
    fn told(&mut self) -> Vec<(AlertKind, State)> {
        std::mem::take(&mut self.told).into_iter().map(|news| (news.alert.kind, news.state)).collect()
    }

    fn last(&self) -> &AlertNews {
        self.told.last().unwrap()
    }
}

use AlertKind::{ActionFailed, ApprovalNeeded, AtMaximum, CpuHigh, Flapping, Stuck, TargetUnseen};
use State::{Raised, Resolved};

#[test]
fn a_quiet_day_is_no_news() {
    let mut world = World::new();
    world.pass(600, Some(2.0), Some(0.5));
    assert_eq!(world.told(), []);
}

#[test]
fn more_than_the_most_is_told_with_its_cost_and_ends() {
    let mut world = World::new();
    world.pass(120, Some(25.0), Some(0.5));
    let alert = &world.last().alert;
    assert!(alert.why.contains("25 replicas are wanted, and 10 are the most"), "{}", alert.why);
    assert_eq!(alert.cost.unwrap().now.to_string(), "1 USD/h");
    assert!(alert.decision.is_some());
    assert_eq!(world.told(), [(AtMaximum, Raised)]);
    world.pass(120, Some(5.0), Some(0.5));
    assert_eq!(world.told(), [(AtMaximum, Resolved)]);
}

/// B15: cpu > 90 % (high). What can't be read raises nothing and ends nothing.
#[test]
fn cpu_above_nine_tenths_is_told() {
    let mut world = World::new();
    world.pass(120, Some(2.0), Some(0.9));
    assert_eq!(world.told(), []);
    world.pass(120, Some(2.0), Some(0.95));
    assert!(world.last().alert.why.contains("95 %"), "{}", world.last().alert.why);
    assert_eq!(world.told(), [(CpuHigh, Raised)]);
    world.pass(300, Some(2.0), None);
    assert_eq!(world.told(), []);
    world.pass(120, Some(2.0), Some(0.2));
    assert_eq!(world.told(), [(CpuHigh, Resolved)]);
}

/// B15: scaling failures (high).
#[test]
fn a_refused_change_is_told_at_once_and_ends_with_the_next_that_is_taken() {
    let mut world = World::new();
    world.pass(5, Some(2.0), Some(0.5));
    world.refuses = Some("no room".to_owned());
    world.pass(2, Some(4.0), Some(0.5));
    assert!(world.last().alert.why.contains("no room"), "{}", world.last().alert.why);
    assert_eq!(world.told(), [(ActionFailed, Raised)]);
    world.pass(30, Some(4.0), Some(0.5));
    assert_eq!(world.told(), []);
    world.refuses = None;
    world.pass(70, Some(4.0), Some(0.5));
    assert_eq!(world.told(), [(ActionFailed, Resolved)]);
}

#[test]
fn replicas_that_do_not_become_ready_are_told() {
    let mut world = World::new();
    world.starts = false;
    world.pass(290, Some(4.0), Some(0.5));
    assert_eq!(world.told(), []);
    world.pass(30, Some(4.0), Some(0.5));
    assert!(world.last().alert.why.contains("2 of 4 replicas are ready"), "{}", world.last().alert.why);
    assert_eq!(world.told(), [(Stuck, Raised)]);
    world.target.as_mut().unwrap().ready = Replicas(4);
    world.pass(1, Some(4.0), Some(0.5));
    assert_eq!(world.told(), [(Stuck, Resolved)]);
}

#[test]
fn a_target_out_of_sight_is_told() {
    let mut world = World::new();
    world.pass(5, Some(2.0), Some(0.5));
    let well = std::mem::replace(&mut world.target, Err("gone".to_owned()));
    world.pass(90, Some(2.0), Some(0.5));
    assert_eq!(world.told(), [(TargetUnseen, Raised)]);
    world.target = well;
    world.pass(90, Some(2.0), Some(0.5));
    assert_eq!(world.told(), [(TargetUnseen, Resolved)]);
}

#[test]
fn a_count_that_swings_is_told() {
    let mut world = World::new();
    for turn in 0..8 {
        world.pass(10, Some(if turn % 2 == 0 { 5.0 } else { 2.0 }), Some(0.5));
    }
    assert_eq!(world.told(), [(Flapping, Raised)]);
    world.pass(3700, Some(2.0), Some(0.5));
    assert_eq!(world.told(), [(Flapping, Resolved)]);
}

#[test]
fn a_change_that_waits_for_a_person_is_told_with_what_it_saves() {
    let mut world = World::new();
    world.pass(10, Some(10.0), Some(0.5));
    world.pass(3, Some(1.0), Some(0.5));
    let alert = world.last().alert.clone();
    assert_eq!(alert.cost.unwrap().then.unwrap().to_string(), "0.1 USD/h");
    assert!(alert.why.contains("headroom approve web-"), "{}", alert.why);
    assert_eq!(world.told(), [(ApprovalNeeded, Raised)]);
    let (decision, why) = (alert.decision.unwrap(), "quiet".to_owned());
    let word = Override::Answer { decision, approved: true, by: "me".to_owned(), why };
    world.put(Input::Overridden { at: world.at, workload: World::web(), word });
    world.pass(2, Some(1.0), Some(0.5));
    assert_eq!(world.told(), [(ApprovalNeeded, Resolved)]);
}
