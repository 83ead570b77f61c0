//! Reading: decisions, actions and notices by workload and time; what a restart needs.
//!
//! A [`Reader`] has connections of its own, so a query sees a consistent moment and never waits for the writer.
//! Every answer is bounded: a page, a series, a minute of inputs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use headroom_core::action::ActionRecord;
use headroom_core::controller::{Input, Notice, Settled, Snapshot};
use headroom_core::decision::{Decision, DecisionId};
use headroom_core::names::WorkloadName;
use headroom_core::units::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::check;
use super::encode::{self, Kind};
use super::error::JournalError;
use super::retention::Retention;
use super::seal::unseal;
use super::writer::{Call, decision_row, last_moment};
use super::{Seq, open_reader};

/// Queries that run at once. More would take cores from what is scaled; they wait their turn.
const CONNECTIONS: usize = 2;
/// Entries in one answer at the most: some 2 MB of decisions.
pub const MAX_PAGE: usize = 1000;
/// Snapshots that are tried, newest first, should one be unreadable: as many as retention keeps in a row.
const SNAPSHOTS_TRIED: i64 = 3;

/// The reading half of a journal. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    writer: Option<mpsc::WeakSender<Call>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    retention: Retention,
    free: Mutex<Vec<Connection>>,
    turns: Semaphore,
}

/// A place in a list, to go on from. Opaque; hand back what a [`Page`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(i64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Cursor {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Some of a list, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where older ones begin, if there are more.
    pub older: Option<Cursor>,
}

/// Which entries of a list are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Of this workload only.
    pub workload: Option<WorkloadName>,
    /// At or after this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Go on from here.
    pub before: Option<Cursor>,
    /// So many at the most; 0 and more than [`MAX_PAGE`] mean [`MAX_PAGE`].
    pub limit: usize,
}

/// Which decisions are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionQuery {
    /// Of which workload and time.
    pub query: Query,
    /// Only those that asked a target for another count.
    pub only_changes: bool,
}

/// What a target was asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionEntry {
    /// What was asked.
    pub action: ActionRecord,
    /// How it ended; `None` while that is not known, and for ever if headroom ended in between.
    pub end: Option<ActionEnd>,
}

/// How an action ended, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionEnd {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: ActionOutcome,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActionOutcome {
    /// The target did as asked.
    Done,
    /// It failed; the target's own words.
    Failed(String),
    /// It was only said: the driver ran in advise mode.
    Advised,
}

impl From<&Settled> for ActionOutcome {
    fn from(settled: &Settled) -> Self {
        match settled {
            Settled::Done(_) => Self::Done,
            Settled::Failed(error) => Self::Failed(error.clone()),
            Settled::Advised => Self::Advised,
        }
    }
}

