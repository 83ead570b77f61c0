//! A shop that is scaled by the real engine: only the replicas and the load are made up.
//!
//! The past is made by the real controller in virtual time and lies in a real journal; from there on the engine runs
//! live. So what the tests and the page see is what a controller that has run for an hour would show.

pub(crate) mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use headroom_api::{ApiOptions, Listening, Token, serve};
use headroom_core::action::Action;
use headroom_core::controller::{Controller, Effect, Input, Measured, Override, Settled};
use headroom_core::decision::Outcome;
use headroom_core::fleet::{Fleet, FleetDocument, NotifierName};
use headroom_core::memory::Freeze;
use headroom_core::names::{ReplicaId, WorkloadName};
use headroom_core::observation::{Phase, PoolStatus, ReplicaStatus, TargetStatus, Trouble};
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use headroom_engine::driver::{Start, Targets, feed, now, start};
use headroom_engine::handle::EngineHandle;
use headroom_engine::journal::{Batch, DataDir, Journal, Retention};
use headroom_engine::outbox::Notifiers;
use headroom_engine::ports::{Leave, News, Notification, Notifier, Source, Target, TargetError, TellError};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A notifier that takes what it is told, or whose server is down.
struct FakeNotifier {
    answers: bool,
}

#[async_trait]
impl Notifier for FakeNotifier {
    async fn tell(&self, _: &Notification) -> Result<Option<String>, TellError> {
        if self.answers { Ok(None) } else { Err(TellError::Later("it answered 503: no backend".to_owned())) }
    }
}

/// The policy's notifiers; `pager` is down.
fn notifiers(fleet: &Fleet) -> Notifiers {
    let all = fleet.notify().into_iter().flat_map(|notify| notify.notifiers.keys());
    let fake = |name: &NotifierName| {
        let notifier: Arc<dyn Notifier> = Arc::new(FakeNotifier { answers: name.as_str() != "pager" });
        (name.clone(), notifier)
    };
    all.map(fake).collect()
}

/// The policy of the shop.
pub(crate) fn fleet() -> Fleet {
    fleet_with(&json!({}))
}

