//! Replicas that come, go, fail, drain and are not there yet.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use crate::common::{
    Backend, Lb, all_are, ask, event, get, health_of, read_answer, read_head, serve, service, soon, until,
};
use headroom_lb::{
    control::protocol::{Event, Health},
    settings::{Algorithm, Hold, Millis, Retry},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A14: a new replica gets traffic only after it is healthy.
#[tokio::test]
async fn a_new_replica_gets_traffic_only_when_it_is_healthy() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, mut events) = lb.controller().await;
    client.subscribe().await.unwrap();
    let at = serve(&client, service(&[&a])).await;
    b.seen.unhealthy.store(true, SeqCst);
    client.put(service(&[&a, &b])).await.unwrap();
    for _ in 0..50 {
        assert_eq!(get(at, "/").await.text(), "a");
    }
    assert_eq!((health_of(&client, "b").await, b.requests()), (Some(Health::Starting), 0));
    b.seen.unhealthy.store(false, SeqCst);
    let change = event(&mut events, |e| match e {
        Event::BackendHealth(c) if c.backend.as_str() == "b" => Some(c),
        _ => None,
    })
    .await;
    assert_eq!((change.from, change.to), (Health::Starting, Health::Healthy));
    until("traffic for b", || async { get(at, "/").await.text() == "b" }).await;
}

/// A14: healthy 2, unhealthy 3, by active checks alone.
#[tokio::test]
async fn a_replica_that_fails_its_checks_leaves_and_comes_back() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, mut events) = lb.controller().await;
    client.subscribe().await.unwrap();
    let at = serve(&client, service(&[&a, &b])).await;
    b.seen.unhealthy.store(true, SeqCst);
    let why = event(&mut events, |e| match e {
        Event::BackendHealth(c) if c.to == Health::Unhealthy => Some(c.why),
        _ => None,
    })
    .await;
    assert_eq!(why, "it failed 3 health checks in a row: /health answered 503");
    until("all traffic for a", || async { get(at, "/").await.text() == "a" }).await;
    let before = b.requests();
    for _ in 0..30 {
        assert_eq!(get(at, "/").await.text(), "a");
    }
    assert_eq!(b.requests(), before);
    b.seen.unhealthy.store(false, SeqCst);
    until("traffic for b", || async { get(at, "/").await.text() == "b" }).await;
}

/// Requests that fail in a row eject a replica at once, without waiting for its checks.
#[tokio::test]
async fn a_replica_that_answers_500_in_a_row_is_ejected() {
    let replicas = [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let lb = Lb::start().await;
    let (client, mut events) = lb.controller().await;
    client.subscribe().await.unwrap();
    let mut s = service(&replicas.each_ref());
    s.algorithm = Algorithm::RoundRobin;
    s.health.healthy = 1_000_000;
    let at = serve(&client, s).await;
    replicas[1].seen.status.store(500, SeqCst);
    for _ in 0..60 {
        get(at, "/").await;
    }
    let change = event(&mut events, |e| match e {
        Event::BackendHealth(c) if c.to == Health::Ejected => Some(c),
        _ => None,
    })
    .await;
    assert_eq!((change.backend.as_str(), change.why.as_str()), ("b", "5 requests to it failed in a row"));
    for _ in 0..30 {
        assert_eq!(get(at, "/").await.status, 200);
    }
    // All fail now: some stay, since a bad answer is better than none.
    replicas.iter().for_each(|r| r.seen.status.store(500, SeqCst));
    for _ in 0..60 {
        assert_eq!(get(at, "/").await.status, 500);
    }
}

/// A killed replica costs at most the requests that were on it; here they are idempotent, so none.
#[tokio::test]
async fn a_killed_replica_costs_no_idempotent_request() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&a, &b])).await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU32::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        clients.spawn(async move {
            let mut s = TcpStream::connect(at).await.unwrap();
            while !stop.load(SeqCst) {
                s.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                let answer = soon("an answer", read_answer(&mut s, false)).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.head);
                done.fetch_add(1, SeqCst);
            }
        });
    }
    until("traffic", || async { a.requests() > 100 && b.requests() > 100 }).await;
    b.kill();
    let then = done.load(SeqCst);
    until("traffic after it", || async { done.load(SeqCst) > then + 500 }).await;
    stop.store(true, SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

/// A14: none is cut off while it drains; A21: the replica is told apart by what it answers.
#[tokio::test]
async fn a_drain_lets_requests_finish_and_sends_no_new_ones() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, mut events) = lb.controller().await;
    client.subscribe().await.unwrap();
    let s = service(&[&a]);
    let at = serve(&client, s.clone()).await;
    a.seen.stuck.store(true, SeqCst);
    let slow = tokio::spawn(async move { get(at, "/slow").await });
    until("the request", || async { a.requests() == 1 }).await;
    client.put(service(&[&a, &b])).await.unwrap();
    until("b", || async { health_of(&client, "b").await == Some(Health::Healthy) }).await;
    let id = "a".parse().unwrap();
    let status = client.drain_backend(&s.name, &id, Millis(60_000)).await.unwrap();
    assert_eq!((status.backends[0].health, status.backends[0].in_flight), (Health::Draining, 1));
    // Saying it again, or putting the service as it now is, changes nothing.
    client.drain_backend(&s.name, &id, Millis(60_000)).await.unwrap();
    client.put(status.config).await.unwrap();
    until("new requests on b", || async { get(at, "/").await.text() == "b" }).await;
    let before = a.requests();
    for _ in 0..20 {
        assert_eq!(get(at, "/").await.text(), "b");
    }
    assert_eq!((a.requests(), health_of(&client, "a").await), (before, Some(Health::Draining)));
    a.seen.stuck.store(false, SeqCst);
    assert_eq!(soon("the slow answer", slow).await.unwrap().text(), "a");
    let change = event(&mut events, |e| match e {
        Event::BackendHealth(c) if c.to == Health::Drained => Some(c),
        _ => None,
    })
    .await;
    assert_eq!((change.backend.as_str(), change.in_flight), ("a", 0));
}

