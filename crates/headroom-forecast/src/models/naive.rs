//! The yardsticks: what came last, and what came at this time a season ago.
//!
//! They cost nothing and are hard to beat on some loads (level shifts, copies of yesterday). A model that
//! loses to them has no business being believed.

use super::ERRORS;
use super::{between, knots};
use crate::math::{G, MEDIAN, Quantiles, Sample, Scale, decays, settle};
use crate::window::Window;
use serde::{Deserialize, Serialize};

/// Where the yardstick looks for its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Back {
    /// The last value.
    Last,
    /// The value at the same phase of a season of so many steps.
    Season(usize),
}

/// Errors of the yardstick before one end, per knot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fit {
    back: Back,
    knots: Vec<usize>,
    errors: Vec<Quantiles>,
}

impl Back {
    fn source(self, origin: usize, h: usize) -> usize {
        match self {
            Self::Last => origin,
            Self::Season(m) => origin + h - m * h.div_ceil(m),
        }
    }
}

/// Collects the errors made before each end.
pub(crate) fn fit(w: &Window, back: Back, h_max: usize, ends: &[usize]) -> Option<Vec<Fit>> {
    let n = w.len();
    let start = match back {
        Back::Last => 0,
        Back::Season(m) => m,
    };
    // A season has the same errors at every horizon up to its length.
    let knots = match back {
        Back::Last => knots(h_max),
        Back::Season(m) => (1..=h_max.div_ceil(m)).map(|k| (k * m).min(h_max)).collect(),
    };
    let half_life = 7.0 * w.seasons.main.unwrap_or(n / 3 + 1) as f64;
    let mut out: Vec<Fit> =
        ends.iter().map(|_| Fit { back, knots: knots.clone(), errors: Vec::new() }).collect();
    let ages = decays(n + 1, half_life);
    let mut sample = Sample::default();
    for (fit, &end) in out.iter_mut().zip(ends) {
        for &h in &knots {
            sample.clear();
            let lead = match back {
                Back::Last => h.min(end / 2),
                Back::Season(m) => m * h.div_ceil(m),
            };
            if start.max(lead) >= end {
                return None;
            }
            let stride = (end - lead).div_ceil(if end == n { ERRORS } else { ERRORS / 2 });
            for t in (lead..end).rev().step_by(stride) {
                if w.seen[t] && w.seen[t - lead] {
                    let e = match back {
                        Back::Last => Scale::Root.forth(w.y[t]) - Scale::Root.forth(w.y[t - lead]),
                        Back::Season(_) => w.y[t] - w.y[t - lead],
                    };
                    sample.push(e, ages[end - t]);
                }
            }
            fit.errors.push(sample.grid()?);
        }
    }
    Some(out)
}

impl Fit {
    pub(crate) fn predict(&self, w: &Window, origin: usize, h: usize) -> Quantiles {
        let base = w.y[self.back.source(origin, h)];
        let (a, b, f) = match self.back {
            Back::Last => between(&self.knots, h),
            Back::Season(m) => (h.div_ceil(m) - 1, h.div_ceil(m) - 1, 0.0),
        };
        let mut q = [0.0; G];
        for (k, out) in q.iter_mut().enumerate() {
            let e = self.errors[a][k] * (1.0 - f) + self.errors[b][k] * f;
            *out = match self.back {
                Back::Last => Scale::Root.back(Scale::Root.forth(base) + e),
                Back::Season(_) => base + e,
            };
        }
        q[MEDIAN] = base;
        for k in (0..MEDIAN).rev() {
            q[k] = q[k].min(base);
        }
        settle(&mut q);
        q
    }
}
