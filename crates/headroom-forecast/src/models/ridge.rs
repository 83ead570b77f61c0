//! Direct seasonal autoregression: one ridge regression per horizon.
//!
//! The load `h` steps ahead is a linear function, on a [`Scale`] where errors are alike, of recent values
//! and means, of the same time yesterday, the day before, last week, and of the average day. Direct (one
//! regression per horizon) rather than iterated, because errors don't feed on themselves; ridge, because
//! the features overlap heavily. Spread: a second small regression says how large errors are in a moment
//! like this (agitation now, agitation at this time of day, level); errors divided by it give the shape.

use super::{ERRORS, between, knots};
use crate::math::{G, Quantiles, Sample, Scale, decays, settle, solve_spd};
use crate::window::{Sums, Window};
use serde::{Deserialize, Serialize};

/// Most features a regression can have.
const P: usize = 20;
/// Ridge penalty on standardised features, as a share of the total weight: mild, it only keeps
/// overlapping features from playing against each other.
const PENALTY: f64 = 0.02;
/// How far outside of what it has seen a feature may be, as a multiple of the distance from its mean: a
/// linear model must not run off.
const GUARD: f64 = 1.25;
/// Half-life of a training row, in main seasons (or thirds of the window without a season).
const HALF_LIFE: f64 = 7.0;
/// Features of the spread regression.
const S: usize = 6;

/// Which features there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Spec {
    main: Option<usize>,
    second: bool,
    week: Option<usize>,
    hour: Option<usize>,
    /// First row that has all of its features.
    back: usize,
}

/// A series on its scale, with all that features are read from.
pub(crate) struct Scaled {
    scale: Scale,
    z: Vec<f64>,
    sums: Sums,
    /// Mean absolute change per step.
    moves: Sums,
    /// Average of the five steps around the same phase over up to seven main seasons.
    profile: Vec<f64>,
    smooth: Vec<f64>,
    /// What the features of a moment are whatever the horizon.
    now: Vec<Now>,
}

/// Means of the past of one moment, computed once for all horizons.
#[derive(Clone, Copy)]
struct Now {
    short: f64,
    hour: f64,
    hours: f64,
    season: f64,
    season_ago: f64,
    week_ago: f64,
    move_short: f64,
    move_hours: f64,
    move_season: f64,
}

impl Scaled {
    pub(crate) fn new(w: &Window, scale: Scale) -> Self {
        let z: Vec<f64> = w.y.iter().map(|&v| scale.forth(v)).collect();
        let sums = Sums::new(z.iter().copied());
        let moves = Sums::new((0..z.len()).map(|i| if i == 0 { 0.0 } else { (z[i] - z[i - 1]).abs() }));
        let n = z.len();
        let smooth: Vec<f64> = (0..n).map(|i| sums.mean(i.saturating_sub(2), i + 3)).collect();
        let mut profile = smooth.clone();
        if let Some(m) = w.seasons.main {
            for i in m..n {
                let days = (i / m + 1).min(7);
                let mut s = 0.0;
                for d in 0..days {
                    s += smooth[i - d * m];
                }
                profile[i] = s / days as f64;
            }
        }
        let long = w.seasons.main.unwrap_or(144);
        let ago = |i: usize, lag: Option<usize>| {
            lag.and_then(|m| i.checked_sub(m)).map_or(0.0, |k| sums.tail(k, 6))
        };
        let now = (0..n)
            .map(|i| Now {
                short: sums.tail(i, 6),
                hour: sums.tail(i, 12),
                hours: sums.tail(i, 36),
                season: sums.tail(i, long),
                season_ago: ago(i, w.seasons.main),
                week_ago: ago(i, w.seasons.week),
                move_short: moves.tail(i, 6),
                move_hours: moves.tail(i, 36),
                move_season: moves.tail(i, long),
            })
            .collect();
        Self { scale, z, sums, moves, profile, smooth, now }
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.z
    }
    pub(crate) fn back(&self, z: f64) -> f64 {
        self.scale.back(z)
    }
    /// Mean of the `k` values up to `i`.
    pub(crate) fn level(&self, i: usize, k: usize) -> f64 {
        self.sums.tail(i, k)
    }
    /// Mean absolute change over the `k` steps up to `i`.
    pub(crate) fn mean_move(&self, i: usize, k: usize) -> f64 {
        self.moves.tail(i, k)
    }
    /// Standard deviation of everything up to `i`.
    pub(crate) fn deviation(&self, i: usize) -> f64 {
        let mean = self.sums.mean(0, i + 1);
        let ss: f64 = self.z[..=i].iter().map(|v| (v - mean) * (v - mean)).sum();
        libm::sqrt(ss / (i + 1) as f64)
    }

