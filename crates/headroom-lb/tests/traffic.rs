//! What a client and a backend see of the balancer, over real sockets and a real process.

mod common;

use common::{Backend, Lb, ask, get, serve, service};
use headroom_lb::settings::Algorithm;

/// A14: round robin; requests reach every backend in turn.
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
