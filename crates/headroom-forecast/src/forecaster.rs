//! The forecaster: takes samples in, knows when it should learn again, and forecasts.
//!
//! Learning takes milliseconds, a sample microseconds, so they are apart: [`Forecaster::fit_request`]
//! gives a self-contained piece of work that may run on another thread, and [`Forecaster::install`] takes
//! its result, whenever it comes. Until then the last fit goes on serving, from the newest samples.

use crate::events::{self, Effect, Effects, Event, MAX_EVENTS};
use crate::fit::{self, Model, Outcome, PARTS, Ready};
use crate::math::{Quantiles, SCORED, at_level, settle};
use crate::scoreboard::{Claim, Scoreboard};
use crate::season::Seasons;
use crate::series::{Series, SeriesError};
use crate::window::Window;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest horizon, in steps: a week of five minutes.
pub const MAX_HORIZON: usize = 2016;

/// What to forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Seconds per step.
    pub step_s: u32,
    /// Steps ahead that forecasts may reach, 1 to [`MAX_HORIZON`]; fits learn for these.
    pub horizon_steps: usize,
    /// Steps after which it is time to learn again.
    pub refit_every_steps: u32,
}

impl Settings {
    /// A day ahead in steps of five minutes, learned anew every hour: load patterns change over days, an
    /// hour's samples are what can move the weights.
    pub fn five_minutes() -> Self {
        Self { step_s: 300, horizon_steps: 288, refit_every_steps: 12 }
    }
}

/// How much work a refit may be.
///
/// A clock would make results differ from run to run, so the limit is kept by cutting the history that
/// is looked at; figures from `cargo xtask bench forecast`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    steps: usize,
}

impl Budget {
    /// Steps of history that fit into a millisecond of one core (measured: 4032 steps, horizon 288, in
    /// under 20 ms; half of that is assumed, for slower cores).
    const STEPS_PER_MS: usize = 100;

    /// About so many milliseconds on one core, and never less than two days of five minutes: below that
    /// nothing can be learned.
    pub fn millis(ms: u32) -> Self {
        Self { steps: (ms as usize).saturating_mul(Self::STEPS_PER_MS).max(576) }
    }
    /// All that is kept.
    pub fn unlimited() -> Self {
        Self { steps: usize::MAX }
    }
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ForecastError {
    /// Nothing was ever measured.
    #[error("nothing has been measured yet: a forecast needs at least one sample")]
    NothingMeasured,
    /// A level that is not a probability.
    #[error("{0} is not a quantile level: it must lie above 0 and below 1")]
    NotALevel(f64),
    /// No step or too many asked for.
    #[error("a horizon of {asked} steps can't be forecast: it must lie between 1 and {most}")]
    Horizon {
        /// What was asked for.
        asked: usize,
        /// The most that can be.
        most: usize,
    },
}

/// A model whose say was cut to a tenth for part of the horizon, and why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demotion {
    /// Which model.
    pub model: Model,
    /// From so many steps ahead
    pub from_steps: usize,
    /// up to so many.
    pub to_steps: usize,
    /// Its mean out-of-sample loss
    pub loss: f64,
    /// and that of the yardstick.
    pub yardstick_loss: f64,
    /// The yardstick: seasonal-naive, or naive where there is no season.
    pub yardstick: Model,
}

impl fmt::Display for Demotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worse = if self.yardstick_loss > 0.0 {
            format!(
                "{:.0} % worse than {}",
                100.0 * (self.loss / self.yardstick_loss - 1.0),
                self.yardstick.name()
            )
        } else {
            format!("worse than {}, which was never wrong", self.yardstick.name())
        };
        write!(
            f,
            "{} is demoted for {} to {} steps ahead: out of sample it was {worse} (loss {:.4} against {:.4})",
            self.model.name(),
            self.from_steps,
            self.to_steps,
            self.loss,
            self.yardstick_loss,
        )
    }
}

/// What a model has to say in part of the horizon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Say {
    /// Which model.
    pub model: Model,
    /// From so many steps ahead
    pub from_steps: usize,
    /// up to so many.
    pub to_steps: usize,
    /// Its share of the combination, 0 to 1.
    pub weight: f64,
    /// Its mean out-of-sample loss; `None` where it could not be judged.
    pub loss: Option<f64>,
}

/// Quantile paths of the load to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// When the first step forecast starts, Unix seconds.
    pub start_unix_s: i64,
    /// Seconds per step.
    pub step_s: u32,
    /// The levels asked for.
    pub levels: Vec<f64>,
    /// Per level, in the order of `levels`, the quantile of each step.
    pub paths: Vec<Vec<f64>>,
    /// Who had how much to say.
    pub weights: Vec<Say>,
    /// Who was demoted, and why.
    pub demoted: Vec<Demotion>,
}

