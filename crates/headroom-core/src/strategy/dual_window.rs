//! Two windows: a long one for calm, a short one for a surge (the rule of the Knative pod autoscaler).
//!
//! A total (requests in flight, requests a second) is averaged over a long and a short window, and each average is
//! shared out: `ceil(average ÷ per replica)`. When the short one wants at least `panicThreshold` times the ready
//! replicas, the strategy panics: until a long window after the last such moment the highest count wanted so far is
//! kept and nothing shrinks. Either way one decision goes no further than `maxScaleUpRate` times the ready
//! replicas and no lower than the ready replicas divided by `maxScaleDownRate`, both rounded so that a move is
//! possible. A strategy that starts with several replicas running starts in panic: its windows are still empty, and
//! that must not look like calm.
//!
//! Source of rule and defaults: Knative Serving, `config-autoscaler` (stable window 60 s, panic window 10 % of it,
//! panic threshold 200 %, rates 1000 and 2); its own test table is run against [`DualWindow::step`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Recommend, StrategyMemory};
use crate::context::Context;
use crate::decision::Advice;
use crate::extremes::Extremes;
use crate::fleet::{Path, Problem, Scope, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span, Timestamp, Unit};

/// A long window for calm, a short one for a surge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DualWindow {
    /// The total to share out: requests in flight, or requests a second.
    pub signal: SignalName,
    /// How much of it one replica can carry.
    pub per_replica: Quantity,
    /// To which share of that a replica is to be filled (Knative: 70%).
    #[serde(default = "seventy_percent")]
    pub utilization: Quantity,
    /// The long window (Knative: 60s).
    #[serde(default = "a_minute")]
    pub stable_window: Span,
    /// The short window (Knative: 10 % of the long one, 6s).
    #[serde(default = "six_seconds")]
    pub panic_window: Span,
    /// From which multiple of the ready replicas on the short window's want is a surge (Knative: 200%).
    #[serde(default = "twice")]
    pub panic_threshold: Quantity,
    /// One decision grows to at most so many times the ready replicas (Knative: 1000).
    #[serde(default = "thousand")]
    pub max_scale_up_rate: f64,
    /// One decision shrinks to no less than the ready replicas divided by this (Knative: 2).
    #[serde(default = "two")]
    pub max_scale_down_rate: f64,
    /// How long less must have been wanted before it is done (Knative: 0s).
    #[serde(default)]
    pub scale_down_delay: Span,
    /// The least count once there is any load at all (Knative: 1).
    #[serde(default = "one")]
    pub activation_scale: Replicas,
}

fn seventy_percent() -> Quantity {
    Quantity::ratio(Level::new(0.7).unwrap_or(Level::ZERO))
}
fn twice() -> Quantity {
    Quantity::ratio(Level::new(2.0).unwrap_or(Level::ZERO))
}
fn a_minute() -> Span {
    Span::seconds(60)
}
fn six_seconds() -> Span {
    Span::seconds(6)
}
fn thousand() -> f64 {
    1000.0
}
fn two() -> f64 {
    2.0
}
fn one() -> Replicas {
    Replicas::ONE
}

/// The least target a policy may come to: Knative's `target-min`, below which a share would want replicas without end.
const LEAST_TARGET: f64 = 0.01;

/// What the strategy remembers: whether and since when it panics, and the counts wanted of late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panic {
    /// When the surge was last seen; `None` in calm.
    pub since: Option<Timestamp>,
    /// The highest count wanted since the panic began.
    pub most: Replicas,
    /// The counts wanted within the delay.
    wanted: Extremes,
}

impl Panic {
    /// The state of a strategy that starts with `ready` replicas running.
    #[must_use]
    pub fn starting(at: Timestamp, ready: Replicas) -> Self {
        let since = (ready > Replicas::ONE).then_some(at);
        Self { since, most: ready, wanted: Extremes::highest(Span::ZERO) }
    }
}

/// What is seen at one moment: the two averages and the ready replicas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The average over the long window.
    pub stable: Level,
    /// The average over the short window.
    pub panic: Level,
    /// Replicas that take traffic.
    pub ready: Replicas,
    /// Whether traffic can come at all; where not, shrinking is neither slowed nor delayed.
    pub reachable: bool,
}

/// What came of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The count wanted.
    pub replicas: Replicas,
    /// What the averages alone would want, before limits and memory.
    pub unlimited: Replicas,
}

impl DualWindow {
    /// The value aimed at for each replica: capacity times utilisation.
    #[must_use]
    pub fn target(&self) -> f64 {
        (self.per_replica.level.get() * self.utilization.level.get()).max(LEAST_TARGET)
    }

