//! A new installation beside a Prometheus that has been there for weeks.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::rig::{Rig, eventually, get, headroom};

/// A Prometheus over a past, killed at the end of its test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const DAY: i64 = 86_400;
const STEP: i64 = 300;

/// What the load is at a second of the day: a hill of 400 over 100, highest at noon UTC.
fn load(at: i64) -> f64 {
    let of_day = (at.rem_euclid(DAY)) as f64 / DAY as f64;
    300.0 - 200.0 * (of_day * std::f64::consts::TAU).cos()
}

/// The forecast of a workload is there on the first day, made of what Prometheus knows.
#[test]
fn a_new_installation_forecasts_from_the_past_of_its_prometheus() {
    if std::env::var_os("HEADROOM_SKIP_REAL").is_some() {
        eprintln!("skipped: HEADROOM_SKIP_REAL is set, so Prometheus is not started");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let now =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
            .unwrap();
    let last = now / STEP * STEP;
    let points = (last - 14 * DAY..=last).step_by(300).map(|at| format!("shop_rps {} {at}\n", load(at)));
    let history = format!("# TYPE shop_rps gauge\n{}# EOF\n", points.collect::<String>());
    std::fs::write(path("history"), history).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", &path("history"), &path("data")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::write(path("prometheus.yml"), "global: {}\n").unwrap();
    let port = headroom_testkit::port::free();
    let address = format!("127.0.0.1:{port}");
    let log = std::fs::File::create(path("log")).unwrap();
    let server = Command::new("prometheus")
        .arg(format!("--config.file={}", path("prometheus.yml")))
        .arg(format!("--storage.tsdb.path={}", path("data")))
        .arg("--storage.tsdb.retention.time=30d")
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _server = Prometheus(server.unwrap());
    eventually("Prometheus is ready", || {
        get(&address, "/-/ready").ok().filter(|(status, _)| *status == 200).map(drop)
    });

    let mut rig = Rig::new(&format!(
        r#"apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: test }}
spec:
  sources:
    metrics: {{ prometheus: {{ url: "http://{address}" }} }}
  workloads:
    web:
      target: {{ process: {{ command: ["{program}", sample-app, --port, "$PORT"], stop: {{ drain: 1s }} }} }}
      replicas: {{ min: 1, max: 3 }}
      signals:
        rps:
          prometheus: {{ from: metrics, query: shop_rps }}
          unit: perSecond
          forecast: {{}}
      strategies:
        - targetTracking: {{ signal: rps, perReplica: 1000 }}
"#,
        program = headroom()
    ));
    rig.start();
    let points = eventually("the day to come is foreseen", || {
        let (_, body) = get(&rig.server(), "/api/v1/workloads/web").ok()?;
        let view: Value = serde_json::from_str(&body).ok()?;
        let points = view.pointer("/forecast/points")?.as_array()?.clone();
        (!points.is_empty()).then_some(points)
    });
    let near = |point: &Value| {
        let at: jiff::Timestamp = point["at"].as_str().unwrap().parse().unwrap();
        // A step's value is that of a moment within it.
        (point["q50"].as_f64().unwrap() - load(at.as_second())).abs() < 30.0
    };
    let good = points.iter().filter(|point| near(point)).count();
    assert!(
        10 * good >= 9 * points.len(),
        "{good} of {} are near what every day was: {points:?}",
        points.len()
    );
    rig.stop();
}
