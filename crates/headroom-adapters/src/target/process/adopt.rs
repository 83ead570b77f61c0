//! Which of the machine's processes are ours: after a restart of the controller, and after its death.
//!
//! Pure: the record and what was seen go in, the choice comes out.
//!
//! A process recorded with its pid is ours if pid, start time and boot are the recorded ones, and it
//! doesn't carry another's token. (It may carry none: programs that set their own title write over
//! their environment.) One whose start was cut short between intent and record is found by its token,
//! and so are all when the record is lost. What carries a token of ours and belongs to no replica is a
//! stray, and is ended: nothing is left behind.

use std::collections::{BTreeMap, BTreeSet};

use super::host::ProcessId;
use super::record::{Record, ReplicaRecord};
use super::token::{Home, Token};

/// A live process, with what its environment says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: ProcessId,
    /// Its process group; a replica leads its own.
    pub(crate) group: u32,
    pub(crate) token: Option<Token>,
    /// `HEADROOM_REPLICA`.
    pub(crate) replica: Option<String>,
    /// `PORT`.
    pub(crate) port: Option<u16>,
}

/// Who is who.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Adoption {
    /// Running replicas of ours.
    pub(crate) adopted: Vec<(ReplicaRecord, ProcessId)>,
    /// Recorded ones that are gone.
    pub(crate) gone: Vec<ReplicaRecord>,
    /// Recorded ones whose pid another process has now; not touched.
    pub(crate) reused: Vec<(ReplicaRecord, ProcessId)>,
    /// Ours, of no replica; to be ended.
    pub(crate) strays: BTreeSet<ProcessId>,
}

/// Sorts `candidates` by what `record` says. `None`: the record is lost.
pub(crate) fn sort(
    record: Option<&Record>,
    boot_id: &str,
    home: &Home,
    workload: &str,
    candidates: &[Candidate],
) -> Adoption {
    let mut adoption = Adoption::default();
    let by_pid: BTreeMap<u32, &Candidate> = candidates.iter().map(|c| (c.id.pid, c)).collect();
    let mut by_token: BTreeMap<&Token, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        if let Some(token) = candidate.token.as_ref().filter(|token| home.owns(token)) {
            by_token.entry(token).or_default().push(candidate);
        }
    }

    match record {
        Some(record) => {
            for replica in &record.replicas {
                let same_boot = record.boot_id == boot_id;
                match replica.process.filter(|_| same_boot) {
                    Some(id) => match by_pid.get(&id.pid) {
                        Some(seen)
                            if seen.id == id && seen.token.as_ref().is_none_or(|t| *t == replica.token) =>
                        {
                            adoption.adopted.push((replica.clone(), id));
                        }
                        Some(seen) => adoption.reused.push((replica.clone(), seen.id)),
                        None => adoption.gone.push(replica.clone()),
                    },
                    None => match by_token.get(&replica.token).and_then(|marked| root(marked)) {
                        Some(root) if replica.process.is_none() => {
                            adoption.adopted.push((replica.clone(), root.id));
                        }
                        _ => adoption.gone.push(replica.clone()),
                    },
                }
            }
        }
        None => {
            for (token, marked) in &by_token {
                let Some(root) = root(marked) else { continue };
                let Some(index) = root.replica.as_deref().and_then(|name| index_of(name, workload)) else {
                    continue;
                };
                let replica = ReplicaRecord {
                    index,
                    start: 0,
                    token: (*token).clone(),
                    port: root.port,
                    spec_hash: String::new(),
                    process: Some(root.id),
                    ready: None,
                    leaving: false,
                    spare: false,
                    restarts: 0,
                    streak: 0,
                    log: None,
                };
                // Two starts of one replica: the later one is the replica, the other a stray.
                match adoption.adopted.iter_mut().find(|(other, _)| other.index == index) {
                    Some(other) if other.1.start < root.id.start => *other = (replica, root.id),
                    Some(_) => {}
                    None => adoption.adopted.push((replica, root.id)),
                }
            }
        }
    }

    let adopted: BTreeSet<&Token> = adoption.adopted.iter().map(|(replica, _)| &replica.token).collect();
    adoption.strays = by_token
        .iter()
        .filter(|(token, _)| !adopted.contains(**token))
        .flat_map(|(_, marked)| marked.iter().map(|candidate| candidate.id))
        .collect();
    adoption
}

/// The replica's own process among those that carry its token: the first that leads a process group.
fn root<'a>(marked: &[&'a Candidate]) -> Option<&'a Candidate> {
    marked.iter().filter(|c| c.group == c.id.pid).min_by_key(|c| (c.id.start, c.id.pid)).copied()
}

