//! Counters as rates: what a total grew by within a window, resets included.

use std::collections::VecDeque;

use headroom_core::units::{Span, Timestamp};

/// Points kept at the most: ten minutes of one a second. A longer window sees coarser points.
const KEPT: usize = 600;

/// The recent past of one total that only grows, until its program starts anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total {
    points: VecDeque<(Timestamp, f64)>,
}

/// What a total grew by, and over how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    pub(crate) by: f64,
    pub(crate) seconds: f64,
}

impl Growth {
    pub(crate) fn per_second(self) -> f64 {
        self.by / self.seconds
    }
}

impl Total {
    /// Takes in the total as it was at `at`. What is not later than the last is left out.
    pub(crate) fn push(&mut self, at: Timestamp, total: f64, window: Span) {
        if !total.is_finite() || self.points.back().is_some_and(|(last, _)| *last >= at) {
            return;
        }
        self.points.push_back((at, total));
        // One point at or before the window's start is kept, so that the window is covered whole.
        while self.points.len() > KEPT
            || self.points.get(1).is_some_and(|(second, _)| at.since(*second) >= window)
        {
            self.points.pop_front();
        }
    }

    /// When it was last seen.
    pub(crate) fn last_seen(&self) -> Option<Timestamp> {
        self.points.back().map(|(at, _)| *at)
    }

    /// What it grew by in the window; `None` before there are two points. Where it fell, its program started anew,
    /// and what it shows now came since.
    pub(crate) fn growth(&self) -> Option<Growth> {
        let (first, last) = (self.points.front()?.0, self.points.back()?.0);
        #[expect(clippy::cast_precision_loss, reason = "windows are short")]
        let seconds = last.since(first).as_millis() as f64 / 1000.0;
        if seconds <= 0.0 {
            return None;
        }
        let pairs = self.points.iter().zip(self.points.iter().skip(1));
        let by = pairs.map(|((_, a), (_, b))| if b < a { *b } else { b - a }).sum();
        Some(Growth { by, seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(points: &[(i64, f64)]) -> Option<Growth> {
        let mut total = Total::default();
        for (second, value) in points {
            total.push(Timestamp::from_millis(second * 1000), *value, Span::seconds(10));
        }
        total.growth()
    }

    /// A12: counters become rates, and a reset is not a fall.
    #[test]
    fn a_reset_counts_what_came_since() {
        assert_eq!(grown(&[]), None);
        assert_eq!(grown(&[(0, 5.0)]), None);
        assert_eq!(grown(&[(0, 5.0), (0, 6.0)]), None, "twice at one moment is one point");
        assert_eq!(grown(&[(0, 5.0), (2, 9.0)]).unwrap().per_second(), 2.0);
        assert_eq!(grown(&[(0, 100.0), (1, 110.0), (2, 4.0), (4, 6.0)]).unwrap().per_second(), 4.0);
        assert_eq!(grown(&[(0, 7.0), (1, 7.0)]).unwrap().per_second(), 0.0);
        assert_eq!(grown(&[(0, 1.0), (1, f64::NAN), (2, 3.0)]).unwrap().per_second(), 1.0);
    }

    #[test]
    fn a_window_slides() {
        let points: Vec<_> = (0..100).map(|s| (s, if s < 80 { 0.0 } else { (s - 80) as f64 })).collect();
        let growth = grown(&points).unwrap();
        assert_eq!((growth.seconds, growth.by), (10.0, 10.0));
    }
}
