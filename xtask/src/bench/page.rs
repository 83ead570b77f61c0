//! The page with 1 000 workloads and 30 days of history, in a headless browser.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Output;

/// The example that measures; it prints JSON.
const EXAMPLE: [&str; 7] = ["run", "--release", "--locked", "-p", "headroom-api", "--example", "page_bench"];

pub(crate) fn run(output: Output) -> Result<()> {
    let ran = Command::new(env!("CARGO"))
        .args(EXAMPLE)
        .current_dir(crate::tidy::root())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !ran.status.success() {
        bail!("the page could not be measured; it needs Debian's packages chromium and chromium-driver");
    }
    let figures: serde_json::Value =
        serde_json::from_slice(&ran.stdout).context("no figures were printed")?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    for (name, value) in figures.as_object().into_iter().flatten() {
        println!("{name}: {value}");
    }
    Ok(())
}