/// The policy of the shop, with what holds for the whole fleet besides: `spec.breaker` and the like.
pub(crate) fn fleet_with(shared: &serde_json::Value) -> Fleet {
    let process =
        |env: serde_json::Value| json!({ "process": { "command": ["shop", "--port", "$PORT"], "env": env } });
    let mut document = json!({
        "apiVersion": "headroom.dev/v1alpha1",
        "kind": "Fleet",
        "metadata": { "name": "shop" },
        "spec": { "sources": { "warehouse": { "http": { "url": "http://127.0.0.1:9/" } } }, "notify": {
            "notifiers": {
                "ops": { "webhook": { "url": "http://127.0.0.1:9/ops" } },
                "pager": { "webhook": { "url": "http://127.0.0.1:9/pager" } }
            },
            "routes": [{ "to": ["ops", "pager"] }]
        }, "workloads": {
            "web": {
                "tier": "web",
                "target": process(json!({ "DATABASE_PASSWORD": "hunter2" })),
                "balancer": { "listen": "127.0.0.1:8080" },
                "price": "0.096 USD/h",
                "replicas": { "min": 2, "max": 20 },
                "signals": {
                    "rps": { "balancer": "requestsPerSecond", "forecast": {} },
                    "p95": { "balancer": { "latency": "p95" } },
                    "cpu": { "process": "cpu" }
                },
                "strategies": [
                    { "targetTracking": { "signal": "rps", "perReplica": 100, "scaleInCooldown": "60s" } },
                    { "threshold": { "signal": "cpu", "above": "85%", "below": "30%", "target": "70%", "cooldown": "60s" } }
                ],
                "behavior": {
                    "scaleUp": { "policies": [{ "replicas": 4, "period": "15s" }, { "percent": 50, "period": "15s" }] },
                    "scaleDown": { "stabilization": "5m", "policies": [{ "percent": 20, "period": "60s" }] }
                }
            },
            "checkout": {
                "tier": "api",
                "target": process(json!({})),
                "balancer": { "listen": "127.0.0.1:8081" },
                "price": "0.192 USD/h",
                "replicas": { "min": 2, "max": 12 },
                "warmPool": { "keep": 2 },
                "signals": {
                    "rps": { "balancer": "requestsPerSecond" },
                    "p95": { "balancer": { "latency": "p95" } },
                    "errors": { "balancer": "errorRatio" }
                },
                "strategies": [{ "targetTracking": { "signal": "rps", "perReplica": 60 } }]
            },
            "search": {
                "tier": "api",
                "target": process(json!({})),
                "balancer": { "listen": "127.0.0.1:8082" },
                "price": "0.0832 USD/h",
                "replicas": { "min": 3, "max": 8 },
                "signals": {
                    "rps": { "balancer": "requestsPerSecond" },
                    "p95": { "balancer": { "latency": "p95" } }
                },
                "strategies": [{ "objective": { "latency": { "signal": "p95", "below": "200ms" } } }]
            },
            // Wants more than a person has allowed.
            "payments": {
                "tier": "api",
                "target": process(json!({})),
                "balancer": { "listen": "127.0.0.1:8083" },
                "price": "0.192 USD/h",
                "replicas": { "min": 3, "max": 20 },
                "signals": { "rps": { "balancer": "requestsPerSecond" }, "p95": { "balancer": { "latency": "p95" } } },
                "strategies": [{ "targetTracking": { "signal": "rps", "perReplica": 60 } }],
                "guards": { "approval": { "growAbove": 4 } }
            },
            // Wants more than its range allows.
            "ads": {
                "tier": "web",
                "target": process(json!({})),
                "balancer": { "listen": "127.0.0.1:8084" },
                "price": "0.0416 USD/h",
                "replicas": { "min": 1, "max": 4 },
                "signals": { "rps": { "balancer": "requestsPerSecond" }, "p95": { "balancer": { "latency": "p95" } } },
                "strategies": [{ "targetTracking": { "signal": "rps", "perReplica": 100 } }]
            },
            "emails": {
                "tier": "batch",
                "target": process(json!({})),
                "price": "0.0416 USD/h",
                "replicas": { "min": 0, "max": 20 },
                "signals": { "queue": { "push": { "unit": "count" } } },
                "strategies": [{ "targetTracking": { "signal": "queue", "perReplica": 30, "scaleInCooldown": "30s" } }]
            },
            "thumbnails": {
                "tier": "batch",
                "target": process(json!({})),
                "replicas": { "min": 0, "max": 6 },
                "signals": { "queue": { "push": { "unit": "count" } } },
                "strategies": [{ "targetTracking": { "signal": "queue", "perReplica": 20 } }]
            }
        } }
    });
    for (name, value) in shared.as_object().into_iter().flatten() {
        document["spec"][name] = value.clone();
    }
    let document: FleetDocument = serde_json::from_value(document).expect("the policy reads");
    Fleet::new(document).expect("the policy is sound")
}

/// A workload's name.
pub(crate) fn name(text: &str) -> WorkloadName {
    text.parse().expect("a name")
}

/// How long a replica of each workload takes to start, in seconds.
fn start_seconds(workload: &str) -> u64 {
    match workload {
        "checkout" => 8,
        "emails" => 2,
        _ => 4,
    }
}

/// Work offered, as a function of the minutes since the story began.
pub(crate) fn demand(workload: &str, minutes: f64) -> Option<f64> {
    let wave = |period: f64, phase: f64| (std::f64::consts::TAU * (minutes / period + phase)).sin();
    let noise = 1.0 + 0.025 * wave(0.37, 0.0) + 0.02 * wave(0.113, 0.3) + 0.015 * wave(0.71, 0.6);
    let surge = |from: f64, long: f64, height: f64| {
        let x = (minutes - from) / long;
        if (0.0..1.0).contains(&x) { height * (1.0 - (2.0 * x - 1.0).powi(4)).max(0.0) } else { 0.0 }
    };
    let load = match workload {
        "web" => 430.0 + 90.0 * wave(55.0, 0.1) + surge(18.0, 11.0, 950.0) + surge(51.5, 60.0, 560.0),
        "checkout" => 140.0 + 35.0 * wave(48.0, 0.35) + surge(20.0, 9.0, 260.0),
        "search" => 250.0 + 40.0 * wave(33.0, 0.8),
        "emails" => surge(9.0, 6.0, 420.0) + surge(40.0, 8.0, 260.0),
        "payments" => 540.0 + 30.0 * wave(26.0, 0.2),
        "ads" => 430.0 + 20.0 * wave(17.0, 0.4),
        // Nobody sends its queue's length any more: it can't be read.
        "thumbnails" if minutes > 57.0 => return None,
        "thumbnails" => 45.0 + 20.0 * wave(20.0, 0.0),
        // A day's wave, each workload's at another hour.
        _ => {
            let phase = workload.bytes().map(f64::from).sum::<f64>() / 24.0;
            500.0 + 400.0 * wave(1440.0, phase)
        }
    };
    Some((load * noise).max(0.0))
}

