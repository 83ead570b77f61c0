//! Readings: what is known of a signal now.
//!
//! A failed source, a gap, a NaN and a value that is too old are not numbers. They are [`Reading::Missing`] or
//! [`Reading::Stale`], and no conversion makes a number of them. Zero is a measured value like any other. An
//! HTTP error once read as queue length 0 has scaled other people's workloads to zero.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ReplicaId;
use crate::units::{Level, Span, Timestamp};

/// One measured value and when it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sample {
    /// When the value was true at its source, not when it arrived.
    pub at: Timestamp,
    /// The value in the signal's unit.
    pub value: Level,
    /// The parts by replica, where the source knows them; shared, for samples are cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_replica: Option<Arc<[ReplicaLevel]>>,
}

impl Sample {
    /// A sample without parts.
    #[must_use]
    pub fn new(at: Timestamp, value: Level) -> Self {
        Self { at, value, by_replica: None }
    }
}

/// One replica's part of a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReplicaLevel {
    /// Whose part it is.
    pub replica: ReplicaId,
    /// The part, in the signal's unit.
    pub value: Level,
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Absence {
    /// Nothing has come since the start.
    NeverSeen,
    /// The source answered that it has no such series, or an empty one.
    Empty,
    /// The source gave NaN, infinity or a negative amount.
    NotANumber,
    /// The source failed; its own words.
    SourceFailed(String),
    /// There is no replica the value could be of.
    NoReplica,
    /// Nothing happened that could be measured: no request, so no latency. It is no fault, and holds nothing
    /// back; it is still no number.
    Idle,
}

/// What is known of a signal at the moment of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reading {
    /// A value young enough to act on.
    Fresh(Sample),
    /// The last value is older than the signal's freshness limit: good for a look, not for shrinking.
    Stale {
        /// The last value seen.
        last: Sample,
        /// How old it is; of one that is ahead of this machine's clock, how far.
        age: Span,
        /// Whether it is ahead.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ahead: bool,
    },
    /// No value.
    Missing(Absence),
}

impl Reading {
    /// The reading of a signal whose last sample is `last`, at the moment `at`, with freshness limit `fresh_for`.
    ///
    /// A sample from the future (a clock set back) is fresh up to the same limit and stale beyond it, so a
    /// clock step can't keep an old value alive for ever.
    #[must_use]
    pub fn of(last: Option<&Sample>, absence: Option<&Absence>, at: Timestamp, fresh_for: Span) -> Self {
        match (last, absence) {
            (_, Some(absence)) => Self::Missing(absence.clone()),
            (None, None) => Self::Missing(Absence::NeverSeen),
            (Some(last), None) => {
                let age = at.since(last.at).max(last.at.since(at));
                if age <= fresh_for {
                    Self::Fresh(last.clone())
                } else {
                    Self::Stale { last: last.clone(), age, ahead: last.at > at }
                }
            }
        }
    }

    /// The value, if it may be acted on.
    #[must_use]
    pub fn fresh(&self) -> Option<&Sample> {
        match self {
            Self::Fresh(sample) => Some(sample),
            Self::Stale { .. } | Self::Missing(_) => None,
        }
    }

    /// Whether there is no value because of a fault, rather than because there is nothing to measure.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::Fresh(_) | Self::Missing(Absence::Idle | Absence::NoReplica))
    }

    /// Whether this may not be acted on.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.fresh().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ms: i64) -> Sample {
        Sample::new(Timestamp::from_millis(ms), Level::ZERO)
    }

    #[test]
    fn a_value_is_fresh_up_to_its_limit_and_stale_just_over() {
        let at = Timestamp::from_millis(10_000);
        let limit = Span::seconds(5);
        for (sampled, fresh) in
            [(10_000, true), (5_000, true), (4_999, false), (15_000, true), (15_001, false)]
        {
            let reading = Reading::of(Some(&sample(sampled)), None, at, limit);
            assert_eq!(reading.fresh().is_some(), fresh, "sampled at {sampled}");
        }
    }

    #[test]
    fn zero_is_a_value_and_absence_is_not() {
        let at = Timestamp::from_millis(0);
        assert_eq!(Reading::of(Some(&sample(0)), None, at, Span::ZERO).fresh().unwrap().value, Level::ZERO);
        assert!(Reading::of(None, None, at, Span::hours(1)).is_absent());
        assert!(Reading::of(Some(&sample(0)), Some(&Absence::NotANumber), at, Span::hours(1)).is_absent());
    }
}
