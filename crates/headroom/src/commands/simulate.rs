//! `headroom simulate`: the real controller over a load in a modelled world.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use headroom_core::names::WorkloadName;
use headroom_core::units::{Replicas, Span};
use headroom_sim::fault::Fault;
use headroom_sim::load::Load;
use headroom_sim::world::Model;
use headroom_sim::{Loads, Observer, SimulateOptions, render_html, render_table};

use super::progress::Progress;
use crate::cli::Simulate;
use crate::exit::Exit;
use crate::output::Printer;

pub(crate) fn run(args: &Simulate, printer: Printer) -> Result<Exit> {
    let loaded = super::check::load(&args.file)?;
    let fleet = Arc::new(loaded.fleet);
    let load = load(args)?;
    let options = options(args, load.step()?)?;
    let mut watcher = Watcher {
        bar: Progress::new(),
        decisions: args.decisions.as_deref().map(DecisionsFile::create).transpose()?,
        workload: fleet.workloads().keys().next().cloned(),
        failed: None,
    };
    let outcome = headroom_sim::run(&fleet, &Loads::from(load), &options, &mut watcher)?;
    drop(watcher.bar);
    if let Some(error) = watcher.failed {
        return Err(error).context("the decisions can't be written");
    }
    if let Some(mut decisions) = watcher.decisions {
        decisions.out.flush().context("the decisions can't be written")?;
    }
    if let Some(report) = &args.report {
        std::fs::write(report, render_html(&outcome))
            .with_context(|| format!("{} can't be written", report.display()))?;
        say!("report: {}", report.display());
    }
    for note in &outcome.notes {
        eprintln!("note: {note}");
    }
    printer.print(&outcome, render_table)?;
    Ok(Exit::Success)
}

/// The load: a trace, or a formula.
fn load(args: &Simulate) -> Result<Load> {
    match (&args.trace, &args.load) {
        (Some(trace), _) => Ok(Load::trace_file(trace)),
        (None, Some(formula)) => Load::parse(formula).context("--load is no load"),
        (None, None) => anyhow::bail!("a load is needed: --trace FILE or --load FORMULA"),
    }
}

fn options(args: &Simulate, step: Span) -> Result<SimulateOptions> {
    let faults =
        args.fault.iter().map(|text| Fault::parse(text).with_context(|| format!("{text} is no fault")));
    let default = Model::default();
    let model = Model {
        capacity: args.capacity.unwrap_or(default.capacity),
        usable: args.usable.unwrap_or(default.usable),
        service_time: args.service_time.unwrap_or(default.service_time),
        objective: args.objective.unwrap_or(default.objective),
        start_up: args.startup.unwrap_or(default.start_up),
        start_up_spread: args.startup_spread.unwrap_or(default.start_up_spread),
        warm_up: args.warm_up.unwrap_or(default.warm_up),
        drain: args.drain.unwrap_or(default.drain),
        price: args.price.unwrap_or(default.price),
        ..default
    };
    Ok(SimulateOptions {
        step: args.step.unwrap_or(step),
        tick: args.tick,
        seed: args.seed,
        model,
        faults: faults.collect::<Result<_>>()?,
        length: args.length,
        peak_replicas: args.peak_replicas,
        unscored: args.unscored,
        initial: args.initial.map(Replicas),
        against: args.against.clone(),
        ..SimulateOptions::default()
    })
}

/// Shows progress, and writes down what is asked for.
struct Watcher {
    bar: Progress,
    decisions: Option<DecisionsFile>,
    workload: Option<WorkloadName>,
    failed: Option<std::io::Error>,
}

/// `time_s,desired` of the first workload.
struct DecisionsFile {
    out: BufWriter<File>,
}

impl DecisionsFile {
    fn create(path: &std::path::Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("{} can't be written", path.display()))?;
        let mut out = BufWriter::new(file);
        writeln!(out, "time_s,desired")?;
        Ok(Self { out })
    }
}

impl Observer for Watcher {
    fn progress(&mut self, done: u64, of: Option<u64>) {
        self.bar.progress(done, of);
    }

    fn desired(&mut self, workload: &WorkloadName, seconds: f64, desired: Replicas) {
        if self.workload.as_ref() != Some(workload) {
            return;
        }
        if let Some(decisions) = &mut self.decisions
            && let Err(error) = writeln!(decisions.out, "{seconds},{desired}")
        {
            self.failed.get_or_insert(error);
        }
    }
}
