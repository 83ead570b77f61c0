//! Every cell of the tables in `docs/data-quality.md`, put to the live controller.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use headroom_core::controller::{Controller, Effect, Input, Measured};
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// Ten replicas, a signal at fault, one that wants `other`, and one to lean on that wants six.
fn count_after(
    fault: &[(Timestamp, Result<f64, Absence>)],
    absent: &Value,
    needed: bool,
    other: f64,
) -> (u32, Vec<String>) {
    let signal = |absent: &Value| json!({ "push": { "unit": "count" }, "freshFor": "15s", "absent": absent });
    let strategy = |name: &str| json!({ "targetTracking": { "signal": name, "perReplica": 1, "scaleInCooldown": "0s" } });
    let mut strategies = vec![strategy("known")];
    if needed {
        strategies.push(strategy("faulty"));
    }
    let document: FleetDocument = serde_json::from_value(json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "quality" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["app"] } },
            "replicas": { "min": 1, "max": 100 },
            "signals": {
                "known": signal(&json!({})), "faulty": signal(absent), "leanOn": signal(&json!({})),
            },
            "strategies": strategies,
            "behavior": { "scaleDown": { "stabilization": "0s" } },
        } } }
    }))
    .unwrap();
    let mut controller = Controller::new(Fleet::new(document).unwrap().into());
    let web = || "web".parse().unwrap();
    let ten = TargetStatus { wanted: Replicas(10), ready: Replicas(10), ..TargetStatus::default() };
    let looked = |at| Input::Looked { at, workload: web(), status: Ok(ten.clone()) };
    let measured = |name: &str, at, value: Result<f64, Absence>| Measured {
        workload: web(),
        signal: name.parse().unwrap(),
        value: value.map(|v| Sample::new(at, Level::new(v).unwrap())),
    };
    // Before the target is looked at nothing is decided, so the past can be told in peace.
    for (at, value) in fault {
        let samples = vec![measured("faulty", *at, value.clone())];
        assert!(
            controller
                .handle(Input::Sampled { at: *at, samples })
                .iter()
                .all(|e| !matches!(e, Effect::Act(_)))
        );
    }
    let samples = vec![measured("leanOn", NOW, Ok(6.0)), measured("known", NOW, Ok(other))];
    assert!(
        controller.handle(Input::Sampled { at: NOW, samples }).iter().all(|e| !matches!(e, Effect::Act(_)))
    );
    assert!(controller.handle(looked(NOW)).is_empty());
    let mut count = 10;
    for effect in controller.handle(Input::Tick { at: NOW }) {
        if let Effect::Act(action) = effect {
            count = action.to().0;
        }
    }
    let latest = controller.memory(&web()).unwrap().latest().unwrap().clone();
    (count, latest.steps.iter().map(|s| s.why.code().to_owned()).collect())
}

/// The rows of the page's table whose head begins with `head`.
fn rows(head: &str) -> Vec<(String, String, String)> {
    let page = include_str!("../../../docs/data-quality.md");
    let table = page.lines().skip_while(|line| !line.starts_with(&format!("| {head}"))).skip(2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap())
        })
        .collect()
}

fn check(row: &str, cells: [(&str, f64); 2], ask: impl Fn(f64) -> (u32, Vec<String>)) {
    for (expected, other) in cells {
        let (count, steps) = ask(other);
        let expected_count = if expected == "hold" { 10 } else { expected.parse().unwrap() };
        assert_eq!(count, expected_count, "{row}, the other wants {other}: {steps:?}");
        if expected == "hold" {
            assert!(steps.contains(&"held-for-absence".to_owned()), "{row}: {steps:?}");
        }
    }
}

/// B1, A35 and the data-quality table: every fault in either direction.
#[test]
fn every_fault_has_the_outcome_the_page_names() {
    let failed = || Absence::SourceFailed("refused".to_owned());
    let rows = rows("fault");
    assert_eq!(rows.len(), 10);
    for (row, grow, shrink) in rows {
        let needed = !row.ends_with("no strategy needs");
        let (fault, age) = match row.trim_end_matches(", of a signal no strategy needs") {
            "none, the value is 0" => (vec![Ok(0.0)], 0),
            "nothing has come yet" => (vec![], 0),
            "the source has no such series" => (vec![Err(Absence::Empty)], 0),
            "the source gave NaN, infinity or a negative number" => (vec![Err(Absence::NotANumber)], 0),
            "the source failed" => (vec![Err(failed())], 0),
            "the last value is too old" => (vec![Ok(7.0)], 16),
            "nothing happened that could be measured" => (vec![Err(Absence::Idle)], 0),
            "there is no replica to measure" => (vec![Err(Absence::NoReplica)], 0),
            other => panic!("the page names a fault the test does not know: {other}"),
        };
        let at = NOW.minus(Span::seconds(age));
        let fault: Vec<_> = fault.into_iter().map(|value| (at, value)).collect();
        check(&row, [(&grow, 20.0), (&shrink, 5.0)], |other| count_after(&fault, &json!({}), needed, other));
    }
}

/// What a policy lets stand in, by direction.
#[test]
fn every_rule_has_the_outcome_the_page_names() {
    let rows = rows("rule");
    assert_eq!(rows.len(), 7);
    for (row, grow, shrink) in rows {
        let rule = match row.split_once(": ").unwrap() {
            (direction, rule) if rule.starts_with("lastKnown ") => {
                json!({ direction: { "lastKnown": rule.trim_start_matches("lastKnown ") } })
            }
            (direction, "signal") => json!({ direction: { "signal": "leanOn" } }),
            (direction, rule) => {
                json!({ direction: { "replicas": rule.trim_start_matches("replicas ").parse::<u32>().unwrap() } })
            }
        };
        // The last value wanted seven, twenty seconds ago; since then the source fails.
        let fault = [
            (NOW.minus(Span::seconds(20)), Ok(7.0)),
            (NOW, Err(Absence::SourceFailed("refused".to_owned()))),
        ];
        check(&row, [(&grow, 20.0), (&shrink, 5.0)], |other| count_after(&fault, &rule, true, other));
    }
}
