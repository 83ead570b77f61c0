//! Sends the requests of a plan when they are due, whatever the answers.
//!
//! One task walks through the plan; each request is a task that takes a connection and lives until its
//! answer, its failure or its timeout. Nothing waits for an answer before the next request goes out, and
//! latency is measured from the moment a request was due, so a server that stalls can't hide the
//! requests it held up (no coordinated omission).
//!
//! Connections are kept alive and bounded. A request that finds all of them busy isn't sent and is
//! counted as overrun. No request is sent twice: only one that a kept connection gave back unsent, since
//! the server had closed it meanwhile, goes to another connection.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::plan::{LoadPlan, Spacing};
use super::stats::{FailureClass, LiveStats, Report};
use crate::units::{UnitError, duration};

/// Requests sent in a row, when late, before the answers get a turn on the same thread.
const BURST: u32 = 64;

/// Where requests go: `http://host:port/path?query`. Only plain HTTP: TLS would measure the cipher.
#[derive(Debug, Clone)]
pub struct Target {
    host: String,
    port: u16,
    host_header: HeaderValue,
    path: Uri,
}

impl FromStr for Target {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || UnitError::new(text, "an address such as http://127.0.0.1:8080/ (https isn't supported)");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            // The brackets of an IPv6 address belong to the URL, not to the address.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            host_header: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            path: path.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host_header.to_str().unwrap_or(&self.host), self.path)
    }
}

/// Where and how a load is sent.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// Where requests go, such as http://127.0.0.1:8080/
    #[arg(long = "url", value_name = "URL")]
    pub target: Target,

    /// Connections at most; a request that finds all of them busy is counted as overrun. The default is
    /// half of what a process may open on most systems
    #[arg(long, default_value = "512", value_name = "COUNT")]
    pub connections: NonZeroUsize,

    /// Time from when a request is due until it counts as failed
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,

    /// How requests are spaced
    #[arg(long, default_value = "poisson", value_name = "HOW")]
    pub spacing: Spacing,

    /// Seed of the spacing
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl LoadOptions {
    /// The defaults of the command line, for `target`.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            connections: NonZeroUsize::new(512).expect("512 isn't 0"),
            timeout: Duration::from_secs(10),
            spacing: Spacing::Poisson,
            seed: 1,
        }
    }
}

/// A load that runs. Dropped before its end, it sends nothing more.
#[derive(Debug)]
pub struct Generator {
    live: LiveStats,
    stop: watch::Sender<bool>,
    pacer: JoinHandle<()>,
}

impl Generator {
    /// Begins to send `plan` at once.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use headroom_sample::load::{Generator, LoadOptions, LoadPlan};
    ///
    /// let plan: LoadPlan = "calm 100ms @50, surge 100ms x10".parse().unwrap();
    /// let nobody = "http://127.0.0.1:9/".parse().unwrap();
    /// let report = Generator::start(plan, LoadOptions::new(nobody)).finish().await;
    /// assert_eq!(report.requests.ok, 0);
    /// assert_eq!(report.requests.sent, report.requests.failed);
    /// # });
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime with time and IO.
    #[must_use]
    pub fn start(plan: LoadPlan, options: LoadOptions) -> Self {
        let began = Instant::now();
        let live = LiveStats::new(plan.clone(), began.into_std());
        let (stop, stopped) = watch::channel(false);
        let pacer = tokio::spawn(pace(plan, options, live.clone(), began, stopped));
        Self { live, stop, pacer }
    }

    /// The statistics, live; they stay readable after the end.
    #[must_use]
    pub fn live(&self) -> LiveStats {
        self.live.clone()
    }

    /// Sends nothing more. Requests in flight go on to their end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end of the plan (or a stop) and of every request in flight, which is at most the
    /// timeout later. Can be called again; the report is the same but for its duration.
    pub async fn wait(&mut self) -> Report {
        if !self.pacer.is_finished() {
            // The pacer is aborted only by dropping the generator, and has nothing that panics.
            let _ = (&mut self.pacer).await;
        }
        self.live.report()
    }

    /// [`Generator::wait`], for whoever needs nothing else of it.
    pub async fn finish(mut self) -> Report {
        self.wait().await
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.pacer.abort();
    }
}

