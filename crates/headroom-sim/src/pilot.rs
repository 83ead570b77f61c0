//! The pilot: the real controller at the controls of a modelled world.
//!
//! It is a driver like the live one, with a virtual clock: it feeds what is measured and looked at, carries out
//! what the controller asks for, and reports back. Faults sit here, between the two, where they sit in life.
//!
//! One step of the world is one moment of the controller. Samples of a workload make the controller look it over,
//! so a tick is sent only where that is not enough: when samples may be missing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use headroom_core::action::{Action, ActionRecord};
use headroom_core::controller::{Controller, Effect, Input, Measured, Notice, Settled, Snapshot};
use headroom_core::decision::{Decision, DecisionId};
use headroom_core::fleet::Fleet;
use headroom_core::memory::LOOK_FRESH_FOR;
use headroom_core::names::WorkloadName;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Span, Timestamp};

use crate::fault::{FaultKind, Turn, Weather};
use crate::people::Say;
use crate::probe::Probe;
use crate::world::Plant;

/// Things under way (late samples, slow actions) at the most: a minute of every signal of a thousand workloads.
/// Beyond it new ones are lost, as on a network.
const MOST_UNDER_WAY: usize = 65_536;

/// Who watches every input and effect.
pub(crate) trait Witness {
    /// An input is about to be handled.
    fn before(&mut self, _controller: &Controller, _input: &Input) {}
    /// It was handled, with these effects.
    fn after(&mut self, _controller: &Controller, _effects: &[Effect]) {}
    /// A decision was recorded.
    fn recorded(&mut self, _step: u64, _decision: &Decision) {}
    /// People were told.
    fn told(&mut self, _step: u64, _notice: &Notice) {}
    /// A target took an action: the count it stood at before, and the one asked for.
    fn applied(&mut self, _step: u64, _action: &ActionRecord, _before: u32) {}
}

/// Nobody watches.
impl Witness for () {}

/// Something that happens later.
#[derive(Clone, Debug)]
enum Later {
    /// Samples reach the controller.
    Samples(Vec<Measured>),
    /// The target takes an action, and answers if `answers`.
    Apply { body: usize, action: Action, answers: bool },
    /// An action reaches the target once more.
    Again { body: usize, action: Action },
}

/// One workload as the pilot sees it.
#[derive(Clone, Debug)]
struct Body {
    name: WorkloadName,
    probes: Vec<Probe>,
    looked: Option<u64>,
    /// The newest decision the target carried out; it refuses older ones.
    taken: u64,
    /// The step before which the target does not get to the next action.
    busy_until: u64,
}

/// The controller and its world's interface.
pub(crate) struct Pilot<W: Witness> {
    controller: Option<Controller>,
    /// What a killed controller left behind, as it would be read back from a disk.
    left_behind: Option<String>,
    bodies: Vec<Body>,
    weather: Weather,
    later: BTreeMap<(u64, u64), Later>,
    sent: u64,
    start: Timestamp,
    step_ms: u64,
    tick_steps: u64,
    look_steps: u64,
    pub(crate) witness: W,
    queue: VecDeque<Input>,
    /// Samples of workloads that have none of their own would not be looked over by samples alone.
    needs_ticks: bool,
}

impl<W: Witness> Pilot<W> {
    pub(crate) fn new(
        fleet: &Arc<Fleet>,
        weather: Weather,
        start: Timestamp,
        step: Span,
        tick: Span,
        witness: W,
    ) -> Self {
        let bodies: Vec<_> = fleet
            .workloads()
            .iter()
            .map(|(name, workload)| Body {
                name: name.clone(),
                probes: Probe::all(workload, step),
                looked: None,
                taken: 0,
                busy_until: 0,
            })
            .collect();
        let step_ms = step.as_millis().max(1);
        let needs_ticks = !weather.is_fair() || bodies.iter().any(|b| b.probes.is_empty());
        Self {
            controller: Some(Controller::new(Arc::clone(fleet))),
            left_behind: None,
            bodies,
            weather,
            later: BTreeMap::new(),
            sent: 0,
            start,
            step_ms,
            tick_steps: (tick.as_millis() / step_ms).max(1),
            // Often enough that a look is believed at any moment between two.
            look_steps: (LOOK_FRESH_FOR.as_millis() * 4 / 5 / step_ms).max(1),
            witness,
            queue: VecDeque::new(),
            needs_ticks,
        }
    }

