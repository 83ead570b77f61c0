//! The controller: inputs in, effects out.
//!
//! One owner of all state handles one closed enum of inputs and returns effects as values. It is pure: the same
//! inputs give the same effects, byte for byte, whether they come from the live driver, the simulator, one
//! observation in a file, or the journal. There is no clock here; each input says when it happened.
//!
//! A tick, for each workload: observe → recommend → limit → share → refuse → inspect → act. One workload's failure
//! is its own finding; the others go on (A35). What workloads share is kept in the fleet's books
//! ([`together`](crate::together)): a promise is entered before the next workload is looked over.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::{Action, ActionRecord, VALID_FOR};
use crate::combine::combine;
use crate::context::Context;
use crate::decision::{By, Decision, DecisionId, Draft, Outcome, Recommendation, Refusal, SeenSignal};
use crate::fleet::{Fleet, FleetDocument, Workload};
use crate::guard::{self, Ending, Verdict, Watched};
use crate::inspect::{Finding, inspect, inspect_shared};
use crate::memory::{Answer, AppliedPlan, Change, Failure, Freeze, LOOK_FRESH_FOR, Memory, Pending};
use crate::names::{SignalName, WorkloadName};
use crate::notice::Closed;
pub use crate::notice::{Notice, Noticed};
use crate::observation::TargetStatus;
use crate::outlook::{FitAnswer, FitOrder, History, Outlook};
use crate::reading::{Absence, Reading, Sample};
use crate::reason::Reason;
use crate::strategy::{StrategyMemory, Watch};
use crate::together::{Ask, BreakerMemory, Opened, Part, Together};
use crate::units::{Level, Replicas, Span, Timestamp};
use crate::warm::{self, WarmOrder};

/// A run of decisions that say the same is recorded this often.
const RECORD_EVERY: Span = Span::seconds(60);
/// The first pause after a failed action; it doubles with each failure in a row.
const FIRST_PAUSE: Span = Span::seconds(1);
/// The longest pause after a failed action.
const LONGEST_PAUSE: Span = Span::seconds(60);
/// A driver answers every action within its deadline; an answer that never comes must not block a workload.
const SETTLES_WITHIN: Span = Span::seconds(120);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Input {
    /// Time went on: every workload is looked over.
    Tick {
        /// When.
        at: Timestamp,
    },
    /// Signals were measured, or could not be.
    Sampled {
        /// When they arrived.
        at: Timestamp,
        /// Whose, which, and what.
        samples: Vec<Measured>,
    },
    /// A target was looked at.
    Looked {
        /// When.
        at: Timestamp,
        /// Whose target.
        workload: WorkloadName,
        /// What it shows, or why it could not be looked at.
        status: Result<TargetStatus, String>,
    },
    /// An action came to its end.
    Settled {
        /// When.
        at: Timestamp,
        /// Whose action.
        workload: WorkloadName,
        /// Which decision it carried out.
        decision: DecisionId,
        /// What came of it.
        outcome: Settled,
    },
    /// Requests wait at the balancer because no replica is there.
    Waiting {
        /// When.
        at: Timestamp,
        /// Whose requests.
        workload: WorkloadName,
        /// How many.
        requests: u32,
    },
    /// A person said something.
    Overridden {
        /// When.
        at: Timestamp,
        /// About which workload.
        workload: WorkloadName,
        /// What.
        word: Override,
    },
    /// A person said something about the fleet as a whole.
    Ordered {
        /// When.
        at: Timestamp,
        /// What.
        word: Order,
    },
    /// A forecast was worked out beside the loop.
    Fitted {
        /// When.
        at: Timestamp,
        /// What came of the order.
        answer: FitAnswer,
    },
    /// A source told a signal's past, or could not.
    Recalled {
        /// When.
        at: Timestamp,
        /// Whose signal.
        workload: WorkloadName,
        /// Which.
        signal: SignalName,
        /// The past, or why there is none.
        history: Result<History, String>,
    },
    /// A policy was loaded.
    FleetChanged {
        /// When.
        at: Timestamp,
        /// The policy; it was checked before.
        fleet: FleetDocument,
    },
    /// The controller was started again: what was under way is not known to be.
    Restarted {
        /// When.
        at: Timestamp,
    },
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Settled {
    /// The target took it, and shows this.
    Done(TargetStatus),
    /// It failed; the target's own words.
    Failed(String),
    /// It was only said: the driver runs in advise mode.
    Advised,
}

/// One signal's news.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Whose signal.
    pub workload: WorkloadName,
    /// Which.
    pub signal: SignalName,
    /// The value, or why there is none.
    pub value: Result<Sample, Absence>,
}

