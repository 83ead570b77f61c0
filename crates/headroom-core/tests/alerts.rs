//! Alerts of a workload, through the live controller: what raises each, and what ends it (B15).

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom_core::action::Action;
use headroom_core::alert::{AlertKind, AlertNews, Alerts, Progress, Seen, State};
use headroom_core::controller::{Controller, Effect, Input, Measured, Override, Settled};
use headroom_core::fleet::{AlertSettings, Fleet, FleetDocument};
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::outlook::{History, Proved};
use headroom_core::reading::{Absence, Sample};
use headroom_core::say::Language;
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use serde_json::json;

/// One workload that wants as many replicas as its signal says, its target, and a clock.
struct World {
    controller: Controller,
    alerts: Alerts,
    at: Timestamp,
    target: Result<TargetStatus, String>,
    /// Why the target refuses what it is asked for.
    refuses: Option<String>,
    /// Whether what is asked for becomes ready.
    starts: bool,
    settings: AlertSettings,
    told: Vec<AlertNews>,
    /// What a journal would hold of the alerts on their way.
    progress: BTreeMap<WorkloadName, Progress>,
}

impl World {
    fn new() -> Self {
        Self::with(&json!({}))
    }

    /// The same with some of the workload replaced.
    fn with(changes: &serde_json::Value) -> Self {
        let two = Replicas(2);
        Self {
            controller: Controller::new(Arc::new(Fleet::new(Self::fleet(changes)).unwrap())),
            alerts: Alerts::default(),
            at: Timestamp::from_millis(1_000_000_000_000),
            target: Ok(TargetStatus { wanted: two, ready: two, ..TargetStatus::default() }),
            refuses: None,
            starts: true,
            settings: AlertSettings::default(),
            told: Vec::new(),
            progress: BTreeMap::new(),
        }
    }

    fn fleet(changes: &serde_json::Value) -> FleetDocument {
        let mut workload = json!({
                "target": { "process": { "command": ["app"] } },
                "price": "0.1 USD/h",
                "replicas": { "min": 1, "max": 10 },
                "signals": {
                    "want": { "push": { "unit": "count" }, "freshFor": "5s" },
                    "cpu": { "process": "cpu", "freshFor": "5s" },
                },
                "strategies": [{ "targetTracking": {
                    "signal": "want", "perReplica": 1, "scaleInCooldown": "0s", "scaleOutCooldown": "0s" } }],
                "behavior": { "scaleDown": { "stabilization": "0s" } },
                "guards": { "approval": { "shrinkAbove": 6 } },
        });
        for (name, value) in changes.as_object().unwrap() {
            workload[name] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "shop" },
            "spec": { "workloads": { "web": workload } },
        }))
        .unwrap()
    }

    fn web() -> WorkloadName {
        "web".parse().unwrap()
    }

    /// Seconds in which the signals say this; `None` says that they can't be read.
    fn pass(&mut self, seconds: u64, want: Option<f64>, cpu: Option<f64>) {
        self.pass_by(Span::seconds(1), seconds, want, cpu);
    }

    /// The same in so many steps of another length.
    fn pass_by(&mut self, step: Span, steps: u64, want: Option<f64>, cpu: Option<f64>) {
        for _ in 0..steps {
            self.at = self.at.plus(step);
            let at = self.at;
            let measured = |signal: &str, value: Option<f64>| Measured {
                workload: Self::web(),
                signal: signal.parse().unwrap(),
                value: value
                    .map(|v| Sample::new(at, Level::new(v).unwrap()))
                    .ok_or_else(|| Absence::SourceFailed("gone".to_owned())),
            };
            let samples = vec![measured("want", want), measured("cpu", cpu)];
            self.put(Input::Looked { at, workload: Self::web(), status: self.target.clone() });
            self.put(Input::Sampled { at, samples });
            self.put(Input::Tick { at });
            self.look();
        }
    }

    fn look(&mut self) {
        let fleet = Arc::clone(self.controller.fleet());
        let name = Self::web();
        let (workload, memory) = (fleet.workload(&name).unwrap(), self.controller.memory(&name).unwrap());
        let seen = Seen { at: self.at, name: &name, workload, memory };
        self.told.extend(self.alerts.look(&self.settings, &seen));
        for (name, progress) in self.alerts.moved() {
            self.progress.insert(name, progress.unwrap());
        }
    }

    /// The fold ends and goes on from what was written down.
    fn restart(&mut self) {
        let progress: BTreeMap<WorkloadName, Progress> =
            serde_json::from_str(&serde_json::to_string(&self.progress).unwrap()).unwrap();
        self.alerts = Alerts::restore(self.alerts.raised().cloned().collect(), progress);
    }

    fn put(&mut self, input: Input) {
        for effect in self.controller.handle(input) {
            match effect {
                Effect::Act(action) => self.act(&action),
                Effect::Fit(order) => self.put(Input::Fitted { at: self.at, answer: order.run() }),
                _ => {}
            }
        }
    }

    fn act(&mut self, action: &Action) {
        let outcome = match (&self.refuses, &mut self.target) {
            (Some(why), _) => Settled::Failed(why.clone()),
            (None, Ok(status)) => {
                status.wanted = action.to();
                status.ready = if self.starts { action.to() } else { status.ready.min(action.to()) };
                Settled::Done(status.clone())
            }
            (None, Err(why)) => Settled::Failed(why.clone()),
        };
        let (at, decision) = (self.at, action.record().decision.clone());
        self.put(Input::Settled { at, workload: Self::web(), decision, outcome });
    }

    /// What was told since the last time.
    fn told(&mut self) -> Vec<(AlertKind, State)> {
        std::mem::take(&mut self.told).into_iter().map(|news| (news.alert.kind, news.state)).collect()
    }

    fn last(&self) -> &AlertNews {
        self.told.last().unwrap()
    }
}

