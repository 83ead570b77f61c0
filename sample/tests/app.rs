//! The app over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use headroom_sample::app::capacity::Capacity;
use headroom_sample::app::{App, AppError, AppOptions, StartUpMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for any machine; only a hanging test gets there.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    app: JoinHandle<Result<(), AppError>>,
}

async fn start(options: AppOptions) -> Running {
    let app = App::start(options).await.expect("the app starts");
    let (stop, stopped) = oneshot::channel();
    let address = app.address();
    let app = tokio::spawn(app.serve(async {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    }));
    Running { address, stop, app }
}

async fn serving(options: AppOptions) -> Running {
    let running = start(options).await;
    until(|| async { !get(running.address, "/health").await.1.contains("starting") }).await;
    running
}

/// Waits for a condition.
async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the condition never came true");
}

/// The whole answer to one request, and its status; 0 if there was none.
async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer =
        tokio::time::timeout(PATIENCE, exchange).await.expect("the exchange never ended").unwrap_or_default();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, "GET", path, "").await
}

fn unlimited() -> AppOptions {
    AppOptions { capacity: Capacity::Unlimited, ..AppOptions::default() }
}

/// C2: every page answers, and a wrong request is told what would be right.
#[tokio::test]
async fn every_page_answers_as_documented() {
    let Running { address, .. } = serving(AppOptions { memory_limit: 2, ..unlimited() }).await;
    for (method, path, status, part) in [
        ("GET", "/", 200, "headroom sample"),
        ("HEAD", "/", 200, "content-length: 1024"),
        ("GET", "/work", 200, "headroom sample"),
        ("GET", "/work?ms=1", 200, "headroom sample"),
        ("GET", "/work?ms=x", 400, "/work?ms=20"),
        ("GET", "/work?ms=60001", 400, "/work?ms=20"),
        ("GET", "/health", 200, "\"status\":\"ok\""),
        ("GET", "/metrics", 200, "http_requests_total{code=\"200\"}"),
        ("GET", "/load/1", 200, "level 1"),
        ("GET", "/load/0", 400, "/load/3"),
        ("GET", "/load/11", 400, "/load/3"),
        ("GET", "/load/-1", 400, "/load/3"),
        ("GET", "/memory/2", 200, "holding 2 MB"),
        ("GET", "/memory/1", 503, "limit of 2 MB, of which 2 MB are in use"),
        ("GET", "/memory/0", 400, "/memory/64"),
        ("GET", "/memory/99999999999", 400, "/memory/64"),
        ("GET", "/warmup", 200, "warm"),
        ("POST", "/cache/warm", 200, "warm"),
        ("GET", "/cache/warm", 405, "allow: POST"),
        ("POST", "/", 405, "allow: GET, HEAD"),
        ("GET", "/nowhere", 404, "see / /work"),
        ("GET", "/cache", 404, "see / /work"),
    ] {
        let (got, answer) = ask(address, method, path, "").await;
        assert!(
            got == status && answer.contains(part),
            "{method} {path}: expected {status}, {part}\n{answer}"
        );
    }
}

/// A21: health names the instance and each dependency; a dead one shows but doesn't fail the replica.
#[tokio::test]
async fn health_reports_the_instance_and_its_dependencies() {
    let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let depends_on = [("redis", &alive), ("db", &dead)]
        .map(|(name, listener)| format!("{name}={}", listener.local_addr().unwrap()).parse().unwrap())
        .to_vec();
    drop(dead);
    let options = AppOptions { instance: Some("web-7".to_owned()), depends_on, ..unlimited() };
    let Running { address, .. } = serving(options).await;
    let (status, answer) = get(address, "/health").await;
    assert_eq!(status, 200);
    assert!(answer.contains("x-instance: web-7"), "{answer}");
    let json: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(json["status"], "degraded");
    assert_eq!(json["instance"], "web-7");
    let seen = |index: usize| {
        (json["dependencies"][index]["name"].clone(), json["dependencies"][index]["ok"].clone())
    };
    assert_eq!(seen(0), ("redis".into(), true.into()));
    assert_eq!(seen(1), ("db".into(), false.into()));
}

/// C2: probes aren't traffic.
#[tokio::test]
async fn metrics_count_traffic_and_leave_probes_out() {
    let Running { address, .. } = serving(unlimited()).await;
    get(address, "/").await;
    get(address, "/").await;
    get(address, "/health").await;
    let (_, text) = ask(address, "GET", "/metrics", "accept: application/openmetrics-text\r\n").await;
    assert!(text.contains("http_requests_total{code=\"200\"} 2\n"), "{text}");
    assert!(text.contains("content-type: application/openmetrics-text"), "{text}");
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
}

/// C2: beyond capacity and queue, requests are refused with 503 and the rest is served.
#[tokio::test]
async fn a_full_queue_refuses() {
    // One worker for an hour's request, and one place to wait.
    let options = AppOptions { capacity: Capacity::PerSecond(1.0), queue: 1, ..AppOptions::default() };
    let Running { address, .. } = serving(options).await;
    let waiting = [(); 2].map(|()| tokio::spawn(get(address, "/work?ms=60000")));
    until(|| async { get(address, "/metrics").await.1.contains("sample_queue_length 1\n") }).await;
    let (status, answer) = get(address, "/").await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("retry-after: 1") && answer.contains("queue is full"), "{answer}");
    waiting.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn while_it_starts_a_replica_is_unready() {
    let hour = Duration::from_secs(3600);
    let options = AppOptions { start_up: hour, start_up_mode: StartUpMode::Unready, ..unlimited() };
    let Running { address, .. } = start(options).await;
    let (status, answer) = get(address, "/health").await;
    assert!(status == 503 && answer.contains("starting"), "{answer}");
    assert_eq!(get(address, "/").await.0, 503);
}