/// What a person may say about a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Override {
    /// Leave it alone.
    Freeze(Freeze),
    /// Go on.
    Thaw,
    /// Do what a plan said, once.
    Apply(AppliedPlan),
    /// Answer a change that waits for a person.
    Answer {
        /// The decision that asked; the word is void where another waits meanwhile.
        decision: DecisionId,
        /// Whether it may be made.
        approved: bool,
        /// Who says so.
        by: String,
        /// Why.
        why: String,
    },
}

/// What a person may say about the fleet as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Order {
    /// Close the breaker; for one stretch it lets everything pass.
    CloseBreaker {
        /// Who says so.
        by: String,
        /// Why.
        why: String,
    },
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Write it down, before anything else is done.
    Record(Box<Decision>),
    /// Look at a target now.
    Look(WorkloadName),
    /// Ask a target for a count.
    Act(Action),
    /// Ask a target to keep so many warm.
    Warm(WarmOrder),
    /// Work out a forecast beside the loop and bring it back as [`Input::Fitted`].
    Fit(Box<FitOrder>),
    /// Tell people.
    Notify(Notice),
}

/// The controller of one fleet.
#[derive(Clone, Debug)]
pub struct Controller {
    fleet: Arc<Fleet>,
    memories: BTreeMap<WorkloadName, Memory>,
    together: Together,
    /// The highest number that a decision of a workload had that the policy no longer has. One that comes back begins after
    /// it, so that no two decisions are called alike.
    numbered: u64,
}

