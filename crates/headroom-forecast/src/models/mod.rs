//! The models: each learns from a prefix of the window and forecasts from any later origin.
//!
//! A model is asked for several *ends* at once: the fit for end `e` may use the values before index `e`
//! only. So the very same code gives the forecast (the last end) and the honest record of what the
//! model would have said in the past (the earlier ends), at little more than the price of one fit.

pub(crate) mod analog;
pub(crate) mod climate;
pub(crate) mod naive;
pub(crate) mod ridge;
pub(crate) mod smoothing;

/// Horizons (steps) at which a model is fitted; those in between are interpolated. Dense at first, then
/// growing by half.
pub(crate) fn knots(h_max: usize) -> Vec<usize> {
    let mut out = Vec::new();
    let mut h = 1;
    while h < h_max {
        out.push(h);
        h = if h < 4 { h + 1 } else { (h * 3).div_ceil(2) };
    }
    out.push(h_max);
    out
}

/// The two knots around `h` and how far it stands between them.
pub(crate) fn between(knots: &[usize], h: usize) -> (usize, usize, f64) {
    let b = knots.partition_point(|&k| k < h).min(knots.len() - 1);
    if knots[b] <= h || b == 0 {
        return (b, b, 0.0);
    }
    let a = b - 1;
    (a, b, (h - knots[a]) as f64 / (knots[b] - knots[a]) as f64)
}

/// Errors from which a distribution is read: 500 place a 99 % point well enough; for the replay half.
pub(crate) const ERRORS: usize = 500;
