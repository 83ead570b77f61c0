//! Starting processes: the intent on disk, the process, the outcome.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tracing::info;

use super::super::backoff::mix;
use super::super::clock::Moment;
use super::super::command::{self, Start};
use super::super::fault::Fault;
use super::super::replica::Event;
use super::super::spec::Probe;
use super::super::tasks::Which;
use super::super::{host, logs, ports};
use super::{Actor, Preload, Process};

/// A worker without a port counts as ready once it has lived this long: a bad argument or a missing
/// library ends it before.
const WORKER_SETTLES: Duration = Duration::from_secs(1);

impl Actor {
    /// Starts all that is to be started: intents on disk, processes, outcomes (with the round's save).
    pub(super) async fn start_processes(&mut self) {
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
                preload: Preload::Due,
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
}
