//! Replay: does the journal's past lead to the journal's decisions?
//!
//! The controller is deterministic, so the retained inputs, fed to it again, must give the recorded decisions byte for
//! byte. Where they don't, either the code has changed since (then the difference shows what the change would have
//! done), or something outside the inputs had a say, which is a bug. Any decision can also be taken out as a test
//! case that needs no journal.

use headroom_core::controller::{Controller, Effect, Input, Snapshot};
use headroom_core::decision::{Decision, DecisionId};
use headroom_core::fleet::Problem;
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};

use super::Seq;
use super::error::JournalError;
use super::query::{ReadFailed, Reader, each_input, parse};
use super::seal::unseal;
use super::writer::decision_row;

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// The snapshot it started from: the one after this input.
    pub from: Seq,
    /// How many inputs were fed.
    pub inputs: u64,
    /// How many decisions were the same.
    pub same: u64,
    /// Where the two part, if they do. What follows is not compared: a different past has a different future.
    pub difference: Option<Difference>,
}

/// Where a replay and the record part.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The last input fed before it.
    pub after: Seq,
    /// What was recorded, as JSON; `None` where nothing more was.
    pub recorded: Option<String>,
    /// What the replay decides; `None` where it decides nothing more.
    pub replayed: Option<String>,
}

/// A decision with all it rests on: runs without a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestCase {
    /// The controller's memory at the start.
    pub snapshot: Snapshot,
    /// What happened from there on.
    pub inputs: Vec<Input>,
    /// What must be decided on the way.
    pub expected: Decision,
}

impl TestCase {
    /// What the controller of today decides under the expected decision's name; `None` if it decides nothing of that
    /// name.
    ///
    /// # Errors
    /// The snapshot's policy is not valid any more.
    pub fn run(&self) -> Result<Option<Decision>, Vec<Problem>> {
        let mut controller = Controller::restore(self.snapshot.clone())?;
        let mut found = None;
        for input in &self.inputs {
            for effect in controller.handle(input.clone()) {
                if let Effect::Record(decision) = effect
                    && decision.id == self.expected.id
                {
                    found = Some(*decision);
                }
            }
        }
        Ok(found)
    }
}

impl Reader {
    /// Feeds all retained inputs to the controller of today and compares what it decides with the record.
    ///
    /// # Errors
    /// A snapshot or input can't be read. `None`: the journal is empty.
    pub async fn replay(&self) -> Result<Option<ReplayReport>, JournalError> {
        self.read("replay", replay).await
    }

    /// The decision called `id` as a test case; `None` where there is no such decision, or its inputs are not kept any
    /// more.
    ///
    /// # Errors
    /// A record it rests on can't be read.
    pub async fn extract(&self, id: &DecisionId) -> Result<Option<TestCase>, JournalError> {
        let id = id.clone();
        self.read("take a test case out", move |db| extract(db, &id)).await
    }
}

fn replay(db: &Connection) -> Result<Option<ReplayReport>, ReadFailed> {
    // One moment for all of it, while the writer goes on.
    let db = db.unchecked_transaction()?;
    let earliest: Option<(i64, String)> = db
        .query_row("SELECT seq, body FROM snapshot ORDER BY seq LIMIT 1", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((from, body)) = earliest else { return Ok(None) };
    let mut controller = restore(&body, from)?;
    let mut report = ReplayReport { from: Seq(from), inputs: 0, same: 0, difference: None };
    let mut recorded = db.prepare(
        "SELECT body FROM decision JOIN decision_body USING (id) WHERE seq > ?1 ORDER BY decision.id",
    )?;
    let mut recorded = recorded.query([from])?;
    let mut failed = None;
    let mut after = from;
    each_input(&db, from, i64::MAX, |seq, input| {
        if report.difference.is_some() || failed.is_some() {
            return;
        }
        report.inputs += 1;
        after = seq;
        for effect in controller.handle(input) {
            let Effect::Record(decision) = effect else { continue };
            let next = recorded.next().and_then(|row| row.map(|r| r.get::<_, String>(0)).transpose());
            let next = next.map(|sealed| sealed.map(|s| unseal(&s).unwrap_or(&s).to_owned()));
            match (serde_json::to_string(&decision), next) {
                (Ok(replayed), Ok(Some(recorded))) if replayed == recorded => report.same += 1,
                (Ok(replayed), Ok(recorded)) => {
                    report.difference =
                        Some(Difference { after: Seq(seq), recorded, replayed: Some(replayed) });
                    return;
                }
                (Err(error), _) => {
                    failed = Some(JournalError::unreadable("a replayed decision", error).into());
                    return;
                }
                (_, Err(error)) => {
                    failed = Some(ReadFailed::Sqlite(error));
                    return;
                }
            }
        }
    })?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    if report.difference.is_none()
        && let Some(row) = recorded.next()?
    {
        report.difference =
            Some(Difference { after: Seq(after), recorded: Some(row.get::<_, String>(0)?), replayed: None });
    }
    Ok(Some(report))
}

fn extract(db: &Connection, id: &DecisionId) -> Result<Option<TestCase>, ReadFailed> {
    let db = db.unchecked_transaction()?;
    let Some((row, seq)) = decision_row(&db, id.workload.as_str(), id.number)? else { return Ok(None) };
    let body: String = db.query_row("SELECT body FROM decision_body WHERE id = ?1", [row], |r| r.get(0))?;
    let expected: Decision = parse(&body, || format!("decision {id}"))?;
    // The decision was made on one of the inputs of its batch, up to `seq`; a snapshot with that very number was made
    // after it.
    let snapshot: Option<(i64, String)> = db
        .query_row("SELECT seq, body FROM snapshot WHERE seq < ?1 ORDER BY seq DESC LIMIT 1", [seq], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .optional()?;
    let Some((from, body)) = snapshot else { return Ok(None) };
    let snapshot: Snapshot = parse(&body, || format!("the snapshot after input {from}"))?;
    let mut inputs = Vec::new();
    each_input(&db, from, seq, |_, input| inputs.push(input))?;
    Ok(Some(TestCase { snapshot, inputs, expected }))
}

fn restore(body: &str, seq: i64) -> Result<Controller, ReadFailed> {
    let what = || format!("the snapshot after input {seq}");
    let snapshot: Snapshot = parse(body, what)?;
    Controller::restore(snapshot).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(|p| format!("{p:?}")).collect();
        JournalError::unreadable(what(), problems.join("; ")).into()
    })
}
