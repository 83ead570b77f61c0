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
use headroom_core::decision::DecisionId;
use headroom_core::say::Language;
use headroom_core::together::Opened;
use headroom_core::units::Timestamp;
use headroom_engine::handle::{EngineHandle, Event, Overview};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::MissedTickBehavior;

use crate::lines::{Headline, Line, Told};
use crate::params::{LANG, Params};
use crate::problem::Problem;
use crate::standing::Glance;
use crate::{App, stopped};

/// Listeners at once. Each costs a task and some kilobytes a second; a team has open pages, not thousands.
pub(crate) const LISTENERS: usize = 64;
/// Overviews that may wait for a slow listener; older ones are of no use.
pub(crate) const OVERVIEWS: usize = 4;
/// How often the overview is sent: as often as the engine ticks.
const EVERY: Duration = Duration::from_secs(1);
/// How often a silent stream is kept alive: below the 30 s after which proxies tend to cut.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What is new, once a second.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// The moment of the view.
    at: Timestamp,
    /// The lines of workloads of which there is news.
    workloads: Vec<Line>,
    /// The breaker, where it is open.
    breaker: Option<Opened>,
    /// What people must know now.
    #[serde(flatten)]
    glance: Glance,
}

/// What came of an action.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    /// The decision that was carried out.
    decision: DecisionId,
    /// Why it was not; `null` where it was.
    failed: Option<String>,
}

impl Summary {
    fn new(overview: &Overview, workloads: Vec<Line>, language: Language) -> Self {
        Self {
            at: overview.at,
            workloads,
            breaker: overview.breaker.clone(),
            glance: Glance::new(overview, language),
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
    told: Told,
    /// Says that the stream is open; what is new comes after it.
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
                    json("decision", &Headline::new(&decision, self.language))
                }
                Ok(Event::Noticed(notice)) => {
                    json("notice", &(*notice).clone().told_in(self.language))
                }
                Ok(Event::Acting(action)) => json("action", &action),
                Ok(Event::Settled { decision, failed }) => json("settled", &Ended { decision, failed }),
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

    fn overview(&mut self, overview: &Overview) -> Option<Sse> {
        let news = self.told.news(overview, self.language);
        json("overview", &Summary::new(overview, news, self.language))
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
    let overview = Arc::new(app.handle.overview().await?);
    let listener = Listener {
        events,
        overviews,
        stopping: app.stopping.clone(),
        language,
        told: Told::all(&overview),
        first: Some(overview),
        _place: place,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(Stream::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
