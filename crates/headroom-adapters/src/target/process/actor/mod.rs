//! The one owner of all state of a supervisor.
//!
//! A loop over a closed set of inputs: commands, reports of tasks, and time. Each round applies what
//! came, lets the pure parts decide (`crew` who, `replica` what next), does what they
//! say, writes the record if it changed, and shows the new status. One thing is waited for in place, since
//! its order matters more than the loop's pace: the record, before and after starts.
//!
//! The loop is here; what it does in files of its own: `start` (from intent to process), `keep` (record
//! and adoption), `measure` (probes and usage), `show` (status and findings).

mod keep;
mod measure;
mod show;
mod start;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::adopt::Adoption;
use super::backoff::mix;
use super::clock::{Clock, Moment};
use super::crew::{self, Member, Order, Stage};
use super::host::ProcessId;
use super::logs;
use super::ports::{self, Ports};
use super::record::{Record, Store};
use super::replica::{Effect, Event, Leave, Life, Replica};
use super::spec::{ReplicaSpec, SHORTEST_INTERVAL};
use super::status::{Finding, Status, Usage};
use super::supervisor::Shutdown;
use super::tasks::{Body, Report, Tasks, Which};
use super::token::{Home, Token};

/// Reports wait in a queue of this length; a task with a report waits if it is full.
const REPORTS: usize = 1024;

/// A starting replica is probed this often, so that its readiness is noticed at once (C1 counts seconds).
const STARTING_INTERVAL: Duration = Duration::from_millis(100);

/// A finding not seen again for this long is history, and history is the journal's.
const FINDING_AGE: Duration = Duration::from_secs(600);

/// An order can lead to another (a failed start to a new plan), but not to many: each round changes the
/// crew or ends, and what is left is done in the next round of the loop.
const PLAN_ROUNDS: usize = 4;

/// What handles can ask for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make it `to`. Answers the generation, or the present size if it isn't `seen` and `to` is less.
    SetDesired { to: u32, seen: Option<u32>, reply: oneshot::Sender<Result<u64, u32>> },
    /// Keep so many warm beside.
    KeepWarm { count: u32, reply: oneshot::Sender<()> },
    /// Run this from now on.
    SetSpec { spec: Box<ReplicaSpec> },
    /// This replica has nothing left to answer.
    Drained { replica: String },
    /// End.
    Shutdown { how: Shutdown, reply: oneshot::Sender<()> },
}

/// What a supervisor stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) workload: String,
    pub(crate) home: Home,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<Store>,
    pub(crate) ports: Ports,
    pub(crate) seed: u64,
}

/// A replica with what the outside world has of it.
#[derive(Debug)]
struct Slot {
    replica: Replica,
    /// When its last start was asked for.
    asked: Moment,
    outgoing: bool,
    /// It is of the warm pool and serves nobody.
    spare: bool,
    process: Option<Process>,
}

/// One start of a replica: intended, running, or ended with remains.
#[derive(Debug)]
struct Process {
    start: u64,
    token: Token,
    port: Option<u16>,
    spec_hash: String,
    /// `None` between intent and start.
    id: Option<ProcessId>,
    began: Moment,
    ready: Option<Moment>,
    log: Option<PathBuf>,
    adopted: bool,
    next_probe: Moment,
    probing: bool,
    preload: Preload,
    /// All its processes as last seen.
    members: BTreeSet<ProcessId>,
    cpu_at: Option<(Moment, Duration)>,
    usage: Option<Usage>,
}

/// How far a replica of the warm pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preload {
    /// It was not asked to warm up yet, or could not.
    Due,
    /// It is being asked.
    UnderWay,
    /// It is warm.
    Done,
}

/// The owner.
#[derive(Debug)]
pub(crate) struct Actor {
    spec: ReplicaSpec,
    spec_hash: String,
    ground: Ground,
    slots: BTreeMap<u32, Slot>,
    desired: u32,
    /// How many are kept warm beside.
    pool: u32,
    generation: u64,
    next_index: u32,
    next_start: u64,
    boot_id: String,
    findings: VecDeque<(Moment, Finding)>,
    tasks: Tasks,
    reports: mpsc::Receiver<Report>,
    /// Slots to be started in this round.
    to_start: Vec<u32>,
    next_sample: Moment,
    sampling: bool,
    saved: Option<Record>,
    save_after: Moment,
    closing: Vec<oneshot::Sender<()>>,
    is_closing: bool,
    status: watch::Sender<Arc<Status>>,
    changes: watch::Sender<u64>,
}

