//! Alerts: what people must know, from the moment it holds until it is over.
//!
//! A pure fold. Each look gives, for every kind of alert, a [`Stand`]: it holds, it is clear, or nothing can be said.
//! What holds for long enough is raised, what is clear for long enough is over, and what can't be judged stays as it
//! is: absence raises nothing and ends nothing. An alert keeps one id from its beginning to its end
//! (`web-at-maximum-1764328800000`), so whoever is told twice can tell.

mod route;
mod say;
mod why;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{Decision, DecisionId, Outcome};
use crate::fleet::{AlertSettings, Fleet, Workload};
use crate::names::WorkloadName;
use crate::say::Language;
use crate::units::{Price, Span, Timestamp};

pub use route::{Delivery, Routes};
pub use say::{headline, link, next_step, text, title};
pub use why::{Why, why};
pub use workload::{Progress, Seen};

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// To be looked at some day.
    Low,
    /// To be looked at today.
    Medium,
    /// To be looked at now.
    High,
}

impl Severity {
    /// Its word, as in a policy.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Its word in the reader's language.
    #[must_use]
    pub fn say(self, language: Language) -> &'static str {
        match (self, language) {
            (_, Language::English) => self.word(),
            (Self::Info, Language::Korean) => "정보",
            (Self::Low, Language::Korean) => "낮음",
            (Self::Medium, Language::Korean) => "보통",
            (Self::High, Language::Korean) => "높음",
        }
    }
}

/// What people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AlertKind {
    /// `info`: a count was changed. It is told once and has no end.
    Scaled,
    /// `low`: forecasts that had proved better than naive ones no longer do, so they don't count; or the one that an
    /// objective acts on is worse than the present load.
    ForecastDemoted,
    /// `medium`: more is wanted than the most allowed.
    AtMaximum,
    /// `medium`: the count goes up and down.
    Flapping,
    /// `medium`: a change waits for a person.
    ApprovalNeeded,
    /// `medium`: the least count is far more than was needed for a day (B15).
    IdleResources,
    /// `high`: the replicas use too much cpu (B15).
    CpuHigh,
    /// `high`: a target refused a change (B15).
    ActionFailed,
    /// `high`: replicas were asked for and don't become ready.
    Stuck,
    /// `high`: a target can't be looked at.
    TargetUnseen,
    /// `high`: the balancer does not listen where the policy says, as where another program has the port.
    NotListening,
    /// `high`: the check of a plan found a fault.
    PlanRejected,
    /// `high`: a source as a whole can't be read.
    SourceDown,
    /// `high`: too much of the fleet changed at once.
    BreakerOpen,
    /// `high`: the journal can't be written, so nothing is changed.
    JournalFailing,
}

impl AlertKind {
    /// Every kind, the least severe first.
    pub const ALL: [Self; 15] = [
        Self::Scaled,
        Self::ForecastDemoted,
        Self::AtMaximum,
        Self::Flapping,
        Self::ApprovalNeeded,
        Self::IdleResources,
        Self::CpuHigh,
        Self::ActionFailed,
        Self::Stuck,
        Self::TargetUnseen,
        Self::NotListening,
        Self::PlanRejected,
        Self::SourceDown,
        Self::BreakerOpen,
        Self::JournalFailing,
    ];

    /// How much it matters.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Scaled => Severity::Info,
            Self::ForecastDemoted => Severity::Low,
            Self::AtMaximum | Self::Flapping | Self::ApprovalNeeded | Self::IdleResources => Severity::Medium,
            Self::CpuHigh
            | Self::ActionFailed
            | Self::Stuck
            | Self::TargetUnseen
            | Self::NotListening
            | Self::PlanRejected
            | Self::SourceDown
            | Self::BreakerOpen
            | Self::JournalFailing => Severity::High,
        }
    }

    /// Its stable code, as it stands in ids, labels and messages.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Scaled => "scaled",
            Self::ForecastDemoted => "forecast-demoted",
            Self::AtMaximum => "at-maximum",
            Self::Flapping => "flapping",
            Self::ApprovalNeeded => "approval-needed",
            Self::IdleResources => "idle-resources",
            Self::CpuHigh => "cpu-high",
            Self::ActionFailed => "action-failed",
            Self::Stuck => "stuck",
            Self::TargetUnseen => "target-unseen",
            Self::NotListening => "not-listening",
            Self::PlanRejected => "plan-rejected",
            Self::SourceDown => "source-down",
            Self::BreakerOpen => "breaker-open",
            Self::JournalFailing => "journal-failing",
        }
    }

    /// How long it must hold to be raised, and be gone to be over.
    fn hold(self, settings: &AlertSettings) -> Span {
        match self {
            Self::AtMaximum | Self::CpuHigh | Self::TargetUnseen | Self::PlanRejected => settings.hold,
            // Each has its own measure of time, or is an event that people wait for.
            Self::Scaled
            | Self::ForecastDemoted
            | Self::Flapping
            | Self::ApprovalNeeded
            | Self::IdleResources
            | Self::ActionFailed
            | Self::Stuck
            | Self::NotListening
            | Self::SourceDown
            | Self::BreakerOpen
            | Self::JournalFailing => Span::ZERO,
        }
    }
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// A workload.
    Workload(WorkloadName),
    /// A source, by its name.
    Source(String),
    /// The fleet as a whole.
    Fleet,
}

