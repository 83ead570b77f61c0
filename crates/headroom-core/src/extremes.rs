//! The highest or lowest count of a sliding window, exactly, in little memory.
//!
//! Stabilisation windows (A4) and delay windows ask for the extreme of the last minutes at every tick. Keeping
//! only those counts that may yet be the extreme makes the answer exact and its cost constant.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::{Replicas, Span, Timestamp};

/// Distinct counts a window may hold; beyond, the second oldest is left out, so that the extreme stays.
const MOST: usize = 512;

/// The counts of a sliding window that may yet be its extreme, oldest first: each is more extreme than all that
/// came after it. As long as the number of distinct counts at the most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extremes {
    window: Span,
    highest: bool,
    kept: VecDeque<(Timestamp, Replicas)>,
}

impl Extremes {
    /// The highest counts of `window`.
    #[must_use]
    pub fn highest(window: Span) -> Self {
        Self { window, highest: true, kept: VecDeque::new() }
    }

    /// The lowest counts of `window`.
    #[must_use]
    pub fn lowest(window: Span) -> Self {
        Self { window, highest: false, kept: VecDeque::new() }
    }

    /// The window's length.
    #[must_use]
    pub fn window(&self) -> Span {
        self.window
    }

    /// Changes the window's length; what a longer one would have held is gone.
    pub fn resize(&mut self, window: Span) {
        self.window = window;
    }

    /// Whether nothing was ever taken in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Takes in a count.
    pub fn push(&mut self, at: Timestamp, count: Replicas) {
        while let Some(&(then, _)) = self.kept.front() {
            // A moment in the future (a clock set back) has no age; keep it only within the window.
            if at.since(then) < self.window && then.since(at) < self.window {
                break;
            }
            self.kept.pop_front();
        }
        let beaten = |old: Replicas| if self.highest { old <= count } else { old >= count };
        while self.kept.back().is_some_and(|&(_, old)| beaten(old)) {
            self.kept.pop_back();
        }
        if self.kept.len() == MOST {
            self.kept.remove(1);
        }
        self.kept.push_back((at, count));
    }

    /// The extreme count of the window, and when it leaves the window. A count exactly as old as the window has left
    /// it (as in the HPA), so a window of no length holds nothing.
    #[must_use]
    pub fn extreme(&self, at: Timestamp) -> Option<(Replicas, Timestamp)> {
        self.kept
            .iter()
            .find(|(then, _)| at.since(*then) < self.window)
            .map(|&(then, count)| (count, then.plus(self.window)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(s * 1000)
    }

    #[test]
    fn the_extreme_of_a_window_is_exact() {
        // Against the plain definition, on a walk with repeats.
        let walk: Vec<u32> = (0..500_u32).map(|i| (i * 7919 % 13) + (i / 40)).collect();
        for window in [1, 7, 60] {
            let mut extremes = Extremes::highest(Span::seconds(window));
            for (i, &count) in walk.iter().enumerate() {
                extremes.push(at(i as i64), Replicas(count));
                let from = (i + 1).saturating_sub(window as usize);
                let expected = walk[from..=i].iter().max().unwrap();
                assert_eq!(
                    extremes.extreme(at(i as i64)).unwrap().0.0,
                    *expected,
                    "window {window}, step {i}"
                );
            }
        }
    }

    #[test]
    fn a_window_of_no_length_holds_nothing() {
        let mut extremes = Extremes::lowest(Span::ZERO);
        extremes.push(at(1), Replicas(3));
        assert_eq!(extremes.extreme(at(1)), None);
    }

    #[test]
    fn an_endless_descent_stays_bounded_and_keeps_the_highest() {
        let mut extremes = Extremes::highest(Span::hours(1));
        for i in 0..3000 {
            extremes.push(at(i), Replicas(10_000 - u32::try_from(i).unwrap()));
        }
        assert!(extremes.kept.len() <= MOST);
        assert_eq!(extremes.extreme(at(2999)).unwrap().0, Replicas(10_000));
    }
}
