//! What is pushed, as it comes in: OTLP/HTTP and OTLP/gRPC at one address.
//!
//! A connection's first bytes tell HTTP/2, which is gRPC, from HTTP/1; over TLS its client says which. A gRPC call of one question and one answer is a
//! length before a message and a status after it, so both meet the same bounds here: what a request may hold, packed and
//! unpacked, how long it may take to come, and how many are read at once.

use std::convert::Infallible;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use headroom_core::fleet::SecretRef;
use headroom_engine::driver::now;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message as _;
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use super::wire::Export;
use super::{MOST_BYTES, MOST_SERIES, Store};
use crate::accept::{Acceptor, NotAgreed};
use crate::http::first_words;
use crate::net::Stream;
use crate::secret::Secret;

/// The largest request, packed and unpacked: what exporters send is some hundred kilobytes.
const LARGEST_REQUEST: usize = 4 * 1024 * 1024;
/// Connections at the same time; more wait.
const CONNECTIONS: usize = 64;
/// Requests that are read at the same time, on all connections.
const READ_AT_ONCE: usize = 16;
/// Calls under way on one connection.
const CALLS: u32 = 8;
/// How long a request may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(10);
/// How long a gRPC connection may be silent: exporters push every minute.
const SILENT: Duration = Duration::from_secs(150);

/// The path of the only call.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// How an HTTP/2 connection begins; no request of HTTP/1 does.
const HTTP2: &[u8] = b"PRI";
/// What stands before a message of gRPC: whether it is packed, and its length.
const FRAME: usize = 5;

type Body = BoxBody<Bytes, Infallible>;

/// Where requests go, and who may send them.
pub(super) struct Intake {
    store: Arc<Mutex<Store>>,
    /// How TLS is spoken, if it is.
    tls: Option<Arc<Acceptor>>,
    token: Option<SecretRef>,
    /// Files are relative to it.
    base: PathBuf,
    reading: Semaphore,
}

/// Why a request is not taken in.
struct Refused(StatusCode, String);

impl Refused {
    /// The status of gRPC that means the same.
    fn code(&self) -> &'static str {
        match self.0 {
            StatusCode::BAD_REQUEST => "3",
            StatusCode::REQUEST_TIMEOUT => "4",
            StatusCode::PAYLOAD_TOO_LARGE => "8",
            StatusCode::SERVICE_UNAVAILABLE => "14",
            StatusCode::UNAUTHORIZED => "16",
            _ => "12",
        }
    }
}

impl Intake {
    pub(super) fn new(
        store: Arc<Mutex<Store>>,
        tls: Option<Arc<Acceptor>>,
        token: Option<SecretRef>,
        base: PathBuf,
    ) -> Self {
        Self { store, tls, token, base, reading: Semaphore::new(READ_AT_ONCE) }
    }

    /// Takes connections until the socket fails; they end with it.
    pub(super) async fn run(self: Arc<Self>, socket: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        while let Ok(place) = Arc::clone(&places).acquire_owned().await
            && let Ok((stream, _)) = socket.accept().await
        {
            while connections.try_join_next().is_some() {}
            let intake = Arc::clone(&self);
            connections.spawn(async move {
                match intake.tls.clone() {
                    Some(tls) => intake.serve_tls(&tls, stream).await,
                    None => intake.serve_plain(stream).await,
                }
                drop(place);
            });
        }
    }

    async fn serve_plain(self: Arc<Self>, stream: TcpStream) {
        // A connection that breaks is the sender's, who sends again.
        match timeout(COMES_WITHIN, is_http2(&stream)).await {
            Ok(Ok(true)) => self.serve_http2(stream).await,
            Ok(Ok(false)) => self.serve_http1(stream).await,
            Ok(Err(_)) | Err(_) => {}
        }
    }

    async fn serve_tls(self: Arc<Self>, tls: &Acceptor, stream: TcpStream) {
        match tls.accept(stream).await {
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => self.serve_http2(stream).await,
            Ok(stream) => self.serve_http1(stream).await,
            Err(NotAgreed::Left) => {}
            Err(NotAgreed::Wrong(why)) => {
                let why = format!(
                    "who connects is not understood: {why}; let senders speak TLS as the policy says"
                );
                note(&self.store, why);
            }
        }
    }

