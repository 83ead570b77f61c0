//! What is shown: the status, and findings.

use std::sync::Arc;

use tracing::warn;

use super::super::clock::Moment;
use super::super::fault::Fault;
use super::super::ports;
use super::super::replica::Life;
use super::super::status::{Finding, ReplicaState, ReplicaStatus, Status};
use super::{Actor, Slot};

impl Actor {
    /// Shows what is, and pokes those who wait if it is more than new measurements.
    pub(super) fn publish(&mut self) {
        let clock = &self.ground.clock;
        let replicas = self.slots.iter().map(|(index, slot)| {
            let process = slot.process.as_ref();
            let running = process.filter(|process| process.id.is_some());
            ReplicaStatus {
                id: self.name(*index),
                state: self.state(slot),
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
            pool: self.pool,
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

    fn state(&self, slot: &Slot) -> ReplicaState {
        let replica = &slot.replica;
        match replica.life() {
            Life::Waiting { failed: None, .. } | Life::Spawning | Life::Starting { .. } if slot.spare => {
                ReplicaState::Warming
            }
            Life::Ready { .. } if slot.spare && slot.is_warm() => ReplicaState::Warm,
            Life::Ready { .. } if slot.spare => ReplicaState::Warming,
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

    /// Notes something people should know; the same again counts up.
    pub(super) fn find(&mut self, code: &str, index: Option<u32>, text: String, now: Moment) {
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

    /// Tells of a failed replica.
    pub(super) fn report(&mut self, index: u32, fault: &Fault, now: Moment) {
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
}
