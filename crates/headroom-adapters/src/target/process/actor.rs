//! The one owner of all state of a supervisor.
//!
//! A loop over a closed set of inputs: commands, reports of tasks, and time. Each round applies what
//! came, lets the pure parts decide (`crew` who, `replica` what next), does what they
//! say, writes the record if it changed, and shows the new status. Two things are waited for in place,
//! since their order matters more than the loop's pace: the record before and after starts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::adopt::Adoption;
use super::backoff::mix;
use super::clock::{Clock, Moment};
use super::command::{self, Start};
use super::crew::{self, Member, Order, Stage};
use super::fault::Fault;
use super::host::{self, Hold, ProcessId, Snapshot};
use super::logs;
use super::ports::{self, Ports};
use super::record::{Record, ReplicaRecord, Store};
use super::replica::{Effect, Event, Leave, Life, Replica};
use super::spec::{Probe, ReplicaSpec, SHORTEST_INTERVAL};
use super::status::{Finding, ReplicaState, ReplicaStatus, Status, Usage};
use super::supervisor::Shutdown;
use super::tasks::{Body, Report, Tasks, Which};
use super::token::{Home, Token};

/// Reports wait in a queue of this length; a task with a report waits if it is full.
const REPORTS: usize = 1024;

/// A starting replica is probed this often, so that its readiness is noticed at once (C1 counts seconds).
const STARTING_INTERVAL: Duration = Duration::from_millis(100);

/// A worker without a port counts as ready once it has lived this long: a bad argument or a missing
/// library ends it before.
const WORKER_SETTLES: Duration = Duration::from_secs(1);

/// How often usage is measured: C1 wants signals of a second.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// After a failed write of the record the next is tried this much later.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

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
    /// All its processes as last seen.
    members: BTreeSet<ProcessId>,
    cpu_at: Option<(Moment, Duration)>,
    usage: Option<Usage>,
}

