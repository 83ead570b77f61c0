//! Figures that PromQL queries give.
//!
//! Each distinct query is asked once a round, however many workloads pick their series out of its answer by `where`.
//! Distinct queries travel together, up to [`TOGETHER`] in one expression; one that the server refuses is found by
//! halving, and then spoils no other.
//!
//! An instant query looks back five minutes for a series' last sample and gives it the time of the question. So the
//! question says how far back to look: as far as the signal may be old. What was not scraped for longer is no value.
//!
//! The past is asked for by [`Past::range`], a chunk at a time ([`recall`](super::recall)).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use headroom_core::fleet::{Ask, HttpServer, PrometheusAsk};
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use serde::Deserialize;

use super::poll::{Figure, ReadError, Reader, Want};
use super::recall::{At, Found, Past, Stretch};
use crate::http::HttpClient;

/// How many queries travel in one expression: each costs its server a comparison with the series of all before it.
const TOGETHER: usize = 16;
/// How far back each moment of the past looks, unless the signal may be older: what Prometheus does itself, and all that
/// its older versions can. Histories are often kept with points so far apart.
const LOOK_BACK: Span = Span::minutes(5);
/// How far apart the points of the past are: five of them make a step's mean. A moment looks back five minutes, so a lone
/// point tells of the step before.
pub(super) const POINT: Span = Span::seconds(60);
/// The label that tells the queries of one expression apart.
const MARK: &str = "headroom_query";

/// Asks a Prometheus.
pub struct Prometheus {
    client: HttpClient,
    queries: Vec<Query>,
    /// Which queries travel together.
    batches: Vec<Vec<usize>>,
    wants: usize,
}

/// A query and who picks what out of its answer.
struct Query {
    text: String,
    look_back: Span,
    /// For each set of label names: which want has which values.
    picks: Vec<Pick>,
}

struct Pick {
    labels: Vec<String>,
    wants: HashMap<Vec<String>, Vec<usize>>,
}

/// A series that a query gave: its labels, and a value or its past.
type Series<T> = (BTreeMap<String, String>, T);
impl Prometheus {
    /// Asks `server` for `wants`.
    ///
    /// # Errors
    /// Where the server's settings are not usable.
    pub fn new(server: &HttpServer, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&PrometheusAsk> = super::asks(wants, |ask| match ask {
            Ask::Prometheus(ask) => Some(ask),
            _ => None,
        })?;
        let mut queries: Vec<Query> = Vec::new();
        let mut known: HashMap<(&str, Span), usize> = HashMap::new();
        for (index, (ask, want)) in asks.iter().zip(wants).enumerate() {
            let at = *known.entry((ask.query.as_str(), want.fresh_for)).or_insert_with(|| {
                queries.push(Query { text: ask.query.clone(), look_back: want.fresh_for, picks: Vec::new() });
                queries.len() - 1
            });
            let query = &mut queries[at];
            let labels: Vec<String> = ask.labels.keys().cloned().collect();
            let values: Vec<String> = ask.labels.values().cloned().collect();
            let pick = match query.picks.iter_mut().position(|p| p.labels == labels) {
                Some(i) => &mut query.picks[i],
                None => {
                    query.picks.push(Pick { labels, wants: HashMap::new() });
                    query.picks.last_mut().expect("one was just pushed")
                }
            };
            pick.wants.entry(values).or_default().push(index);
        }
        let mut by_look_back: BTreeMap<Span, Vec<usize>> = BTreeMap::new();
        for (index, query) in queries.iter().enumerate() {
            by_look_back.entry(query.look_back).or_default().push(index);
        }
        let batches =
            by_look_back.values().flat_map(|of| of.chunks(TOGETHER).map(<[usize]>::to_vec)).collect();
        let count = wants.len();
        Ok(Self { client: HttpClient::new(server, base)?, queries, batches, wants: count })
    }

    /// The expression of several queries.
    fn expression(&self, batch: &[usize]) -> String {
        match batch {
            [one] => self.queries[*one].text.clone(),
            many => {
                let marked = many.iter().enumerate().map(|(i, query)| {
                    format!(
                        "label_replace(({}\n), \"{MARK}\", \"{i}\", \"\", \"\")",
                        self.queries[*query].text
                    )
                });
                marked.collect::<Vec<_>>().join(" or ")
            }
        }
    }

