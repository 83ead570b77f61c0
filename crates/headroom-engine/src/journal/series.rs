//! Reading series: as many points as a chart has pixels, from the resolution that has them.
//!
//! The journal down-samples, not the page: a month of seconds never leaves this process. A question for a range
//! names how many points it wants at the most; the answer's points all have the same length, a multiple of one of the
//! kept resolutions, and where there was no sample there is no point.

use headroom_core::names::WorkloadName;
use headroom_core::units::{Span, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::query::{ReadFailed, Reader};
use super::retention::Retention;
use super::rollup::{Resolution, Sum};

/// Points in one answer at the most, and if none is asked for. Wider than a chart on a screen needs.
pub const MAX_POINTS: usize = 600;

/// Ranges from this length on are read as they stand in the tables, at most a second behind: none of their points is
/// shorter than ten seconds, and whoever looks at a month must not wait for the writer.
const UNHURRIED: Span = Span::hours(2);

/// Which part of which series is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesQuery {
    /// Whose.
    pub workload: WorkloadName,
    /// The name of a signal, or one of [`super::WANTED`], [`super::READY`], [`super::STARTING`],
    /// [`super::DRAINING`], [`super::WARM`], [`super::FAILED`], or of a [`super::Point`].
    pub series: String,
    /// From this moment.
    pub since: Timestamp,
    /// Up to this moment.
    pub until: Timestamp,
    /// So many points at the most; 0 and more than [`MAX_POINTS`] mean [`MAX_POINTS`].
    pub max_points: usize,
}

/// The same part of several series of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct SeveralQuery {
    /// Whose.
    pub workload: WorkloadName,
    /// Which: see [`SeriesQuery::series`].
    pub series: Vec<String>,
    /// From this moment.
    pub since: Timestamp,
    /// Up to this moment.
    pub until: Timestamp,
    /// So many points of each at the most; see [`SeriesQuery::max_points`].
    pub max_points: usize,
}

/// A point in the finest resolution that is kept of its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinePoint {
    /// What the samples come to.
    pub point: SeriesPoint,
    /// How long the point is.
    pub length: Span,
}

/// A stretch of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// How long each point is.
    pub resolution: Span,
    /// The points that have samples, oldest first.
    pub points: Vec<SeriesPoint>,
}

/// What the samples of one stretch of time come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeriesPoint {
    /// When the stretch begins.
    pub at: Timestamp,
    /// The least value.
    pub min: f64,
    /// The mean of the samples.
    pub mean: f64,
    /// The largest value.
    pub max: f64,
    /// The value that came last.
    pub last: f64,
    /// How many samples there were.
    pub count: u64,
}

