//! A bounded stretch of a signal's past, for rules of the form "above 70 % for 300 s".
//!
//! Samples are folded into buckets of equal length, so memory is bounded whatever the sampling rate, and a
//! window's extremes stay exact. A gap stays a gap: a window is *covered* only if no stretch of it longer than
//! the signal's freshness limit is without a sample. "Held for five minutes" is never concluded from silence.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::{Level, Span, Timestamp};

/// Buckets per window: a window of 2 minutes has buckets of a second; a longer one gets coarser buckets, whose
/// only price is that the window's far edge is exact to 1/120.
const BUCKETS: u64 = 120;

/// The recent past of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    window: Span,
    bucket: Span,
    gap: Span,
    buckets: VecDeque<Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bucket {
    start: i64,
    last: Timestamp,
    first: Timestamp,
    min: f64,
    max: f64,
    sum: f64,
    count: u32,
}

/// What a window of the past holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowStats {
    /// The least value.
    pub min: Level,
    /// The largest value.
    pub max: Level,
    /// The mean of the samples.
    pub mean: Level,
    /// How many samples there are.
    pub samples: u32,
    /// For how long, up to now, there is a sample at least every freshness limit.
    pub covered: Span,
}

impl Series {
    /// A series that remembers `window`, in which silence longer than `gap` is a gap.
    #[must_use]
    pub fn new(window: Span, gap: Span) -> Self {
        let bucket = Span::millis((window.as_millis() / BUCKETS).max(1000));
        Self { window, bucket, gap, buckets: VecDeque::new() }
    }

    /// How far back it remembers.
    #[must_use]
    pub fn window(&self) -> Span {
        self.window
    }

    /// Takes in a sample. One that is older than the newest bucket is left out: rules look at the latest past,
    /// and a clock set back must not rewrite it.
    pub fn push(&mut self, at: Timestamp, value: Level) {
        let width = i64::try_from(self.bucket.as_millis()).unwrap_or(i64::MAX).max(1);
        let start = at.as_millis().div_euclid(width) * width;
        let v = value.get();
        match self.buckets.back_mut() {
            Some(back) if start < back.start => {
                // A clock set back by more than the window would silence the series for ever: start anew.
                if Timestamp::from_millis(back.start).since(at) > self.window {
                    self.buckets.clear();
                    self.push(at, value);
                }
                return;
            }
            Some(back) if start == back.start => {
                back.min = back.min.min(v);
                back.max = back.max.max(v);
                back.sum += v;
                back.count += 1;
                back.last = back.last.max(at);
                return;
            }
            Some(_) | None => {
                self.buckets.push_back(Bucket {
                    start,
                    first: at,
                    last: at,
                    min: v,
                    max: v,
                    sum: v,
                    count: 1,
                });
            }
        }
        let horizon = at.minus(self.window).as_millis() - width;
        while self.buckets.front().is_some_and(|b| b.start < horizon) {
            self.buckets.pop_front();
        }
    }

    /// What the last `window` up to `at` holds; `None` where it holds no sample.
    #[must_use]
    pub fn stats(&self, at: Timestamp, window: Span) -> Option<WindowStats> {
        let from = at.minus(window);
        fold(self.buckets.iter().rev().take_while(|b| b.last > from), self.covered(at))
    }

    /// What the period `ago` periods before the last complete one at `at` holds; periods begin at multiples of
    /// their length. `None` where it holds no sample.
    #[must_use]
    pub fn period(&self, at: Timestamp, period: Span, ago: u32) -> Option<WindowStats> {
        let length = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
        let end = (at.as_millis().div_euclid(length) - i64::from(ago)) * length;
        let inside =
            self.buckets.iter().rev().skip_while(|b| b.start >= end).take_while(|b| b.start >= end - length);
        fold(inside, period)
    }

    /// Since when, counted back from `at`, there is a sample at least every `gap`; and for how long `holds` has
    /// been true of every bucket in that stretch.
    #[must_use]
    pub fn held(&self, at: Timestamp, holds: impl Fn(Level, Level) -> bool) -> Span {
        let mut edge = at;
        let mut since = None;
        for b in self.buckets.iter().rev() {
            let fine = Level::new(b.min).is_ok_and(|min| Level::new(b.max).is_ok_and(|max| holds(min, max)));
            if edge.since(b.last) > self.gap || !fine {
                break;
            }
            edge = b.first;
            since = Some(b.first);
        }
        since.map_or(Span::ZERO, |since| at.since(since))
    }

    fn covered(&self, at: Timestamp) -> Span {
        self.held(at, |_, _| true)
    }
}

/// What some buckets hold together; `None` where there are none.
fn fold<'a>(inside: impl Iterator<Item = &'a Bucket>, covered: Span) -> Option<WindowStats> {
    let (mut min, mut max, mut sum, mut count) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0_u32);
    for b in inside {
        min = min.min(b.min);
        max = max.max(b.max);
        sum += b.sum;
        count += b.count;
    }
    if count == 0 {
        return None;
    }
    Some(WindowStats {
        min: Level::new(min).ok()?,
        max: Level::new(max).ok()?,
        mean: Level::new(sum / f64::from(count)).ok()?,
        samples: count,
        covered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(s * 1000)
    }
    fn level(v: f64) -> Level {
        Level::new(v).unwrap()
    }
    fn filled(values: impl IntoIterator<Item = (i64, f64)>) -> Series {
        let mut series = Series::new(Span::seconds(60), Span::seconds(5));
        for (s, v) in values {
            series.push(at(s), level(v));
        }
        series
    }

    #[test]
    fn a_condition_holds_since_the_last_breach() {
        let series = filled((0..50).map(|s| (s, if s == 20 { 10.0 } else { 90.0 })));
        assert_eq!(series.held(at(49), |min, _| min >= level(70.0)), Span::seconds(28));
    }

    #[test]
    fn silence_is_not_holding() {
        let series = filled((0..50).filter(|s| !(20..=30).contains(s)).map(|s| (s, 90.0)));
        assert_eq!(series.held(at(49), |_, _| true), Span::seconds(18));
        assert_eq!(filled([(0, 90.0)]).held(at(30), |_, _| true), Span::ZERO, "a stale tail holds nothing");
    }

    #[test]
    fn memory_is_bounded_and_old_values_leave() {
        let series = filled((0..100_000).map(|s| (s, s as f64)));
        assert!(series.buckets.len() <= 63, "{}", series.buckets.len());
        let stats = series.stats(at(99_999), Span::seconds(10)).unwrap();
        assert_eq!((stats.min, stats.max), (level(99_990.0), level(99_999.0)));
    }

    #[test]
    fn a_clock_set_back_an_hour_does_not_silence_the_series() {
        let mut series = filled((10_000..10_050).map(|s| (s, 1.0)));
        for s in 6_400..6_420 {
            series.push(at(s), level(2.0));
        }
        assert_eq!(series.held(at(6_419), |_, _| true), Span::seconds(19));
    }
}
