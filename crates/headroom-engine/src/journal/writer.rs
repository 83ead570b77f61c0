//! The one thread that writes.
//!
//! It takes what is waiting (group commit), writes it in one transaction, and only then answers. Everything it
//! remembers beside the database changes after the commit, so a commit that fails leaves both as they were.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headroom_core::controller::Input;
use headroom_core::decision::{Decision, Outcome};
use headroom_core::names::WorkloadName;
use headroom_core::units::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::encode;
use super::error::JournalError;
use super::outbox::{self, Told};
use super::query::ActionOutcome;
use super::retention::{Kept, Retention, give_back};
use super::rollup::{Pending, SeriesNames};
use super::seal::{seal, unseal};
use super::{Batch, DataDir, Seq};

/// Batches written in one transaction at the most. The queue has no more.
const GROUP: usize = 64;
/// Calls that may wait for the writer. The engine waits for each append, so more than a few means others write too.
pub(crate) const QUEUE: usize = 64;
/// Points go to the tables, and old rows go away, this often: at ten batches a second it saves nine tenths of the
/// pages written.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the writer can be asked for.
#[derive(Debug)]
pub(crate) enum Call {
    Append(Arc<Batch>, Answer<Seq>),
    /// What came of messages.
    Told(Vec<Told>, Answer<()>),
    /// Everything acknowledged is to be in the tables of points.
    Flush(Answer<()>),
    /// Flush, write the log into the file, and end.
    Close(Answer<()>),
}

/// The writer's state.
#[derive(Debug)]
pub(crate) struct Writer {
    db: Connection,
    path: PathBuf,
    retention: Retention,
    seq: i64,
    pending: Pending,
    names: SeriesNames,
    kept: Kept,
    /// The last decision of each workload: does the next one repeat it? Bounded by the workloads there are.
    last: std::collections::BTreeMap<WorkloadName, Decision>,
    housekept: Option<Instant>,
}

