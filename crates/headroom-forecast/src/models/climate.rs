//! Climatology: what load at this time of day has been like lately.
//!
//! The weighted quantiles of the values around the same phase over the last days (the same weekday counts
//! more), without a model of anything. The best there is far ahead on noisy loads, and immune to a wild
//! last hour.

use crate::math::{Quantiles, Sample, decay, settle};
use crate::window::Window;

/// Days looked back at most.
const DAYS: usize = 28;
/// Half-life of a day, in days.
const HALF_LIFE: f64 = 6.0;
/// A day of the same weekday counts this much more.
const SAME_WEEKDAY: f64 = 3.0;

/// The distribution `h` steps after `origin`; `None` without a season to look back by.
pub(crate) fn predict(w: &Window, origin: usize, h: usize, sample: &mut Sample) -> Option<Quantiles> {
    sample.clear();
    match w.seasons.main {
        Some(m) => {
            // Half an hour to either side at five minutes; at least the neighbours.
            let half = (m / 48).clamp(1, 6);
            let target = origin + h;
            let first = h.div_ceil(m);
            for d in first..first + DAYS {
                let Some(mid) = target.checked_sub(d * m) else { break };
                let mut wt = decay((d - 1) as f64, HALF_LIFE);
                if w.seasons.week.is_some() && d % 7 == 0 {
                    wt *= SAME_WEEKDAY;
                }
                for t in mid.saturating_sub(half)..=(mid + half).min(origin) {
                    if w.seen[t] {
                        let off = mid.abs_diff(t) as f64 / (half + 1) as f64;
                        sample.push(w.y[t], wt * (1.0 - 0.7 * off));
                    }
                }
            }
        }
        None => {
            for t in origin.saturating_sub(720)..=origin {
                if w.seen[t] {
                    sample.push(w.y[t], decay((origin - t) as f64, 60.0 + h as f64));
                }
            }
        }
    }
    let mut q = sample.grid()?;
    settle(&mut q);
    Some(q)
}
