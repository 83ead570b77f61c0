//! `headroom replay` and `headroom journal`: the journal as proof and as a source of test cases.

use anyhow::{Context, Result};
use headroom_engine::journal::Reader;

use crate::cli::{Cli, JournalCommand};
use crate::exit::Exit;
use crate::output::{self, Printer};
use crate::paths;

pub(crate) async fn replay(cli: &Cli, printer: Printer) -> Result<Exit> {
    let data = paths::data_dir(cli.data.as_ref())?;
    let report = Reader::open(&data)?.replay().await?.context("the journal holds nothing yet")?;
    printer.print(&report, |report| match &report.difference {
        None => format!(
            "{} inputs replayed; {} decisions are the same, byte for byte",
            report.inputs, report.same
        ),
        Some(difference) => format!(
            "after input {}, {} decisions in:\nrecorded: {}\nreplayed: {}",
            difference.after,
            report.same,
            difference.recorded.as_deref().unwrap_or("nothing"),
            difference.replayed.as_deref().unwrap_or("nothing")
        ),
    })?;
    Ok(if report.difference.is_none() { Exit::Success } else { Exit::Difference })
}

pub(crate) async fn run(args: &JournalCommand, cli: &Cli) -> Result<Exit> {
    let data = paths::data_dir(cli.data.as_ref())?;
    let reader = Reader::open(&data)?;
    match args {
        JournalCommand::Extract { decision } => {
            let case = reader.extract(decision).await?;
            let case = case
                .with_context(|| format!("{decision} is not in the journal, or its inputs are no longer"))?;
            output::print(&serde_json::to_string_pretty(&case)?)?;
        }
    }
    Ok(Exit::Success)
}
