//! The HTTP API and the page.
//!
//! It exists so that people and programs can see what the controller does and why, and say a word in it. It holds no
//! state of its own: every answer is read from the engine or the journal at that moment, every change goes through
//! the engine's handle and is in force and written down before it is answered.
//!
//! It refuses what it can't trust: requests under a foreign host name, from a foreign page, changes without the
//! token, parameters and fields it does not know, bodies and listeners beyond their bounds. It knows no user
//! accounts; who needs those puts a proxy in front.

mod events;
mod explained;
pub mod export;
mod gate;
mod held;
mod lines;
mod metrics;
mod openapi;
mod page;
mod params;
mod problem;
mod routes;
mod standing;
mod tables;
mod taken;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use headroom_engine::handle::{EngineHandle, Overview};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use openapi::document as openapi_document;
pub use token::{Token, TokenError};

/// The port unless another is named.
pub const DEFAULT_PORT: u16 = 7070;
/// Connections at once: some pages with six connections each, some scripts. More wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// How long a client may take to send a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long answers that are under way may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// What every change must show.
    pub token: Token,
    /// More names under which the server may be asked, as in a `Host` header: `scale.example`, `localhost:8080`.
    pub allowed_hosts: Vec<String>,
}

impl ApiOptions {
    /// Under its own names only.
    #[must_use]
    pub fn new(token: Token) -> Self {
        Self { token, allowed_hosts: Vec::new() }
    }
}

/// Why the API can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Something else listens there.
    #[error("port {port} is taken by {by}; choose another with --bind {another}")]
    Taken {
        /// The port.
        port: u16,
        /// Who has it.
        by: String,
        /// An address that is free.
        another: SocketAddr,
    },
    /// The system refuses the address.
    #[error("can't listen on {bind}: {source}; choose another address with --bind 127.0.0.1:{DEFAULT_PORT}")]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What the routes share.
struct App {
    handle: EngineHandle,
    token: Token,
    hosts: gate::Hosts,
    /// The overview, once a second while someone listens.
    overviews: broadcast::Sender<Arc<Overview>>,
    /// Places for listeners.
    places: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    /// The OpenAPI document, made once.
    openapi: Bytes,
}

/// The address that the API is served at, taken but not answering yet.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes an address; port 0 takes any free one. Keep it on loopback unless a proxy with accounts stands in front:
    /// reading needs no token.
    ///
    /// # Errors
    /// The address is taken or refused.
    pub async fn at(bind: SocketAddr) -> Result<Self, ApiError> {
        let refused = |source| ApiError::Bind { bind, source };
        let listener = match TcpListener::bind(bind).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(taken(bind).await),
            Err(error) => return Err(refused(error)),
        };
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves the API and the page until `shutdown` is done; returns the task that ends when the last answer is out.
pub fn serve(
    handle: EngineHandle,
    listening: Listening,
    options: ApiOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let Listening { listener, address } = listening;
    let (stop, stopping) = watch::channel(false);
    let (overviews, _) = broadcast::channel(events::OVERVIEWS);
    let telling = tokio::spawn(events::tell_overview(handle.clone(), overviews.clone(), stopping.clone()));
    let app = Arc::new(App {
        handle,
        token: options.token,
        hosts: gate::Hosts::new(address, &options.allowed_hosts),
        overviews,
        places: Arc::new(Semaphore::new(events::LISTENERS)),
        stopping: stopping.clone(),
        openapi: Bytes::from(openapi::document().to_string()),
    });
    let router = routes::router(app);
    tokio::spawn(async move {
        accept(listener, router, shutdown, &stop, stopping).await;
        telling.abort();
    })
}

/// Takes connections until `shutdown`, then waits for the last answers.
async fn accept(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
    stop: &watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // A place first: beyond the bound the kernel's queue holds them back.
        let taken = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = &mut shutdown => break,
            (accepted, place) = taken => match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, router.clone(), stopping.clone());
                    open.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, as a rule: those that are open will end.
                    tracing::warn!(%error, "a connection to the API could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
    // Everyone may have gone already.
    let _ = stop.send(true);
    let farewell = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        open.abort_all();
    }
}

/// Serves one connection; once the server stops it ends after the answer under way.
async fn connection(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    // Small answers go out at once.
    let _ = stream.set_nodelay(true);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(&mut stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API broke off");
    }
}

/// Waits until the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // That the sender is gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Who has the address, and a free one.
async fn taken(bind: SocketAddr) -> ApiError {
    let by = taken::holder(bind.port()).unwrap_or_else(|| "another program".to_owned());
    // The next few, else any: the port is free now, which is all that can be said.
    for port in (bind.port().saturating_add(1)..).take(20) {
        let another = SocketAddr::new(bind.ip(), port);
        if TcpListener::bind(another).await.is_ok() {
            return ApiError::Taken { port: bind.port(), by, another };
        }
    }
    ApiError::Taken { port: bind.port(), by, another: SocketAddr::new(bind.ip(), 0) }
}
