//! One way to ask a strategy a question in a test, so that a change of the seam is a change of this file.

use super::Recommend;
use crate::context::Context;
use crate::decision::{Advice, SeenSignal};
use crate::fleet::FleetDocument;
use crate::memory::{Change, Memory};
use crate::names::{SignalName, WorkloadName};
use crate::observation::TargetStatus;
use crate::reading::{Reading, Sample};
use crate::units::{Level, Replicas, Span, Timestamp};

/// A moment long after the epoch, so that ages can be subtracted.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// A question to a strategy: what is seen, and what was.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    signals: Vec<(SignalName, f64)>,
    aged: u64,
    for_seconds: u64,
    ready: u32,
    current: u32,
    change: Option<(u64, i64)>,
}

impl Case {
    pub(crate) fn absent() -> Self {
        Self { signals: Vec::new(), aged: 0, for_seconds: 0, ready: 1, current: 1, change: None }
    }
    pub(crate) fn cpu(value: f64) -> Self {
        Self::absent().with("cpu", value)
    }
    pub(crate) fn rps(value: f64) -> Self {
        Self::absent().with("rps", value)
    }
    pub(crate) fn with(mut self, signal: &str, value: f64) -> Self {
        self.signals.push((signal.parse().unwrap(), value));
        self
    }
    pub(crate) fn ready(mut self, ready: u32) -> Self {
        self.ready = ready;
        self
    }
    pub(crate) fn current(mut self, current: u32) -> Self {
        self.current = current;
        self
    }
    /// The samples are so many seconds old.
    pub(crate) fn aged(mut self, seconds: u64) -> Self {
        self.aged = seconds;
        self
    }
    /// The samples have been what they are for so long, second by second.
    pub(crate) fn for_seconds(mut self, seconds: u64) -> Self {
        self.for_seconds = seconds;
        self
    }
    pub(crate) fn changed_seconds_ago(self, seconds: u64) -> Self {
        self.grew_seconds_ago(seconds)
    }
    pub(crate) fn grew_seconds_ago(mut self, seconds: u64) -> Self {
        self.change = Some((seconds, 1));
        self
    }
    pub(crate) fn shrank_seconds_ago(mut self, seconds: u64) -> Self {
        self.change = Some((seconds, -1));
        self
    }
}

fn ask(strategy: &dyn Recommend, case: &Case) -> Advice {
    let document: FleetDocument = serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "test" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["app"] } },
            "balancer": { "listen": "127.0.0.1:0" },
            "replicas": { "min": 1, "max": 100 },
            "signals": {
                "cpu": { "process": "cpu" },
                "rps": { "balancer": "requestsPerSecond" },
                "p95": { "balancer": { "latency": "p95" } },
            },
            "strategies": [],
        } } }
    }))
    .unwrap();
    let name: WorkloadName = "web".parse().unwrap();
    let workload = &document.spec.workloads[&name];
    let mut memory = Memory::new(workload);
    for signal in &mut memory.signals {
        if let Some(window) = strategy.window(&signal.name) {
            let mut series = crate::series::Series::new(window, Span::seconds(5));
            if let Some((_, value)) = case.signals.iter().find(|(n, _)| *n == signal.name) {
                for ago in (0..=case.for_seconds).rev() {
                    series.push(NOW.minus(Span::seconds(ago)), Level::new(*value).unwrap());
                }
            }
            signal.series = Some(series);
        }
    }
    if let Some((ago, by)) = case.change {
        let from = Replicas(10);
        let to = if by > 0 { Replicas(11) } else { Replicas(9) };
        memory.changed(Change { at: NOW.minus(Span::seconds(ago)), from, to });
    }
    let signals: Vec<SeenSignal> = workload
        .signals
        .iter()
        .map(|(name, settings)| {
            let sample = case.signals.iter().find(|(n, _)| n == name).map(|(_, value)| {
                Sample::new(NOW.minus(Span::seconds(case.aged)), Level::new(*value).unwrap())
            });
            SeenSignal {
                name: name.clone(),
                unit: settings.unit(),
                reading: Reading::of(sample.as_ref(), None, NOW, settings.fresh_for),
            }
        })
        .collect();
    let status = TargetStatus {
        wanted: Replicas(case.current),
        ready: Replicas(case.ready),
        starting: Replicas(case.current.saturating_sub(case.ready)),
        ..TargetStatus::default()
    };
    strategy.recommend(&Context {
        at: NOW,
        name: &name,
        workload,
        status: &status,
        current: status.wanted,
        signals: &signals,
        memory: &memory,
    })
}

/// The want and its reason's code; panics where the strategy does not want.
pub(crate) fn wants(strategy: &dyn Recommend, case: &Case) -> (u32, &'static str) {
    match ask(strategy, case) {
        Advice::Wants { replicas, why } => (replicas.0, why.code()),
        other => panic!("expected a want, got {other:?}"),
    }
}

/// The code of the reason to abstain; panics where the strategy does not abstain.
pub(crate) fn abstains(strategy: &dyn Recommend, case: &Case) -> &'static str {
    match ask(strategy, case) {
        Advice::Abstains { why } => why.code(),
        other => panic!("expected an abstention, got {other:?}"),
    }
}
