//! Holidays and dated events: stretches of time that are not like the others.
//!
//! An event is known by its label. What load was during past stretches of a label, over what ordinary
//! days would have had at that time, is the label's multiplier; models are trained on the load without
//! it, and future stretches get it back. A label never seen has the multiplier its maker gives, or none:
//! it is never guessed.

use crate::math::median;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most events a forecaster looks at; a calendar of ten years has fewer.
pub const MAX_EVENTS: usize = 512;

/// Half as much evidence as this many steps counts as the prior: an hour of five minutes.
const PRIOR_STEPS: f64 = 12.0;

/// A dated stretch of time: `start..end`, in Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What kind of event; stretches with the same label teach each other.
    pub label: String,
    /// First second.
    pub start_unix_s: i64,
    /// First second after it.
    pub end_unix_s: i64,
    /// What the load is expected to be multiplied by, before any stretch has been seen. `None`: nothing
    /// is known.
    pub expected: Option<f64>,
}

/// What a label has been found to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Load during the event over ordinary load; never below 0.05 nor above 50, beyond which a measured
    /// ratio says more about the denominator.
    pub multiplier: f64,
    /// Steps it was learned from; zero: it is the expectation given, or one.
    pub steps: u32,
}

/// The effects by label.
pub type Effects = BTreeMap<String, Effect>;

fn bounded(m: f64) -> f64 {
    if m.is_finite() { m.clamp(0.05, 50.0) } else { 1.0 }
}

/// The event that rules at a time: of those that overlap, the one that started last.
fn ruling(events: &[Event], at: i64) -> Option<&Event> {
    events
        .iter()
        .filter(|e| e.start_unix_s <= at && at < e.end_unix_s)
        .max_by(|a, b| a.start_unix_s.cmp(&b.start_unix_s).then_with(|| b.label.cmp(&a.label)))
}

/// Learns the effect of every label from values at `start + k * step`.
pub(crate) fn learn(events: &[Event], values: &[Option<f64>], start: i64, step: u32, day: usize) -> Effects {
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut expected: BTreeMap<&str, f64> = BTreeMap::new();
    let at = |k: usize| start + k as i64 * i64::from(step);
    for e in events {
        ratios.entry(&e.label).or_default();
        if let Some(x) = e.expected {
            expected.insert(&e.label, bounded(x));
        }
    }
    let eventful: Vec<Option<&Event>> = (0..values.len()).map(|k| ruling(events, at(k))).collect();
    let mut usual = Vec::new();
    for (k, e) in eventful.iter().enumerate() {
        let (Some(e), Some(v)) = (e, values[k]) else { continue };
        // Ordinary load at this time: the median around the same phase of up to ten days to either side,
        // half an hour wide, without eventful steps.
        usual.clear();
        let half = (day / 48).min(6) as i64;
        for d in (-10i64..=10).filter(|d| *d != 0) {
            for off in -half..=half {
                let j = k as i64 + d * day as i64 + off;
                if let Ok(j) = usize::try_from(j)
                    && j < values.len()
                    && eventful[j].is_none()
                    && let Some(u) = values[j]
                {
                    usual.push(u);
                }
            }
        }
        if let Some(u) = median(&mut usual)
            && u > 0.0
        {
            ratios.entry(&e.label).or_default().push(v / u);
        }
    }
    ratios
        .into_iter()
        .map(|(label, mut r)| {
            let steps = r.len();
            let prior = expected.get(label).copied().unwrap_or(1.0);
            let seen = median(&mut r).map_or(prior, bounded);
            // In logarithms, shrunk towards the prior while little has been seen.
            let f = steps as f64 / (steps as f64 + PRIOR_STEPS);
            let m = libm::exp(f * libm::log(seen) + (1.0 - f) * libm::log(prior));
            (label.to_owned(), Effect { multiplier: bounded(m), steps: steps as u32 })
        })
        .collect()
}

/// The multiplier that rules at a time.
pub(crate) fn multiplier(events: &[Event], effects: &Effects, at: i64) -> f64 {
    ruling(events, at).and_then(|e| effects.get(&e.label)).map_or(1.0, |e| e.multiplier)
}