use AlertKind::{
    ActionFailed, ApprovalNeeded, AtMaximum, CpuHigh, Flapping, ForecastDemoted, IdleResources, Stuck,
    TargetUnseen,
};
use State::{Raised, Resolved};

#[test]
fn a_quiet_day_is_no_news() {
    let mut world = World::new();
    world.pass(600, Some(2.0), Some(0.5));
    assert_eq!(world.told(), []);
}

#[test]
fn more_than_the_most_is_told_with_its_cost_and_ends() {
    let mut world = World::new();
    world.pass(120, Some(25.0), Some(0.5));
    let alert = &world.last().alert;
    assert!(alert.why.contains("25 replicas are wanted, and 10 are the most"), "{}", alert.why);
    assert_eq!(alert.cost.unwrap().now.to_string(), "1 USD/h");
    assert!(alert.decision.is_some());
    assert_eq!(world.told(), [(AtMaximum, Raised)]);
    world.pass(120, Some(5.0), Some(0.5));
    assert_eq!(world.told(), [(AtMaximum, Resolved)]);
}

/// B15: cpu > 90 % (high). What can't be read raises nothing and ends nothing.
#[test]
fn cpu_above_nine_tenths_is_told() {
    let mut world = World::new();
    world.pass(120, Some(2.0), Some(0.9));
    assert_eq!(world.told(), []);
    world.pass(120, Some(2.0), Some(0.95));
    assert!(world.last().alert.why.contains("95 %"), "{}", world.last().alert.why);
    assert_eq!(world.told(), [(CpuHigh, Raised)]);
    world.pass(300, Some(2.0), None);
    assert_eq!(world.told(), []);
    world.pass(120, Some(2.0), Some(0.2));
    assert_eq!(world.told(), [(CpuHigh, Resolved)]);
}

/// B15: scaling failures (high).
#[test]
fn a_refused_change_is_told_at_once_and_ends_with_the_next_that_is_taken() {
    let mut world = World::new();
    world.pass(5, Some(2.0), Some(0.5));
    world.refuses = Some("no room".to_owned());
    world.pass(2, Some(4.0), Some(0.5));
    assert!(world.last().alert.why.contains("no room"), "{}", world.last().alert.why);
    assert_eq!(world.told(), [(ActionFailed, Raised)]);
    world.pass(30, Some(4.0), Some(0.5));
    assert_eq!(world.told(), []);
    world.refuses = None;
    world.pass(70, Some(4.0), Some(0.5));
    assert_eq!(world.told(), [(ActionFailed, Resolved)]);
}

#[test]
fn replicas_that_do_not_become_ready_are_told() {
    let mut world = World::new();
    world.starts = false;
    world.pass(290, Some(4.0), Some(0.5));
    assert_eq!(world.told(), []);
    world.pass(30, Some(4.0), Some(0.5));
    assert!(world.last().alert.why.contains("2 of 4 replicas are ready"), "{}", world.last().alert.why);
    assert_eq!(world.told(), [(Stuck, Raised)]);
    world.target.as_mut().unwrap().ready = Replicas(4);
    world.pass(1, Some(4.0), Some(0.5));
    assert_eq!(world.told(), [(Stuck, Resolved)]);
}

