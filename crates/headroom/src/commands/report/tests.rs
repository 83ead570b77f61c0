//! A report of a made-up week, held against golden texts; and one gathered from a real journal.

use headroom_core::outlook::{Accuracy, NearForecast, Proved};
use headroom_core::say::Language;
use headroom_core::units::{Level, Price, Replicas, Span, Timestamp, Unit};
use serde_json::json;

use super::{Changes, Foreseen, Idle, Kept, Of, Report, Total, Warm, gather, render};

fn level(value: f64) -> Level {
    Level::new(value).unwrap()
}

fn change(reason: &str, grew: u64, shrank: u64) -> Changes {
    Changes { reason: reason.to_owned(), grew, shrank }
}

fn accuracy() -> Accuracy {
    serde_json::from_value(json!({
        "within": "1h", "evidence": 1_984.0, "loss": 12.5, "yardstick": "seasonal-naive", "naiveLoss": 21.0,
        "demoted": false, "coverage95": 0.951, "demotedModels": []
    }))
    .unwrap()
}

/// Two workloads: one with a price, an objective and a forecast, and one of which little is known.
fn week() -> Report {
    let until = Timestamp::from_millis(1_763_717_400_000);
    let web = Of {
        workload: "web".parse().unwrap(),
        tier: Some("front".to_owned()),
        recorded_hours: 168.0,
        points_of: Span::minutes(1),
        replica_hours: 1_234.5,
        most: Replicas(20),
        price: Some(Price::micro_dollars_per_hour(96_000)),
        dollars: Some(118.512),
        dollars_fixed: Some(322.56),
        warm: Some(Warm {
            recorded_hours: 168.0,
            replica_hours: 252.0,
            most: Replicas(5),
            dollars: Some(24.192),
        }),
        utilisation: Some(0.713),
        changes: vec![change("share-per-replica", 212, 198), change("forecast-needs", 14, 0)],
        failed_actions: 2,
        objectives: vec![Kept {
            signal: "p95".parse().unwrap(),
            unit: Unit::Seconds,
            below: level(0.2),
            allowed: level(0.001),
            measured_hours: 168.0,
            over_hours: 0.1,
            touched_hours: 0.55,
            worst: 1.31,
            points_of: Span::minutes(1),
        }],
        idle: None,
        forecasts: vec![Foreseen {
            signal: "rps".parse().unwrap(),
            unit: Unit::PerSecond,
            accuracy: accuracy(),
        }],
        near_forecasts: vec![NearForecast {
            signal: "rps".parse().unwrap(),
            unit: Unit::PerSecond,
            within: Span::seconds(35),
            evidence: 11_961.0,
            loss: 6.1,
            naive_loss: 8.4,
            proved: Proved::Better,
        }],
        course: vec![Some(4.0), Some(20.0), None, Some(7.5)],
    };
    let worker = Of {
        workload: "worker".parse().unwrap(),
        tier: None,
        recorded_hours: 100.0,
        points_of: Span::minutes(1),
        replica_hours: 800.0,
        most: Replicas(8),
        price: None,
        dollars: None,
        dollars_fixed: None,
        warm: None,
        utilisation: None,
        changes: Vec::new(),
        failed_actions: 0,
        objectives: Vec::new(),
        idle: Some(Idle { min: Replicas(8), share: 0.12, enough: Replicas(1), dollars_a_month: None }),
        forecasts: Vec::new(),
        near_forecasts: Vec::new(),
        course: vec![Some(8.0); 4],
    };
    let workloads = vec![web, worker];
    let total = Report::total(&workloads);
    let notes = vec!["Not all of the 168.0 h is recorded: `worker` (100.0 h) <b>.".to_owned()];
    Report {
        fleet: "shop & co".to_owned(),
        since: until.minus(Span::days(7)),
        until,
        total,
        workloads,
        notes,
    }
}

#[test]
fn a_report_reads_well_as_markdown() {
    insta::assert_snapshot!(render::markdown(&week(), Language::English));
    insta::assert_snapshot!("korean_markdown", render::markdown(&week(), Language::Korean));
}

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let body = |language| {
        let page = render::html(&week(), language);
        for bad in ["<script", "http://", "https://", "<link", "<b>"] {
            assert!(!page.contains(bad), "{bad}");
        }
        page.split_once("</style>").map(|(_, body)| body.to_owned()).unwrap()
    };
    insta::assert_snapshot!(body(Language::English));
    insta::assert_snapshot!("korean_page", body(Language::Korean));
}

#[test]
fn a_report_as_json_keeps_its_shape() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&week()).unwrap());
}

#[test]
fn what_has_no_price_is_in_no_sum_of_dollars() {
    let week = week();
    assert_eq!(week.total.dollars, Some(118.512));
    assert!((week.total.replica_hours - 2_034.5).abs() < 1e-9);
    assert_eq!((week.total.grew, week.total.shrank, week.total.failed_actions), (226, 198, 2));
    let none = Report::total(&week.workloads[1..]);
    assert_eq!(none, Total { replica_hours: 800.0, ..Total::default() });
    assert_eq!((week.total.warm_replica_hours, week.total.warm_dollars), (Some(252.0), Some(24.192)));
}

