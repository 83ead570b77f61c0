//! Heads of requests and answers: read strictly, written anew.

use std::mem::MaybeUninit;

use bytes::{BufMut, BytesMut};
use httparse::Header;

use super::{
    body::Length,
    headers::{Kind, has_token, kind},
};
use crate::forwarded::Client;
use crate::stickiness;

/// Most fields of a head: nginx and Apache allow about as many.
const MAX_FIELDS: usize = 100;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("the request's head is malformed")]
    Malformed,
    #[error("the request's head is too large")]
    TooLarge,
    #[error("the request must have exactly one valid Host field")]
    Host,
    #[error("the request's length is ambiguous")]
    Framing,
    #[error("the transfer coding is not supported")]
    TransferCoding,
    #[error("CONNECT is not supported")]
    Connect,
    #[error("the HTTP version is not supported")]
    Version,
}

impl BadRequest {
    /// The status that says so.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::Host | Self::Framing => 400,
            Self::TooLarge => 431,
            Self::TransferCoding | Self::Connect => 501,
            Self::Version => 505,
        }
    }
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadResponse {
    #[error("the answer's head is malformed")]
    Malformed,
    #[error("the answer's length is ambiguous")]
    Framing,
    #[error("the answer switches protocols, which was not asked for")]
    Upgrade,
}

/// What a method allows (RFC 9110 §9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    /// Repeating it has the effect of doing it once.
    Idempotent,
    Other,
}

impl Method {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "HEAD" => Self::Head,
            "GET" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" => Self::Idempotent,
            _ => Self::Other,
        }
    }

    pub(crate) fn is_idempotent(self) -> bool {
        self != Self::Other
    }
}

/// What must be known of a request once its head was written for the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) body: Length,
    /// The client speaks HTTP/1.1, so knows chunks and interim answers.
    pub(crate) http11: bool,
    pub(crate) keep_alive: bool,
    /// A WebSocket is asked for.
    pub(crate) upgrade: bool,
    /// Backend named by the stickiness cookie.
    pub(crate) sticky: Option<u64>,
}

/// What must be known of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Length,
    /// The backend's connection can be used again.
    pub(crate) keep_alive: bool,
}

/// Length of the head at the front of `buf`, its empty line included. `scanned` remembers how far an
/// earlier call looked, so that a head that trickles in costs no more than one that comes at once.
///
/// # Errors
/// A line that ends in a bare LF: some backends take it for a line end and some do not.
pub(crate) fn head_length(buf: &[u8], scanned: &mut usize) -> Result<Option<usize>, BadRequest> {
    for i in memchr::memchr_iter(b'\n', &buf[*scanned..]).map(|i| i + *scanned) {
        if i == 0 || buf[i - 1] != b'\r' {
            return Err(BadRequest::Malformed);
        }
        if i >= 3 && buf[i - 2] == b'\n' {
            return Ok(Some(i + 1));
        }
    }
    *scanned = buf.len();
    Ok(None)
}

/// Settings and facts that shape a request's head.
pub(crate) struct Shape<'a> {
    pub(crate) client: &'a Client,
    pub(crate) sticky_cookie: Option<&'a str>,
}

/// Reads a whole head and writes that of the request to the backend into `out`.
pub(crate) fn translate_request(
    head: &[u8],
    shape: &Shape<'_>,
    out: &mut BytesMut,
) -> Result<Request, BadRequest> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(BadRequest::TooLarge),
        Err(httparse::Error::Version) => return Err(BadRequest::Version),
        _ => return Err(BadRequest::Malformed),
    }
    let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(BadRequest::Malformed);
    };
    let http11 = version == 1;
    let framing = Framing::of(parsed.headers)?;
    let body = framing.request_length(http11)?;
    let (target, host) = split_target(method, path, framing.host, http11)?;
    // Only WebSockets: an `Upgrade: h2c` that passed would open a tunnel past every rule.
    let upgrade = http11
        && method == "GET"
        && body == Length::None
        && framing.connection_has(b"upgrade")
        && framing.upgrade.is_some_and(|u| u.eq_ignore_ascii_case(b"websocket"));
    let keep_alive = match http11 {
        true => !framing.connection_has(b"close"),
        false => framing.connection_has(b"keep-alive") && !framing.connection_has(b"close"),
    };

    let fields = parsed.headers.iter().map(|h| (h.name.as_bytes(), h.value));
    let sticky = write_request(out, method, target, host, fields, &framing.connection, body, upgrade, shape);
    Ok(Request { method: Method::of(method), body, http11, keep_alive, upgrade, sticky })
}

