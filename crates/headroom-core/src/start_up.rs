//! How long a start and a drain take, as seen (C6).
//!
//! Every decision to grow takes effect only when the replica asked for is ready. How long that is differs by
//! workload and drifts with versions and machines, so it is measured: the last starts are remembered and the
//! decision uses their 90th percentile, because half of the starts are slower than the median. A replica that goes
//! is paid for until its last request has ended, which is measured the same way.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ReplicaId;
use crate::observation::{Phase, TargetStatus};
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
        let pool = status.pool.iter().flat_map(|pool| &pool.replicas);
        for replica in status.replicas.iter().chain(pool) {
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
        quantile(&self.took, q)
    }

    /// The times in short; `None` before the first start.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        Times::of(&self.took)
    }

    /// How long a start made now is taken to take: the 90th percentile of the remembered ones.
    #[must_use]
    pub fn expected(&self) -> Option<Span> {
        self.expected
    }
}

/// What the last starts or drains took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Half of them took no longer.
    pub median: Span,
    /// 9 of 10 took no longer: what decisions reckon with.
    pub p90: Span,
    /// The longest.
    pub longest: Span,
    /// How many are remembered.
    pub seen: u32,
}

impl Times {
    fn of(took: &VecDeque<Span>) -> Option<Self> {
        let at = |q: f64| quantile(took, q);
        let seen = u32::try_from(took.len()).unwrap_or(u32::MAX);
        Some(Self { median: at(0.5)?, p90: at(0.9)?, longest: at(1.0)?, seen })
    }
}

/// The `q`-quantile of `took`, as one of them.
fn quantile(took: &VecDeque<Span>, q: f64) -> Option<Span> {
    let mut sorted: Vec<Span> = took.iter().copied().collect();
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

/// Replicas whose drain is being timed at the most; a target that shows more drains in one go than this is measured
/// by some of them.
const DRAINING: usize = 64;

/// The last drains of a workload's replicas: from the first look that shows one on its way out to the first that
/// does not show it any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drains {
    took: VecDeque<Span>,
    under_way: BTreeMap<ReplicaId, Timestamp>,
}

impl Drains {
    /// Takes in a look at the target.
    pub fn learn(&mut self, at: Timestamp, status: &TargetStatus) {
        let draining = |replica: &&crate::observation::ReplicaStatus| replica.phase == Phase::Draining;
        if self.under_way.is_empty() && !status.replicas.iter().any(|r| draining(&r)) {
            return;
        }
        let took = &mut self.took;
        self.under_way.retain(|id, since| match status.replicas.iter().find(|replica| replica.id == *id) {
            // One that was taken back, or is gone: only the latter drained to its end.
            Some(replica) => replica.phase == Phase::Draining,
            None => {
                if took.len() == REMEMBERED {
                    took.pop_front();
                }
                took.push_back(at.since(*since));
                false
            }
        });
        for replica in status.replicas.iter().filter(draining) {
            if self.under_way.len() < DRAINING && !self.under_way.contains_key(&replica.id) {
                self.under_way.insert(replica.id.clone(), at);
            }
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.took.is_empty() && self.under_way.is_empty()
    }

    /// The times in short; `None` before the first drain has ended.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        Times::of(&self.took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::ReplicaStatus;

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
            version: None,
        }
    }

    #[test]
    fn each_start_counts_once_however_often_it_is_seen() {
        let mut starts = StartUps::default();
        assert_eq!(starts.expected(), None, "nothing seen is not a start of no time");
        let mut status = TargetStatus {
            replicas: [started(1, 0, Some(3)), started(2, 0, None)].into(),
            ..Default::default()
        };
        starts.learn(&status);
        starts.learn(&status);
        assert_eq!((starts.seen(), starts.expected()), (1, Some(Span::seconds(3))));
        status.replicas = [started(1, 0, Some(3)), started(2, 0, Some(9))].into();
        starts.learn(&status);
        assert_eq!((starts.seen(), starts.expected()), (2, Some(Span::seconds(9))));
    }

    #[test]
    fn old_starts_are_forgotten() {
        let mut starts = StartUps::default();
        for i in 0..100_u32 {
            let took = if i < 60 { 60 } else { 5 };
            let status = TargetStatus {
                replicas: [started(i, i64::from(i) * 100, Some(took))].into(),
                ..Default::default()
            };
            starts.learn(&status);
        }
        assert_eq!(starts.seen(), REMEMBERED);
        assert_eq!(starts.expected(), Some(Span::seconds(5)));
    }

    /// C6: a drain takes from the first look that shows it to the first that shows the replica gone.
    #[test]
    fn a_drain_is_timed_to_its_end_and_one_taken_back_is_none() {
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        let draining = |id: u32| ReplicaStatus { phase: Phase::Draining, ..started(id, 0, Some(1)) };
        let shows = |replicas: Vec<ReplicaStatus>| TargetStatus {
            replicas: replicas.into(),
            ..TargetStatus::default()
        };
        let mut drains = Drains::default();
        drains.learn(at(0), &shows(vec![started(1, 0, Some(1)), started(2, 0, Some(1))]));
        assert!(drains.is_empty());
        drains.learn(at(10), &shows(vec![draining(1), draining(2)]));
        drains.learn(at(12), &shows(vec![draining(1), started(2, 0, Some(1))]));
        assert_eq!(drains.times(), None, "none has ended");
        drains.learn(at(17), &shows(vec![started(2, 0, Some(1))]));
        drains.learn(at(18), &shows(vec![started(2, 0, Some(1))]));
        let seven = Span::seconds(7);
        assert_eq!(drains.times(), Some(Times { median: seven, p90: seven, longest: seven, seen: 1 }));
    }

    #[test]
    fn the_times_of_starts_are_some_that_were_seen() {
        let mut starts = StartUps::default();
        assert_eq!(starts.times(), None);
        for (i, took) in [4, 1, 3, 2, 9].into_iter().enumerate() {
            let i = u32::try_from(i).unwrap();
            let replicas = [started(i, i64::from(i) * 100, Some(took))].into();
            starts.learn(&TargetStatus { replicas, ..TargetStatus::default() });
        }
        let times = starts.times().unwrap();
        assert_eq!((times.median, times.p90, times.seen), (Span::seconds(3), Span::seconds(9), 5));
    }
}