    /// The controller, where it runs.
    pub(crate) fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// A person's word, or a new policy, between two steps.
    pub(crate) fn say(&mut self, plants: &mut [Plant], step: u64, input: impl FnOnce(Timestamp) -> Input) {
        let at = self.weather.clock(self.true_time(step));
        self.queue.push_back(input(at));
        self.drain(plants, step, at);
    }

    /// What somebody says of a workload, between two steps. Nobody is heard while the controller is down.
    pub(crate) fn listen(&mut self, plants: &mut [Plant], step: u64, workload: &WorkloadName, say: &Say) {
        let at = self.weather.clock(self.true_time(step));
        let input = self.controller.as_ref().and_then(|controller| say.input(controller, workload, at));
        if let Some(input) = input {
            self.queue.push_back(input);
            self.drain(plants, step, at);
        }
    }

    fn true_time(&self, step: u64) -> Timestamp {
        self.start.plus(Span::millis(step * self.step_ms))
    }

    /// One moment: what is known now reaches the controller, and what it asks for reaches the plants.
    pub(crate) fn step(&mut self, plants: &mut [Plant], step: u64) {
        let turns = self.weather.turn(step);
        let at = self.weather.clock(self.true_time(step));
        for turn in &turns {
            self.turn(turn, plants);
        }
        self.power(at);
        self.deliver(plants, step, at);
        if step.is_multiple_of(self.tick_steps) {
            self.observe(plants, step, at);
        } else {
            // Windows go on between two moments of the controller.
            for (body, plant) in self.bodies.iter_mut().zip(plants.iter()) {
                if step > 0 {
                    for probe in &mut body.probes {
                        // Only the averages matter here.
                        let _ = probe.read(plant);
                    }
                }
            }
        }
        self.drain(plants, step, at);
    }

    fn turn(&mut self, turn: &Turn, plants: &mut [Plant]) {
        for (body, plant) in self.bodies.iter().zip(plants) {
            if turn.workload.as_ref().is_some_and(|w| *w != body.name) {
                continue;
            }
            match turn.kind {
                FaultKind::ReplicasDie { count } if turn.begins => plant.kill(count),
                FaultKind::ReplicasFrail { mean_life } => {
                    plant.set_mortality(if turn.begins { mean_life.as_secs_f64() } else { 0.0 });
                }
                _ => {}
            }
        }
    }

    /// Kills the controller or starts it again, as the faults have it.
    fn power(&mut self, at: Timestamp) {
        match (&self.controller, self.weather.controller_is_down()) {
            (Some(controller), true) => {
                // What the journal holds is text on a disk; reading it back is part of what is tried.
                self.left_behind = serde_json::to_string(&controller.snapshot()).ok();
                self.controller = None;
                self.queue.clear();
            }
            (None, false) => {
                let restored = self
                    .left_behind
                    .take()
                    .and_then(|text| serde_json::from_str::<Snapshot>(&text).ok())
                    .and_then(|snapshot| Controller::restore(snapshot).ok());
                self.controller = Some(restored.expect("a snapshot that was just written reads back"));
                self.queue.push_back(Input::Restarted { at });
            }
            (Some(_), false) | (None, true) => {}
        }
    }

    fn send(&mut self, step: u64, what: Later) {
        if self.later.len() < MOST_UNDER_WAY {
            self.sent += 1;
            self.later.insert((step, self.sent), what);
        }
    }

    /// What was under way and is due.
    fn deliver(&mut self, plants: &mut [Plant], step: u64, at: Timestamp) {
        while let Some(entry) = self.later.first_entry().filter(|e| e.key().0 <= step) {
            match entry.remove() {
                Later::Samples(samples) => self.queue.push_back(Input::Sampled { at, samples }),
                Later::Apply { body, action, answers } => {
                    let outcome = self.apply(plants, body, &action, step, at);
                    if answers {
                        self.queue.push_back(settled(&action, at, outcome));
                    }
                }
                Later::Again { body, action } => {
                    // The answer to the copy goes to nobody.
                    let _ = self.apply(plants, body, &action, step, at);
                }
            }
        }
    }

