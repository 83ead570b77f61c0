//! A band of two watermarks instead of one target (the rule of the watermark pod autoscaler).
//!
//! Above the high mark the count grows to `ready × value ÷ high`, rounded up; below the low mark it shrinks to
//! `ready × value ÷ low`, rounded down, to one at the least; between them nothing changes, or one step towards one
//! of the marks as long as that stays within. The band keeps a noisy signal from moving the count. One change
//! moves at most `upLimit` of the ready replicas, or `downLimit` of the present ones (rounded down, at least one);
//! a change is followed by a pause, and each mark can be asked to be passed for a while first. A total of 0 is
//! not taken at its word unless the policy says so: at this peer's users an exporter that died has read 0.
//!
//! Source of rule and defaults (tolerance 1 %, limits 50 % and 20 %, pauses 60 s and 300 s): DataDog's
//! watermark pod autoscaler; its own test tables are run against [`Watermark::propose`] and its neighbours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use super::hpa::calculator::Milli;
use super::hpa::pod;
use super::hpa::pods::{Pod, PodPhase};
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, ReplicaRange, Scope, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span, Unit};

/// A band of two watermarks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Watermark {
    /// The signal to watch.
    pub signal: SignalName,
    /// Shrink below this. Without it, the same as `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<Quantity>,
    /// Grow above this. Without it, the same as `low`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<Quantity>,
    /// Whether the marks are for the whole or for one ready replica on average.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Widens the band on both sides (1%).
    #[serde(default = "one_percent")]
    pub tolerance: Quantity,
    /// Only multiples of this are wanted, rounded up (1).
    #[serde(default = "one")]
    pub round_to_multiple_of: Replicas,
    /// Within the band, go step by step towards this mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converge_towards: Option<Mark>,
    /// A replica that starts counts as ready for so long, so that one surge is not answered twice (0s).
    #[serde(default)]
    pub readiness_delay: Span,
    /// Abstain while fewer of the replicas than this are ready (0%).
    #[serde(default = "none_of_it")]
    pub min_available: Quantity,
    /// Take a total of 0 at its word.
    #[serde(default)]
    pub tolerate_zero: bool,
    /// One change grows by at most this share of the ready replicas; 0% switches growing off (50%).
    #[serde(default = "half")]
    pub up_limit: Quantity,
    /// One change shrinks by at most this share of the present replicas; 0% switches shrinking off (20%).
    #[serde(default = "a_fifth")]
    pub down_limit: Quantity,
    /// How long after any change nothing grows (60s).
    #[serde(default = "a_minute")]
    pub up_forbidden: Span,
    /// How long after any change nothing shrinks (300s).
    #[serde(default = "five_minutes")]
    pub down_forbidden: Span,
    /// How long the value must have been above the band before growing (0s).
    #[serde(default)]
    pub up_delay: Span,
    /// How long the value must have been below the band before shrinking (0s).
    #[serde(default)]
    pub down_delay: Span,
}

/// What the marks are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// The whole workload.
    #[default]
    Absolute,
    /// One ready replica on average.
    Average,
}

/// One of the two marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    /// The low one: more replicas than needed.
    Low,
    /// The high one: as few replicas as possible.
    High,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Above the band.
    Above,
    /// Below the band.
    Below,
    /// Within the band.
    Within,
}

/// What held a count back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing.
    None,
    /// The least of the policy.
    Minimum,
    /// The most of the policy.
    Maximum,
    /// `upLimit`.
    Up,
    /// `downLimit`.
    Down,
}