/// A controller's memory, to be written down and read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The policy in force.
    pub fleet: FleetDocument,
    /// What is remembered of each workload.
    pub memories: BTreeMap<WorkloadName, Memory>,
    /// What the breaker remembers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub breaker: BreakerMemory,
    /// The highest number of a decision of the workloads that are gone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub numbered: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Controller {
    /// A controller that remembers nothing.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>) -> Self {
        let memories = fleet.workloads().iter().map(|(name, w)| (name.clone(), Memory::new(w))).collect();
        let together = Together::new(&fleet, &memories, BreakerMemory::default());
        Self { fleet, memories, together, numbered: 0 }
    }

    /// A controller that remembers what `snapshot` holds.
    ///
    /// # Errors
    /// What is wrong with the snapshot's policy; one that was in force has no problems.
    pub fn restore(snapshot: Snapshot) -> Result<Self, Vec<crate::fleet::Problem>> {
        let fleet = Arc::new(Fleet::new(snapshot.fleet)?);
        let together = Together::new(&fleet, &snapshot.memories, snapshot.breaker);
        Ok(Self { fleet, memories: snapshot.memories, together, numbered: snapshot.numbered })
    }

    /// The memory as it stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            fleet: self.fleet.document(),
            memories: self.memories.clone(),
            breaker: self.together.breaker().clone(),
            numbered: self.numbered,
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// What is remembered of a workload.
    #[must_use]
    pub fn memory(&self, workload: &WorkloadName) -> Option<&Memory> {
        self.memories.get(workload)
    }

    /// What a workload may use of what it shares with others.
    #[must_use]
    pub fn parts(&self, workload: &WorkloadName, at: Timestamp) -> Vec<Part> {
        self.together.parts(workload, at)
    }

    /// The breaker, if it is open.
    #[must_use]
    pub fn breaker(&self) -> Option<&Opened> {
        self.together.opened()
    }

    /// What would be decided now under the policy in force, or under `other`. Leaves no trace.
    #[must_use]
    pub fn plan(&self, other: Option<&Fleet>, at: Timestamp) -> BTreeMap<WorkloadName, Decision> {
        let fleet = other.unwrap_or(&self.fleet);
        let fitted = |(name, workload): (&WorkloadName, &Workload)| {
            let mut memory = self.memories.get(name).cloned().unwrap_or_else(|| Memory::new(workload));
            memory.fit(workload);
            memory.failure = None;
            (name.clone(), memory)
        };
        let mut memories: BTreeMap<_, _> = fleet.workloads().iter().map(fitted).collect();
        let mut together = Together::new(fleet, &memories, self.together.breaker().clone());
        let order: Vec<_> = match together.order() {
            Some(order) => order.to_vec(),
            None => fleet.workloads().keys().cloned().collect(),
        };
        let mut decisions = BTreeMap::new();
        for name in order {
            let Some((workload, memory)) = fleet.workload(&name).zip(memories.get_mut(&name)) else {
                continue;
            };
            let decided = decide(&name, workload, memory, Some(&together), at, None);
            if decided.decision.outcome == Outcome::Act {
                // As if it were under way: what is planned for one is not there for the next.
                memory.in_flight = Some(ActionRecord {
                    decision: decided.decision.id.clone(),
                    at,
                    saw: decided.decision.from,
                    to: decided.decision.to,
                    valid_until: at,
                });
            }
            memory.ask = decided.ask;
            together.enter(&name, workload, memory);
            decisions.insert(name, decided.decision);
        }
        decisions
    }

    /// Handles one input.
    #[must_use]
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Tick { at } => self.tick(at, &mut effects),
            Input::Sampled { at, samples } => self.sampled(at, samples, &mut effects),
            Input::Looked { at, workload, status } => self.looked(at, &workload, status),
            Input::Settled { at, workload, decision, outcome } => {
                self.settled(at, &workload, &decision, outcome, &mut effects);
            }
            Input::Waiting { at, workload, requests } => {
                if let Some(memory) = self.memories.get_mut(&workload) {
                    memory.waiting = Some((at, requests));
                }
                self.evaluate_one(&workload, at, &mut effects);
            }
            Input::Overridden { at, workload, word } => {
                if let Some(memory) = self.memories.get_mut(&workload) {
                    match word {
                        Override::Freeze(freeze) => memory.freeze = Some(freeze),
                        Override::Thaw => memory.freeze = None,
                        Override::Apply(plan) => {
                            // What a person wants is held for as long as what a strategy wants.
                            memory.recommended(at, plan.saw, plan.to);
                            memory.applied = Some(plan);
                        }
                        Override::Answer { decision, approved, by, why } => {
                            answer(memory, at, &decision, approved, by, why);
                        }
                    }
                }
                self.evaluate_one(&workload, at, &mut effects);
            }
            Input::Ordered { at, word: Order::CloseBreaker { by, why } } => {
                if let Some(opened) = self.together.close_by_person(at) {
                    effects.push(breaker_closed(at, &opened, Some(Closed { by, why })));
                }
            }
            // The next look at the workload, within a second, decides with it.
            Input::Fitted { at: _, answer } => {
                let FitAnswer { workload, signal, fitted, ahead, record } = answer;
                if let Some(outlook) = self.outlook_mut(&workload, &signal) {
                    outlook.answered(fitted.map(|f| *f), ahead, record.map(|r| *r));
                }
            }
            Input::Recalled { at, workload, signal, history } => {
                self.recalled(at, &workload, &signal, &history, &mut effects);
            }
            Input::FleetChanged { at: _, fleet } => self.fleet_changed(fleet, &mut effects),
            Input::Restarted { at: _ } => {
                // What was sent may or may not have been done; sizes come from the next look.
                for (name, memory) in &mut self.memories {
                    memory.believed = memory.held();
                    memory.unsettled = memory.in_flight.take().or(memory.unsettled.take());
                    memory.status = None;
                    memory.signals.iter_mut().filter_map(|s| s.outlook.as_mut()).for_each(|o| o.restarted());
                    // The pause after advice is of the run that only said it; this one may do it.
                    memory.failure.take_if(|failure| failure.error.is_none());
                    effects.push(Effect::Look(name.clone()));
                    if let Some(workload) = self.fleet.workload(name) {
                        self.together.enter(name, workload, memory);
                    }
                }
            }
        }
        effects
    }

    /// Looks every workload over: those of a higher priority first, so that what is short goes to them.
    fn tick(&mut self, at: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(opened) = self.together.close_in_time(at) {
            effects.push(breaker_closed(at, &opened, None));
        }
        match self.together.order().map(<[_]>::to_vec) {
            Some(order) => {
                for name in order {
                    self.evaluate_one(&name, at, effects);
                }
            }
            None => {
                for (name, workload) in self.fleet.workloads() {
                    if let Some(memory) = self.memories.get_mut(name) {
                        evaluate(&self.fleet, name, workload, memory, &mut self.together, at, effects);
                    }
                }
            }
        }
    }

    fn sampled(&mut self, at: Timestamp, samples: Vec<Measured>, effects: &mut Vec<Effect>) {
        // Samples of one workload stand together, so each workload is looked up and looked over once.
        let mut samples = samples.into_iter().peekable();
        while let Some(Measured { workload: name, signal, value }) = samples.next() {
            let mut memory = self.memories.get_mut(&name);
            let mut take_in = |signal: &SignalName, value| {
                if let Some(known) = memory.as_mut().and_then(|m| m.signal_mut(signal)) {
                    known.take_in(value, at);
                }
            };
            take_in(&signal, value);
            while let Some(more) = samples.next_if(|m| m.workload == name) {
                take_in(&more.signal, more.value);
            }
            if let (Some(workload), Some(memory)) = (self.fleet.workload(&name), memory) {
                evaluate(&self.fleet, &name, workload, memory, &mut self.together, at, effects);
                for signal in &mut memory.signals {
                    let Some(outlook) = &mut signal.outlook else { continue };
                    let order = outlook.order(at, &name, &signal.name);
                    effects.extend(order.map(|order| Effect::Fit(Box::new(order))));
                }
            }
        }
    }

    fn looked(&mut self, at: Timestamp, workload: &WorkloadName, status: Result<TargetStatus, String>) {
        let Some(memory) = self.memories.get_mut(workload) else { return };
        let ready = match status {
            Ok(status) => {
                // The very same replicas as before teach nothing new.
                let known = memory.status.as_ref().is_some_and(|(_, s)| {
                    Arc::ptr_eq(&s.replicas, &status.replicas) && s.pool == status.pool
                });
                if !known {
                    memory.start_ups.learn(&status);
                    memory.drains.learn(at, &status);
                }
                memory.look_error = None;
                memory.believed = None;
                // What was under way when the controller died has happened, if this shows it: pauses count from it.
                if let Some(action) = memory.unsettled.take().filter(|action| action.to == status.wanted) {
                    took(self.fleet.workload(workload), memory, action.at, action);
                }
                // A count is a level whatever it is.
                let ready = Level::new(status.ready.as_f64()).map_err(|_| Absence::NotANumber);
                memory.status = Some((at, status));
                ready.map(|ready| Sample::new(at, ready))
            }
            Err(error) => {
                memory.look_error = Some(error.clone());
                Err(Absence::SourceFailed(error))
            }
        };
        if let Some(settings) = self.fleet.workload(workload) {
            self.together.enter(workload, settings, memory);
        }
        for (follower, signal) in self.together.followers(workload) {
            if let Some(known) = self.memories.get_mut(follower).and_then(|m| m.signal_mut(signal)) {
                known.take_in(ready.clone(), at);
            }
        }
    }

    fn settled(
        &mut self,
        at: Timestamp,
        workload: &WorkloadName,
        decision: &DecisionId,
        outcome: Settled,
        effects: &mut Vec<Effect>,
    ) {
        let Some(memory) = self.memories.get_mut(workload) else { return };
        // An action that was overtaken settles too; only the latest one counts as under way.
        let Some(action) = memory.in_flight.take_if(|a| a.decision == *decision) else { return };
        match outcome {
            Settled::Done(status) => {
                memory.failure = None;
                took(self.fleet.workload(workload), memory, at, action.clone());
                self.together.changed(action.saw, action.to, at);
                self.looked(at, workload, Ok(status));
            }
            Settled::Advised => {
                memory.failure = Some(Failure { error: None, until: at.plus(LONGEST_PAUSE), in_a_row: 0 });
            }
            Settled::Failed(error) => {
                let in_a_row = memory.failure.as_ref().map_or(0, |f| f.in_a_row).saturating_add(1);
                let doubled = FIRST_PAUSE.times(1 << in_a_row.saturating_sub(1).min(10));
                let until = at.plus(doubled.min(LONGEST_PAUSE));
                let what = Noticed::ActionFailed { to: action.to, error: error.clone() };
                effects.push(Effect::Notify(Notice::new(at, workload.clone(), what)));
                memory.failure = Some(Failure { error: Some(error), until, in_a_row });
                effects.push(Effect::Look(workload.clone()));
            }
        }
        if let Some((settings, memory)) = self.fleet.workload(workload).zip(self.memories.get(workload)) {
            self.together.enter(workload, settings, memory);
        }
    }

    fn outlook_mut(&mut self, workload: &WorkloadName, signal: &SignalName) -> Option<&mut Outlook> {
        self.memories.get_mut(workload)?.signal_mut(signal)?.outlook.as_deref_mut()
    }

    fn recalled(
        &mut self,
        at: Timestamp,
        workload: &WorkloadName,
        signal: &SignalName,
        history: &Result<History, String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(outlook) = self.outlook_mut(workload, signal) else { return };
        match history {
            Ok(history) => {
                outlook.recall(at, history);
                let order = outlook.order(at, workload, signal);
                effects.extend(order.map(|order| Effect::Fit(Box::new(order))));
            }
            Err(why) => {
                let what = Noticed::HistoryMissing { signal: signal.clone(), why: why.clone() };
                effects.push(Effect::Notify(Notice::new(at, workload.clone(), what)));
            }
        }
    }

    fn fleet_changed(&mut self, document: FleetDocument, effects: &mut Vec<Effect>) {
        // The driver checks before it sends; what does not pass the check anyway changes nothing.
        let Ok(fleet) = Fleet::new(document) else { return };
        let mut old = std::mem::take(&mut self.memories);
        for (name, workload) in fleet.workloads() {
            let memory = match old.remove(name) {
                Some(mut memory) => {
                    if let Some(before) = self.fleet.workload(name) {
                        memory.forget_other_units(before, workload);
                    }
                    memory.fit(workload);
                    memory
                }
                None => Memory { decisions: self.numbered, ..Memory::new(workload) },
            };
            self.memories.insert(name.clone(), memory);
            effects.push(Effect::Look(name.clone()));
        }
        let gone = old.values().map(|memory| memory.decisions).max();
        self.numbered = self.numbered.max(gone.unwrap_or(0));
        self.fleet = Arc::new(fleet);
        self.together = Together::new(&self.fleet, &self.memories, self.together.breaker().clone());
    }

    fn evaluate_one(&mut self, name: &WorkloadName, at: Timestamp, effects: &mut Vec<Effect>) {
        if let (Some(workload), Some(memory)) = (self.fleet.workload(name), self.memories.get_mut(name)) {
            evaluate(&self.fleet, name, workload, memory, &mut self.together, at, effects);
        }
    }
}

