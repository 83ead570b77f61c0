//! Ports: what the engine needs of the outside.
//!
//! A [`Target`] is looked at and changed, a [`Source`] tells what is measured, a [`Notifier`] is told what people must
//! know. All hold connections, so they are trait objects; what is data (strategies, guards) is not. Each implementation passes the conformance suite of
//! its seam in `headroom-testkit`, and so do the fakes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use headroom_core::action::Action;
use headroom_core::alert::AlertNews;
use headroom_core::controller::Measured;
use headroom_core::names::{FleetName, SignalName, WorkloadName};
use headroom_core::observation::TargetStatus;
use headroom_core::outlook::History;
use headroom_core::units::Timestamp;
use headroom_core::warm::WarmOrder;
use tokio::sync::watch;

/// Why a target could not be looked at or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The action came after its time; the next decision is made on what is there now.
    #[error("the action was valid until {until} and came too late; the next tick decides anew")]
    Stale {
        /// The end of its validity, RFC 3339.
        until: String,
    },
    /// The target did not answer within its deadline.
    #[error("{what} did not answer within {seconds} s")]
    Deadline {
        /// What was asked.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The target refused or failed; its own words, with the next step.
    #[error("{0}")]
    Failed(String),
}

/// How a target is left when the controller stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The replicas go on; the next controller adopts them.
    Running,
    /// The replicas are drained and stopped.
    Stopped,
}

/// What changes the number of replicas of one workload.
#[async_trait]
pub trait Target: Send + Sync {
    /// Looks at the replicas. Sizes come from here and nowhere else.
    async fn look(&self) -> Result<TargetStatus, TargetError>;

    /// Makes it so many. Absolute, so doing it twice is harmless; a stale action is refused. Returns what it
    /// shows once the order is taken (not once the replicas are ready).
    async fn act(&self, action: &Action) -> Result<TargetStatus, TargetError>;

    /// The target's warm pool; `None` where it can keep none, which a policy is told when it is checked.
    fn warm_pool(&self) -> Option<&dyn WarmPool> {
        None
    }

    /// A poke whenever something changed, so that a replica's readiness is noticed at once. It carries no data:
    /// a poke means "look again".
    fn changes(&self) -> watch::Receiver<u64>;

    /// Lets go of the target.
    async fn leave(&self, how: Leave);
}

/// What keeps replicas started and warm beside those that take traffic (A31). A target that does takes from them
/// first when it is asked for more, refills behind, and shows them in [`TargetStatus::pool`] and nowhere else.
#[async_trait]
pub trait WarmPool: Send + Sync {
    /// Keeps so many. Absolute, so doing it twice is harmless. Returns what the target shows once the order is taken.
    async fn keep(&self, order: &WarmOrder) -> Result<TargetStatus, TargetError>;
}

/// News from a source.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Signals were measured, or could not be. Samples of one workload stand together.
    Samples(Vec<Measured>),
    /// Requests wait because no replica is there.
    Waiting {
        /// Whose requests.
        workload: WorkloadName,
        /// How many.
        requests: u32,
    },
    /// A signal's past from before it was measured here, or why it could not be had.
    History {
        /// Whose signal.
        workload: WorkloadName,
        /// Which.
        signal: SignalName,
        /// Its past.
        history: Result<History, String>,
    },
}

/// What signals are read from.
#[async_trait]
pub trait Source: Send {
    /// What the source is called in findings.
    fn name(&self) -> &str;

    /// Waits for the next news; the source keeps its own pace and deadlines, and reports what it can't read as
    /// absent rather than not at all. `None` when there will be no more. Cancel safe.
    async fn next(&mut self) -> Option<News>;
}

/// News of alerts, to be told together.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// When it is told.
    pub at: Timestamp,
    /// Of which fleet.
    pub fleet: FleetName,
    /// Where people reach the page, if that is known.
    pub page: Option<String>,
    /// The news, oldest first; never empty.
    pub news: Vec<AlertNews>,
    /// What the message that began an alert is called by whoever took it, by the alert's id, as far as that is known.
    pub threads: BTreeMap<String, String>,
}

/// Why a notifier was not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// It may work later: nobody answers, it is overloaded, the secret is not there.
    #[error("{0}")]
    Later(String),
    /// It refuses this very message, in its own words.
    #[error("it refused the message: {0}")]
    Refused(String),
}

/// What tells people, or programs that do.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Tells them; gives what the message is called by whoever took it, where what follows can be told with it. The same
    /// news may come again, where it is not known whether it arrived; its alert's id and state tell. It is given up
    /// when the time is over.
    ///
    /// # Errors
    /// Where it did not arrive; [`TellError::Later`] is tried again until it does.
    async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError>;
}
