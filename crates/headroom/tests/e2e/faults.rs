//! Bad input of every kind: a clear error with what, why and the next step, and nothing lost.

use crate::rig::{
    Rig, alone, eventually, get, headroom, policy, policy_of, policy_with_api, runs, signal, stderr, stdout,
};

/// A file system of its own for a folder, small enough to be filled.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount, as outside of root.
    fn mount(folder: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&folder).expect("the folder is made");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"])
            .arg(&folder)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    /// Takes all that is free; the file that holds it.
    fn fill(&self) -> std::path::PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).expect("the disk is not full yet");
        for size in [65_536, 512] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

/// What can't be written down is not done; requests go on, and so does all else once there is space.
#[test]
fn on_a_full_disk_nothing_changes_until_there_is_space() {
    let pushed = policy(1, 9)
        .replace("rps: { balancer: requestsPerSecond, window: 500ms }", "jobs: { push: { unit: count } }")
        .replace("signal: rps, perReplica: 50", "signal: jobs, perReplica: 10");
    let mut rig = Rig::new(&pushed);
    let Some(disk) = SmallDisk::mount(rig.data()) else {
        eprintln!("left out: this user may not mount a small disk");
        return;
    };
    rig.start_until_ready(1);
    let ballast = disk.fill();
    eventually("the trouble is said", || {
        let _ = rig.ask(&["push", "web", "jobs", "35"]);
        rig.said().contains("nothing is changed until it can").then_some(())
    });
    assert!(rig.said().contains("free space"), "{}", rig.said());
    assert_eq!(get(&rig.address(), "/").unwrap().0, 200, "requests go on");
    assert_eq!(rig.count("wanted"), Some(1), "what can't be recorded is not done");
    std::fs::remove_file(ballast).unwrap();
    eventually("it goes on by itself", || {
        let _ = rig.ask(&["push", "web", "jobs", "35"]);
        (rig.count("ready")? == 4).then_some(())
    });
    rig.stop();
}

#[test]
fn a_policy_with_mistakes_is_refused_with_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let bad = policy(5, 2).replace("signal: rps,", "signal: rpps,").replace("replicas:", "replcas:");
    std::fs::write(folder.path().join("fleet.yaml"), bad).unwrap();
    for command in [&["check"][..], &["run", "--data", "d"]] {
        let output = alone(command, folder.path());
        assert_eq!(output.status.code(), Some(4), "{command:?}");
        let said = stderr(&output);
        assert!(
            said.contains("replcas") && said.contains("rpps") && said.contains("did you mean `rps`"),
            "{said}"
        );
        assert!(said.contains("fleet.yaml:"), "{said}");
    }
    let missing = alone(&["check", "-f", "nowhere.yaml"], folder.path());
    assert_eq!(missing.status.code(), Some(4));
    assert!(stderr(&missing).contains("nowhere.yaml"), "{}", stderr(&missing));
}

#[test]
fn a_bad_reload_keeps_the_old_policy_and_says_so() {
    let mut rig = Rig::new(&policy(1, 4));
    rig.start_until_ready(1);
    std::fs::write(rig.file(), policy(1, 4).replace("perReplica: 50", "perReplica: fifty")).unwrap();
    eventually("the mistake is said", || {
        rig.said().contains("the policy as it was stays in force").then_some(())
    });
    assert_eq!(get(&rig.address(), "/").unwrap().0, 200);
    std::fs::write(rig.file(), policy(3, 4)).unwrap();
    eventually("the mended policy is in force", || (rig.count("wanted")? == 3).then_some(()));
    rig.ready(3);
}

