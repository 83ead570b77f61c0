//! What forecasts cost, and, with the folder of an evaluation plan, what they are worth.
//!
//! Costs: a fit and a forecast on 14 days of five minutes, and a sample. Times of fits are the best of twenty: what the
//! work costs, not what the neighbours do. Worth: the mean weighted quantile loss of each series, beside a seasonal-naive
//! forecast that draws its quantiles from the errors it has made, and how often the 95 % quantile held.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use headroom_forecast::{Budget, Forecaster, OnlineForecaster, Series, Settings, answer_plan};
use serde::{Deserialize, Serialize};

use super::Output;

const LEVELS: [f64; 4] = [0.5, 0.9, 0.95, 0.99];
/// The near horizon: an hour of five minutes.
const NEAR: usize = 12;
const DAY: usize = 288;
const FITS: usize = 20;
const SAMPLES: usize = 200_000;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    /// Fit and forecast of 14 days of five minutes, an hour and a day ahead, in milliseconds.
    hour_ahead_ms: f64,
    day_ahead_ms: f64,
    /// A sample taken in by the long-range forecaster, and by the online one with one lead, in nanoseconds.
    sample_ns: f64,
    online_sample_ns: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    worth: Vec<Worth>,
}

/// What forecasts of one horizon are worth over the series of a plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Worth {
    horizon: &'static str,
    /// Mean weighted quantile loss over the series; lower is better.
    loss: f64,
    seasonal_naive: f64,
    /// The share of loads within the 95 % quantile, mean over the series.
    coverage95: f64,
    /// The series that stands worst beside seasonal-naive, and its loss over that one's.
    worst: (String, f64),
    series: BTreeMap<String, Losses>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Losses {
    loss: f64,
    seasonal_naive: f64,
    coverage95: f64,
}

pub(crate) fn run(output: Output, plan: Option<&Path>) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation; run `cargo run --release -p xtask -- bench forecast`");
    }
    let load = fortnight();
    let figures = Figures {
        hour_ahead_ms: fit_and_forecast(&load, NEAR)?,
        day_ahead_ms: fit_and_forecast(&load, DAY)?,
        sample_ns: sample(&load)?,
        online_sample_ns: online_sample(&load)?,
        worth: plan.map(worth).transpose()?.unwrap_or_default(),
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Output::Text => print!("{}", text(&figures)),
    }
    Ok(())
}

fn text(f: &Figures) -> String {
    let mut out = format!(
        "fit and forecast of 14 days of 5 min: {:.1} ms an hour ahead, {:.1} ms a day ahead (promised: 20 ms)\n\
         a sample: {:.0} ns, online {:.0} ns (promised: 5 000 ns)\n",
        f.hour_ahead_ms, f.day_ahead_ms, f.sample_ns, f.online_sample_ns
    );
    for w in &f.worth {
        out.push_str(&format!(
            "\n{}: mean weighted quantile loss {:.4}, seasonal-naive {:.4}; the 95 % quantile held {:.1} %; nearest to \
             seasonal-naive: {} with {:.3} of its loss\n",
            w.horizon,
            w.loss,
            w.seasonal_naive,
            100.0 * w.coverage95,
            w.worst.0,
            w.worst.1
        ));
        for (name, l) in &w.series {
            out.push_str(&format!(
                "  {name:<28} {:.4}  seasonal-naive {:.4}  held {:.1} %\n",
                l.loss,
                l.seasonal_naive,
                100.0 * l.coverage95
            ));
        }
    }
    out
}

/// Two weeks of a load with days, a weekend and noise.
fn fortnight() -> Vec<Option<f64>> {
    let mut seed = 1u64;
    let mut scatter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    };
    let load = |k: usize| {
        let day = (k as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        let week = if k / DAY % 7 < 5 { 1.0 } else { 0.6 };
        Some(100.0 * week * (1.5 + day) * (1.0 + 0.3 * scatter()))
    };
    (0..14 * DAY).map(load).collect()
}