/// Takes in that the target took an action.
fn took(workload: Option<&Workload>, memory: &mut Memory, at: Timestamp, action: ActionRecord) {
    let (from, to) = (action.saw, action.to);
    memory.changed(Change { at, from, to });
    if let Some(workload) = workload {
        let watched =
            Watched { decision: action.decision, at, from, to, well: Vec::new(), unwell_since: None };
        guard::watch::begin(workload, memory, watched);
    }
}

/// People are told of a change that was undone or failed.
fn bad_ending(verdict: &Verdict, at: Timestamp) -> Option<Notice> {
    match verdict.ending {
        Ending::Completed | Ending::Overtaken => None,
        Ending::RolledBack | Ending::Failed => {
            let workload = verdict.decision.workload.clone();
            Some(Notice::new(at, workload, Noticed::ChangeEnded(Box::new(verdict.clone()))))
        }
    }
}

/// Takes in a person's word on the change that waits, if it is that one.
fn answer(
    memory: &mut Memory,
    at: Timestamp,
    decision: &DecisionId,
    approved: bool,
    by: String,
    why: String,
) {
    let Some(pending) = memory.pending.take_if(|p| p.decision == *decision && at < p.until) else { return };
    let until = at.plus(if approved { guard::APPROVED_FOR } else { guard::REJECTED_FOR });
    memory.answer = Some(Answer { approved, from: pending.from, to: pending.to, by, why, until });
}