/// A controller that was away while replicas started has not seen that they do not.
#[test]
fn the_time_of_a_restart_is_no_time_in_which_replicas_were_stuck() {
    let mut world = World::new();
    world.starts = false;
    world.pass(200, Some(4.0), Some(0.5));
    world.restart();
    world.at = world.at.plus(Span::minutes(20));
    world.pass(30, Some(4.0), Some(0.5));
    assert_eq!(world.told(), []);
    world.pass(120, Some(4.0), Some(0.5));
    assert_eq!(world.told(), [(Stuck, Raised)], "it goes on where it stood");
}

#[test]
fn a_target_out_of_sight_is_told() {
    let mut world = World::new();
    world.pass(5, Some(2.0), Some(0.5));
    let well = std::mem::replace(&mut world.target, Err("gone".to_owned()));
    world.pass(90, Some(2.0), Some(0.5));
    assert_eq!(world.told(), [(TargetUnseen, Raised)]);
    world.target = well;
    world.pass(90, Some(2.0), Some(0.5));
    assert_eq!(world.told(), [(TargetUnseen, Resolved)]);
}

#[test]
fn a_count_that_swings_is_told() {
    let mut world = World::new();
    for turn in 0..8 {
        world.pass(10, Some(if turn % 2 == 0 { 5.0 } else { 2.0 }), Some(0.5));
    }
    assert_eq!(world.told(), [(Flapping, Raised)]);
    world.pass(3700, Some(2.0), Some(0.5));
    assert_eq!(world.told(), [(Flapping, Resolved)]);
}

#[test]
fn a_change_that_waits_for_a_person_is_told_with_what_it_saves() {
    let mut world = World::new();
    world.pass(10, Some(10.0), Some(0.5));
    world.pass(3, Some(1.0), Some(0.5));
    let alert = world.last().alert.clone();
    assert_eq!(alert.cost.unwrap().then.unwrap().to_string(), "0.1 USD/h");
    assert!(alert.why.contains("headroom approve web-"), "{}", alert.why);
    assert_eq!(world.told(), [(ApprovalNeeded, Raised)]);
    let (decision, why) = (alert.decision.unwrap(), "quiet".to_owned());
    let word = Override::Answer { decision, approved: true, by: "me".to_owned(), why };
    world.put(Input::Overridden { at: world.at, workload: World::web(), word });
    world.pass(2, Some(1.0), Some(0.5));
    assert_eq!(world.told(), [(ApprovalNeeded, Resolved)]);
}

/// B15: idle resources found (medium). A minimum of which little was needed for long, not a quiet hour, not absent data,
/// and not a minimum of one.
#[test]
fn a_minimum_of_which_little_is_needed_for_long_is_told_with_the_one_that_would_do() {
    let mut world = World::with(&json!({ "replicas": { "min": 8, "max": 10 } }));
    world.settings.idle_after = Span::minutes(10);
    world.pass(590, Some(0.5), Some(0.1));
    world.pass(5, Some(2.0), Some(0.1));
    assert_eq!(world.told(), [], "a quarter of it was needed once");
    world.pass(400, Some(0.5), Some(0.1));
    world.pass(5, Some(1.2), Some(0.1));
    world.pass(100, None, Some(0.1));
    assert_eq!(world.told(), [], "what is absent says nothing");
    world.pass(240, Some(0.5), Some(0.1));
    let alert = world.last().alert.clone();
    assert!(alert.why.contains("at most 15 %") && alert.why.contains("`replicas.min: 2`"), "{}", alert.why);
    assert!(
        alert.why_in(Language::Korean).contains("`replicas.min: 2`이면"),
        "{}",
        alert.why_in(Language::Korean)
    );
    assert_eq!(world.told(), [(IdleResources, Raised)]);
    // A restart ends nothing.
    world.restart();
    world.pass(60, Some(0.5), Some(0.1));
    assert_eq!(world.told(), []);
    world.pass(2, Some(7.5), Some(0.1));
    assert_eq!(world.told(), [(IdleResources, Resolved)]);

    let mut one = World::new();
    one.settings.idle_after = Span::minutes(10);
    one.pass(1_300, Some(0.0), Some(0.0));
    assert_eq!(one.told(), []);
}

