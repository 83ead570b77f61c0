//! The journal: the durable record of every input, decision and action.
//!
//! The controller is a function of its inputs, so this record is its memory. An input is in the journal before its
//! effects are carried out; after a crash the latest [`Snapshot`] and the inputs after it give back the controller
//! as it was, with its cooldowns, stabilisation windows and approvals. It also answers people: what was decided,
//! when, on what grounds, and what came of it; and it holds the series that charts, forecasts and backtests read.
//!
//! It refuses to guess. A damaged file is set aside with a message and never dropped; a file of a later version is
//! left untouched; a full disk is an error to the caller, who then must not act. It is not a source of sizes: how
//! many replicas run is what the target says, never what the journal remembers.
//!
//! One thread writes, what waits together is committed together, and reads have connections of
//! their own, so a long query holds nobody up. Order is the sequence number, never the clock: clocks are set back.

mod check;
mod data_dir;
mod encode;
mod error;
mod outbox;
mod query;
mod replay;
mod retention;
mod rollup;
mod schema;
mod seal;
mod series;
mod wal;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headroom_core::action::ActionRecord;
use headroom_core::alert::{Alert, Delivery, Progress};
use headroom_core::controller::{Input, Notice, Snapshot};
use headroom_core::decision::Decision;
use headroom_core::names::WorkloadName;
use headroom_core::units::{Level, Timestamp};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub use check::SetAside;
pub use data_dir::{DataDir, DataDirError};
pub use error::JournalError;
pub use outbox::{TOLD_AS, Told};
pub use query::{
    ActionEnd, ActionEntry, ActionOutcome, Cursor, DecisionQuery, MAX_PAGE, Page, Query, Reader,
};
pub use replay::{Difference, ReplayReport, TestCase};
pub use retention::Retention;
pub use rollup::{DRAINING, FAILED, READY, Resolution, STARTING, WANTED, WARM};
pub use series::{FinePoint, MAX_POINTS, Series, SeriesPoint, SeriesQuery, SeveralQuery};

use writer::{Call, QUEUE, Writer};

/// The journal's file in the data directory.
pub const FILE: &str = "journal.db";

/// The place of an input in the order of all inputs: 1 is the first, 0 is before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(i64);

impl Seq {
    /// As a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.max(0).unsigned_abs()
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is written together: all of it or nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The present; it drives retention.
    pub at: Timestamp,
    /// What happened, in the order in which the controller handled it. How an action ended is an input as well
    /// ([`Input::Settled`]) and completes the action's entry.
    pub inputs: Vec<Input>,
    /// What was decided on these inputs, in order.
    pub decisions: Vec<Decision>,
    /// What the targets are about to be asked for.
    pub actions: Vec<ActionRecord>,
    /// What people are about to be told.
    pub notices: Vec<Notice>,
    /// The alerts that are raised from now on, where that changed.
    pub raised: Option<Vec<Alert>>,
    /// What alerts on their way remember of workloads, where that changed; `None` for a workload that is gone.
    pub progress: BTreeMap<WorkloadName, Option<Progress>>,
    /// What notifiers are about to be told.
    pub deliveries: Vec<Delivery>,
    /// Values for charts that no input holds.
    pub points: Vec<Point>,
    /// The controller's memory after these inputs. The very first batch of a journal must have one, and then one a
    /// minute keeps restarts quick; inputs are cut from the journal only where a snapshot stands for them.
    pub snapshot: Option<Snapshot>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            at: _,
            inputs,
            decisions,
            actions,
            notices,
            raised,
            progress,
            deliveries,
            points,
            snapshot,
        } = self;
        inputs.is_empty()
            && decisions.is_empty()
            && actions.is_empty()
            && notices.is_empty()
            && raised.is_none()
            && progress.is_empty()
            && deliveries.is_empty()
            && points.is_empty()
            && snapshot.is_none()
    }

    /// A batch of nothing.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self {
            at,
            inputs: Vec::new(),
            decisions: Vec::new(),
            actions: Vec::new(),
            notices: Vec::new(),
            raised: None,
            progress: BTreeMap::new(),
            deliveries: Vec::new(),
            points: Vec::new(),
            snapshot: None,
        }
    }
}

/// A value for charts that no input holds, such as a forecast or a cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Whose.
    pub workload: WorkloadName,
    /// The name of the series. A name with a dot in it can't be a signal's.
    pub series: String,
    /// When the value was true.
    pub at: Timestamp,
    /// The value.
    pub value: Level,
}

/// What was found when the journal was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The last input in the journal; 0 where it is new.
    pub last: Seq,
    /// What could not be read and lies beside the journal now. Tell people.
    pub set_aside: Option<SetAside>,
}

/// A journal that is written. Clones are handles to the same one; when the last is gone, it is closed.
///
/// It can be asked everything a [`Reader`] can, through `Deref`: reading is the half of it that others may have
/// on its own.
#[derive(Clone, Debug)]
pub struct Journal {
    calls: mpsc::Sender<Call>,
    reader: Reader,
}

impl Journal {
    /// Opens the journal of a data directory, or makes it; checks it first. Blocks while the file is read through
    /// (about a second per gigabyte).
    ///
    /// # Errors
    /// A later version's file ([`JournalError::Newer`]), or the system's refusal. Damage is no error: see
    /// [`Opened::set_aside`].
    pub fn open(dir: &DataDir, retention: Retention) -> Result<(Self, Opened), JournalError> {
        let path = dir.path().join(FILE);
        let (db, set_aside) = check::open(&path)?;
        let writer = Writer::new(db, path.clone(), retention.clone())?;
        let last = writer.seq();
        let (calls, queue) = mpsc::channel(QUEUE);
        // The writer holds the directory until its last commit, whoever lets go of it before.
        let held = dir.clone();
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(queue, held))
            .map_err(|e| JournalError::io("start the writer of", &path, e))?;
        // The reader's handle is weak: it must not keep a journal open that everyone else has let go.
        let reader = Reader::new(&path, retention, Some(calls.downgrade()))?;
        Ok((Self { calls, reader }, Opened { last, set_aside }))
    }

    /// Writes a batch; returns after the commit, with the number of its last input. Then, and not before, its effects
    /// may be carried out.
    ///
    /// # Errors
    /// Nothing of the batch is written then. Where [`JournalError::may_pass`], append the very same batch again
    /// (keep an `Arc` of it) before any later one.
    pub async fn append(&self, batch: impl Into<Arc<Batch>> + Send) -> Result<Seq, JournalError> {
        let batch = batch.into();
        self.call(|answer| Call::Append(batch, answer)).await
    }

    /// Closes the journal for all handles and lets go of its directory. Not needed for safety; it spares the next
    /// start a moment of work.
    ///
    /// # Errors
    /// The last points could not be written; nothing acknowledged is lost.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.call(Call::Close).await
    }

    async fn call<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Call + Send,
    ) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(call(answer)).await.map_err(|_| JournalError::Closed)?;
        answered.await.map_err(|_| JournalError::Closed)?
    }
}

impl Deref for Journal {
    type Target = Reader;
    fn deref(&self) -> &Reader {
        &self.reader
    }
}

/// A connection that only reads.
fn open_reader(path: &Path) -> Result<Connection, JournalError> {
    use rusqlite::OpenFlags;
    let failed = |e| JournalError::sqlite("open", path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(check::BUSY_FOR).map_err(failed)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// A file beside `path`: `journal.db-wal`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
