//! Answers an evaluation plan: for every series and origin of it, a forecast from the past alone.
//!
//! The plan and the files it names come as text and the answer is text, so that anything can drive it: a
//! command, a test, a bench. The clock, too, is the caller's.

use crate::forecaster::{Budget, ForecastError, Forecaster, Settings};
use crate::series::{Series, SeriesError};
use serde::Deserialize;
use std::fmt::Write as _;

/// Levels an answer has, in its columns' order.
const LEVELS: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// Why a plan can't be answered.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The plan is not one.
    #[error("the plan can't be read: is it an origins.json?")]
    Plan(#[source] serde_json::Error),
    /// A file that the plan names can't be read.
    #[error("`{file}`, which the plan names for series `{series}`, can't be read")]
    File {
        /// The series.
        series: String,
        /// The file, as the plan names it.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of a series is not `timestamp,value`.
    #[error("line {line} of series `{series}` is not `timestamp,value`: {text:?}")]
    Line {
        /// The series.
        series: String,
        /// Counted from one.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// An origin is not among the stamps of its series.
    #[error("series `{series}` has no step {origin}, at which the plan wants a forecast")]
    Origin {
        /// The series.
        series: String,
        /// The origin.
        origin: String,
    },
    /// The series can't be made.
    #[error("series `{series}` can't be used")]
    Series {
        /// The series.
        series: String,
        /// Why.
        #[source]
        source: SeriesError,
    },
    /// No forecast from an origin.
    #[error("series `{series}` can't be forecast from {origin}")]
    Forecast {
        /// The series.
        series: String,
        /// The origin.
        origin: String,
        /// Why.
        #[source]
        source: ForecastError,
    },
}

#[derive(Deserialize)]
struct Plan {
    series: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    series: String,
    file: String,
    step_seconds: u32,
    max_horizon_steps: usize,
    origins: Vec<String>,
}

/// Answers the plan: CSV with the header
/// `series,origin,horizon_step,q0.5,q0.9,q0.95,q0.99,time_ms`.
///
/// `read` gives the text of a file that the plan names. `millis` is any clock in milliseconds; the time
/// between its readings before a fit and after the forecast is the column `time_ms`. Only values up to
/// the origin are seen by a forecast; each starts from nothing.
///
/// # Errors
/// [`PlanError`] names the series, file and line that can't be used.
pub fn answer_plan(
    plan: &str,
    mut read: impl FnMut(&str) -> std::io::Result<String>,
    mut millis: impl FnMut() -> f64,
) -> Result<String, PlanError> {
    let plan: Plan = serde_json::from_str(plan).map_err(PlanError::Plan)?;
    let mut out = String::from("series,origin,horizon_step,q0.5,q0.9,q0.95,q0.99,time_ms\n");
    for item in plan.series {
        let name = &item.series;
        let text = read(&item.file).map_err(|source| PlanError::File {
            series: name.clone(),
            file: item.file.clone(),
            source,
        })?;
        let rows = rows(name, &text)?;
        for origin in &item.origins {
            let missing = || PlanError::Origin { series: name.clone(), origin: origin.clone() };
            let at = rows.iter().position(|r| r.0 == origin).ok_or_else(missing)?;
            let settings = Settings {
                step_s: item.step_seconds,
                horizon_steps: item.max_horizon_steps,
                refit_every_steps: 1,
            };
            let past = rows[..=at].iter().map(|r| r.1);
            // Without events, absolute time plays no role.
            let series = Series::from_values(item.step_seconds, 0, past)
                .map_err(|source| PlanError::Series { series: name.clone(), source })?;
            let before = millis();
            let mut forecaster = Forecaster::with_history(settings, series);
            let fitted = forecaster.fit_request().run(Budget::unlimited());
            forecaster.install(fitted);
            let forecast = forecaster.forecast(item.max_horizon_steps, &LEVELS).map_err(|source| {
                PlanError::Forecast { series: name.clone(), origin: origin.clone(), source }
            })?;
            let took = millis() - before;
            for h in 0..item.max_horizon_steps {
                let q: [f64; 4] = std::array::from_fn(|k| forecast.paths[k][h]);
                writeln!(out, "{name},{origin},{},{},{},{},{},{took:.3}", h + 1, q[0], q[1], q[2], q[3])
                    .expect("writing to a string can't fail");
            }
        }
    }
    Ok(out)
}

/// The stamps and values of a series file; an empty value is a gap.
fn rows<'a>(name: &str, text: &'a str) -> Result<Vec<(&'a str, Option<f64>)>, PlanError> {
    text.lines()
        .enumerate()
        .skip(1)
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(k, line)| {
            let bad = || PlanError::Line { series: name.to_owned(), line: k + 1, text: line.to_owned() };
            let (stamp, value) = line.split_once(',').ok_or_else(bad)?;
            let value = value.trim();
            if value.is_empty() {
                return Ok((stamp, None));
            }
            value.parse().map(|v| (stamp, Some(v))).map_err(|_| bad())
        })
        .collect()
}