impl Writer {
    /// Takes up where the journal stands: `seq` and the points are brought up to the last input.
    pub(crate) fn new(db: Connection, path: PathBuf, retention: Retention) -> Result<Self, JournalError> {
        db.set_prepared_statement_cache_capacity(64);
        let failed = |e| JournalError::sqlite("read", &path, e);
        let seq = db
            .query_row(
                "SELECT max(coalesce((SELECT max(seq) FROM input), 0), coalesce((SELECT max(seq) FROM snapshot), 0))",
                [],
                |r| r.get(0),
            )
            .map_err(failed)?;
        let mut names = SeriesNames::load(&db).map_err(failed)?;
        let mut kept = Kept::load(&db).map_err(failed)?;
        if kept.first_input == 0 {
            kept.first_input = seq + 1;
        }
        let mut pending = Pending::default();
        let mut unread = 0_u64;
        {
            let mut rest = db
                .prepare("SELECT kind, body FROM input WHERE seq > (SELECT seq FROM rolled) ORDER BY seq")
                .map_err(failed)?;
            let mut rows = rest.query([]).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let kind: i64 = row.get(0).map_err(failed)?;
                let body: String = row.get(1).map_err(failed)?;
                match encode::Kind::of(kind)
                    .zip(unseal(&body))
                    .and_then(|(kind, text)| encode::read(kind, text).ok())
                {
                    Some(input) => pending.count(&mut names, &input),
                    None => unread += 1,
                }
            }
        }
        if unread > 0 {
            tracing::warn!(unread, "inputs that can't be read are missing in the series of the last second");
        }
        Ok(Self {
            db,
            path,
            retention,
            seq,
            pending,
            names,
            kept,
            last: std::collections::BTreeMap::new(),
            housekept: None,
        })
    }

    /// The last input.
    pub(crate) fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// Serves until it is closed or nobody is left who could call.
    pub(crate) fn run(mut self, mut calls: mpsc::Receiver<Call>, dir: DataDir) {
        let mut group = Vec::new();
        while calls.blocking_recv_many(&mut group, GROUP) > 0 {
            let mut appends: Vec<(Arc<Batch>, Answer<Seq>)> = Vec::new();
            for call in group.drain(..) {
                match call {
                    Call::Append(batch, answer) => appends.push((batch, answer)),
                    Call::Told(told, answer) => {
                        // Their messages may stand in the same group.
                        self.append_all(&mut appends);
                        let _ = answer.send(self.told(&told));
                    }
                    Call::Flush(answer) => {
                        self.append_all(&mut appends);
                        // An answer nobody waits for any more is no failure.
                        let _ = answer.send(self.flush());
                    }
                    Call::Close(answer) => {
                        self.append_all(&mut appends);
                        let closed = self.close();
                        // Who has the answer may open the journal again.
                        drop(self);
                        drop(dir);
                        let _ = answer.send(closed);
                        return;
                    }
                }
            }
            self.append_all(&mut appends);
        }
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the journal was not closed cleanly; nothing acknowledged is lost");
        }
    }

    /// All in one transaction; if that fails, each on its own, so that one batch that can't be written does not
    /// take others with it.
    fn append_all(&mut self, appends: &mut Vec<(Arc<Batch>, Answer<Seq>)>) {
        let batches: Vec<&Batch> = appends.iter().map(|(batch, _)| batch.as_ref()).collect();
        let written = match batches.as_slice() {
            [] => return,
            [one] => vec![self.append(&[one]).map(|seqs| seqs[0])],
            many => match self.append(many) {
                Ok(seqs) => seqs.into_iter().map(Ok).collect(),
                Err(_) => many.iter().map(|one| self.append(&[one]).map(|seqs| seqs[0])).collect(),
            },
        };
        for ((_, answer), result) in appends.drain(..).zip(written) {
            let _ = answer.send(result);
        }
    }

    fn append(&mut self, batches: &[&Batch]) -> Result<Vec<Seq>, JournalError> {
        let due = self.housekept.is_none_or(|then| then.elapsed() >= HOUSEKEEPING_EVERY);
        let mut seq = self.seq;
        let mut kept = self.kept.clone();
        let mut last = Vec::new();
        let mut seqs = Vec::with_capacity(batches.len());
        // Points that no input says can't be counted again after a crash, so they go in with their batch.
        let mut points = Pending::default();
        for point in batches.iter().flat_map(|b| &b.points) {
            points.point(&mut self.names, point);
        }
        let written = (|| {
            let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for batch in batches {
                write_batch(&step, batch, &mut seq, &mut kept, &self.last, &mut last)?;
                seqs.push(Seq(seq));
            }
            if due || !points.is_empty() {
                self.pending.write(&step, &self.names)?;
                points.write(&step, &self.names)?;
                // What this very batch says is not counted yet.
                step.prepare_cached("UPDATE rolled SET seq = ?1")?.execute([self.seq])?;
            }
            if due && let Some(batch) = batches.last() {
                kept.step(&step, &self.retention, batch.at, self.seq, self.names.len())?;
            }
            step.commit().map_err(Failed::Sqlite)
        })();
        if let Err(failed) = written {
            return Err(match failed {
                Failed::Sqlite(error) => JournalError::sqlite("append", &self.path, error),
                Failed::Json(error) => JournalError::unreadable("a record to be written", error),
            });
        }
        if due || !points.is_empty() {
            self.pending.written(&mut self.names);
        }
        self.seq = seq;
        self.kept = kept;
        self.last.extend(last);
        for input in batches.iter().flat_map(|b| &b.inputs) {
            self.pending.count(&mut self.names, input);
        }
        if due {
            self.housekept = Some(Instant::now());
            if let Err(error) = give_back(&self.db) {
                tracing::debug!(%error, "free pages stay in the journal");
            }
        }
        Ok(seqs)
    }

    fn told(&mut self, told: &[Told]) -> Result<(), JournalError> {
        let written = (|| {
            let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            outbox::write_told(&step, told)?;
            step.commit()
        })();
        written.map_err(|e| JournalError::sqlite("write what was told to", &self.path, e))
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = (|| {
            let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            self.pending.write(&step, &self.names)?;
            step.prepare_cached("UPDATE rolled SET seq = ?1")?.execute([self.seq])?;
            step.commit()
        })();
        written.map_err(|e| JournalError::sqlite("write points", &self.path, e))?;
        self.pending.written(&mut self.names);
        Ok(())
    }

    fn close(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        self.db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|e| JournalError::sqlite("close", &self.path, e))
    }
}

