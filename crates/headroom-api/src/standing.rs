//! Alerts that stand and the health of sources and notifiers, each with what to do about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use headroom_core::alert::{self, Alert};
use headroom_core::say::Language;
use headroom_core::units::Timestamp;
use headroom_engine::handle::Overview;
use headroom_engine::outbox::NotifierView;
use headroom_engine::sources::SourceView;
use schemars::JsonSchema;
use serde::Serialize;

use crate::App;
use crate::params::{FORMAT, LANG, Param, Params, Shape};
use crate::problem::Problem;
use crate::tables::{cell, code, csv};

/// Alerts in one answer at the most: more are not read one by one.
const ALERTS: usize = 200;
/// Alerts and sources that an overview names at the most; the rest it counts.
const NAMED: usize = 12;

pub(crate) const ALERTS_QUERY: &[Param] = &[
    Param { name: "workload", about: "Only alerts about this workload.", shape: Shape::Text },
    LANG,
    FORMAT,
];
pub(crate) const SOURCES_QUERY: &[Param] = &[LANG, FORMAT];

/// An alert, with what holds and what to do about it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StandingAlert")]
pub(crate) struct AlertLine {
    #[serde(flatten)]
    of: Alert,
    /// What holds, in the reader's language.
    headline: &'static str,
    /// What to do; `null` where there is nothing to do.
    next_step: Option<&'static str>,
}

impl AlertLine {
    fn new(of: Alert, language: Language) -> Self {
        let (headline, next_step) = (alert::headline(of.kind, language), alert::next_step(of.kind, language));
        Self { of: of.told_in(language), headline, next_step }
    }
}

/// A source in a line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceLine {
    /// What it is called.
    name: String,
    /// How it is.
    state: SourceState,
    /// When it was heard last.
    heard_at: Timestamp,
    /// Since when it has been down.
    down_since: Option<Timestamp>,
    /// Why its last round failed, in its own words.
    why: Option<String>,
    /// What to do where it is down.
    next_step: Option<&'static str>,
}

/// How a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum SourceState {
    /// It can't be read as a whole.
    Down,
    /// Its last round failed, which may be a hiccup.
    Failing,
    /// It answers.
    Fine,
}

impl SourceLine {
    fn new(view: SourceView, language: Language) -> Self {
        let state = match (&view.down_since, &view.why) {
            (Some(_), _) => SourceState::Down,
            (None, Some(_)) => SourceState::Failing,
            (None, None) => SourceState::Fine,
        };
        let next_step = view.next_step(language);
        let SourceView { name, heard_at, down_since, why } = view;
        Self { name, state, heard_at, down_since, why, next_step }
    }
}

/// The sources, those in trouble first.
fn source_lines(sources: Vec<SourceView>, language: Language) -> Vec<SourceLine> {
    let mut lines: Vec<_> = sources.into_iter().map(|view| SourceLine::new(view, language)).collect();
    lines.sort_by(|a, b| (a.state, &a.name).cmp(&(b.state, &b.name)));
    lines
}

/// A notifier, with what to do about it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotifierLine {
    #[serde(flatten)]
    of: NotifierView,
    /// What to do where it is not fine.
    next_step: Option<&'static str>,
}

/// The notifiers, those in trouble first.
fn notifier_lines(notifiers: Vec<NotifierView>, language: Language) -> Vec<NotifierLine> {
    let line = |of: NotifierView| NotifierLine { next_step: of.next_step(language), of };
    let mut lines: Vec<_> = notifiers.into_iter().map(line).collect();
    lines.sort_by(|a, b| (a.of.state, &a.of.name).cmp(&(b.of.state, &b.of.name)));
    lines
}

/// What people must know now, as far as a glance can hold it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Glance {
    /// The most severe alerts.
    alerts: Vec<AlertLine>,
    /// How many there are.
    alerts_in_all: usize,
    /// Sources, those in trouble first.
    sources: Vec<SourceLine>,
    /// How many there are.
    sources_in_all: usize,
    /// How many of them are down.
    sources_down: usize,
    /// Notifiers, those in trouble first.
    notifiers: Vec<NotifierLine>,
    /// How many there are.
    notifiers_in_all: usize,
}

