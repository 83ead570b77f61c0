//! A target together with what stands before it: replicas that nobody can reach are no healthy workload.

use async_trait::async_trait;
use headroom_core::action::Action;
use headroom_core::observation::{TargetStatus, Trouble};
use headroom_engine::ports::{Leave, Target, TargetError, WarmPool};
use tokio::sync::watch;

use super::process::ProcessTarget;

/// What is wrong, now, with something that stands before a target.
pub type InFront = Box<dyn Fn() -> Option<Trouble> + Send + Sync>;

/// A process target, with what is wrong before it among its troubles.
pub struct Fronted {
    target: ProcessTarget,
    before: Vec<InFront>,
}

impl Fronted {
    /// `target` behind all of `before`.
    #[must_use]
    pub fn new(target: ProcessTarget, before: Vec<InFront>) -> Self {
        Self { target, before }
    }

    fn with_troubles(&self, mut status: TargetStatus) -> TargetStatus {
        status.troubles.extend(self.before.iter().filter_map(|trouble| trouble()));
        status
    }
}

#[async_trait]
impl Target for Fronted {
    async fn look(&self) -> Result<TargetStatus, TargetError> {
        Ok(self.with_troubles(self.target.look().await?))
    }

    async fn act(&self, action: &Action) -> Result<TargetStatus, TargetError> {
        Ok(self.with_troubles(self.target.act(action).await?))
    }

    fn warm_pool(&self) -> Option<&dyn WarmPool> {
        self.target.warm_pool()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.target.changes()
    }

    async fn leave(&self, how: Leave) {
        self.target.leave(how).await;
    }
}
