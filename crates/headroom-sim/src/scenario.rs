//! Scenarios: what a policy is expected to do, as a file beside it.
//!
//! People test what they change. A scenario names a load, a world and faults, and says what must be true of the
//! run: `neverAbove: 20`, `enoughWithin: 45s`. `headroom test` runs them and ends with an exit code, so a policy
//! that no longer keeps its promises does not pass review.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headroom_core::fleet::Fleet;
use headroom_core::names::WorkloadName;
use headroom_core::units::{Quantity, Replicas, Span, Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::load::Load;
use crate::people::Word;
use crate::run::{Loads, Observer, Outcome, SimError, SimulateOptions, run};
use crate::score::Score;
use crate::table::{figure, percent};
use crate::world::Model;

/// One scenario, as it stands in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, in a few words.
    pub scenario: String,
    /// The policy file it tests, relative to its own place.
    pub policy: PathBuf,
    /// Which workload gets the load and is judged; may be left out where the fleet has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadName>,
    /// How long it takes; to the end of the trace, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<Span>,
    /// The length of a step.
    #[serde(default = "a_second")]
    pub step: Span,
    /// The seed of what comes by chance.
    #[serde(default = "one")]
    pub seed: u64,
    /// When it begins, for schedules and calendars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Replicas at the beginning; enough for the first minute, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Replicas>,
    /// Scale the load so that its peak needs so many replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_replicas: Option<f64>,
    /// How replicas behave.
    #[serde(default)]
    pub model: Model,
    /// What comes.
    pub load: Load,
    /// What goes wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What people say meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Word>,
    /// What must be true of the run.
    pub expect: Vec<Expectation>,
}

fn a_second() -> Span {
    Span::seconds(1)
}
fn one() -> u64 {
    1
}

/// What must be true of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expectation {
    /// Never more replicas are asked for.
    NeverAbove(Replicas),
    /// Never fewer replicas are asked for.
    NeverBelow(Replicas),
    /// After each surge there are enough ready replicas for its peak within this time of its onset. A run without
    /// a surge does not meet it: it would say nothing.
    EnoughWithin(Span),
    /// At most this share of the time is over the objective.
    OverObjectiveAtMost(Quantity),
    /// At most this share of the requests is late or lost.
    BadRequestsAtMost(Quantity),
    /// At most so many changes.
    ChangesAtMost(u64),
    /// At least so many changes: that something happens at all.
    ChangesAtLeast(u64),
    /// At most so many changes that take back the one before within ten minutes.
    FlapsAtMost(u64),
    /// At most so many replica-hours.
    ReplicaHoursAtMost(f64),
    /// At most this cost, in the model's currency.
    CostAtMost(f64),
    /// So many replicas are asked for at a moment.
    Replicas(ReplicasAt),
}

/// See [`Expectation::Replicas`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicasAt {
    /// The moment, from the start.
    pub at: Span,
    /// Not fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Replicas>,
    /// Not more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Replicas>,
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverAbove(n) => write!(f, "never above {n}"),
            Self::NeverBelow(n) => write!(f, "never below {n}"),
            Self::EnoughWithin(span) => write!(f, "enough within {span} of each surge"),
            Self::OverObjectiveAtMost(share) => write!(f, "over the objective at most {share} of the time"),
            Self::BadRequestsAtMost(share) => write!(f, "at most {share} of the requests late or lost"),
            Self::ChangesAtMost(n) => write!(f, "at most {n} changes"),
            Self::ChangesAtLeast(n) => write!(f, "at least {n} changes"),
            Self::FlapsAtMost(n) => write!(f, "at most {n} flaps"),
            Self::ReplicaHoursAtMost(hours) => write!(f, "at most {hours} replica-hours"),
            Self::CostAtMost(cost) => write!(f, "at most ${cost}"),
            Self::Replicas(r) => {
                write!(f, "after {}", r.at)?;
                if let Some(n) = r.at_least {
                    write!(f, " at least {n}")?;
                }
                if let Some(n) = r.at_most {
                    write!(f, " at most {n}")?;
                }
                write!(f, " replicas")
            }
        }
    }
}

/// Why a scenario can't be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// The file is no scenario.
    #[error("this is no scenario: {0}")]
    Text(String),
    /// The fleet has several workloads and the scenario names none.
    #[error("the fleet has several workloads ({known}); say which one with `workload:`")]
    WhichWorkload {
        /// Those it has.
        known: String,
    },
    /// A scenario that expects nothing can't fail.
    #[error("the scenario expects nothing, so it can't fail; add at least one line under `expect:`")]
    ExpectsNothing,
    /// An expectation that says nothing, or in the wrong unit.
    #[error("the expectation {0}")]
    Expectation(String),
    /// The simulation.
    #[error(transparent)]
    Sim(#[from] SimError),
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioReport {
    /// What it is about.
    pub scenario: String,
    /// Each expectation and whether it was met.
    pub checks: Vec<Check>,
    /// The run, for a closer look.
    pub outcome: Outcome,
}

/// One expectation and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub saw: String,
    /// Whether that is as expected.
    pub met: bool,
}

impl ScenarioReport {
    /// Whether every expectation was met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|c| c.met)
    }
}

