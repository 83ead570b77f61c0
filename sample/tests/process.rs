//! The binary as a real process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A replica; killed when the test ends, however it ends.
struct Replica {
    child: Child,
    address: String,
}

impl Replica {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_headroom-sample"))
            .args(["--port", "0", "--capacity", "unlimited"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the replica is there");
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("the replica is there"))
            .read_line(&mut line)
            .expect("the replica is there");
        let address = line.trim().rsplit("http://").next().expect("the replica is there").to_owned();
        Self { child, address }
    }

    fn send(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("the replica is there");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("the replica is there");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("the replica is there");
        stream
    }

    fn get(&self, path: &str) -> String {
        answer(self.send(path))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the replica is there");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the replica is there");
    answer
}

/// Waits for a condition; only a hanging test waits for a minute.
fn until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the condition never came true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A14: SIGTERM lets requests in flight finish, and the exit code is 0.
#[test]
fn sigterm_finishes_requests_in_flight_and_exits_with_0() {
    let mut replica = Replica::start(&[]);
    let slow = replica.send("/work?ms=3000");
    until(|| replica.get("/metrics").contains("http_requests_in_flight 1\n"));
    replica.signal(Signal::TERM);
    assert!(answer(slow).contains("headroom sample"));
    assert_eq!(replica.child.wait().unwrap().code(), Some(0));
}

#[test]
fn sigterm_during_a_start_up_ends_it() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_headroom-sample"))
        .args(["--port", "0", "--start-up", "1h"])
        .spawn()
        .unwrap();
    // Before its handler stands, the signal ends the process all the same, only with another code.
    let ended = loop {
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_ne!(ended.code(), Some(1), "{ended}");
}

#[test]
fn a_crash_on_demand_exits_with_1() {
    let mut replica = Replica::start(&["--exit-after", "50ms"]);
    assert_eq!(replica.child.wait().unwrap().code(), Some(1));
}

#[test]
fn the_leak_shows_in_the_metrics_and_stops_at_its_limit() {
    let replica = Replica::start(&["--leak", "2MB/s", "--memory-limit", "2MB"]);
    until(|| replica.get("/metrics").contains("sample_memory_held_bytes 2097152\n"));
}

/// C1: the load as a command: a report as JSON on stdout, an exit code that says whether all went well.
#[test]
fn a_load_is_reported_as_json_and_judged_by_its_exit_code() {
    let replica = Replica::start(&["--errors", "100%"]);
    let load = |most: &str| {
        let url = format!("http://{}/", replica.address);
        Command::new(env!("CARGO_BIN_EXE_headroom-sample"))
            .args(["load", "--url", &url, "--plan", "100ms @100", "--spacing", "even", "-o", "json"])
            .args(["--most-failures", most])
            .output()
            .unwrap()
    };
    let output = load("10");
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["requests"]["byClass"]["status5xx"], 10);
    assert_eq!(load("9").status.code(), Some(1));
}

#[test]
fn a_wrong_flag_is_refused_with_2_and_the_reason() {
    for (flags, expected) in [
        (&["--capacity", "0"][..], "a number of requests per second above 0"),
        (&["--start-up", "3"][..], "a time with its unit"),
        (
            &["load", "--url", "http://127.0.0.1:9/", "--plan", "calm 20s 50"][..],
            "column 10 of the plan, `50`",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_headroom-sample")).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{flags:?}\n{said}");
    }
}
