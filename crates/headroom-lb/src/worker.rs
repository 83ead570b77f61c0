//! A worker thread: its listeners, its connections, its share of everything.
//!
//! Each worker has a runtime of its own and a listening socket per service; the kernel spreads
//! connections over them (`SO_REUSEPORT`), and from then on a connection never leaves its thread.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Release},
    task::Poll,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    task::{JoinHandle, spawn_local},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    downstream, http2,
    names::ServiceName,
    service::{Listed, Listeners, LocalService, Report, Table, Worker},
};

/// Time between looks at idle connections to backends. Half the shortest idle time servers use.
const SWEEP: Duration = Duration::from_secs(1);

/// Pause after a connection could not be accepted: nearly always file descriptors have run out, and
/// only time brings them back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A service this worker listens for.
struct Serving {
    local: Rc<LocalService>,
    listeners: Arc<Listeners>,
    accepting: JoinHandle<()>,
}

/// Serves what the table says until the table's sender is gone.
pub(crate) async fn run(worker: Worker, mut tables: watch::Receiver<Arc<Table>>) {
    let worker = Rc::new(worker);
    let mut serving: BTreeMap<ServiceName, Serving> = BTreeMap::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let table = Arc::clone(&tables.borrow_and_update());
        apply(&worker, &mut serving, &table);
        worker.applied[worker.index].store(table.version, Release);
        loop {
            tokio::select! {
                changed = tables.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = sweep.tick() => serving.values().for_each(|s| s.local.sweep()),
            }
        }
    }
}

fn apply(worker: &Rc<Worker>, serving: &mut BTreeMap<ServiceName, Serving>, table: &Table) {
    serving.retain(|name, s| {
        // A service that was removed and put again between two looks is another one.
        let stays = table.services.get(name).is_some_and(|l| Arc::ptr_eq(&l.view.shared, &s.local.shared));
        if !stays {
            s.accepting.abort();
            s.local.close();
        }
        stays
    });
    for (name, Listed { view, listeners }) in &table.services {
        match serving.get_mut(name) {
            None => {
                let local = LocalService::new(Rc::clone(worker), Arc::clone(view));
                let listeners = Arc::clone(listeners);
                let accepting = spawn_local(accept(Rc::clone(&local), Arc::clone(&listeners)));
                serving.insert(name.clone(), Serving { local, listeners, accepting });
            }
            Some(s) => {
                if !Arc::ptr_eq(&s.local.view().view, view) {
                    s.local.update(Arc::clone(view));
                }
                if !Arc::ptr_eq(&s.listeners, listeners) {
                    s.accepting.abort();
                    s.listeners = Arc::clone(listeners);
                    s.accepting = spawn_local(accept(Rc::clone(&s.local), Arc::clone(&s.listeners)));
                }
            }
        }
    }
}

/// Accepts until it is dropped; then serves what the kernel has already accepted for this socket, since
/// closing it would reset those connections.
struct Accepting {
    service: Rc<LocalService>,
    socket: TcpListener,
    /// A connection that waits for a slot. It is accepted first: a worker that took a slot before it had
    /// a connection would keep it from the others.
    waiting: Option<(TcpStream, IpAddr)>,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let waiting = self.waiting.take();
        let accepted = std::iter::from_fn(|| match self.socket.poll_accept(&mut cx) {
            Poll::Ready(Ok((stream, peer))) => Some((stream, peer.ip())),
            _ => None,
        });
        for (stream, peer) in waiting.into_iter().chain(accepted) {
            let Ok(permit) = Arc::clone(&self.service.view().view.slots).try_acquire_owned() else { return };
            spawn_local(serve(stream, peer, permit, Rc::clone(&self.service)));
        }
    }
}

async fn accept(service: Rc<LocalService>, listeners: Arc<Listeners>) {
    let failed = |why: &std::io::Error| {
        let message = format!(
            "service {} cannot accept connections on {}: {why}; if files have run out, raise the limit \
             (ulimit -n) or lower limits.connections",
            service.shared.name, listeners.bound
        );
        service.report(Report::AcceptFailed { service: service.shared.name.clone(), message });
    };
    let socket = listeners.sockets[service.worker.index].try_clone().and_then(TcpListener::from_std);
    let socket = match socket {
        Ok(socket) => socket,
        Err(why) => return failed(&why),
    };
    let mut accepting = Accepting { service: Rc::clone(&service), socket, waiting: None };
    let mut failing = false;
    loop {
        match poll_fn(|cx| accepting.socket.poll_accept(cx)).await {
            Ok((stream, peer)) => {
                failing = false;
                accepting.waiting = Some((stream, peer.ip()));
                let slots = Arc::clone(&service.view().view.slots);
                let Ok(permit) = slots.acquire_owned().await else { return };
                if let Some((stream, peer)) = accepting.waiting.take() {
                    spawn_local(serve(stream, peer, permit, Rc::clone(&service)));
                }
            }
            Err(why) if is_of_one_connection(&why) => {}
            Err(why) => {
                if !failing {
                    failed(&why);
                }
                failing = true;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only the connection failed that was about to be accepted.
fn is_of_one_connection(why: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(why.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A client's connection; counted until dropped.
struct Connected(Rc<LocalService>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.tally().connections.down();
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, permit: OwnedSemaphorePermit, service: Rc<LocalService>) {
    service.tally().connections.up();
    let connected = Connected(Rc::clone(&service));
    // Without it small answers wait for acknowledgements; failing is no reason to fail.
    let _ = stream.set_nodelay(true);
    let view = service.view();
    let handshake = view.config().limits.header_timeout.duration();
    match view.view.tls.clone() {
        None => {
            drop(view);
            downstream::serve(stream, peer, false, service).await;
        }
        Some(config) => {
            drop(view);
            let accepted = timeout(handshake, TlsAcceptor::from(config).accept(stream)).await;
            let Ok(Ok(stream)) = accepted else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2::serve(stream, peer, true, service).await;
            } else {
                downstream::serve(stream, peer, true, service).await;
            }
        }
    }
    drop((connected, permit));
}