/// B15: the day in which little was needed goes on over a restart; the time in which nothing was seen is no part of it.
#[test]
fn a_day_of_idling_goes_on_over_a_restart() {
    let world = || World::with(&json!({ "replicas": { "min": 8, "max": 10 } }));
    let minute = Span::minutes(1);
    let mut restarted = world();
    restarted.pass_by(minute, 20 * 60, Some(0.5), Some(0.1));
    restarted.restart();
    restarted.pass_by(minute, 4 * 60, Some(0.5), Some(0.1));
    assert_eq!(restarted.told(), [], "24 h less a minute");
    restarted.pass_by(minute, 1, Some(0.5), Some(0.1));
    assert_eq!(restarted.told(), [(IdleResources, Raised)]);
    restarted.restart();
    restarted.pass_by(minute, 10, Some(0.5), Some(0.1));
    assert_eq!(restarted.told(), [], "it is told once");

    let mut away = world();
    away.pass_by(minute, 20 * 60, Some(0.5), Some(0.1));
    away.restart();
    away.at = away.at.plus(Span::hours(10));
    away.pass_by(minute, 4 * 60, Some(0.5), Some(0.1));
    assert_eq!(away.told(), [], "ten hours in which nobody looked");
    away.pass_by(minute, 2, Some(0.5), Some(0.1));
    assert_eq!(away.told(), [(IdleResources, Raised)]);

    let mut needed = world();
    needed.pass_by(minute, 20 * 60, Some(0.5), Some(0.1));
    needed.pass_by(minute, 1, Some(4.0), Some(0.1));
    needed.restart();
    needed.pass_by(minute, 5 * 60, Some(0.5), Some(0.1));
    assert_eq!(needed.told(), [], "half of it was needed just before");
}

/// What was needed of one least count says nothing of another.
#[test]
fn a_day_of_idling_begins_anew_with_another_minimum() {
    let policy = |min: u32| json!({ "replicas": { "min": min, "max": 40 }, "guards": {} });
    let mut world = World::with(&policy(20));
    world.pass_by(Span::minutes(1), 23 * 60, Some(2.0), Some(0.1));
    world.put(Input::FleetChanged { at: world.at, fleet: World::fleet(&policy(10)) });
    world.pass_by(Span::minutes(1), 10 * 60, Some(0.5), Some(0.1));
    assert_eq!(world.told(), [], "two of ten were needed this morning");
    world.pass_by(Span::minutes(1), 14 * 60 + 1, Some(0.5), Some(0.1));
    assert_eq!(world.told(), [(IdleResources, Raised)]);
}

/// What an objective acts on seconds ahead is judged too: where a load stands at one of two levels and changes at random,
/// "as now" is the better forecast.
#[test]
fn a_forecast_that_an_objective_acts_on_and_that_loses_to_as_now_is_told() {
    let policy = |foresee: bool| {
        json!({
            "replicas": { "min": 1, "max": 50 },
            "signals": { "want": { "push": { "unit": "perSecond" }, "freshFor": "1m" },
                         "cpu": { "process": "cpu", "freshFor": "1m" } },
            "strategies": [{ "objective": {
                "signal": "want", "capacity": { "perReplica": 100 }, "foresee": foresee } }],
            "guards": {},
        })
    };
    let mut world = World::with(&policy(true));
    let five = Span::seconds(5);
    let proved = |world: &World| {
        let workload = world.controller.fleet().workload(&World::web()).unwrap();
        world
            .controller
            .memory(&World::web())
            .unwrap()
            .near_forecasts(workload)
            .next()
            .map(|near| near.proved)
    };
    let mut random = 1_u32;
    let mut is_high = false;
    for _ in 0..30_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        is_high ^= random >> 16 < 400;
        world.pass_by(five, 1, Some(if is_high { 2700.0 } else { 1000.0 }), Some(0.5));
        if world.told.iter().any(|news| news.alert.kind == ForecastDemoted) {
            break;
        }
    }
    assert_eq!(proved(&world), Some(Proved::Worse));
    let alert = world.last().alert.clone();
    assert!(
        alert.why.contains("worse than “as now”") && alert.why.contains("`foresee: false`"),
        "{}",
        alert.why
    );
    assert!(alert.why_in(Language::Korean).contains("보다 부정확"), "{}", alert.why_in(Language::Korean));
    let forecasts = |world: &mut World| {
        let told = world.told();
        told.into_iter().filter(|(kind, _)| *kind == ForecastDemoted).collect::<Vec<_>>()
    };
    assert_eq!(forecasts(&mut world), [(ForecastDemoted, Raised)]);
    world.restart();
    world.pass_by(five, 10, Some(1000.0), Some(0.5));
    assert_eq!(forecasts(&mut world), [], "a restart neither ends it nor tells it again");
    // What it advises ends it.
    let (alerts, controller) = (world.alerts.clone(), world.controller.snapshot());
    let mut of_another = policy(true);
    of_another["signals"]["jobs"] = json!({ "push": { "unit": "perSecond" } });
    of_another["strategies"][0]["objective"]["signal"] = json!("jobs");
    let mut by_another = policy(true);
    by_another["signals"]["want"]["forecast"] = json!({});
    by_another["strategies"] =
        json!([{ "predictive": { "mode": "forecastAndScale", "signal": "want", "perReplica": 100 } }]);
    for ends in [policy(false), of_another, by_another] {
        world.put(Input::FleetChanged { at: world.at, fleet: World::fleet(&ends) });
        world.pass_by(five, 10, Some(1000.0), Some(0.5));
        assert_eq!(proved(&world), None, "{ends}");
        assert_eq!(forecasts(&mut world), [(ForecastDemoted, Resolved)], "{ends}");
        world.alerts = alerts.clone();
        world.controller = Controller::restore(controller.clone()).unwrap();
    }
    // A wave of ten minutes is foreseen: within hours it is ahead again.
    for step in 0..6_000 {
        let wave = 1000.0 + 600.0 * libm::sin(f64::from(step) / 20.0);
        world.pass_by(five, 1, Some(wave), Some(0.5));
    }
    assert_eq!(forecasts(&mut world), [(ForecastDemoted, Resolved)]);
}

