//! What the forecaster makes of a trace: the load to come, and how good such forecasts would have been.
//!
//! The second half of the trace is lived through as a running system would: learning at intervals, forecasting,
//! and being judged by what came. So the scores are those of forecasts made before the load was known, by the very
//! code that scales.

mod picture;

use headroom_core::outlook::{Accuracy, LEVELS, Point, points};
use headroom_core::units::{Span, Timestamp};
use headroom_forecast::{
    Budget, CAPACITY, Demotion, ForecastError, Forecaster, MAX_HORIZON, Seasons, Series, SeriesError,
    Settings,
};
use serde::Serialize;

pub use picture::{render_html, render_svg};

use crate::load::{LoadError, TraceSource, averaged, check};

/// The step of long traces, as in a running system.
const STEP: Span = Span::minutes(5);
/// A trace of at least so long a time is averaged to [`STEP`]; a shorter one keeps its own spacing.
const LONG: Span = Span::days(2);
/// Refits at the most while the trace is lived through: a second's work.
const REFITS: usize = 96;
/// And not more often than a running system learns.
const REFIT_STEPS: usize = 6;
/// Parts of the horizon that are judged apart, in steps, as the forecaster combines its models for.
const PARTS: [usize; 2] = [12, 72];

/// What to forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastOptions {
    /// How far ahead.
    pub horizon: Span,
    /// The length of a step; by default five minutes, or the trace's own spacing where that is longer or the trace
    /// is shorter than two days.
    pub step: Option<Span>,
}

/// Why a trace can't be forecast.
#[derive(Debug, thiserror::Error)]
pub enum TraceForecastError {
    /// The trace.
    #[error(transparent)]
    Trace(#[from] LoadError),
    /// The step.
    #[error(
        "a step of {step} is too short: the rows of {trace} stand {spacing} apart, and a step is whole seconds"
    )]
    Step {
        /// The trace.
        trace: String,
        /// What was asked for.
        step: Span,
        /// The distance of its rows.
        spacing: Span,
    },
    /// The horizon.
    #[error("a horizon of {horizon} can't be forecast in steps of {step}: ask for {step} to {most}")]
    Horizon {
        /// What was asked for.
        horizon: Span,
        /// The step.
        step: Span,
        /// The longest.
        most: Span,
    },
    /// The series.
    #[error("the trace can't be taken in")]
    Series(#[from] SeriesError),
    /// No forecast.
    #[error("there is no forecast")]
    Forecast(#[from] ForecastError),
}

/// What came of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceForecast {
    /// The trace.
    pub trace: String,
    /// When its first kept step begins: the last 8064 are kept.
    pub start: Timestamp,
    /// The length of a step.
    pub step: Span,
    /// Steps kept, and
    pub steps: usize,
    /// those of them without a value.
    pub gaps: usize,
    /// The mean load.
    pub mean: f64,
    /// Periods found, in steps.
    pub seasons: Seasons,
    /// The load to come.
    pub points: Vec<Point>,
    /// How good such forecasts would have been, by part of the horizon; empty where the trace is too short to tell.
    pub accuracy: Vec<Accuracy>,
    /// Models that lost to the simple forecast, and by how much.
    pub demotions: Vec<Demotion>,
    /// The steps kept.
    #[serde(skip)]
    pub history: Vec<Option<f64>>,
}

