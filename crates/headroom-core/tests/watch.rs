//! A change is watched, gets a verdict, and is undone where it made things worse, through the live controller.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use headroom_core::action::Action;
use headroom_core::controller::{Controller, Effect, Input, Measured, Settled};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::guard::Ending;
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use serde_json::json;

const NOON: Timestamp = Timestamp::from_millis(1_000_000_000_000);

fn web() -> WorkloadName {
    "web".parse().unwrap()
}

/// A target of as many replicas as it is asked for, of which at most `most` become ready.
struct World {
    controller: Controller,
    now: Timestamp,
    count: u32,
    most: u32,
    want: f64,
    /// The latency in seconds; none while it can't be read.
    latency: Option<f64>,
    endings: Vec<Ending>,
    codes: Vec<String>,
}

impl World {
    fn new(count: u32, guards: &serde_json::Value) -> Self {
        let document: FleetDocument = serde_json::from_value(json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" },
            "spec": { "workloads": { "web": {
                "target": { "process": { "command": ["./web"] } },
                "replicas": { "min": 1, "max": 50 },
                "signals": {
                    "want": { "push": { "unit": "count" } },
                    "p95": { "push": { "unit": "seconds", "scope": "quality" } },
                },
                "strategies": [
                    { "targetTracking": { "signal": "want", "perReplica": 1, "scaleInCooldown": "0s" } }],
                "behavior": { "scaleDown": { "stabilization": "0s" } },
                "guards": guards,
            } } },
        }))
        .unwrap();
        let controller = Controller::new(Fleet::new(document).unwrap().into());
        let (endings, codes) = (Vec::new(), Vec::new());
        let want = f64::from(count);
        Self { controller, now: NOON, count, most: 100, want, latency: Some(0.1), endings, codes }
    }

    fn watching(count: u32) -> Self {
        Self::new(count, &json!({ "watch": { "health": [{ "signal": "p95", "wellBelow": "400ms" }] } }))
    }

    fn status(&self) -> TargetStatus {
        TargetStatus {
            wanted: Replicas(self.count),
            ready: Replicas(self.count.min(self.most)),
            ..TargetStatus::default()
        }
    }

    fn send(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.controller.handle(input) {
                match effect {
                    Effect::Act(action) => inputs.push(self.take(&action)),
                    Effect::Record(decision) => self.endings.extend(decision.verdict.map(|v| v.ending)),
                    Effect::Notify(notice) => self.codes.push(notice.code),
                    _ => {}
                }
            }
        }
    }

    fn take(&mut self, action: &Action) -> Input {
        self.count = action.to().0;
        let (decision, outcome) = (action.record().decision.clone(), Settled::Done(self.status()));
        Input::Settled { at: self.now, workload: web(), decision, outcome }
    }

    /// So many seconds go by; each second everything is looked at.
    fn pass(&mut self, seconds: u64) -> &mut Self {
        for _ in 0..seconds {
            self.now = self.now.plus(Span::seconds(1));
            let at = self.now;
            self.send(Input::Looked { at, workload: web(), status: Ok(self.status()) });
            let sample = |value: f64| Ok(Sample::new(at, Level::new(value).unwrap()));
            let latency = self.latency.map_or(Err(Absence::SourceFailed("gone".to_owned())), sample);
            let measured =
                |signal: &str, value| Measured { workload: web(), signal: signal.parse().unwrap(), value };
            let samples = vec![measured("want", sample(self.want)), measured("p95", latency)];
            self.send(Input::Sampled { at, samples });
        }
        self
    }

    fn wants(&mut self, want: f64) -> &mut Self {
        self.want = want;
        self
    }

    fn latency(&mut self, seconds: impl Into<Option<f64>>) -> &mut Self {
        self.latency = seconds.into();
        self
    }
}

/// B8: a change that does what it was made for is completed after the watch, in either direction.
#[test]
fn a_good_change_is_completed() {
    for want in [6.0, 14.0] {
        let mut world = World::watching(10);
        world.pass(5).wants(want).pass(290);
        assert_eq!(world.endings, vec![], "{want}: not yet");
        assert_eq!(world.pass(20).endings, vec![Ending::Completed], "{want}");
        assert_eq!(world.codes, Vec::<String>::new(), "nobody is told of what went well");
    }
}

