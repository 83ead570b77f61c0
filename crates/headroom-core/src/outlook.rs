//! The long-range forecast of one signal, as a workload's memory keeps it.
//!
//! Samples are averaged into steps of five minutes; each full step goes to the [`Forecaster`], and with it an order
//! ([`FitOrder`]) leaves the controller: look ahead again, and learn anew where that is due. Whoever drives the
//! controller carries it out beside the loop and brings the [`FitAnswer`] back as an input, so live, simulated and
//! replayed runs have the same forecasts. Nothing here works anything out while a decision waits.
//!
//! A signal that is new here may have a past elsewhere: a [`History`] stands before its own steps, once, and the next
//! answer brings the record that forecasts would have had on its last day.
//!
//! Bounded: 28 days of steps, one fit, one path of a day for each level.

use std::sync::Arc;

use headroom_forecast::{
    Budget, Event, Fitted, Forecaster, Model, OnlineStanding, Scoreboard, Series, Settings, Standing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{SignalName, WorkloadName};
use crate::say::Language;
use crate::units::{Level, Span, Timestamp, Unit};

/// How long a step is: what lies within five minutes is the business of the strategies that measure.
pub const STEP: Span = Span::minutes(5);
/// How far ahead is looked: a day (A8).
pub const AHEAD_STEPS: usize = 288;
/// Steps that lists of workloads show: an hour ahead, also an hour after the forecast was made.
const NEAR_STEPS: usize = 24;
/// Learned anew every half hour: a refit is a hundredth of a second beside the loop, and while the history is short
/// half an hour adds much to it.
const REFIT_EVERY_STEPS: u32 = 6;
/// How much past is asked for of a source that keeps one: two weeks show the week twice.
pub const RECALLED: Span = Span::hours(14 * 24);
/// The last day of a past is forecast as it came, so that the record tells of every hour of a day,
const REHEARSED_STEPS: usize = 288;
/// learned anew every hour: half as often as live, for half the work (24 fits).
const REHEARSAL_REFITS: u32 = 12;
/// Less than so many measured steps before that day teach no day, and nothing is rehearsed.
const REHEARSED_FROM: usize = 288;
/// How much work a refit may be. The budget cuts history, not time; 100 ms hold all 28 days.
const BUDGET_MS: u32 = 100;
/// An answer that did not come within two steps never will: it is asked again.
const ANSWERS_WITHIN: Span = Span::minutes(10);
/// A clock that was set back by more than this starts a new history; by less, samples wait until time has caught up.
const SET_BACK: Span = Span::hours(24);
/// Digits that are kept of a step's mean: the load is not known better, and a snapshot has 8064 of them.
const DIGITS: usize = 6;
/// Digits that are kept of a path: a forecast is not known to a thousandth.
const PATH_DIGITS: usize = 4;
/// The levels ahead: the middle, and those that capacity is held at.
pub const LEVELS: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// What is known of the load to come of one signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// `None` before the first sample: its time is when the series begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forecaster: Option<Arc<Forecaster>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filling: Option<Filling>,
    /// A step came since the last order.
    #[serde(default)]
    stale: bool,
    /// When an order left that is not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<Ahead>,
    /// Its past was given to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    recalled: bool,
    /// Its record is to be worked out from that past.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    rehearse: bool,
}

/// A signal's past from before it was measured here, as its source kept it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// When the first step begins; a multiple of [`STEP`].
    pub from: Timestamp,
    /// The mean of each step; `None` where nothing is known.
    pub steps: Vec<Option<Level>>,
}

/// The step that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Filling {
    step: i64,
    sum: f64,
    count: u32,
}

/// The load of the day to come, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ahead {
    /// When its first step begins.
    pub from: Timestamp,
    /// Per level of [`LEVELS`], the quantile of each step.
    pub paths: [Vec<f64>; LEVELS.len()],
}

/// Work for beside the loop: look ahead, and learn before where that is due.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FitOrder {
    /// Whose signal.
    pub workload: WorkloadName,
    /// Which.
    pub signal: SignalName,
    forecaster: Arc<Forecaster>,
    learn: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rehearse: bool,
}

/// What came of a [`FitOrder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FitAnswer {
    /// Whose signal.
    pub workload: WorkloadName,
    /// Which.
    pub signal: SignalName,
    /// What was learned, where that was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Box<Fitted>>,
    /// The load to come; `None` where nothing was ever measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead>,
    /// The record that forecasts would have had on the last day of a past that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<Scoreboard>>,
}

