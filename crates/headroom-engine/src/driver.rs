//! The loop: time, samples and looks in; records and actions out.
//!
//! One task owns the controller. Whatever happened since the last round is handled as one batch: each input goes
//! through the controller, then inputs and decisions are committed to the journal in one transaction, and only
//! then is anything done. So a crash at any moment loses nothing that was acted upon, and a restart replays to
//! the same memory. IO (looks, actions, sources) runs in tasks with deadlines and comes back as inputs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headroom_core::action::Action;
use headroom_core::controller::{
    Controller, Effect, Input, Notice, Noticed, Order, Override, Settled, Snapshot,
};
use headroom_core::decision::{By, Decision, DecisionId, Outcome};
use headroom_core::fleet::{Fleet, Signal};
use headroom_core::memory::{AppliedPlan, Memory};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::observation::{PoolStatus, TargetStatus, Trouble};
use headroom_core::outlook::{FitAnswer, FitOrder, Peak};
use headroom_core::say;
use headroom_core::units::{Replicas, Span, Timestamp, Unit};
use headroom_core::warm::WarmOrder;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::figures::Figures;
use crate::handle::{
    CostView, EVENT_BACKLOG, EngineHandle, Event, HandleError, Overview, StartUpView, Watching, WorkloadView,
};
use crate::journal::{Batch, Journal, JournalError};
use crate::outbox::{Notifiers, Outbox};
use crate::plan::{self, Plan, PlanEntry};
use crate::ports::{Leave, News, Source, Target, TargetError};
use crate::repeated::Repeated;
use crate::sources::{Sources, Turn, is_source};
use crate::watch::{Found, Watch};

/// Messages that may wait for the loop. A source that finds the queue full waits; it loses nothing.
const QUEUE: usize = 1024;
/// Messages handled in one round at the most, so that a flood can't keep a round from being written down.
const BATCH: usize = 256;
/// How often every workload is looked over (A35: 60 s; a second here). Samples and pokes are handled at once.
const TICK: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// How long an action may take to be accepted.
const ACT_DEADLINE: Duration = Duration::from_secs(30);
/// A status that did not change is written down again this often: half of what the controller believes it for.
const STATUS_REPEAT: Span = Span::seconds(5);
/// The memory is written down whole about this often; a restart replays what came after.
const SNAPSHOT_EVERY: Span = Span::seconds(60);
/// Batches that may wait for a full disk: some minutes of ten a second. Beyond, charts get a gap and the memory as
/// it is then is written down whole.
const UNWRITTEN: usize = 4096;
/// Notices shown on the overview.
const NOTICES: usize = 50;

/// The targets of a fleet's workloads.
pub type Targets = BTreeMap<WorkloadName, Arc<dyn Target>>;

/// A question or an order to the loop.
pub enum Message {
    /// News from a source, which is named.
    News(Arc<str>, News),
    /// The result of a look.
    Looked(WorkloadName, Result<TargetStatus, TargetError>),
    /// The result of an action.
    Settled(Box<Action>, Result<TargetStatus, TargetError>),
    /// The result of a forecast.
    Fitted(Box<FitAnswer>),
    /// See [`EngineHandle::overview`].
    Overview(oneshot::Sender<Overview>),
    /// See [`EngineHandle::watching`].
    Watching(oneshot::Sender<Watching>),
    /// See [`EngineHandle::workload`].
    Workload(WorkloadName, oneshot::Sender<Option<WorkloadView>>),
    /// See [`EngineHandle::foreseen`].
    Foreseen {
        /// Whose signal.
        workload: WorkloadName,
        /// Which.
        signal: SignalName,
        /// Which quantile.
        level: f64,
        /// How far ahead.
        ahead: Span,
        /// The peak.
        answer: oneshot::Sender<Result<Option<Peak>, HandleError>>,
    },
    /// See [`EngineHandle::lacking_history`].
    LackingHistory(oneshot::Sender<Vec<(WorkloadName, SignalName)>>),
    /// See [`EngineHandle::figures`].
    Figures(oneshot::Sender<Figures>),
    /// See [`EngineHandle::fleet`].
    Fleet(oneshot::Sender<Arc<Fleet>>),
    /// See [`EngineHandle::say`].
    Say {
        /// About which workload.
        workload: WorkloadName,
        /// What.
        word: Override,
        /// Whether it is in force.
        answer: oneshot::Sender<Result<(), HandleError>>,
    },
    /// See [`EngineHandle::order`].
    Order {
        /// What.
        word: Order,
        /// Whether it is in force.
        answer: oneshot::Sender<Result<(), HandleError>>,
    },
    /// See [`EngineHandle::plan`].
    Plan {
        /// Another policy than the one in force.
        fleet: Option<Arc<Fleet>>,
        /// The plan.
        answer: oneshot::Sender<Plan>,
    },
    /// See [`EngineHandle::apply`].
    Apply {
        /// The plan.
        plan: Box<Plan>,
        /// Who applies it.
        by: String,
        /// Whether it is done.
        answer: oneshot::Sender<Result<(), HandleError>>,
    },
    /// See [`EngineHandle::change_fleet`].
    ChangeFleet {
        /// The policy.
        fleet: Box<Fleet>,
        /// Its targets.
        targets: Targets,
        /// Its notifiers.
        notifiers: Notifiers,
        /// Whether it is in force.
        answer: oneshot::Sender<Result<(), HandleError>>,
    },
    /// See [`EngineHandle::listening`].
    Listening(BTreeMap<WorkloadName, String>),
    /// See [`EngineHandle::page`].
    Page(String),
    /// See [`EngineHandle::stop`].
    Stop,
}