/// The owner.
#[derive(Debug)]
pub(crate) struct Actor {
    spec: ReplicaSpec,
    spec_hash: String,
    ground: Ground,
    slots: BTreeMap<u32, Slot>,
    desired: u32,
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
                    Shutdown::StopAll { drain } => {
                        self.is_closing = true;
                        if self.desired != 0 {
                            self.desired = 0;
                            self.generation += 1;
                        }
                        let all: Vec<u32> = self.slots.keys().copied().collect();
                        for index in all {
                            self.apply(index, Event::Leave { why: Leave::Shutdown, drain }, now);
                        }
                    }
                }
            }
        }
        true
    }

    /// Replicas that serve are rotated to the new version by and by; those that don't are started anew at
    /// once, since the change may be what mends them.
    fn change_spec(&mut self, spec: ReplicaSpec, now: Moment) {
        self.spec_hash = spec.hash();
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
            }
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
                    Ok(snapshot) => self.measure(&snapshot, now),
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
        let orders = crew::plan(self.desired, &members);
        let drain = self.spec.stop.drain;
        for order in &orders {
            match *order {
                Order::Add(count) => {
                    for _ in 0..count {
                        self.add(now);
                    }
                }
                Order::Recall(index) => self.apply(index, Event::Recall, now),
                Order::Remove(index) => self.apply(index, Event::Leave { why: Leave::ScaleIn, drain }, now),
                Order::Retire(index) => self.apply(index, Event::Leave { why: Leave::Replaced, drain }, now),
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
        Member { index, stage, outgoing: slot.outgoing, outdated }
    }

    fn add(&mut self, now: Moment) {
        let index = self.next_index;
        self.next_index += 1;
        let seed = mix(self.ground.seed ^ u64::from(index));
        let slot = Slot { replica: Replica::new(now, seed), asked: now, outgoing: false, process: None };
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

    fn report(&mut self, index: u32, fault: &Fault, now: Moment) {
        warn!(workload = self.ground.workload, replica = index, code = fault.code(), %fault, "replica failed");
        self.find(fault.code(), Some(index), fault.to_string(), now);
        let Some(slot) = self.slots.get(&index) else { return };
        if slot.replica.in_crash_loop(&self.spec) {
            let text = format!(
                "failed {} times in a row; it is tried again only every {:?} until it stays up; last: {fault}",
                slot.replica.streak(),
                self.spec.backoff.max
            );
            self.find("crash-loop", Some(index), text, now);
        }
    }

    fn find(&mut self, code: &str, index: Option<u32>, text: String, now: Moment) {
        let replica = index.map(|index| self.name(index));
        let same = |finding: &Finding| finding.code == code && finding.replica == replica;
        let earlier = self.findings.iter().position(|(_, finding)| same(finding));
        let count = earlier.and_then(|at| self.findings.remove(at)).map_or(0, |(_, finding)| finding.count);
        if self.findings.len() == Status::MOST_FINDINGS {
            self.findings.pop_front();
        }
        let (code, at, count) = (code.to_owned(), self.ground.clock.wall(now), count.saturating_add(1));
        self.findings.push_back((now, Finding { code, replica, text, at, count }));
    }

    /// Starts all that is to be started: intents on disk, processes, outcomes (with the round's save).
    async fn start_processes(&mut self) {
        let starts = std::mem::take(&mut self.to_start);
        if starts.is_empty() {
            return;
        }
        let now = self.ground.clock.now();
        self.prune_logs(now);
        let intended: Vec<u32> = starts
            .into_iter()
            .filter(|index| match self.intend(*index, now) {
                Ok(()) => true,
                Err(fault) => {
                    self.apply(*index, Event::NotSpawned(fault), now);
                    false
                }
            })
            .collect();
        self.save_after = now;
        self.save(now).await;
        let on_disk = self.saved.as_ref() == Some(&self.record());
        for index in intended {
            let outcome = if on_disk {
                self.spawn(index)
            } else {
                let what = "recording the start".to_owned();
                let error = "see the finding record-unwritten".to_owned();
                Err(Fault::Unprepared { what, error })
            };
            let now = self.ground.clock.now();
            match outcome {
                Ok(()) => self.apply(index, Event::Spawned, now),
                Err(fault) => {
                    if let Some(slot) = self.slots.get_mut(&index) {
                        slot.process = None;
                    }
                    self.apply(index, Event::NotSpawned(fault), now);
                }
            }
        }
    }

    fn prune_logs(&mut self, now: Moment) {
        let in_use: Vec<PathBuf> =
            self.slots.values().filter_map(|slot| slot.process.as_ref()?.log.clone()).collect();
        let logs = self.logs();
        match logs::prune(&logs, &in_use) {
            Ok(()) => {}
            // The first start makes the directory.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // Old logs cost space, not service.
            Err(error) => {
                let text = format!("old logs in {} can't be removed: {error}", logs.display());
                self.find("logs-unpruned", None, text, now);
            }
        }
    }

    fn intend(&mut self, index: u32, now: Moment) -> Result<(), Fault> {
        let unprepared = |what: &str, error: std::io::Error| Fault::Unprepared {
            what: what.to_owned(),
            error: error.to_string(),
        };
        let token = self.ground.home.token().map_err(|error| unprepared("drawing a random token", error))?;
        let port = if self.spec.health.probe.needs_port() {
            let taken: BTreeSet<u16> =
                self.slots.values().filter_map(|slot| slot.process.as_ref()?.port).collect();
            let seed = mix(self.ground.seed ^ self.next_start);
            Some(ports::pick(self.ground.ports, &taken, seed)?)
        } else {
            None
        };
        let start = self.next_start;
        self.next_start += 1;
        let log = logs::path(&self.logs(), &self.name(index), start);
        let spec_hash = self.spec_hash.clone();
        if let Some(slot) = self.slots.get_mut(&index) {
            slot.asked = now;
            slot.process = Some(Process {
                start,
                token,
                port,
                spec_hash,
                id: None,
                began: now,
                ready: None,
                log: Some(log),
                adopted: false,
                next_probe: now,
                probing: false,
                members: BTreeSet::new(),
                cpu_at: None,
                usage: None,
            });
        }
        Ok(())
    }

    fn spawn(&mut self, index: u32) -> Result<(), Fault> {
        let name = self.name(index);
        let workload = &self.ground.workload;
        let Some(process) = self.slots.get_mut(&index).and_then(|slot| slot.process.as_mut()) else {
            return Ok(());
        };
        let Some(log) = &process.log else { return Ok(()) };
        let start = Start { workload, replica: &name, token: &process.token, port: process.port, log };
        let mut child = command::start(&self.spec, &start)?;
        // A child that hasn't been waited for keeps its pid, also if it has ended already.
        let Some(id) = child.id().and_then(host::identify) else {
            // Nothing is left running that couldn't be found again.
            let _ = child.start_kill();
            let what = "reading the start time of the process".to_owned();
            return Err(Fault::Unprepared { what, error: "it isn't in /proc".to_owned() });
        };
        info!(workload, replica = name, pid = id.pid, port = process.port, "replica started");
        let now = self.ground.clock.now();
        process.id = Some(id);
        process.began = now;
        process.next_probe = match self.spec.health.probe {
            Probe::Alive => now + WORKER_SETTLES.min(self.spec.health.interval),
            Probe::Http { .. } | Probe::Tcp => now,
        };
        self.tasks.watch_child(Which { index, start: process.start }, child);
        Ok(())
    }

    fn probe(&mut self, now: Moment) {
        for (index, slot) in &mut self.slots {
            let Some(interval) = probe_interval(&slot.replica, &self.spec) else { continue };
            let Some(process) = &mut slot.process else { continue };
            if process.probing || process.next_probe > now {
                continue;
            }
            process.probing = true;
            process.next_probe = now + interval;
            let which = Which { index: *index, start: process.start };
            let health = &self.spec.health;
            self.tasks.probe(which, health.probe.clone(), process.port, health.timeout);
        }
    }

    fn sample(&mut self, now: Moment) {
        let any = self.slots.values().any(|slot| slot.process.is_some());
        if any && !self.sampling && now >= self.next_sample {
            self.sampling = true;
            self.next_sample = now + SAMPLE_INTERVAL;
            let logs = self.slots.values().filter_map(|slot| slot.process.as_ref()?.log.clone());
            self.tasks.sample(logs.collect());
        }
    }

    fn measure(&mut self, snapshot: &Snapshot, now: Moment) {
        for process in self.slots.values_mut().filter_map(|slot| slot.process.as_mut()) {
            let Some(root) = process.id else { continue };
            // The environment isn't read here: what has left group and tree is known from before, or is
            // found at the sweep.
            process.members = host::members(snapshot, root, &process.members, |_| false);
            let mut cpu = Duration::ZERO;
            let mut memory_bytes = 0;
            for seen in process.members.iter().filter_map(|id| snapshot.get(&id.pid)) {
                cpu += seen.cpu_time;
                memory_bytes += seen.memory_bytes;
            }
            let cpu_cores = process.cpu_at.and_then(|(at, before)| {
                // Less than before: a child's time went to init with it, so the sum says nothing.
                let used = cpu.checked_sub(before)?;
                let elapsed = now.since(at);
                (!elapsed.is_zero()).then(|| used.as_secs_f64() / elapsed.as_secs_f64())
            });
            process.cpu_at = Some((now, cpu));
            // No members: it ended in this moment, and what it used is unknown, not nothing.
            let at = self.ground.clock.wall(now);
            process.usage = (!process.members.is_empty()).then_some(Usage { at, cpu_cores, memory_bytes });
        }
    }

    async fn save(&mut self, now: Moment) {
        let record = self.record();
        if self.saved.as_ref() == Some(&record) || now < self.save_after {
            return;
        }
        let store = Arc::clone(&self.ground.store);
        let (record, written) = match spawn_blocking(move || (store.save(&record), record)).await {
            Ok((written, record)) => (record, written),
            // The write panicked, or the runtime is going down; either way nothing is known of it.
            Err(_) => return,
        };
        match written {
            Ok(()) => self.saved = Some(record),
            Err(error) => {
                self.save_after = now + SAVE_AGAIN;
                let text = format!(
                    "the record of replicas can't be written to {}: {error}; no replica is started until it can (is the disk full?)",
                    self.ground.store.directory().display()
                );
                self.find("record-unwritten", None, text, now);
            }
        }
    }

    fn record(&self) -> Record {
        let replicas = self.slots.iter().filter_map(|(index, slot)| {
            let process = slot.process.as_ref()?;
            let leaving = match slot.replica.life() {
                Life::Draining { why, .. } | Life::Terminating { why, .. } | Life::Sweeping { why } => {
                    !matches!(why, Leave::Failed(_))
                }
                _ => false,
            };
            Some(ReplicaRecord {
                index: *index,
                start: process.start,
                token: process.token.clone(),
                port: process.port,
                spec_hash: process.spec_hash.clone(),
                process: process.id,
                ready: process.ready,
                leaving,
                restarts: slot.replica.restarts(),
                streak: slot.replica.streak(),
                log: process.log.clone(),
            })
        });
        Record {
            desired: self.desired,
            generation: self.generation,
            next_index: self.next_index,
            next_start: self.next_start,
            replicas: replicas.collect(),
            ..Record::new(&self.ground.workload, &self.boot_id)
        }
    }

    fn publish(&mut self) {
        let clock = &self.ground.clock;
        let replicas = self.slots.iter().map(|(index, slot)| {
            let process = slot.process.as_ref();
            let running = process.filter(|process| process.id.is_some());
            ReplicaStatus {
                id: self.name(*index),
                state: self.state(&slot.replica),
                address: running.and_then(|process| process.port).map(ports::address),
                pid: running.and_then(|process| process.id).map(|id| id.pid),
                asked_at: clock.wall(slot.asked),
                started_at: running.map(|process| clock.wall(process.began)),
                ready_at: running.and_then(|process| process.ready).map(|at| clock.wall(at)),
                usage: running.and_then(|process| process.usage),
                restarts: slot.replica.restarts(),
                log: process.and_then(|process| process.log.clone()),
                adopted: process.is_some_and(|process| process.adopted),
                spec_hash: process.map_or_else(String::new, |process| process.spec_hash.clone()),
            }
        });
        let status = Status {
            workload: self.ground.workload.clone(),
            desired: self.desired,
            generation: self.generation,
            replicas: replicas.collect(),
            findings: self.findings.iter().map(|(_, finding)| finding.clone()).collect(),
        };
        let before = Arc::clone(&self.status.borrow());
        if *before != status {
            let differs = status.differs(&before);
            self.status.send_replace(Arc::new(status));
            if differs {
                self.changes.send_modify(|count| *count += 1);
            }
        }
    }

    fn state(&self, replica: &Replica) -> ReplicaState {
        match replica.life() {
            Life::Waiting { failed: None, .. } | Life::Spawning | Life::Starting { .. } => {
                ReplicaState::Starting
            }
            Life::Waiting { until, failed: Some(fault) } => ReplicaState::Failed {
                fault: fault.clone(),
                crash_loop: replica.in_crash_loop(&self.spec),
                next_try: self.ground.clock.wall(*until),
            },
            Life::Ready { .. } => ReplicaState::Ready,
            Life::Sick { probe, .. } => ReplicaState::Unhealthy { probe: probe.clone() },
            Life::Draining { .. } => ReplicaState::Draining,
            Life::Terminating { .. } | Life::Sweeping { .. } | Life::Stopped => ReplicaState::Stopping,
        }
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

    /// Makes slots of what was adopted, and says what was found.
    fn take_over(&mut self, adoption: Adoption, damage: Option<String>, now: Moment) {
        if let Some(damage) = damage {
            let text = format!(
                "the record of replicas was unreadable ({damage}) and put aside as replicas.damaged.json; the running replicas were found by their environment"
            );
            self.find("record-damaged", None, text, now);
        }
        let mut gone = adoption.gone;
        for (replica, id) in adoption.adopted {
            let hold = match Hold::take(id) {
                Ok(Some(hold)) => hold,
                Ok(None) => {
                    gone.push(replica);
                    continue;
                }
                Err(error) => {
                    let text = format!(
                        "pid {} can't be held: {error}; too few file descriptors (ulimit -n)?",
                        id.pid
                    );
                    self.find("not-adopted", Some(replica.index), text, now);
                    continue;
                }
            };
            info!(workload = self.ground.workload, replica = replica.index, pid = id.pid, "replica adopted");
            let life = match replica.ready {
                Some(since) => Life::Ready { since, failures: 0 },
                None => Life::Starting { since: now, probe: None },
            };
            let seed = mix(self.ground.seed ^ u64::from(replica.index));
            self.tasks.watch_adopted(Which { index: replica.index, start: replica.start }, id, hold);
            let process = Process {
                start: replica.start,
                token: replica.token,
                port: replica.port,
                spec_hash: replica.spec_hash,
                id: Some(id),
                began: host::started(id),
                ready: replica.ready,
                log: replica.log,
                adopted: true,
                next_probe: now,
                probing: false,
                members: BTreeSet::new(),
                cpu_at: None,
                usage: None,
            };
            let slot = Slot {
                replica: Replica::in_state(life, seed).with_history(replica.restarts, replica.streak),
                asked: host::started(id),
                outgoing: false,
                process: Some(process),
            };
            self.slots.insert(replica.index, slot);
            if replica.leaving {
                let drain = self.spec.stop.drain;
                self.apply(replica.index, Event::Leave { why: Leave::ScaleIn, drain }, now);
            }
        }
        for replica in gone.iter().filter(|replica| !replica.leaving && replica.process.is_some()) {
            let text = "it ended while no controller ran; another one takes its place".to_owned();
            self.find("ended-unwatched", Some(replica.index), text, now);
        }
        for (replica, seen) in &adoption.reused {
            let text = format!(
                "its pid {} is another process's by now, which is left alone; another replica takes its place",
                seen.pid
            );
            self.find("pid-reused", Some(replica.index), text, now);
        }
        if !adoption.strays.is_empty() {
            let pids: Vec<String> = adoption.strays.iter().map(|id| id.pid.to_string()).collect();
            let text = format!(
                "processes left behind by replicas that are gone are ended: pids {}",
                pids.join(", ")
            );
            self.find("strays", None, text, now);
            self.tasks.sweep_strays(adoption.strays);
        }
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