/// The highest load that is foreseen within a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The load.
    pub load: Level,
    /// When its step begins.
    pub at: Timestamp,
}

/// What is foreseen of one step: quantiles of the load, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When the step begins.
    pub at: Timestamp,
    /// As likely exceeded as not.
    pub q50: f64,
    /// Exceeded one time in ten,
    pub q90: f64,
    /// in twenty,
    pub q95: f64,
    /// in a hundred.
    pub q99: f64,
}

/// How good forecasts made in earnest have been, judged by loads that came after them; recent ones count more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accuracy {
    /// So far ahead.
    pub within: Span,
    /// About how many forecasts that came due it rests on.
    pub evidence: f64,
    /// Mean quantile loss over [`LEVELS`], in the unit of the load.
    pub loss: f64,
    /// The simple forecast that did best: as now, as yesterday, as last week.
    #[schemars(with = "String")]
    pub yardstick: Model,
    /// Its loss.
    pub naive_loss: f64,
    /// The forecast did no better than that: nothing scales by it.
    pub demoted: bool,
    /// The share of loads that stayed within the 95 % quantile, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage95: Option<f64>,
    /// The model that has most to say in the fit in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub model: Option<Model>,
    /// Models that lost to the yardstick of the fit, and so have a tenth of their say.
    #[schemars(with = "Vec<String>")]
    pub demoted_models: Vec<Model>,
}

/// What is foreseen of a signal, and how far that is to be believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Foresight {
    /// Which signal.
    pub signal: SignalName,
    /// The unit of its load.
    pub unit: Unit,
    /// The day to come in steps of five minutes, its first two hours in lists of workloads; empty before the first
    /// forecast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// How good forecasts of the next hour were; `None` before any came due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
}

/// How the forecast that an objective acts on has done: as far ahead as a start takes, each judged by the load that came;
/// recent ones count more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NearForecast {
    /// Of which signal.
    pub signal: SignalName,
    /// The unit of its load.
    pub unit: Unit,
    /// So far ahead. Where what a start takes has changed, what was judged before counts on, fading.
    pub within: Span,
    /// About how many forecasts that came due it rests on.
    pub evidence: f64,
    /// What its middle was off by, on average, in the unit of the load.
    pub loss: f64,
    /// What the present load was off by, taken as the load to come.
    pub naive_loss: f64,
    /// Which of the two did better.
    pub proved: Proved,
}

/// Which of a forecast and the present load foretold the load better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Proved {
    /// The forecast, beyond chance.
    Better,
    /// Neither, as far as can be told.
    Alike,
    /// The present load, beyond chance.
    Worse,
}

impl NearForecast {
    pub(crate) fn new(signal: &SignalName, unit: Unit, standing: &OnlineStanding) -> Self {
        Self {
            signal: signal.clone(),
            unit,
            within: Span::seconds(u64::from(standing.lead_s)),
            evidence: standing.evidence,
            loss: standing.loss,
            naive_loss: standing.naive_loss,
            proved: if standing.is_better() {
                Proved::Better
            } else if standing.is_worse() {
                Proved::Worse
            } else {
                Proved::Alike
            },
        }
    }

    /// In words: what it was off by, beside the present load.
    #[must_use]
    pub fn say(&self, language: Language) -> String {
        let load = |value: f64| Level::new(value).map_or_else(|_| "?".to_owned(), |v| self.unit.say(v));
        let Self { signal, within, evidence, .. } = self;
        let (loss, naive) = (load(self.loss), load(self.naive_loss));
        match language {
            Language::English => {
                let beside = match self.proved {
                    Proved::Better => format!("better than “as now” with {naive}"),
                    Proved::Alike => format!("“as now” by {naive} (may be chance)"),
                    Proved::Worse => format!("worse than “as now” with {naive}"),
                };
                format!(
                    "{signal} foreseen {within} ahead: off by {loss}, {beside}, over {evidence:.0} forecasts"
                )
            }
            Language::Korean => {
                let beside = match self.proved {
                    Proved::Better => format!("‘지금과 같음’({naive})보다 정확"),
                    Proved::Alike => format!("‘지금과 같음’ {naive}(우연일 수 있음)"),
                    Proved::Worse => format!("‘지금과 같음’({naive})보다 부정확"),
                };
                format!("{signal} {within} 앞 예측: 오차 {loss}, {beside}, 예측 {evidence:.0}건")
            }
        }
    }
}

