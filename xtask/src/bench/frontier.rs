//! What an objective costs and how often it is missed, beside other autoscalers and the clairvoyant optimum.
//!
//! Every load is brought to a peak of 40 replicas and given the noise that averaging took out of it; the first 60 %
//! are history. `judge.rs` asks an independent scorer the same, `picture.rs` draws. It tunes nothing: policies and
//! peers run with their defaults.

mod judge;
mod picture;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use headroom_core::fleet::Fleet;
use headroom_core::units::Span;
use headroom_sim::load::{Load, Noisy, Scaled};
use headroom_sim::world::Model;
use headroom_sim::{Contender, Loads, SimulateOptions};
use serde::Serialize;

use super::Output;

/// Replicas that a load's peak needs.
const PEAK: f64 = 40.0;
/// The share of a run that is history.
const UNSCORED: f64 = 0.6;
/// Of longer traces the beginning counts: enough for four weeks of habits and two to be scored on.
const LONGEST: Span = Span::days(35);
/// Rows farther apart than this are means of something livelier.
const COARSE: Span = Span::seconds(60);
/// How lively: around interpolated 5-minute means one-minute samples of web traffic scatter by about 5 %.
const WANDER: f64 = 0.05;
/// How much worse than without a forecast a forecast may be: violations in share of time, cost as a factor.
const NEVER_WORSE: (f64, f64) = (0.0002, 1.05);
/// The rows that are headroom's.
const WITH: &str = "headroom";
const WITHOUT: &str = "headroom, foresee: false";

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A folder of traces (CSV); loads made by formulas, if there is none.
    #[arg(long, value_name = "DIR", default_value = "../shared/traces", help_heading = "frontier")]
    traces: PathBuf,
    /// Start-up times, seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        value_delimiter = ',',
        default_value = "10,30,60,120",
        help_heading = "frontier"
    )]
    startups: Vec<u64>,
    /// The folder of an independent scorer, which then judges headroom's decisions as well.
    #[arg(long, value_name = "DIR", help_heading = "frontier")]
    scorer: Option<PathBuf>,
    /// The Python it runs with.
    #[arg(long, value_name = "FILE", default_value = "python3", help_heading = "frontier")]
    python: PathBuf,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "docs/images/frontier.svg", help_heading = "frontier")]
    picture: PathBuf,
}

/// How someone did on one load, or on the mean of all.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    who: String,
    /// Share of the time beyond the objective.
    violating: f64,
    /// The same on the worst load.
    worst: f64,
    /// Cost over that of the clairvoyant optimum without violations.
    over_optimum: f64,
    /// Reversals of direction within ten minutes, a day.
    flaps_a_day: f64,
}

/// One start-up time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    start_up_seconds: u64,
    loads: usize,
    /// Means over the loads.
    rows: Vec<Figures>,
    /// The same, as the independent scorer sees headroom.
    #[serde(skip_serializing_if = "Option::is_none")]
    judged: Option<Figures>,
    /// Loads on which the forecast costs or violates more than it may.
    worse_with_forecast: Vec<String>,
}

/// A load with its name and, where it has one, its file.
struct Named {
    name: String,
    load: Load,
    file: Option<PathBuf>,
}

/// Runs all and prints the tables; draws the picture of the first start-up time of 30 s, else of the first.
pub(crate) fn run(options: &Options, output: Output) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation; run `cargo run --release -p xtask -- bench frontier`");
    }
    let loads = loads(&options.traces)?;
    let mut tables = Vec::new();
    for start_up in &options.startups {
        let table = table(*start_up, &loads, options)?;
        if output == Output::Text {
            println!("{}", markdown(&table));
        }
        tables.push(table);
    }
    if let Some(drawn) = tables.iter().find(|t| t.start_up_seconds == 30).or_else(|| tables.first()) {
        std::fs::write(&options.picture, picture::draw(drawn))
            .with_context(|| format!("{} can't be written", options.picture.display()))?;
    }
    if output == Output::Json {
        println!("{}", serde_json::to_string(&tables)?);
    }
    Ok(())
}

