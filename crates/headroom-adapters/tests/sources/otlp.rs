//! What is pushed over OTLP: as the page says, packed and not, over HTTP and gRPC, by the exporters of OpenTelemetry.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use headroom_core::reading::Absence;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{Server, free_port};
use crate::support::{example, http, open, policy, until, until_value, write};
use crate::tls::Authority;

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Posts to the OTLP listener; gives the status and what it says.
async fn post(port: u16, path: &str, kind: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let answer = http(port, &request).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

/// A12: metrics are pushed; a counter becomes a rate, a histogram a quantile.
#[tokio::test]
async fn otlp_is_taken_in_as_the_page_says() {
    let port = free_port();
    let mut source = open(&example("otlp", &[("127.0.0.1:4318", &at(port))]), Path::new("/")).remove(0);
    let none = until(&mut source, "rps", |_| true).await;
    assert_eq!(none, Err(Absence::Empty), "nothing was pushed yet");
    let export = |second: u64, hits: u64| {
        let nanos = second * 1_000_000_000;
        format!(
            r#"{{"resourceMetrics": [{{
              "resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
              "scopeMetrics": [{{"metrics": [
                {{"name": "http.server.requests", "sum": {{"aggregationTemporality": 2, "isMonotonic": true,
                  "dataPoints": [{{"timeUnixNano": "{nanos}", "asInt": "{hits}"}}]}}}},
                {{"name": "http.server.request.duration", "histogram": {{"aggregationTemporality": 2, "dataPoints": [
                  {{"timeUnixNano": "{nanos}", "count": "{hits}", "bucketCounts": ["{hits}", "0"], "explicitBounds": [0.1]}}]}}}},
                {{"name": "unwanted", "gauge": {{"dataPoints": [{{"asDouble": 1}}]}}}}]}}]}}]}}"#
        )
    };
    let now = u64::try_from(headroom_engine::driver::now().as_millis() / 1000).unwrap();
    let json = "application/json";
    assert_eq!(post(port, "/v1/metrics", json, &export(now - 2, 100)).await, (200, "{}".to_owned()));
    // Both are to be seen, or there is no growth.
    let _ = until(&mut source, "rps", |_| true).await;
    assert_eq!(post(port, "/v1/metrics", json, &export(now, 300)).await.0, 200);
    until_value(&mut source, "rps", 100.0).await;
    until_value(&mut source, "p95", 0.095).await;
    for (path, kind, body, status) in [
        ("/v1/traces", json, "{}", 404),
        ("/v1/metrics", "text/plain", "{}", 415),
        ("/v1/metrics", json, "{", 400),
        ("/v1/metrics", "application/x-protobuf", "garbage", 400),
        ("/v1/metrics", "application/x-protobuf", "", 200),
    ] {
        assert_eq!(post(port, path, kind, body).await.0, status, "{path} {kind} {body}");
    }
    let huge = format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {json}\r\ncontent-length: 104857600\r\n\r\n"
    );
    assert!(http(port, &huge).await.starts_with("HTTP/1.1 413"));
}

/// A request with headers of its own; gives the status and what is said.
async fn post_bytes(port: u16, headers: &str, body: &[u8]) -> (u16, String) {
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // One that is refused early may not take in all.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

/// A text so many times, packed.
fn packed(text: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..times).for_each(|_| encoder.write_all(text).unwrap());
    encoder.finish().unwrap()
}

fn gauge(value: u32) -> String {
    format!(
        r#"{{"resourceMetrics": [{{"scopeMetrics": [{{"metrics": [{{"name": "depth", "gauge": {{"dataPoints": [{{"asDouble": {value}}}]}}}}]}}]}}]}}"#
    )
}

