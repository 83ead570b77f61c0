//! The clairvoyant optimum: what the load could have been carried for.
//!
//! It knows all demand beforehand and pays as everyone does: each ready replica-step, the start-up of each start,
//! the drain of each removal; the fleet of the first step is free. So no policy that never misses the need costs
//! less, and what a policy spends above it is the price of not knowing the future.
//!
//! **Without violations it is exact.** Replicas are alike and the cost is linear, so the problem falls apart into
//! one per level i: level i must be up whenever the need is i or more. In a gap of g steps between two such
//! times it either stays up (g) or is stopped and started again (start-up + drain); the cheaper counts. A gap at
//! the beginning costs at most a start-up, one at the end at most a drain.
//!
//! **With some violations it is a proven lower bound.** Each violating step is given a price; the cheapest
//! schedule under that price, less the price of the steps that may violate, is below every schedule that keeps to
//! that number (weak duality). Several prices run side by side, the best bound counts.
//!
//! Both are streams: memory depends on the largest need, not on the length of the trace.

use serde::Serialize;

/// Prices of a violating step in replica-steps, each about twice the one before: from "hardly anything" to more
/// than a start and a drain of many replicas.
const PRICES: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 8192.0];

/// The optimum of a load that is still being read.
#[derive(Clone, Debug)]
pub struct Optimum {
    start_up: u64,
    drain: u64,
    floor: u32,
    step: u64,
    /// The need of the last step.
    need: u32,
    /// For each level but those up now: the step after its last one up; `None` if it never was.
    ended: Vec<Option<u64>>,
    /// Replica-steps of all that is decided.
    spent: u64,
    relaxed: Vec<Relaxed>,
    /// The steps for which the need has been what it is.
    run: u64,
}

/// The cheapest schedules under one price, by the level they end at.
#[derive(Clone, Debug)]
struct Relaxed {
    price: f64,
    value: Vec<f64>,
}

/// What the optimum comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// Replica-steps of the best schedule without any violation.
    pub exact: u64,
    /// Per price: the price, and the value of the best schedule under it.
    #[serde(skip)]
    duals: Vec<(f64, f64)>,
}

impl Bounds {
    /// Replica-steps below which no schedule with at most `violating` steps in violation can be.
    #[must_use]
    pub fn at_most(&self, violating: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let (exact, violating) = (self.exact as f64, violating as f64);
        if violating == 0.0 {
            return exact;
        }
        let best = self.duals.iter().map(|(price, value)| value - price * violating).fold(0.0, f64::max);
        best.min(exact)
    }
}

impl Optimum {
    /// Of replicas that take `start_up` steps to start and `drain` steps to go, never fewer than `floor`.
    #[must_use]
    pub fn new(start_up: u64, drain: u64, floor: u32) -> Self {
        let relaxed = PRICES.iter().map(|&price| Relaxed { price, value: vec![0.0] }).collect();
        Self { start_up, drain, floor, step: 0, need: 0, ended: Vec::new(), spent: 0, relaxed, run: 0 }
    }

    /// Takes in the next step's need.
    pub fn push(&mut self, need: u32) {
        let need = need.max(self.floor);
        if self.step > 0 && need != self.need {
            self.close_run();
        }
        if need > self.need {
            let levels = usize::try_from(need).unwrap_or(usize::MAX);
            if self.ended.len() < levels {
                self.ended.resize(levels, None);
            }
            for level in self.need..need {
                let at = usize::try_from(level).unwrap_or(usize::MAX);
                self.spent += match self.ended[at] {
                    Some(ended) => (self.step - ended).min(self.start_up + self.drain),
                    None => self.step.min(self.start_up),
                };
            }
        } else {
            for level in need..self.need {
                let at = usize::try_from(level).unwrap_or(usize::MAX);
                self.ended[at] = Some(self.step);
            }
        }
        self.need = need;
        self.spent += u64::from(need);
        self.step += 1;
        self.run += 1;
    }

    /// Accounts for the stretch of equal need that has just ended in the priced schedules. Within it the cost of
    /// moving at a moment is linear in the moment, so moves at its beginning are enough.
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    fn close_run(&mut self) {
        let began = self.step - self.run;
        let (up, down) = (self.start_up.min(began) as f64, self.drain as f64);
        let (need, floor) = (self.need as usize, self.floor as usize);
        for Relaxed { price, value } in &mut self.relaxed {
            // Levels nobody needed so far: reached from below, now.
            while value.len() <= need - floor {
                let below = value.last().copied().unwrap_or(0.0);
                value.push(below + if began == 0 { 0.0 } else { up });
            }
            if began > 0 {
                for i in 1..value.len() {
                    value[i] = value[i].min(value[i - 1] + up);
                }
                for i in (0..value.len() - 1).rev() {
                    value[i] = value[i].min(value[i + 1] + down);
                }
            }
            for (i, v) in value.iter_mut().enumerate() {
                let level = floor + i;
                let missed = if level < need { *price } else { 0.0 };
                *v += self.run as f64 * (level as f64 + missed);
            }
        }
        self.run = 0;
    }

