//! The arguments of every command. Their doc comments are the help texts and the man pages.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use headroom_adapters::traces::Endpoint;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::units::Span;

use crate::exit;

/// Keeps services at their objective for the least money, and says why.
#[derive(Debug, Parser)]
#[command(name = "headroom", version, about, after_help = exit::TABLE, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How to print: for people, or for programs.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,

    /// The language of explanations; by default that of the environment.
    #[arg(long, global = true, value_enum)]
    pub lang: Option<Lang>,

    /// The controller's data: journal, token, sockets. By default ~/.local/state/headroom.
    #[arg(long, global = true, env = "HEADROOM_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where the controller answers.
    #[arg(
        long,
        global = true,
        env = "HEADROOM_SERVER",
        default_value = "127.0.0.1:7070",
        value_name = "ADDRESS"
    )]
    pub server: String,

    /// More words on stderr; twice for all of them.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs, and people.
    Yaml,
    /// A page of its own; `report` only.
    Html,
    /// Markdown; `report` only.
    Md,
}

/// The language of explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    /// English.
    En,
    /// Korean.
    Ko,
}

/// What headroom can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all of it on this machine: an app, the balancer, a surge, the page
    Demo(Demo),
    /// Run the controller: keep the workloads of a policy, serve the API and the page
    Run(Run),
    /// Say what would change now, with reasons and cost
    Plan(Plan),
    /// Do exactly what a plan says, or nothing if the world has moved
    Apply(Apply),
    /// Show the fleet at a glance
    Status,
    /// Watch the fleet live in a terminal: arrows choose, enter explains, / filters, q quits
    Top,
    /// Explain the last decision of a workload, or a decision by its id (web-17)
    Explain(Explain),
    /// Say why a workload does not change, and until when
    WhyNot(OfWorkload),
    /// Show what was decided and done
    History(History),
    /// Say of everything whether it is fine, and what to do where it is not
    Doctor,
    /// Say what a stretch of time came to, to hand on: hours, cost, changes, objectives, idle resources, forecasts
    Report(Report),
    /// Leave a workload alone for a while
    Freeze(Freeze),
    /// Let a frozen workload go on
    Thaw(OfWorkload),
    /// Let a change be made that waits for a person
    Approve(AnswerTo),
    /// Refuse a change that waits for a person
    Reject(AnswerTo),
    /// See to the breaker, which stops the fleet from changing too much at once
    #[command(subcommand)]
    Breaker(BreakerCommand),
    /// Send a value of a signal that a policy declares as pushed
    Push(Push),
    /// One tick from a file, without a controller: an observation in, decisions out
    Decide(Decide),
    /// Check a policy and report every mistake at once
    Check(Check),
    /// Run a policy over a load in a modelled world, beside others and the optimum
    Simulate(Box<Simulate>),
    /// Run scenarios beside policies; made for CI
    Test(Test),
    /// Hold headroom against other autoscalers' test tables
    Conformance(Conformance),
    /// Forecast the load that follows a trace, with bands and scores
    Forecast(Forecast),
    /// What a policy would have done over the journal's own past
    Backtest(Backtest),
    /// Prove that the journal gives the recorded decisions byte for byte
    Replay,
    /// Take things out of the journal
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Print what other programs need
    #[command(subcommand)]
    Export(Export),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// The folder.
        folder: PathBuf,
    },
    /// Be the balancer (started by `run`)
    #[command(hide = true)]
    Lb {
        /// The control socket.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Be the sample app, or load it
    #[command(hide = true)]
    SampleApp(Box<headroom_sample::app::AppOptions>),
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Say only what must hold, a latency, and let what one replica carries be learned.
    #[arg(long)]
    pub objective: bool,
    /// No page and no live line; print the figures at the end.
    #[arg(long)]
    pub headless: bool,
    /// How long to run; by default until Ctrl-C (with --headless: 60s, with --objective as well: 130s).
    #[arg(long = "for", value_name = "TIME")]
    pub lasts: Option<Span>,
    /// The load instead of the built-in one, such as "20*(calm 5s @60, surge 5s x10)".
    #[arg(long, value_name = "PLAN")]
    pub load: Option<String>,
    /// Start-up time of the sample app.
    #[arg(long, default_value = "2s", value_name = "TIME")]
    pub start_up: Span,
    /// Where the page is served.
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub bind: SocketAddr,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The policy.
    #[arg(short, long, default_value = "fleet.yaml")]
    pub file: PathBuf,
    /// Decide and explain, but change nothing.
    #[arg(long)]
    pub advise: bool,
    /// Where the API and the page are served.
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub bind: SocketAddr,
    /// Another name under which API and page may be asked, as a proxy in front passes it on (`scale.example`); may be
    /// repeated. Names that aren't allowed are refused, so that no foreign page reaches the API by its own name.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Serve KEDA's protocol of external scalers here (`0.0.0.0:6000`), so that KEDA scales by what headroom wants or
    /// foresees. It can be asked without a token, and changes nothing.
    #[cfg(feature = "keda")]
    #[arg(long, value_name = "ADDRESS")]
    pub keda_listen: Option<SocketAddr>,
    /// Speak TLS there, with the certificate in this PEM file; it may be replaced at any time.
    #[cfg(feature = "keda")]
    #[arg(long, value_name = "PEM", requires = "keda_listen", requires = "keda_key")]
    pub keda_certificate: Option<PathBuf>,
    /// The private key of `--keda-certificate`, a PEM file.
    #[cfg(feature = "keda")]
    #[arg(long, value_name = "PEM", requires = "keda_certificate")]
    pub keda_key: Option<PathBuf>,
    /// Answer only those who show a certificate of these authorities, a PEM file.
    #[cfg(feature = "keda")]
    #[arg(long, value_name = "PEM", requires = "keda_certificate")]
    pub keda_client_ca: Option<PathBuf>,
    /// Send a trace of each decision, from sample to settled, to this collector of OpenTelemetry over OTLP/HTTP
    /// (`http://127.0.0.1:4318`). Off unless given.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<Endpoint>,
    /// On a normal stop leave replicas and balancer running; the next `run` adopts them.
    #[arg(long)]
    pub leave_running: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Plan under this policy instead of the one in force.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Write the plan to a file, for `apply`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The plan.
    pub plan: PathBuf,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A workload (its last decision) or a decision, such as web-17.
    pub what: String,
}