impl Forecast {
    /// The path of a level that was asked for.
    pub fn path(&self, level: f64) -> Option<&[f64]> {
        let k = self.levels.iter().position(|l| (l - level).abs() < 1e-9)?;
        self.paths.get(k).map(Vec::as_slice)
    }
}

/// The result of a refit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    horizon_steps: usize,
    /// End of the history it was learned from, Unix seconds.
    learned_until_unix_s: i64,
    seasons: Seasons,
    effects: Effects,
    /// `None`: too little was measured to learn anything.
    outcome: Option<Outcome>,
    claims: Vec<Claim>,
}

impl Fitted {
    /// The seasons found.
    pub fn seasons(&self) -> Seasons {
        self.seasons
    }
    /// What each label of event was found to do.
    pub fn effects(&self) -> impl Iterator<Item = (&str, Effect)> {
        self.effects.iter().map(|(k, v)| (k.as_str(), *v))
    }
    /// End of the history it was learned from, Unix seconds.
    pub fn learned_until_unix_s(&self) -> i64 {
        self.learned_until_unix_s
    }

    /// What each model has to say, and which were demoted, by part of the horizon.
    pub fn says(&self) -> (Vec<Say>, Vec<Demotion>) {
        let (mut says, mut demoted) = (Vec::new(), Vec::new());
        let Some(o) = &self.outcome else { return (says, demoted) };
        let mut from_steps = 1;
        for (p, top) in o.parts.iter().zip(PARTS) {
            if from_steps > self.horizon_steps {
                break;
            }
            let to_steps = top.min(self.horizon_steps);
            let loss_of = |m: Model| p.losses[m.index()].map(|l| (m, l * o.unit));
            let bar = loss_of(Model::SeasonalNaive).or_else(|| loss_of(Model::Naive));
            for (k, model) in Model::ALL.into_iter().enumerate() {
                let (loss, weight) = (loss_of(model).map(|l| l.1), p.weights[k]);
                if let (true, Some(loss), Some((yardstick, yardstick_loss))) = (p.demoted[k], loss, bar) {
                    demoted.push(Demotion { model, from_steps, to_steps, loss, yardstick_loss, yardstick });
                }
                if loss.is_some() {
                    says.push(Say { model, from_steps, to_steps, weight, loss });
                }
            }
            from_steps = to_steps + 1;
        }
        (says, demoted)
    }
}

/// A self-contained piece of learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitRequest {
    settings: Settings,
    series: Series,
    events: Vec<Event>,
    live: Scoreboard,
}

/// Fewer measured steps than this teach nothing: the fallback serves.
const MIN_STEPS: usize = 24;

impl FitRequest {
    /// Learns. Pure: the same request and budget give the same result, on any thread and platform.
    #[must_use]
    pub fn run(&self, budget: Budget) -> Fitted {
        let mut values: Vec<Option<f64>> = self.series.values().collect();
        let skip = values.len().saturating_sub(budget.steps);
        values.drain(..skip);
        let step = self.settings.step_s;
        let start = self.series.start_unix_s() + skip as i64 * i64::from(step);
        let effects = effects(&self.events, &values, start, step);
        strip(&self.events, &effects, &mut values, start, step);
        let horizon_steps = self.settings.horizon_steps.clamp(1, MAX_HORIZON);
        let mut out = Fitted {
            horizon_steps,
            learned_until_unix_s: self.series.end_unix_s(),
            seasons: Seasons::default(),
            effects,
            outcome: None,
            claims: Vec::new(),
        };
        if values.iter().flatten().count() < MIN_STEPS {
            return out;
        }
        let Some(window) = Window::new(&values, step, None) else { return out };
        out.seasons = window.seasons;
        let (outcome, ready) = fit::run(window, horizon_steps, &self.live);
        let judged = fit::judged(horizon_steps);
        let said = fit::forecast(&outcome, &ready, &judged);
        out.claims = judged
            .iter()
            .zip(&said)
            .map(|(&steps, said)| {
                let at_unix_s = self.series.end_unix_s() + (steps as i64 - 1) * i64::from(step);
                let m = outcome.unit * events::multiplier(&self.events, &out.effects, at_unix_s);
                let levels = |q: &Quantiles| SCORED.map(|k| q[k] * m);
                let models = said.models.map(|q| q.as_ref().map(levels));
                Claim { at_unix_s, steps, models, all: levels(&said.all) }
            })
            .collect();
        out.outcome = Some(outcome);
        out
    }
}

fn effects(events: &[Event], values: &[Option<f64>], start: i64, step: u32) -> Effects {
    if events.is_empty() {
        return Effects::new();
    }
    let day = (86_400 / step.max(1)).max(1) as usize;
    events::learn(events, values, start, step, day)
}

