//! What a client and a backend see of the balancer, over real sockets and a real process.

use std::sync::atomic::Ordering::SeqCst;

use crate::common::{Backend, Lb, all_are, ask, get, read_answer, read_head, serve, service, soon, until};
use headroom_lb::{
    control::protocol::Health,
    settings::{Algorithm, Millis, Stickiness},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

/// A14: round robin, least connections; requests reach every backend.
#[tokio::test]
async fn requests_are_spread_over_the_backends() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, _events) = lb.controller().await;
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::TwoChoices] {
        let mut s = service(&[&a, &b]);
        s.algorithm = algorithm;
        let at = serve(&client, s).await;
        let before = (a.requests(), b.requests());
        for _ in 0..40 {
            assert_eq!(get(at, "/").await.status, 200);
        }
        let got = (a.requests() - before.0, b.requests() - before.1);
        assert!(got.0 > 0 && got.1 > 0 && got.0 + got.1 == 40, "{algorithm:?} {got:?}");
    }
}

#[tokio::test]
async fn the_backend_is_told_who_asks_and_gets_no_hop_by_hop_field() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let request = "GET /x HTTP/1.1\r\nHost: shop\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
                   X-Forwarded-For: 6.6.6.6\r\nX-Kept: y\r\n\r\n";
    let answer = ask(at, request).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
    let head = a.seen.heads.lock().unwrap()[0].clone();
    assert_eq!(
        head,
        "GET /x HTTP/1.1\r\nhost: shop\r\nX-Kept: y\r\nx-forwarded-for: 127.0.0.1\r\n\
         x-forwarded-proto: http\r\nx-forwarded-host: shop\r\n\r\n"
    );
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    for _ in 0..20 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(soon("an answer", read_answer(&mut stream, false)).await.unwrap().status, 200);
    }
    assert_eq!((a.requests(), a.seen.open.load(SeqCst)), (20, 1));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    let one = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(one.repeat(5).as_bytes()).await.unwrap();
    for _ in 0..10 {
        assert_eq!(soon("an answer", read_answer(&mut stream, false)).await.unwrap().text(), "a");
    }
    assert_eq!(a.requests(), 10);
}

#[tokio::test]
async fn bodies_reach_the_backend_whole_in_either_framing() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let big = "x".repeat(300_000);
    let exact = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{big}", big.len());
    assert_eq!(ask(at, &exact).await.unwrap().status, 200);
    assert_eq!(a.seen.bodies.lock().unwrap()[0], big.as_bytes());
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(ask(at, chunked).await.unwrap().status, 200);
    let body = String::from_utf8(a.seen.bodies.lock().unwrap()[1].clone()).unwrap();
    assert!(body.ends_with("0\r\n\r\n") && !body.contains("x=y"), "{body:?}");
    let data: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(data, "abcde");
}

