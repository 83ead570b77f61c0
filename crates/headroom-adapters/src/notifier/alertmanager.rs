//! Prometheus's Alertmanager, API v2.
//!
//! It groups, silences and routes on its own, and takes an alert for over that it is not told of again: so what is raised
//! is told every minute, and counts for five.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use headroom_core::alert::{AlertKind, AlertNews, State, Subject};
use headroom_core::fleet::HttpServer;
use headroom_core::units::Span;
use headroom_engine::ports::{Notification, Notifier, TellError};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{judge, later, link};
use crate::http::HttpClient;
use crate::source::ReadError;

/// How long an alert counts without being told again: as Prometheus does it, some times the pause between.
const COUNTS_FOR: Span = Span::minutes(5);

/// An Alertmanager.
pub struct Alertmanager {
    client: Mutex<HttpClient>,
}

impl Alertmanager {
    /// It does not connect yet.
    ///
    /// # Errors
    /// Where the address or the authorities are not usable.
    pub fn new(server: &HttpServer, base: &Path) -> Result<Self, ReadError> {
        Ok(Self { client: Mutex::new(HttpClient::new(server, base)?) })
    }
}

#[async_trait]
impl Notifier for Alertmanager {
    async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError> {
        // The latest of each alert is how it stands.
        let latest: BTreeMap<&str, &AlertNews> =
            notification.news.iter().map(|news| (news.alert.id.as_str(), news)).collect();
        let alerts = latest.values().map(|news| alert(notification, news)).collect();
        let mut client = self.client.lock().await;
        let answer =
            client.post_json("/api/v2/alerts", &[], &Value::Array(alerts)).await.map_err(|e| later(&e))?;
        judge(&answer)?;
        Ok(None)
    }
}

fn alert(notification: &Notification, news: &AlertNews) -> Value {
    let alert = &news.alert;
    let mut labels = json!({
        "alertname": name(alert.kind),
        "severity": alert.severity.word(),
        "fleet": notification.fleet,
    });
    match &alert.subject {
        Subject::Workload(workload) => labels["workload"] = workload.as_str().into(),
        Subject::Source(source) => labels["source"] = source.as_str().into(),
        Subject::Fleet => {}
    }
    let ends = match news.state {
        State::Resolved => news.at,
        State::Raised | State::Still | State::Happened => notification.at.plus(COUNTS_FOR),
    };
    let mut value = json!({
        "labels": labels,
        "annotations": {
            "summary": headroom_core::alert::title(news),
            "description": headroom_core::alert::text(news, None),
            "id": alert.id,
        },
        "startsAt": alert.since,
        "endsAt": ends,
    });
    if let Some(link) = link(notification, news) {
        value["generatorURL"] = link.into();
    }
    value
}

/// `at-maximum` is `HeadroomAtMaximum` here, as Prometheus's alerts are written.
fn name(kind: AlertKind) -> String {
    let words = kind.code().split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    format!("Headroom{}", words.collect::<String>())
}