/// What is packed is unpacked as far as a request may be large; a few megabytes that would become half a gigabyte are not.
#[tokio::test]
async fn packed_requests_are_unpacked_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    write(&folder.path().join("token"), "hunter2\n");
    let fleet = policy(
        &format!("pushed: {{ otlp: {{ listen: \"{}\", token: {{ file: token }} }} }}", at(port)),
        "depth: { otlp: { from: pushed, metric: depth }, unit: count, every: 100ms, freshFor: 10m }",
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    let _ = until(&mut source, "depth", |v| *v == Err(Absence::Empty)).await;
    let token = "authorization: Bearer hunter2\r\n";
    let gzip = format!("{token}content-encoding: gzip\r\n");
    let whole = packed(gauge(4).as_bytes(), 1);
    assert_eq!(post_bytes(port, &gzip, &whole).await.0, 200);
    until_value(&mut source, "depth", 4.0).await;
    let bomb = packed(&[b' '; 1 << 20], 512);
    assert!(bomb.len() < 4 << 20, "{} bytes for half a gigabyte", bomb.len());
    for (headers, body, status) in [
        (gzip.as_str(), &bomb[..], 413),
        (&gzip, &whole[..whole.len() / 2], 400),
        (&gzip, b"not packed at all", 400),
        (&format!("{token}content-encoding: br\r\n"), &whole, 415),
        ("", gauge(9).as_bytes(), 401),
        ("authorization: Bearer hunter3\r\n", gauge(9).as_bytes(), 401),
        (token, gauge(5).as_bytes(), 200),
    ] {
        let (told, said) = post_bytes(port, headers, body).await;
        assert_eq!(told, status, "{headers}: {said}");
        assert!(!said.contains("hunter"), "{said}");
    }
    until_value(&mut source, "depth", 5.0).await;
}

/// What is refused is quoted by its first words, however long it is: it is told to people and written down each round.
#[tokio::test]
async fn what_is_refused_is_quoted_by_its_first_words() {
    let port = free_port();
    let fleet = policy(
        &format!("pushed: {{ otlp: {{ listen: \"{}\" }} }}", at(port)),
        "depth: { otlp: { from: pushed, metric: depth }, unit: count, every: 100ms, freshFor: 10m }",
    );
    let mut source = open(&fleet, Path::new("/")).remove(0);
    let _ = until(&mut source, "depth", |v| *v == Err(Absence::Empty)).await;
    let (status, said) = post_bytes(port, "", format!("\"{}\"", "x".repeat(1 << 20)).as_bytes()).await;
    assert!(status == 400 && said.len() < 400 && said.contains("no OTLP metrics"), "{status} {}", said.len());
    let why = until(&mut source, "depth", |v| matches!(v, Err(Absence::SourceFailed(_)))).await;
    let Err(Absence::SourceFailed(why)) = why else { unreachable!() };
    assert!(why.len() < 400 && why.contains("no OTLP metrics"), "{}", why.len());
}

/// The Python of a virtual environment in which `./check` has installed the exporters.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/otlp/bin/python");
    match python.exists() {
        true => Some(python),
        false if std::env::var_os("HEADROOM_SKIP_REAL").is_some() => {
            eprintln!("skipped: HEADROOM_SKIP_REAL is set, and OpenTelemetry's exporters are not installed");
            None
        }
        false => panic!(
            "OpenTelemetry's exporters are not installed. Run `python3 -m venv target/otlp && target/otlp/bin/pip \
             install opentelemetry-sdk opentelemetry-exporter-otlp`, or set HEADROOM_SKIP_REAL=1 to leave this test out"
        ),
    }
}

