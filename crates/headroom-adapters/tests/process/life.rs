//! Replicas as real processes: coming up, serving, failing, going.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use super::support::{
    Yard, alive, eventually, finding, get, gone, ids, in_state, kill, pids, replica, until,
};
use headroom_adapters::target::process::{
    Fault, Ports, Probe, ProcessSupervisor, ReplicaSpec, ReplicaState, Shutdown, SupervisorError,
};

const STOP: Shutdown = Shutdown::StopAll { drain: Duration::ZERO };

/// C1: replicas start, get ready, and serve on a port of their own.
#[tokio::test]
async fn replicas_get_ready_and_serve_each_on_its_own_port() {
    let yard = Yard::new();
    let supervisor = yard.run(yard.spec(&["--port", "$PORT"]), 3).await;
    let status = supervisor.status();
    assert_eq!(ids(&status), ["web-1", "web-2", "web-3"]);
    assert_eq!(status.generation, 1);
    let addresses: BTreeSet<_> = status.replicas.iter().filter_map(|replica| replica.address).collect();
    assert_eq!(addresses.len(), 3, "each has its own");
    for replica in &status.replicas {
        assert_eq!(get(replica.address.unwrap()).await.unwrap(), replica.id);
        assert!(replica.ready_at >= replica.started_at);
        assert_eq!((replica.restarts, replica.adopted), (0, false));
        let log = std::fs::read_to_string(replica.log.as_ref().unwrap()).unwrap();
        assert_eq!(log, format!("{} starts\n", replica.id));
    }
    supervisor.shutdown(STOP).await;
    assert!(pids(&status).into_iter().all(|pid| !alive(pid)));
}

#[tokio::test]
async fn ports_come_from_the_configured_range() {
    let yard = Yard::new();
    let mut config = yard.config();
    config.ports = Ports::Range { first: 23_400, last: 23_449 };
    let supervisor = ProcessSupervisor::start(yard.spec(&["--port", "${PORT}"]), config).await.unwrap();
    supervisor.set_desired(2, None).await.unwrap();
    let status = until(&supervisor, "both are ready", |status| status.ready() == 2).await;
    for replica in &status.replicas {
        assert!((23_400..=23_449).contains(&replica.address.unwrap().port()));
    }
    supervisor.shutdown(STOP).await;
}

/// A14: a replica gets traffic only after it is healthy.
#[tokio::test]
async fn a_replica_is_not_ready_before_it_is_healthy() {
    let yard = Yard::new();
    let supervisor = yard.start(yard.spec(&["--port", "$PORT", "--ready-after", "700"])).await;
    supervisor.set_desired(1, None).await.unwrap();
    let status = until(&supervisor, "it runs", |status| pids(status).len() == 1).await;
    assert_eq!(status.replicas[0].state, ReplicaState::Starting);
    assert_eq!(status.replicas[0].ready_at, None);
    let status = until(&supervisor, "it is ready", |status| status.ready() == 1).await;
    assert!(status.replicas[0].ready_at > status.replicas[0].started_at);
    supervisor.shutdown(STOP).await;
}

