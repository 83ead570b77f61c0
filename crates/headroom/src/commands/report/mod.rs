//! `headroom report`: what a stretch of time came to, to hand on (B15).
//!
//! Read from the journal alone, beside a running controller or without one. Each figure says what it rests on; what the
//! journal does not know is a gap, never a zero.

mod gather;
mod render;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::outlook::{Accuracy, NearForecast};
use headroom_core::units::{Level, Price, Replicas, Span, Timestamp, Unit};
use headroom_engine::journal::Reader;
use serde::Serialize;

use crate::cli::{Cli, Format, Report as Arguments};
use crate::exit::Exit;
use crate::output::{self, Printer};
use crate::paths;

/// What a stretch of time came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// What the fleet is called.
    fleet: String,
    /// From this moment,
    since: Timestamp,
    /// to this one.
    until: Timestamp,
    /// All workloads together.
    total: Total,
    /// Each workload, by name.
    workloads: Vec<Of>,
    /// What a reader must know of the figures, in sentences.
    notes: Vec<String>,
}

/// Sums over the workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    replica_hours: f64,
    /// Those of them that were in warm pools; `null` where none was seen.
    warm_replica_hours: Option<f64>,
    /// Of the workloads with a price; `null` where none has one.
    dollars: Option<f64>,
    /// What of it warm pools cost.
    warm_dollars: Option<f64>,
    /// What the same workloads would have cost with as many replicas all the time as were ready at the most.
    dollars_fixed: Option<f64>,
    grew: u64,
    shrank: u64,
    failed_actions: u64,
}

/// What a stretch of time came to for one workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Of {
    workload: WorkloadName,
    tier: Option<String>,
    /// How much of the time is recorded; the rest is in no figure.
    recorded_hours: f64,
    /// The longest point that the hours are summed from: each moment at which recording began or ended, or a count
    /// changed, may be off by as much.
    points_of: Span,
    /// Replicas that were paid for, over time: ready, starting, draining, and in the warm pool.
    replica_hours: f64,
    /// The most that were ready at once.
    most: Replicas,
    /// What a replica costs, by the policy in force.
    price: Option<Price>,
    dollars: Option<f64>,
    /// What it would have cost with `most` replicas all the time.
    dollars_fixed: Option<f64>,
    /// What of it the warm pool came to; `null` where none was seen.
    warm: Option<Warm>,
    /// The share of what the ready replicas carry that was asked for; `null` where that is not known.
    utilisation: Option<f64>,
    /// Changes of the count, by the reason that decided, the most frequent first.
    changes: Vec<Changes>,
    /// Changes that the target refused.
    failed_actions: u64,
    /// What was to hold, and how it held.
    objectives: Vec<Kept>,
    /// Whether the least count was far more than was needed.
    idle: Option<Idle>,
    /// How good forecasts have been.
    forecasts: Vec<Foreseen>,
    /// How good those have been that objectives act on.
    near_forecasts: Vec<NearForecast>,
    /// Replicas over time, for a picture: in equal steps, `null` where nothing is recorded.
    course: Vec<Option<f64>>,
}

/// Replicas that were started and warm, or on their way to that, and took no traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Warm {
    /// How much of the time the pool is recorded.
    recorded_hours: f64,
    replica_hours: f64,
    /// The most at once.
    most: Replicas,
    dollars: Option<f64>,
}

/// Changes for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    /// The reason's stable code.
    reason: String,
    grew: u64,
    shrank: u64,
}

/// Something that was to stay below a limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    signal: SignalName,
    unit: Unit,
    below: Level,
    /// The share of time in which it may be missed.
    allowed: Level,
    /// For how long it was measured.
    measured_hours: f64,
    /// In points whose mean is over the limit.
    over_hours: f64,
    /// In points in which any sample is.
    touched_hours: f64,
    /// The largest sample.
    worst: f64,
    /// The length of the longest point.
    points_of: Span,
}

/// A least count that was far more than was needed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Idle {
    min: Replicas,
    /// The largest share of what it carries that was needed.
    share: f64,
    /// The least count that would have been enough.
    enough: Replicas,
    /// What a month of the difference costs.
    dollars_a_month: Option<f64>,
}

/// How good the forecasts of a signal have been, at the end of the time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Foreseen {
    signal: SignalName,
    unit: Unit,
    #[serde(flatten)]
    accuracy: Accuracy,
}

impl Report {
    fn total(workloads: &[Of]) -> Total {
        let sum = |of: fn(&Of) -> Option<f64>| {
            let known: Vec<f64> = workloads.iter().filter_map(of).collect();
            (!known.is_empty()).then(|| known.iter().sum())
        };
        let changes = || workloads.iter().flat_map(|of| &of.changes);
        Total {
            replica_hours: workloads.iter().map(|of| of.replica_hours).sum(),
            warm_replica_hours: sum(|of| of.warm.as_ref().map(|warm| warm.replica_hours)),
            dollars: sum(|of| of.dollars),
            warm_dollars: sum(|of| of.warm.as_ref()?.dollars),
            dollars_fixed: sum(|of| of.dollars_fixed),
            grew: changes().map(|of| of.grew).sum(),
            shrank: changes().map(|of| of.shrank).sum(),
            failed_actions: workloads.iter().map(|of| of.failed_actions).sum(),
        }
    }
}

pub(crate) async fn run(args: &Arguments, cli: &Cli, printer: Printer) -> Result<Exit> {
    let reader = Reader::open(&paths::data_dir(cli.data.as_ref())?)?;
    let Some((snapshot, _)) = reader.restore().await? else {
        bail!("the journal holds nothing yet; let `headroom run` watch the workloads for a while");
    };
    let end = reader.last_moment().await?.context("the journal holds no input yet")?;
    let language = printer.language;
    let since = end.minus(args.since);
    let report = gather::report(&reader, snapshot, since, end, &args.workload, language).await?;
    let text = match printer.format {
        Format::Html => render::html(&report, language),
        Format::Text | Format::Md => render::markdown(&report, language),
        Format::Json | Format::Yaml => {
            printer.print(&report, |report| render::markdown(report, language))?;
            return Ok(Exit::Success);
        }
    };
    output::print(&text)?;
    Ok(Exit::Success)
}
