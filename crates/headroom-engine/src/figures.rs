//! What the engine counts about itself, for those who watch it.
//!
//! Plain numbers that the loop owns, so counting takes no lock in the control path; whoever asks gets a copy. They
//! begin at zero with each start, as counters of a process do. Every map is bounded: by the workloads in force, the
//! catalogue of reasons, the guards, and the sources wired.

use std::collections::BTreeMap;
use std::time::Duration;

use headroom_core::controller::{Measured, Notice, Settled};
use headroom_core::decision::{By, Decision, Outcome};
use headroom_core::fleet::{Fleet, NotifierName};
use headroom_core::names::WorkloadName;
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};

use crate::outbox::NotifierFigures;
use crate::ports::News;
use crate::sources::SourceView;

/// Upper bounds for rounds and commits, seconds: from what an idle round takes to the tick's whole second.
const QUICK: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Upper bounds for actions, seconds: from a local fork to the deadline of an action.
const SLOW: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The longest stretch between two looks that is charged for: a laptop that slept paid for nothing.
const LONGEST_CHARGE: Span = Span::seconds(60);

/// How long something took, as Prometheus counts it.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], sum: 0.0, count: 0 }
    }

    fn take(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(index) = self.bounds.iter().position(|bound| seconds <= *bound) {
            self.counts[index] += 1;
        }
        self.sum += seconds;
        self.count += 1;
    }

    /// Upper bounds in seconds, each with how many took no longer.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds.iter().zip(&self.counts).scan(0, |below, (bound, count)| {
            *below += count;
            Some((*bound, *below))
        })
    }

    /// All of it together, in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// What was counted of one workload.
#[derive(Clone, Debug, Default)]
pub struct WorkloadFigures {
    /// Recorded decisions by outcome and by the code of the reason that decided.
    pub decisions: BTreeMap<(&'static str, &'static str), u64>,
    /// Recorded decisions that a guard moved or refused, by guard.
    pub guards: BTreeMap<&'static str, u64>,
    /// Actions by how they ended: `done`, `failed`, `advised`.
    pub actions: BTreeMap<&'static str, u64>,
    /// Notices by code.
    pub notices: BTreeMap<String, u64>,
    /// What its replicas cost so far, in dollars; `None` where a replica's price is not known.
    pub spent: Option<f64>,
    /// Until when `spent` was reckoned.
    charged: Option<Timestamp>,
}

/// What was heard of one source.
#[derive(Clone, Debug, Default)]
pub struct SourceFigures {
    /// Values it gave.
    pub values: u64,
    /// Values it said it could not give because of a fault.
    pub faults: u64,
    /// When it was heard last.
    pub heard_at: Option<Timestamp>,
}

/// What the engine counted since its start.
#[derive(Clone, Debug)]
pub struct Figures {
    /// By workload.
    pub workloads: BTreeMap<WorkloadName, WorkloadFigures>,
    /// By source.
    pub sources: BTreeMap<String, SourceFigures>,
    /// Which sources can be read as a whole.
    pub health: Vec<SourceView>,
    /// By notifier.
    pub notifiers: BTreeMap<NotifierName, NotifierFigures>,
    /// How long rounds took: controller and journal together.
    pub rounds: Histogram,
    /// How long the journal took for a commit.
    pub commits: Histogram,
    /// Commits that failed.
    pub commit_failures: u64,
    /// How long targets took to take an order.
    pub actions: Histogram,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            workloads: BTreeMap::new(),
            sources: BTreeMap::new(),
            health: Vec::new(),
            notifiers: BTreeMap::new(),
            rounds: Histogram::new(QUICK),
            commits: Histogram::new(QUICK),
            commit_failures: 0,
            actions: Histogram::new(SLOW),
        }
    }
}

/// An outcome's name in figures: the one it has in the journal.
#[must_use]
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Act => "act",
        Outcome::Keep => "keep",
        Outcome::Held => "held",
        Outcome::Rejected => "rejected",
    }
}

/// A guard's name in figures: the one it has in the journal; `None` for who is no guard.
#[must_use]
pub fn guard_name(by: By) -> Option<&'static str> {
    match by {
        By::Strategies | By::Waiting | By::Person => None,
        By::Settled => Some("settled"),
        By::Absence => Some("absence"),
        By::Stabilise => Some("stabilise"),
        By::Step => Some("step"),
        By::Cooldown => Some("cooldown"),
        By::Bounds => Some("bounds"),
        By::Share => Some("share"),
        By::RateLimit => Some("rateLimit"),
        By::GradualSteps => Some("gradualSteps"),
        By::Safety => Some("safety"),
        By::QuietHours => Some("quietHours"),
        By::Flapping => Some("flapping"),
        By::Watch => Some("watch"),
        By::Approval => Some("approval"),
        By::Freeze => Some("freeze"),
        By::Breaker => Some("breaker"),
        By::Inspect => Some("inspect"),
    }
}

