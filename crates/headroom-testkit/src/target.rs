//! A target without a world: what depends on a controller alone is tested and measured with it.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use headroom_core::action::Action;
use headroom_core::observation::TargetStatus;
use headroom_core::units::Replicas;
use headroom_engine::ports::{Leave, Target, TargetError};
use tokio::sync::watch;

/// A target that has at once what it is asked for.
#[derive(Debug)]
pub struct Instantly {
    count: Mutex<Replicas>,
    changed: watch::Sender<u64>,
}

impl Instantly {
    /// One that begins with so many replicas, all of them ready.
    #[must_use]
    pub fn with(count: Replicas) -> Self {
        Self { count: Mutex::new(count), changed: watch::channel(0).0 }
    }

    /// What it has now.
    #[must_use]
    pub fn status(&self) -> TargetStatus {
        let count = *self.count.lock().unwrap_or_else(PoisonError::into_inner);
        TargetStatus { wanted: count, ready: count, ..TargetStatus::default() }
    }
}

#[async_trait]
impl Target for Instantly {
    async fn look(&self) -> Result<TargetStatus, TargetError> {
        Ok(self.status())
    }

    async fn act(&self, action: &Action) -> Result<TargetStatus, TargetError> {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) = action.to();
        Ok(self.status())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn leave(&self, _: Leave) {}
}