    async fn serve_http1(self: Arc<Self>, stream: impl Stream + 'static) {
        let store = Arc::clone(&self.store);
        let service = hyper::service::service_fn(move |request| {
            let intake = Arc::clone(&self);
            async move { Ok::<_, Infallible>(intake.http(request).await) }
        });
        let ended = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(COMES_WITHIN)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if ended.is_err_and(|error| error.is_parse()) {
            note(&store, "what comes is neither HTTP nor gRPC (which is asked for by ALPN within TLS); let senders export OTLP"
                .to_owned());
        }
    }

    /// Says of what was refused what a person can use; of other paths than that of metrics there is nothing to say.
    fn refuse(&self, Refused(status, why): &Refused) {
        if !matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            note(&self.store, format!("what comes is refused with {}: {why}", status.as_u16()));
        }
    }

    async fn serve_http2(self: Arc<Self>, stream: impl Stream + 'static) {
        let heard = Arc::new(Notify::new());
        let hears = Arc::clone(&heard);
        let service = hyper::service::service_fn(move |request| {
            hears.notify_one();
            let intake = Arc::clone(&self);
            async move { Ok::<_, Infallible>(intake.grpc(request).await) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(CALLS)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        loop {
            tokio::select! {
                _ = &mut connection => return,
                more = timeout(SILENT, heard.notified()) => if more.is_err() {
                    break;
                }
            }
        }
        // Told that it is over, it may send again over another one.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(COMES_WITHIN, connection).await;
    }

    async fn http(&self, request: Request<Incoming>) -> Response<Body> {
        let kind = header(request.headers(), &CONTENT_TYPE);
        let is_json = kind.starts_with("application/json");
        let taken = self.over_http(request, is_json).await;
        let (status, text) = match taken {
            // An empty answer in either format: everything was taken in.
            Ok(()) => (StatusCode::OK, if is_json { "{}".to_owned() } else { String::new() }),
            Err(refused) => {
                self.refuse(&refused);
                (refused.0, format!("{}\n", refused.1))
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
        *response.status_mut() = status;
        if status == StatusCode::OK {
            let kind = if is_json { "application/json" } else { "application/x-protobuf" };
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        response
    }

    async fn over_http(&self, request: Request<Incoming>, is_json: bool) -> Result<(), Refused> {
        let kind = header(request.headers(), &CONTENT_TYPE);
        let is_packed = match header(request.headers(), &CONTENT_ENCODING).as_str() {
            "" | "identity" => Some(false),
            "gzip" => Some(true),
            _ => None,
        };
        if request.uri().path() != "/v1/metrics" {
            let why = "metrics are taken in at /v1/metrics".to_owned();
            return Err(Refused(StatusCode::NOT_FOUND, why));
        }
        if request.method() != Method::POST {
            return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "metrics are posted".to_owned()));
        }
        self.may_push(request.headers()).await?;
        let (true, Some(is_packed)) = (is_json || kind.starts_with("application/x-protobuf"), is_packed)
        else {
            let why = "write application/x-protobuf or application/json, packed with gzip or not at all";
            return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
        };
        let body = self.body(request).await?;
        let body = if is_packed { unpack(&body)? } else { body };
        self.take_in(match is_json {
            true => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            false => Export::decode(body).map_err(|error| error.to_string()),
        })
    }

    async fn grpc(&self, request: Request<Incoming>) -> Response<Body> {
        let (code, why) = match self.over_grpc(request).await {
            Ok(()) => ("0", String::new()),
            Err(refused) => {
                self.refuse(&refused);
                (refused.code(), refused.1)
            }
        };
        let mut status = HeaderMap::new();
        status.insert("grpc-status", HeaderValue::from_static(code));
        // Headers hold no other characters, and what was wrong is said in these.
        let why: String = why.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        if let Ok(why) = HeaderValue::from_str(&why.replace('%', "%25")) {
            status.insert("grpc-message", why);
        }
        // A refusal needs no message; that all was taken in is an empty one.
        let message = if code == "0" { &[0; FRAME][..] } else { &[] };
        let ends = std::future::ready(Some(Ok(status)));
        let mut response = Response::new(Full::new(Bytes::from_static(message)).with_trailers(ends).boxed());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }

    async fn over_grpc(&self, request: Request<Incoming>) -> Result<(), Refused> {
        let encoding = header(request.headers(), &HeaderName::from_static("grpc-encoding"));
        if request.uri().path() != EXPORT {
            return Err(Refused(StatusCode::NOT_FOUND, "only metrics are taken in".to_owned()));
        }
        self.may_push(request.headers()).await?;
        let body = self.body(request).await?;
        let bad = || Refused(StatusCode::BAD_REQUEST, "this is no message of gRPC".to_owned());
        let (head, message) = body.split_first_chunk::<FRAME>().ok_or_else(bad)?;
        let [packed, length @ ..] = *head;
        if usize::try_from(u32::from_be_bytes(length)).ok() != Some(message.len()) {
            return Err(bad());
        }
        let message = match (packed, encoding.as_str()) {
            (0, _) => body.slice(FRAME..),
            (1, "gzip") => unpack(message)?,
            _ => {
                let why = "messages are packed with gzip or not at all".to_owned();
                return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
            }
        };
        self.take_in(Export::decode(message).map_err(|error| error.to_string()))
    }

    /// Whether a sender shows the token, where one is asked for.
    async fn may_push(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(place) = &self.token else { return Ok(()) };
        let token = Secret::read(place, &self.base)
            .await
            .map_err(|error| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        let shown = header(headers, &AUTHORIZATION);
        let shown = shown.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match shown {
            Some((_, shown)) if bool::from(shown.as_bytes().ct_eq(token.expose().as_bytes())) => Ok(()),
            _ => {
                let why = "send the header `Authorization: Bearer` with the token of the policy".to_owned();
                Err(Refused(StatusCode::UNAUTHORIZED, why))
            }
        }
    }

    async fn body(&self, request: Request<Incoming>) -> Result<Bytes, Refused> {
        // What is announced as too large is not waited for.
        if request.body().size_hint().lower() > LARGEST_REQUEST as u64 {
            return Err(too_large());
        }
        let read = async {
            let _place = self.reading.acquire().await;
            Limited::new(request.into_body(), LARGEST_REQUEST).collect().await
        };
        match timeout(COMES_WITHIN, read).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(Refused(StatusCode::BAD_REQUEST, error.to_string())),
            Err(_) => {
                let why = "the request did not come in time".to_owned();
                Err(Refused(StatusCode::REQUEST_TIMEOUT, why))
            }
        }
    }

    fn take_in(&self, export: Result<Export, String>) -> Result<(), Refused> {
        let refused = match export {
            Ok(export) => self.store.lock().unwrap_or_else(PoisonError::into_inner).take_in(&export, now()),
            Err(why) => {
                // It quotes what came, which may be long.
                let why = first_words(why.as_bytes());
                return Err(Refused(StatusCode::BAD_REQUEST, format!("these are no OTLP metrics: {why}")));
            }
        };
        if refused == 0 {
            return Ok(());
        }
        // Sent again it would be refused again.
        let why = format!(
            "there is no room for {refused} points: at most {MOST_SERIES} series of {MOST_BYTES} bytes are kept"
        );
        Err(Refused(StatusCode::BAD_REQUEST, why))
    }
}

fn note(store: &Mutex<Store>, why: String) {
    store.lock().unwrap_or_else(PoisonError::into_inner).refusals.note(now(), why);
}

/// Waits for the first bytes, and leaves them where they are.
async fn is_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; HTTP2.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        if length == 0 || !HTTP2.starts_with(&first[..length]) {
            return Ok(false);
        }
        if length == first.len() {
            return Ok(true);
        }
        // Looking takes nothing, so it would be ready again at once.
        sleep(Duration::from_millis(10)).await;
    }
}

fn header(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
}

fn too_large() -> Refused {
    let why = format!("a request holds at most {LARGEST_REQUEST} bytes, unpacked too; send in parts");
    Refused(StatusCode::PAYLOAD_TOO_LARGE, why)
}

/// Unpacks as much as a request may hold, and no byte more than one beyond.
fn unpack(packed: &[u8]) -> Result<Bytes, Refused> {
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(packed).take(LARGEST_REQUEST as u64 + 1).read_to_end(&mut unpacked);
    match read {
        Ok(length) if length > LARGEST_REQUEST => Err(too_large()),
        Ok(_) => Ok(unpacked.into()),
        Err(error) => Err(Refused(StatusCode::BAD_REQUEST, format!("it can't be unpacked: {error}"))),
    }
}
