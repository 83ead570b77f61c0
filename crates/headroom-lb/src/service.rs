//! A service as the worker threads see it, and what they share with the control thread.
//!
//! The control thread alone decides which backends may have traffic. It publishes a [`Table`]; each
//! worker turns it into its own [`LocalService`]s, without locks and without shared counters but one:
//! a backend's requests in flight, which "least connections" must know over all workers.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore, mpsc},
};

use crate::{
    balance,
    figures::SharedCounts,
    histogram,
    names::{BackendId, ServiceName},
    pool::{Pool, Upstream},
    settings::ServiceConfig,
    stickiness,
};

/// A number that goes up and down, written by one thread only.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU32);

impl Gauge {
    pub(crate) fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts of one service or backend. Aligned so that two workers never write to one
/// pair of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    pub(crate) counts: SharedCounts,
    pub(crate) latency: histogram::Shared,
    pub(crate) connections: Gauge,
    pub(crate) in_flight: Gauge,
}

/// One [`Tally`] per worker.
pub(crate) fn tallies(workers: usize) -> Box<[Tally]> {
    (0..workers).map(|_| Tally::default()).collect()
}

/// A backend, shared by all threads. A change of address makes a new one.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: BackendId,
    pub(crate) address: SocketAddr,
    pub(crate) sticky: u64,
    /// Requests in flight, over all workers.
    pub(crate) in_flight: AtomicU32,
    /// Requests that failed in a row, over all workers.
    pub(crate) failures: AtomicU32,
    pub(crate) tallies: Box<[Tally]>,
}

impl Backend {
    pub(crate) fn new(id: BackendId, address: SocketAddr, workers: usize) -> Self {
        let sticky = stickiness::hash(&id);
        let (in_flight, failures) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { id, address, sticky, in_flight, failures, tallies: tallies(workers) }
    }
}

/// What stays of a service while its settings change.
#[derive(Debug)]
pub(crate) struct ServiceShared {
    pub(crate) name: ServiceName,
    pub(crate) tallies: Box<[Tally]>,
    /// Requests held now, over all workers.
    pub(crate) held: AtomicU32,
}

/// A listening socket per worker.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) bound: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

/// A service at one moment, as the control thread wants it served.
#[derive(Debug)]
pub(crate) struct ServiceView {
    pub(crate) shared: Arc<ServiceShared>,
    pub(crate) config: Arc<ServiceConfig>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// One permit per client connection.
    pub(crate) slots: Arc<Semaphore>,
    /// Backends that may have traffic.
    pub(crate) routable: Vec<Arc<Backend>>,
}

/// Everything to be served, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) version: u64,
    pub(crate) services: BTreeMap<ServiceName, Listed>,
}

/// A service in the table. Its sockets stand beside the view, not in it: requests in flight keep a view
/// alive, and must not keep a removed service's port open.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) view: Arc<ServiceView>,
    pub(crate) listeners: Arc<Listeners>,
}

/// What workers tell the control thread at once; all else they count.
#[derive(Debug)]
pub(crate) enum Report {
    /// A backend's requests have failed in a row.
    Failing { service: ServiceName, backend: BackendId, unreachable: bool },
    /// A request is held, and none was before.
    Held { service: ServiceName },
    /// Accepting connections fails.
    AcceptFailed { service: ServiceName, message: String },
}

/// What a worker has besides its services.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) random: Cell<u64>,
    pub(crate) reports: mpsc::Sender<Report>,
    /// Version of the table this worker acts by.
    pub(crate) applied: Arc<[AtomicU64]>,
}

/// A worker's own view of a service.
pub(crate) struct LocalService {
    pub(crate) worker: Rc<Worker>,
    pub(crate) shared: Arc<ServiceShared>,
    view: RefCell<Rc<LocalView>>,
    turn: Cell<usize>,
    /// Wakes held requests: the view has changed.
    pub(crate) changed: Notify,
    /// Wakes idle connections: the service is being stopped.
    pub(crate) closing: Notify,
    closed: Cell<bool>,
}

/// [`ServiceView`] with this worker's backends.
pub(crate) struct LocalView {
    pub(crate) view: Arc<ServiceView>,
    backends: Vec<Rc<LocalBackend>>,
}

impl LocalView {
    pub(crate) fn config(&self) -> &ServiceConfig {
        &self.view.config
    }

    /// Backends that may have traffic.
    pub(crate) fn all(&self) -> &[Rc<LocalBackend>] {
        &self.backends
    }
}

/// A backend with this worker's connections to it.
pub(crate) struct LocalBackend {
    pub(crate) shared: Arc<Backend>,
    worker: usize,
    pub(crate) pool: Pool,
}

impl LocalBackend {
    /// Takes a connection made to it under its wing.
    pub(crate) fn adopt(&self, stream: TcpStream) -> Upstream {
        Upstream::new(stream, &self.shared, self.worker)
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tallies[self.worker]
    }
}

