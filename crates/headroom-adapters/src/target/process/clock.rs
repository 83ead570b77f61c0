//! Time as the supervisor sees it: counted from the machine's start, so that it neither jumps with the
//! wall clock nor begins anew with the controller. A replica adopted after a restart keeps its age.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A point in time, as the time since the machine started. Comparable across controllers of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) const fn since_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after `earlier` this is; zero if it isn't.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// Reads moments, and turns them into what tokio waits for and what people read.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    instant: Instant,
    moment: Moment,
    wall: Timestamp,
}

impl Clock {
    /// A clock whose `moment` is this very instant.
    pub(crate) fn anchored(moment: Moment, wall: Timestamp) -> Self {
        Self { instant: Instant::now(), moment, wall }
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment + self.instant.elapsed()
    }

    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.instant + at.since(self.moment)
    }

    /// The wall-clock time of a moment, with the wall clock as it stood when this clock was made.
    pub(crate) fn wall(&self, at: Moment) -> Timestamp {
        let shifted = if at >= self.moment {
            self.wall.checked_add(at.since(self.moment))
        } else {
            self.wall.checked_sub(self.moment.since(at))
        };
        shifted.unwrap_or(self.wall)
    }
}