/// How an engine is started.
pub struct Start {
    /// The policy.
    pub fleet: Fleet,
    /// Where everything is written down.
    pub journal: Journal,
    /// What changes the workloads.
    pub targets: Targets,
    /// Who can be told.
    pub notifiers: Notifiers,
    /// Whether decisions are only said, not done.
    pub advise: bool,
}

/// An engine's task, to be waited for after [`EngineHandle::stop`].
pub type EngineTask = JoinHandle<()>;

/// Starts the loop where the journal left off.
///
/// # Errors
/// Where the journal can't be read or written.
pub async fn start(start: Start) -> Result<(EngineHandle, EngineTask), JournalError> {
    let Start { fleet, journal, targets, notifiers, advise } = start;
    Ok(open(fleet, journal, notifiers, advise).await?.run(targets))
}

/// A loop that is where the journal left off, and touches nothing before it runs.
pub struct Opened {
    driver: Driver,
    inbox: mpsc::Receiver<Message>,
}

impl Opened {
    /// Lets it keep `targets`.
    #[must_use]
    pub fn run(self, targets: Targets) -> (EngineHandle, EngineTask) {
        let Driver { messages, events, journal, .. } = &self.driver;
        let handle =
            EngineHandle { messages: messages.clone(), events: events.clone(), journal: journal.clone() };
        (handle, tokio::spawn(self.driver.run(targets, self.inbox)))
    }
}

/// Does all of a start that can fail, so that nothing has been touched where it does.
///
/// # Errors
/// Where the journal can't be read or written.
pub async fn open(
    fleet: Fleet,
    journal: Journal,
    notifiers: Notifiers,
    advise: bool,
) -> Result<Opened, JournalError> {
    let restored = journal.restore().await?;
    let (raised, progress, untold) =
        (journal.raised().await?, journal.progress().await?, journal.untold().await?);
    let at = now();
    let mut controller = match restored {
        Some((snapshot, inputs)) => {
            restore(snapshot, inputs).unwrap_or_else(|| Controller::new(Arc::new(fleet.clone())))
        }
        None => Controller::new(Arc::new(fleet.clone())),
    };
    let first = vec![Input::FleetChanged { at, fleet: fleet.document() }, Input::Restarted { at }];
    for input in &first {
        // The effects of coming back are looks, which the loop makes anyway.
        let _ = controller.handle(input.clone());
    }
    let batch = Batch { inputs: first, snapshot: Some(controller.snapshot()), ..Batch::new(at) };
    journal.append(batch).await?;
    let (messages, inbox) = mpsc::channel(QUEUE);
    let (events, _) = broadcast::channel(EVENT_BACKLOG);
    let mut outbox = Outbox::new(journal.clone());
    outbox.change(controller.fleet().name(), notifiers);
    outbox.page(controller.fleet().notify().and_then(|notify| notify.link.clone()));
    outbox.resume(untold).await;
    let driver = Driver {
        controller,
        watch: Watch::restore(raised, progress),
        sources: Sources::default(),
        outbox,
        journal,
        targets: BTreeMap::new(),
        pokes: Vec::new(),
        shown: BTreeMap::new(),
        listening: BTreeMap::new(),
        page: None,
        notices: VecDeque::new(),
        messages,
        events,
        advise,
        figures: Figures::default(),
        started_at: at,
        snapshot_at: at,
        unwritten: VecDeque::new(),
        trouble: Repeated::default(),
        failing: None,
        fits: Arc::new(Semaphore::new(1)),
    };
    Ok(Opened { driver, inbox })
}

/// A controller with the memory that the journal holds: the last snapshot and every input after it.
#[must_use]
pub fn restore(snapshot: Snapshot, inputs: Vec<Input>) -> Option<Controller> {
    let mut controller = Controller::restore(snapshot).ok()?;
    for input in inputs {
        // Done before; only the memory counts.
        let _ = controller.handle(input);
    }
    Some(controller)
}

/// Feeds a source's news to the engine until either ends.
pub fn feed(handle: &EngineHandle, mut source: Box<dyn Source>) -> JoinHandle<()> {
    let messages = handle.messages.clone();
    let name: Arc<str> = source.name().into();
    tokio::spawn(async move {
        while let Some(news) = source.next().await {
            if messages.send(Message::News(Arc::clone(&name), news)).await.is_err() {
                return;
            }
        }
        tracing::info!(source = %name, "the source has ended");
    })
}

/// The present. The only clock of the engine.
#[must_use]
pub fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

