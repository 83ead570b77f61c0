//! What only Linux has: pidfds, `/proc`, the boot id. Nothing else in the process target does, so
//! another system is another file with these functions.
//!
//! A pid is a number that the kernel gives out again. Whatever is signalled or waited for here is
//! therefore opened as a pidfd first and then compared by its start time: between the two the pidfd pins
//! the process, so what was compared is what is signalled.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use procfs::FromRead as _;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::clock::Moment;

/// A process of this boot, for good: the pid, and when it started in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    pub(crate) start: u64,
}

/// What one look at a process tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: ProcessId,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    /// It has ended and waits to be reaped.
    pub(crate) ended: bool,
    /// Processor time of it and of its children that were reaped.
    pub(crate) cpu_time: Duration,
    /// Resident memory; pages shared with others count in full.
    pub(crate) memory_bytes: u64,
}

/// All processes at about one moment, by pid. `/proc` can't be read at one moment: what starts or ends
/// meanwhile may be missing.
pub(crate) type Snapshot = BTreeMap<u32, Seen>;

/// A look at all processes that several may share.
#[derive(Debug, Clone)]
pub(crate) struct Census {
    pub(crate) taken: Instant,
    pub(crate) processes: Arc<Snapshot>,
}

/// How old a census may be that is handed out again. Half of the interval at which usage is measured: whoever asks
/// once in that interval never gets the same one twice.
const CENSUS_SHARED_FOR: Duration = Duration::from_millis(500);

/// The id the kernel drew for this boot.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The present moment.
pub(crate) fn since_boot() -> io::Result<Moment> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map(Moment::since_boot)
        .ok_or_else(|| io::Error::other(format!("/proc/uptime reads {text:?}, which is no time")))
}

/// When a process started.
pub(crate) fn started(id: ProcessId) -> Moment {
    Moment::since_boot(ticks(id.start))
}

/// The identity of whatever has this pid now, also if it has ended and waits to be reaped.
pub(crate) fn identify(pid: u32) -> Option<ProcessId> {
    look(pid).map(|seen| seen.id)
}

/// Whether a process is there and hasn't ended.
pub(crate) fn runs(id: ProcessId) -> bool {
    look(id.pid).is_some_and(|seen| seen.id == id && !seen.ended)
}

/// Looks at every process.
pub(crate) fn snapshot() -> io::Result<Snapshot> {
    let mut found = Snapshot::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that has gone since the directory was read is no error.
        if let Some(seen) = look(pid) {
            found.insert(pid, seen);
        }
    }
    Ok(found)
}

/// Looks at every process, or hands out what was seen a moment ago: `/proc` is the same for all workloads, and
/// reading it is most of what measuring costs. Blocks, also while another thread reads it.
pub(crate) fn census() -> io::Result<Census> {
    static LAST: Mutex<Option<Census>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(census) = last.as_ref().filter(|census| census.taken.elapsed() < CENSUS_SHARED_FOR) {
        return Ok(census.clone());
    }
    let census = Census { taken: Instant::now(), processes: Arc::new(snapshot()?) };
    *last = Some(census.clone());
    Ok(census)
}

/// The value of a variable in the environment a process started with. `None` if it isn't set, if the
/// process has written over its environment, or if it can't be read (another user's).
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// A replica's processes among those of a snapshot: what is `known` and still there, its root, the
/// root's process group, whatever `marked` says carries its mark, and all descendants of these.
///
/// The process group counts only while its root is there: a group id is given out again after.
pub(crate) fn members(
    snapshot: &Snapshot,
    root: ProcessId,
    known: &BTreeSet<ProcessId>,
    marked: impl Fn(u32) -> bool,
) -> BTreeSet<ProcessId> {
    let own = std::process::id();
    let root_is_there = snapshot.get(&root.pid).is_some_and(|seen| seen.id == root);
    let mut found: BTreeMap<u32, ProcessId> = BTreeMap::new();
    for seen in snapshot.values().filter(|seen| seen.id.pid != own) {
        let in_group = root_is_there && seen.group == root.pid;
        // The mark costs a read of the environment, and nothing older than the root can have it from it.
        let may_be_marked = !seen.ended && seen.id.start >= root.start;
        if seen.id == root || in_group || known.contains(&seen.id) || (may_be_marked && marked(seen.id.pid)) {
            found.insert(seen.id.pid, seen.id);
        }
    }
    // Each round adds a generation; there are no more generations than processes.
    for _ in 0..snapshot.len() {
        let children: Vec<ProcessId> = snapshot
            .values()
            .filter(|seen| seen.id.pid != own && found.contains_key(&seen.parent))
            .filter(|seen| !found.contains_key(&seen.id.pid))
            .map(|seen| seen.id)
            .collect();
        if children.is_empty() {
            break;
        }
        found.extend(children.into_iter().map(|id| (id.pid, id)));
    }
    found.into_values().filter(|id| !snapshot[&id.pid].ended).collect()
}

