//! KEDA's external scalers: what is generated from the published protocol asks headroom, and is asked by it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use headroom_adapters::keda::externalscaler::external_scaler_client::ExternalScalerClient;
use headroom_adapters::keda::externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use headroom_adapters::keda::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use headroom_adapters::keda::server;
use headroom_core::controller::Measured;
use headroom_core::fleet::ServerCertificate;
use headroom_core::outlook::{History, STEP};
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Replicas};
use headroom_engine::driver::{self, Start};
use headroom_engine::handle::EngineHandle;
use headroom_engine::journal::{DataDir, Journal, Retention};
use headroom_engine::outbox::Notifiers;
use headroom_engine::ports::News;
use headroom_testkit::source::{Answers, Good};
use headroom_testkit::target::Instantly;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use crate::support::{example, fleet, open, policy, until, until_value, write};
use crate::tls::Authority;

/// A scaler as someone would write it against the published protocol.
struct Theirs;

type Streamed<T> = tokio_stream::Once<Result<T, Status>>;

fn depth_of(object: &ScaledObjectRef) -> Result<f64, Status> {
    match object.scaler_metadata.get("queue").map(String::as_str) {
        Some("orders") if object.name == "shop" && object.namespace == "prod" => Ok(42.5),
        _ => Err(Status::not_found("no such queue")),
    }
}

#[tonic::async_trait]
impl ExternalScaler for Theirs {
    type StreamIsActiveStream = Streamed<IsActiveResponse>;
    type StreamMetricSpecStream = Streamed<GetMetricSpecResponse>;

    async fn is_active(&self, asked: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: depth_of(asked.get_ref())? > 0.0 }))
    }

    async fn stream_is_active(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        Ok(Response::new(tokio_stream::once(Ok(IsActiveResponse { result: true }))))
    }

    async fn get_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        // As scalers did before there were floats.
        let spec = MetricSpec { metric_name: "backlog".to_owned(), target_size: 5, ..MetricSpec::default() };
        Ok(Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))
    }

    async fn get_metrics(
        &self,
        asked: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let object = asked.into_inner().scaled_object_ref.unwrap_or_default();
        let metric_value_float = depth_of(&object)?;
        let value = MetricValue { metric_name: "backlog".to_owned(), metric_value: 0, metric_value_float };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }

    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

async fn theirs() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = ExternalScalerServer::new(Theirs);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener)),
    );
    address
}

/// Any external scaler is a source, as the page says.
#[tokio::test]
async fn an_external_scaler_is_read_as_the_page_says() {
    let address = theirs().await.to_string();
    let mut source = open(&example("keda", &[("127.0.0.1:6000", &address)]), Path::new("/")).remove(0);
    until_value(&mut source, "backlog", 42.5).await;

    let fleet = policy(
        &format!("scaler: {{ keda: {{ address: \"{address}\", name: shop, namespace: prod }} }}"),
        "target: { keda: { from: scaler, metric: backlog, figure: target }, unit: count, every: 100ms }
        active: { keda: { from: scaler, metadata: { queue: orders }, figure: active }, unit: count, every: 100ms }
        unnamed: { keda: { from: scaler, metric: other, metadata: { queue: orders } }, unit: count, every: 100ms }
        refused: { keda: { from: scaler, metric: backlog, metadata: { queue: no } }, unit: count, every: 100ms }",
    );
    let mut source = open(&fleet, Path::new("/")).remove(0);
    until_value(&mut source, "target", 5.0).await;
    until_value(&mut source, "active", 1.0).await;
    let _ = until(&mut source, "unnamed", |v| v.as_ref().err() == Some(&Absence::Empty)).await;
    let says = |v: &Result<_, Absence>| matches!(v, Err(Absence::SourceFailed(why)) if why.contains("no such queue"));
    let _ = until(&mut source, "refused", says).await;
}

/// A scaler that wants a client's certificate is shown one; a certificate that is replaced is used at once.
#[tokio::test]
async fn a_scaler_is_shown_a_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.put(folder.path());
    let port = authority.front(theirs().await).await;
    let source = |client: &str| {
        let fleet = policy(
            &format!(
                "scaler: {{ keda: {{ address: \"localhost:{port}\", name: shop, namespace: prod, ca: ca.pem{client} }} }}"
            ),
            "backlog: { keda: { from: scaler, metric: backlog, metadata: { queue: orders } }, unit: count, every: 100ms }",
        );
        open(&fleet, folder.path()).remove(0)
    };
    let _ = until(&mut source(""), "backlog", Result::is_err).await;
    let mut shown = source(", client: { certificate: client.pem, key: client.key }");
    stranger.put_client(folder.path());
    let _ = until(&mut shown, "backlog", Result::is_err).await;
    authority.put_client(folder.path());
    until_value(&mut shown, "backlog", 42.5).await;
    let mut without = source(", client: { certificate: none.pem, key: client.key }");
    let missing = format!("{:?}", until(&mut without, "backlog", |_| true).await);
    assert!(missing.contains("none.pem"), "{missing}");
}