/// The count that has to wait for a person, where it does not wait already.
fn asks_for_approval(memory: &Memory, decision: &Decision) -> Option<Replicas> {
    let wanted = match &decision.refusal {
        Some(Refusal { wanted, why: Reason::NeedsApproval { .. }, .. }) => *wanted,
        _ => return None,
    };
    let from = decision.from;
    let waits = memory.pending(decision.at).is_some_and(|pending| {
        let further = if wanted > from { wanted > pending.to } else { wanted < pending.to };
        pending.from == from && (wanted > from) == (pending.to > from) && !further
    });
    (!waits).then_some(wanted)
}

/// Enters a change that waits for a person under the name of its decision, and says so.
fn wait_for_approval(memory: &mut Memory, decision: &Decision, wanted: Replicas) -> Notice {
    let (at, from, id) = (decision.at, decision.from, decision.id.clone());
    let until = at.plus(guard::PENDING_FOR);
    let what = Noticed::ApprovalNeeded { decision: id.clone(), from, to: wanted };
    let notice = Notice::new(at, id.workload.clone(), what);
    memory.pending = Some(Pending { decision: id, from, to: wanted, at, until });
    notice
}

/// People are told that the breaker is closed again.
fn breaker_closed(at: Timestamp, opened: &Opened, by: Option<Closed>) -> Effect {
    let what = Noticed::BreakerClosed { since: opened.at, by };
    Effect::Notify(Notice::new(at, opened.workload.clone(), what))
}

