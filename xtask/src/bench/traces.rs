//! What traces of decisions cost: 1 000 workloads whose loads change, told to a collector and told to nobody.
//!
//! The controller and the traces run in one thread, whose time on the core is counted; journal, collector and the one who
//! counts decisions have theirs. What a run with a collector spends more than one without is what traces cost.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use headroom_adapters::traces::Traces;
use headroom_core::controller::Measured;
use headroom_core::fleet::Fleet;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::reading::Sample;
use headroom_core::units::{Level, Replicas};
use headroom_engine::driver::{self, Start, Targets};
use headroom_engine::handle::Event;
use headroom_engine::journal::{DataDir, Journal, Retention};
use headroom_engine::outbox::Notifiers;
use headroom_engine::ports::Target;
use headroom_testkit::target::Instantly;
use serde::Serialize;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::Output;
use super::sources::on_core;

const WORKLOADS: usize = 1_000;
/// Seconds that are measured.
const SECONDS: u64 = 20;
/// How many workloads change at a time: one in so many each second.
const ONE_IN: [usize; 2] = [10, 1];
/// The root span of a trace, as it is written.
const ROOT: &[u8] = br#""name":"decision""#;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    workloads: usize,
    decisions_a_second: f64,
    cores_without: f64,
    cores_with: f64,
    decisions: u64,
    traces: u64,
}

pub(crate) fn run(output: Output) -> Result<()> {
    let mut all = Vec::new();
    for one_in in ONE_IN {
        let (cores_without, _) = apart(one_in, None)?;
        let (port, traces) = collect()?;
        let (cores_with, decisions) = apart(one_in, Some(port))?;
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let decisions_a_second = decisions as f64 / SECONDS as f64;
        let traces = traces.load(Ordering::Relaxed);
        all.push(Figures {
            workloads: WORKLOADS,
            decisions_a_second,
            cores_without,
            cores_with,
            decisions,
            traces,
        });
    }
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for figures in all {
        println!(
            "{} workloads, {:.0} decisions/s: {:.3} of a core without traces, {:.3} with; {} of {} decisions are told",
            figures.workloads,
            figures.decisions_a_second,
            figures.cores_without,
            figures.cores_with,
            figures.traces,
            figures.decisions
        );
    }
    Ok(())
}

/// A run in a thread of its own: the share of a core, and the decisions there were.
fn apart(one_in: usize, collector: Option<u16>) -> Result<(f64, u64)> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure(one_in, collector))
    };
    std::thread::spawn(run).join().map_err(|_| anyhow::anyhow!("the measurement failed"))?
}

async fn measure(one_in: usize, collector: Option<u16>) -> Result<(f64, u64)> {
    let fleet = fleet()?;
    let folder = tempfile::tempdir()?;
    let (journal, _) = Journal::open(&DataDir::open(folder.path())?, Retention::default())?;
    let names: Vec<WorkloadName> = fleet.workloads().keys().cloned().collect();
    let targets: Targets = names
        .iter()
        .map(|name| (name.clone(), Arc::new(Instantly::with(Replicas(1))) as Arc<dyn Target>))
        .collect();
    let (name, notifiers) = (fleet.name().clone(), Notifiers::new());
    let start = Start { fleet, journal: journal.clone(), targets, notifiers, advise: false };
    let (handle, engine) = driver::start(start).await?;
    let decisions = count(handle.events());
    let traces = match collector {
        Some(port) => {
            let endpoint = format!("http://127.0.0.1:{port}").parse().map_err(anyhow::Error::msg)?;
            Some(Traces::start(&endpoint, name, &handle))
        }
        None => None,
    };
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut loads: BTreeMap<&WorkloadName, f64> = names.iter().map(|name| (name, 100.0)).collect();
    let signal: SignalName = "load".parse()?;
    let begun = on_core()?;
    for second in 0..usize::try_from(SECONDS)? {
        seconds.tick().await;
        let at = driver::now();
        let mut samples = Vec::new();
        for (_, (workload, load)) in
            loads.iter_mut().enumerate().filter(|(index, _)| (index + second) % one_in == 0)
        {
            *load = 300.0 - *load;
            let value = Ok(Sample::new(at, Level::new(*load)?));
            samples.push(Measured { workload: (*workload).clone(), signal: signal.clone(), value });
        }
        handle.push(samples).await?;
    }
    seconds.tick().await;
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let cores = (on_core()? - begun) / SECONDS as f64;
    handle.stop().await;
    engine.await?;
    if let Some(traces) = traces {
        traces.end().await;
    }
    drop(handle);
    journal.close().await?;
    Ok((cores, decisions.join().map_err(|_| anyhow::anyhow!("nobody counted"))?))
}

fn fleet() -> Result<Fleet> {
    let workload = |i: usize| {
        let workload = json!({
            "target": { "process": { "command": ["app"] } },
            "replicas": { "min": 1, "max": 10 },
            "signals": { "load": { "push": { "unit": "count" }, "freshFor": "10m" } },
            "strategies": [{ "targetTracking": {
                "signal": "load", "perReplica": 100, "scaleOutCooldown": "0s", "scaleInCooldown": "0s"
            } }],
            "behavior": { "scaleDown": { "stabilization": "0s" } }
        });
        (format!("w{i:04}"), workload)
    };
    let workloads: serde_json::Map<_, _> = (0..WORKLOADS).map(workload).collect();
    let document = serde_json::from_value(json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "bench" },
        "spec": { "workloads": workloads }
    }))?;
    Fleet::new(document).map_err(|problems| anyhow::anyhow!("{problems:?}"))
}

/// Counts decisions in a thread of its own, until the controller ends.
fn count(mut events: tokio::sync::broadcast::Receiver<Event>) -> std::thread::JoinHandle<u64> {
    use tokio::sync::broadcast::error::RecvError;
    std::thread::spawn(move || {
        let mut decisions = 0;
        loop {
            match events.blocking_recv() {
                Ok(Event::Decided(_)) => decisions += 1,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return decisions,
            }
        }
    })
}

/// A collector that takes everything in and counts traces; gives its port.
fn collect() -> Result<(u16, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let traces = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&traces);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that ends is the sender's, who makes another.
            let _ = take_in(stream, &counted);
        }
    });
    Ok((port, traces))
}

fn take_in(mut stream: TcpStream, traces: &AtomicU64) -> Result<()> {
    let mut text = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let head = text.windows(4).position(|four| four == b"\r\n\r\n");
        let length = head.and_then(|head| {
            let head = std::str::from_utf8(&text[..head]).ok()?.to_ascii_lowercase();
            head.split("content-length: ").nth(1)?.lines().next()?.trim().parse::<usize>().ok()
        });
        if let (Some(head), Some(length)) = (head, length)
            && text.len() >= head + 4 + length
        {
            let body = &text[head + 4..head + 4 + length];
            let told = body.windows(ROOT.len()).filter(|window| *window == ROOT).count();
            traces.fetch_add(told as u64, Ordering::Relaxed);
            text.drain(..head + 4 + length);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")?;
            continue;
        }
        let read = stream.read(&mut piece)?;
        anyhow::ensure!(read > 0, "it ended");
        text.extend_from_slice(&piece[..read]);
    }
}
