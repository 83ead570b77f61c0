//! `headroom forecast`: what the forecaster makes of a trace, or of a plan of rolling origins.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use headroom_sim::forecast::{
    ForecastOptions, TraceForecast, forecast, render_html, render_svg, render_text,
};
use headroom_sim::load::TraceSource;

use crate::cli::Forecast;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printer};

/// Lines of the table for people; JSON and CSV have every step.
const ROWS: usize = 24;

pub(crate) fn run(args: &Forecast, printer: Printer) -> Result<Exit> {
    match (&args.origins, &args.trace) {
        (Some(plan), _) => answer(plan, args.out.as_deref()),
        (None, Some(trace)) => of_trace(trace, args, printer),
        (None, None) => anyhow::bail!("a load is needed: --trace FILE, or --origins FILE"),
    }
}

fn of_trace(trace: &Path, args: &Forecast, printer: Printer) -> Result<Exit> {
    let plotter =
        args.plot.as_deref().map(|file| Ok::<_, anyhow::Error>((file, plotter(file)?))).transpose()?;
    let options = ForecastOptions { horizon: args.horizon, step: args.step };
    let seen = forecast(&TraceSource::from(trace.to_owned()), &options)?;
    if let Some((file, plotter)) = plotter {
        write(file, &plotter(&seen))?;
    }
    if let Some(out) = &args.out {
        write(out, &csv(&seen))?;
    }
    printer.print(&seen, |seen| render_text(seen, ROWS))?;
    Ok(Exit::Success)
}

/// Who draws for a file of this name.
fn plotter(file: &Path) -> Result<fn(&TraceForecast) -> String> {
    match file.extension().and_then(|e| e.to_str()) {
        Some("svg") => Ok(render_svg),
        Some("html") => Ok(render_html),
        _ => Err(Failure::error(
            Exit::Usage,
            format!("{} is neither a picture nor a page: end its name with .svg or .html", file.display()),
        )),
    }
}

fn csv(seen: &TraceForecast) -> String {
    let mut text = String::from("timestamp,q0.5,q0.9,q0.95,q0.99\n");
    for p in &seen.points {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{},{},{},{},{}", p.at, p.q50, p.q90, p.q95, p.q99);
    }
    text
}

fn answer(plan: &Path, out: Option<&Path>) -> Result<Exit> {
    let text = std::fs::read_to_string(plan).with_context(|| format!("{} can't be read", plan.display()))?;
    let folder = plan.parent().unwrap_or(Path::new("."));
    let began = Instant::now();
    let millis = || cpu_millis().unwrap_or_else(|| began.elapsed().as_secs_f64() * 1e3);
    let answer =
        headroom_forecast::answer_plan(&text, |file| std::fs::read_to_string(folder.join(file)), millis)?;
    match out {
        Some(out) => write(out, &answer)?,
        None => output::print(&answer)?,
    }
    Ok(Exit::Success)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
}

/// Milliseconds this thread has been on a processor, where the system tells: a forecast's cost is not its wait.
fn cpu_millis() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanos / 1e6)
}