struct Driver {
    controller: Controller,
    journal: Journal,
    targets: Targets,
    pokes: Vec<JoinHandle<()>>,
    /// What was last written down of each target, and when.
    shown: BTreeMap<WorkloadName, (Timestamp, Result<TargetStatus, String>)>,
    listening: BTreeMap<WorkloadName, String>,
    /// Where the API listens.
    page: Option<String>,
    notices: VecDeque<Notice>,
    messages: mpsc::Sender<Message>,
    events: broadcast::Sender<Event>,
    advise: bool,
    figures: Figures,
    started_at: Timestamp,
    snapshot_at: Timestamp,
    /// What a full disk kept from being written down, oldest first; tried again with the next round.
    unwritten: VecDeque<Arc<Batch>>,
    /// What keeps the journal from being written.
    trouble: Repeated,
    /// Why the last commit failed, if it did.
    failing: Option<String>,
    /// What people must know.
    watch: Watch,
    sources: Sources,
    outbox: Outbox,
    /// Whose turn it is to work out a forecast.
    fits: Arc<Semaphore>,
}

/// One round's inputs on their way through the controller.
struct Round {
    batch: Batch,
    effects: Vec<Effect>,
    answers: Vec<oneshot::Sender<Result<(), HandleError>>>,
    /// Workloads whose view changed.
    changed: Vec<WorkloadName>,
    /// Decisions that were said instead of done.
    only_said: Vec<DecisionId>,
    fleet_changed: bool,
}

impl Round {
    fn begin() -> Self {
        Self {
            batch: Batch::new(now()),
            effects: Vec::new(),
            answers: Vec::new(),
            changed: Vec::new(),
            only_said: Vec::new(),
            fleet_changed: false,
        }
    }

    /// Takes in what people must know.
    fn found(&mut self, found: Found) {
        self.batch.deliveries.extend(found.deliveries);
        self.batch.progress.extend(found.progress);
        if found.raised.is_some() {
            self.batch.raised = found.raised;
        }
    }
}

impl Driver {
    async fn run(mut self, targets: Targets, mut inbox: mpsc::Receiver<Message>) {
        self.retarget(targets);
        // What was raised before may be about what the policy has no more.
        let mut round = Round::begin();
        round.found(self.watch.fit(self.controller.fleet(), round.batch.at));
        self.finish(round).await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut messages = Vec::with_capacity(BATCH);
        let mut stopping = false;
        while !stopping {
            let mut round = Round::begin();
            let began;
            tokio::select! {
                received = inbox.recv_many(&mut messages, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    began = Instant::now();
                }
                _ = tick.tick() => {
                    began = Instant::now();
                    self.charge(now());
                    self.look_at_all();
                    self.input(Input::Tick { at: now() }, &mut round);
                    let found =
                        self.watch.look(&self.controller, &self.sources, self.failing.as_deref(), now());
                    round.found(found);
                }
            }
            for message in messages.drain(..) {
                stopping |= self.message(message, &mut round);
            }
            self.finish(round).await;
            self.figures.round(began.elapsed());
        }
        for poke in self.pokes {
            poke.abort();
        }
    }

