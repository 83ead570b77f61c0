//! How the rest of the program talks to the running engine.
//!
//! A handle is cheap to clone and never blocks the loop: questions are answered from the loop between two
//! batches, events are broadcast, and whoever reads too slowly misses events, not the loop its second.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom_core::action::ActionRecord;
use headroom_core::alert::Alert;
use headroom_core::capacity::Capacity;
use headroom_core::controller::{Measured, Notice, Order, Override};
use headroom_core::decision::{Decision, DecisionId, SeenSignal};
use headroom_core::fleet::{Fleet, ReplicaRange};
use headroom_core::guard::Watched;
use headroom_core::memory::{Freeze, Pending};
use headroom_core::names::{FleetName, SignalName, WorkloadName};
use headroom_core::observation::{PoolStatus, TargetStatus};
use headroom_core::outlook::{Foresight, NearForecast, Peak};
use headroom_core::start_up::Times;
use headroom_core::together::{Opened, Part};
use headroom_core::units::{Price, Replicas, Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::driver::{Message, paid_for};
use crate::figures::Figures;
use crate::journal::Journal;
use crate::outbox::{NotifierView, Notifiers};
use crate::plan::Plan;
use crate::ports::News;
use crate::sources::SourceView;

/// Events a slow reader may lag behind before it misses some: a thousand workloads that all change at once make four
/// thousand before anyone can read.
pub(crate) const EVENT_BACKLOG: usize = 8192;

/// Something that readers may want to see at once.
#[derive(Clone, Debug)]
pub enum Event {
    /// A decision was recorded.
    Decided(Arc<Decision>),
    /// People must know something.
    Noticed(Arc<Notice>),
    /// A target is asked for a count, now.
    Acting(ActionRecord),
    /// What a target was asked for was taken, or not.
    Settled {
        /// Whose action it was.
        decision: DecisionId,
        /// Why it was not done; `None` where it was.
        failed: Option<String>,
    },
    /// A workload's replicas or freeze changed: read its view again.
    Changed(WorkloadName),
    /// Another policy is in force.
    FleetChanged,
}

/// The fleet at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The moment of the view.
    pub at: Timestamp,
    /// What the fleet is called.
    pub fleet: FleetName,
    /// Whether decisions are only said, not done.
    pub advise: bool,
    /// When this controller started.
    pub started_at: Timestamp,
    /// Its workloads, by name.
    pub workloads: Vec<WorkloadView>,
    /// The breaker, where it is open: too much of the fleet changed at once.
    #[serde(default)]
    pub breaker: Option<Opened>,
    /// The last things people had to know, newest first.
    pub notices: Vec<Notice>,
    /// The alerts that are raised, the most severe first.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// The sources that were heard, by name.
    #[serde(default)]
    pub sources: Vec<SourceView>,
    /// Who can be told, by name.
    #[serde(default)]
    pub notifiers: Vec<NotifierView>,
}

/// What people must know now, without the workloads.
#[derive(Clone, Debug)]
pub struct Watching {
    /// The alerts that are raised, the most severe first.
    pub alerts: Vec<Alert>,
    /// The sources that were heard, by name.
    pub sources: Vec<SourceView>,
    /// Who can be told, by name.
    pub notifiers: Vec<NotifierView>,
}

/// One workload as it is now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadView {
    /// Which workload.
    pub name: WorkloadName,
    /// Its tier.
    pub tier: Option<String>,
    /// The bounds of its count.
    pub range: ReplicaRange,
    /// What one replica costs, where that is known.
    pub price: Option<Price>,
    /// Where its balancer listens; absent where it has none, and while it does not listen (`status.troubles` says why).
    pub listen: Option<String>,
    /// The last look at its target, and when that was; `None` before the first.
    pub seen_at: Option<Timestamp>,
    /// See `seen_at`.
    pub status: Option<TargetStatus>,
    /// Its signals as last decided on.
    pub signals: Vec<SeenSignal>,
    /// The freeze in force.
    pub freeze: Option<Freeze>,
    /// The change that waits for a person's word.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// The change that is being watched, where the policy asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
    /// What it shares with others, and how much of it each of its replicas may take now.
    #[serde(default)]
    pub shares: Vec<Part>,
    /// The last decision, which may be to do nothing.
    pub latest: Option<Decision>,
    /// Measured start-up times (C6).
    pub start_up: StartUpView,
    /// Measured drain times (C6); `None` before the first drain has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Times>,
    /// What one replica carries within the objective, where a strategy reckons with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// What is foreseen of its load, where a signal is forecast (of several: the first by name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Foresight>,
    /// How the forecast has done that an objective acts on (of several objectives: the first's that has a record).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<NearForecast>,
    /// What it costs now, where the price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostView>,
}

/// Measured start-up times.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartUpView {
    /// How many starts are remembered.
    pub seen: usize,
    /// Half of them took no longer.
    pub p50: Option<Span>,
    /// What a decision reckons with: nine of ten took no longer.
    pub p90: Option<Span>,
    /// The longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
}

/// What a workload costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostView {
    /// All its replicas that run, whatever they do, the warm pool included.
    pub per_hour: Price,
    /// What the warm pool is of it.
    pub warm_pool: Price,
}

impl CostView {
    /// What `status` costs at `price` a replica.
    #[must_use]
    pub fn of(price: Price, status: &TargetStatus) -> Self {
        let warm = status.pool.as_ref().map_or(Replicas::ZERO, PoolStatus::running);
        Self { per_hour: price.times(paid_for(status)), warm_pool: price.times(warm) }
    }
}

