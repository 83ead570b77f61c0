//! `headroom status`: the fleet at a glance.

use anyhow::Result;
use headroom_core::reading::Reading;
use headroom_core::say;
use headroom_engine::handle::{Overview, WorkloadView};

use crate::cli::Cli;
use crate::client::Client;
use crate::exit::Exit;
use crate::output::{Printer, table};

pub(crate) async fn run(cli: &Cli, printer: Printer) -> Result<Exit> {
    let overview: Overview = Client::new(cli)?.get("/api/v1/overview").await?;
    printer.print(&overview, |overview| text(overview, printer))?;
    Ok(Exit::Success)
}

fn text(overview: &Overview, printer: Printer) -> String {
    let mode = if overview.advise { ", advise mode: decisions are said, not done" } else { "" };
    let mut out = format!("{}{mode}\n\n", printer.bold(overview.fleet.as_str()));
    let rows: Vec<_> = overview.workloads.iter().map(|w| row(w, printer)).collect();
    out.push_str(&table(&["WORKLOAD", "READY", "WANTED", "RANGE", "SIGNALS", "NOW"], &rows));
    for view in &overview.workloads {
        if let Some(pending) = &view.pending {
            out.push_str(&format!(
                "\n{}: {} → {} waits for a person: headroom approve {} (or reject)",
                view.name, pending.from, pending.to, pending.decision
            ));
        }
        if let Some(change) = &view.watched {
            out.push_str(&format!(
                "\n{}: {} → {} ({}) is watched",
                view.name, change.from, change.to, change.decision
            ));
        }
        for part in &view.shares {
            out.push_str(&format!(
                "\n{}: {} {} of {} in use; each replica may take up to {}",
                view.name, part.limit, part.held, part.supply, part.pool
            ));
        }
        if let Some(forecast) = &view.forecast {
            out.push_str(&format!("\n{}: {}", view.name, forecast.say(printer.language)));
        }
        if let Some(near) = &view.near {
            out.push_str(&format!("\n{}: {}", view.name, near.say(printer.language)));
        }
        if let Some(cost) = view.cost {
            out.push_str(&format!("\n{}: {}", view.name, cost.per_hour));
            if view.status.as_ref().is_some_and(|s| s.pool.is_some()) {
                out.push_str(&format!(", of which {} for the warm pool", cost.warm_pool));
            }
        }
        for trouble in view.status.iter().flat_map(|status| &status.troubles) {
            out.push_str(&format!("\n{}: {} ({})", view.name, trouble.message, trouble.code));
        }
    }
    if let Some(opened) = &overview.breaker {
        out.push_str(&format!(
            "\nThe breaker is open until {}: {} replicas would have changed at once, and at most {} may (the last was {}). \
             `headroom breaker close` lets them pass.\n",
            super::explain::moment(opened.until),
            opened.changed,
            opened.most,
            opened.workload
        ));
    }
    for source in overview.sources.iter().filter(|source| source.down_since.is_some()) {
        out.push_str(&format!(
            "\nsource {}: down: {}",
            source.name,
            source.why.as_deref().unwrap_or_default()
        ));
    }
    for alert in &overview.alerts {
        let (severity, code) = (alert.severity.word(), alert.kind.code());
        let since = super::explain::moment(alert.since);
        out.push_str(&format!("\n[{severity}] {}: {code} since {since}: {}", alert.subject, alert.why));
    }
    out
}

/// The signals that can be read now.
pub(super) fn load(view: &WorkloadView) -> String {
    let signals = view.signals.iter().filter_map(|s| match &s.reading {
        Reading::Fresh(sample) => Some(format!("{} {}", s.name, s.unit.say(sample.value))),
        Reading::Stale { .. } | Reading::Missing(_) => None,
    });
    signals.collect::<Vec<_>>().join(", ")
}

/// The replicas that are ready, with those that start and those that are warm; `None` before the first look.
pub(super) fn ready(view: &WorkloadView) -> Option<String> {
    let status = view.status.as_ref()?;
    let mut ready = status.ready.to_string();
    if status.starting.0 > 0 {
        ready.push_str(&format!(" (+{})", status.starting));
    }
    if let Some(pool) = &status.pool {
        ready.push_str(&format!(", {} warm", pool.warm));
    }
    Some(ready)
}

fn row(view: &WorkloadView, printer: Printer) -> Vec<String> {
    let unknown = || "?".to_owned();
    vec![
        view.name.to_string(),
        ready(view).unwrap_or_else(unknown),
        view.status.as_ref().map_or_else(unknown, |s| s.wanted.to_string()),
        format!("{}–{}", view.range.min, view.range.max),
        load(view),
        view.latest
            .as_ref()
            .map_or_else(|| "nothing decided yet".to_owned(), |d| say::headline(d, printer.language)),
    ]
}