#[tokio::test]
async fn once_started_a_replica_serves() {
    for start_up_mode in [StartUpMode::Unready, StartUpMode::Closed] {
        let start_up = Duration::from_millis(50);
        let Running { address, .. } = start(AppOptions { start_up, start_up_mode, ..unlimited() }).await;
        until(|| async { get(address, "/health").await.0 == 200 }).await;
        assert_eq!(get(address, "/").await.0, 200);
    }
}

/// A31: both warm-ups are needed.
#[tokio::test]
async fn a_replica_is_warm_after_both_warm_ups() {
    let Running { address, .. } = serving(AppOptions { cold_factor: 3.0, ..unlimited() }).await;
    let warm = || async { get(address, "/health").await.1.contains("\"warm\":true") };
    assert!(!warm().await);
    assert!(get(address, "/warmup").await.1.ends_with("half warm"));
    assert!(!warm().await);
    assert!(ask(address, "POST", "/cache/warm", "").await.1.ends_with("warm"));
    assert!(warm().await);
}

#[tokio::test]
async fn a_replica_grows_warm_with_use() {
    let Running { address, .. } =
        serving(AppOptions { cold_factor: 3.0, cold_requests: 2, ..unlimited() }).await;
    get(address, "/").await;
    assert!(get(address, "/health").await.1.contains("\"warm\":false"));
    get(address, "/").await;
    assert!(get(address, "/health").await.1.contains("\"warm\":true"));
}

#[tokio::test]
async fn health_fails_when_told_to_while_traffic_goes_on() {
    let Running { address, .. } =
        serving(AppOptions { fail_health_after: Some(Duration::ZERO), ..unlimited() }).await;
    let (status, answer) = get(address, "/health").await;
    assert!(status == 503 && answer.contains("failing"), "{answer}");
    assert_eq!(get(address, "/").await.0, 200);
}

#[tokio::test]
async fn all_requests_fail_at_a_share_of_all_and_probes_do_not() {
    let Running { address, .. } = serving(AppOptions { errors: 1.0, ..unlimited() }).await;
    assert_eq!(get(address, "/").await.0, 500);
    assert_eq!(get(address, "/health").await.0, 200);
}

#[tokio::test]
async fn a_crash_cuts_connections_and_is_an_error() {
    let running = start(AppOptions { exit_after: Some(Duration::from_millis(100)), ..unlimited() }).await;
    let cut = get(running.address, "/work?ms=60000").await;
    assert_eq!(cut.0, 0, "{}", cut.1);
    assert!(matches!(running.app.await.unwrap(), Err(AppError::Crashed(_))));
}

/// A14: while it drains, health says so, and requests are still taken.
#[tokio::test]
async fn a_draining_replica_says_so_and_goes_on() {
    let running = serving(AppOptions { drain_delay: Duration::from_secs(3600), ..unlimited() }).await;
    running.stop.send(()).unwrap();
    until(|| async { get(running.address, "/health").await.1.contains("draining") }).await;
    assert_eq!(get(running.address, "/health").await.0, 503);
    assert_eq!(get(running.address, "/").await.0, 200);
}

/// A14: none is cut off while the replica drains.
#[tokio::test]
async fn a_stopped_replica_finishes_what_it_began() {
    let running = serving(unlimited()).await;
    let address = running.address;
    let slow = tokio::spawn(get(address, "/work?ms=1500"));
    until(|| async { slow.is_finished() || in_flight(address, 1).await }).await;
    running.stop.send(()).unwrap();
    let (status, answer) = slow.await.unwrap();
    assert!(status == 200 && answer.contains("headroom sample"), "{answer}");
    running.app.await.unwrap().unwrap();
    assert_eq!(get(address, "/").await.0, 0, "the port is closed");
}

async fn in_flight(address: SocketAddr, count: u32) -> bool {
    get(address, "/metrics").await.1.contains(&format!("http_requests_in_flight {count}\n"))
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_cut_off_and_reported() {
    let options = AppOptions { drain_timeout: Duration::from_millis(50), ..unlimited() };
    let running = serving(options).await;
    let address = running.address;
    let slow = tokio::spawn(get(address, "/work?ms=60000"));
    until(|| in_flight(address, 1)).await;
    running.stop.send(()).unwrap();
    let ended = running.app.await.unwrap();
    assert!(matches!(ended, Err(AppError::CutOff { connections: 1, .. })), "{ended:?}");
    assert_eq!(slow.await.unwrap().0, 0);
}

/// With the standard library's backlog of 128, the first connections of a surge took a second longer.
#[tokio::test]
async fn a_surge_of_connections_finds_room_to_wait() {
    let app = App::start(unlimited()).await.unwrap();
    let mut waiting = Vec::new();
    while waiting.len() < 300 {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(app.address())).await;
        waiting.push(connected.expect("no room left").unwrap());
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = App::start(AppOptions { port, ..unlimited() }).await.unwrap_err();
    assert!(error.to_string().contains("choose another with `--port`"), "{error}");
}