/// OpenTelemetry's own SDK and exporters for Python push over gRPC and over HTTP, packed and not, with a token and without,
/// over TLS and not.
#[tokio::test]
async fn the_exporters_of_opentelemetry_are_understood() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("token"), "hunter2\n");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources/otlp_sender.py");
    let authority = Authority::new();
    authority.put(folder.path());
    authority.put_server(folder.path());
    let plain = [("grpc", "gzip", ""), ("grpc", "none", ""), ("http", "gzip", ""), ("http", "none", "")];
    // Over TLS, and with those alone that show a certificate.
    let over_tls = [
        ("grpc", "gzip", "tls"),
        ("http", "gzip", "tls"),
        ("grpc", "none", "both"),
        ("http", "none", "both"),
    ];
    for (protocol, compression, tls) in plain.into_iter().chain(over_tls) {
        let port = free_port();
        let files = match tls {
            "tls" => "tls: { certificate: server.pem, key: server.key }",
            "both" => "tls: { certificate: server.pem, key: server.key, clientCa: ca.pem }",
            _ => "",
        };
        let replace = [
            ("127.0.0.1:4318", at(port)),
            ("# token: { env: OTLP_TOKEN }", "token: { file: token }".to_owned()),
            ("# tls: { certificate: server.pem, key: server.key }", files.to_owned()),
        ];
        let replace = replace.each_ref().map(|(from, to)| (*from, to.as_str()));
        let mut source = open(&example("otlp", &replace), folder.path()).remove(0);
        let _ = until(&mut source, "rps", |v| *v == Err(Absence::Empty)).await;
        let files = folder.path().display().to_string();
        let sender = |token: &str| {
            let (log, port) = (folder.path().join(format!("log-{token}")), port.to_string());
            let arguments = [&script.display().to_string(), protocol, compression, &port, token, tls];
            let arguments = &arguments[..if tls.is_empty() { 5 } else { 6 }];
            (Server::start(&python.display().to_string(), arguments, &[("OTLP_FILES", &files)], &log), log)
        };
        let (_wrong, log) = sender("hunter3");
        let refused = || {
            let said = std::fs::read_to_string(&log).unwrap_or_default().to_lowercase();
            said.contains("unauthenticated") || said.contains("unauthorized")
        };
        let _ = until(&mut source, "rps", |v| {
            assert!(v.is_err(), "{v:?}");
            refused()
        })
        .await;
        let says =
            |v: &Result<_, Absence>| matches!(v, Err(Absence::SourceFailed(why)) if why.contains("401"));
        let _ = until(&mut source, "rps", says).await;
        let _sender = sender("hunter2");
        let fifty = |v: &Result<headroom_core::reading::Sample, Absence>| {
            v.as_ref().is_ok_and(|s| (30.0..70.0).contains(&s.value.get()))
        };
        let _ = until(&mut source, "rps", fifty).await;
        let _ = until(&mut source, "p95", |v| v.as_ref().is_ok_and(|s| (0.05..0.1).contains(&s.value.get())))
            .await;
    }
}

/// Without TLS, with another authority's certificate or with none nothing is taken in, and it is said; files that are
/// replaced are used at the next connection.
#[tokio::test]
async fn who_may_push_over_tls_can_change() {
    let (first, second) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let files = "tls: { certificate: server.pem, key: server.key, clientCa: ca.pem }";
    let fleet = policy(
        &format!("pushed: {{ otlp: {{ listen: \"{}\", {files} }} }}", at(port)),
        "depth: { otlp: { from: pushed, metric: depth }, unit: count, every: 100ms, freshFor: 10m }",
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    let says = |words: &'static str| move |v: &Result<_, Absence>| matches!(v, Err(Absence::SourceFailed(why)) if why.contains("`pushed`") && why.contains(words));
    let _ = until(&mut source, "depth", says("server.pem")).await;
    first.put(folder.path());
    first.put_server(folder.path());
    let _ = until(&mut source, "depth", |v| *v == Err(Absence::Empty)).await;
    // A sender that speaks plainly is sent away.
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = stream.write_all(b"POST /v1/metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let _ = until(&mut source, "depth", says("TLS")).await;

    let push = async |authority: &Authority, value: u32| {
        let mut stream = authority.connect(port).await?;
        let body = gauge(value);
        let request = format!(
            "POST /v1/metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    assert!(push(&first, 4).await.unwrap().starts_with("HTTP/1.1 200"));
    until_value(&mut source, "depth", 4.0).await;
    assert!(push(&second, 5).await.is_err());
    second.put(folder.path());
    second.put_server(folder.path());
    assert!(push(&first, 6).await.is_err());
    assert!(push(&second, 7).await.unwrap().starts_with("HTTP/1.1 200"));
    until_value(&mut source, "depth", 7.0).await;
}