    /// Handles one message; true if it was the last.
    fn message(&mut self, message: Message, round: &mut Round) -> bool {
        let at = now();
        match message {
            Message::News(source, news) => {
                self.figures.heard(&source, &news, at);
                self.heard(&source, &news, at, round);
                self.input(
                    match news {
                        News::Samples(samples) => Input::Sampled { at, samples },
                        News::Waiting { workload, requests } => Input::Waiting { at, workload, requests },
                        News::History { workload, signal, history } => {
                            Input::Recalled { at, workload, signal, history }
                        }
                    },
                    round,
                );
            }
            Message::Foreseen { workload, signal, level, ahead, answer } => {
                drop(answer.send(self.foreseen(&workload, &signal, level, at, at.plus(ahead))));
            }
            Message::LackingHistory(answer) => drop(answer.send(self.lacking_history())),
            Message::Watching(answer) => {
                let watching = Watching {
                    alerts: self.watch.raised(),
                    sources: self.sources.views(),
                    notifiers: self.outbox.views(),
                };
                drop(answer.send(watching));
            }
            Message::Figures(answer) => {
                let (sources, notifiers) = (self.sources.views(), self.outbox.figures());
                drop(answer.send(Figures { health: sources, notifiers, ..self.figures.clone() }));
            }
            Message::Looked(workload, status) => self.looked(at, &workload, status, round),
            Message::Settled(action, outcome) => {
                let record = action.record();
                let (workload, decision) = (action.workload().clone(), record.decision.clone());
                round.changed.push(workload.clone());
                let outcome = match outcome {
                    Ok(status) => Settled::Done(without_usage(status)),
                    Err(error) => Settled::Failed(error.to_string()),
                };
                log_settled(&decision, &outcome, at.since(record.at));
                let failed = match &outcome {
                    Settled::Failed(error) => Some(error.clone()),
                    Settled::Done(_) | Settled::Advised => None,
                };
                let _ = self.events.send(Event::Settled { decision: decision.clone(), failed });
                self.figures.settled(&workload, &outcome, at.since(record.at));
                self.input(Input::Settled { at, workload, decision, outcome }, round);
            }
            Message::Fitted(answer) => {
                round.changed.push(answer.workload.clone());
                self.input(Input::Fitted { at, answer: *answer }, round);
            }
            // Whoever asked may have gone meanwhile; then nobody misses the answer.
            Message::Overview(answer) => drop(answer.send(self.overview(at))),
            Message::Workload(name, answer) => drop(answer.send(self.view(&name, at, true))),
            Message::Fleet(answer) => drop(answer.send(Arc::clone(self.controller.fleet()))),
            Message::Say { workload, word, answer } => {
                if self.controller.fleet().workload(&workload).is_none() {
                    let _ = answer.send(Err(HandleError::NoSuchWorkload(workload)));
                } else if let Some(id) = self.waits_no_more(&word, at) {
                    let _ = answer.send(Err(HandleError::NotPending(id)));
                } else {
                    round.changed.push(workload.clone());
                    self.input(Input::Overridden { at, workload, word }, round);
                    round.answers.push(answer);
                }
            }
            Message::Order { word: Order::CloseBreaker { .. }, answer }
                if self.controller.breaker().is_none() =>
            {
                let _ = answer.send(Err(HandleError::NotOpen));
            }
            Message::Order { word, answer } => {
                self.input(Input::Ordered { at, word }, round);
                round.answers.push(answer);
            }
            Message::Plan { fleet, answer } => drop(answer.send(self.plan(fleet.as_deref(), at))),
            Message::Apply { plan, by, answer } => self.apply(&plan, &by, at, answer, round),
            Message::ChangeFleet { fleet, targets, notifiers, answer } => {
                self.input(Input::FleetChanged { at, fleet: fleet.document() }, round);
                self.retarget(targets);
                self.figures.fit(self.controller.fleet());
                self.retell(notifiers, at, round);
                round.fleet_changed = true;
                round.answers.push(answer);
            }
            Message::Listening(addresses) => self.listening = addresses,
            Message::Page(page) => {
                // Where people reach it is for the policy to say; where it listens is the next best.
                if self.controller.fleet().notify().is_none_or(|notify| notify.link.is_none()) {
                    self.outbox.page(Some(page.clone()));
                }
                self.page = Some(page);
            }
            Message::Stop => return true,
        }
        false
    }

    /// Takes in the health of a source; people are told when it turns.
    fn heard(&mut self, source: &str, news: &News, at: Timestamp, round: &mut Round) {
        let News::Samples(samples) = news else { return };
        let fleet = self.controller.fleet();
        if !is_source(fleet, source) {
            return;
        }
        let Some(turn) = self.sources.heard(source, samples, at) else { return };
        let mut workloads: Vec<_> = samples.iter().map(|measured| &measured.workload).collect();
        workloads.dedup();
        let Some(first) = workloads.first() else { return };
        let what = match turn {
            Turn::Down { since, why } => Noticed::SourceDown { since, why, workloads: workloads.len() },
            Turn::Back { since } => Noticed::SourceBack { source: source.to_owned(), since },
        };
        let notice = Notice::new(at, (*first).clone(), what);
        round.effects.push(Effect::Notify(notice));
    }

    /// Tells the notifiers of the policy in force from now on.
    fn retell(&mut self, notifiers: Notifiers, at: Timestamp, round: &mut Round) {
        let fleet = self.controller.fleet();
        self.sources.keep(|name| is_source(fleet, name));
        round.found(self.watch.fit(fleet, at));
        self.outbox.change(fleet.name(), notifiers);
        let link = fleet.notify().and_then(|notify| notify.link.clone());
        self.outbox.page(link.or_else(|| self.page.clone()));
    }

    /// The decision a person answers, where it does not wait.
    fn waits_no_more(&self, word: &Override, at: Timestamp) -> Option<DecisionId> {
        let Override::Answer { decision, .. } = word else { return None };
        let pending = self.controller.memory(&decision.workload).and_then(|memory| memory.pending(at));
        pending.is_none_or(|pending| pending.decision != *decision).then(|| decision.clone())
    }

    fn input(&mut self, input: Input, round: &mut Round) {
        let at = round.batch.at;
        let mut effects = self.controller.handle(input.clone());
        round.batch.inputs.push(input);
        let only_said = if self.advise { take_only_said(&mut effects) } else { Vec::new() };
        round.effects.extend(effects);
        for decision in only_said {
            // Settled at once: what was only said must not seem under way, not even to a plan made a moment later.
            let workload = decision.workload.clone();
            self.figures.settled(&workload, &Settled::Advised, Span::ZERO);
            round.only_said.push(decision.clone());
            let settled = Input::Settled { at, workload, decision, outcome: Settled::Advised };
            round.effects.extend(self.controller.handle(settled.clone()));
            round.batch.inputs.push(settled);
        }
    }

