//! `headroom conformance`: other autoscalers' test tables held against headroom's rules.

use anyhow::{Context, Result};

use crate::cli::Conformance;
use crate::exit::Exit;
use crate::output::Printer;

pub(crate) fn run(args: &Conformance, printer: Printer) -> Result<Exit> {
    let mut reports = Vec::new();
    for file in &args.files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("{name} can't be read"))?;
        reports.push(headroom_conformance::run(&name, &text)?);
    }
    let fine = reports.iter().all(headroom_conformance::Report::is_fine);
    printer
        .print(&reports, |reports| reports.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    Ok(if fine { Exit::Success } else { Exit::Difference })
}
