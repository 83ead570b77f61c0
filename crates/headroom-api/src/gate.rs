//! Who may ask: our own page and programs on this machine; nobody else's page.
//!
//! Any web page can make a browser send requests to loopback, and a name that resolves to 127.0.0.1 makes it even
//! read the answers (DNS rebinding). So the `Host` must be a name of ours, an `Origin` must be our own, and every
//! change needs the token. The probes `/healthz` and `/readyz` say nothing worth hiding and are asked under any
//! name.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::problem::Problem;

/// How long an answer may take to begin: the engine answers between two rounds, a query within a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// What every answer carries: nothing from elsewhere, nothing inline, in nobody's frame.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// The names under which the API may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// The names of loopback with this port, the address itself, and `more` as given (`name` or `name:port`).
    pub(crate) fn new(bound: std::net::SocketAddr, more: &[String]) -> Self {
        let port = bound.port();
        let mut hosts: Vec<String> =
            ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}")).into();
        if port == 80 {
            hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        if !bound.ip().is_unspecified() {
            hosts.push(bound.to_string());
        }
        hosts.extend(more.iter().map(|name| name.to_ascii_lowercase()));
        Self(hosts)
    }

    /// Whether `host` is a name of ours.
    fn know(&self, host: &str) -> bool {
        self.0.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    /// Whether `origin` is our own page's. TLS may be ended in front of us.
    fn own(&self, origin: &str) -> bool {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| self.know(host))
    }
}

/// Lets a request through, or says why not.
pub(crate) async fn gate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let mut response = match if is_probe { Ok(()) } else { check(&app, &request) } {
        Ok(()) => tokio::time::timeout(DEADLINE, next.run(request)).await.unwrap_or_else(|_| {
            let seconds = DEADLINE.as_secs();
            Problem::busy(format!("there was no answer within {seconds} s")).into_response()
        }),
        Err(problem) => (*problem).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

fn check(app: &App, request: &Request) -> Result<(), Box<Problem>> {
    let headers = request.headers();
    let host = text(headers, &header::HOST);
    // An absolute request target names a host as well; it must not be another one.
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    if !host.is_some_and(|host| app.hosts.know(host)) || target.is_some_and(|t| !app.hosts.know(t)) {
        let named = target.or(host).unwrap_or("no host");
        return Err(Box::new(
            Problem::new(
                StatusCode::FORBIDDEN,
                "other-host",
                format!("asked as `{named}`, which is not a name of this server"),
            )
            .help(format!("if you trust that name, start with `headroom run --allow-host {named}`")),
        ));
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = text(headers, &header::ORIGIN);
        if !origin.is_some_and(|origin| app.hosts.own(origin)) {
            return Err(Box::new(Problem::new(
                StatusCode::FORBIDDEN,
                "other-origin",
                format!("a page of {} asked; only this server's own page may", origin.unwrap_or("elsewhere")),
            )));
        }
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) || shows_token(app, headers)? {
        return Ok(());
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "token-missing", "a change needs the token");
    Err(Box::new(problem.help(
        "send it as `Authorization: Bearer …`; it is in the file `token` of the data directory, and in the link that \
         `headroom run` prints",
    )))
}

/// Whether the token stands in the request.
pub(crate) fn shows_token(app: &App, headers: &HeaderMap) -> Result<bool, Box<Problem>> {
    // The scheme may be written in any case.
    let Some((scheme, offered)) = text(headers, &header::AUTHORIZATION).and_then(|v| v.split_once(' '))
    else {
        return Ok(false);
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(false);
    }
    if app.token.matches(offered.trim()) {
        return Ok(true);
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "token-wrong", "this is not the token");
    Err(Box::new(problem.help("read it anew from the file `token` of the data directory")))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    // Two of them mean that two programs on the way disagree: neither is believed.
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_with_our_port_are_ours() {
        let hosts = Hosts::new("127.0.0.1:7070".parse().unwrap(), &["Scale.Example:8443".to_owned()]);
        for (host, ours) in [
            ("localhost:7070", true),
            ("LOCALHOST:7070", true),
            ("127.0.0.1:7070", true),
            ("[::1]:7070", true),
            ("scale.example:8443", true),
            ("localhost", false),
            ("localhost:7071", false),
            ("localhost.:7070", false),
            ("evil.example:7070", false),
            ("127.0.0.1:7070.evil.example", false),
            ("127.0.0.1:7070@evil.example", false),
            ("", false),
        ] {
            assert_eq!(hosts.know(host), ours, "{host}");
        }
    }

    #[test]
    fn only_our_own_page_is_our_origin() {
        let hosts = Hosts::new("127.0.0.1:7070".parse().unwrap(), &[]);
        for (origin, own) in [
            ("http://localhost:7070", true),
            ("http://127.0.0.1:7070", true),
            ("null", false),
            ("", false),
            ("localhost:7070", false),
            ("file://", false),
            ("http://localhost:3000", false),
            ("http://localhost:7070.evil.example", false),
            ("https://evil.example", false),
        ] {
            assert_eq!(hosts.own(origin), own, "{origin}");
        }
    }
}
