//! One request to a backend: choice, connection, sending, and the head of the answer.
//!
//! The same for clients of HTTP/1.1 and HTTP/2: they differ only in how their bodies are read, which
//! [`ClientSide`] hides. Sending the request's body and waiting for the answer happen at once, so a
//! backend may answer before it has read everything, and a client's leaving is seen at any time.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    hold::Held,
    http1::{
        body::Length,
        head::{self, Request},
    },
    limits::Deadline,
    pool::Upstream,
    retry::{Attempt, Reached, may_retry},
    service::{InFlight, LocalBackend, LocalService, LocalView, Verdict},
};

/// Most of a request's body that is read ahead of the backend.
const OUT: usize = 32 * 1024;

/// Why a request's body cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientError {
    Gone,
    Malformed,
}

/// The client's end of a request.
pub(crate) trait ClientSide {
    /// Adds more of the body to `out`, encoded for the backend; false once there is no more.
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<Result<bool, ClientError>>;

    /// Ready once the client has gone: it closed the connection, or its own direction of it, which a
    /// client that still waits has no reason to do (nginx and Go's server see it so too). Asked only after
    /// the body's end.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// An interim answer (1xx) came, its head whole.
    fn interim(&mut self, head: &[u8]);

    /// Sends on what [`Self::interim`] took.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>>;
}

/// Why there is no answer from a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// None was ready or could be reached, or there was no room to hold the request.
    NoneReady,
    /// One broke off, or its answer cannot be used.
    Broken(&'static str),
    /// One took too long.
    TooSlow,
    /// The client went away.
    ClientGone,
    /// The client's body is malformed.
    ClientMalformed,
    /// The client's body made no progress.
    ClientTooSlow,
}

/// The backend took the connection and closed it.
const NO_ANSWER: Failure = Failure::Broken("The replica closed the connection without an answer.");

impl Failure {
    /// The status and text that tell the client, unless it is gone.
    pub(crate) fn says(self) -> Option<(u16, &'static str)> {
        match self {
            Self::NoneReady => Some((503, "No replica of this service is ready; try again shortly.")),
            Self::Broken(why) => Some((502, why)),
            Self::TooSlow => Some((504, "The replica did not answer in time.")),
            Self::ClientGone => None,
            Self::ClientMalformed => Some((400, "The request's body is malformed.")),
            Self::ClientTooSlow => Some((408, "The request's body did not arrive in time.")),
        }
    }
}

/// What is on its way to a backend.
#[derive(Debug)]
pub(crate) struct Outgoing {
    buf: BytesMut,
    /// The body, if there is one, was taken from the client in full.
    complete: bool,
    /// Some of the body was taken from the client.
    body_taken: bool,
    written: bool,
    /// The backend takes no more; its answer may still come.
    refused: bool,
}

impl Outgoing {
    fn new(request: &Request, head: &[u8], mut buf: BytesMut) -> Self {
        buf.clear();
        buf.put_slice(head);
        let complete = matches!(request.body, Length::None | Length::Exact(0));
        Self { buf, complete, body_taken: false, written: false, refused: false }
    }

    /// Ready once nothing is left to be sent. Whether anything moved is told by `progress`.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        client: &mut impl ClientSide,
        progress: &mut bool,
    ) -> Poll<Result<(), ClientError>> {
        loop {
            if self.refused {
                return Poll::Ready(Ok(()));
            }
            let mut waits_for_client = false;
            if !self.complete && self.buf.len() < OUT {
                match client.poll_body(cx, &mut self.buf) {
                    Poll::Ready(more) => {
                        self.complete = !more?;
                        self.body_taken = true;
                        *progress = true;
                    }
                    Poll::Pending => waits_for_client = true,
                }
            }
            if self.buf.is_empty() {
                if self.complete {
                    return Poll::Ready(Ok(()));
                }
                if waits_for_client {
                    return Poll::Pending;
                }
                continue;
            }
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.buf)) {
                Ok(n) if n > 0 => {
                    self.buf.advance(n);
                    self.written = true;
                    *progress = true;
                }
                _ => self.refused = true,
            }
        }
    }

    /// Whether the whole request was sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.complete && self.buf.is_empty() && !self.refused
    }
}

/// A backend's answer, its head whole at the front of `upstream.inbuf`.
pub(crate) struct Answer {
    pub(crate) upstream: Upstream,
    pub(crate) out: Outgoing,
    pub(crate) in_flight: InFlight,
    pub(crate) view: Rc<LocalView>,
    pub(crate) head: usize,
}

