//! How fast the simulator is, and how much memory it takes.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::units::Span;
use headroom_sim::load::{Load, Noisy, Surge, Wave};
use headroom_sim::{Loads, SimulateOptions};

/// Runs both and prints how long they took. The bounds are those the simulator promises.
pub fn run() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation; run `cargo run --release -p xtask -- bench simulate`");
    }
    measure("30 days at 1 s, one workload", 1, Span::seconds(1), Span::days(30), 2.0)?;
    measure("1 000 workloads, 1 day at 10 s", 1000, Span::seconds(10), Span::days(1), 30.0)
}

fn measure(what: &str, workloads: usize, step: Span, length: Span, promised: f64) -> anyhow::Result<()> {
    let fleet = fleet(workloads)?;
    let options = SimulateOptions { step, length: Some(length), ..SimulateOptions::default() };
    let cpu = cpu_seconds()?;
    let began = Instant::now();
    let outcome = headroom_sim::run(&fleet, &Loads::from(load()), &options, &mut ())?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let score = outcome.headroom().score;
    ensure!(score.changes > 0, "nothing was scaled, so nothing was measured");
    let steps = outcome.steps * workloads as u64;
    println!(
        "{what}: {wall:.2} s ({cpu:.2} s of processor time; promised: {promised} s), {:.0} ns a step, {} changes, \
         peak memory {} MiB",
        cpu * 1e9 / steps as f64,
        score.changes,
        peak_memory_mib()?
    );
    Ok(())
}

/// A day with a wave, hourly surges and noise: the controller has something to decide all the time.
fn load() -> Load {
    let wave = Wave { low: 500.0, high: 2500.0, period: Span::days(1), peak_at: Span::hours(15) };
    let surge = Surge {
        add: 800.0,
        at: Span::minutes(20),
        rise: Span::seconds(10),
        hold: Span::minutes(10),
        fall: Span::minutes(2),
        every: Some(Span::hours(5)),
    };
    let sum = Load::Sum(vec![Load::Wave(wave), Load::Surge(surge)]);
    Load::Noisy(Box::new(Noisy { wander: 0.05, arrivals: false, load: sum }))
}

fn fleet(workloads: usize) -> anyhow::Result<Arc<Fleet>> {
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
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("/proc/self/stat has no name")?.1;
    let field = |i: usize| after_name.split_whitespace().nth(i).and_then(|f| f.parse::<f64>().ok());
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    // Linux counts in hundredths of a second on every architecture it is built for today.
    Ok(ticks.context("/proc/self/stat has no times")? / 100.0)
}

/// The most memory this process has held.
fn peak_memory_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024)
}