    /// Takes in a look, unless it shows what is known and was written down a moment ago.
    fn looked(
        &mut self,
        at: Timestamp,
        workload: &WorkloadName,
        status: Result<TargetStatus, TargetError>,
        round: &mut Round,
    ) {
        let status = status.map(without_usage).map_err(|e| e.to_string());
        let known = self.shown.get(workload);
        let same = known.is_some_and(|(_, shown)| *shown == status);
        if same && known.is_some_and(|(then, _)| at.since(*then).max(then.since(at)) < STATUS_REPEAT) {
            return;
        }
        if !same {
            round.changed.push(workload.clone());
        }
        self.shown.insert(workload.clone(), (at, status.clone()));
        self.input(Input::Looked { at, workload: workload.clone(), status }, round);
        if !same {
            // A replica became ready or died: what was seen decides at once, not at the next tick.
            self.input(Input::Tick { at }, round);
        }
    }

    fn apply(
        &mut self,
        plan: &Plan,
        by: &str,
        at: Timestamp,
        answer: oneshot::Sender<Result<(), HandleError>>,
        round: &mut Round,
    ) {
        let words: Vec<(WorkloadName, Input)> = plan
            .workloads
            .iter()
            .filter(|entry| entry.to != entry.saw)
            .map(|entry| {
                let (saw, to, by) = (entry.saw, entry.to, by.to_owned());
                let until = at.plus(headroom_core::action::VALID_FOR);
                let word = Override::Apply(AppliedPlan { saw, to, by, until });
                let workload = entry.workload.clone();
                (workload.clone(), Input::Overridden { at, workload, word })
            })
            .collect();
        if let Err(why) = self.may_apply(plan, at).and_then(|()| self.would_be_done(&words)) {
            let _ = answer.send(Err(HandleError::PlanRefused(why)));
            return;
        }
        for (_, word) in words {
            self.input(word, round);
        }
        round.answers.push(answer);
    }

    /// Why a plan can't be applied now.
    fn may_apply(&self, plan: &Plan, at: Timestamp) -> Result<(), String> {
        if plan.version != 1 {
            return Err(format!("this is a plan of version {}, and only version 1 is known", plan.version));
        }
        if plan.fleet != *self.controller.fleet().name() {
            return Err(format!(
                "the plan is for the fleet `{}`, and this is `{}`",
                plan.fleet,
                self.controller.fleet().name()
            ));
        }
        if at > plan.valid_until {
            return Err(format!("the plan was valid until {}; make a new one", plan.valid_until));
        }
        for entry in &plan.workloads {
            let name = &entry.workload;
            let present = self
                .controller
                .memory(name)
                .ok_or_else(|| {
                    format!("the plan names the workload `{name}`, which this fleet does not have")
                })?
                .present();
            if present != Some(entry.saw) {
                let present = present.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
                return Err(format!(
                    "the world has moved: the plan saw `{name}` at {}, and it is at {present}; make a new plan",
                    entry.saw
                ));
            }
        }
        Ok(())
    }

    /// Why the controller would not do all of a plan now: a guard may have changed its mind since the plan was made. A
    /// copy of the controller is asked, so that a plan is done as a whole or not at all.
    fn would_be_done(&self, words: &[(WorkloadName, Input)]) -> Result<(), String> {
        let mut trial = self.controller.clone();
        for (workload, word) in words {
            let effects = trial.handle(word.clone());
            if effects
                .iter()
                .any(|effect| matches!(effect, Effect::Act(action) if action.workload() == workload))
            {
                continue;
            }
            let latest = trial.memory(workload).and_then(Memory::latest);
            let why = latest.and_then(Decision::main_reason).map_or_else(
                || "nothing is known of it".to_owned(),
                |reason| say::sentence(reason, say::Language::English),
            );
            return Err(format!("`{workload}` can't be changed now: {why}; make a new plan"));
        }
        Ok(())
    }

