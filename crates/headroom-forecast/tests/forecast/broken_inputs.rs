//! Loads as they come when something is broken, each with the limit its forecast must keep.

use crate::common::{Noise, daily};
use headroom_forecast::{Budget, Forecast, Forecaster, Series, Settings};

const LEVELS: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

fn ahead(values: &[Option<f64>], steps: usize) -> Forecast {
    let series = Series::from_values(300, 0, values.iter().copied()).expect("a step");
    let settings = Settings { step_s: 300, horizon_steps: steps, refit_every_steps: 12 };
    let mut f = Forecaster::with_history(settings, series);
    let fitted = f.fit_request().run(Budget::unlimited());
    f.install(fitted);
    let out = f.forecast(steps, &LEVELS).expect("a forecast");
    sane(&out);
    out
}

/// What holds of every forecast.
fn sane(f: &Forecast) {
    for h in 0..f.paths[0].len() {
        let mut floor = 0.0;
        for path in &f.paths {
            assert!(path[h].is_finite() && path[h] >= floor, "step {h}: {} after {floor}", path[h]);
            floor = path[h];
        }
    }
}

#[test]
fn a_constant_load_is_forecast_as_itself() {
    for n in [30, 300, 2000] {
        let f = ahead(&vec![Some(42.0); n], 12);
        for path in &f.paths {
            for v in path {
                assert!((v - 42.0).abs() < 0.05, "{n} steps: {v}");
            }
        }
    }
}

#[test]
fn an_idle_load_is_forecast_as_idle() {
    for n in [1, 5, 30, 1000] {
        let f = ahead(&vec![Some(0.0); n], 24);
        assert!(f.paths.iter().flatten().all(|v| *v < 1e-9), "{n}: {:?}", f.paths[3]);
    }
}

#[test]
fn a_first_sample_is_enough_for_a_forecast() {
    let f = ahead(&[Some(7.0)], 12);
    assert_eq!(f.paths[0][0], 7.0);
    assert!(f.paths[2][0] > 7.0 && f.paths[2][0] <= 14.0, "{:?}", f.paths[2]);
}

#[test]
fn a_few_samples_never_give_a_wild_forecast() {
    let mut noise = Noise::new(3);
    for n in 1..60 {
        let values: Vec<_> = (0..n).map(|_| Some(100.0 + 5.0 * noise.normal())).collect();
        let f = ahead(&values, 12);
        assert!(f.paths[3].iter().all(|v| *v < 260.0), "{n}: {:?}", f.paths[3]);
        assert!(f.paths[0].iter().all(|v| (70.0..130.0).contains(v)), "{n}: {:?}", f.paths[0]);
    }
}

#[test]
fn nothing_measured_gives_no_forecast() {
    let series = Series::from_values(300, 0, vec![None; 50]).unwrap();
    let f = Forecaster::with_history(Settings::five_minutes(), series);
    let fitted = f.fit_request().run(Budget::unlimited());
    let mut f = f;
    f.install(fitted);
    assert!(f.forecast(12, &LEVELS).is_err());
}

#[test]
fn a_missing_day_moves_the_median_by_less_than_a_tenth() {
    let whole = daily(6 * 288, 100.0, 0.05, 1);
    let mut holed = whole.clone();
    holed[3 * 288..4 * 288].fill(None);
    let (a, b) = (ahead(&whole, 12), ahead(&holed, 12));
    for (x, y) in a.paths[0].iter().zip(&b.paths[0]) {
        assert!((x - y).abs() < 0.1 * x, "{x} {y}");
    }
}

#[test]
fn gaps_up_to_the_present_are_bridged_by_the_season() {
    let mut values = daily(6 * 288, 100.0, 0.03, 2);
    let n = values.len();
    let truth = daily(6 * 288 + 12, 100.0, 0.0, 2);
    values[n - 36..].fill(None);
    let f = ahead(&values, 12);
    for (h, v) in f.paths[0].iter().enumerate() {
        let y = truth[n + h].unwrap();
        assert!((v - y).abs() < 0.25 * y, "step {h}: {v} for {y}");
    }
}