/// The guards that moved or refused a decision's number, each once, with the reason's code.
pub fn guards_bound(decision: &Decision) -> BTreeMap<&'static str, &'static str> {
    let steps = decision.steps.iter().map(|step| (step.by, &step.why));
    let refusal = decision.refusal.iter().map(|refusal| (refusal.by, &refusal.why));
    steps.chain(refusal).filter_map(|(by, why)| Some((guard_name(by)?, why.code()))).collect()
}

impl Figures {
    fn of(&mut self, workload: &WorkloadName) -> &mut WorkloadFigures {
        self.workloads.entry(workload.clone()).or_default()
    }

    /// Forgets the workloads that a policy does not have.
    pub(crate) fn fit(&mut self, fleet: &Fleet) {
        self.workloads.retain(|name, _| fleet.workload(name).is_some());
    }

    pub(crate) fn heard(&mut self, source: &str, news: &News, at: Timestamp) {
        if !self.sources.contains_key(source) {
            self.sources.insert(source.to_owned(), SourceFigures::default());
        }
        let Some(figures) = self.sources.get_mut(source) else { return };
        figures.heard_at = Some(at);
        let News::Samples(samples) = news else { return };
        for Measured { value, .. } in samples {
            match value {
                Ok(_) => figures.values += 1,
                Err(Absence::Idle | Absence::NoReplica) => {}
                Err(_) => figures.faults += 1,
            }
        }
    }

    pub(crate) fn decided(&mut self, decision: &Decision) {
        let reason = decision.main_reason().map_or("none", |reason| reason.code());
        let figures = self.of(&decision.id.workload);
        *figures.decisions.entry((outcome_name(decision.outcome), reason)).or_default() += 1;
        for guard in guards_bound(decision).into_keys() {
            *figures.guards.entry(guard).or_default() += 1;
        }
    }

    pub(crate) fn noticed(&mut self, notice: &Notice) {
        *self.of(&notice.workload).notices.entry(notice.code.clone()).or_default() += 1;
    }

    pub(crate) fn settled(&mut self, workload: &WorkloadName, outcome: &Settled, took: Span) {
        let ended = match outcome {
            Settled::Done(_) => "done",
            Settled::Failed(_) => "failed",
            Settled::Advised => "advised",
        };
        if !matches!(outcome, Settled::Advised) {
            self.actions.take(Duration::from_millis(took.as_millis()));
        }
        *self.of(workload).actions.entry(ended).or_default() += 1;
    }

    pub(crate) fn round(&mut self, took: Duration) {
        self.rounds.take(took);
    }

    pub(crate) fn committed(&mut self, took: Duration, done: bool) {
        self.commits.take(took);
        self.commit_failures += u64::from(!done);
    }

    /// Charges for the time since the last charge at `per_hour` millionths of a dollar.
    pub(crate) fn charge(&mut self, workload: &WorkloadName, per_hour: u64, at: Timestamp) {
        let figures = self.of(workload);
        let lasted = figures.charged.map_or(Span::ZERO, |then| at.since(then)).min(LONGEST_CHARGE);
        #[expect(clippy::cast_precision_loss, reason = "a price is far below 2^53 millionths")]
        let dollars = per_hour as f64 / 1e6 * lasted.as_secs_f64() / 3600.0;
        *figures.spent.get_or_insert_default() += dollars;
        figures.charged = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_bound_with_all_below_it() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for millis in [0, 100, 101, 1000, 5000] {
            histogram.take(Duration::from_millis(millis));
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(0.1, 2), (1.0, 4)]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 6.201).abs() < 1e-9);
    }

    /// A machine that slept is not charged for the night.
    #[test]
    fn money_runs_with_time_and_a_gap_costs_a_minute_at_the_most() {
        let web: WorkloadName = "web".parse().unwrap();
        let mut figures = Figures::default();
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        for second in [0, 1, 2, 40_000] {
            figures.charge(&web, 3_600_000, at(second));
        }
        let spent = figures.workloads[&web].spent.unwrap();
        assert!((spent - 0.062).abs() < 1e-9, "{spent}");
        figures.charge(&web, 3_600_000, at(0));
        assert!(figures.workloads[&web].spent.unwrap() >= spent, "a clock set back takes nothing back");
    }
}