    fn features(&self, spec: &Spec, i: usize, h: usize, x: &mut [f64; P]) -> usize {
        let (z, now) = (&self.z, &self.now[i]);
        x[0] = z[i];
        x[1] = z[i - 1];
        x[2] = z[i - 2];
        x[3] = now.short;
        x[4] = now.hour;
        x[5] = now.hours;
        x[6] = now.season;
        let mut p = 7;
        if let Some(m) = spec.main {
            let same = i + h - m * h.div_ceil(m);
            let safe = same.min(i - 2);
            x[p] = z[same];
            x[p + 1] = self.smooth[safe];
            x[p + 2] = now.season_ago;
            p += 3;
            if spec.second {
                x[p] = self.smooth[safe - m];
                x[p + 1] = self.profile[safe];
                x[p + 2] = self.profile[i - m];
                p += 3;
            }
        }
        if let Some(w) = spec.week {
            let same = i + h - w * h.div_ceil(w);
            x[p] = z[same];
            x[p + 1] = self.smooth[same.min(i - 2)];
            x[p + 2] = now.week_ago;
            p += 3;
        }
        if let Some(m) = spec.hour {
            let same = i + h - m * h.div_ceil(m);
            x[p] = z[same];
            x[p + 1] = 0.5 * (z[same - m] + z[same - 2 * m]);
            p += 2;
        }
        p
    }

    fn spread_features(&self, spec: &Spec, i: usize, h: usize, point: f64, x: &mut [f64; S]) {
        let now = &self.now[i];
        x[0] = 1.0;
        x[1] = now.move_short;
        x[2] = now.move_hours;
        x[3] = point;
        x[4] = now.move_season;
        x[5] = match spec.main {
            Some(m) => {
                let same = i + h - m * h.div_ceil(m);
                self.moves.mean(same.saturating_sub(5), (same + 6).min(i + 1))
            }
            None => (self.z[i] - now.hours).abs(),
        };
    }
}

/// One horizon's regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Knot {
    intercept: f64,
    beta: [f64; P],
    lo: [f64; P],
    hi: [f64; P],
    /// Spread regression and the bounds its answer is kept in.
    spread: [f64; S],
    spread_lo: f64,
    spread_hi: f64,
    /// Quantiles of errors divided by the spread.
    shape: Quantiles,
}

/// Regressions for all horizons, learned before one end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fit {
    spec: Spec,
    p: usize,
    knots: Vec<usize>,
    fits: Vec<Knot>,
}

/// Chooses the richest set of features that leaves enough rows to learn from.
fn spec(w: &Window, h_max: usize) -> Option<Spec> {
    let n = w.len();
    let hour = w.seasons.hour.map_or(0, |m| 3 * m);
    let base = 36.min(n / 3).max(3).max(hour);
    let enough = |back: usize, want: usize| n > back + h_max.min(n / 8) + want;
    if let Some(m) = w.seasons.main {
        if let Some(wk) = w.seasons.week
            && enough(base.max(2 * m + 8).max(wk + 8), 200.max(n / 5).max(wk))
        {
            let back = base.max(2 * m + 8).max(wk + 8);
            return Some(Spec { main: Some(m), second: true, week: Some(wk), hour: w.seasons.hour, back });
        }
        if enough(base.max(2 * m + 8), 200.max(n / 5)) {
            let back = base.max(2 * m + 8);
            return Some(Spec { main: Some(m), second: true, week: None, hour: w.seasons.hour, back });
        }
        if enough(base.max(m + 8), 200.max(n / 5)) {
            let back = base.max(m + 8);
            return Some(Spec { main: Some(m), second: false, week: None, hour: w.seasons.hour, back });
        }
    }
    enough(base, 40).then_some(Spec {
        main: None,
        second: false,
        week: None,
        hour: w.seasons.hour,
        back: base,
    })
}

