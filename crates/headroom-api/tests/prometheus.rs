//! `/metrics`, the dashboard and the alert rules, before a real Prometheus.
//!
//! Needs Debian's package `prometheus`, which brings `promtool`. Without it the tests fail and say so, unless
//! `HEADROOM_SKIP_PROMETHEUS=1` is set: metrics that nothing has read must not pass for ones that can be.

#[expect(dead_code, reason = "the tests of the API use all of it")]
mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use headroom_api::export::{alert_rules, dashboard, queries};
use headroom_core::units::Span;
use support::http::Ask;
use support::{Past, Shop};
use tokio::process::{Child, Command};

/// How long Prometheus may take to show something. Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

/// Whether the tools are there; where they are not and must be, the test fails.
fn there() -> bool {
    let found = std::process::Command::new("promtool")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    let skip = std::env::var("HEADROOM_SKIP_PROMETHEUS").is_ok_and(|v| v == "1");
    assert!(
        found || skip,
        "promtool can't be started. Install Debian's package prometheus, or set HEADROOM_SKIP_PROMETHEUS=1 to go \
         without it"
    );
    found
}

/// What promtool says; fails unless it is content.
fn promtool(arguments: &[&str], input: &[u8]) -> String {
    let mut process = std::process::Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    process.stdin.take().expect("piped").write_all(input).expect("promtool reads");
    let output = process.wait_with_output().expect("promtool ends");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

struct Prometheus {
    address: SocketAddr,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// A Prometheus that scrapes `target` each second.
    fn start(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: headroom\n    static_configs: [{{ targets: \
             ['{target}'] }}]\n"
        );
        std::fs::write(&config, text).expect("written");
        let address = SocketAddr::from(([127, 0, 0, 1], headroom_testkit::port::free()));
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus starts");
        Self { address, _process: process, _folder: folder }
    }

    /// How many series a query gives; an error is none with its text.
    async fn ask(&self, query: &str) -> Result<usize, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        // Not there before it listens.
        if tokio::net::TcpStream::connect(self.address).await.is_err() {
            return Err("prometheus does not listen yet".to_owned());
        }
        let answer = Ask::get(self.address, &path).send().await;
        if !answer.status.is_success() {
            return Err(String::from_utf8_lossy(&answer.body).into_owned());
        }
        match answer.json()["data"]["result"].as_array().map_or(0, Vec::len) {
            0 => Err("no data".to_owned()),
            series => Ok(series),
        }
    }
}

/// D6, A37: names and types by Prometheus' rules, and what a decision rests on is there.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    if !there() {
        return;
    }
    let shop = Shop::open("127.0.0.1:0", Span::minutes(2)).await;
    let until = Instant::now() + SOON;
    let text = loop {
        let answer = Ask::get(shop.address, "/metrics").send().await;
        assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        // The first decision of this start.
        if text.contains("headroom_decisions_total{") && text.contains("headroom_source_values_total{") {
            break text;
        }
        assert!(Instant::now() < until, "{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let said = promtool(&["check", "metrics"], text.as_bytes());
    assert_eq!(said, "", "promtool has something to say");
    for sample in [
        "headroom_replicas{workload=\"web\",tier=\"web\",state=\"ready\"} ",
        "headroom_replicas_desired{workload=\"web\",tier=\"web\"} ",
        "headroom_signal_age_seconds{workload=\"web\",signal=\"rps\",unit=\"per_second\"} ",
        "headroom_strategy_wanted_replicas{workload=\"web\",strategy=\"targetTracking\",index=\"1\",advice=\"wants\"} ",
        "headroom_cost_dollars_per_hour{workload=\"web\",tier=\"web\"} ",
        "headroom_tick_duration_seconds_count ",
        "headroom_frozen{workload=\"search\",tier=\"api\"} 1",
    ] {
        assert!(text.contains(sample), "{sample} is not in\n{text}");
    }
    assert!(!text.contains("headroom_price_dollars_per_hour{workload=\"thumbnails\""), "unknown is not zero");
    // Nothing of one replica, one decision or one error: what is unbounded would be a label here.
    assert!(!text.contains("hunter2") && !text.contains("-1\""), "{text}");
    shop.close().await;
}

/// A37, B15, D6: every question on the Grafana dashboard has an answer.
#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_returns_data_from_a_real_prometheus() {
    if !there() {
        return;
    }
    // Long enough for forecasts to come due.
    let length = Span::hours(3);
    let past = Past { length, step: |_| Span::seconds(5), whole: length };
    let shop = Shop::open_with(support::fleet(), "127.0.0.1:0", past, |_| {}).await;
    let prometheus = Prometheus::start(shop.address);
    // A scaling event, once there is something to compare it with.
    let until = Instant::now() + SOON;
    while prometheus
        .ask("count_over_time(headroom_replicas_desired{workload=\"payments\"}[20s]) > 1")
        .await
        .is_err()
    {
        assert!(Instant::now() < until, "nothing was scraped");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let pending = loop {
        let view = Ask::get(shop.address, "/api/v1/workloads/payments").send().await.json();
        if let Some(id) = view["pending"]["decision"].as_str() {
            break id.to_owned();
        }
        assert!(Instant::now() < until, "nothing waits for approval: {view}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let approve = format!("/api/v1/decisions/{pending}/approve?by=test");
    let why = serde_json::json!({ "why": "a scaling event" });
    let approved = Ask::post(shop.address, &approve, &why).token(shop.token.reveal()).send().await;
    assert!(approved.status.is_success(), "{approved:?}");
    let mut open = queries();
    assert!(
        open.iter().filter(|query| query.contains("headroom_forecast_")).count() >= 6,
        "the forecast band"
    );
    assert!(open.len() > 26, "{open:?}");
    let until = Instant::now() + SOON;
    let mut why = String::new();
    while !open.is_empty() {
        assert!(Instant::now() < until, "without an answer: {open:#?}: {why}");
        let mut still = Vec::new();
        for query in open {
            let asked = query
                .replace("$workload", ".*")
                .replace("$__rate_interval", "20s")
                .replace("$__interval", "60s");
            if let Err(error) = prometheus.ask(&asked).await {
                why = error;
                still.push(query);
            }
        }
        open = still;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What stands in the dashboard is what was asked.
    let board = dashboard().to_string();
    for query in queries() {
        let quoted = serde_json::to_string(&query).unwrap();
        assert!(board.contains(&quoted), "{quoted} is not in the dashboard");
    }
    shop.close().await;
}

/// B15, D6: the rules are sound, fire when they should and are silent when they should be.
#[test]
fn the_alert_rules_pass_promtools_own_tests() {
    if !there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("headroom.rules.yml");
    std::fs::write(&rules, alert_rules().to_string()).unwrap();
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", rules.to_str().unwrap()], b"");
    assert!(said.contains("13 rules found"), "{said}");
    let test = folder.path().join("headroom.test.yml");
    std::fs::write(&test, include_str!("alerts.test.yml")).unwrap();
    promtool(&["test", "rules", test.to_str().unwrap()], b"");
}
