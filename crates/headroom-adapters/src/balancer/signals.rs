//! The balancer's figures as signals.
//!
//! Figures come ten times a second, each of the last tenth. A signal averages over its own window, so the last
//! intervals are kept and summed. Where nothing was served there is no latency and no share of errors: that is
//! "nothing to measure", not zero.

use std::collections::VecDeque;

use headroom_core::controller::Measured;
use headroom_core::fleet::{BalancerSignal, Quantile, Signal, SignalSource, Workload};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Span, Timestamp};
use headroom_lb::figures::{Figures, Quantiles};
use headroom_lb::histogram::{Histogram, Sparse};

/// Intervals kept at the most: a minute of tenths. Longer windows see the last minute.
const KEPT: usize = 600;

/// Values that did not change are told again this often: well within the freshness limit of three seconds. A quiet
/// workload costs one record a second, not ten.
const REPEAT: Span = Span::seconds(1);

/// The balancer signals of one workload.
#[derive(Debug)]
pub(super) struct Signals {
    workload: WorkloadName,
    signals: Vec<(SignalName, BalancerSignal, Span)>,
    keeps_histograms: bool,
    recent: VecDeque<Interval>,
    under_way: u64,
    told: Option<(Timestamp, Vec<Result<f64, Absence>>)>,
}

#[derive(Debug)]
struct Interval {
    length_micros: u64,
    arrived: u64,
    answered: u64,
    failed: u64,
    histogram: Option<Sparse>,
}

impl Signals {
    pub(super) fn new(workload: WorkloadName, settings: &Workload) -> Self {
        let of_balancer = |(name, signal): (&SignalName, &Signal)| match signal.source {
            SignalSource::Balancer(kind) => Some((name.clone(), kind, signal.window)),
            SignalSource::Process(_)
            | SignalSource::Push(_)
            | SignalSource::Read(_)
            | SignalSource::ReplicasOf(_) => None,
        };
        let signals: Vec<_> = settings.signals.iter().filter_map(of_balancer).collect();
        let keeps_histograms = signals.iter().any(|(_, kind, _)| matches!(kind, BalancerSignal::Latency(_)));
        Self { workload, signals, keeps_histograms, recent: VecDeque::new(), under_way: 0, told: None }
    }

