//! What became of every request.
//!
//! One lock guards all figures, so a snapshot is never torn: `sent = ok + failed + in flight` in each.
//! Requests that could not even be sent, because all connections were busy, are `overrun`, apart from
//! `sent`: they are the generator's shortage, and hiding them would be the mistake open-loop load is
//! meant to avoid.
//!
//! Latency counts from the moment a request was *due*. It is taken of requests answered with success and
//! of those that timed out (a timeout counts with the time it lasted: leaving it out would flatter). A
//! refusal that comes back in a millisecond is no fast answer and is left out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::plan::LoadPlan;

/// Significant decimal digits of latencies: three for the whole run, two for each phase, where a
/// thousand histograms may be kept.
const DIGITS: u8 = 3;
const DIGITS_OF_PHASE: u8 = 2;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureClass {
    /// Answered with a status of 400 to 499.
    Status4xx,
    /// Answered with a status of 500 or more.
    Status5xx,
    /// No connection could be made.
    Connect,
    /// The connection ended before the whole answer was there.
    Reset,
    /// No whole answer in time.
    Timeout,
    /// What came back isn't HTTP.
    Protocol,
}

/// When a phase's first request went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstRequest {
    /// When it was due.
    pub due: Instant,
    /// When it was handed to a connection.
    pub sent: Instant,
}

/// A view of a running (or ended) load, cheap to clone.
#[derive(Debug, Clone)]
pub struct LiveStats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    began_at: SystemTime,
    plan: LoadPlan,
    tally: Mutex<Tally>,
}

#[derive(Debug)]
struct Tally {
    sent: u64,
    ok: u64,
    overrun: u64,
    failed: BTreeMap<FailureClass, u64>,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    phases: Vec<PhaseTally>,
}

#[derive(Debug)]
struct PhaseTally {
    first: Option<FirstRequest>,
    sent: u64,
    ok: u64,
    failed: u64,
    overrun: u64,
    latency: Histogram<u64>,
}

/// All figures at one moment.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Time since the begin of the plan.
    pub elapsed: Duration,
    /// Requests sent.
    pub sent: u64,
    /// Answered with a status below 400.
    pub ok: u64,
    /// Failed, by class.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Sent and not yet settled.
    pub in_flight: u64,
    /// Due, but not sent since every connection was busy.
    pub overrun: u64,
    /// Latency in microseconds.
    pub latency: Histogram<u64>,
    /// How late requests were sent, in microseconds: beyond a few milliseconds the generator, not the
    /// server, is at its limit.
    pub lag: Histogram<u64>,
    /// For each surge that has begun, in order, its first request.
    pub surges: Vec<FirstRequest>,
}

