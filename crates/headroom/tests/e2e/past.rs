//! What is made of the past: backtests, extracted decisions, scenarios, and simulations from the command line.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::Value;

use crate::rig::{Rig, alone, eventually, headroom, load, policy, stderr, stdout};

/// C5: a recorded run, asked "what would another policy have done", beside what was done; and one of its decisions as a
/// test case that needs no journal.
#[test]
fn a_recorded_run_is_backtested_and_a_decision_taken_out() {
    let mut rig = Rig::new(&policy(2, 6));
    rig.start_until_ready(2);
    let offered = load(&rig.address(), "calm 3s @40, surge 60s @180");
    eventually("it has grown", || (rig.count("ready")? > 2).then_some(()));
    offered.enough();
    let changes: Value = serde_json::from_str(&stdout(&rig.ask(&["history", "web", "-o", "json"]))).unwrap();
    let step = |change: &Value| (change["from"].clone(), change["to"].clone());
    let twice = changes.as_array().unwrap().windows(2).any(|pair| step(&pair[0]) == step(&pair[1]));
    assert!(!twice, "each change is ordered once: {changes}");
    rig.stop();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("wide.yaml"),
        policy(2, 20).replace("perReplica: 50", "perReplica: 10"),
    )
    .unwrap();
    let data = rig.data();
    let data = data.to_str().unwrap();
    let unknown = alone(&["backtest", "-f", "wide.yaml", "--data", data], folder.path());
    assert!(!unknown.status.success());
    assert!(stderr(&unknown).contains("say it with --capacity"), "{}", stderr(&unknown));
    let asked = ["backtest", "-f", "wide.yaml", "--data", data, "--capacity", "100", "--against", "optimum"];
    let said = alone(&[&asked[..], &["--report", "out.html"]].concat(), folder.path());
    assert!(said.status.success(), "{}", stderr(&said));
    for expected in ["headroom", "recorded", "optimum", "signal `rps`", "the model's for either row"] {
        assert!(stdout(&said).contains(expected), "{expected} is missing in {}", stdout(&said));
    }
    assert!(std::fs::read_to_string(folder.path().join("out.html")).unwrap().contains("recorded"));
    let json = stdout(&alone(&[&asked[..], &["-o", "json"]].concat(), folder.path()));
    let outcome: Value = serde_json::from_str(&json).unwrap();
    let hours = |i: usize| outcome["contenders"][i]["score"]["replicaHours"].as_f64().unwrap();
    assert_eq!(outcome["contenders"][1]["name"], "recorded");
    assert!(hours(0) > hours(1), "a replica for ten requests costs more than one for fifty: {json}");
    let seconds = outcome["contenders"][1]["score"]["seconds"].as_f64().unwrap();
    let recorded = hours(1) * 3600.0 / seconds;
    assert!((1.0..=6.5).contains(&recorded), "two to six replicas were seen, {recorded} on average");

    // What the same stretch came to, to hand on.
    let report = |output: &str| {
        let said = alone(&["report", "--since", "1h", "--data", data, "-o", output], folder.path());
        assert!(said.status.success(), "{}", stderr(&said));
        stdout(&said)
    };
    assert!(report("md").contains("## Changes by reason") && report("html").starts_with("<!doctype html>"));
    let report: Value = serde_json::from_str(&report("json")).unwrap();
    let web = &report["workloads"][0];
    assert!(web["most"].as_u64() > Some(2) && web["changes"][0]["grew"].as_u64() >= Some(1), "{report}");
    // What a backtest counts from where the load begins, and a report from where the replicas do, differ by that alone.
    let (said, played) = (web["replicaHours"].as_f64().unwrap() * 3600.0, hours(1) * 3600.0);
    let apart = (web["recordedHours"].as_f64().unwrap() * 3600.0 - seconds).abs();
    assert!(
        (said - played).abs() <= 6.0 * (apart + 3.0),
        "{said} and {played} replica-seconds, {apart} s apart"
    );
    let (ran, recorded) = (web["replicaHours"].as_f64().unwrap(), web["recordedHours"].as_f64().unwrap());
    assert!((1.0..=6.5).contains(&(ran / recorded)), "two to six replicas: {report}");
    let refused = alone(&["check", "-f", "wide.yaml", "-o", "html"], folder.path());
    assert_eq!(refused.status.code(), Some(64), "{}", stderr(&refused));

    let history = alone(&["journal", "extract", "--decision", "web-1", "--data", data], folder.path());
    assert!(history.status.success(), "{}", stderr(&history));
    std::fs::write(folder.path().join("web-1.json"), &history.stdout).unwrap();
    let tested = alone(&["test", "web-1.json"], folder.path());
    assert!(tested.status.success(), "{}{}", stdout(&tested), stderr(&tested));
    let mut case: Value = serde_json::from_slice(&history.stdout).unwrap();
    case["expected"]["to"] = 99.into();
    std::fs::write(folder.path().join("web-1.json"), case.to_string()).unwrap();
    let tested = alone(&["test", "web-1.json", "--junit", "out.xml"], folder.path());
    assert_eq!(tested.status.code(), Some(2), "{}{}", stdout(&tested), stderr(&tested));
    assert!(stdout(&tested).contains("FAIL  decision web-1"), "{}", stdout(&tested));
    assert!(std::fs::read_to_string(folder.path().join("out.xml")).unwrap().contains("failures=\"1\""));
}

