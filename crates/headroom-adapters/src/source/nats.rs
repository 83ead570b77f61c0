//! The backlog of NATS JetStream consumers, from the server's monitoring port.
//!
//! What counts is what a consumer has not been given (`num_pending`) and what it has not acknowledged
//! (`num_ack_pending`). The monitoring port answers from memory and needs no credentials, and no client library.

use std::collections::HashMap;
use std::path::Path;

use async_trait::async_trait;
use headroom_core::fleet::{Ask, HttpServer, NatsAsk, NatsSettings};
use headroom_core::reading::Absence;
use headroom_engine::driver::now;
use serde::Deserialize;

use super::poll::{Figure, ReadError, Reader, Want};
use crate::http::HttpClient;

/// Asks a NATS server.
pub struct Nats {
    client: HttpClient,
    path: String,
    asks: Vec<NatsAsk>,
}

#[derive(Debug, Deserialize)]
struct Jsz {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Debug, Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Debug, Deserialize)]
struct Consumer {
    name: String,
    num_pending: u64,
    num_ack_pending: u64,
}

impl Nats {
    /// Asks `settings` for `wants`.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub fn new(settings: &NatsSettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&NatsAsk> = super::asks(wants, |ask| match ask {
            Ask::Nats(ask) => Some(ask),
            _ => None,
        })?;
        let asks = asks.into_iter().cloned().collect();
        let server = HttpServer {
            url: settings.url.clone(),
            auth: None,
            ca: settings.ca.clone(),
            client: settings.client.clone(),
        };
        let account: String = form_urlencoded::byte_serialize(settings.account.as_bytes()).collect();
        let path = format!("/jsz?streams=true&consumers=true&acc={account}");
        Ok(Self { client: HttpClient::new(&server, base)?, path, asks })
    }
}

#[async_trait]
impl Reader for Nats {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let body = self.client.get(&self.path, "application/json").await?.good()?;
        let at = now();
        let jsz: Jsz =
            serde_json::from_slice(&body).map_err(|error| ReadError::Garbage(error.to_string()))?;
        let streams = jsz.account_details.iter().flat_map(|account| &account.stream_detail);
        let consumers: HashMap<(&str, &str), &Consumer> = streams
            .flat_map(|stream| {
                stream.consumer_detail.iter().map(|c| ((stream.name.as_str(), c.name.as_str()), c))
            })
            .collect();
        let figure = |ask: &NatsAsk| {
            let key = (ask.stream.as_str(), ask.consumer.as_str());
            let consumer = consumers.get(&key).ok_or(Absence::Empty)?;
            #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 messages")]
            let backlog = (consumer.num_pending + consumer.num_ack_pending) as f64;
            Ok((at, backlog))
        };
        Ok(self.asks.iter().map(figure).collect())
    }
}
