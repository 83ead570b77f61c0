//! Memory: what a workload's past must not be forgotten.
//!
//! Cooldowns, stabilisation windows, rate limits and measured start-up times are questions about the past.
//! Strategies and guards keep no state of their own; they ask this memory. It changes only inside the
//! controller, as a function of the inputs, and every input is in the journal: folding the journal's inputs
//! gives back the very same memory, so a restart continues where the last tick stood. Everything in it has a
//! bound.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::ActionRecord;
use crate::capacity::{Capacities, Capacity};
use crate::decision::{Decision, DecisionId};
use crate::extremes::Extremes;
use crate::fleet::{ForecastSettings, Workload};
use crate::guard::watch::{Undone, Verdict, Watched};
use crate::names::SignalName;
use crate::observation::TargetStatus;
use crate::outlook::{NearForecast, Outlook};
use crate::reading::{Absence, Sample};
use crate::series::Series;
use crate::start_up::{Drains, StartUps};
use crate::strategy::{Strategy, StrategyMemory};
use crate::together::Ask;
use crate::units::{Replicas, Span, Timestamp};
use crate::warm::Asked;

/// Changes remembered at the most, however many happen within [`CHANGES_FOR`]: twice an hour's worth of one
/// change a second would be a controller gone mad; the rate limiter counts to far less.
const MAX_CHANGES: usize = 512;
/// How long changes are remembered (B14: history of 24 h).
pub const CHANGES_FOR: Span = Span::hours(24);
/// How long a look at a target may be believed. Looks come every second; ten missed ones are no view.
pub const LOOK_FRESH_FOR: Span = Span::seconds(10);
/// How long "requests are waiting" is believed without being said again.
pub const WAITING_FRESH_FOR: Span = Span::seconds(5);
/// What is remembered of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    pub(crate) signals: Vec<SignalMemory>,
    pub(crate) status: Option<(Timestamp, TargetStatus)>,
    pub(crate) look_error: Option<String>,
    pub(crate) highest: Extremes,
    pub(crate) lowest: Extremes,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) in_flight: Option<ActionRecord>,
    /// What was under way when the controller died, until a look shows whether it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unsettled: Option<ActionRecord>,
    pub(crate) failure: Option<Failure>,
    pub(crate) start_ups: StartUps,
    #[serde(default, skip_serializing_if = "Drains::is_empty")]
    pub(crate) drains: Drains,
    /// What one replica carries.
    #[serde(default, skip_serializing_if = "Capacities::is_empty")]
    pub(crate) capacities: Capacities,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warm_asked: Option<Asked>,
    pub(crate) freeze: Option<Freeze>,
    pub(crate) waiting: Option<(Timestamp, u32)>,
    pub(crate) applied: Option<AppliedPlan>,
    /// The count that was held before a restart, until the target is seen again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) believed: Option<Replicas>,
    /// The change that waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<Pending>,
    /// What a person said about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    /// The change that is being watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watched: Option<Watched>,
    /// What came of one, until the next decision tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Verdict>,
    /// A shrink that was undone and is not to be repeated yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undone: Option<Undone>,
    /// What it last said of the room it needs, where it shares something with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ask: Option<Ask>,
    /// What strategies remember beyond the signals' past, in the order of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) strategies: Vec<StrategyMemory>,
    pub(crate) decisions: u64,
    pub(crate) last_recorded: Option<Decision>,
    pub(crate) latest: Option<Decision>,
}

/// What is remembered of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignalMemory {
    pub(crate) name: SignalName,
    pub(crate) last: Option<Sample>,
    pub(crate) absence: Option<Absence>,
    /// Its past, once for each length of window that strategies ask about; shortest first.
    pub(crate) series: Vec<Series>,
    /// Its long-range forecast, where the policy asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outlook: Option<Box<Outlook>>,
}

/// A window this many times shorter than another gets a series of its own: buckets are a fixed part of a window, so
/// "the last six seconds" can't be read from a day's series.
const OWN_SERIES: u64 = 4;

