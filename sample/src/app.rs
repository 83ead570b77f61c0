//! The app that is scaled: a web server whose capacity, start-up, warm-up and failures are flags.
//!
//! A test of a scaler needs replicas that saturate, start slowly, leak, hang, crash and drain, dozens of
//! them on a small machine, and the same every time. Real apps do none of that on demand. Here capacity
//! is simulated ([`capacity`]): it waits instead of working. Where the CPU or the memory
//! itself is the signal, `/load` and `/memory` use it for real.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | 1 KiB of text, after its turn in the service model |
//! | `GET /work?ms=20` | the same, served in exactly 20 ms (at most 60 000) |
//! | `GET /health` | state, instance and dependencies as JSON; 200, or 503 while starting, draining or failing |
//! | `GET /metrics` | traffic and process figures, Prometheus text or OpenMetrics as asked |
//! | `GET /load/{1..10}` | burns CPU in proportion |
//! | `GET /memory/{MB}` | takes memory and holds it for a while |
//! | `GET /warmup`, `POST /cache/warm` | make a cold replica warm (both are needed) |
//!
//! It keeps nothing between requests that a user would miss, so replicas may come and go (A21). A
//! dependency that is down shows in `/health` but doesn't make it fail: if it did, one broken database
//! would have every replica replaced.

mod ballast;
pub mod capacity;
mod figures;
mod options;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use self::ballast::{Ballast, Burner};
use self::capacity::{Capacity, QueueFull, ServiceModel, TooManyWorkers};
use self::figures::{Figures, Format};
pub use self::options::{AppOptions, Dependency, StartUpMode};
use crate::random::Random;

/// Connections served at once; more wait in the system's backlog. Two thirds of what a process may open
/// on most systems (1024), so that dependencies can still be looked at.
const MOST_CONNECTIONS: usize = 680;
/// Connections that may wait to be accepted. The standard library's 128 is less than what a surge brings at
/// once; those beyond it come again only a second later, when the client's system repeats its SYN.
const BACKLOG: u32 = 1024;
/// How long a connection may be idle, as nginx has it. Shorter would cut off balancers' pools.
const IDLE: Duration = Duration::from_secs(75);
/// How long a dependency may take to accept a connection. Well under the second in which the fastest
/// health checks want an answer.
const DEPENDENCY_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest service that `/work` takes on, in milliseconds.
const LONGEST_WORK_MS: u64 = 60_000;
/// Both `GET /warmup` and `POST /cache/warm`.
const WARM_CODE: u64 = 1;
const WARM_CACHE: u64 = 2;

/// Why the app didn't run, or ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The port can't be had.
    #[error("can't listen on {address}; is the port taken? choose another with `--port`")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Signals can't be received.
    #[error("can't receive signals")]
    Signals(#[source] std::io::Error),
    /// Capacity and service time don't fit.
    #[error(transparent)]
    Capacity(#[from] TooManyWorkers),
    /// The crash that `--exit-after` asked for.
    #[error("crashed, as `--exit-after {0:?}` asks")]
    Crashed(Duration),
    /// Requests that didn't finish in time were cut off.
    #[error(
        "cut off {connections} connections that were still busy {after:?} after the stop (`--drain-timeout`)"
    )]
    CutOff {
        /// How many.
        connections: usize,
        /// The time they had.
        after: Duration,
    },
}

/// Where the app stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Phase {
    Starting,
    Serving,
    /// `/health` says no, everything else goes on.
    Draining,
    /// No new connections; those at hand end with their request.
    Closing,
}

/// An app that listens. Nothing is answered before [`App::serve`].
#[derive(Debug)]
pub struct App {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
    /// What is left of the start-up time.
    start_up: Duration,
}

