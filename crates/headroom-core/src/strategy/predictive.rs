//! Predictive: what the load will need when a replica started now is ready (A8, A9, B11).
//!
//! The long-range forecast of a *load* (a total, such as requests a second) becomes replicas through what one replica
//! carries; utilisation is never forecast, it depends on the very count that is to be found. Looked at is the highest
//! load of a level between now and the lead: the measured start-up time and a buffer (A9: 600 s before the need).
//!
//! A forecast is believed only while it has proved better than "as now", "as yesterday" and "as last week" on loads
//! that came after it was made; else the strategy abstains and gives the figures. So it goes beside a strategy that
//! measures: the higher want counts (D2).
//!
//! Sources of rule and defaults: A8, A9 (buffer 600 s, 20 % above the maximum), B11 (1.5 and 0.5 times the present
//! count). The level of 90 % is our own: the tenth that goes beyond is what measuring strategies are for.

use headroom_forecast::Standing;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Recommend, Strategy};
use crate::capacity::Learning;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Scope, Workload};
use crate::guard::raised_maximum;
use crate::names::SignalName;
use crate::outlook::{Ahead, LEVELS};
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span, Timestamp, Unit};

/// Settled forecasts from which on a record counts: about two hours of them; below, chance decides who was better.
const ENOUGH_SETTLED: f64 = 24.0;

/// How sure a forecast must be to end a stabilisation window: at 99 % the highest of its levels.
const SURE: f64 = 0.99;

/// Scale by the forecast of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Predictive {
    /// Whether it only says what it would want, or wants it.
    #[serde(default)]
    pub mode: PredictiveMode,
    /// The load to forecast; by default the workload's first total that is a rate, else its first total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,
    /// How much of the load one replica is to carry; by default what a `targetTracking` of the same signal says, else
    /// what is learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_replica: Option<Quantity>,
    /// Replicas are ready so long before they are needed, on top of their measured start-up time (A9: 600s).
    #[serde(default = "ten_minutes")]
    pub buffer: Span,
    /// How far beyond the lead the highest load counts too (B11: 60m); by default not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<Span>,
    /// Which quantile of the load: 50%, 90%, 95% or 99%. By default 90%: the tenth that goes beyond is left to the
    /// strategies that measure.
    #[serde(default = "ninety")]
    pub level: Quantity,
    /// So much is added to the load (B11: 20%); by default nothing, the level is the margin.
    #[serde(default = "nothing")]
    pub margin: Quantity,
    /// Act only far from the present count; by default always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<ActBeyond>,
    /// Whether a proved forecast may go beyond `replicas.max` (A9); by default it may not.
    #[serde(default)]
    pub max_capacity_breach: MaxCapacityBreach,
    /// Whether a fleet may shrink before its stabilisation window is over, where a proved forecast is sure (99%) that
    /// until then, and until the lead after it, fewer are enough; by default it may not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early_scale_in: bool,
}

/// What happens where the forecast needs more than `replicas.max` (A9).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MaxCapacityBreach {
    /// The maximum holds.
    #[default]
    Honour,
    /// The maximum is raised while the forecast needs it, and is back in force after.
    Increase(IncreaseMaximum),
}

/// How far a forecast raises the maximum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IncreaseMaximum {
    /// The maximum is the count the forecast needs and this share on top, for the strategies that measure (A9: 20%).
    #[serde(default = "fifth")]
    pub buffer: Quantity,
    /// Never more than this, whatever is foreseen: what the service may cost at the very most.
    pub at_most: Replicas,
}

/// Whether a forecast is acted on (A9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PredictiveMode {
    /// It only says what it would want.
    #[default]
    ForecastOnly,
    /// It wants it.
    ForecastAndScale,
}

/// How far from the present count a want must be to be acted on (B11).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ActBeyond {
    /// Grow only to more than this share of the present count (B11: 150%).
    #[serde(default = "three_halves")]
    pub above: Quantity,
    /// Shrink only to less than this share of it (B11: 50%).
    #[serde(default = "half")]
    pub below: Quantity,
}

