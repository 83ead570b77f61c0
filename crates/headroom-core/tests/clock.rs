//! The controller when the machine's clock is set back.

use std::sync::Arc;

use headroom_core::action::Action;
use headroom_core::controller::{Controller, Effect, Input, Measured, Settled};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::Sample;
use headroom_core::units::{Level, Replicas, Span, Timestamp};

const NOON: Timestamp = Timestamp::from_millis(12 * 3_600_000);

fn controller() -> Controller {
    let document: FleetDocument = serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["./web"] } },
            "balancer": { "listen": "127.0.0.1:0" },
            "replicas": { "min": 1, "max": 50 },
            "signals": { "rps": { "balancer": "requestsPerSecond" } },
            "strategies": [{ "targetTracking": { "signal": "rps", "perReplica": 10 } }],
            "guards": { "cooldown": { "up": "5m", "down": "5m" } },
        } } },
    }))
    .expect("the text is a fleet");
    Controller::new(Arc::new(Fleet::new(document).expect("the fleet has no problems")))
}

fn shows(wanted: u32) -> TargetStatus {
    TargetStatus { wanted: Replicas(wanted), ready: Replicas(wanted), ..TargetStatus::default() }
}

/// A look that shows `wanted` and a sample of `rps` at the same moment; gives the action that comes of it.
fn moment(controller: &mut Controller, at: Timestamp, wanted: u32, rps: f64) -> Option<Action> {
    let workload = || "web".parse().expect("a name");
    let mut effects =
        controller.handle(Input::Looked { at, workload: workload(), status: Ok(shows(wanted)) });
    let value = Ok(Sample::new(at, Level::new(rps).expect("a level")));
    let samples = vec![Measured { workload: workload(), signal: "rps".parse().expect("a name"), value }];
    effects.extend(controller.handle(Input::Sampled { at, samples }));
    effects.into_iter().find_map(|e| if let Effect::Act(action) = e { Some(action) } else { None })
}

fn settle(controller: &mut Controller, at: Timestamp, action: &Action, outcome: Settled) {
    let (workload, decision) = (action.workload().clone(), action.record().decision.clone());
    let _ = controller.handle(Input::Settled { at, workload, decision, outcome });
}

/// D7: a pause of five minutes lasts five minutes, whatever the clock says.
#[test]
fn a_cooldown_does_not_outlast_a_clock_that_was_set_back() {
    let mut web = controller();
    let action = moment(&mut web, NOON, 1, 50.0).expect("five are needed");
    settle(&mut web, NOON, &action, Settled::Done(shows(5)));
    let an_hour_back = NOON.minus(Span::hours(1));
    assert_eq!(moment(&mut web, an_hour_back, 5, 100.0), None, "the change was just now");
    let later = an_hour_back.plus(Span::seconds(299));
    assert_eq!(moment(&mut web, later, 5, 100.0), None, "the pause is not over");
    let later = an_hour_back.plus(Span::seconds(300));
    assert!(moment(&mut web, later, 5, 100.0).is_some(), "the pause is over");
}

#[test]
fn a_failure_does_not_hold_longer_than_its_pause_after_the_clock_was_set_back() {
    let mut web = controller();
    let action = moment(&mut web, NOON, 1, 50.0).expect("five are needed");
    settle(&mut web, NOON, &action, Settled::Failed("no room".to_owned()));
    let an_hour_back = NOON.minus(Span::hours(1));
    assert_eq!(moment(&mut web, an_hour_back, 1, 50.0), None, "the failure was just now");
    let later = an_hour_back.plus(Span::seconds(61));
    assert!(moment(&mut web, later, 1, 50.0).is_some(), "no pause is longer than a minute");
}

#[test]
fn an_action_without_an_answer_is_given_up_after_the_clock_was_set_back() {
    let mut web = controller();
    moment(&mut web, NOON, 1, 50.0).expect("five are needed");
    let mut at = NOON.minus(Span::hours(1));
    assert_eq!(moment(&mut web, at, 1, 50.0), None, "it is under way");
    at = at.plus(Span::seconds(121));
    assert!(moment(&mut web, at, 1, 50.0).is_some(), "it is asked for again");
}
