//! `headroom backtest`: what a policy would have done over the journal's own past.
//!
//! The load is read back from the journal, the policy meets it in the simulator with start-up times and capacity as
//! they were measured, and the replicas as they were recorded meet the same load in the same model. What the journal
//! can't know is said beside the table, not left to be found out.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use headroom_core::controller::Snapshot;
use headroom_core::fleet::{BalancerSignal, Fleet, Scope, Signal, SignalSource, Workload};
use headroom_core::memory::Memory;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::units::{Replicas, Span, Timestamp, Unit};
use headroom_engine::journal::{DRAINING, READY, Reader, STARTING, WANTED, WARM};
use headroom_sim::load::{Load, TraceSource};
use headroom_sim::record::RecordedPoint;
use headroom_sim::world::Model;
use headroom_sim::{Loads, Outcome, SimulateOptions, render_html, render_table};

use crate::cli::{Backtest, Cli};
use crate::exit::Exit;
use crate::output::Printer;
use crate::paths;

/// A look that shows nothing new is written down every five seconds; two that were missed are a gap.
const HOLDS: Span = Span::seconds(12);

pub(crate) async fn run(args: &Backtest, cli: &Cli, printer: Printer) -> Result<Exit> {
    let loaded = super::check::load(&args.file)?;
    let reader = Reader::open(&paths::data_dir(cli.data.as_ref())?)?;
    let Some((snapshot, _)) = reader.restore().await? else {
        bail!("the journal holds nothing yet; let `headroom run` watch the workload for a while");
    };
    let end = reader.last_moment().await?.context("the journal holds no input yet")?;
    let since = end.minus(args.since);
    let recorded = Recorded::new(snapshot)?;
    let mut pasts = BTreeMap::new();
    let mut notes = Vec::new();
    for name in loaded.fleet.workloads().keys() {
        let Some((workload, memory)) = recorded.workload(name) else {
            notes.push(format!("`{name}` is left out: the journal knows no workload of that name"));
            continue;
        };
        let signal = load_signal(args, name, workload)?;
        let past = Past::read(&reader, name, signal, since, end).await?;
        let model = model(args, name, workload, memory, &mut notes)?;
        pasts.insert(name.clone(), (past, model));
    }
    ensure!(
        !pasts.is_empty(),
        "the journal knows none of this policy's workloads; it has {}",
        recorded.names()
    );
    let fleet = only(&loaded.fleet, &pasts)?;
    let outcome = simulate(args, &fleet, &pasts, &mut notes)?;
    if let Some(report) = &args.report {
        std::fs::write(report, render_html(&outcome))
            .with_context(|| format!("{} can't be written", report.display()))?;
        eprintln!("report: {}", report.display());
    }
    printer.print(&outcome, text)?;
    Ok(Exit::Success)
}

fn text(outcome: &Outcome) -> String {
    let length = Span::millis(outcome.step.as_millis().saturating_mul(outcome.steps));
    let mut text = format!("{length} from {} on\n\n{}\n", outcome.start, render_table(outcome));
    for note in &outcome.notes {
        text.push_str(&format!("- {note}\n"));
    }
    text
}

/// The controller as the journal's last snapshot has it.
struct Recorded {
    fleet: Fleet,
    memories: BTreeMap<WorkloadName, Memory>,
}

impl Recorded {
    fn new(snapshot: Snapshot) -> Result<Self> {
        let fleet = Fleet::new(snapshot.fleet)
            .map_err(|problems| anyhow::anyhow!("the recorded policy is not valid any more: {problems:?}"))?;
        Ok(Self { fleet, memories: snapshot.memories })
    }

    fn workload(&self, name: &WorkloadName) -> Option<(&Workload, &Memory)> {
        self.fleet.workload(name).zip(self.memories.get(name))
    }