impl Reader {
    /// A stretch of a series. What was acknowledged before the call is in it.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn series(&self, query: SeriesQuery) -> Result<Series, JournalError> {
        self.flush().await?;
        let SeriesQuery { workload, series, since, until, max_points } = query;
        let all = SeveralQuery { workload, series: vec![series], since, until, max_points };
        let retention = self.retention().clone();
        let found = self.read("read a series", move |db| read(db, &all, &retention)).await?;
        Ok(found.into_iter().next().unwrap_or(Series { resolution: Span::ZERO, points: Vec::new() }))
    }

    /// The same stretch of several series, in the order asked for. What was acknowledged before the call is in it, or
    /// for a range of two hours or more what was a second before.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn several(&self, query: SeveralQuery) -> Result<Vec<Series>, JournalError> {
        if query.until.since(query.since) < UNHURRIED {
            self.flush().await?;
        }
        let retention = self.retention().clone();
        self.read("read series", move |db| read(db, &query, &retention)).await
    }

    /// The same stretch of several series, in the order asked for, each moment in the finest points that are kept of it:
    /// for sums over time, which a coarse point that is only partly filled would falsify. As many points as there are,
    /// so for whoever may take a second, not for a page.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn finest(
        &self,
        workload: WorkloadName,
        series: Vec<String>,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Vec<FinePoint>>, JournalError> {
        self.flush().await?;
        let retention = self.retention().clone();
        self.read("read series", move |db| {
            let db = db.unchecked_transaction()?;
            let now = super::writer::last_moment(&db)?.unwrap_or(until);
            // No further than anything is kept: bounds what is asked for, whatever the range.
            let since = since.max(now.minus(retention.hours.max(retention.minutes)));
            let until = until.min(now.plus(Span::hours(1)));
            let mut number = db.prepare_cached("SELECT id FROM series WHERE workload = ?1 AND name = ?2")?;
            let mut found = Vec::with_capacity(series.len());
            for name in &series {
                let id: Option<i64> =
                    number.query_row(params![workload.as_str(), name], |r| r.get(0)).optional()?;
                let mut points = Vec::new();
                if let Some(id) = id.filter(|_| since < until) {
                    let mut finest =
                        Finest { db: &db, retention: &retention, now, since, until, id, points: &mut points };
                    let hours = Resolution::Hour.bucket(since)
                        ..=Resolution::Hour.bucket(Timestamp::from_millis(until.as_millis() - 1));
                    for hour in hours {
                        finest.descend(Resolution::Hour, hour)?;
                    }
                }
                found.push(points);
            }
            Ok(found)
        })
        .await
    }

    /// The names of a workload's series, in the order of the alphabet.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn series_names(&self, workload: &WorkloadName) -> Result<Vec<String>, JournalError> {
        self.flush().await?;
        let workload = workload.clone();
        self.read("read the names of series", move |db| {
            let mut names = db.prepare_cached("SELECT name FROM series WHERE workload = ?1 ORDER BY name")?;
            Ok(names.query_map([workload.as_str()], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}

/// Going down from hours to what is kept of them, past those without a sample.
struct Finest<'a> {
    db: &'a Connection,
    retention: &'a Retention,
    now: Timestamp,
    since: Timestamp,
    until: Timestamp,
    id: i64,
    points: &'a mut Vec<FinePoint>,
}

impl Finest<'_> {
    fn descend(&mut self, resolution: Resolution, bucket: i64) -> rusqlite::Result<()> {
        let at = Timestamp::from_millis(bucket.saturating_mul(resolution.millis()));
        if at.plus(resolution.span()) <= self.since || at >= self.until {
            return Ok(());
        }
        let mut select = self.db.prepare_cached(resolution.select())?;
        let Some(sum) = select.query_row(params![bucket, self.id], sum_of).optional()? else {
            return Ok(());
        };
        let finer = Resolution::ALL.into_iter().rev().find(|finer| *finer < resolution);
        match finer.filter(|finer| at >= self.now.minus(self.retention.points(*finer))) {
            Some(finer) => {
                let parts = resolution.millis() / finer.millis();
                for part in bucket * parts..(bucket + 1) * parts {
                    self.descend(finer, part)?;
                }
            }
            None => self.points.push(FinePoint { point: sum.point(at), length: resolution.span() }),
        }
        Ok(())
    }
}

/// From which resolution to read, and how many of its buckets make a point.
fn choose(
    since: Timestamp,
    until: Timestamp,
    now: Timestamp,
    max: i64,
    retention: &Retention,
) -> (Resolution, i64) {
    let range = until.as_millis().saturating_sub(since.as_millis()).max(1);
    // A fiftieth of grace: the first points of "the last 2 h" may just have gone.
    let covers = |r: Resolution| {
        since >= now.minus(retention.points(r)).minus(Span::millis(retention.points(r).as_millis() / 50))
    };
    // The coarsest that fills a quarter of the points and reaches back far enough, else the finest that reaches back: a
    // week is 168 hours, read in some milliseconds, and not 10 080 minutes.
    let kept = || Resolution::ALL.into_iter().filter(|r| covers(*r));
    let resolution = kept()
        .rev()
        .find(|r| range / r.millis() >= max / 4)
        .or_else(|| kept().next())
        .unwrap_or(Resolution::Hour);
    // A range seldom begins where a point does: it touches one point more than its length says, so `max - 1` lengths
    // must cover it.
    let lengths = resolution.millis() * (max - 1);
    (resolution, range.saturating_add(lengths - 1) / lengths)
}

fn read(db: &Connection, query: &SeveralQuery, retention: &Retention) -> Result<Vec<Series>, ReadFailed> {
    let max = if query.max_points == 0 { MAX_POINTS } else { query.max_points.min(MAX_POINTS) };
    let max = i64::try_from(max).unwrap_or(1).max(2);
    // One transaction: all buckets are of one moment, and locks are taken once, not for each of them.
    let db = db.unchecked_transaction()?;
    // "Now" is the journal's own: the last input.
    let now = super::writer::last_moment(&db)?.unwrap_or(query.until);
    // No further back than anything is kept: bounds the buckets that are asked for, whatever the range.
    let oldest = now.minus(retention.hours.max(retention.minutes));
    let (since, until) = (query.since.max(oldest), query.until.min(now.plus(Span::hours(1))));
    let (resolution, step) = choose(since, until, now, max, retention);
    let span = Span::millis((resolution.millis() * step).unsigned_abs());
    let mut number = db.prepare_cached("SELECT id FROM series WHERE workload = ?1 AND name = ?2")?;
    let mut found = Vec::with_capacity(query.series.len());
    for name in &query.series {
        let id: Option<i64> =
            number.query_row(params![query.workload.as_str(), name], |r| r.get(0)).optional()?;
        found.push((id, Series { resolution: span, points: Vec::new() }));
    }
    if since < until {
        // Points begin at multiples of their length, so a chart that moves on shows the same ones.
        let first = resolution.bucket(since).div_euclid(step);
        let last = resolution.bucket(Timestamp::from_millis(until.as_millis() - 1)).div_euclid(step);
        let mut bucket = db.prepare_cached(resolution.select())?;
        for point in first..=last {
            let at = Timestamp::from_millis(point * step * resolution.millis());
            // Series inside points: what a workload has in a bucket lies on one page of the table or two.
            for (id, series) in &mut found {
                let Some(id) = *id else { continue };
                let total = total(&mut bucket, point * step..(point + 1) * step, id)?;
                series.points.extend(total.map(|sum| sum.point(at)));
            }
        }
    }
    Ok(found.into_iter().map(|(_, series)| series).collect())
}

/// What the buckets of one point come to; `None` where there was no sample.
fn total(
    bucket: &mut rusqlite::CachedStatement<'_>,
    buckets: std::ops::Range<i64>,
    series: i64,
) -> rusqlite::Result<Option<Sum>> {
    let mut total: Option<Sum> = None;
    for n in buckets {
        let sum = bucket.query_row(params![n, series], sum_of).optional()?;
        match (&mut total, sum) {
            (Some(total), Some(sum)) => total.add(sum),
            (None, Some(sum)) => total = Some(sum),
            (_, None) => {}
        }
    }
    Ok(total)
}

impl Sum {
    fn point(self, at: Timestamp) -> SeriesPoint {
        let Self { count, last, min, max, sum } = self;
        #[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
        let mean = (sum / count as f64).clamp(min, max);
        SeriesPoint { at, min, mean, max, last, count }
    }
}

fn sum_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Sum> {
    let count = row.get::<_, i64>(0)?.max(1).unsigned_abs();
    let last: f64 = row.get(1)?;
    let parts: (Option<f64>, Option<f64>, Option<f64>) = (row.get(2)?, row.get(3)?, row.get(4)?);
    #[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
    let even = last * count as f64;
    Ok(Sum {
        count,
        last,
        min: parts.0.unwrap_or(last),
        max: parts.1.unwrap_or(last),
        sum: parts.2.unwrap_or(even),
    })
}
