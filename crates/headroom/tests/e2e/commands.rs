//! Each command against a running controller.

use crate::rig::{Rig, alone, eventually, policy, stderr, stdout};

/// C5: why did nothing scale, until when, and who said so.
#[test]
fn a_frozen_workload_says_so_until_it_is_thawed() {
    let mut rig = Rig::new(&policy(2, 6));
    rig.start_until_ready(2);
    assert!(rig.ask(&["freeze", "web", "--for", "1h", "--why", "release"]).status.success());
    assert!(rig.web().unwrap()["freeze"]["why"] == "release");
    let offered = crate::rig::load(&rig.address(), "surge 60s @220");
    let why_not = eventually("the freeze holds the growth back", || {
        let said = stdout(&rig.ask(&["why-not", "web"]));
        (said.contains("frozen by") && said.contains("holds until")).then_some(said)
    });
    assert!(why_not.contains("release"), "{why_not}");
    let status = stdout(&rig.ask(&["status"]));
    assert!(status.contains("web: frozen by ") && status.contains(": release"), "{status}");
    assert_eq!(rig.count("wanted"), Some(2));
    assert!(rig.ask(&["thaw", "web"]).status.success());
    eventually("it grows", || (rig.count("wanted")? > 2).then_some(()));
    offered.enough();
    let korean = stdout(&rig.ask(&["explain", "web", "--lang", "ko"]));
    assert!(korean.contains("관측"), "{korean}");
    let history = stdout(&rig.ask(&["history", "web"]));
    assert!(history.contains("→"), "{history}");
}

/// Advise mode says and does not do; a plan does exactly what it said, once.
#[test]
fn in_advise_mode_a_plan_is_made_and_applied_exactly_once() {
    let mut rig = Rig::new(&policy(2, 6)).with(&["--advise"]);
    rig.start();
    eventually("a decision is made", || rig.web()?["latest"].is_object().then_some(()));
    assert_eq!(rig.count("wanted"), Some(0), "nothing was done");
    let file = rig.data().join("p.plan");
    let file = file.to_str().unwrap();
    let planned = eventually("there is something to do", || {
        let planned = rig.ask(&["plan", "--out", file]);
        (planned.status.code() == Some(2)).then_some(planned)
    });
    assert!(stdout(&planned).contains("0 → 2"), "{}", stdout(&planned));
    assert!(rig.ask(&["freeze", "web", "--why", "release"]).status.success());
    let refused = rig.ask(&["apply", file]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("can't be changed now: frozen by"), "{}", stderr(&refused));
    assert!(rig.ask(&["thaw", "web"]).status.success());
    let applied = rig.ask(&["apply", file]);
    assert!(applied.status.success(), "{}", stderr(&applied));
    rig.ready(2);
    let again = rig.ask(&["apply", file]);
    assert_eq!(again.status.code(), Some(3), "{}", stderr(&again));
    assert!(stderr(&again).contains("the world has moved"), "{}", stderr(&again));
}

/// C5: a decision is explained by the numbers it was made of.
#[test]
fn an_observation_in_a_file_is_decided_on_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.yaml"), policy(2, 20)).unwrap();
    let observation = r#"{ "at": "2026-11-21T09:30:00Z", "workloads": { "web": {
        "target": { "wanted": 3, "ready": 3 }, "signals": { "rps": 1200 } } } }"#;
    std::fs::write(folder.path().join("o.json"), observation).unwrap();
    let said = stdout(&alone(&["decide", "--observation", "o.json"], folder.path()));
    assert!(
        said.contains("3 → 20: rps 1200/s at 50/s a replica; but limited by the maximum of 20"),
        "{said}"
    );
    let json = stdout(&alone(&["decide", "--observation", "o.json", "-o", "json"], folder.path()));
    let decisions: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(decisions[0]["to"], 20);
    let absent = observation.replace("1200", "null");
    std::fs::write(folder.path().join("o.json"), absent).unwrap();
    let said = stdout(&alone(&["decide", "--observation", "o.json"], folder.path()));
    assert!(said.contains("rps is absent"), "{said}");
}

#[test]
fn the_demo_prints_its_figures_as_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    let load = "calm 2s @30, surge 3s x10, calm 2s x1";
    let demo = alone(
        &["demo", "--headless", "--for", "8s", "--load", load, "--start-up", "300ms", "-o", "json"],
        folder.path(),
    );
    assert!(demo.status.success(), "{}", stderr(&demo));
    let figures: serde_json::Value = serde_json::from_slice(&demo.stdout).unwrap();
    for field in [
        "/reactionMs/p50",
        "/reactionMs/count",
        "/requests/sent",
        "/requests/failed",
        "/latencyMs/p95",
        "/replicas/max",
        "/decisions",
    ] {
        assert!(figures.pointer(field).is_some_and(|v| !v.is_null()), "{field} is missing in {figures}");
    }
    assert_eq!(figures["requests"]["failed"], 0, "{figures}");
    assert!(figures["replicas"]["max"].as_u64() > figures["replicas"]["min"].as_u64(), "{figures}");
}

