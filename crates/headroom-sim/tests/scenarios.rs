//! The scenarios of the repository hold, and say so where they don't.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::units::Span;
use headroom_sim::fault::Fault;
use headroom_sim::load::Load;
use headroom_sim::scenario::{Scenario, ScenarioError, ScenarioReport};
use headroom_sim::{Loads, SimulateOptions};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn fleet(path: &Path) -> Arc<Fleet> {
    let text = std::fs::read_to_string(path).expect("the policy can be read");
    let document: FleetDocument = serde_saphyr::from_str(&text).expect("the text is a fleet");
    Arc::new(Fleet::new(document).expect("the fleet has no problems"))
}

fn run(text: &str) -> Result<ScenarioReport, ScenarioError> {
    let scenario = Scenario::parse(text)?;
    scenario.run(&fleet(&folder().join(&scenario.policy)), &folder())
}

#[test]
fn every_scenario_of_the_repository_holds() {
    let mut tried = 0;
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the scenario can be read");
        let report = run(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(report.passed(), "{}: {:#?}", path.display(), report.checks);
        tried += 1;
    }
    assert!(tried >= 35, "only {tried} scenarios");
}

/// What the folders of strategies and guards hold beside them: what several share.
const SHARED: [&str; 6] = ["mod", "testing", "harness", "adjust", "urgency", "velocity"];

#[test]
fn every_strategy_and_every_guard_has_a_scenario() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../headroom-core/src");
    for kind in ["strategy", "guard"] {
        for entry in std::fs::read_dir(core.join(kind)).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a file of source text");
            let scenario = folder().join(format!("{}.yaml", name.replace('_', "-")));
            let has = scenario.exists() || SHARED.contains(&name);
            assert!(has, "the {kind} {name} has no scenario {}", scenario.display());
        }
    }
}

/// Every policy that people are shown is flown: two hours with a wave, a surge and a source that fails for a while.
#[test]
fn every_example_can_be_simulated() {
    let load: Load = serde_json::from_value(serde_json::json!({ "sum": [
        { "wave": { "low": 20, "high": 400, "period": "2h", "peakAt": "1h" } },
        { "surge": { "add": 600, "at": "30m", "rise": "10s", "hold": "10m" } },
    ] }))
    .expect("it is a load");
    let fault: Fault =
        serde_json::from_value(serde_json::json!({ "what": "samplesFail", "at": "80m", "for": "2m" }))
            .expect("it is a fault");
    let options = SimulateOptions {
        step: Span::seconds(5),
        length: Some(Span::hours(2)),
        faults: vec![fault],
        ..SimulateOptions::default()
    };
    let mut tried = 0;
    for entry in std::fs::read_dir(folder().join("../examples")).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let outcome = headroom_sim::run(&fleet(&path), &Loads::from(load.clone()), &options, &mut ())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(outcome.steps, 1440, "{}", path.display());
        // A breaker may open; a plan that its check rejects is a bug.
        let rejected = outcome.notices.get("plan-rejected");
        assert_eq!(rejected, None, "{}: {:?}", path.display(), outcome.notices);
        tried += 1;
    }
    assert!(tried >= 30, "only {tried} examples");
}

#[test]
fn an_expectation_that_is_not_met_says_what_was_seen() {
    let report = run("
scenario: too much to ask
policy: ../examples/web.yaml
length: 20m
load: { sum: [{ constant: 200 }, { surge: { add: 1000, at: 10m, hold: 5m } }] }
expect: [{ neverAbove: 5 }, { neverBelow: 2 }, { enoughWithin: 1s }, { replicas: { at: 12m, atMost: 3 } }]
")
    .expect("it runs");
    assert!(!report.passed());
    let met: Vec<bool> = report.checks.iter().map(|c| c.met).collect();
    assert_eq!(met, [false, true, false, false], "{:#?}", report.checks);
    assert_eq!(report.checks[0].expected, "never above 5");
    assert!(report.checks[0].saw.ends_with("at the most"), "{:?}", report.checks[0]);
}

#[test]
fn mistakes_in_a_scenario_are_told() {
    let head = "scenario: x\npolicy: ../examples/web.yaml\nlength: 1m\nload: { constant: 1 }\n";
    for (text, expected) in [
        (format!("{head}expect: []\n"), "can't fail"),
        (format!("{head}expect: [{{ neverOver: 5 }}]\n"), "neverOver"),
        (format!("{head}expect: [{{ overObjectiveAtMost: 5 }}]\n"), "write it like 1%"),
        (format!("{head}expect: [{{ replicas: {{ at: 1m }} }}]\n"), "always met"),
        (format!("{head}expects: []\n"), "expects"),
        ("scenario: x\n".to_owned(), "policy"),
        (
            "scenario: x\npolicy: ../examples/web.yaml\nload: { trace: none.csv }\nexpect: [{ neverAbove: 5 }]\n".to_owned(),
            "none.csv can't be read",
        ),
    ] {
        let error = run(&text).expect_err("it is wrong").to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