/// A workload.
#[derive(Debug, Args)]
pub(crate) struct OfWorkload {
    /// Which workload.
    pub workload: WorkloadName,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Which workload.
    pub workload: WorkloadName,
    /// How far back.
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub since: Span,
    /// Also the decisions to change nothing.
    #[arg(long)]
    pub all: bool,
    /// How many at the most, newest first.
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Go on with what is decided from now on, oldest first, until Ctrl-C.
    #[arg(long)]
    pub follow: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// How far back from the journal's last moment.
    #[arg(long, default_value = "7d", value_name = "TIME")]
    pub since: Span,
    /// Only these workloads; by default all.
    #[arg(long, value_name = "NAME")]
    pub workload: Vec<WorkloadName>,
}

/// Arguments of `freeze`.
#[derive(Debug, Args)]
pub(crate) struct Freeze {
    /// Which workload.
    pub workload: WorkloadName,
    /// For how long; by default until it is thawed.
    #[arg(long = "for", value_name = "TIME")]
    pub lasts: Option<Span>,
    /// Why, for those who ask why nothing scales.
    #[arg(long, default_value = "no reason given")]
    pub why: String,
}

/// Arguments of `approve` and `reject`.
#[derive(Debug, Args)]
pub(crate) struct AnswerTo {
    /// The decision that waits, such as web-17; `headroom status` shows it.
    pub decision: headroom_core::decision::DecisionId,
    /// Why, for those who look back.
    #[arg(long, default_value = "no reason given")]
    pub why: String,
}

