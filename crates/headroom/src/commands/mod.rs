//! The commands, one file each.

mod apply;
mod approve;
mod backtest;
mod breaker;
mod check;
mod conformance;
mod decide;
mod demo;
mod doctor;
mod explain;
mod export;
mod forecast;
mod freeze;
mod history;
mod journal;
mod plan;
mod progress;
mod push;
mod report;
mod run;
mod simulate;
mod status;
mod test;
mod top;

use anyhow::{Context, Result};

use crate::cli::{Cli, Command, Format};
use crate::exit::{Exit, Failure};
use crate::output::{Printer, coloured};

/// Runs the command of `cli`.
pub(crate) fn run(cli: &Cli) -> Result<Exit> {
    let printer = Printer::new(cli);
    if matches!(cli.output, Format::Html | Format::Md) && !matches!(cli.command, Command::Report(_)) {
        return Err(Failure::error(
            Exit::Usage,
            "only `headroom report` prints html and md; others print text, json and yaml",
        ));
    }
    match &cli.command {
        // These two have a runtime of their own making, or none.
        Command::Lb { socket } => return balancer(socket),
        Command::SampleApp(options) => {
            runtime(2)?.block_on(headroom_sample::app::run((**options).clone()))?;
            return Ok(Exit::Success);
        }
        Command::Check(args) => return check::run(args, printer),
        Command::Decide(args) => return decide::run(args, printer),
        Command::Simulate(args) => return simulate::run(args, printer),
        Command::Test(args) => return test::run(args, printer),
        Command::Conformance(args) => return conformance::run(args, printer),
        Command::Forecast(args) => return forecast::run(args, printer),
        Command::Export(what) => return export::run(*what),
        Command::Completions { shell } => return export::completions(*shell),
        Command::Man { folder } => return export::man(folder),
        _ => {}
    }
    runtime(2)?.block_on(async {
        match &cli.command {
            Command::Demo(args) => demo::run(args, printer).await,
            Command::Run(args) => run::run(args, cli).await,
            Command::Plan(args) => plan::run(args, cli, printer).await,
            Command::Apply(args) => apply::run(args, cli).await,
            Command::Status => status::run(cli, printer).await,
            Command::Top => top::run(cli, printer).await,
            Command::Explain(args) => explain::explain(args, cli, printer).await,
            Command::WhyNot(args) => explain::why_not(args, cli, printer).await,
            Command::History(args) => history::run(args, cli, printer).await,
            Command::Doctor => doctor::run(cli, printer).await,
            Command::Freeze(args) => freeze::freeze(args, cli).await,
            Command::Thaw(args) => freeze::thaw(args, cli).await,
            Command::Approve(args) => approve::run(args, true, cli).await,
            Command::Reject(args) => approve::run(args, false, cli).await,
            Command::Breaker(command) => breaker::run(command, cli).await,
            Command::Push(args) => push::run(args, cli).await,
            Command::Report(args) => report::run(args, cli, printer).await,
            Command::Backtest(args) => backtest::run(args, cli, printer).await,
            Command::Replay => journal::replay(cli, printer).await,
            Command::Journal(args) => journal::run(args, cli).await,
            Command::Lb { .. }
            | Command::SampleApp(_)
            | Command::Check(_)
            | Command::Decide(_)
            | Command::Export(_)
            | Command::Simulate(_)
            | Command::Test(_)
            | Command::Conformance(_)
            | Command::Forecast(_)
            | Command::Completions { .. }
            | Command::Man { .. } => unreachable!("answered above"),
        }
    })
}

/// A runtime with `threads` workers: the controller needs one and a spare, not one per core.
fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("the runtime can't be started")
}

fn balancer(socket: &std::path::Path) -> Result<Exit> {
    logs(0);
    headroom_lb::run(&headroom_lb::Options::new(socket))?;
    Ok(Exit::Success)
}

/// Logs to stderr: warnings, more with `-v`, or what `HEADROOM_LOG` says.
fn logs(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("HEADROOM_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A second set-up, as in tests, keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(coloured(&std::io::stderr()))
        // Complaining of a closed stderr on stderr would end the program.
        .log_internal_errors(false)
        .with_target(false)
        .try_init();
}