/// One made-up replica.
struct Replica {
    number: u32,
    started: Timestamp,
    drains: Option<Timestamp>,
}

/// The replicas of one workload.
#[derive(Default)]
struct Rack {
    wanted: u32,
    made: u32,
    replicas: Vec<Replica>,
}

/// The made-up world.
pub(crate) struct World {
    began: Timestamp,
    racks: BTreeMap<WorkloadName, Rack>,
}

impl World {
    fn new(began: Timestamp, fleet: &Fleet) -> Self {
        let mut world = Self { began, racks: BTreeMap::new() };
        for (name, workload) in fleet.workloads() {
            world.racks.insert(name.clone(), Rack::default());
            world.set(name, workload.replicas.min, began.minus(Span::minutes(3)));
        }
        world
    }

    fn set(&mut self, workload: &WorkloadName, to: Replicas, at: Timestamp) {
        let rack = self.racks.get_mut(workload).expect("a rack for each workload");
        rack.wanted = to.0;
        let live = rack.replicas.iter().filter(|r| r.drains.is_none()).count();
        for _ in live..to.0 as usize {
            rack.made += 1;
            rack.replicas.push(Replica { number: rack.made, started: at, drains: None });
        }
        let spare = live.saturating_sub(to.0 as usize);
        for replica in rack.replicas.iter_mut().rev().filter(|r| r.drains.is_none()).take(spare) {
            replica.drains = Some(at);
        }
    }

    fn status(&mut self, workload: &WorkloadName, at: Timestamp) -> TargetStatus {
        let takes = Span::seconds(start_seconds(workload.as_str()));
        let rack = self.racks.get_mut(workload).expect("a rack for each workload");
        rack.replicas.retain(|r| r.drains.is_none_or(|since| at.since(since) < Span::seconds(12)));
        let mut status = TargetStatus { wanted: Replicas(rack.wanted), ..TargetStatus::default() };
        let mut replicas = Vec::new();
        for replica in &rack.replicas {
            let ready_at = replica.started.plus(takes);
            let phase = match replica.drains {
                Some(_) => Phase::Draining,
                None if ready_at <= at => Phase::Ready,
                None => Phase::Starting,
            };
            match phase {
                Phase::Ready => status.ready = status.ready.plus(1),
                Phase::Starting => status.starting = status.starting.plus(1),
                _ => status.draining = status.draining.plus(1),
            }
            replicas.push(ReplicaStatus {
                id: ReplicaId(format!("{workload}-{}", replica.number).into()),
                phase,
                started_at: replica.started,
                ready_at: (ready_at <= at).then_some(ready_at),
                address: Some(format!("127.0.0.1:{}", 20_000 + replica.number)),
                cpu: None,
                memory: None,
                restarts: 0,
                version: None,
            });
        }
        status.replicas = replicas.into();
        if workload.as_str() == "checkout" {
            let (wanted, warm) = (Replicas(2), Replicas(2));
            status.pool = Some(PoolStatus { wanted, warm, warming: Replicas::ZERO, replicas: Vec::new() });
        }
        if workload.as_str() == "thumbnails" {
            status.troubles.push(Trouble {
                code: "slow-start".to_owned(),
                message: "2 of the last 10 replicas took longer than 60 s to start; look at their logs"
                    .to_owned(),
            });
        }
        status
    }

