//! Alarms with simple and step adjustments (A13).
//!
//! A signal's statistic over each period is compared with a threshold; when enough of the last periods breach it,
//! the alarm rings and the count is adjusted: by so many, by per cent, to an exact count, or in steps that grow with
//! the breach. A simple adjustment is followed by a cooldown (A13: 300 s out, 600 s in); steps need none, because
//! growth counts from the ready replicas: what is on its way already is not asked for again.
//!
//! What periods without data mean is written down (`treatMissing`), with CloudWatch's rules, whose tables are run
//! against [`state`]. One rule goes before them all: an alarm never shrinks a workload whose signal can't be read
//! now. While it does not ring an alarm abstains, so that of a pair (grow above, shrink below) each speaks alone.
//!
//! Source of rule and defaults: A13 (300 s, two periods, cooldowns); `statistic`, `treatMissing` and the rounding default
//! to what CloudWatch and AWS step scaling default to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adjust::{AdjustmentKind, Rounding, adjusted};
use super::{Recommend, StrategyMemory};
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::series::WindowStats;
use crate::units::{Level, Quantity, Replicas, Span};

/// An alarm and what it adjusts. Exactly one of `by` and `steps` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Alarm {
    /// The signal to watch; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// What of a period's samples counts.
    #[serde(default)]
    pub statistic: Statistic,
    /// The length of a period (A13: 300s).
    #[serde(default = "five_minutes")]
    pub period: Span,
    /// How many periods are looked at (A13: 2).
    #[serde(default = "two")]
    pub evaluation_periods: u32,
    /// How many of them must breach; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datapoints_to_alarm: Option<u32>,
    /// How a breach is told.
    pub comparison: Comparison,
    /// The threshold; with `between` its lower edge, inclusive.
    pub threshold: Quantity,
    /// With `between`, the upper edge, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<Quantity>,
    /// What a period without data means.
    #[serde(default)]
    pub treat_missing: TreatMissing,
    /// What `by` means.
    #[serde(default)]
    pub adjustment: AdjustmentKind,
    /// The adjustment, whatever the size of the breach (A13: 2 out, −1 in).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<f64>,
    /// Adjustments that grow with the breach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<AlarmStep>,
    /// A share moves at least so many replicas.
    #[serde(default)]
    pub min_magnitude: Replicas,
    /// How a share becomes whole.
    #[serde(default)]
    pub rounding: Rounding,
    /// How long after any change a simple adjustment waits (A13: 300s out, 600s in).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

/// An adjustment for breaches of a size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AlarmStep {
    /// From so far beyond the threshold on, inclusive; by default from the threshold itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Quantity>,
    /// To so far beyond the threshold, exclusive; by default without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Quantity>,
    /// The adjustment.
    pub by: f64,
}

/// What of a period's samples counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Statistic {
    /// Their mean.
    #[default]
    Average,
    /// The least.
    Minimum,
    /// The largest.
    Maximum,
    /// All together.
    Sum,
    /// How many there are.
    SampleCount,
}

/// How a breach is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Comparison {
    /// More than the threshold.
    Above,
    /// The threshold or more.
    AtOrAbove,
    /// Less than the threshold.
    Below,
    /// The threshold or less.
    AtOrBelow,
    /// The threshold or more, and less than `upper`.
    Between,
}

/// What a period without data means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TreatMissing {
    /// Nothing: with no data at all, nothing can be said.
    #[default]
    Missing,
    /// The alarm stays as it was.
    Ignore,
    /// A breach.
    Breaching,
    /// No breach.
    NotBreaching,
}

/// What an alarm says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AlarmState {
    /// All is well.
    Ok,
    /// It rings.
    Ringing,
    /// There is too little data.
    Insufficient,
    /// As before.
    Keep,
}

/// Periods looked back beyond the evaluated ones for data that came late or not at all (CloudWatch does likewise).
const LOOK_BACK: u32 = 2;

fn five_minutes() -> Span {
    Span::seconds(300)
}
fn two() -> u32 {
    2
}