/// People are told that the breaker opened.
fn breaker_opened(opened: &Opened) -> Effect {
    let what = Noticed::BreakerOpened(opened.clone());
    Effect::Notify(Notice::new(opened.at, opened.workload.clone(), what))
}

/// Looks one workload over and says what is to be done.
fn evaluate(
    fleet: &Fleet,
    name: &WorkloadName,
    workload: &Workload,
    memory: &mut Memory,
    together: &mut Together,
    at: Timestamp,
    effects: &mut Vec<Effect>,
) {
    memory.correct_clock(at, LONGEST_PAUSE);
    if memory.in_flight.as_ref().is_some_and(|a| at.since(a.at) > SETTLES_WITHIN) {
        memory.in_flight = None;
        effects.push(Effect::Look(name.clone()));
    }
    watch(workload, memory, at);
    let verdict = guard::watch::judge(workload, memory, at);
    effects.extend(verdict.as_ref().and_then(|verdict| bad_ending(verdict, at)).map(Effect::Notify));
    // The buffers of the last decision are used again: a quiet tick allocates little.
    let buffers = memory.latest.take();
    let Decided { mut decision, recommended, ask } =
        decide(name, workload, memory, Some(&*together), at, buffers);
    decision.verdict = verdict;
    memory.ask = ask;
    if let Some(count) = recommended {
        memory.recommended(at, decision.from, count);
        remember(name, workload, memory, &decision);
        learn_capacity(name, workload, memory, &decision);
    }
    let mut finding = inspect(workload, memory, &decision).into_iter().next();
    if finding.is_none() && together.shares(name) {
        finding = inspect_shared(fleet, together, &decision);
    }
    if let Some(finding) = finding {
        effects.push(Effect::Notify(reject(&mut decision, &finding)));
    }
    if let Some(Refusal { why: Reason::BreakerTrips { changed, most }, .. }) = decision.refusal
        && let Some(opened) = together.open(name, changed, most, at)
    {
        effects.push(breaker_opened(opened));
    }
    // What waits has a name of its own: its decision is recorded, even where it tells the same story.
    let asks = asks_for_approval(memory, &decision);
    let tells_news = asks.is_some()
        || decision.verdict.is_some()
        || memory.last_recorded.as_ref().is_none_or(|last| {
            decision.outcome == Outcome::Act
                || at.since(last.at).max(last.at.since(at)) >= RECORD_EVERY
                || !decision.same_story(last)
        });
    if tells_news {
        memory.decisions += 1;
        decision.id.number = memory.decisions;
        memory.last_recorded = Some(decision.clone());
        effects.push(Effect::Record(Box::new(decision.clone())));
    }
    memory.applied = None;
    effects.extend(keep_warm(name, memory, &decision).map(Effect::Warm));
    if let Some(wanted) = asks {
        effects.push(Effect::Notify(wait_for_approval(memory, &decision, wanted)));
    }
    if decision.outcome == Outcome::Act {
        // An overtaken action never showed: what was seen is what it had seen.
        let saw = memory.in_flight.as_ref().map_or(decision.from, |overtaken| overtaken.saw);
        let action = Action::inspected(ActionRecord {
            decision: decision.id.clone(),
            at,
            saw,
            to: decision.to,
            valid_until: at.plus(VALID_FOR),
        });
        memory.in_flight = Some(action.record().clone());
        effects.push(Effect::Act(action));
    }
    memory.latest = Some(decision);
    together.enter(name, workload, memory);
}

