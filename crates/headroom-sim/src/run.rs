//! A simulation from end to end: loads in, scores out.
//!
//! All contenders meet the same demand in lockstep, so nothing of the load is kept and a run of any length takes
//! the same memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use headroom_core::controller::Notice;
use headroom_core::decision::{Decision, Outcome as Verdict};
use headroom_core::fleet::{Fleet, ReplicaRange};
use headroom_core::names::WorkloadName;
use headroom_core::say::{Language, headline};
use headroom_core::units::{Replicas, Span, Timestamp};
use serde::Serialize;

use crate::chart::{Chart, Folder};
use crate::fault::{self, Fault, FaultProblem, Weather};
use crate::load::{Load, LoadError, LoadStream, TraceFacts};
use crate::optimum::{Bounds, Optimum};
use crate::peer::{Contender, Peer, Seat as PeerSeat, Seen};
use crate::people::Word;
use crate::pilot::{Pilot, Witness};
use crate::record::{Playback, RECORDED, RecordedPoint};
use crate::rng::Rng;
use crate::score::{Meter, Score, SurgeWatch};
use crate::world::{Model, ModelProblem, Plant, Queue};

/// Where formulas start that no trace dates: a Monday.
pub const DEFAULT_START: Timestamp = Timestamp::from_millis(1_767_571_200_000);
/// Contenders begin with the fleet that carries the first minute at this share of the capacity.
const BEGINS_AT: f64 = 0.7;
/// A load whose peak is within this factor of the one asked for has been scaled before: noise of 5 % over weeks adds a
/// quarter to a peak.
const SCALED_BEFORE: f64 = 4.0 / 3.0;
/// Workloads that are drawn; a page with more pictures is not looked at.
const MOST_CHARTS: usize = 8;
/// Decisions kept from the beginning and from the end of a run each.
const MOST_DECISIONS: usize = 500;
/// Progress is told this often, in steps of a workload.
const TELL_EVERY: u64 = 16_384;

/// Which load each workload gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Loads {
    /// The load of every workload that has none of its own.
    pub all: Load,
    /// Loads of single workloads.
    pub of: BTreeMap<WorkloadName, Load>,
}

impl From<Load> for Loads {
    fn from(all: Load) -> Self {
        Self { all, of: BTreeMap::new() }
    }
}

/// What a simulation is to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateOptions {
    /// The length of a step: 1 s, as the live controller looks; longer steps run faster and show less.
    pub step: Span,
    /// How often the controller is fed; each step, if not given.
    pub tick: Option<Span>,
    /// The seed of everything that comes by chance.
    pub seed: u64,
    /// How replicas behave.
    pub model: Model,
    /// How replicas of single workloads behave.
    pub models: BTreeMap<WorkloadName, Model>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What people say meanwhile.
    pub people: Vec<Word>,
    /// How long to simulate; to the end of the trace, if not given.
    pub length: Option<Span>,
    /// When it begins; with the trace, if not given.
    pub start: Option<Timestamp>,
    /// Scale each load so that its peak needs so many replicas. A load whose peak is within a third of that already
    /// is taken as it is.
    pub peak_replicas: Option<f64>,
    /// Which share of the run is history that is not scored, 0 to 1.
    pub unscored: f64,
    /// Replicas at the beginning; enough for the first minute, if not given.
    pub initial: Option<Replicas>,
    /// Who else is to keep the same world.
    pub against: Vec<Contender>,
    /// What really happened, for a backtest: the replicas of each workload as they were seen.
    pub recorded: BTreeMap<WorkloadName, Vec<RecordedPoint>>,
}

impl Default for SimulateOptions {
    fn default() -> Self {
        Self {
            step: Span::seconds(1),
            tick: None,
            seed: 1,
            model: Model::default(),
            models: BTreeMap::new(),
            faults: Vec::new(),
            people: Vec::new(),
            length: None,
            start: None,
            peak_replicas: None,
            unscored: 0.0,
            initial: None,
            against: Vec::new(),
            recorded: BTreeMap::new(),
        }
    }
}

