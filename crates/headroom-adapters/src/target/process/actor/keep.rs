//! What outlives the controller: writing the record, and taking over what an earlier one recorded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tracing::info;

use super::super::adopt::Adoption;
use super::super::backoff::mix;
use super::super::clock::Moment;
use super::super::host::{self, Hold};
use super::super::record::{Record, ReplicaRecord};
use super::super::replica::{Event, Leave, Life, Replica};
use super::super::tasks::Which;
use super::{Actor, Preload, Process, Slot};

/// After a failed write of the record the next is tried this much later.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

impl Actor {
    /// Writes the record if it changed. Whether it is on disk shows in `saved`.
    pub(super) async fn save(&mut self, now: Moment) {
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

    /// What is to be on disk now.
    pub(super) fn record(&self) -> Record {
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
                spare: slot.spare,
                restarts: slot.replica.restarts(),
                streak: slot.replica.streak(),
                log: process.log.clone(),
            })
        });
        Record {
            desired: self.desired,
            pool: self.pool,
            generation: self.generation,
            next_index: self.next_index,
            next_start: self.next_start,
            replicas: replicas.collect(),
            ..Record::new(&self.ground.workload, &self.boot_id)
        }
    }

    /// Makes slots of what was adopted, and says what was found.
    pub(super) fn take_over(&mut self, adoption: Adoption, damage: Option<String>, now: Moment) {
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
                // Warming again does no harm, and whether it was done is not on disk.
                preload: Preload::Due,
                members: BTreeSet::new(),
                cpu_at: None,
                usage: None,
            };
            let slot = Slot {
                replica: Replica::in_state(life, seed).with_history(replica.restarts, replica.streak),
                asked: host::started(id),
                outgoing: false,
                spare: replica.spare,
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
}
