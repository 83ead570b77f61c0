//! Holding of requests while no backend is ready.
//!
//! A workload scaled to zero has no backend; its first request is held, the controller is told, and the
//! request goes on as soon as a backend is healthy. Number and time are bounded.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use crate::service::{LocalService, Report, ServiceShared};

/// A held request looks again at least this often: a backend that refused a connection may accept one
/// without any change of its health being noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A request on hold; counted until dropped.
pub(crate) struct Held {
    shared: Arc<ServiceShared>,
    until: Instant,
}

impl Held {
    /// Puts a request on hold; `None` if this service holds none, or holds enough.
    pub(crate) fn begin(service: &Rc<LocalService>) -> Option<Self> {
        let hold = service.view().config().hold?;
        let shared = Arc::clone(&service.shared);
        let others = shared.held.fetch_add(1, Relaxed);
        let held = Self { shared, until: Instant::now() + hold.wait.duration() };
        if others >= hold.requests {
            return None;
        }
        service.tally().counts.held.add_one();
        if others == 0 {
            service.report(Report::Held { service: service.shared.name.clone() });
        }
        Some(held)
    }

    /// Waits until trying again may succeed; false once the request was held for too long.
    pub(crate) async fn wait(&self, service: &LocalService) -> bool {
        let now = Instant::now();
        if now >= self.until || service.is_closed() {
            return false;
        }
        let _ = timeout_at(self.until.min(now + LOOK_AGAIN), service.changed.notified()).await;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(1, Relaxed);
    }
}
