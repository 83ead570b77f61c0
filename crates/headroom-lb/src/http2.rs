//! A client's connection speaking HTTP/2, by prior knowledge or ALPN.
//!
//! Streams are translated to HTTP/1.1 requests to backends, one connection each. hyper keeps the
//! protocol's own rules: flow control, the limits against floods of resets and of continuation frames.
//! Extended CONNECT (WebSocket over HTTP/2) is not offered.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    header::{HeaderMap, HeaderName, HeaderValue},
    server::conn::http2,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use crate::{
    downstream::Stream,
    forwarded::Client,
    http1::{
        body::{self, Decoder, Length, Piece},
        head::{self, BadRequest, Method, Request, Shape},
    },
    limits::Deadline,
    outcome::{Outcome, count_status},
    pool::Upstream,
    proxy::{self, Answer, ClientError, ClientSide, Failure, Outgoing},
    service::{InFlight, LocalService, LocalView, Verdict},
    stickiness,
};

/// Most streams of one connection at once: nginx's `http2_max_concurrent_streams`.
const MAX_STREAMS: u32 = 128;

/// Largest piece of an answer's body given to HTTP/2 at once: the default frame's size.
const PIECE: usize = 16 * 1024;

/// Runs hyper's tasks on this worker's thread.
#[derive(Clone)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Streams in progress, and how many there have been.
#[derive(Default)]
struct Activity {
    open: Cell<u32>,
    seen: Cell<u64>,
}

/// Counts a stream as open until it is dropped.
struct Active(Rc<Activity>);

