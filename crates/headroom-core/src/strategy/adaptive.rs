//! Adaptive thresholds: what is high and low is learned from the workload's own past (A17).
//!
//! The mean of each five minutes is remembered, a day of them. From 50 on, the upper threshold is the highest of the
//! mean at this hour plus two standard deviations, nine tenths of the 95th percentile, and the default; the lower one
//! the lowest of the mean at this hour less one standard deviation, 1.2 times the 5th percentile, and the default.
//! Before that the defaults hold.
//!
//! Mend: with `max` alone a permanently hot system raises its own threshold without bound, until nothing is ever high.
//! A ceiling (85 % by default) caps it. Between the thresholds nothing changes; beyond them the count goes to the
//! target in proportion, as the threshold strategy does.
//!
//! Source of rule and defaults: A17 (five minutes, 288 of them, 50 samples, the factors); thresholds before anything is
//! learned, target and cooldown: A1; the ceiling: A17's mend.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::threshold::proportional;
use super::{Recommend, StrategyMemory};
use crate::calendar::Zone;
use crate::context::{Context, Direction};
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Level, Quantity, Replicas, Span, Timestamp};

/// Thresholds learned from the workload's own past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Adaptive {
    /// The signal to watch; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// The upper threshold before anything is learned, and the least one after (A1: 70%).
    #[serde(default = "seventy_percent")]
    pub above: Quantity,
    /// The lower threshold before anything is learned, and the highest one after (A1: 30%).
    #[serde(default = "thirty_percent")]
    pub below: Quantity,
    /// The value to come to (A1: 60%).
    #[serde(default = "sixty_percent")]
    pub target: Quantity,
    /// No upper threshold is learned above this (85%).
    #[serde(default = "ceiling")]
    pub ceiling: Quantity,
    /// The time zone whose hours are the season's.
    #[serde(default)]
    pub time_zone: Zone,
    /// How long to wait after a change (A1: 300s).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

fn percent(p: f64) -> Quantity {
    Quantity::ratio(Level::new(p / 100.0).unwrap_or(Level::ZERO))
}
fn seventy_percent() -> Quantity {
    percent(70.0)
}
fn thirty_percent() -> Quantity {
    percent(30.0)
}
fn sixty_percent() -> Quantity {
    percent(60.0)
}
fn ceiling() -> Quantity {
    percent(85.0)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

/// The stretch whose mean is one remembered sample (A17).
const STRETCH: Span = Span::minutes(5);
/// Samples remembered: a day (A17).
const REMEMBERED: usize = 288;
/// Samples from which on thresholds are learned (A17).
const ENOUGH: usize = 50;

/// What was learned so far: the mean of each five minutes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    means: VecDeque<(i64, f32)>,
}

/// The two thresholds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Above this is high.
    pub above: Level,
    /// Below this is low.
    pub below: Level,
    /// How sure they are: the share of a day that was seen.
    pub confidence: Level,
}

/// Which five minutes a moment lies in.
fn stretch(at: Timestamp) -> i64 {
    let length = i64::try_from(STRETCH.as_millis()).unwrap_or(1);
    at.as_millis().div_euclid(length)
}

