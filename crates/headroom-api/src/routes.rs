//! The routes. One table holds each of them with its description, so the OpenAPI document is made from what is
//! served: a route can't be served without standing in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use headroom_core::alert::Alert;
use headroom_core::controller::{Measured, Notice, Order, Override};
use headroom_core::decision::{Decision, DecisionId};
use headroom_core::fleet::{Fleet, FleetDocument, SignalSource, TargetSettings};
use headroom_core::memory::Freeze;
use headroom_core::names::{FleetName, SignalName, WorkloadName};
use headroom_core::observation::TargetStatus;
use headroom_core::outlook::Foresight;
use headroom_core::reading::Sample;
use headroom_core::say::Language;
use headroom_core::together::Opened;
use headroom_core::units::{Level, Replicas, Span, Timestamp, Unit};
use headroom_engine::driver::now;
use headroom_engine::handle::WorkloadView;
use headroom_engine::journal::{
    ActionEntry, Cursor, DecisionQuery, MAX_POINTS, Page, Query, Series, SeveralQuery,
};
use headroom_engine::outbox::NotifierView;
use headroom_engine::plan::Plan;
use headroom_engine::sources::SourceView;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tower_http::compression::CompressionLayer;

use crate::explained::{Explained, ExplainedDecision, Explanations, Link, explain};
use crate::lines::{Headline, Line};
use crate::openapi::Answer;
use crate::params::{FORMAT, LANG, Param, Params, SINCE, Shape, UNTIL, plain_text};
use crate::problem::Problem;
use crate::standing::Glance;
use crate::tables::{cell, code, csv};
use crate::{App, events, gate, held, metrics, page, standing};

/// The largest body: a plan of two thousand workloads at 4 KB.
const LARGEST_BODY: usize = 8 << 20;
/// Decisions and notices in one answer at the most, and if no number is named.
const PAGE: usize = 200;
const PAGE_DEFAULT: usize = 50;
/// Series in one answer at the most: a workload has some five signals and as many counts.
const SERIES: usize = 32;
/// The longest freeze with an end; without an end it holds until it is thawed.
const LONGEST_FREEZE: Span = Span::days(365);
/// How far ahead of this machine's clock a pushed value may be.
const CLOCK_SLACK: Span = Span::seconds(5);
/// How long the engine may take to answer a readiness probe.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// A route, with what the OpenAPI document says of it.
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    pub(crate) about: &'static str,
    pub(crate) query: &'static [Param],
    pub(crate) body: Option<crate::openapi::SchemaOf>,
    pub(crate) answer: Answer,
    pub(crate) handler: MethodRouter<Arc<App>>,
}

const SERIES_QUERY: &[Param] = &[
    Param {
        name: "name",
        about: "A series: a signal, or `replicas.ready`, `.wanted`, `.starting`, `.draining`, `.failed`. May be \
                repeated; by default all.",
        shape: Shape::Texts,
    },
    SINCE,
    UNTIL,
    Param {
        name: "points",
        about: "So many points at the most; the journal picks a resolution that fits.",
        shape: Shape::Count(MAX_POINTS),
    },
    FORMAT,
];
const BEFORE: Param =
    Param { name: "before", about: "Go on from here: `next` of the answer before.", shape: Shape::Text };
const LIMIT: Param =
    Param { name: "limit", about: "So many entries at the most.", shape: Shape::Count(PAGE) };
const CHANGES: Param = Param {
    name: "changes",
    about: "Only decisions that asked the target for another count.",
    shape: Shape::Flag,
};
const DECISIONS_QUERY: &[Param] = &[SINCE, UNTIL, CHANGES, BEFORE, LIMIT, LANG, FORMAT];
const HEADLINES_QUERY: &[Param] = &[
    Param { name: "workload", about: "Only decisions of this workload.", shape: Shape::Text },
    SINCE,
    UNTIL,
    CHANGES,
    BEFORE,
    LIMIT,
    LANG,
];
const POLICY_QUERY: &[Param] = &[Param {
    name: "workload",
    about: "Only this workload. May be repeated; by default all.",
    shape: Shape::Texts,
}];
const NOTICES_QUERY: &[Param] = &[SINCE, UNTIL, BEFORE, LIMIT, LANG, FORMAT];
const OVERVIEW_QUERY: &[Param] = &[LANG, FORMAT];
const DECISION_QUERY: &[Param] = &[LANG, FORMAT];
const BY: &[Param] = &[Param { name: "by", about: "Who asks, for the record.", shape: Shape::Text }];

