//! The messages of RabbitMQ queues, from the management API.
//!
//! All queues of the virtual host are asked for at once, with only the columns that count. The management figures are
//! themselves collected every five seconds by default (`collect_statistics_interval`), so asking more often shows
//! nothing new.

use std::collections::HashMap;
use std::path::Path;

use async_trait::async_trait;
use headroom_core::fleet::{Ask, HttpServer, QueueCount, RabbitmqAsk, RabbitmqSettings};
use headroom_core::reading::Absence;
use headroom_engine::driver::now;
use serde::Deserialize;

use super::poll::{Figure, ReadError, Reader, Want};
use crate::http::HttpClient;

/// Asks a RabbitMQ.
pub struct Rabbitmq {
    client: HttpClient,
    path: String,
    asks: Vec<RabbitmqAsk>,
}

/// A queue; one that was just made has no figures at first.
#[derive(Debug, Deserialize)]
struct Queue {
    name: String,
    messages: Option<u64>,
    messages_ready: Option<u64>,
    messages_unacknowledged: Option<u64>,
}

impl Rabbitmq {
    /// Asks `settings` for `wants`.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub fn new(settings: &RabbitmqSettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&RabbitmqAsk> = super::asks(wants, |ask| match ask {
            Ask::Rabbitmq(ask) => Some(ask),
            _ => None,
        })?;
        let asks = asks.into_iter().cloned().collect();
        let server = HttpServer {
            url: settings.url.clone(),
            auth: settings.auth.clone(),
            ca: settings.ca.clone(),
            client: settings.client.clone(),
        };
        let vhost: String = form_urlencoded::byte_serialize(settings.vhost.as_bytes()).collect();
        // A blank is `+` in a form and `%20` in a path.
        let vhost = vhost.replace('+', "%20");
        let columns = "name,messages,messages_ready,messages_unacknowledged";
        let path = format!("/api/queues/{vhost}?columns={columns}");
        Ok(Self { client: HttpClient::new(&server, base)?, path, asks })
    }
}

#[async_trait]
impl Reader for Rabbitmq {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let body = self.client.get(&self.path, "application/json").await?.good()?;
        let at = now();
        let queues: Vec<Queue> =
            serde_json::from_slice(&body).map_err(|error| ReadError::Garbage(error.to_string()))?;
        let queues: HashMap<&str, &Queue> = queues.iter().map(|queue| (queue.name.as_str(), queue)).collect();
        let figure = |ask: &RabbitmqAsk| {
            let queue = queues.get(ask.queue.as_str()).ok_or(Absence::Empty)?;
            let count = match ask.count {
                QueueCount::All => queue.messages,
                QueueCount::Ready => queue.messages_ready,
                QueueCount::Unacknowledged => queue.messages_unacknowledged,
            };
            #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 messages")]
            count.map(|count| (at, count as f64)).ok_or(Absence::Empty)
        };
        Ok(self.asks.iter().map(figure).collect())
    }
}
