//! A real balancer process, real backends on loopback, and raw clients for them.

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use headroom_lb::{
    control::{Client, Events, protocol::Event, protocol::Health},
    settings::{BackendConfig, Millis, ServiceConfig},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// Generous: only a hang is slower.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

/// Waits for work that must not hang.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// A balancer in its own process; killed when dropped.
pub(crate) struct Lb {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Lb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lb {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("lb.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_headroom-lb"))
            .arg("--socket")
            .arg(&socket)
            .args(["--workers", "2"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let lb = Self { child, socket, _dir: dir };
        until("the balancer's socket", || async { Client::connect(&lb.socket).await.is_ok() }).await;
        lb
    }

    /// A controller that has claimed the balancer.
    pub(crate) async fn controller(&self) -> (Client, Events) {
        let (client, events) = Client::connect(&self.socket).await.unwrap();
        client.claim().await.unwrap();
        (client, events)
    }
}

/// A service on a free port with quick checks.
pub(crate) fn service(backends: &[&Backend]) -> ServiceConfig {
    let mut s = ServiceConfig::new("web".parse().unwrap(), "127.0.0.1:0".parse().unwrap());
    s.health.interval = Millis(50);
    s.health.startup_interval = Millis(10);
    s.backends = backends.iter().map(|b| b.config()).collect();
    s
}

/// Puts a service and waits until all its backends are healthy.
pub(crate) async fn serve(client: &Client, service: ServiceConfig) -> SocketAddr {
    let bound = client.put(service).await.unwrap().bound;
    all_are(client, Health::Healthy).await;
    bound
}

/// Waits until all backends of all services are so.
pub(crate) async fn all_are(client: &Client, health: Health) {
    until(&format!("all backends {health:?}"), || async {
        let state = client.state().await.unwrap();
        state.services.iter().flat_map(|s| &s.backends).all(|b| b.health == health)
    })
    .await;
}

/// How one backend is now.
pub(crate) async fn health_of(client: &Client, id: &str) -> Option<Health> {
    let state = client.state().await.unwrap();
    state.services.iter().flat_map(|s| &s.backends).find(|b| b.id.as_str() == id).map(|b| b.health)
}

/// Reads events until one fits.
pub(crate) async fn event<T>(events: &mut Events, mut fits: impl FnMut(Event) -> Option<T>) -> T {
    soon("an event", async {
        loop {
            let e = events.next().await.expect("the balancer runs");
            if let Some(t) = fits(e) {
                return t;
            }
        }
    })
    .await
}

/// What a backend knows of itself.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: AtomicU32,
    pub(crate) open: AtomicUsize,
    pub(crate) heads: Mutex<Vec<String>>,
    pub(crate) bodies: Mutex<Vec<Vec<u8>>>,
    pub(crate) unhealthy: AtomicBool,
    /// The status it answers with, 200 if 0.
    pub(crate) status: AtomicU32,
    /// Requests wait until this is false.
    pub(crate) stuck: AtomicBool,
}

/// A backend in this process: answers each request with its id, and remembers what it got.
pub(crate) struct Backend {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    task: AbortHandle,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Backend {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_on(id, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_on(id: &str, address: SocketAddr) -> Self {
        let seen = Arc::new(Seen::default());
        let (name, seen2) = (id.to_owned(), Arc::clone(&seen));
        Self::with(id, address, seen, move |s| answer_all(s, name.clone(), Arc::clone(&seen2))).await
    }

    /// A backend that does with each connection, whose first byte is not of a check, as told.
    pub(crate) async fn raw<F: Future<Output = ()> + Send + 'static>(
        id: &str,
        each: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::with(id, "127.0.0.1:0".parse().unwrap(), Arc::default(), each).await
    }

    async fn with<F: Future<Output = ()> + Send + 'static>(
        id: &str,
        address: SocketAddr,
        seen: Arc<Seen>,
        each: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener: TcpListener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let sick = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Dropping the set ends every connection, as the end of a process would.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let mut first = [0; 11];
                let sick = Arc::clone(&sick);
                let work = each_after_check(stream, &mut first, sick).await;
                if let Some(stream) = work {
                    connections.spawn(each(stream));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { id: id.into(), address, seen, task: task.abort_handle() }
    }

    pub(crate) fn config(&self) -> BackendConfig {
        BackendConfig::active(self.id.parse().unwrap(), self.address)
    }

    /// Ends it as `kill -9` would: its sockets close, whatever was on them.
    pub(crate) fn kill(&self) {
        self.task.abort();
    }

    pub(crate) fn requests(&self) -> u32 {
        self.seen.requests.load(SeqCst)
    }
}

/// Answers a health check; gives any other connection back. A connection without a byte is held open
/// elsewhere, so that accepting goes on.
async fn each_after_check(stream: TcpStream, first: &mut [u8; 11], seen: Arc<Seen>) -> Option<TcpStream> {
    let n = tokio::time::timeout(LONG, stream.peek(first)).await.ok()?.ok()?;
    if &first[..n] != b"GET /health" {
        return Some(stream);
    }
    tokio::spawn(async move {
        let mut stream = stream;
        let _ = read_head(&mut stream).await;
        let status = if seen.unhealthy.load(SeqCst) { "503 Sick" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    None
}

struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

async fn answer_all(mut stream: TcpStream, id: String, seen: Arc<Seen>) {
    seen.open.fetch_add(1, SeqCst);
    let _open = Open(Arc::clone(&seen));
    while let Some(head) = read_head(&mut stream).await {
        let lower = head.to_lowercase();
        let mut body = Vec::new();
        if let Some(length) = lower.split("content-length: ").nth(1) {
            body.resize(length.split("\r\n").next().unwrap().parse().unwrap(), 0);
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
        } else if lower.contains("transfer-encoding: chunked") {
            while !body.ends_with(b"0\r\n\r\n") {
                if !matches!(stream.read_buf(&mut body).await, Ok(1..)) {
                    return;
                }
            }
        }
        seen.requests.fetch_add(1, SeqCst);
        seen.heads.lock().unwrap().push(head.clone());
        seen.bodies.lock().unwrap().push(body);
        while seen.stuck.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let status = match seen.status.load(SeqCst) {
            0 => 200,
            s => s,
        };
        let body = if head.starts_with("HEAD") || status == 304 { "" } else { id.as_str() };
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", id.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads up to and with the empty line; `None` if the connection ends before.
pub(crate) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// An answer as a client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads one answer; `None` if the connection ends before its head.
pub(crate) async fn read_answer(stream: &mut (impl AsyncReadExt + Unpin), no_body: bool) -> Option<Answer> {
    let head = read_head(stream).await?;
    let status = head[9..12].parse().unwrap();
    let lower = head.to_lowercase();
    let mut body = Vec::new();
    if no_body || matches!(status, 100..200 | 204 | 304) {
    } else if let Some(length) = lower.split("content-length: ").nth(1) {
        body.resize(length.split("\r\n").next().unwrap().parse().unwrap(), 0);
        stream.read_exact(&mut body).await.ok()?;
    } else if lower.contains("transfer-encoding: chunked") {
        loop {
            let mut size = String::new();
            while !size.ends_with("\r\n") {
                size.push(stream.read_u8().await.ok()? as char);
            }
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            if size == 0 {
                // Trailers, if any, end with an empty line.
                let mut trailers = Vec::new();
                while trailers != b"\r\n" && !trailers.ends_with(b"\r\n\r\n") {
                    trailers.push(stream.read_u8().await.ok()?);
                }
                body.extend_from_slice(&trailers[..trailers.len() - 2]);
                break;
            }
            stream.read_exact(&mut chunk).await.ok()?;
            body.extend_from_slice(&chunk[..size]);
        }
    } else {
        stream.read_to_end(&mut body).await.ok()?;
    }
    Some(Answer { status, head, body })
}

/// Sends bytes on a new connection and reads one answer.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> Option<Answer> {
    soon("an answer", async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        read_answer(&mut stream, request.starts_with("HEAD")).await
    })
    .await
}

/// `GET path` on a new connection.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    ask(address, &request).await.expect("an answer")
}
