//! One way to ask a strategy a question in a test, so that a change of the seam is a change of this file.

use proptest::prelude::*;

use super::{Recommend, StrategyMemory};
use crate::context::Context;
use crate::decision::{Advice, SeenSignal};
use crate::fleet::{FleetDocument, Workload};
use crate::memory::{Change, Memory};
use crate::names::{SignalName, WorkloadName};
use crate::observation::TargetStatus;
use crate::outlook::History;
use crate::reading::{Absence, Reading, Sample};
use crate::units::{Level, Replicas, Span, Timestamp};

/// A moment long after the epoch, so that ages can be subtracted.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// A question to a strategy: what is seen, and what was.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    signals: Vec<(SignalName, f64)>,
    past: Vec<(SignalName, u64, u64, f64)>,
    absences: Vec<SignalName>,
    aged: u64,
    for_seconds: u64,
    ready: u32,
    starting: Option<u32>,
    current: u32,
    change: Option<(u64, i64)>,
    at: Timestamp,
    memory: StrategyMemory,
    history: Option<(SignalName, History)>,
}

impl Case {
    pub(crate) fn absent() -> Self {
        Self {
            signals: Vec::new(),
            past: Vec::new(),
            absences: Vec::new(),
            aged: 0,
            for_seconds: 0,
            ready: 1,
            starting: None,
            current: 1,
            change: None,
            at: NOW,
            memory: StrategyMemory::Nothing,
            history: None,
        }
    }
    pub(crate) fn cpu(value: f64) -> Self {
        Self::absent().with("cpu", value)
    }
    pub(crate) fn rps(value: f64) -> Self {
        Self::absent().with("rps", value)
    }
    pub(crate) fn with(mut self, signal: &str, value: f64) -> Self {
        let name: SignalName = signal.parse().unwrap();
        self.signals.retain(|(n, _)| *n != name);
        self.signals.push((name, value));
        self
    }
    /// `signal` came as NaN.
    pub(crate) fn not_a_number(mut self, signal: &str) -> Self {
        self.absences.push(signal.parse().unwrap());
        self
    }
    pub(crate) fn ready(mut self, ready: u32) -> Self {
        self.ready = ready;
        self
    }
    /// So many ready, and as many asked for.
    pub(crate) fn replicas(self, count: u32) -> Self {
        self.ready(count).current(count)
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
    /// `signal` was `value`, second by second, from so long ago to so long ago.
    pub(crate) fn was(mut self, signal: &str, value: f64, from: u64, to: u64) -> Self {
        self.past.push((signal.parse().unwrap(), from, to, value));
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
    /// The present.
    pub(crate) fn at(mut self, at: &str) -> Self {
        self.at = at.parse().unwrap();
        self
    }
    /// So many seconds later.
    pub(crate) fn later(mut self, seconds: u64) -> Self {
        self.at = self.at.plus(Span::seconds(seconds));
        self
    }
    /// `signal` is forecast, and was `value` for so many days up to the present.
    pub(crate) fn known_for_days(mut self, signal: &str, value: f64, days: u64) -> Self {
        let steps = vec![Some(Level::new(value).unwrap()); usize::try_from(days * 288).unwrap()];
        let from = self.at.minus(Span::days(days));
        self.history = Some((signal.parse().unwrap(), History { from, steps }));
        self
    }
    /// The strategy remembers this.
    pub(crate) fn remembering(mut self, memory: StrategyMemory) -> Self {
        self.memory = memory;
        self
    }
}

/// Settings read from `base` with the fields of `more` in place of its own.
pub(crate) fn built<T: serde::de::DeserializeOwned>(
    mut base: serde_json::Value,
    more: serde_json::Value,
) -> T {
    if let (Some(base), serde_json::Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
    serde_json::from_value(base).unwrap()
}

/// A policy with every signal that tests use.
pub(crate) fn policy() -> FleetDocument {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "test" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["app"] } },
            "balancer": { "listen": "127.0.0.1:0" },
            "replicas": { "min": 1, "max": 100 },
            "signals": {
                "cpu": { "process": "cpu" },
                "memory": { "push": { "unit": "ratio", "scope": "perReplica" } },
                "rps": { "balancer": "requestsPerSecond" },
                "p95": { "balancer": { "latency": "p95" } },
                "errors": { "balancer": "errorRatio" },
                "queue": { "push": { "unit": "count" } },
                "inFlight": { "push": { "unit": "count" } },
                "serviceTime": { "push": { "unit": "seconds", "scope": "quality" } },
                "users": { "push": { "unit": "count" } },
                "iops": { "push": { "unit": "perSecond" } },
            },
            "strategies": [],
        } } }
    }))
    .unwrap()
}