impl Subject {
    /// The workload, if it is about one.
    #[must_use]
    pub fn workload(&self) -> Option<&WorkloadName> {
        match self {
            Self::Workload(name) => Some(name),
            Self::Source(_) | Self::Fleet => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(name) => name.fmt(f),
            Self::Source(name) => write!(f, "source.{name}"),
            Self::Fleet => f.write_str("fleet"),
        }
    }
}

/// What something costs, where a replica's price is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// All replicas that run.
    pub now: Price,
    /// All of them once the change is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Price>,
}

/// Something that people must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Subject, kind and beginning: the same from the first message to the last.
    pub id: String,
    /// What kind of thing.
    pub kind: AlertKind,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// Since when it holds.
    pub since: Timestamp,
    /// Why, in an English sentence.
    pub why: String,
    /// The facts of that sentence; absent from alerts that an earlier version raised, until the next look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Why>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The decision that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionId>,
}

impl Alert {
    fn new(kind: AlertKind, subject: Subject, since: Timestamp, facts: Facts) -> Self {
        let id = format!("{subject}-{}-{}", kind.code(), since.as_millis());
        let Facts { why: because, cost, decision } = facts;
        let why = why(&because, Language::English);
        let severity = kind.severity();
        Self { id, kind, severity, subject, since, why, because: Some(because), cost, decision }
    }

    /// Why, in a sentence in the reader's language; in English where the facts are not known.
    #[must_use]
    pub fn why_in(&self, language: Language) -> String {
        self.because.as_ref().map_or_else(|| self.why.clone(), |because| why(because, language))
    }

    /// The same with its sentence in the reader's language.
    #[must_use]
    pub fn told_in(self, language: Language) -> Self {
        Self { why: self.why_in(language), ..self }
    }
}

/// What is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It holds.
    Raised,
    /// It still holds.
    Still,
    /// It is over.
    Resolved,
    /// It happened, and that is all.
    Happened,
}

impl State {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Still => "still",
            Self::Resolved => "resolved",
            Self::Happened => "happened",
        }
    }
}

/// News of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertNews {
    /// When.
    pub at: Timestamp,
    /// What.
    pub state: State,
    /// Of which alert.
    pub alert: Alert,
}

/// What is known about something that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Why.
    pub why: Why,
    /// What it costs.
    pub cost: Option<Cost>,
    /// The decision that shows it.
    pub decision: Option<DecisionId>,
}

impl Facts {
    /// Why, and no more.
    #[must_use]
    pub fn only(why: Why) -> Self {
        Self { why, cost: None, decision: None }
    }
}

/// How something stands at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Stand {
    /// It holds.
    Holds(Facts),
    /// It does not hold.
    Clear,
    /// Nothing can be said.
    Unknown,
}

/// One kind of alert about one subject, while it is on its way in or out.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// It holds, not yet for long enough.
    Rising(Timestamp),
    Raised(Alert),
    /// It is clear, not yet for long enough.
    Falling(Alert, Timestamp),
}

/// The alerts of one fleet. Bounded by its workloads and sources times the kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alerts {
    phases: BTreeMap<(Subject, AlertKind), Phase>,
    progress: BTreeMap<WorkloadName, Progress>,
    /// Whose progress has changed since it was asked for last.
    moved: BTreeSet<WorkloadName>,
}

impl Alerts {
    /// Goes on with alerts that were raised before, and with those that were on their way.
    #[must_use]
    pub fn restore(raised: Vec<Alert>, progress: BTreeMap<WorkloadName, Progress>) -> Self {
        let phases = raised.into_iter().map(|a| ((a.subject.clone(), a.kind), Phase::Raised(a))).collect();
        Self { phases, progress, moved: BTreeSet::new() }
    }