/// Fits one set of regressions per end.
pub(crate) fn fit(w: &Window, s: &Scaled, h_max: usize, ends: &[usize]) -> Option<Vec<Fit>> {
    let spec = spec(w, h_max)?;
    let n = w.len();
    let knots = knots(h_max);
    let half_life = HALF_LIFE * spec.main.unwrap_or(n / 3 + 1) as f64;
    let mut out: Vec<Fit> =
        ends.iter().map(|_| Fit { spec, p: 0, knots: knots.clone(), fits: Vec::new() }).collect();
    let mut weights = decays(n, half_life);
    weights.reverse();
    let mut rows: Vec<[f64; P]> = Vec::new();
    let mut at: Vec<usize> = Vec::new();
    let mut errors: Vec<(usize, f64, [f64; S])> = Vec::new();
    let mut sample = Sample::default();
    let pivot = s.sums.mean(0, n);
    for &h in &knots {
        // Neighbouring rows of far horizons are nearly the same row: skip some. Bounds the work too.
        let stride = (h / 12).clamp(1, 5).max((n - spec.back) / 1500);
        rows.clear();
        at.clear();
        let mut p = 0;
        let mut i = spec.back;
        while i + h < n {
            if w.seen[i + h] {
                let mut x = [0.0; P];
                p = s.features(&spec, i, h, &mut x);
                for v in &mut x[..p] {
                    *v -= pivot;
                }
                rows.push(x);
                at.push(i);
            }
            i += stride;
        }
        let mut gram = [[0.0; P]; P];
        let mut xy = [0.0; P];
        let mut sx = [0.0; P];
        let (mut sw, mut sy) = (0.0, 0.0);
        let (mut lo, mut hi) = ([f64::INFINITY; P], [f64::NEG_INFINITY; P]);
        let mut r = 0;
        for (fit, &end) in out.iter_mut().zip(ends) {
            let from = r;
            while r < rows.len() && at[r] + h < end {
                let (x, i) = (&rows[r], at[r]);
                let (wt, t) = (weights[i], s.z[i + h] - pivot);
                sw += wt;
                sy += wt * t;
                for a in 0..p {
                    let wx = wt * x[a];
                    sx[a] += wx;
                    xy[a] += wx * t;
                    lo[a] = lo[a].min(x[a]);
                    hi[a] = hi[a].max(x[a]);
                }
                r += 1;
            }
            accumulate(&mut gram, &rows[from..r], &at[from..r], &weights, p);
            if r < 30 {
                return None;
            }
            fit.p = p;
            let mut knot = solve(&gram, &xy, &sx, sw, sy, &lo, &hi, p);
            // Spread and shape from a thinned set of errors.
            errors.clear();
            let thin = r.div_ceil(if end == n { ERRORS } else { ERRORS / 2 });
            let mut total = (0.0, 0.0);
            for k in (0..r).rev().step_by(thin) {
                let (x, i) = (&rows[k], at[k]);
                let point = knot.point(x, p);
                let e = s.z[i + h] - pivot - point;
                let mut v = [0.0; S];
                s.spread_features(&spec, i, h, point + pivot, &mut v);
                errors.push((i, e, v));
                total.0 += weights[i] * e.abs();
                total.1 += weights[i];
            }
            let mean = (total.0 / total.1).max(1e-12);
            knot.spread = spread(&errors, &weights, mean);
            knot.spread_lo = 0.25 * mean;
            knot.spread_hi = 4.0 * mean;
            sample.clear();
            for (i, e, v) in &errors {
                sample.push(e / knot.spread_of(v), weights[*i]);
            }
            knot.shape = sample.grid().unwrap_or([0.0; G]);
            // Back to the unshifted scale: fold the pivot into intercept and bounds.
            let sum: f64 = knot.beta[..p].iter().sum();
            knot.intercept += pivot - pivot * sum;
            for a in 0..p {
                knot.lo[a] += pivot;
                knot.hi[a] += pivot;
            }
            fit.fits.push(knot);
        }
    }
    Some(out)
}