/// Why the engine did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The engine has stopped.
    #[error("the controller is shutting down")]
    Gone,
    /// There is no such workload.
    #[error("no workload called `{0}` in this fleet")]
    NoSuchWorkload(WorkloadName),
    /// No such change waits.
    #[error("nothing called `{0}` waits for approval; `headroom status` shows what does")]
    NotPending(DecisionId),
    /// The breaker is not open.
    #[error("the breaker is closed: nothing is held back by it")]
    NotOpen,
    /// The world is not the one the plan saw.
    #[error("{0}")]
    PlanRefused(String),
    /// What was asked could not be written down, so it was not done.
    #[error("the journal could not be written, so nothing was done: {0}")]
    Journal(String),
}

/// Talks to a running engine.
#[derive(Clone)]
pub struct EngineHandle {
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) journal: Journal,
}

impl EngineHandle {
    /// The fleet at a glance.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn overview(&self) -> Result<Overview, HandleError> {
        self.ask(Message::Overview).await
    }

    /// The alerts, sources and notifiers alone: a fleet of thousands is not looked over for them.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn watching(&self) -> Result<Watching, HandleError> {
        self.ask(Message::Watching).await
    }

    /// One workload as it is now.
    ///
    /// # Errors
    /// [`HandleError::NoSuchWorkload`], [`HandleError::Gone`].
    pub async fn workload(&self, name: &WorkloadName) -> Result<WorkloadView, HandleError> {
        let asked = name.clone();
        self.ask(|answer| Message::Workload(asked, answer))
            .await?
            .ok_or_else(|| HandleError::NoSuchWorkload(name.clone()))
    }

    /// The highest load of a forecast signal between now and `ahead`, at a level of
    /// [`LEVELS`](headroom_core::outlook::LEVELS); `None` where nothing is foreseen so far.
    ///
    /// # Errors
    /// [`HandleError::NoSuchWorkload`], [`HandleError::Gone`].
    pub async fn foreseen(
        &self,
        workload: &WorkloadName,
        signal: &SignalName,
        level: f64,
        ahead: Span,
    ) -> Result<Option<Peak>, HandleError> {
        let (workload, signal) = (workload.clone(), signal.clone());
        self.ask(|answer| Message::Foreseen { workload, signal, level, ahead, answer }).await?
    }

    /// The forecast signals that a past from elsewhere would be of use to: those that were never given one and have
    /// no day of their own yet.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn lacking_history(&self) -> Result<Vec<(WorkloadName, SignalName)>, HandleError> {
        self.ask(Message::LackingHistory).await
    }

    /// What the engine counted since its start.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn figures(&self) -> Result<Figures, HandleError> {
        self.ask(Message::Figures).await
    }

    /// The policy in force.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn fleet(&self) -> Result<Arc<Fleet>, HandleError> {
        self.ask(Message::Fleet).await
    }

    /// Says something about a workload; returns once it is written down and in force.
    ///
    /// # Errors
    /// [`HandleError::NoSuchWorkload`], [`HandleError::Journal`], [`HandleError::Gone`].
    pub async fn say(&self, workload: &WorkloadName, word: Override) -> Result<(), HandleError> {
        let workload = workload.clone();
        self.ask(|answer| Message::Say { workload, word, answer }).await?
    }

    /// Says something about the fleet as a whole; returns once it is written down and in force.
    ///
    /// # Errors
    /// [`HandleError::NotOpen`], [`HandleError::Journal`], [`HandleError::Gone`].
    pub async fn order(&self, word: Order) -> Result<(), HandleError> {
        self.ask(|answer| Message::Order { word, answer }).await?
    }

    /// Takes in values that someone sends.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn push(&self, samples: Vec<Measured>) -> Result<(), HandleError> {
        self.tell("push", News::Samples(samples)).await
    }

    /// Takes in one piece of news of the source `name`.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn tell(&self, name: &str, news: News) -> Result<(), HandleError> {
        self.messages.send(Message::News(name.into(), news)).await.map_err(|_| HandleError::Gone)
    }

    /// What would change now, under the policy in force or under `fleet`.
    ///
    /// # Errors
    /// [`HandleError::Gone`].
    pub async fn plan(&self, fleet: Option<Arc<Fleet>>) -> Result<Plan, HandleError> {
        self.ask(|answer| Message::Plan { fleet, answer }).await
    }

    /// Does exactly what a plan says.
    ///
    /// # Errors
    /// [`HandleError::PlanRefused`] where the world has moved; nothing is done then. Else as [`Self::say`].
    pub async fn apply(&self, plan: Plan, by: String) -> Result<(), HandleError> {
        self.ask(|answer| Message::Apply { plan: Box::new(plan), by, answer }).await?
    }

    /// Puts another policy in force. The caller has made its targets, notifiers and sources ready.
    ///
    /// # Errors
    /// [`HandleError::Journal`], [`HandleError::Gone`].
    pub async fn change_fleet(
        &self,
        fleet: Fleet,
        targets: crate::driver::Targets,
        notifiers: Notifiers,
    ) -> Result<(), HandleError> {
        self.ask(|answer| Message::ChangeFleet { fleet: Box::new(fleet), targets, notifiers, answer }).await?
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// What happened so far.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Stops the loop after what is under way is written down.
    pub async fn stop(&self) {
        // Where nobody listens any more it has stopped already.
        let _ = self.messages.send(Message::Stop).await;
    }

    /// Where the balancers of some workloads listen; told by the wiring once they do.
    pub async fn listening(&self, addresses: BTreeMap<WorkloadName, String>) {
        let _ = self.messages.send(Message::Listening(addresses)).await;
    }

    /// Where the API listens, for the links of messages; told by the wiring once it does.
    pub async fn page(&self, address: String) {
        let _ = self.messages.send(Message::Page(address)).await;
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, HandleError> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(message(answer)).await.map_err(|_| HandleError::Gone)?;
        answered.await.map_err(|_| HandleError::Gone)
    }
}
