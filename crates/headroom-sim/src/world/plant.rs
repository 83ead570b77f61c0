//! One workload's replicas and its requests, step by step.
//!
//! In each step, in this order: replicas asked for are started, or newest ones taken away (those that start
//! first, at no further cost; then ready ones, which stop serving at once and are paid for while they drain);
//! what has started or drained by now takes effect; then the step's requests are served. What can't be served
//! waits in order; what would wait longer than the time-out is lost.
//!
//! A warm pool stands beside: replicas that have started and serve nobody. Growth takes from it first, ready or nearly
//! so, and it refills; its replicas are paid for, and go without a drain.

use std::collections::VecDeque;
use std::sync::Arc;

use headroom_core::names::ReplicaId;
use headroom_core::observation::{Phase, PoolStatus, ReplicaStatus, TargetStatus};
use headroom_core::units::{Replicas, Span, Timestamp};

use super::queue::P95;
use super::{Model, Queue};
use crate::rng::Rng;

/// A replica that starts or is ready.
#[derive(Clone, Debug)]
struct Unit {
    id: ReplicaId,
    asked: Timestamp,
    /// The step in which it first serves.
    ready: u64,
}

/// One workload's replicas and requests.
#[derive(Clone, Debug)]
pub struct Plant {
    model: Arc<Model>,
    queue: Queue,
    rng: Rng,
    dt: f64,
    step_ms: u64,
    start: Timestamp,
    step: u64,
    wanted: u32,
    /// Longest ready first.
    ready: Vec<Unit>,
    /// First to be ready first.
    starting: VecDeque<Unit>,
    /// The size of the warm pool that was asked for.
    pool_wanted: u32,
    /// Of the warm pool, first to be warm first; one is warm from its step `ready` on.
    pool: VecDeque<Unit>,
    /// The steps in which drains end, rising.
    draining: VecDeque<u64>,
    started: u64,
    backlog: f64,
    dying: f64,
    /// Whether something is seen that was not seen at the last look.
    changed: bool,
    /// What the last look showed of the replicas.
    shown: Arc<[ReplicaStatus]>,
    last: Stepped,
}

/// What a step was like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stepped {
    /// Requests a second that came.
    pub demand: f64,
    /// Requests served.
    pub served: f64,
    /// Requests lost.
    pub lost: f64,
    /// Requests answered later than the objective.
    pub late: f64,
    /// Requests that wait at its end.
    pub backlog: f64,
    /// How busy the replicas were: 1 is all they carry.
    pub busy: f64,
    /// How long a backlog made requests wait, in seconds.
    pub delay: f64,
    /// Replicas that served.
    pub ready: u32,
    /// Replicas that were starting.
    pub starting: u32,
    /// Replicas that were draining.
    pub draining: u32,
    /// Replicas of the warm pool, warm or on their way.
    pub pool: u32,
    /// Whether it was beyond what may be used, or slower than the objective.
    pub violates: bool,
}

/// What can be measured of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Requests a second that came.
    Demand,
    /// Requests worked on or waiting.
    InFlight,
    /// Requests waiting.
    Backlog,
    /// The share of requests lost.
    ErrorRatio,
    /// The `n`-th of the 50 %, 95 % and 99 % quantiles of the answer time, in seconds.
    Latency(usize),
    /// Cores a ready replica uses.
    Cpu,
    /// How busy a ready replica is: 1 is all it can do.
    Busy,
    /// Bytes a ready replica occupies.
    Memory,
}

