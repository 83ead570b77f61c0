//! `PagerDuty`, Events API v2: alerts trigger and resolve incidents, changes of a count are change events.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use headroom_core::alert::{AlertNews, Severity, State};
use headroom_core::fleet::{HttpServer, PagerdutySettings, SecretRef};
use headroom_engine::ports::{Notification, Notifier, TellError};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{cut, judge, later, link, secret};
use crate::http::HttpClient;
use crate::source::ReadError;

/// The longest summary that is taken.
const SUMMARY: usize = 1024;

/// A service of `PagerDuty`.
pub struct Pagerduty {
    client: Mutex<HttpClient>,
    key: SecretRef,
    base: PathBuf,
}

impl Pagerduty {
    /// It does not connect yet.
    ///
    /// # Errors
    /// Where the address is not usable.
    pub fn new(settings: &PagerdutySettings, base: &Path) -> Result<Self, ReadError> {
        let server = HttpServer { url: settings.url.clone(), ..HttpServer::default() };
        let client = Mutex::new(HttpClient::new(&server, base)?);
        Ok(Self { client, key: settings.key.clone(), base: base.to_owned() })
    }
}

#[async_trait]
impl Notifier for Pagerduty {
    async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError> {
        let key = secret(&self.key, &self.base).await?;
        let mut client = self.client.lock().await;
        for news in &notification.news {
            let (path, mut event) = event(notification, news);
            event["routing_key"] = key.expose().into();
            // What was taken before a failure comes again under the same key, and is the same to it.
            judge(&client.post_json(path, &[], &event).await.map_err(|e| later(&e))?)?;
        }
        Ok(None)
    }
}

fn event(notification: &Notification, news: &AlertNews) -> (&'static str, Value) {
    let alert = &news.alert;
    let mut event = json!({
        "payload": {
            "summary": cut(&headroom_core::alert::title(news), SUMMARY),
            "source": notification.fleet,
            "timestamp": news.at,
            "custom_details": {
                "why": alert.why,
                "text": headroom_core::alert::text(news, None),
                "cost": alert.cost,
            },
        },
    });
    if let Some(link) = link(notification, news) {
        event["links"] = json!([{ "href": link, "text": "why" }]);
    }
    if news.state == State::Happened {
        return ("/v2/change/enqueue", event);
    }
    event["event_action"] = if news.state == State::Resolved { "resolve" } else { "trigger" }.into();
    event["dedup_key"] = alert.id.as_str().into();
    event["payload"]["severity"] = severity(alert.severity).into();
    event["payload"]["component"] = alert.subject.to_string().into();
    event["payload"]["class"] = alert.kind.code().into();
    ("/v2/enqueue", event)
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "critical",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "info",
    }
}