impl Actor {
    /// An actor with the replicas that were adopted, and the two ends by which it is watched.
    pub(crate) fn new(
        spec: ReplicaSpec,
        ground: Ground,
        record: Record,
        adoption: Adoption,
        damage: Option<String>,
    ) -> (Self, watch::Receiver<Arc<Status>>, watch::Receiver<u64>) {
        let (sender, reports) = mpsc::channel(REPORTS);
        let nothing = Status {
            workload: ground.workload.clone(),
            desired: record.desired,
            pool: record.pool,
            generation: record.generation,
            replicas: Vec::new(),
            findings: Vec::new(),
        };
        let (status, status_seen) = watch::channel(Arc::new(nothing));
        let (changes, changes_seen) = watch::channel(0);
        let now = ground.clock.now();
        let mut actor = Self {
            spec_hash: spec.hash(),
            spec,
            slots: BTreeMap::new(),
            desired: record.desired,
            pool: record.pool,
            generation: record.generation,
            next_index: record.next_index,
            next_start: record.next_start,
            boot_id: record.boot_id,
            findings: VecDeque::new(),
            tasks: Tasks::new(sender),
            reports,
            to_start: Vec::new(),
            next_sample: now,
            sampling: false,
            saved: None,
            save_after: now,
            closing: Vec::new(),
            is_closing: false,
            status,
            changes,
            ground,
        };
        actor.take_over(adoption, damage, now);
        actor.publish();
        (actor, status_seen, changes_seen)
    }