    fn samples(&mut self, at: Timestamp) -> Vec<Measured> {
        #[expect(clippy::cast_precision_loss, reason = "minutes of a story")]
        let minutes = at.since(self.began).as_millis() as f64 / 60_000.0;
        let names: Vec<_> = self.racks.keys().cloned().collect();
        let mut samples = Vec::new();
        for workload in names {
            let ready = self.status(&workload, at).ready.as_f64();
            let load = demand(workload.as_str(), minutes);
            let capacity = match workload.as_str() {
                "web" | "ads" => 118.0,
                "payments" => 190.0,
                "checkout" => 75.0,
                _ => 100.0,
            };
            let used = if ready > 0.0 { load.unwrap_or(0.0) / (ready * capacity) } else { 0.0 };
            let mut put = |signal: &str, value: Option<f64>| {
                let value = match value {
                    Some(v) => Ok(Sample::new(at, Level::new(v).expect("not negative"))),
                    None => Err(Absence::SourceFailed("connection refused (127.0.0.1:6379)".to_owned())),
                };
                samples.push(Measured {
                    workload: workload.clone(),
                    signal: signal.parse().expect("a name"),
                    value,
                });
            };
            let wait = 0.045 / (1.0 - used.min(0.93)) + (used - 0.93).max(0.0) * 2.2;
            match workload.as_str() {
                "web" => {
                    put("rps", load);
                    put("p95", Some(wait.min(2.5)));
                    put("cpu", Some((used * 0.82).min(0.99)));
                }
                "checkout" => {
                    put("rps", load);
                    put("p95", Some((wait * 1.6).min(2.5)));
                    put("errors", Some((used - 0.98).clamp(0.0, 0.2) * 0.4));
                }
                "emails" | "thumbnails" => put("queue", load.map(f64::round)),
                _ => {
                    put("rps", load);
                    put("p95", Some(wait * 0.8));
                }
            }
        }
        samples
    }
}

type Shared = Arc<Mutex<World>>;

/// A target that changes the made-up world.
struct FakeTarget {
    workload: WorkloadName,
    world: Shared,
    poke: watch::Sender<u64>,
}

#[async_trait]
impl Target for FakeTarget {
    async fn look(&self) -> Result<TargetStatus, TargetError> {
        Ok(lock(&self.world).status(&self.workload, now()))
    }

    async fn act(&self, action: &Action) -> Result<TargetStatus, TargetError> {
        let status = {
            let mut world = lock(&self.world);
            world.set(&self.workload, action.to(), now());
            world.status(&self.workload, now())
        };
        self.poke.send_modify(|n| *n += 1);
        Ok(status)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.poke.subscribe()
    }

    async fn leave(&self, _: Leave) {}
}

/// A source that measures the made-up world once a second.
struct FakeSource {
    world: Shared,
    every: tokio::time::Interval,
}

#[async_trait]
impl Source for FakeSource {
    fn name(&self) -> &str {
        "balancer"
    }

    async fn next(&mut self) -> Option<News> {
        self.every.tick().await;
        Some(News::Samples(lock(&self.world).samples(now())))
    }
}

/// The made-up world, whoever holds it.
fn lock(world: &Shared) -> std::sync::MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A past to live through, up to now.
#[derive(Clone, Copy)]
pub(crate) struct Past {
    /// How long it is.
    pub(crate) length: Span,
    /// How long a step is, so long before its end.
    pub(crate) step: fn(Span) -> Span,
    /// What lies so long before its end is written down as a journal keeps it: without its inputs, and of its
    /// decisions only those that acted.
    pub(crate) whole: Span,
}

impl Past {
    /// A past of which each second was measured and all is kept.
    pub(crate) fn of(length: Span) -> Self {
        Self { length, step: |_| Span::seconds(1), whole: length }
    }
}