fn share(value: f64) -> Quantity {
    Quantity::ratio(Level::new(value).unwrap_or(Level::ZERO))
}
fn ten_minutes() -> Span {
    Span::minutes(10)
}
fn ninety() -> Quantity {
    share(0.9)
}
fn fifth() -> Quantity {
    share(0.2)
}
fn nothing() -> Quantity {
    share(0.0)
}
fn three_halves() -> Quantity {
    share(1.5)
}
fn half() -> Quantity {
    share(0.5)
}

impl Predictive {
    fn demand<'a>(&'a self, workload: &'a Workload) -> Option<&'a SignalName> {
        let totals = || workload.signals.iter().filter(|(_, s)| s.scope() == Scope::Total);
        let default = || totals().find(|(_, s)| s.unit() == Unit::PerSecond).or_else(|| totals().next());
        self.signal.as_ref().or_else(|| default().map(|(name, _)| name))
    }

    /// What the policy says one replica is to carry.
    fn told(&self, workload: &Workload, demand: &SignalName) -> Option<Level> {
        let tracked = |s: &Strategy| match s {
            Strategy::TargetTracking(t) if t.signal == *demand => t.per_replica.as_ref().map(|q| q.level),
            _ => None,
        };
        let own = self.per_replica.as_ref().map(|q| q.level);
        own.or_else(|| workload.strategies.iter().find_map(tracked))
    }

    /// The want, before it is asked whether it is to be acted on: the lead, and what the record of so far ahead is.
    fn foresee(&self, seen: &Foreseen<'_>) -> Result<(Replicas, Reason), Reason> {
        let missing = || Reason::ForecastMissing { signal: seen.demand.clone() };
        let level = self.level.level;
        let peak = seen.ahead.peak(level.get(), seen.at, seen.at.plus(seen.lead)).ok_or_else(missing)?;
        if !proved(seen.standing) {
            let standing = seen.standing.filter(|s| s.evidence >= ENOUGH_SETTLED);
            return Err(Reason::ForecastUnproved {
                signal: seen.demand.clone(),
                loss: standing.and_then(|s| Level::new(s.loss).ok()),
                naive: standing.and_then(|s| Level::new(s.yardstick_loss).ok()),
            });
        }
        let load = Level::new(peak.load.get() * (1.0 + self.margin.level.get())).unwrap_or(peak.load);
        let wanted = load.replicas_for(seen.per_replica).ok_or_else(missing)?;
        let peak = Seen { signal: seen.demand.clone(), unit: seen.unit, value: peak.load };
        let by = seen.at.plus(seen.lead);
        Ok((wanted, Reason::ForecastNeeds { peak, level, by, per_replica: seen.per_replica }))
    }

    /// The same want with the raised maximum in its reason, where it is beyond the policy's and may be.
    fn raised(&self, max: Replicas, wanted: Replicas, why: Reason) -> Reason {
        match (&self.max_capacity_breach, why) {
            (MaxCapacityBreach::Increase(increase), Reason::ForecastNeeds { peak, by, .. })
                if wanted > max =>
            {
                let to = raised_maximum(max, wanted, increase.buffer.level.get()).min(increase.at_most);
                Reason::ForecastRaises { peak, by, max, to: to.max(max) }
            }
            (_, why) => why,
        }
    }

    /// The most replicas there may be, given what this strategy has said; `max` is the policy's word. Where it can't
    /// say what it foresees, what is there beyond the maximum stays until the others let it go.
    pub(crate) fn maximum(&self, max: Replicas, current: Replicas, said: &Reason) -> Replicas {
        let MaxCapacityBreach::Increase(increase) = &self.max_capacity_breach else { return max };
        let raised = match said {
            _ if self.mode == PredictiveMode::ForecastOnly => max,
            Reason::ForecastRaises { to, .. } => *to,
            Reason::ForecastNeeds { .. } => max,
            _ => current,
        };
        raised.min(increase.at_most).max(max)
    }

    /// The count that is surely enough until a stabilisation window of this length is over and a start after it is
    /// ready, where the policy lets that end the window; `None` where the load can't be seen or the forecast is not
    /// proved.
    pub(crate) fn releases(&self, cx: &Context<'_>, window: Span) -> Option<(Replicas, Reason)> {
        if !self.early_scale_in || self.mode == PredictiveMode::ForecastOnly {
            return None;
        }
        let demand = self.demand(cx.workload())?;
        cx.fresh(demand).ok()?;
        let outlook = cx.outlook(demand)?;
        let per_replica = self.per_replica(cx, demand)?;
        let unit = cx.signal(demand).map_or(Unit::Count, crate::fleet::Signal::unit);
        let lead = self.lead(cx).plus(window);
        let standing = outlook.standing(lead);
        enough(&Foreseen { at: cx.at(), demand, unit, ahead: outlook.ahead()?, standing, per_replica, lead })
    }