/// Every route of the API.
pub(crate) fn operations() -> Vec<Operation> {
    use crate::openapi::{read, schema};
    vec![
        read("/api/v1/overview", "overview", "The fleet at a glance.", OVERVIEW_QUERY)
            .json(schema::<OverviewAnswer>)
            .served_by(get(overview)),
        read(
            "/api/v1/fleet",
            "fleet",
            "The fleet in lines: what a list shows of each workload. For pages; a thousand workloads are some 60 KB \
             over the wire. `overview` holds all that is known of each.",
            &[LANG],
        )
        .json(schema::<FleetLines>)
        .served_by(get(fleet_lines)),
        read("/api/v1/alerts", "alerts", "The alerts that stand, with what to do about each.", standing::ALERTS_QUERY)
            .json(schema::<standing::Alerts>)
            .served_by(get(standing::alerts)),
        read(
            "/api/v1/sources",
            "sources",
            "The sources that were heard: whether each answers, how long ago, and what to do if not.",
            standing::SOURCES_QUERY,
        )
        .json(schema::<standing::Sources>)
        .served_by(get(standing::sources)),
        read(
            "/api/v1/notifiers",
            "notifiers",
            "The notifiers of the policy: whether each takes what it is told, when it last did, what waits, and what to do \
             if it does not.",
            standing::SOURCES_QUERY,
        )
        .json(schema::<standing::Notifiers>)
        .served_by(get(standing::notifiers)),
        read(
            "/api/v1/held",
            "held",
            "What keeps workloads from what they should be: changes that wait for a person, freezes, faults of targets and \
             sources, maximums, and the breaker.",
            held::HELD_QUERY,
        )
        .json(schema::<held::HeldUp>)
        .served_by(get(held::held)),
        read(
            "/api/v1/workloads/{workload}",
            "workload",
            "One workload as it is now, with its latest decision: why something or nothing happened, and until when.",
            &[LANG],
        )
        .json(schema::<Explained<WorkloadView>>)
        .served_by(get(workload)),
        read(
            "/api/v1/workloads/{workload}/decisions",
            "workloadDecisions",
            "A workload's decisions with their explanations, newest first.",
            DECISIONS_QUERY,
        )
        .json(schema::<Decisions>)
        .served_by(get(workload_decisions)),
        read(
            "/api/v1/workloads/{workload}/series",
            "series",
            "Stretches of a workload's series, as columns. A stretch without samples has no point.",
            SERIES_QUERY,
        )
        .json(schema::<SeriesAnswer>)
        .served_by(get(series)),
        read(
            "/api/v1/workloads/{workload}/forecast",
            "forecast",
            "What is foreseen of a workload's load, in steps of five minutes, and how good such forecasts were. `null` where \
             no signal is forecast.",
            &[FORMAT],
        )
        .json(schema::<ForecastAnswer>)
        .served_by(get(forecast)),
        read(
            "/api/v1/decisions",
            "decisions",
            "The decisions of all workloads with their explanations, newest first.",
            DECISIONS_QUERY,
        )
        .json(schema::<Decisions>)
        .served_by(get(all_decisions)),
        read(
            "/api/v1/headlines",
            "headlines",
            "Decisions in a line each, newest first: when, from what to what, and why.",
            HEADLINES_QUERY,
        )
        .json(schema::<Headlines>)
        .served_by(get(headlines)),
        read(
            "/api/v1/decisions/{decision}",
            "decision",
            "One decision with its explanation, and what came of its action. As a table: each link of the chain that led \
             to it.",
            DECISION_QUERY,
        )
        .json(schema::<DecisionAnswer>)
        .served_by(get(decision)),
        read("/api/v1/notices", "notices", "What people had to know, newest first.", NOTICES_QUERY)
            .json(schema::<Notices>)
            .served_by(get(notices)),
        read(
            "/api/v1/policy",
            "policy",
            "The policy in force, every default filled in. Values of environment variables are hidden as `***` from \
             whoever does not show the token.",
            POLICY_QUERY,
        )
        .json(schema::<FleetDocument>)
        .served_by(get(policy)),
        read("/api/v1/plan", "plan", "What would change now under the policy in force.", &[LANG])
            .json(schema::<PlanAnswer>)
            .served_by(get(plan)),
        read(
            "/api/v1/plan",
            "planPolicy",
            "What would change now under another policy. Nothing is changed.",
            &[LANG],
        )
        .post(schema::<FleetDocument>)
        .json(schema::<PlanAnswer>)
        .served_by(post(plan_policy)),
        read(
            "/api/v1/apply",
            "apply",
            "Does exactly what a plan says, or nothing: 409 where the world is not the one the plan saw.",
            BY,
        )
        .post(schema::<Plan>)
        .json(schema::<Applied>)
        .served_by(post(apply)),
        read(
            "/api/v1/workloads/{workload}/freeze",
            "freeze",
            "Leaves a workload alone: nothing changes its count until the time is up or it is thawed.",
            BY,
        )
        .post(schema::<FreezeRequest>)
        .json(schema::<Freeze>)
        .served_by(post(freeze)),
        read("/api/v1/workloads/{workload}/thaw", "thaw", "Ends a freeze.", &[])
            .post_empty()
            .nothing()
            .served_by(post(thaw)),
        read(
            "/api/v1/decisions/{decision}/approve",
            "approve",
            "Lets a change be made that waits for a person; 409 where it does not wait any more. For ten minutes \
             everything of that direction passes the approval that goes no further than what was asked for.",
            BY,
        )
        .post(schema::<WhyRequest>)
        .nothing()
        .served_by(post(approve)),
        read(
            "/api/v1/decisions/{decision}/reject",
            "reject",
            "Refuses a change that waits for a person: it is not asked for again for an hour.",
            BY,
        )
        .post(schema::<WhyRequest>)
        .nothing()
        .served_by(post(reject)),
        read(
            "/api/v1/breaker/close",
            "closeBreaker",
            "Closes the breaker that stopped the fleet from changing too much at once; for one stretch everything \
             passes. 409 where it is not open.",
            BY,
        )
        .post(schema::<WhyRequest>)
        .nothing()
        .served_by(post(close_breaker)),
        read(
            "/api/v1/workloads/{workload}/signals/{signal}",
            "push",
            "Hands in a value of a signal whose source is `push`.",
            &[],
        )
        .post(schema::<PushRequest>)
        .json(schema::<Pushed>)
        .served_by(post(push)),
        read(
            "/api/v1/events",
            "events",
            "What happens, as it happens. `overview`: once a second, the lines of `fleet` of which there is news; those \
             of before are read there once the stream is open. `decision`: a decision that was recorded, in a line. \
             `action`: a target is asked for a count, now. `settled`: it took it, or not. `notice`. `changed`: the name of a workload to read again. `fleet`: another \
             policy is in force. `missed`: events were lost; read everything again.",
            &[LANG],
        )
        .events(schema::<events::Summary>)
        .served_by(get(events::events)),
        read(
            "/metrics",
            "metrics",
            "The controller for Prometheus, in its text format: inputs with their age, what strategies want, guards \
             that bind, replicas, decisions by reason, cost, how long things took.",
            &[],
        )
        .text()
        .served_by(get(metrics::metrics)),
        read("/healthz", "healthz", "Whether the process answers.", &[]).text().served_by(get(healthz)),
        read("/readyz", "readyz", "Whether the engine answers.", &[]).text().served_by(get(readyz)),
        read("/openapi.json", "openapi", "This document.", &[])
            .json(|_| schemars::json_schema!({ "type": "object" }))
            .served_by(get(openapi)),
    ]
}

