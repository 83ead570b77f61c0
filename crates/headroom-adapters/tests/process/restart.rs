//! The controller goes, the replicas stay: kill, restart, adoption.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::{Yard, alive, eventually, finding, get, gone, ids, kill, pids, until};
use headroom_adapters::target::process::{ProcessSupervisor, Shutdown, SupervisorError};

const STOP: Shutdown = Shutdown::StopAll { drain: Duration::ZERO };

/// A29: the controller is killed, its replicas go on serving, and the next one takes them over as they
/// are.
#[tokio::test]
async fn replicas_outlive_a_killed_controller_and_are_adopted() {
    let yard = Yard::new();
    let mut controller = Command::new(env!("CARGO_BIN_EXE_test-controller"))
        .arg(yard.path())
        .args(["2", env!("CARGO_BIN_EXE_test-replica"), "--port", "$PORT", "--child"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let record = || std::fs::read_to_string(yard.data().join("replicas.json")).unwrap_or_default();
    // Both are ready when the record says since when.
    eventually(|| (record().matches("\"secs\"").count() == 2).then_some(())).await.unwrap();
    controller.kill().unwrap();
    controller.wait().unwrap();

    let supervisor = yard.start(yard.spec(&["--port", "$PORT", "--child"])).await;
    let status = supervisor.status();
    assert_eq!(ids(&status), ["web-1", "web-2"]);
    assert_eq!((status.desired, status.ready()), (2, 2), "ready from the first moment");
    for replica in &status.replicas {
        assert!(replica.adopted);
        assert_eq!(get(replica.address.unwrap()).await.unwrap(), replica.id);
    }

    // An adopted replica is no child, and its end is noticed all the same.
    let first = pids(&status);
    let child = *yard.children().iter().find(|child| parent(**child) == Some(first[0])).unwrap();
    kill(first[0]);
    let status = until(&supervisor, "it is back", |status| {
        status.ready() == 2 && pids(status).iter().all(|pid| *pid != first[0])
    })
    .await;
    assert_eq!((status.replicas[0].adopted, status.replicas[1].adopted), (false, true));
    gone(child).await;
    supervisor.shutdown(STOP).await;
    assert!([pids(&status), yard.children()].concat().into_iter().all(|pid| !alive(pid)));
}

/// A29: at whatever moment a controller is killed, its successor finds all that it started.
#[tokio::test]
async fn a_controller_killed_at_any_moment_leaves_nothing_its_successor_does_not_find() {
    let yard = Yard::new();
    // From before the first intent is recorded, over starts and stops under way, to quiet.
    for (size, lived_ms) in [(4, 5), (4, 15), (1, 25), (6, 35), (2, 45), (5, 60), (0, 80), (7, 100), (3, 300)]
    {
        let mut controller = Command::new(env!("CARGO_BIN_EXE_test-controller"))
            .arg(yard.path())
            .args([&size.to_string(), env!("CARGO_BIN_EXE_test-replica"), "--port", "$PORT", "--child"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(lived_ms)).await;
        controller.kill().unwrap();
        controller.wait().unwrap();
    }
    let supervisor = yard.start(yard.spec(&["--port", "$PORT", "--child"])).await;
    supervisor.set_desired(2, None).await.unwrap();
    let status = until(&supervisor, "two are ready and no more", |status| {
        status.ready() == 2 && status.replicas.len() == 2
    })
    .await;
    // The replicas, and the child of each: nothing of what was started and given up.
    let all = eventually(|| Some(yard.inhabitants()).filter(|all| all.len() == 4)).await;
    let all =
        all.unwrap_or_else(|| panic!("{:?} run here, and these are known: {status:#?}", yard.inhabitants()));
    assert!(pids(&status).iter().all(|pid| all.contains(pid)));
    supervisor.shutdown(STOP).await;
    assert_eq!(yard.inhabitants(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_dropped_or_detached_supervisor_leaves_its_replicas_to_the_next() {
    let yard = Yard::new();
    let spec = yard.spec(&["--port", "$PORT"]);
    let supervisor = yard.run(spec.clone(), 1).await;
    let pid = pids(&supervisor.status())[0];
    drop(supervisor);

    let second = yard.start(spec.clone()).await;
    assert_eq!(pids(&second.status()), [pid]);
    second.shutdown(Shutdown::Detach).await;
    assert!(alive(pid));

    let third = yard.start(spec).await;
    assert_eq!(pids(&third.status()), [pid]);
    assert_eq!(third.status().generation, 1, "a restart is no change of size");
    third.shutdown(STOP).await;
    gone(pid).await;
}

#[tokio::test]
async fn a_replica_that_ended_meanwhile_is_replaced_and_its_children_are_not_left_behind() {
    let yard = Yard::new();
    let spec = yard.spec(&["--port", "$PORT", "--child"]);
    let supervisor = yard.run(spec.clone(), 2).await;
    let before = pids(&supervisor.status());
    supervisor.shutdown(Shutdown::Detach).await;
    let orphan = *yard.children().iter().find(|child| parent(**child) == Some(before[0])).unwrap();
    kill(before[0]);
    gone(before[0]).await;
    assert!(alive(orphan));

    let supervisor = yard.start(spec).await;
    let status = until(&supervisor, "two are ready again", |status| status.ready() == 2).await;
    assert_eq!(ids(&status), ["web-2", "web-3"]);
    assert!(finding(&status, "ended-unwatched").is_some());
    assert!(finding(&status, "strays").unwrap().contains(&orphan.to_string()));
    gone(orphan).await;
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn a_lost_or_damaged_record_costs_no_replica() {
    for damage in [None, Some("{\"version\": 1, \"replicas\": [{")] {
        let yard = Yard::new();
        let spec = yard.spec(&["--port", "$PORT"]);
        let supervisor = yard.run(spec.clone(), 2).await;
        let before = pids(&supervisor.status());
        supervisor.shutdown(Shutdown::Detach).await;
        let record = yard.data().join("replicas.json");
        match damage {
            None => std::fs::remove_file(record).unwrap(),
            Some(text) => std::fs::write(record, text).unwrap(),
        }

        let supervisor = yard.start(spec).await;
        let status = until(&supervisor, "both are ready", |status| status.ready() == 2).await;
        assert_eq!((pids(&status), status.desired), (before, 2));
        assert_eq!(finding(&status, "record-damaged").is_some(), damage.is_some());
        supervisor.set_desired(3, Some(2)).await.unwrap();
        let status = until(&supervisor, "the third is ready", |status| status.ready() == 3).await;
        assert_eq!(ids(&status), ["web-1", "web-2", "web-3"], "no name is given twice");
        supervisor.shutdown(STOP).await;
    }
}

/// The controller was killed after the intent to start was recorded, and before the outcome was.
#[tokio::test]
async fn a_start_cut_short_is_found_by_its_token() {
    let yard = Yard::new();
    let spec = yard.spec(&["--port", "$PORT", "--child"]);
    let supervisor = yard.run(spec.clone(), 1).await;
    let before = pids(&supervisor.status());
    supervisor.shutdown(Shutdown::Detach).await;
    let path = yard.data().join("replicas.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["replicas"][0]["process"] = serde_json::Value::Null;
    record["replicas"][0]["ready"] = serde_json::Value::Null;
    std::fs::write(&path, record.to_string()).unwrap();

    let supervisor = yard.start(spec).await;
    let status = until(&supervisor, "it is ready", |status| status.ready() == 1).await;
    assert_eq!(pids(&status), before);
    assert!(yard.children().iter().all(|pid| alive(*pid)), "its child was taken for a stray");
    supervisor.shutdown(STOP).await;
    assert!(yard.children().iter().all(|pid| !alive(*pid)));
}

/// Never by pid alone: the record names the pid of a process that isn't ours.
#[tokio::test]
async fn a_reused_pid_is_neither_adopted_nor_signalled() {
    let yard = Yard::new();
    let spec = yard.spec(&["--port", "$PORT"]);
    let supervisor = yard.run(spec.clone(), 1).await;
    let ours = pids(&supervisor.status())[0];
    supervisor.shutdown(Shutdown::Detach).await;
    kill(ours);
    gone(ours).await;

    let mut bystander = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let path = yard.data().join("replicas.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let forged = record.replace(&format!("\"pid\": {ours}"), &format!("\"pid\": {}", bystander.id()));
    assert_ne!(record, forged);
    std::fs::write(&path, forged).unwrap();

    let supervisor = yard.start(spec).await;
    let status = until(&supervisor, "another is ready", |status| status.ready() == 1).await;
    assert_eq!(ids(&status), ["web-2"]);
    assert!(finding(&status, "pid-reused").unwrap().contains(&bystander.id().to_string()));
    supervisor.shutdown(STOP).await;
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander was signalled");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn a_replica_that_was_draining_still_goes() {
    let yard = Yard::new();
    let mut spec = yard.spec(&["--port", "$PORT"]);
    spec.stop.drain = Duration::from_secs(300);
    let supervisor = yard.run(spec.clone(), 2).await;
    supervisor.set_desired(1, None).await.unwrap();
    supervisor.shutdown(Shutdown::Detach).await;

    let supervisor = yard.start(spec).await;
    assert_eq!((supervisor.status().desired, supervisor.status().ready()), (1, 1));
    supervisor.drained("web-2").await;
    until(&supervisor, "it is gone", |status| ids(status) == ["web-1"]).await;
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn two_supervisors_do_not_share_a_directory_and_two_directories_do_not_share_replicas() {
    let (yard, other) = (Yard::new(), Yard::new());
    let supervisor = yard.run(yard.spec(&["--port", "$PORT"]), 1).await;
    let second = ProcessSupervisor::start(yard.spec(&[]), yard.config()).await;
    assert!(matches!(second, Err(SupervisorError::Held { .. })));
    let elsewhere = other.start(other.spec(&[])).await;
    assert!(elsewhere.status().replicas.is_empty() && elsewhere.status().findings.is_empty());
    elsewhere.shutdown(STOP).await;
    assert_eq!(supervisor.status().ready(), 1);
    supervisor.shutdown(STOP).await;
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
