//! The fault matrix with the whole controller: one workload for each kind of source beside one that is well, and every kind
//! goes wrong in every way that its protocol has, all of them at once.
//!
//! Whatever happens: the one that is well follows its load up and down, the others keep their counts (absent is not zero),
//! each is told of by its source's name with what to do, all are read again once their sources are well, and what never
//! ends costs no memory. What each kind reads and says is in `faults` and `local`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use headroom_adapters::source;
use headroom_core::alert::AlertKind;
use headroom_core::fleet::{Fleet, SourceKind};
use headroom_core::names::WorkloadName;
use headroom_core::reading::Reading;
use headroom_core::say::{self, Language};
use headroom_core::units::Replicas;
use headroom_engine::driver::{self, Start, Targets};
use headroom_engine::handle::EngineHandle;
use headroom_engine::journal::{DataDir, Journal, Retention};
use headroom_engine::outbox::Notifiers;
use headroom_engine::ports::Target;
use headroom_testkit::source::{Answers, Behaviour, Fault, Faulty};
use headroom_testkit::target::Instantly;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::asked;
use crate::local;
use crate::server::free_port;
use crate::support::{fleet, http_answer, write};

/// So long a test waits for what must come.
const NEVER: Duration = Duration::from_secs(120);
/// The most memory of the whole process, in bytes. Ten sources that may each take in 16 MiB at the most are offered all
/// there is, at once, with a server each in the same process.
const MOST: u64 = 256 * 1024 * 1024;
/// The replicas that every kind's load wants.
const HELD: Replicas = Replicas(3);

/// What tells of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// The source is down, and an alert says so.
    BySource,
    /// The signal is too old or absent: who only listens can't know why nobody sends.
    BySignal,
}

/// How each kind goes wrong, and what tells of it. A kind without a row does not compile.
fn row(kind: &SourceKind, fault: Fault) -> Option<Told> {
    match kind {
        SourceKind::Prometheus(_)
        | SourceKind::Scrape(_)
        | SourceKind::Http(_)
        | SourceKind::Postgres(_)
        | SourceKind::Redis(_)
        | SourceKind::Rabbitmq(_)
        | SourceKind::Nats(_)
        | SourceKind::Haproxy(_)
        | SourceKind::Kafka(_)
        | SourceKind::Keda(_)
        // It has no connection that could be reset, but a signal can end it.
        | SourceKind::Exec(_) => Some(Told::BySource),
        SourceKind::Statsd(_) => match fault {
            Fault::Hangs => Some(Told::BySignal),
            Fault::Dribbles | Fault::Garbage | Fault::Endless | Fault::Cut => Some(Told::BySource),
            // Packets have no connection, and a sender does not say that it failed.
            Fault::Resets | Fault::Fails => None,
        },
        SourceKind::Otlp(_) => match fault {
            // What has not come as a whole may still come.
            Fault::Hangs | Fault::Dribbles | Fault::Resets => Some(Told::BySignal),
            Fault::Garbage | Fault::Fails | Fault::Endless | Fault::Cut => Some(Told::BySource),
        },
        // The kernel answers at once, or there is no such file; that is tested where it is read.
        SourceKind::Host(_) => None,
    }
}

/// Who is at the other side of a source.
enum Peer {
    /// A server that is asked.
    Server(Faulty, Answers),
    /// A script that is run.
    Script(PathBuf),
    /// A task that sends, well or with a fault.
    Sender(watch::Sender<Option<Fault>>),
    /// This machine.
    Machine,
}

impl Peer {
    fn become_(&self, fault: Option<Fault>) {
        match self {
            Self::Server(server, answers) => {
                server.become_(fault.map_or_else(|| answers.well(), |fault| answers.ill(fault)));
            }
            Self::Script(path) => {
                // It is replaced as a whole, so that no round runs half of it.
                let next = path.with_extension("next");
                write(&next, script(fault));
                std::fs::rename(next, path).unwrap();
            }
            Self::Sender(how) => _ = how.send_replace(fault),
            Self::Machine => {}
        }
    }
}

fn script(fault: Option<Fault>) -> &'static str {
    match fault {
        None => "echo 7",
        Some(Fault::Hangs) => "sleep 600 & sleep 600 & wait",
        Some(Fault::Dribbles) => "while :; do printf 0; sleep 0.02; done",
        Some(Fault::Resets) => "kill -9 $$",
        Some(Fault::Garbage) => "head -c 3000 /dev/zero | tr '\\0' '\\377'",
        Some(Fault::Fails) => "echo no luck >&2; exit 1",
        Some(Fault::Endless) => "tr '\\0' 1 </dev/zero",
        Some(Fault::Cut) => "printf '12 of '",
    }
}

