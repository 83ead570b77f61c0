//! What the controller costs while nothing happens: ten workloads, each behind the balancer, nobody calling.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Output;
use super::rig::{Rig, program};

const WORKLOADS: usize = 10;
const SETTLES: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);
/// Clock ticks a second in `/proc/PID/stat`; 100 on every Linux of today (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    workloads: usize,
    controller_core_percent: f64,
    controller_resident_mb: f64,
    seconds: f64,
}

pub(crate) fn run(output: Output) -> Result<()> {
    let program = program()?;
    let workload = |i: usize| {
        format!(
            r#"    w{i}:
      target: {{ process: {{ command: ["{}", sample-app, --port, "$PORT"] }} }}
      balancer: {{ listen: 127.0.0.1:0 }}
      replicas: {{ min: 1, max: 5 }}
      signals:
        rps: {{ balancer: requestsPerSecond }}
        p95: {{ balancer: {{ latency: p95 }} }}
        cpu: {{ process: cpu }}
        memory: {{ process: memory }}
      strategies:
        - targetTracking: {{ signal: rps, perReplica: 100 }}
        - targetTracking: {{ signal: cpu, target: 70% }}
"#,
            program.display()
        )
    };
    let workloads: String = (0..WORKLOADS).map(workload).collect();
    let policy = format!(
        "apiVersion: headroom.dev/v1alpha1\nkind: Fleet\nmetadata: {{ name: idle }}\nspec:\n  workloads:\n{workloads}"
    );
    let rig = Rig::start(&program, &policy)?;
    rig.wait("all are ready", |status| {
        let workloads = status.get("workloads")?.as_array()?;
        let ready =
            |w: &serde_json::Value| w.pointer("/status/ready").and_then(serde_json::Value::as_u64) >= Some(1);
        workloads.iter().all(ready).then_some(())
    })?;
    std::thread::sleep(SETTLES);
    let (begun, before) = (Instant::now(), cpu_seconds(rig.pid()?)?);
    std::thread::sleep(MEASURED);
    let (seconds, after) = (begun.elapsed().as_secs_f64(), cpu_seconds(rig.pid()?)?);
    let figures = Figures {
        workloads: WORKLOADS,
        controller_core_percent: (after - before) / seconds * 100.0,
        controller_resident_mb: resident_mb(rig.pid()?)?,
        seconds,
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Output::Text => println!(
            "{} idle workloads: the controller uses {:.2} % of a core and {:.1} MB (over {:.0} s)",
            figures.workloads,
            figures.controller_core_percent,
            figures.controller_resident_mb,
            figures.seconds
        ),
    }
    Ok(())
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(") ").next().context("no name in stat")?;
    let field =
        |i: usize| -> Result<f64> { Ok(after_name.split(' ').nth(i).context("stat is short")?.parse()?) };
    // utime and stime are the 14th and 15th fields; the name was the second.
    Ok((field(11)? + field(12)?) / TICKS)
}

fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).context("no value of VmRSS")?.parse()?;
    Ok(kilobytes / 1024.0)
}