/// Over TLS, headroom asks headroom: only with a certificate that the one that answers believes.
#[tokio::test]
async fn keda_is_answered_over_tls() {
    let engine = Running::start().await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.put(folder.path());
    authority.put_server(folder.path());
    let file = |name: &str| folder.path().join(name);
    let tls = || ServerCertificate {
        certificate: file("server.pem"),
        key: file("server.key"),
        client_ca: Some(file("ca.pem")),
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let listening = server::Listening::at(any, Some(tls())).await.unwrap();
    let address = listening.address();
    drop(listening.serve(engine.handle.clone(), std::future::pending()));
    engine.load(650.0).await;
    let source = |client: &str| {
        let fleet = policy(
            &format!(
                "scaler: {{ keda: {{ address: \"localhost:{}\", name: app, ca: ca.pem{client} }} }}",
                address.port()
            ),
            "wanted: { keda: { from: scaler, metric: replicas }, unit: count, every: 100ms }",
        );
        open(&fleet, folder.path()).remove(0)
    };
    until_value(&mut source(", client: { certificate: client.pem, key: client.key }"), "wanted", 7.0).await;
    let refused = until(&mut source(""), "wanted", |_| true).await;
    assert!(matches!(refused, Err(Absence::SourceFailed(_))), "{refused:?}");

    // Another authority and what it signed: whoever knows only that one is answered from then on, without a restart.
    let other = Authority::new();
    let theirs = tempfile::tempdir().unwrap();
    other.put(theirs.path());
    let signal = "wanted: { keda: { from: scaler, metric: replicas }, unit: count, every: 100ms }";
    let knows_other = policy(
        &format!(
            "scaler: {{ keda: {{ address: \"localhost:{}\", name: app, ca: ca.pem, client: {{ certificate: client.pem, key: client.key }} }} }}",
            address.port()
        ),
        signal,
    );
    let mut knows_other = open(&knows_other, theirs.path()).remove(0);
    assert!(
        until(&mut knows_other, "wanted", |_| true).await.is_err(),
        "it does not believe the certificate"
    );
    other.put_server(folder.path());
    // Half replaced, the files don't belong together, and the last that did are used.
    write(&file("server.key"), "no key");
    let mut first = source(", client: { certificate: client.pem, key: client.key }");
    until_value(&mut first, "wanted", 7.0).await;
    other.put_server(folder.path());
    write(&file("ca.pem"), &other.pem());
    until_value(&mut knows_other, "wanted", 7.0).await;

    let wrong = ServerCertificate { key: file("ca.pem"), ..tls() };
    let wrong = server::Listening::at(any, Some(wrong)).await;
    let Err(server::ServeError::Tls(why)) = wrong else { panic!("a certificate is no key") };
    assert!(why.contains("ca.pem"), "{why}");
    engine.stop().await;
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Answers each call over HTTP/2 with `message`, as far as a source that asks one thing at a time needs.
fn grpc(message: Vec<u8>) -> Good {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let (settings, data, headers, ends) = (4, 0, 1, 1);
    Arc::new(move |request: &[u8]| {
        let (mut rest, mut answer) = (request, Vec::new());
        if let Some(after) = rest.strip_prefix(PREFACE) {
            rest = after;
            answer.extend(frame(settings, 0, 0, &[]));
        }
        while let Some((head, after)) = rest.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == settings && head[4] == 0 {
                answer.extend(frame(settings, 1, 0, &[]));
            }
            if (head[3] == data || head[3] == headers) && head[4] & ends != 0 {
                // `:status: 200` and `content-type`, then the message, then `grpc-status: 0`.
                let begins = [&[0x88, 0x0f, 0x10, 16][..], b"application/grpc"].concat();
                let size = u32::try_from(message.len()).unwrap().to_be_bytes();
                let body = [&[0][..], &size, &message].concat();
                let trailers = [&[0, 11][..], b"grpc-status", &[1], b"0"].concat();
                answer.extend(frame(headers, 4, stream, &begins));
                answer.extend(frame(data, 0, stream, &body));
                answer.extend(frame(headers, 5, stream, &trailers));
            }
            rest = after.get(length..).unwrap_or_default();
        }
        (answer, false)
    })
}

/// What a scaler says whose metric has this value, and how it fails.
pub(crate) fn answers(value: f64) -> Answers {
    let value = MetricValue { metric_name: "backlog".to_owned(), metric_value: 0, metric_value_float: value };
    let message = GetMetricsResponse { metric_values: vec![value] }.encode_to_vec();
    Answers {
        good: grpc(message),
        fails: b"HTTP/1.1 500 Internal Server Error\r\n\r\n".to_vec(),
        endless: [frame(4, 0, 0, &[]), vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        cut: frame(4, 0, 0, &[]),
    }
}

fn trigger(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let scaler_metadata: HashMap<_, _> =
        metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ScaledObjectRef { name: "app".to_owned(), namespace: "prod".to_owned(), scaler_metadata }
}

/// A controller of one workload whose load is pushed, a hundred a replica.
struct Running {
    handle: EngineHandle,
    engine: tokio::task::JoinHandle<()>,
    journal: Journal,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let fleet = fleet(
            "apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: { name: test }
spec:
  workloads:
    app:
      target: { process: { command: [./app] } }
      replicas: { min: 1, max: 50 }
      signals: { load: { push: { unit: count }, forecast: {} } }
      strategies: [ { targetTracking: { signal: load, perReplica: 100 } } ]
",
        );
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) =
            Journal::open(&DataDir::open(folder.path()).unwrap(), Retention::default()).unwrap();
        let target: Arc<dyn headroom_engine::ports::Target> = Arc::new(Instantly::with(Replicas(1)));
        let targets = BTreeMap::from([("app".parse().unwrap(), target)]);
        let notifiers = Notifiers::new();
        let start = Start { fleet, journal: journal.clone(), targets, notifiers, advise: false };
        let (handle, engine) = driver::start(start).await.unwrap();
        Self { handle, engine, journal, _folder: folder }
    }

    async fn load(&self, load: f64) {
        let value = Ok(Sample::new(driver::now(), Level::new(load).unwrap()));
        let sample = Measured { workload: "app".parse().unwrap(), signal: "load".parse().unwrap(), value };
        self.handle.push(vec![sample]).await.unwrap();
    }

    async fn stop(self) {
        self.handle.stop().await;
        self.engine.await.unwrap();
        self.journal.close().await.unwrap();
    }
}

