//! The generator against real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use headroom_sample::app::capacity::Capacity;
use headroom_sample::app::{App, AppOptions};
use headroom_sample::load::{FailureClass, Generator, LoadOptions, LoadPlan, Report, Spacing};
use tokio::net::TcpListener;

/// An app that answers everything at once, for as long as the test runs.
async fn app(options: AppOptions) -> SocketAddr {
    let app = App::start(options).await.expect("the app starts");
    let address = app.address();
    tokio::spawn(app.serve(std::future::pending()));
    address
}

fn unlimited() -> AppOptions {
    AppOptions { capacity: Capacity::Unlimited, ..AppOptions::default() }
}

fn options(address: SocketAddr, path: &str) -> LoadOptions {
    let target = format!("http://{address}{path}").parse().expect("a target");
    // Few connections: both of their ends count against this one process' limit of open files.
    let connections = 100.try_into().expect("100 isn't 0");
    LoadOptions {
        spacing: Spacing::Even,
        timeout: Duration::from_secs(60),
        connections,
        ..LoadOptions::new(target)
    }
}

fn plan(text: &str) -> LoadPlan {
    text.parse().expect("a plan")
}

fn failed_as(report: &Report, class: FailureClass) -> u64 {
    report.requests.by_class.get(&class).copied().unwrap_or(0)
}

/// C1: every planned request is sent and accounted for, and each surge has its first moment.
#[tokio::test]
async fn every_planned_request_is_sent_and_settled() {
    let address = app(unlimited()).await;
    let mut generator = Generator::start(plan("2*(calm 200ms @100, surge 200ms x10)"), options(address, "/"));
    let live = generator.live();
    while live.snapshot().surges.len() < 2 {
        let stats = live.snapshot();
        assert_eq!(stats.sent, stats.ok + stats.failed_in_all() + stats.in_flight);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = generator.wait().await;
    // On a machine that stalls some may find no free connection; none may go missing.
    assert_eq!(report.requests.sent + report.requests.overrun, 440, "{report:?}");
    assert_eq!(report.requests.sent, report.requests.ok + report.requests.failed);
    assert_eq!((report.requests.failed, report.requests.in_flight), (0, 0), "{report:?}");
    let surges = live.snapshot().surges;
    assert_eq!(surges.len(), 2);
    assert!(surges.iter().all(|first| first.sent >= first.due));
    assert_eq!(surges[1].due - surges[0].due, Duration::from_millis(400));
    assert_eq!(report.phases.iter().map(|phase| phase.sent).sum::<u64>(), report.requests.sent);
}

#[tokio::test]
async fn a_refused_connection_is_a_failed_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let report = Generator::start(plan("100ms @100"), options(nobody, "/")).finish().await;
    assert_eq!((report.requests.sent, report.requests.failed), (10, 10));
    assert_eq!(failed_as(&report, FailureClass::Connect), 10);
    assert_eq!(report.latency_ms, None, "nothing answered, nothing measured");
}

#[tokio::test]
async fn each_failure_has_its_class() {
    let address = app(AppOptions { errors: 1.0, ..unlimited() }).await;
    let report = Generator::start(plan("100ms @100"), options(address, "/")).finish().await;
    assert_eq!(failed_as(&report, FailureClass::Status5xx), 10, "{report:?}");
    let report = Generator::start(plan("100ms @100"), options(address, "/nowhere")).finish().await;
    assert_eq!(failed_as(&report, FailureClass::Status4xx), 10, "{report:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let report = Generator::start(plan("100ms @100"), options(closing, "/")).finish().await;
    assert_eq!(failed_as(&report, FailureClass::Reset), 10, "{report:?}");

    let address = app(unlimited()).await;
    let impatient = LoadOptions { timeout: Duration::from_millis(50), ..options(address, "/work?ms=60000") };
    let report = Generator::start(plan("100ms @100"), impatient).finish().await;
    assert_eq!(failed_as(&report, FailureClass::Timeout), 10, "{report:?}");
    assert!(report.latency_ms.unwrap().p50 >= 50.0, "a timeout counts with the time it lasted");
}

/// A server that isn't one.
#[tokio::test]
async fn an_answer_that_is_not_http_is_a_protocol_failure() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"220 smtp ready\r\n\r\n").await;
        }
    });
    let report = Generator::start(plan("100ms @50"), options(address, "/")).finish().await;
    assert_eq!(failed_as(&report, FailureClass::Protocol), 5, "{report:?}");
}

#[tokio::test]
async fn a_request_without_a_free_connection_is_an_overrun() {
    let address = app(unlimited()).await;
    let one = LoadOptions {
        connections: 1.try_into().unwrap(),
        timeout: Duration::from_millis(500),
        ..options(address, "/work?ms=60000")
    };
    let report = Generator::start(plan("100ms @100"), one).finish().await;
    assert_eq!(report.requests.sent + report.requests.overrun, 10, "{report:?}");
    // More than one is sent only where a machine stalls for longer than the timeout.
    assert!(report.requests.sent >= 1 && report.requests.overrun >= 1, "{report:?}");
}

#[tokio::test]
async fn a_stopped_load_settles_what_it_sent() {
    let address = app(unlimited()).await;
    let mut generator = Generator::start(plan("1h @100"), options(address, "/"));
    let live = generator.live();
    while live.snapshot().ok == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    generator.stop();
    let report = generator.wait().await;
    assert_eq!(report.requests.sent, report.requests.ok, "{report:?}");
    assert_eq!(generator.wait().await.requests, report.requests, "the end can be asked for again");
}
