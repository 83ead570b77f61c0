//! No failed request: two hundred thousand requests while replicas are added, drained, killed and rotated, and
//! while the controller is killed and started again.
//!
//! `kill -9` of a replica may cost the requests in flight on it, so it comes last and is counted by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headroom_sample::load::{Generator, LoadOptions, LoadPlan, Report};
use serde::Serialize;

use super::Output;
use super::rig::{Rig, program};

/// Growing and shrinking, four times: about 215 000 requests in two minutes.
const CHANGING: &str = "4*(calm 10s @1000, surge 10s @2700, calm 10s @1000, ramp 10s @1000..2200)";
/// The controller is killed this often while that goes on.
const KILL_CONTROLLER_EVERY: Duration = Duration::from_secs(25);
/// Steady, while replicas are killed.
const STEADY: &str = "calm 10s @1000";
const REPLICAS_KILLED: usize = 3;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    requests: u64,
    failed: u64,
    overrun: u64,
    controllers_killed: u32,
    replicas_seen: usize,
    requests_while_replicas_were_killed: u64,
    failed_while_replicas_were_killed: u64,
    replicas_killed: usize,
}

pub(crate) fn run(output: Output) -> Result<()> {
    let program = program()?;
    let policy = format!(
        r#"apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: soak }}
spec:
  workloads:
    web:
      target:
        process:
          command: ["{}", sample-app, --port, "$PORT", --capacity, unlimited, --start-up, 300ms]
          health: {{ startGrace: 10s }}
          maxLifetime: 15s
          stop: {{ drain: 5s, grace: 5s }}
      balancer: {{ listen: 127.0.0.1:0 }}
      replicas: {{ min: 2, max: 12 }}
      signals: {{ rps: {{ balancer: requestsPerSecond }} }}
      strategies:
        - targetTracking: {{ signal: rps, perReplica: 300, scaleOutCooldown: 0s, scaleInCooldown: 0s }}
      behavior: {{ scaleDown: {{ stabilization: 2s }} }}
"#,
        program.display()
    );
    let mut rig = Rig::start(&program, &policy)?;
    let address = rig.ready(2)?;
    let load = offer(&address, CHANGING)?;
    let mut controllers_killed = 0;
    let mut seen = std::collections::BTreeSet::new();
    let mut last_kill = Instant::now();
    while !load.is_finished() {
        std::thread::sleep(Duration::from_millis(500));
        seen.extend(replicas(&rig));
        if last_kill.elapsed() > KILL_CONTROLLER_EVERY {
            rig.kill()?;
            std::thread::sleep(Duration::from_secs(1));
            rig.restart()?;
            controllers_killed += 1;
            last_kill = Instant::now();
        }
    }
    let changing = finished(load)?;
    let load = offer(&address, STEADY)?;
    for _ in 0..REPLICAS_KILLED {
        std::thread::sleep(Duration::from_secs(2));
        kill_a_replica(&rig)?;
    }
    let killing = finished(load)?;
    let figures = Figures {
        requests: changing.requests.sent,
        failed: changing.requests.failed,
        overrun: changing.requests.overrun,
        controllers_killed,
        replicas_seen: seen.len(),
        requests_while_replicas_were_killed: killing.requests.sent,
        failed_while_replicas_were_killed: killing.requests.failed,
        replicas_killed: REPLICAS_KILLED,
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Output::Text => println!(
            "{} requests, {} failed, {} not sent, while {} replicas came and went and the controller was killed {} times\n\
             {} requests, {} failed, while {} replicas were killed with -9",
            figures.requests,
            figures.failed,
            figures.overrun,
            figures.replicas_seen,
            figures.controllers_killed,
            figures.requests_while_replicas_were_killed,
            figures.failed_while_replicas_were_killed,
            figures.replicas_killed,
        ),
    }
    Ok(())
}

fn offer(address: &str, plan: &str) -> Result<std::thread::JoinHandle<Result<Report>>> {
    let plan: LoadPlan = plan.parse()?;
    let options = LoadOptions::new(format!("http://{address}/").parse()?);
    Ok(std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async { Generator::start(plan, options).finish().await }))
    }))
}

fn finished(load: std::thread::JoinHandle<Result<Report>>) -> Result<Report> {
    load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
}

/// The ids of the replicas there are.
fn replicas(rig: &Rig) -> Vec<String> {
    let ids = || {
        let status = rig.status().ok()?;
        let replicas = status.pointer("/workloads/0/status/replicas")?.as_array()?.clone();
        Some(replicas.iter().filter_map(|r| Some(r.get("id")?.as_str()?.to_owned())).collect())
    };
    ids().unwrap_or_default()
}

/// `kill -9` of a replica that serves, found by the port it listens on.
fn kill_a_replica(rig: &Rig) -> Result<()> {
    let status = rig.status()?;
    let replicas =
        status.pointer("/workloads/0/status/replicas").and_then(|r| r.as_array()).context("no replicas")?;
    let serving = replicas.iter().find(|r| r["phase"] == "ready").context("no ready replica")?;
    let port = serving["address"].as_str().and_then(|a| a.rsplit(':').next()).context("no address")?;
    let found = std::process::Command::new("pkill")
        .args(["-KILL", "-f", &format!("sample-app --port {port} ")])
        .status()?;
    anyhow::ensure!(found.success(), "no process serves port {port}");
    Ok(())
}