/// Forecasts the load that follows a trace.
///
/// # Errors
/// What is wrong with the trace, or with what is asked for.
pub fn forecast(
    source: &TraceSource,
    options: &ForecastOptions,
) -> Result<TraceForecast, TraceForecastError> {
    let facts = check(source)?;
    let usual = if facts.length >= LONG { STEP.max(facts.spacing) } else { facts.spacing };
    let whole = Span::seconds(usual.as_millis().div_ceil(1000));
    let step = options.step.unwrap_or(whole);
    let step_s = u32::try_from(step.as_millis() / 1000).unwrap_or(u32::MAX);
    if step < facts.spacing || step_s == 0 || !step.as_millis().is_multiple_of(1000) {
        return Err(TraceForecastError::Step { trace: source.name(), step, spacing: facts.spacing });
    }
    let horizon_steps = options.horizon.as_millis().div_ceil(step.as_millis());
    let horizon_steps = usize::try_from(horizon_steps).unwrap_or(usize::MAX);
    if !(1..=MAX_HORIZON).contains(&horizon_steps) {
        let most = step.times(MAX_HORIZON as u64);
        return Err(TraceForecastError::Horizon { horizon: options.horizon, step, most });
    }
    let (start, history) = averaged(source, &facts, step, CAPACITY)?;
    let forecaster = live_through(start, &history, step_s, horizon_steps)?;
    let ahead = forecaster.forecast(horizon_steps, &LEVELS)?;
    let from = Timestamp::from_millis(ahead.start_unix_s.saturating_mul(1000));
    let paths: [Vec<f64>; LEVELS.len()] =
        std::array::from_fn(|k| ahead.paths.get(k).cloned().unwrap_or_default());
    let parts = PARTS.into_iter().filter(|p| *p < horizon_steps).chain([horizon_steps]);
    let known: Vec<f64> = history.iter().flatten().copied().collect();
    #[expect(clippy::cast_precision_loss, reason = "at most 8064 steps")]
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    Ok(TraceForecast {
        trace: source.name(),
        start,
        step,
        steps: history.len(),
        gaps: history.len() - known.len(),
        mean,
        seasons: forecaster.fitted().map(headroom_forecast::Fitted::seasons).unwrap_or_default(),
        points: points(from, step, &paths).collect(),
        accuracy: parts.filter_map(|p| Accuracy::of(&forecaster, step.times(p as u64))).collect(),
        demotions: ahead.demoted,
        history,
    })
}

/// A forecaster that has lived through the second half of a history, and has learned from all of it.
fn live_through(
    start: Timestamp,
    history: &[Option<f64>],
    step_s: u32,
    horizon_steps: usize,
) -> Result<Forecaster, SeriesError> {
    let (known, lived) = history.split_at(history.len() / 2);
    let every = lived.len().div_ceil(REFITS).max(REFIT_STEPS);
    let refit_every_steps = u32::try_from(every).unwrap_or(u32::MAX);
    let settings = Settings { step_s, horizon_steps, refit_every_steps };
    let begins = start.as_millis().div_euclid(1000);
    let mut forecaster =
        Forecaster::with_history(settings, Series::from_values(step_s, begins, known.iter().copied())?);
    let learn = |forecaster: &mut Forecaster| {
        let fitted = forecaster.fit_request().run(Budget::unlimited());
        forecaster.install(fitted);
    };
    for (k, value) in lived.iter().enumerate() {
        if k % every == 0 {
            learn(&mut forecaster);
        }
        forecaster.observe(*value);
    }
    learn(&mut forecaster);
    Ok(forecaster)
}

