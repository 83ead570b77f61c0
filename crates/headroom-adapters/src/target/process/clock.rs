//! Time as the supervisor sees it: counted from the machine's start, so that it neither jumps with the
//! wall clock nor begins anew with the controller. A replica adopted after a restart keeps its age.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The wall clock is followed when it is off by more: no one reads these times to the second.
const DRIFT: Duration = Duration::from_secs(1);

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

    /// Follows the wall clock when it was set, or went on while the machine slept. Smaller differences are
    /// left, so that the time shown for one moment stays the same.
    pub(crate) fn follow_wall(&mut self, wall: Timestamp) {
        let shown = self.wall(self.now());
        if wall.duration_since(shown).unsigned_abs() > DRIFT {
            let elapsed = self.instant.elapsed();
            self.wall = wall.checked_sub(elapsed).unwrap_or(wall);
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment + self.instant.elapsed()
    }

    /// When an instant was; no earlier than when this clock began.
    pub(crate) fn at(&self, instant: Instant) -> Moment {
        self.moment + instant.saturating_duration_since(self.instant)
    }

    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.instant + at.since(self.moment)
    }

    /// The wall-clock time of a moment, with the wall clock as it was last followed.
    pub(crate) fn wall(&self, at: Moment) -> Timestamp {
        let shifted = if at >= self.moment {
            self.wall.checked_add(at.since(self.moment))
        } else {
            self.wall.checked_sub(self.moment.since(at))
        };
        shifted.unwrap_or(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn the_wall_clock_is_followed_when_it_jumps_and_not_when_it_drifts() {
        let boot = Moment::since_boot(Duration::from_secs(1000));
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        for (jump_ms, followed) in [(0, false), (900, false), (3_600_000, true), (-3_600_000, true)] {
            let mut clock = Clock::anchored(boot, start);
            clock.follow_wall(start + SignedDuration::from_millis(jump_ms));
            assert_eq!(clock.wall(boot) != start, followed, "{jump_ms}");
            assert!(clock.now() < boot + Duration::from_secs(600), "moments don't follow the wall clock");
            let later = clock.wall(boot) + SignedDuration::from_secs(5);
            assert_eq!(clock.wall(boot + Duration::from_secs(5)), later);
        }
    }

    #[test]
    fn a_moment_before_another_is_no_time_after_it() {
        let (early, late) = (Moment::since_boot(Duration::ZERO), Moment::since_boot(Duration::MAX));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::from_secs(1), late, "no overflow");
    }
}
