//! Traces: a load as it was measured, read from `timestamp,value` rows.
//!
//! A trace may be larger than memory (10 GB), so it is read as a stream and never held. Rows come in order of
//! time; what can't be a load (a negative value, a stamp that goes back, text) is an error that names its line.
//! A gap is bridged by a straight line and counted, so that the report can say how much of the trace is invented.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::PathBuf;
use std::sync::Arc;

use headroom_core::units::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::LoadError;

/// The header every trace starts with.
const HEADER: &str = "timestamp,value";
/// A row is a stamp and a number; a longer line is no trace.
const LONGEST_LINE: usize = 256;
/// No load is larger; sums of what is can't be reckoned with.
const LARGEST: f64 = 1e15;
/// So many first differences tell the spacing of a trace; their median is immune to a gap among them.
const SPACING_FROM: usize = 1001;
/// A gap longer than this, and than all that was measured, is taken for a wrong stamp: nothing would be left of the trace
/// but a straight line.
const LONGEST_GAP: Span = Span::days(1);
/// A plain number from here on is milliseconds (as seconds it would be after the year 5000).
const MILLISECONDS_FROM: f64 = 1e11;

/// Where a trace is read from. It is opened more than once: to check it, and to run it. In a file it is written as
/// a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "PathBuf", into = "PathBuf")]
pub enum TraceSource {
    /// A file.
    File(PathBuf),
    /// Text at hand, with a name for messages.
    Text {
        /// What messages call it.
        name: String,
        /// The rows.
        text: Arc<str>,
    },
}

impl From<PathBuf> for TraceSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<TraceSource> for PathBuf {
    fn from(source: TraceSource) -> Self {
        match source {
            TraceSource::File(path) => path,
            TraceSource::Text { name, .. } => name.into(),
        }
    }
}

impl TraceSource {
    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => name.clone(),
        }
    }

    fn open(&self) -> Result<Box<dyn BufRead>, LoadError> {
        Ok(match self {
            Self::File(path) => {
                let unreadable = |why: String| LoadError::Unreadable { trace: self.name(), why };
                // Opening a pipe that nobody writes to would wait for ever.
                let kind = std::fs::metadata(path).map_err(|why| unreadable(why.to_string()))?;
                if !kind.is_file() {
                    return Err(unreadable(
                        "it is no plain file, and a trace is read more than once; write it to a file first"
                            .to_owned(),
                    ));
                }
                let file = File::open(path).map_err(|why| unreadable(why.to_string()))?;
                Box::new(BufReader::with_capacity(1 << 16, file))
            }
            Self::Text { text, .. } => Box::new(BufReader::new(Cursor::new(SharedText(Arc::clone(text))))),
        })
    }
}

struct SharedText(Arc<str>);
impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The rows of a trace, one after the other.
struct Rows {
    reader: Box<dyn BufRead>,
    trace: String,
    line: Vec<u8>,
    number: u64,
    last: Option<i64>,
}

impl Rows {
    fn open(source: &TraceSource) -> Result<Self, LoadError> {
        let mut rows =
            Self { reader: source.open()?, trace: source.name(), line: Vec::new(), number: 0, last: None };
        let header = rows
            .next_line()?
            .map(|line| String::from_utf8_lossy(line).trim_start_matches('\u{feff}').to_owned());
        match header {
            None => Err(LoadError::Empty { trace: rows.trace }),
            Some(text) if text.replace(' ', "").eq_ignore_ascii_case(HEADER) => Ok(rows),
            Some(found) => Err(LoadError::Header { trace: rows.trace, found }),
        }
    }

    fn bad(&self, what: impl Into<String>) -> LoadError {
        LoadError::Row { trace: self.trace.clone(), line: self.number, what: what.into() }
    }