/// What an alarm says of `points`, oldest first: breaching, not breaching, or no data. Also how many missing points
/// had to be filled. `of` of the last `periods` points must breach.
///
/// The latest points that exist are evaluated, as many as there are periods; only where there are fewer, missing
/// ones are filled by `treat`. Where all that exist breach and too few do, the alarm rings only if the oldest of
/// them is old enough that the missing ones can't have been the start of calm.
#[must_use]
pub fn state(points: &[Option<bool>], of: usize, periods: usize, treat: TreatMissing) -> (AlarmState, usize) {
    let mut seen = 0;
    let mut breaching = 0;
    let mut oldest_breach = None;
    for (age, point) in points.iter().rev().enumerate() {
        let Some(breaches) = point else { continue };
        if seen == periods {
            break;
        }
        seen += 1;
        if *breaches {
            breaching += 1;
            oldest_breach = Some(age + 1);
        }
    }
    let filled = periods - seen;
    let assumed = if treat == TreatMissing::Breaching { filled } else { 0 };
    let state = if breaching + assumed >= of {
        AlarmState::Ringing
    } else if filled == 0
        || breaching < seen
        || matches!(treat, TreatMissing::Breaching | TreatMissing::NotBreaching)
    {
        AlarmState::Ok
    } else {
        match (treat, seen) {
            (TreatMissing::Ignore, _) => AlarmState::Keep,
            (_, 0) => AlarmState::Insufficient,
            _ if oldest_breach.is_some_and(|age| age >= of) => AlarmState::Ringing,
            _ => AlarmState::Insufficient,
        }
    };
    (state, filled)
}

/// What of some samples counts.
#[must_use]
pub fn statistic(statistic: Statistic, stats: &WindowStats) -> f64 {
    match statistic {
        Statistic::Average => stats.mean.get(),
        Statistic::Minimum => stats.min.get(),
        Statistic::Maximum => stats.max.get(),
        Statistic::Sum => stats.mean.get() * f64::from(stats.samples),
        Statistic::SampleCount => f64::from(stats.samples),
    }
}

impl Alarm {
    /// How many of the periods must breach.
    #[must_use]
    pub fn datapoints(&self) -> u32 {
        self.datapoints_to_alarm.unwrap_or(self.evaluation_periods)
    }

    /// Whether a period of this value breaches the threshold.
    #[must_use]
    pub fn breaches(&self, value: f64) -> bool {
        let threshold = self.threshold.level.get();
        match self.comparison {
            Comparison::Above => value > threshold,
            Comparison::AtOrAbove => value >= threshold,
            Comparison::Below => value < threshold,
            Comparison::AtOrBelow => value <= threshold,
            Comparison::Between => {
                value >= threshold && self.upper.is_none_or(|upper| value < upper.level.get())
            }
        }
    }

    /// The step for a breach of `distance` beyond the threshold; `None` where none applies.
    #[must_use]
    pub fn step(&self, distance: f64) -> Option<f64> {
        let from = |step: &AlarmStep| step.from.is_none_or(|from| distance >= from.level.get());
        let to = |step: &AlarmStep| step.to.is_none_or(|to| distance < to.level.get());
        self.steps.iter().find(|step| from(step) && to(step)).map(|step| step.by)
    }

    /// The count the alarm asks for while it rings, and what it adjusts from. `ready` leaves out what is on its way.
    #[must_use]
    pub fn adjusted(&self, value: f64, current: Replicas, ready: Replicas) -> Replicas {
        let distance = (value - self.threshold.level.get()).abs();
        let (amount, base) = match self.by {
            Some(by) => (by, current),
            None => (self.step(distance).unwrap_or(0.0), ready),
        };
        let to = |base| adjusted(self.adjustment, self.rounding, base, amount, self.min_magnitude);
        match self.adjustment {
            AdjustmentKind::Exact => to(current),
            // What starts already counts towards a growth; a shrink counts from all there is.
            AdjustmentKind::Change | AdjustmentKind::Percent if amount > 0.0 => to(base).max(current),
            AdjustmentKind::Change | AdjustmentKind::Percent => to(current),
        }
    }

    /// The state now, with the value of the latest period.
    fn evaluate(&self, cx: &Context<'_>) -> (AlarmState, Option<f64>) {
        let Some(series) = cx.memory().signal(&self.signal).and_then(|s| s.series(self.window())) else {
            return (AlarmState::Insufficient, None);
        };
        let total =
            cx.signal(&self.signal).map(crate::fleet::Signal::scope) == Some(crate::fleet::Scope::Total);
        let divisor = if total { cx.ready().as_f64().max(1.0) } else { 1.0 };
        let range = self.evaluation_periods + LOOK_BACK;
        let mut points = Vec::with_capacity(range as usize);
        let mut latest = None;
        for ago in (0..range).rev() {
            let stats = series.period(cx.at(), self.period, ago);
            let value = stats.map(|stats| statistic(self.statistic, &stats) / divisor);
            latest = value.or(latest);
            points.push(value.map(|v| self.breaches(v)));
        }
        let (of, periods) = (self.datapoints() as usize, self.evaluation_periods as usize);
        (state(&points, of, periods, self.treat_missing).0, latest)
    }

    fn rings(&self, cx: &Context<'_>) -> (bool, bool, Option<f64>) {
        let (state, value) = self.evaluate(cx);
        let before = matches!(cx.own(), StrategyMemory::Alarm(AlarmState::Ringing));
        match state {
            AlarmState::Ringing => (true, true, value),
            AlarmState::Ok => (false, true, value),
            AlarmState::Insufficient => (false, false, value),
            AlarmState::Keep => (before, true, value),
        }
    }

