//! Strategies: signals in, a recommendation out.
//!
//! One file each: settings, their check, the rule and its tests stand together, so whoever reads one needs no
//! second file. A strategy keeps no state; what it needs of the past it asks the [`Context`]. A strategy that
//! lacks its signal abstains and says so. To add one: its file, a variant and an arm here, an example, a
//! changelog line.

pub mod adaptive;
pub mod adjust;
pub mod alarm;
mod any_all;
mod doubling;
pub mod dual_window;
mod expression;
mod fast_steps;
mod fixed;
pub mod hpa;
pub mod objective;
pub mod pass_through;
mod phases;
pub mod predictive;
mod pressure;
pub mod queue;
mod read_replicas;
pub mod schedule;
mod score;
pub mod target_tracking;
mod threshold;
mod traffic_pattern;
pub mod watermark;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adaptive::Adaptive;
pub use alarm::{Alarm, AlarmStep};
pub use any_all::{AnyAll, Condition};
pub use doubling::Doubling;
pub use dual_window::DualWindow;
pub use expression::Expression;
pub use fast_steps::{FastSteps, StepAt};
pub use fixed::Fixed;
pub use hpa::{Hpa, HpaMetric, HpaTarget};
pub use objective::Objective;
pub use pass_through::PassThrough;
pub use phases::{Phase, Phases};
pub use predictive::{ActBeyond, Predictive, PredictiveMode};
pub use pressure::{Pressure, Ratio};
pub use queue::{DrainWithin, Queue};
pub use read_replicas::ReadReplicas;
pub use schedule::{Dated, Entry, Schedule};
pub use score::{Figure, Score};
pub use target_tracking::TargetTracking;
pub use threshold::Threshold;
pub use traffic_pattern::{LoadClass, TrafficPattern};
pub use watermark::Watermark;

use crate::capacity::Learning;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::memory::Memory;
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Replicas, Span, Timestamp};

/// A strategy of a workload, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// Grow over one limit, shrink under another (A1).
    Threshold(Threshold),
    /// Keep a signal at a target (A3).
    TargetTracking(TargetTracking),
    /// Several metrics at once, as the Horizontal Pod Autoscaler reckons (A4).
    Hpa(Hpa),
    /// Grow if any condition holds, shrink only if all do (A7).
    AnyAll(AnyAll),
    /// Steps that grow with the breach, for a reaction within seconds (C1).
    FastSteps(FastSteps),
    /// A long window for calm, a short one for a surge, as the Knative pod autoscaler reckons.
    DualWindow(DualWindow),
    /// Counts, floors or ceilings by the calendar (A10, A11).
    Schedule(Schedule),
    /// Load by the time of day (A2).
    TrafficPattern(TrafficPattern),
    /// Queue workers, by backlog and by the time to work it off (A26).
    Queue(Queue),
    /// A band of two watermarks instead of one target.
    Watermark(Watermark),
    /// An alarm with a simple, percent, exact or step adjustment (A13).
    Alarm(Alarm),
    /// A count that something else has reckoned.
    PassThrough(PassThrough),
    /// Always the same count.
    Fixed(Fixed),
    /// A want as a formula over signals.
    Expression(Expression),
    /// Several figures weighed into one urgency (A16).
    Score(Score),
    /// Thresholds learned from the workload's own past (A17).
    Adaptive(Adaptive),
    /// The longer and the hotter, the larger the step (A20).
    Phases(Phases),
    /// Read replicas of a database (A24).
    ReadReplicas(ReadReplicas),
    /// The worst of several ratios moves the count (A35).
    Pressure(Pressure),
    /// Twice as many above one limit, half as many below another (B9).
    Doubling(Doubling),
    /// The forecast of a load, where it has proved itself (A8, A9).
    Predictive(Predictive),
    /// What must hold, at the least price; the default where a policy names no strategy.
    Objective(Objective),
}

