//! What the balancer tells of its traffic: counts and latencies, in all and per backend.
//!
//! Counts come twice: `totals` grow monotonically from the process's start, `interval` is what was
//! added since the previous figures. Latencies come as a histogram of the interval, which merges by
//! addition, and as quantiles for people. Two figures in a row merge into one of a longer interval
//! ([`Figures::merge`]); that is how a slow reader is served without loss and without a queue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    histogram::Histogram,
    names::{BackendId, ServiceName},
    settings::Millis,
};

/// Length of the sliding window of [`Latency::window`]: long enough for a p99 at 10 requests/s, short
/// enough to follow a surge.
pub const WINDOW: Millis = Millis(10_000);

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counts of what happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counts {
            /// Adds another's counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }

            /// What was added since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)+ }
            }
        }

        /// [`Counts`] written by one thread and read by another, without a locked instruction.
        #[derive(Debug, Default)]
        pub(crate) struct SharedCounts {
            $(pub(crate) $name: Count,)+
        }

        impl SharedCounts {
            /// Adds all counts to `into`.
            pub(crate) fn add_to(&self, into: &mut Counts) {
                $(into.$name = into.$name.saturating_add(self.$name.get());)+
            }
        }
    };
}

counts! {
    /// Requests that have ended, in whatever way. For a backend: attempts sent to it.
    requests,
    /// Answers 200 to 299, and completed upgrades (101).
    status_2xx,
    /// Answers 300 to 399.
    status_3xx,
    /// Answers 400 to 499, the balancer's own to malformed requests among them.
    status_4xx,
    /// Answers 500 to 599, the balancer's own 502, 503 and 504 among them.
    status_5xx,
    /// Attempts to connect to a backend that were refused or timed out.
    connect_failed,
    /// Requests that ran into a timeout: the backend's answer, or a body without progress.
    timeout,
    /// Requests whose client went away before its answer was complete.
    client_gone,
    /// Backends' answers that could not be used or broke off: the request was answered 502, or cut.
    broken,
    /// Repetitions on another backend.
    retried,
    /// Requests answered 503 because no backend was ready, could be reached, or no room was left to
    /// hold them.
    refused,
    /// Requests that were held while no backend was ready.
    held,
}

/// A count written by one thread only.
#[derive(Debug, Default)]
pub(crate) struct Count(std::sync::atomic::AtomicU64);

impl Count {
    pub(crate) fn add_one(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Quantiles of latency in microseconds; absent when nothing ended in the time they speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quantiles {
    /// Half of the requests took no longer.
    pub p50_micros: Option<u64>,
    /// 95 of 100 took no longer.
    pub p95_micros: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_micros: Option<u64>,
}

impl Quantiles {
    /// Those of a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        Self {
            p50_micros: histogram.quantile(0.50),
            p95_micros: histogram.quantile(0.95),
            p99_micros: histogram.quantile(0.99),
        }
    }
}

/// Latency: from the complete head of a request to the last byte of its answer given to the client's
/// socket, held time and repetitions included; for an upgrade, to its 101.
///
/// Requests without an answer from a backend (refused, held in vain, malformed) do not count: a fast
/// 503 must not make a service look quick.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Latency {
    /// Of the interval.
    pub interval: Quantiles,
    /// Of the last [`WINDOW`].
    pub window: Quantiles,
    /// Counts of the interval; see [`crate::histogram`] for the layout.
    pub histogram: Histogram,
}

/// Counts and latency of one thing: a service or one of its backends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Since the process's start.
    pub totals: Counts,
    /// Since the previous figures.
    pub interval: Counts,
    /// Requests in flight now.
    pub in_flight: u32,
    /// Connections now: a service's to its clients, a backend's from the balancer, idle ones included.
    pub connections: u32,
    /// Latency.
    pub latency: Latency,
}

impl Traffic {
    fn merge(&mut self, newer: &Self) {
        self.totals = newer.totals;
        self.interval.add(&newer.interval);
        self.in_flight = newer.in_flight;
        self.connections = newer.connections;
        self.latency.histogram.merge(&newer.latency.histogram);
        self.latency.interval = Quantiles::of(&self.latency.histogram);
        self.latency.window = newer.latency.window;
    }
}

/// Figures of one service over one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The service.
    pub service: ServiceName,
    /// When the interval ended, in milliseconds since 1970-01-01 UTC.
    pub at: Millis,
    /// Exact length of the interval, in microseconds: requests/s is `interval.requests` over it.
    pub interval_micros: u64,
    /// Requests held now because no backend is ready.
    pub held: u32,
    /// The whole service, as its clients see it.
    pub service_traffic: Traffic,
    /// Each backend, as the balancer sees it.
    pub backends: BTreeMap<BackendId, Traffic>,
}

impl Figures {
    /// Requests per second over the interval.
    #[must_use]
    pub fn requests_per_second(&self) -> Option<f64> {
        let seconds = self.interval_micros as f64 / 1e6;
        (seconds > 0.0).then(|| self.service_traffic.interval.requests as f64 / seconds)
    }

    /// Makes these and the figures that follow them one, over both intervals. A backend that is gone
    /// by then is gone from the result; its requests stay in the service's.
    pub fn merge(&mut self, newer: Self) {
        self.at = newer.at;
        self.interval_micros = self.interval_micros.saturating_add(newer.interval_micros);
        self.held = newer.held;
        self.service_traffic.merge(&newer.service_traffic);
        let mut before = std::mem::take(&mut self.backends);
        for (id, traffic) in newer.backends {
            let merged = match before.remove(&id) {
                Some(mut earlier) => {
                    earlier.merge(&traffic);
                    earlier
                }
                None => traffic,
            };
            self.backends.insert(id, merged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(at: u64, requests: u64, total: u64, micros: u64, backends: &[&str]) -> Figures {
        let mut t = Traffic::default();
        t.totals.requests = total;
        t.interval.requests = requests;
        (0..requests).for_each(|_| t.latency.histogram.record(micros));
        t.latency.interval = Quantiles::of(&t.latency.histogram);
        Figures {
            service: "web".parse().unwrap(),
            at: Millis(at),
            interval_micros: 100_000,
            held: 0,
            backends: backends.iter().map(|b| (b.parse().unwrap(), t.clone())).collect(),
            service_traffic: t,
        }
    }

    #[test]
    fn merged_figures_equal_figures_of_the_longer_interval() {
        let mut a = figures(100, 10, 10, 50, &["a", "b"]);
        a.merge(figures(200, 30, 40, 60, &["b", "c"]));
        assert_eq!((a.at, a.interval_micros, a.requests_per_second()), (Millis(200), 200_000, Some(200.0)));
        let s = &a.service_traffic;
        assert_eq!((s.totals.requests, s.interval.requests, s.latency.histogram.count()), (40, 40, 40));
        assert_eq!(s.latency.interval.p50_micros, Some(60));
        let of = |id: &str| a.backends.get(&id.parse().unwrap()).map(|t| t.interval.requests);
        assert_eq!((of("a"), of("b"), of("c")), (None, Some(40), Some(30)));
    }

    #[test]
    fn figures_without_a_length_have_no_rate() {
        let mut f = figures(1, 1, 1, 1, &[]);
        f.interval_micros = 0;
        assert_eq!(f.requests_per_second(), None);
    }
}
