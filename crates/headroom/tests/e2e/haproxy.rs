//! An HAProxy that already runs as the data plane: what holds for the built-in balancer holds behind it.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::life::surge_and_calm;
use crate::rig::{Rig, eventually, get, headroom, load, runs, signal};

/// An HAProxy with an empty backend `app`, killed at the end of its test.
struct Haproxy {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Haproxy {
    /// `None` where real servers are left out.
    fn start() -> Option<Self> {
        if std::env::var_os("HEADROOM_SKIP_REAL").is_some() {
            eprintln!("skipped: HEADROOM_SKIP_REAL is set, so HAProxy is not started");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = headroom_testkit::port::free();
        let replace = [
            ("/run/haproxy/admin.sock", socket(folder.path())),
            ("bind :8080", format!("bind 127.0.0.1:{port}")),
        ];
        let replace = replace.each_ref().map(|(from, to)| (*from, to.as_str()));
        let config = headroom_testkit::page::block("haproxy", "text", &replace);
        std::fs::write(folder.path().join("haproxy.cfg"), config).unwrap();
        let process = run(folder.path());
        Some(Self { folder, port, process })
    }

    /// Ends it at once and starts it anew: it has forgotten every server that was added.
    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = run(self.folder.path());
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until a request is answered.
    fn serves(&self) -> String {
        let address = self.address();
        eventually("HAProxy serves", || {
            get(&address, "/").ok().filter(|(status, _)| *status == 200).map(drop)
        });
        address
    }

    /// The example of the page, with this HAProxy and the program under test, and numbers that a test can wait for.
    fn policy(&self, min: u32, max: u32, more: &str) -> String {
        let app = format!(
            "command: [\"{}\", sample-app, --port, \"$PORT\", --start-up, 250ms, --capacity, \"100\", \
             --queue, \"2000\"], \
             stop: {{ drain: 5s, grace: 2s }}{more}",
            headroom()
        );
        let admin = socket(self.folder.path());
        let range = format!("{{ min: {min}, max: {max} }}");
        let replace = [
            ("/run/haproxy/admin.sock", admin.as_str()),
            ("command: [headroom, sample-app, --port, \"$PORT\"]", app.as_str()),
            ("{ min: 2, max: 20 }", range.as_str()),
            ("figure: requestsPerSecond }", "figure: requestsPerSecond }, every: 100ms, window: 500ms"),
            ("figure: inFlight }", "figure: inFlight }, every: 100ms"),
            ("perReplica: 50 }", "perReplica: 50, scaleOutCooldown: 0s, scaleInCooldown: 0s }"),
            ("perReplica: 20 }", "perReplica: 20, scaleOutCooldown: 0s, scaleInCooldown: 0s }"),
        ];
        let policy = headroom_testkit::page::policy("haproxy", &replace);
        format!("{policy}      behavior: {{ scaleDown: {{ stabilization: 2s }} }}\n")
    }

    /// The servers of the backend, as `show stat` names them, without the one that stands in for none.
    fn servers(&self) -> Vec<String> {
        use std::io::{Read as _, Write as _};
        let mut answer = String::new();
        let mut stream = std::os::unix::net::UnixStream::connect(socket(self.folder.path())).unwrap();
        stream.write_all(b"show stat\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        let of_app = answer.lines().filter_map(|line| line.strip_prefix("app,")?.split(',').next());
        let mut names: Vec<String> = of_app.map(str::to_owned).collect();
        assert!(names.iter().any(|name| name == "hold"), "a server of others is left alone: {names:?}");
        names.retain(|name| !["BACKEND", "hold"].contains(&name.as_str()));
        names
    }
}

fn socket(folder: &Path) -> String {
    folder.join("admin.sock").display().to_string()
}

fn run(folder: &Path) -> Child {
    Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(folder.join("haproxy.cfg"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("haproxy can't be started ({e}): install it, or set HEADROOM_SKIP_REAL=1"))
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A14: the same surge as through the built-in balancer; a normal stop leaves no server behind.
#[test]
fn a_surge_behind_haproxy_grows_the_workload_and_calm_shrinks_it_without_a_failed_request() {
    let Some(haproxy) = Haproxy::start() else { return };
    let mut rig = Rig::new(&haproxy.policy(1, 6, ""));
    rig.start_until_ready(1);
    surge_and_calm(&rig, &haproxy.serves());
    eventually("what was removed is no server", || (haproxy.servers().len() == 1).then_some(()));
    rig.stop();
    assert_eq!(haproxy.servers(), Vec::<String>::new());
}

/// A29, D3: the controller is killed and another comes, and HAProxy forgets what it was told: requests go on.
#[test]
fn haproxy_serves_without_a_controller_and_is_told_anew_after_a_restart() {
    let Some(mut haproxy) = Haproxy::start() else { return };
    let mut rig = Rig::new(&haproxy.policy(2, 6, ""));
    rig.start_until_ready(2);
    let address = haproxy.serves();
    eventually("both are servers", || (haproxy.servers().len() == 2).then_some(()));
    let (servers, pids) = (haproxy.servers(), rig.replica_pids());
    let offered = load(&address, "calm 5s @40");
    rig.kill_controller();
    assert!(pids.iter().all(|pid| runs(*pid)), "the data plane goes on");
    rig.start_until_ready(2);
    let report = offered.join();
    assert_eq!(report.requests.failed, 0, "{report:?}");
    assert_eq!((haproxy.servers(), rig.replica_pids()), (servers, pids));

    let victim = rig.replica_pids()[0];
    let offered = load(&address, "calm 4s @40");
    signal(victim, "KILL");
    eventually("another took its place", || {
        let pids = rig.replica_pids();
        (pids.len() == 2 && !pids.contains(&victim) && rig.count("ready")? == 2).then_some(())
    });
    let report = offered.join();
    // 40 a second with 50 ms of work: two are in flight on average, on two replicas.
    assert!(report.requests.failed <= 10, "{report:?}");

    haproxy.restart();
    haproxy.serves();
    eventually("both are servers again", || (haproxy.servers().len() == 2).then_some(()));
    // While it is gone, that is said where people look.
    haproxy.process.kill().unwrap();
    eventually("the trouble is told", || {
        rig.web()?.pointer("/status/troubles")?.to_string().contains("HAProxy at").then_some(())
    });
}

/// Old replicas are replaced behind HAProxy without a failed request, and servers of others are left alone.
#[test]
fn haproxy_drains_before_a_replica_goes() {
    let Some(haproxy) = Haproxy::start() else { return };
    let policy = haproxy.policy(2, 2, ", maxLifetime: 4s, health: { startGrace: 3s }");
    let mut rig = Rig::new(&policy);
    rig.start_until_ready(2);
    let address = haproxy.serves();
    let first = rig.replica_pids();
    let offered = load(&address, "calm 12s @40");
    eventually("all of the first replicas are gone", || {
        let now = rig.replica_pids();
        first.iter().all(|pid| !now.contains(pid)).then_some(())
    });
    let report = offered.join();
    assert_eq!(report.requests.failed, 0, "{report:?}");
    assert!(
        haproxy.servers().iter().all(|name| name.starts_with("headroom.web-")),
        "{:?}",
        haproxy.servers()
    );
}

/// A26, A14: without a replica requests wait behind HAProxy, wake the first one, and are answered; again and again, also
/// while the last one is on its way out.
#[test]
fn requests_behind_haproxy_wait_for_the_replica_they_wake() {
    let Some(haproxy) = Haproxy::start() else { return };
    let mut rig = Rig::new(&haproxy.policy(0, 4, ""));
    rig.start();
    let address = haproxy.address();
    for _ in 0..3 {
        eventually("nothing runs", || {
            (rig.count("ready")? == 0 && rig.replica_pids().is_empty() && haproxy.servers().is_empty())
                .then_some(())
        });
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let address = address.clone();
                std::thread::spawn(move || get(&address, "/").unwrap().0)
            })
            .collect();
        let told: Vec<u16> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(told, [200; 20]);
    }
    // As soon as none is wanted any more: it drains, stops, or is gone.
    for pause in [0, 50, 300, 1000] {
        eventually("none is wanted", || (rig.count("wanted")? == 0).then_some(()));
        std::thread::sleep(std::time::Duration::from_millis(pause));
        assert_eq!(get(&address, "/").unwrap().0, 200, "after {pause} ms");
    }
    let report = load(&address, "calm 3s @2, surge 4s @120, calm 3s @2").join();
    assert_eq!(report.requests.failed, 0, "{report:?}");
}