/// Renders forecast, scores and demotions as text; a table of at most `rows` steps.
#[must_use]
pub fn render_text(forecast: &TraceForecast, rows: usize) -> String {
    use crate::report::date;
    use std::fmt::Write as _;
    let f = forecast;
    let mut text = format!(
        "{}: {} steps of {} from {}, {} without a value\n\n",
        f.trace,
        f.steps,
        f.step,
        date(f.start),
        f.gaps
    );
    let _ = writeln!(text, "{:<22}{:>12}{:>12}{:>12}{:>12}", "TIME", "50%", "90%", "95%", "99%");
    let every = f.points.len().div_ceil(rows.max(1)).max(1);
    for p in f.points.iter().step_by(every) {
        let _ = write!(text, "{:<22}", date(p.at));
        for v in [p.q50, p.q90, p.q95, p.q99] {
            let _ = write!(text, "{:>12}", short(v));
        }
        text.push('\n');
    }
    text.push('\n');
    for line in score_lines(f) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// What is said of the scores, a sentence a line.
fn score_lines(f: &TraceForecast) -> Vec<String> {
    if f.accuracy.is_empty() {
        return vec!["The trace is too short to tell how good such forecasts are.".to_owned()];
    }
    let share = |loss: f64| if f.mean > 0.0 { 100.0 * loss / f.mean } else { 0.0 };
    let mut lines: Vec<String> = f
        .accuracy
        .iter()
        .map(|a| {
            let verdict = if a.demoted { "demoted: no better than" } else { "better than" };
            let coverage = a.coverage95.map_or_else(String::new, |c| {
                format!("; the 95% quantile held {:.1}% of the time", 100.0 * c)
            });
            format!(
                "up to {}: loss {:.2}% of the mean load, {verdict} {} with {:.2}%{coverage} ({:.0} forecasts)",
                a.within,
                share(a.loss),
                a.yardstick.name(),
                share(a.naive_loss),
                a.evidence,
            )
        })
        .collect();
    lines.extend(f.demotions.iter().map(ToString::to_string));
    lines
}

/// A load to four digits.
fn short(value: f64) -> String {
    if value >= 1000.0 || value == 0.0 {
        return format!("{value:.0}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9")]
    let places = (3.0 - libm::floor(libm::log10(value))).clamp(0.0, 9.0) as usize;
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days of a triangle between 100 and 820, one row every five minutes, some left out.
    fn days(days: usize) -> TraceSource {
        let mut text = String::from("timestamp,value\n");
        for k in (0..days * 288).filter(|k| k % 97 != 0) {
            let up = k % 288;
            let value = 100 + 5 * up.min(288 - up) + k * 7919 % 13;
            text.push_str(&format!("{},{value}\n", k * 300));
        }
        TraceSource::Text { name: "t.csv".to_owned(), text: text.into() }
    }
    fn options(horizon: Span) -> ForecastOptions {
        ForecastOptions { horizon, step: None }
    }

    #[test]
    fn a_daily_trace_is_foreseen_with_bands_and_scores() {
        let seen = forecast(&days(4), &options(Span::hours(24))).unwrap();
        assert_eq!((seen.points.len(), seen.step), (288, Span::minutes(5)));
        assert!(seen.points.iter().all(|p| p.q50 <= p.q90 && p.q90 <= p.q95 && p.q95 <= p.q99));
        assert!((seen.points[144].q50 - 820.0).abs() < 60.0, "{:?}", seen.points[144]);
        let within: Vec<Span> = seen.accuracy.iter().map(|a| a.within).collect();
        assert_eq!(within, [Span::hours(1), Span::hours(6), Span::hours(24)]);
        assert!(seen.accuracy.iter().all(|a| a.evidence > 20.0), "{:?}", seen.accuracy);
        let said = render_text(&seen, 24);
        assert!(said.contains("up to 1h: loss") && said.contains("1970-01-05 00:00 UTC"), "{said}");
        assert_eq!(
            seen,
            forecast(&days(4), &options(Span::hours(24))).unwrap(),
            "the same input, the same bytes"
        );
    }

    #[test]
    fn what_is_too_short_to_judge_says_so() {
        let text = "timestamp,value\n0,10\n60,12\n120,11\n";
        let source = TraceSource::Text { name: "t.csv".to_owned(), text: text.into() };
        let seen = forecast(&source, &options(Span::minutes(2))).unwrap();
        assert_eq!((seen.points.len(), seen.step, seen.accuracy.len()), (2, Span::minutes(1), 0));
        assert!(render_text(&seen, 24).contains("too short to tell"));
        assert!(!render_svg(&seen).contains("NaN"));
    }

    #[test]
    fn what_cannot_be_asked_says_what_can() {
        let ask =
            |horizon, step| forecast(&days(3), &ForecastOptions { horizon, step }).unwrap_err().to_string();
        assert!(ask(Span::days(30), None).contains("5m to 7d"), "{}", ask(Span::days(30), None));
        assert!(ask(Span::ZERO, None).contains("a horizon of 0s can't be forecast"));
        assert!(ask(Span::hours(1), Some(Span::seconds(1))).contains("stand 5m apart"));
        let broken =
            TraceSource::Text { name: "t.csv".to_owned(), text: "timestamp,value\n0,1\n1,x\n".into() };
        let why = forecast(&broken, &options(Span::hours(1))).unwrap_err().to_string();
        assert!(why.contains("line 3") && why.contains("is no number"), "{why}");
    }

    #[test]
    fn the_picture_needs_nothing_else() {
        let seen = forecast(&days(3), &options(Span::hours(6))).unwrap();
        let (svg, html) = (render_svg(&seen), render_html(&seen));
        assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"));
        assert!(html.starts_with("<!doctype html>") && html.contains("<svg") && html.contains("up to 1h"));
        for text in [&svg, &html] {
            assert!(!text.contains("NaN") && !text.contains("<script") && !text.contains("href"), "{text}");
        }
    }
}