/// The kinds of strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StrategyKind {
    /// See [`Threshold`].
    Threshold,
    /// See [`TargetTracking`].
    TargetTracking,
    /// See [`Hpa`].
    Hpa,
    /// See [`AnyAll`].
    AnyAll,
    /// See [`FastSteps`].
    FastSteps,
    /// See [`DualWindow`].
    DualWindow,
    /// See [`Schedule`].
    Schedule,
    /// See [`TrafficPattern`].
    TrafficPattern,
    /// See [`Queue`].
    Queue,
    /// See [`Watermark`].
    Watermark,
    /// See [`Alarm`].
    Alarm,
    /// See [`PassThrough`].
    PassThrough,
    /// See [`Fixed`].
    Fixed,
    /// See [`Expression`].
    Expression,
    /// See [`Score`].
    Score,
    /// See [`Adaptive`].
    Adaptive,
    /// See [`Phases`].
    Phases,
    /// See [`ReadReplicas`].
    ReadReplicas,
    /// See [`Pressure`].
    Pressure,
    /// See [`Doubling`].
    Doubling,
    /// See [`Predictive`].
    Predictive,
    /// See [`Objective`].
    Objective,
}

impl StrategyKind {
    /// The name in policies, decisions and documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::TargetTracking => "targetTracking",
            Self::Hpa => "hpa",
            Self::AnyAll => "anyAll",
            Self::FastSteps => "fastSteps",
            Self::DualWindow => "dualWindow",
            Self::Schedule => "schedule",
            Self::TrafficPattern => "trafficPattern",
            Self::Queue => "queue",
            Self::Watermark => "watermark",
            Self::Alarm => "alarm",
            Self::PassThrough => "passThrough",
            Self::Fixed => "fixed",
            Self::Expression => "expression",
            Self::Score => "score",
            Self::Adaptive => "adaptive",
            Self::Phases => "phases",
            Self::ReadReplicas => "readReplicas",
            Self::Pressure => "pressure",
            Self::Doubling => "doubling",
            Self::Predictive => "predictive",
            Self::Objective => "objective",
        }
    }
}

/// What every strategy can do.
pub(crate) trait Recommend {
    /// What the strategy says of the present.
    fn recommend(&self, cx: &Context<'_>) -> Advice;
    /// Adds what is wrong with the settings.
    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>);
    /// Adds how much of `signal`'s past the strategy asks about; nothing for only its last value.
    fn windows(&self, _signal: &SignalName, _windows: &mut Vec<Span>) {}
    /// Adds the signals without which the strategy can't judge.
    fn needs(&self, _signals: &mut Vec<SignalName>) {}
    /// What the capacity of one replica is to be learned from, where the strategy reckons with one.
    fn learns(&self, _workload: &Workload) -> Option<Learning> {
        None
    }
    /// The highest load within the next `within`, in replicas that it takes, where the strategy can foresee it.
    fn foresees(&self, _cx: &Context<'_>, _within: Span) -> Option<Level> {
        None
    }
    /// The signal whose long-range forecast the strategy reckons with, if it does.
    fn forecasts<'a>(&'a self, _workload: &'a Workload) -> Option<&'a SignalName> {
        None
    }
    /// What the strategy is to remember of the present, where the signals' past is not enough.
    fn remember(&self, _cx: &Context<'_>) -> Option<StrategyMemory> {
        None
    }
    /// Whether the strategy follows what is measured, before it is asked.
    fn watches(&self) -> bool {
        false
    }
    /// Takes in what a moment shows, before the strategy is asked. What it remembers is changed in place: a learned
    /// load is too large to be copied at every look.
    fn watch(&self, _watch: &Watch<'_>, _own: &mut StrategyMemory) {}
    /// Whether `memory` is of this strategy.
    fn remembers_as(&self, _memory: &StrategyMemory) -> bool {
        false
    }
}

/// A moment, as a strategy that watches sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a> {
    /// When.
    pub(crate) at: Timestamp,
    /// The policy.
    pub(crate) workload: &'a Workload,
    /// The past. What the strategies remember is not in it while one of them watches.
    pub(crate) memory: &'a Memory,
    /// Which of the workload's strategies watches.
    pub(crate) strategy: usize,
}