    /// The next line that is neither blank nor a comment.
    fn next_line(&mut self) -> Result<Option<&[u8]>, LoadError> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut limited = std::io::Read::take(&mut self.reader, LONGEST_LINE as u64);
            let read = limited
                .read_until(b'\n', &mut self.line)
                .map_err(|why| LoadError::Unreadable { trace: self.trace.clone(), why: why.to_string() })?;
            if read == 0 {
                return Ok(None);
            }
            if read == LONGEST_LINE && self.line.last() != Some(&b'\n') {
                return Err(self.bad(format!("is longer than {LONGEST_LINE} bytes, so this is no trace")));
            }
            let end = self.line.trim_ascii_end().len();
            self.line.truncate(end);
            if !self.line.trim_ascii_start().is_empty() && !self.line.starts_with(b"#") {
                return Ok(Some(&self.line));
            }
        }
    }

    /// The next row: milliseconds since the epoch, and the value.
    fn next(&mut self) -> Result<Option<(i64, f64)>, LoadError> {
        if self.next_line()?.is_none() {
            return Ok(None);
        }
        let text = std::str::from_utf8(&self.line).map_err(|_| self.bad("is not text"))?;
        let (stamp, value) = text.split_once(',').ok_or_else(|| {
            self.bad(format!("{text:?} has no comma; a row is a timestamp, a comma and a value"))
        })?;
        let at = parse_stamp(stamp.trim()).ok_or_else(|| {
            self.bad(format!("{stamp:?} is no moment; write RFC 3339 (2026-11-21T09:30:00Z) or seconds"))
        })?;
        let number: f64 = value.trim().parse().map_err(|_| {
            self.bad(format!("{value:?} is no number; leave the row out where there is no value"))
        })?;
        if !number.is_finite() {
            return Err(
                self.bad(format!("{value:?} is no amount; leave the row out where there is no value"))
            );
        }
        if number > LARGEST {
            return Err(self.bad(format!("{value} is more than any load; write at most {LARGEST:e}")));
        }
        if number < 0.0 {
            return Err(self.bad(format!("{value} is negative; a load is 0 or more")));
        }
        if self.last.is_some_and(|last| at <= last) {
            return Err(self.bad(format!(
                "{stamp} is not later than the row before; sort the rows by time and keep one per moment, \
                 for example with `{}`",
                sorting(stamp.trim())
            )));
        }
        self.last = Some(at);
        Ok(Some((at, number)))
    }
}

/// The command that sorts a trace whose stamps look like this: numbers by their size, moments of one time zone by their
/// text.
fn sorting(stamp: &str) -> String {
    let by = if stamp.parse::<f64>().is_ok() { "-k1,1g" } else { "-k1,1" };
    format!("(head -n 1 t.csv; tail -n +2 t.csv | LC_ALL=C sort -u -t, {by})")
}

/// Milliseconds since the epoch from RFC 3339 or a plain number of seconds (or milliseconds, if so large).
fn parse_stamp(text: &str) -> Option<i64> {
    if let Some(ms) = parse_utc(text.as_bytes()) {
        return Some(ms);
    }
    if let Ok(number) = text.parse::<f64>() {
        let ms = if number.abs() >= MILLISECONDS_FROM { number } else { number * 1000.0 };
        #[expect(clippy::cast_possible_truncation, reason = "checked: far inside i64")]
        return (ms.abs() < 9e15).then(|| libm::round(ms) as i64);
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_millis)
}

/// The form nearly every trace has, `2026-11-21T09:30:00Z`, without the cost of the general parser. `None` for
/// any other form, which the general parser then judges.
fn parse_utc(b: &[u8]) -> Option<i64> {
    let shape = b.len() == 20
        && (b[4], b[7], b[10], b[13], b[16], b[19]) == (b'-', b'-', b'T', b':', b':', b'Z')
        && [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18].iter().all(|&i: &usize| b[i].is_ascii_digit());
    if !shape {
        return None;
    }
    let two = |i: usize| i64::from(b[i] - b'0') * 10 + i64::from(b[i + 1] - b'0');
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let (hour, minute, second) = (two(11), two(14), two(17));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > days_in || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since the epoch in the proleptic Gregorian calendar, counted in years that start in March.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000)
}

/// What a first pass over a trace finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceFacts {
    /// The moment of the first row.
    pub start: Timestamp,
    /// How far apart rows stand as a rule.
    pub spacing: Span,
    /// How many rows there are.
    pub rows: u64,
    /// How many gaps there are: places where rows stand more than one and a half spacings apart.
    pub gaps: u64,
    /// The longest of them.
    pub longest_gap: Span,
    /// From the first row to the end of the last one's stretch.
    pub length: Span,
}

