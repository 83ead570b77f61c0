//! What must hold while replicas, balancer and controller come and go.

use crate::rig::{Rig, eventually, get, load, policy, policy_of, policy_with_api, runs, signal};

/// A3, A14, A35, C1: a surge grows the workload, calm shrinks it, and no request fails.
#[test]
fn a_surge_grows_the_workload_and_calm_shrinks_it_without_a_failed_request() {
    let mut rig = Rig::new(&policy(1, 6));
    rig.start_until_ready(1);
    surge_and_calm(&rig, &rig.address());
}

/// The same whatever the data plane is: the workload is reached at `address`.
pub(crate) fn surge_and_calm(rig: &Rig, address: &str) {
    let surge = load(address, "calm 1s @20, surge 60s @220");
    eventually("five replicas are ready", || (rig.count("ready")? >= 5).then_some(()));
    let report = surge.enough();
    assert_eq!(report.requests.failed, 0, "{report:?}");
    let calm = load(address, "calm 60s @20");
    eventually("it is one replica again", || {
        (rig.count("wanted")? == 1 && rig.count("ready")? == 1).then_some(())
    });
    let report = calm.enough();
    assert_eq!(report.requests.failed, 0, "{report:?}");
}

/// A29: the control plane itself may die; D3, C6: its successor adopts what runs and goes on where it was.
#[test]
fn a_killed_controller_costs_no_request_and_its_successor_adopts_everything() {
    // No more than there are: a busy machine sends what was late in a burst.
    let mut rig = Rig::new(&policy(2, 2));
    rig.start_until_ready(2);
    let (address, pids, balancer) = (rig.address(), rig.replica_pids(), rig.balancer_pid());
    assert_eq!(pids.len(), 2);
    let decided = rig.json(&["explain", "web"]).unwrap()["id"].clone();
    let offered = load(&address, "calm 6s @40");
    rig.kill_controller();
    assert!(pids.iter().chain(&balancer).all(|pid| runs(*pid)), "the data plane goes on");
    assert_eq!(get(&address, "/").unwrap().0, 200);
    rig.start_until_ready(2);
    assert_eq!(rig.address(), address, "the balancer was found, not started anew");
    assert_eq!((rig.replica_pids(), rig.balancer_pid()), (pids, balancer));
    let report = offered.join();
    assert_eq!(report.requests.failed, 0, "{report:?}");
    // Decisions go on counting from where the journal left off.
    let number =
        |id: &serde_json::Value| id.as_str().unwrap().rsplit('-').next().unwrap().parse::<u64>().unwrap();
    let next = rig.json(&["explain", "web"]).unwrap()["id"].clone();
    assert!(number(&next) >= number(&decided), "{next} after {decided}");
    rig.stop();
    let replayed = rig.ask(&["replay"]);
    assert!(replayed.status.success(), "{replayed:?}");
}

/// D3: a dead replica is replaced, and costs only the requests in flight on it.
#[test]
fn a_killed_replica_is_replaced() {
    let mut rig = Rig::new(&policy(2, 2));
    rig.start_until_ready(2);
    let offered = load(&rig.address(), "calm 4s @40");
    let victim = rig.replica_pids()[0];
    signal(victim, "KILL");
    eventually("another took its place", || {
        let pids = rig.replica_pids();
        (pids.len() == 2 && !pids.contains(&victim) && rig.count("ready")? == 2).then_some(())
    });
    let report = offered.join();
    // 40 a second with 50 ms of work: two are in flight on average, on two replicas.
    assert!(report.requests.failed <= 10, "{report:?}");
}

/// A26 and A14: from zero, the first request waits for the replica it wakes.
#[test]
fn the_first_request_after_scaling_to_zero_succeeds() {
    let mut rig = Rig::new(&policy(0, 3));
    rig.start();
    let address = rig.address();
    eventually("nothing runs", || (rig.count("ready")? == 0 && rig.replica_pids().is_empty()).then_some(()));
    let (status, _) = get(&address, "/").unwrap();
    assert_eq!(status, 200);
    eventually("nothing runs again", || {
        (rig.count("wanted")? == 0 && rig.count("ready")? == 0).then_some(())
    });
    assert_eq!(get(&address, "/").unwrap().0, 200, "and again");
}

/// A14: a normal stop drains; nothing is orphaned.
#[test]
fn a_normal_stop_leaves_nothing_behind() {
    let mut rig = Rig::new(&policy(2, 2));
    rig.start_until_ready(2);
    let (pids, balancer) = (rig.replica_pids(), rig.balancer_pid().unwrap());
    rig.stop();
    eventually("replicas and balancer are gone", || {
        (!runs(balancer) && pids.iter().all(|pid| !runs(*pid))).then_some(())
    });
}

/// A29: replicas beyond their lifetime are replaced one at a time, without a failed request.
#[test]
fn old_replicas_are_rotated_without_a_failed_request() {
    let app = "--start-up, 250ms";
    let policy = policy_of(2, 2, app, "").replace(
        "stop: { drain: 5s",
        "maxLifetime: 4s\n          health: { startGrace: 3s }\n          stop: { drain: 5s",
    );
    let mut rig = Rig::new(&policy);
    rig.start_until_ready(2);
    let first = rig.replica_pids();
    let offered = load(&rig.address(), "calm 12s @40");
    eventually("all of the first replicas are gone", || {
        let now = rig.replica_pids();
        first.iter().all(|pid| !now.contains(pid)).then_some(())
    });
    let report = offered.join();
    assert_eq!(report.requests.failed, 0, "{report:?}");
}