/// The routes, behind the gate.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = page::routes();
    for operation in operations() {
        router = router.route(operation.path, operation.handler);
    }
    router
        .fallback(async |request: Request| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "no-such-route",
                format!("there is nothing at {}", request.uri().path()),
            )
            .help("GET /openapi.json describes what there is")
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                format!("{path} does not answer to {method}"),
            )
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), gate::gate))
        .layer(CompressionLayer::new())
        .with_state(app)
}

/// A body of JSON, strict; what is wrong with it is said in the API's own form.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // A form of another site can send text, but not JSON without asking first.
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let is_json =
            kind.is_some_and(|k| k.split(';').next().is_some_and(|k| k.trim() == "application/json"));
        if !is_json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-json",
                "the body must be JSON, with `content-type: application/json`",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(cause) if cause.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body-too-large",
                    format!("the body is larger than {} MiB", LARGEST_BODY >> 20),
                )
            }
            _ => Problem::new(StatusCode::BAD_REQUEST, "body-broken-off", "the body broke off"),
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|e| Problem::body(format!("the body: {e}")))
    }
}

// Reading.

/// The fleet at a glance.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Overview")]
struct OverviewAnswer {
    /// The moment of the view.
    at: Timestamp,
    /// What the fleet is called.
    fleet: FleetName,
    /// Whether decisions are only said, not done.
    advise: bool,
    /// When this controller started.
    started_at: Timestamp,
    /// This controller's version.
    version: &'static str,
    /// Its workloads, by name.
    workloads: Vec<Explained<WorkloadView>>,
    /// The breaker, where it is open: too much of the fleet changed at once.
    breaker: Option<Opened>,
    /// The last things people had to know, newest first.
    notices: Vec<Notice>,
    /// The alerts that are raised, the most severe first.
    alerts: Vec<Alert>,
    /// The sources that were heard, by name.
    sources: Vec<SourceView>,
    /// Who can be told, by name.
    notifiers: Vec<NotifierView>,
}

