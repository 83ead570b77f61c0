//! How long it takes from a decision until whoever is to know has been told: the real controller, a webhook, changes that
//! a pushed signal asks for.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use headroom_engine::driver::now;
use headroom_testkit::receiver::{HttpReceiver, Request};
use serde_json::{Value, json};

use super::Output;
use super::rig::{Rig, program};

/// Changes that are told.
const CHANGES: usize = 40;
/// How long a change may take to be told before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(output: Output) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let receiver = runtime.block_on(HttpReceiver::start());
    let program = program()?;
    let rig = Rig::start(&program, &policy(&program.display().to_string(), &receiver))?;
    rig.ready(1)?;
    let mut latencies = Vec::new();
    let mut known = 0;
    for change in 0..CHANGES {
        // Two replicas, one, two: each value asks for a change.
        rig.run(&["push", "web", "queue", if change % 2 == 0 { "20" } else { "10" }])?;
        let all = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, receiver.until(|all| told(all).len() > known)).await
        });
        let arrived = now();
        let all = all.context("a change was not told; see whether the pushed value arrives")?;
        let news = told(&all);
        let Some(decided) = news.last() else { bail!("no news is in what was told") };
        known = news.len();
        latencies.push(arrived.since(*decided).as_millis());
    }
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() * share).div_ceil(100).saturating_sub(1)];
    let figures = json!({ "changes": latencies.len(), "p50Ms": at(50), "p99Ms": at(99), "mostMs": at(100) });
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Output::Text => println!(
            "from the decision until it is told, {} changes: p50 {} ms, p99 {} ms, at the most {} ms",
            latencies.len(),
            at(50),
            at(99),
            at(100)
        ),
    }
    Ok(())
}

/// The moments of the decisions that were told of, in the order in which they were told.
fn told(all: &[Request]) -> Vec<headroom_core::units::Timestamp> {
    let bodies = all.iter().filter_map(|request| serde_json::from_str::<Value>(&request.body).ok());
    let news = bodies.flat_map(|body| body["news"].as_array().cloned().unwrap_or_default());
    news.filter(|news| news["alert"]["kind"] == "scaled")
        .filter_map(|news| news["alert"]["since"].as_str()?.parse().ok())
        .collect()
}

fn policy(program: &str, receiver: &HttpReceiver) -> String {
    format!(
        r#"apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: told }}
spec:
  notify:
    notifiers: {{ hook: {{ webhook: {{ url: "http://{}" }} }} }}
    routes: [{{ to: [hook], kinds: [scaled] }}]
  workloads:
    web:
      target:
        process:
          command: [{program:?}, sample-app, --port, "$PORT", --start-up, 50ms]
          stop: {{ drain: 1s, grace: 1s }}
      balancer: {{ listen: 127.0.0.1:0 }}
      replicas: {{ min: 1, max: 2 }}
      signals: {{ queue: {{ push: {{ unit: count }}, freshFor: 10m }} }}
      strategies:
        - targetTracking: {{ signal: queue, perReplica: 10, scaleOutCooldown: 0s, scaleInCooldown: 0s }}
      behavior: {{ scaleDown: {{ stabilization: 0s }} }}
"#,
        receiver.address()
    )
}
