//! The control socket: adoption, generations, garbage, figures, an orderly end.

use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

use crate::common::{Backend, Lb, event, get, read_answer, serve, service, soon, until};
use headroom_lb::{
    control::{
        Client, ClientError,
        protocol::{Event, MAX_REQUEST_LINE, RefusalCode},
    },
    histogram::Histogram,
    settings::{BackendState, Millis, TlsFiles},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (RefusalCode, String) {
    match result {
        Err(ClientError::Refused(r)) => (r.code, r.message),
        other => panic!("not refused: {other:?}"),
    }
}

/// The controller dies under load; nothing is lost, and the next one finds everything as it was.
#[tokio::test]
async fn a_new_controller_adopts_a_balancer_that_never_stopped_serving() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (first, events) = lb.controller().await;
    let at = serve(&first, service(&[&a, &b])).await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU32::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        clients.spawn(async move {
            let mut s = TcpStream::connect(at).await.unwrap();
            while !stop.load(SeqCst) {
                s.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                assert_eq!(soon("an answer", read_answer(&mut s, false)).await.unwrap().status, 200);
                done.fetch_add(1, SeqCst);
            }
        });
    }
    let some = |n: u32| {
        let done = Arc::clone(&done);
        async move {
            let from = done.load(SeqCst);
            until("requests", || async { done.load(SeqCst) > from + n }).await;
        }
    };
    some(50).await;
    let before = first.state().await.unwrap();
    drop((first, events));
    some(50).await;
    let (second, _events) = Client::connect(&lb.socket).await.unwrap();
    let mut after = second.state().await.unwrap();
    // In flight is of the moment; all else is as it was.
    for (s, t) in before.services.iter().zip(&mut after.services) {
        s.backends.iter().zip(&mut t.backends).for_each(|(s, t)| t.in_flight = s.in_flight);
    }
    assert_eq!(after, before);
    second.claim().await.unwrap();
    second.put(before.services[0].config.clone()).await.unwrap();
    some(50).await;
    stop.store(true, SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn only_the_newest_claim_may_write() {
    let lb = Lb::start().await;
    let (unclaimed, _e) = Client::connect(&lb.socket).await.unwrap();
    let (code, message) = refusal(unclaimed.put(service(&[])).await);
    assert_eq!(code, RefusalCode::StaleGeneration);
    assert_eq!(message, "only a controller that has claimed this balancer may write; send `claim` first");
    let (old, _e) = lb.controller().await;
    let (new, _e) = lb.controller().await;
    let (code, message) = refusal(old.put(service(&[])).await);
    assert_eq!(code, RefusalCode::StaleGeneration);
    assert!(message.starts_with("generation 1 may not write: generation 2 has claimed"), "{message}");
    assert_eq!(refusal(old.remove(&"web".parse().unwrap()).await).0, RefusalCode::StaleGeneration);
    assert_eq!(refusal(old.shutdown(Millis(0)).await).0, RefusalCode::StaleGeneration);
    assert!(old.state().await.unwrap().services.is_empty());
    new.put(service(&[])).await.unwrap();
    old.claim().await.unwrap();
    old.put(service(&[])).await.unwrap();
}

#[tokio::test]
async fn garbage_is_answered_and_does_no_harm() {
    let lb = Lb::start().await;
    assert_eq!(std::fs::metadata(&lb.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut s = BufReader::new(UnixStream::connect(&lb.socket).await.unwrap());
    for (line, id) in
        [("", "null"), ("nonsense", "null"), ("{\"id\":7,\"request\":\"dance\"}", "7"), ("[1]", "null")]
    {
        s.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", s.read_line(&mut answer)).await.unwrap();
        let starts = format!("{{\"id\":{id},\"error\":{{\"code\":\"bad-request\"");
        assert!(answer.starts_with(&starts), "{line}: {answer}");
    }
    s.write_all(&[0xff, 0, b'\n']).await.unwrap();
    soon("an answer", s.read_line(&mut String::new())).await.unwrap();
    // A line without an end is cut off, not gathered for ever.
    let endless = vec![b' '; MAX_REQUEST_LINE + 10];
    let _ = s.write_all(&endless).await;
    let mut rest = String::new();
    // Bytes that nobody read make the end a reset, so only the line is read.
    let _ = soon("an answer", s.read_line(&mut rest)).await;
    assert!(rest.contains("a request has at most 1048576 bytes"), "{rest}");
    let (client, _events) = lb.controller().await;
    client.state().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_what_to_do_and_changes_nothing() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let before = client.state().await.unwrap();
    let mut taken = service(&[]);
    taken.name = "other".parse().unwrap();
    taken.listen = at;
    let (code, message) = refusal(client.put(taken.clone()).await);
    assert_eq!(code, RefusalCode::ListenFailed);
    assert!(
        message.contains("another process listens there already; stop it (find it with `ss -ltnp`)"),
        "{message}"
    );
    taken.listen = a.address;
    assert_eq!(refusal(client.put(taken).await).0, RefusalCode::ListenFailed);
    let mut bad = service(&[&a]);
    bad.limits.connections = 0;
    let (code, message) = refusal(client.put(bad).await);
    assert_eq!(
        (code, message.contains("limits.connections: must be between")),
        (RefusalCode::BadSettings, true)
    );
    let mut bad = service(&[&a]);
    bad.tls = Some(TlsFiles { cert: "/nowhere.pem".into(), key: "/nowhere.key".into() });
    let (code, message) = refusal(client.put(bad).await);
    assert_eq!(
        (code, message.contains("cannot read the certificate /nowhere.pem")),
        (RefusalCode::BadCertificate, true)
    );
    let gone = client.drain_backend(&"web".parse().unwrap(), &"z".parse().unwrap(), Millis(1)).await;
    assert_eq!(refusal(gone).0, RefusalCode::NotFound);
    assert_eq!(client.state().await.unwrap(), before);
    assert_eq!(get(at, "/").await.text(), "a");
}

/// Reconfiguring, moving and removing a service loses no connection.
#[tokio::test]
async fn a_service_keeps_its_port_when_it_is_put_again_and_frees_it_when_removed() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let s = service(&[&a]);
    let at = serve(&client, s.clone()).await;
    let mut kept = TcpStream::connect(at).await.unwrap();
    let mut changed = s.clone();
    changed.limits.retry_after_seconds = 9;
    assert_eq!(client.put(changed.clone()).await.unwrap().bound, at);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(soon("an answer", read_answer(&mut kept, false)).await.unwrap().status, 200);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    changed.listen = free;
    assert_eq!(client.put(changed).await.unwrap().bound, free);
    assert_eq!(get(free, "/").await.text(), "a");
    client.remove(&s.name).await.unwrap();
    client.remove(&s.name).await.unwrap();
    until("the port to be free", || async { std::net::TcpListener::bind(free).is_ok() }).await;
    assert!(client.state().await.unwrap().services.is_empty());
}

/// Requests/s, latency, errors by class, in all and per replica; a histogram that merges.
#[tokio::test]
async fn figures_count_every_request_once() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, mut events) = lb.controller().await;
    let at = serve(&client, service(&[&a, &b])).await;
    client.subscribe().await.unwrap();
    for status in [200, 301, 404, 500] {
        a.seen.status.store(status, SeqCst);
        b.seen.status.store(status, SeqCst);
        for _ in 0..5 {
            assert_eq!(u32::from(get(at, "/").await.status), status);
        }
    }
    crate::common::ask(at, "nonsense\r\n\r\n").await.unwrap();
    let (mut merged, mut intervals, mut requests) = (Histogram::default(), 0, 0);
    let last = event(&mut events, |e| {
        let Event::Figures(f) = e else { return None };
        merged.merge(&f.service_traffic.latency.histogram);
        requests += f.service_traffic.interval.requests;
        intervals += 1;
        (f.service_traffic.totals.requests == 21).then_some(f)
    })
    .await;
    let t = last.service_traffic.totals;
    assert_eq!((t.status_2xx, t.status_3xx, t.status_4xx, t.status_5xx), (5, 5, 6, 5));
    assert!(last.service_traffic.latency.window.p99_micros.is_some());
    let per_backend: u64 = last.backends.values().map(|b| b.totals.requests).sum();
    assert_eq!((per_backend, last.backends.len()), (20, 2));
    // Those before `subscribe` was answered are in the totals only.
    assert_eq!((requests, merged.count()), (21, 20), "{intervals} intervals");
}