async fn overview(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), OVERVIEW_QUERY)?;
    let language = params.language()?;
    let overview = app.handle.overview().await?;
    if params.csv()? {
        let header = [
            "workload",
            "tier",
            "wanted",
            "ready",
            "starting",
            "draining",
            "failed",
            "per_hour",
            "outcome",
            "decided_at",
            "why",
        ];
        return Ok(csv(
            "overview",
            header,
            overview.workloads.iter().map(|view| overview_row(view, language)),
        ));
    }
    let explained = |view: WorkloadView| Explained {
        explanation: view.latest.as_ref().map(|decision| explain(decision, language)),
        of: view,
    };
    Ok(Json(OverviewAnswer {
        at: overview.at,
        fleet: overview.fleet,
        advise: overview.advise,
        started_at: overview.started_at,
        version: env!("CARGO_PKG_VERSION"),
        workloads: overview.workloads.into_iter().map(explained).collect(),
        breaker: overview.breaker,
        notices: overview.notices.into_iter().map(|notice| notice.told_in(language)).collect(),
        alerts: overview.alerts.into_iter().map(|alert| alert.told_in(language)).collect(),
        sources: overview.sources,
        notifiers: overview.notifiers,
    })
    .into_response())
}

/// Notices in a glance at the most.
const GLANCED_NOTICES: usize = 6;

/// The fleet in lines.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FleetLines {
    /// The moment of the view.
    at: Timestamp,
    /// What the fleet is called.
    fleet: FleetName,
    /// Whether decisions are only said, not done.
    advise: bool,
    /// When this controller started.
    started_at: Timestamp,
    /// This controller's version.
    version: &'static str,
    /// Its workloads, by name.
    workloads: Vec<Line>,
    /// The breaker, where it is open: too much of the fleet changed at once.
    breaker: Option<Opened>,
    /// The last things people had to know, newest first.
    notices: Vec<Notice>,
    /// What they must know now.
    #[serde(flatten)]
    glance: Glance,
}

async fn fleet_lines(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<FleetLines>, Problem> {
    let language = Params::read(query.as_deref(), &[LANG])?.language()?;
    let overview = app.handle.overview().await?;
    Ok(Json(FleetLines {
        glance: Glance::new(&overview, language),
        at: overview.at,
        fleet: overview.fleet,
        advise: overview.advise,
        started_at: overview.started_at,
        version: env!("CARGO_PKG_VERSION"),
        workloads: overview.workloads.iter().map(|view| Line::new(view, language)).collect(),
        breaker: overview.breaker,
        notices: (overview.notices.into_iter().take(GLANCED_NOTICES))
            .map(|notice| notice.told_in(language))
            .collect(),
    }))
}

fn overview_row(view: &WorkloadView, language: Language) -> [String; 11] {
    let count = |of: fn(&TargetStatus) -> Replicas| cell(view.status.as_ref().map(of));
    let latest = view.latest.as_ref();
    [
        view.name.to_string(),
        cell(view.tier.as_ref()),
        count(|s| s.wanted),
        count(|s| s.ready),
        count(|s| s.starting),
        count(|s| s.draining),
        count(|s| s.failed),
        cell(view.cost.map(|cost| cost.per_hour)),
        cell(latest.map(|d| code(d.outcome))),
        cell(latest.map(|d| d.at)),
        cell(latest.map(|d| explain(d, language).headline)),
    ]
}

async fn workload(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explained<WorkloadView>>, Problem> {
    let language = Params::read(query.as_deref(), &[LANG])?.language()?;
    let view = app.handle.workload(&workload_name(&name)?).await?;
    let explanation = view.latest.as_ref().map(|decision| explain(decision, language));
    Ok(Json(Explained { of: view, explanation }))
}

/// Decisions, newest first.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Decisions {
    /// The decisions.
    decisions: Vec<ExplainedDecision>,
    /// Where older ones begin, if there are more: hand it back as `before`.
    next: Option<String>,
}

impl Decisions {
    fn answer(self, params: &Params) -> Result<Response, Problem> {
        if !params.csv()? {
            return Ok(Json(self).into_response());
        }
        let header = ["at", "workload", "decision", "from", "to", "outcome", "why"];
        let rows = self.decisions.into_iter().map(|ExplainedDecision { decision, explanation }| {
            [
                decision.at.to_string(),
                decision.id.workload.to_string(),
                decision.id.to_string(),
                decision.from.to_string(),
                decision.to.to_string(),
                code(decision.outcome),
                explanation.headline,
            ]
        });
        Ok(csv("decisions", header, rows))
    }
}

async fn workload_decisions(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    // A workload that was removed still has a past; one that never was has none, and a typo should be told.
    let name = workload_name(&name)?;
    let params = Params::read(query.as_deref(), DECISIONS_QUERY)?;
    let answer = decisions(&app, Some(name.clone()), &params).await?;
    if answer.decisions.is_empty() {
        app.handle.workload(&name).await?;
    }
    answer.answer(&params)
}

async fn all_decisions(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), DECISIONS_QUERY)?;
    decisions(&app, None, &params).await?.answer(&params)
}

