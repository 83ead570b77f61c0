//! A small HTTP/1.1 client for questions that are asked again and again: one connection that is kept and made anew
//! when it broke, an answer of bounded size, credentials that are never shown.
//!
//! It has no deadlines of its own (the poller has), follows no redirects (an address is written once and right),
//! and knows no proxies.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use headroom_core::fleet::{Auth, HttpServer};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::net::{Address, Tls};
use crate::secret::Secret;
use crate::source::ReadError;

/// The largest answer that is read: a Prometheus answer of 100 000 series, or the metrics of a very talkative
/// program. What is larger is refused before it is held.
pub const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// How much of an error's text is shown.
const SHOWN: usize = 200;

/// A server, asked over one connection.
pub struct HttpClient {
    address: Address,
    /// What stands before every path.
    prefix: String,
    host: HeaderValue,
    auth: Option<Auth>,
    base: PathBuf,
    connection: Option<Connection>,
}

/// A kept connection; its task ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What kind of content it is.
    pub content_type: String,
    /// Its content.
    pub body: Bytes,
}

impl Answer {
    /// The content of a good answer.
    ///
    /// # Errors
    /// With any other status than 2xx.
    pub fn good(self) -> Result<Bytes, ReadError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(ReadError::Status { status: self.status.as_u16(), text: first_words(&self.body) })
    }
}

/// The start of a text, in one line.
pub(crate) fn first_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN * 4)]);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SHOWN).collect()
}

impl HttpClient {
    /// A client of `server`; it does not connect yet. Files are relative to `base`.
    ///
    /// # Errors
    /// Where the address or the authorities are not usable.
    pub fn new(server: &HttpServer, base: &Path) -> Result<Self, ReadError> {
        let wrong = |why: &str| ReadError::Setup(format!("the address {:?} {why}", server.url));
        let url: Uri = server.url.parse().map_err(|_| wrong("can't be read"))?;
        let host = url.host().ok_or_else(|| wrong("names no host"))?;
        let (tls, port) = match url.scheme_str() {
            Some("https") => {
                let (ca, client) = (server.ca.clone(), server.client.clone());
                (Some(Tls { ca, client, base: base.to_owned(), alpn: None }), 443)
            }
            _ => (None, 80),
        };
        let header = match url.port_u16() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self {
            address: Address {
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port: url.port_u16().unwrap_or(port),
                tls,
            },
            prefix: url.path_and_query().map_or("", |p| p.as_str()).trim_end_matches('/').to_owned(),
            host: HeaderValue::from_str(&header).map_err(|_| wrong("names no host"))?,
            auth: server.auth.clone(),
            base: base.to_owned(),
            connection: None,
        })
    }

    /// `GET` of `path`, which stands below the server's address; an empty one is the address itself.
    ///
    /// # Errors
    /// Where there is no answer, or one that is too large.
    pub async fn get(&mut self, path: &str, accept: &str) -> Result<Answer, ReadError> {
        self.ask(Method::GET, path, accept, &[], None).await
    }

    /// `POST` of a body of the type `content`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&mut self, path: &str, content: &str, body: Bytes) -> Result<Answer, ReadError> {
        self.ask(Method::POST, path, "application/json", &[], Some((content, body))).await
    }

    /// `POST` of JSON with more headers.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_json(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: &serde_json::Value,
    ) -> Result<Answer, ReadError> {
        let body = Bytes::from(body.to_string());
        self.ask(Method::POST, path, "application/json", headers, Some(("application/json", body))).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        accept: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<(&str, Bytes)>,
    ) -> Result<Answer, ReadError> {
        let auth = self.authorization().await?;
        let request = || {
            let path = match (self.prefix.as_str(), path) {
                ("", "") => "/".to_owned(),
                (prefix, path) => format!("{prefix}{path}"),
            };
            let mut request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(HOST, &self.host)
                .header(ACCEPT, accept)
                .header(USER_AGENT, concat!("headroom/", env!("CARGO_PKG_VERSION")));
            if let Some(auth) = &auth {
                request = request.header(AUTHORIZATION, auth);
            }
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let content = match &body {
                Some((content, body)) => {
                    request = request.header(CONTENT_TYPE, *content);
                    body.clone()
                }
                None => Bytes::new(),
            };
            request.body(Full::new(content)).map_err(|e| ReadError::Setup(e.to_string()))
        };
        // The connection is taken out while it is in use: a question that is given up halfway leaves none behind.
        if let Some(mut kept) = self.connection.take()
            && kept.sender.ready().await.is_ok()
        {
            match exchange(&mut kept, request()?).await {
                Ok(answer) => {
                    self.connection = Some(kept);
                    return Ok(answer);
                }
                // The server closed it between two questions: asked again over a new one.
                Err(ReadError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let stream = self.address.connect().await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // Its end shows at the next question.
        let task = tokio::spawn(async move { drop(connection.await) });
        let mut fresh = Connection { sender, task };
        let answer = exchange(&mut fresh, request()?).await?;
        self.connection = Some(fresh);
        Ok(answer)
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, ReadError> {
        let text = match &self.auth {
            None => return Ok(None),
            Some(Auth::Bearer(place)) => {
                format!("Bearer {}", Secret::read(place, &self.base).await?.expose())
            }
            Some(Auth::Basic(basic)) => {
                use base64::Engine as _;
                let password = Secret::read(&basic.password, &self.base).await?;
                let pair = format!("{}:{}", basic.user, password.expose());
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            ReadError::Setup("the secret holds a character that no header may hold".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn broken(error: &hyper::Error) -> ReadError {
    use std::error::Error;
    let why = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    ReadError::Broken { why }
}

async fn exchange(connection: &mut Connection, request: Request<Full<Bytes>>) -> Result<Answer, ReadError> {
    let answer = connection.sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = answer.status();
    let content_type =
        answer.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ReadError::TooLarge { limit: LARGEST_ANSWER }
        } else {
            ReadError::Cut { why: error.to_string() }
        }
    })?;
    Ok(Answer { status, content_type, body: body.to_bytes() })
}
