//! `headroom breaker close`.

use anyhow::Result;

use crate::cli::{BreakerCommand, Cli};
use crate::client::Client;
use crate::exit::Exit;

pub(crate) async fn run(command: &BreakerCommand, cli: &Cli) -> Result<Exit> {
    let BreakerCommand::Close { why } = command;
    let body = serde_json::json!({ "why": why });
    let _: serde_json::Value = Client::new(cli)?.post("/api/v1/breaker/close", &body).await?;
    eprintln!("the breaker is closed; for one stretch everything passes");
    Ok(Exit::Success)
}
