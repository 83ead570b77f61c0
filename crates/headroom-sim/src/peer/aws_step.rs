//! AWS step scaling on average CPU, with the steps of the manual's example.
//!
//! One alarm at 50 %, two one-minute periods. From 60 % on 10 % are added, from 70 % on 30 %; below 40 % 10 % are
//! taken away, below 30 % 30 %. Percentages above one replica round down, below one up to one. Instances that
//! warm up count as added already, and block shrinking.

use super::cloudwatch::Metric;
use super::{Peer, Seat, Seen};
use crate::world::Figure;

/// Periods the alarm needs.
const PERIODS: usize = 2;
/// From which utilisation on which share is added.
const UP: [(f64, f64); 2] = [(0.7, 0.3), (0.6, 0.1)];
/// Up to which utilisation which share is taken away.
const DOWN: [(f64, f64); 2] = [(0.3, 0.3), (0.4, 0.1)];
/// Default instance warm-up.
const WARM_UP_S: u64 = 300;

/// Step scaling.
#[derive(Debug)]
pub(crate) struct StepScaling {
    cpu: Metric,
    warm_up: u64,
    min: u32,
    max: u32,
    /// The count when the growth under way began, and the step at which its last instance is warm.
    growth: Option<(u32, u64)>,
}

impl StepScaling {
    pub(crate) fn new(seat: &Seat<'_>) -> Self {
        Self {
            cpu: Metric::new(seat),
            warm_up: seat.steps(WARM_UP_S),
            min: seat.min,
            max: seat.max,
            growth: None,
        }
    }
}

/// `share` of `count` in replicas: rounded down above one, up to one below.
fn percent_change(count: u32, share: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small count")]
    let change = (f64::from(count) * share + 1e-9) as u32;
    change.max(1)
}

impl Peer for StepScaling {
    fn step(&mut self, seen: &Seen<'_>) -> Option<u32> {
        if seen.step == 0 || !self.cpu.push(seen.step, seen.plant.figure(Figure::Busy)) {
            return None;
        }
        let current = seen.plant.wanted();
        self.growth = self.growth.filter(|(_, warm)| seen.step < *warm);
        let up = UP.iter().find(|(from, _)| self.cpu.all(PERIODS, |v| v >= *from));
        let down = DOWN.iter().find(|(to, _)| self.cpu.all(PERIODS, |v| v <= *to));
        let wanted = match (up, down, self.growth) {
            (Some((_, share)), _, growth) => {
                let base = growth.map_or(current, |(base, _)| base);
                base.saturating_add(percent_change(base, *share)).max(current)
            }
            (None, Some((_, share)), None) => current.saturating_sub(percent_change(current, *share)),
            _ => current,
        };
        let wanted = wanted.min(self.max).max(self.min);
        if wanted > current {
            let base = self.growth.map_or(current, |(base, _)| base);
            self.growth = Some((base, seen.step + self.warm_up));
        }
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::testing::fly;

    #[test]
    fn percentages_round_as_the_manual_says() {
        for (count, share, expected) in [(10, 0.1, 1), (10, 0.3, 3), (3, 0.1, 1), (19, 0.1, 1), (20, 0.1, 2)]
        {
            assert_eq!(percent_change(count, share), expected, "{share} of {count}");
        }
    }

    #[test]
    fn steps_follow_the_breach_and_warm_ups() {
        let changes = fly(StepScaling::new, 10, 3000, |s| if s >= 600 { 850.0 } else { 500.0 });
        assert_eq!(changes[0].1, 13, "{changes:?}");
        assert!((720..=800).contains(&changes[0].0), "{changes:?}");
        assert!(changes.iter().all(|(s, n)| *n <= 13 || *s >= changes[0].0 + 300), "{changes:?}");
    }
}
