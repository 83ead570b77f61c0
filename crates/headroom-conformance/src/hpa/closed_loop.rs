//! Closed loops: the live controller of headroom, a policy with an `hpa` strategy, and a load that answers.

use headroom_core::context::Direction;
use headroom_core::controller::{Controller, Effect, Input, Measured, Settled};
use headroom_core::fleet::{Behavior, Fleet, FleetDocument, ScalingRules};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use serde_json::{Value, json};

use super::rules::{legacy, rules};
use crate::given::NOW;
use crate::{Answer, Given, Unreadable};

/// Longest phase a case may ask for: a step that is never reached ends here.
const LONGEST: Span = Span::hours(2);

/// A metric of a case: the signal it becomes, and how its load turns into a value.
struct Metric {
    name: String,
    signal: SignalName,
    kind: String,
    request: f64,
}

pub(super) fn answer(given: Given<'_>) -> Answer {
    let (document, metrics) = policy(given)?;
    let fleet = match Fleet::new(document) {
        Ok(fleet) => fleet,
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Ok(json!({ "phases": problems }));
        }
    };
    let mut world = World {
        controller: Controller::new(fleet.into()),
        workload: "web".parse().map_err(|_| unreadable())?,
        metrics,
        at: NOW,
        interval: given.seconds("interval_s")?,
        count: given.count("initial_replicas")?,
    };
    let mut phases = Vec::new();
    // The steps to be met stand in `expect`; the runner hands them over beside the inputs.
    let expected: Vec<Given<'_>> = given.list("expected_phases").collect();
    for (index, phase) in given.list("phases").enumerate() {
        let steps: Vec<Given<'_>> = match expected.get(index).and_then(|p| p.value().as_array()) {
            Some(steps) => steps.iter().map(Given::new).collect(),
            None => Vec::new(),
        };
        phases.push(world.phase(phase, &steps)?);
    }
    Ok(json!({ "phases": phases }))
}

fn unreadable() -> Unreadable {
    Given::new(&Value::Null).text("metrics").expect_err("null holds no text")
}

/// The case as a policy: what an imported HPA manifest becomes.
fn policy(given: Given<'_>) -> Result<(FleetDocument, Vec<Metric>), Unreadable> {
    let mut signals = serde_json::Map::new();
    let mut targets = Vec::new();
    let mut metrics = Vec::new();
    for metric in given.list("metrics") {
        let (name, kind) = (metric.text("name")?, metric.text("type")?);
        if kind == "not_measured" {
            continue;
        }
        let scope = match kind {
            "average_value" | "value" => "total",
            _ => "perReplica",
        };
        let unit = if kind == "resource_utilization" { "ratio" } else { "count" };
        signals
            .insert(name.to_owned(), json!({ "push": { "unit": unit, "scope": scope }, "freshFor": "1m" }));
        let target = match kind {
            "resource_utilization" => {
                json!({ "utilization": format!("{}%", metric.float("target_percent")?) })
            }
            "value" => json!({ "value": metric.float("target")? }),
            _ => json!({ "averageValue": metric.float("target")? }),
        };
        targets.push(json!({ "signal": name, "target": target }));
        metrics.push(Metric {
            name: name.to_owned(),
            signal: name.parse().map_err(|_| unreadable())?,
            kind: kind.to_owned(),
            request: metric.maybe_float("request").unwrap_or(1.0),
        });
    }
    let written = given.maybe_object("behavior");
    let mut down = match written {
        Some(b) => rules(b.maybe_object("scale_down"), Direction::Down)?,
        None => ScalingRules::default(),
    };
    down.stabilization.get_or_insert(given.seconds("downscale_stabilization_s")?);
    let up = match written {
        Some(b) => rules(b.maybe_object("scale_up"), Direction::Up)?,
        None => legacy(given)?,
    };
    let behavior = Behavior { scale_up: Some(up), scale_down: Some(down) };
    let tolerance = given.object("tolerance").float("scale_up")? * 100.0;
    let document = serde_json::from_value(json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "loop" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["app"] } },
            "replicas": { "min": given.count("min_replicas")?, "max": given.count("max_replicas")? },
            "signals": signals,
            "strategies": [{ "hpa": { "metrics": targets, "tolerance": format!("{tolerance}%") } }],
            "behavior": behavior,
        } } }
    }));
    Ok((document.map_err(|_| unreadable())?, metrics))
}