/// The traces of a folder, or formulas.
fn loads(folder: &Path) -> Result<Vec<Named>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return formulas() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "csv"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let load = prepared(Load::trace_file(&file)).with_context(|| name.clone())?;
            Ok(Named { name, load, file: Some(file) })
        })
        .collect()
}

/// Days with surges, ramps, batches and nothing but noise.
fn formulas() -> Result<Vec<Named>> {
    [
        ("days", "{ wave: { low: 20, high: 100 } }"),
        ("surges", "{ sum: [{ wave: { low: 15, high: 30 } }, { surge: { add: 90, at: 3h, rise: 10s, hold: 20m, fall: 5m, every: 9h } }] }"),
        ("ramps", "{ sum: [{ constant: 20 }, { surge: { add: 60, at: 2h, rise: 10m, hold: 40m, fall: 30m, every: 4h } }] }"),
        ("batches", "{ sum: [{ wave: { low: 20, high: 50 } }, { surge: { add: 50, at: 1h, rise: 15s, hold: 4m, fall: 1m, every: 1h } }] }"),
        ("steady", "{ constant: 50 }"),
    ]
    .into_iter()
    .map(|(name, text)| Ok(Named { name: name.to_owned(), load: prepared(Load::parse(text)?)?, file: None }))
    .collect()
}

/// A load at the peak that is wanted, with the noise that rows far apart have lost.
fn prepared(load: Load) -> Result<Load> {
    let mut stream = load.open(STEP, 1)?;
    let coarse = stream.facts().is_none_or(|facts| facts.spacing > COARSE);
    let most = LONGEST.as_millis() / STEP.as_millis();
    let mut peak = 0.0_f64;
    for _ in 0..most {
        let Some(demand) = stream.next_step()? else { break };
        peak = peak.max(demand);
    }
    let by = PEAK * Model::default().carries() / peak;
    let load = Load::Scaled(Box::new(Scaled { by, load }));
    Ok(Load::Noisy(Box::new(Noisy { wander: if coarse { WANDER } else { 0.0 }, arrivals: true, load })))
}

/// An objective decides every five seconds.
const STEP: Span = Span::seconds(5);

/// A fleet of the example's bounds, with or without a forecast.
fn fleet(foresee: bool) -> Result<Arc<Fleet>> {
    let document = serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "frontier" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["./web"] } },
            "balancer": { "listen": "127.0.0.1:0" },
            "replicas": { "min": 2, "max": 100 },
            "signals": { "rps": { "balancer": "requestsPerSecond" } },
            "strategies": [{ "objective": {
                "violations": "0.1%", "capacity": { "perReplica": 100, "usable": "90%" }, "startUp": "30s",
                "foresee": foresee,
            } }],
        } } },
    }))?;
    Ok(Arc::new(Fleet::new(document).map_err(|p| anyhow!("the benchmark's fleet has problems: {p:?}"))?))
}

fn settings(start_up: u64) -> SimulateOptions {
    SimulateOptions {
        step: STEP,
        model: Model { start_up: Span::seconds(start_up), ..Model::default() },
        unscored: UNSCORED,
        ..SimulateOptions::default()
    }
}

/// Everyone on one load.
fn race(load: &Named, start_up: u64) -> Result<Vec<Figures>> {
    let length = load.file.is_none().then_some(Span::days(3)).or(Some(LONGEST));
    let all = Contender::ALL.to_vec();
    let options = SimulateOptions { length, against: all, ..settings(start_up) };
    let loads = Loads::from(load.load.clone());
    let outcome = headroom_sim::run(&fleet(true)?, &loads, &options, &mut ())?;
    let best = outcome.optimum.as_ref().context("the optimum was not reckoned")?.replica_hours;
    let blind = SimulateOptions { against: Vec::new(), ..options };
    let without = headroom_sim::run(&fleet(false)?, &loads, &blind, &mut ())?;
    let figures = |who: &str, score: &headroom_sim::score::Score| Figures {
        who: who.to_owned(),
        violating: score.violating(),
        worst: score.violating(),
        over_optimum: score.replica_hours / best,
        flaps_a_day: score.flaps as f64 * 86_400.0 / score.seconds,
    };
    let mut rows =
        vec![figures(WITH, &outcome.headroom().score), figures(WITHOUT, &without.headroom().score)];
    rows.extend(outcome.contenders.iter().skip(1).map(|c| figures(&c.name, &c.score)));
    Ok(rows)
}