/// Takes the events' multipliers out of the load.
fn strip(events: &[Event], effects: &Effects, values: &mut [Option<f64>], start: i64, step: u32) {
    if events.is_empty() {
        return;
    }
    for (k, v) in values.iter_mut().enumerate() {
        if let Some(v) = v {
            *v /= events::multiplier(events, effects, start + k as i64 * i64::from(step));
        }
    }
}

/// A forecaster of one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    settings: Settings,
    series: Series,
    events: Vec<Event>,
    fitted: Option<Fitted>,
    since_fit: u32,
    board: Scoreboard,
}

impl Forecaster {
    /// A forecaster that has seen nothing; its first step starts at `start_unix_s`.
    ///
    /// # Errors
    /// [`SeriesError::NoStep`] for a step of zero.
    pub fn new(settings: Settings, start_unix_s: i64) -> Result<Self, SeriesError> {
        let series = Series::new(settings.step_s, start_unix_s)?;
        Ok(Self {
            settings,
            series,
            events: Vec::new(),
            fitted: None,
            since_fit: 0,
            board: Scoreboard::default(),
        })
    }

    /// A forecaster that knows a history.
    ///
    /// The series' own step counts; that of the settings is set to it.
    pub fn with_history(mut settings: Settings, series: Series) -> Self {
        settings.step_s = series.step_s();
        Self {
            settings,
            series,
            events: Vec::new(),
            fitted: None,
            since_fit: 0,
            board: Scoreboard::default(),
        }
    }

    /// Replaces the known events, past and to come; beyond [`MAX_EVENTS`] the earliest are left out.
    /// Takes effect with the next fit.
    pub fn set_events(&mut self, mut events: Vec<Event>) {
        events.sort_by(|a, b| a.start_unix_s.cmp(&b.start_unix_s).then_with(|| a.label.cmp(&b.label)));
        events.drain(..events.len().saturating_sub(MAX_EVENTS));
        self.events = events;
    }

    /// Takes in the load of the next step; `None` where nothing was measured.
    pub fn observe(&mut self, value: Option<f64>) {
        let at = self.series.end_unix_s();
        self.series.push(value);
        self.board.settle(at, crate::series::believable(value));
        self.since_fit = self.since_fit.saturating_add(1);
    }

    /// Takes in the load of the step that contains `unix_s`; steps skipped are gaps.
    ///
    /// # Errors
    /// [`SeriesError::OutOfOrder`] if that step was taken in before: the clock went back.
    pub fn observe_at(&mut self, unix_s: i64, value: Option<f64>) -> Result<(), SeriesError> {
        self.series.push_at(unix_s, value)?;
        let at = self.series.end_unix_s() - i64::from(self.settings.step_s);
        self.board.settle(at, crate::series::believable(value));
        self.since_fit = self.since_fit.saturating_add(1);
        Ok(())
    }

    /// The record it would have, had it forecast the last `steps` of its history as they came: it goes back so far,
    /// learns from what lay before, and settles what it claimed. Pure, a fit for every `refit_every_steps` of them.
    #[must_use]
    pub fn rehearsed(&self, steps: usize, refit_every_steps: u32, budget: Budget) -> Scoreboard {
        let known = self.series.len().saturating_sub(steps);
        let mut then = self.clone();
        then.settings.refit_every_steps = refit_every_steps;
        then.series = self.series.first(known);
        (then.fitted, then.since_fit, then.board) = (None, 0, Scoreboard::default());
        for value in self.series.values().skip(known) {
            if then.needs_fit() {
                then.install(then.fit_request().run(budget));
            }
            then.observe(value);
        }
        then.board.forget_open();
        then.board
    }

    /// Takes over a record that was rehearsed, unless it has one of its own.
    pub fn adopt(&mut self, record: Scoreboard) {
        if self.board.is_blank() {
            let open = std::mem::replace(&mut self.board, record).into_open();
            self.board.issue(open);
        }
    }

    /// Whether it is time to learn again: by plan, or because the last forecasts were much worse than usual.
    pub fn needs_fit(&self) -> bool {
        self.fitted.is_none()
            || self.since_fit >= self.settings.refit_every_steps
            || (self.since_fit > 0 && self.board.has_worsened())
    }

    /// The events it knows.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The learning to be done, as of now.
    pub fn fit_request(&self) -> FitRequest {
        FitRequest {
            settings: self.settings,
            series: self.series.clone(),
            events: self.events.clone(),
            live: self.board.clone(),
        }
    }