/// The counts that were asked for, as far as expectations need them.
struct Counts {
    workload: WorkloadName,
    most: u32,
    least: u32,
    /// The moments asked about, in seconds, and the count from before each.
    at: Vec<(f64, u32)>,
}

impl Observer for Counts {
    fn desired(&mut self, workload: &WorkloadName, seconds: f64, desired: Replicas) {
        if *workload != self.workload {
            return;
        }
        self.most = self.most.max(desired.0);
        self.least = self.least.min(desired.0);
        for (moment, count) in &mut self.at {
            if seconds <= *moment {
                *count = desired.0;
            }
        }
    }
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        serde_saphyr::from_str(text).map_err(|error| ScenarioError::Text(error.to_string()))
    }

    /// Runs it on `fleet`. Traces are looked for relative to `folder`, the scenario's own.
    ///
    /// # Errors
    /// Why it can't be run. An expectation that is not met is no error but in the report.
    pub fn run(&self, fleet: &Arc<Fleet>, folder: &Path) -> Result<ScenarioReport, ScenarioError> {
        if self.expect.is_empty() {
            return Err(ScenarioError::ExpectsNothing);
        }
        self.expect.iter().try_for_each(check)?;
        let workload = match (&self.workload, fleet.workloads().len()) {
            (Some(name), _) => name.clone(),
            (None, 1) => fleet.workloads().keys().next().cloned().ok_or(ScenarioError::ExpectsNothing)?,
            (None, _) => {
                let known = fleet.workloads().keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return Err(ScenarioError::WhichWorkload { known });
            }
        };
        let load = self.load.clone().relative_to(folder);
        // Workloads beside the one that is judged get nothing to do.
        let loads = match fleet.workloads().len() {
            1 => Loads::from(load),
            _ => Loads { all: Load::Constant(0.0), of: BTreeMap::from([(workload.clone(), load)]) },
        };
        let options = SimulateOptions {
            step: self.step,
            seed: self.seed,
            model: self.model.clone(),
            faults: self.faults.clone(),
            people: self.people.clone(),
            length: self.length,
            start: self.start,
            peak_replicas: self.peak_replicas,
            initial: self.initial,
            ..SimulateOptions::default()
        };
        let moments = self.expect.iter().filter_map(|e| match e {
            Expectation::Replicas(r) => Some((r.at.as_secs_f64(), 0)),
            _ => None,
        });
        let mut counts =
            Counts { workload: workload.clone(), most: 0, least: u32::MAX, at: moments.collect() };
        let outcome = run(fleet, &loads, &options, &mut counts)?;
        let score = outcome.headroom().workloads.get(&workload).copied().unwrap_or_default();
        let checks = self.expect.iter().map(|e| e.judge(&score, &counts)).collect();
        Ok(ScenarioReport { scenario: self.scenario.clone(), checks, outcome })
    }
}

fn check(expectation: &Expectation) -> Result<(), ScenarioError> {
    match expectation {
        Expectation::OverObjectiveAtMost(q) | Expectation::BadRequestsAtMost(q) if !q.fits(Unit::Ratio) => {
            Err(ScenarioError::Expectation(format!("`{q}` is no share; write it like 1%")))
        }
        Expectation::Replicas(r) if r.at_least.is_none() && r.at_most.is_none() => {
            Err(ScenarioError::Expectation(
                "`replicas` needs `atLeast` or `atMost`, else it is always met".to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

impl Expectation {
    fn judge(&self, score: &Score, counts: &Counts) -> Check {
        let (saw, met) = match self {
            Self::NeverAbove(n) => (format!("{} at the most", counts.most), counts.most <= n.0),
            Self::NeverBelow(n) => (format!("{} at the least", counts.least), counts.least >= n.0),
            Self::EnoughWithin(span) => match score.slowest_enough_seconds {
                Some(slowest) => (
                    format!("{slowest:.0} s after the slowest of {}", score.surges),
                    slowest <= span.as_secs_f64(),
                ),
                None => ("no surge".to_owned(), false),
            },
            Self::OverObjectiveAtMost(q) => (percent(score.violating()), score.violating() <= q.level.get()),
            Self::BadRequestsAtMost(q) => {
                (percent(score.bad_requests()), score.bad_requests() <= q.level.get())
            }
            Self::ChangesAtMost(n) => (score.changes.to_string(), score.changes <= *n),
            Self::ChangesAtLeast(n) => (score.changes.to_string(), score.changes >= *n),
            Self::FlapsAtMost(n) => (score.flaps.to_string(), score.flaps <= *n),
            Self::ReplicaHoursAtMost(hours) => (figure(score.replica_hours), score.replica_hours <= *hours),
            Self::CostAtMost(cost) => (format!("${}", figure(score.cost)), score.cost <= *cost),
            Self::Replicas(r) => {
                let moment = r.at.as_secs_f64();
                // The moments stand in the order of the expectations; the same moment has the same count.
                let count = counts.at.iter().find(|(at, _)| *at == moment).map_or(0, |(_, n)| *n);
                let met = r.at_least.is_none_or(|n| count >= n.0) && r.at_most.is_none_or(|n| count <= n.0);
                (count.to_string(), met)
            }
        };
        Check { expected: self.to_string(), saw, met }
    }
}
