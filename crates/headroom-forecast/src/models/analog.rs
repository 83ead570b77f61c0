//! Analogs: what followed the past moments that looked most like this one.
//!
//! No assumption of shape: on/off loads, bursts with a typical length and saw-teeth come out as they are.
//! Likeness is that of the last hour's course, of the level of the last three, and of the time of day.

use crate::math::{Quantiles, Sample, decay, settle};
use crate::models::ridge::Scaled;
use crate::window::Window;

/// Steps of the course compared.
const COURSE: usize = 12;

/// Past moments most like `origin`, with the level each must be shifted by.
pub(crate) struct Matches {
    items: Vec<(usize, f64, f64)>,
}

/// Finds the matches among the moments whose next `h_max` steps were known at `origin`.
pub(crate) fn find(w: &Window, s: &Scaled, origin: usize, h_max: usize, stride: usize) -> Option<Matches> {
    let z = s.values();
    let first = 36.max(COURSE);
    let last = (origin + 1).checked_sub(h_max + 1)?;
    if last < first + 40 {
        return None;
    }
    let n = origin + 1;
    let step = (s.mean_move(origin, n)).max(1e-12);
    let sd = s.deviation(origin).max(1e-12);
    let cur = &z[origin + 1 - COURSE..=origin];
    let level = s.level(origin, 36);
    let course_unit = 1.0 / (0.5 * (step + sd));
    let half_week = 7.0 * w.seasons.main.unwrap_or(n) as f64;
    let mut found: Vec<(f64, usize)> = Vec::with_capacity((last - first) / stride + 1);
    let mut i = last;
    while i >= first {
        let win = &z[i + 1 - COURSE..=i];
        let mut d = 0.0;
        for (a, b) in win.iter().zip(cur) {
            d += (a - b) * (a - b);
        }
        let mut dist = libm::sqrt(d / COURSE as f64) * course_unit;
        dist += 0.5 * (s.level(i, 36) - level).abs() / sd;
        if let Some(m) = w.seasons.main {
            let ph = ((origin - i) % m) as f64 / m as f64;
            dist += 4.0 * ph.min(1.0 - ph);
        }
        dist += 0.1 * (origin - i) as f64 / half_week;
        found.push((dist, i));
        if i < first + stride {
            break;
        }
        i -= stride;
    }
    let k = (found.len() / 20).clamp(25, 150).min(found.len());
    found.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    found.truncate(k);
    found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let far = found[k - 1].0.max(1e-12);
    let now = s.level(origin, 3);
    let items = found
        .iter()
        // Tricube-like: the worst match still counts a third of the best.
        .map(|&(d, i)| (i, now - s.level(i, 3), 1.0 - 0.67 * (d / far) * (d / far)))
        .collect();
    Some(Matches { items })
}

impl Matches {
    /// The distribution `h` steps on.
    pub(crate) fn predict(&self, w: &Window, s: &Scaled, h: usize, sample: &mut Sample) -> Option<Quantiles> {
        sample.clear();
        let damp = decay(h as f64, 23.0);
        for &(i, shift, wt) in &self.items {
            if w.seen[i + h] {
                sample.push(s.values()[i + h] + shift * damp, wt);
            }
        }
        let mut q = sample.grid()?;
        for v in &mut q {
            *v = s.back(*v);
        }
        settle(&mut q);
        Some(q)
    }
}