/// A reader that stops reading costs the balancer nothing and loses no count.
#[tokio::test]
async fn a_slow_reader_gets_longer_intervals() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, mut events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    client.subscribe().await.unwrap();
    event(&mut events, |e| matches!(e, Event::Figures(_)).then_some(())).await;
    for _ in 0..10 {
        get(at, "/").await;
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    let mut requests = 0;
    let mut longest = 0;
    event(&mut events, |e| {
        let Event::Figures(f) = e else { return None };
        requests += f.service_traffic.interval.requests;
        longest = longest.max(f.interval_micros);
        (f.service_traffic.totals.requests == 10).then_some(())
    })
    .await;
    assert_eq!(requests, 10);
    assert!(longest > 300_000, "unread figures were merged: {longest} µs");
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish_and_takes_no_new_ones() {
    let (mut lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a])).await;
    let mut idle = TcpStream::connect(at).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    soon("an answer", read_answer(&mut idle, false)).await.unwrap();
    a.seen.stuck.store(true, SeqCst);
    let slow = tokio::spawn(async move { get(at, "/slow").await });
    until("the request", || async { a.requests() == 2 }).await;
    client.shutdown(Millis(60_000)).await.unwrap();
    assert_eq!(soon("the idle connection's end", idle.read(&mut [0; 1])).await.unwrap(), 0);
    until("no more listening", || async { TcpStream::connect(at).await.is_err() }).await;
    assert!(lb.child.try_wait().unwrap().is_none(), "it waits for the request");
    assert_eq!(refusal(client.put(service(&[])).await).0, RefusalCode::ShuttingDown);
    a.seen.stuck.store(false, SeqCst);
    assert_eq!(soon("the slow answer", slow).await.unwrap().text(), "a");
    let mut status = None;
    until("its end", || {
        status = lb.child.try_wait().unwrap();
        async move { status.is_some() }
    })
    .await;
    assert!(status.unwrap().success());
    assert!(!lb.socket.exists());
}