/// What scaling reckons with lies within an hour.
const JUDGED_WITHIN: Span = Span::hours(1);

impl Foresight {
    /// In words: the highest load of the next hour, and how far it is to be believed.
    #[must_use]
    pub fn say(&self, language: Language) -> String {
        let load = |value: f64| Level::new(value).map_or_else(|_| "?".to_owned(), |v| self.unit.say(v));
        let hour = self.points.iter().take(step_count(JUDGED_WITHIN));
        let peak = hour.max_by(|a, b| a.q50.total_cmp(&b.q50));
        let signal = &self.signal;
        let ahead = match (peak, language) {
            (Some(p), Language::English) => {
                format!("{signal} foreseen: {} within the hour (95%: {})", load(p.q50), load(p.q95))
            }
            (Some(p), Language::Korean) => {
                format!("{signal} 예측: 1시간 내 최고 {} (95%: {})", load(p.q50), load(p.q95))
            }
            (None, Language::English) => format!("forecast of {signal}"),
            (None, Language::Korean) => format!("{signal} 예측"),
        };
        let Some(a) = &self.accuracy else {
            return match language {
                Language::English => format!("{ahead}; no forecast has come due yet"),
                Language::Korean => format!("{ahead}; 아직 검증된 예측 없음"),
            };
        };
        let held = a.coverage95.map_or_else(|| "?".to_owned(), |c| format!("{:.1}%", 100.0 * c));
        let (loss, naive, yardstick) = (load(a.loss), load(a.naive_loss), a.yardstick.name());
        match (a.demoted, language) {
            (false, Language::English) => format!(
                "{ahead}; loss {loss}, {yardstick} {naive}, over {:.0} forecasts; the 95% quantile held {held} of the time",
                a.evidence
            ),
            (true, Language::English) => format!(
                "{ahead}; demoted, nothing scales by it: loss {loss}, no better than {yardstick} with {naive}, over \
                 {:.0} forecasts",
                a.evidence
            ),
            (false, Language::Korean) => format!(
                "{ahead}; 손실 {loss}, {yardstick} {naive}, 예측 {:.0}건; 95% 분위수 적중률 {held}",
                a.evidence
            ),
            (true, Language::Korean) => format!(
                "{ahead}; 강등되어 쓰지 않음: 손실 {loss}, {yardstick} {naive}보다 낫지 않음 (예측 {:.0}건)",
                a.evidence
            ),
        }
    }
}

/// So many steps are in `span`.
fn step_count(span: Span) -> usize {
    usize::try_from(span.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX)
}

impl Accuracy {
    /// Of the forecasts of `forecaster` so far ahead; `None` before any came due.
    #[must_use]
    pub fn of(forecaster: &Forecaster, within: Span) -> Option<Self> {
        let step = u64::from(forecaster.series().step_s()).saturating_mul(1000).max(1);
        let steps = usize::try_from(within.as_millis().div_ceil(step).max(1)).unwrap_or(usize::MAX);
        let board = forecaster.scoreboard();
        let standing = board.standing(steps)?;
        let (says, demotions) = forecaster.fitted().map(headroom_forecast::Fitted::says).unwrap_or_default();
        let spoken = says.iter().filter(|s| (s.from_steps..=s.to_steps).contains(&steps));
        let lost = demotions.iter().filter(|d| (d.from_steps..=d.to_steps).contains(&steps));
        Some(Self {
            within,
            evidence: standing.evidence,
            loss: standing.loss,
            yardstick: standing.yardstick,
            naive_loss: standing.yardstick_loss,
            demoted: !standing.is_better(),
            coverage95: board.coverage(steps),
            model: spoken.max_by(|a, b| a.weight.total_cmp(&b.weight)).map(|s| s.model),
            demoted_models: lost.map(|d| d.model).collect(),
        })
    }
}

fn settings() -> Settings {
    let step_s = u32::try_from(step_ms() / 1000).unwrap_or(u32::MAX);
    Settings { step_s, horizon_steps: AHEAD_STEPS, refit_every_steps: REFIT_EVERY_STEPS }
}
fn step_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(step_ms())
}
fn step_ms() -> i64 {
    i64::try_from(STEP.as_millis()).unwrap_or(i64::MAX)
}

