//! KEDA with a Prometheus scaler on requests a second.
//!
//! KEDA hands the figure to an HPA as an external metric with an average value per replica; the HPA asks for it at
//! each sync. The usual query is a rate over two minutes of counters scraped every 15 s. Between 1 and n replicas
//! KEDA's own cooldown has no say.

use super::hpa::Behaviour;
use super::{Peer, Seat, Seen, TARGET, ceil};
use crate::average::Average;
use crate::world::Figure;

/// `--horizontal-pod-autoscaler-sync-period`.
const SYNC_S: u64 = 15;
/// `rate(…[2m])`, as in KEDA's own example of the Prometheus scaler.
const RATE_OVER_S: u64 = 120;
/// The HPA's tolerance.
const TOLERANCE: f64 = 0.1;

/// An HPA on an external metric.
#[derive(Debug)]
pub(crate) struct Keda {
    sync: u64,
    rate: Average,
    shown: Option<f64>,
    per_replica: f64,
    behaviour: Behaviour,
}

impl Keda {
    pub(crate) fn new(seat: &Seat<'_>) -> Self {
        Self {
            sync: seat.steps(SYNC_S),
            rate: Average::over(usize::try_from(seat.steps(RATE_OVER_S)).unwrap_or(1)),
            shown: None,
            per_replica: TARGET * seat.model.capacity,
            behaviour: Behaviour::new(seat),
        }
    }
}

impl Peer for Keda {
    fn step(&mut self, seen: &Seen<'_>) -> Option<u32> {
        if seen.step == 0 {
            return None;
        }
        self.rate.push(seen.plant.figure(Figure::Demand));
        if !seen.step.is_multiple_of(self.sync) {
            return None;
        }
        // Scrape and sync are both every 15 s; the scrape just before is what the sync sees.
        self.shown = self.rate.mean();
        let current = seen.plant.wanted();
        let wanted = self.shown? / self.per_replica;
        let ratio = wanted / f64::from(current.max(1));
        let recommended = if (ratio - 1.0).abs() <= TOLERANCE { current } else { ceil(wanted) };
        Some(self.behaviour.limit(seen.step, current, recommended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::testing::fly;

    #[test]
    fn a_rate_over_two_minutes_needs_two_minutes_for_the_whole_surge() {
        let changes = fly(Keda::new, 4, 900, |s| if s >= 300 { 1400.0 } else { 280.0 });
        assert!((300..=330).contains(&changes[0].0), "{changes:?}");
        let whole = changes.iter().find(|(_, n)| *n >= 19).unwrap().0;
        assert!((390..=435).contains(&whole), "{changes:?}");
    }
}