async fn decisions(app: &App, workload: Option<WorkloadName>, params: &Params) -> Result<Decisions, Problem> {
    let language = params.language()?;
    let query = DecisionQuery { query: page_query(params, workload)?, only_changes: params.flag("changes")? };
    let Page { entries, older } = app.handle.journal().decisions(query).await?;
    let explained = |decision: Decision| ExplainedDecision::new(decision, language);
    Ok(Decisions {
        decisions: entries.into_iter().map(explained).collect(),
        next: older.map(|cursor| cursor.to_string()),
    })
}

/// Decisions in a line each, newest first.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Headlines {
    /// The lines.
    headlines: Vec<Headline>,
    /// Where older ones begin, if there are more: hand it back as `before`.
    next: Option<String>,
}

async fn headlines(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Headlines>, Problem> {
    let params = Params::read(query.as_deref(), HEADLINES_QUERY)?;
    let language = params.language()?;
    let workload = params.one("workload").map(workload_name).transpose()?;
    let query =
        DecisionQuery { query: page_query(&params, workload)?, only_changes: params.flag("changes")? };
    let Page { entries, older } = app.handle.journal().decisions(query).await?;
    Ok(Json(Headlines {
        headlines: entries.iter().map(|decision| Headline::new(decision, language)).collect(),
        next: older.map(|cursor| cursor.to_string()),
    }))
}

fn page_query(params: &Params, workload: Option<WorkloadName>) -> Result<Query, Problem> {
    Ok(Query {
        workload,
        since: params.moment(SINCE.name)?,
        until: params.moment(UNTIL.name)?,
        before: params.parsed::<Cursor>(BEFORE.name)?,
        limit: params.count(LIMIT.name, PAGE_DEFAULT, PAGE)?,
    })
}

/// One decision and what came of it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DecisionAnswer {
    /// The decision and its explanation.
    #[serde(flatten)]
    of: ExplainedDecision,
    /// What the target was asked for on its account, and how that ended.
    action: Option<ActionEntry>,
}

async fn decision(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), DECISION_QUERY)?;
    let language = params.language()?;
    let none = |why: String| Problem::new(StatusCode::NOT_FOUND, "no-such-decision", why);
    let id: DecisionId = id.parse().map_err(|e| none(format!("{e}")))?;
    let found = app.handle.journal().decision(&id).await?;
    let decision = found.ok_or_else(|| {
        none(format!("no decision called {id} is kept"))
            .help("repeats are kept for days, changes for a year; GET /api/v1/decisions lists what there is")
    })?;
    // An action carries the moment of its decision.
    let actions = app.handle.journal().actions(Query {
        workload: Some(id.workload.clone()),
        since: Some(decision.at),
        until: Some(decision.at.plus(Span::millis(1))),
        ..Query::default()
    });
    let action = actions.await?.entries.into_iter().find(|entry| entry.action.decision == id);
    let of = ExplainedDecision::new(decision, language);
    Ok(if params.csv()? { of.csv() } else { Json(DecisionAnswer { of, action }).into_response() })
}