#[derive(Debug)]
struct State {
    options: AppOptions,
    instance: String,
    phase: watch::Sender<Phase>,
    figures: Figures,
    model: Option<Mutex<ServiceModel>>,
    workers: usize,
    epoch: Instant,
    served: AtomicU64,
    warmed: AtomicU64,
    errors: Mutex<Random>,
    burner: Burner,
    ballast: Arc<Ballast>,
    serving_since: std::sync::OnceLock<Instant>,
}

/// Runs the app as this process until SIGTERM or SIGINT, then lets it finish what it has begun.
///
/// One thread is enough: call it from a current-thread runtime where many replicas share a machine.
///
/// # Errors
/// See [`AppError`]; all but a bad capacity and a port that is taken are asked for by flags.
pub async fn run(options: AppOptions) -> Result<(), AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    let mut stop = pin!(async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    });
    let app = tokio::select! {
        app = App::start(options) => app?,
        () = &mut stop => return Ok(()),
    };
    // A closed stderr is no reason not to serve.
    let _ = writeln!(std::io::stderr(), "{} listens on http://{}", app.state.instance, app.address);
    app.serve(stop).await
}

impl App {
    /// Takes the port, after the start-up time if the port is to be closed for so long.
    ///
    /// # Errors
    /// When the port can't be had, or capacity and service time need too many workers.
    pub async fn start(options: AppOptions) -> Result<Self, AppError> {
        let seed = options.seed.unwrap_or_else(seed_of_this_process);
        let (model, workers) = match options.capacity {
            Capacity::Unlimited => (None, 0),
            Capacity::PerSecond(rate) => {
                let model =
                    ServiceModel::new(rate, options.service_time, options.variation, options.queue, seed)?;
                let workers = model.workers();
                (Some(Mutex::new(model)), workers)
            }
        };
        let mut start_up = Random::new(seed, "start-up").around(options.start_up, options.start_up_spread);
        if options.start_up_mode == StartUpMode::Closed {
            sleep(start_up).await;
            start_up = Duration::ZERO;
        }
        let wanted = SocketAddr::new(options.host, options.port);
        let listen = |source| AppError::Listen { address: wanted, source };
        let listener = listen_on(wanted).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let state = Arc::new(State {
            instance: options.instance.clone().unwrap_or_else(|| format!("sample-{}", std::process::id())),
            phase: watch::Sender::new(Phase::Starting),
            figures: Figures::new(),
            model,
            workers,
            epoch: Instant::now(),
            served: AtomicU64::new(0),
            warmed: AtomicU64::new(0),
            errors: Mutex::new(Random::new(seed, "errors")),
            burner: Burner::new(),
            ballast: Arc::new(Ballast::new(options.memory_limit)),
            serving_since: std::sync::OnceLock::new(),
            options,
        });
        Ok(Self { listener, address, state, start_up })
    }

    /// The address it listens on, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then drains: `/health` turns to 503, after the drain delay no new connection
    /// is taken, requests in flight are finished.
    ///
    /// # Errors
    /// [`AppError::Crashed`] and [`AppError::CutOff`].
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        let Self { listener, state, start_up, .. } = self;
        let options = &state.options;
        // Both end with this function: a crash cuts the connections, and nothing outlives the app.
        let mut background = JoinSet::new();
        let mut connections = JoinSet::new();
        if let Some(rate) = options.leak {
            background.spawn(leak(state.ballast.clone(), rate));
        }
        let life = async {
            // Even an empty sleep is a turn of the timer, in which a first request would be refused.
            if !start_up.is_zero() {
                sleep(start_up).await;
            }
            state.serving_since.get_or_init(Instant::now);
            // Unless it has been told to stop meanwhile.
            state.phase.send_if_modified(|phase| {
                let started = *phase == Phase::Starting;
                if started {
                    *phase = Phase::Serving;
                }
                started
            });
            match options.exit_after {
                Some(after) => {
                    sleep(after).await;
                    after
                }
                None => pending().await,
            }
        };
        let end = async {
            stop.await;
            state.phase.send_replace(Phase::Draining);
            sleep(options.drain_delay).await;
        };
        tokio::select! {
            // In this order: a replica without start-up time serves before it takes a connection.
            biased;
            after = life => return Err(AppError::Crashed(after)),
            () = end => {}
            never = accept(&listener, &state, &mut connections) => match never {},
        }
        drop(listener);
        state.phase.send_replace(Phase::Closing);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        match timeout(options.drain_timeout, all_ended).await {
            Ok(()) => Ok(()),
            Err(_) => Err(AppError::CutOff { connections: connections.len(), after: options.drain_timeout }),
        }
    }
}