fn share(of: f64) -> Quantity {
    Quantity::ratio(Level::new(of).unwrap_or(Level::ZERO))
}
fn one_percent() -> Quantity {
    share(0.01)
}
fn none_of_it() -> Quantity {
    share(0.0)
}
fn half() -> Quantity {
    share(0.5)
}
fn a_fifth() -> Quantity {
    share(0.2)
}
fn one() -> Replicas {
    Replicas::ONE
}
fn a_minute() -> Span {
    Span::seconds(60)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
fn milli(value: f64) -> Milli {
    (value * 1000.0).round() as Milli
}

#[expect(clippy::cast_precision_loss, reason = "counts and thousandths of everyday amounts")]
fn float(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
fn whole(value: f64) -> i64 {
    (value as i64).clamp(0, i64::from(Replicas::LIMIT.0))
}

/// Whether a replica counts as ready: it is, or it has been starting for less than `delay`.
#[must_use]
pub fn counts_as_ready(pod: &Pod, delay: Span) -> bool {
    let Some(ready) = pod.ready.filter(|_| pod.started.is_some() && !pod.deleting) else { return false };
    match pod.phase {
        PodPhase::Running => ready,
        PodPhase::Pending => pod.ready_changed.is_some_and(|changed| changed < delay),
        PodPhase::Ended => false,
    }
}

impl Watermark {
    /// The low and the high mark; one that is not written is the other.
    #[must_use]
    pub fn marks(&self) -> Option<(Level, Level)> {
        let low = self.low.or(self.high)?;
        let high = self.high.or(self.low)?;
        Some((low.level, high.level))
    }

    /// The count for a usage in thousandths, and where that usage lies. `ready` is what the usage was measured on,
    /// `current` what is asked for; `range` bounds the steps within the band.
    #[must_use]
    pub fn propose(&self, usage: f64, current: i64, ready: i64, range: ReplicaRange) -> (i64, Position) {
        let Some((low, high)) = self.marks() else { return (current, Position::Within) };
        let (low, high, widen) = (milli(low.get()), milli(high.get()), milli(self.tolerance.level.get()));
        let ready = float(ready);
        if usage > float(high + high * widen / 1000) {
            let count = self.rounded(whole((ready * usage / float(high)).ceil()));
            return (count.max(current), Position::Above);
        }
        if usage < float(low - low * widen / 1000) {
            let count = self.rounded(whole((ready * usage / float(low)).floor()).max(1));
            return (count.min(current), Position::Below);
        }
        let step = i64::from(self.round_to_multiple_of.0);
        let within = |count: f64| whole(count).min(i64::from(range.max.0)).max(i64::from(range.min.0).max(1));
        let count = match self.converge_towards {
            None => current,
            Some(Mark::High) => {
                let fewest = within((ready / float(high) * usage).ceil());
                let fewer = (current - step).max(1);
                if fewer < fewest { current } else { fewer }
            }
            Some(Mark::Low) => {
                let most = within((ready / float(low) * usage).floor());
                if current + step > most { current } else { current + step }
            }
        };
        (count, Position::Within)
    }

    /// The next multiple that is wanted.
    fn rounded(&self, count: i64) -> i64 {
        let of = i64::from(self.round_to_multiple_of.0.max(1));
        count.div_euclid(of) * of + if count.rem_euclid(of) > 0 { of } else { 0 }
    }

    /// How far one change may grow from `ready` replicas.
    #[must_use]
    pub fn furthest_up(&self, ready: i64) -> i64 {
        let share = self.up_limit.level.get();
        if share <= 0.0 { ready } else { ready + whole((share * float(ready) + 1e-9).floor()).max(1) }
    }

    /// How far one change may shrink from `current` replicas.
    #[must_use]
    pub fn furthest_down(&self, current: i64) -> i64 {
        let share = self.down_limit.level.get();
        if share <= 0.0 { current } else { current - whole((share * float(current) + 1e-9).floor()).max(1) }
    }

    /// `desired` within the limits of one change and of the policy. Shrinking looks at the limit of one change first:
    /// it holds even where the policy's own bounds say otherwise.
    #[must_use]
    pub fn limited(&self, desired: i64, current: i64, ready: i64, range: ReplicaRange) -> (i64, Limit) {
        let (min, max) = (i64::from(range.min.0).max(1), i64::from(range.max.0));
        let down = self.furthest_down(current);
        if desired < down && down.max(min) > desired {
            return (down.max(min), Limit::Down);
        }
        if desired < min {
            return (min, Limit::Minimum);
        }
        let up = self.furthest_up(ready);
        let (most, limit) = if desired > up { (up.min(max), Limit::Up) } else { (max, Limit::Maximum) };
        if desired > most { (most, limit) } else { (desired, Limit::None) }
    }

    /// Whether a change from `current` to `desired` may be made now: the pause after the last change is over, and
    /// the value has been past its mark for long enough. `held` is for how long it has been; within the band no
    /// mark needs to be passed.
    #[must_use]
    pub fn may_change(
        &self,
        current: i64,
        desired: i64,
        since_change: Option<Span>,
        held: Option<Span>,
        position: Position,
    ) -> bool {
        let (pause, delay) = if desired > current {
            (self.up_forbidden, self.up_delay)
        } else if desired < current {
            (self.down_forbidden, self.down_delay)
        } else {
            return false;
        };
        let rested = since_change.is_none_or(|since| since >= pause);
        let long_enough = position == Position::Within || delay.is_zero() || held.is_some_and(|h| h >= delay);
        rested && long_enough
    }

    /// Replicas that count as ready.
    fn ready(&self, cx: &Context<'_>) -> Replicas {
        let replicas = &cx.status().replicas;
        if replicas.is_empty() {
            return cx.ready();
        }
        let ready = replicas.iter().filter(|r| counts_as_ready(&pod(cx, r), self.readiness_delay));
        Replicas(u32::try_from(ready.count()).unwrap_or(u32::MAX))
    }

    fn want(&self, cx: &Context<'_>) -> Result<(Replicas, Reason), Reason> {
        let sample = cx.fresh(&self.signal)?;
        let ready = self.ready(cx);
        if ready == Replicas::ZERO {
            return Err(Reason::NoReadyReplica);
        }
        let needed = self.min_available.level;
        if ready.as_f64() < needed.get() * cx.current().as_f64() {
            return Err(Reason::TooFewReady { ready, of: cx.current(), needed });
        }
        let scope = cx.signal(&self.signal).map(crate::fleet::Signal::scope);
        let replicas = ready.as_f64();
        // What one unit of the raw signal is in the algorithm's terms.
        let factor = match (self.algorithm, scope) {
            (Algorithm::Absolute, Some(Scope::PerReplica)) => replicas,
            (Algorithm::Average, Some(Scope::Total)) => 1.0 / replicas,
            (Algorithm::Absolute | Algorithm::Average, _) => 1.0,
        };
        let value = Level::new(sample.value.get() * factor).map_err(|_| Reason::NobodyWants)?;
        let seen = Seen { value, ..cx.seen(&self.signal, sample) };
        let (low, high) = self.marks().ok_or(Reason::NobodyWants)?;
        if value == Level::ZERO && !self.tolerate_zero && scope == Some(Scope::Total) {
            return Ok((cx.current(), Reason::ZeroNotBelieved { signal: self.signal.clone() }));
        }
        let (current, count_ready) = (i64::from(cx.current().0), i64::from(ready.0));
        let range = cx.workload().replicas;
        let (desired, position) = self.propose(value.get() * 1000.0, current, count_ready, range);
        if desired == current {
            return Ok((cx.current(), Reason::WithinBand { seen, low, high }));
        }
        let wanted = Replicas(u32::try_from(desired).unwrap_or(u32::MAX));
        let (delay, limit) = if desired > current { (self.up_delay, high) } else { (self.down_delay, low) };
        let grows = desired > current;
        let held = cx.held(&self.signal, delay, |min, max| {
            if grows { min.get() * factor > high.get() } else { max.get() * factor < low.get() }
        });
        let since = cx.last_change(None).map(|changed| cx.at().since(changed));
        if !self.may_change(current, desired, since, Some(held), position) {
            let pause = if grows { self.up_forbidden } else { self.down_forbidden };
            let why = match cx.pause_until(None, pause) {
                Some(until) => Reason::StrategyCoolingDown { until, wanted },
                None => Reason::NotYetLongEnough { seen, limit, held, needed: delay },
            };
            return Ok((cx.current(), why));
        }
        // The policy's own bounds are the last guard's; only the limits of one change belong here.
        let open = ReplicaRange { min: Replicas::ZERO, max: Replicas::LIMIT };
        let (count, limited) = self.limited(desired, current, count_ready, open);
        let allowed = Replicas(u32::try_from(count).unwrap_or(u32::MAX));
        let why = match limited {
            Limit::None => Reason::TowardsTarget { seen, target: limit, ready },
            Limit::Minimum | Limit::Maximum | Limit::Up | Limit::Down => {
                Reason::RateOfChange { wanted, allowed }
            }
        };
        // Growing from few ready replicas never takes away, whatever the limit's base.
        Ok((if grows { allowed.max(cx.current()) } else { allowed }, why))
    }
}

impl Recommend for Watermark {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        match self.want(cx) {
            Ok((count, why)) => Advice::wants(count, why),
            Err(why) => Advice::abstains(why),
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        for (key, mark) in [("low", &self.low), ("high", &self.high)] {
            if let Some(mark) = mark {
                super::check_unit(mark, signal, &at.key(key), problems);
                super::check_positive(mark, &at.key(key), problems);
            }
        }
        match self.marks() {
            None => problems.push(Problem::new(at.clone(), "at least one of `low` and `high` is needed")),
            Some((low, high)) if low > high => {
                problems.push(Problem::new(at.key("low"), "the low mark lies above the high one"));
            }
            Some(_) => {}
        }
        self.check_limits(at, problems);
    }

    fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        let longest = self.up_delay.max(self.down_delay);
        if *signal == self.signal && !longest.is_zero() {
            windows.push(longest.plus(Span::seconds(5)));
        }
    }
}

impl Watermark {
    /// What is wrong with the figures that no signal is needed for.
    pub fn check_limits(&self, at: &Path, problems: &mut Vec<Problem>) {
        for (key, quantity) in [
            ("tolerance", &self.tolerance),
            ("minAvailable", &self.min_available),
            ("downLimit", &self.down_limit),
        ] {
            super::check_share(quantity, &at.key(key), problems);
        }
        if !self.up_limit.fits(Unit::Ratio) {
            problems.push(Problem::new(at.key("upLimit"), "a limit is a share, such as 50%"));
        }
        if self.round_to_multiple_of == Replicas::ZERO {
            problems.push(Problem::new(at.key("roundToMultipleOf"), "must be at least 1"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, built, problems, wants};
    use proptest::prelude::*;

    fn rule(more: serde_json::Value) -> Watermark {
        built(
            serde_json::json!({ "signal": "cpu", "low": "40%", "high": "70%", "algorithm": "average" }),
            more,
        )
    }
    fn plain() -> Watermark {
        rule(serde_json::json!({ "upLimit": "1000%", "downLimit": "100%" }))
    }

    #[test]
    fn only_beyond_the_band_something_changes() {
        for (cpu, expected, code) in [
            (0.70, 10, "within-band"),
            (0.707, 10, "within-band"), // the tolerance's edge
            (0.708, 11, "towards-target"),
            (1.4, 20, "towards-target"),
            (0.396, 10, "within-band"),
            (0.395, 9, "towards-target"),
            (0.2, 5, "towards-target"),
            (0.0, 1, "towards-target"), // the last one stays
            (1e300, 110, "rate-of-change"),
        ] {
            assert_eq!(wants(&plain(), &Case::cpu(cpu).replicas(10)), (expected, code), "{cpu}");
        }
        assert_eq!(abstains(&plain(), &Case::absent().replicas(10)), "signal-absent");
        assert_eq!(abstains(&plain(), &Case::absent().not_a_number("cpu").replicas(10)), "signal-absent");
        assert_eq!(abstains(&plain(), &Case::cpu(0.9).ready(0).current(3)), "no-ready-replica");
    }

    #[test]
    fn one_change_goes_only_so_far_and_waits_its_turn() {
        let default = rule(serde_json::json!({}));
        assert_eq!(wants(&default, &Case::cpu(1.4).replicas(10)), (15, "rate-of-change"));
        assert_eq!(wants(&default, &Case::cpu(0.1).replicas(10)), (8, "rate-of-change"));
        assert_eq!(
            wants(&default, &Case::cpu(1.4).replicas(10).changed_seconds_ago(59)).1,
            "strategy-cooling-down"
        );
        assert_eq!(wants(&default, &Case::cpu(1.4).replicas(10).changed_seconds_ago(60)).0, 15);
        let patient = rule(serde_json::json!({ "downDelay": "60s" }));
        assert_eq!(
            wants(&patient, &Case::cpu(0.1).for_seconds(59).replicas(10)),
            (10, "not-yet-long-enough")
        );
        assert_eq!(wants(&patient, &Case::cpu(0.1).for_seconds(60).replicas(10)).0, 8);
    }

    #[test]
    fn within_the_band_it_may_go_towards_a_mark() {
        let frugal = rule(serde_json::json!({ "convergeTowards": "high" }));
        assert_eq!(wants(&frugal, &Case::cpu(0.5).replicas(10)).0, 9, "nine carry 55.6 %");
        assert_eq!(wants(&frugal, &Case::cpu(0.69).replicas(10)).0, 10, "nine would carry 76.7 %");
    }

    #[test]
    fn a_total_of_zero_is_not_taken_at_its_word() {
        let total = |tolerate: bool| {
            rule(serde_json::json!({ "signal": "queue", "low": 20, "high": 40, "tolerateZero": tolerate }))
        };
        let empty = Case::absent().with("queue", 0.0).replicas(5);
        assert_eq!(wants(&total(false), &empty), (5, "zero-not-believed"));
        assert_eq!(wants(&total(true), &empty), (4, "rate-of-change"));
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(problems(&plain()), Vec::<String>::new());
        assert_eq!(
            problems(&rule(serde_json::json!({ "low": "80%", "tolerance": "500%" }))),
            ["low", "tolerance"]
        );
        assert_eq!(problems(&rule(serde_json::json!({ "low": null, "high": null }))).len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"])) {
            behaves(&plain(), &case, &["cpu"])?;
        }
    }
}