/// Writes the head of a request to a backend. Gives back the backend that its stickiness cookie names.
#[expect(clippy::too_many_arguments, reason = "each is a part of one request line and head")]
pub(crate) fn write_request<'a>(
    out: &mut BytesMut,
    method: &str,
    target: &str,
    host: &[u8],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    connection: &[&[u8]],
    body: Length,
    upgrade: bool,
    shape: &Shape<'_>,
) -> Option<u64> {
    out.put_slice(method.as_bytes());
    out.put_u8(b' ');
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\nhost: ");
    out.put_slice(host);
    out.put_slice(b"\r\n");
    let mut sticky = None;
    let mut incoming = crate::forwarded::Incoming::default();
    for (name, value) in fields {
        match kind(name) {
            Kind::EndToEnd => {}
            Kind::Cookie => {
                if let Some(cookie) = shape.sticky_cookie {
                    sticky = sticky.or(stickiness::read(value, cookie));
                }
            }
            Kind::XForwardedFor => {
                incoming.x_for.push(value);
                continue;
            }
            Kind::XForwardedProto => {
                incoming.x_proto = Some(value);
                continue;
            }
            Kind::XForwardedHost => {
                incoming.x_host = Some(value);
                continue;
            }
            Kind::Forwarded => {
                incoming.forwarded.push(value);
                continue;
            }
            _ => continue,
        }
        if !connection.is_empty() && is_named(connection, name) {
            continue;
        }
        write_field(out, name, value);
    }
    shape.client.write(out, host, &incoming);
    match body {
        Length::None | Length::UntilClose => {}
        Length::Exact(n) => write_content_length(out, n),
        Length::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
    }
    if upgrade {
        out.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
    }
    out.put_slice(b"\r\n");
    sticky
}

/// Reads a whole head of an answer; `field` gets each field that passes on, before them nothing.
pub(crate) fn read_response(
    head: &[u8],
    request: &Request,
    start: impl FnOnce(&Response, &str),
    mut field: impl FnMut(&[u8], &[u8]),
) -> Result<Response, BadResponse> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut fields) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        _ => return Err(BadResponse::Malformed),
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(BadResponse::Malformed);
    };
    if !(100..=599).contains(&status) {
        return Err(BadResponse::Malformed);
    }
    if status == 101 && !request.upgrade {
        return Err(BadResponse::Upgrade);
    }
    let framing = Framing::of(parsed.headers).map_err(|_| BadResponse::Framing)?;
    let body = framing.response_length(status, request.method)?;
    let keep_alive = match version {
        1 => !framing.connection_has(b"close"),
        _ => framing.connection_has(b"keep-alive"),
    } && body != Length::UntilClose
        && status != 101;
    let response = Response { status, body, keep_alive };
    start(&response, parsed.reason.unwrap_or(""));
    for h in parsed.headers.iter() {
        let name = h.name.as_bytes();
        let passes = match kind(name) {
            Kind::Connection | Kind::HopByHop | Kind::TransferEncoding | Kind::Upgrade => false,
            // The length of a body that is sent is written anew; that of one that is not
            // (HEAD, 304) only tells of the representation.
            Kind::ContentLength => body == Length::None && status != 204 && status >= 200,
            _ => true,
        };
        if passes && !is_named(&framing.connection, name) {
            field(name, h.value);
        }
    }
    Ok(response)
}

/// How an answer's body is sent on to a client of HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is: none, or as long as its `Content-Length`.
    Plain,
    /// In chunks.
    Chunked,
    /// As it is; the end of the connection ends it.
    UntilClose,
}