    /// The rule: one moment, and what is remembered after it.
    #[must_use]
    pub fn step(&self, at: Timestamp, load: Load, before: &Panic) -> (Wanted, Panic) {
        let ready = load.ready.as_f64().max(1.0);
        let most = (self.max_scale_up_rate * ready).ceil();
        let least = if load.reachable { (ready / self.max_scale_down_rate).floor() } else { 0.0 };
        let target = self.target();
        let by_stable = (load.stable.get() / target).ceil();
        let by_panic = (load.panic.get() / target).ceil();
        let within = |wanted: f64| {
            let count = Replicas::ceil(wanted.max(least).min(most));
            if wanted > 0.0 { count.max(self.activation_scale) } else { count }
        };
        let (stable, panic) = (within(by_stable), within(by_panic));

        let mut after = before.clone();
        if by_panic / ready >= self.panic_threshold.level.get() {
            after.since = Some(at);
        } else if after.since.is_some_and(|since| since.plus(self.stable_window) < at) {
            (after.since, after.most) = (None, Replicas::ZERO);
        }
        let mut replicas = stable;
        if after.since.is_some() {
            after.most = after.most.max(stable).max(panic);
            replicas = after.most;
        }
        if !self.scale_down_delay.is_zero() && load.reachable {
            after.wanted.resize(self.scale_down_delay);
            after.wanted.push(at, replicas);
            replicas = after.wanted.extreme(at).map_or(replicas, |(highest, _)| highest);
        }
        (Wanted { replicas, unlimited: Replicas::ceil(by_stable.max(by_panic)) }, after)
    }

    fn load(&self, cx: &Context<'_>) -> Result<Load, Reason> {
        let sample = cx.fresh(&self.signal)?;
        let mean = |window| cx.window(&self.signal, window).map_or(sample.value, |stats| stats.mean);
        Ok(Load {
            stable: mean(self.stable_window),
            panic: mean(self.panic_window),
            ready: cx.ready(),
            reachable: true,
        })
    }

    fn before(cx: &Context<'_>) -> Panic {
        match cx.own() {
            StrategyMemory::DualWindow(panic) => panic.clone(),
            _ => Panic::starting(cx.at(), cx.ready()),
        }
    }
}

/// Spare capacity over the present load and an expected burst: below zero, the burst would not fit. Knative's "excess
/// burst capacity", by which it decides whether a queue stays in front.
#[must_use]
pub fn spare_capacity(ready: Replicas, per_replica: Level, burst: f64, in_use: Level) -> f64 {
    (ready.as_f64() * per_replica.get() - burst - in_use.get()).floor()
}