impl Adaptive {
    /// The thresholds at `at`, given the past.
    #[must_use]
    pub fn thresholds(&self, at: Timestamp, past: &Past) -> Thresholds {
        let (default_above, default_below) = (self.above.level.get(), self.below.level.get());
        let level = |value: f64| Level::new(value.max(0.0)).unwrap_or(Level::ZERO);
        #[expect(clippy::cast_precision_loss, reason = "at most 288 samples")]
        let share = |n: usize| n as f64 / REMEMBERED as f64;
        let confidence = level(share(past.means.len()).min(1.0));
        if past.means.len() < ENOUGH {
            return Thresholds { above: self.above.level, below: self.below.level, confidence };
        }
        let mut sorted: Vec<f64> = past.means.iter().map(|(_, mean)| f64::from(*mean)).collect();
        #[expect(clippy::cast_precision_loss, reason = "at most 288 samples")]
        let count = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / count;
        let deviation = libm::sqrt(sorted.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count);
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index of at most 287"
        )]
        let quantile = |q: f64| sorted.get((q * (count - 1.0)).round() as usize).copied().unwrap_or(mean);
        let hour = self.time_zone.clock(at).0 / 60;
        let (mut sum, mut hours) = (0.0, 0.0);
        for (stretch, mean) in &past.means {
            let then = Timestamp::from_millis(0).plus(STRETCH.times(stretch.unsigned_abs()));
            if self.time_zone.clock(then).0 / 60 == hour {
                sum += f64::from(*mean);
                hours += 1.0;
            }
        }
        let seasonal = if hours > 0.0 { sum / hours } else { mean };
        let above = (seasonal + 2.0 * deviation).max(0.9 * quantile(0.95)).max(default_above);
        let below = (seasonal - deviation).min(1.2 * quantile(0.05)).min(default_below);
        let capped = above.min(self.ceiling.level.get().max(default_above));
        Thresholds { above: level(capped), below: level(below), confidence }
    }

    fn past<'a>(cx: &Context<'a>) -> Option<&'a Past> {
        match cx.own() {
            StrategyMemory::Adaptive(past) => Some(past),
            _ => None,
        }
    }
}

impl Past {
    /// Takes in the mean of the stretch `at` lies in.
    fn learn(&mut self, at: Timestamp, mean: Level) {
        if self.means.len() == REMEMBERED {
            self.means.pop_front();
        }
        #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough for a threshold")]
        let mean = mean.get().min(f64::from(f32::MAX)) as f32;
        self.means.push_back((stretch(at), mean));
    }
}

