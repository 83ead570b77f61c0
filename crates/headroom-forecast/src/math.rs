//! The few numerical routines everything here shares.
//!
//! Small, bounded and deterministic: sums run in one fixed order, transcendental functions come from
//! `libm` (its results are the same on every platform), and nothing allocates behind the caller's back
//! except where the signature says so.

use serde::{Deserialize, Serialize};

/// The levels at which every predictive distribution is kept; a level asked for in between is
/// interpolated. Dense in the upper tail, because capacity is bought there.
pub(crate) const GRID: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995];
/// How many levels [`GRID`] has.
pub(crate) const G: usize = GRID.len();
/// Where the median stands in [`GRID`].
pub(crate) const MEDIAN: usize = 3;
/// Where 0.95 stands in [`GRID`].
pub(crate) const P95: usize = 8;
/// The levels by which models are judged: the median, and those that capacity is held at.
pub(crate) const SCORED: [usize; 4] = [3, 7, 8, 10];

/// A predictive distribution: its quantiles at the levels of [`GRID`].
pub(crate) type Quantiles = [f64; G];

/// Pinball (quantile) loss of the forecast `q` for level `tau` when `y` came.
pub(crate) fn pinball(y: f64, q: f64, tau: f64) -> f64 {
    let d = y - q;
    if d >= 0.0 { tau * d } else { (tau - 1.0) * d }
}

/// Mean pinball loss over the scored levels.
pub(crate) fn loss(y: f64, q: &Quantiles) -> f64 {
    let mut sum = 0.0;
    for k in SCORED {
        sum += pinball(y, q[k], GRID[k]);
    }
    sum / SCORED.len() as f64
}

/// Makes the levels finite, not negative and not falling: a distribution may not contradict itself.
pub(crate) fn settle(q: &mut Quantiles) {
    let mut floor = 0.0;
    for v in q.iter_mut() {
        if !(v.is_finite() && *v >= floor) {
            *v = floor;
        }
        floor = *v;
    }
}

/// The quantile at `tau` by linear interpolation between the levels of [`GRID`] in the probit of the
/// level, which makes normal tails straight lines. Outside the grid the outermost level holds.
pub(crate) fn at_level(q: &Quantiles, tau: f64) -> f64 {
    if tau <= GRID[0] {
        return q[0];
    }
    for k in 1..G {
        if tau <= GRID[k] {
            if (tau - GRID[k]).abs() < 1e-12 {
                return q[k];
            }
            let (a, b) = (probit(GRID[k - 1]), probit(GRID[k]));
            let f = (probit(tau) - a) / (b - a);
            return q[k - 1] + f * (q[k] - q[k - 1]);
        }
    }
    q[G - 1]
}

/// Inverse of the standard normal distribution function (Acklam's rational approximation, relative
/// error below 1.2e-9, which is far finer than any quantile here is known).
pub(crate) fn probit(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    if p < 0.024_25 {
        let q = libm::sqrt(-2.0 * libm::log(p));
        (((((C[0] * q + C[1]) * q + C[2]) * q + C[3]) * q + C[4]) * q + C[5])
            / ((((D[0] * q + D[1]) * q + D[2]) * q + D[3]) * q + 1.0)
    } else if p <= 1.0 - 0.024_25 {
        let q = p - 0.5;
        let r = q * q;
        (((((A[0] * r + A[1]) * r + A[2]) * r + A[3]) * r + A[4]) * r + A[5]) * q
            / (((((B[0] * r + B[1]) * r + B[2]) * r + B[3]) * r + B[4]) * r + 1.0)
    } else {
        -probit(1.0 - p)
    }
}

/// Weighted values from which quantiles are read; reused, so that reading them does not allocate.
///
/// A value and its weight are packed into one integer that sorts like the value: sorting is most of the
/// cost of a fit, and integers sort three times faster than pairs. Values keep 24 significant bits and
/// weights are relative to one at 32 bits: far finer than any quantile here is known.
#[derive(Default)]
pub(crate) struct Sample {
    items: Vec<u64>,
}