/// Reads a whole head of an answer and writes that to an HTTP/1 client into `out`.
pub(crate) fn translate_response(
    head: &[u8],
    request: &Request,
    set_cookie: Option<&str>,
    mut keep_alive: bool,
    out: &mut BytesMut,
) -> Result<(Response, Encoding), BadResponse> {
    let mark = out.len();
    let buffer = std::cell::RefCell::new(out);
    let read = read_response(
        head,
        request,
        |response, reason| {
            let mut out = buffer.borrow_mut();
            write_status(&mut out, response.status, reason);
        },
        |name, value| write_field(&mut buffer.borrow_mut(), name, value),
    );
    let out = buffer.into_inner();
    let response = match read {
        Ok(response) => response,
        Err(bad) => {
            out.truncate(mark);
            return Err(bad);
        }
    };
    let encoding = match response.body {
        Length::None => Encoding::Plain,
        Length::Exact(n) => {
            write_content_length(out, n);
            Encoding::Plain
        }
        Length::Chunked | Length::UntilClose if request.http11 => {
            out.put_slice(b"transfer-encoding: chunked\r\n");
            Encoding::Chunked
        }
        Length::Chunked | Length::UntilClose => {
            keep_alive = false;
            Encoding::UntilClose
        }
    };
    if let Some(cookie) = set_cookie {
        out.put_slice(b"set-cookie: ");
        out.put_slice(cookie.as_bytes());
        out.put_slice(b"\r\n");
    }
    match response.status {
        101 => out.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
        100..200 => {}
        _ => write_connection(out, request.http11, keep_alive),
    }
    out.put_slice(b"\r\n");
    Ok((response, encoding))
}

/// Writes an answer of the balancer's own.
pub(crate) fn write_own(
    out: &mut BytesMut,
    status: u16,
    says: &str,
    retry_after: Option<u32>,
    keep_alive: bool,
    request: Option<&Request>,
) {
    write_status(out, status, reason(status));
    out.put_slice(b"content-type: text/plain; charset=utf-8\r\n");
    write_content_length(out, says.len() as u64 + 1);
    if let Some(seconds) = retry_after {
        out.put_slice(b"retry-after: ");
        out.put_slice(seconds.to_string().as_bytes());
        out.put_slice(b"\r\n");
    }
    write_connection(out, request.is_none_or(|r| r.http11), keep_alive);
    out.put_slice(b"\r\n");
    if request.is_none_or(|r| r.method != Method::Head) {
        out.put_slice(says.as_bytes());
        out.put_u8(b'\n');
    }
}

/// The reason phrase of a status the balancer answers itself.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

fn write_status(out: &mut BytesMut, status: u16, reason: &str) {
    let digit = |n: u16| b'0' + (n % 10) as u8;
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.put_slice(reason.as_bytes());
    out.put_slice(b"\r\n");
}

fn write_connection(out: &mut BytesMut, http11: bool, keep_alive: bool) {
    match (http11, keep_alive) {
        (true, true) => {}
        (false, true) => out.put_slice(b"connection: keep-alive\r\n"),
        (_, false) => out.put_slice(b"connection: close\r\n"),
    }
}

fn write_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn write_content_length(out: &mut BytesMut, mut n: u64) {
    // Twenty digits hold every u64.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.put_slice(b"content-length: ");
    out.put_slice(&digits[at..]);
    out.put_slice(b"\r\n");
}

fn is_named(connection: &[&[u8]], name: &[u8]) -> bool {
    connection.iter().any(|value| has_token(value, name))
}

/// The fields that say where a message ends and what becomes of its connection.
struct Framing<'h> {
    connection: Values<'h>,
    content_length: Option<u64>,
    /// `Some(true)`: exactly `chunked`; `Some(false)`: anything else.
    chunked: Option<bool>,
    host: Option<&'h [u8]>,
    upgrade: Option<&'h [u8]>,
}

/// Values of the `Connection` fields; nearly always none or one.
type Values<'h> = Vec<&'h [u8]>;

