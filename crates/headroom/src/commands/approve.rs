//! `headroom approve` and `headroom reject`: a person's word on a change that waits.

use anyhow::Result;

use crate::cli::{AnswerTo, Cli};
use crate::client::Client;
use crate::exit::Exit;

pub(crate) async fn run(args: &AnswerTo, approved: bool, cli: &Cli) -> Result<Exit> {
    let word = if approved { "approve" } else { "reject" };
    let path = format!("/api/v1/decisions/{}/{word}", args.decision);
    let _: serde_json::Value = Client::new(cli)?.post(&path, &serde_json::json!({ "why": args.why })).await?;
    if approved {
        eprintln!("{} may be made within 10 minutes", args.decision);
    } else {
        eprintln!("{} is refused, and not asked for again for an hour", args.decision);
    }
    Ok(Exit::Success)
}