/// Calls `then` with the context of `case`, of a workload that `change` changes.
pub(crate) fn seeing_with<T>(
    case: &Case,
    change: impl FnOnce(&mut Workload),
    then: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let fixed = crate::strategy::Fixed { replicas: Replicas::ONE };
    seeing_any(&fixed, case, change, then)
}

/// Calls `then` with the context of `case`.
pub(crate) fn seeing<T>(strategy: &dyn Recommend, case: &Case, then: impl FnOnce(&Context<'_>) -> T) -> T {
    seeing_any(strategy, case, |_| {}, then)
}

fn seeing_any<T>(
    strategy: &dyn Recommend,
    case: &Case,
    change: impl FnOnce(&mut Workload),
    then: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let mut document = policy();
    let name: WorkloadName = "web".parse().unwrap();
    if let Some(workload) = document.spec.workloads.get_mut(&name) {
        change(workload);
    }
    let workload = &document.spec.workloads[&name];
    let mut memory = Memory::new(workload);
    memory.strategies = vec![case.memory.clone()];
    if let Some((name, history)) = &case.history {
        let signal = memory.signal_mut(name).unwrap();
        signal.outlook.get_or_insert_default().recall(case.at, history);
    }
    let level = |value: f64| Level::new(value).unwrap();
    for signal in &mut memory.signals {
        let mut windows = Vec::new();
        strategy.windows(&signal.name, &mut windows);
        windows.sort_unstable();
        for window in windows {
            let mut series = crate::series::Series::new(window, Span::seconds(5));
            let mut points: Vec<(u64, f64)> = Vec::new();
            for (_, from, to, value) in case.past.iter().filter(|(n, ..)| *n == signal.name) {
                points.extend((*to..=*from).map(|ago| (ago, *value)));
            }
            if let Some((_, value)) = case.signals.iter().find(|(n, _)| *n == signal.name) {
                points.extend((0..=case.for_seconds).map(|ago| (ago, *value)));
            }
            points.sort_by_key(|(ago, _)| std::cmp::Reverse(*ago));
            for (ago, value) in points {
                series.push(case.at.minus(Span::seconds(ago)), level(value));
            }
            signal.series.push(series);
        }
    }
    if let Some((ago, by)) = case.change {
        let from = Replicas(10);
        let to = if by > 0 { Replicas(11) } else { Replicas(9) };
        memory.changed(Change { at: case.at.minus(Span::seconds(ago)), from, to });
    }
    let signals: Vec<SeenSignal> = workload
        .signals
        .iter()
        .map(|(name, settings)| {
            let sample = case
                .signals
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| Sample::new(case.at.minus(Span::seconds(case.aged)), level(*value)));
            let absence = case.absences.contains(name).then_some(Absence::NotANumber);
            SeenSignal {
                name: name.clone(),
                unit: settings.unit(),
                reading: Reading::of(sample.as_ref(), absence.as_ref(), case.at, settings.fresh_for),
            }
        })
        .collect();
    let status = TargetStatus {
        wanted: Replicas(case.current),
        ready: Replicas(case.ready),
        starting: Replicas(case.starting.unwrap_or(case.current.saturating_sub(case.ready))),
        ..TargetStatus::default()
    };
    then(&Context {
        at: case.at,
        name: &name,
        workload,
        status: &status,
        current: status.wanted,
        signals: &signals,
        memory: &memory,
        strategy: 0,
    })
}

/// What the strategy says.
pub(crate) fn says(strategy: &dyn Recommend, case: &Case) -> Advice {
    seeing(strategy, case, |cx| strategy.recommend(cx))
}