    /// Writes the round down, then does what it asks for.
    async fn finish(&mut self, mut round: Round) {
        let mut actions = Vec::new();
        let mut looks = Vec::new();
        let mut pools = Vec::new();
        for effect in round.effects.drain(..) {
            match effect {
                Effect::Record(decision) => {
                    self.figures.decided(&decision);
                    log_decided(&decision);
                    let told = self.watch.decided(self.controller.fleet(), &decision);
                    round.batch.deliveries.extend(told);
                    let _ = self.events.send(Event::Decided(Arc::new((*decision).clone())));
                    round.batch.decisions.push(*decision);
                }
                Effect::Act(action) => actions.push(action),
                Effect::Look(workload) => looks.push(workload),
                Effect::Warm(order) => pools.push(order),
                Effect::Fit(order) => self.fit(order),
                Effect::Notify(notice) => round.batch.notices.push(notice),
            }
        }
        round.batch.actions.extend(actions.iter().map(|action| action.record().clone()));
        self.note(&round.batch.notices);
        let at = now();
        let pause = Span::millis(SNAPSHOT_EVERY.as_millis().max(50 * self.targets.len() as u64));
        if at.since(self.snapshot_at).max(self.snapshot_at.since(at)) >= pause
            && !round.batch.inputs.is_empty()
        {
            round.batch.snapshot = Some(self.controller.snapshot());
            self.snapshot_at = at;
        }
        let deliveries = round.batch.deliveries.clone();
        let written = self.write(round.batch).await;
        self.failing = written.as_ref().err().cloned();
        // Telling is not acting: what could not be written down is told all the same.
        drop(self.outbox.send(deliveries));
        for answer in round.answers {
            let _ = answer.send(written.clone().map_err(HandleError::Journal));
        }
        match written {
            Ok(()) => {
                for action in actions {
                    let _ = self.events.send(Event::Acting(action.record().clone()));
                    tracing::info!(decision = %action.record().decision, to = %action.to(), "the target is asked");
                    self.act(action);
                }
                // An order that could not be written down is not given; the next tick decides anew.
                for order in pools {
                    self.keep_warm(order);
                }
            }
            Err(why) => {
                for action in actions {
                    let error =
                        TargetError::Failed(format!("not done, because it could not be written down: {why}"));
                    self.report(Message::Settled(Box::new(action), Err(error)));
                }
            }
        }
        for workload in looks {
            self.look(workload);
        }
        for decision in round.only_said {
            let _ = self.events.send(Event::Settled { decision, failed: None });
        }
        for workload in round.changed {
            let _ = self.events.send(Event::Changed(workload));
        }
        if round.fleet_changed {
            let _ = self.events.send(Event::FleetChanged);
        }
    }

    /// Commits a batch, after whatever an earlier failure left behind.
    async fn write(&mut self, batch: Batch) -> Result<(), String> {
        let is_empty = batch.is_empty();
        if !is_empty {
            self.unwritten.push_back(Arc::new(batch));
        }
        while let Some(batch) = self.unwritten.front() {
            let began = Instant::now();
            let appended = self.journal.append(Arc::clone(batch)).await;
            self.figures.committed(began.elapsed(), appended.is_ok());
            match appended {
                Ok(_) => drop(self.unwritten.pop_front()),
                Err(error) => {
                    if !error.may_pass()
                        && let Some(batch) = self.unwritten.pop_front()
                    {
                        self.watch.not_kept(&batch);
                    }
                    if self.unwritten.len() > UNWRITTEN {
                        // The memory as it will be stands for what is given up.
                        for batch in self.unwritten.drain(..) {
                            self.watch.not_kept(&batch);
                        }
                        self.snapshot_at = Timestamp::from_millis(0);
                    }
                    let why = error.to_string();
                    if let Some(times) = self.trouble.came(&why, std::time::Instant::now()) {
                        tracing::error!(
                            error = %why,
                            also = times,
                            "the journal can't be written; nothing is changed until it can"
                        );
                    }
                    return Err(why);
                }
            }
        }
        // A round without anything to write says nothing about the disk.
        if !is_empty && let Some(times) = self.trouble.is_over() {
            tracing::warn!(failed = times, "the journal can be written again");
        }
        Ok(())
    }

    fn note(&mut self, notices: &[Notice]) {
        for notice in notices {
            self.figures.noticed(notice);
            tracing::warn!(workload = %notice.workload, code = %notice.code, "{}", notice.message);
            self.notices.truncate(NOTICES - 1);
            self.notices.push_front(notice.clone());
            let _ = self.events.send(Event::Noticed(Arc::new(notice.clone())));
        }
    }

    fn retarget(&mut self, targets: Targets) {
        for poke in self.pokes.drain(..) {
            poke.abort();
        }
        self.targets = targets;
        self.shown.retain(|name, _| self.targets.contains_key(name));
        for (name, target) in &self.targets {
            let (name, target, messages) = (name.clone(), Arc::clone(target), self.messages.clone());
            self.pokes.push(tokio::spawn(async move {
                let mut changes = target.changes();
                while changes.changed().await.is_ok() {
                    let status = look(target.as_ref()).await;
                    if messages.send(Message::Looked(name.clone(), status)).await.is_err() {
                        return;
                    }
                }
            }));
        }
        self.look_at_all();
    }

    /// Counts what the replicas that exist cost until now.
    fn charge(&mut self, at: Timestamp) {
        for (name, workload) in self.controller.fleet().workloads() {
            let (Some(price), Some((_, status))) =
                (workload.price, self.controller.memory(name).and_then(Memory::status))
            else {
                continue;
            };
            self.figures.charge(name, price.times(paid_for(status)).as_micro_dollars_per_hour(), at);
        }
    }

    fn look_at_all(&self) {
        for name in self.targets.keys() {
            self.look(name.clone());
        }
    }

    fn look(&self, name: WorkloadName) {
        let Some(target) = self.targets.get(&name).cloned() else { return };
        let messages = self.messages.clone();
        tokio::spawn(async move {
            let status = look(target.as_ref()).await;
            // A full queue means that news is plenty; the next look comes within a second.
            let _ = messages.try_send(Message::Looked(name, status));
        });
    }