/// What a strategy remembers beyond the signals' past. Each kind is bounded; the controller keeps it with the rest
/// of the [`crate::memory::Memory`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StrategyMemory {
    /// Nothing.
    #[default]
    Nothing,
    /// Of a [`DualWindow`].
    DualWindow(dual_window::Panic),
    /// Of a [`Schedule`].
    Schedule(schedule::Page),
    /// Of a [`Alarm`].
    Alarm(alarm::AlarmState),
    /// Of a [`Adaptive`].
    Adaptive(adaptive::Past),
    /// Of an [`Objective`].
    Objective(Box<objective::Course>),
}

impl Strategy {
    /// Which kind it is.
    #[must_use]
    pub fn kind_of(&self) -> StrategyKind {
        match self {
            Self::Threshold(_) => StrategyKind::Threshold,
            Self::TargetTracking(_) => StrategyKind::TargetTracking,
            Self::Hpa(_) => StrategyKind::Hpa,
            Self::AnyAll(_) => StrategyKind::AnyAll,
            Self::FastSteps(_) => StrategyKind::FastSteps,
            Self::DualWindow(_) => StrategyKind::DualWindow,
            Self::Schedule(_) => StrategyKind::Schedule,
            Self::TrafficPattern(_) => StrategyKind::TrafficPattern,
            Self::Queue(_) => StrategyKind::Queue,
            Self::Watermark(_) => StrategyKind::Watermark,
            Self::Alarm(_) => StrategyKind::Alarm,
            Self::PassThrough(_) => StrategyKind::PassThrough,
            Self::Fixed(_) => StrategyKind::Fixed,
            Self::Expression(_) => StrategyKind::Expression,
            Self::Score(_) => StrategyKind::Score,
            Self::Adaptive(_) => StrategyKind::Adaptive,
            Self::Phases(_) => StrategyKind::Phases,
            Self::ReadReplicas(_) => StrategyKind::ReadReplicas,
            Self::Pressure(_) => StrategyKind::Pressure,
            Self::Doubling(_) => StrategyKind::Doubling,
            Self::Predictive(_) => StrategyKind::Predictive,
            Self::Objective(_) => StrategyKind::Objective,
        }
    }

    /// The name of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind_of().name()
    }

    fn rule(&self) -> &dyn Recommend {
        match self {
            Self::Threshold(s) => s,
            Self::TargetTracking(s) => s,
            Self::Hpa(s) => s,
            Self::AnyAll(s) => s,
            Self::FastSteps(s) => s,
            Self::DualWindow(s) => s,
            Self::Schedule(s) => s,
            Self::TrafficPattern(s) => s,
            Self::Queue(s) => s,
            Self::Watermark(s) => s,
            Self::Alarm(s) => s,
            Self::PassThrough(s) => s,
            Self::Fixed(s) => s,
            Self::Expression(s) => s,
            Self::Score(s) => s,
            Self::Adaptive(s) => s,
            Self::Phases(s) => s,
            Self::ReadReplicas(s) => s,
            Self::Pressure(s) => s,
            Self::Doubling(s) => s,
            Self::Predictive(s) => s,
            Self::Objective(s) => s,
        }
    }

    pub(crate) fn recommend(&self, cx: &Context<'_>) -> Advice {
        self.rule().recommend(cx)
    }

    pub(crate) fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        self.rule().check(workload, at, problems);
    }

    pub(crate) fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        self.rule().windows(signal, windows);
    }

    pub(crate) fn needs(&self, signals: &mut Vec<SignalName>) {
        self.rule().needs(signals);
    }

    pub(crate) fn foresees(&self, cx: &Context<'_>, within: Span) -> Option<Level> {
        self.rule().foresees(cx, within)
    }

    pub(crate) fn learns(&self, workload: &Workload) -> Option<Learning> {
        self.rule().learns(workload)
    }

    pub(crate) fn forecasts<'a>(&'a self, workload: &'a Workload) -> Option<&'a SignalName> {
        self.rule().forecasts(workload)
    }

    pub(crate) fn remember(&self, cx: &Context<'_>) -> Option<StrategyMemory> {
        self.rule().remember(cx)
    }

    pub(crate) fn watches(&self) -> bool {
        self.rule().watches()
    }

    pub(crate) fn watch(&self, watch: &Watch<'_>, own: &mut StrategyMemory) {
        self.rule().watch(watch, own);
    }

    pub(crate) fn remembers_as(&self, memory: &StrategyMemory) -> bool {
        self.rule().remembers_as(memory)
    }
}