/// A forecast that proved better and does so no more is told of an objective's workload, whose strategy says nothing of it.
#[test]
fn a_forecast_that_no_longer_proves_better_is_told_beside_an_objective() {
    let mut world = World::with(&json!({
        "signals": {
            "want": { "push": { "unit": "perSecond" }, "freshFor": "10m", "forecast": {} },
            "p95": { "push": { "unit": "seconds", "scope": "quality" }, "freshFor": "10m" },
        },
        "strategies": [{ "objective": { "latency": { "signal": "p95", "below": "200ms" }, "signal": "want" } }],
        "guards": {},
    }));
    // Rises and falls with the day, then without any rule.
    let daily = |minute: i64| {
        let up = (minute / 5).rem_euclid(288);
        f64::from(i32::try_from(100 + 5 * up.min(288 - up)).unwrap())
    };
    let wild = |minute: i64| f64::from(i32::try_from((minute / 5) * 7919 % 613).unwrap());
    let minute = |world: &World| world.at.as_millis() / 60_000;
    let pass = |world: &mut World, load: f64| {
        world.at = world.at.plus(Span::minutes(1));
        let at = world.at;
        let measured = |signal: &str, value: f64| Measured {
            workload: World::web(),
            signal: signal.parse().unwrap(),
            value: Ok(Sample::new(at, Level::new(value).unwrap())),
        };
        world.put(Input::Looked { at, workload: World::web(), status: world.target.clone() });
        world.put(Input::Sampled { at, samples: vec![measured("want", load), measured("p95", 0.05)] });
        world.put(Input::Tick { at });
        world.look();
    };
    let begun = minute(&world) / 5 * 5;
    let steps = (begun - 7 * 1440..begun).step_by(5).map(|m| Some(Level::new(daily(m)).unwrap())).collect();
    let history = History { from: Timestamp::from_millis((begun - 7 * 1440) * 60_000), steps };
    for _ in 0..10 {
        let load = daily(minute(&world));
        pass(&mut world, load);
    }
    let signal = "want".parse().unwrap();
    world.put(Input::Recalled { at: world.at, workload: World::web(), signal, history: Ok(history) });
    for _ in 0..60 {
        let load = daily(minute(&world));
        pass(&mut world, load);
    }
    assert!(world.told().iter().all(|(kind, _)| *kind != ForecastDemoted), "it proves better");
    let mut demoted = None;
    for _ in 0..2 * 1440 {
        let load = wild(minute(&world));
        pass(&mut world, load);
        demoted = world.told.iter().find(|news| news.alert.kind == ForecastDemoted).cloned();
        if demoted.is_some() {
            break;
        }
    }
    let demoted = demoted.expect("two days without a rule");
    assert_eq!(demoted.state, Raised);
    assert!(demoted.alert.why.contains("want"), "{}", demoted.alert.why);
}