/// Why a simulation can't be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimError {
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model.
    #[error("workload `{workload}`: {problem}")]
    Model {
        /// Whose model.
        workload: WorkloadName,
        /// What is wrong with it.
        problem: ModelProblem,
    },
    /// The faults.
    #[error(transparent)]
    Fault(#[from] FaultProblem),
    /// The options.
    #[error("{0}")]
    Option(String),
    /// A name no workload has.
    #[error("the fleet has no workload called `{name}`; it has {known}")]
    NoSuchWorkload {
        /// As given.
        name: WorkloadName,
        /// Those it has.
        known: String,
    },
}

/// Who watches a run.
pub trait Observer {
    /// So many steps of so many are done; the second is `None` where the end is not known.
    fn progress(&mut self, _done: u64, _of: Option<u64>) {}
    /// From `seconds` after the beginning on, headroom wants `desired` replicas of `workload`.
    fn desired(&mut self, _workload: &WorkloadName, _seconds: f64, _desired: Replicas) {}
}

/// Nobody watches.
impl Observer for () {}

/// What came of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The fleet's name.
    pub fleet: String,
    /// The seed, for running it again.
    pub seed: u64,
    /// When the run begins.
    pub start: Timestamp,
    /// How long a step is.
    pub step: Span,
    /// How many there were.
    pub steps: u64,
    /// How everyone did, headroom first.
    pub contenders: Vec<ContenderResult>,
    /// The clairvoyant optimum, if it was asked for.
    pub optimum: Option<OptimumResult>,
    /// What people should know before they believe the figures.
    pub notes: Vec<String>,
    /// The course of the first workloads.
    pub charts: Vec<(WorkloadName, Chart)>,
    /// What headroom decided and why.
    pub decisions: DecisionLog,
    /// What people would have been told, by code, and how often.
    pub notices: BTreeMap<String, u64>,
}

impl Outcome {
    /// headroom's own result.
    #[must_use]
    pub fn headroom(&self) -> &ContenderResult {
        &self.contenders[0]
    }
}

/// How one contender did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContenderResult {
    /// Its name.
    pub name: String,
    /// All workloads together.
    pub score: Score,
    /// One by one.
    pub workloads: BTreeMap<WorkloadName, Score>,
    /// Its cost over that of the best schedule with as many violating steps: a proven lower bound. `None` without
    /// the optimum.
    pub over_bound: Option<f64>,
}

/// The clairvoyant optimum.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OptimumResult {
    /// Replica-hours of the best schedule without a violation.
    pub replica_hours: f64,
    /// What they cost.
    pub cost: f64,
}

/// Recorded decisions: the first and the last of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionLog {
    /// The first ones.
    pub first: Vec<LoggedDecision>,
    /// How many are left out between.
    pub left_out: u64,
    /// The last ones.
    pub last: VecDeque<LoggedDecision>,
}

/// One decision to change a count.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedDecision {
    /// Seconds from the beginning.
    pub seconds: f64,
    /// Whose.
    pub workload: WorkloadName,
    /// The count before.
    pub from: Replicas,
    /// The count after.
    pub to: Replicas,
    /// What and why, as a sentence.
    pub why: String,
}

impl DecisionLog {
    /// All that are kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = &LoggedDecision> {
        self.first.iter().chain(&self.last)
    }

    fn push(&mut self, decision: LoggedDecision) {
        if self.first.len() < MOST_DECISIONS {
            self.first.push(decision);
            return;
        }
        if self.last.len() == MOST_DECISIONS {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(decision);
    }
}

/// Keeps what a report tells of the controller.
#[derive(Default)]
struct Keeper {
    dt: f64,
    log: DecisionLog,
    notices: BTreeMap<String, u64>,
}

impl Witness for Keeper {
    fn recorded(&mut self, step: u64, decision: &Decision) {
        if decision.outcome == Verdict::Act {
            self.log.push(LoggedDecision {
                seconds: step as f64 * self.dt,
                workload: decision.id.workload.clone(),
                from: decision.from,
                to: decision.to,
                why: headline(decision, Language::English),
            });
        }
    }

    fn told(&mut self, _step: u64, notice: &Notice) {
        match self.notices.get_mut(&notice.code) {
            Some(n) => *n += 1,
            None => {
                self.notices.insert(notice.code.clone(), 1);
            }
        }
    }
}

/// What a first look at a load finds.
#[derive(Clone, Debug)]
struct Survey {
    facts: Option<TraceFacts>,
    /// Steps, where the load has an end or a length was given.
    steps: Option<u64>,
    first_minute: f64,
    /// The largest step, where the whole load was gone through.
    peak: Option<f64>,
}