#[tokio::test]
async fn a_second_balancer_on_the_same_socket_refuses_to_start() {
    let lb = Lb::start().await;
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_headroom-lb"))
        .arg("--socket")
        .arg(&lb.socket)
        .output();
    let output = soon("its refusal", second).await.unwrap();
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && says.contains("a balancer listens on"), "{says}");
    let (client, _events) = lb.controller().await;
    client.state().await.unwrap();
}

/// A socket left behind by a killed balancer is replaced.
#[tokio::test]
async fn a_stale_socket_is_no_obstacle() {
    let mut lb = Lb::start().await;
    lb.child.kill().unwrap();
    lb.child.wait().unwrap();
    assert!(lb.socket.exists());
    let child =
        std::process::Command::new(env!("CARGO_BIN_EXE_headroom-lb")).arg("--socket").arg(&lb.socket).spawn();
    lb.child = child.unwrap();
    until("the new balancer", || async { Client::connect(&lb.socket).await.is_ok() }).await;
}

/// Draining can be said in the service itself, and survives adoption.
#[tokio::test]
async fn a_backend_may_be_put_as_draining() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&a, &b]);
    let at = serve(&client, s.clone()).await;
    s.backends[0].state = BackendState::Draining { delay: Millis(1_000) };
    client.put(s.clone()).await.unwrap();
    until("all traffic for b", || async { get(at, "/").await.text() == "b" }).await;
    assert_eq!(client.state().await.unwrap().services[0].config, s);
}
