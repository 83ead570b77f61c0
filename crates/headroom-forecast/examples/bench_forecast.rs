//! What forecasts cost: milliseconds for a fit and a forecast on 14 days of five minutes, nanoseconds per
//! sample, and the same for the online model. `cargo run --release --example bench_forecast`.
//!
//! Times of fits are the best of twenty runs: what the work costs, not what the neighbours do.

use headroom_forecast::{Budget, Forecaster, OnlineForecaster, Series, Settings};
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the ban is for the library; this is where the clock comes in")]
fn main() {
    let began = Instant::now();
    let millis = || began.elapsed().as_secs_f64() * 1e3;
    let mut seed = 1u64;
    let mut scatter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    };
    let load: Vec<Option<f64>> = (0..14 * 288)
        .map(|k| {
            let day = libm::sin(k as f64 / 288.0 * std::f64::consts::TAU);
            let week = if k / 288 % 7 < 5 { 1.0 } else { 0.6 };
            Some(100.0 * week * (1.5 + day) * (1.0 + 0.3 * scatter()))
        })
        .collect();
    let series = Series::from_values(300, 0, load.iter().copied()).expect("a step");
    for horizon_steps in [12, 288] {
        let settings = Settings { step_s: 300, horizon_steps, refit_every_steps: 12 };
        let mut forecaster = Forecaster::with_history(settings, series.clone());
        let (mut fit, mut ahead, mut both) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
        for _ in 0..20 {
            let start = millis();
            let fitted = forecaster.fit_request().run(Budget::unlimited());
            forecaster.install(fitted);
            let middle = millis();
            forecaster.forecast(horizon_steps, &[0.5, 0.9, 0.95, 0.99]).expect("a forecast");
            let end = millis();
            (fit, ahead) = (fit.min(middle - start), ahead.min(end - middle));
            both = both.min(end - start);
        }
        println!(
            "14 days of 5 min, {horizon_steps} steps ahead: fit {fit:.1} ms, forecast {ahead:.1} ms, together {both:.1} ms"
        );
        let start = millis();
        let samples = 200_000;
        for k in 0..samples {
            forecaster.observe(load[k % load.len()]);
        }
        println!("  a sample: {:.0} ns", (millis() - start) * 1e6 / samples as f64);
    }
    for (step, leads) in [(1, vec![30]), (5, vec![30]), (5, vec![10, 30, 60, 120])] {
        let mut online = OnlineForecaster::new(step, &leads).expect("allowed");
        let (start, samples) = (millis(), 100_000);
        for k in 0..samples {
            online.observe(load[k % load.len()]);
        }
        let took = (millis() - start) * 1e6 / samples as f64;
        println!("online, every {step} s, {} leads: a sample {took:.0} ns", leads.len());
    }
}
