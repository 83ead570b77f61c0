//! One way to ask a guard a question in a test.

use crate::action::ActionRecord;
use crate::context::Context;
use crate::decision::{By, DecisionId, Draft, SeenSignal};
use crate::fleet::{Behavior, FleetDocument, GuardSettings, ReplicaRange};
use crate::guard::watch::Undone;
use crate::memory::{Change, Failure, Freeze, Memory};
use crate::names::{SignalName, WorkloadName};
use crate::observation::TargetStatus;
use crate::reading::{Absence, Reading, Sample};
use crate::reason::{Reason, Seen};
use crate::strategy::testing::NOW;
use crate::units::{Level, Replicas, Span, Timestamp, Unit};

/// A change on its way, and what was before.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    from: u32,
    want: u32,
    range: ReplicaRange,
    behavior: Behavior,
    guards: GuardSettings,
    recommended: Vec<(u64, u32)>,
    changes: Vec<(i64, u32, u32)>,
    in_flight: Option<(u32, u32)>,
    failed_until: Option<u64>,
    freeze: Option<Option<u64>>,
    undone: Option<(u32, u64)>,
    /// What is seen: how many seconds old, and what.
    signals: Vec<(SignalName, u64, Result<f64, Absence>)>,
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - seconds * 1000)
}

impl Case {
    pub(crate) fn new(from: u32, want: u32) -> Self {
        Self {
            from,
            want,
            range: ReplicaRange { min: Replicas(0), max: Replicas(1000) },
            behavior: Behavior::default(),
            guards: GuardSettings::default(),
            recommended: Vec::new(),
            changes: Vec::new(),
            in_flight: None,
            failed_until: None,
            freeze: None,
            undone: None,
            signals: Vec::new(),
        }
    }
    /// The same, with another want.
    pub(crate) fn want(mut self, want: u32) -> Self {
        self.want = want;
        self
    }
    /// `cpu` (a share) or `p95` (seconds) shows this; a strategy needs `cpu` then.
    pub(crate) fn sees(self, signal: &str, value: Result<f64, Absence>) -> Self {
        self.saw(signal, 0, value)
    }
    /// The same, so many seconds ago; a value is fresh for 30 s.
    pub(crate) fn saw(mut self, signal: &str, seconds: u64, value: Result<f64, Absence>) -> Self {
        self.signals.push((signal.parse().unwrap(), seconds, value));
        self
    }
    pub(crate) fn range(mut self, min: u32, max: u32) -> Self {
        self.range = ReplicaRange { min: Replicas(min), max: Replicas(max) };
        self
    }
    pub(crate) fn behavior(mut self, json: &str) -> Self {
        self.behavior = serde_json::from_str(json).unwrap();
        self
    }
    pub(crate) fn guards(mut self, json: &str) -> Self {
        self.guards = serde_json::from_str(json).unwrap();
        self
    }
    /// Recommendations so many seconds ago, oldest first.
    pub(crate) fn recommended(mut self, past: &[(u64, u32)]) -> Self {
        self.recommended = past.to_vec();
        self
    }
    /// Changes so many seconds ago, oldest first; negative lies ahead.
    pub(crate) fn changed(mut self, changes: &[(i64, u32, u32)]) -> Self {
        self.changes = changes.to_vec();
        self
    }
    pub(crate) fn in_flight(mut self, saw: u32, to: u32) -> Self {
        self.in_flight = Some((saw, to));
        self
    }
    pub(crate) fn failed_until(mut self, seconds: u64) -> Self {
        self.failed_until = Some(seconds);
        self
    }
    /// A shrink below `floor` was undone; that holds for so many seconds.
    pub(crate) fn undone(mut self, floor: u32, seconds: u64) -> Self {
        self.undone = Some((floor, seconds));
        self
    }
    pub(crate) fn frozen_for(mut self, seconds: Option<u64>) -> Self {
        self.freeze = Some(seconds);
        self
    }

