//! What is kept for how long, and the small deletions that see to it.
//!
//! There is no nightly purge that stalls the loop: about once a second a bounded number of the oldest rows goes,
//! in the same transaction as the records of that moment. The inputs are cut only at a snapshot, and never at or
//! after the second-latest one: a restart always finds a snapshot and all that came after it, even if the latest
//! snapshot can't be read.

use headroom_core::units::{Span, Timestamp};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::rollup::Resolution;

/// Rows of each kind that one step deletes at the most: some 10 ms of work, and ten times what a second brings for
/// ten workloads.
const ROWS_PER_STEP: i64 = 1000;
/// The newest snapshots are all kept: the second-latest must be there, and one more in case of a bad one.
const NEWEST_SNAPSHOTS: usize = 3;
/// Older snapshots are thinned to this distance. A test case taken from a decision has at most that much input.
const SNAPSHOT_DISTANCE: Span = Span::minutes(10);
/// Free pages (4 KiB each) that are kept for what comes next; more are given back to the file system.
const FREE_PAGES: i64 = 2048;
/// Free pages given back in one step: 1 MiB.
const PAGES_PER_STEP: i64 = 256;

/// How long things are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Retention {
    /// Inputs as they came, for replay and test cases. 2 h.
    pub inputs: Span,
    /// Bytes of inputs at the most, should 2 h be more. 512 MiB.
    pub input_bytes: u64,
    /// Points of 1 s. 2 h: what is looked at while something happens.
    pub seconds: Span,
    /// Points of 10 s. 24 h: yesterday in detail.
    pub ten_seconds: Span,
    /// Points of 1 min. 30 d: four weeks for forecasts and backtests, and a little more.
    pub minutes: Span,
    /// Points of 1 h. 400 d: the same month of last year.
    pub hours: Span,
    /// Decisions that acted, and actions. 400 d.
    pub acting: Span,
    /// Decisions that told something new and changed nothing, and notices. 30 d.
    pub quiet: Span,
    /// Decisions that only repeat, once a minute, what the one before said. 2 d: they make nine tenths of the bytes
    /// and say that nothing was new, which the gap between two others says too.
    pub repeats: Span,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            inputs: Span::hours(2),
            input_bytes: 512 << 20,
            seconds: Span::hours(2),
            ten_seconds: Span::hours(24),
            minutes: Span::days(30),
            hours: Span::days(400),
            acting: Span::days(400),
            quiet: Span::days(30),
            repeats: Span::days(2),
        }
    }
}

impl Retention {
    pub(crate) fn points(&self, resolution: Resolution) -> Span {
        match resolution {
            Resolution::Second => self.seconds,
            Resolution::TenSeconds => self.ten_seconds,
            Resolution::Minute => self.minutes,
            Resolution::Hour => self.hours,
        }
    }

    fn decisions(&self, class: i64) -> Span {
        match class {
            0 => self.repeats,
            1 => self.quiet,
            _ => self.acting,
        }
    }
}

/// What retention must know between its steps. Changed only after the commit that it stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// Sequence numbers and times of the snapshots, oldest first.
    pub(crate) snapshots: Vec<(i64, Timestamp)>,
    /// Bytes of the inputs' texts.
    pub(crate) input_bytes: u64,
    /// The oldest input that is still there, or the number after the last.
    pub(crate) first_input: i64,
}

impl Kept {
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut all = db.prepare("SELECT seq, at FROM snapshot ORDER BY seq")?;
        let snapshots = all
            .query_map([], |r| Ok((r.get(0)?, Timestamp::from_millis(r.get(1)?))))?
            .collect::<rusqlite::Result<_>>()?;
        let (input_bytes, first_input): (i64, i64) = db.query_row(
            "SELECT coalesce(sum(octet_length(body)), 0), coalesce(min(seq), 0) FROM input",
            [],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        Ok(Self { snapshots, input_bytes: input_bytes.max(0).unsigned_abs(), first_input })
    }