pub(super) enum Failed {
    Sqlite(rusqlite::Error),
    Json(serde_json::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<serde_json::Error> for Failed {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

fn write_batch(
    db: &Connection,
    batch: &Batch,
    seq: &mut i64,
    kept: &mut Kept,
    before: &std::collections::BTreeMap<WorkloadName, Decision>,
    last: &mut Vec<(WorkloadName, Decision)>,
) -> Result<(), Failed> {
    let mut insert = db.prepare_cached("INSERT INTO input (seq, at, kind, body) VALUES (?1, ?2, ?3, ?4)")?;
    for input in &batch.inputs {
        let (kind, text) = encode::write(input)?;
        let body = seal(&text);
        *seq += 1;
        insert.execute(params![*seq, encode::at(input).as_millis(), kind.code(), body])?;
        kept.input_bytes = kept.input_bytes.saturating_add(body.len() as u64);
    }
    for decision in &batch.decisions {
        let name = &decision.id.workload;
        let previous =
            last.iter().rev().find(|(w, _)| w == name).map(|(_, d)| d).or_else(|| before.get(name));
        let class = match (decision.outcome, previous) {
            (Outcome::Act, _) => 2,
            (_, Some(previous)) if decision.same_story(previous) => 0,
            (Outcome::Keep | Outcome::Held | Outcome::Rejected, _) => 1,
        };
        db.prepare_cached(
            "INSERT INTO decision (seq, workload, number, at, class) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            *seq,
            name.as_str(),
            decision.id.number.cast_signed(),
            decision.at.as_millis(),
            class
        ])?;
        db.prepare_cached("INSERT INTO decision_body (id, body) VALUES (?1, ?2)")?
            .execute(params![db.last_insert_rowid(), seal(&serde_json::to_string(decision)?)])?;
        last.push((name.clone(), decision.clone()));
    }
    for action in &batch.actions {
        db.prepare_cached(
            "INSERT INTO action (seq, workload, number, at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            *seq,
            action.decision.workload.as_str(),
            action.decision.number.cast_signed(),
            action.at.as_millis(),
            seal(&serde_json::to_string(action)?)
        ])?;
    }
    // After the actions: one that ends at once may stand in the same batch.
    for input in &batch.inputs {
        if let Input::Settled { at, workload, decision, outcome } = input {
            db.prepare_cached(
                "UPDATE action SET settled_at = ?1, outcome = ?2 \
                 WHERE workload = ?3 AND number = ?4 AND settled_at IS NULL",
            )?
            .execute(params![
                at.as_millis(),
                serde_json::to_string(&ActionOutcome::from(outcome))?,
                workload.as_str(),
                decision.number.cast_signed()
            ])?;
        }
    }
    for notice in &batch.notices {
        db.prepare_cached("INSERT INTO notice (workload, at, body) VALUES (?1, ?2, ?3)")?.execute(
            params![notice.workload.as_str(), notice.at.as_millis(), seal(&serde_json::to_string(notice)?)],
        )?;
    }
    outbox::write(db, batch)?;
    if let Some(snapshot) = &batch.snapshot {
        // Two of the same moment are the same; the later text counts.
        db.prepare_cached("INSERT OR REPLACE INTO snapshot (seq, at, body) VALUES (?1, ?2, ?3)")?
            .execute(params![*seq, batch.at.as_millis(), seal(&serde_json::to_string(snapshot)?)])?;
        if kept.snapshots.last().is_some_and(|(s, _)| s == seq) {
            kept.snapshots.pop();
        }
        kept.snapshots.push((*seq, batch.at));
    }
    Ok(())
}

/// The newest decision called `workload`-`number`, as its row.
pub(crate) fn decision_row(
    db: &Connection,
    workload: &str,
    number: u64,
) -> rusqlite::Result<Option<(i64, i64)>> {
    db.prepare_cached(
        "SELECT id, seq FROM decision WHERE workload = ?1 AND number = ?2 ORDER BY id DESC LIMIT 1",
    )?
    .query_row(params![workload, number.cast_signed()], |r| Ok((r.get(0)?, r.get(1)?)))
    .optional()
}

/// The time of the last input, if there is one.
pub(crate) fn last_moment(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    db.query_row("SELECT at FROM input ORDER BY seq DESC LIMIT 1", [], |r| r.get(0))
        .optional()
        .map(|at| at.map(Timestamp::from_millis))
}

#[cfg(test)]
mod tests {
    use headroom_core::controller::Measured;
    use headroom_core::reading::Sample;
    use headroom_core::units::{Level, Span};

