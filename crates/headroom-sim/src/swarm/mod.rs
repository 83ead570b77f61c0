//! Deterministic simulation testing of headroom itself.
//!
//! A seed makes a fleet of random policies, random loads and random faults (samples late, lost, wrong and frozen,
//! looks that fail, actions refused, slow, doubled and never answered, replicas that die, clocks that jump,
//! controllers that are killed, people who freeze, thaw, plan and apply, approve, reject, close the breaker and change
//! the policy), flies it for a day, and checks at each input what must always be true. The seed and the commit reproduce
//! a run to the byte, so every bug found stays as a seed with a name.

mod oracle;
mod policy;

use std::fmt;
use std::sync::Arc;

use headroom_core::action::VALID_FOR;
use headroom_core::controller::{Input, Order, Override};
use headroom_core::fleet::Fleet;
use headroom_core::memory::{AppliedPlan, Freeze};
use headroom_core::names::WorkloadName;
use headroom_core::units::{Replicas, Span, Timestamp};

use crate::fault::{Fault, FaultKind, Weather};
use crate::load::{Load, LoadStream, Noisy, Surge, Wave};
use crate::pilot::Pilot;
use crate::rng::Rng;
use crate::run::DEFAULT_START;
use crate::world::{Model, Plant, Queue};
use oracle::Oracle;

/// What a seed did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwarmReport {
    /// The seed.
    pub seed: u64,
    /// How much was tried.
    pub size: Size,
    /// A fold of all that was recorded, asked for and remembered: equal for equal runs.
    pub digest: u64,
}

/// How much a run tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Workloads.
    pub workloads: u64,
    /// Simulated seconds.
    pub seconds: u64,
    /// Kinds of fault that were planned.
    pub faults: u64,
    /// Inputs to the controller.
    pub inputs: u64,
    /// Decisions recorded.
    pub decisions: u64,
    /// Actions asked for.
    pub actions: u64,
    /// Times a controller was saved and read back.
    pub restores: u64,
}