impl Survey {
    fn of(load: &Load, options: &SimulateOptions, whole: bool) -> Result<Self, SimError> {
        let mut stream = load.open(options.step, options.seed)?;
        let most = options.length.map(|l| l.as_millis() / options.step.as_millis().max(1));
        let minute = (60_000 / options.step.as_millis().max(1)).max(1);
        let known_end = stream.facts().is_some() || most.is_some();
        if !known_end {
            return Err(LoadError::NoEnd.into());
        }
        let (mut steps, mut sum, mut in_minute, mut peak, mut ended) = (0_u64, 0.0, 0_u64, 0.0_f64, false);
        while most.is_none_or(|most| steps < most) && (whole || steps < minute) {
            let Some(demand) = stream.next_step()? else {
                ended = true;
                break;
            };
            if steps < minute {
                sum += demand;
                in_minute += 1;
            }
            peak = peak.max(demand);
            steps += 1;
        }
        let from_facts = stream
            .facts()
            .filter(|_| matches!(load, Load::Trace(_)))
            .map(|f| f.length.as_millis() / options.step.as_millis().max(1));
        let steps = match (whole || ended, most, from_facts) {
            (true, _, _) => Some(steps),
            (false, Some(most), Some(facts)) => Some(most.min(facts)),
            (false, most, facts) => most.or(facts),
        };
        Ok(Self {
            facts: stream.facts().copied(),
            steps,
            first_minute: if in_minute > 0 { sum / in_minute as f64 } else { 0.0 },
            peak: whole.then_some(peak),
        })
    }
}

/// One contender's part of one workload.
struct Seat {
    plant: Plant,
    meter: Meter,
    peer: Option<Box<dyn Peer>>,
}

/// One workload's part of the run.
struct Lane {
    name: WorkloadName,
    stream: usize,
    factor: f64,
    range: ReplicaRange,
    /// The most replicas a step has needed so far.
    most_needed: u32,
    model: Arc<Model>,
    surges: SurgeWatch,
    optimum: Option<Optimum>,
    chart: Option<Folder>,
    /// headroom's meter; its plant stands with the others the pilot flies.
    meter: Meter,
    seats: Vec<Seat>,
    record: Option<Playback>,
    desired: Option<u32>,
}