impl Answer {
    pub(crate) fn backend(&self) -> &Rc<LocalBackend> {
        self.in_flight.backend()
    }
}

/// Why one attempt gave no answer.
enum Lost {
    /// It may be tried elsewhere.
    Attempt(Reached),
    /// It is over.
    Over(Failure),
}

/// Gets an answer to a request from one of the service's backends.
pub(crate) async fn fetch<C: ClientSide>(
    service: &Rc<LocalService>,
    request: &Request,
    head: &[u8],
    client: &mut C,
    deadline: &mut Deadline,
) -> Result<Answer, Failure> {
    let mut tried: Vec<Rc<LocalBackend>> = Vec::new();
    let mut held: Option<Held> = None;
    let mut retries = 0;
    // A backend may have acted on the request: from then on it is not held, only tried elsewhere.
    let mut reached = false;
    let mut out = Outgoing::new(request, head, BytesMut::with_capacity(head.len().max(512)));
    loop {
        let view = service.view();
        let Some(backend) = service.choose(&view, request.sticky, &tried) else {
            drop(view);
            if reached {
                return Err(NO_ANSWER);
            }
            if held.is_none() {
                held = Held::begin(service);
            }
            let Some(held) = &held else { return Err(Failure::NoneReady) };
            if !unless_gone(client, out.complete, held.wait(service)).await? {
                return Err(Failure::NoneReady);
            }
            tried.clear();
            retries = 0;
            continue;
        };
        let in_flight = InFlight::begin(&backend);
        backend.tally().counts.requests.add_one();
        let limits = view.config().limits;
        let idempotent = request.method.is_idempotent();
        let pooled = backend.pool.take(limits.pool_idle.duration(), idempotent && out.complete);
        let reused = pooled.is_some();
        let upstream = match pooled {
            Some(upstream) => upstream,
            None => {
                let connect =
                    timeout(limits.connect_timeout.duration(), TcpStream::connect(backend.shared.address));
                match unless_gone(client, out.complete, connect).await? {
                    Ok(Ok(stream)) => {
                        // Without it the backend sees small requests late; failing is no reason to fail.
                        let _ = stream.set_nodelay(true);
                        backend.adopt(stream)
                    }
                    _ => {
                        backend.tally().counts.connect_failed.add_one();
                        service.tally().counts.connect_failed.add_one();
                        service.judge(&view, &backend, Verdict::Unreachable);
                        tried.push(backend);
                        let attempt =
                            Attempt { reached: Reached::Nothing, idempotent, body_sent: false, retries };
                        if !may_retry(&view.config().retry, &attempt) {
                            // Nothing reached anybody, so waiting for a backend is as safe as at zero.
                            tried.extend(view.all().iter().cloned());
                            retries = 0;
                            continue;
                        }
                        retries += 1;
                        service.tally().counts.retried.add_one();
                        continue;
                    }
                }
            }
        };
        match attempt(&view, upstream, out, client, deadline).await {
            Ok((upstream, out, head)) => return Ok(Answer { upstream, out, in_flight, view, head }),
            Err((back, lost)) => {
                out = back;
                if !matches!(
                    lost,
                    Lost::Over(Failure::ClientGone | Failure::ClientMalformed | Failure::ClientTooSlow)
                ) {
                    // The backend failed one connection, so those that lie idle may have failed too.
                    backend.pool.clear();
                }
                match lost {
                    Lost::Over(failure) => {
                        let counts = &backend.tally().counts;
                        match failure {
                            Failure::TooSlow => counts.timeout.add_one(),
                            Failure::Broken(_) => counts.broken.add_one(),
                            Failure::ClientGone => counts.client_gone.add_one(),
                            _ => {}
                        }
                        if matches!(failure, Failure::TooSlow | Failure::Broken(_)) {
                            service.judge(&view, &backend, Verdict::Failed);
                        }
                        return Err(failure);
                    }
                    Lost::Attempt(how_far) => {
                        let attempt =
                            Attempt { reached: how_far, idempotent, body_sent: out.body_taken, retries };
                        let again = may_retry(&view.config().retry, &attempt);
                        if !reused {
                            backend.tally().counts.broken.add_one();
                            service.judge(&view, &backend, Verdict::Failed);
                            tried.push(backend);
                        }
                        if !again {
                            return Err(Failure::Broken(
                                "The replica closed the connection without an answer.",
                            ));
                        }
                        if how_far == Reached::Perhaps {
                            reached = true;
                            out = Outgoing::new(request, head, out.buf);
                        }
                        out.refused = false;
                        retries += 1;
                        service.tally().counts.retried.add_one();
                    }
                }
            }
        }
    }
}

