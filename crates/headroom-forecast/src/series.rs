//! A load measured at a regular step, with gaps, and never more of it than can matter.

use crate::window::MAX_WINDOW;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most steps a series keeps: what a fit looks at, and nothing more.
pub const CAPACITY: usize = MAX_WINDOW;

/// Why a series can't be made or continued.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SeriesError {
    /// The step is zero.
    #[error("a series needs a step of at least one second")]
    NoStep,
    /// A value stands before the newest one.
    #[error("a value for {at} came after the series had reached {newest}: samples must come in order")]
    OutOfOrder {
        /// When the value was measured, Unix seconds.
        at: i64,
        /// The newest step, Unix seconds.
        newest: i64,
    },
}

/// A load per step. The present is the end of the newest step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    step_s: u32,
    start_unix_s: i64,
    values: VecDeque<Option<f64>>,
}

/// A value as a load: finite and not negative, anything else is as good as not measured.
pub(crate) fn believable(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite() && *v >= 0.0)
}

impl Series {
    /// An empty series whose first step will start at `start_unix_s`.
    ///
    /// # Errors
    /// [`SeriesError::NoStep`] for a step of zero.
    pub fn new(step_s: u32, start_unix_s: i64) -> Result<Self, SeriesError> {
        if step_s == 0 {
            return Err(SeriesError::NoStep);
        }
        Ok(Self { step_s, start_unix_s, values: VecDeque::new() })
    }

    /// A series of these values.
    ///
    /// # Errors
    /// [`SeriesError::NoStep`] for a step of zero.
    pub fn from_values(
        step_s: u32,
        start_unix_s: i64,
        values: impl IntoIterator<Item = Option<f64>>,
    ) -> Result<Self, SeriesError> {
        let mut out = Self::new(step_s, start_unix_s)?;
        for v in values {
            out.push(v);
        }
        Ok(out)
    }

    /// Adds the next step: `None` where nothing was measured. NaN, infinite and negative values are no
    /// loads and count as not measured. Beyond [`CAPACITY`] the oldest step goes.
    pub fn push(&mut self, value: Option<f64>) {
        if self.values.len() == CAPACITY {
            self.values.pop_front();
            self.start_unix_s += i64::from(self.step_s);
        }
        self.values.push_back(believable(value));
    }

    /// Adds the value of the step that contains `unix_s`; steps skipped on the way are gaps.
    ///
    /// # Errors
    /// [`SeriesError::OutOfOrder`] if that step is already there.
    pub fn push_at(&mut self, unix_s: i64, value: Option<f64>) -> Result<(), SeriesError> {
        let step = i64::from(self.step_s);
        let k = unix_s.saturating_sub(self.start_unix_s).div_euclid(step);
        let n = self.values.len() as i64;
        if k < n {
            return Err(SeriesError::OutOfOrder { at: unix_s, newest: self.start_unix_s + (n - 1) * step });
        }
        if k - n >= CAPACITY as i64 {
            // A gap longer than the memory: nothing of the past remains.
            self.values.clear();
            self.start_unix_s += k * step;
        } else {
            for _ in n..k {
                self.push(None);
            }
        }
        self.push(value);
        Ok(())
    }

    /// Its oldest `steps` alone.
    #[must_use]
    pub fn first(&self, steps: usize) -> Self {
        Self { values: self.values.iter().take(steps).copied().collect(), ..*self }
    }

    /// The value of the step that contains `unix_s`; `None` for a gap and outside of what is kept.
    pub fn value_at(&self, unix_s: i64) -> Option<f64> {
        let step = (unix_s - self.start_unix_s).div_euclid(i64::from(self.step_s));
        self.values.get(usize::try_from(step).ok()?).copied().flatten()
    }

    /// Seconds per step.
    pub fn step_s(&self) -> u32 {
        self.step_s
    }
    /// When the oldest kept step starts, Unix seconds.
    pub fn start_unix_s(&self) -> i64 {
        self.start_unix_s
    }
    /// When the step after the newest one starts, Unix seconds.
    pub fn end_unix_s(&self) -> i64 {
        self.start_unix_s + self.values.len() as i64 * i64::from(self.step_s)
    }
    /// How many steps are kept, gaps included.
    pub fn len(&self) -> usize {
        self.values.len()
    }
    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    /// The values, oldest first.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Option<f64>> + '_ {
        self.values.iter().copied()
    }
}
