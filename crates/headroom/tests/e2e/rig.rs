//! A controller as a real process, and what a test needs to talk to it.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use std::io::{BufRead as _, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headroom_sample::load::{Generator, LoadOptions, LoadPlan, Report};
use serde_json::Value;
use tokio::sync::Notify;

/// How long a condition may take before a test fails: far beyond what anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The app's arguments: its queue takes whatever comes while replicas start on a slow machine; what waits is not refused.
const APP: &str = "--start-up, 250ms, --capacity, \"100\", --queue, \"2000\"";

/// The program under test.
pub(crate) fn headroom() -> &'static str {
    env!("CARGO_BIN_EXE_headroom")
}

/// A policy, a data directory, and the controller on them.
pub(crate) struct Rig {
    folder: tempfile::TempDir,
    controller: Option<Child>,
    server: String,
    extra: Vec<String>,
}

/// The policy of most tests: the sample app, a quarter of a second to start, no waiting on the way down.
pub(crate) fn policy(min: u32, max: u32) -> String {
    policy_of(min, max, APP, "")
}

/// The same with other arguments of the app, and more lines in the workload.
pub(crate) fn policy_of(min: u32, max: u32, app: &str, more: &str) -> String {
    format!(
        r#"apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: test }}
spec:
  workloads:
    web:
      target:
        process:
          command: ["{program}", sample-app, --port, "$PORT", {app}]
          stop: {{ drain: 5s, grace: 2s }}
      balancer: {{ listen: 127.0.0.1:0 }}
      replicas: {{ min: {min}, max: {max} }}
      signals:
        rps: {{ balancer: requestsPerSecond, window: 500ms }}
      strategies:
        - targetTracking: {{ signal: rps, perReplica: 50, scaleOutCooldown: 0s, scaleInCooldown: 0s }}
      behavior: {{ scaleDown: {{ stabilization: 2s }} }}
{more}"#,
        program = headroom()
    )
}

/// The same with a second workload, `api`, whose replica is known by `--capacity 77` and takes `drain` to drain.
pub(crate) fn policy_with_api(min: u32, drain: &str) -> String {
    let api = format!(
        r#"    api:
      target:
        process:
          command: ["{program}", sample-app, --port, "$PORT", --capacity, "77"]
          stop: {{ drain: {drain}, grace: 2s }}
      balancer: {{ listen: 127.0.0.1:0 }}
      replicas: {{ min: 1, max: 1 }}
      signals: {{ rps: {{ balancer: requestsPerSecond }} }}
      strategies:
        - targetTracking: {{ signal: rps, perReplica: 50 }}
"#,
        program = headroom()
    );
    policy_of(min, 4, APP, &api)
}

impl Rig {
    /// A rig on `policy`, not yet started.
    pub(crate) fn new(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fleet.yaml"), policy).unwrap();
        Self { folder, controller: None, server: String::new(), extra: Vec::new() }
    }

    /// Further arguments of `headroom run`.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.extra = arguments.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("fleet.yaml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the controller said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Starts the controller and waits until its API answers.
    pub(crate) fn start(&mut self) {
        let before = self.said().len();
        self.launch();
        self.server = eventually("the controller says where its page is", || {
            let said = self.said();
            let line = said.get(before..)?.lines().find(|l| l.contains("/#token="))?.to_owned();
            Some(line.split("http://").nth(1)?.split('/').next()?.to_owned())
        });
    }