/// A hold on one process: it can be signalled and waited for, and never mistaken for another.
#[derive(Debug)]
pub(crate) struct Hold(OwnedFd);

impl Hold {
    /// Takes hold of a process; `None` if it is gone, also if its pid is another's now.
    ///
    /// # Errors
    /// If the kernel has no pidfds (before Linux 5.3) or no descriptors are left.
    pub(crate) fn take(id: ProcessId) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        // Non-blocking, for AsyncFd; a pidfd is readable once the process has ended.
        let descriptor = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok((look(id.pid).is_some_and(|seen| seen.id == id)).then_some(Self(descriptor)))
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.0.as_fd(), signal) {
            // It has ended: what was asked for is the case.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended, child or not.
    pub(crate) async fn ended(self) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "its successor is `unsafe` and asks that the descriptor stay open while registered: it is owned here, and dropped with the registration"
        )]
        let descriptor = AsyncFd::with_interest(self.0, Interest::READABLE)?;
        descriptor.readable().await?.retain_ready();
        Ok(())
    }
}

fn look(pid: u32) -> Option<Seen> {
    let stat = procfs::process::Stat::from_file(format!("/proc/{pid}/stat")).ok()?;
    let reaped = u64::try_from(stat.cutime).ok()? + u64::try_from(stat.cstime).ok()?;
    Some(Seen {
        id: ProcessId { pid, start: stat.starttime },
        parent: u32::try_from(stat.ppid).ok()?,
        group: u32::try_from(stat.pgrp).ok()?,
        ended: matches!(stat.state, 'Z' | 'X' | 'x'),
        cpu_time: ticks(stat.utime + stat.stime + reaped),
        memory_bytes: stat.rss * procfs::page_size(),
    })
}

fn ticks(count: u64) -> Duration {
    // Nanoseconds first, so that a tick of 10 ms loses nothing.
    let nanos = u128::from(count) * 1_000_000_000 / u128::from(procfs::ticks_per_second());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, parent: u32, group: u32) -> Seen {
        Seen {
            id: ProcessId { pid, start: u64::from(pid) },
            parent,
            group,
            ended: false,
            cpu_time: Duration::ZERO,
            memory_bytes: 0,
        }
    }

    fn pids(members: &BTreeSet<ProcessId>) -> Vec<u32> {
        members.iter().map(|id| id.pid).collect()
    }

    /// Pids far above the kernel's limit of 2^22, so that none of them is this test.
    fn world() -> Snapshot {
        let all = [
            seen(9_000_001, 1, 9_000_001),
            seen(9_000_002, 9_000_001, 9_000_001),
            seen(9_000_003, 9_000_002, 9_000_003),
            seen(9_000_004, 1, 9_000_001),
            seen(9_000_005, 1, 9_000_005),
            seen(9_000_006, 9_000_005, 9_000_005),
        ];
        all.into_iter().map(|seen| (seen.id.pid, seen)).collect()
    }

    const ROOT: ProcessId = ProcessId { pid: 9_000_001, start: 9_000_001 };

    #[test]
    fn a_replica_is_its_root_its_group_and_all_descendants() {
        let found = members(&world(), ROOT, &BTreeSet::new(), |_| false);
        assert_eq!(pids(&found), [9_000_001, 9_000_002, 9_000_003, 9_000_004]);
    }

    #[test]
    fn what_left_group_and_tree_is_found_by_its_mark_or_by_having_been_seen() {
        let by_mark = members(&world(), ROOT, &BTreeSet::new(), |pid| pid == 9_000_005);
        assert_eq!(pids(&by_mark)[4..], [9_000_005, 9_000_006]);
        let known = BTreeSet::from([ProcessId { pid: 9_000_005, start: 9_000_005 }]);
        assert_eq!(by_mark, members(&world(), ROOT, &known, |_| false));
    }

    #[test]
    fn a_reused_pid_makes_no_members() {
        let old = ProcessId { pid: ROOT.pid, start: 1 };
        let known = BTreeSet::from([old, ProcessId { pid: 9_000_005, start: 1 }]);
        assert_eq!(pids(&members(&world(), old, &known, |_| false)), Vec::<u32>::new());
    }

    #[test]
    fn a_hold_on_a_reused_pid_is_refused() {
        let me = identify(std::process::id()).unwrap();
        assert!(Hold::take(me).unwrap().is_some());
        assert!(Hold::take(ProcessId { start: me.start + 1, ..me }).unwrap().is_none());
        assert!(Hold::take(ProcessId { pid: 0, start: 0 }).unwrap().is_none());
        assert!(Hold::take(ProcessId { pid: u32::MAX, start: 0 }).unwrap().is_none());
    }

    #[test]
    fn a_process_started_before_now() {
        let me = identify(std::process::id()).unwrap();
        assert!(started(me) <= since_boot().unwrap());
        assert!(runs(me));
        assert!(!runs(ProcessId { start: me.start + 1, ..me }));
    }
}
