//! The online model: calibrated, quick to believe a surge, slow to invent one.

use crate::common::Noise;
use headroom_forecast::{OnlineError, OnlineForecaster};
use proptest::prelude::*;

/// A load that wanders and scatters: `n` samples around 1000.
fn wandering(n: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let mut level = 0.0;
    (0..n)
        .map(|_| {
            level = 0.999 * level + 0.005 * noise.normal();
            1000.0 * libm::exp(level + 0.03 * noise.normal())
        })
        .collect()
}

fn fed(step_s: u32, leads: &[u32], values: impl IntoIterator<Item = f64>) -> OnlineForecaster {
    let mut f = OnlineForecaster::new(step_s, leads).expect("allowed");
    for v in values {
        f.observe(Some(v));
    }
    f
}

#[test]
fn ninety_nine_percent_means_ninety_nine_percent() {
    for lead in [10, 30, 120] {
        let values = wandering(30_000, 5);
        let mut f = OnlineForecaster::new(5, &[lead]).unwrap();
        let (mut over, mut n) = ([0.0; 3], 0.0);
        let steps = (lead / 5) as usize;
        for k in 0..values.len() - steps {
            f.observe(Some(values[k]));
            if k > 5000 {
                for (o, q) in over.iter_mut().zip([0.5, 0.9, 0.99]) {
                    *o += f64::from(u8::from(values[k + steps] > f.quantile(0, q).unwrap()));
                }
                n += 1.0;
            }
        }
        let share = over.map(|o| o / n);
        assert!((0.46..0.54).contains(&share[0]), "{lead}: {share:?}");
        assert!((0.085..0.115).contains(&share[1]), "{lead}: {share:?}");
        assert!((0.006..0.014).contains(&share[2]), "{lead}: {share:?}");
    }
}

#[test]
fn the_largest_of_a_span_lies_above_a_single_step() {
    let values = wandering(8000, 6);
    let mut one = OnlineForecaster::new(5, &[30]).unwrap();
    let mut many = OnlineForecaster::over_span(5, &[30], 12).unwrap();
    let (mut over, mut n) = (0.0, 0.0);
    for k in 0..values.len() - 18 {
        one.observe(Some(values[k]));
        many.observe(Some(values[k]));
        if k > 4000 {
            let q = many.quantile(0, 0.9).unwrap();
            assert!(q > one.quantile(0, 0.6).unwrap());
            let largest = values[k + 6..k + 18].iter().copied().fold(0.0, f64::max);
            over += f64::from(u8::from(largest > q));
            n += 1.0;
        }
    }
    assert!((0.06..0.14).contains(&(over / n)), "{}", over / n);
}

/// C1: a jump is noticed with the first samples that show it.
#[test]
fn a_jump_beyond_the_noise_is_a_surge_at_the_second_sample() {
    let mut f = fed(1, &[30], wandering(3000, 7));
    assert!(f.surge().is_none());
    let calm = f.quantile(0, 0.9).unwrap();
    f.observe(Some(1500.0));
    f.observe(Some(2200.0));
    let surge = f.surge().expect("more than double");
    assert!(surge.peak == 2200.0 && surge.base < 1300.0, "{surge:?}");
    assert!(f.quantile(0, 0.9).unwrap() > 2200.0, "{calm}");
    assert!(f.exceedance(0, 2200.0).unwrap() >= 0.49);
}

#[test]
fn noise_is_no_surge() {
    let mut f = OnlineForecaster::new(1, &[30]).unwrap();
    let mut surges = 0;
    for v in wandering(20_000, 8) {
        f.observe(Some(v));
        surges += u32::from(f.surge().is_some());
    }
    assert!(surges < 20, "{surges} of 20000 samples");
}

#[test]
fn a_surge_is_over_when_the_load_falls_back() {
    let mut f = fed(1, &[30], wandering(3000, 9));
    for v in [2000.0, 3000.0, 3000.0] {
        f.observe(Some(v));
    }
    assert!(f.surge().is_some());
    for v in wandering(30, 10) {
        f.observe(Some(v));
    }
    assert!(f.surge().is_none());
}

