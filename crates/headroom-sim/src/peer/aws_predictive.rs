//! AWS predictive scaling (forecast and scale) with target tracking beside it.
//!
//! Hourly means of the load of up to 14 days give a forecast for each hour, renewed every six hours; capacity for
//! an hour is there five minutes before (`SchedulingBufferTime`). It never shrinks by itself. AWS does not publish
//! its forecaster: here it is the mean of the same hour on the same weekday, or on all days while there is less
//! than a week.

use std::collections::VecDeque;

use super::aws_target_tracking::TargetTracking;
use super::{Peer, Seat, Seen, TARGET, ceil};
use crate::world::Figure;

/// Hours of history.
const HISTORY: usize = 14 * 24;
/// History without which there is no forecast.
const LEAST: usize = 24;
/// `SchedulingBufferTime` by default.
const BUFFER_S: u64 = 300;
/// How often forecasts are made.
const RENEWED_EVERY_H: u64 = 6;

/// Predictive scaling.
#[derive(Debug)]
pub(crate) struct Predictive {
    tracking: TargetTracking,
    hour: u64,
    buffer: u64,
    per_replica: f64,
    min: u32,
    max: u32,
    sum: f64,
    /// Mean load of the last hours, oldest first.
    history: VecDeque<f64>,
    /// What was known when the forecast was made, and the hour it was made in.
    forecast: Option<(VecDeque<f64>, u64)>,
}

impl Predictive {
    pub(crate) fn new(seat: &Seat<'_>) -> Self {
        Self {
            tracking: TargetTracking::new(seat),
            hour: seat.steps(3600),
            buffer: seat.steps(BUFFER_S),
            per_replica: TARGET * seat.model.capacity,
            min: seat.min,
            max: seat.max,
            sum: 0.0,
            history: VecDeque::new(),
            forecast: None,
        }
    }

    /// The load expected in hour `hour`, counted from the start.
    fn expected(&self, hour: u64) -> Option<f64> {
        let (history, made) = self.forecast.as_ref()?;
        let len = history.len() as u64;
        let period = if len >= 7 * 24 { 7 * 24 } else { 24 };
        // The hour `made` is the one after the newest in the history.
        let values: Vec<f64> = (0..len)
            .filter(|i| (hour + len * period - (made - len + i)).is_multiple_of(period))
            .filter_map(|i| usize::try_from(i).ok().and_then(|i| history.get(i)).copied())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

impl Peer for Predictive {
    fn step(&mut self, seen: &Seen<'_>) -> Option<u32> {
        if seen.step > 0 {
            self.sum += seen.plant.figure(Figure::Demand).unwrap_or(0.0);
            if seen.step.is_multiple_of(self.hour) {
                if self.history.len() == HISTORY {
                    self.history.pop_front();
                }
                self.history.push_back(self.sum / self.hour as f64);
                self.sum = 0.0;
                let hour = seen.step / self.hour;
                let due = self.forecast.as_ref().is_none_or(|(_, made)| hour >= made + RENEWED_EVERY_H);
                if self.history.len() >= LEAST && due {
                    self.forecast = Some((self.history.clone(), hour));
                }
            }
        }
        let tracked = self.tracking.step(seen);
        // Looked at once a minute and whenever target tracking acts: the forecast changes by the hour.
        let once_a_minute = seen.step.is_multiple_of((self.hour / 60).max(1));
        if !once_a_minute && tracked.is_none() {
            return None;
        }
        let ahead = self.expected((seen.step + self.buffer) / self.hour);
        let floor = ahead.map_or(self.min, |load| ceil(load / self.per_replica));
        let base = tracked.unwrap_or(seen.plant.wanted());
        Some(base.max(floor).min(self.max).max(self.min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::testing::fly;

    #[test]
    fn what_came_every_day_is_prepared_before_it_comes() {
        let day = 86_400;
        let changes =
            fly(Predictive::new, 4, 3 * day, |s| if (s % day) / 3600 == 9 { 1400.0 } else { 140.0 });
        let nine = 2 * day + 9 * 3600;
        let before = changes.iter().rev().find(|(s, _)| *s <= nine).unwrap();
        assert_eq!(before.1, 20, "{changes:?}");
        assert!(before.0 >= nine - 360, "not earlier than the buffer: {before:?}");
    }
}
