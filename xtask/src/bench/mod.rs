//! Benchmarks that print figures. They compare with a peer in the same run where there is one, and assert no time.

mod tick;

use anyhow::Result;
use clap::ValueEnum;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// One tick of the controller: time and memory per workload, from 10 to 100 000 workloads
    Tick,
}

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Measures `what`.
pub(crate) fn run(what: What, output: Output) -> Result<()> {
    match what {
        What::Tick => tick::run(output),
    }
}