/// Lets the real controller live through a past, and writes it down.
async fn live_through(journal: &Journal, fleet: &Fleet, world: &mut World, past: Past) {
    let Past { length, step, whole } = past;
    let mut controller = Controller::new(Arc::new(fleet.clone()));
    let end = now();
    let mut at = end.minus(length);
    let first = Input::FleetChanged { at, fleet: fleet.document() };
    let _ = controller.handle(first.clone());
    let mut batch = Batch { inputs: vec![first], snapshot: Some(controller.snapshot()), ..Batch::new(at) };
    let mut second = 0_u64;
    // Up to the present, which moves on while the past is made.
    while at < now() {
        let mut inputs = vec![Input::Sampled { at, samples: world.samples(at) }];
        for name in fleet.workloads().keys() {
            inputs.push(Input::Looked { at, workload: name.clone(), status: Ok(world.status(name, at)) });
        }
        let freezes = fleet.workload(&name("search")).is_some();
        if freezes && second == 3300.min(length.as_millis() / 1000 - 1) {
            let word = Override::Freeze(Freeze {
                until: Some(end.plus(Span::minutes(47))),
                by: "mina".to_owned(),
                why: "index rebuild until noon".to_owned(),
            });
            inputs.push(Input::Overridden { at, workload: name("search"), word });
        }
        inputs.push(Input::Tick { at });
        let mut todo: std::collections::VecDeque<_> = inputs.into();
        let is_whole = end.since(at) <= whole;
        while let Some(input) = todo.pop_front() {
            for effect in controller.handle(input.clone()) {
                match effect {
                    Effect::Record(decision) if is_whole || decision.outcome == Outcome::Act => {
                        batch.decisions.push(*decision);
                    }
                    Effect::Record(_) => {}
                    Effect::Notify(notice) => batch.notices.push(notice),
                    Effect::Fit(order) => todo.push_back(Input::Fitted { at, answer: order.run() }),
                    Effect::Look(_) | Effect::Warm(_) => {}
                    Effect::Act(action) => {
                        batch.actions.push(action.record().clone());
                        let workload = action.workload().clone();
                        world.set(&workload, action.to(), at);
                        let outcome = Settled::Done(world.status(&workload, at));
                        let decision = action.record().decision.clone();
                        todo.push_back(Input::Settled { at, workload, decision, outcome });
                    }
                }
            }
            if is_whole {
                batch.inputs.push(input);
            }
        }
        if second.is_multiple_of(20) {
            if second.is_multiple_of(60) && is_whole {
                batch.snapshot = Some(controller.snapshot());
            }
            let full = std::mem::replace(&mut batch, Batch::new(at));
            journal.append(Batch { at, ..full }).await.expect("the past is written");
        }
        second += 1;
        at = at.plus(step(end.since(at)));
    }
    batch.snapshot = Some(controller.snapshot());
    journal.append(Batch { at, ..batch }).await.expect("the past is written");
}

/// A running server with everything behind it.
pub(crate) struct Shop {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) token: Token,
    handle: EngineHandle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Shop {
    /// Opens the shop at `bind` after `past` of history.
    pub(crate) async fn open(bind: &str, past: Span) -> Self {
        Self::open_with(fleet(), bind, Past::of(past), |_| {}).await
    }

    /// Opens the shop under another policy and with another past; `more` may put more into the journal, whose folder it
    /// is given.
    pub(crate) async fn open_with(
        fleet: Fleet,
        bind: &str,
        past: Past,
        more: impl FnOnce(&std::path::Path),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(dir.path().join("data")).expect("a data directory");
        let (journal, _) = Journal::open(&data, Retention::default()).expect("a journal");
        let mut world = World::new(now().minus(past.length), &fleet);
        live_through(&journal, &fleet, &mut world, past).await;
        journal.close().await.expect("the past is written");
        drop((journal, data));
        more(&dir.path().join("data"));
        let data = DataDir::open(dir.path().join("data")).expect("a data directory");
        let (journal, _) = Journal::open(&data, Retention::default()).expect("a journal");
        let world: Shared = Arc::new(Mutex::new(world));
        let targets: Targets = fleet
            .workloads()
            .keys()
            .map(|workload| {
                let (poke, _) = watch::channel(0);
                let target = FakeTarget { workload: workload.clone(), world: Arc::clone(&world), poke };
                (workload.clone(), Arc::new(target) as Arc<dyn Target>)
            })
            .collect();
        let notifiers = notifiers(&fleet);
        let (handle, engine) = start(Start { fleet, journal, targets, notifiers, advise: false })
            .await
            .expect("the engine starts");
        let every = tokio::time::interval(std::time::Duration::from_secs(1));
        let source = feed(&handle, Box::new(FakeSource { world, every }));
        let token = Token::load_or_create(&dir.path().join("token")).expect("a token");
        let listening = Listening::at(bind.parse().expect("an address")).await.expect("a free address");
        let address = listening.address();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let api = serve(handle.clone(), listening, ApiOptions::new(token.clone()), async {
            // Whoever drops the shop stops it too.
            let _ = stopped.await;
        });
        Self { address, token, handle, stop: Some(stop), tasks: vec![api, engine, source], _dir: dir }
    }

    /// The engine behind the shop.
    pub(crate) fn engine(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Closes the shop in order.
    pub(crate) async fn close(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.handle.stop().await;
        let source = self.tasks.pop();
        for task in self.tasks.drain(..) {
            task.await.expect("ends without a panic");
        }
        if let Some(source) = source {
            source.abort();
        }
    }
}