    fn act(&self, action: Action) {
        let Some(target) = self.targets.get(action.workload()).cloned() else {
            let error = TargetError::Failed("the workload has no target any more".to_owned());
            self.report(Message::Settled(Box::new(action), Err(error)));
            return;
        };
        let messages = self.messages.clone();
        tokio::spawn(async move {
            let outcome = if action.is_stale(now()) {
                Err(TargetError::Stale { until: action.record().valid_until.to_string() })
            } else {
                let what = format!("asking for {} replicas", action.to());
                deadline(ACT_DEADLINE, what, target.act(&action)).await
            };
            let _ = messages.send(Message::Settled(Box::new(action), outcome)).await;
        });
    }

    fn keep_warm(&self, order: WarmOrder) {
        let Some(target) = self.targets.get(order.workload()).cloned() else { return };
        let messages = self.messages.clone();
        tokio::spawn(async move {
            let Some(pool) = target.warm_pool() else {
                tracing::warn!(workload = %order.workload(), "the target keeps no warm pool");
                return;
            };
            let what = format!("asking for {} warm replicas", order.keep());
            match deadline(ACT_DEADLINE, what, pool.keep(&order)).await {
                Ok(status) => {
                    let _ = messages.send(Message::Looked(order.workload().clone(), Ok(status))).await;
                }
                // It is asked again while it does not show.
                Err(error) => {
                    tracing::warn!(workload = %order.workload(), %error, "the warm pool was not set");
                }
            }
        });
    }

    /// Has a forecast worked out beside the loop. One at a time: a thousand that fall due with the same step must not
    /// take every core from the loop.
    fn fit(&self, order: Box<FitOrder>) {
        let (messages, turn) = (self.messages.clone(), Arc::clone(&self.fits));
        tokio::spawn(async move {
            let Ok(_turn) = turn.acquire().await else { return };
            match tokio::task::spawn_blocking(move || order.run()).await {
                Ok(answer) => drop(messages.send(Message::Fitted(Box::new(answer))).await),
                Err(error) => tracing::error!(%error, "a forecast failed; the last one goes on serving"),
            }
        });
    }

    /// Sends a message to this very loop without waiting in it.
    fn report(&self, message: Message) {
        let messages = self.messages.clone();
        tokio::spawn(async move { messages.send(message).await });
    }

