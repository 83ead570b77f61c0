//! The past of signals that are new here, from a source that kept it.
//!
//! A new installation would know a day's shape only after days. Where a source has the history (a Prometheus, a database or
//! a document that is told how to ask for it), two weeks of it are asked for once, beside the rounds and over a connection of its own: one question at a time, a chunk of time each, so
//! that neither an answer nor the server's work is large. A chunk that proves too large is halved, small ones grow.
//! What fails is tried again for a while and then said; nothing waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use headroom_core::fleet::{Ask, SourceKind};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::outlook::{History, RECALLED, STEP};
use headroom_core::units::{Level, Span, Timestamp};
use headroom_engine::ports::{News, Source};
use tokio::time::{sleep, timeout};

use super::Group;
use super::json::History as JsonPast;
use super::poll::{ReadError, Want};
use super::postgres::Past as SqlPast;
use super::prometheus::Prometheus;
use crate::http::LARGEST_ANSWER;

/// A value and its moment.
pub(super) type At = (Timestamp, f64);

/// A stretch of the past: its first moment, that after its last, and how far apart the points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) step: Span,
}

/// A source that kept its past.
#[async_trait]
pub(super) trait Past: Send {
    /// How far apart its points are. A step that has less than half of its points has no mean.
    fn step(&self) -> Span;

    /// Which questions travel together.
    fn batches(&self) -> Vec<Vec<usize>>;

    /// Which wants a question answers.
    fn wants_of(&self, question: usize) -> Vec<usize>;

    /// A stretch of the past of each want that a batch answers, series by series, and the bytes of the answer.
    async fn range(&mut self, batch: &[usize], stretch: Stretch) -> Result<(Found, usize), ReadError>;
}

/// For each want the series that are its.
pub(super) type Found = Vec<(usize, Vec<Vec<At>>)>;

/// The first chunk: 720 points a minute apart.
const FIRST_CHUNK: Span = Span::hours(12);
/// The longest chunk: 10 080 points a minute apart, below the 11 000 that Prometheus gives at the most.
const LONGEST_CHUNK: Span = Span::hours(7 * 24);
/// A chunk of an hour that is still too large is given up.
const SHORTEST_CHUNK: Span = Span::hours(1);
/// How long a chunk may take. A range is more work than a moment, and nothing waits for it.
const CHUNK_DEADLINE: Span = Span::seconds(30);
/// Pauses after failures: a server that starts together with this one is there within two minutes.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(8),
    Duration::from_secs(30),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// A source of histories, that ends when all are told.
pub struct Recall {
    name: String,
    server: Result<Box<dyn Past>, ReadError>,
    /// Whose each want is.
    owners: Vec<(WorkloadName, SignalName)>,
    from: Timestamp,
    until: Timestamp,
    todo: VecDeque<Vec<usize>>,
    failures: usize,
    told: VecDeque<News>,
}

impl Recall {
    /// The past up to `at` of those signals of `group` that are `lacking` it. `None` where there are none, or where the
    /// kind of source keeps no past.
    #[must_use]
    pub fn new(
        group: &Group,
        lacking: &[(WorkloadName, SignalName)],
        base: &Path,
        at: Timestamp,
    ) -> Option<Self> {
        let mine = group.wants.iter().filter(|(w, s, want)| {
            keeps_past(&want.ask) && lacking.iter().any(|(lw, ls)| lw == w && ls == s)
        });
        let (owners, wants): (Vec<_>, Vec<Want>) =
            mine.map(|(w, s, want)| ((w.clone(), s.clone()), want.clone())).unzip();
        if owners.is_empty() {
            return None;
        }
        let server = open(&group.settings.kind, &wants, base)?;
        // Where it can't be set up, one batch of nothing carries the failure to all.
        let todo = server.as_ref().map_or_else(|_| vec![Vec::new()], |s| s.batches()).into();
        let until = floor(at);
        let from = until.minus(RECALLED);
        let (failures, told) = (0, VecDeque::new());
        Some(Self { name: group.name.to_string(), server, owners, from, until, todo, failures, told })
    }

