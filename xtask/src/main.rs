//! Checks, benchmarks and generated files of the repository: `cargo xtask …`.

mod bench;
mod generate;
mod screenshots;
mod swarm;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the repository.
#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check what the compiler can't: forbidden dependencies, spec ids, stray words
    Tidy,
    /// Write the generated files anew: schema, references
    Generate,
    /// Measure and print figures
    Bench {
        /// What to measure.
        what: bench::What,
        /// As JSON, or as text.
        #[arg(short, long, default_value = "text")]
        output: bench::Output,
        /// `forecast`: the folder of an evaluation plan (`origins.json` and the series it names).
        #[arg(long, value_name = "FOLDER")]
        plan: Option<std::path::PathBuf>,
        #[command(flatten)]
        frontier: bench::FrontierOptions,
    },
    /// Take pictures of every view of the page, light and dark, wide and narrow, in both languages
    Screenshots {
        /// Where the pictures are put.
        #[arg(default_value = "target/screenshots")]
        folder: std::path::PathBuf,
        /// Of the controller that runs here (127.0.0.1:7070), small ones for the documentation.
        #[arg(long, value_name = "ADDRESS")]
        of: Option<std::net::SocketAddr>,
        /// With `--of`: which workload; by default the first.
        #[arg(long, value_name = "NAME", requires = "of")]
        workload: Option<String>,
    },
    /// Fly random fleets with faults until the time is over; the first broken invariant ends it
    Swarm(swarm::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().task {
        Task::Tidy => tidy::run()?,
        Task::Generate => generate::run()?,
        Task::Bench { what, output, plan, frontier } => {
            bench::run(what, output, plan.as_deref(), &frontier)?;
        }
        Task::Screenshots { folder, of, workload } => screenshots::run(&folder, of, workload)?,
        Task::Swarm(options) => return Ok(swarm::run(&options)),
    }
    Ok(ExitCode::SUCCESS)
}
