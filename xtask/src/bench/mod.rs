//! Benchmarks that print figures. They compare with a peer in the same run where there is one, and assert no time.

mod balancer;
mod forecast;
mod frontier;
mod idle;
mod page;
mod reaction;
mod rig;
mod simulate;
mod soak;
mod sources;
mod tick;
mod told;
mod traces;

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;

pub(crate) use frontier::Options as FrontierOptions;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// From the first request of a surge to the order to grow, and to the first answer of a new replica
    Reaction,
    /// One tick of the controller: time and memory per workload, from 10 to 100 000 workloads
    Tick,
    /// The balancer beside HAProxy and nginx
    Balancer,
    /// What the controller costs while nothing happens
    Idle,
    /// The page with 1 000 workloads and 30 days of history, in a browser
    Page,
    /// 200 000 requests while everything comes and goes
    Soak,
    /// 1 000 workloads, four signals each, from one Prometheus every second
    Sources,
    /// What an objective costs and how often it is missed, beside other autoscalers and the optimum
    Frontier,
    /// From a decision until whoever is to know has been told
    Told,
    /// What traces of decisions cost: 1 000 workloads whose loads change, with a collector and without
    Traces,
    /// The simulator: 30 days at 1 s, and 1 000 workloads for a day at 10 s
    Simulate,
    /// Forecasts: a fit, a sample; with `--plan`, the loss on its series
    Forecast,
}

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Measures `what`; `plan` is the folder of an evaluation plan for forecasts, `frontier` what is asked of the race.
pub(crate) fn run(what: What, output: Output, plan: Option<&Path>, frontier: &FrontierOptions) -> Result<()> {
    match what {
        What::Reaction => reaction::run(output),
        What::Tick => tick::run(output),
        What::Balancer => balancer::run(output == Output::Json),
        What::Idle => idle::run(output),
        What::Page => page::run(output),
        What::Soak => soak::run(output),
        What::Sources => sources::run(output),
        What::Frontier => frontier::run(frontier, output),
        What::Told => told::run(output),
        What::Traces => traces::run(output),
        What::Simulate => simulate::run(output),
        What::Forecast => forecast::run(output, plan),
    }
}
