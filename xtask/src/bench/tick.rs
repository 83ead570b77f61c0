//! The cost of a tick: how long the controller takes for one workload, and how much it remembers.
//!
//! Each workload has four signals and three strategies. A round is one sample of every signal and one look; the
//! tick is measured alone and together with taking in the samples. Memory is what the process grew by.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use headroom_core::controller::{Controller, Input, Measured};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::Sample;
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use serde::Serialize;

use super::Output;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Workload-ticks measured per size: enough for a steady figure, a few seconds at the largest.
const WORK: usize = 2_000_000;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    workloads: usize,
    tick_micros_per_workload: f64,
    tick_and_samples_micros_per_workload: f64,
    memory_bytes_per_workload: f64,
}

pub(crate) fn run(output: Output) -> Result<()> {
    let rows = SIZES.iter().map(|&size| measure(size)).collect::<Result<Vec<_>>>()?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Output::Text => {
            println!("workloads   tick, µs/workload   tick + 4 samples, µs/workload   memory, KB/workload");
            for r in rows {
                println!(
                    "{:>9}   {:>17.2}   {:>29.2}   {:>19.1}",
                    r.workloads,
                    r.tick_micros_per_workload,
                    r.tick_and_samples_micros_per_workload,
                    r.memory_bytes_per_workload / 1024.0
                );
            }
        }
    }
    Ok(())
}

fn fleet(size: usize) -> Result<Fleet> {
    let workload = serde_json::json!({
        "target": { "process": { "command": ["app"] } },
        "balancer": { "listen": "127.0.0.1:0" },
        "replicas": { "min": 2, "max": 100 },
        "signals": {
            "cpu": { "process": "cpu" },
            "memory": { "process": "memory" },
            "p95": { "balancer": { "latency": "p95" } },
            "rps": { "balancer": "requestsPerSecond" }
        },
        "strategies": [
            { "targetTracking": { "signal": "rps", "perReplica": 100 } },
            { "hpa": { "metrics": [
                { "signal": "cpu", "target": { "utilization": "70%" } },
                { "signal": "memory", "target": { "averageValue": "1Gi" } } ] } },
            { "anyAll": { "upIfAny": [{ "signal": "p95", "limit": "2s" }],
                          "downIfAll": [{ "signal": "p95", "limit": "500ms" }] } }
        ]
    });
    let mut document: FleetDocument = serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "bench" },
        "spec": { "workloads": { "w": workload } }
    }))?;
    // The values are copied, not parsed again: what a parser leaves behind is not the controller's memory.
    let one = document.spec.workloads.pop_first().context("one was written")?.1;
    for i in 0..size {
        document.spec.workloads.insert(format!("w{i:06}").parse()?, one.clone());
    }
    Fleet::new(document).map_err(|problems| anyhow::anyhow!("{problems:?}"))
}

fn measure(size: usize) -> Result<Row> {
    let before = resident()?;
    let fleet = Arc::new(fleet(size)?);
    let mut controller = Controller::new(Arc::clone(&fleet));
    let mut at = Timestamp::from_millis(1_700_000_000_000);
    let rounds = (WORK / size).clamp(5, 2_000);
    let (mut ticks, mut all) = (0.0, 0.0);
    for round in 0..rounds {
        at = at.plus(Span::seconds(1));
        for name in fleet.workloads().keys() {
            let status =
                TargetStatus { wanted: Replicas(10), ready: Replicas(10), ..TargetStatus::default() };
            let _ = controller.handle(Input::Looked { at, workload: name.clone(), status: Ok(status) });
        }
        let inputs: Vec<Input> = fleet.workloads().keys().map(|name| sampled(name, at, round)).collect();
        let begun = Instant::now();
        for input in inputs {
            let _ = std::hint::black_box(controller.handle(input));
        }
        let sampled = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let _ = std::hint::black_box(controller.handle(Input::Tick { at }));
        let tick = begun.elapsed().as_secs_f64();
        // The first round records every workload's first decision: a start, not a tick.
        if round > 0 {
            ticks += tick;
            all += tick + sampled;
        }
    }
    let grown = resident()?.saturating_sub(before);
    let per = |seconds: f64| seconds * 1e6 / ((rounds - 1) * size) as f64;
    Ok(Row {
        workloads: size,
        tick_micros_per_workload: per(ticks),
        tick_and_samples_micros_per_workload: per(all),
        memory_bytes_per_workload: grown as f64 / size as f64,
    })
}

/// Values that hover around their targets, so that every strategy has something to reckon.
fn sampled(name: &headroom_core::names::WorkloadName, at: Timestamp, round: usize) -> Input {
    let wobble = (round % 7) as f64 / 100.0;
    let values = [
        ("cpu", 0.68 + wobble),
        ("memory", 9e8),
        ("p95", 0.8 + wobble),
        ("rps", 960.0 + round as f64 % 40.0),
    ];
    let samples = values.iter().map(|(signal, value)| Measured {
        workload: name.clone(),
        signal: signal.parse().expect("a fixed name"),
        value: Ok(Sample::new(at, Level::new(*value).expect("a fixed value"))),
    });
    Input::Sampled { at, samples: samples.collect() }
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("no value of VmRSS")?.parse()?;
    Ok(kilobytes * 1024)
}
