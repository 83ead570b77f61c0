//! Kubernetes' Horizontal Pod Autoscaler (`autoscaling/v2`) with its defaults.
//!
//! Every 15 s (`--horizontal-pod-autoscaler-sync-period`) the ratio of the mean CPU utilisation of the ready pods
//! to its target is formed from figures of the last 15 s (metrics-server's resolution). Within 10 % nothing
//! changes. Growing, pods without figures count as idle; shrinking, they are left out. Growth is at most the larger
//! of 100 % and four pods per 15 s; shrinking takes the highest recommendation of the last 300 s.

use std::collections::VecDeque;

use super::{Peer, Seat, Seen, TARGET, ceil};
use crate::average::Average;
use crate::world::Figure;

/// `--horizontal-pod-autoscaler-sync-period`.
const SYNC_S: u64 = 15;
/// metrics-server's `--metric-resolution` in its manifests.
const METRICS_S: u64 = 15;
/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;
/// `behavior.scaleDown.stabilizationWindowSeconds`.
const DOWN_WINDOW_S: u64 = 300;

/// What comes after the metrics: tolerance, stabilisation and limits of speed.
#[derive(Debug)]
pub(super) struct Behaviour {
    min: u32,
    max: u32,
    window: u64,
    /// Recommendations of the window: the step and the count. One each 15 s, so twenty at the most.
    past: VecDeque<(u64, u32)>,
}

impl Behaviour {
    pub(super) fn new(seat: &Seat<'_>) -> Self {
        Self { min: seat.min, max: seat.max, window: seat.steps(DOWN_WINDOW_S), past: VecDeque::new() }
    }

    /// The count that comes of a recommendation.
    pub(super) fn limit(&mut self, step: u64, current: u32, recommended: u32) -> u32 {
        // Before there is a past, the present stands for it.
        if self.past.is_empty() {
            self.past.push_back((step, current));
        }
        while self.past.front().is_some_and(|(then, _)| then + self.window < step) {
            self.past.pop_front();
        }
        self.past.push_back((step, recommended));
        let highest = self.past.iter().map(|(_, n)| *n).max().unwrap_or(recommended);
        let stable = if recommended < current { highest.min(current) } else { recommended };
        let fastest = current.saturating_mul(2).max(current.saturating_add(4));
        stable.min(fastest).min(self.max).max(self.min)
    }
}

/// The HPA on CPU utilisation.
#[derive(Debug)]
pub(crate) struct Hpa {
    sync: u64,
    metrics: u64,
    cpu: Average,
    /// What metrics-server shows now.
    shown: Option<f64>,
    behaviour: Behaviour,
}

impl Hpa {
    pub(crate) fn on_cpu(seat: &Seat<'_>) -> Self {
        let metrics = seat.steps(METRICS_S);
        Self {
            sync: seat.steps(SYNC_S),
            metrics,
            cpu: Average::over(usize::try_from(metrics).unwrap_or(1)),
            shown: None,
            behaviour: Behaviour::new(seat),
        }
    }
}

/// What the HPA recommends for `counted` pods with figures of which the mean is `ratio` times the target, and
/// `uncounted` pods without.
fn recommend(current: u32, ratio: f64, counted: u32, uncounted: u32) -> u32 {
    // The residue of a division does not decide.
    if (ratio - 1.0).abs() <= TOLERANCE + 1e-9 {
        return current;
    }
    if ratio < 1.0 || uncounted == 0 {
        return ceil(ratio * f64::from(counted));
    }
    let all = counted + uncounted;
    let careful = ratio * f64::from(counted) / f64::from(all);
    if careful <= 1.0 + TOLERANCE + 1e-9 { current } else { ceil(careful * f64::from(all)) }
}

impl Peer for Hpa {
    fn step(&mut self, seen: &Seen<'_>) -> Option<u32> {
        if seen.step == 0 {
            return None;
        }
        self.cpu.push(seen.plant.figure(Figure::Busy));
        if seen.step.is_multiple_of(self.metrics) {
            self.shown = self.cpu.mean();
        }
        if !seen.step.is_multiple_of(self.sync) {
            return None;
        }
        let current = seen.plant.wanted();
        let young = headroom_core::units::Span::seconds(METRICS_S);
        let counted = seen.plant.ready_for(young);
        // Without any figure nothing changes.
        let cpu = self.shown.filter(|_| counted > 0)?;
        let recommended = recommend(current, cpu / TARGET, counted, current.saturating_sub(counted));
        Some(self.behaviour.limit(seen.step, current, recommended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::testing::fly;

    #[test]
    fn recommendations_are_those_of_the_manual() {
        for (current, ratio, counted, uncounted, expected) in [
            (3, 2.0, 3, 0, 6),
            (3, 1.1, 3, 0, 3),
            (3, 1.11, 3, 0, 4),
            (3, 0.9, 3, 0, 3),
            (4, 0.5, 4, 0, 2),
            (6, 2.0, 3, 3, 6), // the others idle: exactly right
            (6, 3.0, 3, 3, 9),
        ] {
            assert_eq!(recommend(current, ratio, counted, uncounted), expected, "{current} at {ratio}");
        }
    }

    #[test]
    fn it_grows_within_a_sync_and_shrinks_after_five_minutes() {
        let changes = fly(Hpa::on_cpu, 4, 2000, |s| if (300..900).contains(&s) { 1000.0 } else { 280.0 });
        let (first, _) = changes[0];
        assert!((300..=330).contains(&first), "{changes:?}");
        let down = changes.iter().find(|(s, _)| *s > 900).unwrap();
        assert!(down.0 >= 1200, "{changes:?}");
        assert_eq!(changes.last().unwrap().1, 4, "{changes:?}");
    }
}
