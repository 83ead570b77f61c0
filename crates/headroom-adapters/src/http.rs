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
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
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
/// How much is shown of what is no JSON.
const BEGINS: usize = 40;

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
    /// Where it says that the content is instead; empty where it doesn't.
    pub location: String,
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
        Err(ReadError::Status { status: self.status.as_u16(), text: self.words() })
    }

    /// What an answer that is no good one says, with what to do where the status tells it.
    pub(crate) fn words(&self) -> String {
        let place = place(&self.location);
        match self.status.as_u16() {
            300..=399 if !place.is_empty() => {
                format!("it points to {place}; write that address, for redirects are not followed")
            }
            401 | 403 => match first_words(&self.body) {
                words if words.is_empty() => "see that its `auth` is right".to_owned(),
                words => format!("{words}; see that its `auth` is right"),
            },
            _ => first_words(&self.body),
        }
    }
}

/// An address that is shown: without what may be secret in it, a user's name and password, a query and a fragment.
fn place(location: &str) -> String {
    let address = location.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match address.split_once("//") {
        Some((scheme, rest)) => (format!("{scheme}//"), rest),
        None => (String::new(), address),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    first_words(format!("{scheme}{host}{path}").as_bytes())
}

/// The start of a text, in one line, that may be shown on a terminal: what would steer it is replaced.
pub(crate) fn first_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN * 4)]);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SHOWN).map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether a character moves a cursor or turns the order of a line around rather than being read.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Reads JSON; where it is none, says what it is instead.
pub(crate) fn json(body: &[u8]) -> Result<serde_json::Value, ReadError> {
    serde_json::from_slice(body).map_err(|error| {
        let begin = first_words(body);
        ReadError::Garbage(match (begin.as_str(), error.is_eof()) {
            ("", _) => "it is empty".to_owned(),
            (_, true) => format!("it is JSON that ends too soon ({error})"),
            (begin, false) => {
                let begin: String = begin.chars().take(BEGINS).collect();
                format!("it is no JSON ({error}); it begins with {begin:?}")
            }
        })
    })
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
    let location = answer.headers().get(LOCATION).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let location = location.unwrap_or_default();
    let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ReadError::TooLarge { limit: LARGEST_ANSWER }
        } else {
            ReadError::Cut { why: error.to_string() }
        }
    })?;
    Ok(Answer { status, content_type, location, body: body.to_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_can_steer_no_terminal() {
        assert_eq!(first_words(b"\x1b[31mred\x1b[0m\r\n two\x07 \xc2\x9b3m"), "�[31mred�[0m two� �3m");
        assert_eq!(first_words("a\u{202e}b".as_bytes()), "a�b");
    }

    #[test]
    fn a_redirect_names_the_address_without_its_secrets() {
        for (location, shown) in [
            ("https://u:p@prom.example/metrics?token=x#y", "https://prom.example/metrics"),
            ("//u@h:1/", "//h:1/"),
            ("/elsewhere?key=1", "/elsewhere"),
            ("\u{1b}[2J/x", "�[2J/x"),
        ] {
            assert_eq!(place(location), shown, "{location}");
        }
        let answer = |status: u16, location: &str, body: &'static str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            content_type: String::new(),
            location: location.to_owned(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let words = answer(307, "/new", "").good().unwrap_err().to_string();
        assert_eq!(
            words,
            "it answered 307: it points to /new; write that address, for redirects are not followed"
        );
        assert!(answer(304, "", "same").good().unwrap_err().to_string().ends_with("304: same"));
        assert!(
            answer(401, "", "no")
                .good()
                .unwrap_err()
                .to_string()
                .ends_with("no; see that its `auth` is right")
        );
    }

    #[test]
    fn what_is_no_json_is_told_as_what_it_is() {
        let why = |body: &[u8]| json(body).unwrap_err().to_string();
        assert!(why(b" \n").ends_with("it is empty"), "{}", why(b""));
        assert!(why(b"<html>\n<p>").contains("it begins with \"<html> <p>\""), "{}", why(b"<html>"));
        assert!(why(b"{\"a\": 1").contains("ends too soon"), "{}", why(b"{"));
    }
}