/// A29: one data directory, one controller.
#[test]
fn a_second_controller_on_the_same_data_refuses() {
    let mut rig = Rig::new(&policy(1, 1));
    rig.start_until_ready(1);
    let data = rig.data();
    let file = rig.file();
    let second = alone(
        &["run", "-f", file.to_str().unwrap(), "--data", data.to_str().unwrap(), "--bind", "127.0.0.1:0"],
        file.parent().unwrap(),
    );
    assert!(!second.status.success());
    let said = stderr(&second);
    assert!(said.contains(&rig.controller_pid().to_string()), "it names the other one: {said}");
    assert_eq!(rig.count("ready"), Some(1), "the first goes on");
}

#[test]
fn a_taken_port_is_named_before_anything_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let rig = Rig::new(&policy(1, 1));
    for arguments in [&["--bind", &address][..], &["--bind", "127.0.0.1:0", "--keda-listen", &address]] {
        let output = rig.refused(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains(&taken.local_addr().unwrap().port().to_string()), "{said}");
        assert_eq!((rig.replica_pids(), rig.balancer_pid()), (vec![], None), "{said}");
    }
}

/// What the policy listens at is not ours to listen at, neither at the start nor after a change of the policy.
#[test]
fn an_address_of_the_policy_is_no_address_of_the_controller() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let with = |listen: &str| policy(1, 1).replace("listen: 127.0.0.1:0", &format!("listen: \"{listen}\""));
    let otlp = policy(1, 1).replace(
        "  workloads:",
        &format!("  sources: {{ pushed: {{ otlp: {{ listen: \"{address}\" }} }} }}\n  workloads:"),
    );
    for (policy, whose) in [(with(&address), "workload `web`"), (otlp, "source `pushed`")] {
        let rig = Rig::new(&policy);
        for arguments in [&["--bind", &address][..], &["--bind", "127.0.0.1:0", "--keda-listen", &address]] {
            let output = rig.refused(arguments);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(whose) && said.contains(&address), "{said}");
            assert_eq!((rig.replica_pids(), rig.balancer_pid()), (vec![], None), "{said}");
        }
    }
    let mut rig = Rig::new(&policy(1, 1));
    rig.start();
    std::fs::write(rig.file(), with(&rig.server())).unwrap();
    eventually("it is refused", || rig.said().contains("is not in force: --bind").then_some(()));
}

/// C6: a start that waits for a port that others have hears that it is to end, and leaves nothing of its own.
#[test]
fn a_start_that_is_interrupted_leaves_nothing_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(
        &policy(1, 1).replace("listen: 127.0.0.1:0", &format!("listen: {}", taken.local_addr().unwrap())),
    );
    rig.launch();
    let balancer = eventually("the balancer runs", || rig.balancer_pid());
    let replica = eventually("a replica runs", || rig.replica_pids().first().copied());
    signal(rig.controller_pid(), "TERM");
    rig.ended();
    assert!(rig.said().contains("headroom stops"), "{}", rig.said());
    eventually("nothing is left", || (!runs(balancer) && !runs(replica)).then_some(()));
}

/// C5: a workload that can't be reached is no healthy one, wherever one asks; also after a change of `listen`.
#[test]
fn a_workload_whose_port_is_taken_is_said_everywhere() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut rig = Rig::new(&policy(1, 1));
    rig.start_until_ready(1);
    let open = rig.address();
    std::fs::write(
        rig.file(),
        policy(1, 1).replace("listen: 127.0.0.1:0", &format!("listen: \"{address}\"")),
    )
    .unwrap();
    let raised = |rig: &Rig| {
        let alerts = rig.json(&["status"])?["alerts"].as_array()?.clone();
        Some(
            alerts
                .iter()
                .any(|alert| alert["kind"] == "notListening" && alert["subject"]["workload"] == "web"),
        )
    };
    eventually("people are told", || raised(&rig)?.then_some(()));
    let said = stdout(&rig.ask(&["status"]));
    assert!(said.contains("(not-listening)") && said.contains(&address), "{said}");
    let doctor = rig.ask(&["doctor"]);
    let said = stdout(&doctor);
    assert_eq!(doctor.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("balancer.listen"), "{said}");
    assert!(rig.web().unwrap()["listen"].is_null(), "it is not said to listen");
    drop(taken);
    eventually("it is over", || (!raised(&rig)?).then_some(()));
    assert_eq!(rig.address(), address, "and no longer at {open}");
    assert_eq!(get(&address, "/").unwrap().0, 200);
}