/// The order that makes the warm pool what was decided. A frozen workload's is left alone, as is that of a decision
/// whose check failed.
fn keep_warm(name: &WorkloadName, memory: &mut Memory, decision: &Decision) -> Option<WarmOrder> {
    let wanted = decision.warm.as_ref().filter(|_| decision.outcome != Outcome::Rejected)?.wanted;
    if memory.freeze(decision.at).is_some() {
        return None;
    }
    let shown = memory.status.as_ref().and_then(|(_, status)| status.pool.as_ref()).map(|pool| pool.wanted);
    warm::order(name, wanted, shown, decision.at, &mut memory.warm_asked)
}

/// Takes a faulty decision back and says so.
fn reject(decision: &mut Decision, finding: &Finding) -> Notice {
    let what =
        Noticed::PlanRejected { from: decision.from, to: decision.to, finding: finding.code().to_owned() };
    decision.refusal = Some(Refusal {
        by: By::Inspect,
        wanted: decision.to,
        why: Reason::PlanRejected { finding: finding.code().to_owned() },
    });
    decision.to = decision.from;
    decision.outcome = Outcome::Rejected;
    Notice::new(decision.at, decision.id.workload.clone(), what)
}

/// What was decided, and what is to be remembered of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// What the strategies together recommend, before any guard; `None` where the target could not be seen.
    pub recommended: Option<Replicas>,
    /// What it asks of what it shares with others.
    pub(crate) ask: Option<Ask>,
}

/// One workload, one moment: observe, recommend, limit, share, refuse.
///
/// `together` holds what the workload shares with others; without it, it has the world to itself.
/// `buffers` is an earlier decision whose allocations are used again; its content does not matter.
#[must_use]
pub fn decide(
    name: &WorkloadName,
    workload: &Workload,
    memory: &Memory,
    together: Option<&Together>,
    at: Timestamp,
    buffers: Option<Decision>,
) -> Decided {
    let (mut signals, mut recommendations, steps) =
        buffers.map(|last| (last.signals, last.recommendations, last.steps)).unwrap_or_default();
    signals.clear();
    recommendations.clear();
    for (seen, (signal, settings)) in memory.signals.iter().zip(&workload.signals) {
        let reading = Reading::of(seen.last.as_ref(), seen.absence.as_ref(), at, settings.fresh_for);
        signals.push(SeenSignal { name: signal.clone(), unit: settings.unit(), reading });
    }
    let mut decision = Decision {
        id: DecisionId { workload: name.clone(), number: memory.decisions },
        at,
        from: Replicas::ZERO,
        to: Replicas::ZERO,
        outcome: Outcome::Held,
        ready: Replicas::ZERO,
        starting: Replicas::ZERO,
        start_up: memory.start_ups.expected(),
        capacity: memory.capacities.first(workload),
        warm: None,
        signals,
        recommendations,
        steps: Vec::new(),
        refusal: None,
        verdict: None,
    };
    let last = memory.status.as_ref().map(|(_, status)| status);
    if let Some(status) = last {
        // What was asked for and not yet answered counts: a second action builds on it.
        decision.from = memory.in_flight.as_ref().map_or(status.wanted, |a| a.to);
        decision.to = decision.from;
        (decision.ready, decision.starting) = (status.ready, status.starting);
    }
    let status = match (last, unseen(memory, at)) {
        (Some(status), None) => status,
        (_, why) => {
            let why = why.unwrap_or(Reason::TargetUnseen { error: None });
            decision.refusal = Some(Refusal { by: By::Absence, wanted: decision.to, why });
            return Decided { decision, recommended: None, ask: None };
        }
    };
    let current = decision.from;
    let cx = Context { at, name, workload, status, current, signals: &decision.signals, memory, strategy: 0 };
    for (index, strategy) in workload.strategies.iter().enumerate() {
        let advice = strategy.recommend(&Context { strategy: index, ..cx });
        let advice = workload.combine.cast(strategy.kind_of(), advice);
        decision.recommendations.push(Recommendation { strategy: strategy.kind_of(), index, advice });
    }
    let mut draft = Draft::starting_at(current, steps);
    combine(&cx, &decision.recommendations, &mut draft);
    let recommended = draft.wanted();
    let room = together.and_then(|together| together.room(name, at));
    let mut ask = None;
    match memory.applied.as_ref().filter(|plan| plan.saw == current && at <= plan.until) {
        // The guards of speed had their say when the plan was made; what may have changed since is asked again.
        Some(plan) => {
            draft = Draft::starting_at(current, Vec::new());
            draft.move_to(plan.to, By::Person, Reason::PlanApplied { by: plan.by.clone() });
            guard::run_over_plan(&cx, &decision.recommendations, room.as_ref(), together, &mut draft);
        }
        None => ask = guard::run(&cx, &decision.recommendations, room.as_ref(), together, &mut draft),
    }
    let wanted_a_change = !draft.steps().is_empty();
    decision.warm = warm::wanted(&cx, draft.wanted());
    (decision.to, decision.steps, decision.refusal) = draft.into_parts();
    decision.outcome = if decision.to != current {
        Outcome::Act
    } else if wanted_a_change {
        Outcome::Held
    } else {
        Outcome::Keep
    };
    Decided { decision, recommended: Some(recommended), ask }
}

