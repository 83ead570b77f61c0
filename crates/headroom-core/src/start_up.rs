//! How long a start takes, as seen (C6).
//!
//! Every decision to grow takes effect only when the replica asked for is ready. How long that is differs by
//! workload and drifts with versions and machines, so it is measured: the last starts are remembered and the
//! decision uses their 90th percentile, because half of the starts are slower than the median.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::observation::TargetStatus;
use crate::units::{Span, Timestamp};

/// Starts remembered: enough for a 90th percentile, few enough to follow a new version within a day.
const REMEMBERED: usize = 32;

/// The last starts of a workload's replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StartUps {
    took: VecDeque<Span>,
    newest: Option<Timestamp>,
    /// The 90th percentile of `took`: every decision quotes it, and it changes only with a start.
    #[serde(default)]
    expected: Option<Span>,
}

impl StartUps {
    /// Takes in the replicas that became ready since the last look.
    pub fn learn(&mut self, status: &TargetStatus) {
        let mut newest = self.newest;
        for replica in &status.replicas {
            let Some(ready_at) = replica.ready_at else { continue };
            if self.newest.is_some_and(|newest| ready_at <= newest) {
                continue;
            }
            newest = newest.max(Some(ready_at));
            if self.took.len() == REMEMBERED {
                self.took.pop_front();
            }
            self.took.push_back(ready_at.since(replica.started_at));
        }
        if newest != self.newest {
            self.newest = newest;
            self.expected = self.quantile(0.9);
        }
    }

    /// How many starts are remembered.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.took.len()
    }

    /// The `q`-quantile (0 to 1) of the remembered starts, as one of them; `None` before the first start.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Span> {
        let mut sorted: Vec<Span> = self.took.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of at most 31"
        )]
        let index = (q.clamp(0.0, 1.0) * last as f64).ceil() as usize;
        sorted.get(index.min(last)).copied()
    }

    /// How long a start made now is taken to take: the 90th percentile of the remembered ones.
    #[must_use]
    pub fn expected(&self) -> Option<Span> {
        self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ReplicaId;
    use crate::observation::{Phase, ReplicaStatus};

    fn started(id: u32, from_s: i64, took_s: Option<u64>) -> ReplicaStatus {
        let started_at = Timestamp::from_millis(from_s * 1000);
        ReplicaStatus {
            id: ReplicaId(id.to_string().into()),
            phase: Phase::Ready,
            started_at,
            ready_at: took_s.map(|s| started_at.plus(Span::seconds(s))),
            address: None,
            cpu: None,
            memory: None,
            restarts: 0,
        }
    }

    #[test]
    fn each_start_counts_once_however_often_it_is_seen() {
        let mut starts = StartUps::default();
        assert_eq!(starts.expected(), None, "nothing seen is not a start of no time");
        let mut status = TargetStatus {
            replicas: vec![started(1, 0, Some(3)), started(2, 0, None)],
            ..Default::default()
        };
        starts.learn(&status);
        starts.learn(&status);
        assert_eq!((starts.seen(), starts.expected()), (1, Some(Span::seconds(3))));
        status.replicas[1] = started(2, 0, Some(9));
        starts.learn(&status);
        assert_eq!((starts.seen(), starts.expected()), (2, Some(Span::seconds(9))));
    }

    #[test]
    fn old_starts_are_forgotten() {
        let mut starts = StartUps::default();
        for i in 0..100_u32 {
            let took = if i < 60 { 60 } else { 5 };
            let status = TargetStatus {
                replicas: vec![started(i, i64::from(i) * 100, Some(took))],
                ..Default::default()
            };
            starts.learn(&status);
        }
        assert_eq!(starts.seen(), REMEMBERED);
        assert_eq!(starts.expected(), Some(Span::seconds(5)));
    }
}
