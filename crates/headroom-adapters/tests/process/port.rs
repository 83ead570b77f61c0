//! The process target through the engine's port.

use headroom_core::observation::Phase;
use headroom_engine::ports::{Leave, Target};

use super::support::{Yard, alive, finding, pids, settings, target, until};

#[tokio::test]
async fn a_target_is_left_running_or_stopped_as_it_is_told() {
    let yard = Yard::new();
    let settings = settings(&[env!("CARGO_BIN_EXE_test-replica"), "--port", "$PORT"]);
    let first = target(&yard, &settings).await;
    assert_eq!(first.look().await.unwrap().wanted.0, 0, "it starts nothing by itself");
    let mut changes = first.changes();
    changes.borrow_and_update();
    first.supervisor().set_desired(2, None).await.unwrap();
    changes.changed().await.unwrap();
    until(first.supervisor(), "both are ready", |status| status.ready() == 2).await;
    let seen = first.look().await.unwrap();
    assert_eq!((seen.wanted.0, seen.ready.0, seen.failed.0), (2, 2, 0));
    assert!(seen.replicas.iter().all(|replica| replica.phase == Phase::Ready && replica.address.is_some()));
    let running = pids(&first.supervisor().status());

    first.leave(Leave::Running).await;
    assert!(running.iter().all(|pid| alive(*pid)));
    let second = target(&yard, &settings).await;
    assert_eq!(second.look().await.unwrap().ready.0, 2);
    assert_eq!(pids(&second.supervisor().status()), running);
    second.leave(Leave::Stopped).await;
    assert!(running.iter().all(|pid| !alive(*pid)));
}

/// What an order answers with shows it: a status from before would have it ordered, and told, again.
#[tokio::test]
async fn an_order_that_is_taken_shows_in_its_answer() {
    let yard = Yard::new();
    let target = target(&yard, &settings(&[env!("CARGO_BIN_EXE_test-replica"), "--port", "$PORT"])).await;
    for wanted in [3, 1, 1, 2] {
        let generation = target.supervisor().set_desired(wanted, None).await.unwrap();
        assert_eq!(target.supervisor().shown(generation).await.unwrap().desired, wanted);
        assert_eq!(target.look().await.unwrap().wanted.0, wanted);
    }
    target.leave(Leave::Stopped).await;
    assert!(target.supervisor().shown(u64::MAX).await.is_err(), "what has ended shows nothing new");
}

#[tokio::test]
async fn a_trouble_names_the_replica_and_changed_settings_mend_it() {
    let yard = Yard::new();
    let target = target(&yard, &settings(&["./shop-web"])).await;
    target.supervisor().set_desired(1, None).await.unwrap();
    until(target.supervisor(), "it is found", |status| finding(status, "command-not-found").is_some()).await;
    let seen = target.look().await.unwrap();
    assert_eq!((seen.ready.0, seen.failed.0), (0, 1));
    let trouble = seen.troubles.iter().find(|trouble| trouble.code == "command-not-found").unwrap();
    assert!(trouble.message.starts_with("web-1: no such command \"./shop-web\""), "{}", trouble.message);

    let mended = settings(&[env!("CARGO_BIN_EXE_test-replica"), "--port", "$PORT"]);
    target.reload(&mended, None, yard.path()).await.unwrap();
    until(target.supervisor(), "it is ready", |status| status.ready() == 1).await;
    target.leave(Leave::Stopped).await;
}
