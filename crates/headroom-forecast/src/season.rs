//! Which periods a history has: hour, day, week.
//!
//! Load follows people and cron jobs, so the candidates are known beforehand and are tested, not searched
//! for: a free search over lags finds multiples and noise (a day found as 25 hours is worse than none).

use serde::{Deserialize, Serialize};

/// Seconds of an hour, a day, a week.
const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;
const WEEK: u32 = 7 * DAY;

/// The periods, in steps, that a history supports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seasons {
    /// The main cycle of the models: a day where the history holds two, otherwise an hour where it
    /// holds four and repeats itself.
    pub main: Option<usize>,
    /// Seven times `main`, where the history holds one whole and a little: the week.
    pub week: Option<usize>,
    /// The hour inside a day, where the load repeats itself within one.
    pub hour: Option<usize>,
}

impl Seasons {
    /// Steps of a day, where a day is a whole number of them and has at least four.
    pub(crate) fn day_steps(step_s: u32) -> Option<usize> {
        Self::whole(DAY, step_s)
    }

    fn whole(period_s: u32, step_s: u32) -> Option<usize> {
        (step_s > 0 && period_s.is_multiple_of(step_s) && period_s / step_s >= 4)
            .then(|| (period_s / step_s) as usize)
    }

    /// Tests the candidates on a dense history.
    pub(crate) fn find(y: &[f64], step_s: u32) -> Self {
        let n = y.len();
        let day = Self::day_steps(step_s).filter(|&m| n >= 2 * m);
        let week = Self::whole(WEEK, step_s).filter(|&w| day.is_some() && n >= w + 2);
        let hour = Self::whole(HOUR, step_s).filter(|&m| m >= 6 && n >= 4 * m && repeats(y, m));
        match day {
            Some(_) => Self { main: day, week, hour },
            None => Self { main: hour, week: None, hour: None },
        }
    }
}

/// Whether the changes of the series at one period's distance agree clearly better than those half a
/// period off: the sign of a cycle rather than of slow drift.
fn repeats(y: &[f64], m: usize) -> bool {
    // The last 40 periods tell; more would only let a habit long gone vote.
    let y = &y[y.len().saturating_sub(40 * m)..];
    let d: Vec<f64> = y.windows(2).map(|w| libm::cbrt(w[1] - w[0])).collect();
    let corr = |lag: usize| -> f64 {
        let k = d.len() - lag;
        let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for i in 0..k {
            xy += d[i] * d[i + lag];
            xx += d[i] * d[i];
            yy += d[i + lag] * d[i + lag];
        }
        if xx > 0.0 && yy > 0.0 { xy / libm::sqrt(xx * yy) } else { 0.0 }
    };
    // Three standard errors of a correlation of white noise.
    let noise = 3.0 / libm::sqrt((d.len() - m) as f64);
    corr(m) > noise.max(0.1) && corr(m) > corr(m + m / 2) + noise
}
