//! What the tests share: policies as sources, and servers as child processes.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headroom_adapters::source::{self, Poller};
use headroom_core::controller::Measured;
use headroom_core::fleet::Fleet;
use headroom_core::reading::{Absence, Sample};
use headroom_engine::ports::{News, Source};

/// So long a test waits for what must come.
const NEVER: Duration = Duration::from_secs(90);

/// The policy of a page in `docs/sources/`, with its addresses replaced by the test's.
pub(crate) fn example(page: &str, replace: &[(&str, &str)]) -> Fleet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/sources/{page}.md"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let yaml = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let mut yaml = yaml.unwrap_or_else(|| panic!("{page} has no example")).to_owned();
    for (from, to) in replace {
        assert!(yaml.contains(from), "the example of {page} has no {from}");
        yaml = yaml.replace(from, to);
    }
    fleet(&yaml)
}

/// A policy as a fleet.
pub(crate) fn fleet(yaml: &str) -> Fleet {
    headroom_config::parse("test.yaml", yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).fleet
}

/// A policy with one workload, its sources and signals as written.
pub(crate) fn policy(sources: &str, signals: &str) -> Fleet {
    fleet(&format!(
        "apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: test }}
spec:
  sources:
    {sources}
  workloads:
    app:
      target: {{ process: {{ command: [./app] }} }}
      replicas: {{ min: 1, max: 5 }}
      signals:
        {signals}
        other: {{ push: {{ unit: count }} }}
      strategies: [ {{ targetTracking: {{ signal: other, perReplica: 1 }} }} ]
"
    ))
}

/// The sources of a fleet.
pub(crate) fn open(fleet: &Fleet, base: &Path) -> Vec<Poller> {
    source::groups(fleet).iter().map(|group| source::open(group, base)).collect()
}

/// The news of a source's next round.
pub(crate) async fn round(source: &mut Poller) -> Vec<Measured> {
    match tokio::time::timeout(NEVER, source.next()).await {
        Ok(Some(News::Samples(samples))) => samples,
        other => panic!("no samples: {other:?}"),
    }
}

/// Reads until a signal's value is what is expected; panics with the last one where that never comes.
pub(crate) async fn until(
    source: &mut Poller,
    signal: &str,
    expected: impl Fn(&Result<Sample, Absence>) -> bool,
) -> Result<Sample, Absence> {
    let begun = Instant::now();
    loop {
        let samples = round(source).await;
        let value = samples.iter().find(|m| m.signal.as_str() == signal).map(|m| m.value.clone());
        let value = value.unwrap_or_else(|| panic!("{signal} is not told of: {samples:?}"));
        if expected(&value) {
            return value;
        }
        assert!(begun.elapsed() < NEVER, "{signal} stays {value:?}");
    }
}

/// Reads until a signal has this value.
pub(crate) async fn until_value(source: &mut Poller, signal: &str, expected: f64) {
    let near =
        |v: &Result<Sample, Absence>| v.as_ref().is_ok_and(|s| (s.value.get() - expected).abs() < 1e-6);
    let _ = until(source, signal, near).await;
}

/// Whether tests with real servers are left out.
pub(crate) fn skip_real(what: &str) -> bool {
    let skip = std::env::var_os("HEADROOM_SKIP_REAL").is_some();
    if skip {
        eprintln!("skipped: HEADROOM_SKIP_REAL is set, so {what} is not started");
    }
    skip
}

/// A free port of the loopback. Another process may take it before the server does; then the start fails by name.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server, killed with its children at the end of its test.
pub(crate) struct Server(Child);

impl Server {
    /// Starts `program`; what it says goes to `log`.
    pub(crate) fn start(program: &str, arguments: &[&str], env: &[(&str, &str)], log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        let child = command.spawn().unwrap_or_else(|e| {
            panic!("{program} can't be started ({e}): install it, or set HEADROOM_SKIP_REAL=1 to leave these tests out")
        });
        Self(child)
    }

    /// Waits until something listens at `port`.
    pub(crate) async fn listens(&mut self, port: u16, log: &Path) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            if let Ok(Some(status)) = self.0.try_wait() {
                panic!("the server ended with {status}: {}", said());
            }
            assert!(begun.elapsed() < NEVER, "the server does not listen: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Runs a command to its end; panics with what it said where it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Asks an HTTP server without any client of ours, and gives its whole answer.
pub(crate) async fn http(port: u16, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// An answer of an HTTP server.
pub(crate) fn http_answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: text/plain\r\n\r\n{body}", body.len())
        .into_bytes()
}
