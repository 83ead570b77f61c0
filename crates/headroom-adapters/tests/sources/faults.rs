//! The fault matrix: each source that asks a server, against a server that hangs, dribbles, resets, answers garbage,
//! fails, never ends, or breaks off.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use headroom_core::fleet::{SourceKind, SourceSettings};
use headroom_core::units::Span;
use headroom_engine::ports::Source;
use headroom_testkit::source::{Behaviour, Case, Faulty, Good, suite};

use crate::support::{http_answer, policy, round};

/// A source of the policy `source` (with `ADDR` for the address) that is asked `signal`, quickly.
pub(crate) fn open(source: &'static str, signal: &'static str) -> Box<dyn Fn(SocketAddr) -> Box<dyn Source>> {
    Box::new(move |address| {
        let fleet = policy(
            &format!("subject: {{ {}, deadline: 400ms }}", source.replace("ADDR", &address.to_string())),
            &format!("value: {{ {signal}, every: 100ms }}"),
        );
        let group = headroom_adapters::source::groups(&fleet).remove(0);
        Box::new(headroom_adapters::source::open(&group, Path::new("/")))
    })
}

/// A case of a source that speaks HTTP and gets `body`.
fn http_case(source: &'static str, signal: &'static str, body: &'static str, value: f64) -> Case {
    let good: Good = Arc::new(move |_: &[u8]| (http_answer("200 OK", body), false));
    Case {
        open: open(source, signal),
        name: "subject",
        good,
        value,
        fails: http_answer("500 Internal Server Error", "no luck"),
        endless: b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n".to_vec(),
        cut: b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"status\":".to_vec(),
        secret: Some("hunter2"),
    }
}

const VECTOR: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1e9,"42"]}]}}"#;

fn secret_file() -> String {
    let path = std::env::temp_dir().join(format!("headroom-test-secret-{}", std::process::id()));
    std::fs::write(&path, "hunter2\n").unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn prometheus_survives_all_faults() {
    let source = format!(
        "prometheus: {{ url: \"http://ADDR\", auth: {{ bearer: {{ file: \"{}\" }} }} }}",
        secret_file()
    );
    let signal = "prometheus: { from: subject, query: x }, unit: count";
    suite(http_case(source.leak(), signal, VECTOR, 42.0)).await;
}

#[tokio::test]
async fn a_json_document_survives_all_faults() {
    let source = format!(
        "http: {{ url: \"http://ADDR/f\", auth: {{ basic: {{ user: u, password: {{ file: \"{}\" }} }} }} }}",
        secret_file()
    );
    let signal = "http: { from: subject, path: $.a }, unit: count";
    suite(http_case(source.leak(), signal, r#"{"a": 7}"#, 7.0)).await;
}

#[tokio::test]
async fn scraping_survives_all_faults() {
    let signal = "scrape: { from: subject, metric: depth }, unit: count";
    suite(http_case("scrape: { targets: [\"ADDR\"] }", signal, "depth 3\n", 3.0)).await;
}

#[tokio::test]
async fn rabbitmq_survives_all_faults() {
    let signal = "rabbitmq: { from: subject, queue: jobs }";
    let body = r#"[{"name":"jobs","messages":5,"messages_ready":2,"messages_unacknowledged":3}]"#;
    suite(http_case("rabbitmq: { url: \"http://ADDR\" }", signal, body, 5.0)).await;
}

#[tokio::test]
async fn nats_survives_all_faults() {
    let signal = "nats: { from: subject, stream: jobs, consumer: work }";
    let body = r#"{"account_details":[{"name":"$G","stream_detail":[{"name":"jobs",
        "consumer_detail":[{"name":"work","num_pending":4,"num_ack_pending":2}]}]}]}"#;
    suite(http_case("nats: { url: \"http://ADDR\" }", signal, body, 6.0)).await;
}

#[tokio::test]
async fn redis_survives_all_faults() {
    let source = format!("redis: {{ address: \"ADDR\", password: {{ file: \"{}\" }} }}", secret_file());
    let good: Good = Arc::new(|request: &[u8]| {
        let text = String::from_utf8_lossy(request);
        let mut answer = String::new();
        if text.contains("AUTH") {
            answer.push_str("+OK\r\n");
        }
        if text.contains("LLEN") {
            answer.push_str(":9\r\n");
        }
        (answer.into_bytes(), false)
    });
    suite(Case {
        open: open(source.leak(), "redis: { from: subject, list: jobs }"),
        name: "subject",
        good,
        value: 9.0,
        fails: b"-LOADING Redis is loading the dataset in memory\r\n".to_vec(),
        endless: b"$999999999\r\n".to_vec(),
        cut: b"$100\r\nabc".to_vec(),
        secret: Some("hunter2"),
    })
    .await;
}

#[tokio::test]
async fn haproxy_survives_all_faults() {
    let good: Good = Arc::new(|_: &[u8]| {
        (b"# pxname,svname,qcur,scur,\nweb,FRONTEND,,1,\napp,BACKEND,4,2,\n\n".to_vec(), true)
    });
    suite(Case {
        open: open(
            "haproxy: { socket: \"ADDR\" }",
            "haproxy: { from: subject, proxy: app, figure: inFlight }",
        ),
        name: "subject",
        good,
        value: 6.0,
        fails: b"Permission denied\n".to_vec(),
        endless: b"# pxname,svname\n".to_vec(),
        cut: b"# pxna".to_vec(),
        secret: None,
    })
    .await;
}

#[tokio::test]
async fn postgres_survives_all_faults() {
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    };
    let ready = message(b'Z', b"I");
    // A start-up message has no kind: its first byte is that of its length.
    let good: Good = Arc::new(move |request: &[u8]| match request.first() {
        Some(0) => ([message(b'R', &[0, 0, 0, 0]), ready.clone()].concat(), false),
        Some(b'Q') => {
            let column = [&[0, 1][..], b"n\0", &[0; 18]].concat();
            let row = [&[0, 1, 0, 0, 0, 2][..], b"11"].concat();
            let answer =
                [message(b'T', &column), message(b'D', &row), message(b'C', b"SELECT 1\0"), ready.clone()];
            (answer.concat(), false)
        }
        _ => (Vec::new(), true),
    });
    suite(Case {
        open: open(
            "postgres: { address: \"ADDR\", database: d, user: u }",
            "postgres: { from: subject, query: select 11 }, unit: count",
        ),
        name: "subject",
        good,
        value: 11.0,
        fails: [&[b'E', 0, 0, 0, 25][..], b"SFATAL\0C53300\0Mfull\0\0"].concat(),
        endless: vec![b'D', 0x7f, 0xff, 0xff, 0xf0],
        cut: vec![b'R', 0, 0, 0],
        secret: None,
    })
    .await;
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
