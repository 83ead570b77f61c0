//! `headroom-sample`: the sample app, and `headroom-sample load`: the load generator.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use headroom_sample::app::{self, AppOptions};
use headroom_sample::load::{Generator, LoadOptions, LoadPlan, describe};

/// A web server to be scaled, with a known capacity and failures on demand
///
/// Exit codes: 0 all well; 1 the app crashed or was cut off, or too many requests of a load failed;
/// 2 the command line is wrong.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    app: AppOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send requests at a planned rate, whatever the answers
    Load(Load),
}

#[derive(Debug, Args)]
struct Load {
    /// The plan, such as "calm 20s @50, surge 20s x10"
    #[arg(long)]
    plan: LoadPlan,

    #[command(flatten)]
    options: LoadOptions,

    /// Exit with code 1 if more requests than this fail or overrun
    #[arg(long, value_name = "COUNT")]
    most_failures: Option<u64>,

    /// Form of the report
    #[arg(short, long, default_value = "text", value_name = "FORM")]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

// One thread: many replicas share a machine, and a load is meant to leave room for what it loads.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => match app::run(cli.app).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                // Whoever started this may have closed its end; that must not turn the failure into a panic.
                let _ = writeln!(std::io::stderr(), "error: {error}{cause}");
                ExitCode::FAILURE
            }
        },
        Some(Command::Load(load)) => send(load).await,
    }
}

/// Sends the load, with a line a second on stderr; Ctrl-C ends it early, with its report.
async fn send(load: Load) -> ExitCode {
    let target = load.options.target.clone();
    let (lasts, requests) = (load.plan.lasts(), load.plan.requests());
    eprintln!("sending about {requests:.0} requests to {target} in {lasts:?}");
    let mut generator = Generator::start(load.plan, load.options);
    let live = generator.live();
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    every_second.tick().await;
    let report = loop {
        tokio::select! {
            report = generator.wait() => break report,
            _ = every_second.tick() => {
                let stats = live.snapshot();
                eprintln!(
                    "{:>6.1}s  {} sent, {} ok, {} failed, {} in flight, {} overrun",
                    stats.elapsed.as_secs_f64(), stats.sent, stats.ok, stats.failed_in_all(), stats.in_flight,
                    stats.overrun,
                );
            }
            _ = tokio::signal::ctrl_c() => {
                generator.stop();
                break generator.wait().await;
            }
        }
    };
    match load.output {
        Output::Text => print!("{}", describe(&report)),
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(&report).expect("numbers and strings serialise"));
        }
    }
    let failures = report.requests.failed + report.requests.overrun;
    if load.most_failures.is_some_and(|most| failures > most) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