/// A14: the deregistration delay bounds a drain.
#[tokio::test]
async fn a_drain_ends_with_its_delay_and_tells_what_is_left() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, mut events) = lb.controller().await;
    client.subscribe().await.unwrap();
    let s = service(&[&a]);
    let at = serve(&client, s.clone()).await;
    a.seen.stuck.store(true, SeqCst);
    let _slow = tokio::spawn(async move { get(at, "/slow").await });
    until("the request", || async { a.requests() == 1 }).await;
    client.drain_backend(&s.name, &"a".parse().unwrap(), Millis(150)).await.unwrap();
    let left = event(&mut events, |e| match e {
        Event::BackendHealth(c) if c.to == Health::Drained => Some(c.in_flight),
        _ => None,
    })
    .await;
    assert_eq!(left, 1);
    // Called off, it is checked anew and serves again.
    a.seen.stuck.store(false, SeqCst);
    client.put(s).await.unwrap();
    all_are(&client, Health::Healthy).await;
    assert_eq!(get(at, "/").await.text(), "a");
}

/// C: the first request after scale-to-zero succeeds; the controller is poked.
#[tokio::test]
async fn requests_are_held_at_zero_replicas_and_go_on_with_the_first() {
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, mut events) = lb.controller().await;
    client.subscribe().await.unwrap();
    let at = client.put(service(&[])).await.unwrap().bound;
    let first = tokio::spawn(async move { get(at, "/").await });
    let held = event(&mut events, |e| match e {
        Event::RequestHeld { held, .. } => Some(held),
        _ => None,
    })
    .await;
    assert_eq!(held, 1);
    // The poke comes again while the request is held, for a controller that has just been started.
    event(&mut events, |e| matches!(e, Event::RequestHeld { .. }).then_some(())).await;
    assert!(!first.is_finished());
    client.put(service(&[&a])).await.unwrap();
    assert_eq!(soon("the held request", first).await.unwrap().text(), "a");
}