    /// What it comes to.
    #[must_use]
    pub fn finish(mut self) -> Bounds {
        if self.run > 0 {
            self.close_run();
        }
        let up_now = usize::try_from(self.need).unwrap_or(usize::MAX).min(self.ended.len());
        let tail: u64 =
            self.ended[up_now..].iter().flatten().map(|ended| (self.step - ended).min(self.drain)).sum();
        let duals = self
            .relaxed
            .iter()
            .map(|r| (r.price, r.value.iter().copied().fold(f64::INFINITY, f64::min)))
            .collect();
        Bounds { exact: self.spent + tail, duals }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use headroom_core::units::{Span, Timestamp};

    use super::*;
    use crate::rng::Rng;
    use crate::world::{Model, Plant, Queue};

    fn bounds(needs: &[u32], start_up: u64, drain: u64) -> Bounds {
        let mut optimum = Optimum::new(start_up, drain, 0);
        needs.iter().for_each(|&need| optimum.push(need));
        optimum.finish()
    }

    /// Tries every fleet to begin with and every sequence of counts on the plant itself, and gives the cheapest
    /// for each number of steps below the need.
    fn brute_force(needs: &[u32], start_up: u64, drain: u64) -> Vec<u64> {
        let model = Arc::new(Model {
            start_up: Span::seconds(start_up),
            drain: Span::seconds(drain),
            ..Model::default()
        });
        let queue = Queue::new(&model);
        let most = needs.iter().copied().max().unwrap_or(0) + 1;
        let mut best = vec![u64::MAX; needs.len() + 1];
        let mut stack: Vec<(Plant, usize, u64, usize)> = (0..most)
            .map(|n| {
                let at = Timestamp::from_millis(0);
                (Plant::new(Arc::clone(&model), queue.clone(), Span::seconds(1), at, n, Rng::new(1)), 0, 0, 0)
            })
            .collect();
        while let Some((plant, step, cost, missed)) = stack.pop() {
            let Some(&need) = needs.get(step) else {
                best[missed] = best[missed].min(cost);
                continue;
            };
            for wanted in 0..most {
                let mut next = plant.clone();
                next.want(wanted);
                let s = next.advance(0.0);
                let missed = missed + usize::from(s.ready < need);
                stack.push((next, step + 1, cost + u64::from(s.ready + s.starting + s.draining), missed));
            }
        }
        for i in 1..best.len() {
            best[i] = best[i].min(best[i - 1]);
        }
        best
    }

    #[test]
    fn it_is_what_trying_everything_finds() {
        let mut rng = Rng::new(11);
        for case in 0..60 {
            let length = 3 + usize::try_from(rng.below(5)).unwrap();
            let needs: Vec<u32> = (0..length).map(|_| u32::try_from(rng.below(3)).unwrap()).collect();
            let (start_up, drain) = (rng.below(4), rng.below(3));
            let best = brute_force(&needs, start_up, drain);
            let ours = bounds(&needs, start_up, drain);
            assert_eq!(ours.exact, best[0], "case {case}: {needs:?}, start {start_up}, drain {drain}");
            for (violating, best) in best.iter().enumerate().skip(1) {
                let bound = ours.at_most(violating as u64);
                assert!(
                    bound <= *best as f64 + 1e-9,
                    "case {case}: {needs:?}, start {start_up}, drain {drain}, {violating} steps: {bound} > {best}"
                );
            }
        }
    }

    #[test]
    fn the_bound_is_near_where_giving_up_a_step_pays() {
        // A single step of ten among a hundred of one: giving it up saves nine replicas' start, step and drain.
        let mut needs = vec![1; 100];
        needs[50] = 10;
        let b = bounds(&needs, 30, 30);
        assert_eq!(b.exact, 100 + 9 * (1 + 30 + 30));
        assert!(b.at_most(1) <= 100.0 && b.at_most(1) > 90.0, "{}", b.at_most(1));
    }

    #[test]
    fn nothing_needed_costs_the_floor() {
        let mut optimum = Optimum::new(30, 30, 2);
        (0..10).for_each(|_| optimum.push(0));
        assert_eq!(optimum.finish().exact, 20);
        assert_eq!(Optimum::new(1, 1, 2).finish().exact, 0);
    }
}