/// Runs a simulation.
///
/// # Errors
/// What makes it impossible; found before it starts, but for a file that fails under the reader.
pub fn run(
    fleet: &Arc<Fleet>,
    loads: &Loads,
    options: &SimulateOptions,
    observer: &mut dyn Observer,
) -> Result<Outcome, SimError> {
    let known = || fleet.workloads().keys().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let spoken_of = options.people.iter().filter_map(|word| word.workload.as_ref());
    let named = loads.of.keys().chain(options.models.keys()).chain(options.recorded.keys());
    for name in named.chain(spoken_of) {
        if fleet.workload(name).is_none() {
            return Err(SimError::NoSuchWorkload { name: name.clone(), known: known() });
        }
    }
    check_options(options)?;
    fault::check(&options.faults)?;
    let needs_peak = options.peak_replicas.is_some()
        || options.unscored > 0.0
        || options.against.contains(&Contender::Static);
    let distinct: Vec<(Option<&WorkloadName>, &Load)> = std::iter::once((None, &loads.all))
        .filter(|_| fleet.workloads().keys().any(|n| !loads.of.contains_key(n)))
        .chain(loads.of.iter().map(|(n, l)| (Some(n), l)))
        .collect();
    let mut surveys = Vec::new();
    for (_, load) in &distinct {
        surveys.push(Survey::of(load, options, needs_peak)?);
    }
    let steps = surveys.iter().filter_map(|s| s.steps).min();
    if steps == Some(0) {
        return Err(SimError::Option(
            "the load is shorter than one step; give a longer trace or a shorter step".to_owned(),
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of steps"
    )]
    let scored_from = steps.map_or(0, |n| libm::round(n as f64 * options.unscored) as u64);
    let start = options
        .start
        .or_else(|| surveys.iter().find_map(|s| s.facts.map(|f| f.start)))
        .unwrap_or(DEFAULT_START);
    let mut notes = gap_notes(&distinct, &surveys);
    let mut streams: Vec<(LoadStream, f64)> = Vec::new();
    for (_, load) in &distinct {
        streams.push((load.open(options.step, options.seed)?, 0.0));
    }
    let (mut lanes, mut plants) = (Vec::new(), Vec::new());
    let mut queues: Vec<(Model, Arc<Model>, Queue)> = Vec::new();
    for (name, workload) in fleet.workloads() {
        let stream = distinct.iter().position(|(n, _)| *n == Some(name)).unwrap_or(0);
        let survey = &surveys[stream];
        let model = options.models.get(name).unwrap_or(&options.model);
        let known = queues.iter().position(|(m, ..)| m == model);
        let at = match known {
            Some(at) => at,
            None => {
                model.check().map_err(|problem| SimError::Model { workload: name.clone(), problem })?;
                queues.push((model.clone(), Arc::new(model.clone()), Queue::new(model)));
                queues.len() - 1
            }
        };
        let (_, model, queue) = &queues[at];
        let factor = match (options.peak_replicas, survey.peak) {
            (Some(_), Some(peak)) if peak <= 0.0 => return Err(LoadError::NoPeak.into()),
            (Some(replicas), Some(peak)) => to_peak(peak, replicas * model.carries()),
            _ => 1.0,
        };
        if let (Some(replicas), Some(peak)) = (options.peak_replicas, survey.peak)
            && factor == 1.0
        {
            notes.extend(left_as_it_is(name, peak / model.carries(), replicas));
        }
        let peak_need = survey.peak.map(|p| model.need(p * factor));
        let begin = options
            .initial
            .unwrap_or_else(|| Replicas::ceil(survey.first_minute * factor / (BEGINS_AT * model.capacity)));
        let begin = workload.replicas.clamp(begin).0;
        let plant = || {
            let rng = Rng::fork(options.seed, name.as_str());
            Plant::new(Arc::clone(model), queue.clone(), options.step, start, begin, rng)
        };
        let dt = options.step.as_secs_f64();
        let range = (workload.replicas.min.0, workload.replicas.max.0);
        let seats: Vec<Seat> = options
            .against
            .iter()
            .filter_map(|c| {
                c.peer(&PeerSeat { model, step: options.step, min: range.0, max: range.1, peak_need })
            })
            .map(|peer| Seat { plant: plant(), meter: Meter::new(dt, model.price), peer: Some(peer) })
            .collect();
        plants.push(plant());
        let record = (!options.recorded.is_empty()).then(|| {
            let points = options.recorded.get(name).map_or(&[][..], Vec::as_slice);
            Playback::new(points, model, queue.clone(), options.step, start)
        });
        let in_steps = |span: Span| span.as_millis().div_ceil(options.step.as_millis().max(1));
        lanes.push(Lane {
            name: name.clone(),
            stream,
            factor,
            range: workload.replicas,
            most_needed: 0,
            model: Arc::clone(model),
            surges: SurgeWatch::new(dt, model.carries()),
            optimum: options.against.contains(&Contender::Optimum).then(|| {
                Optimum::new(in_steps(model.start_up), in_steps(model.drain), workload.replicas.min.0)
            }),
            chart: (lanes.len() < MOST_CHARTS)
                .then(|| Folder::new(dt, 1 + usize::from(record.is_some()) + seats.len())),
            meter: Meter::new(dt, model.price),
            seats,
            record,
            desired: None,
        });
    }
    let keeper = Keeper { dt: options.step.as_secs_f64(), ..Keeper::default() };
    let weather = Weather::new(&options.faults, options.step, options.seed);
    let tick = options.tick.unwrap_or(options.step);
    let mut pilot = Pilot::new(fleet, weather, start, options.step, tick, keeper);
    let mut people: Vec<(u64, Word)> = options
        .people
        .iter()
        .map(|word| (word.at.as_millis().div_ceil(options.step.as_millis().max(1)), word.clone()))
        .collect();
    // The last one to speak first: words are taken from the end.
    people.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
    let dt = options.step.as_secs_f64();
    let mut race = Race { lanes, plants, streams, people, scored_from, dt, start };
    let done = race.run(&mut pilot, steps, observer)?;
    Ok(race.finish(fleet, options, pilot.witness, done, notes))
}

/// The factor that brings a load's peak to `target`.
///
/// A load that has been scaled before and got its noise since has a peak near the target, not at it. To shrink it until
/// its highest noise fits would answer another load than the one at hand, so it is left alone.
fn to_peak(peak: f64, target: f64) -> f64 {
    let factor = target / peak;
    if (1.0 / SCALED_BEFORE..=SCALED_BEFORE).contains(&factor) { 1.0 } else { factor }
}

/// What to tell of a load that was not scaled, where that makes a difference.
fn left_as_it_is(name: &WorkloadName, needs: f64, asked: f64) -> Option<String> {
    ((needs / asked - 1.0).abs() > 1e-9).then(|| {
        format!(
            "the peak of `{name}` needs {needs:.1} replicas, which is near the {asked} asked for: its load is taken as \
             it is, as one that was scaled before"
        )
    })
}

fn check_options(options: &SimulateOptions) -> Result<(), SimError> {
    let problem = |text: &str| Err(SimError::Option(text.to_owned()));
    if options.step < Span::millis(100) || options.step > Span::minutes(5) {
        return problem("a step is between 100ms and 5m: shorter shows nothing more, longer shows no surge");
    }
    if options.tick.is_some_and(|t| t < options.step || t.as_millis() % options.step.as_millis() != 0) {
        return problem("the tick must be the step or a multiple of it");
    }
    if !(0.0..1.0).contains(&options.unscored) {
        return problem("the unscored share must be 0 or more and less than 1");
    }
    if options.peak_replicas.is_some_and(|n| !n.is_finite() || n <= 0.0) {
        return problem("the peak must need more than 0 replicas");
    }
    if options.length.is_some_and(Span::is_zero) {
        return problem("a simulation of no time shows nothing; give a length such as 1d");
    }
    Ok(())
}

fn gap_notes(loads: &[(Option<&WorkloadName>, &Load)], surveys: &[Survey]) -> Vec<String> {
    let mut notes = Vec::new();
    for ((name, _), survey) in loads.iter().zip(surveys) {
        let Some(facts) = survey.facts.filter(|f| f.gaps > 0) else { continue };
        let whose = name.map_or_else(|| "the trace".to_owned(), |n| format!("the trace of `{n}`"));
        notes.push(format!(
            "{whose} has {} gaps, the longest {}; they are bridged by straight lines",
            facts.gaps, facts.longest_gap
        ));
    }
    notes
}

/// Everyone in lockstep.
struct Race {
    lanes: Vec<Lane>,
    plants: Vec<Plant>,
    streams: Vec<(LoadStream, f64)>,
    /// What people have yet to say, the last first.
    people: Vec<(u64, Word)>,
    scored_from: u64,
    dt: f64,
    start: Timestamp,
}

impl Race {
    fn run(
        &mut self,
        pilot: &mut Pilot<Keeper>,
        steps: Option<u64>,
        observer: &mut dyn Observer,
    ) -> Result<u64, SimError> {
        let every = (TELL_EVERY / self.lanes.len().max(1) as u64).max(1);
        let mut step = 0;
        'steps: while steps.is_none_or(|n| step < n) {
            if step % every == 0 {
                observer.progress(step, steps);
            }
            for (stream, value) in &mut self.streams {
                match stream.next_step()? {
                    Some(v) => *value = v,
                    None => break 'steps,
                }
            }
            while self.people.last().is_some_and(|(at, _)| *at <= step) {
                let Some((_, word)) = self.people.pop() else { break };
                for lane in &self.lanes {
                    if word.workload.as_ref().is_none_or(|w| *w == lane.name) {
                        pilot.listen(&mut self.plants, step, &lane.name, &word.what);
                    }
                }
            }
            pilot.step(&mut self.plants, step);
            let counts = step >= self.scored_from;
            for (lane, plant) in self.lanes.iter_mut().zip(&mut self.plants) {
                let demand = self.streams[lane.stream].1 * lane.factor;
                if lane.desired != Some(plant.wanted()) {
                    lane.desired = Some(plant.wanted());
                    observer.desired(&lane.name, step as f64 * self.dt, Replicas(plant.wanted()));
                }
                lane.step(plant, demand, step, counts);
            }
            step += 1;
        }
        observer.progress(step, steps);
        Ok(step)
    }

    fn finish(
        self,
        fleet: &Fleet,
        options: &SimulateOptions,
        keeper: Keeper,
        steps: u64,
        mut notes: Vec<String>,
    ) -> Outcome {
        let names: Vec<String> = std::iter::once("headroom".to_owned())
            .chain((!options.recorded.is_empty()).then(|| RECORDED.to_owned()))
            .chain(options.against.iter().filter(|c| **c != Contender::Optimum).map(ToString::to_string))
            .collect();
        let mut contenders: Vec<ContenderResult> = names
            .into_iter()
            .map(|name| ContenderResult {
                name,
                score: Score::default(),
                workloads: BTreeMap::new(),
                over_bound: None,
            })
            .collect();
        let mut bounds = vec![0.0; contenders.len()];
        let mut optimum: Option<OptimumResult> = None;
        let mut charts = Vec::new();
        for lane in self.lanes {
            notes.extend(lane.out_of_reach());
            let best: Option<Bounds> = lane.optimum.map(Optimum::finish);
            if let Some(best) = &best {
                let hours = best.exact as f64 * self.dt / 3600.0;
                let so_far = optimum.get_or_insert(OptimumResult { replica_hours: 0.0, cost: 0.0 });
                so_far.replica_hours += hours;
                so_far.cost += hours * lane.model.price;
            }
            let record = lane.record.as_ref().map(|record| &record.meter);
            let meters =
                std::iter::once(&lane.meter).chain(record).chain(lane.seats.iter().map(|s| &s.meter));
            for ((contender, bound), meter) in contenders.iter_mut().zip(&mut bounds).zip(meters) {
                let score = meter.score();
                contender.score = contender.score.and(&score);
                contender.workloads.insert(lane.name.clone(), score);
                if let Some(best) = &best {
                    *bound += best.at_most(meter.violating_steps()) * self.dt / 3600.0 * lane.model.price;
                }
            }
            if let Some(chart) = lane.chart {
                charts.push((lane.name, chart.finish()));
            }
        }
        if optimum.is_some() {
            for (contender, bound) in contenders.iter_mut().zip(bounds) {
                contender.over_bound = (bound > 0.0).then(|| contender.score.cost / bound);
            }
        }
        Outcome {
            fleet: fleet.name().to_string(),
            seed: options.seed,
            start: self.start,
            step: options.step,
            steps,
            contenders,
            optimum,
            notes,
            charts,
            decisions: keeper.log,
            notices: keeper.notices,
        }
    }
}