/// `value` to so many digits.
fn rounded(value: f64, digits: usize) -> f64 {
    // By way of text: exact, and the same on every platform.
    format!("{value:.*e}", digits - 1).parse().unwrap_or(value)
}

impl FitOrder {
    /// Does the work: pure, some milliseconds; half a second where a record is to be worked out.
    #[must_use]
    pub fn run(&self) -> FitAnswer {
        let mut forecaster = Arc::clone(&self.forecaster);
        let budget = Budget::millis(BUDGET_MS);
        let record = self
            .rehearse
            .then(|| Box::new(short(&forecaster.rehearsed(REHEARSED_STEPS, REHEARSAL_REFITS, budget))));
        if let Some(record) = &record {
            Arc::make_mut(&mut forecaster).adopt((**record).clone());
        }
        let fitted = self.learn.then(|| {
            let fitted = short(&forecaster.fit_request().run(budget));
            Arc::make_mut(&mut forecaster).install(fitted.clone());
            Box::new(fitted)
        });
        // Before the first value there is nothing to be said; other errors can't be: levels and steps are fixed.
        let forecast = forecaster.forecast(AHEAD_STEPS, &LEVELS).ok();
        let ahead = forecast.and_then(|forecast| {
            let from = Timestamp::from_millis(forecast.start_unix_s.saturating_mul(1000));
            let mut paths = forecast.paths.into_iter().map(|mut path| {
                path.iter_mut().for_each(|v| *v = rounded(*v, PATH_DIGITS));
                path
            });
            Some(Ahead { from, paths: [paths.next()?, paths.next()?, paths.next()?, paths.next()?] })
        });
        FitAnswer { workload: self.workload.clone(), signal: self.signal.clone(), fitted, ahead, record }
    }
}