impl ExplainedDecision {
    /// A line for each link of the chain, the outcome last.
    fn csv(self) -> Response {
        let Self { decision, explanation } = self;
        let header = ["decision", "at", "kind", "who", "code", "from", "to", "text"];
        let (id, at) = (decision.id.to_string(), decision.at.to_string());
        let links = explanation.chain.into_iter().map(|link| {
            let Link { kind, who, code: reason, from, to, text } = link;
            [id.clone(), at.clone(), code(kind), who, reason.to_owned(), cell(from), cell(to), text]
        });
        let outcome = [
            id.clone(),
            at.clone(),
            "outcome".to_owned(),
            String::new(),
            code(decision.outcome),
            decision.from.to_string(),
            decision.to.to_string(),
            explanation.headline,
        ];
        csv(&id, header, links.chain([outcome]))
    }
}

/// What is foreseen of a workload.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ForecastAnswer {
    /// Which workload.
    workload: WorkloadName,
    /// What is foreseen; `null` where no signal is forecast.
    forecast: Option<Foresight>,
}

async fn forecast(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &[FORMAT])?;
    let WorkloadView { name: workload, forecast, .. } = app.handle.workload(&workload_name(&name)?).await?;
    if !params.csv()? {
        return Ok(Json(ForecastAnswer { workload, forecast }).into_response());
    }
    let header = ["at", "signal", "unit", "q50", "q90", "q95", "q99"];
    let rows = forecast.iter().flat_map(|foresight| {
        foresight.points.iter().map(|point| {
            [
                point.at.to_string(),
                foresight.signal.to_string(),
                code(foresight.unit),
                point.q50.to_string(),
                point.q90.to_string(),
                point.q95.to_string(),
                point.q99.to_string(),
            ]
        })
    });
    Ok(csv(&format!("{workload}-forecast"), header, rows))
}

/// Stretches of series.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SeriesAnswer {
    /// Whose.
    workload: WorkloadName,
    /// From this moment.
    since: Timestamp,
    /// Up to this moment.
    until: Timestamp,
    /// The series, in the order asked for.
    series: Vec<Columns>,
}

/// One series as columns of equal length.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Columns {
    /// Which series.
    name: String,
    /// What its values count; `null` for series that are no signal of the policy in force.
    unit: Option<Unit>,
    /// The length of each point, in milliseconds.
    resolution_ms: u64,
    /// When each point begins, in milliseconds since 1970.
    at: Vec<i64>,
    /// The least value.
    min: Vec<f64>,
    /// The mean of the samples.
    mean: Vec<f64>,
    /// The largest value.
    max: Vec<f64>,
    /// The value that came last.
    last: Vec<f64>,
}

impl Columns {
    fn new(name: String, unit: Option<Unit>, series: &Series) -> Self {
        let column = |value: fn(&headroom_engine::journal::SeriesPoint) -> f64| {
            series.points.iter().map(value).collect()
        };
        Self {
            name,
            unit,
            resolution_ms: series.resolution.as_millis(),
            at: series.points.iter().map(|p| p.at.as_millis()).collect(),
            min: column(|p| p.min),
            mean: column(|p| p.mean),
            max: column(|p| p.max),
            last: column(|p| p.last),
        }
    }
}

async fn series(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), SERIES_QUERY)?;
    let fleet = app.handle.fleet().await?;
    let workload_name = workload_name(&name)?;
    let workload = fleet.workload(&workload_name).ok_or_else(|| Problem::no_such_workload(&name))?;
    let until = params.moment(UNTIL.name)?.unwrap_or_else(now);
    let since = params.moment(SINCE.name)?.unwrap_or_else(|| until.minus(Span::hours(1)));
    if since >= until {
        return Err(Problem::parameter(SINCE.name, "the range ends before it begins"));
    }
    let max_points = params.count("points", MAX_POINTS, MAX_POINTS)?;
    let mut names: Vec<String> = params.all("name").map(str::to_owned).collect();
    if names.len() > SERIES {
        return Err(Problem::parameter("name", format!("at most {SERIES} series are read at once")));
    }
    let journal = app.handle.journal();
    if names.is_empty() {
        names = journal.series_names(&workload_name).await?;
        names.truncate(SERIES);
    }
    let query =
        SeveralQuery { workload: workload_name.clone(), series: names.clone(), since, until, max_points };
    let found = journal.several(query).await?;
    let columns = names.into_iter().zip(&found).map(|(name, series)| {
        let unit = workload.signals.get(name.as_str()).map(|signal| signal.unit());
        Columns::new(name, unit, series)
    });
    let series = columns.collect();
    let answer = SeriesAnswer { workload: workload_name, since, until, series };
    Ok(if params.csv()? { answer.csv() } else { Json(answer).into_response() })
}

