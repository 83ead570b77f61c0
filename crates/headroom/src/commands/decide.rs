//! `headroom decide`: one tick from a file, without a controller.
//!
//! The observation says what is seen now; there is no past, so windows count from now and nothing is cooling
//! down. It is the quickest way to ask what a policy would do.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use headroom_core::controller::{Controller, Effect, Input, Measured};
use headroom_core::decision::Decision;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Timestamp};
use serde::Deserialize;

use crate::cli::Decide;
use crate::exit::Exit;
use crate::output::Printer;

/// What is seen at one moment. See `docs/decide.md`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Observation {
    /// When; by default now.
    at: Option<Timestamp>,
    /// What is seen of each workload. One that is left out is not seen.
    workloads: BTreeMap<WorkloadName, Seen>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Seen {
    target: TargetStatus,
    /// Values in the signals' base units; `null` for one that can't be read.
    #[serde(default)]
    signals: BTreeMap<SignalName, Option<f64>>,
}

pub(crate) fn run(args: &Decide, printer: Printer) -> Result<Exit> {
    let loaded = super::check::load(&args.file)?;
    let file = args.observation.display();
    let text = std::fs::read_to_string(&args.observation).with_context(|| format!("{file} can't be read"))?;
    let seen: Observation =
        serde_json::from_str(&text).with_context(|| format!("{file} is no observation"))?;
    let decisions = decide(loaded.fleet, seen)?;
    printer.print(&decisions, |decisions| {
        let mut out = String::new();
        for decision in decisions {
            out.push_str(&super::explain::text(decision, printer));
        }
        out
    })?;
    Ok(Exit::Success)
}

fn decide(fleet: headroom_core::fleet::Fleet, seen: Observation) -> Result<Vec<Decision>> {
    let at = seen.at.unwrap_or_else(headroom_engine::driver::now);
    if let Some(unknown) = seen.workloads.keys().find(|name| fleet.workload(name).is_none()) {
        let known: Vec<_> = fleet.workloads().keys().map(WorkloadName::as_str).collect();
        anyhow::bail!(
            "the observation names the workload `{unknown}`, and the policy has {}",
            known.join(", ")
        );
    }
    let mut controller = Controller::new(Arc::new(fleet));
    let mut samples = Vec::new();
    for (workload, seen) in seen.workloads {
        for (signal, value) in seen.signals {
            let value = match value {
                Some(value) => {
                    Level::new(value).map(|value| Sample::new(at, value)).map_err(|_| Absence::NotANumber)
                }
                None => Err(Absence::Empty),
            };
            samples.push(Measured { workload: workload.clone(), signal, value });
        }
        let _ = controller.handle(Input::Looked { at, workload, status: Ok(seen.target) });
    }
    // Samples decide at once, workload by workload; the tick is for those without any.
    let mut effects = controller.handle(Input::Sampled { at, samples });
    effects.extend(controller.handle(Input::Tick { at }));
    let mut decisions: BTreeMap<WorkloadName, Decision> = BTreeMap::new();
    for effect in effects {
        if let Effect::Record(decision) = effect {
            decisions.entry(decision.id.workload.clone()).or_insert(*decision);
        }
    }
    Ok(decisions.into_values().collect())
}