impl<'h> Framing<'h> {
    /// Refuses what could be read in two ways, in requests and answers alike.
    fn of(fields: &[Header<'h>]) -> Result<Self, BadRequest> {
        let mut f =
            Self { connection: Vec::new(), content_length: None, chunked: None, host: None, upgrade: None };
        for field in fields {
            match kind(field.name.as_bytes()) {
                Kind::Connection => f.connection.push(field.value),
                Kind::ContentLength => {
                    // Not even an equal second one: whoever sends two does not know which is meant.
                    let length = parse_length(field.value).filter(|_| f.content_length.is_none());
                    f.content_length = Some(length.ok_or(BadRequest::Framing)?);
                }
                Kind::TransferEncoding => {
                    if f.chunked.is_some() {
                        return Err(BadRequest::Framing);
                    }
                    f.chunked = Some(field.value.eq_ignore_ascii_case(b"chunked"));
                }
                Kind::Host if f.host.is_some() => return Err(BadRequest::Host),
                Kind::Host => f.host = Some(field.value),
                Kind::Upgrade => f.upgrade = Some(field.value),
                _ => {}
            }
        }
        if f.chunked.is_some() && f.content_length.is_some() {
            return Err(BadRequest::Framing);
        }
        Ok(f)
    }

    fn connection_has(&self, token: &[u8]) -> bool {
        self.connection.iter().any(|value| has_token(value, token))
    }

    fn request_length(&self, http11: bool) -> Result<Length, BadRequest> {
        match (self.chunked, self.content_length) {
            (Some(_), _) if !http11 => Err(BadRequest::Framing),
            (Some(true), _) => Ok(Length::Chunked),
            (Some(false), _) => Err(BadRequest::TransferCoding),
            (None, Some(n)) => Ok(Length::Exact(n)),
            (None, None) => Ok(Length::None),
        }
    }

    fn response_length(&self, status: u16, method: Method) -> Result<Length, BadResponse> {
        if method == Method::Head || matches!(status, 100..200 | 204 | 304) {
            return Ok(Length::None);
        }
        match (self.chunked, self.content_length) {
            (Some(true), _) => Ok(Length::Chunked),
            (Some(false), _) => Err(BadResponse::Framing),
            (None, Some(n)) => Ok(Length::Exact(n)),
            (None, None) => Ok(Length::UntilClose),
        }
    }
}

/// Digits only: no sign, no list, no white space within.
fn parse_length(value: &[u8]) -> Option<u64> {
    let plain = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    plain.then(|| value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// Splits a request's target into what the backend gets and the host it is for (RFC 9112 §3.2).
fn split_target<'h>(
    method: &str,
    path: &'h str,
    host: Option<&'h [u8]>,
    http11: bool,
) -> Result<(&'h str, &'h [u8]), BadRequest> {
    if method == "CONNECT" {
        return Err(BadRequest::Connect);
    }
    let field = match host {
        Some(host) if is_host(host) => host,
        Some(_) => return Err(BadRequest::Host),
        None if http11 => return Err(BadRequest::Host),
        None => b"",
    };
    if path.starts_with('/') {
        return Ok((path, field));
    }
    if path == "*" && method == "OPTIONS" {
        return Ok((path, field));
    }
    // The absolute form names the host itself, and that wins.
    let rest = path.get(7..).filter(|_| path[..7].eq_ignore_ascii_case("http://"));
    let rest = rest.or_else(|| path.get(8..).filter(|_| path[..8].eq_ignore_ascii_case("https://")));
    let rest = rest.ok_or(BadRequest::Malformed)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(BadRequest::Host);
    }
    match target.as_bytes().first() {
        Some(b'/') => Ok((target, authority.as_bytes())),
        None => Ok(("/", authority.as_bytes())),
        Some(_) => Err(BadRequest::Malformed),
    }
}

/// Whether these bytes may be a host with an optional port; empty is allowed (RFC 9110 §7.2). No user
/// information, no list, no white space.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%:[]".contains(b);
    host.len() <= 255 + 6 && host.iter().all(allowed)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