/// All loads at one start-up time, on as many threads as there are processors.
fn table(start_up: u64, loads: &[Named], options: &Options) -> Result<Table> {
    let raced = side_by_side(loads, |load| race(load, start_up).with_context(|| load.name.clone()))?;
    let mut worse = Vec::new();
    for (load, rows) in loads.iter().zip(&raced) {
        let (with, without) = (&rows[0], &rows[1]);
        if with.violating > without.violating + NEVER_WORSE.0
            || with.over_optimum > without.over_optimum * NEVER_WORSE.1
        {
            worse.push(format!(
                "{}: {:.3} % at {:.3} with, {:.3} % at {:.3} without",
                load.name,
                100.0 * with.violating,
                with.over_optimum,
                100.0 * without.violating,
                without.over_optimum
            ));
        }
    }
    let judged = match &options.scorer {
        None => None,
        Some(folder) => {
            let judge = judge::Judge { folder, python: &options.python, start_up };
            let files: Vec<&Named> = loads.iter().filter(|load| load.file.is_some()).collect();
            let rows = side_by_side(&files, |load| judge.ask(load))?;
            Some(mean(&rows.iter().collect::<Vec<_>>()))
        }
    };
    let columns = raced.first().map_or(0, Vec::len);
    let rows = (0..columns).map(|i| mean(&raced.iter().map(|rows| &rows[i]).collect::<Vec<_>>())).collect();
    Ok(Table { start_up_seconds: start_up, loads: loads.len(), rows, judged, worse_with_forecast: worse })
}

/// Does `work` with each of `items`, in no order; gives the results in theirs.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = Mutex::new(0..items.len());
    let done = Mutex::new(Vec::new());
    let lock = |i: &Mutex<std::ops::Range<usize>>| i.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(index) = lock(&next) {
                    let result = work(&items[index]);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn mean(rows: &[&Figures]) -> Figures {
    let over = |of: fn(&Figures) -> f64| rows.iter().map(|r| of(r)).sum::<f64>() / rows.len().max(1) as f64;
    Figures {
        who: rows.first().map(|r| r.who.clone()).unwrap_or_default(),
        violating: over(|r| r.violating),
        worst: rows.iter().map(|r| r.worst).fold(0.0, f64::max),
        over_optimum: over(|r| r.over_optimum),
        flaps_a_day: over(|r| r.flaps_a_day),
    }
}

fn markdown(table: &Table) -> String {
    let mut text = format!(
        "Start-up {} s, {} loads:\n\n| who | over objective | worst load | cost / optimum | reversals a day |\n|---|---|---|---|---|\n",
        table.start_up_seconds, table.loads
    );
    for row in table.rows.iter().chain(&table.judged) {
        text.push_str(&format!(
            "| {} | {:.3} % | {:.3} % | {:.3} | {:.0} |\n",
            row.who,
            100.0 * row.violating,
            100.0 * row.worst,
            row.over_optimum,
            row.flaps_a_day
        ));
    }
    let worse = &table.worse_with_forecast;
    text.push_str(&format!("\nWorse with a forecast than allowed: {} loads\n", worse.len()));
    worse.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_and_the_table_name_everyone() {
        let named =
            Named { name: "steady".into(), load: prepared(Load::Constant(50.0)).unwrap(), file: None };
        let mut rows = race(&named, 30).unwrap();
        assert_eq!(rows.len(), 2 + Contender::ALL.len() - 1);
        rows[0].violating = 0.0;
        let table = Table {
            start_up_seconds: 30,
            loads: 1,
            rows,
            judged: None,
            worse_with_forecast: vec!["steady".into()],
        };
        let (text, picture) = (markdown(&table), picture::draw(&table));
        for row in &table.rows {
            assert!(text.contains(&row.who) && picture.contains(&row.who), "{}", row.who);
        }
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }
}
