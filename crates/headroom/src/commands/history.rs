//! `headroom history`: what was decided and done.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use headroom_core::decision::Decision;
use headroom_core::say;
use serde::{Deserialize, Serialize};

use crate::cli::{Cli, Format, History};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::{Printer, table};

/// How often a follower asks: as often as the controller ticks.
const EVERY: Duration = Duration::from_secs(1);
/// Decisions asked for each time: a workload makes a few a second at the most.
const FOLLOWED: usize = 50;

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
    let client = Client::new(cli)?;
    let decisions = read(&client, &path).await?;
    if args.follow {
        return follow(args, &client, decisions, printer).await;
    }
    printer.print(&decisions, |decisions| {
        if decisions.is_empty() {
            return format!("nothing in the last {}\n", args.since);
        }
        let rows = decisions
            .iter()
            .map(|d| vec![super::explain::moment(d.at), d.id.to_string(), told(d, printer.language)]);
        table(&["WHEN", "DECISION", "WHAT AND WHY"], &rows.collect::<Vec<_>>())
    })?;
    Ok(Exit::Success)
}

/// The headline, and what came of an earlier change where that became clear.
fn told(decision: &Decision, language: say::Language) -> String {
    let headline = say::headline(decision, language);
    match &decision.verdict {
        Some(verdict) => format!("{headline} ({})", say::verdict(verdict, language)),
        None => headline,
    }
}

async fn read(client: &Client, path: &str) -> Result<Vec<Decision>> {
    let answer: Answer = client.get(path).await?;
    Ok(answer.decisions.into_iter().map(|entry| entry.decision).collect())
}

/// Prints what there is, oldest first, then what comes. A controller that is started again is waited for: its
/// decisions go on counting, so none is missed and none comes twice.
async fn follow(args: &History, client: &Client, first: Vec<Decision>, printer: Printer) -> Result<Exit> {
    let path =
        format!("/api/v1/workloads/{}/decisions?changes={}&limit={FOLLOWED}", args.workload, !args.all);
    let mut last = 0;
    let mut news = first;
    loop {
        for decision in news.iter().rev().filter(|decision| decision.id.number > last) {
            if !line(decision, printer)? {
                return Ok(Exit::Success);
            }
        }
        last = news.iter().map(|decision| decision.id.number).chain([last]).max().unwrap_or(last);
        tokio::time::sleep(EVERY).await;
        news = match read(client, &path).await {
            Ok(news) => news,
            Err(error) if is_unreachable(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
    }
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Unreachable)
}

/// Prints one decision in a line; false once nobody reads any more.
fn line(decision: &Decision, printer: Printer) -> Result<bool> {
    let line = match printer.format {
        Format::Text | Format::Html | Format::Md => format!(
            "{}  {}  {}",
            super::explain::moment(decision.at),
            decision.id,
            told(decision, printer.language)
        ),
        Format::Json => serde_json::to_string(decision)?,
        Format::Yaml => format!("---\n{}", serde_saphyr::to_string(decision)?.trim_end()),
    };
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}
