//! A real Alertmanager.

use std::time::Duration;

use headroom_core::alert::State;
use headroom_core::fleet::HttpServer;
use serde_json::Value;

use crate::server::{Server, free_port, skip_real};
use crate::support::{example, notification, open};

/// Asks until the active alerts are as expected.
async fn until(port: u16, expected: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let server = HttpServer { url: format!("http://127.0.0.1:{port}"), ..HttpServer::default() };
    let mut client = headroom_adapters::http::HttpClient::new(&server, std::path::Path::new("/")).unwrap();
    for _ in 0..3000 {
        let answer = client.get("/api/v2/alerts", "application/json").await.unwrap();
        let alerts: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
        if expected(&alerts) {
            return alerts;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the alerts never were as expected")
}

#[tokio::test]
async fn an_alertmanager_is_told_as_its_page_says() {
    if skip_real("Alertmanager") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(&config, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
    let (port, log) = (free_port(), folder.path().join("log"));
    let address = format!("127.0.0.1:{port}");
    let mut server = Server::start(
        "prometheus-alertmanager",
        &[
            &format!("--config.file={}", config.display()),
            &format!("--storage.path={}", folder.path().join("data").display()),
            &format!("--web.listen-address={address}"),
            // Else it opens a port for others of its kind.
            "--cluster.listen-address=",
        ],
        &[],
        &log,
    );
    server.listens(port, &log).await;
    let fleet = example("alertmanager", &[("127.0.0.1:9093", &address)]);
    let notifier = open(&fleet, "alertmanager", folder.path());
    notifier.tell(&notification(&[State::Raised])).await.unwrap();
    let alerts = until(port, |alerts| alerts.len() == 1).await;
    let labels = &alerts[0]["labels"];
    assert_eq!(labels["alertname"], "HeadroomAtMaximum");
    assert_eq!(
        (&labels["severity"], &labels["workload"], &labels["fleet"]),
        (&"medium".into(), &"web".into(), &"shop".into())
    );
    assert_eq!(alerts[0]["annotations"]["id"], "web-at-maximum-0");
    assert_eq!(alerts[0]["generatorURL"], "https://headroom.example/#/d/web-17");
    // Told again it is the same; its end takes it away.
    notifier.tell(&notification(&[State::Still])).await.unwrap();
    assert_eq!(until(port, |alerts| !alerts.is_empty()).await.len(), 1);
    notifier.tell(&notification(&[State::Still, State::Resolved])).await.unwrap();
    until(port, <[Value]>::is_empty).await;
}