/// What the strategy remembers after the case; the case's own where it remembers nothing new.
pub(crate) fn remembers(strategy: &dyn Recommend, case: &Case) -> StrategyMemory {
    seeing(strategy, case, |cx| strategy.remember(cx)).unwrap_or_else(|| case.memory.clone())
}

/// The want and its reason's code; panics where the strategy does not want.
pub(crate) fn wants(strategy: &dyn Recommend, case: &Case) -> (u32, &'static str) {
    match says(strategy, case) {
        Advice::Wants { replicas, why } => (replicas.0, why.code()),
        other => panic!("expected a want, got {other:?}"),
    }
}

/// The fewest replicas it is content with, and the code of the reason; panics where the strategy is not content.
pub(crate) fn content(strategy: &dyn Recommend, case: &Case) -> (u32, &'static str) {
    match says(strategy, case) {
        Advice::Content { replicas, why } => (replicas.0, why.code()),
        other => panic!("expected contentment, got {other:?}"),
    }
}

/// The code of the reason to abstain; panics where the strategy does not abstain.
pub(crate) fn abstains(strategy: &dyn Recommend, case: &Case) -> &'static str {
    match says(strategy, case) {
        Advice::Abstains { why } => why.code(),
        other => panic!("expected an abstention, got {other:?}"),
    }
}

/// What is wrong with the settings, as the paths of the problems.
pub(crate) fn problems(strategy: &dyn Recommend) -> Vec<String> {
    let document = policy();
    let workload = &document.spec.workloads[&"web".parse::<WorkloadName>().unwrap()];
    let mut problems = Vec::new();
    strategy.check(workload, &crate::fleet::Path::root(), &mut problems);
    problems.iter().map(|p| p.path.to_string()).collect()
}

/// Any value a signal may have: nothing, a little, the usual, the huge.
pub(crate) fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..2.0, 0.0..10_000.0, Just(1e300)]
}

/// Any case: each of `signals` absent, not a number, or any value; any counts.
pub(crate) fn any_case(signals: &'static [&'static str]) -> impl Strategy<Value = Case> {
    let one = prop_oneof![any_value().prop_map(Ok), Just(Err(true)), Just(Err(false))];
    (proptest::collection::vec(one, signals.len()), 0_u32..100, 0_u32..100, 0_u64..400).prop_map(
        |(values, ready, more, seconds)| {
            let mut case = Case::absent().ready(ready).current(ready + more).for_seconds(seconds);
            for (name, value) in signals.iter().zip(values) {
                case = match value {
                    Ok(value) => case.with(name, value),
                    Err(true) => case.not_a_number(name),
                    Err(false) => case,
                };
            }
            case
        },
    )
}

/// What holds of every strategy, whatever is seen: an answer within limits, and never a shrink where one of
/// the signals it can't do without is absent.
pub(crate) fn behaves(strategy: &dyn Recommend, case: &Case, needs: &[&str]) -> Result<(), TestCaseError> {
    let missing = |name: &&str| !case.signals.iter().any(|(n, _)| n.as_str() == *name);
    match says(strategy, case) {
        Advice::Wants { replicas, why } => {
            prop_assert!(replicas <= Replicas::LIMIT, "{replicas} is beyond the limit");
            let shrinks = replicas.0 < case.current;
            let blind = needs.iter().any(missing);
            prop_assert!(!(shrinks && blind), "shrinks to {replicas} although blind: {why:?}");
        }
        Advice::Floor { replicas, .. } | Advice::Ceiling { replicas, .. } => {
            prop_assert!(replicas <= Replicas::LIMIT, "{replicas} is beyond the limit");
        }
        Advice::Content { replicas, .. } => {
            prop_assert!(replicas.0 <= case.current, "content with {replicas}, more than there are");
        }
        Advice::Abstains { .. } => {}
    }
    let memory = remembers(strategy, case);
    let text = serde_json::to_string(&memory).unwrap();
    prop_assert_eq!(&serde_json::from_str::<StrategyMemory>(&text).unwrap(), &memory);
    prop_assert!(text.len() < 16_000, "a strategy's memory is bounded: {} bytes", text.len());
    Ok(())
}