/// Sends a request and waits for the head of its answer.
async fn attempt<C: ClientSide>(
    view: &LocalView,
    mut upstream: Upstream,
    mut out: Outgoing,
    client: &mut C,
    deadline: &mut Deadline,
) -> Result<(Upstream, Outgoing, usize), (Outgoing, Lost)> {
    let limits = view.config().limits;
    let mut scanned = 0;
    let mut sent = false;
    deadline.set(Instant::now(), limits.idle_timeout.duration());
    let found = poll_fn(|cx| {
        loop {
            let mut progress = false;
            if !sent {
                match out.poll_send(cx, &mut upstream.stream, client, &mut progress) {
                    Poll::Ready(Ok(())) => {
                        sent = true;
                        deadline.set(Instant::now(), limits.response_timeout.duration());
                    }
                    Poll::Ready(Err(ClientError::Gone)) => {
                        return Poll::Ready(Err(Lost::Over(Failure::ClientGone)));
                    }
                    Poll::Ready(Err(ClientError::Malformed)) => {
                        return Poll::Ready(Err(Lost::Over(Failure::ClientMalformed)));
                    }
                    Poll::Pending if progress => {
                        deadline.set(Instant::now(), limits.idle_timeout.duration());
                    }
                    Poll::Pending => {}
                }
            } else if out.complete && client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Lost::Over(Failure::ClientGone)));
            }
            if let Poll::Ready(Err(_)) = client.poll_flush(cx) {
                return Poll::Ready(Err(Lost::Over(Failure::ClientGone)));
            }
            match poll_fill(cx, &mut upstream) {
                Poll::Ready(Ok(1..)) => {
                    // Interim answers may stand before the answer itself in what was read.
                    loop {
                        match head::head_length(&upstream.inbuf, &mut scanned) {
                            Ok(Some(length)) if is_interim(&upstream.inbuf) => {
                                client.interim(&upstream.inbuf[..length]);
                                upstream.inbuf.advance(length);
                                scanned = 0;
                            }
                            Ok(Some(length)) => {
                                let _ = client.poll_flush(cx);
                                return Poll::Ready(Ok(length));
                            }
                            Ok(None) if upstream.inbuf.len() > limits.header_bytes as usize => {
                                return broken("The head of the replica's answer is too large.");
                            }
                            Ok(None) => break,
                            Err(_) => return broken("The replica's answer is malformed."),
                        }
                    }
                    continue;
                }
                Poll::Ready(_) if upstream.inbuf.is_empty() => {
                    let reached = if out.written { Reached::Perhaps } else { Reached::Nothing };
                    return Poll::Ready(Err(Lost::Attempt(reached)));
                }
                Poll::Ready(_) => return broken("The replica broke off within the head of its answer."),
                Poll::Pending => {}
            }
            if deadline.poll(cx).is_ready() {
                let failure = if sent { Failure::TooSlow } else { Failure::ClientTooSlow };
                return Poll::Ready(Err(Lost::Over(failure)));
            }
            return Poll::Pending;
        }
    })
    .await;
    match found {
        Ok(head) => Ok((upstream, out, head)),
        Err(lost) => Err((out, lost)),
    }
}

fn broken<T>(why: &'static str) -> Poll<Result<T, Lost>> {
    Poll::Ready(Err(Lost::Over(Failure::Broken(why))))
}

/// Whether a whole head is that of an interim answer, 101 not among them.
fn is_interim(head: &[u8]) -> bool {
    head.len() > 12 && head[9] == b'1' && &head[9..12] != b"101"
}

/// Reads what the backend has sent.
pub(crate) fn poll_fill(cx: &mut Context<'_>, upstream: &mut Upstream) -> Poll<io::Result<usize>> {
    upstream.inbuf.reserve(4 * 1024);
    pin!(upstream.stream.read_buf(&mut upstream.inbuf)).poll(cx)
}

/// Waits for `work`, or for the client to go.
async fn unless_gone<T>(
    client: &mut impl ClientSide,
    watch: bool,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        // A client that still owes its body cannot be watched without reading that.
        if watch && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        Poll::Pending
    })
    .await
}
