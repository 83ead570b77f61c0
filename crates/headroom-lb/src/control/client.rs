//! The controller's side of the control socket.
//!
//! [`Client`] asks, [`Events`] tells. Both end when the balancer goes away; connecting again and
//! reading [`Client::state`] is all that adoption takes.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, oneshot},
    task::JoinHandle,
};

use super::{
    protocol::{
        Event, Generation, Hello, MAX_REPLY_LINE, Refusal, Reply, ReplyLine, Request, RequestLine,
        ServiceStatus, State, VERSION,
    },
    queue::EventQueue,
};
use crate::{
    names::{BackendId, ServiceName},
    settings::{Millis, ServiceConfig},
};

/// Longest time an answer may take. Answers need no traffic and no backend, so only a balancer that
/// hangs is slower than this.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the balancer could not be asked, or did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No balancer listens on the socket.
    #[error("no balancer answers on {path}: {source}; start one with `headroom lb --socket {path}`")]
    Connect {
        /// The socket.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The balancer went away while it was asked. Whether it did as asked is not known; connect again
    /// and read its state.
    #[error("the balancer closed its control socket; connect again and read its state")]
    Gone,
    /// The balancer hangs.
    #[error("the balancer did not answer within {} s; it may hang: look at its log", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// Another protocol version.
    #[error(
        "the balancer (process {pid}) speaks version {theirs} of the control protocol, this program version {VERSION}; start a balancer of this version and let the other drain"
    )]
    Version {
        /// The balancer's version.
        theirs: u32,
        /// The balancer's process.
        pid: u32,
    },
    /// The balancer refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An answer that does not fit the question.
    #[error("the balancer's answer could not be read: {0}; the versions may differ")]
    Garbled(String),
}

type Waiting = HashMap<u64, oneshot::Sender<Result<Reply, Refusal>>>;

/// A connection to a balancer. Cheap calls, any number at once.
#[derive(Debug)]
pub struct Client {
    hello: Hello,
    generation: AtomicU64,
    next_id: AtomicU64,
    waiting: Arc<Mutex<Option<Waiting>>>,
    write: AsyncMutex<OwnedWriteHalf>,
    reader: JoinHandle<()>,
}

/// What the balancer tells, from [`Client::subscribe`] on. Bounded: figures that were not read yet
/// merge into one of a longer interval, and past 1024 unread other events the oldest are replaced by an
/// [`Event::Lagged`].
#[derive(Debug)]
pub struct Events {
    queue: Arc<EventQueue>,
}

impl Events {
    /// The next event; `None` once the balancer is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.queue.next().await
    }
}