impl LocalService {
    pub(crate) fn new(worker: Rc<Worker>, view: Arc<ServiceView>) -> Rc<Self> {
        let turn = Cell::new(balance::next_random(&worker.random) as usize);
        let local = Self {
            shared: Arc::clone(&view.shared),
            view: RefCell::new(Rc::new(LocalView { view: Arc::clone(&view), backends: Vec::new() })),
            worker,
            turn,
            changed: Notify::new(),
            closing: Notify::new(),
            closed: Cell::new(false),
        };
        local.update(view);
        Rc::new(local)
    }

    /// Acts by a newer view from now on. Backends that stay keep their connections; of those that go,
    /// requests in flight go on and idle connections are closed.
    pub(crate) fn update(&self, view: Arc<ServiceView>) {
        let before = self.view();
        let backends = view.routable.iter().map(|shared| {
            let known = before.backends.iter().find(|b| Arc::ptr_eq(&b.shared, shared));
            known.cloned().unwrap_or_else(|| {
                let shared = Arc::clone(shared);
                Rc::new(LocalBackend { shared, worker: self.worker.index, pool: Pool::default() })
            })
        });
        let backends: Vec<_> = backends.collect();
        for gone in &before.backends {
            if !backends.iter().any(|b| Rc::ptr_eq(b, gone)) {
                gone.pool.close();
            }
        }
        *self.view.borrow_mut() = Rc::new(LocalView { view, backends });
        self.changed.notify_waiters();
    }

    pub(crate) fn view(&self) -> Rc<LocalView> {
        Rc::clone(&self.view.borrow())
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tallies[self.worker.index]
    }

    /// Closes idle connections to backends that are too old.
    pub(crate) fn sweep(&self) {
        let view = self.view();
        let max_idle = view.config().limits.pool_idle.duration();
        view.backends.iter().for_each(|b| b.pool.sweep(max_idle));
    }

    /// Ends keep-alive from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.closing.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Chooses a backend, none of `tried`; the one with the `sticky` hash if that may have traffic.
    pub(crate) fn choose(
        &self,
        view: &LocalView,
        sticky: Option<u64>,
        tried: &[Rc<LocalBackend>],
    ) -> Option<Rc<LocalBackend>> {
        let all = &view.backends;
        if !tried.is_empty() {
            let rest: Vec<_> =
                all.iter().filter(|b| !tried.iter().any(|t| Arc::ptr_eq(&t.shared, &b.shared))).collect();
            return self.pick(view, rest.len(), |i| rest[i]);
        }
        if let Some(hash) = sticky
            && let Some(backend) = all.iter().find(|b| b.shared.sticky == hash)
        {
            return Some(Rc::clone(backend));
        }
        self.pick(view, all.len(), |i| &all[i])
    }

    fn pick<'a>(
        &self,
        view: &LocalView,
        n: usize,
        backend: impl Fn(usize) -> &'a Rc<LocalBackend>,
    ) -> Option<Rc<LocalBackend>> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let random = balance::next_random(&self.worker.random);
        let load = |i: usize| backend(i).shared.in_flight.load(Relaxed);
        balance::choose(view.config().algorithm, n, turn, random, load).map(|i| Rc::clone(backend(i)))
    }

    /// Tells the control thread, if it keeps up; it learns the same from its own checks if not.
    pub(crate) fn report(&self, report: Report) {
        let _ = self.worker.reports.try_send(report);
    }

    /// Notes how an attempt on a backend went. Reaching the threshold of failures in a row is
    /// reported, and again at each multiple, should the first report have been lost.
    pub(crate) fn judge(&self, view: &LocalView, backend: &LocalBackend, verdict: Verdict) {
        let failures = &backend.shared.failures;
        if verdict == Verdict::Fine {
            if failures.load(Relaxed) != 0 {
                failures.store(0, Relaxed);
            }
            return;
        }
        let in_a_row = failures.fetch_add(1, Relaxed).saturating_add(1);
        if in_a_row.is_multiple_of(view.config().ejection.consecutive) {
            self.report(Report::Failing {
                service: self.shared.name.clone(),
                backend: backend.shared.id.clone(),
                unreachable: verdict == Verdict::Unreachable,
            });
        }
    }
}

/// How an attempt on a backend went, as far as its health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, and not with 5xx.
    Fine,
    /// It answered 5xx, broke off or was too slow.
    Failed,
    /// It did not accept a connection.
    Unreachable,
}

/// A request in flight to a backend; counted until dropped.
pub(crate) struct InFlight(Rc<LocalBackend>);

impl InFlight {
    pub(crate) fn begin(backend: &Rc<LocalBackend>) -> Self {
        backend.shared.in_flight.fetch_add(1, Relaxed);
        Self(Rc::clone(backend))
    }

    pub(crate) fn backend(&self) -> &Rc<LocalBackend> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.shared.in_flight.fetch_sub(1, Relaxed);
    }
}
