//! JSON by `POST` to any program, signed so that it can tell who sent it and when.
//!
//! The signature is `v1=` and the hexadecimal HMAC-SHA256, under the shared secret, of the timestamp, a dot and the body:
//! what is replayed later carries an old timestamp.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use headroom_core::fleet::{HttpServer, SecretRef, WebhookSettings};
use headroom_engine::ports::{Notification, Notifier, TellError};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Mutex;

use super::{judge, later, link, secret};
use crate::http::HttpClient;
use crate::source::ReadError;

const TIMESTAMP: HeaderName = HeaderName::from_static("x-headroom-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-headroom-signature");

/// A program that takes JSON.
pub struct Webhook {
    client: Mutex<HttpClient>,
    secret: Option<SecretRef>,
    base: PathBuf,
}

impl Webhook {
    /// It does not connect yet.
    ///
    /// # Errors
    /// Where the address or the authorities are not usable.
    pub fn new(settings: &WebhookSettings, base: &Path) -> Result<Self, ReadError> {
        let WebhookSettings { url, secret, auth, ca } = settings.clone();
        let client = HttpClient::new(&HttpServer { url, auth, ca, ..HttpServer::default() }, base)?;
        Ok(Self { client: Mutex::new(client), secret, base: base.to_owned() })
    }
}

#[async_trait]
impl Notifier for Webhook {
    async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError> {
        let body = body(notification);
        let headers = match &self.secret {
            None => Vec::new(),
            Some(place) => {
                let key = secret(place, &self.base).await?;
                signed(key.expose(), notification.at.as_millis() / 1000, &body.to_string())?
            }
        };
        let answer = self.client.lock().await.post_json("", &headers, &body).await.map_err(|e| later(&e))?;
        judge(&answer)?;
        Ok(None)
    }
}

fn signed(key: &str, seconds: i64, body: &str) -> Result<Vec<(HeaderName, HeaderValue)>, TellError> {
    let signature = format!("v1={}", sign(key, seconds, body));
    let signature = HeaderValue::from_str(&signature).map_err(|e| TellError::Later(e.to_string()))?;
    Ok(vec![(TIMESTAMP, HeaderValue::from(seconds)), (SIGNATURE, signature)])
}

/// The signature of a body that is sent at `seconds` since 1970, in hexadecimal.
#[must_use]
pub fn sign(key: &str, seconds: i64, body: &str) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.{body}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn body(notification: &Notification) -> Value {
    let news = notification.news.iter().map(|news| {
        let mut value = json!({
            "at": news.at,
            "state": news.state,
            "title": headroom_core::alert::title(news),
            "text": headroom_core::alert::text(news, None),
            "alert": news.alert,
        });
        if let Some(link) = link(notification, news) {
            value["link"] = link.into();
        }
        value
    });
    json!({
        "version": 1,
        "fleet": notification.fleet,
        "at": notification.at,
        "news": news.collect::<Vec<_>>(),
    })
}