impl Plant {
    /// Replicas of `model` of which `wanted` are ready, at the moment `start`.
    #[must_use]
    pub fn new(model: Arc<Model>, queue: Queue, step: Span, start: Timestamp, wanted: u32, rng: Rng) -> Self {
        let mut plant = Self {
            model,
            queue,
            rng,
            dt: step.as_secs_f64(),
            step_ms: step.as_millis().max(1),
            start,
            step: 0,
            wanted,
            ready: Vec::new(),
            starting: VecDeque::new(),
            pool_wanted: 0,
            pool: VecDeque::new(),
            draining: VecDeque::new(),
            started: 0,
            backlog: 0.0,
            dying: 0.0,
            changed: true,
            shown: Arc::default(),
            last: Stepped::default(),
        };
        for _ in 0..wanted {
            let id = plant.next_id();
            plant.ready.push(Unit { id, asked: start, ready: 0 });
        }
        plant
    }

    /// How replicas behave.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What the last step was like.
    #[must_use]
    pub fn last(&self) -> &Stepped {
        &self.last
    }

    /// Replicas asked for.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Replicas that serve.
    #[must_use]
    pub fn ready(&self) -> u32 {
        count(self.ready.len())
    }

    /// Replicas that start.
    #[must_use]
    pub fn starting(&self) -> u32 {
        count(self.starting.len())
    }

    /// Replicas that have been ready for at least `span`.
    #[must_use]
    pub fn ready_for(&self, span: Span) -> u32 {
        let steps = span.as_millis().div_ceil(self.step_ms);
        count(self.ready.partition_point(|u| u.ready + steps <= self.step))
    }

    /// From now on replicas die by chance, each once in `mean` seconds on average; 0 for never.
    pub fn set_mortality(&mut self, mean: f64) {
        self.dying = if mean > 0.0 { 1.0 - libm::exp(-self.dt / mean) } else { 0.0 };
    }

    fn next_id(&mut self) -> ReplicaId {
        self.started += 1;
        ReplicaId(format!("r{}", self.started).into())
    }

    fn now(&self) -> Timestamp {
        self.start.plus(Span::millis(self.step * self.step_ms))
    }

    fn steps(&self, span: Span) -> u64 {
        span.as_millis().div_ceil(self.step_ms)
    }

    /// Asks for `wanted` replicas.
    pub fn want(&mut self, wanted: u32) {
        self.wanted = wanted;
        self.settle_count();
    }

    /// Asks for so many warm ones beside.
    pub fn keep_warm(&mut self, count: u32) {
        self.pool_wanted = count;
        self.changed = true;
        self.settle_pool();
    }

    /// A replica whose start is asked for now.
    fn start(&mut self) -> Unit {
        let mut span = self.model.start_up;
        if !self.model.start_up_spread.is_zero() {
            span = span.plus(Span::millis(self.rng.below(self.model.start_up_spread.as_millis() + 1)));
        }
        Unit { id: self.next_id(), asked: self.now(), ready: self.step + self.steps(span) }
    }

    /// Refills the warm pool, or lets the least ready of it go.
    fn settle_pool(&mut self) {
        let wanted = usize::try_from(self.pool_wanted).unwrap_or(usize::MAX);
        while self.pool.len() < wanted {
            let unit = self.start();
            let place = self.pool.partition_point(|u| u.ready <= unit.ready);
            self.pool.insert(place, unit);
            self.changed = true;
        }
        if self.pool.len() > wanted {
            self.pool.truncate(wanted);
            self.changed = true;
        }
    }

    /// Starts what is missing and takes away what is too much.
    fn settle_count(&mut self) {
        let have = self.ready.len() + self.starting.len();
        let wanted = usize::try_from(self.wanted).unwrap_or(usize::MAX);
        if have == wanted {
            return;
        }
        self.changed = true;
        for _ in have..wanted {
            match self.pool.pop_front() {
                // Warm: it serves from this step on, and was warmed up while it waited.
                Some(unit) if unit.ready <= self.step => {
                    let place = self.ready.partition_point(|u| u.ready <= unit.ready);
                    self.ready.insert(place, unit);
                }
                taken => {
                    let unit = taken.unwrap_or_else(|| self.start());
                    let place = self.starting.partition_point(|u| u.ready <= unit.ready);
                    self.starting.insert(place, unit);
                }
            }
        }
        self.settle_pool();
        for _ in wanted..have {
            if self.starting.is_empty() {
                self.ready.pop();
                self.draining.push_back(self.step + self.steps(self.model.drain));
            } else {
                // The newest: the one asked for last.
                let newest =
                    (0..self.starting.len()).max_by_key(|&i| (self.starting[i].asked, i)).unwrap_or(0);
                self.starting.remove(newest);
            }
        }
    }