#[test]
fn a_jump_on_the_hour_is_foreseen_after_three_hours() {
    let mut noise = Noise::new(11);
    let mut load = |k: usize| {
        let busy = k % 720 < 60;
        (if busy { 3000.0 } else { 1000.0 }) * (1.0 + 0.02 * noise.normal())
    };
    let mut f = OnlineForecaster::new(5, &[60]).unwrap();
    for k in 0..720 * 12 - 6 {
        f.observe(Some(load(k)));
    }
    // Half a minute before the hour, the minute ahead is expected high.
    assert!(f.quantile(0, 0.5).unwrap() > 1800.0, "{:?}", f.quantile(0, 0.5));
    let quiet = fed(5, &[60], (0..720 * 12 + 360).map(&mut load));
    assert!(quiet.quantile(0, 0.9).unwrap() < 1300.0, "{:?}", quiet.quantile(0, 0.9));
}

#[test]
fn steady_and_idle_loads_are_forecast_as_they_are() {
    for level in [0.0, 1e-9, 1.0, 1e9] {
        let f = fed(1, &[10, 60], (0..5000).map(|_| level));
        for lead in 0..2 {
            let (mid, high) = (f.quantile(lead, 0.5).unwrap(), f.quantile(lead, 0.999).unwrap());
            assert!((mid - level).abs() <= 0.01 * level + 1e-8, "{level}: {mid}");
            assert!(high <= 1.1 * level + 1e-7, "{level}: {high}");
        }
    }
}

#[test]
fn what_is_foreseen_is_judged_against_as_now_by_what_came() {
    let judged = |values: Vec<f64>| fed(5, &[30], values).standing(0).expect("forecasts came due");
    // On a load that rises and falls, "as now" is half a minute late.
    let wave = |k: usize| 1000.0 + 400.0 * libm::sin(k as f64 / 20.0);
    let waves = judged((0..5000).map(wave).collect());
    assert!(waves.is_better() && !waves.is_worse(), "{waves:?}");
    assert!(waves.loss < 0.3 * waves.naive_loss && waves.lead_s == 30, "{waves:?}");
    // Of a load that only wanders nobody knows more than where it stands.
    let mut noise = Noise::new(11);
    let mut level: f64 = 0.0;
    let mut walk = || {
        level = (level + 0.01 * noise.normal()).clamp(-1.0, 1.0);
        1000.0 * libm::exp(level)
    };
    let walked = judged((0..20_000).map(|_| walk()).collect());
    assert!(!walked.is_better() && !walked.is_worse(), "{walked:?}");
    // Where it stands at one of two levels and changes at random, "as now" is right but for the changes.
    let mut noise = Noise::new(12);
    let mut is_high = false;
    let mut jump = || {
        is_high ^= noise.normal() > 2.5;
        if is_high { 2700.0 } else { 1000.0 }
    };
    let jumped = judged((0..40_000).map(|_| jump()).collect());
    assert!(jumped.is_worse() && !jumped.is_better(), "{jumped:?}");
    // Of one that stands still both are right, whatever it is.
    for still in [0.0, 0.3, 1000.0] {
        let judged = judged(vec![still; 3000]);
        assert!(!judged.is_better() && !judged.is_worse(), "{still}: {judged:?}");
    }
    // In the first hour nothing is said, and without foresight never.
    let early = judged((0..600).map(wave).collect());
    assert!(early.better_by == 0.0 && early.evidence > 500.0, "{early:?}");
    let mut still = OnlineForecaster::new(5, &[30]).expect("allowed").without_foresight();
    (0..500).for_each(|k| still.observe(Some(wave(k))));
    assert_eq!(still.standing(0), None);
}

/// An earlier version's state had no record: it is read, and judged from then on.
/// Programs mark what they don't have with the largest number there is; a state with such a load must be read again.
#[test]
fn a_load_beyond_all_is_not_measured_and_the_state_can_be_read_again() {
    for beyond in [f64::MAX, 1e300, 1e157, 1e149] {
        let mut f = fed(5, &[30], wandering(1000, 12));
        for value in [beyond, 1000.0, beyond, 0.0, beyond, beyond] {
            f.observe(Some(value));
        }
        for value in wandering(50, 13) {
            f.observe(Some(value));
        }
        let text = serde_json::to_string(&f).unwrap();
        assert_eq!(serde_json::from_str::<OnlineForecaster>(&text).unwrap(), f, "{beyond}");
        assert!(f.quantile(0, 0.99).is_some_and(f64::is_finite), "{beyond}");
        let standing = f.standing(0).unwrap();
        assert!(standing.loss.is_finite() && standing.naive_loss.is_finite(), "{standing:?}");
    }
}