    fn window(&self) -> Span {
        self.period.times(u64::from(self.evaluation_periods + LOOK_BACK + 1))
    }
}

impl Recommend for Alarm {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let (rings, known, value) = self.rings(cx);
        let fresh = cx.fresh(&self.signal);
        if !rings {
            return match fresh {
                Err(why) if !known => Advice::abstains(why),
                Ok(_) | Err(_) => Advice::abstains(Reason::AlarmQuiet { signal: self.signal.clone() }),
            };
        }
        if cx.ready() == Replicas::ZERO {
            return Advice::abstains(Reason::NoReadyReplica);
        }
        let value = value.unwrap_or(self.threshold.level.get());
        let want = self.adjusted(value, cx.current(), cx.ready());
        if want < cx.current()
            && let Err(why) = fresh
        {
            return Advice::abstains(why);
        }
        if want == cx.current() {
            return Advice::abstains(Reason::AlarmQuiet { signal: self.signal.clone() });
        }
        let pause = self.by.and_then(|_| cx.pause_until(None, self.cooldown));
        if let Some(until) = pause {
            return Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want });
        }
        let seen = Seen {
            signal: self.signal.clone(),
            unit: cx.signal(&self.signal).map_or(crate::units::Unit::Count, crate::fleet::Signal::unit),
            value: Level::new(value).unwrap_or(Level::ZERO),
        };
        let (breached, of) = (self.datapoints(), self.evaluation_periods);
        Advice::wants(want, Reason::AlarmRings { seen, limit: self.threshold.level, breached, of })
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        if self.statistic != Statistic::SampleCount {
            super::check_unit(&self.threshold, signal, &at.key("threshold"), problems);
        }
        if (self.comparison == Comparison::Between) != self.upper.is_some() {
            problems.push(Problem::new(at.key("upper"), "`between` needs `upper`, and nothing else does"));
        }
        if self.upper.is_some_and(|upper| upper.level <= self.threshold.level) {
            problems.push(Problem::new(at.key("upper"), "is not above the threshold"));
        }
        if self.period < Span::seconds(1) {
            problems.push(Problem::new(at.key("period"), "must be at least 1s"));
        }
        // CloudWatch allows a day; a hundred periods are far beyond any policy.
        if !(1..=100).contains(&self.evaluation_periods) {
            problems.push(Problem::new(at.key("evaluationPeriods"), "must be 1 to 100"));
        }
        if !(1..=self.evaluation_periods.max(1)).contains(&self.datapoints()) {
            problems.push(Problem::new(at.key("datapointsToAlarm"), "must be 1 to `evaluationPeriods`"));
        }
        if self.window() > Span::days(7) {
            problems.push(Problem::new(at.key("period"), "the periods together are longer than a week"));
        }
        if self.by.is_some() != self.steps.is_empty() {
            problems.push(Problem::new(at.key("by"), "exactly one of `by` and `steps` is needed"));
        }
        if self.by.into_iter().chain(self.steps.iter().map(|s| s.by)).any(|by| !by.is_finite()) {
            problems.push(Problem::new(at.key("by"), "must be a number"));
        }
        if !steps_fit(&self.steps) {
            problems.push(
                Problem::new(at.key("steps"), "the steps must follow one another without gap or overlap")
                    .help("each step's `from` is the `to` of the one before; only the last may have no `to`"),
            );
        }
    }

    fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        if *signal == self.signal {
            windows.push(self.window());
        }
    }

    fn remember(&self, cx: &Context<'_>) -> Option<StrategyMemory> {
        let state = match self.evaluate(cx).0 {
            AlarmState::Keep => return None,
            state => StrategyMemory::Alarm(state),
        };
        (*cx.own() != state).then_some(state)
    }

    fn remembers_as(&self, memory: &StrategyMemory) -> bool {
        matches!(memory, StrategyMemory::Alarm(_))
    }
}