/// Opens the port. An address just left by another replica may be taken at once.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections for ever, each in a task of its own.
async fn accept(listener: &TcpListener, state: &Arc<State>, connections: &mut JoinSet<()>) -> Infallible {
    loop {
        while connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors or the like: it passes, and trying again at once would only spin.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        connections.spawn(converse(stream, state.clone()));
    }
}

/// Serves one connection to its end. How it ended is the client's affair.
async fn converse(stream: TcpStream, state: Arc<State>) {
    // Answers are written whole; waiting to fill a packet would only delay them. Best effort.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut phase = state.phase.subscribe();
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = phase.wait_for(|phase| *phase == Phase::Closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Takes `rate` mebibytes every second until the limit is reached.
async fn leak(ballast: Arc<Ballast>, rate: u32) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let ballast = ballast.clone();
        let taken = tokio::task::spawn_blocking(move || ballast.leak(rate)).await;
        if !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

type Answer = Response<Full<Bytes>>;

impl State {
    /// Answers one request.
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if self.due(self.options.hang_after) {
            pending::<()>().await;
        }
        let phase = *self.phase.borrow();
        let mut answer = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/health") => self.health(phase).await,
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(&request),
            _ => {
                let in_flight = self.figures.begin();
                let answer = self.traffic(phase, &request).await;
                in_flight.end(answer.status().as_u16());
                answer
            }
        };
        let headers = answer.headers_mut();
        if let Ok(instance) = HeaderValue::from_str(&self.instance) {
            headers.insert("x-instance", instance);
        }
        if matches!(phase, Phase::Draining | Phase::Closing) {
            // Clients that keep connections are asked to go elsewhere while they still can in peace.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Everything that isn't a probe.
    async fn traffic(&self, phase: Phase, request: &Request<Incoming>) -> Answer {
        if phase == Phase::Starting {
            return unavailable("this replica is still starting");
        }
        let path = request.uri().path();
        let (method, rest) = match path.strip_prefix('/').unwrap_or(path).split_once('/') {
            Some(("cache", "warm")) => (Method::POST, ""),
            Some(("load" | "memory", rest)) => (Method::GET, rest),
            None if matches!(path, "/" | "/work" | "/warmup") => (Method::GET, ""),
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    "no such page; see / /work /health /metrics /load /memory",
                );
            }
        };
        if *request.method() != method && !(method == Method::GET && *request.method() == Method::HEAD) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "this page takes another method");
            refusal.headers_mut().insert(
                ALLOW,
                HeaderValue::from_static(if method == Method::GET { "GET, HEAD" } else { "POST" }),
            );
            return refusal;
        }
        if self.options.errors > 0.0 && lock(&self.errors).unit() < self.options.errors {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "failed, as `--errors` asks");
        }
        match path {
            "/" => self.work(None).await,
            "/work" => match milliseconds(request.uri().query()) {
                Ok(service) => self.work(service).await,
                Err(BadMilliseconds) => text(
                    StatusCode::BAD_REQUEST,
                    "ms is a whole number of milliseconds, at most 60000: /work?ms=20",
                ),
            },
            "/warmup" => self.warm(WARM_CODE),
            "/cache/warm" => self.warm(WARM_CACHE),
            _ if path.starts_with("/load/") => self.load(rest).await,
            _ => self.memory(rest).await,
        }
    }

    /// A turn in the service model, then the page.
    async fn work(&self, service: Option<Duration>) -> Answer {
        let done = match &self.model {
            Some(model) => {
                let slowness = if self.is_warm() { 1.0 } else { self.options.cold_factor };
                // The clock is read under the lock: the model wants arrivals in order.
                let mut model = lock(model);
                match model.admit(self.epoch.elapsed(), service, slowness) {
                    Ok(turn) => Some(turn.done),
                    Err(full @ QueueFull) => return unavailable(&full.to_string()),
                }
            }
            None => service.map(|service| self.epoch.elapsed() + service),
        };
        if let Some(done) = done {
            sleep_until((self.epoch + done).into()).await;
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        Response::new(Full::new(Bytes::from_static(&PAGE)))
    }

    async fn load(&self, level: &str) -> Answer {
        match level.parse() {
            Ok(level @ 1..=10) => match self.burner.burn(level).await {
                Ok(()) => text(StatusCode::OK, &format!("burned CPU at level {level}")),
                Err(refused) => unavailable(&refused.to_string()),
            },
            _ => text(StatusCode::BAD_REQUEST, "the level is a whole number from 1 to 10: /load/3"),
        }
    }

    async fn memory(&self, amount: &str) -> Answer {
        let Some(amount) = amount.parse::<u32>().ok().filter(|amount| *amount > 0) else {
            return text(
                StatusCode::BAD_REQUEST,
                "the amount is a whole number of MB, at least 1: /memory/64",
            );
        };
        if let Err(refused) = self.ballast.reserve(amount) {
            return unavailable(&refused.to_string());
        }
        let (ballast, hold) = (self.ballast.clone(), self.options.memory_hold);
        let (taken, taking) = tokio::sync::oneshot::channel();
        // A task of its own, so that the memory is given back also when the client goes. At most as many
        // as the limit has MB.
        tokio::spawn(async move {
            let memory = tokio::task::spawn_blocking(move || ballast::allocate(amount)).await;
            let _ = taken.send(());
            sleep(hold).await;
            drop(memory);
            ballast.release(amount);
        });
        let _ = taking.await;
        text(StatusCode::OK, &format!("holding {amount} MB for {hold:?}"))
    }

    fn warm(&self, part: u64) -> Answer {
        self.warmed.fetch_or(part, Ordering::Relaxed);
        text(StatusCode::OK, if self.is_warm() { "warm" } else { "half warm" })
    }

    fn is_warm(&self) -> bool {
        self.options.cold_factor <= 1.0
            || self.warmed.load(Ordering::Relaxed) == WARM_CODE | WARM_CACHE
            || self.served.load(Ordering::Relaxed) >= self.options.cold_requests
    }

    async fn health(&self, phase: Phase) -> Answer {
        let failing = self.due(self.options.fail_health_after);
        let dependencies = self.look_at_dependencies().await;
        let status = match phase {
            Phase::Starting => "starting",
            Phase::Draining | Phase::Closing => "draining",
            Phase::Serving if failing => "failing",
            Phase::Serving if dependencies.iter().any(|seen| !seen.ok) => "degraded",
            Phase::Serving => "ok",
        };
        let health = Health {
            status,
            instance: &self.instance,
            uptime_seconds: self.figures.uptime().as_secs_f64(),
            warm: self.is_warm(),
            dependencies,
        };
        let json = serde_json::to_vec(&health).expect("strings, numbers and booleans serialise");
        let mut answer = Response::new(Full::new(Bytes::from(json)));
        if !matches!(status, "ok" | "degraded") {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }

    /// Looks at all dependencies at once; each is well if it accepts a connection in time.
    async fn look_at_dependencies(&self) -> Vec<DependencyHealth<'_>> {
        let mut looks = JoinSet::new();
        for (place, dependency) in self.options.depends_on.iter().enumerate() {
            let address = dependency.address.clone();
            looks.spawn(async move {
                let connected = timeout(DEPENDENCY_TIMEOUT, TcpStream::connect(address)).await;
                (place, matches!(connected, Ok(Ok(_))))
            });
        }
        let mut seen: Vec<_> = self
            .options
            .depends_on
            .iter()
            .map(|dependency| DependencyHealth {
                name: &dependency.name,
                address: &dependency.address,
                ok: false,
            })
            .collect();
        for (place, ok) in looks.join_all().await {
            seen[place].ok = ok;
        }
        seen
    }

    fn metrics(&self, request: &Request<Incoming>) -> Answer {
        let format = Format::accepted(request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()));
        let mut gauges = vec![
            (
                "sample_memory_held_bytes",
                "Memory held by /memory and the leak.",
                f64::from(self.ballast.held()) * 1_048_576.0,
            ),
            ("sample_warm", "1 once the replica is warm.", f64::from(u8::from(self.is_warm()))),
        ];
        if let (Some(model), Capacity::PerSecond(rate)) = (&self.model, self.options.capacity) {
            let waiting = lock(model).waiting(self.epoch.elapsed());
            #[expect(clippy::cast_precision_loss, reason = "both are small counts")]
            gauges.extend([
                ("sample_capacity_requests_per_second", "Requests per second this replica carries.", rate),
                ("sample_workers", "Requests served at a time.", self.workers as f64),
                ("sample_queue_length", "Requests that wait for a worker.", waiting as f64),
            ]);
        }
        let mut answer = text(StatusCode::OK, &self.figures.render(format, &gauges));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        answer
    }

    /// Whether a fault set for `after` so much serving has come.
    fn due(&self, after: Option<Duration>) -> bool {
        after.is_some_and(|after| self.serving_since.get().is_some_and(|since| since.elapsed() >= after))
    }
}

