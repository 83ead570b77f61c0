//! A large change waits for a person, through the live controller.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use headroom_core::controller::{Controller, Effect, Input, Measured, Override};
use headroom_core::decision::DecisionId;
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::reading::Sample;
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use serde_json::json;

const NOON: Timestamp = Timestamp::from_millis(1_000_000_000_000);

fn web() -> WorkloadName {
    "web".parse().unwrap()
}

fn controller() -> Controller {
    let document: FleetDocument = serde_json::from_value(json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["./web"] } },
            "replicas": { "min": 1, "max": 50 },
            "signals": { "want": { "push": { "unit": "count" }, "freshFor": "3h" } },
            "strategies": [{ "targetTracking": { "signal": "want", "perReplica": 1, "scaleInCooldown": "0s" } }],
            "behavior": { "scaleDown": { "stabilization": "0s" } },
            "guards": { "approval": { "shrinkAbove": 5 } },
        } } },
    }))
    .unwrap();
    Controller::new(Fleet::new(document).unwrap().into())
}

/// Twenty replicas are there, so many are wanted: the count asked for, and the codes of the notices.
fn moment(controller: &mut Controller, at: Timestamp, want: u32) -> (Option<u32>, Vec<String>) {
    let twenty = TargetStatus { wanted: Replicas(20), ready: Replicas(20), ..TargetStatus::default() };
    let mut effects = controller.handle(Input::Looked { at, workload: web(), status: Ok(twenty) });
    let value = Ok(Sample::new(at, Level::new(f64::from(want)).unwrap()));
    let samples = vec![Measured { workload: web(), signal: "want".parse().unwrap(), value }];
    effects.extend(controller.handle(Input::Sampled { at, samples }));
    (asked(&effects), told(&effects))
}

fn asked(effects: &[Effect]) -> Option<u32> {
    effects.iter().find_map(|e| if let Effect::Act(action) = e { Some(action.to().0) } else { None })
}

fn told(effects: &[Effect]) -> Vec<String> {
    let code = |e: &Effect| if let Effect::Notify(notice) = e { Some(notice.code.clone()) } else { None };
    effects.iter().filter_map(code).collect()
}

fn pending(controller: &Controller, at: Timestamp) -> Option<(DecisionId, u32)> {
    controller.memory(&web()).unwrap().pending(at).map(|p| (p.decision.clone(), p.to.0))
}

fn say(controller: &mut Controller, at: Timestamp, decision: DecisionId, approved: bool) -> Option<u32> {
    let word =
        Override::Answer { decision, approved, by: "mina".to_owned(), why: "the sale is over".to_owned() };
    asked(&controller.handle(Input::Overridden { at, workload: web(), word }))
}

/// Survives what a restart leaves: the snapshot as text.
fn restarted(controller: &Controller) -> Controller {
    let text = serde_json::to_string(&controller.snapshot()).unwrap();
    Controller::restore(serde_json::from_str(&text).unwrap()).unwrap()
}

/// B8: a large change waits, is told once, and is made when a person approves it, also after a restart.
#[test]
fn an_approved_change_is_made() {
    let mut web = controller();
    assert_eq!(moment(&mut web, NOON, 15).0, Some(15), "five fewer is no large change");
    let mut web = controller();
    assert_eq!(moment(&mut web, NOON, 14), (None, vec!["approval-needed".to_owned()]));
    assert_eq!(moment(&mut web, NOON.plus(Span::seconds(1)), 14), (None, vec![]), "told once");
    let mut web = restarted(&web);
    let (id, to) = pending(&web, NOON).unwrap();
    assert_eq!(to, 14);
    assert_eq!(say(&mut web, NOON.plus(Span::seconds(2)), id, true), Some(14));
    assert_eq!(pending(&web, NOON.plus(Span::seconds(2))), None);
}

/// An approval goes as far as what was asked for; what goes further waits anew, under another name.
#[test]
fn an_approval_goes_no_further() {
    let mut web = controller();
    let _ = moment(&mut web, NOON, 10);
    let (id, _) = pending(&web, NOON).unwrap();
    let _ = moment(&mut web, NOON.plus(Span::seconds(1)), 12);
    assert_eq!(pending(&web, NOON).unwrap(), (id.clone(), 10), "less than what waits waits with it");
    let (_, notices) = moment(&mut web, NOON.plus(Span::seconds(2)), 9);
    assert_eq!(notices, ["approval-needed"]);
    let at = NOON.plus(Span::seconds(3));
    assert_eq!(say(&mut web, at, id, true), None, "what was asked for first waits no more");
    let (_, to) = pending(&web, at).unwrap();
    assert_eq!(to, 9);
}

/// What is refused is not asked for again for an hour; what nobody answers is asked for anew after one.
#[test]
fn a_refusal_holds_for_an_hour() {
    let mut web = controller();
    let _ = moment(&mut web, NOON, 10);
    let (id, _) = pending(&web, NOON).unwrap();
    assert_eq!(say(&mut web, NOON, id, false), None);
    for (minutes, notices) in [(1, 0), (59, 0), (60, 1), (61, 0), (120, 1)] {
        let (asked, told) = moment(&mut web, NOON.plus(Span::minutes(minutes)), 8);
        assert_eq!((asked, told.len()), (None, notices), "after {minutes} minutes");
    }
    assert_eq!(moment(&mut web, NOON.plus(Span::minutes(121)), 16).0, Some(16), "small changes go on");
}

/// An approval that is not used in time is void.
#[test]
fn an_approval_ends() {
    for (minutes, expected) in [(9, Some(10)), (10, None)] {
        let mut web = controller();
        let _ = moment(&mut web, NOON, 10);
        let (id, _) = pending(&web, NOON).unwrap();
        // Nothing is wanted at that moment, so nothing is done yet.
        let _ = moment(&mut web, NOON, 20);
        assert_eq!(say(&mut web, NOON, id, true), None);
        assert_eq!(moment(&mut web, NOON.plus(Span::minutes(minutes)), 10).0, expected);
    }
}