impl Recommend for DualWindow {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let load = match self.load(cx) {
            Ok(load) => load,
            Err(why) => return Advice::abstains(why),
        };
        let (wanted, after) = self.step(cx.at(), load, &Self::before(cx));
        let unit = cx.signal(&self.signal).map_or(Unit::Count, crate::fleet::Signal::unit);
        let seen = |value| Seen { signal: self.signal.clone(), unit, value };
        let per_replica = Level::new(self.target()).unwrap_or(self.per_replica.level);
        let why = match after.since {
            Some(since) => {
                let until = since.plus(self.stable_window);
                Reason::Panicking { seen: seen(load.panic), per_replica, until }
            }
            None if wanted.replicas != wanted.unlimited => {
                Reason::RateOfChange { wanted: wanted.unlimited, allowed: wanted.replicas }
            }
            None => Reason::SharePerReplica { seen: seen(load.stable), per_replica },
        };
        Advice::wants(wanted.replicas, why)
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        if signal.scope() != Scope::Total {
            problems.push(Problem::new(
                at.key("signal"),
                format!("`{}` is no total that replicas could share", self.signal),
            ));
        }
        super::check_unit(&self.per_replica, signal, &at.key("perReplica"), problems);
        super::check_positive(&self.per_replica, &at.key("perReplica"), problems);
        super::check_share(&self.utilization, &at.key("utilization"), problems);
        super::check_positive(&self.utilization, &at.key("utilization"), problems);
        if !self.panic_threshold.fits(Unit::Ratio) || self.panic_threshold.level.get() <= 1.0 {
            problems.push(Problem::new(at.key("panicThreshold"), "must be above 100%"));
        }
        for (key, rate) in
            [("maxScaleUpRate", self.max_scale_up_rate), ("maxScaleDownRate", self.max_scale_down_rate)]
        {
            if !(rate.is_finite() && rate > 1.0) {
                problems.push(Problem::new(at.key(key), "must be above 1, or nothing ever changes"));
            }
        }
        if self.panic_window.is_zero() || self.panic_window >= self.stable_window {
            problems.push(Problem::new(
                at.key("panicWindow"),
                "must be longer than nothing and shorter than the long window",
            ));
        }
    }

    fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        if *signal == self.signal {
            windows.extend([self.stable_window, self.panic_window]);
        }
    }

    fn remember(&self, cx: &Context<'_>) -> Option<StrategyMemory> {
        let load = self.load(cx).ok()?;
        let (_, after) = self.step(cx.at(), load, &Self::before(cx));
        Some(StrategyMemory::DualWindow(after))
    }

    fn remembers_as(&self, memory: &StrategyMemory) -> bool {
        matches!(memory, StrategyMemory::DualWindow(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, NOW, abstains, any_case, behaves, problems, remembers, wants};
    use proptest::prelude::*;

    fn rule() -> DualWindow {
        serde_json::from_value(
            serde_json::json!({ "signal": "inFlight", "perReplica": 100, "utilization": "100%" }),
        )
        .unwrap()
    }
    fn in_flight(value: f64) -> Case {
        Case::absent().with("inFlight", value).for_seconds(60)
    }

    #[test]
    fn calm_is_shared_out_within_the_rates() {
        for (value, ready, expected, code) in [
            (0.0, 1, 0, "share-per-replica"),
            (0.0, 8, 4, "rate-of-change"), // no lower than half of what is ready
            (100.0, 1, 1, "share-per-replica"),
            (100.1, 1, 2, "panicking"), // two are twice the one that is ready
            (800.0, 8, 8, "share-per-replica"),
            (1500.0, 8, 15, "share-per-replica"),
            (1e300, 1, 1000, "panicking"),
        ] {
            let case = in_flight(value).replicas(ready).remembering(calm());
            assert_eq!(wants(&rule(), &case), (expected, code), "{value} on {ready}");
        }
        assert_eq!(abstains(&rule(), &Case::absent().replicas(3)), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::absent().not_a_number("inFlight").replicas(3)), "signal-absent");
    }

    fn calm() -> StrategyMemory {
        StrategyMemory::DualWindow(Panic {
            since: None,
            most: Replicas::ZERO,
            wanted: Extremes::highest(Span::ZERO),
        })
    }

    #[test]
    fn a_surge_is_answered_by_the_short_window_and_kept_until_it_has_passed() {
        // Ten quiet minutes, then six seconds at 1000: the long window's mean is still low.
        let surge = Case::absent().was("inFlight", 100.0, 60, 6).with("inFlight", 1000.0).for_seconds(5);
        let surge = surge.replicas(2).remembering(calm());
        assert_eq!(wants(&rule(), &surge), (10, "panicking"));
        let after = remembers(&rule(), &surge);
        let quiet = |seconds| in_flight(100.0).replicas(10).later(seconds).remembering(after.clone());
        assert_eq!(wants(&rule(), &quiet(60)), (10, "panicking"), "exactly a window later");
        assert_eq!(wants(&rule(), &quiet(61)), (5, "rate-of-change"));
    }

    #[test]
    fn a_start_with_several_replicas_is_not_calm() {
        assert_eq!(wants(&rule(), &in_flight(100.0).replicas(5)), (5, "panicking"));
        assert!(Panic::starting(NOW, Replicas(1)).since.is_none());
    }

    #[test]
    fn a_delay_keeps_the_highest_want_within_it() {
        let delayed = DualWindow { scale_down_delay: Span::seconds(10), ..rule() };
        let load = |stable| Load {
            stable: Level::new(stable).unwrap(),
            panic: Level::ZERO,
            ready: Replicas(4),
            reachable: true,
        };
        let calm = Panic { since: None, ..Panic::starting(NOW, Replicas(4)) };
        let (first, state) = delayed.step(NOW, load(400.0), &calm);
        let (held, state) = delayed.step(NOW.plus(Span::seconds(9)), load(200.0), &state);
        let (done, _) = delayed.step(NOW.plus(Span::seconds(10)), load(200.0), &state);
        assert_eq!([first, held, done].map(|w| w.replicas.0), [4, 4, 2]);
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(problems(&rule()), Vec::<String>::new());
        let bad = DualWindow { panic_window: Span::seconds(60), max_scale_up_rate: 1.0, ..rule() };
        assert_eq!(problems(&bad), ["maxScaleUpRate", "panicWindow"]);
        assert_eq!(problems(&DualWindow { signal: "cpu".parse().unwrap(), ..rule() }).len(), 2);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["inFlight"])) {
            behaves(&rule(), &case, &["inFlight"])?;
        }
    }
}