/// The lengths of window under which the past of `signal` is remembered, shortest first.
fn windows(workload: &Workload, signal: &SignalName) -> Vec<Span> {
    let mut asked = Vec::new();
    for strategy in &workload.strategies {
        strategy.windows(signal, &mut asked);
    }
    asked.sort_unstable_by_key(|window| std::cmp::Reverse(*window));
    let mut kept: Vec<Span> = Vec::new();
    for window in asked {
        if kept.last().is_none_or(|longer| window.times(OWN_SERIES) < *longer) {
            kept.push(window);
        }
    }
    kept.reverse();
    kept
}

/// Whether the policy wants `signal` to be forecast.
fn foresees(workload: &Workload, signal: &SignalName) -> bool {
    workload.signals.get(signal).is_some_and(|s| s.forecast.is_some())
        || workload.strategies.iter().any(|s| s.forecasts(workload) == Some(signal))
}

impl SignalMemory {
    /// Takes in the signal's news at `now`: a value, or why there is none. One that is older than the last comes late, and is
    /// of the past; but a last value that lies ahead is of a clock that has been set back.
    pub(crate) fn take_in(&mut self, news: Result<Sample, Absence>, now: Timestamp) {
        match news {
            Ok(sample) => {
                for series in &mut self.series {
                    series.push(sample.at, sample.value);
                }
                if let Some(outlook) = &mut self.outlook {
                    outlook.take_in(sample.at, sample.value);
                }
                self.absence = None;
                if self.last.as_ref().is_none_or(|last| sample.at >= last.at || last.at > now) {
                    self.last = Some(sample);
                }
            }
            Err(absence) => self.absence = Some(absence),
        }
    }

    /// The series that holds `window` in the finest buckets.
    pub(crate) fn series(&self, window: Span) -> Option<&Series> {
        self.series.iter().find(|series| series.window() >= window)
    }
}

/// A change of a workload's count that the target took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The count before.
    pub from: Replicas,
    /// The count after.
    pub to: Replicas,
}

/// An action that failed, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    /// `None`: it did not fail, it was only said.
    pub(crate) error: Option<String>,
    pub(crate) until: Timestamp,
    pub(crate) in_a_row: u32,
}

/// A person's word that a workload is to be left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// Until when; `None` until it is thawed.
    pub until: Option<Timestamp>,
    /// Who said so.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A count a person asked for by applying a plan: done once, if the world is still the one the plan saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedPlan {
    /// The count the plan saw.
    pub saw: Replicas,
    /// The count it asks for.
    pub to: Replicas,
    /// Who applied it.
    pub by: String,
    /// After this moment it is void.
    pub until: Timestamp,
}

/// A change that waits for a person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// The decision that asked; `headroom approve` takes this.
    pub decision: DecisionId,
    /// The count there is.
    pub from: Replicas,
    /// The count that is wanted.
    pub to: Replicas,
    /// Since when it waits.
    pub at: Timestamp,
    /// After this moment it is asked for anew, if it is still wanted.
    pub until: Timestamp,
}

/// A person's word on a change that waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Whether it may be made.
    pub approved: bool,
    /// The count there was.
    pub from: Replicas,
    /// The count that was asked for.
    pub to: Replicas,
    /// Who said so.
    pub by: String,
    /// Why.
    pub why: String,
    /// Until when it holds.
    pub until: Timestamp,
}

impl Answer {
    /// Whether it speaks of a change from one count to another: an approval of changes that go no further than what was
    /// asked for, a refusal of every change of that direction.
    #[must_use]
    pub fn covers(&self, from: Replicas, to: Replicas) -> bool {
        let same_direction = (to > from) == (self.to > self.from);
        let no_further = if self.to > self.from { to <= self.to } else { to >= self.to };
        same_direction && (no_further || !self.approved)
    }
}

impl Memory {
    /// An empty memory for a workload.
    #[must_use]
    pub fn new(workload: &Workload) -> Self {
        let mut memory = Self {
            signals: Vec::new(),
            status: None,
            look_error: None,
            highest: Extremes::highest(Span::ZERO),
            lowest: Extremes::lowest(Span::ZERO),
            changes: VecDeque::new(),
            in_flight: None,
            unsettled: None,
            failure: None,
            start_ups: StartUps::default(),
            drains: Drains::default(),
            capacities: Capacities::default(),
            warm_asked: None,
            freeze: None,
            waiting: None,
            applied: None,
            believed: None,
            ask: None,
            pending: None,
            answer: None,
            watched: None,
            verdict: None,
            undone: None,
            strategies: Vec::new(),
            decisions: 0,
            last_recorded: None,
            latest: None,
        };
        memory.fit(workload);
        memory
    }

