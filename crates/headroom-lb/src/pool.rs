//! Keep-alive connections to one backend, of one worker thread.
//!
//! Last in, first out: the connection used last is the least likely to have been closed by the
//! backend, and those that a lull leaves over grow old and are closed.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{net::TcpStream, time::Instant};

use crate::service::Backend;

/// Buffer of a connection while it is idle; more is given back after large answers.
pub(crate) const BUFFER: usize = 16 * 1024;

/// Longest idle time of a connection that a request which must not be repeated is sent on. Servers
/// close idle connections after 2 s (gunicorn) or more, so a younger one is not about to be closed
/// while the request is on its way.
const FRESH: Duration = Duration::from_secs(1);

/// A connection to a backend.
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    /// What was read and not yet used.
    pub(crate) inbuf: BytesMut,
    used: Instant,
    backend: Arc<Backend>,
    worker: usize,
}

impl Upstream {
    pub(crate) fn new(stream: TcpStream, backend: &Arc<Backend>, worker: usize) -> Self {
        backend.tallies[worker].connections.up();
        Self {
            stream,
            inbuf: BytesMut::with_capacity(BUFFER),
            used: Instant::now(),
            backend: Arc::clone(backend),
            worker,
        }
    }

    /// Whether the backend has neither closed the connection nor sent anything unasked.
    fn is_usable(&self) -> bool {
        let mut byte = [0; 1];
        matches!(self.stream.try_read(&mut byte), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.backend.tallies[self.worker].connections.down();
    }
}

/// Idle connections.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Upstream>>,
    closed: Cell<bool>,
}

impl Pool {
    /// Takes a connection that may be used. A request that may be `repeated` gets any that is not too
    /// old, another only a fresh one.
    pub(crate) fn take(&self, max_idle: Duration, repeatable: bool) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        let newest = idle.last()?;
        let max = if repeatable { max_idle } else { max_idle.min(FRESH) };
        if newest.used.elapsed() > max {
            if repeatable {
                // All others are older still.
                idle.clear();
            }
            return None;
        }
        while let Some(connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    /// Gives a connection back. `now` is when its last answer ended.
    pub(crate) fn give(&self, mut connection: Upstream, size: u32, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        // Bytes after an answer's end belong to no request of ours: never read them as the next one's.
        if self.closed.get() || idle.len() >= size as usize || !connection.inbuf.is_empty() {
            return;
        }
        if connection.inbuf.capacity() > BUFFER {
            connection.inbuf = BytesMut::with_capacity(BUFFER);
        }
        connection.used = now;
        idle.push(connection);
    }

    /// Closes connections that are too old or that the backend has closed.
    pub(crate) fn sweep(&self, max_idle: Duration) {
        self.idle.borrow_mut().retain(|c| c.used.elapsed() <= max_idle && c.is_usable());
    }

    /// Closes all; one failed, so the others are not to be trusted.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes all, and those that come back.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.clear();
    }
}