impl Reader {
    /// Reads the journal of a data directory without taking the directory: beside a running controller, or when
    /// none runs.
    ///
    /// # Errors
    /// There is no journal, it is a later version's, or it can't be read.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(super::FILE);
        // What may not be looked into is not the same as what is not there.
        let there = path.try_exists().map_err(|error| JournalError::io("look for", &path, error))?;
        if !there {
            return Err(JournalError::Missing { path });
        }
        Self::new(&path, Retention::default(), None)
    }

    pub(crate) fn new(
        path: &Path,
        retention: Retention,
        writer: Option<mpsc::WeakSender<Call>>,
    ) -> Result<Self, JournalError> {
        let first = open_reader(path)?;
        if check::look(&first, path)? == 0 {
            return Err(JournalError::Missing { path: path.to_owned() });
        }
        let shared = Shared {
            path: path.to_owned(),
            retention,
            free: Mutex::new(vec![first]),
            turns: Semaphore::new(CONNECTIONS),
        };
        Ok(Self { shared: Arc::new(shared), writer })
    }

    /// The latest snapshot and the inputs after it: the controller as it was. `None` where nothing was ever written.
    ///
    /// A snapshot that can't be read is passed over for the one before it, with a warning.
    ///
    /// # Errors
    /// An input after it can't be read; or none of the latest snapshots can.
    pub async fn restore(&self) -> Result<Option<(Snapshot, Vec<Input>)>, JournalError> {
        self.read("restore from", |db| {
            let found = {
                let mut latest =
                    db.prepare_cached("SELECT seq, body FROM snapshot ORDER BY seq DESC LIMIT ?1")?;
                let mut rows = latest.query([SNAPSHOTS_TRIED])?;
                let mut found = None;
                let mut first_error = None;
                while let Some(row) = rows.next()? {
                    let seq: i64 = row.get(0)?;
                    match parse::<Snapshot>(&row.get::<_, String>(1)?, || {
                        format!("the snapshot after input {seq}")
                    }) {
                        Ok(snapshot) => {
                            found = Some((seq, snapshot));
                            break;
                        }
                        Err(error) => {
                            tracing::warn!(seq, "a snapshot can't be read; trying the one before it");
                            first_error.get_or_insert(error);
                        }
                    }
                }
                match (found, first_error) {
                    (Some(found), _) => found,
                    (None, Some(error)) => return Err(error),
                    (None, None) => return Ok(None),
                }
            };
            let (seq, snapshot) = found;
            let mut inputs = Vec::new();
            each_input(db, seq, i64::MAX, |_, input| inputs.push(input))?;
            Ok(Some((snapshot, inputs)))
        })
        .await
    }

    /// Decisions, newest first.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn decisions(&self, query: DecisionQuery) -> Result<Page<Decision>, JournalError> {
        self.read("read decisions", move |db| {
            let class = if query.only_changes { "AND class = 2" } else { "" };
            let sql = |filter: &str| {
                format!(
                    "SELECT d.id, body FROM (SELECT id FROM decision WHERE {filter} {class} ORDER BY id DESC LIMIT ?) d \
                     JOIN decision_body USING (id) ORDER BY d.id DESC"
                )
            };
            page(db, &query.query, sql, |row| parse(&row.get::<_, String>(1)?, || "a decision".to_owned()))
        })
        .await
    }

    /// The decision called `id`. Where a workload was removed and came back, its decisions are counted from 1 again;
    /// the newest of that name is meant.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn decision(&self, id: &DecisionId) -> Result<Option<Decision>, JournalError> {
        let id = id.clone();
        self.read("read a decision", move |db| {
            let Some((row, _)) = decision_row(db, id.workload.as_str(), id.number)? else { return Ok(None) };
            let body: Option<String> = db
                .prepare_cached("SELECT body FROM decision_body WHERE id = ?1")?
                .query_row([row], |r| r.get(0))
                .optional()?;
            body.map(|body| parse(&body, || format!("decision {id}"))).transpose()
        })
        .await
    }

    /// Actions with what came of them, newest first.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn actions(&self, query: Query) -> Result<Page<ActionEntry>, JournalError> {
        self.read("read actions", move |db| {
            let sql = |filter: &str| {
                format!(
                    "SELECT id, body, settled_at, outcome FROM action WHERE {filter} ORDER BY id DESC LIMIT ?"
                )
            };
            page(db, &query, sql, |row| {
                let settled: (Option<i64>, Option<String>) = (row.get(2)?, row.get(3)?);
                let end = match settled {
                    (Some(at), Some(outcome)) => Some(ActionEnd {
                        at: Timestamp::from_millis(at),
                        outcome: serde_json::from_str(&outcome)
                            .map_err(|e| JournalError::unreadable("the outcome of an action", e))?,
                    }),
                    (_, _) => None,
                };
                let action = parse(&row.get::<_, String>(1)?, || "an action".to_owned())?;
                Ok(ActionEntry { action, end })
            })
        })
        .await
    }

    /// Notices, newest first.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn notices(&self, query: Query) -> Result<Page<Notice>, JournalError> {
        self.read("read notices", move |db| {
            let sql =
                |filter: &str| format!("SELECT id, body FROM notice WHERE {filter} ORDER BY id DESC LIMIT ?");
            page(db, &query, sql, |row| parse(&row.get::<_, String>(1)?, || "a notice".to_owned()))
        })
        .await
    }

    /// The last input there is.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn last(&self) -> Result<Seq, JournalError> {
        self.read("read", |db| {
            Ok(Seq(db.query_row("SELECT coalesce(max(seq), 0) FROM input", [], |r| r.get(0))?))
        })
        .await
    }

    /// When the last input there is happened; `None` where there is none.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn last_moment(&self) -> Result<Option<Timestamp>, JournalError> {
        self.read("read", |db| Ok(last_moment(db)?)).await
    }

    pub(crate) fn retention(&self) -> &Retention {
        &self.shared.retention
    }

    /// Has the writer, where there is one, put into the tables of points what it still holds.
    pub(crate) async fn flush(&self) -> Result<(), JournalError> {
        let Some(writer) = self.writer.as_ref().and_then(mpsc::WeakSender::upgrade) else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        if writer.send(Call::Flush(answer)).await.is_err() {
            return Ok(()); // Closed: all is in the tables.
        }
        answered.await.unwrap_or(Ok(()))
    }

    /// Runs `work` on a connection, off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, ReadFailed> + Send + 'static,
    ) -> Result<T, JournalError> {
        let shared = Arc::clone(&self.shared);
        let _turn = self.shared.turns.acquire().await.map_err(|_| JournalError::Closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let free = shared.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let db = match free {
                Some(db) => db,
                None => open_reader(&shared.path)?,
            };
            let result = work(&db).map_err(|failed| match failed {
                ReadFailed::Sqlite(error) => JournalError::sqlite(doing, &shared.path, error),
                ReadFailed::Journal(error) => error,
            });
            shared.free.lock().unwrap_or_else(PoisonError::into_inner).push(db);
            result
        });
        // The work is stopped only by a panic or by the end of the runtime.
        done.await.map_err(|_| JournalError::Closed)?
    }
}