    /// How far ahead is looked: a start, and the buffer.
    fn lead(&self, cx: &Context<'_>) -> Span {
        cx.memory().start_ups().expected().unwrap_or(Span::ZERO).plus(self.buffer)
    }

    /// What one replica carries, as told or as learned.
    fn per_replica(&self, cx: &Context<'_>, demand: &SignalName) -> Option<Level> {
        let known = self.told(cx.workload(), demand).or_else(|| cx.capacity().map(|c| c.usable));
        known.filter(|c| *c > Level::ZERO)
    }

    /// What is said with `wanted` in hand.
    fn advise(&self, wanted: Replicas, current: Replicas, why: Reason) -> Advice {
        if self.mode == PredictiveMode::ForecastOnly {
            return Advice::abstains(Reason::ForecastOnly { wanted });
        }
        let near = self.act.is_some_and(|act| {
            let (now, then) = (current.as_f64(), wanted.as_f64());
            then <= now * act.above.level.get() && then >= now * act.below.level.get()
        });
        if near { Advice::abstains(Reason::ForecastNear { wanted }) } else { Advice::wants(wanted, why) }
    }
}

/// Whether forecasts of so far ahead have been better than naive ones, often enough.
fn proved(standing: Option<Standing>) -> bool {
    standing.is_some_and(|s| s.evidence >= ENOUGH_SETTLED && s.is_better())
}

/// How many are surely enough, where the forecast is proved.
fn enough(seen: &Foreseen<'_>) -> Option<(Replicas, Reason)> {
    if !proved(seen.standing) {
        return None;
    }
    let by = seen.at.plus(seen.lead);
    let peak = seen.ahead.peak(SURE, seen.at, by)?;
    let replicas = peak.load.replicas_for(seen.per_replica)?;
    let load = Seen { signal: seen.demand.clone(), unit: seen.unit, value: peak.load };
    Some((replicas, Reason::ForecastReleases { peak: load, by, replicas }))
}

/// What a want is made of.
#[derive(Clone, Copy)]
struct Foreseen<'a> {
    at: Timestamp,
    demand: &'a SignalName,
    unit: Unit,
    ahead: &'a Ahead,
    standing: Option<Standing>,
    per_replica: Level,
    lead: Span,
}

