//! The controller after a restart: what it decides next is what it would have decided.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use std::sync::Arc;

use headroom_core::action::Action;
use headroom_core::controller::{Controller, Effect, Input, Measured, Settled, Snapshot};
use headroom_core::decision::{Decision, Outcome};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::reading::Sample;
use headroom_core::units::{Level, Replicas, Span, Timestamp};

const NOON: Timestamp = Timestamp::from_millis(1_800_014_400_000);

fn web() -> WorkloadName {
    "web".parse().unwrap()
}

fn document() -> FleetDocument {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["./web"] } },
            "balancer": { "listen": "127.0.0.1:0" },
            "replicas": { "min": 1, "max": 50 },
            "signals": { "rps": { "balancer": "requestsPerSecond" } },
            "strategies": [
                { "targetTracking": { "signal": "rps", "perReplica": 10, "scaleInCooldown": "20s" } },
                { "fastSteps": { "signal": "rps", "below": 2, "steps": [{ "from": 30, "add": 4 }] } }
            ],
            "behavior": { "scaleDown": { "stabilization": "30s" } },
            "guards": { "cooldown": { "up": "5s", "down": "15s" }, "rateLimit": { "perHour": 40 } },
        } } },
    }))
    .unwrap()
}

/// A controller and a target that does at once what it is asked for.
struct World {
    controller: Controller,
    replicas: Replicas,
    inputs: Vec<Input>,
}

impl World {
    fn new() -> Self {
        let controller = Controller::new(Arc::new(Fleet::new(document()).unwrap()));
        Self { controller, replicas: Replicas(2), inputs: Vec::new() }
    }

    fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.inputs.push(input.clone());
        self.controller.handle(input)
    }

    fn look(&mut self, at: Timestamp) {
        let status = TargetStatus { wanted: self.replicas, ready: self.replicas, ..TargetStatus::default() };
        let _ = self.handle(Input::Looked { at, workload: web(), status: Ok(status) });
    }

    /// A look, a sample, and the action that comes of it, not yet carried out.
    fn see(&mut self, second: i64) -> (Decision, Option<Action>) {
        let at = NOON.plus(Span::seconds(u64::try_from(second).unwrap()));
        self.look(at);
        let rps = 20.0 + f64::from(i32::try_from(second * 37 % 250).unwrap());
        let value = Ok(Sample::new(at, Level::new(rps).unwrap()));
        let samples = vec![Measured { workload: web(), signal: "rps".parse().unwrap(), value }];
        let effects = self.handle(Input::Sampled { at, samples });
        let action = effects.into_iter().find_map(|e| if let Effect::Act(a) = e { Some(a) } else { None });
        (self.controller.memory(&web()).unwrap().latest().unwrap().clone(), action)
    }

    fn second(&mut self, second: i64) -> Decision {
        let (decision, action) = self.see(second);
        if let Some(action) = action {
            self.replicas = action.to();
            let status =
                TargetStatus { wanted: self.replicas, ready: self.replicas, ..TargetStatus::default() };
            let (workload, decision) = (web(), action.record().decision.clone());
            let _ = self.handle(Input::Settled {
                at: action.record().at,
                workload,
                decision,
                outcome: Settled::Done(status),
            });
        }
        decision
    }
}

/// What a journal gives back: the snapshot as text, and the inputs that came after it.
fn restarted(snapshot: &str, inputs: &[Input], at: Timestamp) -> Controller {
    let snapshot: Snapshot = serde_json::from_str(snapshot).unwrap();
    let mut controller = Controller::restore(snapshot).unwrap();
    for input in inputs {
        let text = serde_json::to_string(input).unwrap();
        let _ = controller.handle(serde_json::from_str(&text).unwrap());
    }
    let _ = controller.handle(Input::FleetChanged { at, fleet: document() });
    let _ = controller.handle(Input::Restarted { at });
    controller
}

/// A29, D7: wherever it is killed (in a cooldown, in a stabilisation window, in the middle of a minute's limit), the
/// next decision is the one it would have taken, with the same reasons; and so are those after it.
#[test]
fn wherever_it_is_killed_the_next_decision_is_the_one_it_would_have_taken() {
    let mut decided = std::collections::BTreeSet::new();
    for killed_after in 1..90 {
        let mut world = World::new();
        let mut snapshot = (serde_json::to_string(&world.controller.snapshot()).unwrap(), 0);
        for second in 0..killed_after {
            if second % 25 == 24 {
                snapshot = (serde_json::to_string(&world.controller.snapshot()).unwrap(), world.inputs.len());
            }
            let _ = world.second(second);
        }
        let at = NOON.plus(Span::seconds(u64::try_from(killed_after).unwrap()));
        let controller = restarted(&snapshot.0, &world.inputs[snapshot.1..], at);
        let mut after = World { controller, replicas: world.replicas, inputs: Vec::new() };
        for second in killed_after..killed_after + 5 {
            let (uninterrupted, restarted) = (world.second(second), after.second(second));
            assert_eq!(restarted, uninterrupted, "killed after {killed_after} s, {second} s");
            decided.insert(format!("{:?}", uninterrupted.outcome));
        }
    }
    assert!(decided.contains("Act") && decided.contains("Held"), "the run has all kinds: {decided:?}");
}

/// A29, D7: an action that was sent when the controller was killed is known only by what the target then shows. Done, it
/// counts as the change it is, and the pause after it holds; not done, it is asked for again.
#[test]
fn what_was_under_way_is_read_from_the_target() {
    let mut world = World::new();
    let (_, action) = world.see(5);
    let action = action.expect("205 requests a second need 21");
    let snapshot = serde_json::to_string(&world.controller.snapshot()).unwrap();
    for (shown, outcome) in [(action.to(), Outcome::Held), (Replicas(2), Outcome::Act)] {
        let controller = restarted(&snapshot, &[], action.record().at);
        let mut after = World { controller, replicas: shown, inputs: Vec::new() };
        let (decision, _) = after.see(6);
        assert_eq!(decision.outcome, outcome, "the target shows {shown}: {decision:?}");
        assert_eq!(decision.to, action.to());
    }
}

/// A pause after advice is of the run that only said it: the next run, which may act, acts at its first look.
#[test]
fn a_run_after_one_that_only_advised_acts_at_once() {
    let mut world = World::new();
    let (_, action) = world.see(5);
    let action = action.expect("there is something to do");
    let (at, decision) = (action.record().at, action.record().decision.clone());
    let _ = world.handle(Input::Settled { at, workload: web(), decision, outcome: Settled::Advised });
    let (held, action) = world.see(6);
    assert!(action.is_none(), "it is not said every second");
    let said: Vec<_> = held.steps.iter().map(|s| &s.why).chain(held.refusal.iter().map(|r| &r.why)).collect();
    assert!(said.iter().any(|why| why.code() == "advised-only"), "{said:?}");
    let snapshot = serde_json::to_string(&world.controller.snapshot()).unwrap();
    let controller = restarted(&snapshot, &[], NOON.plus(Span::seconds(7)));
    let mut after = World { controller, replicas: Replicas(2), inputs: Vec::new() };
    assert!(after.see(7).1.is_some(), "the first look decides");
}
