//! What people are told: raised alerts and messages on their way, so that neither a crash nor an outage loses one.

use std::collections::BTreeMap;

use headroom_core::alert::{Alert, Delivery, Progress, State};
use headroom_core::fleet::NotifierName;
use headroom_core::names::WorkloadName;
use headroom_core::units::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::query::{Reader, parse};
use super::seal::seal;
use super::seal::unseal;
use super::writer::{Call, Failed};
use super::{Batch, Journal, JournalError};

/// What begins the outcome of a message that was told, before what it is called by whoever took it.
pub const TOLD_AS: &str = "told as ";

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// [`Delivery::key`].
    pub key: String,
    /// When that was.
    pub at: Timestamp,
    /// `told`, or [`TOLD_AS`] and its name, or why it never will be.
    pub outcome: String,
}

impl Journal {
    /// Writes down what came of messages.
    ///
    /// # Errors
    /// They are sent once more after a restart then.
    pub async fn told(&self, told: Vec<Told>) -> Result<(), JournalError> {
        self.call(|answer| Call::Told(told, answer)).await
    }
}

impl Reader {
    /// The alerts that were raised when the journal was last written.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn raised(&self) -> Result<Vec<Alert>, JournalError> {
        self.read("read the raised alerts", |db| {
            let body: Option<String> =
                db.query_row("SELECT body FROM raised", [], |row| row.get(0)).optional()?;
            body.map_or(Ok(Vec::new()), |body| parse(&body, || "the raised alerts".to_owned()))
        })
        .await
    }

    /// What alerts on their way remembered of workloads when the journal was last written.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn progress(&self) -> Result<BTreeMap<WorkloadName, Progress>, JournalError> {
        self.read("read what alerts remember", |db| {
            let mut kept = db.prepare("SELECT workload, body FROM progress")?;
            let mut rows = kept.query([])?;
            let mut all = BTreeMap::new();
            while let Some(row) = rows.next()? {
                // A name that is none any more belongs to no workload of a policy.
                if let Ok(name) = row.get::<_, String>(0)?.parse() {
                    // A comfort that no start should fail for.
                    let body: String = row.get(1)?;
                    match unseal(&body).and_then(|text| serde_json::from_str(text).ok()) {
                        Some(progress) => drop(all.insert(name, progress)),
                        None => tracing::warn!(workload = %name, "what alerts remember can't be read; it begins anew"),
                    }
                }
            }
            Ok(all)
        })
        .await
    }

    /// What the message that began an alert is called by whoever took it, where `to` was told of it and said so.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn told_as(&self, to: &NotifierName, alert: &str) -> Result<Option<String>, JournalError> {
        // [`Delivery::key`] begins with these; `0` follows `/`.
        let begins = format!("{to}/{alert}/{}", State::Raised.word());
        self.read("read what was told", move |db| {
            let mut outcomes = db.prepare_cached(
                "SELECT outcome FROM delivery WHERE name > ?1 AND name < ?2 AND outcome IS NOT NULL ORDER BY id DESC",
            )?;
            let mut rows = outcomes.query([format!("{begins}/"), format!("{begins}0")])?;
            while let Some(row) = rows.next()? {
                if let Some(name) = row.get::<_, String>(0)?.strip_prefix(TOLD_AS) {
                    return Ok(Some(name.to_owned()));
                }
            }
            Ok(None)
        })
        .await
    }

    /// When each notifier was told last, as far as messages are kept.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn last_told(&self) -> Result<Vec<(NotifierName, Timestamp)>, JournalError> {
        self.read("read when notifiers were told", |db| {
            let mut told = db.prepare(
                "SELECT substr(name, 1, instr(name, '/') - 1) AS notifier, max(done_at) FROM delivery \
                 WHERE outcome LIKE 'told%' GROUP BY notifier",
            )?;
            let mut rows = told.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                // A name that is none any more belongs to no notifier that can be asked about.
                if let Ok(name) = row.get::<_, String>(0)?.parse() {
                    all.push((name, Timestamp::from_millis(row.get(1)?)));
                }
            }
            Ok(all)
        })
        .await
    }

    /// The messages of which it is not known what came of them, oldest first.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn untold(&self) -> Result<Vec<Delivery>, JournalError> {
        self.read("read the messages on their way", |db| {
            let mut open = db.prepare("SELECT body FROM delivery WHERE done_at IS NULL ORDER BY id")?;
            let mut rows = open.query([])?;
            let mut deliveries = Vec::new();
            while let Some(row) = rows.next()? {
                deliveries.push(parse(&row.get::<_, String>(0)?, || "a message".to_owned())?);
            }
            Ok(deliveries)
        })
        .await
    }
}

/// Writes what a batch tells.
pub(super) fn write(db: &Connection, batch: &Batch) -> Result<(), Failed> {
    if let Some(raised) = &batch.raised {
        db.prepare_cached("INSERT OR REPLACE INTO raised (only, body) VALUES (0, ?1)")?
            .execute([seal(&serde_json::to_string(raised)?)])?;
    }
    for (workload, progress) in &batch.progress {
        match progress {
            Some(progress) => db
                .prepare_cached("INSERT OR REPLACE INTO progress (workload, body) VALUES (?1, ?2)")?
                .execute([workload.as_str(), &seal(&serde_json::to_string(progress)?)])?,
            None => {
                db.prepare_cached("DELETE FROM progress WHERE workload = ?1")?.execute([workload.as_str()])?
            }
        };
    }
    for delivery in &batch.deliveries {
        // A batch that is appended again holds the same messages.
        db.prepare_cached("INSERT OR IGNORE INTO delivery (name, at, body) VALUES (?1, ?2, ?3)")?.execute(
            params![delivery.key(), delivery.news.at.as_millis(), seal(&serde_json::to_string(delivery)?)],
        )?;
    }
    Ok(())
}

/// Writes what came of messages.
pub(super) fn write_told(db: &Connection, told: &[Told]) -> rusqlite::Result<()> {
    let mut update = db.prepare_cached(
        "UPDATE delivery SET done_at = ?2, outcome = ?3 WHERE name = ?1 AND done_at IS NULL",
    )?;
    for Told { key, at, outcome } in told {
        update.execute(params![key, at.as_millis(), outcome])?;
    }
    Ok(())
}
