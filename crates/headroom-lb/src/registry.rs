//! What is to be served, and how it is: the one place that decides which backends may have traffic.
//!
//! It lives on the control thread. Workers never look in here; they get a [`Table`] whenever something
//! has changed, and confirm its version.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed},
        },
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    collector::Collector,
    control::{
        protocol::{
            BackendStatus, Event, Generation, Health, HealthChange, Hello, Refusal, RefusalCode, Reply,
            Request, ServiceStatus, State, VERSION,
        },
        queue::EventQueue,
    },
    health::{self, CheckFailed, HealthState},
    listener,
    names::{BackendId, ServiceName},
    service::{Backend, Listed, Listeners, Report, ServiceShared, ServiceView, Table, tallies},
    settings::{BackendState, HealthCheck, MAX_SERVICES, Millis, ServiceConfig},
    tls,
};

/// Time between events for requests that stay held.
const POKE_AGAIN: Duration = Duration::from_secs(1);

/// The registry, shared by the control thread's tasks.
#[derive(Clone)]
pub(crate) struct Control(Arc<Mutex<Registry>>);

struct Registry {
    workers: usize,
    generation: Generation,
    services: BTreeMap<ServiceName, Service>,
    tables: watch::Sender<Arc<Table>>,
    applied: Arc<[AtomicU64]>,
    readers: Vec<Weak<EventQueue>>,
    collector: Collector,
    stopping: watch::Sender<Option<Millis>>,
}

struct Service {
    config: ServiceConfig,
    shared: Arc<ServiceShared>,
    listeners: Arc<Listeners>,
    tls: Option<Arc<rustls::ServerConfig>>,
    slots: Arc<Semaphore>,
    backends: Vec<Entry>,
    poked: Option<Instant>,
}

struct Entry {
    backend: Arc<Backend>,
    state: HealthState,
    drain: Option<Drain>,
    checks: Checks,
}

struct Drain {
    began: Instant,
    delay: Duration,
    /// The first table without it.
    version: u64,
}

/// The task that checks a backend; ends with it.
struct Checks(Option<AbortHandle>);