    fn look_back(&self, batch: &[usize]) -> Span {
        batch.first().map_or(Span::ZERO, |first| self.queries[*first].look_back)
    }

    /// Sends a form; gives the bytes of the answer as well.
    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<(Data, usize), ReadError> {
        let body = Bytes::from(form(fields));
        let answer = self.client.post(path, "application/x-www-form-urlencoded", body).await?;
        let status = answer.status;
        let parsed = serde_json::from_slice::<Answer<'_>>(&answer.body);
        match parsed {
            Ok(Answer { status: "success", data: Some(data), .. }) => Ok((data, answer.body.len())),
            Ok(Answer { error: Some(error), .. }) if matches!(status.as_u16(), 400 | 422) => {
                Err(ReadError::Refused(error.into_owned()))
            }
            _ if !status.is_success() => Err(answer.good().err().unwrap_or(ReadError::Setup(String::new()))),
            Ok(_) => Err(ReadError::Garbage("it says neither success nor error".to_owned())),
            Err(error) => Err(ReadError::Garbage(error.to_string())),
        }
    }

    /// Asks one expression, and gives the series of each of its queries.
    async fn ask(&mut self, batch: &[usize]) -> Result<Vec<Vec<Series<At>>>, ReadError> {
        let (expression, look_back) = (self.expression(batch), millis(self.look_back(batch)));
        let fields = [("query", expression.as_str()), ("lookback_delta", look_back.as_str())];
        let (data, _) = self.post("/api/v1/query", &fields).await?;
        let mut all: Vec<Vec<Series<At>>> = vec![Vec::new(); batch.len()];
        match data {
            Data::Vector { result } => {
                for VectorSeries { mut metric, value } in result {
                    let value = value.read()?;
                    if let Some(of) = all.get_mut(which(&mut metric, batch)) {
                        of.push((metric, value));
                    }
                }
            }
            Data::Scalar { result } => {
                let value = result.read()?;
                if let Some(of) = all.first_mut() {
                    of.push((BTreeMap::new(), value));
                }
            }
            Data::Matrix { .. } | Data::Other => {
                return Err(ReadError::Refused(
                    "the query gives a range or a text; write one that gives numbers of this moment"
                        .to_owned(),
                ));
            }
        }
        Ok(all)
    }

    /// Which wants a query answers.
    fn wants_of(&self, query: usize) -> impl Iterator<Item = usize> {
        self.queries[query].picks.iter().flat_map(|p| p.wants.values()).flatten().copied()
    }

    /// The series that each want picks out of a query's answer; wants that pick none are left out.
    fn picked<'a, T>(&self, query: usize, series: &'a [Series<T>]) -> BTreeMap<usize, Vec<&'a T>> {
        let mut found: BTreeMap<usize, Vec<&'a T>> = BTreeMap::new();
        for pick in &self.queries[query].picks {
            for (labels, value) in series {
                let values: Option<Vec<String>> =
                    pick.labels.iter().map(|label| labels.get(label).cloned()).collect();
                for want in values.and_then(|values| pick.wants.get(&values)).into_iter().flatten() {
                    found.entry(*want).or_default().push(value);
                }
            }
        }
        found
    }

    /// Gives each want the series it picks.
    fn pick(&self, query: usize, series: &[Series<At>], figures: &mut [Figure]) {
        for (want, values) in self.picked(query, series) {
            let Some(figure) = figures.get_mut(want) else { continue };
            *figure = match values.as_slice() {
                [one] => Ok(**one),
                several => Err(Absence::SourceFailed(format!(
                    "{} series answer where one is meant; narrow `where`, or sum them in the query",
                    several.len()
                ))),
            };
        }
    }
}

/// Which of a batch's queries a series answers; takes its mark off.
fn which(metric: &mut BTreeMap<String, String>, batch: &[usize]) -> usize {
    match batch.len() {
        1 => 0,
        _ => metric.remove(MARK).and_then(|mark| mark.parse().ok()).unwrap_or(usize::MAX),
    }
}

fn millis(span: Span) -> String {
    format!("{}ms", span.as_millis())
}