/// A fit or a record with every figure to [`DIGITS`] digits, which halves its text in the journal.
fn short<T: Clone + Serialize + serde::de::DeserializeOwned>(whole: &T) -> T {
    fn shorten(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Number(n) if n.is_f64() => {
                if let Some(short) = n.as_f64().and_then(|v| serde_json::Number::from_f64(rounded(v, DIGITS)))
                {
                    *n = short;
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(shorten),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(shorten),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::to_value(whole) else { return whole.clone() };
    shorten(&mut value);
    serde_json::from_value(value).unwrap_or_else(|_| whole.clone())
}

impl Outlook {
    /// What is known of holidays and launches; learned with the next fit.
    pub(crate) fn set_events(&mut self, events: Vec<Event>) {
        if let Some(forecaster) = self.forecaster.as_mut().filter(|_| self.events != events) {
            Arc::make_mut(forecaster).set_events(events.clone());
            self.stale = true;
        }
        self.events = events;
    }

    /// Takes in a sample; nanoseconds, but for the one that completes a step.
    pub(crate) fn take_in(&mut self, at: Timestamp, value: Level) {
        let step = step_of(at);
        match &mut self.filling {
            Some(filling) if filling.step == step => {
                filling.sum += value.get();
                filling.count += 1;
                return;
            }
            Some(filling) if step < filling.step => {
                let behind = (filling.step - step).saturating_mul(step_ms());
                if u64::try_from(behind).unwrap_or(u64::MAX) <= SET_BACK.as_millis() {
                    return;
                }
                *self = Self { events: std::mem::take(&mut self.events), ..Self::default() };
            }
            Some(_) => self.complete(),
            None => {}
        }
        self.filling = Some(Filling { step, sum: value.get(), count: 1 });
    }

    /// The step under way is over.
    fn complete(&mut self) {
        let Some(filling) = self.filling.take() else { return };
        let start = filling.step.saturating_mul(step_ms() / 1000);
        // Each part is finite; their sum may not be.
        let mean = Some(filling.sum / f64::from(filling.count)).filter(|m| m.is_finite());
        if self.forecaster.is_none() {
            self.forecaster = Forecaster::new(settings(), start).ok().map(|mut forecaster| {
                forecaster.set_events(self.events.clone());
                Arc::new(forecaster)
            });
        }
        let Some(forecaster) = &mut self.forecaster else { return };
        // An order that is still being worked on keeps what it was given.
        let forecaster = Arc::make_mut(forecaster);
        if forecaster.observe_at(start, mean.map(|m| rounded(m, DIGITS))).is_ok() {
            self.stale = true;
        }
    }

    /// Whether a past from elsewhere would be of use: none was given, and its own is shorter than a day.
    #[must_use]
    pub fn lacks_history(&self) -> bool {
        !self.recalled && self.forecaster().is_none_or(|f| f.series().len() < AHEAD_STEPS)
    }

    /// Puts a past before its own steps, once; its own stand where both know something, and what lies at or after
    /// `at` is no past.
    pub(crate) fn recall(&mut self, at: Timestamp, history: &History) {
        if !self.lacks_history() {
            return;
        }
        self.recalled = true;
        let first = step_of(history.from);
        let own = self.forecaster().map(Forecaster::series);
        let own_first = own.map(|s| s.start_unix_s().div_euclid(step_ms() / 1000));
        let end = own_first.or(self.filling.map(|f| f.step)).unwrap_or_else(|| step_of(at)).min(step_of(at));
        let known = usize::try_from(end.saturating_sub(first)).unwrap_or(0).min(history.steps.len());
        let known = &history.steps[..known];
        let Some(last) = known.iter().rposition(Option::is_some) else { return };
        let before = known.iter().take(last + 1).map(|v| v.map(|v| rounded(v.get(), DIGITS)));
        let start = first.saturating_mul(step_ms() / 1000);
        let Ok(mut series) = Series::from_values(settings().step_s, start, before) else { return };
        let measured = series.values().flatten().count();
        for (k, value) in own.into_iter().flat_map(|own| own.values().enumerate()) {
            let at = own_first.unwrap_or(end).saturating_add(i64::try_from(k).unwrap_or(i64::MAX));
            if series.push_at(at.saturating_mul(step_ms() / 1000), value).is_err() {
                return;
            }
        }
        let mut forecaster = Forecaster::with_history(settings(), series);
        forecaster.set_events(self.events.clone());
        self.forecaster = Some(Arc::new(forecaster));
        self.rehearse = measured >= REHEARSED_FROM + REHEARSED_STEPS;
        self.stale = true;
        // What is under way was ordered without that past.
        self.asked = None;
    }

    /// The work that is due, if any.
    pub(crate) fn order(
        &mut self,
        at: Timestamp,
        workload: &WorkloadName,
        signal: &SignalName,
    ) -> Option<FitOrder> {
        let waits = self.asked.is_some_and(|asked| at.since(asked).max(asked.since(at)) <= ANSWERS_WITHIN);
        if !self.stale || waits {
            return None;
        }
        let forecaster = Arc::clone(self.forecaster.as_ref()?);
        self.stale = false;
        self.asked = Some(at);
        let learn = forecaster.needs_fit();
        let rehearse = self.rehearse;
        Some(FitOrder { workload: workload.clone(), signal: signal.clone(), forecaster, learn, rehearse })
    }

    /// Takes in what came of an order.
    pub(crate) fn answered(
        &mut self,
        fitted: Option<Fitted>,
        ahead: Option<Ahead>,
        record: Option<Scoreboard>,
    ) {
        self.asked = None;
        let Some(forecaster) = &mut self.forecaster else { return };
        if let Some(record) = record {
            Arc::make_mut(forecaster).adopt(record);
            self.rehearse = false;
        }
        if let Some(fitted) = fitted {
            Arc::make_mut(forecaster).install(fitted);
        }
        if ahead.is_some() {
            self.ahead = ahead;
        }
    }

    /// What was ordered before a restart is not known to come.
    pub(crate) fn restarted(&mut self) {
        self.stale |= self.asked.take().is_some();
    }

    /// The load to come, as last worked out.
    #[must_use]
    pub fn ahead(&self) -> Option<&Ahead> {
        self.ahead.as_ref()
    }

    /// The history, the fit in force and its record; `None` before the first full step.
    #[must_use]
    pub fn forecaster(&self) -> Option<&Forecaster> {
        self.forecaster.as_deref()
    }

    /// What there is to show of it: the day to come where `whole`, else [`NEAR_STEPS`].
    #[must_use]
    pub fn foresight(&self, signal: &SignalName, unit: Unit, whole: bool) -> Foresight {
        let steps = if whole { AHEAD_STEPS } else { NEAR_STEPS };
        Foresight {
            signal: signal.clone(),
            unit,
            points: self.ahead.as_ref().map(|a| a.points().take(steps).collect()).unwrap_or_default(),
            accuracy: self.forecaster().and_then(|f| Accuracy::of(f, JUDGED_WITHIN)),
        }
    }

    /// How the forecasts so far ahead stand against "as now", "as yesterday" and "as last week".
    #[must_use]
    pub fn standing(&self, ahead: Span) -> Option<Standing> {
        let steps = ahead.as_millis().div_ceil(STEP.as_millis()).max(1);
        self.forecaster()?.scoreboard().standing(usize::try_from(steps).unwrap_or(usize::MAX))
    }
}

impl Ahead {
    /// The steps one after the other.
    pub fn points(&self) -> impl Iterator<Item = Point> + '_ {
        points(self.from, STEP, &self.paths)
    }

    /// The path of one level.
    #[must_use]
    pub fn path(&self, level: f64) -> Option<&[f64]> {
        let k = LEVELS.iter().position(|l| (l - level).abs() < 1e-9)?;
        self.paths.get(k).map(Vec::as_slice)
    }

    /// The highest load of `level` between two moments, the ends' steps included; `None` where the path does not
    /// reach so far: what is not foreseen is not low.
    #[must_use]
    pub fn peak(&self, level: f64, from: Timestamp, to: Timestamp) -> Option<Peak> {
        let path = self.path(level)?;
        let place = |at: Timestamp| {
            usize::try_from(at.since(self.from).as_millis() / STEP.as_millis()).unwrap_or(usize::MAX)
        };
        let (first, last) = (place(from), place(to));
        if last >= path.len() {
            return None;
        }
        let mut best: Option<(usize, f64)> = None;
        for (k, v) in path.iter().enumerate().take(last + 1).skip(first) {
            if best.is_none_or(|(_, highest)| *v > highest) {
                best = Some((k, *v));
            }
        }
        let (k, load) = best?;
        Some(Peak { load: Level::new(load).ok()?, at: self.from.plus(STEP.times(k as u64)) })
    }
}

/// Paths of [`LEVELS`] as points, the first of which begins at `from`.
pub fn points(
    from: Timestamp,
    step: Span,
    paths: &[Vec<f64>; LEVELS.len()],
) -> impl Iterator<Item = Point> + '_ {
    let [q50, q90, q95, q99] = paths;
    let levels = q50.iter().zip(q90).zip(q95.iter().zip(q99)).enumerate();
    levels.map(move |(k, ((q50, q90), (q95, q99)))| Point {
        at: from.plus(step.times(k as u64)),
        q50: *q50,
        q90: *q90,
        q95: *q95,
        q99: *q99,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_DAY: i64 = 144;

    fn at(step: i64, second: i64) -> Timestamp {
        Timestamp::from_millis((step * 300 + second) * 1000)
    }
    fn level(v: f64) -> Level {
        Level::new(v).unwrap()
    }
    fn names() -> (WorkloadName, SignalName) {
        ("web".parse().unwrap(), "rps".parse().unwrap())
    }
    /// A load that rises and falls with the day.
    fn day(step: i64) -> f64 {
        let up = step.rem_euclid(288);
        let triangle = if up < HALF_DAY { up } else { 288 - up };
        100.0 + 5.0 * triangle as f64 + (step * 7919 % 13) as f64
    }
    /// Feeds `load` one sample a minute and carries orders out at once; the greatest answer's size as text.
    fn feed(outlook: &mut Outlook, steps: std::ops::Range<i64>, load: impl Fn(i64) -> f64) -> usize {
        let from = steps.start;
        feed_and_look(outlook, steps, load, from)
    }
    /// The same, but orders are asked for only from step `look_from` on: what came before is history alone.
    fn feed_and_look(
        outlook: &mut Outlook,
        steps: std::ops::Range<i64>,
        load: impl Fn(i64) -> f64,
        look_from: i64,
    ) -> usize {
        let (workload, signal) = names();
        let mut largest = 0;
        for step in steps {
            for minute in 0..5 {
                let now = at(step, minute * 60);
                outlook.take_in(now, level(load(step)));
                if step < look_from {
                    continue;
                }
                if let Some(order) = outlook.order(now, &workload, &signal) {
                    let answer = order.run();
                    largest = largest.max(serde_json::to_string(&answer).unwrap().len());
                    outlook.answered(answer.fitted.map(|f| *f), answer.ahead, answer.record.map(|r| *r));
                }
            }
        }
        largest
    }

    /// A8: a day ahead from the workload's own past; what it keeps and what an answer adds to the journal are bounded.
    #[test]
    fn a_daily_load_is_foreseen_and_the_record_stays_small() {
        let mut outlook = Outlook::default();
        let largest = feed_and_look(&mut outlook, 0..4 * 288, day, 4 * 288 - 72);
        let noon = at(4 * 288 + HALF_DAY, 0);
        let peak = outlook.ahead().unwrap().peak(0.5, at(4 * 288 + 100, 0), at(4 * 288 + 180, 0)).unwrap();
        assert!((peak.load.get() - 820.0).abs() < 60.0, "{peak:?}");
        assert!(peak.at.since(noon).max(noon.since(peak.at)) <= Span::minutes(60), "{peak:?}");
        let (_, rps) = names();
        let shown = outlook.foresight(&rps, Unit::PerSecond, true);
        let accuracy = shown.accuracy.as_ref().unwrap();
        assert_eq!((shown.points.len(), accuracy.demoted), (AHEAD_STEPS, false), "{accuracy:?}");
        assert!(accuracy.loss < accuracy.naive_loss && accuracy.model.is_some(), "{accuracy:?}");
        let said = shown.say(Language::English);
        assert!(said.starts_with("rps foreseen: ") && said.contains(" over "), "{said}");
        assert_eq!(outlook.foresight(&rps, Unit::PerSecond, false).points.len(), NEAR_STEPS);
        let standing = outlook.standing(Span::minutes(15)).unwrap();
        assert!(standing.evidence > 20.0 && standing.loss < 10.0, "{standing:?}");
        assert!(largest < 64 * 1024, "{largest} bytes");
        let text = serde_json::to_string(&outlook).unwrap();
        assert!(text.len() < 192 * 1024, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Outlook>(&text).unwrap(), outlook);
    }

    #[test]
    fn the_same_samples_give_the_same_bytes() {
        let run = || {
            let mut outlook = Outlook::default();
            feed_and_look(&mut outlook, 0..400, day, 380);
            serde_json::to_string(&outlook).unwrap()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn a_gap_stays_absent_and_a_clock_set_back_waits() {
        let mut outlook = Outlook::default();
        feed(&mut outlook, 0..10, |_| 5.0);
        feed(&mut outlook, 13..15, |_| 7.0);
        let seen = |o: &Outlook| o.forecaster().unwrap().series().values().collect::<Vec<_>>();
        let mut expected = vec![Some(5.0); 10];
        expected.extend([None, None, None, Some(7.0)]);
        assert_eq!(seen(&outlook), expected);
        // An hour back: waits until the time has come again.
        feed(&mut outlook, 3..15, |_| 1000.0);
        assert_eq!(seen(&outlook), expected);
        feed(&mut outlook, 15..17, |_| 8.0);
        assert_eq!(seen(&outlook).len(), 16);
        // Years back: a new history.
        feed(&mut outlook, -100_000..-99_997, |_| 2.0);
        assert_eq!(seen(&outlook), [Some(2.0), Some(2.0)]);
    }

    fn history(steps: std::ops::Range<i64>, load: impl Fn(i64) -> Option<f64>) -> History {
        History { from: at(steps.start, 0), steps: steps.map(|s| load(s).map(level)).collect() }
    }

    /// A past that a source kept stands before the own steps, once; a forecast and its record are there at once.
    #[test]
    fn a_past_from_elsewhere_is_taken_in_once_and_forecast_from_at_once() {
        let (now, week) = (7 * 288, 7 * 288);
        let mut outlook = Outlook::default();
        feed(&mut outlook, now..now + 2, day);
        assert!(outlook.lacks_history());
        // Two hours of it are missing, and stay so.
        let gap = |s: i64| (!(1000..1024).contains(&s)).then(|| day(s));
        let past = history(0..week + 5, gap);
        outlook.recall(at(now + 2, 0), &past);
        let series = outlook.forecaster().unwrap().series().clone();
        let expected: Vec<_> = (0..=now).map(gap).collect();
        assert_eq!(series.values().collect::<Vec<_>>(), expected);
        assert!(!outlook.lacks_history());
        let once = outlook.clone();
        outlook.recall(at(now + 2, 0), &history(0..week, |_| Some(9.0)));
        assert_eq!(outlook, once, "it is taken in once");

        let (workload, signal) = names();
        let order = outlook.order(at(now + 2, 0), &workload, &signal).unwrap();
        let answer = order.run();
        let text = serde_json::to_string(&answer).unwrap();
        assert!(text.len() < 64 * 1024, "{} bytes", text.len());
        outlook.answered(answer.fitted.map(|f| *f), answer.ahead, answer.record.map(|r| *r));
        let standing = outlook.standing(Span::minutes(15)).unwrap();
        assert!(standing.evidence > 50.0 && standing.is_better(), "{standing:?}");
        let noon = at(now + HALF_DAY, 0);
        let peak = outlook.ahead().unwrap().peak(0.5, at(now + 100, 0), at(now + 180, 0)).unwrap();
        assert!(peak.at.since(noon).max(noon.since(peak.at)) <= Span::minutes(60), "{peak:?}");
        // What is measured from now on goes on as ever.
        feed(&mut outlook, now + 2..now + 4, day);
        assert_eq!(outlook.forecaster().unwrap().series().len() as i64, now + 3);
    }

    #[test]
    fn a_past_without_a_value_or_from_the_future_is_none() {
        for past in [history(0..500, |_| None), history(1000..1500, |_| Some(1.0)), history(0..0, |_| None)] {
            let mut outlook = Outlook::default();
            outlook.recall(at(600, 0), &past);
            assert!(outlook.forecaster().is_none() && !outlook.lacks_history());
        }
        // Before anything was measured here, the past alone is foreseen from.
        let mut outlook = Outlook::default();
        outlook.recall(at(600, 0), &history(0..700, |s| Some(day(s))));
        assert_eq!(outlook.forecaster().unwrap().series().len(), 600);
    }

    #[test]
    fn an_order_is_out_once_and_asked_again_when_its_answer_is_lost() {
        let (workload, signal) = names();
        let mut outlook = Outlook::default();
        outlook.take_in(at(0, 0), level(1.0));
        assert!(outlook.order(at(0, 0), &workload, &signal).is_none(), "no step is full yet");
        outlook.take_in(at(1, 0), level(1.0));
        assert!(outlook.order(at(1, 0), &workload, &signal).is_some());
        outlook.take_in(at(2, 0), level(1.0));
        assert!(outlook.order(at(2, 0), &workload, &signal).is_none(), "one is under way");
        assert!(outlook.order(at(3, 1), &workload, &signal).is_some(), "its answer was lost");
        outlook.restarted();
        assert!(
            outlook.order(at(3, 2), &workload, &signal).is_some(),
            "a restart forgets what was under way"
        );
    }

    /// Broken inputs: whatever comes, the forecast is made of numbers, and its levels don't cross.
    #[test]
    fn broken_loads_give_forecasts_that_hold_together() {
        let spike = |s: i64| if s == 500 { 1e12 } else { day(s) };
        let cases: [(&str, &dyn Fn(i64) -> f64); 6] = [
            ("zero", &|_| 0.0),
            ("tiny", &|s| day(s) * 1e-300),
            ("huge", &|s| day(s) * 1e300),
            ("level shift", &|s| if s < 450 { day(s) } else { 40.0 * day(s) }),
            ("a season that vanishes", &|s| if s < 400 { day(s) } else { 300.0 }),
            ("spike", &spike),
        ];
        for (name, load) in cases {
            let mut outlook = Outlook::default();
            feed_and_look(&mut outlook, 0..600, load, 594);
            let ahead = outlook.ahead().unwrap();
            for k in 0..AHEAD_STEPS {
                let levels: Vec<f64> = ahead.paths.iter().map(|p| p[k]).collect();
                assert!(levels.iter().all(|v| v.is_finite() && *v >= 0.0), "{name}: {levels:?}");
                assert!(levels.is_sorted(), "{name}: {levels:?}");
            }
        }
        // One absurd sample among five of its step, at the end of two days: the next hours stay as they were.
        let mut outlook = Outlook::default();
        feed_and_look(&mut outlook, 0..600, spike, 594);
        let peak = outlook.ahead().unwrap().peak(0.99, at(600, 0), at(620, 0)).unwrap();
        assert!(peak.load.get() < 3.0 * 820.0, "{peak:?}");
    }

    #[test]
    fn what_lies_beyond_the_path_is_not_foreseen() {
        let mut outlook = Outlook::default();
        feed(&mut outlook, 0..100, day);
        let ahead = outlook.ahead().unwrap();
        assert!(ahead.peak(0.9, at(100, 0), at(110, 0)).is_some());
        assert!(ahead.peak(0.9, at(100, 0), at(100 + 288, 0)).is_none());
        assert!(ahead.peak(0.42, at(100, 0), at(110, 0)).is_none());
    }
}
