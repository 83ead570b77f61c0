//! What sources share, and how they are reached: one question for many workloads, TLS, more rarely while they fail.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use headroom_adapters::source::{Figure, Poller, ReadError, Reader, groups};
use headroom_engine::ports::Source as _;
use headroom_testkit::source::{Behaviour, Faulty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{fleet, open, policy, round, until, until_value, write};

/// A hundred workloads with four queries of one Prometheus cost it one request a round.
#[tokio::test]
async fn many_workloads_share_one_question() {
    const WORKLOADS: usize = 100;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Faulty::start(Behaviour::Good(Arc::new(move |request: &[u8]| {
        // The body may come as a piece of its own; the question is counted once.
        if !String::from_utf8_lossy(request).contains("query=") {
            return (Vec::new(), false);
        }
        counted.fetch_add(1, Ordering::Relaxed);
        let series = (0..WORKLOADS).flat_map(|w| {
            (0..4).map(move |q| {
                format!(
                    r#"{{"metric":{{"app":"w{w}","headroom_query":"{q}"}},"value":[1,"{}"]}}"#,
                    w * 10 + q
                )
            })
        });
        let series: Vec<String> = series.collect();
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
            series.join(",")
        );
        (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(), false)
    })))
    .await;
    let mut text = format!(
        "apiVersion: headroom.dev/v1alpha1\nkind: Fleet\nmetadata: {{ name: many }}\nspec:\n  sources:\n    metrics: {{ prometheus: {{ url: \"http://{}\" }}, deadline: 60s }}\n  workloads:\n",
        server.address()
    );
    for w in 0..WORKLOADS {
        let signals: Vec<String> = (0..4)
            .map(|q| {
                format!("s{q}: {{ prometheus: {{ from: metrics, query: q{q}, where: {{ app: w{w} }} }}, unit: count }}")
            })
            .collect();
        write!(
            text,
            "    w{w}:\n      target: {{ process: {{ command: [./app] }} }}\n      replicas: {{ min: 1, max: 5 }}\n      signals: {{ {} }}\n      strategies: [ {{ targetTracking: {{ signal: s0, perReplica: 1 }} }} ]\n",
            signals.join(", ")
        )
        .unwrap();
    }
    let mut sources = open(&fleet(&text), Path::new("/"));
    assert_eq!(sources.len(), 1);
    let told = round(&mut sources[0]).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(told.len(), WORKLOADS * 4);
    for measured in &told {
        let digits = |text: &str| text[1..].parse::<f64>().unwrap();
        let expected = digits(measured.workload.as_str()) * 10.0 + digits(measured.signal.as_str());
        assert_eq!(measured.value.as_ref().map(|s| s.value.get()), Ok(expected), "{measured:?}");
    }
    // Samples of one workload stand together.
    assert!(told.chunks(4).all(|four| four.iter().all(|m| m.workload == four[0].workload)));
}

/// A source that listens does so once, whatever the intervals of its signals; one that is asked is asked by interval.
#[test]
fn a_source_that_listens_is_read_as_one() {
    let sources = "pushed: { otlp: { listen: \"127.0.0.1:4318\" } }
    packets: { statsd: { listen: \"127.0.0.1:8125\" } }
    logged: { haproxy: { socket: a.sock, log: \"127.0.0.1:5514\" } }
    asked: { haproxy: { socket: a.sock } }";
    let signal = |name: &str, from: &str, ask: &str, every: &str| {
        format!("{name}{every}: {{ {ask}: {{ from: {from} }}, every: {every} }}\n        ")
    };
    let mut signals = String::new();
    for every in ["5s", "1s", "1m"] {
        signals +=
            &signal("a", "pushed, metric: x", "otlp", every).replace(" }, every", " }, unit: count, every");
        signals += &signal("b", "packets, metric: x", "statsd", every)
            .replace(" }, every", " }, unit: count, every");
        signals += &signal("c", "logged, proxy: app, figure: inFlight", "haproxy", every);
        signals += &signal("d", "asked, proxy: app, figure: inFlight", "haproxy", every);
    }
    let groups = groups(&policy(sources, signals.trim()));
    let mut read: Vec<_> =
        groups.iter().map(|g| (g.name.as_str(), g.every.to_string(), g.wants.len())).collect();
    read.sort();
    let expected = [
        ("asked", "1m", 1),
        ("asked", "1s", 1),
        ("asked", "5s", 1),
        ("logged", "1s", 3),
        ("packets", "1s", 3),
        ("pushed", "1s", 3),
    ];
    assert_eq!(read, expected.map(|(name, every, wants)| (name, every.to_owned(), wants)));
}

/// TLS with an authority of one's own; a server that it did not sign is not believed.
#[tokio::test]
async fn tls_is_spoken_with_the_authority_that_is_named() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("ca.pem"), &made.cert.pem());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                while let Ok(1..) = stream.read(&mut request).await {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\": 5}").await;
                }
            });
        }
    });
    let source = |ca: &str| {
        let fleet = policy(
            &format!("one: {{ http: {{ url: \"https://localhost:{port}/\"{ca} }}, deadline: 30s }}"),
            "value: { http: { from: one, path: $.a }, unit: count, every: 100ms }",
        );
        open(&fleet, folder.path()).remove(0)
    };
    until_value(&mut source(", ca: ca.pem"), "value", 5.0).await;
    let refused = until(&mut source(""), "value", |_| true).await;
    assert!(format!("{refused:?}").contains("TLS"), "{refused:?}");
    let missing = until(&mut source(", ca: none.pem"), "value", |_| true).await;
    assert!(format!("{missing:?}").contains("none.pem"), "{missing:?}");
}

/// A server in trouble is asked more and more rarely, at last every half minute; the first success ends that.
#[tokio::test(start_paused = true)]
async fn the_pause_doubles_with_each_failure() {
    struct Fails(usize);
    #[async_trait]
    impl Reader for Fails {
        async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
            self.0 += 1;
            if self.0 == 9 {
                return Ok(vec![Ok((headroom_engine::driver::now(), 1.0))]);
            }
            Err(ReadError::Refused("no".to_owned()))
        }
    }
    let fleet = policy("one: { host: {} }", "value: { host: { from: one, figure: load } }");
    let group = groups(&fleet).remove(0);
    let mut poller = Poller::new(&group, |_| Ok(Box::new(Fails(0))));
    let mut pauses = Vec::new();
    let mut before = tokio::time::Instant::now();
    for _ in 0..11 {
        let _ = poller.next().await;
        pauses.push(before.elapsed().as_secs());
        before = tokio::time::Instant::now();
    }
    assert_eq!(pauses, [0, 2, 4, 8, 16, 30, 30, 30, 30, 1, 2]);
}
