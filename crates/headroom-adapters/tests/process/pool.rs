//! The warm pool with real processes (A31).

use std::time::Duration;

use headroom_adapters::target::process::{ProcessSupervisor, ReplicaState, Shutdown, Status};

use super::support::{Yard, alive, gone, kill, until};

/// The pids of those that wait, warm.
fn warm(status: &Status) -> Vec<u32> {
    let warm = status.replicas.iter().filter(|replica| replica.state == ReplicaState::Warm);
    warm.filter_map(|replica| replica.pid).collect()
}

/// The pids of those that serve.
fn serving(status: &Status) -> Vec<u32> {
    let ready = status.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready);
    ready.filter_map(|replica| replica.pid).collect()
}

async fn filled(supervisor: &ProcessSupervisor, size: usize) -> Vec<u32> {
    warm(&*until(supervisor, "the pool is full", |status| warm(status).len() == size).await)
}

/// A31: scale-out takes from the pool first, and the pool refills. One that is taken needs no start: it serves in the
/// very status that answers the order.
#[tokio::test]
async fn growth_takes_warm_replicas_and_the_pool_refills() {
    let yard = Yard::new();
    let supervisor = yard.run(yard.spec(&["--port", "$PORT"]), 1).await;
    supervisor.keep_warm(2).await.unwrap();
    let waiting = filled(&supervisor, 2).await;
    assert_eq!(supervisor.status().ready(), 1, "warm ones serve nobody");

    supervisor.set_desired(3, None).await.unwrap();
    let grown = until(&supervisor, "both serve", |status| status.ready() == 3).await;
    assert!(waiting.iter().all(|pid| serving(&grown).contains(pid)), "the warm ones serve now");
    let refilled = filled(&supervisor, 2).await;
    assert!(refilled.iter().all(|pid| !waiting.contains(pid)));

    supervisor.keep_warm(0).await.unwrap();
    for pid in refilled {
        gone(pid).await;
    }
    assert_eq!(supervisor.status().ready(), 3);
    supervisor.shutdown(Shutdown::StopAll { drain: Duration::ZERO }).await;
    assert!(yard.inhabitants().is_empty());
}

/// A31: the pool survives the controller, and a stopped one leaves nothing behind.
#[tokio::test]
async fn the_next_controller_adopts_the_pool_and_a_stop_ends_it() {
    let yard = Yard::new();
    let spec = yard.spec(&["--port", "$PORT"]);
    let first = yard.run(spec.clone(), 1).await;
    first.keep_warm(2).await.unwrap();
    let waiting = filled(&first, 2).await;
    first.shutdown(Shutdown::Detach).await;
    assert!(waiting.iter().all(|pid| alive(*pid)));

    let second = yard.start(spec).await;
    let mut adopted = filled(&second, 2).await;
    adopted.sort_unstable();
    let mut before = waiting.clone();
    before.sort_unstable();
    assert_eq!(adopted, before);
    until(&second, "the one that serves was adopted, too", |status| status.ready() == 1).await;
    assert_eq!(second.status().pool, 2);

    second.shutdown(Shutdown::StopAll { drain: Duration::ZERO }).await;
    assert!(yard.inhabitants().is_empty());
}

/// A31: one that dies in the pool is replaced; a new version reaches pool and service.
#[tokio::test]
async fn the_pool_heals_and_rotates() {
    let yard = Yard::new();
    let supervisor = yard.run(yard.spec(&["--port", "$PORT"]), 1).await;
    supervisor.keep_warm(1).await.unwrap();
    let waiting = filled(&supervisor, 1).await;
    kill(waiting[0]);
    until(&supervisor, "another is warm", |status| {
        warm(status).first().is_some_and(|pid| *pid != waiting[0])
    })
    .await;

    let mut next = yard.spec(&["--port", "$PORT"]);
    next.env.insert("VERSION".to_owned(), "2".to_owned());
    let hash = next.hash();
    supervisor.set_spec(next).await.unwrap();
    until(&supervisor, "all run the new version", |status| {
        let new = |replica: &&headroom_adapters::target::process::ReplicaStatus| replica.spec_hash == hash;
        status.ready() == 1 && warm(status).len() == 1 && status.replicas.iter().filter(new).count() == 2
    })
    .await;
    supervisor.shutdown(Shutdown::StopAll { drain: Duration::ZERO }).await;
    assert!(yard.inhabitants().is_empty());
}
