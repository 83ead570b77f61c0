//! Talks to a running controller over its HTTP API.
//!
//! One request, one connection: commands are short. The API is on this machine unless someone says otherwise.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::paths;

/// How long an answer may take; the controller answers between two ticks.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer taken: a page of decisions is a few hundred kilobytes.
const LARGEST: usize = 64 << 20;

/// A controller's API.
#[derive(Debug)]
pub(crate) struct Client {
    address: String,
    /// What changes show; `None` where there is none, or why it can't be read.
    token: Result<Option<String>, String>,
}

impl Client {
    /// The controller that the arguments name.
    pub(crate) fn new(cli: &Cli) -> Result<Self> {
        let address = cli.server.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            let message = format!("--server {:?} is no address; write HOST:PORT", cli.server);
            return Err(Failure::error(Exit::Usage, message));
        }
        let data = paths::data_dir(cli.data.as_ref())?;
        let token = match std::env::var("HEADROOM_TOKEN") {
            Ok(token) if !token.is_empty() => Ok(Some(token)),
            _ => read_token(&paths::token(&data)),
        };
        Ok(Self { address, token })
    }

    /// Whether changes can show who asks.
    pub(crate) fn has_token(&self) -> bool {
        matches!(self.token, Ok(Some(_)))
    }

    /// Why there is no token, where that is not because there is none.
    pub(crate) fn token_trouble(&self) -> Option<&str> {
        self.token.as_ref().err().map(String::as_str)
    }

    /// Reads.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None).await
    }

    /// Changes something.
    pub(crate) async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T> {
        self.ask(Method::POST, path, Some(serde_json::to_vec(body)?)).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<T> {
        let asked = tokio::time::timeout(DEADLINE, self.send(method, path, body)).await;
        let (status, body) = asked.map_err(|_| {
            Failure::error(
                Exit::Unreachable,
                format!("the controller at {} did not answer within {} s", self.address, DEADLINE.as_secs()),
            )
        })??;
        if status.is_success() {
            // An answer without content reads as null.
            let body = if body.is_empty() { &b"null"[..] } else { &body[..] };
            return serde_json::from_slice(body)
                .context("the controller's answer can't be read; are both of one version?");
        }
        match self.token_trouble().filter(|_| status == StatusCode::UNAUTHORIZED) {
            Some(why) => Err(Failure::error(Exit::Failure, why)),
            None => Err(self.refusal(status, &body)),
        }
    }

    /// The API's own words as an error.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> anyhow::Error {
        let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let field = |name: &str| {
            let value = said.as_ref()?.pointer(&format!("/error/{name}"))?.as_str()?;
            Some(value.to_owned())
        };
        let mut message = field("message").unwrap_or_else(|| {
            format!(
                "what answers at {} is no headroom (it said {status}); name the controller with --server",
                self.address
            )
        });
        if let Some(help) = field("help") {
            message = format!("{message}\n  help: {help}");
        }
        let exit = match status {
            StatusCode::CONFLICT => Exit::Refused,
            StatusCode::UNPROCESSABLE_ENTITY => Exit::InvalidPolicy,
            _ => Exit::Failure,
        };
        Failure::error(exit, message)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| {
            Failure::error(
                Exit::Unreachable,
                format!("no controller answers at {} ({error}); start one with `headroom run`, or name another with --server", self.address),
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("accept", "application/json");
        if let Ok(Some(token)) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let response =
            sender.send_request(request.body(Full::new(Bytes::from(body.unwrap_or_default())))?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST)
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!(e))?
            .to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

fn read_token(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(token) => Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) => unread(path, &error),
    }
}

/// What it means that the token can't be read.
fn unread(path: &Path, error: &std::io::Error) -> Result<Option<String>, String> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Ok(None),
        _ => Err(format!(
            "a change needs the token, and {} can't be read: {error}; run as the controller's user, or set HEADROOM_TOKEN",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_token_that_may_not_be_read_is_not_one_that_is_not_there() {
        let of = |kind: ErrorKind| unread(Path::new("data/token"), &Error::from(kind));
        assert_eq!(of(ErrorKind::NotFound), Ok(None));
        let why = of(ErrorKind::PermissionDenied).unwrap_err();
        assert!(why.contains("data/token can't be read: permission denied"), "{why}");
        assert!(why.contains("controller's user"), "{why}");
    }
}