    fn names(&self) -> String {
        self.fleet.workloads().keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

/// The signal that shows a workload's demand: the one named, else the balancer's requests, else a total per second.
fn load_signal(args: &Backtest, name: &WorkloadName, workload: &Workload) -> Result<SignalName> {
    let known = || workload.signals.keys().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
    if let Some(signal) = &args.signal {
        ensure!(
            workload.signals.contains_key(signal),
            "the recorded policy of `{name}` has no signal `{signal}`; it has {}",
            known()
        );
        return Ok(signal.clone());
    }
    let requests = |s: &Signal| s.source == SignalSource::Balancer(BalancerSignal::RequestsPerSecond);
    let total = |s: &Signal| s.unit() == Unit::PerSecond && s.scope() == Scope::Total;
    let first = |fits: &dyn Fn(&Signal) -> bool| {
        workload.signals.iter().find(|(_, signal)| fits(signal)).map(|(name, _)| name.clone())
    };
    first(&requests).or_else(|| first(&total)).with_context(|| {
        format!(
            "no recorded signal of `{name}` counts requests a second, so its demand isn't known; name the one that \
             shows it with --signal (it has {})",
            known()
        )
    })
}

/// How replicas behave: as given, else as measured. What one replica carries is nothing to guess.
fn model(
    args: &Backtest,
    name: &WorkloadName,
    workload: &Workload,
    memory: &Memory,
    notes: &mut Vec<String>,
) -> Result<Model> {
    let mut model = Model::default();
    model.usable = args.usable.unwrap_or(model.usable);
    model.objective = args.objective.unwrap_or(model.objective);
    model.service_time = args.service_time.unwrap_or(model.service_time);
    model.price = args.price.unwrap_or(model.price);
    let learned = memory.capacity(workload).filter(|c| c.unit == Unit::PerSecond);
    model.capacity = match (args.capacity, learned) {
        (Some(given), _) => given,
        (None, Some(learned)) => {
            notes.push(format!(
                "a replica of `{name}` is taken to carry {} within the objective, as learned from {} measurements",
                learned.unit.say(learned.usable),
                learned.evidence
            ));
            learned.usable.get() / model.usable
        }
        (None, None) => bail!(
            "what one replica of `{name}` carries was never learned; say it with --capacity (requests a second at \
             the most)"
        ),
    };
    let starts = memory.start_ups();
    match (args.startup, starts.quantile(0.1).zip(starts.quantile(0.9))) {
        (Some(given), _) => model.start_up = given,
        (None, Some((quick, slow))) => {
            model.start_up = quick;
            model.start_up_spread = Span::millis(slow.as_millis() - quick.as_millis());
            notes.push(format!(
                "a start of `{name}` takes {quick} to {slow}, as measured over the last {} starts",
                starts.seen()
            ));
        }
        (None, None) => notes.push(format!(
            "no start of `{name}` was ever measured; {} is assumed (C6); --startup says otherwise",
            model.start_up
        )),
    }
    let drained = memory.drains().times().map(|times| times.median);
    model.drain = args.drain.or(drained).unwrap_or(model.drain);
    Ok(model)
}

/// What the journal holds of a workload's past, in points of one length.
struct Past {
    signal: SignalName,
    resolution: Span,
    load: BTreeMap<i64, f64>,
    /// By their moment, with the length of the point.
    replicas: BTreeMap<Timestamp, (Span, [u32; 5])>,
}

impl Past {
    async fn read(
        reader: &Reader,
        workload: &WorkloadName,
        signal: SignalName,
        since: Timestamp,
        end: Timestamp,
    ) -> Result<Self> {
        let mut names = vec![signal.to_string()];
        names.extend([WANTED, READY, STARTING, DRAINING, WARM].map(str::to_owned));
        let found = reader.finest(workload.clone(), names, since, end.plus(Span::millis(1))).await?;
        let Some((load, counts)) = found.split_first() else { bail!("the journal gave no answer") };
        ensure!(
            !load.is_empty(),
            "the journal holds no sample of `{signal}` of `{workload}` since {since}; look further back with --since"
        );
        let resolution = load.iter().map(|fine| fine.length).max().unwrap_or(Span::seconds(1));
        let mut past = Self { signal, resolution, load: BTreeMap::new(), replicas: BTreeMap::new() };
        let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for fine in load {
            #[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
            let weight = fine.point.count as f64;
            let sum = sums.entry(past.bucket(fine.point.at)).or_default();
            *sum = (sum.0 + fine.point.mean * weight, sum.1 + weight);
        }
        past.load = sums.into_iter().map(|(bucket, (sum, weight))| (bucket, sum / weight)).collect();
        for (which, points) in counts.iter().enumerate() {
            for fine in points {
                let (length, counts) = past.replicas.entry(fine.point.at).or_default();
                *length = fine.length;
                counts[which] = Replicas::ceil(fine.point.last).0;
            }
        }
        Ok(past)
    }

    /// For how long nothing is recorded between the replicas that were seen from `start` (ms) on.
    fn unseen(&self, start: i64) -> Span {
        let seen: Vec<_> = self.replicas.iter().map(|(at, (length, _))| (*at, *length)).collect();
        let gap = |pair: &[(Timestamp, Span)]| {
            let [(at, length), (next, _)] = pair else { return 0 };
            let apart = next.since(*at);
            let longest = HOLDS.max(Span::millis(length.as_millis() * 3 / 2));
            let counts = at.as_millis() >= start && apart > longest;
            if counts { apart.as_millis().saturating_sub(length.as_millis()) } else { 0 }
        };
        Span::millis(seen.windows(2).map(gap).sum())
    }

    fn bucket(&self, at: Timestamp) -> i64 {
        at.as_millis().div_euclid(self.millis())
    }

    fn millis(&self) -> i64 {
        i64::try_from(self.resolution.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    fn begins(&self) -> Option<i64> {
        self.load.keys().next().map(|bucket| bucket * self.millis())
    }

    /// The load from `start` (ms) on, as a trace.
    fn trace(&self, name: &WorkloadName, start: i64) -> TraceSource {
        let mut text = String::from("timestamp,value\n");
        let rows = self.load.iter().map(|(bucket, value)| (bucket * self.millis(), value));
        let mut rows = rows.filter(|(at, _)| *at >= start).peekable();
        // All traces begin together, so that the workloads keep their time.
        if let Some((_, value)) = rows.peek().filter(|(at, _)| *at > start) {
            text.push_str(&format!("{},{value}\n", seconds(start)));
        }
        for (at, value) in rows {
            text.push_str(&format!("{},{value}\n", seconds(at)));
        }
        TraceSource::Text { name: format!("recorded for `{name}`"), text: text.into() }
    }

    fn record(&self, start: i64) -> Vec<RecordedPoint> {
        let points = self.replicas.iter().filter(|(at, _)| at.as_millis() >= start);
        points
            .map(|(at, (_, [wanted, ready, starting, draining, pool]))| RecordedPoint {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run")]
                seconds: (at.as_millis() - start) as f64 / 1000.0,
                wanted: *wanted,
                ready: *ready,
                starting: *starting,
                draining: *draining,
                pool: *pool,
            })
            .collect()
    }
}

/// Milliseconds as the seconds of a trace.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// The policy with the workloads that have a past.
fn only(fleet: &Fleet, pasts: &BTreeMap<WorkloadName, (Past, Model)>) -> Result<Arc<Fleet>> {
    let mut document = fleet.document();
    document.spec.workloads.retain(|name, _| pasts.contains_key(name));
    Fleet::new(document).map(Arc::new).map_err(|problems| {
        anyhow::anyhow!("the policy makes no sense without the workloads that have no past: {problems:?}")
    })
}

fn simulate(
    args: &Backtest,
    fleet: &Arc<Fleet>,
    pasts: &BTreeMap<WorkloadName, (Past, Model)>,
    notes: &mut Vec<String>,
) -> Result<Outcome> {
    let start = pasts.values().filter_map(|(past, _)| past.begins()).max().unwrap_or(0);
    let mut loads = Loads { all: Load::Constant(0.0), of: BTreeMap::new() };
    let mut options = SimulateOptions {
        step: args.step,
        seed: args.seed,
        against: args.against.clone(),
        ..SimulateOptions::default()
    };
    for (name, (past, model)) in pasts {
        loads.of.insert(name.clone(), Load::Trace(past.trace(name, start)));
        options.models.insert(name.clone(), model.clone());
        let record = past.record(start);
        if pasts.len() == 1 {
            options.initial = record.first().map(|point| Replicas(point.wanted));
        }
        options.recorded.insert(name.clone(), record);
        notes.push(format!(
            "the demand of `{name}` is its signal `{}` in points of {}; what happened within a point is not known",
            past.signal, past.resolution
        ));
        let unseen = past.unseen(start);
        if unseen > Span::ZERO {
            notes.push(format!(
                "for {unseen} no replicas of `{name}` are recorded; the load and the count before are taken to have gone \
                 on, so `recorded` has more replica-hours here than `headroom report`, which leaves that time out"
            ));
        }
    }
    let mut outcome = headroom_sim::run(fleet, &loads, &options, &mut super::progress::Progress::new())?;
    notes.append(&mut outcome.notes);
    let overloaded: f64 = outcome
        .contenders
        .iter()
        .filter(|c| c.name == headroom_sim::record::RECORDED)
        .map(|c| c.score.violating_seconds)
        .sum();
    if overloaded > 0.0 {
        notes.push(format!(
            "for {} the recorded replicas were too few for the demand seen; more may have been turned away unseen, so \
             the real demand, and what a policy would have needed, may be higher",
            Span::seconds(whole(overloaded))
        ));
    }
    notes.push(
        "requests late or lost are the model's for either row: the journal does not count single requests; what \
         strategies had learned before is not known to the policy at its start"
            .to_owned(),
    );
    outcome.notes = std::mem::take(notes);
    Ok(outcome)
}

fn whole(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
    let whole = seconds.round() as u64;
    whole
}