impl Recommend for Adaptive {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let seen = match super::look(cx, &self.signal) {
            Ok(seen) => seen,
            Err(why) => return Advice::abstains(why),
        };
        if cx.ready() == Replicas::ZERO {
            return Advice::abstains(Reason::NoReadyReplica);
        }
        let empty = Past::default();
        let learned = self.thresholds(cx.at(), Self::past(cx).unwrap_or(&empty));
        let (value, target) = (seen.value, self.target.level);
        let (want, why) = if value > learned.above {
            let want = proportional(cx, value, target, Direction::Up);
            (want, Reason::SignalAbove { seen, limit: learned.above })
        } else if value < learned.below {
            let want = proportional(cx, value, target, Direction::Down);
            (want, Reason::SignalBelow { seen, limit: learned.below })
        } else {
            let why = Reason::WithinBand { seen, low: learned.below, high: learned.above };
            return super::content(cx, value, target, why);
        };
        super::after_cooldown(cx, want, why, self.cooldown)
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        for (key, quantity) in [
            ("above", &self.above),
            ("below", &self.below),
            ("target", &self.target),
            ("ceiling", &self.ceiling),
        ] {
            super::check_unit(quantity, signal, &at.key(key), problems);
        }
        super::check_positive(&self.target, &at.key("target"), problems);
        if self.below.level >= self.above.level {
            problems.push(Problem::new(at.key("below"), "is not below `above`"));
        }
        if self.ceiling.level < self.above.level {
            problems.push(Problem::new(at.key("ceiling"), "is below `above`"));
        }
    }

    fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        if *signal == self.signal {
            windows.push(STRETCH);
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn remember(&self, cx: &Context<'_>) -> Option<StrategyMemory> {
        let past = Self::past(cx);
        let newest = past.and_then(|p| p.means.back()).map(|(stretch, _)| *stretch);
        if newest.is_some_and(|newest| newest >= stretch(cx.at())) {
            return None;
        }
        let sample = cx.fresh(&self.signal).ok()?;
        let mean = cx.window(&self.signal, STRETCH).map_or(sample.value, |stats| stats.mean);
        let total = cx.per_replica(&self.signal, &crate::reading::Sample::new(cx.at(), mean))?;
        let mut past = past.cloned().unwrap_or_default();
        past.learn(cx.at(), total);
        Some(StrategyMemory::Adaptive(past))
    }

    fn remembers_as(&self, memory: &StrategyMemory) -> bool {
        matches!(memory, StrategyMemory::Adaptive(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{
        Case, NOW, abstains, any_case, behaves, content, problems, remembers, wants,
    };
    use proptest::prelude::*;

    fn rule() -> Adaptive {
        serde_json::from_value(serde_json::json!({ "signal": "cpu" })).unwrap()
    }

    /// A day of five-minute means.
    fn day(value: impl Fn(i64) -> f64) -> Past {
        let mut past = Past::default();
        for ago in (0..288).rev() {
            let at = NOW.minus(STRETCH.times(ago));
            past.learn(at, Level::new(value(stretch(at))).unwrap());
        }
        past
    }

    /// A17: the defaults until 50 samples, then the formula, then the ceiling (the mend).
    #[test]
    fn thresholds_are_learned_and_capped() {
        let near = |level: Level, expected: f64| (level.get() - expected).abs() < 0.02;
        let few = Past { means: day(|_| 0.9).means.into_iter().take(49).collect() };
        let defaults = rule().thresholds(NOW, &few);
        assert!(near(defaults.above, 0.7) && near(defaults.below, 0.3));
        let calm = rule().thresholds(NOW, &day(|s| if s % 2 == 0 { 0.05 } else { 0.15 }));
        assert!(near(calm.above, 0.7), "a default is the least: {calm:?}");
        assert!(near(calm.below, 0.05), "{calm:?}");
        let busy = rule().thresholds(NOW, &day(|s| if s % 2 == 0 { 0.6 } else { 0.7 }));
        assert!(near(busy.above, 0.75), "{busy:?}");
        let hot = rule().thresholds(NOW, &day(|_| 1.5));
        assert!(near(hot.above, 0.85), "never above the ceiling: {hot:?}");
    }

    #[test]
    fn beyond_the_thresholds_the_count_goes_to_the_target() {
        for (cpu, expected, code) in [
            (0.71, 12, "signal-above"),
            (0.29, 5, "signal-below"),
            (0.0, 0, "signal-below"),
            (1e300, 1_000_000, "signal-above"),
        ] {
            assert_eq!(wants(&rule(), &Case::cpu(cpu).replicas(10)), (expected, code), "{cpu}");
        }
        let hot = Case::cpu(0.8).replicas(10).remembering(StrategyMemory::Adaptive(day(|_| 0.9)));
        assert_eq!(content(&rule(), &hot), (10, "within-band"), "80 % is usual here");
        assert_eq!(content(&rule(), &Case::cpu(0.70).replicas(10)), (10, "within-band"));
        assert_eq!(content(&rule(), &Case::cpu(0.30).replicas(10)), (5, "within-band"), "5 come to 60 %");
        assert_eq!(abstains(&rule(), &Case::absent().replicas(10)), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::absent().not_a_number("cpu")), "signal-absent");
    }

    #[test]
    fn a_stretch_is_learned_once_and_a_day_is_all() {
        let mut case = Case::cpu(0.5).replicas(10);
        for _ in 0..400 {
            let memory = remembers(&rule(), &case);
            case = case.remembering(memory).later(150);
        }
        let StrategyMemory::Adaptive(past) = remembers(&rule(), &case) else { panic!("it learns") };
        assert!((200..=201).contains(&past.means.len()), "{}", past.means.len());
        assert_eq!(problems(&rule()), Vec::<String>::new());
        assert_eq!(problems(&Adaptive { ceiling: percent(60.0), ..rule() }), ["ceiling"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"])) {
            behaves(&rule(), &case, &["cpu"])?;
        }
    }
}
