//! Oracles: what must be true of every run, checked without the controller's own code.
//!
//! The controller inspects its plans itself; this is a second opinion that sees only inputs and effects, keeps its
//! own books of the past, and asks the same of a run with kills, late samples and wrong clocks as of a calm one.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom_core::action::{Action, ActionRecord};
use headroom_core::controller::{Controller, Effect, Input, Notice, Override, Settled, Snapshot};
use headroom_core::decision::{By, Decision, Outcome};
use headroom_core::fleet::{Fleet, Workload};
use headroom_core::memory::{Freeze, LOOK_FRESH_FOR};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Replicas, Span, Timestamp};

use super::policy::needed_signals;
use super::{Size, Violation};
use crate::pilot::Witness;
use crate::rng::Rng;

/// After this long without an answer an action is taken for lost (the controller's own figure, restated).
const LOST_AFTER: Span = Span::seconds(120);
/// The most changes the oracle looks back at; more than any rate limit counts to.
const CHANGES_KEPT: usize = 1024;

/// What the oracle knows of one workload.
#[derive(Default)]
struct Book {
    needed: Vec<String>,
    /// The last news of each signal, in the order in which they were first heard of.
    samples: Vec<(SignalName, Result<Sample, Absence>)>,
    /// The action under way.
    under_way: Option<ActionRecord>,
    /// Changes that were answered, oldest first, by the controller's clock.
    changes: Vec<Timestamp>,
    freeze: Option<Freeze>,
    number: u64,
    /// The last look that succeeded, when it was, and whether one has failed since.
    seen: Option<(Timestamp, TargetStatus)>,
    unseen: bool,
    /// What was held when the controller went down, if that was known, until the next look.
    before: Option<u32>,
}

impl Book {
    /// The action under way; one without an answer for too long is lost, and too old to be carried out.
    fn under_way(&self, at: Timestamp) -> Option<&ActionRecord> {
        self.under_way.as_ref().filter(|action| at.since(action.at) <= LOST_AFTER)
    }

    /// The most replicas there may be.
    fn held(&self, most: u32, at: Timestamp) -> u32 {
        let seen = self
            .seen
            .as_ref()
            .map(|(_, s)| s.wanted.0.max(s.ready.0 + s.starting.0 + s.draining.0 + s.failed.0));
        let under_way = self.under_way(at).map(|a| a.to.0.max(a.saw.0));
        // What was never seen may be as many as the policy allows; a count of zero that was seen is one.
        seen.max(under_way).max(self.before).unwrap_or(most)
    }

    fn look(&mut self, at: Timestamp, status: &TargetStatus) {
        (self.seen, self.unseen, self.before) = (Some((at, status.clone())), false, None);
    }
}

/// Watches a run.
pub(super) struct Oracle {
    seed: u64,
    fleet: Arc<Fleet>,
    books: BTreeMap<WorkloadName, Book>,
    /// A second controller that gets the same inputs and is saved and read back now and then.
    shadow: Controller,
    input: Option<Input>,
    rng: Rng,
    at: Timestamp,
    /// The clock jumps in this run: rules in terms of the clock are not held against it.
    clock_jumps: bool,
    pub(super) violation: Option<Violation>,
    pub(super) size: Size,
    /// A fold of everything that was recorded and asked for.
    pub(super) digest: u64,
}

impl Oracle {
    pub(super) fn new(seed: u64, fleet: Arc<Fleet>, clock_jumps: bool) -> Self {
        let shadow = Controller::new(Arc::clone(&fleet));
        let mut oracle = Self {
            seed,
            fleet,
            books: BTreeMap::new(),
            shadow,
            input: None,
            rng: Rng::fork(seed, "oracle"),
            at: Timestamp::from_millis(0),
            clock_jumps,
            violation: None,
            size: Size::default(),
            digest: 0xcbf2_9ce4_8422_2325,
        };
        oracle.read_policy();
        oracle
    }

    fn read_policy(&mut self) {
        for (name, workload) in self.fleet.workloads() {
            self.books.entry(name.clone()).or_default().needed = needed_signals(workload);
        }
    }

