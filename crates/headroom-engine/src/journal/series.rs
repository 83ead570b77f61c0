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

/// Which part of which series is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesQuery {
    /// Whose.
    pub workload: WorkloadName,
    /// The name of a signal, or one of [`super::WANTED`], [`super::READY`], [`super::STARTING`],
    /// [`super::DRAINING`], [`super::FAILED`], or of a [`super::Point`].
    pub series: String,
    /// From this moment.
    pub since: Timestamp,
    /// Up to this moment.
    pub until: Timestamp,
    /// So many points at the most; 0 and more than [`MAX_POINTS`] mean [`MAX_POINTS`].
    pub max_points: usize,
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
        let retention = self.retention().clone();
        self.read("read a series", move |db| read(db, &query, &retention)).await
    }

    /// Stretches of several series, in the order of the questions: the writer is waited for once, not for each.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn several(&self, queries: Vec<SeriesQuery>) -> Result<Vec<Series>, JournalError> {
        self.flush().await?;
        let retention = self.retention().clone();
        self.read("read series", move |db| queries.iter().map(|query| read(db, query, &retention)).collect())
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

fn read(db: &Connection, query: &SeriesQuery, retention: &Retention) -> Result<Series, ReadFailed> {
    let max = if query.max_points == 0 { MAX_POINTS } else { query.max_points.min(MAX_POINTS) };
    let max = i64::try_from(max).unwrap_or(1).max(2);
    // "Now" is the journal's own: the last input.
    let now = super::writer::last_moment(db)?.unwrap_or(query.until);
    // No further back than anything is kept: bounds the buckets that are asked for, whatever the range.
    let oldest = now.minus(retention.hours.max(retention.minutes));
    let (since, until) = (query.since.max(oldest), query.until.min(now.plus(Span::hours(1))));
    let (resolution, step) = choose(since, until, now, max, retention);
    let span = Span::millis((resolution.millis() * step).unsigned_abs());
    let mut series = Series { resolution: span, points: Vec::new() };
    let id: Option<i64> = db
        .prepare_cached("SELECT id FROM series WHERE workload = ?1 AND name = ?2")?
        .query_row(params![query.workload.as_str(), query.series], |r| r.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(series) };
    if since >= until {
        return Ok(series);
    }
    // Points begin at multiples of their length, so a chart that moves on shows the same ones.
    let first = resolution.bucket(since).div_euclid(step);
    let last = resolution.bucket(Timestamp::from_millis(until.as_millis() - 1)).div_euclid(step);
    let mut bucket = db.prepare_cached(resolution.select())?;
    for point in first..=last {
        let mut total: Option<Sum> = None;
        for n in point * step..(point + 1) * step {
            let sum = bucket.query_row(params![n, id], sum_of).optional()?;
            match (&mut total, sum) {
                (Some(total), Some(sum)) => total.add(sum),
                (None, Some(sum)) => total = Some(sum),
                (_, None) => {}
            }
        }
        if let Some(Sum { count, last, min, max, sum }) = total {
            let at = Timestamp::from_millis(point * step * resolution.millis());
            #[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
            let mean = (sum / count as f64).clamp(min, max);
            series.points.push(SeriesPoint { at, min, mean, max, last, count });
        }
    }
    Ok(series)
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