    use super::*;

    fn writer(dir: &std::path::Path) -> Writer {
        let path = dir.join("journal.db");
        let (db, _) = super::super::check::open(&path).unwrap();
        Writer::new(db, path, Retention::default()).unwrap()
    }

    fn batch(n: i64, samples: usize) -> Batch {
        let at = Timestamp::from_millis(0).plus(Span::seconds(n.unsigned_abs()));
        let sample = |i| Measured {
            workload: "web".parse().unwrap(),
            signal: format!("s{i}").parse().unwrap(),
            value: Ok(Sample::new(at, Level::new(0.1).unwrap())),
        };
        Batch {
            inputs: vec![Input::Sampled { at, samples: (0..samples).map(sample).collect() }],
            ..Batch::new(at)
        }
    }

    /// A full disk: an error that says so, nothing half written, and all goes on when there is space.
    #[test]
    fn a_full_disk_is_told_and_passes() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let pages: i64 = writer.db.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
        writer.db.query_row(&format!("PRAGMA max_page_count = {}", pages + 8), [], |_| Ok(())).unwrap();
        let mut acknowledged = 0;
        let error = loop {
            match writer.append(&[&batch(acknowledged, 50)]) {
                Ok(seqs) => {
                    acknowledged += 1;
                    assert_eq!(seqs, [Seq(acknowledged)]);
                }
                Err(error) => break error,
            }
            assert!(acknowledged < 1000, "eight pages are full some time");
        };
        assert!(matches!(error, JournalError::Full { .. }) && error.may_pass(), "{error}");
        assert!(error.to_string().contains("free space"), "{error}");
        // Again, and the same: nothing of the refused batch is there.
        assert!(matches!(writer.append(&[&batch(acknowledged, 50)]), Err(JournalError::Full { .. })));
        let there: i64 = writer.db.query_row("SELECT count(*) FROM input", [], |r| r.get(0)).unwrap();
        assert_eq!(there, acknowledged);

        writer.db.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
        assert_eq!(writer.append(&[&batch(acknowledged, 50)]).unwrap(), [Seq(acknowledged + 1)]);
        writer.flush().unwrap();
        let counted: i64 = writer.db.query_row("SELECT sum(count) FROM point_1h", [], |r| r.get(0)).unwrap();
        assert_eq!(counted, (acknowledged + 1) * 50, "every sample counts once");
    }

    /// One batch that does not fit takes no other with it.
    #[test]
    fn a_group_with_a_batch_that_fails_is_written_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let pages: i64 = writer.db.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
        writer.db.query_row(&format!("PRAGMA max_page_count = {}", pages + 4), [], |_| Ok(())).unwrap();
        let mut answers = Vec::new();
        let mut group = Vec::new();
        for samples in [1, 5000, 1] {
            let (answer, answered) = oneshot::channel();
            group.push((Arc::new(batch(1, samples)), answer));
            answers.push(answered);
        }
        writer.append_all(&mut group);
        let results: Vec<_> = answers.into_iter().map(|a| a.blocking_recv().unwrap().ok()).collect();
        assert_eq!(results, [Some(Seq(1)), None, Some(Seq(2))]);
    }
}