    fn violated(&mut self, invariant: &'static str, workload: Option<&WorkloadName>, detail: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                seed: self.seed,
                at: self.at,
                workload: workload.map(ToString::to_string),
                invariant,
                detail,
            });
        }
    }

    fn fold(&mut self, text: &str) {
        for byte in text.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Compares the two controllers to the byte at the end of a run.
    pub(super) fn compare(&mut self, controller: &Controller) {
        let text = |c: &Controller| serde_json::to_string(&c.snapshot()).unwrap_or_default();
        let (ours, shadows) = (text(controller), text(&self.shadow));
        self.fold(&ours);
        if ours != shadows {
            self.violated("replay", None, "the same inputs left another memory".to_owned());
        }
    }

    /// Keeps the books.
    fn note(&mut self, input: &Input) {
        match input {
            Input::Tick { at } | Input::Sampled { at, .. } | Input::Ordered { at, .. } => self.at = *at,
            Input::Looked { at, workload, status } => {
                self.at = *at;
                match (self.books.get_mut(workload), status) {
                    (Some(book), Ok(status)) => book.look(*at, status),
                    (Some(book), Err(_)) => book.unseen = true,
                    (None, _) => {}
                }
            }
            Input::Settled { at, workload, decision, outcome } => {
                self.at = *at;
                let Some(book) = self.books.get_mut(workload) else { return };
                let Some(action) = book.under_way.take_if(|a| a.decision == *decision) else { return };
                if matches!(outcome, Settled::Done(_)) && action.saw != action.to {
                    if book.changes.len() == CHANGES_KEPT {
                        book.changes.remove(0);
                    }
                    book.changes.push(*at);
                }
                if let Settled::Done(status) = outcome {
                    book.look(*at, status);
                }
            }
            Input::Waiting { at, .. } => self.at = *at,
            Input::Overridden { at, workload, word } => {
                self.at = *at;
                if let Some(book) = self.books.get_mut(workload) {
                    match word {
                        Override::Freeze(freeze) => book.freeze = Some(freeze.clone()),
                        Override::Answer { .. } => {}
                        Override::Thaw => book.freeze = None,
                        Override::Apply(_) => {}
                    }
                }
            }
            Input::FleetChanged { at, fleet } => {
                self.at = *at;
                if let Ok(fleet) = Fleet::new(fleet.clone()) {
                    self.fleet = Arc::new(fleet);
                    self.read_policy();
                }
            }
            Input::Fitted { at, .. } | Input::Recalled { at, .. } => self.at = *at,
            Input::Restarted { at } => {
                self.at = *at;
                for (name, book) in &mut self.books {
                    let most = self.fleet.workload(name).map_or(0, |w| w.replicas.max.0);
                    // One that was never seen is still not known.
                    let known = book.seen.is_some() || book.under_way.is_some() || book.before.is_some();
                    book.before = known.then(|| book.held(most, *at));
                    (book.under_way, book.seen) = (None, None);
                }
            }
        }
        // As the controller has it: what seems to lie ahead was asked for just now, by a clock that was set back.
        for action in self.books.values_mut().filter_map(|book| book.under_way.as_mut()) {
            action.at = action.at.min(self.at);
        }
        self.lose(input);
        if let Input::Sampled { samples, .. } = input {
            for m in samples {
                if let Some(book) = self.books.get_mut(&m.workload) {
                    match book.samples.iter_mut().find(|(name, _)| *name == m.signal) {
                        Some((_, news)) => *news = m.value.clone(),
                        None => book.samples.push((m.signal.clone(), m.value.clone())),
                    }
                }
            }
        }
    }

    /// Who is looked over finds out that an action is lost, also where the clock is set back afterwards.
    fn lose(&mut self, input: &Input) {
        let at = self.at;
        let concerns = |name: &WorkloadName| match input {
            Input::Tick { .. } => true,
            Input::Sampled { samples, .. } => samples.iter().any(|m| m.workload == *name),
            Input::Waiting { workload, .. } | Input::Overridden { workload, .. } => workload == name,
            _ => false,
        };
        for (name, book) in &mut self.books {
            book.under_way.take_if(|action| at.since(action.at) > LOST_AFTER && concerns(name));
        }
    }

    /// Everything an action must not do.
    fn judge(&mut self, action: &Action, decision: Option<&Decision>) {
        let name = action.workload().clone();
        let fleet = Arc::clone(&self.fleet);
        let Some(workload) = fleet.workload(&name) else {
            return self.violated("known workload", Some(&name), "an action for nobody".to_owned());
        };
        let Some(decision) = decision else {
            return self.violated("record precedes act", Some(&name), format!("{:?}", action.record()));
        };
        let (from, to) = (decision.from, decision.to);
        if decision.outcome != Outcome::Act || to != action.to() || from == to {
            self.violated(
                "record precedes act",
                Some(&name),
                format!("recorded {from} → {to}, acted {}", action.to()),
            );
        }
        let range = workload.replicas;
        let was_inside = range.clamp(from) == from;
        let towards = range.clamp(from);
        let nearer = towards.0.abs_diff(to.0) < towards.0.abs_diff(from.0);
        if range.clamp(to) != to && !nearer {
            self.violated(
                "bounds",
                Some(&name),
                format!("{from} → {to} leaves {}..{}", range.min, range.max),
            );
        }
        self.judge_absence(&name, workload, decision);
        self.judge_order(&name, action);
        self.judge_limits(&name, decision);
        if let Some(freeze) = &self.books[&name].freeze
            && freeze.until.is_none_or(|until| self.at < until)
        {
            self.violated("freeze", Some(&name), format!("{from} → {to} while frozen"));
        }
        // Coming back into the range is not refused by the limits of speed, nor is what a person asked for.
        let by_person = decision.steps.iter().any(|step| step.by == By::Person);
        if was_inside && from != Replicas::ZERO && !self.clock_jumps && !by_person {
            self.judge_speed(&name, workload, decision);
        }
        let book = self.books.entry(name).or_default();
        book.under_way = Some(action.record().clone());
    }

    fn judge_absence(&mut self, name: &WorkloadName, workload: &Workload, decision: &Decision) {
        if decision.to >= decision.from || decision.from > workload.replicas.max {
            return;
        }
        let book = &self.books[name];
        let absent = workload.signals.iter().find(|(signal, settings)| {
            let fresh = match book.samples.iter().find(|(name, _)| *name == **signal).map(|(_, news)| news) {
                Some(Ok(sample)) => {
                    let age = self.at.since(sample.at).max(sample.at.since(self.at));
                    age <= settings.fresh_for
                }
                // Nothing to measure is no fault.
                Some(Err(Absence::Idle | Absence::NoReplica)) => true,
                Some(Err(_)) | None => false,
            };
            !fresh && book.needed.iter().any(|n| n == signal.as_str())
        });
        if let Some((signal, _)) = absent {
            let detail = format!("{} → {} without a fresh `{signal}`", decision.from, decision.to);
            self.violated("no shrinking on absence", Some(name), detail);
        }
    }

    fn judge_order(&mut self, name: &WorkloadName, action: &Action) {
        let book = &self.books[name];
        if let Some(before) = book.under_way(self.at)
            && action.to() <= before.to
        {
            let detail = format!("→ {} while → {} is under way", action.to(), before.to);
            self.violated("one action at a time", Some(name), detail);
        }
    }

    /// What several workloads draw from together is never promised twice.
    fn judge_limits(&mut self, name: &WorkloadName, decision: &Decision) {
        if decision.to <= decision.from || self.clock_jumps {
            return;
        }
        let fleet = Arc::clone(&self.fleet);
        for (limit, settings) in fleet.limits().iter().filter(|(_, l)| l.uses.contains_key(name)) {
            let most = |name: &WorkloadName| fleet.workload(name).map_or(0, |w| w.replicas.max.0);
            let held = |user: &WorkloadName| {
                let held = self.books.get(user).map_or(most(user), |book| book.held(most(user), self.at));
                if user == name { held.max(decision.to.0) } else { held }
            };
            let used: u64 = settings.uses.iter().map(|(user, each)| each * u64::from(held(user))).sum();
            let ready = |supplier: &WorkloadName| {
                let book = self.books.get(supplier)?;
                let (seen, status) = book.seen.as_ref().filter(|_| !book.unseen)?;
                let promised = book.under_way(self.at).map_or(status.wanted, |a| a.to);
                (self.at.since(*seen) <= LOOK_FRESH_FOR).then_some(status.ready.min(promised).0)
            };
            let added = settings.suppliers.iter().map(|(s, each)| each * u64::from(ready(s).unwrap_or(0)));
            let supply = settings.supply + added.sum::<u64>();
            if used > supply {
                let users: Vec<String> =
                    settings.uses.keys().map(|user| format!("{user} holds {}", held(user))).collect();
                let detail = format!(
                    "{} → {} makes {used} of {supply} of {limit}: {}",
                    decision.from,
                    decision.to,
                    users.join(", ")
                );
                return self.violated("shared limit", Some(name), detail);
            }
        }
    }

    fn judge_speed(&mut self, name: &WorkloadName, workload: &Workload, decision: &Decision) {
        let (from, to) = (decision.from, decision.to);
        let changes = &self.books[name].changes;
        let since_last = changes.last().map(|last| self.at.since(*last));
        if let (Some(cooldown), Some(since)) = (&workload.guards.cooldown, since_last) {
            let pause = if to > from { cooldown.up } else { cooldown.down };
            if since < pause {
                let detail = format!("{from} → {to} after {since} of {pause}");
                return self.violated("cooldown", Some(name), detail);
            }
        }
        if let Some(limit) = &workload.guards.rate_limit {
            let hour_ago = self.at.minus(Span::hours(1));
            let recent = changes.iter().filter(|at| **at > hour_ago).count();
            if recent >= usize::try_from(limit.per_hour).unwrap_or(usize::MAX)
                || since_last.is_some_and(|since| since < limit.apart)
                || to.0.abs_diff(from.0) > limit.replicas_per_change.0
            {
                let detail = format!("{from} → {to} after {recent} changes, the last {since_last:?} ago");
                self.violated("rate limit", Some(name), detail);
            }
        }
    }

    /// The shadow got the same inputs; it must do the same, also after it was saved and read back.
    fn shadow(&mut self, input: Input, effects: &[Effect]) {
        if self.rng.chance(0.000_5) {
            let text = serde_json::to_string(&self.shadow.snapshot()).unwrap_or_default();
            match serde_json::from_str::<Snapshot>(&text).map(Controller::restore) {
                Ok(Ok(restored)) => self.shadow = restored,
                Ok(Err(problems)) => {
                    return self.violated("snapshot", None, format!("its policy is refused: {problems:?}"));
                }
                Err(error) => {
                    return self.violated("snapshot", None, format!("it does not read back: {error}"));
                }
            }
            self.size.restores += 1;
        }
        let shadows = self.shadow.handle(input);
        if shadows != effects {
            self.violated("replay", None, format!("{effects:?}\nbut its twin\n{shadows:?}"));
        }
    }
}