    /// Kills up to `n` ready replicas; their target starts others.
    pub fn kill(&mut self, n: u32) {
        for _ in 0..n.min(self.ready()) {
            let victim = usize::try_from(self.rng.below(self.ready.len() as u64)).unwrap_or(0);
            self.ready.remove(victim);
        }
        self.settle_count();
    }

    /// One step with `demand` requests a second.
    pub fn advance(&mut self, demand: f64) -> Stepped {
        while self.starting.front().is_some_and(|u| u.ready <= self.step) {
            if let Some(mut unit) = self.starting.pop_front() {
                unit.ready = self.step;
                self.ready.push(unit);
            }
            self.changed = true;
        }
        if self.pool.iter().any(|u| u.ready == self.step) {
            self.changed = true;
        }
        while self.draining.front().is_some_and(|&end| end <= self.step) {
            self.draining.pop_front();
            self.changed = true;
        }
        if self.dying > 0.0 {
            let alive = self.ready.len();
            let rng = &mut self.rng;
            let dying = self.dying;
            self.ready.retain(|_| !rng.chance(dying));
            if self.ready.len() != alive {
                self.settle_count();
            }
        }
        self.serve(demand);
        self.step += 1;
        self.last
    }

    /// What the ready replicas carry, in whole replicas' worth.
    fn strength(&self) -> f64 {
        let all = self.ready.len() as f64;
        let warm_up = self.steps(self.model.warm_up);
        if warm_up == 0 {
            return all;
        }
        let cold: f64 = self
            .ready
            .iter()
            .rev()
            .map(|u| self.step - u.ready)
            .take_while(|age| *age < warm_up)
            .map(|age| 0.5 * (1.0 - age as f64 / warm_up as f64))
            .sum();
        all - cold
    }

    fn serve(&mut self, demand: f64) {
        let carry = self.strength() * self.model.capacity;
        let (came, room) = (demand * self.dt, carry * self.dt);
        let work = came + self.backlog;
        let served = work.min(room);
        let held = work - served;
        let timeout = self.model.timeout.as_secs_f64();
        let lost = if carry > 0.0 {
            (held - carry * timeout).max(0.0)
        } else {
            // Nobody is there: of those who wait, an even share reaches the time-out in each step.
            self.backlog * (self.dt / timeout).min(1.0)
        };
        let backlog = held - lost;
        let last = &mut self.last;
        last.demand = demand;
        last.served = served;
        last.lost = lost;
        let load = if carry > 0.0 {
            last.busy = work / room;
            last.delay = f64::midpoint(self.backlog, backlog) / carry;
            came / room
        } else {
            let some = work > 0.0;
            last.busy = 0.0;
            last.delay = if some { timeout } else { 0.0 };
            if some { f64::INFINITY } else { 0.0 }
        };
        last.backlog = backlog;
        self.backlog = backlog;
        last.late = served * self.queue.late(last.busy, last.delay);
        last.ready = count(self.ready.len());
        last.starting = count(self.starting.len());
        last.draining = count(self.draining.len());
        last.pool = count(self.pool.len());
        last.violates = load > self.model.usable + 1e-9
            || (last.delay > 0.0
                && self.queue.quantile(P95, last.busy, last.delay)
                    > self.model.objective.as_secs_f64() + 1e-9);
    }

