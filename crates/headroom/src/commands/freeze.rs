//! `headroom freeze` and `headroom thaw`.

use anyhow::Result;
use headroom_core::memory;
use headroom_core::say::Language;

use super::explain::moment;
use crate::cli::{Cli, Freeze, OfWorkload};
use crate::client::Client;
use crate::exit::Exit;

pub(crate) async fn freeze(args: &Freeze, cli: &Cli) -> Result<Exit> {
    let body = serde_json::json!({ "for": args.lasts, "why": args.why });
    let path = format!("/api/v1/workloads/{}/freeze", args.workload);
    let _: serde_json::Value = Client::new(cli)?.post(&path, &body).await?;
    match args.lasts {
        Some(lasts) => say!("{} is frozen for {lasts}", args.workload),
        None => say!("{} is frozen until `headroom thaw {}`", args.workload, args.workload),
    }
    Ok(Exit::Success)
}

pub(crate) async fn thaw(args: &OfWorkload, cli: &Cli) -> Result<Exit> {
    let path = format!("/api/v1/workloads/{}/thaw", args.workload);
    let _: serde_json::Value = Client::new(cli)?.post(&path, &serde_json::json!({})).await?;
    say!("{} goes on", args.workload);
    Ok(Exit::Success)
}

/// A freeze that stands: by whom, until when, and why.
pub(super) fn say(freeze: &memory::Freeze, language: Language) -> String {
    let memory::Freeze { until, by, why } = freeze;
    match (until.map(moment), language) {
        (None, Language::English) => format!("frozen by {by} until it is thawed: {why}"),
        (None, Language::Korean) => format!("{by}: 해제할 때까지 동결: {why}"),
        (Some(until), Language::English) => format!("frozen by {by} until {until}: {why}"),
        (Some(until), Language::Korean) => format!("{by}: {until}까지 동결: {why}"),
    }
}