/// Lets the strategies that follow what is measured take it in.
fn watch(workload: &Workload, memory: &mut Memory, at: Timestamp) {
    for (index, strategy) in workload.strategies.iter().enumerate() {
        if !strategy.watches() {
            continue;
        }
        let mut all = std::mem::take(&mut memory.strategies);
        all.resize(workload.strategies.len(), StrategyMemory::Nothing);
        if let Some(own) = all.get_mut(index) {
            strategy.watch(&Watch { at, workload, memory, strategy: index }, own);
        }
        memory.strategies = all;
    }
}

/// Lets what one replica carries be learned from the moment that was just decided on.
fn learn_capacity(name: &WorkloadName, workload: &Workload, memory: &mut Memory, decision: &Decision) {
    if memory.capacities.is_empty() {
        return;
    }
    let mut capacities = std::mem::take(&mut memory.capacities);
    if let Some((_, status)) = &memory.status {
        let (at, current, signals) = (decision.at, decision.from, decision.signals.as_slice());
        let memory = &*memory;
        capacities.learn(&Context { at, name, workload, status, current, signals, memory, strategy: 0 });
    }
    memory.capacities = capacities;
}

/// Lets the strategies that need more than the signals' past remember the moment that was just decided on.
fn remember(name: &WorkloadName, workload: &Workload, memory: &mut Memory, decision: &Decision) {
    for (index, strategy) in workload.strategies.iter().enumerate() {
        let Some((_, status)) = &memory.status else { return };
        let (at, current, signals) = (decision.at, decision.from, decision.signals.as_slice());
        let cx = Context { at, name, workload, status, current, signals, memory, strategy: index };
        let Some(remembered) = strategy.remember(&cx) else { continue };
        if memory.strategies.len() != workload.strategies.len() {
            memory.strategies.resize(workload.strategies.len(), StrategyMemory::Nothing);
        }
        if let Some(own) = memory.strategies.get_mut(index) {
            *own = remembered;
        }
    }
}

/// Why the target's size is not known at `at`, if it is not.
fn unseen(memory: &Memory, at: Timestamp) -> Option<Reason> {
    match (&memory.status, &memory.look_error) {
        (_, Some(error)) => Some(Reason::TargetUnseen { error: Some(error.clone()) }),
        (None, None) => Some(Reason::TargetUnseen { error: None }),
        (Some((seen, _)), None) => {
            let age = at.since(*seen).max(seen.since(at));
            (age > LOOK_FRESH_FOR).then_some(Reason::TargetUnseen { error: None })
        }
    }
}
