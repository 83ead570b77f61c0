//! What is assumed of a workload's replicas.

use headroom_core::units::Span;
use serde::{Deserialize, Serialize};

use super::Queue;

/// How a workload's replicas behave. The defaults describe a small web service in containers; every figure can
/// be measured on a real one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Model {
    /// Requests a second one ready replica carries at the most.
    pub capacity: f64,
    /// The share of the capacity that may be used: beyond it, requests wait too often. 0.9 lies just below the
    /// load at which the default objective is missed.
    pub usable: f64,
    /// How long a request is worked on when nothing else is there. A replica works on `capacity` × this many at
    /// once.
    pub service_time: Span,
    /// 95 % of the requests shall be answered within this time.
    pub objective: Span,
    /// A request that would wait longer than this is lost.
    pub timeout: Span,
    /// From asking for a replica to its first request (C6: a container takes about 30 s).
    pub start_up: Span,
    /// Added to `startUp`, by chance evenly from nothing to this.
    pub start_up_spread: Span,
    /// For so long a new replica carries less: half at first, rising evenly to the whole (caches, compilers).
    pub warm_up: Span,
    /// How long a replica that is taken away is still paid for (A14: deregistration delay 30 s).
    pub drain: Span,
    /// What a replica costs an hour (A28: m5.large 0.096 $).
    pub price: f64,
    /// Cores a replica uses when it is fully busy.
    pub cores: f64,
    /// Bytes a replica occupies when idle; each request in it adds a hundredth of that.
    pub memory: f64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            capacity: 100.0,
            usable: 0.9,
            service_time: Span::millis(50),
            objective: Span::millis(500),
            timeout: Span::seconds(10),
            start_up: Span::seconds(30),
            start_up_spread: Span::ZERO,
            warm_up: Span::ZERO,
            drain: Span::seconds(30),
            price: 0.096,
            cores: 1.0,
            memory: 256.0 * 1024.0 * 1024.0,
        }
    }
}

/// A figure of a model that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's `{figure}` {why}")]
pub struct ModelProblem {
    figure: &'static str,
    why: String,
}

impl Model {
    /// Requests a replica works on at once: at least one.
    #[must_use]
    pub fn workers(&self) -> u32 {
        let workers = libm::round(self.capacity * self.service_time.as_secs_f64());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 1 ..= 10 000"
        )]
        let workers = workers.clamp(1.0, 10_000.0) as u32;
        workers
    }

    /// What one replica may carry without missing the objective, in requests a second.
    #[must_use]
    pub fn carries(&self) -> f64 {
        self.capacity * self.usable
    }

    /// Replicas needed for `demand` requests a second.
    #[must_use]
    pub fn need(&self, demand: f64) -> u32 {
        headroom_core::units::Replicas::ceil(demand / self.carries()).0
    }

    /// Whether the figures can be.
    ///
    /// # Errors
    /// The first figure that can't.
    pub fn check(&self) -> Result<(), ModelProblem> {
        let problem = |figure, why: String| Err(ModelProblem { figure, why });
        for (figure, v, zero_allowed) in [
            ("capacity", self.capacity, false),
            ("usable", self.usable, false),
            ("price", self.price, true),
            ("cores", self.cores, false),
            ("memory", self.memory, true),
        ] {
            if !v.is_finite() || v < 0.0 || (v == 0.0 && !zero_allowed) {
                return problem(figure, format!("is {v}; a positive number is needed"));
            }
        }
        if self.usable > 1.0 {
            return problem("usable", format!("is {}; it is a share, at most 1", self.usable));
        }
        for (figure, span) in
            [("serviceTime", self.service_time), ("objective", self.objective), ("timeout", self.timeout)]
        {
            if span.is_zero() {
                return problem(figure, "must be longer than nothing".to_owned());
            }
        }
        for (figure, span) in [
            ("startUp", self.start_up),
            ("startUpSpread", self.start_up_spread),
            ("warmUp", self.warm_up),
            ("drain", self.drain),
        ] {
            if span > Span::days(1) {
                return problem(figure, format!("is {span}; more than a day is no start and no drain"));
            }
        }
        let edge = Queue::new(self).busiest_within_objective();
        if edge < self.usable {
            return problem(
                "usable",
                format!(
                    "is {}, but with {} requests at once of {} each, 95 % are answered within {} only up to a \
                     share of {edge:.3}; lower `usable`, or allow more time in `objective`",
                    self.usable,
                    self.workers(),
                    self.service_time,
                    self.objective
                ),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_model_can_be_and_impossible_ones_are_refused() {
        Model::default().check().unwrap();
        let bad = |change: fn(&mut Model)| {
            let mut model = Model::default();
            change(&mut model);
            model.check().unwrap_err().to_string()
        };
        for (error, expected) in [
            (bad(|m| m.capacity = 0.0), "`capacity` is 0"),
            (bad(|m| m.capacity = f64::NAN), "`capacity` is NaN"),
            (bad(|m| m.usable = 1.5), "at most 1"),
            (bad(|m| m.usable = 0.99), "lower `usable`"),
            (bad(|m| m.objective = Span::millis(100)), "`usable`"),
            (bad(|m| m.timeout = Span::ZERO), "`timeout` must"),
            (bad(|m| m.start_up = Span::days(2)), "no start"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn need_counts_only_what_may_be_used() {
        for (demand, need) in [(0.0, 0), (1.0, 1), (90.0, 1), (90.1, 2), (3600.0, 40), (3600.1, 41)] {
            assert_eq!(Model::default().need(demand), need, "{demand}");
        }
    }
}