    /// What has changed since the last call of what is remembered beside the raised alerts; `None` for a workload that
    /// is gone.
    pub fn moved(&mut self) -> BTreeMap<WorkloadName, Option<Progress>> {
        let moved = std::mem::take(&mut self.moved).into_iter();
        moved.map(|name| (name.clone(), self.progress.get(&name).cloned())).collect()
    }

    /// What was told of these workloads by [`moved`](Self::moved) was not kept: it is told again.
    pub fn not_kept(&mut self, names: impl IntoIterator<Item = WorkloadName>) {
        self.moved.extend(names);
    }

    /// The alerts that are raised.
    pub fn raised(&self) -> impl Iterator<Item = &Alert> {
        self.phases.values().filter_map(|phase| match phase {
            Phase::Raised(alert) | Phase::Falling(alert, _) => Some(alert),
            Phase::Rising(_) => None,
        })
    }

    /// Takes in how one thing stands.
    pub fn take(
        &mut self,
        at: Timestamp,
        settings: &AlertSettings,
        subject: &Subject,
        kind: AlertKind,
        stand: Stand,
    ) -> Option<AlertNews> {
        // As a rule all is well; that costs a tick of many workloads nothing.
        if self.phases.is_empty() && !matches!(stand, Stand::Holds(_)) {
            return None;
        }
        let hold = kind.hold(settings);
        let key = (subject.clone(), kind);
        let phase = self.phases.remove(&key);
        let (next, news) = step(at, hold, &key, phase, stand);
        if let Some(next) = next {
            self.phases.insert(key, next);
        }
        news
    }

    /// Takes in how a workload stands.
    pub fn look(&mut self, settings: &AlertSettings, seen: &Seen<'_>) -> Vec<AlertNews> {
        let progress = self.progress.entry(seen.name.clone()).or_default();
        let before = progress.clone();
        let stands = workload::stands(settings, seen, progress);
        if *progress != before {
            self.moved.insert(seen.name.clone());
        }
        let subject = Subject::Workload(seen.name.clone());
        stands
            .into_iter()
            .filter_map(|(kind, stand)| self.take(seen.at, settings, &subject, kind, stand))
            .collect()
    }

    /// Ends what is about workloads and sources that a policy no longer has.
    pub fn fit(&mut self, at: Timestamp, fleet: &Fleet, is_source: impl Fn(&str) -> bool) -> Vec<AlertNews> {
        let there = |subject: &Subject| match subject {
            Subject::Workload(name) => fleet.workload(name).is_some(),
            Subject::Source(name) => is_source(name),
            Subject::Fleet => true,
        };
        let left = self.progress.keys().filter(|name| fleet.workload(name).is_none()).cloned();
        self.moved.extend(left);
        self.progress.retain(|name, _| fleet.workload(name).is_some());
        let gone: Vec<_> = self.phases.keys().filter(|(subject, _)| !there(subject)).cloned().collect();
        gone.iter()
            .filter_map(|key| match self.phases.remove(key)? {
                Phase::Raised(alert) | Phase::Falling(alert, _) => {
                    Some(AlertNews { at, state: State::Resolved, alert })
                }
                Phase::Rising(_) => None,
            })
            .collect()
    }
}

/// One step of one alert.
fn step(
    at: Timestamp,
    hold: Span,
    (subject, kind): &(Subject, AlertKind),
    phase: Option<Phase>,
    stand: Stand,
) -> (Option<Phase>, Option<AlertNews>) {
    let raise = |since: Timestamp, facts: Facts| {
        let alert = Alert::new(*kind, subject.clone(), since, facts);
        (Some(Phase::Raised(alert.clone())), Some(AlertNews { at, state: State::Raised, alert }))
    };
    let resolve = |alert: Alert| (None, Some(AlertNews { at, state: State::Resolved, alert }));
    match (phase, stand) {
        (None, Stand::Holds(facts)) if hold.is_zero() => raise(at, facts),
        (None, Stand::Holds(_)) => (Some(Phase::Rising(at)), None),
        (None | Some(Phase::Rising(_)), Stand::Clear) | (None, Stand::Unknown) => (None, None),
        (Some(Phase::Rising(since)), Stand::Holds(facts)) if at.since(since) >= hold => raise(since, facts),
        (Some(Phase::Raised(alert) | Phase::Falling(alert, _)), Stand::Holds(facts)) => {
            // The present facts are what a repeated message says; id and beginning stay.
            let Alert { kind, subject, since, id, .. } = alert;
            (Some(Phase::Raised(Alert { id, ..Alert::new(kind, subject, since, facts) })), None)
        }
        (Some(Phase::Raised(alert)), Stand::Clear) if hold.is_zero() => resolve(alert),
        (Some(Phase::Raised(alert)), Stand::Clear) => (Some(Phase::Falling(alert, at)), None),
        (Some(Phase::Falling(alert, since)), Stand::Clear) if at.since(since) >= hold => resolve(alert),
        (phase, Stand::Holds(_) | Stand::Clear | Stand::Unknown) => (phase, None),
    }
}

