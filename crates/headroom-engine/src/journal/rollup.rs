//! Roll-ups: the same past in four resolutions, each kept as long as it is of use.
//!
//! A sample counts in the bucket of its own time in each resolution at once, so a coarse point is exact, not an
//! average of averages, and a late sample or a clock set back needs no special case. Counts are gathered in memory
//! and added to the tables about once a second, together with the number of the last input they contain: after a
//! crash the rest is counted again from the inputs, nothing twice. A bucket without a sample has no row: absent is
//! not zero.

use std::collections::BTreeMap;

use headroom_core::controller::{Input, Settled};
use headroom_core::names::WorkloadName;
use headroom_core::observation::TargetStatus;
use headroom_core::units::{Span, Timestamp};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::Point;

/// The name of the series of counts the targets were asked for.
pub const WANTED: &str = "replicas.wanted";
/// The name of the series of replicas that take traffic.
pub const READY: &str = "replicas.ready";
/// The name of the series of replicas that start.
pub const STARTING: &str = "replicas.starting";
/// The name of the series of replicas that drain.
pub const DRAINING: &str = "replicas.draining";
/// The name of the series of replicas that wait, warm, for traffic, or are on their way to that; only where the target
/// keeps a pool.
pub const WARM: &str = "replicas.warm";
/// The name of the series of replicas that ought to run and don't.
pub const FAILED: &str = "replicas.failed";

/// The length of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resolution {
    /// One second.
    Second,
    /// Ten seconds.
    TenSeconds,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
}

impl Resolution {
    /// From the finest to the coarsest.
    pub const ALL: [Self; 4] = [Self::Second, Self::TenSeconds, Self::Minute, Self::Hour];

    /// How long a point is.
    #[must_use]
    pub const fn span(self) -> Span {
        match self {
            Self::Second => Span::seconds(1),
            Self::TenSeconds => Span::seconds(10),
            Self::Minute => Span::minutes(1),
            Self::Hour => Span::hours(1),
        }
    }

    pub(crate) const fn millis(self) -> i64 {
        self.span().as_millis().cast_signed()
    }

    /// Which bucket a moment is in.
    pub(crate) fn bucket(self, at: Timestamp) -> i64 {
        at.as_millis().div_euclid(self.millis())
    }

    const fn insert(self) -> &'static str {
        macro_rules! insert {
            ($table:literal) => {
                concat!(
                    "INSERT INTO ",
                    $table,
                    " AS old (bucket, series, count, last, min, max, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                     ON CONFLICT DO UPDATE SET \
                     count = old.count + excluded.count, last = excluded.last, \
                     min = min(coalesce(old.min, old.last), coalesce(excluded.min, excluded.last)), \
                     max = max(coalesce(old.max, old.last), coalesce(excluded.max, excluded.last)), \
                     sum = coalesce(old.sum, old.last * old.count) \
                         + coalesce(excluded.sum, excluded.last * excluded.count)"
                )
            };
        }
        match self {
            Self::Second => insert!("point_1s"),
            Self::TenSeconds => insert!("point_10s"),
            Self::Minute => insert!("point_1m"),
            Self::Hour => insert!("point_1h"),
        }
    }

    /// One bucket of one series.
    pub(crate) const fn select(self) -> &'static str {
        macro_rules! select {
            ($table:literal) => {
                concat!(
                    "SELECT count, last, min, max, sum FROM ",
                    $table,
                    " WHERE bucket = ?1 AND series = ?2"
                )
            };
        }
        match self {
            Self::Second => select!("point_1s"),
            Self::TenSeconds => select!("point_10s"),
            Self::Minute => select!("point_1m"),
            Self::Hour => select!("point_1h"),
        }
    }

    /// The oldest bucket, and the deletion of all before one.
    pub(crate) const fn oldest_and_cut(self) -> (&'static str, &'static str) {
        match self {
            Self::Second => ("SELECT min(bucket) FROM point_1s", "DELETE FROM point_1s WHERE bucket < ?1"),
            Self::TenSeconds => {
                ("SELECT min(bucket) FROM point_10s", "DELETE FROM point_10s WHERE bucket < ?1")
            }
            Self::Minute => ("SELECT min(bucket) FROM point_1m", "DELETE FROM point_1m WHERE bucket < ?1"),
            Self::Hour => ("SELECT min(bucket) FROM point_1h", "DELETE FROM point_1h WHERE bucket < ?1"),
        }
    }
}

/// What the values of one bucket come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) last: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
}

impl Sum {
    pub(crate) fn of(value: f64) -> Self {
        Self { count: 1, last: value, min: value, max: value, sum: value }
    }

    /// Takes in what came later.
    pub(crate) fn add(&mut self, later: Self) {
        self.count += later.count;
        self.last = later.last;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum += later.sum;
    }
}

