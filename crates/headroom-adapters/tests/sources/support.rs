//! What the tests share: policies as sources, and what is asked of them.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
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
    let yaml = headroom_testkit::page::policy(&format!("sources/{page}"), replace);
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