/// Walks through the plan, then waits until nothing is in flight.
async fn pace(
    plan: LoadPlan,
    options: LoadOptions,
    live: LiveStats,
    began: Instant,
    mut stopped: watch::Receiver<bool>,
) {
    let client = Arc::new(Client {
        target: options.target,
        idle: Mutex::new(Vec::with_capacity(options.connections.get())),
    });
    let free = Arc::new(Semaphore::new(options.connections.get()));
    let mut burst = 0;
    for arrival in plan.arrivals(options.spacing, options.seed) {
        let due = began + arrival.at;
        let mut now = Instant::now();
        if now < due {
            tokio::select! {
                () = sleep_until(due) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            now = Instant::now();
            burst = 0;
        } else if burst == BURST {
            tokio::task::yield_now().await;
            if *stopped.borrow() {
                break;
            }
            burst = 0;
        } else {
            burst += 1;
        }
        let Ok(place) = free.clone().try_acquire_owned() else {
            live.overran(arrival.phase);
            continue;
        };
        live.sent(arrival.phase, due.into_std(), now.into_std());
        let (client, live, deadline) = (client.clone(), live.clone(), due + options.timeout);
        tokio::spawn(async move {
            let lag = due.elapsed();
            let outcome = timeout_at(deadline, client.exchange()).await.unwrap_or(Err(FailureClass::Timeout));
            live.settled(arrival.phase, lag, due.elapsed(), outcome);
            drop(place);
        });
    }
    // Every place is free again once every request is settled; each is by its timeout at the latest.
    let places = u32::try_from(options.connections.get()).unwrap_or(u32::MAX);
    let _all = free.acquire_many(places).await;
}

type Connection = SendRequest<Empty<Bytes>>;

/// A pool of kept connections. As many at most as there are requests in flight at a time.
struct Client {
    target: Target,
    /// The last one used is the first one taken, so that connections not needed fall asleep.
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    /// One request and the whole of its answer.
    async fn exchange(&self) -> Result<(), FailureClass> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.target.path.clone();
        request.headers_mut().insert(HOST, self.target.host_header.clone());
        loop {
            let (mut connection, kept) = match self.kept().await {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            match connection.try_send_request(request).await {
                Ok(answer) => {
                    let status = answer.status();
                    let mut body = answer.into_body();
                    while let Some(frame) = body.frame().await {
                        frame.map_err(|error| class(&error))?;
                    }
                    self.idle().push(connection);
                    return judge(status);
                }
                // Given back unsent. Each turn uses up a kept connection, so this ends.
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(class(refused.error())),
                },
            }
        }
    }

    /// A kept connection that is still open.
    async fn kept(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle().pop()?;
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<Connection, FailureClass> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port))
            .await
            .map_err(|_| FailureClass::Connect)?;
        stream.set_nodelay(true).map_err(|_| FailureClass::Connect)?;
        let (connection, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| FailureClass::Connect)?;
        // Ends with the connection; what went wrong on it is told to the request.
        tokio::spawn(driver);
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(status: StatusCode) -> Result<(), FailureClass> {
    match status.as_u16() {
        ..400 => Ok(()),
        400..500 => Err(FailureClass::Status4xx),
        500.. => Err(FailureClass::Status5xx),
    }
}

fn class(error: &hyper::Error) -> FailureClass {
    if error.is_parse() { FailureClass::Protocol } else { FailureClass::Reset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_plain_http_with_a_host() {
        for (text, expected) in [
            ("http://127.0.0.1:8080/", Some(("127.0.0.1", 8080, "/"))),
            ("http://localhost", Some(("localhost", 80, "/"))),
            ("http://[::1]:81/a?b=c", Some(("::1", 81, "/a?b=c"))),
            ("https://localhost/", None),
            ("localhost:8080", None),
            ("/path", None),
            ("", None),
        ] {
            let target = text.parse::<Target>().ok();
            let parts = target.as_ref().map(|target| (&*target.host, target.port, target.path.to_string()));
            assert_eq!(parts, expected.map(|(host, port, path)| (host, port, path.to_owned())), "{text}");
        }
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_costs_no_request() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        // Answers one request per connection, then closes it without having said so.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        let client = Client { target, idle: Mutex::default() };
        for _ in 0..3 {
            assert_eq!(client.exchange().await, Ok(()));
            let closed = || client.idle().last().is_none_or(SendRequest::is_closed);
            while !closed() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[test]
    fn a_status_below_400_is_success() {
        for (status, expected) in [
            (200, Ok(())),
            (399, Ok(())),
            (400, Err(FailureClass::Status4xx)),
            (499, Err(FailureClass::Status4xx)),
            (500, Err(FailureClass::Status5xx)),
            (999, Err(FailureClass::Status5xx)),
        ] {
            assert_eq!(judge(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
