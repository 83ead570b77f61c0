//! Simulations from end to end: a policy file, a load, a world.

use std::sync::Arc;

use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::names::WorkloadName;
use headroom_core::units::{Replicas, Span};
use headroom_sim::fault::Fault;
use headroom_sim::load::{Load, Surge, TraceSource};
use headroom_sim::people::Word;
use headroom_sim::record::RecordedPoint;
use headroom_sim::score::Score;
use headroom_sim::{Contender, Loads, Observer, Outcome, SimulateOptions, render_html, render_table, run};

fn fleet(replicas: &str, strategies: &str) -> Arc<Fleet> {
    let text = format!(
        "apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: shop }}
spec:
  workloads:
    web:
      target: {{ process: {{ command: [./web] }} }}
      balancer: {{ listen: \"127.0.0.1:8080\" }}
      replicas: {replicas}
      signals:
        rps: {{ balancer: requestsPerSecond }}
        p95: {{ balancer: {{ latency: p95 }} }}
        cpu: {{ process: cpu }}
      strategies: {strategies}
"
    );
    let document: FleetDocument = serde_saphyr::from_str(&text).expect("the text is a fleet");
    Arc::new(Fleet::new(document).expect("the fleet has no problems"))
}

fn tracking() -> Arc<Fleet> {
    fleet(
        "{ min: 2, max: 60 }",
        "[{ targetTracking: { signal: rps, perReplica: 70, scaleInCooldown: 60s } }]",
    )
}

fn surge() -> Load {
    Load::Sum(vec![
        Load::Constant(300.0),
        Load::Surge(Surge {
            add: 1500.0,
            at: Span::hours(1),
            rise: Span::seconds(10),
            hold: Span::minutes(20),
            fall: Span::minutes(5),
            every: None,
        }),
    ])
}

fn options() -> SimulateOptions {
    SimulateOptions { length: Some(Span::hours(3)), ..SimulateOptions::default() }
}

fn simulate(fleet: &Arc<Fleet>, load: Load, options: &SimulateOptions) -> Outcome {
    run(fleet, &Loads::from(load), options, &mut ()).expect("the simulation runs")
}

#[test]
fn a_surge_is_answered_within_a_start_up() {
    let outcome = simulate(&tracking(), surge(), &options());
    let score = outcome.headroom().score;
    assert_eq!(score.surges, 1);
    let enough = score.enough_seconds.unwrap();
    assert!((30.0..50.0).contains(&enough), "rise 10 s, start 30 s: {enough}");
    assert!(score.reaction_seconds.unwrap() <= 5.0, "{score:?}");
    assert!(score.violating_seconds < 90.0, "{score:?}");
    assert!(outcome.decisions.iter().any(|d| d.from < d.to && d.why.contains("rps")));
    assert!(outcome.decisions.iter().any(|d| d.from > d.to));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let mut options = options();
    options.model.start_up_spread = Span::seconds(20);
    let text = |o: &SimulateOptions| serde_json::to_string(&simulate(&tracking(), surge(), o)).unwrap();
    let first = text(&options);
    assert_eq!(first, text(&options));
    options.seed = 2;
    assert_ne!(first, text(&options), "the spread comes from the seed");
}

#[test]
fn the_optimum_costs_least_and_the_peak_fleet_never_violates() {
    let options = SimulateOptions { against: vec![Contender::Static, Contender::Optimum], ..options() };
    let outcome = simulate(&tracking(), surge(), &options);
    let best = outcome.optimum.as_ref().unwrap();
    let fixed = &outcome.contenders[1];
    assert_eq!((fixed.name.as_str(), fixed.score.violating_seconds), ("static", 0.0));
    assert!(best.replica_hours < fixed.score.replica_hours);
    for contender in &outcome.contenders {
        assert!(contender.over_bound.unwrap() >= 1.0, "{} is below its bound", contender.name);
    }
    let table = render_table(&outcome);
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn a_peak_of_so_many_replicas_is_reached() {
    let text: String = std::iter::once("timestamp,value\n".to_owned())
        .chain((0..240).map(|i| format!("{},{}\n", i * 60, 5 + (i % 60))))
        .collect();
    let trace = Load::Trace(TraceSource::Text { name: "t".into(), text: text.into() });
    let options = SimulateOptions {
        peak_replicas: Some(40.0),
        against: vec![Contender::Static],
        unscored: 0.5,
        ..SimulateOptions::default()
    };
    let outcome = simulate(&tracking(), trace, &options);
    assert_eq!(outcome.steps, 4 * 3600);
    assert_eq!(outcome.headroom().score.seconds, 2.0 * 3600.0);
    assert_eq!(outcome.charts[0].1.need.iter().max(), Some(&40));
    let hours = outcome.contenders[1].score.replica_hours;
    assert!((hours - 80.0).abs() < 1e-9, "forty for two hours: {hours}");
}

#[test]
fn a_load_scaled_before_is_taken_as_it_is() {
    // 40 replicas carry 3600 requests/s; noise since has put a fifth on top.
    for (peak, needs, notes) in [(4320.0, 48, 1), (3600.0, 40, 0), (5000.0, 40, 0), (2000.0, 40, 0)] {
        let text = format!("timestamp,value\n0,1000\n300,{peak}\n600,{peak}\n900,1000\n");
        let trace = Load::Trace(TraceSource::Text { name: "t".into(), text: text.into() });
        let options = SimulateOptions { peak_replicas: Some(40.0), ..SimulateOptions::default() };
        let outcome = simulate(&tracking(), trace, &options);
        assert_eq!(outcome.charts[0].1.need.iter().max(), Some(&needs), "{peak}");
        let taken = outcome.notes.iter().filter(|note| note.contains("as it is")).count();
        assert_eq!(taken, notes, "{peak}: {:?}", outcome.notes);
    }
}

#[test]
fn impossible_runs_say_why() {
    let error = |load: Load, change: fn(&mut SimulateOptions)| {
        let mut o = options();
        change(&mut o);
        run(&tracking(), &Loads::from(load), &o, &mut ()).unwrap_err().to_string()
    };
    for (error, expected) in [
        (error(surge(), |o| o.length = None), "has no end"),
        (error(surge(), |o| o.step = Span::millis(1)), "a step is between"),
        (error(surge(), |o| o.tick = Some(Span::millis(1500))), "the tick must be"),
        (error(surge(), |o| o.unscored = 1.0), "less than 1"),
        (error(surge(), |o| o.model.usable = 0.99), "lower `usable`"),
        (error(Load::Constant(0.0), |o| o.peak_replicas = Some(40.0)), "0 all the time"),
        (error(Load::trace_file("no/such.csv"), |_| ()), "can't be read"),
        (
            error(surge(), |o| {
                o.models.insert("db".parse().unwrap(), o.model.clone());
            }),
            "no workload called `db`",
        ),
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let small = fleet("{ min: 2, max: 5 }", "[{ targetTracking: { signal: rps, perReplica: 70 } }]");
    let options = SimulateOptions { against: vec![Contender::Static], ..options() };
    let outcome = simulate(&small, surge(), &options);
    assert!(outcome.notes[0].contains("needs 20 replicas, but its policy allows 5"), "{:?}", outcome.notes);
}

#[test]
fn what_headroom_wants_is_told_as_it_changes() {
    #[derive(Default)]
    struct Told(Vec<(f64, u32)>, u64);
    impl Observer for Told {
        fn progress(&mut self, done: u64, of: Option<u64>) {
            assert!(done >= self.1 && of == Some(10_800));
            self.1 = done;
        }
        fn desired(&mut self, workload: &WorkloadName, seconds: f64, desired: Replicas) {
            assert_eq!(workload.as_str(), "web");
            self.0.push((seconds, desired.0));
        }
    }
    let mut told = Told::default();
    run(&tracking(), &Loads::from(surge()), &options(), &mut told).unwrap();
    assert_eq!(told.0[0], (0.0, 5), "the first minute at 70 %");
    assert!(told.0.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 != w[1].1), "{:?}", told.0);
    assert_eq!(told.1, 10_800);
}

#[test]
fn every_peer_keeps_the_same_world_and_the_page_shows_them() {
    let options = SimulateOptions { against: Contender::ALL.to_vec(), ..options() };
    let outcome = simulate(&tracking(), surge(), &options);
    let names: Vec<&str> = outcome.contenders.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        names,
        ["headroom", "static", "hpa", "keda", "kpa", "aws-target-tracking", "aws-step", "aws-predictive"]
    );
    let requests = outcome.headroom().score.requests;
    assert!(outcome.contenders.iter().all(|c| c.score.requests == requests), "all get the same demand");
    for contender in &outcome.contenders {
        assert!(contender.over_bound.unwrap() >= 1.0, "{} is below its bound", contender.name);
    }
    let page = render_html(&outcome);
    for needle in names.iter().chain(&["<svg", "optimum", "prefers-color-scheme", "</html>"]) {
        assert!(page.contains(needle), "{needle}");
    }
    for outside in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

/// Each fault, laid over the surge at one hour, shows as it would in life.
#[test]
fn every_fault_shows() {
    type Shows = fn(&Score, &Outcome) -> bool;
    fn late(score: &Score, _: &Outcome) -> bool {
        score.reaction_seconds.is_some_and(|s| s >= 120.0)
    }
    fn at_once(score: &Score, _: &Outcome) -> bool {
        score.reaction_seconds.is_some_and(|s| s <= 5.0)
    }
    let calm = simulate(&tracking(), surge(), &options());
    let before = calm.headroom().score;
    let faults: [(&str, &str, Shows); 15] = [
        ("samplesLost", "5m", late),
        ("samplesFail", "5m", late),
        ("samplesNan", "5m", late),
        ("samplesFrozen", "5m", late),
        ("looksFail", "5m", late),
        ("controllerDown", "5m", late),
        ("{ samplesLate: { by: 3s } }", "10m", |score, _| {
            score.reaction_seconds.is_some_and(|s| (2.0..60.0).contains(&s))
        }),
        ("actionsRefused", "5m", |_, outcome| outcome.notices.get("action-failed").is_some_and(|n| *n > 3)),
        ("{ actionsSlow: { by: 8s } }", "10m", |score, _| score.enough_seconds.is_some_and(|s| s >= 43.0)),
        ("actionsUnanswered", "3h", at_once),
        ("{ actionsDoubled: { after: 5s } }", "3h", at_once),
        ("{ clockAhead: { by: 1h } }", "30m", at_once),
        ("{ clockBehind: { by: 1h } }", "30m", at_once),
        ("{ replicasDie: { count: 3 } }", "1s", |score, _| score.lost + score.late > 0.0),
        ("{ replicasFrail: { meanLife: 10m } }", "1h", |score, _| score.violating_seconds > 55.0),
    ];
    for (what, lasts, shows) in faults {
        let fault = Fault::parse(&format!("{{ what: {what}, at: 59m, for: {lasts} }}")).unwrap();
        let outcome = simulate(&tracking(), surge(), &SimulateOptions { faults: vec![fault], ..options() });
        let score = outcome.headroom().score;
        assert!(shows(&score, &outcome), "{what}: {score:#?} {:?}, without it {before:#?}", outcome.notices);
        let same = ["Unanswered", "Doubled", "clock"].iter().any(|harmless| what.contains(harmless));
        assert!(same || score != before, "{what} changes nothing");
    }
    assert!(at_once(&before, &calm));
}

/// A person's freeze holds the surge back until the thaw; an approval does what waits for it, and nothing else does.
#[test]
fn people_are_heard_while_a_run_goes_on() {
    let say = |text: &str| -> Word { serde_saphyr::from_str(text).unwrap() };
    let people = vec![
        say("{ at: 59m, what: { freeze: { why: release } } }"),
        // Nothing waits for an approval then.
        say("{ at: 30m, what: approve }"),
        say("{ at: 70m, what: thaw }"),
    ];
    let outcome = simulate(&tracking(), surge(), &SimulateOptions { people, ..options() });
    let reaction = outcome.headroom().score.reaction_seconds.unwrap();
    assert!((590.0..610.0).contains(&reaction), "frozen from before the surge to ten minutes in: {reaction}");
    let stranger = vec![say("{ at: 1m, what: thaw, workload: db }")];
    let error =
        run(&tracking(), &Loads::from(surge()), &SimulateOptions { people: stranger, ..options() }, &mut ());
    assert!(error.unwrap_err().to_string().contains("no workload called `db`"));
}

/// What was recorded is played back as it was, beside the policy.
#[test]
fn a_record_is_a_contender() {
    let point = |seconds: f64, ready: u32, starting: u32| RecordedPoint {
        seconds,
        wanted: ready + starting,
        ready,
        starting,
        draining: 0,
        pool: 0,
    };
    let points = vec![point(0.0, 4, 0), point(3610.0, 4, 16), point(3640.0, 20, 0)];
    let recorded = std::collections::BTreeMap::from([("web".parse().unwrap(), points)]);
    let options = SimulateOptions { recorded, against: vec![Contender::Optimum], ..options() };
    let outcome = simulate(&tracking(), surge(), &options);
    let record = &outcome.contenders[1];
    assert_eq!((record.name.as_str(), record.score.changes), ("recorded", 1));
    let hours = (3610.0 * 4.0 + 30.0 * 20.0 + (10_800.0 - 3640.0) * 20.0) / 3600.0;
    assert!((record.score.replica_hours - hours).abs() < 0.02, "{} for {hours}", record.score.replica_hours);
    let violating = record.score.violating_seconds;
    assert!(
        (30.0..90.0).contains(&violating),
        "too few for half a minute and what had piled up: {violating}"
    );
    assert!(record.over_bound.unwrap() >= 1.0);
    assert_eq!(outcome.charts[0].1.ready.len(), 2);
}