fn fit_and_forecast(load: &[Option<f64>], horizon_steps: usize) -> Result<f64> {
    let settings = Settings { step_s: 300, horizon_steps, refit_every_steps: 12 };
    let series = Series::from_values(300, 0, load.iter().copied())?;
    let mut forecaster = Forecaster::with_history(settings, series);
    let mut best = f64::INFINITY;
    for _ in 0..FITS {
        let begun = Instant::now();
        let fitted = forecaster.fit_request().run(Budget::unlimited());
        forecaster.install(fitted);
        std::hint::black_box(forecaster.forecast(horizon_steps, &LEVELS)?);
        best = best.min(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

fn sample(load: &[Option<f64>]) -> Result<f64> {
    let settings = Settings { refit_every_steps: 12, ..Settings::five_minutes() };
    let mut forecaster =
        Forecaster::with_history(settings, Series::from_values(300, 0, load.iter().copied())?);
    let fitted = forecaster.fit_request().run(Budget::unlimited());
    forecaster.install(fitted);
    let begun = Instant::now();
    for value in load.iter().cycle().take(SAMPLES) {
        forecaster.observe(*value);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e9 / SAMPLES as f64)
}

fn online_sample(load: &[Option<f64>]) -> Result<f64> {
    let mut online = OnlineForecaster::new(5, &[30])?;
    let begun = Instant::now();
    for value in load.iter().cycle().take(SAMPLES) {
        online.observe(*value);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e9 / SAMPLES as f64)
}

#[derive(Deserialize)]
struct Plan {
    series: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    series: String,
    file: String,
    day_steps: Option<usize>,
    max_horizon_steps: usize,
    long_horizon: bool,
    origins: Vec<String>,
}

/// Sums over the origins of one series and horizon.
#[derive(Default)]
struct Sums {
    loss: f64,
    naive: f64,
    load: f64,
    within: f64,
    steps: f64,
}

impl Sums {
    fn add(&mut self, came: f64, said: &[f64; 4], naive: &[f64; 4]) {
        self.loss += loss(came, said);
        self.naive += loss(came, naive);
        self.load += came.abs();
        self.within += if came <= said[2] { 1.0 } else { 0.0 };
        self.steps += 1.0;
    }

    fn losses(&self) -> Losses {
        // Twice the mean over the levels of the quantile loss, over the load: weighted quantile loss.
        let weighted = |loss: f64| 2.0 * loss / LEVELS.len() as f64 / self.load.max(f64::MIN_POSITIVE);
        Losses {
            loss: weighted(self.loss),
            seasonal_naive: weighted(self.naive),
            coverage95: self.within / self.steps.max(1.0),
        }
    }
}

/// Quantile loss, summed over the levels.
fn loss(came: f64, said: &[f64; 4]) -> f64 {
    LEVELS.iter().zip(said).map(|(level, q)| (level * (came - q)).max((level - 1.0) * (came - q))).sum()
}

/// Answers the plan `folder/origins.json` and judges the answers by what came.
fn worth(folder: &Path) -> Result<Vec<Worth>> {
    let file = folder.join("origins.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| format!("{} is no plan", file.display()))?;
    let answers = answer_plan(&text, |name| std::fs::read_to_string(folder.join(name)), || 0.0)?;
    let mut said: BTreeMap<(&str, &str), Vec<[f64; 4]>> = BTreeMap::new();
    for line in answers.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [series, origin, _, quantiles @ .., _] = cells.as_slice() else { continue };
        let q: Vec<f64> = quantiles.iter().map(|q| q.parse()).collect::<Result<_, _>>()?;
        said.entry((series, origin)).or_default().push(q.try_into().ok().context("four quantiles")?);
    }
    let (mut near, mut day) = (BTreeMap::new(), BTreeMap::new());
    for item in &plan.series {
        let text = std::fs::read_to_string(folder.join(&item.file))?;
        let rows: Vec<(&str, Option<f64>)> = text
            .lines()
            .skip(1)
            .filter_map(|l| l.split_once(','))
            .map(|(t, v)| (t, v.parse().ok()))
            .collect();
        let (mut hour, mut whole) = (Sums::default(), Sums::default());
        for origin in &item.origins {
            let at = rows.iter().position(|r| r.0 == origin).context("an origin that its series has")?;
            let paths = said.get(&(&*item.series, &**origin)).context("an answer to each origin")?;
            let naive = seasonal_naive(&rows[..=at], item.day_steps, item.max_horizon_steps);
            for (h, (said, naive)) in paths.iter().zip(&naive).enumerate() {
                let Some(came) = rows.get(at + 1 + h).and_then(|r| r.1) else { continue };
                if h < NEAR {
                    hour.add(came, said, naive);
                }
                whole.add(came, said, naive);
            }
        }
        near.insert(item.series.clone(), hour.losses());
        if item.long_horizon {
            day.insert(item.series.clone(), whole.losses());
        }
    }
    Ok(vec![summary("next 12 steps", near), summary("next 24 h", day)])
}

fn summary(horizon: &'static str, series: BTreeMap<String, Losses>) -> Worth {
    let mean = |of: fn(&Losses) -> f64| series.values().map(of).sum::<f64>() / series.len().max(1) as f64;
    let ratio = |l: &Losses| l.loss / l.seasonal_naive.max(f64::MIN_POSITIVE);
    let worst = series.iter().max_by(|a, b| ratio(a.1).total_cmp(&ratio(b.1)));
    Worth {
        horizon,
        loss: mean(|l| l.loss),
        seasonal_naive: mean(|l| l.seasonal_naive),
        coverage95: mean(|l| l.coverage95),
        worst: worst.map(|(name, l)| (name.clone(), ratio(l))).unwrap_or_default(),
        series,
    }
}

/// What came a season ago, with the quantiles of the errors that made; without a season, what came last.
fn seasonal_naive(past: &[(&str, Option<f64>)], season: Option<usize>, steps: usize) -> Vec<[f64; 4]> {
    let mut known: Vec<f64> = Vec::with_capacity(past.len());
    for (_, value) in past {
        // A gap is bridged by what was there last.
        known.push(value.or(known.last().copied()).unwrap_or(0.0));
    }
    let back = season.filter(|m| known.len() > m + 2);
    let lag = back.unwrap_or(1);
    let mut errors: Vec<f64> = known.windows(lag + 1).map(|w| w[lag] - w[0]).collect();
    errors.sort_unstable_by(f64::total_cmp);
    let at = |level: f64| match errors.len() {
        0 => 0.0,
        n => errors[((level * (n - 1) as f64).round() as usize).min(n - 1)],
    };
    let upper = LEVELS.map(|level| if level > 0.5 { at(level) } else { 0.0 });
    let said = |h: usize| {
        let point = known[known.len() - lag + if back.is_some() { h % lag } else { 0 }];
        upper.map(|error| point + error)
    };
    (0..steps).map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seasonal_naive_says_what_was_a_season_ago() {
        let past: Vec<(&str, Option<f64>)> = (0..9).map(|k| ("", Some(f64::from(k % 3)))).collect();
        let said = seasonal_naive(&past, Some(3), 4);
        assert_eq!(said.iter().map(|q| q[0]).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 0.0]);
        assert_eq!(said[0], [0.0; 4], "it was never wrong");
        assert_eq!(seasonal_naive(&past, None, 1)[0][0], 2.0, "without a season, as now");
    }

    #[test]
    fn losses_are_weighted_by_the_load() {
        let mut sums = Sums::default();
        sums.add(10.0, &[10.0; 4], &[8.0; 4]);
        let losses = sums.losses();
        assert_eq!((losses.loss, losses.coverage95), (0.0, 1.0));
        assert!((losses.seasonal_naive - 2.0 * 2.0 * (0.5 + 0.9 + 0.95 + 0.99) / 4.0 / 10.0).abs() < 1e-12);
    }
}
