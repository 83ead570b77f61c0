//! A moving average over a bounded number of steps.

use crate::score::Ring;

/// The mean of the values of the last steps; steps without a value don't count.
#[derive(Clone, Debug)]
pub(crate) struct Average {
    values: Ring<Option<f64>>,
    sum: f64,
    count: u32,
    until_exact: usize,
}

impl Average {
    /// Over `steps` steps, at least one.
    pub(crate) fn over(steps: usize) -> Self {
        Self { values: Ring::new(steps, None), sum: 0.0, count: 0, until_exact: steps.max(1) }
    }

    /// Takes in a step.
    pub(crate) fn push(&mut self, now: Option<f64>) {
        let gone = self.values.push(now);
        self.sum += now.unwrap_or(0.0) - gone.unwrap_or(0.0);
        self.count = self.count + u32::from(now.is_some()) - u32::from(gone.is_some());
        // Once a turn the sum is made anew, so that rounding does not pile up.
        self.until_exact -= 1;
        if self.until_exact == 0 {
            self.until_exact = self.values.len();
            self.sum = self.values.values().flatten().sum();
        }
    }

    /// The mean; `None` where no step had a value.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.sum / f64::from(self.count)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mean_of_what_there_was() {
        let mut average = Average::over(3);
        assert_eq!(average.mean(), None);
        let seen: Vec<Option<f64>> = [Some(3.0), None, Some(6.0), Some(9.0), None, None, None]
            .into_iter()
            .map(|v| {
                average.push(v);
                average.mean()
            })
            .collect();
        assert_eq!(seen, [Some(3.0), Some(3.0), Some(4.5), Some(7.5), Some(7.5), Some(9.0), None]);
    }

    #[test]
    fn rounding_does_not_pile_up() {
        let mut average = Average::over(10);
        for _ in 0..100_000 {
            average.push(Some(1e9 + 0.1));
            average.push(Some(1e-9));
        }
        (0..10).for_each(|_| average.push(Some(0.25)));
        assert!((average.mean().unwrap() - 0.25).abs() < 1e-6);
    }
}