impl Sample {
    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }
    /// Adds a value with a weight between 0 and 4.
    pub(crate) fn push(&mut self, value: f64, weight: f64) {
        let bits = (value as f32).to_bits();
        // Order of the integers = order of the floats, negative ones reversed.
        let key = if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 };
        // At least the least weight: a value that was pushed counts.
        let w = ((weight * WEIGHT_ONE) as u32).max(1);
        self.items.push(u64::from(key) << 32 | u64::from(w));
    }
    /// The quantiles at [`GRID`], interpolated between the middles of the weights; `None` without a
    /// value.
    pub(crate) fn grid(&mut self) -> Option<Quantiles> {
        self.items.sort_unstable();
        let total = self.items.iter().map(|x| x & 0xffff_ffff).sum::<u64>() as f64;
        let first = unpack(*self.items.first()?);
        let mut out = [unpack(*self.items.last()?); G];
        let (mut k, mut before) = (0, 0.0);
        let mut prev = (first, 0.0);
        for &x in &self.items {
            let w = (x & 0xffff_ffff) as f64;
            let mid = (before + 0.5 * w) / total;
            if GRID[k] <= mid {
                let v = unpack(x);
                while k < G && GRID[k] <= mid {
                    let f = if mid > prev.1 { (GRID[k] - prev.1) / (mid - prev.1) } else { 1.0 };
                    out[k] = prev.0 + f * (v - prev.0);
                    k += 1;
                }
                if k == G {
                    break;
                }
            }
            prev = (unpack(x), mid);
            before += w;
        }
        Some(out)
    }
}

/// Scale of the packed weights: weights up to four fit.
const WEIGHT_ONE: f64 = (1u32 << 30) as f64;

fn unpack(x: u64) -> f64 {
    let key = (x >> 32) as u32;
    let bits = if key >> 31 == 1 { key & 0x7fff_ffff } else { !key };
    f64::from(f32::from_bits(bits))
}

/// Weights of the ages `0..n` under a half-life, by multiplication.
pub(crate) fn decays(n: usize, half_life: f64) -> Vec<f64> {
    let f = decay(1.0, half_life);
    let mut w = 1.0;
    (0..n)
        .map(|_| {
            let v = w;
            w *= f;
            v
        })
        .collect()
}

/// Median of the values; `None` without any. Reorders them.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The order statistic at `tau` of the values (the nearest rank); `None` without any. Reorders them.
pub(crate) fn quantile(values: &mut [f64], tau: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let k = ((values.len() - 1) as f64 * tau + 0.5) as usize;
    let k = k.min(values.len() - 1);
    let (_, v, _) = values.select_nth_unstable_by(k, f64::total_cmp);
    Some(*v)
}

/// Solves `a x = b` for a symmetric positive definite `a` (`n × n`, row by row, overwritten) by
/// Cholesky; the answer replaces `b`. A pivot that is not positive (a column that depends on the
/// others) leaves its unknown at zero, so a degenerate fit still has an answer.
pub(crate) fn solve_spd(a: &mut [f64], b: &mut [f64], n: usize) {
    for j in 0..n {
        let mut d = a[j * n + j];
        for k in 0..j {
            d -= a[j * n + k] * a[j * n + k];
        }
        let pivot = if d > 1e-12 { libm::sqrt(d) } else { f64::INFINITY };
        a[j * n + j] = pivot;
        for i in j + 1..n {
            let mut s = a[i * n + j];
            for k in 0..j {
                s -= a[i * n + k] * a[j * n + k];
            }
            a[i * n + j] = s / pivot;
        }
    }
    for i in 0..n {
        let mut s = b[i];
        for k in 0..i {
            s -= a[i * n + k] * b[k];
        }
        b[i] = s / a[i * n + i];
    }
    for i in (0..n).rev() {
        let mut s = b[i];
        for k in i + 1..n {
            s -= a[k * n + i] * b[k];
        }
        b[i] = s / a[i * n + i];
    }
}

/// Half-life decay: the weight of something `age` old.
pub(crate) fn decay(age: f64, half_life: f64) -> f64 {
    libm::exp2(-age / half_life)
}

/// A monotone scale on which load behaves more evenly than on its own.
///
/// Load scatters roughly with the root of its level (counts do). Models work on a scale where errors are
/// alike at all levels and map their quantiles back; quantiles commute with monotone maps, so nothing is
/// lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scale {
    /// The root: right for counts. (On the logarithm the regression was worse on the public traces, alone
    /// and beside this one.)
    Root,
}

impl Scale {
    pub(crate) fn forth(self, y: f64) -> f64 {
        match self {
            Self::Root => libm::sqrt(y.max(0.0)),
        }
    }
    pub(crate) fn back(self, z: f64) -> f64 {
        let z = z.max(0.0);
        match self {
            Self::Root => z * z,
        }
    }
}