    /// Takes a fit over. One that is older than the installed one is ignored.
    pub fn install(&mut self, mut fitted: Fitted) {
        if self.fitted.as_ref().is_some_and(|f| f.learned_until_unix_s > fitted.learned_until_unix_s) {
            return;
        }
        // Of what the fit claimed, what has not yet come.
        let now = self.series.end_unix_s();
        self.board.issue(fitted.claims.drain(..).filter(|c| c.at_unix_s >= now));
        let late = (now - fitted.learned_until_unix_s) / i64::from(self.settings.step_s);
        self.since_fit = u32::try_from(late).unwrap_or(0);
        self.fitted = Some(fitted);
    }

    /// The series so far.
    pub fn series(&self) -> &Series {
        &self.series
    }
    /// What forecasts in earnest have lost.
    pub fn scoreboard(&self) -> &Scoreboard {
        &self.board
    }
    /// The fit that serves.
    pub fn fitted(&self) -> Option<&Fitted> {
        self.fitted.as_ref()
    }

    /// Quantile paths of the next `horizon_steps` steps.
    ///
    /// Without a fit, or with too little measured to learn from, the fallback speaks: the median is the
    /// median of what there is, the upper quantiles lie above all of it.
    ///
    /// # Errors
    /// [`ForecastError`] for a horizon or level that can't be, and before the first sample.
    pub fn forecast(&self, horizon_steps: usize, levels: &[f64]) -> Result<Forecast, ForecastError> {
        let most = self.fitted.as_ref().map_or(MAX_HORIZON, |f| f.horizon_steps);
        if horizon_steps == 0 || horizon_steps > most {
            return Err(ForecastError::Horizon { asked: horizon_steps, most });
        }
        if let Some(bad) = levels.iter().find(|l| !(**l > 0.0 && **l < 1.0)) {
            return Err(ForecastError::NotALevel(*bad));
        }
        let step = self.settings.step_s;
        let start = self.series.start_unix_s();
        let mut values: Vec<Option<f64>> = self.series.values().collect();
        let none = Effects::new();
        let effects = self.fitted.as_ref().map_or(&none, |f| &f.effects);
        strip(&self.events, effects, &mut values, start, step);
        let learned = self.fitted.as_ref().and_then(|f| f.outcome.as_ref().map(|o| (f, o)));
        let hs: Vec<usize> = (1..=horizon_steps).collect();
        let ready = learned.and_then(|(f, o)| {
            let mut w = Window::new(&values, step, Some(o.unit))?;
            // The models know the seasons they were fitted with.
            w.seasons = f.seasons;
            // After a gap longer than the memory the models have nothing left to look back at.
            (w.len() > o.needs.max(MIN_STEPS)).then(|| (o, Ready::new(w, Some(&o.learned))))
        });
        let mut quantiles: Vec<Quantiles> = match ready {
            Some((o, ready)) => {
                fit::forecast(o, &ready, &hs).into_iter().map(|s| s.all.map(|v| v * o.unit)).collect()
            }
            None => vec![fallback(&values).ok_or(ForecastError::NothingMeasured)?; horizon_steps],
        };
        for (k, q) in quantiles.iter_mut().enumerate() {
            let at = self.series.end_unix_s() + k as i64 * i64::from(step);
            let m = events::multiplier(&self.events, effects, at);
            q.iter_mut().for_each(|v| *v *= m);
            settle(q);
        }
        let paths = levels.iter().map(|&l| quantiles.iter().map(|q| at_level(q, l)).collect()).collect();
        let (weights, demoted) = self.fitted.as_ref().map(Fitted::says).unwrap_or_default();
        Ok(Forecast {
            start_unix_s: self.series.end_unix_s(),
            step_s: step,
            levels: levels.to_vec(),
            paths,
            weights,
            demoted,
        })
    }
}

/// What can be said of a load that has hardly been seen: its last day's values as they are, and above
/// them a margin, because the largest of a few is below the largest to come.
fn fallback(values: &[Option<f64>]) -> Option<Quantiles> {
    let mut known: Vec<f64> = values.iter().rev().take(288).flatten().copied().collect();
    let last = *known.first()?;
    known.sort_unstable_by(f64::total_cmp);
    let n = known.len();
    let max = known[n - 1];
    // With n values the next one exceeds all with a chance of 1/(n + 1); doubling covers the rest.
    let mut q = crate::math::GRID.map(|tau| {
        let place = tau * (n + 1) as f64 - 1.0;
        if place >= (n - 1) as f64 {
            let over = (place - (n - 1) as f64).min(1.0);
            max * (1.0 + over)
        } else {
            let k = place.max(0.0) as usize;
            let f = (place - k as f64).max(0.0);
            known[k] + f * (known[(k + 1).min(n - 1)] - known[k])
        }
    });
    if n < 6 {
        q[crate::math::MEDIAN] = last;
    }
    settle(&mut q);
    Some(q)
}
