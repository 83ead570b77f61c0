//! What must hold of every forecast, whatever the load.

use crate::common::{Noise, daily};
use headroom_forecast::{Budget, Event, Forecast, Forecaster, Model, Series, Settings};
use proptest::prelude::*;

const LEVELS: [f64; 6] = [0.3, 0.5, 0.8, 0.9, 0.95, 0.99];

fn forecaster(
    values: impl IntoIterator<Item = Option<f64>>,
    step_s: u32,
    horizon_steps: usize,
) -> Forecaster {
    let series = Series::from_values(step_s, 0, values).expect("a step");
    let settings = Settings { step_s, horizon_steps, refit_every_steps: 12 };
    let mut f = Forecaster::with_history(settings, series);
    let fitted = f.fit_request().run(Budget::unlimited());
    f.install(fitted);
    f
}

fn check(f: &Forecast) {
    for h in 0..f.paths[0].len() {
        let mut floor = 0.0;
        for p in &f.paths {
            prop_assert_in(p[h], floor);
            floor = p[h];
        }
    }
}

fn prop_assert_in(v: f64, floor: f64) {
    assert!(v.is_finite() && v >= floor, "{v} after {floor}");
}

fn load() -> impl Strategy<Value = Vec<Option<f64>>> {
    let sample = prop_oneof![
        8 => (0.0..1000.0f64).prop_map(Some),
        1 => Just(Some(0.0)),
        1 => Just(None),
        1 => (0.0..1e9f64).prop_map(Some),
    ];
    prop::collection::vec(sample, 1..700)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn quantiles_are_finite_not_negative_and_never_cross(values in load(), step in prop::sample::select(vec![1u32, 10, 60, 300, 3600, 7000]), h in 1usize..60) {
        prop_assume!(values.iter().any(Option::is_some));
        let f = forecaster(values, step, h);
        check(&f.forecast(h, &LEVELS).unwrap());
    }

    #[test]
    fn the_unit_of_the_load_does_not_matter(values in prop::collection::vec(1.0..500.0f64, 30..400), shift in -20i32..20) {
        // Powers of two scale without rounding, so all steps of the arithmetic can be compared.
        let unit = libm::exp2(2.0 * f64::from(shift));
        let a = forecaster(values.iter().map(|v| Some(*v)), 300, 12).forecast(12, &LEVELS).unwrap();
        let b = forecaster(values.iter().map(|v| Some(*v * unit)), 300, 12).forecast(12, &LEVELS).unwrap();
for (x, y) in a.paths.iter().flatten().zip(b.paths.iter().flatten()) {
            prop_assert_eq!(x * unit, *y);
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let values = daily(5 * 288, 50.0, 0.2, 3);
    let text = |v: Vec<Option<f64>>| {
        serde_json::to_string(&forecaster(v, 300, 288).forecast(288, &LEVELS).unwrap()).unwrap()
    };
    assert_eq!(text(values.clone()), text(values));
}

#[test]
fn a_saved_forecaster_goes_on_as_if_nothing_had_happened() {
    let values = daily(5 * 288, 50.0, 0.2, 4);
    let mut a = forecaster(values[..4 * 288].iter().copied(), 300, 48);
    let mut b: Forecaster = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
    assert_eq!(a, b);
    for v in &values[4 * 288..] {
        a.observe(*v);
        b.observe(*v);
        if a.needs_fit() {
            assert!(b.needs_fit());
            let (x, y) = (a.fit_request().run(Budget::millis(20)), b.fit_request().run(Budget::millis(20)));
            a.install(x);
            b.install(y);
        }
    }
    assert_eq!(a, b);
    assert_eq!(a.forecast(48, &LEVELS).unwrap(), b.forecast(48, &LEVELS).unwrap());
}

#[test]
fn losses_are_measured_on_forecasts_made_in_earnest() {
    let values = daily(6 * 288, 50.0, 0.1, 5);
    let mut f = forecaster(values[..4 * 288].iter().copied(), 300, 12);
    assert!(f.scoreboard().scores().is_empty());
    for v in &values[4 * 288..] {
        f.observe(*v);
        if f.needs_fit() {
            let fitted = f.fit_request().run(Budget::unlimited());
            f.install(fitted);
        }
    }
    let scores = f.scoreboard().scores();
    let of = |m| scores.iter().find(|s| s.model == m && s.up_to_steps == 12).unwrap().loss;
    assert!(of(None) < of(Some(Model::SeasonalNaive)), "{scores:?}");
    let coverage = f.scoreboard().coverage(12).unwrap();
    assert!((0.88..=1.0).contains(&coverage), "{coverage}");
}

/// A8: scored out of sample; a model that loses to the yardstick is demoted and says so.
#[test]
fn a_model_that_loses_to_seasonal_naive_is_demoted_and_says_so() {
    let f = forecaster(daily(6 * 288, 100.0, 0.05, 6), 300, 144).forecast(144, &[0.5, 0.95]).unwrap();
    let naive =
        f.demoted.iter().find(|d| d.model == Model::Naive && d.from_steps == 13).expect("naive is beaten");
    insta::assert_snapshot!(naive.to_string());
    for d in &f.demoted {
        assert!(d.loss > d.yardstick_loss);
        let say = f.weights.iter().find(|w| (w.model, w.from_steps) == (d.model, d.from_steps)).unwrap();
        assert!(say.weight < 0.1, "{say:?}");
    }
}

#[test]
fn the_say_of_all_models_adds_up_to_one() {
    let f = forecaster(daily(6 * 288, 100.0, 0.05, 6), 300, 288).forecast(288, &[0.5]).unwrap();
    for from in [1, 13, 73] {
        let sum: f64 = f.weights.iter().filter(|w| w.from_steps == from).map(|w| w.weight).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{from}: {sum}");
    }
}

/// A10: a dated event of a known kind raises the forecast by what its like did before.
#[test]
fn an_event_of_a_known_kind_is_foreseen() {
    let day = 86_400;
    let mut values = daily(8 * 288, 100.0, 0.03, 7);
    for v in values[3 * 288 + 100..3 * 288 + 160].iter_mut().flatten() {
        *v *= 4.0;
    }
    let event = |d: i64| Event {
        label: "sale".into(),
        start_unix_s: d * day + 100 * 300,
        end_unix_s: d * day + 160 * 300,
        expected: None,
    };
    let series = Series::from_values(300, 0, values).unwrap();
    let mut f = Forecaster::with_history(Settings::five_minutes(), series);
    f.set_events(vec![event(3), event(8)]);
    let fitted = f.fit_request().run(Budget::unlimited());
    f.install(fitted);
    let sale = f.fitted().unwrap().effects().next().unwrap().1;
    assert!((3.0..4.5).contains(&sale.multiplier), "{sale:?}");
    let path = f.forecast(288, &[0.5]).unwrap().paths.remove(0);
    // Ordinary load at these times: 115 and 73.
    assert!(path[130] > 3.0 * 115.0, "{}", path[130]);
    assert!(path[170] < 1.2 * 73.0, "{}", path[170]);
}

#[test]
fn an_older_fit_never_replaces_a_newer_one() {
    let mut f = forecaster(daily(3 * 288, 10.0, 0.1, 1), 300, 12);
    let old = f.fit_request();
    f.observe(Some(10.0));
    let new = f.fit_request().run(Budget::unlimited());
    f.install(new);
    let until = f.fitted().unwrap().learned_until_unix_s();
    f.install(old.run(Budget::unlimited()));
    assert_eq!(f.fitted().unwrap().learned_until_unix_s(), until);
}

#[test]
fn ninety_five_percent_means_ninety_five_percent() {
    // Days that differ in height, and scatter: 40 origins an uneven stretch apart, an hour ahead each.
    let mut noise = Noise::new(21);
    let mut height = 1.0;
    let values: Vec<_> = daily(30 * 288, 100.0, 0.1, 20)
        .into_iter()
        .enumerate()
        .map(|(k, v)| {
            if k % 288 == 0 {
                height = 1.0 + 0.15 * noise.normal();
            }
            v.map(|v| v * height.max(0.3))
        })
        .collect();
    let (mut held, mut n) = (0.0, 0.0);
    for k in 0..40 {
        let origin = 14 * 288 + k * 113;
        let f = forecaster(values[..origin].iter().copied(), 300, 12).forecast(12, &[0.95]).unwrap();
        for (h, q) in f.paths[0].iter().enumerate() {
            held += f64::from(u8::from(values[origin + h].unwrap() <= *q));
            n += 1.0;
        }
    }
    let share = held / n;
    assert!((0.92..=0.98).contains(&share), "{share}");
}