    /// Works off one batch.
    async fn work(&mut self, batch: Vec<usize>) {
        let Ok(server) = &mut self.server else {
            let why = self.server.as_ref().err().map(ToString::to_string).unwrap_or_default();
            return self.fail((0..self.owners.len()).collect(), &why);
        };
        let point = server.step();
        match past(server.as_mut(), &batch, self.from, self.until).await {
            Ok(steps) => {
                self.failures = 0;
                let wants: Vec<usize> = batch.iter().flat_map(|query| server.wants_of(*query)).collect();
                for want in wants {
                    let steps = steps.get(&want).map(|steps| self.history(steps, point)).unwrap_or_default();
                    self.tell(want, Ok(History { from: self.from, steps }));
                }
            }
            Err(ReadError::Refused(_)) if batch.len() > 1 => {
                // One of them is at fault, or they are too many together.
                let (left, right) = batch.split_at(batch.len() / 2);
                self.todo.push_front(right.to_vec());
                self.todo.push_front(left.to_vec());
            }
            Err(ReadError::Refused(why)) => {
                let wants = batch.iter().flat_map(|query| server.wants_of(*query)).collect();
                self.fail(wants, &format!("it refused: {why}"));
            }
            // An answer that can't be read says nothing of the others, and would come again.
            Err(error @ ReadError::Garbage(_)) if batch.len() == 1 => {
                let wants = batch.iter().flat_map(|query| server.wants_of(*query)).collect();
                self.fail(wants, &error.to_string());
            }
            Err(error) => match PAUSES.get(self.failures) {
                Some(pause) => {
                    tracing::info!(source = self.name, %error, "the past can't be read yet");
                    self.failures += 1;
                    self.todo.push_front(batch);
                    sleep(*pause).await;
                }
                None => {
                    let left = std::iter::once(batch).chain(self.todo.drain(..)).flatten();
                    let wants = left.flat_map(|query| server.wants_of(query)).collect();
                    self.fail(wants, &error.to_string());
                }
            },
        }
    }

    /// The means of the steps that have values.
    fn history(&self, steps: &BTreeMap<i64, (f64, u32)>, point: Span) -> Vec<Option<Level>> {
        let (first, end) = (step_of(self.from), step_of(self.until));
        let most = |n: u32| u64::from(n) * point.as_millis() * 2 > STEP.as_millis();
        let mean = |step| steps.get(&step).filter(|(_, n)| most(*n)).map(|(sum, n)| sum / f64::from(*n));
        (first..end).map(|step| mean(step).and_then(|mean| Level::new(mean).ok())).collect()
    }

    fn tell(&mut self, want: usize, history: Result<History, String>) {
        let Some((workload, signal)) = self.owners.get(want).cloned() else { return };
        self.told.push_back(News::History { workload, signal, history });
    }

    fn fail(&mut self, wants: Vec<usize>, why: &str) {
        for want in wants {
            self.tell(want, Err(format!("`{}`: {why}", self.name)));
        }
    }
}

#[async_trait]
impl Source for Recall {
    fn name(&self) -> &str {
        &self.name
    }

    async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(news) = self.told.pop_front() {
                return Some(news);
            }
            // A batch that is given up halfway is begun again.
            let batch = self.todo.front()?.clone();
            self.todo.pop_front();
            self.work(batch).await;
        }
    }
}

/// For each want, the sum and the number of the values in each step.
type Steps = BTreeMap<usize, BTreeMap<i64, (f64, u32)>>;

/// Whether its source can be asked for its past.
fn keeps_past(ask: &Ask) -> bool {
    match ask {
        Ask::Prometheus(_) => true,
        Ask::Postgres(ask) => ask.history.is_some(),
        Ask::Http(ask) => ask.history.is_some(),
        _ => false,
    }
}

fn open(kind: &SourceKind, wants: &[Want], base: &Path) -> Option<Result<Box<dyn Past>, ReadError>> {
    fn boxed<T: Past + 'static>(past: T) -> Box<dyn Past> {
        Box::new(past)
    }
    Some(match kind {
        SourceKind::Prometheus(server) => Prometheus::new(server, wants, base).map(boxed),
        SourceKind::Postgres(settings) => SqlPast::new(settings, CHUNK_DEADLINE, wants, base).map(boxed),
        SourceKind::Http(server) => JsonPast::new(server, wants, base).map(boxed),
        _ => return None,
    })
}