    /// Runs until it is shut down or its last handle is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            self.ground.clock.follow_wall(jiff::Timestamp::now());
            let now = self.ground.clock.now();
            self.pass_time(now);
            for _ in 0..PLAN_ROUNDS {
                if !self.follow_plan(now) {
                    break;
                }
            }
            self.start_processes().await;
            let now = self.ground.clock.now();
            self.slots.retain(|_, slot| *slot.replica.life() != Life::Stopped);
            self.probe(now);
            self.sample(now);
            self.save(now).await;
            self.publish();
            self.tasks.tidy();
            if self.is_closing && self.slots.is_empty() {
                break;
            }
            let wake = self.ground.clock.instant(self.next_wake(now));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => if !self.obey(command) { break },
                    None => break,
                },
                Some(report) = self.reports.recv() => self.hear(report),
                () = sleep_until(wake) => {}
            }
        }
        self.save_after = self.ground.clock.now();
        self.save(self.save_after).await;
        // Tasks end and the directory is let go before anybody is told that it is over.
        let closing = std::mem::take(&mut self.closing);
        drop(self);
        for reply in closing {
            let _ = reply.send(());
        }
    }

    /// Does what a handle asks; `false` ends the actor.
    fn obey(&mut self, command: Command) -> bool {
        let now = self.ground.clock.now();
        match command {
            // Dropping the reply says that it has ended, which it is about to.
            Command::SetDesired { .. } if self.is_closing => {}
            Command::SetDesired { to, seen, reply } => {
                let outdated = seen.is_some_and(|seen| seen != self.desired);
                let answer = if outdated && to < self.desired {
                    Err(self.desired)
                } else {
                    if to != self.desired {
                        info!(workload = self.ground.workload, from = self.desired, to, "size set");
                        self.desired = to;
                        self.generation += 1;
                    }
                    Ok(self.generation)
                };
                // The asker may have given up; what was asked is done all the same.
                let _ = reply.send(answer);
            }
            Command::KeepWarm { .. } if self.is_closing => {}
            Command::KeepWarm { count, reply } => {
                if count != self.pool {
                    info!(workload = self.ground.workload, from = self.pool, to = count, "warm pool set");
                    self.pool = count;
                }
                // The asker may have given up; what was asked is done all the same.
                let _ = reply.send(());
            }
            Command::SetSpec { spec } => self.change_spec(*spec, now),
            Command::Drained { replica } => {
                let found = self.slots.keys().copied().find(|index| self.name(*index) == replica);
                if let Some(index) = found {
                    self.apply(index, Event::Drained, now);
                }
            }
            Command::Shutdown { how, reply } => {
                self.closing.push(reply);
                match how {
                    Shutdown::Detach => return false,
                    Shutdown::StopAll { drain } => self.stop_all(drain),
                }
            }
        }
        true
    }

    /// Begins to end all replicas; none is started any more, and the actor ends with the last.
    pub(crate) fn stop_all(&mut self, drain: Duration) {
        let now = self.ground.clock.now();
        self.is_closing = true;
        self.pool = 0;
        if self.desired != 0 {
            self.desired = 0;
            self.generation += 1;
        }
        let all: Vec<u32> = self.slots.keys().copied().collect();
        for index in all {
            self.apply(index, Event::Leave { why: Leave::Shutdown, drain }, now);
        }
    }

    /// Replicas that serve are rotated to the new version by and by; those that don't are started anew at
    /// once, since the change may be what mends them.
    fn change_spec(&mut self, spec: ReplicaSpec, now: Moment) {
        let hash = spec.hash();
        if hash != self.spec_hash && !self.slots.is_empty() {
            warn!(workload = self.ground.workload, "replicas are replaced, for the command changed");
        }
        self.spec_hash = hash;
        self.spec = spec;
        let indexes: Vec<u32> = self.slots.keys().copied().collect();
        for index in indexes {
            let Some(slot) = self.slots.get(&index) else { continue };
            let never_served = matches!(slot.replica.life(), Life::Starting { .. });
            if never_served && slot.process.as_ref().is_some_and(|process| self.is_other_version(process)) {
                self.apply(index, Event::Leave { why: Leave::Replaced, drain: Duration::ZERO }, now);
            } else {
                self.apply(index, Event::SpecChanged, now);
            }
        }
    }

    /// Whether a process runs another version than the one wanted. One whose version isn't known any more
    /// is left alone.
    fn is_other_version(&self, process: &Process) -> bool {
        !process.spec_hash.is_empty() && process.spec_hash != self.spec_hash
    }

    /// Takes in what a task reports. Reports of an earlier start are dropped here.
    fn hear(&mut self, report: Report) {
        let now = self.ground.clock.now();
        match report {
            Report::Probed { which, answer } => {
                let Some(process) = self.process(which) else { return };
                process.probing = false;
                if answer.is_ok() && process.ready.is_none() {
                    process.ready = Some(now);
                }
                let event = match answer {
                    Ok(()) => Event::Healthy,
                    Err(met) => Event::Unhealthy(met),
                };
                self.apply(which.index, event, now);
                self.preload(which);
            }
            Report::Preloaded { which, answer } => self.preloaded(which, answer, now),
            Report::Found { which, members } => {
                if let Some(process) = self.process(which) {
                    process.members.extend(members);
                }
            }
            Report::Exited { which, exit } => {
                let Some(process) = self.process(which) else { return };
                let lived = now.since(process.began);
                let last_words = process.last_words();
                self.apply(which.index, Event::Exited { exit, lived, last_words }, now);
            }
            Report::Swept { which, left } => {
                let Some(process) = self.process(which) else { return };
                // Only now that all of the replica is gone it is another's if it is taken.
                let port_taken = process.port.filter(|port| !ports::is_free(*port));
                let last_words = process.last_words();
                if !left.is_empty() {
                    let pids: Vec<String> = left.iter().map(|id| id.pid.to_string()).collect();
                    let text = format!(
                        "these processes could not be ended: {}; they hang in the kernel (see `ps -o pid,stat,wchan -p {}`), often on a disk that is gone",
                        pids.join(", "),
                        pids.join(",")
                    );
                    self.find("unkillable", Some(which.index), text, now);
                }
                if let Some(slot) = self.slots.get_mut(&which.index) {
                    slot.process = None;
                }
                self.apply(which.index, Event::Swept { port_taken, last_words }, now);
            }
            Report::Sampled(snapshot) => {
                self.sampling = false;
                match snapshot {
                    Ok(census) => self.measure(&census),
                    Err(error) => {
                        let text = format!("usage can't be measured: {error}; is /proc mounted?");
                        self.find("unmeasured", None, text, now);
                    }
                }
            }
        }
    }

    fn pass_time(&mut self, now: Moment) {
        let due: Vec<u32> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.replica.deadline(&self.spec).is_some_and(|at| at <= now))
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            self.apply(index, Event::Passed, now);
        }
        while self.findings.front().is_some_and(|(at, _)| now.since(*at) > FINDING_AGE) {
            self.findings.pop_front();
        }
    }

    /// One round of orders; `false` if there were none.
    fn follow_plan(&mut self, now: Moment) -> bool {
        let members: Vec<Member> =
            self.slots.iter().map(|(index, slot)| self.member(*index, slot, now)).collect();
        let orders = crew::plan(self.desired, self.pool, &members);
        let drain = self.spec.stop.drain;
        for order in &orders {
            match *order {
                Order::Add(count) => {
                    for _ in 0..count {
                        self.add(false, now);
                    }
                }
                Order::AddSpare(count) => {
                    for _ in 0..count {
                        self.add(true, now);
                    }
                }
                Order::Promote(index) => {
                    if let Some(slot) = self.slots.get_mut(&index) {
                        slot.spare = false;
                    }
                }
                Order::Recall(index) => self.apply(index, Event::Recall, now),
                Order::Remove(index) => {
                    let drain = self.drain_of(index, drain);
                    self.apply(index, Event::Leave { why: Leave::ScaleIn, drain }, now);
                }
                Order::Retire(index) => {
                    let drain = self.drain_of(index, drain);
                    self.apply(index, Event::Leave { why: Leave::Replaced, drain }, now);
                }
                Order::Rotate(index) => {
                    if let Some(slot) = self.slots.get_mut(&index) {
                        slot.outgoing = true;
                    }
                }
            }
        }
        self.slots.retain(|_, slot| *slot.replica.life() != Life::Stopped);
        !orders.is_empty()
    }

    fn member(&self, index: u32, slot: &Slot, now: Moment) -> Member {
        let stage = match slot.replica.life() {
            Life::Waiting { .. } => Stage::Waiting,
            Life::Spawning | Life::Starting { .. } => Stage::Starting,
            // One of the pool is on its way until it is warm.
            Life::Ready { .. } if slot.spare && !slot.is_warm() => Stage::Starting,
            Life::Ready { .. } => Stage::Ready,
            Life::Sick { .. } => Stage::Sick,
            Life::Draining { why: Leave::ScaleIn, failures, .. }
                if *failures < self.spec.health.unhealthy.get() =>
            {
                Stage::Recallable
            }
            // It is about to wait for its next start, and is not to be replaced by another meanwhile.
            Life::Terminating { why: Leave::Failed(_), .. } | Life::Sweeping { why: Leave::Failed(_) } => {
                Stage::Waiting
            }
            Life::Draining { .. } | Life::Terminating { .. } | Life::Sweeping { .. } | Life::Stopped => {
                Stage::Leaving
            }
        };
        let outdated = slot.process.as_ref().is_some_and(|process| {
            let too_old = self.spec.max_lifetime.is_some_and(|most| now.since(process.began) >= most);
            too_old || self.is_other_version(process)
        });
        Member { index, stage, outgoing: slot.outgoing, outdated, spare: slot.spare }
    }

    /// How long a replica drains: one of the warm pool has nothing to finish.
    fn drain_of(&self, index: u32, drain: Duration) -> Duration {
        let is_spare = self.slots.get(&index).is_some_and(|slot| slot.spare);
        if is_spare { Duration::ZERO } else { drain }
    }

    /// Asks a well replica of the warm pool to warm up, if it was not asked yet.
    fn preload(&mut self, which: Which) {
        let Some(slot) = self.slots.get_mut(&which.index) else { return };
        if !slot.spare || !matches!(slot.replica.life(), Life::Ready { .. }) {
            return;
        }
        let Some(process) = slot.process.as_mut().filter(|p| p.preload == Preload::Due) else { return };
        if self.spec.preload.is_empty() || process.port.is_none() {
            process.preload = Preload::Done;
            return;
        }
        process.preload = Preload::UnderWay;
        // Filling a cache takes longer than answering a probe, and nobody waits for it.
        let timeout = self.spec.health.start_grace;
        self.tasks.preload(which, self.spec.preload.clone(), process.port, timeout);
    }

    fn preloaded(&mut self, which: Which, answer: Result<(), String>, now: Moment) {
        let Some(process) = self.process(which) else { return };
        process.preload = if answer.is_ok() { Preload::Done } else { Preload::Due };
        if let Err(met) = answer {
            let text = format!(
                "it could not be warmed: {met}; it is asked again after its next health check, and serves cold if it is needed before (see warmPool.preload)"
            );
            self.find("preload-failed", Some(which.index), text, now);
        }
    }

    fn add(&mut self, spare: bool, now: Moment) {
        let index = self.next_index;
        self.next_index += 1;
        let seed = mix(self.ground.seed ^ u64::from(index));
        let slot =
            Slot { replica: Replica::new(now, seed), asked: now, outgoing: false, spare, process: None };
        self.slots.insert(index, slot);
        self.apply(index, Event::Passed, now);
    }

    /// Applies an event to a replica, and does what follows from it.
    fn apply(&mut self, index: u32, event: Event, now: Moment) {
        let Some(slot) = self.slots.get_mut(&index) else { return };
        debug!(workload = self.ground.workload, replica = index, ?event, "event");
        let effects = slot.replica.on(event, now, &self.spec);
        for effect in effects {
            match effect {
                Effect::Spawn => self.to_start.push(index),
                Effect::Terminate => self.terminate(index),
                Effect::Sweep { after } => self.sweep(index, after),
                Effect::Report(fault) => self.report(index, &fault, now),
            }
        }
    }

    fn terminate(&mut self, index: u32) {
        let Some(process) = self.slots.get(&index).and_then(|slot| slot.process.as_ref()) else { return };
        self.tasks.terminate(Which { index, start: process.start }, process.body());
    }

    fn sweep(&mut self, index: u32, after: Duration) {
        let Some(process) = self.slots.get(&index).and_then(|slot| slot.process.as_ref()) else { return };
        self.tasks.sweep(Which { index, start: process.start }, process.body(), after);
    }

    fn next_wake(&self, now: Moment) -> Moment {
        let mut wake = now + FINDING_AGE;
        for slot in self.slots.values() {
            wake = slot.replica.deadline(&self.spec).map_or(wake, |at| wake.min(at));
            let probed = probe_interval(&slot.replica, &self.spec).is_some();
            if let Some(process) = slot.process.as_ref().filter(|process| probed && !process.probing) {
                wake = wake.min(process.next_probe);
            }
            if slot.process.is_some() && !self.sampling {
                wake = wake.min(self.next_sample);
            }
        }
        wake
    }

    fn process(&mut self, which: Which) -> Option<&mut Process> {
        self.slots.get_mut(&which.index)?.process.as_mut().filter(|process| process.start == which.start)
    }

    fn name(&self, index: u32) -> String {
        format!("{}-{index}", self.ground.workload)
    }

    fn logs(&self) -> PathBuf {
        self.ground.store.directory().join("logs")
    }
}

impl Slot {
    /// Whether it is of the pool and did all it was asked to warm up.
    fn is_warm(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.preload == Preload::Done)
    }
}

impl Process {
    fn body(&self) -> Body {
        Body { root: self.id, token: Some(self.token.clone()), known: self.members.clone() }
    }

    fn last_words(&self) -> String {
        self.log.as_deref().map(logs::last_words).unwrap_or_default()
    }
}

/// How often a replica is probed in its present state; `None` if it isn't.
fn probe_interval(replica: &Replica, spec: &ReplicaSpec) -> Option<Duration> {
    match replica.life() {
        Life::Starting { .. } => Some(STARTING_INTERVAL),
        Life::Ready { .. } | Life::Sick { .. } | Life::Draining { .. } => {
            Some(spec.health.interval.max(SHORTEST_INTERVAL))
        }
        Life::Waiting { .. }
        | Life::Spawning
        | Life::Terminating { .. }
        | Life::Sweeping { .. }
        | Life::Stopped => None,
    }
}