/// What can be done about the breaker.
#[derive(Debug, Subcommand)]
pub(crate) enum BreakerCommand {
    /// Close it; for one stretch everything passes
    Close {
        /// Why, for those who look back.
        #[arg(long, default_value = "no reason given")]
        why: String,
    },
}

/// Arguments of `push`.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Which workload.
    pub workload: WorkloadName,
    /// Which signal.
    pub signal: SignalName,
    /// The value, in the signal's base unit (a share of 1, seconds, bytes, or plain).
    pub value: f64,
}

/// Arguments of `decide`.
#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// The policy.
    #[arg(short, long, default_value = "fleet.yaml")]
    pub file: PathBuf,
    /// What is seen: JSON, see docs/decide.md.
    #[arg(long)]
    pub observation: PathBuf,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The policy.
    #[arg(short, long, default_value = "fleet.yaml")]
    pub file: PathBuf,
    /// Print the policy with every default filled in.
    #[arg(long)]
    pub resolved: bool,
}

/// What can be taken out of the journal.
#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Make a recorded decision into a test case: memory, inputs and the expected decision
    Extract {
        /// The decision, such as web-17.
        #[arg(long)]
        decision: headroom_core::decision::DecisionId,
    },
}

/// What can be exported.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Export {
    /// The JSON schema of policy files
    Schema,
    /// A dashboard for Grafana's import (A37)
    Grafana,
    /// Alert rules for Prometheus (B15)
    Alerts,
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The policy.
    #[arg(short, long, default_value = "fleet.yaml")]
    pub file: PathBuf,
    /// The load: CSV with the header `timestamp,value`.
    #[arg(long, value_name = "FILE", required_unless_present = "load")]
    pub trace: Option<PathBuf>,
    /// The load as a formula, as in scenarios: '{ wave: { low: 200, high: 900 } }'. It needs `--length`.
    #[arg(long, value_name = "LOAD", conflicts_with = "trace")]
    pub load: Option<String>,
    /// What goes wrong, as in scenarios: '{ what: samplesLost, at: 1h, for: 5m }'. May be given several times.
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<String>,
    /// Scale the load so that its peak needs so many replicas; one that is within a third of that is taken as it is.
    #[arg(long, value_name = "N")]
    pub peak_replicas: Option<f64>,
    /// Who else keeps the same world: static, hpa, keda, kpa, aws-target-tracking, aws-step, aws-predictive,
    /// optimum.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub against: Vec<headroom_sim::Contender>,
    /// Write a report with charts and the decision log, one HTML file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write what was asked for: `time_s,desired`.
    #[arg(long, value_name = "FILE")]
    pub decisions: Option<PathBuf>,
    /// How long a replica takes to start. By default 30s (C6).
    #[arg(long, value_name = "TIME")]
    pub startup: Option<Span>,
    /// What chance adds to the start-up time.
    #[arg(long, value_name = "TIME")]
    pub startup_spread: Option<Span>,
    /// How long a new replica takes to carry its whole share.
    #[arg(long, value_name = "TIME")]
    pub warm_up: Option<Span>,
    /// How long a replica taken away is still paid for. By default 30s.
    #[arg(long, value_name = "TIME")]
    pub drain: Option<Span>,
    /// Requests a second one replica carries at the most. By default 100.
    #[arg(long, value_name = "RATE")]
    pub capacity: Option<f64>,
    /// The share of the capacity that may be used, 0 to 1. By default 0.9.
    #[arg(long, value_name = "SHARE")]
    pub usable: Option<f64>,
    /// How long a request is worked on. By default 50ms.
    #[arg(long, value_name = "TIME")]
    pub service_time: Option<Span>,
    /// 95 % of the requests shall be answered within this. By default 500ms.
    #[arg(long, value_name = "TIME")]
    pub objective: Option<Span>,
    /// Dollars an hour of a replica. By default 0.096.
    #[arg(long, value_name = "DOLLARS")]
    pub price: Option<f64>,
    /// The length of a step; by default 1s, or as far apart as the trace's rows are where that is 1s to 5s.
    #[arg(long, value_name = "TIME")]
    pub step: Option<Span>,
    /// How often the controller is fed; by default each step.
    #[arg(long, value_name = "TIME")]
    pub tick: Option<Span>,
    /// The seed of everything that comes by chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How long to simulate; by default to the end of the trace.
    #[arg(long, value_name = "TIME")]
    pub length: Option<Span>,
    /// Which share of the run is history and not scored, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub unscored: f64,
    /// Replicas at the beginning; by default enough for the first minute.
    #[arg(long, value_name = "N")]
    pub initial: Option<u32>,
}