    /// Forgets the signals whose unit is another in `now` than `before`, and what was learned of them: their past is of
    /// something else.
    pub(crate) fn forget_other_units(&mut self, before: &Workload, now: &Workload) {
        let unit = |of: &Workload, name: &SignalName| {
            of.signals.get(name).map(|signal| (signal.unit(), signal.scope()))
        };
        let known = self.signals.len();
        self.signals.retain(|s| unit(before, &s.name) == unit(now, &s.name));
        if self.signals.len() < known {
            self.strategies = Vec::new();
            self.capacities = Capacities::default();
        }
    }

    /// Makes room for what a (new) policy needs and keeps what is still of use.
    pub fn fit(&mut self, workload: &Workload) {
        let mut old = std::mem::take(&mut self.signals);
        for (name, signal) in &workload.signals {
            let mut kept =
                old.iter().position(|s| s.name == *name).map(|i| old.swap_remove(i)).unwrap_or_else(|| {
                    SignalMemory {
                        name: name.clone(),
                        last: None,
                        absence: None,
                        series: Vec::new(),
                        outlook: None,
                    }
                });
            let mut old = std::mem::take(&mut kept.series);
            for window in windows(workload, name) {
                let same = old.iter().position(|series| series.window() == window);
                let series = same.map(|i| old.swap_remove(i));
                kept.series.push(series.unwrap_or_else(|| Series::new(window, signal.fresh_for)));
            }
            if foresees(workload, name) {
                let events = signal.forecast.as_ref().map(ForecastSettings::events).unwrap_or_default();
                kept.outlook.get_or_insert_default().set_events(events);
            } else {
                kept.outlook = None;
            }
            self.signals.push(kept);
        }
        // A strategy that is still at its place keeps what it remembers; any other starts anew.
        let remembers = |s: &StrategyMemory| !matches!(s, StrategyMemory::Nothing);
        let keep = |(index, strategy): (usize, &Strategy)| {
            let old = self.strategies.get(index).filter(|old| strategy.remembers_as(old));
            old.cloned().unwrap_or_default()
        };
        let strategies: Vec<_> = workload.strategies.iter().enumerate().map(keep).collect();
        self.strategies = if strategies.iter().any(remembers) { strategies } else { Vec::new() };
        self.capacities.fit(workload);
        self.highest.resize(workload.down_window());
        self.lowest.resize(workload.behavior.up_window());
    }

    pub(crate) fn signal_mut(&mut self, name: &SignalName) -> Option<&mut SignalMemory> {
        self.signals.iter_mut().find(|s| s.name == *name)
    }

    pub(crate) fn signal(&self, name: &SignalName) -> Option<&SignalMemory> {
        self.signals.iter().find(|s| s.name == *name)
    }

    /// Takes in what the strategies together recommend, for the stabilisation windows.
    pub(crate) fn recommended(&mut self, at: Timestamp, present: Replicas, count: Replicas) {
        // As the HPA does: before any recommendation is known, the present count stands for the unknown past,
        // so the first move after a start is never down.
        if self.highest.is_empty() {
            self.highest.push(at, present);
            self.lowest.push(at, present);
        }
        self.highest.push(at, count);
        self.lowest.push(at, count);
    }

    /// Brings what seems to lie ahead back to the present: the clock was set back. Else a pause after a change
    /// would last as long as the clock was wrong, and a lost action would be waited for as long.
    pub(crate) fn correct_clock(&mut self, at: Timestamp, longest_pause: Span) {
        for change in self.changes.iter_mut().rev().take_while(|c| c.at > at) {
            change.at = at;
        }
        if let Some(action) = self.in_flight.as_mut().filter(|a| a.at > at) {
            action.at = at;
        }
        let latest = at.plus(longest_pause);
        if let Some(failure) = self.failure.as_mut().filter(|f| f.until > latest) {
            failure.until = latest;
        }
        for moment in
            self.watched.iter_mut().flat_map(|w| [Some(&mut w.at), w.unwell_since.as_mut()]).flatten()
        {
            *moment = (*moment).min(at);
        }
        if let Some((said, _)) = self.waiting.as_mut().filter(|(said, _)| *said > at) {
            *said = at;
        }
    }

