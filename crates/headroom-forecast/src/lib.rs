//! Forecasting: a regular series with gaps in, quantile forecasts out, for any horizon.
//!
//! A scaler that only reacts is always one start-up time late; one that trusts a forecast blindly is
//! sometimes wrong by a fleet. So this crate forecasts distributions, not numbers; says how well it has
//! done lately, out of sample; and demotes whatever does worse than "same as yesterday".
//!
//! * [`Forecaster`] for minutes to days ahead: several models, combined by their measured loss and
//!   calibrated so that 95 % means 95 %. A sample costs microseconds; learning runs beside the loop as a
//!   [`FitRequest`] that gives a [`Fitted`].
//! * [`OnlineForecaster`] for seconds to minutes ahead, once per sample: the distribution of the demand
//!   that what is ordered now must meet, and surges as they start.
//! * [`answer_plan`] answers an evaluation plan over many series and origins.
//!
//! It refuses to know anything of workloads, replicas or machines, to do IO, to read a clock, or to use
//! randomness: the same input gives the same bytes on every platform. Which models there are, how they
//! are chosen and what they reach is measured in `docs/forecasting.md`.
//!
//! ```
//! use headroom_forecast::{Budget, Forecaster, Series, Settings};
//!
//! // Three days of a daily rise and fall, in steps of five minutes.
//! let load = (0..3 * 288).map(|k| Some(100.0 + (k % 288) as f64));
//! let series = Series::from_values(300, 0, load)?;
//! let mut forecaster = Forecaster::with_history(Settings::five_minutes(), series);
//! let fitted = forecaster.fit_request().run(Budget::millis(50));
//! forecaster.install(fitted);
//! let ahead = forecaster.forecast(12, &[0.5, 0.95])?;
//! assert!(ahead.paths[1][11] >= ahead.paths[0][11]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod events;
mod fit;
mod forecaster;
mod math;
mod models;
pub mod online;
mod plan;
mod scoreboard;
mod season;
mod series;
mod window;

pub use events::{Effect, Effects, Event, MAX_EVENTS};
pub use fit::Model;
pub use forecaster::{
    Budget, Demotion, FitRequest, Fitted, Forecast, ForecastError, Forecaster, MAX_HORIZON, Say, Settings,
};
pub use online::{OnlineError, OnlineForecaster, OnlineStanding, Surge};
pub use plan::{PlanError, answer_plan};
pub use scoreboard::{Score, Scoreboard, Standing};
pub use season::Seasons;
pub use series::{CAPACITY, Series, SeriesError};
