//! How fast a surge is answered: from its first request to the order to grow, and to the first request that a new
//! replica serves. It is `headroom demo --headless` with at least twenty surges.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Output;

/// Twenty-two surges, each after long enough a calm that the workload is small again: a surge onto a fleet that is
/// still large needs no answer, and would only make the figures better.
const LOAD: &str = "22*(calm 10s @60, surge 3s x10)";
const LASTS: &str = "290s";

pub(crate) fn run(output: Output) -> Result<()> {
    let program = super::rig::program()?;
    let format = match output {
        Output::Json => "json",
        Output::Text => "text",
    };
    let ran = Command::new(program)
        .args(["demo", "--headless", "--load", LOAD, "--for", LASTS, "-o", format])
        .output()
        .context("the demo can't be run")?;
    if !ran.status.success() {
        bail!("the demo failed: {}", String::from_utf8_lossy(&ran.stderr));
    }
    print!("{}", String::from_utf8_lossy(&ran.stdout));
    Ok(())
}