    /// Takes in figures and gives each signal's value; nothing where all are what they were a moment ago.
    pub(super) fn read(&mut self, figures: &Figures) -> Vec<Measured> {
        let traffic = &figures.service_traffic;
        let counts = &traffic.interval;
        // The balancer counts requests as they end; what arrived is that and what is more under way than before,
        // held ones included.
        let under_way = u64::from(traffic.in_flight);
        let arrived = (counts.requests + under_way).saturating_sub(self.under_way);
        self.under_way = under_way;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Interval {
            length_micros: figures.interval_micros,
            arrived,
            answered: counts.requests,
            failed: counts.status_5xx,
            histogram: self.keeps_histograms.then(|| traffic.latency.histogram.sparse()),
        });
        let at = Timestamp::from_millis(i64::try_from(figures.at.0).unwrap_or(i64::MAX));
        let values: Vec<_> =
            self.signals.iter().map(|(_, kind, window)| self.value(*kind, *window, figures)).collect();
        if let Some((then, told)) = &self.told
            && *told == values
            && at.since(*then).max(then.since(at)) < REPEAT
        {
            return Vec::new();
        }
        let measured = self.signals.iter().zip(&values).map(|((name, ..), value)| Measured {
            workload: self.workload.clone(),
            signal: name.clone(),
            value: value.clone().and_then(|value| {
                Level::new(value).map(|value| Sample::new(at, value)).map_err(|_| Absence::NotANumber)
            }),
        });
        let measured = measured.collect();
        self.told = Some((at, values));
        measured
    }

    fn value(&self, kind: BalancerSignal, window: Span, figures: &Figures) -> Result<f64, Absence> {
        let traffic = &figures.service_traffic;
        match kind {
            BalancerSignal::InFlight => Ok(f64::from(traffic.in_flight)),
            BalancerSignal::Connections => Ok(f64::from(traffic.connections)),
            BalancerSignal::RequestsPerSecond => {
                let (requests, micros) =
                    self.last(window).fold((0, 0), |(n, t), i| (n + i.arrived, t + i.length_micros));
                if micros == 0 { Err(Absence::Empty) } else { Ok(requests as f64 / (micros as f64 / 1e6)) }
            }
            BalancerSignal::ErrorRatio => {
                let (failed, answered) =
                    self.last(window).fold((0, 0), |(f, a), i| (f + i.failed, a + i.answered));
                if answered == 0 { Err(Absence::Idle) } else { Ok(failed as f64 / answered as f64) }
            }
            BalancerSignal::Latency(quantile) => {
                let mut merged = Histogram::default();
                for histogram in self.last(window).filter_map(|i| i.histogram.as_ref()) {
                    merged.merge_sparse(histogram);
                }
                let quantiles = Quantiles::of(&merged);
                let micros = match quantile {
                    Quantile::P50 => quantiles.p50_micros,
                    Quantile::P95 => quantiles.p95_micros,
                    Quantile::P99 => quantiles.p99_micros,
                };
                micros.map(|micros| micros as f64 / 1e6).ok_or(Absence::Idle)
            }
        }
    }

    /// The newest intervals that together make up `window`; at least one.
    fn last(&self, window: Span) -> impl Iterator<Item = &Interval> {
        let mut left = window.as_millis().saturating_mul(1000);
        let mut first = true;
        self.recent.iter().rev().take_while(move |interval| {
            // An interval counts if most of it lies within the window.
            let inside = std::mem::take(&mut first) || left >= interval.length_micros / 2;
            left = left.saturating_sub(interval.length_micros);
            inside
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_core::fleet::FleetDocument;
    use headroom_lb::figures::Traffic;
    use headroom_lb::settings::Millis;

    fn signals() -> Signals {
        let document: FleetDocument = serde_json::from_value(serde_json::json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "test" },
            "spec": { "workloads": { "web": {
                "target": { "process": { "command": ["app"] } },
                "balancer": { "listen": "127.0.0.1:0" },
                "replicas": { "min": 1, "max": 10 },
                "signals": {
                    "errors": { "balancer": "errorRatio" },
                    "p95": { "balancer": { "latency": "p95" } },
                    "rps": { "balancer": "requestsPerSecond" },
                },
                "strategies": [],
            } } }
        }))
        .unwrap();
        let name: WorkloadName = "web".parse().unwrap();
        Signals::new(name.clone(), &document.spec.workloads[&name])
    }

    fn figures(ended: u64, in_flight: u32) -> Figures {
        let mut traffic = Traffic { in_flight, ..Traffic::default() };
        traffic.interval.requests = ended;
        traffic.interval.status_2xx = ended;
        (0..ended).for_each(|_| traffic.latency.histogram.record(50_000));
        Figures {
            service: "web".parse().unwrap(),
            at: Millis(1_000_000),
            interval_micros: 100_000,
            held: 0,
            service_traffic: traffic,
            backends: std::collections::BTreeMap::new(),
        }
    }

    fn value(measured: &[Measured], name: &str) -> Result<f64, Absence> {
        let of = measured.iter().find(|m| m.signal.as_str() == name).unwrap();
        of.value.clone().map(|sample| sample.value.get())
    }

    #[test]
    fn requests_count_when_they_arrive_so_a_saturated_service_still_shows_its_load() {
        let mut signals = signals();
        signals.read(&figures(10, 0));
        // Ten end, and forty more are under way than before: fifty came.
        let measured = signals.read(&figures(10, 40));
        assert_eq!(value(&measured, "rps"), Ok(300.0), "60 in two tenths of a second");
    }

    #[test]
    fn a_window_slides() {
        let mut signals = signals();
        let mut read = |i: u64, ended| {
            value(&signals.read(&Figures { at: Millis(1_000_000 + i * 1000), ..figures(ended, 0) }), "rps")
        };
        (0..20).for_each(|i| drop(read(i, 10)));
        assert_eq!(read(20, 10), Ok(100.0));
        (21..30).for_each(|i| drop(read(i, 100)));
        assert_eq!(read(30, 100), Ok(1000.0));
    }

    #[test]
    fn values_that_stay_the_same_are_told_once_a_second() {
        let mut signals = signals();
        assert!(!signals.read(&figures(0, 0)).is_empty());
        let later = |ms: u64| Figures { at: Millis(1_000_000 + ms), ..figures(0, 0) };
        assert!(signals.read(&later(900)).is_empty());
        assert!(!signals.read(&later(1000)).is_empty());
        let busy = Figures { at: Millis(1_001_100), ..figures(1, 0) };
        assert!(!signals.read(&busy).is_empty(), "a change is told at once");
    }

    #[test]
    fn without_requests_there_is_a_rate_and_no_latency() {
        let measured = signals().read(&figures(0, 0));
        assert_eq!(value(&measured, "rps"), Ok(0.0));
        assert_eq!(value(&measured, "p95"), Err(Absence::Idle));
        assert_eq!(value(&measured, "errors"), Err(Absence::Idle));
    }
}