/// B8, B13: a shrink that makes answers slow is undone, told, and not made again while the hold lasts.
#[test]
fn a_shrink_that_hurts_is_rolled_back() {
    let mut world = World::watching(10);
    world.pass(5).wants(6.0).pass(5);
    assert_eq!(world.count, 6);
    world.latency(0.5).pass(29);
    assert_eq!((world.count, world.endings.as_slice()), (6, [].as_slice()), "not yet for long enough");
    world.pass(3);
    assert_eq!((world.count, world.endings.as_slice()), (10, [Ending::RolledBack].as_slice()));
    assert_eq!(world.codes, vec!["change-undone"]);
    world.latency(0.1).pass(14 * 60);
    assert_eq!(world.count, 10, "well again, and the hold lasts");
    world.pass(2 * 60);
    assert_eq!(world.count, 6, "the hold is over");
}

/// B13: what was unwell before, what recovers in time and what can't be read undo nothing.
#[test]
fn only_what_the_change_did_undoes_it() {
    let mut unwell_before = World::watching(10);
    unwell_before.latency(0.5).pass(5).wants(6.0).pass(320);
    assert_eq!(unwell_before.endings, vec![Ending::Completed]);

    let mut recovers = World::watching(10);
    recovers.pass(5).wants(6.0).pass(5);
    for _ in 0..9 {
        recovers.latency(0.5).pass(29).latency(0.1).pass(5);
    }
    assert_eq!(recovers.endings, vec![Ending::Completed]);

    let mut unread = World::watching(10);
    unread.pass(5).wants(6.0).pass(5).latency(None).pass(320);
    assert_eq!((unread.count, unread.endings.as_slice()), (6, [Ending::Completed].as_slice()));
}

/// B13: a growth is never undone: that would take replicas away because something is unwell.
#[test]
fn a_growth_fails_and_stays() {
    let mut slower = World::watching(10);
    slower.pass(5).wants(14.0).pass(5).latency(0.5).pass(40);
    assert_eq!((slower.count, slower.endings.as_slice()), (14, [Ending::Failed].as_slice()));
    assert_eq!(slower.codes, vec!["change-failed"]);

    let mut stuck = World::watching(10);
    stuck.most = 12;
    stuck.pass(5).wants(14.0).pass(320);
    assert_eq!((stuck.count, stuck.endings.as_slice()), (14, [Ending::Failed].as_slice()), "two never came");
}

/// B8: the next change ends the watch over the one before.
#[test]
fn a_later_change_overtakes() {
    let mut world = World::watching(10);
    world.pass(5).wants(14.0).pass(60).wants(18.0).pass(60);
    assert_eq!(world.endings, vec![Ending::Overtaken]);
}

/// B13: an undo stays within every other guard; a freeze is a freeze.
#[test]
fn an_undo_is_a_change_like_any_other() {
    let guards = json!({
        "watch": { "health": [{ "signal": "p95", "wellBelow": "400ms" }] },
        "rateLimit": { "perHour": 1 },
    });
    let mut world = World::new(10, &guards);
    world.pass(5).wants(8.0).pass(5).latency(0.5).pass(60);
    assert_eq!((world.count, world.endings.as_slice()), (8, [Ending::RolledBack].as_slice()));
    world.pass(10 * 60).wants(9.0).pass(1);
    assert_eq!(world.count, 8, "one change an hour");
}

/// B8: a watch goes on over a restart.
#[test]
fn a_restart_forgets_no_watch() {
    let mut world = World::watching(10);
    world.pass(5).wants(6.0).pass(5).latency(0.5).pass(20);
    let text = serde_json::to_string(&world.controller.snapshot()).unwrap();
    world.controller = Controller::restore(serde_json::from_str(&text).unwrap()).unwrap();
    let at = world.now;
    world.send(Input::Restarted { at });
    world.pass(15);
    assert_eq!((world.count, world.endings.as_slice()), (10, [Ending::RolledBack].as_slice()));
}

/// Without the guard nothing is watched.
#[test]
fn off_unless_asked_for() {
    let mut world = World::new(10, &json!({}));
    world.pass(5).wants(6.0).pass(5).latency(0.5).pass(320);
    assert_eq!((world.count, world.endings.as_slice()), (6, [].as_slice()));
}