impl SeriesAnswer {
    /// One line for each point of each series.
    fn csv(&self) -> Response {
        let header = ["at", "series", "unit", "resolution_ms", "min", "mean", "max", "last"];
        let rows = self.series.iter().flat_map(|one| {
            one.at.iter().enumerate().map(move |(i, at)| {
                let value = |column: &[f64]| cell(column.get(i));
                [
                    Timestamp::from_millis(*at).to_string(),
                    one.name.clone(),
                    cell(one.unit.map(code)),
                    one.resolution_ms.to_string(),
                    value(&one.min),
                    value(&one.mean),
                    value(&one.max),
                    value(&one.last),
                ]
            })
        });
        csv(&format!("{}-series", self.workload), header, rows)
    }
}

/// Notices, newest first.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Notices {
    /// The notices.
    notices: Vec<Notice>,
    /// Where older ones begin, if there are more: hand it back as `before`.
    next: Option<String>,
}

async fn notices(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), NOTICES_QUERY)?;
    let language = params.language()?;
    let Page { entries, older } = app.handle.journal().notices(page_query(&params, None)?).await?;
    let entries = entries.into_iter().map(|notice| notice.told_in(language));
    if params.csv()? {
        let header = ["at", "workload", "code", "message"];
        let row = |n: Notice| [n.at.to_string(), n.workload.to_string(), n.code, n.message];
        return Ok(csv("notices", header, entries.map(row)));
    }
    let answer = Notices { notices: entries.collect(), next: older.map(|cursor| cursor.to_string()) };
    Ok(Json(answer).into_response())
}

async fn policy(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<FleetDocument>, Problem> {
    let params = Params::read(query.as_deref(), POLICY_QUERY)?;
    let mut document = app.handle.fleet().await?.document();
    if params.one("workload").is_some() {
        document.spec.workloads.retain(|name, _| params.all("workload").any(|asked| name.as_str() == asked));
    }
    if !gate::shows_token(&app, &headers).map_err(|problem| *problem)? {
        hide_environment(&mut document);
    }
    Ok(Json(document))
}

/// Environment variables carry passwords, and whoever is on this machine may read the API.
fn hide_environment(document: &mut FleetDocument) {
    for workload in document.spec.workloads.values_mut() {
        match &mut workload.target {
            TargetSettings::Process(process) => {
                process.env.values_mut().for_each(|value| "***".clone_into(value));
            }
        }
    }
}

// Plans.

/// A plan in words.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PlanAnswer {
    /// The plan; keep it and hand it to `apply` to do exactly that.
    plan: Plan,
    /// Why, by workload.
    explanations: Explanations,
}

async fn plan(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Json<PlanAnswer>, Problem> {
    make_plan(&app, query.as_deref(), None).await
}

async fn plan_policy(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Body(document): Body<FleetDocument>,
) -> Result<Json<PlanAnswer>, Problem> {
    let fleet = Fleet::new(document).map_err(Problem::policy)?;
    make_plan(&app, query.as_deref(), Some(Arc::new(fleet))).await
}

async fn make_plan(
    app: &App,
    query: Option<&str>,
    fleet: Option<Arc<Fleet>>,
) -> Result<Json<PlanAnswer>, Problem> {
    let language = Params::read(query, &[LANG])?.language()?;
    let plan = app.handle.plan(fleet).await?;
    let explained = plan.workloads.iter().map(|e| (e.workload.clone(), explain(&e.decision, language)));
    Ok(Json(PlanAnswer { explanations: explained.collect(), plan }))
}

/// What applying a plan set in motion.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Applied {
    /// The counts asked for, by workload. Workloads that stay as they are do not stand here.
    asked: BTreeMap<WorkloadName, Replicas>,
}

async fn apply(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Body(plan): Body<Plan>,
) -> Result<Json<Applied>, Problem> {
    let by = Params::read(query.as_deref(), BY)?.by()?;
    let changing = plan.workloads.iter().filter(|entry| entry.to != entry.saw);
    let asked = changing.map(|entry| (entry.workload.clone(), entry.to)).collect();
    app.handle.apply(plan, by).await?;
    Ok(Json(Applied { asked }))
}

// A person's word.

/// How long a workload is to be left alone, and why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FreezeRequest {
    /// For how long; without it until it is thawed.
    #[serde(rename = "for", default)]
    length: Option<Span>,
    /// Why; whoever asks "why did nothing happen?" reads it.
    why: String,
}