/// Sends again and again, well or with the fault it is told, until the test is over.
fn sender<F: Future<Output = ()> + Send>(send: impl Fn(Option<Fault>) -> F + Send + 'static) -> Peer {
    let (how, mut told) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let fault = *told.borrow_and_update();
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                () = send(fault) => sleep(Duration::from_millis(20)).await,
            }
        }
    });
    Peer::Sender(how)
}

async fn send_packets(socket: Arc<UdpSocket>, fault: Option<Fault>) {
    let (packet, times) = match fault {
        None => (b"load:300|g".to_vec(), 1),
        Some(Fault::Hangs) => return std::future::pending().await,
        Some(Fault::Dribbles) => (b"l".to_vec(), 1),
        Some(Fault::Endless) => (vec![b'1'; 60_000], 100),
        Some(Fault::Cut) => (b"load:30".to_vec(), 1),
        Some(_) => (vec![0xff; 3000], 1),
    };
    for _ in 0..times {
        // A full queue of the socket loses packets, as UDP does.
        let _ = socket.try_send(&packet);
    }
}

async fn send_otlp(port: u16, fault: Option<Fault>) {
    // Nobody may listen yet.
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let whole = local::gauge(300);
    match fault {
        None => _ = stream.write_all(local::request(whole.len(), &whole).as_bytes()).await,
        Some(Fault::Hangs) => return std::future::pending().await,
        Some(Fault::Dribbles) => {
            for byte in local::request(whole.len(), &whole).bytes() {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Some(Fault::Resets) => {
            let _ = stream.write_all(local::request(1000, "{").as_bytes()).await;
            let _ = stream.set_zero_linger();
            return;
        }
        Some(Fault::Garbage) => _ = stream.write_all(&[0xff; 3000]).await,
        Some(Fault::Fails) => _ = stream.write_all(local::request(2, "7\n").as_bytes()).await,
        Some(Fault::Endless) => {
            let head = "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = [b"10000\r\n", &[b' '; 65_536][..], b"\r\n"].concat();
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&chunk).await.is_ok() {}
        }
        Some(Fault::Cut) => {
            let _ = stream.write_all(local::request(1000, "{").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    }
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// A kind of source: how it stands in the policy with its signal, and how much of its load one of three replicas carries.
struct Part {
    word: &'static str,
    source: String,
    signal: String,
    per_replica: String,
    peer: Peer,
}

impl Part {
    /// What its source is called.
    fn source(&self) -> String {
        format!("sick-{}", self.word)
    }

    fn workload(&self) -> WorkloadName {
        self.word.parse().unwrap()
    }
}

async fn parts(folder: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    for (word, asked) in asked::all() {
        let server = Faulty::start(asked.answers.well()).await;
        let (source, signal) = (asked.source(server.address()), asked.signal(server.address()));
        let source = format!("{source}, deadline: 300ms");
        let signal =
            format!("{}, freshFor: 5s", signal.replace("from: subject", &format!("from: sick-{word}")));
        let per_replica = (asked.value / 2.5).to_string();
        parts.push(Part { word, source, signal, per_replica, peer: Peer::Server(server, asked.answers) });
    }
    let path = folder.join("script");
    write(&path, script(None));
    parts.push(Part {
        word: "exec",
        // A shell is started in each round.
        source: "exec: { command: [sh, script] }, deadline: 1s".to_owned(),
        signal: "exec: { from: sick-exec }, unit: count".to_owned(),
        per_replica: "2.8".to_owned(),
        peer: Peer::Script(path),
    });
    let port = free_port();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", port)).await.unwrap();
    let socket = Arc::new(socket);
    parts.push(Part {
        word: "statsd",
        source: format!("statsd: {{ listen: \"127.0.0.1:{port}\" }}"),
        signal: "statsd: { from: sick-statsd, metric: load }, unit: count, freshFor: 3s".to_owned(),
        per_replica: "120".to_owned(),
        peer: sender(move |fault| send_packets(Arc::clone(&socket), fault)),
    });
    let port = free_port();
    parts.push(Part {
        word: "otlp",
        source: format!("otlp: {{ listen: \"127.0.0.1:{port}\" }}"),
        signal: "otlp: { from: sick-otlp, metric: depth }, unit: count, freshFor: 3s".to_owned(),
        per_replica: "120".to_owned(),
        peer: sender(move |fault| send_otlp(port, fault)),
    });
    parts.push(Part {
        word: "host",
        source: "host: {}".to_owned(),
        signal: "host: { from: sick-host, figure: memory }".to_owned(),
        per_replica: "0.1%".to_owned(),
        peer: Peer::Machine,
    });
    parts
}

fn policy(parts: &[Part], calm: &Faulty) -> Fleet {
    let workload = |signal: &str, per_replica: &str, most: u32| {
        format!(
            "{{ target: {{ process: {{ command: [./app] }} }}, replicas: {{ min: 1, max: {most} }},
      behavior: {{ scaleDown: {{ stabilization: 0s }} }},
      signals: {{ load: {{ {signal}, every: 100ms }} }},
      strategies: [ {{ targetTracking: {{ signal: load, perReplica: {per_replica}, scaleInCooldown: 0s }} }} ] }}\n"
        )
    };
    let (mut sources, mut workloads) = (String::new(), String::new());
    for part in parts {
        writeln!(sources, "    {}: {{ {} }}", part.source(), part.source).unwrap();
        // What this machine uses of its memory is always more than its load here.
        let most = if part.word == "host" { HELD.0 } else { 50 };
        write!(workloads, "    {}: {}", part.word, workload(&part.signal, &part.per_replica, most)).unwrap();
    }
    let well = workload("http: { from: calm, path: $.load }, unit: count", "100", 50);
    fleet(&format!(
        "apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: test }}
spec:
  sources:
    calm: {{ http: {{ url: \"http://{}\" }}, deadline: 60s }}
{sources}  workloads:
    well: {well}{workloads}",
        calm.address()
    ))
}

/// The controller with its parts.
struct Running {
    handle: EngineHandle,
    parts: Vec<Part>,
    fleet: Fleet,
    targets: BTreeMap<WorkloadName, Arc<Instantly>>,
}

impl Running {
    fn count(&self, workload: &str) -> Replicas {
        self.targets.iter().find(|(name, _)| name.as_str() == workload).unwrap().1.status().wanted
    }

    /// Waits until something holds. All along nobody's absence may become a number.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> Result<(), String>) {
        let begun = Instant::now();
        while let Err(lacks) = holds().await {
            assert!(begun.elapsed() < NEVER, "this does not come: {what}: {lacks}");
            for part in &self.parts {
                assert_eq!(self.count(part.word), HELD, "{what}: {}", part.word);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn told(&self, part: &Part, fault: Fault) -> Option<Told> {
        let source = self.fleet.sources().iter().find(|(name, _)| name.as_str() == part.source()).unwrap().1;
        row(&source.kind, fault)
    }

    async fn reading(&self, part: &Part) -> Reading {
        let view = self.handle.workload(&part.workload()).await.unwrap();
        // Nothing was decided yet.
        view.signals
            .first()
            .map_or(Reading::Missing(headroom_core::reading::Absence::NeverSeen), |s| s.reading.clone())
    }

    /// Whether the part's trouble is told of; or what lacks.
    async fn is_told(&self, part: &Part, how: Told) -> Result<(), String> {
        let reading = self.reading(part).await;
        if !reading.is_fault() {
            return Err(format!("{} still has {reading:?}", part.word));
        }
        let watching = self.handle.watching().await.unwrap();
        let source = watching.sources.iter().find(|view| view.name == part.source());
        let down = source.filter(|view| view.down_since.is_some());
        match how {
            Told::BySignal => Ok(()),
            Told::BySource => {
                let source = down.ok_or_else(|| format!("{} is not down: {reading:?}", part.source()))?;
                let alerts = watching.alerts.iter().filter(|alert| alert.kind == AlertKind::SourceDown);
                let mut alerts = alerts.filter(|alert| alert.subject.to_string().contains(&part.source()));
                let alert = alerts.next().ok_or_else(|| format!("no alert of {}", part.source()))?;
                let why = source.why.as_deref().unwrap_or_default();
                assert!(why.contains(&format!("`{}`: ", part.source())), "{why:?} does not name its source");
                assert!(alert.why.contains(&part.source()), "{alert:?}");
                assert!(
                    source.next_step(Language::English).is_some()
                        && source.next_step(Language::Korean).is_some()
                );
                Ok(())
            }
        }
    }

    /// Whether the part is read again.
    async fn is_well(&self, part: &Part) -> Result<(), String> {
        let reading = self.reading(part).await;
        let sources = self.handle.watching().await.unwrap().sources;
        let is_down = sources.iter().any(|view| view.name == part.source() && view.down_since.is_some());
        match reading {
            Reading::Fresh(_) if !is_down => Ok(()),
            other => Err(format!("{}: {other:?}", part.word)),
        }
    }
}

/// Runs a test of this program in a process of its own, so that the memory it measures is its own. True in that process.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "HEADROOM_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{said}");
    false
}

/// The most memory that this process has held, in bytes.
fn high_water() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn whatever_sources_do_others_go_on_and_it_is_told() {
    if is_alone("matrix::whatever_sources_do_others_go_on_and_it_is_told") {
        tokio::runtime::Runtime::new().unwrap().block_on(all_kinds_in_all_ways());
    }
}

async fn all_kinds_in_all_ways() {
    let folder = tempfile::tempdir().unwrap();
    let load = Arc::new(AtomicU32::new(200));
    let told = Arc::clone(&load);
    let calm = Faulty::start(Behaviour::Good(Arc::new(move |_: &[u8]| {
        (http_answer("200 OK", &format!("{{\"load\": {}}}", told.load(Ordering::Relaxed))), false)
    })))
    .await;
    let parts = parts(folder.path()).await;
    let fleet = policy(&parts, &calm);
    let there: Vec<&str> = fleet.sources().values().map(|source| source.kind.word()).collect();
    for word in SourceKind::WORDS.iter().filter(|word| cfg!(feature = "keda") || **word != "keda") {
        assert!(there.contains(word), "the matrix has no part of the kind {word}");
    }
    let targets: BTreeMap<_, _> =
        fleet.workloads().keys().map(|name| (name.clone(), Arc::new(Instantly::with(HELD)))).collect();
    let (journal, _) = Journal::open(&DataDir::open(folder.path()).unwrap(), Retention::default()).unwrap();
    let seams: Targets =
        targets.iter().map(|(name, target)| (name.clone(), Arc::clone(target) as Arc<dyn Target>)).collect();
    let (handle, engine) = driver::start(Start {
        fleet: fleet.clone(),
        journal: journal.clone(),
        targets: seams,
        notifiers: Notifiers::new(),
        advise: false,
    })
    .await
    .unwrap();
    for group in source::groups(&fleet) {
        driver::feed(&handle, Box::new(source::open(&group, folder.path())));
    }
    let running = Running { handle, parts, fleet, targets };
    all_are_well(&running, "at first").await;
    for (fault, replicas) in Fault::ALL.into_iter().zip([4, 2, 5, 1, 3, 2, 4]) {
        let begun = Instant::now();
        let ill = || running.parts.iter().filter_map(|part| Some((part, running.told(part, fault)?)));
        ill().for_each(|(part, _)| part.peer.become_(Some(fault)));
        for (part, how) in ill() {
            let what = format!("{fault:?} of {}", part.word);
            running.until(&what, async || running.is_told(part, how).await).await;
            println!("{what}: {:?}", running.reading(part).await);
        }
        load.store(100 * replicas, Ordering::Relaxed);
        let follows = async || {
            let count = running.count("well");
            if count == Replicas(replicas) {
                return Ok(());
            }
            let latest = running.handle.workload(&"well".parse().unwrap()).await.unwrap().latest;
            let why = latest.map(|decision| say::headline(&decision, Language::English));
            Err(format!("{count} instead of {replicas}: {why:?}"))
        };
        running.until(&format!("{fault:?}: who is well follows its load"), follows).await;
        running.parts.iter().for_each(|part| part.peer.become_(None));
        all_are_well(&running, &format!("after {fault:?}")).await;
        println!("{fault:?} took {:?}, {} MiB by now", begun.elapsed(), high_water() >> 20);
    }
    assert!(high_water() < MOST, "{} bytes", high_water());
    running.handle.stop().await;
    engine.await.unwrap();
    journal.close().await.unwrap();
}

async fn all_are_well(running: &Running, when: &str) {
    for part in &running.parts {
        running.until(&format!("{when}: {} is read", part.word), async || running.is_well(part).await).await;
    }
}