impl Recommend for Predictive {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let Some(demand) = self.demand(cx.workload()) else { return Advice::abstains(Reason::NobodyWants) };
        let lead = self.lead(cx).plus(self.horizon.unwrap_or(Span::ZERO));
        let Some((outlook, ahead)) = cx.outlook(demand).and_then(|o| Some((o, o.ahead()?))) else {
            return Advice::abstains(Reason::ForecastMissing { signal: demand.clone() });
        };
        let Some(per_replica) = self.per_replica(cx, demand) else {
            return Advice::abstains(Reason::ForecastWithoutCapacity { signal: demand.clone() });
        };
        let unit = cx.signal(demand).map_or(Unit::Count, crate::fleet::Signal::unit);
        let standing = outlook.standing(lead);
        let seen = Foreseen { at: cx.at(), demand, unit, ahead, standing, per_replica, lead };
        match self.foresee(&seen) {
            Err(why) => Advice::abstains(why),
            // Blind, it may add on the word of a proved forecast, and takes nothing away.
            Ok((wanted, why)) => match cx.fresh(demand) {
                Err(absent) if wanted <= cx.current() => Advice::abstains(absent),
                Ok(_) | Err(_) => {
                    let why = self.raised(cx.workload().replicas.max, wanted, why);
                    self.advise(wanted, cx.current(), why)
                }
            },
        }
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if let Some(name) = &self.signal {
            let at = at.key("signal");
            let Some(signal) = workload.require_signal(name, &at, problems) else { return };
            if signal.scope() != Scope::Total {
                problems.push(
                    Problem::new(at, "only a load of the whole workload can be forecast")
                        .help("what each replica shows depends on how many there are"),
                );
            }
        }
        let Some(demand) = self.demand(workload) else {
            problems.push(
                Problem::new(at.clone(), "there is no load to forecast")
                    .help("add a signal such as `rps: { balancer: requestsPerSecond }`"),
            );
            return;
        };
        if let (Some(share), Some(signal)) = (&self.per_replica, workload.signals.get(demand)) {
            super::check_unit(share, signal, &at.key("perReplica"), problems);
            super::check_positive(share, &at.key("perReplica"), problems);
        }
        let level = &self.level;
        if !level.fits(Unit::Ratio) || !LEVELS.iter().any(|l| (l - level.level.get()).abs() < 1e-9) {
            problems.push(Problem::new(at.key("level"), "is one of 50%, 90%, 95% and 99%"));
        }
        if !self.margin.fits(Unit::Ratio) {
            problems.push(Problem::new(at.key("margin"), "a share of the load, such as 20%"));
        }
        if self.buffer.plus(self.horizon.unwrap_or(Span::ZERO)) > Span::hours(20) {
            let what = "with `horizon` reaches further than 20h: forecasts end after a day";
            problems.push(Problem::new(at.key("buffer"), what));
        }
        if let MaxCapacityBreach::Increase(increase) = &self.max_capacity_breach {
            let at = at.key("maxCapacityBreach").key("increase");
            if !increase.buffer.fits(Unit::Ratio) || increase.buffer.level.get() > 1.0 {
                problems.push(Problem::new(at.key("buffer"), "a share of at most 100%, such as 20%"));
            }
            if increase.at_most <= workload.replicas.max || increase.at_most > Replicas::LIMIT {
                let what = format!("lies between replicas.max and {}", Replicas::LIMIT);
                problems.push(
                    Problem::new(at.key("atMost"), what)
                        .help("it is the limit that nothing raises, above `max`"),
                );
            }
        }
        if let Some(act) = &self.act {
            let at = at.key("act");
            let shares = act.above.fits(Unit::Ratio) && act.below.fits(Unit::Ratio);
            if !shares || act.above.level.get() < 1.0 || act.below.level.get() > 1.0 {
                problems
                    .push(Problem::new(at, "`above` is a share of at least 100%, `below` of at most 100%"));
            }
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.signal.clone());
    }

    fn learns(&self, workload: &Workload) -> Option<Learning> {
        let demand = self.demand(workload)?;
        match self.told(workload, demand) {
            Some(_) => None,
            None => Some(Learning::of(workload, demand, None, None)),
        }
    }

    fn foresees(&self, cx: &Context<'_>, within: Span) -> Option<Level> {
        let demand = self.demand(cx.workload())?;
        let per_replica = self.per_replica(cx, demand)?;
        let outlook = cx.outlook(demand)?;
        proved(outlook.standing(within)).then_some(())?;
        let level = self.level.level.get();
        let peak = outlook.ahead()?.peak(level, cx.at(), cx.at().plus(within))?;
        Level::new(peak.load.get() / per_replica.get()).ok()
    }

    fn forecasts<'a>(&'a self, workload: &'a Workload) -> Option<&'a SignalName> {
        self.demand(workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, NOW, abstains, any_case, behaves, built, problems};
    use headroom_forecast::Model;
    use proptest::prelude::*;

    fn rule(more: serde_json::Value) -> Predictive {
        let base = serde_json::json!({ "mode": "forecastAndScale", "signal": "rps", "perReplica": 100 });
        built(base, more)
    }

    /// 200/s in the middle for half an hour, then 1000/s; 90 % lies a tenth above.
    fn ahead() -> Ahead {
        let middle: Vec<f64> = (0..288).map(|k| if k < 6 { 200.0 } else { 1000.0 }).collect();
        let times = |f: f64| middle.iter().map(|v| v * f).collect();
        Ahead { from: NOW, paths: [times(1.0), times(1.1), times(1.2), times(1.5)] }
    }

    fn standing(evidence: f64, loss: f64, yardstick_loss: f64) -> Standing {
        Standing { evidence, loss, yardstick: Model::SeasonalNaive, yardstick_loss }
    }

    fn foresee(
        rule: &Predictive,
        lead_minutes: u64,
        standing: Option<Standing>,
    ) -> Result<u32, &'static str> {
        let demand = "rps".parse().unwrap();
        let (ahead, lead) = (ahead(), Span::minutes(lead_minutes));
        let per_replica = Level::new(100.0).unwrap();
        let unit = Unit::PerSecond;
        let seen = Foreseen { at: NOW, demand: &demand, unit, ahead: &ahead, standing, per_replica, lead };
        rule.foresee(&seen).map(|(wanted, _)| wanted.0).map_err(|why| why.code())
    }

    /// A8, A9: load through capacity; the lead decides what is seen.
    #[test]
    fn the_highest_load_within_the_lead_is_shared_out() {
        let good = Some(standing(100.0, 1.0, 2.0));
        for (more, minutes, expected) in [
            (serde_json::json!({}), 10, Ok(3)),
            (serde_json::json!({}), 29, Ok(3)),
            (serde_json::json!({}), 30, Ok(11)),
            (serde_json::json!({ "level": "50%" }), 10, Ok(2)),
            (serde_json::json!({ "level": "50%" }), 60, Ok(10)),
            (serde_json::json!({ "level": "99%" }), 60, Ok(15)),
            (serde_json::json!({ "level": "50%", "margin": "20%" }), 60, Ok(12)),
            (serde_json::json!({}), 60 * 24, Err("forecast-missing")),
        ] {
            assert_eq!(foresee(&rule(more.clone()), minutes, good), expected, "{more} {minutes}");
        }
    }

    /// A8: a window ends early only on the word of a forecast that is proved and sees far enough.
    #[test]
    fn a_proved_forecast_says_what_is_surely_enough() {
        let good = Some(standing(100.0, 1.0, 2.0));
        let demand = "rps".parse().unwrap();
        let (ahead, per_replica) = (ahead(), Level::new(100.0).unwrap());
        for (minutes, standing, expected) in [
            (10, good, Some(3)),
            (29, good, Some(3)),
            (30, good, Some(15)),
            (60 * 24, good, None),
            (10, None, None),
            (10, Some(standing(23.9, 1.0, 2.0)), None),
            (10, Some(standing(100.0, 2.0, 2.0)), None),
        ] {
            let lead = Span::minutes(minutes);
            let unit = Unit::PerSecond;
            let seen =
                Foreseen { at: NOW, demand: &demand, unit, ahead: &ahead, standing, per_replica, lead };
            assert_eq!(enough(&seen).map(|(count, _)| count.0), expected, "{minutes} min, {standing:?}");
        }
    }

    /// A8: it speaks only while it has proved better than naive, out of sample.
    #[test]
    fn what_has_not_proved_better_abstains() {
        for (standing, expected) in [
            (None, Err("forecast-unproved")),
            (Some(standing(23.9, 1.0, 2.0)), Err("forecast-unproved")),
            (Some(standing(24.0, 1.0, 2.0)), Ok(3)),
            (Some(standing(500.0, 2.0, 2.0)), Err("forecast-unproved")),
            (Some(standing(500.0, f64::NAN, 2.0)), Err("forecast-unproved")),
        ] {
            assert_eq!(foresee(&rule(serde_json::json!({})), 10, standing), expected, "{standing:?}");
        }
    }

    /// A9, B11: forecast-only says and does nothing; a want near the present count may be left alone.
    #[test]
    fn what_is_said_depends_on_mode_and_distance() {
        let act = serde_json::json!({ "act": {} });
        for (more, wanted, expected) in [
            (serde_json::json!({}), 11, "nobody-wants"),
            (serde_json::json!({ "mode": "forecastOnly" }), 11, "forecast-only"),
            (act.clone(), 15, "forecast-near"),
            (act.clone(), 16, "nobody-wants"),
            (act.clone(), 5, "forecast-near"),
            (act, 4, "nobody-wants"),
        ] {
            let advice = rule(more.clone()).advise(Replicas(wanted), Replicas(10), Reason::NobodyWants);
            assert_eq!(advice.why().code(), expected, "{more} {wanted}");
        }
        let only: Predictive = serde_json::from_value(serde_json::json!({})).unwrap();
        assert_eq!((only.mode, only.buffer), (PredictiveMode::ForecastOnly, Span::seconds(600)));
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        assert_eq!(abstains(&rule(serde_json::json!({})), &Case::rps(100.0)), "forecast-missing");
        for (more, expected) in [
            (serde_json::json!({}), vec![]),
            (serde_json::json!({ "signal": "cpu" }), vec!["signal", "perReplica"]),
            (serde_json::json!({ "perReplica": "0/s" }), vec!["perReplica"]),
            (serde_json::json!({ "level": "80%" }), vec!["level"]),
            (serde_json::json!({ "margin": "20" }), vec!["margin"]),
            (serde_json::json!({ "buffer": "21h" }), vec!["buffer"]),
            (serde_json::json!({ "act": { "above": "90%" } }), vec!["act"]),
        ] {
            assert_eq!(problems(&rule(more.clone())), expected, "{more}");
        }
    }

    fn breaking(buffer: &str, at_most: u32) -> Predictive {
        rule(
            serde_json::json!({ "maxCapacityBreach": { "increase": { "buffer": buffer, "atMost": at_most } } }),
        )
    }

    /// What the strategy says of a want of `wanted`, and the maximum that comes of it with `current` replicas there.
    fn maximum(rule: &Predictive, wanted: Option<u32>, current: u32) -> u32 {
        let max = Replicas(10);
        let peak = Seen { signal: "rps".parse().unwrap(), unit: Unit::PerSecond, value: Level::ZERO };
        let level = Level::ZERO;
        let needs = Reason::ForecastNeeds { peak, level, by: NOW, per_replica: Level::ZERO };
        let said = match wanted {
            Some(wanted) => rule.raised(max, Replicas(wanted), needs),
            None => Reason::ForecastMissing { signal: "rps".parse().unwrap() },
        };
        rule.maximum(max, Replicas(current), &said).0
    }

    /// A9: honour or increase, the buffer above what is foreseen, a limit above all, and back down afterwards.
    #[test]
    fn a_proved_forecast_may_raise_the_maximum_as_far_as_the_policy_lets_it() {
        let honour = rule(serde_json::json!({}));
        assert_eq!(maximum(&honour, Some(50), 10), 10);
        let increase = breaking("20%", 20);
        for (wanted, current, expected) in [
            (Some(0), 10, 10),
            (Some(10), 10, 10),
            (Some(11), 10, 14),
            (Some(15), 10, 18),
            (Some(17), 10, 20),
            (Some(u32::MAX), 10, 20),
            // Back down: the forecast speaks and needs no more than the maximum.
            (Some(9), 18, 10),
            // It can't speak: nothing new, and nothing is cut.
            (None, 8, 10),
            (None, 18, 18),
            (None, 40, 20),
        ] {
            assert_eq!(maximum(&increase, wanted, current), expected, "{wanted:?} with {current}");
        }
        assert_eq!(maximum(&breaking("0%", 20), Some(15), 10), 15);
        let only = Predictive { mode: PredictiveMode::ForecastOnly, ..breaking("20%", 20) };
        assert_eq!(maximum(&only, Some(15), 18), 10, "what is only said raises nothing");
    }

    #[test]
    fn a_limit_that_limits_nothing_is_named() {
        assert_eq!(problems(&breaking("20%", 5000)), Vec::<String>::new());
        for (buffer, at_most, wrong) in
            [("20%", 0, "atMost"), ("20%", u32::MAX, "atMost"), ("101%", 5000, "buffer")]
        {
            let wrong = format!("maxCapacityBreach.increase.{wrong}");
            assert_eq!(problems(&breaking(buffer, at_most)), [wrong], "{buffer} {at_most}");
        }
        assert!(serde_json::from_str::<MaxCapacityBreach>("{\"increase\":{\"atMost\":\"NaN\"}}").is_err());
    }

    proptest! {
        /// A9: whatever is foreseen, the limit above the maximum holds.
        #[test]
        fn nothing_goes_beyond_the_limit(
            wanted in proptest::option::of(any::<u32>()), current in any::<u32>(), at_most in 11_u32..100,
        ) {
            let most = maximum(&breaking("20%", at_most), wanted, current);
            prop_assert!((10..=at_most).contains(&most), "{most}");
        }

        #[test]
        fn whatever_is_seen(case in any_case(&["rps"])) {
            behaves(&rule(serde_json::json!({})), &case, &["rps"])?;
        }
    }
}