/// A14: scale-in marks a replica as draining, and it serves until its drain is over.
#[tokio::test]
async fn scale_in_drains_the_youngest_which_serves_until_it_is_empty() {
    let yard = Yard::new();
    let mut spec = yard.spec(&["--port", "$PORT"]);
    spec.stop.drain = Duration::from_secs(300);
    let supervisor = yard.run(spec, 3).await;
    supervisor.set_desired(2, None).await.unwrap();
    let status =
        until(&supervisor, "one drains", |status| in_state(status, &ReplicaState::Draining) == 1).await;
    let draining = replica(&status, "web-3");
    assert_eq!(draining.state, ReplicaState::Draining);
    assert_eq!(get(draining.address.unwrap()).await.unwrap(), "web-3", "it isn't cut off");

    supervisor.drained("web-3").await;
    until(&supervisor, "it is gone", |status| ids(status) == ["web-1", "web-2"]).await;
    gone(draining.pid.unwrap()).await;
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn growth_takes_back_a_draining_replica_before_it_starts_another() {
    let yard = Yard::new();
    let mut spec = yard.spec(&["--port", "$PORT"]);
    spec.stop.drain = Duration::from_secs(300);
    let supervisor = yard.run(spec, 2).await;
    let before = pids(&supervisor.status());
    supervisor.set_desired(0, None).await.unwrap();
    until(&supervisor, "both drain", |status| in_state(status, &ReplicaState::Draining) == 2).await;
    supervisor.set_desired(2, None).await.unwrap();
    let status = until(&supervisor, "both are ready", |status| status.ready() == 2).await;
    assert_eq!(pids(&status), before);
    supervisor.shutdown(STOP).await;
}

/// D3: a dead replica is replaced, and its fate is told.
#[tokio::test]
async fn a_killed_replica_is_replaced_and_the_others_are_left_alone() {
    let yard = Yard::new();
    let supervisor = yard.run(yard.spec(&["--port", "$PORT"]), 2).await;
    let before = pids(&supervisor.status());
    kill(before[0]);
    let status = until(&supervisor, "it is back", |status| {
        status.ready() == 2 && status.replicas[0].pid != Some(before[0])
    })
    .await;
    assert_eq!(status.replicas[0].restarts, 1);
    assert_eq!((status.replicas[1].restarts, status.replicas[1].pid), (0, Some(before[1])));
    assert!(finding(&status, "exited").unwrap().contains("killed by signal 9"));
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn a_crash_loop_is_named_with_its_last_words_and_does_not_spin() {
    let yard = Yard::new();
    let supervisor = yard.start(yard.spec(&["--exit-after", "0"])).await;
    supervisor.set_desired(1, None).await.unwrap();
    let status = until(&supervisor, "the crash loop is seen", |status| {
        matches!(
            status.replicas.first().map(|r| &r.state),
            Some(ReplicaState::Failed { crash_loop: true, .. })
        )
    })
    .await;
    let text = finding(&status, "crash-loop").unwrap();
    assert!(text.contains("failed 5 times in a row"), "{text}");
    assert!(text.contains("exited with code 3"), "{text}");
    assert!(text.contains("cannot reach the database"), "{text}");
    let ReplicaState::Failed { next_try, .. } = status.replicas[0].state else { panic!("it failed") };
    assert!(next_try > jiff::Timestamp::now(), "the next try is later, not now");
    assert_eq!(status.replicas[0].restarts, 5);
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn a_missing_command_says_where_it_was_looked_for_and_starts_once_it_is_built() {
    let yard = Yard::new();
    let mut spec = ReplicaSpec::new(vec!["./shop-web".to_owned()], yard.path()).unwrap();
    spec.health.probe = Probe::Alive;
    spec.backoff.max = Duration::from_millis(200);
    let supervisor = yard.start(spec).await;
    supervisor.set_desired(1, None).await.unwrap();
    let status = until(&supervisor, "it is said", |status| !status.findings.is_empty()).await;
    let path = yard.path().join("shop-web");
    assert_eq!(
        finding(&status, "command-not-found").unwrap(),
        format!(
            "no such command \"./shop-web\" (looked in {}); is it built? is the path relative to the policy file?",
            path.display()
        )
    );
    assert!(matches!(
        &status.replicas[0].state,
        ReplicaState::Failed { fault: Fault::CommandNotFound { command, .. }, .. } if command == "./shop-web"
    ));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_test-replica"), path).unwrap();
    until(&supervisor, "it runs", |status| status.ready() == 1).await;
    supervisor.shutdown(STOP).await;
}

/// What isn't on record isn't started, or a controller killed now would leave it behind.
#[tokio::test]
async fn nothing_is_started_while_it_can_not_be_recorded() {
    let yard = Yard::new();
    let mut spec = yard.spec(&["--port", "$PORT"]);
    spec.backoff.max = Duration::from_millis(200);
    let supervisor = yard.start(spec).await;
    // A directory where the new record is to be written, as a disk that can't be written to.
    let obstacle = yard.data().join("replicas.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    supervisor.set_desired(2, None).await.unwrap();
    let status = until(&supervisor, "it is said", |status| {
        finding(status, "record-unwritten").is_some() && finding(status, "unprepared").is_some()
    })
    .await;
    assert!(finding(&status, "record-unwritten").unwrap().contains("no replica is started until it can"));
    assert_eq!((pids(&status), yard.inhabitants()), (vec![], vec![]));
    std::fs::remove_dir(obstacle).unwrap();
    until(&supervisor, "both are ready", |status| status.ready() == 2).await;
    supervisor.shutdown(STOP).await;
}

/// A29: a replica has a grace to get healthy; after it, it is replaced.
#[tokio::test]
async fn a_replica_that_never_gets_healthy_is_replaced_and_its_last_probe_is_quoted() {
    let yard = Yard::new();
    let mut spec = yard.spec(&["--port", "$PORT", "--never-ready"]);
    spec.health.start_grace = Duration::from_secs(3);
    let supervisor = yard.start(spec).await;
    supervisor.set_desired(1, None).await.unwrap();
    let first = until(&supervisor, "it runs", |status| pids(status).len() == 1).await;
    let status = until(&supervisor, "it is said", |status| finding(status, "never-ready").is_some()).await;
    let text = finding(&status, "never-ready").unwrap();
    assert!(text.starts_with("not ready 3.0 s after its start"), "{text}");
    assert!(text.contains("GET /health answered 503 Service Unavailable: not well"), "{text}");
    assert!(text.contains("web-1 starts"), "{text}");
    gone(pids(&first)[0]).await;
    until(&supervisor, "another was started", |status| status.replicas.iter().any(|r| r.restarts > 0)).await;
    supervisor.shutdown(STOP).await;
}

/// D3: an unhealthy replica is replaced; it goes when its replacement is ready.
#[tokio::test]
async fn an_unhealthy_replica_is_replaced_beside() {
    let yard = Yard::new();
    let supervisor = yard.run(yard.spec(&["--port", "$PORT"]), 2).await;
    let sick = replica(&supervisor.status(), "web-1").pid.unwrap();
    std::fs::write(yard.path().join("sick-web-1"), "").unwrap();
    let status =
        until(&supervisor, "another serves in its place", |status| ids(status) == ["web-2", "web-3"]).await;
    assert_eq!(status.ready(), 2);
    gone(sick).await;
    supervisor.shutdown(STOP).await;
}

/// A14: two successes make an unhealthy replica healthy again; then nothing is replaced.
#[tokio::test]
async fn a_replica_that_recovers_stays_and_its_replacement_goes() {
    let yard = Yard::new();
    // The replacement (it isn't the first) takes for ever, so that the first can recover.
    let script =
        r#"[ "$HEADROOM_REPLICA" = web-1 ] || slow="--never-ready"; exec $REPLICA --port "$PORT" $slow"#;
    let supervisor = yard.run(yard.script(script), 1).await;
    let pid = supervisor.status().replicas[0].pid;
    std::fs::write(yard.path().join("sick-web-1"), "").unwrap();
    let status = until(&supervisor, "a replacement starts", |status| status.replicas.len() == 2).await;
    assert!(
        matches!(&status.replicas[0].state, ReplicaState::Unhealthy { probe } if probe.contains("not well"))
    );
    std::fs::remove_file(yard.path().join("sick-web-1")).unwrap();
    let status = until(&supervisor, "it is alone again", |status| ids(status) == ["web-1"]).await;
    assert_eq!((status.ready(), status.replicas[0].pid, status.replicas[0].restarts), (1, pid, 0));
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn a_port_taken_by_another_is_told_and_another_port_is_taken() {
    let yard = Yard::new();
    // Time for this test to take the port first.
    let mut spec = yard.script(r#"while [ ! -e go ]; do sleep 0.05; done; exec $REPLICA --port "$PORT""#);
    spec.health.timeout = Duration::from_millis(200);
    let supervisor = yard.start(spec).await;
    supervisor.set_desired(1, None).await.unwrap();
    let status = until(&supervisor, "it has a port", |status| {
        status.replicas.iter().any(|replica| replica.address.is_some())
    })
    .await;
    let lost = status.replicas[0].address.unwrap();
    let _thief = TcpListener::bind(lost).unwrap();
    std::fs::write(yard.path().join("go"), "").unwrap();
    let status = until(&supervisor, "it is ready", |status| status.ready() == 1).await;
    assert_ne!(status.replicas[0].address, Some(lost));
    let text = finding(&status, "port-taken").unwrap();
    assert!(text.starts_with(&format!("port {} was taken by another process", lost.port())), "{text}");
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn a_worker_without_a_port_is_ready_by_being_alive() {
    let yard = Yard::new();
    let mut spec = yard.spec(&[]);
    spec.health.probe = Probe::Alive;
    let supervisor = yard.run(spec, 2).await;
    let status = supervisor.status();
    assert!(status.replicas.iter().all(|replica| replica.address.is_none()));
    supervisor.set_desired(0, None).await.unwrap();
    until(&supervisor, "none is left", |status| status.replicas.is_empty()).await;
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn a_crashed_replica_takes_its_children_with_it() {
    let yard = Yard::new();
    // The daemon leaves its session's environment behind, so it must have been seen as a child first.
    let supervisor = yard.run(yard.spec(&["--port", "$PORT", "--child", "--daemon"]), 1).await;
    let twice = |usage: &headroom_adapters::target::process::Usage| usage.cpu_cores.is_some();
    until(&supervisor, "it has been measured twice", |status| {
        status.replicas[0].usage.as_ref().is_some_and(twice)
    })
    .await;
    let children = yard.children();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|pid| alive(*pid)));
    kill(supervisor.status().replicas[0].pid.unwrap());
    for child in children {
        gone(child).await;
    }
    until(&supervisor, "it is back", |status| status.ready() == 1 && status.replicas[0].restarts == 1).await;
    supervisor.shutdown(STOP).await;
    assert!(yard.children().into_iter().all(|pid| !alive(pid)), "nor is anything left of the second");
}

#[tokio::test]
async fn a_normal_stop_leaves_nothing_even_of_replicas_that_ignore_sigterm() {
    let yard = Yard::new();
    let mut spec = yard.script(r#"trap "" TERM; exec $REPLICA --port "$PORT" --child --daemon"#);
    spec.stop.term_grace = Duration::from_millis(300);
    let supervisor = yard.run(spec, 3).await;
    eventually(|| (yard.children().len() == 6).then_some(())).await.unwrap();
    let all = [pids(&supervisor.status()), yard.children()].concat();
    assert!(all.iter().all(|pid| alive(*pid)));
    supervisor.shutdown(STOP).await;
    for pid in all {
        assert!(!alive(pid), "pid {pid} still runs after the stop");
    }
    assert!(supervisor.status().replicas.is_empty());
    assert!(matches!(supervisor.set_desired(1, None).await, Err(SupervisorError::Ended { .. })));
}

/// Sizes, kills, sickness and versions in an order drawn from a seed: it comes to rest as last asked, and
/// leaves nothing.
#[tokio::test]
async fn whatever_happens_it_comes_to_rest_as_asked_and_leaves_nothing() {
    for seed in [1_u64, 2, 3] {
        let yard = Yard::new();
        let args = ["--port", "$PORT", "--child"];
        let supervisor = yard.start(yard.spec(&args)).await;
        // A linear congruence (Knuth's MMIX) is random enough to shuffle with.
        let mut state = seed;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for step in 0..25 {
            let status = supervisor.status();
            match draw(6) {
                0..=2 => {
                    supervisor.set_desired(u32::try_from(draw(6)).unwrap(), None).await.unwrap();
                }
                3 => {
                    let pids = pids(&status);
                    if !pids.is_empty() {
                        // It may be gone by now; then there is nothing to kill.
                        let pid = pids[usize::try_from(draw(pids.len() as u64)).unwrap()];
                        let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).output();
                    }
                }
                4 => {
                    let sick = yard.path().join(format!("sick-web-{}", draw(8)));
                    if std::fs::remove_file(&sick).is_err() {
                        std::fs::write(sick, "").unwrap();
                    }
                }
                _ => {
                    let mut spec = yard.spec(&args);
                    spec.env.insert("VERSION".to_owned(), step.to_string());
                    supervisor.set_spec(spec).await.unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(draw(150))).await;
        }
        for entry in std::fs::read_dir(yard.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("sick-") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let version = yard.spec(&args).hash();
        supervisor.set_spec(yard.spec(&args)).await.unwrap();
        supervisor.set_desired(3, None).await.unwrap();
        until(&supervisor, "three of the last version, and nothing else", |status| {
            status.ready() == 3
                && status.replicas.len() == 3
                && status.replicas.iter().all(|replica| replica.spec_hash == version)
        })
        .await;
        supervisor.shutdown(STOP).await;
        assert_eq!(yard.inhabitants(), Vec::<u32>::new(), "seed {seed}");
    }
}

#[tokio::test]
async fn a_wrapper_that_ends_at_once_leaves_its_server_the_grace_to_finish() {
    let yard = Yard::new();
    // The shell dies of SIGTERM at once; the server below it needs a moment to finish its work.
    let script = r#"(trap 'sleep 0.5; echo finished > work; kill $server; exit' TERM; $REPLICA --port "$PORT" & server=$!; wait) & wait"#;
    let supervisor = yard.run(yard.script(script), 1).await;
    supervisor.shutdown(STOP).await;
    assert_eq!(std::fs::read_to_string(yard.path().join("work")).unwrap(), "finished\n");
}

/// A29: past their maximum lifetime replicas are rotated one at a time, and none is missing meanwhile.
#[tokio::test]
async fn rotation_goes_one_at_a_time_and_never_below_the_size() {
    let yard = Yard::new();
    let mut spec = yard.spec(&["--port", "$PORT"]);
    spec.max_lifetime = Some(Duration::from_secs(3));
    let supervisor = yard.run(spec, 2).await;
    let first: BTreeSet<u32> = pids(&supervisor.status()).into_iter().collect();
    until(&supervisor, "both were replaced", |status| {
        assert!(status.ready() >= 2, "a replica went before its replacement was ready: {status:#?}");
        assert!(status.replicas.len() <= 4, "{status:#?}");
        assert!(status.ready() <= 3, "more than one is rotated: {status:#?}");
        pids(status).iter().all(|pid| !first.contains(pid))
    })
    .await;
    assert!(supervisor.status().replicas.iter().all(|replica| replica.restarts == 0));
    supervisor.shutdown(STOP).await;
}

/// D8: another version is rolled out without a gap; one that never gets ready replaces nothing.
#[tokio::test]
async fn a_new_version_is_rolled_out_and_a_broken_one_is_not() {
    let yard = Yard::new();
    let supervisor = yard.run(yard.spec(&["--port", "$PORT"]), 2).await;
    let first = pids(&supervisor.status());

    let broken = yard.spec(&["--port", "$PORT", "--never-ready"]);
    supervisor.set_spec(broken).await.unwrap();
    until(&supervisor, "the broken one starts", |status| status.replicas.len() == 3).await;

    let mended = yard.spec(&["--port", "${PORT}"]);
    let version = mended.hash();
    supervisor.set_spec(mended).await.unwrap();
    let status = until(&supervisor, "the mended one is rolled out", |status| {
        assert!(status.ready() >= 2, "a replica went before its replacement was ready: {status:#?}");
        status.replicas.len() == 2 && status.replicas.iter().all(|replica| replica.spec_hash == version)
    })
    .await;
    assert_eq!(status.ready(), 2);
    assert!(first.iter().all(|pid| !alive(*pid)));
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn a_corrected_command_is_started_at_once() {
    let yard = Yard::new();
    let mut wrong = ReplicaSpec::new(vec!["./typo".to_owned()], yard.path()).unwrap();
    wrong.backoff.first = Duration::from_secs(600);
    wrong.backoff.max = Duration::from_secs(600);
    let supervisor = yard.start(wrong).await;
    supervisor.set_desired(1, None).await.unwrap();
    until(&supervisor, "it is said", |status| finding(status, "command-not-found").is_some()).await;
    supervisor.set_spec(yard.spec(&["--port", "$PORT"])).await.unwrap();
    until(&supervisor, "it is ready", |status| status.ready() == 1).await;
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn processor_time_and_memory_are_measured_for_each_replica() {
    let yard = Yard::new();
    let supervisor = yard.run(yard.script(r#"$REPLICA --port "$PORT" --spin"#), 1).await;
    let busy = |status: &headroom_adapters::target::process::Status| {
        status.replicas[0].usage.is_some_and(|usage| usage.cpu_cores.is_some_and(|cores| cores > 0.05))
    };
    let status = until(&supervisor, "it uses a core", busy).await;
    let usage = status.replicas[0].usage.unwrap();
    assert!(usage.memory_bytes > 100_000, "{usage:?}");
    supervisor.shutdown(STOP).await;
}

#[tokio::test]
async fn fewer_are_refused_on_an_outdated_view_and_more_are_not() {
    let yard = Yard::new();
    let mut spec = yard.spec(&[]);
    spec.health.probe = Probe::Alive;
    let supervisor = yard.start(spec).await;
    assert_eq!(supervisor.set_desired(2, Some(0)).await.unwrap(), 1);
    assert_eq!(supervisor.set_desired(2, Some(0)).await.unwrap(), 1, "the same again changes nothing");
    assert_eq!(supervisor.set_desired(3, Some(0)).await.unwrap(), 2, "growth overtakes growth");
    let stale = supervisor.set_desired(1, Some(2)).await.unwrap_err();
    assert_eq!(
        stale.to_string(),
        "3 replicas are wanted by now, not 2 as seen; look again before stopping any"
    );
    assert_eq!(supervisor.status().desired, 3);
    assert_eq!(supervisor.set_desired(1, Some(3)).await.unwrap(), 3);
    supervisor.shutdown(STOP).await;
}
