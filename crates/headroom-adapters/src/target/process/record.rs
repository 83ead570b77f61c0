//! What a supervisor writes down so that the next one finds its replicas again.
//!
//! The record is written before a process is started (the intent, with the token it will carry) and
//! after (its pid and start time), so that a controller killed at any point in between leaves nothing
//! its successor can't find. A write is a new file, synced, renamed over the old one, and the directory
//! synced: after a power cut there is the old record or the new one, never half of one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::clock::Moment;
use super::host::ProcessId;
use super::token::Token;

/// The format; a record of another version is put aside like a damaged one, and the replicas are found
/// by their tokens.
const VERSION: u32 = 1;

/// Everything a restarted controller can't ask the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) workload: String,
    /// Pids and moments mean something within one boot only.
    pub(crate) boot_id: String,
    pub(crate) desired: u32,
    /// How many are to be kept warm beside.
    #[serde(default)]
    pub(crate) pool: u32,
    pub(crate) generation: u64,
    pub(crate) next_index: u32,
    pub(crate) next_start: u64,
    pub(crate) replicas: Vec<ReplicaRecord>,
}

/// One replica that has, or is about to have, a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicaRecord {
    pub(crate) index: u32,
    pub(crate) start: u64,
    pub(crate) token: Token,
    pub(crate) port: Option<u16>,
    pub(crate) spec_hash: String,
    /// `None`: the intent to start it is recorded, the outcome isn't.
    pub(crate) process: Option<ProcessId>,
    pub(crate) ready: Option<Moment>,
    /// It was on its way out; its adopter sees to it that it goes.
    pub(crate) leaving: bool,
    /// It is of the warm pool and serves nobody.
    #[serde(default)]
    pub(crate) spare: bool,
    pub(crate) restarts: u32,
    pub(crate) streak: u32,
    pub(crate) log: Option<PathBuf>,
}

impl Record {
    pub(crate) fn new(workload: &str, boot_id: &str) -> Self {
        Self {
            version: VERSION,
            workload: workload.to_owned(),
            boot_id: boot_id.to_owned(),
            desired: 0,
            pool: 0,
            generation: 0,
            next_index: 1,
            next_start: 1,
            replicas: Vec::new(),
        }
    }
}

/// What was found in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record.
    Record(Record),
    /// None: nothing ran here before.
    Nothing,
    /// One that can't be read, and why; it was put aside under another name.
    Damaged(String),
}

/// The directory of one supervisor, held by one process at a time.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    _lock: Lock,
}

/// A locked file. The kernel unlocks it when its holder ends, however it ends.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// Closing alone would leave it locked for as long as a child that is just being started has not closed it, too.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Store {
    /// Opens, and makes, a directory. `Ok(None)`: another supervisor holds it.
    pub(crate) fn open(directory: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let lock = File::options().create(true).truncate(false).write(true).open(directory.join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { directory, _lock: Lock(lock) })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The canonical path.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn load(&self) -> io::Result<Found> {
        let text = match fs::read(self.file()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let damage = match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.version == VERSION => return Ok(Found::Record(record)),
            Ok(record) => format!("it has version {}, not {VERSION}", record.version),
            Err(error) => error.to_string(),
        };
        fs::rename(self.file(), self.directory.join("replicas.damaged.json"))?;
        Ok(Found::Damaged(damage))
    }

    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        let fresh = self.directory.join("replicas.json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        fs::rename(fresh, self.file())?;
        File::open(&self.directory)?.sync_all()
    }

    fn file(&self) -> PathBuf {
        self.directory.join("replicas.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let replica = ReplicaRecord {
            index: 3,
            start: 7,
            token: Token::claimed("home.nonce".to_owned()),
            port: Some(20_001),
            spec_hash: "00ff".to_owned(),
            process: Some(ProcessId { pid: 41, start: 123_456 }),
            ready: Some(Moment::since_boot(std::time::Duration::from_millis(1_250))),
            leaving: false,
            spare: true,
            restarts: 1,
            streak: 1,
            log: Some("/data/logs/web-3.7.log".into()),
        };
        Record { desired: 1, replicas: vec![replica], ..Record::new("web", "boot") }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap().unwrap();
        assert_eq!(store.load().unwrap(), Found::Nothing);
        store.save(&record()).unwrap();
        assert_eq!(store.load().unwrap(), Found::Record(record()));
    }

    #[test]
    fn a_damaged_record_is_put_aside_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap().unwrap();
        let future = serde_json::to_string(&Record { version: 99, ..record() }).unwrap();
        for damaged in ["", "{\"version\":1,", "[]", future.as_str()] {
            fs::write(store.file(), damaged).unwrap();
            assert!(matches!(store.load().unwrap(), Found::Damaged(_)), "{damaged}");
            assert_eq!(store.load().unwrap(), Found::Nothing);
            assert_eq!(fs::read_to_string(dir.path().join("replicas.damaged.json")).unwrap(), damaged);
        }
    }

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path()).unwrap();
        assert!(first.is_some());
        assert!(Store::open(dir.path()).unwrap().is_none());
        drop(first);
        assert!(Store::open(dir.path()).unwrap().is_some());
    }
}