#[tokio::test]
async fn answers_to_head_and_304_have_no_body_but_keep_their_length() {
    let (lb, a) = (Lb::start().await, Backend::start("long-id").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let head = soon("an answer", read_answer(&mut stream, true)).await.unwrap();
    assert!(head.head.contains("content-length: 7\r\n"), "{}", head.head);
    a.seen.status.store(304, SeqCst);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(soon("an answer", read_answer(&mut stream, true)).await.unwrap().status, 304);
    a.seen.status.store(0, SeqCst);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(soon("an answer", read_answer(&mut stream, false)).await.unwrap().text(), "long-id");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_answer_it_can_read() {
    let backend = Backend::raw("a", |mut s| async move {
        read_head(&mut s).await;
        let _ =
            s.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let answer = ask(at, "GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(answer.head.contains("connection: close") && !answer.head.contains("chunked"), "{}", answer.head);
    assert_eq!(answer.text(), "abc");
}

/// The first chunk reaches the client before the backend has made the last.
#[tokio::test]
async fn bodies_are_streamed_and_trailers_pass() {
    let (go, went) = mpsc::channel::<()>(1);
    let went = std::sync::Arc::new(tokio::sync::Mutex::new(went));
    let backend = Backend::raw("a", move |mut s| {
        let went = std::sync::Arc::clone(&went);
        async move {
            read_head(&mut s).await;
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            s.write_all(head).await.unwrap();
            went.lock().await.recv().await;
            s.write_all(b"4\r\nlast\r\n0\r\nx-sum: 9\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    soon("the head", read_head(&mut stream)).await.unwrap();
    let mut first = [0; 10];
    soon("the first chunk", stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"5\r\nfirst\r\n");
    go.send(()).await.unwrap();
    let mut rest = [0; 24];
    soon("the rest", stream.read_exact(&mut rest)).await.unwrap();
    assert_eq!(std::str::from_utf8(&rest).unwrap(), "4\r\nlast\r\n0\r\nx-sum: 9\r\n\r\n");
}

/// The client sends its body only when told to go on, and is told by the backend.
#[tokio::test]
async fn a_client_that_expects_100_continue_gets_the_backends() {
    let backend = Backend::raw("a", |mut s| async move {
        let head = read_head(&mut s).await.unwrap();
        assert!(head.to_lowercase().contains("expect: 100-continue"), "{head}");
        s.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let mut body = [0; 4];
        s.read_exact(&mut body).await.unwrap();
        s.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
        s.write_all(&body).await.unwrap();
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let mut s = TcpStream::connect(at).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    s.write_all(head).await.unwrap();
    assert_eq!(soon("100", read_answer(&mut s, false)).await.unwrap().status, 100);
    s.write_all(b"body").await.unwrap();
    assert_eq!(soon("200", read_answer(&mut s, false)).await.unwrap().text(), "body");
}

/// A backend that answers before it has the whole body is heard at once.
#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let backend = Backend::raw("a", |mut s| async move {
        read_head(&mut s).await;
        let _ =
            s.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        let mut rest = Vec::new();
        let _ = s.read_to_end(&mut rest).await;
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let answer = ask(at, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome").await.unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let backend = Backend::raw("a", |mut s| async move {
        let head = read_head(&mut s).await.unwrap().to_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-key: k"), "{head}");
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi!";
        s.write_all(answer).await.unwrap();
        let mut buf = [0; 64];
        while let Ok(n @ 1..) = s.read(&mut buf).await {
            s.write_all(&buf[..n]).await.unwrap();
        }
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let mut s = TcpStream::connect(at).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Key: k\r\n\r\n";
    s.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(soon("101", read_answer(&mut s, false)).await.unwrap().status, 101);
    let mut hi = [0; 3];
    soon("what came with the 101", s.read_exact(&mut hi)).await.unwrap();
    assert_eq!(&hi, b"hi!");
    for message in ["one", "two"] {
        s.write_all(message.as_bytes()).await.unwrap();
        let mut echo = [0; 3];
        soon("the echo", s.read_exact(&mut echo)).await.unwrap();
        assert_eq!(&echo, message.as_bytes());
    }
    s.shutdown().await.unwrap();
    assert_eq!(soon("the end", s.read(&mut hi)).await.unwrap(), 0);
}

/// A client that goes away takes its request with it: the backend's connection is closed.
#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, mut events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    client.subscribe().await.unwrap();
    a.seen.stuck.store(true, SeqCst);
    let mut s = TcpStream::connect(at).await.unwrap();
    s.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("the request", || async { a.requests() == 1 }).await;
    drop(s);
    crate::common::event(&mut events, |e| match e {
        headroom_lb::control::protocol::Event::Figures(f) => {
            let t = &f.service_traffic;
            (t.totals.client_gone == 1 && t.in_flight == 0 && f.backends.values().all(|b| b.connections == 0))
                .then_some(())
        }
        _ => None,
    })
    .await;
    a.seen.stuck.store(false, SeqCst);
}

/// A14: stickiness off by default, a cookie if asked for.
#[tokio::test]
async fn a_sticky_client_returns_to_its_backend_until_that_leaves() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&a, &b]);
    s.algorithm = Algorithm::RoundRobin;
    let at = serve(&client, s.clone()).await;
    assert!(!get(at, "/").await.head.contains("set-cookie"));
    s.stickiness = Some(Stickiness { cookie: "lb".into(), max_age_seconds: None });
    client.put(s.clone()).await.unwrap();
    let first = get(at, "/").await;
    let cookie = first.head.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    for _ in 0..10 {
        let answer = ask(at, &request).await.unwrap();
        assert_eq!(answer.text(), first.text());
        assert!(!answer.head.contains("set-cookie"), "{}", answer.head);
    }
    let id = first.text().parse().unwrap();
    client.drain_backend(&s.name, &id, Millis(60_000)).await.unwrap();
    until("another backend and a new cookie", || async {
        let answer = ask(at, &request).await.unwrap();
        answer.text() != first.text() && answer.head.contains("set-cookie: lb=")
    })
    .await;
}

#[tokio::test]
async fn without_holding_nothing_ready_is_503_with_retry_after() {
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let mut s = service(&[]);
    s.hold = None;
    s.limits.retry_after_seconds = 7;
    let at = client.put(s).await.unwrap().bound;
    let answer = get(at, "/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 7\r\n"), "{}", answer.head);
}

#[tokio::test]
async fn a_backend_that_is_too_slow_is_504_and_one_that_breaks_off_502() {
    let slow = Backend::raw("slow", |mut s| async move {
        let mut rest = Vec::new();
        let _ = s.read_to_end(&mut rest).await;
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&slow]);
    let patient = s.limits.response_timeout;
    s.limits.response_timeout = Millis(50);
    let at = serve(&client, s.clone()).await;
    assert_eq!(get(at, "/").await.status, 504);
    s.limits.response_timeout = patient;
    let rows: [(&'static [u8], u16); 4] = [
        (b"", 502),
        (b"HTTP/1.1 200 OK\r\nConte", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502),
        (b"SSH-2.0-x\r\n\r\n", 502),
    ];
    for (answer, status) in rows {
        let broken = Backend::raw("broken", move |mut s| async move {
            read_head(&mut s).await;
            let _ = s.write_all(answer).await;
        })
        .await;
        s.backends = vec![broken.config()];
        client.put(s.clone()).await.unwrap();
        all_are(&client, Health::Healthy).await;
        assert_eq!(get(at, "/").await.status, status, "{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_passed_for_whole() {
    let rows: [&'static [u8]; 3] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    ];
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    for answer in rows {
        let backend = Backend::raw("a", move |mut s| async move {
            read_head(&mut s).await;
            let _ = s.write_all(answer).await;
        })
        .await;
        let at = serve(&client, service(&[&backend])).await;
        let mut s = TcpStream::connect(at).await.unwrap();
        s.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut all = Vec::new();
        let _ = soon("the end", s.read_to_end(&mut all)).await;
        let text = String::from_utf8_lossy(&all);
        assert!(text.contains("abc") && !text.ends_with("0\r\n\r\n"), "{text}");
    }
}

/// A client that leaves takes its own connection to the backend with it, not the idle ones of others.
#[tokio::test]
async fn a_client_that_leaves_does_not_empty_the_pool() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, mut events) = lb.controller().await;
    let mut s = service(&[&a]);
    s.limits.pool_idle = Millis(600_000);
    let at = serve(&client, s).await;
    client.subscribe().await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    a.seen.stuck.store(true, SeqCst);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut s = TcpStream::connect(at).await.unwrap();
        s.write_all(request).await.unwrap();
        clients.push(s);
    }
    until("all requests at once", || async { a.requests() == 8 }).await;
    a.seen.stuck.store(false, SeqCst);
    for s in &mut clients {
        assert_eq!(soon("an answer", read_answer(s, false)).await.unwrap().status, 200);
    }
    assert_eq!(a.seen.open.load(SeqCst), 8);
    a.seen.stuck.store(true, SeqCst);
    let mut leaver = clients.remove(0);
    leaver.write_all(request).await.unwrap();
    until("its request", || async { a.requests() == 9 }).await;
    drop(leaver);
    let left = crate::common::event(&mut events, |e| match e {
        headroom_lb::control::protocol::Event::Figures(f) if f.service_traffic.totals.client_gone == 1 => {
            f.backends.values().map(|b| b.connections).next()
        }
        _ => None,
    })
    .await;
    assert_eq!(left, 7);
    a.seen.stuck.store(false, SeqCst);
}