/// B15: a report to hand on. From a journal: replica-hours and what was over the objective are those of what was written, and a gap is in no figure.
#[tokio::test]
async fn a_report_is_gathered_from_the_journal() {
    use std::sync::Arc;

    use headroom_core::controller::{Controller, Input, Measured};
    use headroom_core::fleet::{Fleet, FleetDocument};
    use headroom_core::observation::{PoolStatus, TargetStatus};
    use headroom_core::reading::Sample;
    use headroom_engine::journal::{Batch, DataDir, Journal, Reader, Retention};

    let folder = tempfile::tempdir().unwrap();
    let document: FleetDocument = serde_json::from_value(json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" },
        "spec": { "workloads": { "web": {
            "target": { "process": { "command": ["app"] } },
            "price": "0.5 USD/h",
            "replicas": { "min": 2, "max": 20 },
            "warmPool": {},
            "signals": {
                "rps": { "push": { "unit": "perSecond" } },
                "p95": { "push": { "unit": "seconds", "scope": "quality" } }
            },
            "strategies": [
                { "targetTracking": { "signal": "rps", "perReplica": 100 } },
                { "objective": { "latency": { "signal": "p95", "below": "200ms" } } }
            ]
        } } }
    }))
    .unwrap();
    let fleet = Fleet::new(document).unwrap();
    let web: headroom_core::names::WorkloadName = "web".parse().unwrap();
    let mut controller = Controller::new(Arc::new(fleet));
    let data = DataDir::open(folder.path()).unwrap();
    let (journal, _) = Journal::open(&data, Retention::default()).unwrap();
    let begun = Timestamp::from_millis(1_763_712_000_000);
    let minutes = |n: u64| begun.plus(Span::minutes(n));
    // Four hours: an hour of 4, an hour of nothing, two hours of 2, the first half of which is slow. In the last half hour
    // the target keeps a warm pool of two, one of which is on its way.
    for minute in (0..60).chain(120..240) {
        let count = Replicas(if minute < 60 { 4 } else { 2 });
        let pool = PoolStatus {
            wanted: Replicas(2),
            warm: Replicas(1),
            warming: Replicas(1),
            ..PoolStatus::default()
        };
        let pool = (minute >= 210).then_some(pool);
        let slow = if (120..180).contains(&minute) { 0.4 } else { 0.1 };
        let mut inputs = Vec::new();
        // A look and samples every five seconds.
        for at in (0..12).map(|look| minutes(minute).plus(Span::seconds(5 * look))) {
            let status =
                TargetStatus { wanted: count, ready: count, pool: pool.clone(), ..TargetStatus::default() };
            let sample = |signal: &str, value: f64| Measured {
                workload: web.clone(),
                signal: signal.parse().unwrap(),
                value: Ok(Sample::new(at, level(value))),
            };
            inputs.push(Input::Looked { at, workload: web.clone(), status: Ok(status) });
            inputs.push(Input::Sampled { at, samples: vec![sample("rps", 20.0), sample("p95", slow)] });
        }
        for input in &inputs {
            let _ = controller.handle(input.clone());
        }
        let batch = Batch { inputs, snapshot: Some(controller.snapshot()), ..Batch::new(minutes(minute)) };
        journal.append(batch).await.unwrap();
    }
    journal.close().await.unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    let (snapshot, _) = reader.restore().await.unwrap().unwrap();
    let report =
        gather::report(&reader, snapshot, begun, minutes(240), &[], Language::English).await.unwrap();
    let of = &report.workloads[0];
    assert!((of.recorded_hours - 3.0).abs() < 0.02, "{of:?}");
    assert!((of.replica_hours - 9.0).abs() < 0.05, "{of:?}");
    let warm = of.warm.as_ref().unwrap();
    assert!((warm.replica_hours - 1.0).abs() < 0.02 && (warm.recorded_hours - 0.5).abs() < 0.01, "{warm:?}");
    assert!((warm.dollars.unwrap() - 0.5).abs() < 0.01 && warm.most == Replicas(2), "{warm:?}");
    assert!(report.notes.iter().any(|note| note.contains("`web` 30 min")), "{:?}", report.notes);
    assert_eq!(of.most, Replicas(4));
    assert!(
        (of.dollars.unwrap() - 4.5).abs() < 0.05 && (of.dollars_fixed.unwrap() - 6.0).abs() < 0.05,
        "{of:?}"
    );
    let kept = &of.objectives[0];
    assert!((kept.over_hours - 1.0).abs() < 0.02 && (kept.measured_hours - 3.0).abs() < 0.02, "{kept:?}");
    assert!((of.utilisation.unwrap() - 60.0 / 800.0).abs() < 0.01, "{of:?}");
    let idle = of.idle.as_ref().unwrap();
    assert_eq!((idle.min, idle.enough), (Replicas(2), Replicas(1)));
    assert!((idle.dollars_a_month.unwrap() - 365.0).abs() < 1e-6);
    assert!(report.notes.iter().any(|note| note.contains("Not all of the 4.0 h is")), "{:?}", report.notes);
    // A longer stretch holds nothing more: an hour that is partly filled counts for what is in it.
    for days in [1, 7, 29] {
        let since = minutes(240).minus(Span::days(days));
        let snapshot = reader.restore().await.unwrap().unwrap().0;
        let longer =
            gather::report(&reader, snapshot, since, minutes(240), &[], Language::English).await.unwrap();
        let longer = &longer.workloads[0];
        assert!((longer.recorded_hours - of.recorded_hours).abs() < 1e-9, "{days} d: {longer:?}");
        assert!((longer.replica_hours - of.replica_hours).abs() < 1e-9, "{days} d: {longer:?}");
        assert!((longer.objectives[0].measured_hours - kept.measured_hours).abs() < 1e-9, "{longer:?}");
    }
    assert!(of.course.iter().any(Option::is_none) && of.course.iter().any(Option::is_some));

    let snapshot = reader.restore().await.unwrap().unwrap().0;
    let unknown = ["nobody".parse().unwrap()];
    assert!(
        gather::report(&reader, snapshot, begun, minutes(240), &unknown, Language::English).await.is_err()
    );
}
