//! What happens, as it happens: server-sent events.
//!
//! The engine is asked for its overview once a second, however many listen, and not at all while nobody does. A
//! listener that reads too slowly misses events, is told so (`missed`), and reads the state again: so an event is a
//! reason to look, and nobody needs `Last-Event-ID`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use headroom_core::decision::{DecisionId, Outcome};
use headroom_core::memory::Pending;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::reading::Reading;
use headroom_core::say::{self, Language};
use headroom_core::together::Opened;
use headroom_core::units::{Level, Replicas, Timestamp};
use headroom_engine::handle::{EngineHandle, Event, Overview, WorkloadView};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::MissedTickBehavior;

use crate::explained::ExplainedDecision;
use crate::params::{LANG, Params};
use crate::problem::Problem;
use crate::{App, stopped};

/// Listeners at once. Each costs a task and some kilobytes a second; a team has open pages, not thousands.
pub(crate) const LISTENERS: usize = 64;
/// Overviews that may wait for a slow listener; older ones are of no use.
pub(crate) const OVERVIEWS: usize = 4;
/// How often the overview is sent: as often as the engine ticks.
const EVERY: Duration = Duration::from_secs(1);
/// How often a silent stream is kept alive: below the 30 s after which proxies tend to cut.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The fleet in figures, once a second.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// The moment of the view.
    at: Timestamp,
    /// The workloads, by name.
    workloads: Vec<WorkloadSummary>,
    /// The breaker, where it is open.
    breaker: Option<Opened>,
}

/// One workload in figures.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WorkloadSummary {
    /// Which workload.
    name: WorkloadName,
    /// When its target was looked at last.
    seen_at: Option<Timestamp>,
    /// Its replicas, once they were seen.
    replicas: Option<Counts>,
    /// Its signals as last decided on; `null` where there is no fresh value.
    signals: std::collections::BTreeMap<SignalName, Option<Level>>,
    /// The last decision.
    decision: Option<DecisionSummary>,
    /// Whether a person froze it.
    frozen: bool,
    /// The change that waits for a person's word.
    pending: Option<Pending>,
}

/// Replicas by what they do.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Counts {
    wanted: Replicas,
    ready: Replicas,
    starting: Replicas,
    draining: Replicas,
    failed: Replicas,
}

/// A decision in one line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DecisionSummary {
    /// Which one.
    id: DecisionId,
    /// When.
    at: Timestamp,
    /// What came of it.
    outcome: Outcome,
    /// The one sentence.
    headline: String,
    /// Until when it stays so by itself, where that is known.
    until: Option<Timestamp>,
}

impl Summary {
    fn new(overview: &Overview, language: Language) -> Self {
        let workloads = overview.workloads.iter().map(|view| WorkloadSummary::new(view, language));
        Self { at: overview.at, workloads: workloads.collect(), breaker: overview.breaker.clone() }
    }
}

impl WorkloadSummary {
    fn new(view: &WorkloadView, language: Language) -> Self {
        let fresh = |reading: &Reading| reading.fresh().map(|sample| sample.value);
        Self {
            name: view.name.clone(),
            seen_at: view.seen_at,
            replicas: view.status.as_ref().map(|s| Counts {
                wanted: s.wanted,
                ready: s.ready,
                starting: s.starting,
                draining: s.draining,
                failed: s.failed,
            }),
            signals: view.signals.iter().map(|s| (s.name.clone(), fresh(&s.reading))).collect(),
            decision: view.latest.as_ref().map(|decision| DecisionSummary {
                id: decision.id.clone(),
                at: decision.at,
                outcome: decision.outcome,
                headline: say::headline(decision, language),
                until: decision.main_reason().and_then(headroom_core::reason::Reason::until),
            }),
            frozen: view.freeze.is_some(),
            pending: view.pending.clone(),
        }
    }
}

/// Sends the overview once a second while someone listens, until the server stops.
pub(crate) async fn tell_overview(
    handle: EngineHandle,
    overviews: broadcast::Sender<Arc<Overview>>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stopped(&mut stopping) => return,
        }
        if overviews.receiver_count() == 0 {
            continue;
        }
        let Ok(overview) = handle.overview().await else { return };
        // The last listener may just have gone.
        let _ = overviews.send(Arc::new(overview));
    }
}

/// One listener's view of the engine.
struct Listener {
    events: broadcast::Receiver<Event>,
    overviews: broadcast::Receiver<Arc<Overview>>,
    stopping: watch::Receiver<bool>,
    language: Language,
    first: Option<Arc<Overview>>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event; `None` when the engine or the server stops.
    async fn next(&mut self) -> Option<Sse> {
        if let Some(overview) = self.first.take() {
            return self.overview(&overview);
        }
        tokio::select! {
            () = stopped(&mut self.stopping) => None,
            event = self.events.recv() => match event {
                Ok(Event::Decided(decision)) => {
                    json("decision", &ExplainedDecision::new((*decision).clone(), self.language))
                }
                Ok(Event::Noticed(notice)) => json("notice", &*notice),
                Ok(Event::Acting(action)) => json("action", &action),
                Ok(Event::Changed(workload)) => json("changed", &workload),
                Ok(Event::FleetChanged) => json("fleet", &()),
                Err(RecvError::Lagged(events)) => json("missed", &events),
                Err(RecvError::Closed) => None,
            },
            overview = self.overviews.recv() => match overview {
                Ok(overview) => self.overview(&overview),
                Err(RecvError::Lagged(overviews)) => json("missed", &overviews),
                Err(RecvError::Closed) => None,
            },
        }
    }

    fn overview(&self, overview: &Overview) -> Option<Sse> {
        json("overview", &Summary::new(overview, self.language))
    }
}

fn json(name: &str, data: &impl Serialize) -> Option<Sse> {
    // None of the types that are sent here can fail to become JSON.
    Sse::default().event(name).json_data(data).ok()
}

/// `GET /api/v1/events`
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let language = Params::read(query.as_deref(), &[LANG])?.language()?;
    let place = Arc::clone(&app.places).try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-listeners",
            format!("{LISTENERS} listen already"),
        )
        .help("close a page, or read /api/v1/overview now and then")
    })?;
    // Listening begins before the first look, so nothing falls between the two.
    let (events, overviews) = (app.handle.events(), app.overviews.subscribe());
    let listener = Listener {
        events,
        overviews,
        stopping: app.stopping.clone(),
        language,
        first: Some(Arc::new(app.handle.overview().await?)),
        _place: place,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(Stream::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