impl Glance {
    pub(crate) fn new(overview: &Overview, language: Language) -> Self {
        let Overview { alerts, sources, notifiers, .. } = overview;
        let mut lines = source_lines(sources.clone(), language);
        let sources_down = lines.iter().filter(|line| line.state == SourceState::Down).count();
        lines.truncate(NAMED);
        let mut told = notifier_lines(notifiers.clone(), language);
        told.truncate(NAMED);
        Self {
            alerts: alerts.iter().take(NAMED).map(|alert| AlertLine::new(alert.clone(), language)).collect(),
            alerts_in_all: alerts.len(),
            sources: lines,
            sources_in_all: sources.len(),
            sources_down,
            notifiers: told,
            notifiers_in_all: notifiers.len(),
        }
    }
}

/// Alerts that stand.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StandingAlerts")]
pub(crate) struct Alerts {
    /// The most severe first.
    alerts: Vec<AlertLine>,
    /// How many there are; more than are named where they are very many.
    in_all: usize,
}

/// `GET /api/v1/alerts`
pub(crate) async fn alerts(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), ALERTS_QUERY)?;
    let language = params.language()?;
    let mut raised = app.handle.watching().await?.alerts;
    if let Some(name) = params.one("workload") {
        raised.retain(|alert| alert.subject.workload().is_some_and(|workload| workload.as_str() == name));
    }
    let in_all = raised.len();
    let alerts: Vec<_> =
        raised.into_iter().take(ALERTS).map(|alert| AlertLine::new(alert, language)).collect();
    if params.csv()? {
        let header = ["since", "severity", "kind", "subject", "why", "next_step", "decision"];
        let row = |AlertLine { of, next_step, .. }: AlertLine| {
            [
                of.since.to_string(),
                of.severity.word().to_owned(),
                of.kind.code().to_owned(),
                of.subject.to_string(),
                of.why,
                cell(next_step),
                cell(of.decision),
            ]
        };
        return Ok(csv("alerts", header, alerts.into_iter().map(row)));
    }
    Ok(Json(Alerts { alerts, in_all }).into_response())
}

/// The sources that were heard.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sources {
    /// Those in trouble first.
    sources: Vec<SourceLine>,
}

/// `GET /api/v1/sources`
pub(crate) async fn sources(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), SOURCES_QUERY)?;
    let sources = source_lines(app.handle.watching().await?.sources, params.language()?);
    if params.csv()? {
        let header = ["source", "state", "heard_at", "down_since", "why", "next_step"];
        let row = |line: SourceLine| {
            [
                line.name,
                code(line.state),
                line.heard_at.to_string(),
                cell(line.down_since),
                cell(line.why),
                cell(line.next_step),
            ]
        };
        return Ok(csv("sources", header, sources.into_iter().map(row)));
    }
    Ok(Json(Sources { sources }).into_response())
}

/// The notifiers of the policy.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NotifiersStanding")]
pub(crate) struct Notifiers {
    /// Those in trouble first.
    notifiers: Vec<NotifierLine>,
}

/// `GET /api/v1/notifiers`
pub(crate) async fn notifiers(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), SOURCES_QUERY)?;
    let notifiers = notifier_lines(app.handle.watching().await?.notifiers, params.language()?);
    if params.csv()? {
        let header =
            ["notifier", "state", "told_at", "waiting", "given_up", "failing_since", "why", "next_step"];
        let row = |NotifierLine { of, next_step }: NotifierLine| {
            [
                of.name.to_string(),
                code(of.state),
                cell(of.told_at),
                of.waiting.to_string(),
                of.given_up.to_string(),
                cell(of.failing_since),
                cell(of.why),
                cell(next_step),
            ]
        };
        return Ok(csv("notifiers", header, notifiers.into_iter().map(row)));
    }
    Ok(Json(Notifiers { notifiers }).into_response())
}