/// A signal's value as one ready replica carries it, or why there is none.
fn look(cx: &Context<'_>, signal: &SignalName) -> Result<Seen, Reason> {
    let sample = cx.fresh(signal)?;
    let value = cx.per_replica(signal, sample).ok_or(Reason::NoReadyReplica)?;
    Ok(Seen { value, ..cx.seen(signal, sample) })
}

/// The want, or the present count while the workload is left alone after a change.
fn after_cooldown(cx: &Context<'_>, want: Replicas, why: Reason, cooldown: Span) -> Advice {
    match cx.pause_until(None, cooldown) {
        Some(until) if want != cx.current() => {
            Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want })
        }
        Some(_) | None => Advice::wants(want, why),
    }
}

/// What a strategy with a band says inside it: content with what there is, and with as few as bring `value` to
/// `target`; never more than there is, for inside its band it asks for nothing.
fn content(cx: &Context<'_>, value: crate::units::Level, target: crate::units::Level, why: Reason) -> Advice {
    // Without a ready replica the value is of none, and says nothing of fewer.
    let least = match cx.ready() {
        Replicas::ZERO => cx.current(),
        ready => Replicas::ceil(ready.as_f64() * value.get() / target.get()).min(cx.current()),
    };
    Advice::Content { replicas: least, why }
}

/// Whether a value's ratio to its target is near enough to 1 that nothing changes. The edge itself is near enough
/// (as in the HPA), and the residue of a division does not decide it.
fn is_within(ratio: f64, tolerance: crate::units::Level) -> bool {
    (ratio - 1.0).abs() <= tolerance.get() + 1e-9
}

/// A quantity must be written in the unit of the signal it is compared with.
pub(crate) fn check_unit(
    quantity: &crate::units::Quantity,
    signal: &crate::fleet::Signal,
    at: &Path,
    problems: &mut Vec<Problem>,
) {
    let unit = signal.unit();
    if !quantity.fits(unit) {
        problems.push(
            Problem::new(at.clone(), format!("{quantity} is not in the unit of the signal"))
                .help(format!("write it like {}", unit.example())),
        );
    }
}

/// A tolerance is a share, written with its unit. Above the whole of the target would never act.
pub(crate) fn check_tolerance(quantity: &crate::units::Quantity, at: &Path, problems: &mut Vec<Problem>) {
    if quantity.level.get() > 10.0 || !quantity.fits(crate::units::Unit::Ratio) {
        problems.push(Problem::new(at.clone(), "a tolerance is a share, such as 10%"));
    }
}

/// A share is written with its unit and is at most the whole.
fn check_share(quantity: &crate::units::Quantity, at: &Path, problems: &mut Vec<Problem>) {
    if quantity.level.get() > 1.0 || !quantity.fits(crate::units::Unit::Ratio) {
        problems.push(Problem::new(at.clone(), "a share is at most 100%, such as 70%"));
    }
}

/// What is divided by must not be zero.
fn check_positive(quantity: &crate::units::Quantity, at: &Path, problems: &mut Vec<Problem>) {
    if quantity.level.get() <= 0.0 {
        problems.push(Problem::new(at.clone(), "must be above 0"));
    }
}

#[cfg(test)]
mod harness;
#[cfg(test)]
pub(crate) mod testing;