/// Reads the whole of a trace once: every mistake in it is found before anything runs.
///
/// # Errors
/// The first thing that is wrong with the trace.
pub fn check(source: &TraceSource) -> Result<TraceFacts, LoadError> {
    let spacing = spacing(source)?;
    let mut rows = Rows::open(source)?;
    let (mut start, mut last, mut count, mut gaps, mut longest) = (None, 0, 0_u64, 0_u64, 0_i64);
    let mut after_longest = 0;
    while let Some((at, _)) = rows.next()? {
        if start.is_none() {
            start = Some(at);
        } else {
            let apart = at - last;
            gaps += u64::from(apart * 2 > spacing * 3);
            if apart > longest {
                (longest, after_longest) = (apart, rows.number);
            }
        }
        (last, count) = (at, count + 1);
    }
    let longest = if gaps > 0 { longest } else { 0 };
    let measured = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(spacing);
    if longest > measured && Span::millis(longest.unsigned_abs()) > LONGEST_GAP {
        let gap = Span::millis(longest.unsigned_abs());
        rows.number = after_longest;
        return Err(rows.bad(format!(
            "comes {gap} after the row before, longer than all that was measured; if the stamp is right, split the \
             trace there"
        )));
    }
    let start = start.ok_or_else(|| LoadError::Empty { trace: source.name() })?;
    let span = |ms: i64| Span::millis(ms.unsigned_abs());
    Ok(TraceFacts {
        start: Timestamp::from_millis(start),
        spacing: span(spacing),
        rows: count,
        gaps,
        longest_gap: span(longest),
        length: span(last - start + spacing),
    })
}

/// The usual distance of two rows in milliseconds: the median of the first ones.
pub(super) fn spacing(source: &TraceSource) -> Result<i64, LoadError> {
    let mut rows = Rows::open(source)?;
    let mut apart = Vec::new();
    let mut last = None;
    while apart.len() < SPACING_FROM {
        let Some((at, _)) = rows.next()? else { break };
        if let Some(last) = last {
            apart.push(at - last);
        }
        last = Some(at);
    }
    match (last, apart.len()) {
        (None, _) => Err(LoadError::Empty { trace: source.name() }),
        (Some(_), 0) => Err(LoadError::OneRow { trace: source.name() }),
        (Some(_), n) => {
            let (_, median, _) = apart.select_nth_unstable(n / 2);
            Ok((*median).max(1))
        }
    }
}

/// The last `most` steps of a trace with their gaps: the mean of the rows of each step, `None` where less than half of
/// the rows of a step are there. Steps begin at multiples of their length, so that hours and days are whole.
///
/// # Errors
/// The first thing that is wrong with the trace.
pub fn averaged(
    source: &TraceSource,
    facts: &TraceFacts,
    step: Span,
    most: usize,
) -> Result<(Timestamp, Vec<Option<f64>>), LoadError> {
    let ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    let enough = (step.as_millis() / facts.spacing.as_millis().max(1) / 2).max(1);
    let mut rows = Rows::open(source)?;
    let mut kept: VecDeque<Option<f64>> = VecDeque::new();
    let mut keep = |value: Option<f64>| {
        if kept.len() == most {
            kept.pop_front();
        }
        kept.push_back(value);
    };
    let (mut bin, mut sum, mut count) = (facts.start.as_millis().div_euclid(ms), 0.0, 0_u64);
    loop {
        let row = rows.next()?;
        let now = row.map(|(at, _)| at.div_euclid(ms));
        if now != Some(bin) {
            #[expect(clippy::cast_precision_loss, reason = "rows within a step are far below 2^53")]
            let mean = (count >= enough).then(|| sum / count as f64);
            keep(mean);
            (sum, count) = (0.0, 0);
        }
        let (Some((_, value)), Some(now)) = (row, now) else { break };
        // A gap longer than all that is kept leaves nothing of what was before.
        for _ in 0..usize::try_from(now - bin - 1).unwrap_or(0).min(most) {
            keep(None);
        }
        (bin, sum, count) = (now, sum + value, count + 1);
    }
    let steps = i64::try_from(kept.len()).unwrap_or(i64::MAX);
    Ok((Timestamp::from_millis((bin + 1 - steps) * ms), kept.into()))
}

/// A trace as one value a step.
///
/// Rows finer than a step are averaged; coarser ones stand for the mean of their own stretch, so a straight line
/// joins the middles of the stretches.
pub(super) struct TraceStream {
    rows: Rows,
    spacing: f64,
    step: f64,
    start: i64,
    /// Rows averaged into a step: the step's index, the sum, the count.
    open_bin: Option<(u64, f64, f64)>,
    bins: bool,
    points: VecDeque<(f64, f64)>,
    ended: bool,
    last_row: i64,
    index: u64,
}