async fn freeze(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    Body(request): Body<FreezeRequest>,
) -> Result<Json<Freeze>, Problem> {
    let by = Params::read(query.as_deref(), BY)?.by()?;
    plain_text("why", &request.why, 200)?;
    if request.length.is_some_and(|length| length.is_zero() || length > LONGEST_FREEZE) {
        let why =
            format!("`for` is a length of time up to {LONGEST_FREEZE}, or absent to freeze until thawed");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-length", why));
    }
    let freeze = Freeze { until: request.length.map(|length| now().plus(length)), by, why: request.why };
    app.handle.say(&workload_name(&name)?, Override::Freeze(freeze.clone())).await?;
    Ok(Json(freeze))
}

async fn thaw(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Problem> {
    Params::read(query.as_deref(), &[])?;
    app.handle.say(&workload_name(&name)?, Override::Thaw).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why a person says what they say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhyRequest {
    /// Why; whoever looks back reads it.
    why: String,
}

async fn approve(
    state: State<Arc<App>>,
    id: Path<String>,
    query: RawQuery,
    body: Body<WhyRequest>,
) -> Result<StatusCode, Problem> {
    answer(state, id, query, body, true).await
}

async fn reject(
    state: State<Arc<App>>,
    id: Path<String>,
    query: RawQuery,
    body: Body<WhyRequest>,
) -> Result<StatusCode, Problem> {
    answer(state, id, query, body, false).await
}

async fn answer(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    Body(request): Body<WhyRequest>,
    approved: bool,
) -> Result<StatusCode, Problem> {
    let by = Params::read(query.as_deref(), BY)?.by()?;
    plain_text("why", &request.why, 200)?;
    let decision: DecisionId =
        id.parse().map_err(|e| Problem::new(StatusCode::NOT_FOUND, "no-such-decision", format!("{e}")))?;
    let workload = decision.workload.clone();
    app.handle.say(&workload, Override::Answer { decision, approved, by, why: request.why }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn close_breaker(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Body(request): Body<WhyRequest>,
) -> Result<StatusCode, Problem> {
    let by = Params::read(query.as_deref(), BY)?.by()?;
    plain_text("why", &request.why, 200)?;
    app.handle.order(Order::CloseBreaker { by, why: request.why }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A value of a signal.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PushRequest {
    /// The value in the signal's unit: ratios as 0.7, durations in seconds.
    value: Level,
    /// When it was true; by default now.
    #[serde(default)]
    at: Option<Timestamp>,
}

/// What was taken.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    /// When the value is held to be true.
    at: Timestamp,
}

async fn push(
    State(app): State<Arc<App>>,
    Path((workload, signal)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    Body(request): Body<PushRequest>,
) -> Result<Response, Problem> {
    Params::read(query.as_deref(), &[])?;
    let fleet = app.handle.fleet().await?;
    let name = workload_name(&workload)?;
    let settings = fleet.workload(&name).ok_or_else(|| Problem::no_such_workload(&workload))?;
    let none = || {
        let pushed = settings.signals.iter().filter(|(_, s)| matches!(s.source, SignalSource::Push(_)));
        let names: Vec<_> = pushed.map(|(name, _)| name.as_str()).collect();
        let problem = Problem::new(
            StatusCode::NOT_FOUND,
            "no-such-signal",
            format!("`{workload}` has no pushed signal called `{signal}`"),
        );
        problem.help(if names.is_empty() {
            "give the signal a `push` source in the policy".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        })
    };
    let signal_name: SignalName = signal.parse().map_err(|_| none())?;
    let pushed =
        settings.signals.get(&signal_name).is_some_and(|s| matches!(s.source, SignalSource::Push(_)));
    if !pushed {
        return Err(none());
    }
    let present = now();
    let at = request.at.unwrap_or(present);
    if at > present.plus(CLOCK_SLACK) {
        let why = format!("the value is of {at}, and here it is {present}");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "from-the-future", why)
            .help("set the sender's clock, or leave `at` out"));
    }
    let value = Measured { workload: name, signal: signal_name, value: Ok(Sample::new(at, request.value)) };
    app.handle.push(vec![value]).await?;
    Ok((StatusCode::ACCEPTED, Json(Pushed { at })).into_response())
}

// Probes.

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    match tokio::time::timeout(READY_WITHIN, app.handle.fleet()).await {
        Ok(answer) => {
            answer?;
            Ok("ready\n")
        }
        Err(_) => Err(Problem::busy("the engine does not answer")),
    }
}

async fn openapi(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.openapi.clone())
}

fn workload_name(text: &str) -> Result<WorkloadName, Problem> {
    text.parse().map_err(|_| Problem::no_such_workload(text))
}
