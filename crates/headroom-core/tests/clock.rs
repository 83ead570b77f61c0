//! The controller when time, or what is known of the past, is not as it should be: a clock set back, samples that come
//! late, a workload that comes back, a signal that changes its unit.

use std::sync::Arc;

use headroom_core::action::Action;
use headroom_core::controller::{Controller, Effect, Input, Measured, Settled};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Reading, Sample};
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

/// What comes late is of the past: it does not stand for the present, and nothing shrinks on it.
#[test]
fn a_sample_that_comes_late_does_not_stand_for_the_present() {
    let mut web = controller();
    let seen = |web: &Controller| {
        let memory = web.memory(&"web".parse().expect("a name")).expect("it is of the policy");
        match &memory.latest().expect("a decision").signals[0].reading {
            Reading::Fresh(sample) => sample.value.get(),
            other => panic!("{other:?}"),
        }
    };
    let push = |web: &mut Controller, now: Timestamp, at: Timestamp, rps: f64| {
        let value = Ok(Sample::new(at, Level::new(rps).expect("a level")));
        let (workload, signal) = ("web".parse().expect("a name"), "rps".parse().expect("a name"));
        let _ = web.handle(Input::Sampled { at: now, samples: vec![Measured { workload, signal, value }] });
    };
    let later = |seconds| NOON.plus(Span::seconds(seconds));
    moment(&mut web, NOON, 5, 50.0);
    push(&mut web, later(1), NOON.minus(Span::seconds(4)), 10.0);
    assert_eq!(seen(&web), 50.0);
    push(&mut web, later(1), NOON, 60.0);
    assert_eq!(seen(&web), 60.0, "of the same moment the later one counts");
    // One that is ahead of the clock is replaced by what is of now.
    push(&mut web, later(2), later(4), 70.0);
    assert_eq!(seen(&web), 70.0);
    push(&mut web, later(3), later(3), 80.0);
    assert_eq!(seen(&web), 80.0);
}

/// A workload that is taken out and put back has decisions of its own: no two are called alike.
#[test]
fn decisions_of_a_workload_that_comes_back_are_numbered_on() {
    let mut web = controller();
    moment(&mut web, NOON, 1, 50.0).expect("five are needed");
    let number = |web: &Controller| {
        let memory = web.memory(&"web".parse().expect("a name")).expect("it is of the policy");
        memory.latest().expect("a decision").id.number
    };
    let before = number(&web);
    let with = web.fleet().document();
    let mut without = serde_json::to_value(&with).expect("a document");
    let renamed = without["spec"]["workloads"]["web"].take();
    without["spec"]["workloads"] = serde_json::json!({ "other": renamed });
    for fleet in [serde_json::from_value(without).expect("a fleet"), with] {
        let _ = web.handle(Input::FleetChanged { at: NOON, fleet });
        web = Controller::restore(web.snapshot()).expect("its own snapshot");
    }
    moment(&mut web, NOON.plus(Span::seconds(1)), 1, 50.0).expect("five are needed");
    assert!(number(&web) > before, "{} after {before}", number(&web));
}

/// A number in another unit is another number.
#[test]
fn a_signal_of_another_unit_begins_anew() {
    let mut web = controller();
    moment(&mut web, NOON, 5, 50.0);
    let mut document = serde_json::to_value(web.fleet().document()).expect("a document");
    document["spec"]["workloads"]["web"]["signals"]["rps"] =
        serde_json::json!({ "push": { "unit": "count" } });
    let fleet = serde_json::from_value(document).expect("a fleet");
    let at = NOON.plus(Span::seconds(1));
    let _ = web.handle(Input::FleetChanged { at, fleet });
    let workload = "web".parse().expect("a name");
    let _ = web.handle(Input::Looked { at, workload, status: Ok(shows(5)) });
    let _ = web.handle(Input::Tick { at });
    let memory = web.memory(&"web".parse().expect("a name")).expect("it is of the policy");
    let reading = &memory.latest().expect("a decision").signals[0].reading;
    assert_eq!(reading, &Reading::Missing(Absence::NeverSeen));
}