    /// A figure of the last step; `None` where there is nothing it could be of.
    #[must_use]
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        let last = &self.last;
        let in_flight = || {
            // Little's law for what is worked on, and what waits.
            let moving = last.served / self.dt * (self.queue.mean(last.busy, last.delay) - last.delay);
            moving + last.backlog
        };
        let answered = last.served + last.lost;
        Some(match figure {
            Figure::Demand => last.demand,
            Figure::InFlight => in_flight(),
            Figure::Backlog => last.backlog,
            Figure::ErrorRatio => (answered > 0.0).then(|| last.lost / answered)?,
            Figure::Latency(which) => {
                (answered > 0.0).then(|| self.queue.quantile(which, last.busy, last.delay))?
            }
            Figure::Cpu => (last.ready > 0).then(|| last.busy.min(1.0) * self.model.cores)?,
            Figure::Busy => (last.ready > 0).then(|| last.busy.min(1.0))?,
            Figure::Memory => (last.ready > 0)
                .then(|| self.model.memory * (1.0 + 0.01 * in_flight() / f64::from(last.ready)))?,
        })
    }

    /// Requests that wait while nobody is there to serve them.
    #[must_use]
    pub fn waiting(&self) -> Option<u32> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; saturating")]
        let waiting = self.last.backlog.ceil().clamp(0.0, 1e9) as u32;
        (self.ready.is_empty() && waiting > 0).then_some(waiting)
    }

    /// Whether a look would show something new.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// What a look at the target shows now.
    pub fn look(&mut self) -> TargetStatus {
        if std::mem::take(&mut self.changed) {
            self.shown = self.replicas();
        }
        let pool = self.pool_status();
        TargetStatus {
            wanted: Replicas(self.wanted),
            ready: Replicas(count(self.ready.len())),
            starting: Replicas(count(self.starting.len())),
            draining: Replicas(count(self.draining.len())),
            failed: Replicas::ZERO,
            replicas: Arc::clone(&self.shown),
            pool,
            troubles: Vec::new(),
        }
    }

    /// A replica as a look shows it.
    fn status(&self, u: &Unit, phase: Phase, ready: Option<u64>) -> ReplicaStatus {
        ReplicaStatus {
            id: u.id.clone(),
            phase,
            started_at: u.asked,
            ready_at: ready.map(|step| self.start.plus(Span::millis(step * self.step_ms))),
            address: None,
            cpu: None,
            memory: None,
            restarts: 0,
            version: None,
        }
    }

    /// The replicas one by one.
    fn replicas(&self) -> Arc<[ReplicaStatus]> {
        // Those of the first moment were not seen starting.
        let seen = |u: &Unit| (u.ready > 0).then_some(u.ready);
        let ready = self.ready.iter().map(|u| self.status(u, Phase::Ready, seen(u)));
        let starting = self.starting.iter().map(|u| self.status(u, Phase::Starting, None));
        ready.chain(starting).collect()
    }

    /// The warm pool, where there is one.
    fn pool_status(&self) -> Option<PoolStatus> {
        let warm = self.pool.partition_point(|u| u.ready <= self.step);
        let spare = |(index, u): (usize, &Unit)| {
            let is_warm = index < warm;
            let phase = if is_warm { Phase::Ready } else { Phase::Starting };
            self.status(u, phase, is_warm.then_some(u.ready))
        };
        let has_pool = self.pool_wanted > 0 || !self.pool.is_empty();
        has_pool.then(|| PoolStatus {
            wanted: Replicas(self.pool_wanted),
            warm: Replicas(count(warm)),
            warming: Replicas(count(self.pool.len() - warm)),
            replicas: self.pool.iter().enumerate().map(spare).collect(),
        })
    }
}

