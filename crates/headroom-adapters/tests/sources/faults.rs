//! The fault matrix at the seam: each source that asks a server, against a server that hangs, dribbles, resets, answers
//! garbage, fails, never ends, or breaks off. What the whole controller makes of it is in `matrix`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use headroom_core::fleet::{SourceKind, SourceSettings};
use headroom_core::units::Span;
use headroom_engine::ports::Source;
use headroom_testkit::source::{Behaviour, Case, Faulty, suite};

use crate::asked::{self, Asked};
use crate::support::{http_answer, policy, round};

async fn survives(asked: Asked) {
    let (answers, value) = (asked.answers.clone(), asked.value);
    let open = move |address: SocketAddr| {
        let fleet = policy(
            &format!("subject: {{ {}, deadline: 400ms }}", asked.source(address)),
            &format!("value: {{ {}, every: 100ms }}", asked.signal(address)),
        );
        let group = headroom_adapters::source::groups(&fleet).remove(0);
        Box::new(headroom_adapters::source::open(&group, Path::new("/"))) as Box<dyn Source>
    };
    suite(Case { open: Box::new(open), name: "subject", answers, value, secret: Some(asked::SECRET) }).await;
}

#[tokio::test]
async fn prometheus_survives_all_faults() {
    survives(asked::prometheus()).await;
}

#[tokio::test]
async fn a_json_document_survives_all_faults() {
    survives(asked::http()).await;
}

#[tokio::test]
async fn scraping_survives_all_faults() {
    survives(asked::scrape()).await;
}

#[tokio::test]
async fn rabbitmq_survives_all_faults() {
    survives(asked::rabbitmq()).await;
}

#[tokio::test]
async fn nats_survives_all_faults() {
    survives(asked::nats()).await;
}

#[tokio::test]
async fn redis_survives_all_faults() {
    survives(asked::redis()).await;
}

#[tokio::test]
async fn haproxy_survives_all_faults() {
    survives(asked::haproxy()).await;
}

#[tokio::test]
async fn postgres_survives_all_faults() {
    survives(asked::postgres()).await;
}

#[tokio::test]
async fn kafka_survives_all_faults() {
    survives(asked::kafka()).await;
}

#[cfg(feature = "keda")]
#[tokio::test]
async fn an_external_scaler_survives_all_faults() {
    survives(asked::keda()).await;
}

/// One source's trouble is its own.
#[tokio::test]
async fn a_source_that_hangs_keeps_no_other_waiting() {
    let hanging = Faulty::start(Behaviour::Hangs).await;
    let well =
        Faulty::start(Behaviour::Good(Arc::new(|_: &[u8]| (http_answer("200 OK", "{\"a\": 1}"), false))))
            .await;
    let source = |server: &Faulty| {
        let fleet = policy(
            &format!("one: {{ http: {{ url: \"http://{}\" }}, deadline: 1h }}", server.address()),
            "value: { http: { from: one, path: $.a }, unit: count, every: 100ms }",
        );
        let group = headroom_adapters::source::groups(&fleet).remove(0);
        headroom_adapters::source::open(&group, Path::new("/"))
    };
    let (mut hangs, mut reads) = (source(&hanging), source(&well));
    let waiting = tokio::spawn(async move { round(&mut hangs).await });
    for _ in 0..3 {
        assert!(round(&mut reads).await[0].value.is_ok());
    }
    assert!(!waiting.is_finished(), "it has an hour");
    waiting.abort();
}

/// What can't be set up is told as the source's failure, and starts nothing.
#[tokio::test]
async fn a_missing_secret_is_named_and_not_sent() {
    let fleet = policy(
        "one: { prometheus: { url: \"http://127.0.0.1:9\", auth: { bearer: { env: HEADROOM_TEST_NO_SUCH } } } }",
        "value: { prometheus: { from: one, query: x }, unit: count }",
    );
    let group = headroom_adapters::source::groups(&fleet).remove(0);
    let SourceSettings { kind: SourceKind::Prometheus(_), deadline } = &group.settings else {
        panic!("{group:?}")
    };
    assert_eq!(*deadline, Span::seconds(2));
    let mut source = headroom_adapters::source::open(&group, Path::new("/"));
    let told = format!("{:?}", round(&mut source).await[0].value);
    assert!(told.contains("HEADROOM_TEST_NO_SUCH") && told.contains("`one`"), "{told}");
}
