//! The process target behind the engine's port: settings in, core's values out.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headroom_core::action::Action;
use headroom_core::fleet::{Preload, ProcessSettings, WarmPool as WarmPoolSettings};
use headroom_core::names::{ReplicaId, WorkloadName};
use headroom_core::observation::{self, Phase, PoolStatus, TargetStatus, Trouble};
use headroom_core::units::{Level, Replicas, Timestamp};
use headroom_core::warm::WarmOrder;
use headroom_engine::ports::{Leave, Target, TargetError, WarmPool};
use tokio::sync::watch;

use super::ports::Ports;
use super::spec::{BackoffSpec, EmptyCommand, HealthSpec, PreloadSpec, Probe, ReplicaSpec, StopSpec};
use super::status::{Finding, ReplicaState, ReplicaStatus, Status};
use super::supervisor::{HeldSupervisor, ProcessSupervisor, Shutdown, SupervisorConfig, SupervisorError};

/// A finding about a replica that serves again is a trouble for this long: time enough to be seen on a
/// page that shows the present. The journal keeps it.
const TROUBLE_SECONDS: i64 = 60;

/// Why a process target can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is nothing to run.
    #[error(transparent)]
    Command(#[from] EmptyCommand),
    /// The supervisor can't start.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}

/// Replicas of one workload as child processes of this machine.
#[derive(Debug, Clone)]
pub struct ProcessTarget {
    supervisor: ProcessSupervisor,
}

/// A target that does not run yet. Dropped, it lets go of all it found.
#[derive(Debug)]
pub struct HeldTarget(HeldSupervisor);

impl HeldTarget {
    /// Lets it keep its replicas.
    #[must_use]
    pub fn run(self) -> ProcessTarget {
        ProcessTarget { supervisor: self.0.run() }
    }
}

impl ProcessTarget {
    /// Sets the target of a workload up and takes over the replicas that an earlier controller left: all of a start that
    /// can fail.
    ///
    /// `policy_dir` is what the settings' paths are relative to, `data_dir` where all targets keep their
    /// records; `seed` makes back-offs repeatable.
    ///
    /// # Errors
    /// If the command is empty, or the supervisor can't start: see [`ProcessSupervisor::hold`].
    pub async fn hold(
        workload: &WorkloadName,
        settings: &ProcessSettings,
        pool: Option<&WarmPoolSettings>,
        policy_dir: &Path,
        data_dir: &Path,
        seed: u64,
    ) -> Result<HeldTarget, SetupError> {
        let spec = spec(settings, pool, policy_dir)?;
        Ok(HeldTarget(ProcessSupervisor::hold(spec, config(workload, data_dir, seed)).await?))
    }

    /// The workloads that controllers on this data directory have had, whether or not any replica of them is left.
    pub fn known(data_dir: &Path) -> Vec<WorkloadName> {
        let Ok(folders) = std::fs::read_dir(data_dir.join("process")) else { return Vec::new() };
        let mut names: Vec<WorkloadName> =
            folders.flatten().filter_map(|folder| folder.file_name().to_str()?.parse().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Ends the replicas that an earlier controller left of a workload which the policy no longer has, and returns when
    /// they are gone: see [`ProcessSupervisor::retire`].
    ///
    /// # Errors
    /// If the supervisor can't start.
    pub async fn retire(workload: &WorkloadName, data_dir: &Path) -> Result<(), SupervisorError> {
        ProcessSupervisor::retire(config(workload, data_dir, 0)).await
    }

    /// Takes changed settings on, without a request lost: see [`ProcessSupervisor::set_spec`].
    ///
    /// # Errors
    /// If the command is empty, or the target was left.
    pub async fn reload(
        &self,
        settings: &ProcessSettings,
        pool: Option<&WarmPoolSettings>,
        policy_dir: &Path,
    ) -> Result<(), SetupError> {
        Ok(self.supervisor.set_spec(spec(settings, pool, policy_dir)?).await?)
    }

    /// The supervisor, for what the port doesn't carry: drains that end early, logs, measurements.
    pub fn supervisor(&self) -> &ProcessSupervisor {
        &self.supervisor
    }
}

#[async_trait]
impl Target for ProcessTarget {
    async fn look(&self) -> Result<TargetStatus, TargetError> {
        Ok(shown(&self.supervisor.status(), jiff::Timestamp::now()))
    }

    async fn act(&self, action: &Action) -> Result<TargetStatus, TargetError> {
        if action.is_stale(Timestamp::from(jiff::Timestamp::now())) {
            return Err(TargetError::Stale { until: action.record().valid_until.to_string() });
        }
        // Growing is safe whatever is there meanwhile, and a larger growth may overtake a smaller one; shrinking
        // is right only from the count it was decided on.
        let seen = (action.to() < action.saw()).then_some(action.saw().0);
        let failed = |error: SupervisorError| TargetError::Failed(error.to_string());
        let generation = self.supervisor.set_desired(action.to().0, seen).await.map_err(failed)?;
        // The order is taken a moment before it shows. A status from before it would have it ordered again.
        let status = self.supervisor.shown(generation).await.map_err(failed)?;
        Ok(shown(&status, jiff::Timestamp::now()))
    }

    fn warm_pool(&self) -> Option<&dyn WarmPool> {
        Some(self)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.supervisor.changes()
    }

    async fn leave(&self, how: Leave) {
        let how = match how {
            Leave::Running => Shutdown::Detach,
            // No longer than the spec says.
            Leave::Stopped => Shutdown::StopAll { drain: Duration::MAX },
        };
        self.supervisor.shutdown(how).await;
    }
}

#[async_trait]
impl WarmPool for ProcessTarget {
    async fn keep(&self, order: &WarmOrder) -> Result<TargetStatus, TargetError> {
        let done = self.supervisor.keep_warm(order.keep().0).await;
        done.map_err(|error| TargetError::Failed(error.to_string()))?;
        self.look().await
    }
}

/// Where the supervisor of a workload keeps what it must not forget.
fn config(workload: &WorkloadName, data_dir: &Path, seed: u64) -> SupervisorConfig {
    SupervisorConfig {
        workload: workload.as_str().to_owned(),
        directory: data_dir.join("process").join(workload.as_str()),
        ports: Ports::Ephemeral,
        seed,
    }
}

/// The spec of a policy's settings.
fn spec(
    settings: &ProcessSettings,
    pool: Option<&WarmPoolSettings>,
    policy_dir: &Path,
) -> Result<ReplicaSpec, EmptyCommand> {
    let working_dir = match &settings.working_directory {
        Some(directory) => policy_dir.join(directory),
        None => policy_dir.to_owned(),
    };
    let mut spec = ReplicaSpec::new(settings.command.clone(), working_dir)?;
    let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let (health, stop, restart) = (&settings.health, &settings.stop, &settings.restart);
    spec.env = settings.env.clone();
    spec.health = HealthSpec {
        probe: Probe::Http { path: health.path.clone() },
        interval: health.interval.as_std(),
        timeout: health.timeout.as_std(),
        healthy: at_least_one(health.healthy),
        unhealthy: at_least_one(health.unhealthy),
        start_grace: health.start_grace.as_std(),
    };
    spec.stop = StopSpec { drain: stop.drain.as_std(), term_grace: stop.grace.as_std() };
    spec.backoff = BackoffSpec {
        first: restart.backoff.as_std(),
        max: restart.max_backoff.as_std(),
        stable: restart.crash_loop_window.as_std(),
        crash_loop: at_least_one(restart.crash_loop_exits),
    };
    let preload = pool.iter().flat_map(|pool| &pool.preload);
    spec.preload = preload
        .map(|preload| PreloadSpec {
            posts: matches!(preload, Preload::Post(_)),
            path: preload.path().to_owned(),
        })
        .collect();
    spec.max_lifetime = settings.max_lifetime.map(headroom_core::units::Span::as_std);
    Ok(spec)
}

/// What the core is shown of a status.
fn shown(status: &Status, now: jiff::Timestamp) -> TargetStatus {
    let is_spare =
        |replica: &&ReplicaStatus| matches!(replica.state, ReplicaState::Warming | ReplicaState::Warm);
    let spares: Vec<_> = status.replicas.iter().filter(is_spare).map(replica).collect();
    let replicas: Arc<[_]> = status.replicas.iter().filter(|r| !is_spare(r)).map(replica).collect();
    let warm = spares.iter().filter(|replica| replica.phase == Phase::Ready).count();
    let amount = |count: usize| Replicas(u32::try_from(count).unwrap_or(u32::MAX));
    let pool = (status.pool > 0 || !spares.is_empty()).then(|| PoolStatus {
        wanted: Replicas(status.pool),
        warm: amount(warm),
        warming: amount(spares.len() - warm),
        replicas: spares,
    });
    let count =
        |phases: &[Phase]| amount(replicas.iter().filter(|replica| phases.contains(&replica.phase)).count());
    TargetStatus {
        wanted: Replicas(status.desired),
        ready: count(&[Phase::Ready]),
        starting: count(&[Phase::Starting]),
        draining: count(&[Phase::Draining]),
        // An unhealthy one ought to serve and doesn't, whatever its process does.
        failed: count(&[Phase::Failed, Phase::Unhealthy]),
        pool,
        troubles: status.findings.iter().filter(|f| is_trouble(f, status, now)).map(trouble).collect(),
        replicas,
    }
}

fn replica(replica: &ReplicaStatus) -> observation::ReplicaStatus {
    let phase = match &replica.state {
        ReplicaState::Starting | ReplicaState::Warming => Phase::Starting,
        ReplicaState::Ready | ReplicaState::Warm => Phase::Ready,
        ReplicaState::Unhealthy { .. } => Phase::Unhealthy,
        ReplicaState::Draining | ReplicaState::Stopping => Phase::Draining,
        ReplicaState::Failed { .. } => Phase::Failed,
    };
    let usage = replica.usage.as_ref();
    observation::ReplicaStatus {
        id: ReplicaId(replica.id.as_str().into()),
        phase,
        started_at: replica.asked_at.into(),
        ready_at: replica.ready_at.map(Timestamp::from),
        address: replica.address.map(|address| address.to_string()),
        cpu: usage.and_then(|usage| Level::new(usage.cpu_cores?).ok()),
        memory: usage.and_then(|usage| bytes(usage.memory_bytes)),
        restarts: replica.restarts,
        version: (!replica.spec_hash.is_empty()).then(|| replica.spec_hash.as_str().into()),
    }
}

/// Bytes as a level; exact up to 2^53, which is more memory than there is.
#[expect(clippy::cast_precision_loss, reason = "exact for every size of memory there is")]
fn bytes(bytes: u64) -> Option<Level> {
    Level::new(bytes as f64).ok()
}

/// Whether a finding is about now: it is young, or its replica still doesn't serve.
fn is_trouble(finding: &Finding, status: &Status, now: jiff::Timestamp) -> bool {
    let young = now.duration_since(finding.at).as_secs() < TROUBLE_SECONDS;
    let concerned = status.replicas.iter().find(|replica| Some(&replica.id) == finding.replica.as_ref());
    young
        || concerned.is_some_and(|replica| !matches!(replica.state, ReplicaState::Ready | ReplicaState::Warm))
}

fn trouble(finding: &Finding) -> Trouble {
    let message = match &finding.replica {
        Some(replica) => format!("{replica}: {}", finding.text),
        None => finding.text.clone(),
    };
    Trouble { code: finding.code.clone(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::process::{Fault, Usage};
    use jiff::SignedDuration;

    fn at(seconds: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn one(number: u16, state: ReplicaState) -> ReplicaStatus {
        ReplicaStatus {
            id: format!("web-{number}"),
            state,
            address: Some(([127, 0, 0, 1], 20_000 + number).into()),
            pid: Some(u32::from(number)),
            asked_at: at(1),
            started_at: Some(at(2)),
            ready_at: Some(at(3)),
            usage: None,
            restarts: 1,
            log: None,
            adopted: false,
            spec_hash: String::new(),
        }
    }

    fn status(replicas: Vec<ReplicaStatus>, findings: Vec<Finding>) -> Status {
        Status { workload: "web".to_owned(), desired: 7, pool: 0, generation: 1, replicas, findings }
    }

    #[test]
    fn every_replica_is_counted_once_by_what_it_does_for_the_service() {
        let fault = Fault::PortTaken { port: 1 };
        let shown = shown(
            &status(
                vec![
                    one(1, ReplicaState::Ready),
                    one(2, ReplicaState::Ready),
                    one(3, ReplicaState::Starting),
                    one(4, ReplicaState::Draining),
                    one(5, ReplicaState::Stopping),
                    one(6, ReplicaState::Unhealthy { probe: "503".to_owned() }),
                    one(7, ReplicaState::Failed { fault, crash_loop: true, next_try: at(9) }),
                ],
                vec![],
            ),
            at(9),
        );
        assert_eq!(shown.pool, None);
        let counts = [shown.wanted, shown.ready, shown.starting, shown.draining, shown.failed];
        assert_eq!(counts.map(|count| count.0), [7, 2, 1, 2, 2]);
        assert_eq!(shown.replicas.len(), 7);
        assert_eq!(shown.replicas[0].address.as_deref(), Some("127.0.0.1:20001"));
        assert_eq!(shown.replicas[0].started_at, at(1).into(), "a start takes from when it was asked for");
    }

    /// A31: what waits in the pool is not counted among those that serve or start.
    #[test]
    fn the_warm_pool_is_shown_beside() {
        let all = vec![
            one(1, ReplicaState::Ready),
            one(2, ReplicaState::Warm),
            one(3, ReplicaState::Warming),
            one(4, ReplicaState::Warm),
        ];
        let shown = shown(&Status { pool: 3, ..status(all, vec![]) }, at(9));
        let pool = shown.pool.unwrap();
        assert_eq!((shown.ready.0, shown.starting.0, shown.replicas.len()), (1, 0, 1));
        assert_eq!((pool.wanted.0, pool.warm.0, pool.warming.0, pool.replicas.len()), (3, 2, 1, 3));
    }

    #[test]
    fn what_was_not_measured_is_absent_and_what_was_measured_as_nothing_is_zero() {
        let mut idle = one(1, ReplicaState::Ready);
        assert_eq!((replica(&idle).cpu, replica(&idle).memory), (None, None));
        idle.usage = Some(Usage { at: at(5), cpu_cores: None, memory_bytes: 4096 });
        assert_eq!((replica(&idle).cpu, replica(&idle).memory), (None, Level::new(4096.0).ok()));
        idle.usage = Some(Usage { at: at(5), cpu_cores: Some(0.0), memory_bytes: 4096 });
        assert_eq!(replica(&idle).cpu, Some(Level::ZERO));
    }

    #[test]
    fn a_finding_is_a_trouble_while_it_is_young_or_its_replica_does_not_serve() {
        let finding = |replica: Option<&str>| Finding {
            code: "exited".to_owned(),
            replica: replica.map(str::to_owned),
            text: "it ended".to_owned(),
            at: at(0),
            count: 1,
        };
        let replicas = vec![one(1, ReplicaState::Ready), one(2, ReplicaState::Starting)];
        let findings = vec![finding(Some("web-1")), finding(Some("web-2")), finding(None)];
        let status = status(replicas, findings);
        for (age, expected) in [
            (0, vec!["web-1: it ended", "web-2: it ended", "it ended"]),
            (59, vec!["web-1: it ended", "web-2: it ended", "it ended"]),
            (60, vec!["web-2: it ended"]),
        ] {
            let now = at(0) + SignedDuration::from_secs(age);
            let texts: Vec<String> = shown(&status, now).troubles.into_iter().map(|t| t.message).collect();
            assert_eq!(texts, expected, "after {age} s");
        }
    }

    #[test]
    fn settings_become_a_spec_with_paths_beside_the_policy_file() {
        let settings: ProcessSettings = serde_json::from_str(
            r#"{
                "command": ["./web", "--port", "$PORT"],
                "env": {"MODE": "fast"},
                "workingDirectory": "app",
                "health": {"path": "/up", "interval": "2s", "timeout": "3s", "healthy": 1, "unhealthy": 4, "startGrace": "9s"},
                "stop": {"drain": "5s", "grace": "6s"},
                "restart": {"backoff": "1s", "maxBackoff": "8s", "crashLoopExits": 3, "crashLoopWindow": "7s"},
                "maxLifetime": "7d"
            }"#,
        )
        .unwrap();
        insta::assert_debug_snapshot!(spec(&settings, None, Path::new("/etc/shop")).unwrap());
        let here = ProcessSettings { working_directory: None, ..settings.clone() };
        assert_eq!(spec(&here, None, Path::new("/etc/shop")).unwrap().working_dir, Path::new("/etc/shop"));
        let empty = ProcessSettings { command: vec![], ..settings };
        assert!(spec(&empty, None, Path::new("/")).is_err());
    }
}