impl Active {
    fn begin(activity: &Rc<Activity>) -> Self {
        activity.open.set(activity.open.get() + 1);
        activity.seen.set(activity.seen.get() + 1);
        Self(Rc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Stream>(stream: S, peer: IpAddr, tls: bool, service: Rc<LocalService>) {
    let settings = service.view().config().clone();
    let limits = settings.limits;
    let who = Rc::new(Client::new(peer, tls, settings.forwarded));
    let activity = Rc::new(Activity::default());
    let handler = {
        let (service, activity) = (Rc::clone(&service), Rc::clone(&activity));
        hyper::service::service_fn(move |request| {
            let active = Active::begin(&activity);
            let (service, who) = (Rc::clone(&service), Rc::clone(&who));
            async move { Ok::<_, Infallible>(handle(request, &who, tls, service, active).await) }
        })
    };
    let connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(limits.header_bytes)
        .keep_alive_interval(limits.idle_timeout.duration())
        .keep_alive_timeout(limits.header_timeout.duration())
        .serve_connection(TokioIo::new(stream), handler);
    let mut connection = pin!(connection);
    let mut closing = pin!(service.closing.notified());
    let mut idle = Deadline::after(limits.idle_timeout.duration());
    let (mut seen, mut ending) = (0, false);
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if activity.open.get() > 0 || activity.seen.get() != seen {
            seen = activity.seen.get();
            idle.set(Instant::now(), limits.idle_timeout.duration());
        }
        let over = service.is_closed()
            || closing.as_mut().poll(cx).is_ready()
            || (activity.open.get() == 0 && idle.poll(cx).is_ready());
        if over && !ending {
            ending = true;
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(cx).map(drop);
        }
        Poll::Pending
    })
    .await;
}

/// An answer's body: the balancer's own, or a backend's.
enum AnswerBody {
    Own(Option<Bytes>),
    Backend(Box<BackendBody>),
}

async fn handle(
    request: hyper::Request<Incoming>,
    who: &Client,
    tls: bool,
    service: Rc<LocalService>,
    active: Active,
) -> hyper::Response<AnswerBody> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let mut request_head = BytesMut::with_capacity(1024);
    let request = match translate(&parts, &body, who, &service, &mut request_head) {
        Ok(request) => request,
        Err(bad) => {
            let counts = &service.tally().counts;
            count_status(counts, bad.status());
            counts.requests.add_one();
            return own(bad.status(), &bad.to_string(), None);
        }
    };
    let outcome = Outcome::begin(&service, start);
    let mut client = StreamBody { body, chunked: request.body == Length::Chunked };
    let mut deadline = Deadline::after(service.view().config().limits.idle_timeout.duration());
    let answer = match proxy::fetch(&service, &request, &request_head, &mut client, &mut deadline).await {
        Ok(answer) => answer,
        Err(failure) => return fail(&service, outcome, failure),
    };
    let backend = Rc::clone(answer.backend());
    let Answer { mut upstream, out, in_flight, view, head } = answer;
    let cookie = set_cookie(&view, &request, backend.shared.sticky, tls);
    let head_bytes = upstream.inbuf.split_to(head);
    let mut fields = HeaderMap::new();
    let read = head::read_response(
        &head_bytes,
        &request,
        |_, _| {},
        |name, value| {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                fields.append(name, value);
            }
        },
    );
    let Ok(response) = read else {
        backend.tally().counts.broken.add_one();
        service.judge(&view, &backend, Verdict::Failed);
        return fail(&service, outcome, Failure::Broken("The replica's answer cannot be used."));
    };
    count_status(&backend.tally().counts, response.status);
    let verdict = if response.status >= 500 { Verdict::Failed } else { Verdict::Fine };
    service.judge(&view, &backend, verdict);
    if let Length::Exact(n) = response.body {
        fields.insert(hyper::header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    if let Some(cookie) = cookie.and_then(|c| HeaderValue::try_from(c).ok()) {
        fields.append(hyper::header::SET_COOKIE, cookie);
    }
    let limits = view.config().limits;
    let body = BackendBody {
        status: response.status,
        length: response.body,
        decoder: Decoder::new(response.body),
        keep_alive: response.keep_alive,
        upstream: Some(upstream),
        out,
        client,
        deadline,
        idle: limits.idle_timeout.duration(),
        pool_size: limits.pool_size,
        in_flight,
        outcome: Some(outcome),
        ended: false,
        _active: active,
    };
    let mut body = Box::new(body);
    let body = if body.decoder.is_over() {
        body.finish();
        AnswerBody::Own(None)
    } else {
        AnswerBody::Backend(body)
    };
    let mut answer = hyper::Response::new(body);
    *answer.status_mut() =
        hyper::StatusCode::from_u16(response.status).unwrap_or(hyper::StatusCode::BAD_GATEWAY);
    *answer.headers_mut() = fields;
    answer
}

fn set_cookie(view: &LocalView, request: &Request, backend: u64, tls: bool) -> Option<String> {
    let settings = view.config().stickiness.as_ref()?;
    (request.sticky != Some(backend)).then(|| stickiness::set(settings, backend, tls))
}

/// Writes the head for a backend.
fn translate(
    parts: &hyper::http::request::Parts,
    body: &Incoming,
    who: &Client,
    service: &LocalService,
    out: &mut BytesMut,
) -> Result<Request, BadRequest> {
    let method = parts.method.as_str();
    if method == "CONNECT" {
        return Err(BadRequest::Connect);
    }
    let field = parts.headers.get(hyper::header::HOST).map(HeaderValue::as_bytes);
    let host = parts.uri.authority().map(|a| a.as_str().as_bytes()).or(field).unwrap_or(b"");
    if !head::is_host(host) || parts.headers.get_all(hyper::header::HOST).iter().count() > 1 {
        return Err(BadRequest::Host);
    }
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let fits = target.starts_with('/') || (target == "*" && method == "OPTIONS");
    if !fits {
        return Err(BadRequest::Malformed);
    }
    // hyper has checked that a Content-Length agrees with the frames.
    let length = match (body.is_end_stream(), body.size_hint().exact()) {
        (true, _) if parts.headers.contains_key(hyper::header::CONTENT_LENGTH) => Length::Exact(0),
        (true, _) => Length::None,
        (false, Some(n)) => Length::Exact(n),
        (false, None) => Length::Chunked,
    };
    let view = service.view();
    let sticky_cookie = view.config().stickiness.as_ref().map(|s| s.cookie.as_str());
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let shape = Shape { client: who, sticky_cookie };
    let sticky = head::write_request(out, method, target, host, fields, &[], length, false, &shape);
    Ok(Request {
        method: Method::of(method),
        body: length,
        http11: true,
        keep_alive: true,
        upgrade: false,
        sticky,
    })
}

fn own(status: u16, says: &str, retry_after: Option<u32>) -> hyper::Response<AnswerBody> {
    let mut answer = hyper::Response::new(AnswerBody::Own(Some(Bytes::from(format!("{says}\n")))));
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::BAD_GATEWAY);
    let fields = answer.headers_mut();
    fields.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(seconds) = retry_after {
        fields.insert(hyper::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Answers for a backend that did not.
fn fail(service: &LocalService, outcome: Outcome, failure: Failure) -> hyper::Response<AnswerBody> {
    // A client that is gone reads no answer; the stream is reset when this one is dropped.
    let (status, says) = failure.says().unwrap_or((502, ""));
    let counts = &service.tally().counts;
    let mut retry_after = None;
    match failure {
        Failure::NoneReady => {
            counts.refused.add_one();
            retry_after = Some(service.view().config().limits.retry_after_seconds);
        }
        Failure::Broken(_) => counts.broken.add_one(),
        Failure::TooSlow | Failure::ClientTooSlow => counts.timeout.add_one(),
        Failure::ClientMalformed => {}
        Failure::ClientGone => return own(status, says, None),
    }
    outcome.answered(status);
    own(status, says, retry_after)
}

/// The client's end of a stream. Its going drops the request's future, so nothing has to look for it.
struct StreamBody {
    body: Incoming,
    chunked: bool,
}

impl ClientSide for StreamBody {
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<Result<bool, ClientError>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers of a request are dropped, as RFC 9110 §6.5.1 allows.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        continue;
                    }
                    if self.chunked {
                        body::write_chunk(out, &data);
                    } else {
                        out.put_slice(&data);
                    }
                    return Poll::Ready(Ok(true));
                }
                Some(Err(_)) => return Poll::Ready(Err(ClientError::Gone)),
                None => {
                    if self.chunked {
                        body::write_last_chunk(out, b"");
                    }
                    return Poll::Ready(Ok(false));
                }
            }
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn interim(&mut self, _: &[u8]) {}

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }
}