    /// One bounded step towards what `retention` says, at `now`. `rolled`: inputs after it are not in the points
    /// yet and stay.
    pub(crate) fn step(
        &mut self,
        db: &Connection,
        retention: &Retention,
        now: Timestamp,
        rolled: i64,
        series: usize,
    ) -> rusqlite::Result<()> {
        self.thin_snapshots(db)?;
        self.cut_inputs(db, retention, now, rolled)?;
        for resolution in Resolution::ALL {
            let (oldest, cut) = resolution.oldest_and_cut();
            let oldest: Option<i64> = db.prepare_cached(oldest)?.query_row([], |r| r.get(0))?;
            let horizon = resolution.bucket(now.minus(retention.points(resolution)));
            if let Some(oldest) = oldest.filter(|o| *o < horizon) {
                let buckets = (ROWS_PER_STEP / i64::try_from(series.max(1)).unwrap_or(i64::MAX)).max(1);
                db.prepare_cached(cut)?.execute([horizon.min(oldest.saturating_add(buckets))])?;
            }
        }
        // A replay compares with the decisions: those whose inputs are kept are kept too.
        let replayable = self.snapshots.first().map_or(0, |(seq, _)| *seq);
        for class in 0..=2 {
            let horizon = now.minus(retention.decisions(class)).as_millis();
            delete_decisions(db, class, horizon, replayable)?;
        }
        db.prepare_cached(
            "DELETE FROM action WHERE id IN (SELECT id FROM action WHERE at < ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute(params![now.minus(retention.acting).as_millis(), ROWS_PER_STEP])?;
        db.prepare_cached(
            "DELETE FROM notice WHERE id IN (SELECT id FROM notice WHERE at < ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute(params![now.minus(retention.quiet).as_millis(), ROWS_PER_STEP])?;
        db.prepare_cached(
            "DELETE FROM delivery WHERE id IN \
             (SELECT id FROM delivery WHERE at < ?1 AND done_at IS NOT NULL ORDER BY at LIMIT ?2)",
        )?
        .execute(params![now.minus(retention.quiet).as_millis(), ROWS_PER_STEP])?;
        Ok(())
    }

    /// Of the snapshots older than the newest few, one that stands close to the one before it goes.
    fn thin_snapshots(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let older = self.snapshots.len().saturating_sub(NEWEST_SNAPSHOTS);
        let close = |pair: &[(i64, Timestamp)]| pair[1].1.since(pair[0].1) < SNAPSHOT_DISTANCE;
        // The first one carries the retained inputs and stays until they are cut.
        if let Some(before) = self.snapshots[..older].windows(2).position(close) {
            let (seq, _) = self.snapshots.remove(before + 1);
            db.prepare_cached("DELETE FROM snapshot WHERE seq = ?1")?.execute([seq])?;
        }
        Ok(())
    }

    /// Inputs go up to the first snapshot, and the first snapshot goes where the second is old enough to carry what
    /// must be kept, or where there are too many bytes.
    fn cut_inputs(
        &mut self,
        db: &Connection,
        retention: &Retention,
        now: Timestamp,
        rolled: i64,
    ) -> rusqlite::Result<()> {
        let horizon = now.minus(retention.inputs);
        // Three, for then the second is at the latest the second-latest.
        if self.snapshots.len() >= 3
            && self.first_input > self.snapshots[0].0
            && (self.snapshots[1].1 <= horizon || self.input_bytes > retention.input_bytes)
        {
            let (seq, _) = self.snapshots.remove(0);
            db.prepare_cached("DELETE FROM snapshot WHERE seq = ?1")?.execute([seq])?;
        }
        let Some(&(first, _)) = self.snapshots.first() else { return Ok(()) };
        let up_to = first.min(rolled).min(self.first_input.saturating_add(ROWS_PER_STEP - 1));
        if up_to < self.first_input {
            return Ok(());
        }
        let bytes: i64 = db
            .prepare_cached("SELECT coalesce(sum(octet_length(body)), 0) FROM input WHERE seq <= ?1")?
            .query_row([up_to], |r| r.get(0))?;
        db.prepare_cached("DELETE FROM input WHERE seq <= ?1")?.execute([up_to])?;
        self.input_bytes = self.input_bytes.saturating_sub(bytes.max(0).unsigned_abs());
        self.first_input = up_to + 1;
        Ok(())
    }
}

fn delete_decisions(db: &Connection, class: i64, horizon: i64, up_to: i64) -> rusqlite::Result<()> {
    let mut old = db.prepare_cached(
        "SELECT id FROM decision WHERE class = ?1 AND at < ?2 AND seq <= ?3 ORDER BY at LIMIT ?4",
    )?;
    let ids: Vec<i64> = old
        .query_map(params![class, horizon, up_to, ROWS_PER_STEP], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut row = db.prepare_cached("DELETE FROM decision WHERE id = ?1")?;
    let mut body = db.prepare_cached("DELETE FROM decision_body WHERE id = ?1")?;
    for id in ids {
        row.execute([id])?;
        body.execute([id])?;
    }
    Ok(())
}

/// Gives free pages back to the file system, a few at a time. Outside a transaction.
pub(crate) fn give_back(db: &Connection) -> rusqlite::Result<()> {
    let free: i64 = db.query_row("PRAGMA freelist_count", [], |r| r.get(0))?;
    if free > FREE_PAGES {
        let pages = PAGES_PER_STEP.min(free - FREE_PAGES);
        // Each row it returns is a page given back: it works only as far as it is stepped.
        let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}