#[tokio::test]
async fn holding_is_bounded_in_number_and_time() {
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let mut s = service(&[]);
    // Long enough to be seen in a figure on a machine that stalls.
    s.hold = Some(Hold { requests: 2, wait: Millis(3_000) });
    let at = client.put(s).await.unwrap().bound;
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(async move { get(at, "/").await.status })).collect();
    let mut events = {
        client.subscribe().await.unwrap();
        _events
    };
    event(&mut events, |e| match e {
        Event::Figures(f) if f.held == 2 => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(get(at, "/").await.status, 503);
    for h in held {
        assert_eq!(soon("an answer", h).await.unwrap(), 503);
    }
}

/// Retry of what never reached a backend, whatever the method: the connection was refused.
#[tokio::test]
async fn a_request_whose_connection_is_refused_goes_to_another() {
    let (lb, a, b) = (Lb::start().await, Backend::start("a").await, Backend::start("b").await);
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&a, &b]);
    s.algorithm = Algorithm::RoundRobin;
    // Nothing but the retry may save the requests.
    s.health.interval = Millis(3_600_000);
    s.ejection.consecutive = 1_000;
    let at = serve(&client, s.clone()).await;
    b.kill();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
    for _ in 0..20 {
        let answer = ask(at, post).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
    }
    assert!(a.seen.bodies.lock().unwrap().iter().all(|b| b == b"body"));
    s.retry = Retry { attempts: 0, idempotent: false };
    s.hold = None;
    client.put(s).await.unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        refused += u32::from(ask(at, post).await.unwrap().status == 503);
    }
    assert!(refused > 0, "without retries some requests meet the dead replica");
}

/// A connection that closes before the first byte of an answer: repeated if idempotent, else 502.
#[tokio::test]
async fn a_request_that_a_backend_may_have_seen_is_repeated_only_if_that_is_safe() {
    let seen = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&seen);
    let closer = Backend::raw("closer", move |mut s| {
        let counts = Arc::clone(&counts);
        async move {
            read_head(&mut s).await;
            counts.fetch_add(1, SeqCst);
        }
    })
    .await;
    let (lb, a) = (Lb::start().await, Backend::start("a").await);
    let (client, _events) = lb.controller().await;
    let mut s = service(&[&closer, &a]);
    s.algorithm = Algorithm::RoundRobin;
    s.ejection.consecutive = 1_000;
    let at = serve(&client, s).await;
    for _ in 0..10 {
        assert_eq!(get(at, "/").await.text(), "a");
    }
    assert!(seen.load(SeqCst) > 0, "the closer was tried");
    let before = (seen.load(SeqCst), a.requests());
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(ask(at, post).await.unwrap().status);
    }
    let lost = statuses.iter().filter(|s| **s == 502).count() as u32;
    let got = (seen.load(SeqCst) - before.0, a.requests() - before.1);
    assert!(lost > 0 && got == (lost, 10 - lost), "each was sent once: {statuses:?} {got:?}");
}

/// A backend closes its idle connections; the next request goes on a new one.
#[tokio::test]
async fn a_pooled_connection_that_was_closed_is_not_used() {
    let backend = Backend::raw("a", |mut s| async move {
        if read_head(&mut s).await.is_some() {
            let _ = s.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let mut s = TcpStream::connect(at).await.unwrap();
    for method in ["GET", "POST", "GET", "DELETE", "POST"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        s.write_all(request.as_bytes()).await.unwrap();
        let mut answer = soon("an answer", read_answer(&mut s, false)).await.unwrap();
        if answer.status == 502 && method == "POST" {
            // The close was on its way when the request was sent: for a POST that must be told.
            s.write_all(request.as_bytes()).await.unwrap();
            answer = soon("an answer", read_answer(&mut s, false)).await.unwrap();
        }
        assert_eq!(answer.status, 200, "{method}");
        // The balancer's thread must have had the chance to see the close.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Bytes a backend sends after its answer belong to no request.
#[tokio::test]
async fn a_backend_that_says_too_much_poisons_no_other_answer() {
    let backend = Backend::raw("a", |mut s| async move {
        while read_head(&mut s).await.is_some() {
            let evil = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
            let _ = s.write_all(evil).await;
        }
    })
    .await;
    let lb = Lb::start().await;
    let (client, _events) = lb.controller().await;
    let at = serve(&client, service(&[&backend])).await;
    let mut s = TcpStream::connect(at).await.unwrap();
    for _ in 0..10 {
        s.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(soon("an answer", read_answer(&mut s, false)).await.unwrap().text(), "ok");
    }
    let mut rest = [0; 1];
    let more = tokio::time::timeout(std::time::Duration::from_millis(50), s.read(&mut rest)).await;
    assert!(more.is_err(), "nothing more came");
}
