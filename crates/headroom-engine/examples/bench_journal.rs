//! What the journal costs: processor time at the pace of a running controller, time per batch at full speed, and
//! bytes. Ten workloads of four signals and three replicas each, sampled and looked at once a second, in ten batches a
//! second, a snapshot a minute; the decisions are a real controller's.
//!
//! `cargo run --release -p headroom-engine --example bench_journal [-- DIRECTORY]`
//!
//! The figures in `docs/journal.md` come from here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headroom_core::controller::{Controller, Effect, Input, Measured};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::names::{ReplicaId, WorkloadName};
use headroom_core::observation::{Phase, ReplicaStatus, TargetStatus};
use headroom_core::reading::Sample;
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use headroom_engine::journal::{Batch, DataDir, Journal, Retention, SeriesQuery};

const WORKLOADS: u32 = 10;
const SIGNALS: u32 = 4;
const PACED_SECONDS: u64 = 20;
const FAST_SECONDS: u64 = 3600;

type Failure = Box<dyn std::error::Error>;

struct World {
    controller: Controller,
    at: Timestamp,
    tenths: u64,
}

impl World {
    fn new() -> Result<Self, Failure> {
        let signals: serde_json::Map<_, _> = (0..SIGNALS)
            .map(|n| (format!("s{n}"), serde_json::json!({ "balancer": "requestsPerSecond" })))
            .collect();
        let workload = serde_json::json!({
            "target": { "process": { "command": ["app"] } },
            "balancer": { "listen": "127.0.0.1:0" },
            "replicas": { "min": 1, "max": 20 },
            "signals": signals,
            "strategies": [{ "targetTracking": { "signal": "s0", "perReplica": 100 } }],
        });
        let workloads: serde_json::Map<_, _> =
            (0..WORKLOADS).map(|n| (format!("w{n}"), workload.clone())).collect();
        let document: FleetDocument = serde_json::from_value(serde_json::json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "bench" },
            "spec": { "workloads": workloads },
        }))?;
        let fleet = Fleet::new(document).map_err(|problems| format!("{problems:?}"))?;
        Ok(Self {
            controller: Controller::new(Arc::new(fleet)),
            at: Timestamp::from_millis(1_800_000_000_000),
            tenths: 0,
        })
    }

    /// A tenth of a second: one workload's look and samples.
    fn batch(&mut self) -> Result<Batch, Failure> {
        self.at = self.at.plus(Span::millis(100));
        self.tenths += 1;
        let mut batch = Batch::new(self.at);
        let workload: WorkloadName = format!("w{}", self.tenths % u64::from(WORKLOADS)).parse()?;
        let replica = |n: u32| -> Result<ReplicaStatus, Failure> {
            Ok(ReplicaStatus {
                id: ReplicaId(format!("{workload}-{n}").into()),
                phase: Phase::Ready,
                started_at: self.at,
                ready_at: Some(self.at),
                address: Some("127.0.0.1:41234".to_owned()),
                cpu: Some(Level::new(noise(self.tenths + u64::from(n)))?),
                memory: Some(Level::new(52_428_800.0)?),
                restarts: 0,
                version: None,
            })
        };
        let status = TargetStatus {
            wanted: Replicas(3),
            ready: Replicas(3),
            replicas: (0..3).map(replica).collect::<Result<_, _>>()?,
            ..TargetStatus::default()
        };
        let mut samples = Vec::new();
        for n in 0..SIGNALS {
            let value = Level::new(250.0 + 40.0 * noise(self.tenths * 7 + u64::from(n)))?;
            let value = Ok(Sample::new(self.at.minus(Span::millis(12)), value));
            samples.push(Measured { workload: workload.clone(), signal: format!("s{n}").parse()?, value });
        }
        for input in [
            Input::Looked { at: self.at, workload, status: Ok(status) },
            Input::Sampled { at: self.at, samples },
        ] {
            batch.inputs.push(input.clone());
            for effect in self.controller.handle(input) {
                match effect {
                    Effect::Record(decision) => batch.decisions.push(*decision),
                    Effect::Act(action) => batch.actions.push(action.record().clone()),
                    Effect::Notify(notice) => batch.notices.push(notice),
                    Effect::Look(_) | Effect::Warm(_) | Effect::Fit(_) => {}
                }
            }
        }
        if self.tenths.is_multiple_of(600) {
            batch.snapshot = Some(self.controller.snapshot());
        }
        Ok(batch)
    }
}