/// A31: growth takes warm replicas, which needs no start; the pool refills, survives the controller, and ends with it.
#[test]
fn a_warm_pool_answers_a_surge_without_a_start() {
    let app = "--start-up, 2s, --capacity, \"100\", --queue, \"2000\", --cold-factor, \"5\"";
    let mut rig = Rig::new(&policy_of(1, 8, app, "      warmPool: { keep: 3 }\n"));
    rig.start_until_ready(1);
    let warm = |rig: &Rig| {
        let view = rig.json(&["status"])?["workloads"][0]["status"]["pool"].clone();
        Some((view["warm"].as_u64()?, view["replicas"].as_array()?.clone()))
    };
    let waiting = eventually("three wait", || Some(warm(&rig)?).filter(|(n, _)| *n == 3)).1;
    let ids = |replicas: &[serde_json::Value]| -> Vec<String> {
        replicas.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
    };
    let offered = load(&rig.address(), "calm 1s @20, surge 60s @180");
    // What was asked for is what waited: these very replicas serve, long before their like could have started.
    eventually("the warm ones serve", || {
        let view = rig.json(&["status"])?["workloads"][0]["status"].clone();
        let serving = ids(view["replicas"].as_array()?);
        ids(&waiting).iter().all(|id| serving.contains(id)).then_some(())
    });
    eventually("the pool is full again", || warm(&rig).filter(|(n, _)| *n == 3).map(drop));
    let report = offered.enough();
    assert_eq!(report.requests.failed, 0, "{report:?}");
    let before = ids(&warm(&rig).unwrap().1);
    rig.kill_controller();
    rig.start();
    let after = eventually("the pool was adopted", || Some(warm(&rig)?).filter(|(n, _)| *n == 3)).1;
    assert_eq!(ids(&after), before);
    let pids = rig.replica_pids();
    rig.stop();
    eventually("nothing is left", || pids.iter().all(|pid| !runs(*pid)).then_some(()));
}

/// A workload that a policy no longer has drains beside what goes on: the next change does not wait for it.
#[test]
fn a_removed_workload_that_drains_does_not_hold_up_the_next_change() {
    let mut rig = Rig::new(&policy_with_api(1, "10m"));
    rig.start_until_ready(1);
    let api =
        eventually("the second workload runs", || rig.replica_pids_with("--capacity 77").first().copied());
    let busy = rig.listens("api");
    let held = std::thread::spawn(move || get(&busy, "/load/10"));
    std::fs::write(rig.file(), policy(1, 4)).unwrap();
    eventually("the second workload is gone from the fleet", || {
        (rig.json(&["status"])?.get("workloads")?.as_array()?.len() == 1).then_some(())
    });
    std::fs::write(rig.file(), policy(3, 4)).unwrap();
    rig.ready(3);
    assert!(runs(api), "it drains still");
    // Put back, it serves again, and nobody waits for its drain.
    std::fs::write(rig.file(), policy_with_api(3, "10m")).unwrap();
    let again = rig.listens("api");
    eventually("it serves again", || get(&again, "/").is_ok_and(|(status, _)| status == 200).then_some(()));
    assert_eq!(rig.replica_pids_with("--capacity 77"), [api]);
    let _ = held.join();
    // Its drain would take ten minutes; nobody waits for that here.
    rig.kill_controller();
}

/// What was taken out of the policy while no controller ran is ended by the next one.
#[test]
fn a_workload_removed_while_nobody_ran_leaves_nothing_behind() {
    let mut rig = Rig::new(&policy_with_api(1, "1s"));
    rig.start_until_ready(1);
    let api =
        eventually("the second workload runs", || rig.replica_pids_with("--capacity 77").first().copied());
    let web = rig.replica_pids_with("--capacity 100");
    rig.kill_controller();
    std::fs::write(rig.file(), policy(1, 4)).unwrap();
    rig.start_until_ready(1);
    eventually("the removed workload's replica ends", || (!runs(api)).then_some(()));
    assert_eq!(rig.replica_pids_with("--capacity 100"), web, "the others are adopted");
    assert!(rig.replica_pids_with("--capacity 77").is_empty(), "none is started instead");
}

/// Who only says what it would do ends nothing that it found.
#[test]
fn advise_ends_nothing_it_found() {
    let mut rig = Rig::new(&policy_with_api(1, "1s"));
    rig.start_until_ready(1);
    let all = eventually("both run", || Some(rig.replica_pids()).filter(|pids| pids.len() == 2));
    rig.kill_controller();
    std::fs::write(rig.file(), policy(1, 4)).unwrap();
    let mut rig = rig.with(&["--advise"]);
    rig.start_until_ready(1);
    rig.stop();
    assert_eq!(rig.replica_pids(), all);
}