    /// The target takes an action, unless it is stale or another has overtaken it.
    fn apply(
        &mut self,
        plants: &mut [Plant],
        body: usize,
        action: &Action,
        step: u64,
        at: Timestamp,
    ) -> Result<headroom_core::observation::TargetStatus, String> {
        let number = action.record().decision.number;
        let target = &mut self.bodies[body];
        if action.is_stale(at) {
            return Err("the action came too late".to_owned());
        }
        if number < target.taken {
            return Err("a newer action was carried out before".to_owned());
        }
        target.taken = number;
        let before = plants[body].wanted();
        self.witness.applied(step, action.record(), before);
        plants[body].want(action.to().0);
        Ok(plants[body].look())
    }

    /// Looks and samples of this moment.
    fn observe(&mut self, plants: &mut [Plant], step: u64, at: Timestamp) {
        let mut samples = Vec::new();
        let mut waiting = Vec::new();
        let fair = self.weather.is_fair();
        for (index, body) in self.bodies.iter_mut().enumerate() {
            let plant = &mut plants[index];
            let stale = body.looked.is_none_or(|looked| step - looked >= self.look_steps);
            if plant.has_changed() || stale {
                body.looked = Some(step);
                let fails = !fair && self.weather.on(&body.name, only(FaultKind::LooksFail)).is_some();
                let status =
                    if fails { Err("the target does not answer".to_owned()) } else { Ok(plant.look()) };
                self.queue.push_back(Input::Looked { at, workload: body.name.clone(), status });
            }
            if step == 0 {
                continue;
            }
            if let Some(requests) = plant.waiting() {
                waiting.push(Input::Waiting { at, workload: body.name.clone(), requests });
            }
            for probe in &mut body.probes {
                let value = probe.read(plant);
                let news = if fair {
                    Some(sampled(value, at))
                } else {
                    disturbed(&self.weather, &body.name, probe, value, at)
                };
                let Some(value) = news else { continue };
                samples.push(Measured { workload: body.name.clone(), signal: probe.signal.clone(), value });
            }
        }
        if !fair {
            self.hold_back(&mut samples, step);
        }
        if !samples.is_empty() {
            self.queue.push_back(Input::Sampled { at, samples });
        }
        self.queue.extend(waiting);
        if self.needs_ticks || step == 0 {
            self.queue.push_back(Input::Tick { at });
        }
    }

    /// Samples that a fault makes late are sent on their way.
    fn hold_back(&mut self, samples: &mut Vec<Measured>, step: u64) {
        let mut late: BTreeMap<u64, Vec<Measured>> = BTreeMap::new();
        let weather = &self.weather;
        let step_ms = self.step_ms;
        samples.retain(|m| {
            let by = weather.on(&m.workload, |kind| match kind {
                FaultKind::SamplesLate { by } => Some(by.as_millis().div_ceil(step_ms)),
                _ => None,
            });
            if let Some(by) = by {
                late.entry(step + by.max(1)).or_default().push(m.clone());
            }
            by.is_none()
        });
        for (step, samples) in late {
            self.send(step, Later::Samples(samples));
        }
    }

    /// Hands the controller what has come, and does what it says, until nothing is left. This ends: an answer to
    /// an action makes the controller look, and a look makes it do nothing.
    fn drain(&mut self, plants: &mut [Plant], step: u64, at: Timestamp) {
        while let Some(input) = self.queue.pop_front() {
            let Some(controller) = &mut self.controller else { continue };
            self.witness.before(controller, &input);
            let effects = controller.handle(input);
            self.witness.after(controller, &effects);
            for effect in effects {
                match effect {
                    Effect::Record(decision) => self.witness.recorded(step, &decision),
                    Effect::Notify(notice) => self.witness.told(step, &notice),
                    // A forecast takes no time here: a hundredth of a second is less than a step.
                    Effect::Fit(order) => self.queue.push_back(Input::Fitted { at, answer: order.run() }),
                    Effect::Look(name) => self.look(plants, &name, step, at),
                    Effect::Act(action) => self.act(plants, action, step, at),
                    Effect::Warm(order) => {
                        if let Some(body) = self.body(order.workload()) {
                            plants[body].keep_warm(order.keep().0);
                        }
                    }
                }
            }
        }
    }