fn index_of(replica: &str, workload: &str) -> Option<u32> {
    replica.strip_prefix(workload)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const BOOT: &str = "this-boot";

    fn home() -> Home {
        Home::of(Path::new("/data/process/web"))
    }

    fn id(pid: u32, start: u64) -> ProcessId {
        ProcessId { pid, start }
    }

    fn candidate(id: ProcessId, token: Option<&Token>) -> Candidate {
        Candidate {
            id,
            group: id.pid,
            token: token.cloned(),
            replica: token.map(|_| format!("web-{}", id.pid)),
            port: Some(20_000),
        }
    }

    fn recorded(token: &Token, process: Option<ProcessId>) -> ReplicaRecord {
        ReplicaRecord {
            index: 1,
            start: 1,
            token: token.clone(),
            port: Some(20_000),
            spec_hash: String::new(),
            process,
            ready: None,
            leaving: false,
            spare: false,
            restarts: 0,
            streak: 0,
            log: None,
        }
    }

    fn record(replicas: Vec<ReplicaRecord>) -> Record {
        Record { replicas, ..Record::new("web", BOOT) }
    }

    fn adopt(record: Option<&Record>, candidates: &[Candidate]) -> Adoption {
        sort(record, BOOT, &home(), "web", candidates)
    }

    #[test]
    fn pid_start_time_boot_and_token_must_agree() {
        let (token, other) = (home().token().unwrap(), home().token().unwrap());
        let ours = record(vec![recorded(&token, Some(id(7, 100)))]);
        let cases = [
            ("all agree", BOOT, candidate(id(7, 100), Some(&token)), (1, 0, 0)),
            ("the environment was written over", BOOT, candidate(id(7, 100), None), (1, 0, 0)),
            ("the pid was reused", BOOT, candidate(id(7, 101), None), (0, 0, 1)),
            ("another's token", BOOT, candidate(id(7, 100), Some(&other)), (0, 0, 1)),
            ("another pid", BOOT, candidate(id(8, 100), None), (0, 1, 0)),
            ("another boot", "earlier-boot", candidate(id(7, 100), None), (0, 1, 0)),
        ];
        for (claim, boot, seen, expected) in cases {
            let ours = Record { boot_id: boot.to_owned(), ..ours.clone() };
            let found = adopt(Some(&ours), std::slice::from_ref(&seen));
            assert_eq!((found.adopted.len(), found.gone.len(), found.reused.len()), expected, "{claim}");
            if seen.token.is_none() {
                assert!(found.strays.is_empty(), "{claim}: a process without our token is never ended");
            }
        }
    }

    #[test]
    fn a_start_cut_short_is_found_by_its_token_and_its_first_process_is_the_replica() {
        let token = home().token().unwrap();
        let intent = record(vec![recorded(&token, None)]);
        let root = candidate(id(9, 100), Some(&token));
        let child = Candidate { group: 9, ..candidate(id(5, 101), Some(&token)) };
        let daemon = candidate(id(6, 102), Some(&token));
        let found = adopt(Some(&intent), &[daemon, child, root]);
        assert_eq!(found.adopted, [(intent.replicas[0].clone(), id(9, 100))]);
        assert!(found.strays.is_empty(), "its children stay its own");
        assert_eq!(adopt(Some(&intent), &[]).gone.len(), 1);
    }

    #[test]
    fn what_carries_our_token_and_belongs_to_no_replica_is_a_stray() {
        let (token, old) = (home().token().unwrap(), home().token().unwrap());
        let theirs = Home::of(Path::new("/elsewhere")).token().unwrap();
        let ours = record(vec![recorded(&token, Some(id(7, 100)))]);
        let seen = [
            candidate(id(7, 100), Some(&token)),
            candidate(id(8, 50), Some(&old)),
            candidate(id(9, 60), Some(&theirs)),
            candidate(id(10, 70), None),
        ];
        assert_eq!(adopt(Some(&ours), &seen).strays, BTreeSet::from([id(8, 50)]));
        // The replica died, its child lives on.
        assert_eq!(
            adopt(Some(&ours), &[candidate(id(11, 101), Some(&token))]).strays,
            BTreeSet::from([id(11, 101)])
        );
    }

    #[test]
    fn a_lost_record_costs_no_replica() {
        let (one, two) = (home().token().unwrap(), home().token().unwrap());
        let seen = [candidate(id(7, 100), Some(&one)), candidate(id(8, 100), Some(&two))];
        let found = adopt(None, &seen);
        let indexes: BTreeSet<u32> = found.adopted.iter().map(|(replica, _)| replica.index).collect();
        assert_eq!(indexes, BTreeSet::from([7, 8]));
        assert_eq!(found.adopted[0].0.port, Some(20_000));
        assert!(found.strays.is_empty());
    }
}
