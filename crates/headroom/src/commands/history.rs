//! `headroom history`: what was decided and done.

use anyhow::Result;
use headroom_core::decision::Decision;
use headroom_core::say;
use serde::{Deserialize, Serialize};

use crate::cli::{Cli, History};
use crate::client::Client;
use crate::exit::Exit;
use crate::output::{Printer, table};

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    decisions: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    decision: Decision,
}

pub(crate) async fn run(args: &History, cli: &Cli, printer: Printer) -> Result<Exit> {
    let path = format!(
        "/api/v1/workloads/{}/decisions?since={}&changes={}&limit={}",
        args.workload, args.since, !args.all, args.limit
    );
    let answer: Answer = Client::new(cli)?.get(&path).await?;
    let decisions: Vec<Decision> = answer.decisions.into_iter().map(|entry| entry.decision).collect();
    printer.print(&decisions, |decisions| {
        if decisions.is_empty() {
            return format!("nothing in the last {}\n", args.since);
        }
        let rows = decisions.iter().map(|d| {
            let headline = say::headline(d, printer.language);
            vec![super::explain::moment(d.at), d.id.to_string(), headline]
        });
        table(&["WHEN", "DECISION", "WHAT AND WHY"], &rows.collect::<Vec<_>>())
    })?;
    Ok(Exit::Success)
}
