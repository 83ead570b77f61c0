//! The history a fit looks at: gaps filled, glitches taken out, seasons named.
//!
//! Models may assume a dense, finite, non-negative series; this is where that becomes true. What was
//! filled in is remembered, so that no model is trained or judged on a value nobody measured.

use crate::season::Seasons;

/// Longest history a fit looks at, in steps: 28 days of five minutes. Older load says little about the
/// next day, and this bounds the time and memory of every fit.
pub(crate) const MAX_WINDOW: usize = 8064;

/// A gap longer than this many steps is filled from the season before rather than by a straight line.
const LONG_GAP: usize = 12;

/// A dense history.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// Load per step in units of `unit`, gaps filled.
    pub(crate) y: Vec<f64>,
    /// A power of two near the mean load. Models work on loads around one, so that nothing depends on
    /// the unit a load comes in; a power of two divides without rounding.
    pub(crate) unit: f64,
    /// Whether the step was measured (and believed).
    pub(crate) seen: Vec<bool>,
    /// Periods that the history can support.
    pub(crate) seasons: Seasons,
}

impl Window {
    /// Prepares the last [`MAX_WINDOW`] values; `None` when nothing was ever measured. A fit made
    /// earlier knows its unit; otherwise one is chosen.
    pub(crate) fn new(values: &[Option<f64>], step_s: u32, unit: Option<f64>) -> Option<Self> {
        let values = &values[values.len().saturating_sub(MAX_WINDOW)..];
        let first = values.iter().position(Option::is_some)?;
        let values = &values[first..];
        let mut seen: Vec<bool> = values.iter().map(Option::is_some).collect();
        let raw: Vec<f64> = values.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        drop_glitches(&raw, &mut seen);
        if !seen.contains(&true) {
            return None;
        }
        let unit = unit.unwrap_or_else(|| {
            let known = raw.iter().zip(&seen).filter(|(_, ok)| **ok).map(|(v, _)| *v);
            let (sum, n) = known.fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
            let exponent = libm::floor(libm::log2(sum / n));
            if exponent.is_finite() { libm::exp2(exponent.clamp(-1000.0, 1000.0)) } else { 1.0 }
        });
        let mut y = raw;
        for (v, ok) in y.iter_mut().zip(&seen) {
            *v = if *ok { *v / unit } else { f64::NAN };
        }
        let day = Seasons::day_steps(step_s).filter(|m| y.len() >= 2 * m);
        fill(&mut y, day);
        let seasons = Seasons::find(&y, step_s);
        Some(Self { y, unit, seen, seasons })
    }

    pub(crate) fn len(&self) -> usize {
        self.y.len()
    }
}

/// How many times anything believed around it a lone value must reach to be called a glitch. Flash
/// crowds on public traces rise at most about twentyfold between two steps and stay; a faulty exporter
/// multiplies by hundreds for one sample.
const GLITCH_FACTOR: f64 = 30.0;
/// Longest run that can be a glitch; three steps in a row are load.
const GLITCH_STEPS: usize = 2;

/// Marks glitches as not seen: at most [`GLITCH_STEPS`] values that tower [`GLITCH_FACTOR`]-fold over
/// everything seen in the hour of steps before and after, and over the window's own 99.9 % point. The
/// newest values have no after; they count as glitches until the next steps confirm them.
fn drop_glitches(raw: &[f64], seen: &mut [bool]) {
    let mut known: Vec<f64> = raw.iter().copied().filter(|v| v.is_finite()).collect();
    let n_known = known.len();
    // With fewer values there is no telling what is normal.
    if n_known < 24 {
        return;
    }
    known.sort_unstable_by(f64::total_cmp);
    let usual = known[n_known - 1 - n_known / 1000 - GLITCH_STEPS];
    let limit = GLITCH_FACTOR * usual;
    if usual <= 0.0 || known[n_known - 1] <= limit {
        return;
    }
    let n = raw.len();
    let mut i = 0;
    while i < n {
        if raw[i].is_nan() || raw[i] <= limit {
            i += 1;
            continue;
        }
        let mut j = i;
        while j < n && (raw[j] > limit || raw[j].is_nan()) {
            j += 1;
        }
        if j - i <= GLITCH_STEPS {
            seen[i..j].fill(false);
        }
        i = j;
    }
}

/// Short gaps: a straight line. Long gaps: the value one day before, where there is one.
fn fill(y: &mut [f64], day: Option<usize>) {
    let n = y.len();
    if let Some(m) = day {
        let mut i = 0;
        while i < n {
            if !y[i].is_nan() {
                i += 1;
                continue;
            }
            let mut j = i;
            while j < n && y[j].is_nan() {
                j += 1;
            }
            if j - i > LONG_GAP {
                for k in i.max(m)..j {
                    y[k] = y[k - m];
                }
            }
            i = j;
        }
    }
    let mut last: Option<usize> = None;
    for i in 0..n {
        if y[i].is_nan() {
            continue;
        }
        match last {
            None => {
                let v = y[i];
                y[..i].fill(v);
            }
            Some(a) => {
                let (va, vb) = (y[a], y[i]);
                for (k, v) in y.iter_mut().enumerate().take(i).skip(a + 1) {
                    *v = va + (vb - va) * (k - a) as f64 / (i - a) as f64;
                }
            }
        }
        last = Some(i);
    }
    if let Some(a) = last {
        let v = y[a];
        y[a..].fill(v);
    }
}

/// Running sums over a series: the mean of any stretch in constant time.
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    cum: Vec<f64>,
}

impl Sums {
    pub(crate) fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut cum = vec![0.0];
        let mut s = 0.0;
        for v in values {
            s += v;
            cum.push(s);
        }
        Self { cum }
    }
    /// Mean of `lo..hi`, cut to what exists; the stretch must not be empty after the cut.
    pub(crate) fn mean(&self, lo: usize, hi: usize) -> f64 {
        let hi = hi.min(self.cum.len() - 1);
        let lo = lo.min(hi.saturating_sub(1));
        (self.cum[hi] - self.cum[lo]) / (hi - lo).max(1) as f64
    }
    /// Mean of the `k` values that end with index `i`.
    pub(crate) fn tail(&self, i: usize, k: usize) -> f64 {
        self.mean((i + 1).saturating_sub(k), i + 1)
    }
}