impl Size {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            workloads: self.workloads + other.workloads,
            seconds: self.seconds + other.seconds,
            faults: self.faults + other.faults,
            inputs: self.inputs + other.inputs,
            decisions: self.decisions + other.decisions,
            actions: self.actions + other.actions,
            restores: self.restores + other.restores,
        }
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// When, by the controller's clock.
    pub at: Timestamp,
    /// At which workload.
    pub workload: Option<String>,
    /// Which invariant.
    pub invariant: &'static str,
    /// What happened.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workload = self.workload.as_deref().unwrap_or("the fleet");
        write!(f, "seed {}: {} at {}, {workload}: {}", self.seed, self.invariant, self.at, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Flies the fleet of `seed` for a day.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(seed: u64) -> Result<SwarmReport, Violation> {
    let mut rng = Rng::new(seed);
    let workloads = 1 + usize::try_from(rng.below(3)).unwrap_or(0);
    let document = policy::fleet(&mut rng, &mut Rng::fork(seed, "more"), workloads);
    let fleet = Arc::new(Fleet::new(document).expect("a drawn policy passed its check"));
    // Mostly long steps: a bug in the order of things shows at any length, and more days fit into an hour.
    let step = Span::seconds(match rng.below(200) {
        0 => 1,
        1..=4 => 5,
        5..=14 => 10,
        15..=39 => 20,
        _ => 60,
    });
    let length = Span::days(1).as_millis() / step.as_millis();
    let faults = faults(&mut rng);
    let clock_jumps =
        faults.iter().any(|f| matches!(f.what, FaultKind::ClockAhead { .. } | FaultKind::ClockBehind { .. }));
    let kinds = faults.len() as u64;
    let oracle = Oracle::new(seed, Arc::clone(&fleet), clock_jumps);
    let weather = Weather::new(&faults, step, seed);
    let mut pilot = Pilot::new(&fleet, weather, DEFAULT_START, step, step, oracle);
    let (mut plants, mut loads) = (Vec::new(), Vec::new());
    for (name, workload) in fleet.workloads() {
        let model = model(&mut rng);
        let queue = Queue::new(&model);
        // A fleet may be met in any state, also outside its bounds.
        let begin = u32::try_from(rng.below(u64::from(workload.replicas.max.0) + 3)).unwrap_or(0);
        let plant_rng = Rng::fork(seed, name.as_str());
        plants.push(Plant::new(Arc::new(model), queue, step, DEFAULT_START, begin, plant_rng));
        loads.push(load(&mut rng).open(step, rng.bits()).expect("a formula opens"));
    }
    let mut people = People {
        rng: Rng::fork(seed, "people"),
        more: Rng::fork(seed, "more people"),
        planners: Rng::fork(seed, "planners"),
        plan: None,
        names: fleet.workloads().keys().cloned().collect(),
    };
    for at in 0..length {
        people.speak(&mut pilot, &mut plants, at, step);
        pilot.step(&mut plants, at);
        for (plant, load) in plants.iter_mut().zip(&mut loads) {
            plant.advance(next(load));
        }
        if let Some(violation) = pilot.witness.violation.take() {
            return Err(violation);
        }
    }
    if let Some(controller) = pilot.controller().cloned() {
        pilot.witness.compare(&controller);
    }
    if let Some(violation) = pilot.witness.violation.take() {
        return Err(violation);
    }
    let size = Size {
        workloads: workloads as u64,
        seconds: length * step.as_millis() / 1000,
        faults: kinds,
        ..pilot.witness.size
    };
    Ok(SwarmReport { seed, size, digest: pilot.witness.digest })
}

fn next(load: &mut LoadStream) -> f64 {
    // A formula neither fails nor ends.
    load.next_step().ok().flatten().unwrap_or(0.0)
}

/// People, who speak now and then.
struct People {
    rng: Rng,
    more: Rng,
    planners: Rng,
    /// What is to be applied, and at which step.
    plan: Option<(u64, Vec<Change>)>,
    names: Vec<WorkloadName>,
}

/// One line of a plan: whose count, the one there was, and the one asked for.
type Change = (WorkloadName, Replicas, Replicas);

impl People {
    fn speak(&mut self, pilot: &mut Pilot<Oracle>, plants: &mut [Plant], at: u64, step: Span) {
        self.answer(pilot, plants, at, step);
        self.plan(pilot, plants, at, step);
        // About ten words a day.
        if !self.rng.chance(10.0 * step.as_secs_f64() / 86_400.0) {
            return;
        }
        let workload = self.rng.pick(&self.names).clone();
        match self.rng.below(4) {
            0 | 1 => {
                let lasts = Span::seconds(60 + self.rng.below(7200));
                let for_ever = self.rng.chance(0.1);
                pilot.say(plants, at, |at| {
                    let until = (!for_ever).then(|| at.plus(lasts));
                    let freeze = Freeze { until, by: "swarm".to_owned(), why: "to see".to_owned() };
                    Input::Overridden { at, workload, word: Override::Freeze(freeze) }
                });
            }
            2 => pilot.say(plants, at, |at| Input::Overridden { at, workload, word: Override::Thaw }),
            _ => {
                let fleet = policy::fleet(&mut self.rng, &mut self.more, self.names.len());
                pilot.say(plants, at, |at| Input::FleetChanged { at, fleet });
            }
        }
    }

    /// Plans about four times a day and applies it within a quarter of an hour, whatever has happened meanwhile.
    fn plan(&mut self, pilot: &mut Pilot<Oracle>, plants: &mut [Plant], at: u64, step: Span) {
        if let Some((_, plan)) = self.plan.take_if(|(due, _)| at >= *due) {
            for (workload, saw, to) in plan {
                pilot.say(plants, at, |at| {
                    let plan = AppliedPlan { saw, to, by: "swarm".to_owned(), until: at.plus(VALID_FOR) };
                    Input::Overridden { at, workload, word: Override::Apply(plan) }
                });
            }
        }
        if !self.planners.chance(4.0 * step.as_secs_f64() / 86_400.0) {
            return;
        }
        let Some(controller) = pilot.controller() else { return };
        let latest = self.names.iter().filter_map(|name| Some(controller.memory(name)?.latest()?.at)).max();
        let Some(now) = latest else { return };
        let changes: Vec<Change> = controller
            .plan(None, now)
            .into_iter()
            .filter(|(_, decision)| decision.to != decision.from)
            .map(|(name, decision)| (name, decision.from, decision.to))
            .collect();
        let pause = self.planners.below(1 + Span::minutes(15).as_millis() / step.as_millis());
        self.plan = (!changes.is_empty()).then_some((at + pause, changes));
    }

    /// Looks in on what waits for a person, and on the breaker, about every half hour.
    fn answer(&mut self, pilot: &mut Pilot<Oracle>, plants: &mut [Plant], at: u64, step: Span) {
        if !self.more.chance(step.as_secs_f64() / 1800.0) {
            return;
        }
        let Some(controller) = pilot.controller() else { return };
        let (by, why) = ("swarm".to_owned(), "to see".to_owned());
        let pending: Vec<_> = self
            .names
            .iter()
            .filter_map(|name| {
                let memory = controller.memory(name)?;
                memory.pending(memory.latest()?.at).map(|pending| (name.clone(), pending.decision.clone()))
            })
            .collect();
        let opened = controller.breaker().is_some();
        for (workload, decision) in pending {
            let word = Override::Answer {
                decision,
                approved: self.more.chance(0.7),
                by: by.clone(),
                why: why.clone(),
            };
            pilot.say(plants, at, |at| Input::Overridden { at, workload, word });
        }
        if opened && self.more.chance(0.5) {
            pilot.say(plants, at, |at| Input::Ordered { at, word: Order::CloseBreaker { by, why } });
        }
    }
}

fn model(rng: &mut Rng) -> Model {
    Model {
        start_up: Span::seconds(*rng.pick(&[0, 2, 10, 30, 120])),
        start_up_spread: Span::seconds(*rng.pick(&[0, 0, 5, 60])),
        warm_up: Span::seconds(*rng.pick(&[0, 0, 30])),
        drain: Span::seconds(*rng.pick(&[0, 5, 30])),
        ..Model::default()
    }
}

fn load(rng: &mut Rng) -> Load {
    let scale = *rng.pick(&[30.0, 300.0, 1000.0, 3000.0]);
    let low = if rng.chance(0.4) { 0.0 } else { scale * rng.between(0.05, 0.5) };
    let mut parts = vec![Load::Wave(Wave {
        low,
        high: scale,
        period: Span::seconds(*rng.pick(&[1800, 7200, 86_400])),
        peak_at: Span::seconds(rng.below(86_400)),
    })];
    for _ in 0..rng.below(4) {
        parts.push(Load::Surge(Surge {
            add: scale * rng.between(0.3, 5.0),
            at: Span::seconds(rng.below(86_400)),
            rise: Span::seconds(*rng.pick(&[0, 10, 120])),
            hold: Span::seconds(60 + rng.below(3600)),
            fall: Span::seconds(*rng.pick(&[0, 10, 600])),
            every: rng.chance(0.3).then(|| Span::seconds(3600 + rng.below(20_000))),
        }));
    }
    let sum = Load::Sum(parts);
    // A load that is nothing at all for half of the time tries scaling to zero.
    Load::Noisy(Box::new(Noisy {
        wander: *rng.pick(&[0.0, 0.05, 0.5]),
        arrivals: rng.chance(0.5),
        load: sum,
    }))
}

/// Up to six kinds of fault, each a few times a day.
fn faults(rng: &mut Rng) -> Vec<Fault> {
    let by = |rng: &mut Rng| Span::seconds(1 + rng.below(*rng.clone().pick(&[5, 30, 300])));
    (0..rng.below(7))
        .map(|_| {
            let what = match rng.below(15) {
                0 => FaultKind::SamplesLost,
                1 => FaultKind::SamplesLate { by: by(rng) },
                2 => FaultKind::SamplesFail,
                3 => FaultKind::SamplesNan,
                4 => FaultKind::SamplesFrozen,
                5 => FaultKind::LooksFail,
                6 => FaultKind::ActionsRefused,
                7 => FaultKind::ActionsSlow { by: by(rng) },
                8 => FaultKind::ActionsUnanswered,
                9 => FaultKind::ActionsDoubled { after: by(rng) },
                10 => FaultKind::ReplicasDie { count: 1 + u32::try_from(rng.below(20)).unwrap_or(0) },
                11 => FaultKind::ReplicasFrail { mean_life: Span::seconds(600 + rng.below(10_000)) },
                12 => FaultKind::ClockAhead { by: Span::seconds(1 + rng.below(7200)) },
                13 => FaultKind::ClockBehind { by: Span::seconds(1 + rng.below(7200)) },
                _ => FaultKind::ControllerDown,
            };
            Fault {
                what,
                at: None,
                every: Some(Span::seconds(600 + rng.below(40_000))),
                lasts: Some(Span::seconds(1 + rng.below(*rng.clone().pick(&[10, 120, 1800])))),
                workload: rng.chance(0.3).then(|| "w0".parse().expect("w0 is a name")),
            }
        })
        .collect()
}