/// A start that fails touches nothing of what an earlier controller left.
#[test]
fn a_start_that_fails_leaves_what_it_found() {
    let mut rig = Rig::new(&policy(1, 1));
    rig.start_until_ready(1);
    let found = (rig.replica_pids(), rig.balancer_pid());
    rig.kill_controller();
    // The second workload's folder is held by another, so that the first was held when the start fails.
    std::fs::write(rig.file(), policy_with_api(1, "1s").replace("    api:", "    zeta:")).unwrap();
    let folder = rig.data().join("process/zeta");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let output = rig.refused(&["--bind", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("zeta"), "{output:?}");
    assert_eq!((rig.replica_pids(), rig.balancer_pid()), found);
    assert!(found.0.iter().chain(&found.1).all(|pid| runs(*pid)));
}

/// C5: a command that does not exist is a trouble of its workload, with the next step.
#[test]
fn a_command_that_does_not_exist_is_named() {
    let bad = policy(1, 1).replace(headroom(), "./no-such-app");
    let mut rig = Rig::new(&bad);
    rig.start();
    let trouble = eventually("the trouble is shown", || {
        let troubles = rig.web()?.pointer("/status/troubles")?.as_array()?.clone();
        troubles.into_iter().find(|t| t["code"] == "command-not-found")
    });
    assert!(trouble["message"].as_str().unwrap().contains("no-such-app"), "{trouble}");
    assert!(stdout(&rig.ask(&["status"])).contains("no-such-app"));
}

/// A14, C5: a replica that never answers its health check is replaced and named.
#[test]
fn a_replica_that_never_gets_healthy_is_named() {
    let sick = policy_of(1, 1, "--start-up, 1h, --start-up-mode, unready", "")
        .replace("stop: { drain: 5s", "health: { startGrace: 5s }\n          stop: { drain: 5s");
    let mut rig = Rig::new(&sick);
    rig.start();
    eventually("the trouble is shown", || {
        let troubles = rig.web()?.pointer("/status/troubles")?.as_array()?.clone();
        troubles.into_iter().find(|t| t["message"].as_str().is_some_and(|m| m.contains("503"))).map(drop)
    });
}

#[test]
fn without_a_controller_commands_say_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = alone(&["status", "--server", "127.0.0.1:9", "--data", "d"], folder.path());
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("headroom run"), "{}", stderr(&output));
    assert_eq!(alone(&["no-such-command"], folder.path()).status.code(), Some(64));
}

/// A13: a signal that nobody sends is absent, which holds and is said; zero is a value.
#[test]
fn a_signal_that_is_not_sent_is_absent_and_a_sent_one_counts() {
    let pushed = policy(1, 9)
        .replace("rps: { balancer: requestsPerSecond, window: 500ms }", "jobs: { push: { unit: count } }")
        .replace("signal: rps, perReplica: 50", "signal: jobs, perReplica: 10");
    let mut rig = Rig::new(&pushed);
    rig.start_until_ready(1);
    assert!(
        stdout(&rig.ask(&["why-not", "web"])).contains("jobs is absent"),
        "{}",
        stdout(&rig.ask(&["why-not", "web"]))
    );
    assert!(rig.ask(&["push", "web", "jobs", "35"]).status.success());
    eventually("four replicas for 35 jobs", || (rig.count("wanted")? == 4).then_some(()));
    let refused = rig.ask(&["push", "web", "jobs", "NaN"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(rig.ask(&["push", "web", "jobs", "0"]).status.success());
    eventually("one replica for none", || (rig.count("wanted")? == 1).then_some(()));
}