/// A workload whose counts take effect at once.
struct World {
    controller: Controller,
    workload: WorkloadName,
    metrics: Vec<Metric>,
    at: Timestamp,
    interval: Span,
    count: u32,
}

impl World {
    /// Runs one phase and says, for each step, what of it was met: the step itself where it was.
    fn phase(&mut self, phase: Given<'_>, steps: &[Given<'_>]) -> Result<Vec<Value>, Unreadable> {
        let loads = phase.object("loads");
        let changed = self.at;
        if steps.is_empty() {
            let end = changed.plus(phase.maybe_seconds("lasts_s").unwrap_or(Span::ZERO));
            while self.at < end {
                self.pass(loads);
            }
        }
        let mut met = Vec::new();
        let mut previous = changed;
        for step in steps {
            let since = if step.maybe_text("since") == Some("change") { changed } else { previous };
            met.push(self.step(loads, *step, since)?);
            previous = self.at;
        }
        Ok(met)
    }

    fn step(&mut self, loads: Given<'_>, step: Given<'_>, since: Timestamp) -> Result<Value, Unreadable> {
        let reached = |count: u32| {
            let count = i64::from(count);
            step.maybe_int("reaches").is_none_or(|n| count == n)
                && step.maybe_int("reaches_at_least").is_none_or(|n| count >= n)
                && step.maybe_int("reaches_at_most").is_none_or(|n| count <= n)
                && step.maybe_bool("scaled_to_zero").is_none_or(|zero| (count == 0) == zero)
        };
        if let [low, high] = step.ints("stays_between")[..] {
            let end = since.plus(step.seconds("for_s")?).minus(self.interval);
            while self.at < end {
                self.pass(loads);
                if !(low..=high).contains(&i64::from(self.count)) {
                    return Ok(json!({ "left_with": self.count, "after_s": self.seconds(since) }));
                }
            }
            return Ok(step.value().clone());
        }
        while !reached(self.count) {
            if self.at.since(since) > LONGEST {
                return Ok(json!({ "never_reached": self.count }));
            }
            self.pass(loads);
        }
        let took = self.at.since(since);
        let early = step.maybe_seconds("not_before_s").is_some_and(|s| took.plus(self.interval) < s);
        let late = step.maybe_seconds("before_s").is_some_and(|s| took > s);
        if early || late {
            return Ok(json!({ "reached": self.count, "after_s": self.seconds(since) }));
        }
        Ok(step.value().clone())
    }

    fn seconds(&self, since: Timestamp) -> u64 {
        self.at.since(since).as_millis() / 1000
    }

    /// One look, one round of samples, one decision, which takes effect before the next.
    fn pass(&mut self, loads: Given<'_>) {
        self.at = self.at.plus(self.interval);
        let at = self.at;
        let (workload, status) = (self.workload.clone(), self.status());
        let _ = self.controller.handle(Input::Looked { at, workload, status: Ok(status) });
        let samples = self
            .metrics
            .iter()
            .map(|metric| {
                let load = loads.maybe_float(&metric.name);
                let value = load.map(|load| value(metric, load, self.count));
                Measured {
                    workload: self.workload.clone(),
                    signal: metric.signal.clone(),
                    value: value
                        .and_then(|v| Level::new(v).ok())
                        .map(|level| Sample::new(at, level))
                        .ok_or(Absence::Empty),
                }
            })
            .collect();
        for effect in self.controller.handle(Input::Sampled { at, samples }) {
            let Effect::Act(action) = effect else { continue };
            self.count = action.to().0;
            let settled = Input::Settled {
                at,
                workload: self.workload.clone(),
                decision: action.record().decision.clone(),
                outcome: Settled::Done(self.status()),
            };
            let _ = self.controller.handle(settled);
        }
    }

    fn status(&self) -> TargetStatus {
        let count = Replicas(self.count);
        TargetStatus { wanted: count, ready: count, ..TargetStatus::default() }
    }
}

/// The value a metric shows under `load`, spread over `count` replicas where its kind is.
fn value(metric: &Metric, load: f64, count: u32) -> f64 {
    let spread = load / f64::from(count.max(1));
    match metric.kind.as_str() {
        "resource_utilization" => spread / metric.request,
        "resource_average" => spread,
        _ => load,
    }
}
