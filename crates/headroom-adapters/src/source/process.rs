//! CPU and memory of the replicas' processes as signals.
//!
//! The supervisor measures each replica once a second; a signal is the mean over the ready ones, with each
//! one's part beside it. While none is ready there is nothing to measure, which is not zero.

use std::time::Duration;

use async_trait::async_trait;
use headroom_core::controller::Measured;
use headroom_core::fleet::{ProcessSignal, SignalSource, Workload};
use headroom_core::names::{ReplicaId, SignalName, WorkloadName};
use headroom_core::reading::{Absence, ReplicaLevel, Sample};
use headroom_core::units::{Level, Timestamp};
use headroom_engine::driver::now;
use headroom_engine::ports::{News, Source};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::target::process::{ProcessSupervisor, ReplicaState, Status, Usage};

/// As often as the supervisor measures.
const EVERY: Duration = Duration::from_secs(1);

/// Reads the processes of one workload.
#[derive(Debug)]
pub struct ProcessSource {
    workload: WorkloadName,
    signals: Vec<(SignalName, ProcessSignal)>,
    replicas: ProcessSupervisor,
    pace: Interval,
}

impl ProcessSource {
    /// `None` where the workload has no process signal.
    #[must_use]
    pub fn new(name: &WorkloadName, workload: &Workload, replicas: ProcessSupervisor) -> Option<Self> {
        let of_process = workload.signals.iter().filter_map(|(name, signal)| match signal.source {
            SignalSource::Process(kind) => Some((name.clone(), kind)),
            SignalSource::Balancer(_)
            | SignalSource::Push(_)
            | SignalSource::Read(_)
            | SignalSource::ReplicasOf(_) => None,
        });
        let signals: Vec<_> = of_process.collect();
        let mut pace = interval(EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        (!signals.is_empty()).then(|| Self { workload: name.clone(), signals, replicas, pace })
    }
}

#[async_trait]
impl Source for ProcessSource {
    fn name(&self) -> &str {
        "process"
    }

    async fn next(&mut self) -> Option<News> {
        self.pace.tick().await;
        let (status, at) = (self.replicas.status(), now());
        let measured = self.signals.iter().map(|(name, kind)| Measured {
            workload: self.workload.clone(),
            signal: name.clone(),
            value: measure(&status, *kind, at),
        });
        Some(News::Samples(measured.collect()))
    }
}

fn measure(status: &Status, kind: ProcessSignal, at: Timestamp) -> Result<Sample, Absence> {
    let of = |usage: Usage| match kind {
        ProcessSignal::Cpu => usage.cpu_cores,
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 bytes")]
        ProcessSignal::Memory => Some(usage.memory_bytes as f64),
    };
    let parts: Vec<ReplicaLevel> = status
        .replicas
        .iter()
        .filter(|replica| replica.state == ReplicaState::Ready)
        .filter_map(|replica| {
            let value = Level::new(of(replica.usage?)?).ok()?;
            Some(ReplicaLevel { replica: ReplicaId(replica.id.as_str().into()), value })
        })
        .collect();
    if parts.is_empty() {
        return Err(Absence::NoReplica);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand replicas")]
    let mean = parts.iter().map(|part| part.value.get()).sum::<f64>() / parts.len() as f64;
    let value = Level::new(mean).map_err(|_| Absence::NotANumber)?;
    Ok(Sample { at, value, by_replica: Some(parts.into()) })
}