    /// Takes in a change that the target took.
    pub(crate) fn changed(&mut self, change: Change) {
        while self.changes.len() >= MAX_CHANGES
            || self.changes.front().is_some_and(|c| change.at.since(c.at) > CHANGES_FOR)
        {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// The changes of the last 24 h, newest first.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().rev()
    }

    /// The measured start-up times.
    #[must_use]
    pub fn start_ups(&self) -> &StartUps {
        &self.start_ups
    }

    /// The measured drain times.
    #[must_use]
    pub fn drains(&self) -> &Drains {
        &self.drains
    }

    /// What one replica of `workload`, whose memory this is, carries, for the first strategy that reckons with it.
    #[must_use]
    pub fn capacity(&self, workload: &Workload) -> Option<Capacity> {
        self.capacities.first(workload)
    }

    /// The freeze in force at `at`, if there is one.
    #[must_use]
    pub fn freeze(&self, at: Timestamp) -> Option<&Freeze> {
        self.freeze.as_ref().filter(|f| f.until.is_none_or(|until| at < until))
    }

    /// The change that waits for a person at `at`.
    #[must_use]
    pub fn pending(&self, at: Timestamp) -> Option<&Pending> {
        self.pending.as_ref().filter(|pending| at < pending.until)
    }

    /// A person's word that holds at `at`.
    #[must_use]
    pub fn answer(&self, at: Timestamp) -> Option<&Answer> {
        self.answer.as_ref().filter(|answer| at < answer.until)
    }

    /// The change that is being watched, where the policy asks for that.
    #[must_use]
    pub fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }

    /// The last decision, recorded or not.
    #[must_use]
    pub fn latest(&self) -> Option<&Decision> {
        self.latest.as_ref()
    }

    /// The count there is, an action under way included; `None` while the target was never seen.
    #[must_use]
    pub fn present(&self) -> Option<Replicas> {
        let seen = self.status.as_ref().map(|(_, status)| status.wanted);
        self.in_flight.as_ref().map(|action| action.to).or(seen)
    }

    /// The most replicas there may be now: asked for, under way, running or on their way out. `None` while nothing
    /// is known, which is not zero.
    #[must_use]
    pub fn held(&self) -> Option<Replicas> {
        let seen = self.status.as_ref().map(|(_, s)| {
            let running = s.ready.plus(s.starting.0).plus(s.draining.0).plus(s.failed.0);
            running.max(s.wanted)
        });
        let under_way = self.in_flight.as_ref().map(|action| action.to.max(action.saw));
        seen.max(under_way).max(self.believed)
    }

    /// The last look at the target that succeeded, and when it was.
    #[must_use]
    pub fn status(&self) -> Option<&(Timestamp, TargetStatus)> {
        self.status.as_ref()
    }

    /// The signals that are forecast, with what is foreseen.
    pub fn outlooks(&self) -> impl Iterator<Item = (&SignalName, &Outlook)> {
        self.signals.iter().filter_map(|s| Some((&s.name, s.outlook.as_deref()?)))
    }

    /// How the forecasts have done that objectives act on, in the order of the policy.
    pub fn near_forecasts<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = NearForecast> + 'a {
        workload.strategies.iter().zip(&self.strategies).filter_map(|pair| match pair {
            (Strategy::Objective(objective), StrategyMemory::Objective(course)) if objective.foresee => {
                let signal = objective.demand(workload)?;
                let unit = workload.signals.get(signal)?.unit();
                Some(NearForecast::new(signal, unit, &course.standing()?))
            }
            _ => None,
        })
    }

    /// How many requests wait at the balancer, where that was said within the last seconds.
    #[must_use]
    pub fn waiting(&self, at: Timestamp) -> Option<u32> {
        self.waiting.filter(|(said, _)| at.since(*said) <= WAITING_FRESH_FOR).map(|(_, requests)| requests)
    }
}
