//! An objective at the controls of a small fleet: 100 requests/s a replica, usable to 90 %, ready after 30 s.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::controller::{Controller, Effect, Input, Measured, Settled, Snapshot};
use crate::decision::Decision;
use crate::fleet::{Fleet, FleetDocument};
use crate::names::WorkloadName;
use crate::observation::TargetStatus;
use crate::reading::{Absence, Sample};
use crate::reason::Weighed;
use crate::say::{Language, headline};
use crate::strategy::testing::{Case, abstains, any_case, behaves, problems};
use crate::units::Timestamp;

fn rule(more: serde_json::Value) -> Objective {
    crate::strategy::testing::built(
        serde_json::json!({ "signal": "rps", "capacity": { "perReplica": 100 }, "startUp": "30s" }),
        more,
    )
}

/// A controller, its fleet, and time.
struct Rig {
    controller: Controller,
    now: i64,
    wanted: u32,
    ready: u32,
    starting: VecDeque<(i64, u32)>,
    step_ms: i64,
    noise: u64,
    last: Option<Box<Decision>>,
}

impl Rig {
    fn fleet(strategy: &serde_json::Value) -> FleetDocument {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "test" },
            "spec": { "workloads": { "web": {
                "target": { "process": { "command": ["app"] } },
                "balancer": { "listen": "127.0.0.1:0" },
                "replicas": { "min": 2, "max": 100 },
                "signals": {
                    "rps": { "balancer": "requestsPerSecond" },
                    "p95": { "balancer": { "latency": "p95" } },
                },
                "strategies": [{ "objective": strategy }],
            } } }
        }))
        .unwrap()
    }

    fn new(strategy: &serde_json::Value, begin: u32) -> Self {
        let controller = Controller::new(Arc::new(Fleet::new(Self::fleet(strategy)).unwrap()));
        let (now, noise) = (1_800_000_000_000, 1);
        Self {
            controller,
            now,
            wanted: begin,
            ready: begin,
            starting: VecDeque::new(),
            step_ms: 5000,
            noise,
            last: None,
        }
    }

    fn hinted(begin: u32) -> Self {
        Self::new(&serde_json::json!({ "capacity": { "perReplica": 100 }, "startUp": "30s" }), begin)
    }

    /// Evenly between 1 - `by` and 1 + `by`.
    fn noise(&mut self, by: f64) -> f64 {
        self.noise =
            self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1.0 + by * ((self.noise >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn status(&self) -> TargetStatus {
        TargetStatus {
            wanted: Replicas(self.wanted),
            ready: Replicas(self.ready),
            starting: Replicas(self.wanted - self.ready.min(self.wanted)),
            ..TargetStatus::default()
        }
    }

    /// One step: what was measured reaches the controller, and what it asks for the fleet.
    fn step(&mut self, values: &[(&str, Result<f64, Absence>)]) -> u32 {
        self.now += self.step_ms;
        while self.starting.front().is_some_and(|(at, _)| *at <= self.now) {
            self.ready = (self.ready + self.starting.pop_front().unwrap().1).min(self.wanted);
        }
        let (at, workload): (_, WorkloadName) = (self.at(), "web".parse().unwrap());
        let looked = Input::Looked { at, workload: workload.clone(), status: Ok(self.status()) };
        assert_eq!(self.controller.handle(looked), []);
        let samples = values
            .iter()
            .map(|(signal, value)| Measured {
                workload: workload.clone(),
                signal: signal.parse().unwrap(),
                value: value.clone().map(|v| Sample::new(at, Level::new(v).unwrap())),
            })
            .collect();
        for effect in self.controller.handle(Input::Sampled { at, samples }) {
            match effect {
                Effect::Record(decision) => self.last = Some(decision),
                Effect::Act(action) => {
                    let to = action.to().0;
                    if to > self.wanted {
                        self.starting.push_back((self.now + 30_000, to - self.wanted));
                    }
                    self.wanted = to;
                    self.ready = self.ready.min(to);
                    let decision = action.record().decision.clone();
                    let outcome = Settled::Done(self.status());
                    let settled = Input::Settled { at, workload: workload.clone(), decision, outcome };
                    assert_eq!(self.controller.handle(settled), []);
                }
                Effect::Look(_) | Effect::Notify(_) | Effect::Warm(_) | Effect::Fit(_) => {}
            }
        }
        self.wanted
    }

    fn rps(&mut self, value: f64) -> u32 {
        self.step(&[("rps", Ok(value))])
    }

    /// So many minutes of a load with 3 % of noise; the lowest and the highest count.
    fn minutes(&mut self, minutes: u32, load: f64) -> (u32, u32) {
        let (mut lowest, mut highest) = (u32::MAX, 0);
        for _ in 0..i64::from(minutes) * 60_000 / self.step_ms {
            let value = load * self.noise(0.03);
            let count = self.rps(value);
            (lowest, highest) = (lowest.min(count), highest.max(count));
        }
        (lowest, highest)
    }
}

/// What was weighed for the latest decision, which is for more.
fn needed(rig: &Rig) -> &Weighed {
    match rig.last.as_ref().unwrap().main_reason() {
        Some(Reason::ObjectiveNeeds { weighed }) => weighed,
        other => panic!("{other:?}"),
    }
}

/// A steady load is carried with the noise on top and hardly more: 20 replicas' worth.
#[test]
fn a_steady_load_gets_what_its_noise_asks_for() {
    let mut rig = Rig::hinted(2);
    rig.minutes(60, 1800.0);
    let (lowest, highest) = rig.minutes(60, 1800.0);
    assert!(lowest >= 20 && highest <= 23, "{lowest} to {highest}");
    let why = headline(rig.last.as_ref().unwrap(), Language::English);
    assert!(why.contains("are enough with 9"), "{why}");
    assert!(why.contains("0.10 % allowed"), "{why}");
    assert!(headline(rig.last.as_ref().unwrap(), Language::Korean).contains("허용"));
}

/// A jump is answered at the step that shows it, and a fleet that is too large is let go within minutes.
#[test]
fn a_jump_is_answered_at_once_and_let_go_when_it_is_over() {
    let mut rig = Rig::hinted(10);
    rig.minutes(60, 900.0);
    assert!(rig.rps(3600.0) >= 40, "{}", rig.wanted);
    rig.minutes(20, 3600.0);
    let (_, highest) = rig.minutes(3, 900.0);
    assert!(highest >= 40, "{highest}");
    rig.minutes(2, 900.0);
    assert!(rig.wanted < 30, "half the fleet is idle: {}", rig.wanted);
    rig.minutes(30, 900.0);
    assert!((10..=14).contains(&rig.wanted), "{}", rig.wanted);
}

/// A load that falls and rises within a minute is not followed.
#[test]
fn a_short_dip_changes_nothing() {
    let mut rig = Rig::hinted(20);
    rig.minutes(60, 1700.0);
    let before = rig.wanted;
    for _ in 0..10 {
        assert!(rig.rps(300.0) >= before);
    }
}

/// Absence never shrinks. An hour without the load, as failure, as NaN, or as silence.
#[test]
fn blindness_never_shrinks() {
    for how in [Some(Absence::NotANumber), Some(Absence::SourceFailed("gone".to_owned())), None] {
        let mut rig = Rig::hinted(20);
        rig.minutes(30, 1700.0);
        let before = rig.wanted;
        for _ in 0..720 {
            let value = how.clone().map(|absence| ("rps", Err(absence)));
            let other = ("p95", Ok(0.1));
            let values: Vec<_> = value.into_iter().chain([other]).collect();
            assert!(rig.step(&values) >= before, "{how:?}");
        }
        // What comes back is believed again.
        rig.minutes(20, 850.0);
        assert!((9..=15).contains(&rig.wanted), "{how:?}: {}", rig.wanted);
    }
}

/// The limits that `docs/objective.md` names for broken input: the least and the most replicas while it lasts and in
/// the hour after it, for a load of 900 requests/s, which 10 replicas carry.
#[test]
fn broken_input_stays_within_the_limits_named() {
    /// What becomes of step `k` of a load.
    type Break = fn(&mut Rig, u32, f64) -> u32;
    let table: [(&str, Break, u32, u32, u32, u32); 6] = [
        ("constant", |rig, _, _| rig.rps(900.0), 10, 14, 10, 14),
        ("zero", |rig, _, _| rig.rps(0.0), 2, 14, 2, 30),
        ("nan", |rig, _, _| rig.step(&[("rps", Err(Absence::NotANumber))]), 10, 14, 10, 14),
        ("spike", |rig, k, load| rig.rps(if k == 10 { 100.0 * load } else { load }), 10, 101, 10, 101),
        (
            "clock ahead",
            |rig, k, load| {
                rig.now += if k == 10 { 86_400_000 } else { 0 };
                rig.rps(load)
            },
            10,
            20,
            10,
            14,
        ),
        (
            "clock back",
            |rig, k, load| {
                rig.now -= if k == 10 { 3_600_000 } else { 0 };
                rig.rps(load)
            },
            10,
            20,
            10,
            14,
        ),
    ];
    for (name, broken, least, most, least_after, most_after) in table {
        let mut rig = Rig::hinted(11);
        rig.minutes(120, 900.0);
        for k in 0..240 {
            let load = 900.0 * rig.noise(0.03);
            let count = broken(&mut rig, k, load);
            assert!((least..=most).contains(&count), "{name}, step {k}: {count}");
        }
        let (lowest, highest) = rig.minutes(60, 900.0);
        assert!(lowest >= least_after && highest <= most_after, "{name}, after: {lowest} to {highest}");
        assert!((10..=14).contains(&rig.wanted), "{name}, an hour after: {}", rig.wanted);
    }
}

/// A season that vanishes: an hourly batch that came for two days is paid for in vain for hours, not for ever.
#[test]
fn a_season_that_vanishes_is_forgotten() {
    let mut rig = Rig::hinted(10);
    rig.step_ms = 15_000;
    for _ in 0..36 {
        rig.minutes(5, 2700.0);
        rig.minutes(55, 900.0);
    }
    for hour in 0..24 {
        let (_, highest) = rig.minutes(60, 900.0);
        let most = if hour < 12 { 40 } else { 22 };
        assert!(highest <= most, "hour {hour} after the last batch: {highest}");
    }
}

/// The same inputs give the same bytes, and a restart in between changes nothing.
#[test]
fn a_restored_memory_goes_on_as_if_nothing_had_happened() {
    let mut one = Rig::hinted(10);
    let mut two = Rig::hinted(10);
    for k in 0..600 {
        let load = 900.0 + 300.0 * libm::sin(f64::from(k) / 40.0);
        one.rps(load);
        two.rps(load);
        if k % 97 == 0 {
            let text = serde_json::to_string(&two.controller.snapshot()).unwrap();
            assert!(text.len() < 250_000, "a snapshot of {} bytes", text.len());
            let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
            two.controller = Controller::restore(snapshot).unwrap();
        }
    }
    let text = |rig: &Rig| serde_json::to_string(&rig.controller.snapshot()).unwrap();
    assert_eq!(text(&one), text(&two));
}

/// A latency objective that is missed under load asks for more; without load it does not.
#[test]
fn a_slow_answer_under_load_asks_for_more() {
    let more = serde_json::json!({ "latency": { "signal": "p95", "below": "200ms" } });
    let rule = rule(more);
    let mut rig = Rig::new(&serde_json::to_value(&rule).unwrap(), 10);
    rig.minutes(30, 700.0);
    let before = rig.wanted;
    for _ in 0..3 {
        rig.step(&[("rps", Ok(700.0)), ("p95", Ok(0.9))]);
    }
    assert!(rig.wanted > before, "{} of {before}", rig.wanted);
    // Until that is learned as less carried by a replica.
    let mut idle = Rig::new(&serde_json::to_value(&rule).unwrap(), 10);
    for _ in 0..5 {
        idle.step(&[("rps", Ok(10.0)), ("p95", Ok(0.9))]);
    }
    assert!(idle.wanted <= 10, "{}", idle.wanted);
}

/// Samples that come once a minute, or ten a second, become steps.
#[test]
fn whatever_the_rate_of_samples_the_load_is_followed() {
    // Some hundred steps, until when the forecast is wide.
    for (step_ms, minutes) in [(100, 30), (1000, 30), (15_000, 90), (20_000, 240)] {
        let mut rig = Rig::new(&serde_json::json!({ "capacity": { "perReplica": 100 } }), 2);
        rig.step_ms = step_ms;
        rig.minutes(minutes, 1800.0);
        assert!((20..=24).contains(&rig.wanted), "every {step_ms} ms: {}", rig.wanted);
    }
}

/// The price that the first decision names, by how long a start takes and whether load is foreseen: it begins at 20,
/// grows with the root of (start and step) / 35 s, and without foresight is the least price at least.
#[test]
fn the_price_begins_higher_for_a_longer_start() {
    let root = |lead_s: f64| 20.0 * (lead_s / 35.0).sqrt();
    let cases = [
        ("1s", true, 20.0),
        ("30s", true, 20.0),
        ("60s", true, root(65.0)),
        ("2m", true, root(125.0)),
        ("9m", true, 6.0 * 545.0 / 35.0),
        ("30s", false, 20.0),
        ("2m", false, 6.0 * 125.0 / 35.0),
    ];
    for (start_up, foresee, expected) in cases {
        let strategy = serde_json::json!({
            "capacity": { "perReplica": 100 }, "startUp": start_up, "foresee": foresee,
        });
        let mut rig = Rig::new(&strategy, 2);
        assert!(rig.rps(180.0) > 2, "what is not known yet is met by more");
        // In replica-seconds: that of the two that the load takes.
        let price = needed(&rig).price.get() / 2.0;
        assert!((price / expected - 1.0).abs() < 1e-3, "{start_up}, {foresee}: {price}, not {expected}");
    }
}

/// `foresee` may be changed while a workload runs: what was learned the other way is not gone on with.
#[test]
fn foresight_can_be_turned_off_and_on_while_it_runs() {
    let policy = |foresee: bool| serde_json::json!({ "capacity": { "perReplica": 100 }, "startUp": "30s", "foresee": foresee });
    let mut rig = Rig::new(&policy(true), 10);
    rig.minutes(90, 900.0);
    let judged = |rig: &Rig| {
        let name = "web".parse().unwrap();
        let workload = rig.controller.fleet().workload(&name).unwrap();
        rig.controller.memory(&name).unwrap().near_forecasts(workload).count()
    };
    assert_eq!(judged(&rig), 1);
    for (foresee, expected) in [(false, 0), (true, 1)] {
        let at = rig.at();
        let _ = rig.controller.handle(Input::FleetChanged { at, fleet: Rig::fleet(&policy(foresee)) });
        assert_eq!(judged(&rig), 0, "of what was learned the other way nothing is told");
        rig.minutes(30, 900.0);
        assert_eq!(judged(&rig), expected, "foresee: {foresee}");
        assert!(rig.wanted >= 10, "{}", rig.wanted);
    }
}

/// How long replicas have been idle is known since the first look: nothing goes at once because nothing is known.
#[test]
fn a_fleet_that_is_met_larger_than_needed_shrinks_as_patiently_as_any() {
    let mut rig = Rig::hinted(20);
    assert_eq!(rig.minutes(1, 100.0).0, 20, "a start and a drain are not over");
    rig.minutes(2, 100.0);
    assert!(rig.wanted < 10, "{}", rig.wanted);
}

/// More load never asks for fewer replicas, all else alike.
#[test]
fn more_load_asks_for_no_fewer() {
    let counts: Vec<u32> = [0.0, 80.0, 450.0, 900.0, 1800.0, 3600.0, 8000.0, 1e6]
        .into_iter()
        .map(|load| {
            let mut rig = Rig::hinted(2);
            rig.minutes(30, load);
            rig.wanted
        })
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!((counts[0], counts[7]), (2, 100));
}

#[test]
fn before_anything_is_learned_the_present_counts_and_nothing_shrinks() {
    let capacity_unknown = Objective { capacity: None, ..rule(serde_json::json!({})) };
    assert_eq!(abstains(&capacity_unknown, &Case::rps(500.0).replicas(3)), "capacity-unknown");
    assert_eq!(abstains(&rule(serde_json::json!({})), &Case::absent().replicas(3)), "signal-absent");
    assert_eq!(abstains(&rule(serde_json::json!({})), &Case::absent().not_a_number("rps")), "signal-absent");
}

#[test]
fn settings_that_can_not_be_are_refused() {
    for (more, expected) in [
        (serde_json::json!({}), vec![]),
        (serde_json::json!({ "signal": null }), vec![""]),
        (serde_json::json!({ "signal": "cpu" }), vec!["signal", "capacity.perReplica"]),
        (serde_json::json!({ "signal": "nothing" }), vec!["signal"]),
        (serde_json::json!({ "capacity": null }), vec![""]),
        (serde_json::json!({ "capacity": null, "latency": { "signal": "p95", "below": "200ms" } }), vec![]),
        (serde_json::json!({ "latency": { "signal": "p95", "below": 200 } }), vec!["latency.below"]),
        (serde_json::json!({ "latency": { "signal": "cpu", "below": "70%" } }), vec!["latency.signal"]),
        (serde_json::json!({ "utilisation": { "signal": "cpu", "below": "70%" } }), vec![]),
        (serde_json::json!({ "violations": "0%" }), vec!["violations"]),
        (serde_json::json!({ "violations": "20%" }), vec![]),
        (serde_json::json!({ "violations": "21%" }), vec!["violations"]),
        (serde_json::json!({ "violations": 1 }), vec!["violations"]),
        (serde_json::json!({ "startUp": "11m" }), vec!["startUp"]),
        (serde_json::json!({ "drain": { "signal": "queue", "within": "0s" } }), vec!["drain.within"]),
    ] {
        assert_eq!(problems(&rule(more.clone())), expected, "{more}");
    }
}

proptest! {
    #[test]
    fn whatever_is_seen(case in any_case(&["rps", "p95"])) {
        behaves(&rule(serde_json::json!({})), &case, &["rps"])?;
    }

    #[test]
    fn whatever_comes_the_count_stays_within_bounds(
        loads in proptest::collection::vec(prop_oneof![
            Just(None), (0.0..5000.0).prop_map(Some), Just(Some(0.0)), Just(Some(1e12))
        ], 1..120),
    ) {
        let mut rig = Rig::hinted(5);
        for load in loads {
            let before = rig.wanted;
            let count = match load {
                Some(load) => rig.rps(load),
                None => rig.step(&[("rps", Err(Absence::NotANumber))]),
            };
            prop_assert!((2..=100).contains(&count));
            prop_assert!(load.is_some() || count >= before);
        }
    }
}
