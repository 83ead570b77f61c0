//! A small world that a real controller runs in, and the batches that come of it.

use std::path::Path;
use std::sync::Arc;

use headroom_core::controller::{Controller, Effect, Input, Measured, Settled};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::reading::Sample;
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use headroom_engine::journal::{Batch, DataDir, Journal, Opened, Retention};

/// Where the world's clock starts: a full hour.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_799_996_400_000);

pub(crate) fn web() -> WorkloadName {
    "web".parse().unwrap()
}

pub(crate) fn open(dir: &Path) -> (Journal, Opened) {
    open_with(dir, Retention::default())
}

pub(crate) fn open_with(dir: &Path, retention: Retention) -> (Journal, Opened) {
    Journal::open(&DataDir::open(dir).unwrap(), retention).unwrap()
}

pub(crate) fn fleet() -> FleetDocument {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "test" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["app"] } },
            "balancer": { "listen": "127.0.0.1:0" },
            "replicas": { "min": 1, "max": 20 },
            "signals": { "rps": { "balancer": "requestsPerSecond" } },
            "strategies": [{ "targetTracking": { "signal": "rps", "perReplica": 100 } }],
        } } }
    }))
    .unwrap()
}

/// A controller, the batches it makes, and a target that does at once what it is asked for.
pub(crate) struct World {
    pub(crate) controller: Controller,
    pub(crate) at: Timestamp,
    replicas: Replicas,
    seconds: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(fleet())
    }

    /// A world whose load is forecast, and scaled by the forecast.
    pub(crate) fn that_foresees() -> Self {
        let mut document = serde_json::to_value(fleet()).unwrap();
        let web = document.pointer_mut("/spec/workloads/web").unwrap();
        let predictive = serde_json::json!({ "predictive": { "mode": "forecastAndScale" } });
        web["strategies"].as_array_mut().unwrap().push(predictive);
        Self::of(serde_json::from_value(document).unwrap())
    }

    fn of(document: FleetDocument) -> Self {
        let controller = Controller::new(Arc::new(Fleet::new(document).unwrap()));
        Self { controller, at: START, replicas: Replicas(2), seconds: 0 }
    }

    /// The world after so many seconds.
    pub(crate) fn after(seconds: u64) -> Self {
        let mut world = Self::new();
        for _ in 0..seconds {
            let _ = world.second();
        }
        world
    }

    /// The batch that begins a journal.
    pub(crate) fn first(&self) -> Batch {
        Batch { snapshot: Some(self.controller.snapshot()), ..Batch::new(self.at) }
    }

    /// What a second brings: a look, a sample, and the end of what was begun. The load swings, so there are
    /// changes.
    pub(crate) fn second(&mut self) -> Batch {
        self.step(1)
    }

    /// The same after so many seconds.
    fn step(&mut self, seconds: u64) -> Batch {
        self.at = self.at.plus(Span::seconds(seconds));
        self.seconds += seconds;
        let rps = 150.0 + f64::from(u32::try_from(self.seconds * 37 % 900).unwrap());
        let status = TargetStatus { wanted: self.replicas, ready: self.replicas, ..TargetStatus::default() };
        let sample = Sample::new(self.at, Level::new(rps / 3.0).unwrap());
        let mut batch = Batch::new(self.at);
        self.handle(&mut batch, Input::Looked { at: self.at, workload: web(), status: Ok(status) });
        let measured = Measured { workload: web(), signal: "rps".parse().unwrap(), value: Ok(sample) };
        self.handle(&mut batch, Input::Sampled { at: self.at, samples: vec![measured] });
        for action in batch.actions.clone() {
            self.replicas = action.to;
            let status = TargetStatus { wanted: action.to, ready: action.to, ..TargetStatus::default() };
            let (workload, decision) = (web(), action.decision);
            let outcome = Settled::Done(status);
            self.handle(&mut batch, Input::Settled { at: self.at, workload, decision, outcome });
        }
        batch
    }

    pub(crate) fn handle(&mut self, batch: &mut Batch, input: Input) {
        batch.inputs.push(input.clone());
        for effect in self.controller.handle(input) {
            match effect {
                Effect::Record(decision) => batch.decisions.push(*decision),
                Effect::Act(action) => batch.actions.push(action.record().clone()),
                Effect::Notify(notice) => batch.notices.push(notice),
                Effect::Fit(order) => self.handle(batch, Input::Fitted { at: self.at, answer: order.run() }),
                Effect::Look(_) | Effect::Warm(_) => {}
            }
        }
    }

    /// Begins a journal and fills `seconds` of it, with a snapshot every minute.
    pub(crate) async fn fill(&mut self, journal: &Journal, seconds: u64) {
        self.fill_in_steps(journal, seconds, 1).await;
    }

    /// The same with steps of so many seconds, and a snapshot every sixty of them.
    pub(crate) async fn fill_in_steps(&mut self, journal: &Journal, steps: u64, seconds: u64) {
        if self.seconds == 0 {
            journal.append(self.first()).await.unwrap();
        }
        for _ in 0..steps {
            let mut batch = self.step(seconds);
            if self.seconds.is_multiple_of(60 * seconds) {
                batch.snapshot = Some(self.controller.snapshot());
            }
            journal.append(batch).await.unwrap();
        }
    }
}
