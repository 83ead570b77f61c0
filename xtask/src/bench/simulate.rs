//! How fast the simulator is, and how much memory it takes.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::units::Span;
use headroom_sim::load::{Load, TraceSource};
use headroom_sim::{Loads, SimulateOptions};
use serde::Serialize;

use super::Output;

/// How long one simulation took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    what: &'static str,
    /// What the simulator promises, in seconds.
    promised_seconds: f64,
    wall_seconds: f64,
    /// Without the time in which the machine did other things.
    processor_seconds: f64,
    nanoseconds_a_step: f64,
    changes: u64,
    /// The most the process has held so far.
    peak_memory_mib: u64,
}

/// Runs both and prints how long they took, beside what is promised.
pub(crate) fn run(output: Output) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation; run `cargo run --release -p xtask -- bench simulate`");
    }
    let all = [
        measure("30 days at 1 s, one workload", 1, Span::seconds(1), 30, 2.0)?,
        measure("1 000 workloads, 1 day at 10 s", 1000, Span::seconds(10), 1, 30.0)?,
    ];
    for f in &all {
        match output {
            Output::Json => println!("{}", serde_json::to_string(f)?),
            Output::Text => println!(
                "{}: {:.2} s ({:.2} s of processor time; promised: {} s), {:.0} ns a step, {} changes, peak \
                 memory {} MiB",
                f.what,
                f.wall_seconds,
                f.processor_seconds,
                f.promised_seconds,
                f.nanoseconds_a_step,
                f.changes,
                f.peak_memory_mib
            ),
        }
    }
    Ok(())
}

fn measure(what: &'static str, workloads: usize, step: Span, days: u32, promised: f64) -> Result<Figures> {
    let fleet = fleet(workloads)?;
    let options = SimulateOptions { step, ..SimulateOptions::default() };
    let before = cpu_seconds()?;
    let began = Instant::now();
    let outcome = headroom_sim::run(&fleet, &Loads::from(trace(days)), &options, &mut ())?;
    let (wall_seconds, processor_seconds) = (began.elapsed().as_secs_f64(), cpu_seconds()? - before);
    let changes = outcome.headroom().score.changes;
    ensure!(changes > 0, "nothing was scaled, so nothing was measured");
    Ok(Figures {
        what,
        promised_seconds: promised,
        wall_seconds,
        processor_seconds,
        nanoseconds_a_step: processor_seconds * 1e9 / (outcome.steps * workloads as u64) as f64,
        changes,
        peak_memory_mib: peak_memory_mib()?,
    })
}

/// A trace of one row a minute with a day's wave, surges and a ragged edge: the controller has something to decide
/// all the time.
fn trace(days: u32) -> Load {
    let mut text = String::from("timestamp,value\n");
    let mut ragged = 1_u32;
    for minute in 0..days * 1440 {
        ragged = ragged.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = 0.9 + 0.2 * f64::from(ragged >> 16) / 65_536.0;
        let hour = f64::from(minute % 1440) / 60.0;
        let wave = 1500.0 - 1000.0 * ((hour - 3.0) / 24.0 * std::f64::consts::TAU).cos();
        let surge = if minute % 300 < 10 { 800.0 } else { 0.0 };
        text.push_str(&format!("{},{:.1}\n", u64::from(minute) * 60, (wave + surge) * noise));
    }
    Load::Trace(TraceSource::Text { name: "the benchmark's trace".to_owned(), text: text.into() })
}

fn fleet(workloads: usize) -> Result<Arc<Fleet>> {
    let one = serde_json::json!({
        "target": { "process": { "command": ["./web"] } },
        "balancer": { "listen": "127.0.0.1:0" },
        "replicas": { "min": 2, "max": 100 },
        "signals": { "rps": { "balancer": "requestsPerSecond" } },
        "strategies": [{ "targetTracking": { "signal": "rps", "perReplica": 70, "scaleInCooldown": "60s" } }],
    });
    let all: serde_json::Map<String, serde_json::Value> =
        (0..workloads).map(|i| (format!("w{i}"), one.clone())).collect();
    let document: FleetDocument = serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet",
        "metadata": { "name": "bench" }, "spec": { "workloads": all },
    }))?;
    let problems = |p: Vec<_>| anyhow::anyhow!("the benchmark's fleet has problems: {p:?}");
    Ok(Arc::new(Fleet::new(document).map_err(problems)?))
}

/// Processor time of this process so far. A machine that does other things stretches the wall clock, not this.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("/proc/self/stat has no name")?.1;
    let field = |i: usize| after_name.split_whitespace().nth(i).and_then(|f| f.parse::<f64>().ok());
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    // Linux counts in hundredths of a second on every architecture it is built for today.
    Ok(ticks.context("/proc/self/stat has no times")? / 100.0)
}

/// The most memory this process has held.
fn peak_memory_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024)
}