    /// Where a workload stands: bodies are in the order of their names, as the fleet is.
    fn body(&self, name: &WorkloadName) -> Option<usize> {
        self.bodies.binary_search_by(|b| b.name.cmp(name)).ok()
    }

    fn look(&mut self, plants: &mut [Plant], name: &WorkloadName, step: u64, at: Timestamp) {
        let Some(index) = self.body(name) else { return };
        let fails = self.weather.on(name, only(FaultKind::LooksFail)).is_some();
        self.bodies[index].looked = Some(step);
        let status =
            if fails { Err("the target does not answer".to_owned()) } else { Ok(plants[index].look()) };
        self.queue.push_back(Input::Looked { at, workload: name.clone(), status });
    }

    fn act(&mut self, plants: &mut [Plant], action: Action, step: u64, at: Timestamp) {
        let Some(body) = self.body(action.workload()) else { return };
        let fate = |kind| self.weather.on(action.workload(), only(kind)).is_some();
        if fate(FaultKind::ActionsRefused) {
            self.queue.push_back(settled(&action, at, Err("the target refuses".to_owned())));
            return;
        }
        let answers = !fate(FaultKind::ActionsUnanswered);
        let in_steps = |span: Span| span.as_millis().div_ceil(self.step_ms).max(1);
        let again = self.weather.on(action.workload(), |kind| match kind {
            FaultKind::ActionsDoubled { after } => Some(in_steps(after)),
            _ => None,
        });
        let slow = self.weather.on(action.workload(), |kind| match kind {
            FaultKind::ActionsSlow { by } => Some(in_steps(by)),
            _ => None,
        });
        if let Some(after) = again {
            self.send(step + after, Later::Again { body, action: action.clone() });
        }
        // A target takes one action after the other.
        let due = (step + slow.unwrap_or(0)).max(self.bodies[body].busy_until);
        self.bodies[body].busy_until = due;
        if due > step {
            self.send(due, Later::Apply { body, action, answers });
        } else {
            let outcome = self.apply(plants, body, &action, step, at);
            if answers {
                self.queue.push_back(settled(&action, at, outcome));
            }
        }
    }
}

fn settled(
    action: &Action,
    at: Timestamp,
    outcome: Result<headroom_core::observation::TargetStatus, String>,
) -> Input {
    let decision: DecisionId = action.record().decision.clone();
    let outcome = match outcome {
        Ok(status) => Settled::Done(status),
        Err(error) => Settled::Failed(error),
    };
    Input::Settled { at, workload: action.workload().clone(), decision, outcome }
}

fn only(wanted: FaultKind) -> impl Fn(FaultKind) -> Option<()> {
    move |kind| (kind == wanted).then_some(())
}

/// A figure of the world as its source reports it.
fn sampled(value: Result<f64, Absence>, at: Timestamp) -> Result<Sample, Absence> {
    Level::new(value?).map(|level| Sample::new(at, level)).map_err(|_| Absence::NotANumber)
}

/// The same, with what goes wrong; `None` where nothing arrives.
fn disturbed(
    weather: &Weather,
    workload: &WorkloadName,
    probe: &mut Probe,
    value: Result<f64, Absence>,
    at: Timestamp,
) -> Option<Result<Sample, Absence>> {
    let fault = weather.on(workload, |kind| match kind {
        FaultKind::SamplesLost
        | FaultKind::SamplesFail
        | FaultKind::SamplesNan
        | FaultKind::SamplesFrozen => Some(kind),
        _ => None,
    });
    match fault {
        Some(FaultKind::SamplesLost) => None,
        Some(FaultKind::SamplesFail) => {
            Some(Err(Absence::SourceFailed("the source does not answer".to_owned())))
        }
        Some(FaultKind::SamplesNan) => Some(Err(Absence::NotANumber)),
        Some(FaultKind::SamplesFrozen) => Some(sampled(probe.last.map_or(value, Ok), at)),
        _ => {
            probe.last = value.as_ref().ok().copied().or(probe.last);
            Some(sampled(value, at))
        }
    }
}