impl Stats {
    /// Requests that failed, of any class.
    #[must_use]
    pub fn failed_in_all(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl LiveStats {
    pub(super) fn new(plan: LoadPlan, began: Instant) -> Self {
        let phases = plan.phases().iter().map(|_| PhaseTally::new()).collect();
        let tally = Tally {
            sent: 0,
            ok: 0,
            overrun: 0,
            failed: BTreeMap::new(),
            latency: histogram(DIGITS),
            lag: histogram(DIGITS),
            phases,
        };
        Self(Arc::new(Shared { began, began_at: SystemTime::now(), plan, tally: Mutex::new(tally) }))
    }

    /// All figures now.
    #[must_use]
    pub fn snapshot(&self) -> Stats {
        let tally = self.tally();
        let failed: u64 = tally.failed.values().sum();
        let surges = tally.phases.iter().zip(self.0.plan.phases()).filter(|(_, phase)| phase.is_surge());
        Stats {
            elapsed: self.0.began.elapsed(),
            sent: tally.sent,
            ok: tally.ok,
            failed: tally.failed.clone(),
            in_flight: tally.sent - tally.ok - failed,
            overrun: tally.overrun,
            latency: tally.latency.clone(),
            lag: tally.lag.clone(),
            surges: surges.filter_map(|(tally, _)| tally.first).collect(),
        }
    }

    /// The figures as a report. Complete once nothing is in flight any more.
    #[must_use]
    pub fn report(&self) -> Report {
        let tally = self.tally();
        let failed: u64 = tally.failed.values().sum();
        let mut begins = Duration::ZERO;
        let phases = tally.phases.iter().zip(self.0.plan.phases()).map(|(tally, phase)| {
            let planned = begins;
            begins += phase.lasts;
            PhaseReport {
                name: phase.name.clone(),
                planned_start_ms: milliseconds(planned),
                first_sent_ms: tally.first.map(|first| milliseconds(first.sent - self.0.began)),
                sent: tally.sent,
                ok: tally.ok,
                failed: tally.failed,
                overrun: tally.overrun,
                latency_ms: Quantiles::of(&tally.latency),
            }
        });
        Report {
            started_unix_ms: milliseconds(
                self.0.began_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            ),
            duration_ms: milliseconds(self.0.began.elapsed()),
            requests: Requests {
                sent: tally.sent,
                ok: tally.ok,
                failed,
                in_flight: tally.sent - tally.ok - failed,
                overrun: tally.overrun,
                by_class: tally.failed.clone(),
            },
            latency_ms: Quantiles::of(&tally.latency),
            schedule_lag_ms: Quantiles::of(&tally.lag),
            phases: phases.collect(),
        }
    }

    /// A request goes out.
    pub(super) fn sent(&self, phase: usize, due: Instant, now: Instant) {
        let mut tally = self.tally();
        tally.sent += 1;
        let phase = &mut tally.phases[phase];
        phase.sent += 1;
        phase.first.get_or_insert(FirstRequest { due, sent: now });
    }

    /// A request would have gone out, had a connection been free.
    pub(super) fn overran(&self, phase: usize) {
        let mut tally = self.tally();
        tally.overrun += 1;
        tally.phases[phase].overrun += 1;
    }

    /// A request that went out has come to its end, `took` after it was due; it was sent `lag` late.
    pub(super) fn settled(
        &self,
        phase: usize,
        lag: Duration,
        took: Duration,
        outcome: Result<(), FailureClass>,
    ) {
        let mut tally = self.tally();
        let tally = &mut *tally;
        let phase = &mut tally.phases[phase];
        record(&mut tally.lag, lag);
        if matches!(outcome, Ok(()) | Err(FailureClass::Timeout)) {
            record(&mut tally.latency, took);
            record(&mut phase.latency, took);
        }
        match outcome {
            Ok(()) => {
                tally.ok += 1;
                phase.ok += 1;
            }
            Err(class) => {
                *tally.failed.entry(class).or_default() += 1;
                phase.failed += 1;
            }
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counters stay right whatever panicked while they were held.
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PhaseTally {
    fn new() -> Self {
        Self { first: None, sent: 0, ok: 0, failed: 0, overrun: 0, latency: histogram(DIGITS_OF_PHASE) }
    }
}

/// The outcome of a load, as programs read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the plan began, in milliseconds of Unix time.
    pub started_unix_ms: f64,
    /// How long it took, to the last answer.
    pub duration_ms: f64,
    /// What became of the requests.
    pub requests: Requests,
    /// Latency from the due time; absent if nothing was answered.
    pub latency_ms: Option<Quantiles>,
    /// How late requests were sent; absent if none were.
    pub schedule_lag_ms: Option<Quantiles>,
    /// The same by phase, by the phase in which a request was due.
    pub phases: Vec<PhaseReport>,
}

/// Numbers of requests. `sent = ok + failed + inFlight`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// Sent.
    pub sent: u64,
    /// Answered with a status below 400.
    pub ok: u64,
    /// Failed in any way.
    pub failed: u64,
    /// Not settled yet; 0 after the end.
    pub in_flight: u64,
    /// Due, but not sent since every connection was busy; not part of `sent`.
    pub overrun: u64,
    /// Failed, by class; a class without failures is left out.
    pub by_class: BTreeMap<FailureClass, u64>,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// 95 % are below.
    pub p95: f64,
    /// 99 % are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// The outcome of a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseReport {
    /// Its name in the plan.
    pub name: String,
    /// When it was to begin, from the begin of the plan.
    pub planned_start_ms: f64,
    /// When its first request went out, from the begin of the plan; absent if it had none.
    pub first_sent_ms: Option<f64>,
    /// Sent.
    pub sent: u64,
    /// Answered with a status below 400.
    pub ok: u64,
    /// Failed in any way.
    pub failed: u64,
    /// Due, but not sent since every connection was busy.
    pub overrun: u64,
    /// Latency from the due time; absent if nothing was answered.
    pub latency_ms: Option<Quantiles>,
}

impl Quantiles {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a run fit a double")]
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let max = histogram.max() as f64 / 1e3;
        // A quantile is the upper edge of its bucket, which may lie just above the largest value seen.
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.50).min(max),
            p95: at(0.95).min(max),
            p99: at(0.99).min(max),
            max,
        })
    }
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new(digits).expect("0 to 5 digits are allowed")
}

