//! Keeping an eye on what runs: probes and measurements.

use std::time::Duration;

use super::super::clock::Moment;
use super::super::host::{self, Census};
use super::super::status::Usage;
use super::super::tasks::Which;
use super::{Actor, probe_interval};

/// How often usage is measured: C1 wants signals of a second.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

impl Actor {
    /// Probes every replica whose time has come; one probe at a time for each.
    pub(super) fn probe(&mut self, now: Moment) {
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

    /// Looks at all processes if it is time to.
    pub(super) fn sample(&mut self, now: Moment) {
        let any = self.slots.values().any(|slot| slot.process.is_some());
        if any && !self.sampling && now >= self.next_sample {
            self.sampling = true;
            self.next_sample = now + SAMPLE_INTERVAL;
            let logs = self.slots.values().filter_map(|slot| slot.process.as_ref()?.log.clone());
            self.tasks.sample(logs.collect());
        }
    }

    /// Reckons each replica's usage from a look at all processes.
    pub(super) fn measure(&mut self, census: &Census) {
        let (snapshot, now) = (&*census.processes, self.ground.clock.at(census.taken));
        for process in self.slots.values_mut().filter_map(|slot| slot.process.as_mut()) {
            let Some(root) = process.id else { continue };
            if process.cpu_at.is_some_and(|(at, _)| at >= now) {
                continue;
            }
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
                Some(used.as_secs_f64() / now.since(at).as_secs_f64())
            });
            process.cpu_at = Some((now, cpu));
            // No members: it ended in this moment, and what it used is unknown, not nothing.
            let at = self.ground.clock.wall(now);
            process.usage = (!process.members.is_empty()).then_some(Usage { at, cpu_cores, memory_bytes });
        }
    }
}
