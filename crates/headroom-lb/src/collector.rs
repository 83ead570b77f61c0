//! Gathers what the workers counted into figures, once per interval.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::{
    figures::{Counts, Figures, Latency, Quantiles, Traffic, WINDOW},
    histogram::{Histogram, Sparse},
    names::ServiceName,
    service::{Backend, ServiceShared, Tally},
    settings::Millis,
};

/// Turns growing counts into intervals and a sliding window.
#[derive(Debug)]
pub(crate) struct Collector {
    services: BTreeMap<ServiceName, Service>,
    last: Instant,
    /// Intervals that make up the window.
    kept: usize,
}

#[derive(Debug)]
struct Service {
    shared: Arc<ServiceShared>,
    past: Past,
    backends: Vec<(Arc<Backend>, Past)>,
}

/// What was seen of one thing before.
#[derive(Debug, Default)]
struct Past {
    totals: Counts,
    latencies: Histogram,
    window: Histogram,
    /// Each interval in the window.
    intervals: VecDeque<Sparse>,
}

impl Past {
    fn look(&mut self, tallies: &[Tally], in_flight: u32, kept: usize) -> Traffic {
        let (mut totals, mut latencies, mut connections) = (Counts::default(), Histogram::default(), 0u32);
        for tally in tallies {
            tally.counts.add_to(&mut totals);
            tally.latency.add_to(&mut latencies);
            connections = connections.saturating_add(tally.connections.get());
        }
        let mut histogram = latencies.clone();
        histogram.subtract(&self.latencies);
        let interval = totals.since(&self.totals);
        (self.totals, self.latencies) = (totals, latencies);
        self.window.merge(&histogram);
        self.intervals.push_back(histogram.sparse());
        while self.intervals.len() > kept {
            if let Some(old) = self.intervals.pop_front() {
                self.window.subtract_sparse(&old);
            }
        }
        let latency =
            Latency { interval: Quantiles::of(&histogram), window: Quantiles::of(&self.window), histogram };
        Traffic { totals, interval, in_flight, connections, latency }
    }
}

impl Collector {
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        let kept = (WINDOW.duration().as_micros() / interval.as_micros().max(1)).max(1);
        Self { services: BTreeMap::new(), last: now, kept: usize::try_from(kept).unwrap_or(1) }
    }

    /// Figures of all services since the last look. Those not named are forgotten.
    pub(crate) fn look<'a>(
        &mut self,
        now: Instant,
        services: impl Iterator<Item = (&'a Arc<ServiceShared>, Vec<Arc<Backend>>)>,
    ) -> Vec<Figures> {
        let interval = now.duration_since(self.last);
        self.last = now;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut before = std::mem::take(&mut self.services);
        let mut all = Vec::new();
        for (shared, backends) in services {
            let known = before.remove(&shared.name).filter(|s| Arc::ptr_eq(&s.shared, shared));
            let mut service = known.unwrap_or_else(|| Service {
                shared: Arc::clone(shared),
                past: Past::default(),
                backends: Vec::new(),
            });
            let in_flight = shared.tallies.iter().map(|t| t.in_flight.get()).sum();
            let service_traffic = service.past.look(&shared.tallies, in_flight, self.kept);
            let mut traffic = BTreeMap::new();
            let mut pasts = Vec::with_capacity(backends.len());
            for backend in backends {
                let at = service.backends.iter().position(|(b, _)| Arc::ptr_eq(b, &backend));
                let mut past = at.map(|i| service.backends.swap_remove(i).1).unwrap_or_default();
                let in_flight = backend.in_flight.load(Relaxed);
                traffic.insert(backend.id.clone(), past.look(&backend.tallies, in_flight, self.kept));
                pasts.push((backend, past));
            }
            service.backends = pasts;
            all.push(Figures {
                service: shared.name.clone(),
                at: Millis::from(at),
                interval_micros: u64::try_from(interval.as_micros()).unwrap_or(u64::MAX),
                held: shared.held.load(Relaxed),
                service_traffic,
                backends: traffic,
            });
            self.services.insert(shared.name.clone(), service);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tallies;

    fn shared() -> Arc<ServiceShared> {
        Arc::new(ServiceShared { name: "web".parse().unwrap(), tallies: tallies(2), held: 0.into() })
    }

    #[tokio::test(start_paused = true)]
    async fn workers_are_added_and_intervals_told_from_totals() {
        let s = shared();
        let b = Arc::new(Backend::new("a".parse().unwrap(), "127.0.0.1:1".parse().unwrap(), 2));
        let start = Instant::now();
        let mut c = Collector::new(Duration::from_millis(100), start);
        let mut look = |ms| {
            let now = start + Duration::from_millis(ms);
            c.look(now, [(&s, vec![Arc::clone(&b)])].into_iter()).remove(0)
        };
        for t in &s.tallies {
            t.counts.requests.add_one();
            t.latency.record(1_000);
        }
        b.tallies[1].counts.connect_failed.add_one();
        let f = look(100);
        let t = &f.service_traffic;
        assert_eq!((t.totals.requests, t.interval.requests, f.requests_per_second()), (2, 2, Some(20.0)));
        assert_eq!(t.latency.interval, t.latency.window);
        assert_eq!(f.backends.values().next().unwrap().totals.connect_failed, 1);
        let t = look(200).service_traffic;
        assert_eq!((t.totals.requests, t.interval.requests), (2, 0));
        assert_eq!((t.latency.interval.p50_micros, t.latency.window.p50_micros), (None, Some(1_007)));
        // 10 s on, the window has moved past it.
        let t = (3..=101).map(|i| look(i * 100)).last().unwrap().service_traffic;
        assert_eq!((t.totals.requests, t.latency.window.p50_micros), (2, None));
    }
}