/// 0 to 1, with the digits of a measured value.
fn noise(n: u64) -> f64 {
    let bits = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(1 << 20)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let root = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), Into::into);
    paced(&root.join("paced")).await?;
    fast(&root.join("fast")).await
}

/// Ten batches a second, as a running controller has them.
async fn paced(dir: &Path) -> Result<(), Failure> {
    let (journal, _) = Journal::open(&DataDir::open(dir)?, Retention::default())?;
    let mut world = World::new()?;
    journal.append(Batch { snapshot: Some(world.controller.snapshot()), ..Batch::new(world.at) }).await?;
    let (mut controller, mut slowest) = (Duration::ZERO, Duration::ZERO);
    let (before, begun) = (processor_time()?, Instant::now());
    let mut turn = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..PACED_SECONDS * 10 {
        turn.tick().await;
        let handling = Instant::now();
        let batch = world.batch()?;
        controller += handling.elapsed();
        let appending = Instant::now();
        journal.append(batch).await?;
        slowest = slowest.max(appending.elapsed());
    }
    let used = processor_time()?.saturating_sub(before);
    println!(
        "paced: 10 batches/s for {PACED_SECONDS} s: {:.2} % of one core (of it the controller {:.2} %), slowest append {:.1} ms",
        100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64(),
        100.0 * controller.as_secs_f64() / begun.elapsed().as_secs_f64(),
        1e3 * slowest.as_secs_f64(),
    );
    journal.close().await?;
    Ok(())
}

/// An hour of batches as fast as they go, then where the bytes are.
async fn fast(dir: &Path) -> Result<(), Failure> {
    // Nothing is let go of, so that an hour is an hour.
    let keep = Retention { inputs: Span::days(1), seconds: Span::days(1), ..Retention::default() };
    let (journal, _) = Journal::open(&DataDir::open(dir)?, keep)?;
    let mut world = World::new()?;
    let from = world.at;
    journal.append(Batch { snapshot: Some(world.controller.snapshot()), ..Batch::new(world.at) }).await?;
    let mut appending = Duration::ZERO;
    for _ in 0..FAST_SECONDS * 10 {
        let batch = world.batch()?;
        let begun = Instant::now();
        journal.append(batch).await?;
        appending += begun.elapsed();
    }
    let batches = FAST_SECONDS * 10;
    println!(
        "fast: {batches} batches, {:.0} µs each, {:.0} batches/s",
        1e6 * appending.as_secs_f64() / batches as f64,
        batches as f64 / appending.as_secs_f64()
    );
    for minutes in [10, 60] {
        let query = SeriesQuery {
            workload: "w1".parse()?,
            series: "s0".to_owned(),
            since: world.at.minus(Span::minutes(minutes)),
            until: world.at,
            max_points: 600,
        };
        let begun = Instant::now();
        let points = journal.series(query).await?.points.len();
        println!(
            "a chart of {minutes} min: {points} points in {:.1} ms",
            1e3 * begun.elapsed().as_secs_f64()
        );
    }
    let begun = Instant::now();
    let report = journal.replay().await?.ok_or("nothing to replay")?;
    println!(
        "replay of {} inputs: {:.1} s, difference: {}",
        report.inputs,
        begun.elapsed().as_secs_f64(),
        report.difference.is_some()
    );
    journal.close().await?;
    drop(journal);
    let begun = Instant::now();
    drop(Journal::open(&DataDir::open(dir)?, Retention::default())?);
    println!("open with its check: {:.0} ms", 1e3 * begun.elapsed().as_secs_f64());
    let file = dir.join("journal.db");
    println!(
        "after {} of this: {:.1} MB",
        world.at.since(from),
        std::fs::metadata(&file)?.len() as f64 / 1e6
    );
    let db = rusqlite::Connection::open(&file)?;
    let mut tables =
        db.prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 12")?;
    let mut rows = tables.query([])?;
    while let Some(row) = rows.next()? {
        println!("  {:<16} {:>8.2} MB", row.get::<_, String>(0)?, row.get::<_, i64>(1)? as f64 / 1e6);
    }
    Ok(())
}

/// What this process has used, user and system, in ticks of 10 ms.
fn processor_time() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("/proc/self/stat")?.1;
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