#[test]
fn a_state_without_a_record_is_read() {
    let mut model = fed(5, &[30], wandering(500, 3));
    let mut state = serde_json::to_value(&model).expect("a state");
    let lead = state["leads"][0].as_object_mut().expect("a lead");
    assert!(lead.remove("record").is_some());
    let mut again: OnlineForecaster = serde_json::from_value(state).expect("a state");
    assert!(again.standing(0).is_none());
    model.observe(Some(1000.0));
    again.observe(Some(1000.0));
    assert_eq!(again.quantile(0, 0.99), model.quantile(0, 0.99));
    assert!(again.standing(0).is_some_and(|standing| standing.evidence == 1.0));
}

#[test]
fn a_gap_widens_the_distribution_and_teaches_nothing() {
    let mut f = fed(1, &[30], wandering(3000, 12));
    let (mid, high) = (f.quantile(0, 0.5).unwrap(), f.quantile(0, 0.95).unwrap());
    for _ in 0..60 {
        f.observe(None);
    }
    f.observe(Some(f64::NAN));
    assert_eq!(f.measured(), 3000);
    let (m, h) = (f.quantile(0, 0.5).unwrap(), f.quantile(0, 0.95).unwrap());
    assert!((m - mid).abs() < 0.1 * mid && h > high, "{m} {mid}, {h} {high}");
}

#[test]
fn before_the_first_sample_there_is_no_answer() {
    let mut f = OnlineForecaster::new(1, &[30]).unwrap();
    assert_eq!((f.quantile(0, 0.9), f.exceedance(0, 1.0)), (None, None));
    f.observe(None);
    assert_eq!(f.quantile(0, 0.9), None);
    f.observe(Some(5.0));
    assert!(f.quantile(0, 0.5).is_some());
    for (lead, q) in [(1, 0.5), (0, 0.0), (0, 1.0), (0, f64::NAN)] {
        assert_eq!(f.quantile(lead, q), None);
    }
}

#[test]
fn impossible_settings_are_refused() {
    assert_eq!(OnlineForecaster::new(0, &[30]).unwrap_err(), OnlineError::Step(0));
    assert_eq!(OnlineForecaster::new(61, &[300]).unwrap_err(), OnlineError::Step(61));
    assert_eq!(OnlineForecaster::new(1, &[]).unwrap_err(), OnlineError::Leads(0));
    assert_eq!(OnlineForecaster::new(1, &[1; 9]).unwrap_err(), OnlineError::Leads(9));
    assert_eq!(OnlineForecaster::new(5, &[4]).unwrap_err(), OnlineError::Lead { lead_s: 4, step_s: 5 });
    assert!(OnlineForecaster::new(1, &[601]).is_err());
    assert!(OnlineForecaster::new(1, &[600]).is_ok());
    assert_eq!(OnlineForecaster::over_span(1, &[30], 0).unwrap_err(), OnlineError::Span(0));
    assert!(OnlineForecaster::over_span(1, &[30], 121).is_err());
}

#[test]
fn a_restored_model_goes_on_as_if_nothing_had_happened() {
    let values = wandering(4000, 13);
    let mut a = fed(5, &[10, 60], values[..3000].iter().copied());
    let mut b: OnlineForecaster = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
    assert_eq!(a, b);
    for v in &values[3000..] {
        a.observe(Some(*v));
        b.observe(Some(*v));
    }
    assert_eq!(a, b);
    assert_eq!(serde_json::to_string(&a).unwrap(), serde_json::to_string(&b).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_quantiles_rise_and_agree_with_exceedance(
        values in prop::collection::vec(prop_oneof![
            6 => (0.0..2000.0f64).prop_map(Some),
            1 => Just(None),
            1 => Just(Some(0.0)),
            1 => (0.0..1e12f64).prop_map(Some),
        ], 1..400),
        step in prop::sample::select(vec![1u32, 5, 60]),
    ) {
        let mut f = OnlineForecaster::new(step, &[step, 60]).unwrap();
        for v in values {
            f.observe(v);
            for lead in 0..2 {
                let mut last = (0.0, 1.0);
                for q in [0.05, 0.5, 0.9, 0.95, 0.99, 0.999] {
                    let Some(x) = f.quantile(lead, q) else { continue };
                    prop_assert!(x.is_finite() && x >= last.0, "{} after {}", x, last.0);
                    let p = f.exceedance(lead, x).unwrap();
                    prop_assert!((0.0..=1.0).contains(&p) && p <= last.1 + 1e-9, "{} {}", x, p);
                    last = (x, p);
                }
            }
        }
    }
}
