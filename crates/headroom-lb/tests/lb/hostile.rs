//! Clients that mean harm: smuggling, floods of bytes, slowness.

use std::sync::atomic::Ordering::SeqCst;

use crate::common::{Backend, Lb, ask, read_answer, serve, service, soon};
use headroom_lb::settings::Millis;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// None of these may bring a second request, or any, to a backend.
#[tokio::test]
async fn smuggled_requests_reach_no_backend() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let rows = [
        ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n", 400),
        ("Content-Length: 0\r\nContent-Length: 44\r\n\r\n", 400),
        ("Content-Length: 0, 44\r\n\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n\r\n", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        ("Transfer-Encoding\t: chunked\r\n\r\n", 400),
        ("X: y\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
        ("X: y\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("X: y\r\n\rTransfer-Encoding: chunked\r\n\r\n", 400),
        ("Content-Length: 1e1\r\n\r\n", 400),
    ];
    for (fields, status) in rows {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}{smuggled}");
        let mut s = TcpStream::connect(at).await.unwrap();
        s.write_all(request.as_bytes()).await.unwrap();
        let answer = soon("an answer", read_answer(&mut s, false)).await.unwrap();
        assert_eq!(answer.status, status, "{fields:?}");
        let mut rest = Vec::new();
        let _ = soon("the end", s.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "a second answer to {fields:?}");
    }
    assert_eq!(a.requests(), 0);
}

/// A chunked body whose framing lies is cut off before anything behind it is taken for a request.
#[tokio::test]
async fn a_chunk_that_lies_ends_the_connection() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    for body in [
        "5\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "-3\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /s HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let mut s = TcpStream::connect(at).await.unwrap();
        s.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let _ = soon("the end", s.read_to_end(&mut all)).await;
        let text = String::from_utf8_lossy(&all);
        assert!(text.starts_with("HTTP/1.1 400 "), "{body:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
    }
    assert!(a.seen.heads.lock().unwrap().iter().all(|h| !h.contains("/s ")));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&a]);
    s.limits.header_bytes = 4096;
    let at = serve(&client, s).await;
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(4000));
    assert_eq!(ask(at, &fits).await.unwrap().status, 200);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(5000));
    assert_eq!(ask(at, &large).await.unwrap().status, 431);
    let endless = format!("GET /{}", "x".repeat(100_000));
    assert_eq!(ask(at, &endless).await.unwrap().status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(ask(at, &many).await.unwrap().status, 431);
    assert_eq!(a.requests(), 1);
}

/// A client that sends its head byte by byte is cut off by the head's timeout, however it trickles.
#[tokio::test]
async fn a_slow_head_is_408_and_a_silent_connection_is_closed() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&a]);
    // A client may be kept from its turn between its connection and its first byte.
    s.limits.header_timeout = Millis(1_000);
    s.limits.idle_timeout = Millis(1_000);
    let at = serve(&client, s).await;
    let (mut read, mut write) = TcpStream::connect(at).await.unwrap().into_split();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"a").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert_eq!(soon("an answer", read_answer(&mut read, false)).await.unwrap().status, 408);
    trickle.abort();
    let mut silent = TcpStream::connect(at).await.unwrap();
    assert_eq!(soon("the end", silent.read(&mut [0; 1])).await.unwrap(), 0);
    // A body that stops is a request that stops.
    let started = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    assert_eq!(ask(at, started).await.unwrap().status, 408);
}

#[tokio::test]
async fn connections_past_the_limit_wait_their_turn() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&a]);
    s.limits.connections = 2;
    let at = serve(&client, s).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut s = TcpStream::connect(at).await.unwrap();
        s.write_all(request).await.unwrap();
        assert_eq!(soon("an answer", read_answer(&mut s, false)).await.unwrap().status, 200);
        open.push(s);
    }
    let mut third = TcpStream::connect(at).await.unwrap();
    third.write_all(request).await.unwrap();
    let waits = tokio::time::timeout(std::time::Duration::from_millis(200), third.readable()).await;
    assert!(waits.is_err() && a.requests() == 2, "the third was served");
    open.pop();
    assert_eq!(soon("an answer", read_answer(&mut third, false)).await.unwrap().status, 200);
}

/// Requests that are not for us or not HTTP.
#[tokio::test]
async fn nonsense_is_answered_and_closed() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let rows = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\u{0}: a\r\n\r\n", 400),
    ];
    for (request, status) in rows {
        let answer = ask(at, request).await.unwrap();
        assert_eq!(answer.status, status, "{request:?}");
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    assert_eq!(a.seen.requests.load(SeqCst), 0);
}