/// What was counted and is not in the tables yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By resolution, bucket and series: the order in which the tables are written.
    sums: BTreeMap<(Resolution, i64, i64), Sum>,
}

/// The series known, and their numbers. Bounded by the workloads and signals of the policies loaded.
#[derive(Debug, Default)]
pub(crate) struct SeriesNames {
    ids: BTreeMap<WorkloadName, BTreeMap<String, i64>>,
    last: i64,
    /// Not in the table yet.
    new: Vec<(i64, WorkloadName, String)>,
}

impl SeriesNames {
    /// Reads what is known.
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut names = Self::default();
        let mut all = db.prepare("SELECT id, workload, name FROM series")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            names.last = names.last.max(id);
            // A name that is none any more belongs to no workload that can be asked about.
            if let Ok(workload) = row.get::<_, String>(1)?.parse() {
                names.ids.entry(workload).or_default().insert(row.get(2)?, id);
            }
        }
        Ok(names)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.values().map(BTreeMap::len).sum()
    }

    fn id(&mut self, workload: &WorkloadName, name: &str) -> i64 {
        if let Some(id) = self.ids.get(workload).and_then(|names| names.get(name)) {
            return *id;
        }
        self.last += 1;
        self.ids.entry(workload.clone()).or_default().insert(name.to_owned(), self.last);
        self.new.push((self.last, workload.clone(), name.to_owned()));
        self.last
    }
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Counts what an input says.
    pub(crate) fn count(&mut self, names: &mut SeriesNames, input: &Input) {
        match input {
            Input::Sampled { samples, .. } => {
                for measured in samples {
                    if let Ok(sample) = &measured.value {
                        let id = names.id(&measured.workload, measured.signal.as_str());
                        self.add(id, sample.at, sample.value.get());
                    }
                }
            }
            Input::Looked { at, workload, status: Ok(status) }
            | Input::Settled { at, workload, outcome: Settled::Done(status), .. } => {
                self.status(names, *at, workload, status);
            }
            Input::Looked { status: Err(_), .. }
            | Input::Settled { outcome: Settled::Failed(_) | Settled::Advised, .. }
            | Input::Tick { .. }
            | Input::Waiting { .. }
            | Input::Overridden { .. }
            | Input::Ordered { .. }
            | Input::Fitted { .. }
            | Input::Recalled { .. }
            | Input::FleetChanged { .. }
            | Input::Restarted { .. } => {}
        }
    }

    /// Counts a point that no input says.
    pub(crate) fn point(&mut self, names: &mut SeriesNames, point: &Point) {
        let id = names.id(&point.workload, &point.series);
        self.add(id, point.at, point.value.get());
    }

    fn status(
        &mut self,
        names: &mut SeriesNames,
        at: Timestamp,
        workload: &WorkloadName,
        status: &TargetStatus,
    ) {
        let counts = [
            (WANTED, status.wanted),
            (READY, status.ready),
            (STARTING, status.starting),
            (DRAINING, status.draining),
            (FAILED, status.failed),
        ];
        let warm = status.pool.as_ref().map(|pool| (WARM, pool.running()));
        for (name, count) in counts.into_iter().chain(warm) {
            let id = names.id(workload, name);
            self.add(id, at, count.as_f64());
        }
    }

    fn add(&mut self, series: i64, at: Timestamp, value: f64) {
        for resolution in Resolution::ALL {
            self.sums
                .entry((resolution, resolution.bucket(at), series))
                .and_modify(|sum| sum.add(Sum::of(value)))
                .or_insert_with(|| Sum::of(value));
        }
    }

    /// Adds all of it to the tables, inside the caller's transaction.
    pub(crate) fn write(&self, db: &Connection, names: &SeriesNames) -> rusqlite::Result<()> {
        let mut name =
            db.prepare_cached("INSERT OR IGNORE INTO series (id, workload, name) VALUES (?1, ?2, ?3)")?;
        for (id, workload, series) in &names.new {
            name.execute(params![id, workload.as_str(), series])?;
        }
        for ((resolution, bucket, series), sum) in &self.sums {
            let mut insert = db.prepare_cached(resolution.insert())?;
            #[expect(clippy::float_cmp, reason = "equal bits are what is asked for")]
            let even = sum.min == sum.last && sum.max == sum.last;
            let parts = (!even).then_some((sum.min, sum.max, sum.sum));
            insert.execute(params![
                bucket,
                series,
                i64::try_from(sum.count).unwrap_or(i64::MAX),
                sum.last,
                parts.map(|p| p.0),
                parts.map(|p| p.1),
                parts.map(|p| p.2),
            ])?;
        }
        Ok(())
    }

    /// What was written is committed: starts anew.
    pub(crate) fn written(&mut self, names: &mut SeriesNames) {
        self.sums.clear();
        names.new.clear();
    }
}
