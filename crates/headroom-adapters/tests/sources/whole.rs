//! The whole controller with a source in trouble: another workload goes on as if nothing were.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use headroom_adapters::source;
use headroom_core::names::WorkloadName;
use headroom_core::units::Replicas;
use headroom_engine::driver::{self, Start, Targets};
use headroom_engine::handle::EngineHandle;
use headroom_engine::journal::{DataDir, Journal, Retention};
use headroom_engine::outbox::Notifiers;
use headroom_engine::ports::Target;
use headroom_testkit::source::{Behaviour, Faulty, Good};
use headroom_testkit::target::Instantly;

use crate::support::{fleet, http_answer};

/// So long a test waits for what must come.
const NEVER: Duration = Duration::from_secs(90);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < NEVER, "this does not come: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a workload's signals look like to its last decision, as text.
async fn seen(handle: &EngineHandle, workload: &WorkloadName) -> String {
    format!("{:?}", handle.workload(workload).await.unwrap().signals)
}

/// A source that hangs, dribbles, resets, answers garbage or a failure, never ends or breaks off: the finding names it,
/// its workload keeps its count, and the other one follows its load; once it is well, it is read again.
#[tokio::test]
async fn a_source_in_trouble_leaves_other_workloads_untouched() {
    let good: Good = Arc::new(|_: &[u8]| (http_answer("200 OK", "{\"load\": 300}"), false));
    let trouble = Faulty::start(Behaviour::Good(Arc::clone(&good))).await;
    let load = Arc::new(AtomicU32::new(100));
    let told = Arc::clone(&load);
    let calm = Faulty::start(Behaviour::Good(Arc::new(move |_: &[u8]| {
        (http_answer("200 OK", &format!("{{\"load\": {}}}", told.load(Ordering::Relaxed))), false)
    })))
    .await;
    let workload = |source: &str| {
        format!(
            "{{ target: {{ process: {{ command: [./app] }} }}, replicas: {{ min: 1, max: 50 }},
      signals: {{ load: {{ http: {{ from: {source}, path: $.load }}, unit: count, every: 100ms }} }},
      strategies: [ {{ targetTracking: {{ signal: load, perReplica: 100 }} }} ] }}"
        )
    };
    let fleet = fleet(&format!(
        "apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: test }}
spec:
  sources:
    trouble: {{ http: {{ url: \"http://{}\" }}, deadline: 300ms }}
    calm: {{ http: {{ url: \"http://{}\" }} }}
  workloads:
    sick: {}
    well: {}
",
        trouble.address(),
        calm.address(),
        workload("trouble"),
        workload("calm")
    ));
    let (sick, well): (WorkloadName, WorkloadName) = ("sick".parse().unwrap(), "well".parse().unwrap());
    let parts: BTreeMap<_, _> =
        [&sick, &well].map(|name| (name.clone(), Arc::new(Instantly::with(Replicas(1))))).into();
    let targets: Targets =
        parts.iter().map(|(name, target)| (name.clone(), Arc::clone(target) as Arc<dyn Target>)).collect();
    let count = |name: &WorkloadName| parts[name].status().wanted;
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&DataDir::open(folder.path()).unwrap(), Retention::default()).unwrap();
    let (handle, engine) = driver::start(Start {
        fleet: fleet.clone(),
        journal: journal.clone(),
        targets,
        notifiers: Notifiers::new(),
        advise: false,
    })
    .await
    .unwrap();
    for group in source::groups(&fleet) {
        driver::feed(&handle, Box::new(source::open(&group, Path::new("/"))));
    }
    until("both follow their load", async || (count(&sick), count(&well)) == (Replicas(3), Replicas(1)))
        .await;

    let faults = [
        ("hangs", Behaviour::Hangs),
        ("dribbles", Behaviour::Dribbles),
        ("resets", Behaviour::Resets),
        ("garbage", Behaviour::Garbage),
        ("fails", Behaviour::Fails(http_answer("500 Internal Server Error", "no luck"))),
        ("endless", Behaviour::Endless(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n".to_vec())),
        ("cut", Behaviour::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"load\":".to_vec())),
    ];
    for (more, (fault, behaviour)) in (2..).zip(faults) {
        trouble.become_(behaviour);
        until(&format!("{fault}: it is named"), async || seen(&handle, &sick).await.contains("`trouble`"))
            .await;
        load.store(100 * more, Ordering::Relaxed);
        until(&format!("{fault}: the other follows its load"), async || count(&well) == Replicas(more)).await;
        assert_eq!(count(&sick), Replicas(3), "{fault}");
        assert!(!seen(&handle, &well).await.contains("SourceFailed"), "{fault}");
        trouble.become_(Behaviour::Good(Arc::clone(&good)));
        until(&format!("{fault}: it is read again"), async || {
            !seen(&handle, &sick).await.contains("`trouble`")
        })
        .await;
    }
    assert_eq!(count(&sick), Replicas(3));
    handle.stop().await;
    engine.await.unwrap();
    journal.close().await.unwrap();
}