/// Whether steps follow one another without gap or overlap, in whatever order they are written.
#[must_use]
pub fn steps_fit(steps: &[AlarmStep]) -> bool {
    let mut in_order: Vec<_> = steps
        .iter()
        .map(|s| (s.from.map_or(0.0, |q| q.level.get()), s.to.map_or(f64::INFINITY, |q| q.level.get())))
        .collect();
    in_order.sort_by(|a, b| a.0.total_cmp(&b.0));
    in_order.iter().all(|(from, to)| from < to)
        && in_order.windows(2).all(|pair| matches!(pair, [(_, to), (from, _)] if (to - from).abs() < 1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, built, problems, remembers, wants};
    use proptest::prelude::*;

    fn rule(more: serde_json::Value) -> Alarm {
        built(
            serde_json::json!({
            "signal": "cpu", "comparison": "above", "threshold": "70%", "by": 2, "period": "60s" }),
            more,
        )
    }

    /// A13: two periods in a row above the threshold add two.
    #[test]
    fn it_rings_when_enough_periods_breach() {
        for (cpu, seconds, expected) in [
            (0.71, 180, Some(12)),
            (0.70, 180, None),
            (0.0, 180, None),
            (1e300, 180, Some(12)),
            (0.9, 59, None),
        ] {
            let case = Case::cpu(cpu).for_seconds(seconds).replicas(10).at("2026-11-23T10:00:00Z");
            match expected {
                Some(count) => assert_eq!(wants(&rule(serde_json::json!({})), &case), (count, "alarm-rings")),
                None => assert_eq!(abstains(&rule(serde_json::json!({})), &case), "alarm-quiet", "{cpu}"),
            }
        }
        let absent = Case::absent().replicas(10);
        assert_eq!(abstains(&rule(serde_json::json!({})), &absent), "signal-absent");
        assert_eq!(abstains(&rule(serde_json::json!({})), &absent.not_a_number("cpu")), "signal-absent");
    }

    /// A13: a simple adjustment waits after a change; steps count what is on its way instead.
    #[test]
    fn simple_waits_and_steps_count_what_is_on_its_way() {
        let hot = Case::cpu(0.9).for_seconds(180).at("2026-11-23T10:00:00Z");
        let waits = hot.clone().replicas(10).changed_seconds_ago(299);
        assert_eq!(wants(&rule(serde_json::json!({})), &waits), (10, "strategy-cooling-down"));
        let steps = rule(serde_json::json!({ "by": null, "adjustment": "percent", "steps": [
            { "from": "0%", "to": "10%", "by": 10 }, { "from": "10%", "by": 30 } ] }));
        assert_eq!(wants(&steps, &hot.clone().replicas(10)), (13, "alarm-rings"));
        assert_eq!(wants(&steps, &hot.clone().ready(10).current(11)), (13, "alarm-rings"));
        assert_eq!(abstains(&steps, &hot.ready(10).current(13)), "alarm-quiet", "all of it is on its way");
    }

    /// A13 and absence: an alarm that takes silence for calm still never shrinks blindly.
    #[test]
    fn silence_never_shrinks() {
        let shrink = rule(serde_json::json!({
            "comparison": "below", "threshold": "30%", "by": -1, "treatMissing": "breaching" }));
        let calm = Case::cpu(0.1).for_seconds(180).at("2026-11-23T10:00:00Z").replicas(10);
        assert_eq!(wants(&shrink, &calm), (9, "alarm-rings"));
        assert_eq!(abstains(&shrink, &Case::absent().replicas(10)), "signal-absent");
    }

    #[test]
    fn an_alarm_that_ignores_missing_data_stays_as_it_was() {
        let keeps = rule(serde_json::json!({ "treatMissing": "ignore" }));
        let hot = Case::cpu(0.9).for_seconds(180).at("2026-11-23T10:00:00Z").replicas(10);
        let memory = remembers(&keeps, &hot);
        assert_eq!(memory, StrategyMemory::Alarm(AlarmState::Ringing));
        let silent = Case::absent().replicas(10).remembering(memory);
        assert_eq!(wants(&keeps, &silent), (12, "alarm-rings"));
        assert_eq!(abstains(&keeps, &Case::absent().replicas(10)), "alarm-quiet");
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(problems(&rule(serde_json::json!({}))), Vec::<String>::new());
        let gap = serde_json::json!({ "by": null, "steps": [
            { "from": "0%", "to": "10%", "by": 1 }, { "from": "20%", "by": 2 } ] });
        assert_eq!(problems(&rule(gap)), ["steps"]);
        let bad = serde_json::json!({ "evaluationPeriods": 0, "by": null, "upper": "80%" });
        assert_eq!(problems(&rule(bad)), ["upper", "evaluationPeriods", "datapointsToAlarm", "by"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"])) {
            behaves(&rule(serde_json::json!({})), &case, &["cpu"])?;
        }

        /// Whatever is missing is either evaluated or filled, never both.
        #[test]
        fn no_point_is_counted_twice(
            points in proptest::collection::vec(proptest::option::of(proptest::bool::ANY), 5), of in 1_usize..=3,
        ) {
            for treat in [TreatMissing::Missing, TreatMissing::Ignore, TreatMissing::Breaching] {
                let (_, filled) = state(&points, of, 3, treat);
                let existing = points.iter().flatten().count();
                prop_assert_eq!(filled, 3_usize.saturating_sub(existing));
            }
        }
    }
}
