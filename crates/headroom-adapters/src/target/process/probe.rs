//! Asking a replica whether it can serve.
//!
//! One connection per probe, closed after it: a kept one would go on working when the replica no longer
//! accepts new ones, and that is what is to be found out.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ports::address;
use super::spec::{PreloadSpec, Probe};

/// So much of an unhealthy answer's body is read and quoted: enough for "database unreachable".
const QUOTED: usize = 200;

/// Probes once. `Err` says what was met, for people.
///
/// A worker ([`Probe::Alive`]) succeeds here: that it is alive is known from its not having ended.
pub(crate) async fn ask(probe: &Probe, port: Option<u16>, timeout: Duration) -> Result<(), String> {
    let (Some(port), false) = (port, matches!(probe, Probe::Alive)) else {
        return Ok(());
    };
    let asked = match probe {
        Probe::Http { path } => format!("GET {path}"),
        Probe::Tcp | Probe::Alive => format!("a connection to port {port}"),
    };
    let answer = async {
        let stream = TcpStream::connect(address(port)).await.map_err(|error| {
            format!("nothing listens on port {port} ({error}); does the command use $PORT?")
        })?;
        match probe {
            Probe::Http { path } => get(stream, port, path).await.map_err(|met| format!("{asked} {met}")),
            Probe::Tcp | Probe::Alive => Ok(()),
        }
    };
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer to {asked} within {timeout:?}")),
    }
}

/// Asks a replica for everything that warms it, one after the other. A path it does not know has nothing to warm.
pub(crate) async fn preload(
    requests: &[PreloadSpec],
    port: Option<u16>,
    timeout: Duration,
) -> Result<(), String> {
    let Some(port) = port else { return Ok(()) };
    for PreloadSpec { posts, path } in requests {
        let method = if *posts { Method::POST } else { Method::GET };
        let asked = format!("{method} {path}");
        let answer = async {
            let stream = TcpStream::connect(address(port)).await.map_err(|error| error.to_string())?;
            exchange(stream, port, method, path).await
        };
        let (status, quote) = tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| Err(format!("got no answer within {timeout:?}")))
            .map_err(|met| format!("{asked} {met}"))?;
        let unknown = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        if !status.is_success() && !unknown.contains(&status) {
            return Err(format!("{asked} {}", answered(status, &quote)));
        }
    }
    Ok(())
}

async fn get(stream: TcpStream, port: u16, path: &str) -> Result<(), String> {
    let (status, quote) = exchange(stream, port, Method::GET, path).await?;
    if status.is_success() { Ok(()) } else { Err(answered(status, &quote)) }
}

fn answered(status: StatusCode, quote: &str) -> String {
    if quote.is_empty() { format!("answered {status}") } else { format!("answered {status}: {quote}") }
}

/// One request and its answer; of an answer that is no success, what it says.
async fn exchange(
    stream: TcpStream,
    port: u16,
    method: Method,
    path: &str,
) -> Result<(StatusCode, String), String> {
    let failed = |error: hyper::Error| format!("failed: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address(port).to_string())
        .header(USER_AGENT, "headroom-health")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("can't be asked: {error}; a health path starts with / and has no spaces"))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok((status, String::new()));
        }
        let body = Limited::new(response.into_body(), 64 * 1024).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let quote = String::from_utf8_lossy(&body[..body.len().min(QUOTED)]);
        Ok((status, quote.trim().to_owned()))
    };
    tokio::pin!(exchange);
    // The connection is driven here and dropped with the probe: no task is left behind. When it ends
    // first, the exchange has all it will get and ends too.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers one connection with `answer` (`None`: never), and gives what the probe made of it.
    async fn probe(answer: Option<&'static str>) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let path = Probe::Http { path: "/health".to_owned() };
        let result =
            ask(&path, Some(port), Duration::from_millis(if answer.is_some() { 5_000 } else { 50 })).await;
        server.abort();
        result.map_err(|text| text.replace(&port.to_string(), "PORT"))
    }

    /// A14: any 2xx within the timeout is healthy, nothing else is.
    #[tokio::test]
    async fn only_a_2xx_within_the_timeout_is_healthy() {
        for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n"] {
            assert_eq!(probe(Some(answer)).await, Ok(()), "{answer}");
        }
        let mut texts = Vec::new();
        for answer in [
            Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 20\r\n\r\ndatabase unreachable"),
            Some("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
            Some("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n"),
            Some("220 smtp ready\r\n"),
            Some(""),
            None,
        ] {
            texts.push(probe(answer).await.unwrap_err());
        }
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[tokio::test]
    async fn a_connection_is_enough_for_tcp_and_being_alive_for_a_worker() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let second = Duration::from_secs(5);
        assert_eq!(ask(&Probe::Tcp, Some(port), second).await, Ok(()));
        drop(listener);
        assert!(ask(&Probe::Tcp, Some(port), second).await.unwrap_err().contains("nothing listens"));
        assert_eq!(ask(&Probe::Alive, None, second).await, Ok(()));
    }

    /// A31: everything that warms is asked in order; a path that is not known has nothing to warm.
    #[tokio::test]
    async fn a_replica_is_warm_when_everything_was_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in ["200 OK", "404 Not Found", "200 OK", "500 Internal Server Error"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                let line = String::from_utf8_lossy(&request[..read]).lines().next().unwrap().to_owned();
                asked.push(line);
                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        let requests = [
            PreloadSpec { posts: false, path: "/warmup".to_owned() },
            PreloadSpec { posts: true, path: "/cache/warm".to_owned() },
        ];
        let second = Duration::from_secs(5);
        assert_eq!(preload(&requests, Some(port), second).await, Ok(()));
        let failed = preload(&requests, Some(port), second).await.unwrap_err();
        assert_eq!(failed, "POST /cache/warm answered 500 Internal Server Error");
        let asked = server.await.unwrap();
        assert_eq!(asked[..2], ["GET /warmup HTTP/1.1", "POST /cache/warm HTTP/1.1"]);
    }
}