impl Drop for Checks {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn refused(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

impl Control {
    pub(crate) fn new(
        workers: usize,
        interval: Duration,
        tables: watch::Sender<Arc<Table>>,
        applied: Arc<[AtomicU64]>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Registry {
            workers,
            generation: Generation(0),
            services: BTreeMap::new(),
            tables,
            applied,
            readers: Vec::new(),
            collector: Collector::new(interval, Instant::now()),
            stopping: watch::Sender::new(None),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // Each change is made whole before anything in it can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when the process is to end, and how long requests in flight have.
    pub(crate) fn stopping(&self) -> watch::Receiver<Option<Millis>> {
        self.lock().stopping.subscribe()
    }

    /// Sends all events to this queue from now on, as long as it lives.
    pub(crate) fn subscribe(&self, queue: &Arc<EventQueue>) {
        let mut registry = self.lock();
        registry.readers.retain(|r| r.strong_count() > 0);
        if !registry.readers.iter().any(|r| std::ptr::eq(r.as_ptr(), Arc::as_ptr(queue))) {
            registry.readers.push(Arc::downgrade(queue));
        }
    }

    /// Carries out a request; [`Request::Subscribe`] is the connection's own business.
    pub(crate) fn handle(&self, generation: Option<Generation>, request: Request) -> Result<Reply, Refusal> {
        let mut registry = self.lock();
        if request.writes() {
            registry.allow(generation)?;
        }
        match request {
            Request::Hello => Ok(Reply::Hello(Hello {
                version: VERSION,
                software: env!("CARGO_PKG_VERSION").into(),
                pid: std::process::id(),
                generation: registry.generation,
            })),
            Request::Claim => {
                registry.generation.0 += 1;
                Ok(Reply::Claimed(registry.generation))
            }
            Request::State => Ok(Reply::State(State {
                generation: registry.generation,
                services: registry.services.values().map(Service::status).collect(),
            })),
            Request::Put(config) => registry.put(*config, self).map(|s| Reply::Service(Box::new(s))),
            Request::DrainBackend { service, backend, delay } => {
                registry.drain(&service, &backend, delay).map(|s| Reply::Service(Box::new(s)))
            }
            Request::Remove { service } => {
                if registry.services.remove(&service).is_some() {
                    registry.publish();
                }
                Ok(Reply::Done)
            }
            Request::Subscribe => Ok(Reply::Done),
            Request::Shutdown { drain } => {
                registry.stopping.send_replace(Some(drain));
                Ok(Reply::Done)
            }
        }
    }

    /// Stops all services; gives back what tells whether requests are still in flight.
    pub(crate) fn stop_all(&self) -> Vec<Arc<ServiceShared>> {
        let mut registry = self.lock();
        let services = std::mem::take(&mut registry.services);
        registry.publish();
        services.into_values().map(|s| s.shared).collect()
    }

    /// Takes what a worker tells.
    pub(crate) fn report(&self, report: Report) {
        let mut registry = self.lock();
        match report {
            Report::Failing { service, backend, unreachable } => {
                registry.failing(&service, &backend, unreachable);
            }
            Report::Held { service } => registry.poke(&service, Instant::now()),
            Report::AcceptFailed { service, message } => {
                tracing::error!(%service, "{message}");
                registry.emit(&Event::ListenFailed { service, message });
            }
        }
    }

    /// Does what is done once per interval: figures, ends of drains, pokes for what stays held.
    pub(crate) fn tick(&self, now: Instant) {
        let mut registry = self.lock();
        registry.end_drains(now);
        let held: Vec<_> = registry
            .services
            .values()
            .filter(|s| s.shared.held.load(Relaxed) > 0)
            .filter(|s| s.poked.is_none_or(|at| now.duration_since(at) >= POKE_AGAIN))
            .map(|s| s.shared.name.clone())
            .collect();
        held.iter().for_each(|name| registry.poke(name, now));
        let Registry { collector, services, .. } = &mut *registry;
        let backends = |s: &Service| s.backends.iter().map(|e| Arc::clone(&e.backend)).collect();
        let figures = collector.look(now, services.values().map(|s| (&s.shared, backends(s))));
        for f in figures {
            registry.emit(&Event::Figures(Box::new(f)));
        }
    }

    /// Checks a backend as long as it is to be checked.
    async fn check_on(self, service: ServiceName, backend: Arc<Backend>) {
        loop {
            let Some(settings) = self.check_settings(&service, &backend) else { return };
            let result = health::check(backend.address, &settings).await;
            let Some(pause) = self.checked(&service, &backend, &result) else { return };
            tokio::time::sleep(pause.duration()).await;
        }
    }

    fn check_settings(&self, service: &ServiceName, backend: &Arc<Backend>) -> Option<HealthCheck> {
        let registry = self.lock();
        let service = registry.services.get(service)?;
        service
            .backends
            .iter()
            .any(|e| Arc::ptr_eq(&e.backend, backend))
            .then(|| service.config.health.clone())
    }

    /// Takes a check's result and tells the time until the next.
    fn checked(
        &self,
        name: &ServiceName,
        backend: &Arc<Backend>,
        result: &Result<(), CheckFailed>,
    ) -> Option<Millis> {
        let mut registry = self.lock();
        let service = registry.services.get_mut(name)?;
        let before = service.routable();
        let at = service.backends.iter().position(|e| Arc::ptr_eq(&e.backend, backend))?;
        let entry = &mut service.backends[at];
        let from = entry.state.health;
        let changed = entry.state.checked(result, &service.config.health);
        let pause = entry.state.next_check(&service.config.health);
        let event = changed.then(|| entry.change(name, from));
        if changed {
            entry.backend.failures.store(0, Relaxed);
        }
        // One that listens again may come into a panic's circle without a change of its own health.
        if changed || service.routable() != before {
            registry.publish();
        }
        if let Some(event) = event {
            registry.emit(&event);
        }
        pause
    }
}

impl Registry {
    fn allow(&self, generation: Option<Generation>) -> Result<(), Refusal> {
        if self.stopping.borrow().is_some() {
            let message = "the balancer is shutting down; start another and put the services there";
            return Err(refused(RefusalCode::ShuttingDown, message));
        }
        let newest = self.generation.0;
        match generation {
            Some(g) if g == self.generation && newest > 0 => Ok(()),
            Some(Generation(g)) if newest > 0 => Err(refused(
                RefusalCode::StaleGeneration,
                format!(
                    "generation {g} may not write: generation {newest} has claimed this balancer; stop \
                     this controller if another runs, or claim again"
                ),
            )),
            _ => Err(refused(
                RefusalCode::StaleGeneration,
                "only a controller that has claimed this balancer may write; send `claim` first",
            )),
        }
    }

    fn put(&mut self, config: ServiceConfig, control: &Control) -> Result<ServiceStatus, Refusal> {
        config.check().map_err(|mistakes| {
            let all: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            let message = format!("service {} cannot be served: {}", config.name, all.join("; "));
            refused(RefusalCode::BadSettings, message)
        })?;
        let known = self.services.get(&config.name);
        if known.is_none() && self.services.len() >= MAX_SERVICES {
            let message = format!("{MAX_SERVICES} services are served already; remove one first");
            return Err(refused(RefusalCode::TooMany, message));
        }
        // All that can fail comes first, so a refused service stays as it was.
        let tls = match &config.tls {
            Some(files) => {
                Some(tls::load(files).map_err(|e| refused(RefusalCode::BadCertificate, e.to_string()))?)
            }
            None => None,
        };
        let listens = |s: &&Service| s.config.listen == config.listen || s.listeners.bound == config.listen;
        let listeners = match known.filter(listens) {
            Some(s) => Arc::clone(&s.listeners),
            None => Arc::new(
                listener::listen(config.listen, self.workers)
                    .map_err(|e| refused(RefusalCode::ListenFailed, e.to_string()))?,
            ),
        };
        let name = config.name.clone();
        let before = self.services.remove(&name);
        let slots = match &before {
            Some(s) if s.config.limits.connections == config.limits.connections => Arc::clone(&s.slots),
            // Connections made under another limit keep their places under that.
            _ => Arc::new(Semaphore::new(config.limits.connections as usize)),
        };
        let (shared, mut entries, poked) = match before {
            Some(s) => (s.shared, s.backends, s.poked),
            None => {
                let (tallies, held) = (tallies(self.workers), 0.into());
                (Arc::new(ServiceShared { name: name.clone(), tallies, held }), Vec::new(), None)
            }
        };
        let mut backends = Vec::with_capacity(config.backends.len());
        let mut events = Vec::new();
        for wanted in &config.backends {
            let same = |e: &Entry| e.backend.id == wanted.id && e.backend.address == wanted.address;
            let mut entry = match entries.iter().position(same) {
                Some(i) => entries.swap_remove(i),
                None => Entry {
                    backend: Arc::new(Backend::new(wanted.id.clone(), wanted.address, self.workers)),
                    state: HealthState::starting(),
                    drain: None,
                    checks: Checks(None),
                },
            };
            let from = entry.state.health;
            entry.want(wanted.state, self.tables.borrow().version + 1);
            if entry.state.health != from {
                events.push(entry.change(&name, from));
            }
            if entry.drain.is_none() && entry.checks.0.is_none() {
                let task = control.clone().check_on(name.clone(), Arc::clone(&entry.backend));
                entry.checks = Checks(Some(tokio::spawn(task).abort_handle()));
            }
            backends.push(entry);
        }
        let service = Service { config, shared, listeners, tls, slots, backends, poked };
        let status = service.status();
        self.services.insert(name, service);
        self.publish();
        events.iter().for_each(|e| self.emit(e));
        Ok(status)
    }

    fn drain(&mut self, name: &ServiceName, id: &BackendId, delay: Millis) -> Result<ServiceStatus, Refusal> {
        let version = self.tables.borrow().version + 1;
        let service = self.services.get_mut(name);
        let service = service.ok_or_else(|| {
            refused(RefusalCode::NotFound, format!("there is no service {name}; read the state"))
        })?;
        let at = service.backends.iter().position(|e| e.backend.id == *id).ok_or_else(|| {
            let message = format!("service {name} has no backend {id}; read the state");
            refused(RefusalCode::NotFound, message)
        })?;
        let entry = &mut service.backends[at];
        let from = entry.state.health;
        entry.want(BackendState::Draining { delay }, version);
        let event = (entry.state.health != from).then(|| entry.change(name, from));
        service.config.backends[at].state = BackendState::Draining { delay };
        let status = service.status();
        self.publish();
        event.iter().for_each(|e| self.emit(e));
        Ok(status)
    }

    fn end_drains(&mut self, now: Instant) {
        let applied = self.applied.iter().map(|v| v.load(Acquire)).min().unwrap_or(0);
        let mut events = Vec::new();
        for (name, service) in &mut self.services {
            for entry in &mut service.backends {
                let Some(drain) = &entry.drain else { continue };
                if entry.state.health != Health::Draining {
                    continue;
                }
                let left = entry.backend.in_flight.load(Relaxed);
                // Until every worker acts by a table without it, a request may still be on its way.
                let done = left == 0 && applied >= drain.version;
                if done || now.duration_since(drain.began) >= drain.delay {
                    entry.state.drained(left);
                    events.push(entry.change(name, Health::Draining));
                }
            }
        }
        events.iter().for_each(|e| self.emit(e));
    }

    fn failing(&mut self, name: &ServiceName, id: &BackendId, unreachable: bool) {
        let Some(service) = self.services.get_mut(name) else { return };
        let ejection = service.config.ejection;
        let states: Vec<_> = service.backends.iter().map(|e| &e.state).collect();
        let may = health::may_eject(&states, ejection.panic_below_percent, unreachable);
        let Some(entry) = service.backends.iter_mut().find(|e| e.backend.id == *id) else { return };
        if !may || entry.state.health != Health::Healthy {
            return;
        }
        entry.state.eject(unreachable, ejection.consecutive);
        let event = entry.change(name, Health::Healthy);
        self.publish();
        self.emit(&event);
    }

    fn poke(&mut self, name: &ServiceName, now: Instant) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.poked = Some(now);
        let event = Event::RequestHeld {
            service: name.clone(),
            // The worker that asked for this counted itself first, so at least one is.
            held: service.shared.held.load(Relaxed).max(1),
        };
        self.emit(&event);
    }

    fn emit(&mut self, event: &Event) {
        self.readers.retain(|reader| match reader.upgrade() {
            Some(queue) => {
                queue.push(event.clone());
                true
            }
            None => false,
        });
        if let Event::BackendHealth(change) = event {
            let HealthChange { service, backend, from, to, why, .. } = change;
            tracing::info!(%service, %backend, ?from, ?to, why, "backend health changed");
        }
    }

    /// Gives the workers what is to be served now.
    fn publish(&mut self) {
        let before = Arc::clone(&self.tables.borrow());
        let listed = |s: &Service| Listed { view: s.view(&before), listeners: Arc::clone(&s.listeners) };
        let services = self.services.iter().map(|(name, s)| (name.clone(), listed(s))).collect();
        self.tables.send_replace(Arc::new(Table { version: before.version + 1, services }));
    }
}

impl Service {
    fn routable(&self) -> Vec<usize> {
        let states: Vec<_> = self.backends.iter().map(|e| &e.state).collect();
        health::routable(&states, self.config.ejection.panic_below_percent)
    }

    /// This service for the workers; the view they have, if nothing changed in it.
    fn view(&self, before: &Table) -> Arc<ServiceView> {
        let routable: Vec<_> =
            self.routable().into_iter().map(|i| Arc::clone(&self.backends[i].backend)).collect();
        let same_tls = |v: &ServiceView| match (&v.tls, &self.tls) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let same = before.services.get(&self.shared.name).map(|l| &l.view).filter(|v| {
            Arc::ptr_eq(&v.shared, &self.shared)
                && *v.config == self.config
                && Arc::ptr_eq(&v.slots, &self.slots)
                && same_tls(v)
                && v.routable.len() == routable.len()
                && v.routable.iter().zip(&routable).all(|(a, b)| Arc::ptr_eq(a, b))
        });
        if let Some(view) = same {
            return Arc::clone(view);
        }
        Arc::new(ServiceView {
            shared: Arc::clone(&self.shared),
            config: Arc::new(self.config.clone()),
            tls: self.tls.clone(),
            slots: Arc::clone(&self.slots),
            routable,
        })
    }

    fn status(&self) -> ServiceStatus {
        let backends = self.backends.iter().map(|e| BackendStatus {
            id: e.backend.id.clone(),
            address: e.backend.address,
            health: e.state.health,
            why: e.state.why.clone(),
            in_flight: e.backend.in_flight.load(Relaxed),
        });
        ServiceStatus {
            config: self.config.clone(),
            bound: self.listeners.bound,
            backends: backends.collect(),
        }
    }
}

impl Entry {
    /// Follows the controller's wish. `version` is that of the table to come.
    fn want(&mut self, state: BackendState, version: u64) {
        match (state, &mut self.drain) {
            (BackendState::Active, None) => {}
            (BackendState::Active, Some(_)) => {
                self.drain = None;
                self.state.reactivate();
                self.checks = Checks(None);
            }
            (BackendState::Draining { delay }, Some(drain)) => drain.delay = delay.duration(),
            (BackendState::Draining { delay }, None) => {
                self.drain = Some(Drain { began: Instant::now(), delay: delay.duration(), version });
                self.state.drain();
                self.checks = Checks(None);
            }
        }
    }

    fn change(&self, service: &ServiceName, from: Health) -> Event {
        Event::BackendHealth(HealthChange {
            service: service.clone(),
            backend: self.backend.id.clone(),
            from,
            to: self.state.health,
            why: self.state.why.clone(),
            in_flight: self.backend.in_flight.load(Relaxed),
        })
    }
}
