//! How a request ended, counted once however it ends.

use std::rc::Rc;

use tokio::time::Instant;

use crate::service::LocalService;

/// A request of a client, from its complete head on. Dropped without [`Outcome::answered`] it counts
/// as one whose client went away: that is what drops it.
pub(crate) struct Outcome {
    service: Rc<LocalService>,
    pub(crate) start: Instant,
    over: bool,
}

impl Outcome {
    pub(crate) fn begin(service: &Rc<LocalService>, start: Instant) -> Self {
        service.tally().in_flight.up();
        Self { service: Rc::clone(service), start, over: false }
    }

    /// The client got a whole answer of this status.
    pub(crate) fn answered(mut self, status: u16) {
        count_status(&self.service.tally().counts, status);
        self.over = true;
    }

    /// The answer broke off after its head was sent; the client can tell.
    pub(crate) fn cut(mut self) {
        self.service.tally().counts.broken.add_one();
        self.over = true;
    }

    /// A body made no progress for too long.
    pub(crate) fn timed_out(mut self) {
        self.service.tally().counts.timeout.add_one();
        self.over = true;
    }

    /// Counts the time taken by a request that a backend answered.
    pub(crate) fn took(&self, now: Instant, backend: &crate::service::LocalBackend) {
        let micros = u64::try_from(now.duration_since(self.start).as_micros()).unwrap_or(u64::MAX);
        self.service.tally().latency.record(micros);
        backend.tally().latency.record(micros);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let tally = self.service.tally();
        tally.in_flight.down();
        tally.counts.requests.add_one();
        if !self.over {
            tally.counts.client_gone.add_one();
        }
    }
}

/// Counts an answer in its class.
pub(crate) fn count_status(counts: &crate::figures::SharedCounts, status: u16) {
    match status {
        ..300 => counts.status_2xx.add_one(),
        300..400 => counts.status_3xx.add_one(),
        400..500 => counts.status_4xx.add_one(),
        _ => counts.status_5xx.add_one(),
    }
}
