//! A client of a few lines: one request, one connection.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::borrow::Cow;
use std::net::SocketAddr;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// No test waits for ever; the machine may be busy.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; null where there is none.
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// The stable code of a problem.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// An answer that goes on, read as it comes.
pub(crate) struct Stream {
    pub(crate) headers: HeaderMap,
    heard: watch::Receiver<Vec<u8>>,
    reads: tokio::task::JoinHandle<()>,
}

impl Stream {
    /// Waits until what was heard holds what it should.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let mut heard = self.heard.clone();
        let waits = tokio::time::timeout(LONGEST, heard.wait_for(|bytes| holds(&text(bytes)))).await;
        let came = waits.is_ok_and(|ended| ended.is_ok());
        assert!(came, "{what} is not heard: {}", text(&self.heard.borrow()));
    }

    /// All that was heard, once the server has ended it.
    pub(crate) async fn ended(self) -> String {
        tokio::time::timeout(LONGEST, self.reads).await.expect("it ends").expect("it is read");
        text(&self.heard.borrow()).into_owned()
    }
}

/// Of all that came: a frame may end within a letter.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A request to be sent.
pub(crate) struct Ask {
    to: SocketAddr,
    request: hyper::http::request::Builder,
    body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: Method, to: SocketAddr, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path).header(HOST, to.to_string());
        Self { to, request, body: Bytes::new() }
    }

    pub(crate) fn get(to: SocketAddr, path: &str) -> Self {
        Self::new(Method::GET, to, path)
    }

    pub(crate) fn post(to: SocketAddr, path: &str, body: &Value) -> Self {
        let mut ask = Self::new(Method::POST, to, path).header(CONTENT_TYPE.as_str(), "application/json");
        ask.body = body.to_string().into();
        ask
    }

    /// Sets a header; a `Host` of one's own comes in place of the right one.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        if let Some(headers) = self.request.headers_mut() {
            headers.insert(
                hyper::header::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                value.parse().expect("a value"),
            );
        }
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    pub(crate) fn raw(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let place = format!("{:?} {:?}", self.request.uri_ref(), self.body);
        tokio::time::timeout(LONGEST, self.exchange()).await.unwrap_or_else(|_| panic!("no answer: {place}"))
    }

    /// Sends it, and leaves the answer open.
    pub(crate) async fn open(self) -> Stream {
        let (response, connection) = self.begin().await;
        let (head, mut body) = response.into_parts();
        let (told, heard) = watch::channel(Vec::new());
        let reads = tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let frame = frame.expect("a whole frame").into_data().unwrap_or_default();
                told.send_modify(|heard| heard.extend_from_slice(&frame));
            }
            connection.abort();
        });
        Stream { headers: head.headers, heard, reads }
    }

    /// The answer as it begins, and the connection that it comes over.
    async fn begin(self) -> (Response<Incoming>, AbortHandle) {
        let stream = tokio::net::TcpStream::connect(self.to).await.expect("connects");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        let connection = tokio::spawn(connection).abort_handle();
        let request = self.request.body(Full::new(self.body)).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        (response, connection)
    }

    async fn exchange(self) -> Answer {
        let (response, connection) = self.begin().await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        connection.abort();
        Answer { status: head.status, headers: head.headers, body }
    }
}