impl TraceStream {
    pub(super) fn open(source: &TraceSource, facts: &TraceFacts, step: Span) -> Result<Self, LoadError> {
        let (spacing, step) = (facts.spacing.as_secs_f64() * 1000.0, step.as_secs_f64() * 1000.0);
        let mut stream = Self {
            rows: Rows::open(source)?,
            spacing,
            step,
            start: facts.start.as_millis(),
            open_bin: None,
            bins: spacing < step * 0.999,
            points: VecDeque::with_capacity(4),
            ended: false,
            last_row: 0,
            index: 0,
        };
        stream.fill(2)?;
        Ok(stream)
    }

    /// Reads on until `wanted` points are at hand or the trace ends. A point's time is in milliseconds since the
    /// first row.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds within a trace are far below 2^53")]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative: rows are in order"
    )]
    fn fill(&mut self, wanted: usize) -> Result<(), LoadError> {
        while self.points.len() < wanted && !self.ended {
            let row = self.rows.next()?;
            if !self.bins {
                match row {
                    Some((at, value)) => {
                        self.last_row = at - self.start;
                        self.points.push_back((self.last_row as f64 + self.spacing / 2.0, value));
                    }
                    None => self.ended = true,
                }
                continue;
            }
            let bin = row.map(|(at, value)| {
                self.last_row = at - self.start;
                ((self.last_row as f64 / self.step) as u64, value)
            });
            self.ended = row.is_none();
            match (&mut self.open_bin, bin) {
                (Some((index, sum, count)), Some((same, value))) if *index == same => {
                    *sum += value;
                    *count += 1.0;
                }
                (open, bin) => {
                    if let Some((index, sum, count)) = *open {
                        self.points.push_back(((index as f64 + 0.5) * self.step, sum / count));
                    }
                    *open = bin.map(|(index, value)| (index, value, 1.0));
                }
            }
        }
        Ok(())
    }

    /// The next step's mean.
    #[expect(clippy::cast_precision_loss, reason = "a step's index is far below 2^53")]
    pub(super) fn next(&mut self) -> Result<Option<f64>, LoadError> {
        let middle = (self.index as f64 + 0.5) * self.step;
        while self.points.get(1).is_some_and(|p| p.0 <= middle) {
            self.points.pop_front();
            self.fill(2)?;
        }
        if self.ended
            && self.points.len() <= 1
            && (self.index + 1) as f64 * self.step > self.last_row as f64 + self.spacing + 0.5
        {
            return Ok(None);
        }
        self.index += 1;
        Ok(Some(match (self.points.front(), self.points.get(1)) {
            (Some(&(t0, v0)), Some(&(t1, v1))) => {
                if middle <= t0 {
                    v0
                } else {
                    v0 + (v1 - v0) * ((middle - t0) / (t1 - t0))
                }
            }
            (Some(&(_, v)), None) => v,
            (None, _) => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> TraceSource {
        TraceSource::Text { name: "t.csv".to_owned(), text: text.into() }
    }

    fn steps(source: &TraceSource, step: Span) -> Vec<f64> {
        let facts = check(source).unwrap();
        let mut stream = TraceStream::open(source, &facts, step).unwrap();
        std::iter::from_fn(|| stream.next().unwrap()).collect()
    }

    #[test]
    fn stamps_are_rfc_3339_or_numbers() {
        for (stamp, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-21T09:30:00Z", Some(1_795_253_400_000)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-11-21T18:30:00+09:00", Some(1_795_253_400_000)),
            ("2026-11-21T09:30:00.250Z", Some(1_795_253_400_250)),
            ("12.5", Some(12_500)),
            ("1795253400", Some(1_795_253_400_000)),
            ("1795253400000", Some(1_795_253_400_000)),
            ("yesterday", None),
            ("", None),
            ("NaN", None),
        ] {
            assert_eq!(parse_stamp(stamp), expected, "{stamp}");
        }
    }

    #[test]
    fn the_short_way_to_a_stamp_agrees_with_the_general_one() {
        let mut day = -800_000_i64;
        while day < 800_000 {
            let at = Timestamp::from_millis(day * 86_400_000 + (day.rem_euclid(86_400)) * 1000);
            let text = format!("{:.0}", at.to_jiff());
            if text.len() == 20 {
                assert_eq!(parse_utc(text.as_bytes()), Some(at.as_millis()), "{text}");
            }
            day += 97;
        }
    }

    #[test]
    fn bad_traces_say_where_and_what_to_do() {
        for (rows, expected) in [
            ("", "is empty"),
            ("timestamp,value\n", "is empty"),
            ("timestamp,value\n0,1\n", "has a single row"),
            ("time,rps\n0,1\n", "starts with \"time,rps\""),
            ("0,1\n1,2\n", "starts with \"0,1\""),
            ("timestamp,value\n0,1\n2,1\n1,1\n", "line 4: 1 is not later than the row before"),
            ("timestamp,value\n0,1\n0,1\n", "line 3: 0 is not later"),
            ("timestamp,value\n0,1\n1,-3\n", "line 3: -3 is negative"),
            ("timestamp,value\n0,1\n1,nan\n", "line 3: \"nan\" is no amount"),
            ("timestamp,value\n0,1\n1,\n", "line 3: \"\" is no number"),
            ("timestamp,value\n0,1\n1\n", "line 3: \"1\" has no comma"),
            ("timestamp,value\n0,1\nx,1\n", "line 3: \"x\" is no moment"),
        ] {
            let error = check(&text(rows)).unwrap_err().to_string();
            assert!(error.contains(expected), "{rows:?}: {error}");
        }
        let far = check(&text("timestamp,value\n0,1\n1,1\n2,1\n86500,1\n86501,1\n")).unwrap_err().to_string();
        assert!(far.contains("line 5: comes 1d1m38s after"), "{far}");
        let folder = check(&TraceSource::File("/".into())).unwrap_err().to_string();
        assert!(folder.contains("is no plain file"), "{folder}");
        let long = format!("timestamp,value\n{}", "9".repeat(1000));
        assert!(check(&text(&long)).unwrap_err().to_string().contains("longer than 256 bytes"));
        let missing = check(&TraceSource::File("no/such.csv".into())).unwrap_err().to_string();
        assert!(missing.contains("no/such.csv"), "{missing}");
    }

    /// The advice is run as it stands.
    #[test]
    fn the_advice_for_rows_out_of_order_sorts_them() {
        for rows in [
            "1000,1\n999,2\n1e3,3\n20.5,4\n",
            "2026-11-21T09:30:10Z,1\n2026-11-21T09:30:00Z,2\n2026-11-21T09:30:10Z,1\n",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.csv");
            std::fs::write(&path, format!("timestamp,value\n{rows}")).unwrap();
            let error = check(&TraceSource::File(path.clone())).unwrap_err().to_string();
            let advice = error.split('`').nth(1).unwrap();
            let sorted =
                std::process::Command::new("sh").args(["-c", advice]).current_dir(folder.path()).output();
            std::fs::write(&path, sorted.unwrap().stdout).unwrap();
            assert!(check(&TraceSource::File(path)).unwrap().rows >= 2, "{advice}");
        }
    }

    #[test]
    fn gaps_are_counted_and_bridged() {
        let source = text("timestamp,value\n# made up\n0,10\n10,20\n\n20,30\n60,70\n70,80\n");
        let facts = check(&source).unwrap();
        assert_eq!((facts.rows, facts.gaps, facts.longest_gap), (5, 1, Span::seconds(40)));
        assert_eq!((facts.spacing, facts.length), (Span::seconds(10), Span::seconds(80)));
        assert_eq!(steps(&source, Span::seconds(10)), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]);
    }

    #[test]
    fn steps_with_gaps_begin_at_whole_multiples_and_keep_the_newest() {
        let source = text("timestamp,value\n8,1\n9,2\n10,3\n11,5\n12,7\n22,4\n23,6\n24,8\n");
        let facts = check(&source).unwrap();
        let (start, values) = averaged(&source, &facts, Span::seconds(4), 100).unwrap();
        assert_eq!(start, Timestamp::from_millis(8_000));
        assert_eq!(values, [Some(2.75), None, None, Some(5.0), None], "one of four rows is too few");
        let (start, values) = averaged(&source, &facts, Span::seconds(4), 2).unwrap();
        assert_eq!((start, values), (Timestamp::from_millis(20_000), vec![Some(5.0), None]));
    }

    #[test]
    fn coarse_rows_are_joined_in_their_middles_and_fine_ones_averaged() {
        let coarse = text("timestamp,value\n0,10\n10,20\n");
        let expected = [10.0, 10.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 20.0, 20.0];
        let got = steps(&coarse, Span::seconds(2));
        assert_eq!(got, expected, "middles at 5 s and 15 s");
        let fine = text("timestamp,value\n0,1\n1,3\n2,5\n3,7\n6,10\n");
        assert_eq!(steps(&fine, Span::seconds(2)), [2.0, 6.0, 8.0], "the step without a row is bridged");
    }
}