impl Client {
    /// Connects and checks the version.
    ///
    /// # Errors
    /// [`ClientError::Connect`] if nobody listens on `path`, [`ClientError::Version`] if a balancer of
    /// another protocol version does.
    pub async fn connect(path: impl AsRef<Path>) -> Result<(Self, Events), ClientError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| ClientError::Connect { path: path.display().to_string(), source })?;
        let (read, write) = stream.into_split();
        let waiting = Arc::new(Mutex::new(Some(Waiting::new())));
        let queue = Arc::new(EventQueue::default());
        let reader = tokio::spawn(read_lines(read, Arc::clone(&waiting), Arc::clone(&queue)));
        let mut client = Self {
            hello: Hello { version: VERSION, software: String::new(), pid: 0, generation: Generation(0) },
            generation: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
            waiting,
            write: AsyncMutex::new(write),
            reader,
        };
        let Reply::Hello(hello) = client.call(Request::Hello).await? else { return Err(misfit("hello")) };
        if hello.version != VERSION {
            return Err(ClientError::Version { theirs: hello.version, pid: hello.pid });
        }
        client.hello = hello;
        Ok((client, Events { queue }))
    }

    /// Who answered when this connection was made.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Becomes the writing controller. Needed once, before the first write.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn claim(&self) -> Result<Generation, ClientError> {
        let Reply::Claimed(generation) = self.call(Request::Claim).await? else {
            return Err(misfit("claim"));
        };
        self.generation.store(generation.0, Relaxed);
        Ok(generation)
    }

    /// Reads the whole state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn state(&self) -> Result<State, ClientError> {
        let Reply::State(state) = self.call(Request::State).await? else { return Err(misfit("state")) };
        Ok(state)
    }

    /// Makes a service so, new or not, and says how it is then.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if its settings, address or certificate cannot be used, and then
    /// the service stays as it was.
    pub async fn put(&self, service: ServiceConfig) -> Result<ServiceStatus, ClientError> {
        let Reply::Service(status) = self.call(Request::Put(Box::new(service))).await? else {
            return Err(misfit("put"));
        };
        Ok(*status)
    }

    /// Lets a backend drain. [`Event::BackendHealth`] tells when it is drained.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drain_backend(
        &self,
        service: &ServiceName,
        backend: &BackendId,
        delay: Millis,
    ) -> Result<ServiceStatus, ClientError> {
        let request = Request::DrainBackend { service: service.clone(), backend: backend.clone(), delay };
        let Reply::Service(status) = self.call(request).await? else { return Err(misfit("drain")) };
        Ok(*status)
    }

    /// Stops a service; its requests in flight may finish.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove(&self, service: &ServiceName) -> Result<(), ClientError> {
        self.call(Request::Remove { service: service.clone() }).await.map(drop)
    }

    /// Asks for events, figures included.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn subscribe(&self) -> Result<(), ClientError> {
        self.call(Request::Subscribe).await.map(drop)
    }

    /// Ends the balancer's process once its requests in flight are done, or `drain` is over.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn shutdown(&self, drain: Millis) -> Result<(), ClientError> {
        self.call(Request::Shutdown { drain }).await.map(drop)
    }

    async fn call(&self, request: Request) -> Result<Reply, ClientError> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let generation = request.writes().then(|| Generation(self.generation.load(Relaxed)));
        let mut line = serde_json::to_vec(&RequestLine { id, generation, request })
            .map_err(|e| ClientError::Garbled(e.to_string()))?;
        line.push(b'\n');
        let (send, answer) = oneshot::channel();
        lock(&self.waiting).as_mut().ok_or(ClientError::Gone)?.insert(id, send);
        let ask = async {
            self.write.lock().await.write_all(&line).await.map_err(|_| ClientError::Gone)?;
            answer.await.map_err(|_| ClientError::Gone)?.map_err(ClientError::Refused)
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, ask).await;
        if let Some(waiting) = lock(&self.waiting).as_mut() {
            waiting.remove(&id);
        }
        answer.unwrap_or(Err(ClientError::Timeout))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn misfit(request: &str) -> ClientError {
    ClientError::Garbled(format!("it does not answer `{request}`"))
}

fn lock(waiting: &Mutex<Option<Waiting>>) -> MutexGuard<'_, Option<Waiting>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the queue and every waiting call when the reader ends, in whatever way.
struct Ending {
    waiting: Arc<Mutex<Option<Waiting>>>,
    queue: Arc<EventQueue>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        lock(&self.waiting).take();
        self.queue.close();
    }
}

async fn read_lines(read: OwnedReadHalf, waiting: Arc<Mutex<Option<Waiting>>>, queue: Arc<EventQueue>) {
    let ending = Ending { waiting, queue };
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REPLY_LINE as u64;
        match (&mut read).take(limit).read_until(b'\n', &mut line).await {
            Ok(1..) if line.ends_with(b"\n") => {}
            _ => return,
        }
        // An event of a kind this program does not know is no reason to lose the connection.
        let Ok(read) = serde_json::from_slice::<ReplyLine>(&line) else { continue };
        let (id, outcome) = match read {
            ReplyLine::Event { event } => {
                ending.queue.push(event);
                continue;
            }
            ReplyLine::Reply { id, reply } => (id, Ok(reply)),
            ReplyLine::Error { id: Some(id), error } => (id, Err(error)),
            ReplyLine::Error { id: None, .. } => continue,
        };
        if let Some(asked) = lock(&ending.waiting).as_mut().and_then(|w| w.remove(&id)) {
            // The caller may have stopped waiting; then nobody wants the answer.
            let _ = asked.send(outcome);
        }
    }
}
