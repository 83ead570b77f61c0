//! Knative's pod autoscaler (KPA) with its defaults.
//!
//! Every 2 s it compares the mean concurrency of the last 60 s, and of the last 6 s, with the target: 70 % of what
//! a replica works on at once. If the short mean needs twice the ready replicas or more, it panics: for the next
//! 60 s it follows the short mean and never shrinks. It shrinks to no less than half at a time.

use super::{Peer, Seat, Seen, TARGET, ceil};
use crate::average::Average;
use crate::world::Figure;

/// `tick-interval`.
const TICK_S: u64 = 2;
/// `stable-window`.
const STABLE_S: u64 = 60;
/// `panic-window-percentage`: 10 % of the stable window.
const PANIC_S: u64 = 6;
/// `panic-threshold-percentage`: 200 %.
const PANIC_AT: f64 = 2.0;
/// `max-scale-down-rate`.
const DOWN_RATE: f64 = 2.0;
/// `max-scale-up-rate`.
const UP_RATE: f64 = 1000.0;

/// The KPA on concurrency.
#[derive(Debug)]
pub(crate) struct Kpa {
    tick: u64,
    stable_steps: u64,
    stable: Average,
    panic: Average,
    target: f64,
    min: u32,
    max: u32,
    /// The step of the last excess, and the highest count since the panic began.
    panicking: Option<(u64, u32)>,
}

impl Kpa {
    pub(crate) fn new(seat: &Seat<'_>) -> Self {
        let over = |s: u64| Average::over(usize::try_from(seat.steps(s)).unwrap_or(1));
        Self {
            tick: seat.steps(TICK_S),
            stable_steps: seat.steps(STABLE_S),
            stable: over(STABLE_S),
            panic: over(PANIC_S),
            target: TARGET * f64::from(seat.model.workers()),
            min: seat.min,
            max: seat.max,
            panicking: None,
        }
    }
}

impl Peer for Kpa {
    fn step(&mut self, seen: &Seen<'_>) -> Option<u32> {
        if seen.step == 0 {
            return None;
        }
        let concurrency = seen.plant.figure(Figure::InFlight);
        self.stable.push(concurrency);
        self.panic.push(concurrency);
        if !seen.step.is_multiple_of(self.tick) {
            return None;
        }
        let ready = f64::from(seen.plant.ready().max(1));
        let (up, down) = ((UP_RATE * ready).ceil(), (ready / DOWN_RATE).floor());
        let want = |mean: f64| (mean / self.target).ceil().clamp(down, up);
        let (stable, panic) = (want(self.stable.mean()?), want(self.panic.mean()?));
        let excess = (self.panic.mean()? / self.target).ceil() / ready >= PANIC_AT;
        self.panicking = match (self.panicking, excess) {
            (None, true) => Some((seen.step, 0)),
            (Some((_, most)), true) => Some((seen.step, most)),
            (Some((last, _)), false) if seen.step > last + self.stable_steps => None,
            (before, false) => before,
        };
        let wanted = match &mut self.panicking {
            Some((_, most)) => {
                *most = (*most).max(ceil(panic)).max(ceil(stable)).max(seen.plant.ready());
                *most
            }
            None => ceil(stable),
        };
        Some(wanted.min(self.max).max(self.min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::testing::fly;

    #[test]
    fn a_surge_makes_it_panic_and_a_calm_minute_ends_that() {
        let changes = fly(Kpa::new, 5, 900, |s| if (300..420).contains(&s) { 2000.0 } else { 300.0 });
        let first = changes.iter().find(|(s, n)| *s >= 300 && *n > 5).unwrap();
        assert!(first.0 <= 306, "{changes:?}");
        // The last excess is seen until those asked for are ready, 30 s later.
        let down = changes.iter().find(|(s, n)| *s > first.0 && *n < first.1).unwrap();
        assert!(down.0 >= first.0 + 30 + 60, "no shrinking while it panics: {changes:?}");
    }
}