#[test]
fn scenarios_end_with_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.yaml"), policy(2, 20)).unwrap();
    let scenario = |most: u32| {
        format!(
            "scenario: calm\npolicy: fleet.yaml\nlength: 10m\nload: {{ constant: 400 }}\nexpect: [{{ neverAbove: {most} }}]\n"
        )
    };
    let file = folder.path().join("calm.yaml");
    for (text, code) in [(scenario(20), 0), (scenario(3), 2), ("scenario: calm\n".to_owned(), 1)] {
        std::fs::write(&file, &text).unwrap();
        let tested = alone(&["test", "calm.yaml"], folder.path());
        assert_eq!(tested.status.code(), Some(code), "{text}: {}{}", stdout(&tested), stderr(&tested));
    }
}

#[test]
fn a_load_and_its_faults_are_given_as_formulas() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.yaml"), policy(2, 20)).unwrap();
    let wave = "{ sum: [{ wave: { low: 50, high: 400, period: 1h } }, { constant: 20 }] }";
    let simulate = |more: &[&str]| alone(&[&["simulate", "-o", "json"], more].concat(), folder.path());
    let calm = simulate(&["--load", wave, "--length", "1h"]);
    assert!(calm.status.success(), "{}", stderr(&calm));
    let fault = "{ what: { replicasDie: { count: 5 } }, at: 30m, for: 1s }";
    let hit = simulate(&["--load", wave, "--length", "1h", "--fault", fault]);
    assert!(hit.status.success(), "{}", stderr(&hit));
    assert_ne!(stdout(&calm), stdout(&hit));
    for (arguments, expected) in [
        (vec!["--load", wave], "say how long"),
        (vec!["--load", "{ wav: 3 }", "--length", "1h"], "--load is no load"),
        (vec!["--load", wave, "--length", "1h", "--fault", "{ what: rain }"], "is no fault"),
        (vec![], "--trace"),
    ] {
        let said = simulate(&arguments);
        assert!(!said.status.success());
        assert!(stderr(&said).contains(expected), "{arguments:?}: {}", stderr(&said));
    }
}

