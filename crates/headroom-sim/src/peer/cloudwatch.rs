//! CloudWatch as AWS's policies see it: means over whole periods, which arrive some time after their end.

use std::collections::VecDeque;

use super::Seat;

/// The longest look back: 15 periods for the alarm that shrinks.
const PERIODS_KEPT: usize = 15;
/// A period's figure is complete about a minute after its end. With it a surge is answered after some five
/// minutes, which is what AWS states for its default target tracking (360 s with three periods and the start).
const DELAY_S: u64 = 60;
/// Detailed monitoring: one-minute periods.
const PERIOD_S: u64 = 60;

/// The figures of one metric.
#[derive(Debug)]
pub(super) struct Metric {
    period: u64,
    delay: u64,
    sum: f64,
    count: u64,
    under_way: VecDeque<(u64, f64)>,
    shown: VecDeque<f64>,
}

impl Metric {
    pub(super) fn new(seat: &Seat<'_>) -> Self {
        Self {
            period: seat.steps(PERIOD_S),
            delay: seat.steps(DELAY_S),
            sum: 0.0,
            count: 0,
            under_way: VecDeque::new(),
            shown: VecDeque::new(),
        }
    }

    /// Takes in a step; says whether a new period is shown.
    pub(super) fn push(&mut self, step: u64, value: Option<f64>) -> bool {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
        if step.is_multiple_of(self.period) && self.count > 0 {
            self.under_way.push_back((step + self.delay, self.sum / self.count as f64));
            (self.sum, self.count) = (0.0, 0);
        }
        let arrives = self.under_way.front().is_some_and(|(at, _)| *at <= step);
        if arrives && let Some((_, value)) = self.under_way.pop_front() {
            if self.shown.len() == PERIODS_KEPT {
                self.shown.pop_front();
            }
            self.shown.push_back(value);
        }
        arrives
    }

    /// The newest period.
    pub(super) fn newest(&self) -> Option<f64> {
        self.shown.back().copied()
    }

    /// Whether `holds` is true of each of the last `periods` periods.
    pub(super) fn all(&self, periods: usize, holds: impl Fn(f64) -> bool) -> bool {
        self.shown.len() >= periods && self.shown.iter().rev().take(periods).all(|v| holds(*v))
    }
}
