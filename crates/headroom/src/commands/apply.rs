//! `headroom apply`: exactly what a plan says, or nothing.

use anyhow::{Context, Result};
use headroom_engine::plan::Plan;

use crate::cli::{Apply, Cli};
use crate::client::Client;
use crate::exit::Exit;

pub(crate) async fn run(args: &Apply, cli: &Cli) -> Result<Exit> {
    let file = args.plan.display();
    let text = std::fs::read_to_string(&args.plan).with_context(|| format!("{file} can't be read"))?;
    let plan: Plan = serde_json::from_str(&text)
        .with_context(|| format!("{file} is no plan; `headroom plan --out {file}` writes one"))?;
    let _: serde_json::Value = Client::new(cli)?.post("/api/v1/apply", &plan).await?;
    let changed = plan.workloads.iter().filter(|entry| entry.to != entry.saw);
    for entry in changed {
        say!("{}: {} → {}", entry.workload, entry.saw, entry.to);
    }
    if !plan.changes_anything() {
        say!("the plan changes nothing");
    }
    Ok(Exit::Success)
}