/// A backend's body on its way to an HTTP/2 client.
struct BackendBody {
    status: u16,
    length: Length,
    decoder: Decoder,
    keep_alive: bool,
    /// Until the body's end.
    upstream: Option<Upstream>,
    out: Outgoing,
    client: StreamBody,
    deadline: Deadline,
    idle: std::time::Duration,
    pool_size: u32,
    in_flight: InFlight,
    outcome: Option<Outcome>,
    ended: bool,
    _active: Active,
}

/// An answer that breaks off; hyper resets the stream.
#[derive(Debug, thiserror::Error)]
#[error("the backend's answer broke off")]
struct Cut;

impl BackendBody {
    fn finish(&mut self) {
        let now = Instant::now();
        if let Some(outcome) = self.outcome.take() {
            outcome.took(now, self.in_flight.backend());
            outcome.answered(self.status);
        }
        if let Some(upstream) = self.upstream.take()
            && self.keep_alive
            && self.out.is_sent()
        {
            self.in_flight.backend().pool.give(upstream, self.pool_size, now);
        }
    }

    fn cut(&mut self, timed_out: bool) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.upstream = None;
        let counts = &self.in_flight.backend().tally().counts;
        if timed_out {
            counts.timeout.add_one();
        } else {
            counts.broken.add_one();
        }
        if let Some(outcome) = self.outcome.take() {
            if timed_out { outcome.timed_out() } else { outcome.cut() }
        }
        self.ended = true;
        Poll::Ready(Some(Err(Cut)))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let mut moved = false;
        loop {
            let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
            if !self.out.is_sent() {
                let sent = self.out.poll_send(cx, &mut upstream.stream, &mut self.client, &mut moved);
                if let Poll::Ready(Err(_)) = sent {
                    return self.cut(false);
                }
            }
            match self.decoder.next(&mut upstream.inbuf) {
                Ok(Piece::Data(n)) => {
                    let n = n.min(PIECE);
                    let data = upstream.inbuf.split_to(n).freeze();
                    self.decoder.took(n);
                    self.deadline.set(Instant::now(), self.idle);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Piece::End) => {
                    self.finish();
                    self.ended = true;
                    let trailers = trailers(self.decoder.trailers());
                    return Poll::Ready(trailers.map(|t| Ok(Frame::trailers(t))));
                }
                Ok(Piece::NeedMore) => {}
                Err(_) => return self.cut(false),
            }
            match proxy::poll_fill(cx, upstream) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(_)) if self.decoder.ends_with_connection() => {
                    self.finish();
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(_) => return self.cut(false),
                Poll::Pending => {
                    if moved {
                        self.deadline.set(Instant::now(), self.idle);
                    }
                    if self.deadline.poll(cx).is_ready() {
                        return self.cut(true);
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Trailer lines as fields; `None` if there are none.
fn trailers(lines: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for line in lines.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()) {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        fields.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    (!fields.is_empty()).then_some(fields)
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Own(data) => Poll::Ready(data.take().map(|d| Ok(Frame::data(d)))),
            Self::Backend(body) if body.ended => Poll::Ready(None),
            Self::Backend(body) => body.poll_piece(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(data) => data.is_none(),
            Self::Backend(body) => body.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(data) => SizeHint::with_exact(data.as_ref().map_or(0, |d| d.len() as u64)),
            Self::Backend(body) => match body.length {
                Length::Exact(n) => SizeHint::with_exact(n),
                _ => SizeHint::default(),
            },
        }
    }
}
