//! The fault matrix of sources that ask no server: a command that misbehaves in every way, and senders that do.

use std::path::Path;
use std::time::Duration;

use headroom_adapters::source::Poller;
use headroom_core::reading::Absence;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::server::free_port;
use crate::support::{open, policy, round, until, until_value, write};

/// The only source of a policy.
fn source(kind: &str, signal: &str, base: &Path) -> Poller {
    let fleet = policy(
        &format!("subject: {{ {kind}, deadline: 400ms }}"),
        &format!("value: {{ {signal}, every: 100ms }}"),
    );
    open(&fleet, base).remove(0)
}

/// Whether it failed as a whole, by its name and with these words.
fn fails_with(words: &'static str) -> impl Fn(&Result<headroom_core::reading::Sample, Absence>) -> bool {
    move |value| matches!(value, Err(Absence::SourceFailed(why)) if why.contains("`subject`") && why.contains(words))
}

#[tokio::test]
async fn a_command_survives_all_faults() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    // What is run is replaced as a whole, so that no round reads half of it.
    let become_ = |text: &str| {
        write(&folder.path().join("next"), text);
        std::fs::rename(folder.path().join("next"), &script).unwrap();
    };
    become_("sleep 0.1; echo 7");
    let mut command =
        source("exec: { command: [sh, script] }", "exec: { from: subject }, unit: count", folder.path());
    until_value(&mut command, "value", 7.0).await;
    // A machine that keeps a command from its turn for 400 ms makes it late; what it has to say comes with another round.
    let late = fails_with("no answer within");
    for (fault, text, words) in [
        ("hangs", "sleep 600", "no answer within 400 ms"),
        ("hangs with children", "sleep 600 & sleep 600 & wait", "no answer within 400 ms"),
        ("dribbles", "while :; do printf 0; sleep 0.02; done", "no answer within 400 ms"),
        ("dies", "kill -9 $$", "signal: 9"),
        ("garbage", "head -c 3000 /dev/zero | tr '\\0' '\\377'", "is no number"),
        ("fails", "echo no luck >&2; exit 1", "no luck"),
        ("fails at length", "head -c 104857600 /dev/zero >&2; exit 1", "it refused"),
        ("is endless", "head -c 104857600 /dev/zero | tr '\\0' 1", "larger than"),
        ("breaks off", "printf '12 of '", "is no number"),
        ("is no program", "exec ./not-there", "not-there"),
    ] {
        become_(text);
        // A round that was under way may still end well.
        let expected = fails_with(words);
        let told = until(&mut command, "value", |v| v.is_err() && (expected(v) || !late(v))).await;
        assert!(expected(&told), "{fault}: {told:?}");
        become_("echo 7");
        until_value(&mut command, "value", 7.0).await;
    }
    become_("true");
    let silent = until(&mut command, "value", |v| v.is_err() && !late(v)).await;
    assert_eq!(silent, Err(Absence::Empty), "silence is no failure, and no zero");
}

#[tokio::test]
async fn statsd_takes_in_what_is_good_whatever_else_is_sent() {
    let port = free_port();
    let kind = format!("statsd: {{ listen: \"127.0.0.1:{port}\" }}");
    let signal = "statsd: { from: subject, metric: depth }, unit: count, freshFor: 10m";
    let taken = std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let mut statsd = source(&kind, signal, Path::new("/"));
    // Someone else has the address: said by name, and tried again.
    let _ = until(&mut statsd, "value", fails_with("can't be taken in")).await;
    drop(taken);
    assert_eq!(until(&mut statsd, "value", |v| *v == Err(Absence::NeverSeen)).await, Err(Absence::NeverSeen));
    let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.connect(("127.0.0.1", port)).await.unwrap();
    sender.send(b"depth:4|g").await.unwrap();
    until_value(&mut statsd, "value", 4.0).await;
    let names: String = (0..3000).map(|n| format!("other.{n}:1|c\n")).collect();
    for bad in [
        &[0xff; 60_000][..],
        &[0; 60_000],
        b"depth:",
        b"depth:|g",
        b"depth:1",
        b"depth:inf|g",
        names.as_bytes(),
    ] {
        for _ in 0..200 {
            // A full queue of the socket loses packets, as UDP does.
            let _ = sender.try_send(bad);
        }
        let told = round(&mut statsd).await[0].value.clone();
        assert_eq!(told.map(|sample| sample.value.get()), Ok(4.0));
    }
    // A cut packet's last line may be half a number, but what came before it counts.
    let _ = sender.send(b"depth:9|g\ndept").await;
    until_value(&mut statsd, "value", 9.0).await;
}