#[test]
fn one_hundredfold_spike_of_a_faulty_exporter_changes_almost_nothing() {
    for place in [500, 1000, 6 * 288 - 2, 6 * 288 - 1] {
        let clean = daily(6 * 288, 100.0, 0.05, 4);
        let mut spiked = clean.clone();
        spiked[place] = spiked[place].map(|v| 100.0 * v);
        let (a, b) = (ahead(&clean, 12), ahead(&spiked, 12));
        for (x, y) in a.paths.iter().flatten().zip(b.paths.iter().flatten()) {
            assert!((x - y).abs() < 0.15 * x, "spike at {place}: {x} became {y}");
        }
    }
}

#[test]
fn a_level_shift_is_followed_within_two_hours() {
    let mut values = daily(6 * 288, 100.0, 0.03, 5);
    let n = values.len();
    for v in values[n - 24..].iter_mut().flatten() {
        *v *= 3.0;
    }
    let truth = daily(n + 12, 300.0, 0.0, 5);
    let f = ahead(&values, 12);
    for (h, v) in f.paths[0].iter().enumerate() {
        let y = truth[n + h].unwrap();
        assert!((v - y).abs() < 0.3 * y, "step {h}: {v} for {y}");
    }
}

#[test]
fn a_season_that_vanished_four_days_ago_is_no_longer_forecast() {
    let mut values = daily(10 * 288, 100.0, 0.03, 6);
    let mut noise = Noise::new(9);
    for v in &mut values[6 * 288..] {
        *v = Some(100.0 + 3.0 * noise.normal());
    }
    let f = ahead(&values, 144);
    for (h, v) in f.paths[0].iter().enumerate() {
        assert!((80.0..125.0).contains(v), "step {h}: {v}");
    }
}

#[test]
fn values_that_are_no_loads_count_as_not_measured() {
    let clean = daily(4 * 288, 100.0, 0.05, 7);
    let (mut none, mut bad) = (clean.clone(), clean);
    for (k, b) in [(10, f64::NAN), (400, f64::INFINITY), (700, -5.0), (1150, f64::NEG_INFINITY)] {
        none[k] = None;
        bad[k] = Some(b);
    }
    assert_eq!(ahead(&none, 12), ahead(&bad, 12));
}

#[test]
fn a_clock_that_leaps_leaves_a_gap_and_one_that_goes_back_is_refused() {
    let mut f = Forecaster::new(Settings::five_minutes(), 0).unwrap();
    for (k, v) in daily(3 * 288, 100.0, 0.05, 8).into_iter().enumerate() {
        f.observe_at(k as i64 * 300 + 7, v).unwrap();
    }
    let fitted = f.fit_request().run(Budget::unlimited());
    f.install(fitted);
    assert!(f.observe_at(600, Some(1.0)).is_err());
    let end = f.series().end_unix_s();
    f.observe_at(end + 3600, Some(100.0)).unwrap();
    assert_eq!(f.series().end_unix_s(), end + 3600 + 300);
    sane(&f.forecast(12, &LEVELS).unwrap());
    // A leap beyond all memory: what was learned has nothing to look back at, yet there is a forecast.
    f.observe_at(end + 400 * 86_400, Some(50.0)).unwrap();
    assert_eq!(f.series().len(), 1);
    let after = f.forecast(12, &LEVELS).unwrap();
    sane(&after);
    assert_eq!(after.paths[0][0], 50.0);
}

#[test]
fn a_load_hardly_above_nothing_stays_finite() {
    let mut noise = Noise::new(11);
    for scale in [1e-12, 1e-300, 1e12] {
        let values: Vec<_> = (0..900).map(|_| Some(scale * (1.0 + noise.unit()))).collect();
        let f = ahead(&values, 12);
        for v in &f.paths[3] {
            assert!(*v < 10.0 * scale, "{scale}: {v}");
        }
    }
}