/// A number of replicas; more than `u32` holds can't be asked for.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(model: Model, wanted: u32) -> Plant {
        let queue = Queue::new(&model);
        Plant::new(Arc::new(model), queue, Span::seconds(1), Timestamp::from_millis(0), wanted, Rng::new(1))
    }

    #[test]
    fn a_start_takes_its_time_and_a_drain_is_paid_for() {
        let model = Model { start_up: Span::seconds(3), drain: Span::seconds(2), ..Model::default() };
        let mut p = plant(model, 2);
        p.want(4);
        let seen: Vec<_> = (0..5).map(|_| p.advance(0.0)).map(|s| (s.ready, s.starting)).collect();
        assert_eq!(seen, [(2, 2), (2, 2), (2, 2), (4, 0), (4, 0)]);
        p.want(1);
        let seen: Vec<_> = (0..4).map(|_| p.advance(0.0)).map(|s| (s.ready, s.draining)).collect();
        assert_eq!(seen, [(1, 3), (1, 3), (1, 0), (1, 0)]);
    }

    #[test]
    fn what_starts_is_taken_back_first() {
        let mut p = plant(Model::default(), 2);
        p.want(5);
        p.advance(0.0);
        p.want(3);
        let s = p.advance(0.0);
        assert_eq!((s.ready, s.starting, s.draining), (2, 1, 0));
    }

    #[test]
    fn no_request_is_lost_from_the_books() {
        let mut p = plant(Model { start_up_spread: Span::seconds(9), ..Model::default() }, 3);
        let (mut came, mut gone) = (0.0, 0.0);
        let mut rng = Rng::new(5);
        for i in 0..5000 {
            if i % 50 == 0 {
                p.want(u32::try_from(rng.below(9)).unwrap());
            }
            let demand = rng.between(0.0, 900.0);
            came += demand;
            let s = p.advance(demand);
            gone += s.served + s.lost;
            assert!(s.late <= s.served + 1e-9);
        }
        assert!((came - gone - p.last().backlog).abs() < 1e-6 * came, "{came} came, {gone} went");
    }

    #[test]
    fn overload_makes_requests_wait_and_then_lose() {
        let mut p = plant(Model::default(), 1);
        p.advance(90.0);
        assert!(!p.last().violates);
        p.advance(91.0);
        assert!(p.last().violates);
        for _ in 0..30 {
            p.advance(200.0);
        }
        assert_eq!(p.last().backlog, 1000.0, "ten seconds' worth");
        assert_eq!(p.last().lost, 100.0);
        assert_eq!(p.figure(Figure::ErrorRatio), Some(0.5));
        assert!(p.figure(Figure::Latency(1)).unwrap() > 9.0);
        assert_eq!(p.figure(Figure::Cpu), Some(1.0));
    }

    #[test]
    fn without_replicas_requests_wait_and_there_is_no_cpu() {
        let mut p = plant(Model::default(), 0);
        p.advance(0.0);
        assert_eq!((p.waiting(), p.last().violates), (None, false));
        p.advance(3.0);
        assert_eq!((p.waiting(), p.last().violates), (Some(3), true));
        assert_eq!((p.figure(Figure::Cpu), p.figure(Figure::Latency(1))), (None, None));
        p.advance(0.0);
        assert!((p.last().lost - 0.3).abs() < 1e-9, "one in ten a second with a time-out of 10 s");
    }

    #[test]
    fn a_warming_replica_carries_half_and_then_the_whole() {
        let mut p = plant(Model { warm_up: Span::seconds(4), start_up: Span::ZERO, ..Model::default() }, 1);
        for _ in 0..5 {
            p.advance(0.0);
        }
        p.want(2);
        let busy: Vec<f64> = (0..6).map(|_| p.advance(100.0).busy).collect();
        assert!((busy[0] - 1.0 / 1.5).abs() < 1e-9 && busy[1] < busy[0] && busy[5] == 0.5, "{busy:?}");
    }

    #[test]
    fn the_dead_are_replaced() {
        let mut p = plant(Model { start_up: Span::seconds(2), ..Model::default() }, 4);
        p.kill(3);
        let seen: Vec<_> = (0..3).map(|_| p.advance(0.0)).map(|s| (s.ready, s.starting)).collect();
        assert_eq!(seen, [(1, 3), (1, 3), (4, 0)]);
        p.kill(99);
        assert_eq!(p.ready(), 0);
    }
}