/// Adds the weighted products of the rows' features, in groups of four rows and columns: the same sums,
/// in an order that the processor can take four at a time. Only the lower triangle is valid.
fn accumulate(gram: &mut [[f64; P]; P], rows: &[[f64; P]], at: &[usize], weights: &[f64], p: usize) {
    const LANES: usize = 4;
    let mut groups = rows.chunks_exact(LANES);
    let mut places = at.chunks_exact(LANES);
    for (x, i) in groups.by_ref().zip(places.by_ref()) {
        for a in 0..p {
            let w: [f64; LANES] = std::array::from_fn(|k| weights[i[k]] * x[k][a]);
            let (g, top) = (&mut gram[a], (a / LANES + 1) * LANES);
            for b in (0..top).step_by(LANES) {
                for c in b..b + LANES {
                    g[c] += w[0] * x[0][c] + w[1] * x[1][c] + w[2] * x[2][c] + w[3] * x[3][c];
                }
            }
        }
    }
    for (x, i) in groups.remainder().iter().zip(places.remainder()) {
        for a in 0..p {
            let w = weights[*i] * x[a];
            for c in 0..=a {
                gram[a][c] += w * x[c];
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the moments of one regression, used in one place")]
fn solve(
    gram: &[[f64; P]; P],
    xy: &[f64; P],
    sx: &[f64; P],
    sw: f64,
    sy: f64,
    lo: &[f64; P],
    hi: &[f64; P],
    p: usize,
) -> Knot {
    let my = sy / sw;
    let (mut mean, mut sd) = ([0.0; P], [1.0; P]);
    for a in 0..p {
        mean[a] = sx[a] / sw;
        sd[a] = libm::sqrt((gram[a][a] / sw - mean[a] * mean[a]).max(0.0)) + 1e-9;
    }
    let mut m = vec![0.0; p * p];
    let mut b = vec![0.0; p];
    for i in 0..p {
        for j in 0..=i {
            let c = (gram[i][j] / sw - mean[i] * mean[j]) / (sd[i] * sd[j]);
            m[i * p + j] = c;
            m[j * p + i] = c;
        }
        m[i * p + i] += PENALTY;
        b[i] = (xy[i] / sw - mean[i] * my) / sd[i];
    }
    solve_spd(&mut m, &mut b, p);
    let mut k = Knot {
        intercept: my,
        beta: [0.0; P],
        lo: [0.0; P],
        hi: [0.0; P],
        spread: [0.0; S],
        spread_lo: 0.0,
        spread_hi: 0.0,
        shape: [0.0; G],
    };
    for a in 0..p {
        k.beta[a] = b[a] / sd[a];
        k.intercept -= k.beta[a] * mean[a];
        k.lo[a] = mean[a] + GUARD * (lo[a] - mean[a]);
        k.hi[a] = mean[a] + GUARD * (hi[a] - mean[a]);
    }
    k
}

fn spread(errors: &[(usize, f64, [f64; S])], weights: &[f64], mean: f64) -> [f64; S] {
    let mut g = vec![0.0; S * S];
    let mut b = [0.0; S];
    let mut sw = 0.0;
    for (i, e, v) in errors {
        let wt = weights[*i];
        sw += wt;
        // A few huge errors must not set the scale for all.
        let e = e.abs().min(6.0 * mean);
        for a in 0..S {
            b[a] += wt * v[a] * e;
            for c in 0..=a {
                g[a * S + c] += wt * v[a] * v[c];
            }
        }
    }
    for a in 0..S {
        for c in 0..a {
            g[c * S + a] = g[a * S + c];
        }
        g[a * S + a] *= 1.05;
        g[a * S + a] += 1e-9 * sw;
    }
    solve_spd(&mut g, &mut b, S);
    b
}

impl Knot {
    fn point(&self, x: &[f64; P], p: usize) -> f64 {
        let mut s = self.intercept;
        for (a, v) in x.iter().enumerate().take(p) {
            s += self.beta[a] * v.clamp(self.lo[a], self.hi[a]);
        }
        s
    }
    fn spread_of(&self, v: &[f64; S]) -> f64 {
        let s: f64 = self.spread.iter().zip(v).map(|(a, b)| a * b).sum();
        s.clamp(self.spread_lo, self.spread_hi)
    }
}

impl Fit {
    /// Steps that must lie behind an origin, itself included.
    pub(crate) fn needs(&self) -> usize {
        self.spec.back + 1
    }

    /// The distribution `h` steps after `origin`.
    pub(crate) fn predict(&self, s: &Scaled, origin: usize, h: usize) -> Quantiles {
        let mut x = [0.0; P];
        let p = s.features(&self.spec, origin, h, &mut x);
        let (a, b, f) = between(&self.knots, h);
        let (ka, kb) = (&self.fits[a], &self.fits[b]);
        let point = ka.point(&x, p) * (1.0 - f) + kb.point(&x, p) * f;
        let mut v = [0.0; S];
        s.spread_features(&self.spec, origin, h, point, &mut v);
        let (sa, sb) = (ka.spread_of(&v), kb.spread_of(&v));
        let mut q = [0.0; G];
        for (k, out) in q.iter_mut().enumerate() {
            let e = sa * ka.shape[k] * (1.0 - f) + sb * kb.shape[k] * f;
            *out = s.scale.back(point + e);
        }
        settle(&mut q);
        q
    }
}