/// The news that a decision changes a count; `None` where it does not.
#[must_use]
pub fn scaled(decision: &Decision, workload: &Workload) -> Option<AlertNews> {
    if decision.outcome != Outcome::Act {
        return None;
    }
    let cost = workload
        .price
        .map(|price| Cost { now: price.times(decision.from), then: Some(price.times(decision.to)) });
    let why = Why::Said(crate::say::headline(decision, Language::English));
    let facts = Facts { why, cost, decision: Some(decision.id.clone()) };
    let subject = Subject::Workload(decision.id.workload.clone());
    let alert = Alert::new(AlertKind::Scaled, subject, decision.at, facts);
    Some(AlertNews { at: decision.at, state: State::Happened, alert })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn web() -> Subject {
        Subject::Workload("web".parse().unwrap())
    }

    fn holds() -> Stand {
        Stand::Holds(Facts::only(Why::Said("because".to_owned())))
    }

    /// Feeds one stand a row and gives what is told: the second, the state, the id.
    fn told(kind: AlertKind, stands: &[(i64, Stand)]) -> Vec<(i64, State, String)> {
        let mut alerts = Alerts::default();
        let settings = AlertSettings::default();
        stands
            .iter()
            .filter_map(|(s, stand)| alerts.take(at(*s), &settings, &web(), kind, stand.clone()))
            .map(|news| (news.at.as_millis() / 1000, news.state, news.alert.id))
            .collect()
    }

    #[test]
    fn what_holds_long_enough_is_raised_once_and_ends_once() {
        let stands = [
            (0, holds()),
            (59, holds()),
            (60, holds()),
            (61, holds()),
            (100, Stand::Clear),
            (130, holds()),
            (140, Stand::Clear),
            (199, Stand::Clear),
            (200, Stand::Clear),
            (201, Stand::Clear),
        ];
        let id = "web-at-maximum-0".to_owned();
        let expected = vec![(60, State::Raised, id.clone()), (200, State::Resolved, id)];
        assert_eq!(told(AlertKind::AtMaximum, &stands), expected);
    }

    #[test]
    fn a_moment_of_it_is_no_news() {
        let stands = [(0, holds()), (30, Stand::Clear), (31, holds()), (90, holds()), (91, holds())];
        assert_eq!(told(AlertKind::CpuHigh, &stands), [(91, State::Raised, "web-cpu-high-31000".to_owned())]);
    }

    #[test]
    fn absence_raises_nothing_and_ends_nothing() {
        let unknown = |s| (s, Stand::Unknown);
        assert_eq!(told(AlertKind::TargetUnseen, &[unknown(0), unknown(100)]), []);
        let stands = [(0, holds()), (60, holds()), unknown(61), unknown(1000), (1001, holds())];
        assert_eq!(told(AlertKind::TargetUnseen, &stands).len(), 1, "no second one, no end");
    }

    #[test]
    fn what_was_raised_before_a_restart_keeps_its_name_and_ends() {
        let settings = AlertSettings::default();
        let mut alerts = Alerts::default();
        let news = alerts.take(at(5), &settings, &Subject::Fleet, AlertKind::BreakerOpen, holds()).unwrap();
        let mut again = Alerts::restore(alerts.raised().cloned().collect(), BTreeMap::new());
        assert_eq!(again.take(at(9), &settings, &Subject::Fleet, AlertKind::BreakerOpen, holds()), None);
        let over =
            again.take(at(10), &settings, &Subject::Fleet, AlertKind::BreakerOpen, Stand::Clear).unwrap();
        assert_eq!((over.state, over.alert.id), (State::Resolved, news.alert.id));
        assert_eq!(again.raised().count(), 0);
    }

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<_> = AlertKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), AlertKind::ALL.len());
        assert!(AlertKind::ALL.is_sorted_by_key(|kind| kind.severity()));
    }
}