pub(crate) fn request(length: usize, body: &str) -> String {
    format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// One whole request of its own connection; gives the status.
pub(crate) async fn push(port: u16, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request(body.len(), body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

pub(crate) fn gauge(value: u32) -> String {
    format!(
        r#"{{"resourceMetrics": [{{"scopeMetrics": [{{"metrics": [{{"name": "depth", "gauge": {{"dataPoints": [{{"asDouble": {value}}}]}}}}]}}]}}]}}"#
    )
}

#[tokio::test]
async fn otlp_takes_in_what_is_good_whatever_else_is_sent() {
    let port = free_port();
    let kind = format!("otlp: {{ listen: \"127.0.0.1:{port}\" }}");
    let signal = "otlp: { from: subject, metric: depth }, unit: count, freshFor: 10m";
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut otlp = source(&kind, signal, Path::new("/"));
    let _ = until(&mut otlp, "value", fails_with("can't be taken in")).await;
    drop(taken);
    assert_eq!(until(&mut otlp, "value", |v| *v == Err(Absence::Empty)).await, Err(Absence::Empty));
    assert_eq!(push(port, &gauge(4)).await, "200");
    until_value(&mut otlp, "value", 4.0).await;

    let open = || async { TcpStream::connect(("127.0.0.1", port)).await.unwrap() };
    // Senders that say nothing, or not all of it, keep their places; the others go on.
    let mut slow = Vec::new();
    for sent in ["", "POST /v1/met", &request(1000, "{\"resourceMetrics\"")] {
        let mut stream = open().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let mut resets = open().await;
    resets.write_all(request(1000, "{").as_bytes()).await.unwrap();
    resets.set_zero_linger().unwrap();
    drop(resets);
    let mut garbage = open().await;
    garbage.write_all(&[0xff; 3000]).await.unwrap();
    let _ = garbage.read_to_end(&mut Vec::new()).await;
    assert_eq!(push(port, "{\"resourceMetrics\": 7}").await, "400");
    assert_eq!(push(port, &"[".repeat(100_000)).await, "400", "nested without end");
    // A hundred megabytes, in earnest: it is told so and stops, or the connection ends.
    let mut large = open().await;
    large.write_all(request(104_857_600, "").as_bytes()).await.unwrap();
    let filling = vec![b' '; 1024 * 1024];
    let mut taken_in = 0;
    while taken_in < 100 && large.write_all(&filling).await.is_ok() {
        taken_in += 1;
    }
    assert!(taken_in < 64, "{taken_in} MB were taken in");
    assert_eq!(until(&mut otlp, "value", |_| true).await.map(|sample| sample.value.get()), Ok(4.0));
    assert_eq!(push(port, &gauge(9)).await, "200");
    until_value(&mut otlp, "value", 9.0).await;
    drop(slow);
}

/// More senders than there are places wait for one, and get it: those that say nothing are sent away in time.
#[tokio::test]
async fn idle_senders_keep_nobody_out_for_ever() {
    let port = free_port();
    let kind = format!("otlp: {{ listen: \"127.0.0.1:{port}\" }}");
    let mut otlp =
        source(&kind, "otlp: { from: subject, metric: depth }, unit: count, freshFor: 10m", Path::new("/"));
    let _ = until(&mut otlp, "value", |v| *v == Err(Absence::Empty)).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let pushed = tokio::time::timeout(Duration::from_secs(90), push(port, &gauge(5))).await;
    assert_eq!(pushed.as_deref(), Ok("200"));
    until_value(&mut otlp, "value", 5.0).await;
}