/// The client of the published protocol asks headroom what KEDA asks.
#[tokio::test]
async fn keda_is_told_what_is_wanted_and_foreseen() {
    let engine = Running::start().await;
    let handle = &engine.handle;
    let listening = server::Listening::at("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = listening.address();
    drop(listening.serve(handle.clone(), std::future::pending()));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut keda = ExternalScalerClient::new(channel.connect().await.unwrap());

    let forecast = trigger(&[("forecast", "load"), ("perReplica", "100")]);
    let unknown = keda.is_active(forecast.clone()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable, "what is not foreseen is not zero: {unknown:?}");
    for (wrong, code) in [
        (trigger(&[("workload", "none")]), Code::NotFound),
        (trigger(&[("forecast", "load")]), Code::InvalidArgument),
    ] {
        assert_eq!(keda.is_active(wrong).await.unwrap_err().code(), code);
    }

    engine.load(650.0).await;
    let metrics = |object: &ScaledObjectRef, name: &str| GetMetricsRequest {
        scaled_object_ref: Some(object.clone()),
        metric_name: name.to_owned(),
    };
    let plain = trigger(&[]);
    let told = loop {
        let told = keda.get_metrics(metrics(&plain, "replicas")).await.unwrap().into_inner();
        if told.metric_values[0].metric_value != 1 {
            break told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let expected =
        MetricValue { metric_name: "replicas".to_owned(), metric_value: 7, metric_value_float: 7.0 };
    assert_eq!(told.metric_values, [expected]);
    let spec = keda.get_metric_spec(plain.clone()).await.unwrap().into_inner().metric_specs.remove(0);
    assert_eq!((spec.metric_name.as_str(), spec.target_size, spec.target_size_float), ("replicas", 1, 1.0));
    assert!(keda.is_active(plain.clone()).await.unwrap().into_inner().result);
    let mut active = keda.stream_is_active(plain.clone()).await.unwrap().into_inner();
    assert!(active.next().await.unwrap().unwrap().result, "it says so at once");
    assert_eq!(keda.get_metrics(metrics(&plain, "other")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(keda.stream_metric_spec(plain).await.unwrap_err().code(), Code::Unimplemented);

    // Two weeks that were steady are foreseen to go on.
    let steps = 14 * 288;
    let from = headroom_core::units::Timestamp::from_millis(driver::now().as_millis() / 300_000 * 300_000)
        .minus(STEP.times(steps));
    let past = (0..steps).map(|k| Level::new(500.0 + (k * 7919 % 13) as f64).ok()).collect();
    let history = Ok(History { from, steps: past });
    let news = News::History { workload: "app".parse().unwrap(), signal: "load".parse().unwrap(), history };
    handle.tell("past", news).await.unwrap();
    let load = loop {
        match keda.get_metrics(metrics(&forecast, "forecast-load")).await {
            Ok(told) => break told.into_inner().metric_values[0].metric_value_float,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!((450.0..700.0).contains(&load), "{load}");
    let spec = keda.get_metric_spec(forecast).await.unwrap().into_inner().metric_specs.remove(0);
    assert_eq!((spec.metric_name.as_str(), spec.target_size_float), ("forecast-load", 100.0));
    engine.stop().await;
}