/// Arguments of `backtest`.
#[derive(Debug, Args)]
pub(crate) struct Backtest {
    /// The policy to try.
    #[arg(short, long, default_value = "fleet.yaml")]
    pub file: PathBuf,
    /// How far back from the journal's last moment.
    #[arg(long, default_value = "7d", value_name = "TIME")]
    pub since: Span,
    /// The recorded signal that shows the demand; by default the balancer's requests a second.
    #[arg(long, value_name = "NAME")]
    pub signal: Option<headroom_core::names::SignalName>,
    /// Who else keeps the same world, as for `simulate`.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub against: Vec<headroom_sim::Contender>,
    /// Write a report with charts and the decision log, one HTML file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Requests a second one replica carries at the most; by default as learned.
    #[arg(long, value_name = "RATE")]
    pub capacity: Option<f64>,
    /// The share of the capacity that may be used, 0 to 1. By default 0.9.
    #[arg(long, value_name = "SHARE")]
    pub usable: Option<f64>,
    /// How long a request is worked on. By default 50ms.
    #[arg(long, value_name = "TIME")]
    pub service_time: Option<Span>,
    /// 95 % of the requests shall be answered within this. By default 500ms.
    #[arg(long, value_name = "TIME")]
    pub objective: Option<Span>,
    /// How long a replica takes to start; by default as measured.
    #[arg(long, value_name = "TIME")]
    pub startup: Option<Span>,
    /// How long a replica taken away is still paid for; by default as measured.
    #[arg(long, value_name = "TIME")]
    pub drain: Option<Span>,
    /// Dollars an hour of a replica. By default 0.096.
    #[arg(long, value_name = "DOLLARS")]
    pub price: Option<f64>,
    /// The length of a step.
    #[arg(long, default_value = "1s", value_name = "TIME")]
    pub step: Span,
    /// The seed of everything that comes by chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Scenarios (.yaml), decisions taken out of the journal (.json), or folders of them.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Write the results as JUnit XML, which CI systems show.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// Arguments of `conformance`.
#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// Files of cases.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// Arguments of `forecast`.
#[derive(Debug, Args)]
pub(crate) struct Forecast {
    /// The load so far: CSV with the header `timestamp,value`.
    #[arg(long, value_name = "FILE", required_unless_present = "origins")]
    pub trace: Option<PathBuf>,
    /// How far ahead of the trace's end.
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub horizon: Span,
    /// The length of a step; by default 5m, or the trace's own spacing where that is longer or the trace is short.
    #[arg(long, value_name = "TIME")]
    pub step: Option<Span>,
    /// Draw load, forecast and bands: a picture (.svg) or a page (.html) that needs nothing else.
    #[arg(long, value_name = "FILE", conflicts_with = "origins")]
    pub plot: Option<PathBuf>,
    /// Answer a plan of series and origins (JSON) instead; the series lie beside it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "horizon", "step"])]
    pub origins: Option<PathBuf>,
    /// Write the forecasts as CSV; with --origins by default to stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
