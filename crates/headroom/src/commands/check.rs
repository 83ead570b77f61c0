//! `headroom check`: every mistake of a policy at once.

use anyhow::Result;

use crate::cli::Check;
use crate::exit::Exit;
use crate::output::{Printer, coloured};

pub(crate) fn run(args: &Check, printer: Printer) -> Result<Exit> {
    match headroom_config::load(&args.file) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                say!("{}", warning.render(coloured(&std::io::stderr())));
            }
            if args.resolved {
                printer.print(&loaded.fleet.document(), |document| {
                    serde_saphyr::to_string(document).unwrap_or_else(|error| error.to_string())
                })?;
            } else {
                let workloads = loaded.fleet.workloads().len();
                let answer = serde_json::json!({ "valid": true, "fleet": loaded.fleet.name(), "workloads": workloads });
                printer.print(&answer, |_| {
                    let many = if workloads == 1 { "" } else { "s" };
                    format!("{}: fine ({workloads} workload{many})", args.file.display())
                })?;
            }
            Ok(Exit::Success)
        }
        Err(error) => {
            let answer = serde_json::json!({ "valid": false, "problems": error.diagnostics() });
            if printer.format == crate::cli::Format::Text {
                say!("{}", error.render(coloured(&std::io::stderr())));
            } else {
                printer.print(&answer, |_| String::new())?;
            }
            Ok(Exit::InvalidPolicy)
        }
    }
}

/// Loads a policy, or says everything that is wrong with it.
pub(crate) fn load(file: &std::path::Path) -> Result<headroom_config::Loaded> {
    let loaded = headroom_config::load(file)
        .map_err(|error| crate::exit::Failure::error(Exit::InvalidPolicy, error.render(false)))?;
    for warning in &loaded.warnings {
        say!("{}", warning.render(false));
    }
    Ok(loaded)
}