impl Lane {
    /// What to tell where the load needs more than the policy allows.
    fn out_of_reach(&self) -> Option<String> {
        let Self { name, most_needed, range, .. } = self;
        (*most_needed > range.max.0).then(|| {
            format!(
                "the peak of `{name}` needs {most_needed} replicas, but its policy allows {} at the most: no policy \
                 within these bounds keeps the objective all the time",
                range.max
            )
        })
    }

    /// One step of headroom's plant and of all others.
    fn step(&mut self, plant: &mut Plant, demand: f64, step: u64, counts: bool) {
        let surge = self.surges.push(demand);
        let need = self.model.need(demand).max(self.range.min.0);
        self.most_needed = self.most_needed.max(need);
        let stepped = plant.advance(demand);
        self.meter.push(&stepped, plant.wanted(), need, surge, counts);
        if let Some(record) = &mut self.record {
            record.step(step, demand, need, surge, counts);
        }
        for seat in &mut self.seats {
            if let Some(peer) = &mut seat.peer {
                let wanted = peer.step(&Seen { step, plant: &seat.plant });
                if let Some(wanted) = wanted.filter(|w| *w != seat.plant.wanted()) {
                    seat.plant.want(wanted);
                }
            }
            let stepped = seat.plant.advance(demand);
            seat.meter.push(&stepped, seat.plant.wanted(), need, surge, counts);
        }
        if let Some(optimum) = self.optimum.as_mut().filter(|_| counts) {
            optimum.push(need);
        }
        if let Some(chart) = &mut self.chart {
            let record = self.record.as_ref().map(Playback::ready);
            let others = self.seats.iter().map(|s| s.plant.ready());
            chart.push(demand, need, std::iter::once(plant.ready()).chain(record).chain(others));
        }
    }
}