    fn foreseen(
        &self,
        workload: &WorkloadName,
        signal: &SignalName,
        level: f64,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Peak>, HandleError> {
        let memory = self.controller.memory(workload);
        let memory = memory.ok_or_else(|| HandleError::NoSuchWorkload(workload.clone()))?;
        let outlook = memory.outlooks().find(|(name, _)| *name == signal).map(|(_, outlook)| outlook);
        Ok(outlook.and_then(|outlook| outlook.ahead()?.peak(level, from, to)))
    }

    /// The forecast signals that a past from elsewhere would be of use to.
    fn lacking_history(&self) -> Vec<(WorkloadName, SignalName)> {
        let mut lacking = Vec::new();
        for name in self.controller.fleet().workloads().keys() {
            let outlooks = self.controller.memory(name).into_iter().flat_map(Memory::outlooks);
            let those = outlooks.filter(|(_, outlook)| outlook.lacks_history());
            lacking.extend(those.map(|(signal, _)| (name.clone(), signal.clone())));
        }
        lacking
    }

    fn overview(&self, at: Timestamp) -> Overview {
        let fleet = self.controller.fleet();
        Overview {
            at,
            fleet: fleet.name().clone(),
            advise: self.advise,
            started_at: self.started_at,
            workloads: fleet.workloads().keys().filter_map(|name| self.view(name, at, false)).collect(),
            breaker: self.controller.breaker().cloned(),
            notices: self.notices.iter().cloned().collect(),
            alerts: self.watch.raised(),
            sources: self.sources.views(),
            notifiers: self.outbox.views(),
        }
    }

    /// A workload as it is now; with `whole`, the day that is foreseen too.
    fn view(&self, name: &WorkloadName, at: Timestamp, whole: bool) -> Option<WorkloadView> {
        let workload = self.controller.fleet().workload(name)?;
        let memory = self.controller.memory(name)?;
        let starts = memory.start_ups();
        let is_mute = |(_, status): &(Timestamp, TargetStatus)| {
            status.troubles.iter().any(|trouble| trouble.code == Trouble::NOT_LISTENING)
        };
        let configured = workload.balancer.as_ref().map(|b| b.listen.to_string());
        let listen = self.listening.get(name).cloned().or(configured);
        Some(WorkloadView {
            name: name.clone(),
            tier: workload.tier.clone(),
            range: workload.replicas,
            price: workload.price,
            listen: listen.filter(|_| !memory.status().is_some_and(is_mute)),
            seen_at: memory.status().map(|(seen, _)| *seen),
            status: memory.status().map(|(_, status)| status.clone()),
            signals: memory.latest().map(|d| d.signals.clone()).unwrap_or_default(),
            freeze: memory.freeze(at).cloned(),
            pending: memory.pending(at).cloned(),
            watched: memory.watched().cloned(),
            shares: self.controller.parts(name, at),
            latest: memory.latest().cloned(),
            start_up: StartUpView {
                seen: starts.seen(),
                p50: starts.quantile(0.5),
                p90: starts.expected(),
                longest: starts.quantile(1.0),
            },
            drain: memory.drains().times(),
            capacity: memory.capacity(workload),
            forecast: memory.outlooks().next().map(|(signal, outlook)| {
                let unit = workload.signals.get(signal).map_or(Unit::Count, Signal::unit);
                outlook.foresight(signal, unit, whole)
            }),
            near: memory.near_forecasts(workload).next(),
            cost: workload.price.zip(memory.status()).map(|(price, (_, status))| CostView::of(price, status)),
        })
    }

    fn plan(&self, other: Option<&Fleet>, at: Timestamp) -> Plan {
        let fleet = other.unwrap_or_else(|| self.controller.fleet());
        let decisions = self.controller.plan(other, at).into_iter();
        let workloads = decisions.map(|(workload, decision)| PlanEntry {
            saw: decision.from,
            to: decision.to,
            warm_saw: self.controller.memory(&workload).and_then(|m| {
                let (_, status) = m.status()?;
                Some(status.pool.as_ref()?.wanted)
            }),
            price: fleet.workload(&workload).and_then(|settings| settings.price),
            workload,
            decision,
        });
        Plan {
            version: 1,
            fleet: fleet.name().clone(),
            at,
            valid_until: at.plus(plan::VALID_FOR),
            workloads: workloads.collect(),
        }
    }
}

/// A decision that acts, in the log: its id stands in every line until it is settled.
fn log_decided(decision: &Decision) {
    if decision.outcome != Outcome::Act {
        return;
    }
    let fresh = decision.signals.iter().filter_map(|signal| signal.reading.fresh());
    tracing::info!(
        decision = %decision.id,
        from = %decision.from,
        to = %decision.to,
        code = decision.main_reason().map_or("none", |reason| reason.code()),
        // The newest sample that it rests on.
        sampled = fresh.map(|sample| sample.at).max().map(tracing::field::display),
        "decided"
    );
}

/// What came of it.
fn log_settled(decision: &DecisionId, outcome: &Settled, took: Span) {
    match outcome {
        Settled::Done(_) => tracing::info!(%decision, %took, "settled: the target took it"),
        Settled::Failed(error) => tracing::warn!(%decision, %took, %error, "settled: the target refused it"),
        Settled::Advised => tracing::info!(%decision, "settled: it was only said"),
    }
}

/// Takes the actions out of `effects` that are to be said and not done: in advise mode only what a person applied is
/// done. Gives the decisions they carried out.
fn take_only_said(effects: &mut Vec<Effect>) -> Vec<DecisionId> {
    let by_person: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Record(decision) if decision.steps.iter().any(|s| s.by == By::Person) => {
                Some(decision.id.clone())
            }
            Effect::Record(_)
            | Effect::Look(_)
            | Effect::Act(_)
            | Effect::Warm(_)
            | Effect::Fit(_)
            | Effect::Notify(_) => None,
        })
        .collect();
    let mut said = Vec::new();
    effects.retain(|effect| match effect {
        Effect::Act(action) if !by_person.contains(&action.record().decision) => {
            said.push(action.record().decision.clone());
            false
        }
        Effect::Warm(_) => false,
        Effect::Act(_) | Effect::Record(_) | Effect::Look(_) | Effect::Fit(_) | Effect::Notify(_) => true,
    });
    said
}

/// The replicas that cost something: all that run, whatever they do, the warm pool included.
#[must_use]
pub fn paid_for(status: &TargetStatus) -> Replicas {
    let warm = status.pool.as_ref().map_or(Replicas::ZERO, PoolStatus::running);
    status.ready.plus(status.starting.0).plus(status.draining.0).plus(warm.0)
}

/// A status without what each replica uses: that is measured as signals, and would make every look news.
fn without_usage(mut status: TargetStatus) -> TargetStatus {
    let pool = status.pool.iter_mut().flat_map(|pool| &mut pool.replicas);
    for replica in Arc::make_mut(&mut status.replicas).iter_mut().chain(pool) {
        replica.cpu = None;
        replica.memory = None;
    }
    status
}

async fn look(target: &dyn Target) -> Result<TargetStatus, TargetError> {
    deadline(LOOK_DEADLINE, "looking at the target".to_owned(), target.look()).await
}

async fn deadline<T>(
    limit: Duration,
    what: String,
    asked: impl Future<Output = Result<T, TargetError>>,
) -> Result<T, TargetError> {
    tokio::time::timeout(limit, asked)
        .await
        .unwrap_or(Err(TargetError::Deadline { what, seconds: limit.as_secs() }))
}

/// Lets go of every target, all at once.
pub async fn leave(targets: &Targets, how: Leave) {
    let leaving: Vec<_> = targets
        .values()
        .cloned()
        .map(|target| tokio::spawn(async move { target.leave(how).await }))
        .collect();
    for task in leaving {
        // A target that panics while it lets go must not keep the others from it.
        let _ = task.await;
    }
}