impl Witness for Oracle {
    fn before(&mut self, _controller: &Controller, input: &Input) {
        self.size.inputs += 1;
        self.note(input);
        self.input = Some(input.clone());
    }

    fn after(&mut self, _controller: &Controller, effects: &[Effect]) {
        let mut recorded: BTreeMap<&WorkloadName, &Decision> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Record(decision) => {
                    self.size.decisions += 1;
                    let name = &decision.id.workload;
                    recorded.insert(name, decision);
                    let number = &mut self.books.entry(name.clone()).or_default().number;
                    let expected = *number + 1;
                    *number = decision.id.number;
                    if decision.id.number != expected {
                        let detail = format!("{} came after number {}", decision.id, expected - 1);
                        self.violated("decisions are numbered", Some(name), detail);
                    }
                }
                Effect::Act(action) => {
                    self.size.actions += 1;
                    let text = serde_json::to_string(action).unwrap_or_default();
                    self.fold(&text);
                    self.judge(action, recorded.get(action.workload()).copied());
                }
                _ => {}
            }
        }
        if let Some(input) = self.input.take() {
            self.shadow(input, effects);
        }
    }

    fn told(&mut self, _step: u64, notice: &Notice) {
        if notice.code == "plan-rejected" {
            self.violated("inspect", Some(&notice.workload), notice.message.clone());
        }
    }

    fn applied(&mut self, _step: u64, action: &ActionRecord, before: u32) {
        // The world changes by recorded actions only; a copy of one that was overtaken must not take it back.
        let book = self.books.entry(action.decision.workload.clone()).or_default();
        if action.decision.number > book.number {
            let name = action.decision.workload.clone();
            self.violated("record precedes act", Some(&name), format!("{before} → {} unrecorded", action.to));
        }
    }
}