    /// The count after `guard`.
    pub(crate) fn limited(&self, guard: impl Fn(&Context<'_>, &mut Draft)) -> u32 {
        self.drafted(guard).wanted().0
    }

    /// The draft after `guard`.
    pub(crate) fn drafted(&self, guard: impl Fn(&Context<'_>, &mut Draft)) -> Draft {
        let strategies = if self.signals.is_empty() {
            serde_json::json!([])
        } else {
            serde_json::json!([{ "threshold": { "signal": "cpu" } }])
        };
        let document: FleetDocument = serde_json::from_value(serde_json::json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "test" },
            "spec": { "workloads": { "web": {
                "target": { "process": { "command": ["app"] } },
                "replicas": self.range,
                "signals": {
                    "cpu": { "push": { "unit": "ratio", "scope": "perReplica" }, "freshFor": "30s" },
                    "p95": { "push": { "unit": "seconds", "scope": "quality" }, "freshFor": "30s" },
                },
                "strategies": strategies,
                "behavior": self.behavior,
                "guards": self.guards,
            } } }
        }))
        .unwrap();
        let name: WorkloadName = "web".parse().unwrap();
        let workload = &document.spec.workloads[&name];
        let mut memory = Memory::new(workload);
        for &(seconds, count) in &self.recommended {
            let at = NOW.minus(Span::seconds(seconds));
            memory.recommended(at, Replicas(count), Replicas(count));
        }
        if !self.recommended.is_empty() {
            memory.recommended(NOW, Replicas(self.want), Replicas(self.want));
        }
        for &(seconds, from, to) in &self.changes {
            memory.changed(Change { at: ago(seconds), from: Replicas(from), to: Replicas(to) });
        }
        memory.in_flight = self.in_flight.map(|(saw, to)| ActionRecord {
            decision: DecisionId { workload: name.clone(), number: 1 },
            at: NOW,
            saw: Replicas(saw),
            to: Replicas(to),
            valid_until: NOW,
        });
        memory.failure = self.failed_until.map(|seconds| Failure {
            error: Some("refused".to_owned()),
            until: NOW.plus(Span::seconds(seconds)),
            in_a_row: 1,
        });
        memory.freeze = self.freeze.map(|seconds| Freeze {
            until: seconds.map(|s| NOW.plus(Span::seconds(s))),
            by: "ada".to_owned(),
            why: "release".to_owned(),
        });
        memory.undone = self.undone.map(|(floor, seconds)| Undone {
            floor: Replicas(floor),
            seen: Seen { signal: "p95".parse().unwrap(), unit: Unit::Seconds, value: Level::ZERO },
            until: NOW.plus(Span::seconds(seconds)),
        });
        let status = TargetStatus {
            wanted: Replicas(self.from),
            ready: Replicas(self.from),
            ..TargetStatus::default()
        };
        let signals: Vec<SeenSignal> = self.signals.iter().map(seen).collect();
        let cx = Context {
            at: NOW,
            name: &name,
            workload,
            status: &status,
            current: status.wanted,
            signals: &signals,
            memory: &memory,
            strategy: 0,
        };
        let mut draft = Draft::starting_at(status.wanted, Vec::new());
        draft.move_to(Replicas(self.want), By::Strategies, Reason::NobodyWants);
        guard(&cx, &mut draft);
        draft
    }
}

fn seen((name, seconds, value): &(SignalName, u64, Result<f64, Absence>)) -> SeenSignal {
    let at = NOW.minus(Span::seconds(*seconds));
    let sample = value.as_ref().ok().map(|value| Sample::new(at, Level::new(*value).unwrap()));
    let unit = if name.as_str() == "cpu" { Unit::Ratio } else { Unit::Seconds };
    let reading = Reading::of(sample.as_ref(), value.as_ref().err(), NOW, Span::seconds(30));
    SeenSignal { name: name.clone(), unit, reading }
}
