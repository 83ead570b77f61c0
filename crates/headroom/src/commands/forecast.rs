//! `headroom forecast`: what the forecaster makes of a trace, or of a plan of rolling origins.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cli::Forecast;
use crate::exit::Exit;
use crate::output;

pub(crate) fn run(args: &Forecast) -> Result<Exit> {
    let plan = &args.origins;
    let text = std::fs::read_to_string(plan).with_context(|| format!("{} can't be read", plan.display()))?;
    let folder = plan.parent().unwrap_or(Path::new("."));
    let began = Instant::now();
    let millis = || cpu_millis().unwrap_or_else(|| began.elapsed().as_secs_f64() * 1e3);
    let answer =
        headroom_forecast::answer_plan(&text, |file| std::fs::read_to_string(folder.join(file)), millis)?;
    match &args.out {
        Some(out) => {
            std::fs::write(out, answer).with_context(|| format!("{} can't be written", out.display()))?;
        }
        None => output::print(&answer)?,
    }
    Ok(Exit::Success)
}

/// Milliseconds this thread has been on a processor, where the system tells: a forecast's cost is not its wait.
fn cpu_millis() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanos / 1e6)
}