/// `headroom export schema | head`: whoever reads has what it wanted, and that is no failure of ours.
#[test]
fn a_closed_pipe_ends_no_command_with_a_panic() {
    for arguments in [["export", "schema"], ["export", "grafana"], ["completions", "bash"]] {
        let mut child = std::process::Command::new(crate::rig::headroom())
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn completions_and_man_pages_are_made() {
    let folder = tempfile::tempdir().unwrap();
    assert!(stdout(&alone(&["completions", "bash"], folder.path())).contains("why-not"));
    assert!(alone(&["man", "man"], folder.path()).status.success());
    assert!(folder.path().join("man/headroom-run.1").exists());
}

/// C5: doctor finds a healthy controller fine, names a freeze with its next step, and says when none runs.
#[test]
fn doctor_says_what_is_fine_and_what_to_do_where_it_is_not() {
    let mut rig = Rig::new(&policy(2, 6));
    rig.start_until_ready(2);
    let said = eventually("all is fine", || {
        let asked = rig.ask(&["doctor"]);
        let said = stdout(&asked);
        (asked.status.success() && said.contains("0 broken, 0 to be looked at")).then_some(said)
    });
    assert!(said.contains("samples") && said.contains("rps is"), "{said}");
    assert!(rig.ask(&["freeze", "web", "--why", "release"]).status.success());
    let said = stdout(&rig.ask(&["doctor"]));
    assert!(said.contains("frozen") && said.contains("→ headroom thaw web"), "{said}");
    rig.stop();
    let asked = rig.ask(&["doctor", "-o", "json"]);
    assert_eq!(asked.status.code(), Some(1));
    let checks: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(
        (&checks[0]["name"], &checks[0]["state"]),
        (&"controller".into(), &"broken".into()),
        "{checks}"
    );
}

/// C5: what is decided is followed as it happens.
#[test]
fn history_can_be_followed() {
    let mut rig = Rig::new(&policy(2, 6));
    rig.start_until_ready(2);
    let mut follower = rig.follow(&["history", "web", "--follow", "-o", "json"]);
    let offered = crate::rig::load(&rig.address(), "surge 60s @220");
    let grown = follower.lines.by_ref().map(Result::unwrap).find_map(|line| {
        let decision: serde_json::Value = serde_json::from_str(&line).unwrap();
        (decision["to"].as_u64() > Some(2)).then_some(decision)
    });
    assert!(grown.is_some(), "the follower ended");
    offered.enough();
}

/// A8: a load to come, with bands and scores, on screen and as a picture; a broken trace is named by its line.
#[test]
fn a_trace_is_forecast_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String =
        (0..3 * 288).map(|k: i64| format!("{},{}\n", k * 300, 100 + (k % 288 - 144).abs())).collect();
    std::fs::write(folder.path().join("t.csv"), format!("timestamp,value\n{rows}")).unwrap();
    let forecast = |more: &[&str]| alone(&[&["forecast", "--trace", "t.csv"], more].concat(), folder.path());
    let said = stdout(&forecast(&["--horizon", "2h", "--plot", "p.svg", "--out", "p.csv"]));
    assert!(said.contains("1970-01-04 00:00 UTC") && said.contains("up to 1h: loss"), "{said}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("p.svg").starts_with("<svg"));
    assert_eq!(read("p.csv").lines().count(), 25);
    let json = stdout(&forecast(&["--plot", "p.html", "-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["points"].as_array().map(Vec::len), Some(12), "{json}");
    assert!(json["points"][0]["q95"].as_f64() >= json["points"][0]["q50"].as_f64(), "{json}");
    assert!(json["accuracy"][0]["naiveLoss"].is_f64(), "{json}");
    assert!(read("p.html").contains("<svg"));
    let wrong = forecast(&["--plot", "p.png"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", stderr(&wrong));
    std::fs::write(folder.path().join("t.csv"), "timestamp,value\n0,1\n60,-1\n").unwrap();
    let broken = forecast(&[]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("line 3: -1 is negative"), "{}", stderr(&broken));
}

/// Only a latency is named; what one replica carries is learned from what is seen, and the service grows by it.
#[test]
fn a_demo_with_an_objective_learns_what_a_replica_carries() {
    let folder = tempfile::tempdir().unwrap();
    let load = "calm 6s @60, surge 8s x10, calm 2s @60";
    let demo = alone(
        &[
            "demo",
            "--objective",
            "--headless",
            "--for",
            "16s",
            "--load",
            load,
            "--start-up",
            "300ms",
            "-o",
            "json",
        ],
        folder.path(),
    );
    assert!(demo.status.success(), "{}", stderr(&demo));
    let figures: serde_json::Value = serde_json::from_slice(&demo.stdout).unwrap();
    assert!(figures["capacity"]["learned"].as_f64().is_some_and(|learned| learned > 0.0), "{figures}");
    assert!(figures["capacity"]["evidence"].as_u64() > Some(0), "{figures}");
    assert!(figures["objective"]["looks"].as_u64() > Some(0), "{figures}");
    assert!(figures["replicas"]["max"].as_u64() > Some(2), "{figures}");
}