/// The past of a batch between two moments, both at the edge of a step.
async fn past(
    server: &mut dyn Past,
    batch: &[usize],
    from: Timestamp,
    until: Timestamp,
) -> Result<Steps, ReadError> {
    let (mut steps, mut chunk, mut at) = (Steps::new(), FIRST_CHUNK, from);
    while at < until {
        let end = at.plus(chunk).min(until);
        let stretch = Stretch { from: at, until: end, step: server.step() };
        let answer = timeout(CHUNK_DEADLINE.as_std(), server.range(batch, stretch)).await;
        let answer = answer.unwrap_or(Err(ReadError::Deadline(CHUNK_DEADLINE)));
        match answer {
            Ok((found, bytes)) => {
                for (want, several) in found {
                    count_in(steps.entry(want).or_default(), &several);
                }
                at = end;
                if bytes < LARGEST_ANSWER / 8 {
                    chunk = chunk.times(2).min(LONGEST_CHUNK);
                }
            }
            Err(ReadError::TooLarge { .. } | ReadError::Deadline(_)) if chunk > SHORTEST_CHUNK => {
                chunk = half(chunk);
            }
            Err(ReadError::Refused(_)) if batch.len() == 1 && chunk > SHORTEST_CHUNK => chunk = half(chunk),
            Err(error) => return Err(error),
        }
    }
    Ok(steps)
}

/// A question with the bounds of its stretch put in, in whole seconds.
pub(super) fn filled(text: &str, stretch: Stretch) -> String {
    let seconds = |at: Timestamp| at.as_millis().div_euclid(1000).to_string();
    text.replace("{start}", &seconds(stretch.from))
        .replace("{end}", &seconds(stretch.until))
        .replace("{step}", &(stretch.step.as_millis() / 1000).to_string())
}

/// Half a chunk, of whole steps.
fn half(chunk: Span) -> Span {
    STEP.times(chunk.as_millis() / 2 / STEP.as_millis()).max(SHORTEST_CHUNK)
}

/// Counts a chunk's values. A program that moved has another series than before; but where two speak of one moment,
/// none is the right one, as in a round.
fn count_in(steps: &mut BTreeMap<i64, (f64, u32)>, several: &[Vec<At>]) {
    let mut moments: BTreeMap<Timestamp, Option<f64>> = BTreeMap::new();
    for (at, value) in several.iter().flat_map(|series| series.iter()) {
        moments.entry(*at).and_modify(|known| *known = None).or_insert(Some(*value));
    }
    for (at, value) in moments {
        let Some(value) = value.filter(|v| v.is_finite() && *v >= 0.0) else { continue };
        let (sum, count) = steps.entry(step_of(at)).or_insert((0.0, 0));
        *sum += value;
        *count += 1;
    }
}

fn step_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(STEP.as_millis().cast_signed())
}

fn floor(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(step_of(at).saturating_mul(STEP.as_millis().cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::super::prometheus;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    #[test]
    fn steps_are_means_and_what_is_no_load_or_twofold_is_left_out() {
        let mut steps = BTreeMap::new();
        let one = vec![(at(0), 2.0), (at(60), 4.0), (at(120), f64::NAN), (at(300), -1.0), (at(900), 7.0)];
        let two = vec![(at(600), 5.0), (at(900), 8.0)];
        count_in(&mut steps, &[one, two]);
        assert_eq!(steps, BTreeMap::from([(0, (6.0, 2)), (2, (5.0, 1))]));
    }

    #[test]
    fn a_chunk_is_halved_down_to_an_hour() {
        let mut chunk = LONGEST_CHUNK;
        for _ in 0..20 {
            chunk = half(chunk);
            assert_eq!(chunk.as_millis() % STEP.as_millis(), 0);
        }
        assert_eq!(chunk, SHORTEST_CHUNK);
        assert!(LONGEST_CHUNK.as_millis() / prometheus::POINT.as_millis() < 11_000);
    }
}
