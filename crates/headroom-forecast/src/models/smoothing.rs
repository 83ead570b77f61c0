//! Exponential smoothing: level, damped trend and a daily profile (Holt-Winters in error-correction form).
//!
//! The classic for loads that drift: it follows a level shift within a few steps and forgets it was ever
//! elsewhere. Smoothing constants are chosen by the error several steps ahead, not one, because nobody
//! scales on the next sample. (No crate: `augurs-ets` has no seasonal model, and its one-step likelihood
//! picks constants that are far off an hour ahead.)

use super::{ERRORS, between, knots};
use crate::math::{G, Quantiles, Sample, decays, settle};
use crate::models::ridge::Scaled;
use crate::window::Window;
use serde::{Deserialize, Serialize};

/// Level, trend and profile constants tried, and the damping of the trend.
const TRIED: [(f64, f64, f64, f64); 14] = [
    (0.02, 0.0, 0.9, 0.1),
    (0.05, 0.0, 0.9, 0.1),
    (0.1, 0.0, 0.9, 0.1),
    (0.2, 0.0, 0.9, 0.1),
    (0.4, 0.0, 0.9, 0.1),
    (0.7, 0.0, 0.9, 0.1),
    (0.95, 0.0, 0.9, 0.1),
    (0.4, 0.1, 0.9, 0.1),
    (0.7, 0.1, 0.9, 0.1),
    (0.1, 0.0, 0.9, 0.3),
    (0.4, 0.0, 0.9, 0.3),
    (0.1, 0.0, 0.9, 0.0),
    (0.4, 0.0, 0.9, 0.0),
    (0.9, 0.0, 0.9, 0.0),
];

/// The states after each step, for one choice of constants.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    level: Vec<f64>,
    trend: Vec<f64>,
    season: Vec<f64>,
    damp: f64,
    m: usize,
}

impl Path {
    fn run(z: &[f64], m: usize, (a, b, phi, g): (f64, f64, f64, f64)) -> Self {
        let n = z.len();
        let days = if m > 1 { (n / m).clamp(1, 3) } else { 1 };
        let head = if m > 1 { days * m } else { n.min(12) };
        let mean = z[..head].iter().sum::<f64>() / head as f64;
        let mut s = vec![0.0; m];
        if m > 1 {
            for (i, v) in z[..head].iter().enumerate() {
                s[i % m] += (v - mean) / days as f64;
            }
        }
        let (mut l, mut t) = (mean, 0.0);
        let mut out = Self {
            level: Vec::with_capacity(n),
            trend: Vec::with_capacity(n),
            season: Vec::with_capacity(n),
            damp: phi,
            m,
        };
        for (i, &v) in z.iter().enumerate() {
            let k = i % m;
            let e = v - (l + phi * t + s[k]);
            l += phi * t + a * e;
            t = phi * t + a * b * e;
            if m > 1 {
                s[k] += g * (1.0 - a) * e;
            }
            out.level.push(l);
            out.trend.push(t);
            out.season.push(s[k]);
        }
        out
    }
    /// The sum of the first `h` powers of the damping: how far the trend carries.
    fn reach(&self, h: usize) -> f64 {
        self.damp * (1.0 - libm::pow(self.damp, h as f64)) / (1.0 - self.damp)
    }
    fn point(&self, i: usize, h: usize, reach: f64) -> f64 {
        let trend = self.trend[i] * reach;
        let s = if self.m > 1 {
            (i + h).checked_sub(self.m * h.div_ceil(self.m)).map_or(0.0, |k| self.season[k])
        } else {
            0.0
        };
        self.level[i] + trend + s
    }
}

/// Chosen constants and errors before one end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fit {
    /// Index into [`TRIED`].
    choice: usize,
    knots: Vec<usize>,
    errors: Vec<Quantiles>,
}

/// Follows the series with every choice of constants: what fits and forecasts are read from.
pub(crate) fn paths(w: &Window, s: &Scaled, only: Option<&Fit>) -> Vec<Option<Path>> {
    let m = period(w);
    (0..TRIED.len())
        .map(|k| {
            let wanted = only.map_or(m > 1 || TRIED[k].3 == 0.1, |f| f.choice == k);
            wanted.then(|| Path::run(s.values(), m, TRIED[k]))
        })
        .collect()
}

/// Steps of the profile; one: none.
fn period(w: &Window) -> usize {
    w.seasons.main.filter(|&m| w.len() >= 2 * m).unwrap_or(1)
}

/// Fits one choice per end.
pub(crate) fn fit(
    w: &Window,
    s: &Scaled,
    tries: &[Option<Path>],
    h_max: usize,
    ends: &[usize],
) -> Option<Vec<Fit>> {
    let z = s.values();
    let n = z.len();
    if n < 24 {
        return None;
    }
    let m = period(w);
    let half_life = 7.0 * w.seasons.main.unwrap_or(n / 3 + 1) as f64;
    let warm = if m > 1 { m } else { n / 8 };
    let leads: Vec<usize> = [1, 6, 12, 48].into_iter().filter(|&h| h <= h_max.max(1)).collect();
    let stride = (n / 1000).max(1);
    let knots = knots(h_max);
    let ages = decays(n + 1, half_life);
    let mut sums = vec![0.0; tries.len()];
    let mut from = warm;
    let mut sample = Sample::default();
    let mut out = Vec::new();
    for &end in ends {
        for (sum, path) in sums.iter_mut().zip(tries) {
            let Some(path) = path else { continue };
            for &h in &leads {
                let reach = path.reach(h);
                for i in (from.max(warm + h)..end).step_by(stride) {
                    if w.seen[i] {
                        *sum += ages[n - i] * (z[i] - path.point(i - h, h, reach)).abs();
                    }
                }
            }
        }
        from = end;
        let choice =
            (0..tries.len()).filter(|&k| tries[k].is_some()).min_by(|&a, &b| sums[a].total_cmp(&sums[b]))?;
        let path = tries[choice].as_ref()?;
        let mut errors = Vec::new();
        for &h in &knots {
            sample.clear();
            let lo = (warm + h).min(end);
            let thin = (end - lo).div_ceil(if end == n { ERRORS } else { ERRORS / 2 }).max(1);
            let reach = path.reach(h);
            for t in (lo..end).rev().step_by(thin) {
                if w.seen[t] {
                    sample.push(z[t] - path.point(t - h, h, reach), ages[end - t]);
                }
            }
            match sample.grid() {
                Some(q) => errors.push(q),
                // Too short for this horizon: the errors of the last one that there are.
                None => errors.push(*errors.last()?),
            }
        }
        out.push(Fit { choice, knots: knots.clone(), errors });
    }
    Some(out)
}

impl Fit {
    /// The distribution `h` steps after `origin`; `None` if the path of its choice is not there.
    pub(crate) fn predict(
        &self,
        s: &Scaled,
        paths: &[Option<Path>],
        origin: usize,
        h: usize,
    ) -> Option<Quantiles> {
        let path = paths.get(self.choice)?.as_ref()?;
        let point = path.point(origin, h, path.reach(h));
        let (a, b, f) = between(&self.knots, h);
        let mut q = [0.0; G];
        for (k, out) in q.iter_mut().enumerate() {
            *out = s.back(point + self.errors[a][k] * (1.0 - f) + self.errors[b][k] * f);
        }
        settle(&mut q);
        Some(q)
    }
}
