//! What the tests with real processes share: a directory to run in, and waiting for conditions.
#![expect(clippy::unwrap_used, reason = "helpers of tests: what fails here fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headroom_adapters::target::process::{
    Ports, ProcessSupervisor, ProcessTarget, ReplicaSpec, ReplicaState, ReplicaStatus, Status,
    SupervisorConfig,
};
use headroom_core::fleet::ProcessSettings;
use tempfile::TempDir;

/// No condition waited for here takes longer on a machine that works; a test that waits this long fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the replicas of one test run.
pub(crate) struct Yard {
    dir: TempDir,
}

impl Yard {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The test replica with these arguments, quick in all it does.
    pub(crate) fn spec(&self, args: &[&str]) -> ReplicaSpec {
        let mut command = vec![env!("CARGO_BIN_EXE_test-replica").to_owned()];
        command.extend(args.iter().map(ToString::to_string));
        quick(ReplicaSpec::new(command, self.path()).unwrap())
    }

    /// A shell script in place of the replica; `$REPLICA` is the test replica's path.
    pub(crate) fn script(&self, script: &str) -> ReplicaSpec {
        let script = script.replace("$REPLICA", env!("CARGO_BIN_EXE_test-replica"));
        quick(ReplicaSpec::new(vec!["sh".to_owned(), "-c".to_owned(), script], self.path()).unwrap())
    }

    pub(crate) fn config(&self) -> SupervisorConfig {
        let directory = self.data();
        SupervisorConfig { workload: "web".to_owned(), directory, ports: Ports::Ephemeral, seed: 7 }
    }

    /// A supervisor with so many replicas, as soon as all are ready.
    pub(crate) async fn run(&self, spec: ReplicaSpec, size: u32) -> ProcessSupervisor {
        let supervisor = self.start(spec).await;
        supervisor.set_desired(size, None).await.unwrap();
        until(&supervisor, "all are ready", |status| status.ready() == size as usize).await;
        supervisor
    }

    pub(crate) async fn start(&self, spec: ReplicaSpec) -> ProcessSupervisor {
        ProcessSupervisor::start(spec, self.config()).await.unwrap()
    }

    /// Every process that runs in this yard, whoever started it.
    pub(crate) fn inhabitants(&self) -> Vec<u32> {
        let here = self.path().canonicalize().unwrap();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let lives_here = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == here) && alive(*pid)
        };
        pids.filter(lives_here).collect()
    }

    /// The pids that replicas with `--child` and `--daemon` wrote down.
    pub(crate) fn children(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.path().join("children")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

fn quick(mut spec: ReplicaSpec) -> ReplicaSpec {
    spec.health.interval = Duration::from_millis(100);
    spec.health.timeout = Duration::from_secs(2);
    spec.health.start_grace = Duration::from_secs(30);
    spec.stop.drain = Duration::ZERO;
    spec.stop.term_grace = Duration::from_secs(10);
    spec.backoff.first = Duration::from_millis(20);
    spec
}

/// Settings of a policy with this command, which stops without a drain.
pub(crate) fn settings(command: &[&str]) -> ProcessSettings {
    let text = serde_json::json!({ "command": command, "stop": { "drain": "0ms" } });
    serde_json::from_value(text).unwrap()
}

pub(crate) async fn target(yard: &Yard, settings: &ProcessSettings) -> ProcessTarget {
    let (name, base, data) = ("web".parse().unwrap(), yard.path(), yard.data());
    ProcessTarget::hold(&name, settings, None, base, &data, 7).await.unwrap().run()
}

/// Waits until the status is as claimed, and gives it.
pub(crate) async fn until(
    supervisor: &ProcessSupervisor,
    claim: &str,
    holds: impl Fn(&Status) -> bool,
) -> Arc<Status> {
    let found = eventually(|| Some(supervisor.status()).filter(|status| holds(status))).await;
    found.unwrap_or_else(|| panic!("never came: {claim}\n{:#?}", supervisor.status()))
}

/// Waits until something is there.
pub(crate) async fn eventually<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    let give_up = std::time::Instant::now() + LIMIT;
    while std::time::Instant::now() < give_up {
        if let Some(found) = look() {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

/// Whether a process runs (one that has ended and waits to be reaped doesn't).
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub(crate) async fn gone(pid: u32) {
    eventually(|| (!alive(pid)).then_some(())).await.unwrap_or_else(|| panic!("pid {pid} still runs"));
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub(crate) fn replica<'a>(status: &'a Status, id: &str) -> &'a ReplicaStatus {
    let found = status.replicas.iter().find(|replica| replica.id == id);
    found.unwrap_or_else(|| panic!("no {id} in {status:#?}"))
}

pub(crate) fn pids(status: &Status) -> Vec<u32> {
    status.replicas.iter().filter_map(|replica| replica.pid).collect()
}

pub(crate) fn ids(status: &Status) -> Vec<&str> {
    status.replicas.iter().map(|replica| replica.id.as_str()).collect()
}

pub(crate) fn in_state(status: &Status, state: &ReplicaState) -> usize {
    status.replicas.iter().filter(|replica| replica.state == *state).count()
}

pub(crate) fn finding<'a>(status: &'a Status, code: &str) -> Option<&'a str> {
    status.findings.iter().find(|finding| finding.code == code).map(|finding| finding.text.as_str())
}

/// The body of `GET /`. On a thread of its own: the supervisor under test runs on this one, and a probe of
/// its own may be under way.
pub(crate) async fn get(address: SocketAddr) -> std::io::Result<String> {
    let ask = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