/// The body of `/health`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Health<'a> {
    status: &'static str,
    instance: &'a str,
    uptime_seconds: f64,
    warm: bool,
    dependencies: Vec<DependencyHealth<'a>>,
}

#[derive(Debug, Serialize)]
struct DependencyHealth<'a> {
    name: &'a str,
    address: &'a str,
    ok: bool,
}

/// The page: 1 KiB, about what a small JSON answer is, in lines.
static PAGE: [u8; 1024] = {
    let line = b"headroom sample: grow me when I am busy, shrink me when I am not.\n";
    let mut page = [b'\n'; 1024];
    let mut at = 0;
    while at < page.len() - 1 {
        page[at] = line[at % line.len()];
        at += 1;
    }
    page
};

fn text(status: StatusCode, body: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// 503, with the advice to come back in a second.
fn unavailable(why: &str) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

struct BadMilliseconds;

/// The service time in a query such as `ms=20`; none if it isn't named.
fn milliseconds(query: Option<&str>) -> Result<Option<Duration>, BadMilliseconds> {
    let Some(value) = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("ms=")))
    else {
        return Ok(None);
    };
    let time = value.parse().ok().filter(|ms| *ms <= LONGEST_WORK_MS).ok_or(BadMilliseconds)?;
    Ok(Some(Duration::from_millis(time)))
}

/// Differs between processes, so that replicas started by one command line don't start in step.
fn seed_of_this_process() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs().rotate_left(32) ^ u64::from(since.subsec_nanos()) ^ (u64::from(std::process::id()) << 40)
}

/// What these locks guard stays right whatever panicked while it was held.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_time_is_read_from_the_query() {
        for (query, expected) in [
            (None, Some(None)),
            (Some(""), Some(None)),
            (Some("a=1"), Some(None)),
            (Some("ms=0"), Some(Some(0))),
            (Some("a=1&ms=20"), Some(Some(20))),
            (Some("ms=60000"), Some(Some(60_000))),
            (Some("ms=60001"), None),
            (Some("ms=-1"), None),
            (Some("ms="), None),
        ] {
            let read = milliseconds(query).ok();
            assert_eq!(read, expected.map(|time| time.map(Duration::from_millis)), "{query:?}");
        }
    }
}