/// Why a piece of reading failed.
pub(crate) enum ReadFailed {
    Sqlite(rusqlite::Error),
    Journal(JournalError),
}

impl From<rusqlite::Error> for ReadFailed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<JournalError> for ReadFailed {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// A record's text as a value.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, what: impl FnOnce() -> String) -> Result<T, ReadFailed> {
    let Some(text) = unseal(text) else { return Err(damaged(what()).into()) };
    serde_json::from_str(text).map_err(|e| JournalError::unreadable(what(), e).into())
}

/// A record whose checksum does not fit.
fn damaged(what: String) -> JournalError {
    JournalError::unreadable(what, "its checksum does not fit, so the file was damaged")
}

/// Hands the inputs after `after`, up to and with `to`, to `take`, in order.
pub(crate) fn each_input(
    db: &Connection,
    after: i64,
    to: i64,
    mut take: impl FnMut(i64, Input),
) -> Result<(), ReadFailed> {
    let mut inputs =
        db.prepare_cached("SELECT seq, kind, body FROM input WHERE seq > ?1 AND seq <= ?2 ORDER BY seq")?;
    let mut rows = inputs.query(params![after, to])?;
    while let Some(row) = rows.next()? {
        let (seq, kind): (i64, i64) = (row.get(0)?, row.get(1)?);
        let sealed: String = row.get(2)?;
        let what = || format!("input {seq}");
        let kind = Kind::of(kind).ok_or_else(|| JournalError::unreadable(what(), "unknown kind"))?;
        let body = unseal(&sealed).ok_or_else(|| damaged(what()))?;
        take(seq, encode::read(kind, body).map_err(|e| JournalError::unreadable(what(), e))?);
    }
    Ok(())
}

fn page<T>(
    db: &Connection,
    query: &Query,
    sql: impl FnOnce(&str) -> String,
    mut read: impl FnMut(&rusqlite::Row<'_>) -> Result<T, ReadFailed>,
) -> Result<Page<T>, ReadFailed> {
    let mut filter = String::from("TRUE");
    let mut values = Vec::new();
    let mut add = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            filter.push_str(condition);
            values.push(value);
        }
    };
    add(" AND workload = ?", query.workload.as_ref().map(|w| Value::Text(w.as_str().to_owned())));
    add(" AND at >= ?", query.since.map(|t| Value::Integer(t.as_millis())));
    add(" AND at < ?", query.until.map(|t| Value::Integer(t.as_millis())));
    add(" AND id < ?", query.before.map(|c| Value::Integer(c.0)));
    let limit = if query.limit == 0 { MAX_PAGE } else { query.limit.min(MAX_PAGE) };
    // One more tells whether there are older ones.
    values.push(Value::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    let mut select = db.prepare_cached(&sql(&filter))?;
    let mut rows = select.query(params_from_iter(values))?;
    let (mut entries, mut last, mut older) = (Vec::new(), None, None);
    while let Some(row) = rows.next()? {
        if entries.len() == limit {
            older = last;
            break;
        }
        last = Some(Cursor(row.get(0)?));
        entries.push(read(row)?);
    }
    Ok(Page { entries, older })
}