#[async_trait]
impl Reader for Prometheus {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let mut figures: Vec<Figure> = vec![Err(Absence::Empty); self.wants];
        let mut todo: Vec<Vec<usize>> = self.batches.iter().rev().cloned().collect();
        let mut settled = Vec::new();
        while let Some(batch) = todo.pop() {
            match self.ask(&batch).await {
                Ok(answers) => {
                    for (query, series) in batch.iter().zip(&answers) {
                        self.pick(*query, series, &mut figures);
                    }
                    settled.push(batch);
                }
                Err(ReadError::Refused(why)) => match batch.as_slice() {
                    [one] => {
                        let refused = Absence::SourceFailed(format!("it refused the query: {why}"));
                        for want in self.wants_of(*one) {
                            if let Some(figure) = figures.get_mut(want) {
                                *figure = Err(refused.clone());
                            }
                        }
                        settled.push(batch);
                    }
                    many => {
                        // One of them is at fault; from now on the halves travel apart.
                        let (left, right) = many.split_at(many.len() / 2);
                        todo.push(right.to_vec());
                        todo.push(left.to_vec());
                    }
                },
                Err(error) => return Err(error),
            }
        }
        self.batches = settled;
        Ok(figures)
    }
}

#[async_trait]
impl Past for Prometheus {
    fn step(&self) -> Span {
        POINT
    }

    fn batches(&self) -> Vec<Vec<usize>> {
        self.batches.clone()
    }

    fn wants_of(&self, question: usize) -> Vec<usize> {
        Self::wants_of(self, question).collect()
    }

    async fn range(&mut self, batch: &[usize], stretch: Stretch) -> Result<(Found, usize), ReadError> {
        let seconds = |at: Timestamp| format!("{:.3}", at.as_millis() as f64 / 1000.0);
        let (start, end, step) =
            (seconds(stretch.from), seconds(stretch.until.minus(stretch.step)), millis(stretch.step));
        let look_back = millis(self.look_back(batch).max(LOOK_BACK));
        let expression = self.expression(batch);
        let fields = [
            ("query", expression.as_str()),
            ("start", start.as_str()),
            ("end", end.as_str()),
            ("step", step.as_str()),
            ("lookback_delta", look_back.as_str()),
        ];
        let (data, bytes) = self.post("/api/v1/query_range", &fields).await?;
        let Data::Matrix { result } = data else {
            return Err(ReadError::Garbage("the answer to a range is no range".to_owned()));
        };
        let mut all: Vec<Vec<Series<Vec<At>>>> = vec![Vec::new(); batch.len()];
        for MatrixSeries { mut metric, values } in result {
            let values = values.iter().map(Point::read).collect::<Result<_, _>>()?;
            if let Some(of) = all.get_mut(which(&mut metric, batch)) {
                of.push((metric, values));
            }
        }
        let mut found = Found::new();
        for (query, series) in batch.iter().zip(&all) {
            let picked = self.picked(*query, series).into_iter();
            found.extend(picked.map(|(want, several)| (want, several.into_iter().cloned().collect())));
        }
        Ok((found, bytes))
    }
}

/// The body of a form.
fn form(fields: &[(&str, &str)]) -> String {
    let mut body = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        body.append_pair(name, value);
    }
    body.finish()
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    status: &'a str,
    data: Option<Data>,
    #[serde(default, borrow)]
    error: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", rename_all = "lowercase")]
enum Data {
    Vector {
        result: Vec<VectorSeries>,
    },
    Scalar {
        result: Point,
    },
    Matrix {
        result: Vec<MatrixSeries>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct VectorSeries {
    metric: BTreeMap<String, String>,
    value: Point,
}

#[derive(Deserialize)]
struct MatrixSeries {
    metric: BTreeMap<String, String>,
    values: Vec<Point>,
}

/// A moment in seconds and a number as text.
#[derive(Deserialize)]
struct Point(f64, String);

impl Point {
    fn read(&self) -> Result<(Timestamp, f64), ReadError> {
        let value = match self.1.as_str() {
            "+Inf" | "Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            text => text.parse().map_err(|_| ReadError::Garbage(format!("{text:?} is no number")))?,
        };
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any real moment fit")]
        let at = Timestamp::from_millis((self.0 * 1000.0).round() as i64);
        Ok((at, value))
    }
}
