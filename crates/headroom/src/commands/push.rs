//! `headroom push`: a value of a signal that someone sends.

use anyhow::{Result, bail};

use crate::cli::{Cli, Push};
use crate::client::Client;
use crate::exit::Exit;

pub(crate) async fn run(args: &Push, cli: &Cli) -> Result<Exit> {
    if !args.value.is_finite() || args.value < 0.0 {
        bail!(
            "{} is no value of a signal; send a finite number that is 0 or more, and nothing where there is no value",
            args.value
        );
    }
    let path = format!("/api/v1/workloads/{}/signals/{}", args.workload, args.signal);
    let _: serde_json::Value =
        Client::new(cli)?.post(&path, &serde_json::json!({ "value": args.value })).await?;
    Ok(Exit::Success)
}
