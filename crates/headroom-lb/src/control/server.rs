//! The balancer's side of the control socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
};

use super::{
    protocol::{MAX_REQUEST_LINE, Refusal, RefusalCode, ReplyLine, Request, RequestLine},
    queue::EventQueue,
};
use crate::registry::Control;

/// Most controllers connected at once; one is usual, some more look on.
const MAX_CONNECTIONS: usize = 32;

/// Longest time a controller may take to read a line. One that stopped reading is dropped; it can
/// connect again and read the state.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the control socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A balancer runs.
    #[error("a balancer listens on {0} already; use it, or choose another --socket")]
    Running(PathBuf),
    /// Anything else.
    #[error("cannot listen on the control socket {path}: {source}; its directory must exist and be writable")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The control socket; removed when dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Listens, for this user only from the first moment on. A socket that nobody answers on any more
    /// is replaced.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(SocketError::Running(path.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(_) => {}
        }
        // Made under another name, it gets its mode before anyone can find it; linking it to its own
        // fails if another balancer was quicker.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        let _ = fs::remove_file(&hidden);
        let listener = UnixListener::bind(&hidden).map_err(failed)?;
        let linked = fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::hard_link(&hidden, path));
        let _ = fs::remove_file(&hidden);
        match linked {
            Ok(()) => Ok(Self { listener, path: path.to_owned() }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(SocketError::Running(path.to_owned())),
            Err(e) => Err(failed(e)),
        }
    }

    /// Serves controllers for ever.
    pub(crate) async fn serve(&self, control: &Control) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // File descriptors have run out; only time brings them back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let control = control.clone();
            tokio::spawn(async move {
                converse(stream, control).await;
                drop(place);
            });
        }
    }
}

async fn converse(stream: UnixStream, control: Control) {
    let (read, mut write) = stream.into_split();
    let queue = Arc::new(EventQueue::default());
    // Four answers on their way are enough: a controller that asks faster than it reads waits.
    let (answers, mut ready) = mpsc::channel(4);
    let reading = tokio::spawn(read_requests(read, control, Arc::clone(&queue), answers));
    loop {
        let line = tokio::select! {
            biased;
            answer = ready.recv() => match answer {
                Some(line) => line,
                None => break,
            },
            event = queue.next() => match event {
                Some(event) => ReplyLine::Event { event },
                None => break,
            },
        };
        if !send(&mut write, &line).await {
            break;
        }
    }
    reading.abort();
}

async fn send(write: &mut OwnedWriteHalf, line: &ReplyLine) -> bool {
    let Ok(mut text) = serde_json::to_vec(line) else { return false };
    text.push(b'\n');
    matches!(tokio::time::timeout(WRITE_TIMEOUT, write.write_all(&text)).await, Ok(Ok(())))
}

async fn read_requests(
    read: OwnedReadHalf,
    control: Control,
    queue: Arc<EventQueue>,
    answers: mpsc::Sender<ReplyLine>,
) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut read).take(MAX_REQUEST_LINE as u64).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            _ => return,
        }
        let whole = line.ends_with(b"\n");
        if !whole && line.len() < MAX_REQUEST_LINE {
            return;
        }
        let answer = if whole { answer(&line, &control, &queue) } else { too_long() };
        if answers.send(answer).await.is_err() || !whole {
            return;
        }
    }
}

fn too_long() -> ReplyLine {
    let message = format!("a request has at most {MAX_REQUEST_LINE} bytes; this connection ends here");
    ReplyLine::Error { id: None, error: Refusal { code: RefusalCode::BadRequest, message } }
}

fn answer(line: &[u8], control: &Control, queue: &Arc<EventQueue>) -> ReplyLine {
    let RequestLine { id, generation, request } = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(e) => {
            // A request of another version may still have its id where this one has it.
            let id = serde_json::from_slice::<serde_json::Value>(line).ok();
            let id = id.and_then(|v| v.get("id").and_then(serde_json::Value::as_u64));
            let message = format!("this is no request of protocol version {}: {e}", super::protocol::VERSION);
            return ReplyLine::Error { id, error: Refusal { code: RefusalCode::BadRequest, message } };
        }
    };
    let subscribes = request == Request::Subscribe;
    match control.handle(generation, request) {
        Ok(reply) => {
            if subscribes {
                control.subscribe(queue);
            }
            ReplyLine::Reply { id, reply }
        }
        Err(error) => ReplyLine::Error { id: Some(id), error },
    }
}