/// Records a time in microseconds. Not `saturating_record`: that doesn't let the histogram grow.
fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    histogram.record(microseconds).expect("a histogram that resizes itself takes every number");
}

/// Milliseconds, to the microsecond: what lies below is noise, and makes reports hard to read.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of Unix time fit a double for 200 years to come"
)]
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_request_is_accounted_for_in_every_snapshot() {
        let began = Instant::now();
        let live = LiveStats::new("calm 1s @1, surge 1s x2".parse().unwrap(), began);
        for (phase, at) in [(0, 0), (1, 1000), (1, 1500)] {
            live.sent(phase, began + at * MS, began + (at + 1) * MS);
        }
        live.overran(1);
        let stats = live.snapshot();
        assert_eq!((stats.sent, stats.ok, stats.in_flight, stats.overrun), (3, 0, 3, 1));
        assert_eq!(stats.surges, [FirstRequest { due: began + 1000 * MS, sent: began + 1001 * MS }]);

        live.settled(0, 1 * MS, 10 * MS, Ok(()));
        live.settled(1, 1 * MS, 1 * MS, Err(FailureClass::Status5xx));
        live.settled(1, 1 * MS, 500 * MS, Err(FailureClass::Timeout));
        let stats = live.snapshot();
        assert_eq!((stats.sent, stats.ok, stats.failed_in_all(), stats.in_flight), (3, 1, 2, 0));
        assert_eq!(stats.latency.len(), 2, "a timeout counts with its time, a fast refusal doesn't");

        let report = live.report();
        assert_eq!(report.requests.failed, 2);
        assert_eq!(report.phases[0].latency_ms.unwrap().max.round(), 10.0);
        assert_eq!(report.phases[1].first_sent_ms, Some(1001.0));
        assert_eq!((report.phases[1].sent, report.phases[1].failed, report.phases[1].overrun), (2, 2, 1));
    }

    #[test]
    fn a_report_is_stable_json_and_nothing_measured_is_absent() {
        let live = LiveStats::new("1s @1".parse().unwrap(), Instant::now());
        live.sent(0, Instant::now(), Instant::now());
        let json = serde_json::to_value(live.report()).unwrap();
        assert_eq!(json["latencyMs"], serde_json::Value::Null);
        assert_eq!(
            json["requests"],
            serde_json::json!({"sent": 1, "ok": 0, "failed": 0, "inFlight": 1, "overrun": 0, "byClass": {}})
        );
        live.settled(0, MS, MS, Err(FailureClass::Status5xx));
        let json = serde_json::to_value(live.report()).unwrap();
        assert_eq!(json["requests"]["byClass"], serde_json::json!({"status5xx": 1}));
        let back: Report = serde_json::from_value(json).unwrap();
        assert_eq!(back.requests.failed, 1);
    }
}
