//! A client's connection speaking HTTP/1: requests in, answers out, one after the other.

use std::{
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use crate::{
    forwarded::Client,
    http1::{
        body::{self, Decoder, Length, Piece},
        head::{self, BadRequest, Encoding, Request, Shape},
    },
    http2,
    limits::Deadline,
    outcome::{Outcome, count_status},
    pool::{BUFFER, Upstream},
    prefixed::Prefixed,
    proxy::{self, Answer, ClientError, ClientSide, Failure, Outgoing},
    service::{LocalService, Verdict},
    stickiness, upgrade,
};

/// First line and empty line of the HTTP/2 preface (RFC 9113 §3.4): what a client with prior knowledge
/// of HTTP/2 sends first. To HTTP/1 it looks like a request's head.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Longest time and most bytes spent on reading what a client still sends after the connection's last
/// answer. Closing at once would reset the connection and may take the answer with it (RFC 9112 §9.6).
const LINGER: (std::time::Duration, usize) = (std::time::Duration::from_secs(1), 1 << 20);

/// A client's stream: plain or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

/// The client's end of a connection.
struct Downstream<S> {
    stream: S,
    /// What was read and not yet used.
    inbuf: BytesMut,
    /// What is to be written.
    out: BytesMut,
    /// Of the current request's body.
    decoder: Decoder,
    /// The request's body goes to the backend in chunks.
    chunked: bool,
    /// The client knows interim answers.
    http11: bool,
}

impl<S: Stream> Downstream<S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.inbuf.reserve(2 * 1024);
        pin!(self.stream.read_buf(&mut self.inbuf)).poll(cx)
    }

    /// Writes all of `out`.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let mut wrote = false;
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out)) {
                Ok(n) if n > 0 => self.out.advance(n),
                _ => return Poll::Ready(Err(ClientError::Gone)),
            }
            wrote = true;
        }
        if wrote {
            // A TLS stream keeps records back until it is flushed.
            return Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| ClientError::Gone);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> ClientSide for Downstream<S> {
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<Result<bool, ClientError>> {
        loop {
            match self.decoder.next(&mut self.inbuf).map_err(|_| ClientError::Malformed)? {
                Piece::Data(n) => {
                    if self.chunked {
                        body::write_chunk(out, &self.inbuf[..n]);
                    } else {
                        out.put_slice(&self.inbuf[..n]);
                    }
                    self.decoder.take(&mut self.inbuf, n);
                    if !self.decoder.is_over() {
                        return Poll::Ready(Ok(true));
                    }
                }
                Piece::End => {
                    if self.chunked {
                        body::write_last_chunk(out, b"");
                    }
                    return Poll::Ready(Ok(false));
                }
                Piece::NeedMore => match ready!(self.poll_fill(cx)) {
                    Ok(1..) => {}
                    _ => return Poll::Ready(Err(ClientError::Gone)),
                },
            }
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The next request may come already; so much of it is read ahead.
        while self.inbuf.len() < BUFFER {
            match ready!(self.poll_fill(cx)) {
                Ok(1..) => {}
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn interim(&mut self, head: &[u8]) {
        if self.http11 {
            self.out.put_slice(head);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        if self.out.is_empty() { Poll::Ready(Ok(())) } else { self.poll_out(cx) }
    }
}

/// What becomes of a connection after a request.
enum Next<S> {
    /// The next request.
    Request(Downstream<S>),
    /// Its end, after what the client still sends was read for a while.
    Close(Downstream<S>),
    /// Its end at once.
    Drop,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Stream>(stream: S, peer: IpAddr, tls: bool, service: Rc<LocalService>) {
    let limits = service.view().config().limits;
    let mut client = Downstream {
        stream,
        inbuf: BytesMut::with_capacity(BUFFER / 2),
        out: BytesMut::with_capacity(BUFFER / 2),
        decoder: Decoder::new(Length::None),
        chunked: false,
        http11: true,
    };
    let who = Client::new(peer, tls, service.view().config().forwarded);
    let mut deadline = Deadline::after(limits.header_timeout.duration());
    let mut closing = pin!(service.closing.notified());
    let mut request_head = BytesMut::with_capacity(1024);
    let mut first = true;
    loop {
        let read = read_head(&mut client, &service, &mut deadline, closing.as_mut(), first).await;
        let length = match read {
            Ok(Some(length)) => length,
            Ok(None) => return,
            Err(Unread::Bad(bad)) => return refuse(client, &service, bad.status(), bad.to_string()).await,
            Err(Unread::TooSlow) => {
                let says = "The request's head did not arrive in time.".to_owned();
                return refuse(client, &service, 408, says).await;
            }
        };
        if first && client.inbuf.starts_with(PREFACE) {
            let stream = Prefixed::new(client.inbuf, client.stream);
            return http2::serve(stream, peer, tls, Rc::clone(&service)).await;
        }
        first = false;
        let start = Instant::now();
        let view = service.view();
        let sticky_cookie = view.config().stickiness.as_ref().map(|s| s.cookie.as_str());
        request_head.clear();
        let shape = Shape { client: &who, sticky_cookie };
        let request = match head::translate_request(&client.inbuf[..length], &shape, &mut request_head) {
            Ok(request) => request,
            Err(bad) => return refuse(client, &service, bad.status(), bad.to_string()).await,
        };
        drop(view);
        client.inbuf.advance(length);
        client.decoder = Decoder::new(request.body);
        client.chunked = request.body == Length::Chunked;
        client.http11 = request.http11;
        let outcome = Outcome::begin(&service, start);
        match answer(client, &request, &request_head, tls, &service, &mut deadline, outcome).await {
            Next::Request(kept) => client = kept,
            Next::Close(rest) => return linger(rest).await,
            Next::Drop => return,
        }
    }
}

/// Why no head could be read.
enum Unread {
    Bad(BadRequest),
    TooSlow,
}

/// Reads until a whole head is there. `None`: the connection ended, or has been idle for too long.
async fn read_head<S: Stream>(
    client: &mut Downstream<S>,
    service: &LocalService,
    deadline: &mut Deadline,
    mut closing: Pin<&mut tokio::sync::futures::Notified<'_>>,
    first: bool,
) -> Result<Option<usize>, Unread> {
    let limits = service.view().config().limits;
    let mut scanned = 0;
    let mut begun = !client.inbuf.is_empty() || first;
    let wait = if begun { limits.header_timeout } else { limits.idle_timeout };
    deadline.set(Instant::now(), wait.duration());
    poll_fn(|cx| {
        loop {
            match head::head_length(&client.inbuf, &mut scanned) {
                Ok(Some(length)) if length <= limits.header_bytes as usize => {
                    return Poll::Ready(Ok(Some(length)));
                }
                Ok(None) if client.inbuf.len() <= limits.header_bytes as usize => {}
                Ok(_) => return Poll::Ready(Err(Unread::Bad(BadRequest::TooLarge))),
                Err(bad) => return Poll::Ready(Err(Unread::Bad(bad))),
            }
            match client.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {
                    if !begun {
                        begun = true;
                        deadline.set(Instant::now(), limits.header_timeout.duration());
                    }
                    continue;
                }
                Poll::Ready(_) => return Poll::Ready(Ok(None)),
                Poll::Pending => {}
            }
            // A connection that was only just accepted may have its first request on the way.
            let idle = client.inbuf.is_empty() && !first;
            if idle && (service.is_closed() || closing.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ok(None));
            }
            if deadline.poll(cx).is_ready() {
                let silent = client.inbuf.is_empty();
                return Poll::Ready(if silent { Ok(None) } else { Err(Unread::TooSlow) });
            }
            return Poll::Pending;
        }
    })
    .await
}

/// Answers a request that could not be read, and ends the connection: where the next one begins is
/// not known.
async fn refuse<S: Stream>(mut client: Downstream<S>, service: &LocalService, status: u16, says: String) {
    let counts = &service.tally().counts;
    // What is in a class is among all when both are read.
    count_status(counts, status);
    counts.requests.add_one();
    if status == 408 {
        counts.timeout.add_one();
    }
    head::write_own(&mut client.out, status, &says, None, false, None);
    linger(client).await;
}

/// Writes what is left, says that no more comes, and reads for a while what the client still sends.
async fn linger<S: Stream>(mut client: Downstream<S>) {
    let (time, mut bytes) = LINGER;
    let _ = tokio::time::timeout(time, async {
        if poll_fn(|cx| client.poll_out(cx)).await.is_err() || client.stream.shutdown().await.is_err() {
            return;
        }
        loop {
            client.inbuf.clear();
            match poll_fn(|cx| client.poll_fill(cx)).await {
                Ok(n @ 1..) if n < bytes => bytes -= n,
                _ => return,
            }
        }
    })
    .await;
}

/// Gets an answer to one request and passes it on.
async fn answer<S: Stream>(
    mut client: Downstream<S>,
    request: &Request,
    request_head: &[u8],
    tls: bool,
    service: &Rc<LocalService>,
    deadline: &mut Deadline,
    outcome: Outcome,
) -> Next<S> {
    let answer = match proxy::fetch(service, request, request_head, &mut client, deadline).await {
        Ok(answer) => answer,
        Err(failure) => return fail(client, request, service, outcome, failure).await,
    };
    let backend = Rc::clone(answer.backend());
    let Answer { mut upstream, mut out, in_flight, view, head } = answer;
    let set_cookie = view.config().stickiness.as_ref().and_then(|settings| {
        let named = request.sticky == Some(backend.shared.sticky);
        (!named).then(|| stickiness::set(settings, backend.shared.sticky, tls))
    });
    // The connection can carry another request only if this one's body was read to its end.
    let mut keep_alive = request.keep_alive && !service.is_closed() && out.is_sent();
    let translated = head::translate_response(
        &upstream.inbuf[..head],
        request,
        set_cookie.as_deref(),
        keep_alive,
        &mut client.out,
    );
    let (response, encoding) = match translated {
        Ok(translated) => translated,
        Err(bad) => {
            // As often as requests come; the count is in the figures, so this is for those who look closely.
            tracing::debug!(backend = %backend.shared.id, "{bad}");
            backend.tally().counts.broken.add_one();
            service.judge(&view, &backend, Verdict::Failed);
            let failure = Failure::Broken("The replica's answer cannot be used.");
            return fail(client, request, service, outcome, failure).await;
        }
    };
    upstream.inbuf.advance(head);
    count_status(&backend.tally().counts, response.status);
    let verdict = if response.status >= 500 { Verdict::Failed } else { Verdict::Fine };
    service.judge(&view, &backend, verdict);
    keep_alive &= encoding != Encoding::UntilClose;
    let limits = view.config().limits;
    drop(view);

    if response.status == 101 {
        if poll_fn(|cx| client.poll_out(cx)).await.is_err() {
            return Next::Drop;
        }
        outcome.took(Instant::now(), &backend);
        outcome.answered(101);
        let (down, up) = (Prefixed::new(client.inbuf, client.stream), upstream);
        upgrade::tunnel(down, up, limits.tunnel_timeout.duration(), service).await;
        drop(in_flight);
        return Next::Drop;
    }

    let mut decoder = Decoder::new(response.body);
    let relay = Relay { encoding, idle: limits.idle_timeout.duration() };
    let relayed = relay.run(&mut client, &mut upstream, &mut out, &mut decoder, deadline).await;
    let now = Instant::now();
    match relayed {
        Relayed::Whole => {
            outcome.took(now, &backend);
            outcome.answered(response.status);
        }
        Relayed::ClientGone => {
            backend.tally().counts.client_gone.add_one();
            return Next::Drop;
        }
        Relayed::Broken => {
            backend.tally().counts.broken.add_one();
            outcome.cut();
            return Next::Drop;
        }
        Relayed::TooSlow => {
            backend.tally().counts.timeout.add_one();
            outcome.timed_out();
            return Next::Drop;
        }
    }
    let sent = out.is_sent();
    if response.keep_alive && sent {
        backend.pool.give(upstream, limits.pool_size, now);
    }
    drop(in_flight);
    if keep_alive && sent { Next::Request(client) } else { Next::Close(client) }
}

/// Answers for a backend that did not.
async fn fail<S: Stream>(
    mut client: Downstream<S>,
    request: &Request,
    service: &LocalService,
    outcome: Outcome,
    failure: Failure,
) -> Next<S> {
    let Some((status, says)) = failure.says() else { return Next::Drop };
    let counts = &service.tally().counts;
    let mut retry_after = None;
    match failure {
        Failure::NoneReady => {
            counts.refused.add_one();
            retry_after = Some(service.view().config().limits.retry_after_seconds);
        }
        Failure::Broken(_) => counts.broken.add_one(),
        Failure::TooSlow | Failure::ClientTooSlow => counts.timeout.add_one(),
        Failure::ClientGone | Failure::ClientMalformed => {}
    }
    let keep_alive = request.keep_alive && client.decoder.is_over() && !service.is_closed();
    head::write_own(&mut client.out, status, says, retry_after, keep_alive, Some(request));
    if poll_fn(|cx| client.poll_out(cx)).await.is_err() {
        return Next::Drop;
    }
    outcome.answered(status);
    if keep_alive { Next::Request(client) } else { Next::Close(client) }
}

/// How the passing on of an answer's body ended.
enum Relayed {
    Whole,
    ClientGone,
    Broken,
    TooSlow,
}

/// Passes an answer's body on as it comes.
struct Relay {
    encoding: Encoding,
    idle: std::time::Duration,
}

impl Relay {
    async fn run<S: Stream>(
        &self,
        client: &mut Downstream<S>,
        upstream: &mut Upstream,
        out: &mut Outgoing,
        decoder: &mut Decoder,
        deadline: &mut Deadline,
    ) -> Relayed {
        let mut whole = false;
        deadline.set(Instant::now(), self.idle);
        poll_fn(|cx| {
            let mut progress = false;
            let ended = self.poll(cx, client, upstream, out, decoder, &mut whole, &mut progress);
            if ended.is_pending() {
                if progress {
                    deadline.set(Instant::now(), self.idle);
                }
                if deadline.poll(cx).is_ready() {
                    return Poll::Ready(Relayed::TooSlow);
                }
            }
            ended
        })
        .await
    }

    #[expect(clippy::too_many_arguments, reason = "both ends of a request, each with its state")]
    fn poll<S: Stream>(
        &self,
        cx: &mut Context<'_>,
        client: &mut Downstream<S>,
        upstream: &mut Upstream,
        out: &mut Outgoing,
        decoder: &mut Decoder,
        whole: &mut bool,
        progress: &mut bool,
    ) -> Poll<Relayed> {
        loop {
            // The rest of the request's body, should the backend answer before it has that.
            if out.is_sent() {
                if !*whole && client.poll_gone(cx).is_ready() {
                    return Poll::Ready(Relayed::ClientGone);
                }
            } else if !*whole
                && let Poll::Ready(Err(_)) = out.poll_send(cx, &mut upstream.stream, client, progress)
            {
                return Poll::Ready(Relayed::ClientGone);
            }
            // Gather what was read already, so that head and small body go out as one.
            while !*whole && client.out.len() < BUFFER {
                match decoder.next(&mut upstream.inbuf) {
                    Ok(Piece::Data(n)) => {
                        if client.out.is_empty() && n >= BUFFER / 4 && self.encoding != Encoding::Chunked {
                            // Large pieces go out as they are.
                            match Pin::new(&mut client.stream).poll_write(cx, &upstream.inbuf[..n]) {
                                Poll::Ready(Ok(n)) if n > 0 => decoder.take(&mut upstream.inbuf, n),
                                Poll::Ready(_) => return Poll::Ready(Relayed::ClientGone),
                                Poll::Pending => return Poll::Pending,
                            }
                            *progress = true;
                            continue;
                        }
                        if self.encoding == Encoding::Chunked {
                            body::write_chunk(&mut client.out, &upstream.inbuf[..n]);
                        } else {
                            client.out.put_slice(&upstream.inbuf[..n]);
                        }
                        decoder.take(&mut upstream.inbuf, n);
                    }
                    Ok(Piece::End) => {
                        if self.encoding == Encoding::Chunked {
                            body::write_last_chunk(&mut client.out, decoder.trailers());
                        }
                        *whole = true;
                    }
                    Ok(Piece::NeedMore) => break,
                    // What came before it goes out first; then it is found again.
                    Err(_) if !client.out.is_empty() => break,
                    Err(_) => return Poll::Ready(Relayed::Broken),
                }
            }
            let before = client.out.len();
            match client.poll_out(cx) {
                Poll::Ready(Ok(())) => *progress |= before > 0,
                Poll::Ready(Err(_)) => return Poll::Ready(Relayed::ClientGone),
                Poll::Pending => {
                    *progress |= client.out.len() < before;
                    return Poll::Pending;
                }
            }
            if *whole {
                // TLS may have kept back what was written past `out`.
                return Pin::new(&mut client.stream).poll_flush(cx).map(|_| Relayed::Whole);
            }
            if !upstream.inbuf.is_empty() && !matches!(decoder.next(&mut upstream.inbuf), Ok(Piece::NeedMore))
            {
                continue;
            }
            match ready!(proxy::poll_fill(cx, upstream)) {
                Ok(1..) => *progress = true,
                Ok(_) if decoder.ends_with_connection() => {
                    if self.encoding == Encoding::Chunked {
                        body::write_last_chunk(&mut client.out, b"");
                    }
                    *whole = true;
                }
                _ => return Poll::Ready(Relayed::Broken),
            }
        }
    }
}