    /// Starts the controller and waits for nothing.
    pub(crate) fn launch(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("stderr"))
            .unwrap();
        let child = Command::new(headroom())
            .args(["run", "--bind", "127.0.0.1:0", "-f"])
            .arg(self.file())
            .arg("--data")
            .arg(self.data())
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.controller = Some(child);
    }

    /// `headroom run` on this rig where it is to end by itself.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Output {
        let (file, data) = (self.file(), self.data());
        let run = ["run", "-f", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
        alone(&[&run, arguments].concat(), self.folder.path())
    }

    /// Where the API answers.
    pub(crate) fn server(&self) -> String {
        self.server.clone()
    }

    pub(crate) fn start_until_ready(&mut self, replicas: u64) {
        self.start();
        self.ready(replicas);
    }

    /// Waits until so many replicas are ready.
    pub(crate) fn ready(&self, replicas: u64) {
        eventually(&format!("{replicas} replicas are ready"), || {
            (self.count("ready")? >= replicas).then_some(())
        });
    }

    pub(crate) fn controller_pid(&self) -> u32 {
        self.controller.as_ref().unwrap().id()
    }

    /// `kill -9` of the controller.
    pub(crate) fn kill_controller(&mut self) {
        let mut child = self.controller.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ctrl-C, and waits for the end.
    pub(crate) fn stop(&mut self) {
        let Some(child) = &self.controller else { return };
        signal(child.id(), "INT");
        self.ended();
    }

    /// Waits for the end of the controller.
    pub(crate) fn ended(&mut self) {
        let Some(mut child) = self.controller.take() else { return };
        eventually("the controller ends", || child.try_wait().unwrap());
    }

    /// A command against this controller.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(headroom())
            .args(arguments)
            .args(["--server", &self.server, "--data"])
            .arg(self.data())
            .env("LANG", "C")
            .output()
            .unwrap()
    }

    /// A command that goes on, and the lines it prints.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Follower {
        let mut process = Command::new(headroom())
            .args(arguments)
            .args(["--server", &self.server, "--data"])
            .arg(self.data())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
        Follower { process, lines }
    }

    /// A command's JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.ask(&[arguments, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The workload as `status` shows it.
    pub(crate) fn web(&self) -> Option<Value> {
        let workloads = self.json(&["status"])?.get("workloads")?.as_array()?.clone();
        workloads.into_iter().find(|workload| workload["name"] == "web")
    }

    pub(crate) fn count(&self, of: &str) -> Option<u64> {
        self.web()?.pointer(&format!("/status/{of}"))?.as_u64()
    }

    /// Where the workload `web` is reached.
    pub(crate) fn address(&self) -> String {
        self.listens("web")
    }

    /// Where a workload is reached.
    pub(crate) fn listens(&self, workload: &str) -> String {
        eventually("the balancer listens", || {
            let workloads = self.json(&["status"])?.get("workloads")?.as_array()?.clone();
            let listen =
                workloads.iter().find(|w| w["name"] == workload)?.get("listen")?.as_str()?.to_owned();
            (!listen.ends_with(":0")).then_some(listen)
        })
    }

    /// The pids of the replicas, from their health answers' instance ids kept by the balancer's backends.
    pub(crate) fn replica_pids(&self) -> Vec<u32> {
        let marker = self.data().display().to_string();
        let mut pids: Vec<u32> = processes()
            .into_iter()
            .filter(|(_, command)| command.contains("sample-app"))
            .filter(|(pid, _)| {
                environment_of(*pid).contains(&marker)
                    || folder_of(*pid) == Some(self.folder.path().to_owned())
            })
            .map(|(pid, _)| pid)
            .collect();
        pids.sort_unstable();
        pids
    }

    /// The pids of the replicas whose command line holds `argument`.
    pub(crate) fn replica_pids_with(&self, argument: &str) -> Vec<u32> {
        let mut pids = self.replica_pids();
        pids.retain(|pid| command_of(*pid).is_some_and(|command| command.contains(argument)));
        pids
    }

    /// The pid of the balancer.
    pub(crate) fn balancer_pid(&self) -> Option<u32> {
        self.pid_of("lb")
    }

    /// The pid of a command of the program on this rig's data.
    pub(crate) fn pid_of(&self, command: &str) -> Option<u32> {
        let begins = format!("{} {command} ", headroom());
        let marker = self.data().display().to_string();
        processes()
            .into_iter()
            .find(|(_, c)| c.starts_with(&begins) && c.contains(&marker))
            .map(|(pid, _)| pid)
    }
}

/// A command that goes on until it is dropped.
pub(crate) struct Follower {
    process: Child,
    pub(crate) lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut child) = self.controller.take() {
            signal(child.id(), "INT");
            let begun = Instant::now();
            while child.try_wait().is_ok_and(|ended| ended.is_none())
                && begun.elapsed() < Duration::from_secs(20)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
        }
        // A test that failed half-way must leave nothing behind.
        for pid in self.replica_pids().into_iter().chain(self.balancer_pid()) {
            signal(pid, "KILL");
        }
        if std::thread::panicking() {
            eprintln!("the controller said:\n{}", self.said());
        }
    }
}

/// Waits for a condition.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "did not happen within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Whether the process runs (a dead one that nobody waited for does not).
pub(crate) fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
}

fn processes() -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| runs(*pid))
        .filter_map(|pid| Some((pid, command_of(pid)?)))
        .collect()
}

fn command_of(pid: u32) -> Option<String> {
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&raw).replace('\0', " "))
}

fn environment_of(pid: u32) -> String {
    let raw = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

fn folder_of(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// One request; the status and the body.
pub(crate) fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok((status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()))
}

/// Load that is offered from a thread of its own.
pub(crate) struct Offered {
    thread: std::thread::JoinHandle<Report>,
    enough: Arc<Notify>,
}

impl Offered {
    /// Waits for the end of the plan.
    pub(crate) fn join(self) -> Report {
        self.thread.join().unwrap()
    }

    /// Ends it now. What must be seen under load is waited for, and then this is called, however slow the machine is.
    pub(crate) fn enough(self) -> Report {
        self.enough.notify_one();
        self.join()
    }
}

/// Offers `plan` to the address.
pub(crate) fn load(address: &str, plan: &str) -> Offered {
    let url = format!("http://{address}/").parse().unwrap();
    let plan: LoadPlan = plan.parse().unwrap();
    let enough = Arc::new(Notify::new());
    let ends = Arc::clone(&enough);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut generator = Generator::start(plan, LoadOptions::new(url));
            tokio::select! {
                report = generator.wait() => return report,
                () = ends.notified() => generator.stop(),
            }
            generator.wait().await
        })
    });
    Offered { thread, enough }
}

/// Text of an output's stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Text of an output's stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the program without a controller.
pub(crate) fn alone(arguments: &[&str], folder: &Path) -> Output {
    Command::new(headroom()).args(arguments).current_dir(folder).env("LANG", "C").output().unwrap()
}
