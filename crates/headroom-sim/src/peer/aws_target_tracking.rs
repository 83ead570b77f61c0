//! AWS target tracking on average CPU with its defaults.
//!
//! Two alarms: growing after three one-minute periods above the target, in proportion; shrinking after fifteen
//! periods below 90 % of it, slowly, and not while an instance warms up (300 s by default) or within the cooldown
//! of 300 s.

use headroom_core::units::Span;

use super::cloudwatch::Metric;
use super::{Peer, Seat, Seen, TARGET, ceil};
use crate::world::Figure;

/// Periods above the target before it grows.
const HIGH_PERIODS: usize = 3;
/// Periods below before it shrinks.
const LOW_PERIODS: usize = 15;
/// The lower alarm's share of the target.
const LOW_SHARE: f64 = 0.9;
/// Default instance warm-up and default cooldown.
const WARM_UP_S: u64 = 300;

/// Target tracking.
#[derive(Debug)]
pub(crate) struct TargetTracking {
    cpu: Metric,
    warm_up: u64,
    min: u32,
    max: u32,
    last_up: Option<u64>,
    last_down: Option<u64>,
}

impl TargetTracking {
    pub(crate) fn new(seat: &Seat<'_>) -> Self {
        Self {
            cpu: Metric::new(seat),
            warm_up: seat.steps(WARM_UP_S),
            min: seat.min,
            max: seat.max,
            last_up: None,
            last_down: None,
        }
    }
}

impl Peer for TargetTracking {
    fn step(&mut self, seen: &Seen<'_>) -> Option<u32> {
        if seen.step == 0 || !self.cpu.push(seen.step, seen.plant.figure(Figure::Busy)) {
            return None;
        }
        let current = seen.plant.wanted();
        let cpu = self.cpu.newest()?;
        // Only instances that have warmed up are in the metric; those that warm up count towards the answer.
        let warm = seen.plant.ready_for(Span::seconds(WARM_UP_S)).max(1);
        let pausing = |last: Option<u64>| last.is_some_and(|last| seen.step < last + self.warm_up);
        let wanted = if self.cpu.all(HIGH_PERIODS, |v| v > TARGET) {
            ceil(f64::from(warm) * cpu / TARGET).max(current)
        } else if self.cpu.all(LOW_PERIODS, |v| v < TARGET * LOW_SHARE)
            && !pausing(self.last_up)
            && !pausing(self.last_down)
        {
            ceil(f64::from(current) * cpu / TARGET).min(current)
        } else {
            current
        };
        let wanted = wanted.min(self.max).max(self.min);
        if wanted > current {
            self.last_up = Some(seen.step);
        } else if wanted < current {
            self.last_down = Some(seen.step);
        }
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::testing::fly;

    #[test]
    fn it_grows_after_four_minutes_and_shrinks_after_sixteen() {
        let changes =
            fly(TargetTracking::new, 5, 5000, |s| if (600..1800).contains(&s) { 900.0 } else { 300.0 });
        assert!((780..=900).contains(&changes[0].0), "{changes:?}");
        let down = changes.iter().find(|(s, n)| *s > 1800 && *n < 13).unwrap();
        assert!(down.0 >= 1800 + 15 * 60, "{changes:?}");
    }
}