/// Whatever is wrong with a trace is told with its place and what to do, before anything runs.
#[test]
fn bad_traces_are_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.yaml"), policy(2, 20)).unwrap();
    for (trace, expected) in [
        (&b""[..], "is empty"),
        (b"timestamp,value\n", "is empty"),
        (b"timestamp,value\n0,1\n", "single row"),
        (b"time,load\n0,1\n1,2\n", "must be `timestamp,value`"),
        (b"timestamp,value\n0,1\n20,2\n10,3\n", "line 4"),
        (b"timestamp,value\n0,1\n10,2\n10,3\n", "line 4"),
        (b"timestamp,value\n0,1\n10,-2\n", "negative"),
        (b"timestamp,value\n0,1\n10,NaN\n", "leave the row out"),
        (b"timestamp,value\n0,1\n10,many\n", "no number"),
        (b"timestamp,value\n0,1\nsoon,2\n", "no moment"),
        (b"timestamp,value\n0,1\n10\n", "no comma"),
        (b"timestamp,value\n0,1\n10,2\n20,3\n1795253400,4\n", "line 5: comes 20778d9h29m40s after"),
        (b"timestamp,value\n0,1\n\xff\xfe,2\n", "not text"),
        (&[0x7f; 4096], "no trace"),
    ] {
        std::fs::write(folder.path().join("t.csv"), trace).unwrap();
        let said = alone(&["simulate", "--trace", "t.csv"], folder.path());
        assert_eq!(said.status.code(), Some(1), "{trace:?}: {}", stdout(&said));
        assert!(stderr(&said).contains(expected), "{trace:?} gives {}", stderr(&said));
    }
    let missing = alone(&["simulate", "--trace", "none.csv"], folder.path());
    assert!(stderr(&missing).contains("none.csv can't be read"), "{}", stderr(&missing));
}

/// A gap is bridged and told; a pipe, which can't be read twice, is refused before anybody waits for it; a policy that no
/// load can be kept with is refused or told of.
#[test]
fn what_a_simulation_can_not_show_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let simulate = |trace: &str| alone(&["simulate", "--trace", trace], folder.path());
    let fleet = |text: &str| std::fs::write(folder.path().join("fleet.yaml"), text).unwrap();
    let trace = "timestamp,value\n0,100\n10,100\n20,100\n30,100\n120,9000\n130,9000\n";
    std::fs::write(folder.path().join("t.csv"), trace).unwrap();
    fleet(&policy(2, 20));
    let said = simulate("t.csv");
    assert!(said.status.success(), "{}", stderr(&said));
    assert!(stderr(&said).contains("has 1 gaps, the longest 1m30s; they are bridged"), "{}", stderr(&said));
    let out_of_reach = "needs 100 replicas, but its policy allows 20 at the most";
    assert!(stderr(&said).contains(out_of_reach), "{}", stderr(&said));
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (trace, expected) in [("pipe", "is no plain file"), (".", "is no plain file")] {
        let said = simulate(trace);
        assert_eq!(said.status.code(), Some(1), "{trace}: {}", stdout(&said));
        assert!(stderr(&said).contains(expected), "{trace} gives {}", stderr(&said));
    }
    fleet(&policy(20, 2));
    let said = simulate("t.csv");
    assert!(!said.status.success());
    assert!(stderr(&said).contains("replicas"), "{}", stderr(&said));
}

/// A trace of 200 MB and forty days is simulated in a third of its size at the most: it is never held.
#[test]
fn a_trace_of_any_size_takes_the_same_memory() {
    const DAYS: u32 = 40;
    const MOST: u64 = 64 << 20;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.yaml"), policy(2, 20)).unwrap();
    let trace = folder.path().join("t.csv");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&trace).unwrap());
    file.write_all(b"timestamp,value\n").unwrap();
    let mut rows = String::new();
    for minute in 0..DAYS * 1440 {
        let load = 500 - (minute % 1440).abs_diff(720) / 2;
        rows.clear();
        for second in 0..60 {
            writeln!(rows, "{}.000,{load}.0000000000000000000000000000000000000000", minute * 60 + second)
                .unwrap();
        }
        file.write_all(rows.as_bytes()).unwrap();
    }
    file.flush().unwrap();
    let bytes = std::fs::metadata(&trace).unwrap().len();
    assert!(bytes > 180_000_000, "{bytes}");
    let out = folder.path().join("out.json");
    let mut simulation = std::process::Command::new(headroom())
        .args(["simulate", "--trace", "t.csv", "--step", "60s", "--against", "hpa,optimum", "-o", "json"])
        .current_dir(folder.path())
        .stdout(std::fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let ended = loop {
        peak = high_water(simulation.id()).unwrap_or(peak);
        if let Some(ended) = simulation.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(ended.success());
    assert!((1..MOST).contains(&peak), "{peak} bytes for a trace of {bytes}");
    let outcome: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(outcome["steps"], DAYS * 1440);
}

/// The most memory a process has held, in bytes; `None` once it has ended.
fn high_water(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
