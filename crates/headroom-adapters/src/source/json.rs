//! Numbers in a JSON document behind a URL, and the paths that find them.
//!
//! A path is the part of RFC 9535 that names places: `$`, `.key`, `['key']`, `[0]`, `[-1]`, `[*]`. Where a path names
//! several numbers they are summed. Filters and functions are left out: what needs them is better computed where the
//! document is made.

use std::path::Path;

use async_trait::async_trait;
use headroom_core::fleet::{Ask, HttpServer, JsonAsk};
use headroom_core::outlook::STEP;
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use serde_json::Value;

use super::poll::{Figure, ReadError, Reader, Want};
use super::recall::{Found, Past, Stretch, filled};
use crate::http::{HttpClient, json};

/// Reads one document for all that is wanted of it.
pub struct Http {
    client: HttpClient,
    asks: Vec<(JsonPath, Option<JsonPath>)>,
}

impl Http {
    /// Asks `server` for `wants`.
    ///
    /// # Errors
    /// Where the server's settings or a path are not usable.
    pub fn new(server: &HttpServer, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&JsonAsk> = super::asks(wants, |ask| match ask {
            Ask::Http(ask) => Some(ask),
            _ => None,
        })?;
        let asks = asks
            .into_iter()
            .map(|ask| Ok((JsonPath::parse(&ask.path)?, ask.at.as_deref().map(JsonPath::parse).transpose()?)))
            .collect::<Result<_, ReadError>>()?;
        Ok(Self { client: HttpClient::new(server, base)?, asks })
    }
}

#[async_trait]
impl Reader for Http {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let body = self.client.get("", "application/json").await?.good()?;
        let at = now();
        let document = json(&body)?;
        let figure = |(path, when): &(JsonPath, Option<JsonPath>)| {
            let value = path.number(&document)?;
            let at = match when {
                Some(when) => when.moment(&document)?,
                None => at,
            };
            Ok((at, value))
        };
        Ok(self.asks.iter().map(figure).collect())
    }
}

/// Reads the past that a server keeps of its figures.
pub(super) struct History {
    client: HttpClient,
    asks: Vec<Kept>,
}

/// Where the past of one figure stands.
struct Kept {
    path: String,
    at: JsonPath,
    values: JsonPath,
}

impl History {
    /// Asks `server` for `wants`, each of which has a past.
    ///
    /// # Errors
    /// Where the server's settings or a path are not usable.
    pub(super) fn new(server: &HttpServer, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks = super::asks(wants, |ask| match ask {
            Ask::Http(JsonAsk { history: Some(history), .. }) => Some(history),
            _ => None,
        })?;
        let kept = |(path, at, values): (&String, &String, &String)| {
            let (at, values) = (JsonPath::parse(at)?, JsonPath::parse(values)?);
            Ok(Kept { path: format!("/{}", path.trim_start_matches('/')), at, values })
        };
        let asks = asks
            .into_iter()
            .map(|history| kept((&history.path, &history.at, &history.values)))
            .collect::<Result<_, ReadError>>()?;
        // The past stands at a path from the server's root, not below the figures' own.
        let root = match server.url.match_indices('/').nth(2) {
            Some((end, _)) => server.url[..end].to_owned(),
            None => server.url.clone(),
        };
        Ok(Self { client: HttpClient::new(&HttpServer { url: root, ..server.clone() }, base)?, asks })
    }
}

#[async_trait]
impl Past for History {
    fn step(&self) -> Span {
        STEP
    }

    fn batches(&self) -> Vec<Vec<usize>> {
        (0..self.asks.len()).map(|want| vec![want]).collect()
    }

    fn wants_of(&self, question: usize) -> Vec<usize> {
        vec![question]
    }

    async fn range(&mut self, batch: &[usize], stretch: Stretch) -> Result<(Found, usize), ReadError> {
        let (mut found, mut bytes) = (Found::new(), 0);
        for want in batch {
            let ask = &self.asks[*want];
            let answer = self.client.get(&filled(&ask.path, stretch), "application/json").await?;
            let body = answer.good().map_err(|error| match error {
                // The question is at fault, and asked again it would be again.
                ReadError::Status { status: 400..=499, .. } => ReadError::Refused(error.to_string()),
                other => other,
            })?;
            bytes += body.len();
            let document = json(&body)?;
            let (moments, values) = (ask.at.find(&document), ask.values.find(&document));
            if moments.len() != values.len() {
                let why = format!("it has {} moments and {} values", moments.len(), values.len());
                return Err(ReadError::Garbage(why));
            }
            let mut series = Vec::with_capacity(values.len());
            for (moment, value) in moments.into_iter().zip(values) {
                let garbage = |_| ReadError::Garbage("a point of it has no moment or no number".to_owned());
                let at = moment_of(moment).map_err(garbage)?;
                series.extend(number_of(value).map_err(garbage)?.map(|value| (at, value)));
            }
            found.push((*want, vec![series]));
        }
        Ok((found, bytes))
    }
}

/// A way through a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(i64),
    All,
}

impl JsonPath {
    pub(crate) fn parse(text: &str) -> Result<Self, ReadError> {
        let wrong = || {
            ReadError::Setup(format!(
                "the path {text:?} can't be read; write it like $.queues[0].depth, or $.queues[*].depth for the sum"
            ))
        };
        let mut rest = text.trim().strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (key, after) = after.split_at(end);
                match key {
                    "" => return Err(wrong()),
                    "*" => steps.push(Step::All),
                    key => steps.push(Step::Key(key.to_owned())),
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
                let (step, after) = match quote {
                    Some(quote) => {
                        let (key, after) = after[1..].split_once(quote).ok_or_else(wrong)?;
                        (Step::Key(key.to_owned()), after.strip_prefix(']').ok_or_else(wrong)?)
                    }
                    None => {
                        let (inside, after) = after.split_once(']').ok_or_else(wrong)?;
                        let step = match inside.trim() {
                            "*" => Step::All,
                            number => Step::Index(number.parse().map_err(|_| wrong())?),
                        };
                        (step, after)
                    }
                };
                steps.push(step);
                rest = after;
            } else {
                return Err(wrong());
            }
        }
        Ok(Self(steps))
    }

    fn find<'a>(&self, document: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![document];
        for step in &self.0 {
            let next = |value: &'a Value| -> Vec<&'a Value> {
                match (step, value) {
                    (Step::Key(key), Value::Object(map)) => map.get(key).into_iter().collect(),
                    (Step::Index(i), Value::Array(all)) => {
                        let length = i64::try_from(all.len()).unwrap_or(i64::MAX);
                        let i = if *i < 0 { length.saturating_add(*i) } else { *i };
                        usize::try_from(i).ok().and_then(|i| all.get(i)).into_iter().collect()
                    }
                    (Step::All, Value::Array(all)) => all.iter().collect(),
                    (Step::All, Value::Object(map)) => map.values().collect(),
                    _ => Vec::new(),
                }
            };
            found = found.into_iter().flat_map(next).collect();
        }
        found
    }

    /// The number it names, or the sum of the numbers. Nothing, null and an empty list are no number; a text is one
    /// where it reads as one.
    pub(crate) fn number(&self, document: &Value) -> Result<f64, Absence> {
        let mut sum = None;
        for value in self.find(document) {
            if let Some(number) = number_of(value)? {
                *sum.get_or_insert(0.0) += number;
            }
        }
        sum.ok_or(Absence::Empty)
    }

    fn moment(&self, document: &Value) -> Result<Timestamp, Absence> {
        match self.find(document).as_slice() {
            [one] => moment_of(one),
            _ => Err(Absence::SourceFailed("it does not say of which moment the figure is".to_owned())),
        }
    }
}

/// A number, or a text that reads as one; null is none.
fn number_of(value: &Value) -> Result<Option<f64>, Absence> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null => return Ok(None),
        other => {
            let what = match other {
                Value::Bool(_) => "true or false",
                Value::Array(_) => "a list",
                _ => "an object",
            };
            return Err(Absence::SourceFailed(format!(
                "there is {what} where a number was meant; let `path` name the number itself"
            )));
        }
    };
    number.map(Some).ok_or(Absence::NotANumber)
}

/// A moment: RFC 3339, or seconds since 1970.
fn moment_of(value: &Value) -> Result<Timestamp, Absence> {
    match value {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .map(Timestamp::from)
            .map_err(|error| Absence::SourceFailed(format!("its moment {text:?} can't be read: {error}"))),
        Value::Number(number) => {
            let seconds = number.as_f64().ok_or(Absence::NotANumber)?;
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any real moment fit")]
            let at = Timestamp::from_millis((seconds * 1000.0).round() as i64);
            Ok(at)
        }
        _ => Err(Absence::SourceFailed("it does not say of which moment the figure is".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_a_number_or_says_that_there_is_none() {
        let document = serde_json::json!({
            "queues": [{"depth": 3, "a.b": "4"}, {"depth": 4.5}, {"depth": null}],
            "none": null, "text": "many", "nested": {"x": [1, 2]}, "empty": [], "flag": true
        });
        for (path, expected) in [
            ("$.queues[0].depth", Ok(3.0)),
            ("$.queues[-2]['depth']", Ok(4.5)),
            ("$.queues[*].depth", Ok(7.5)),
            ("$.queues[0][\"a.b\"]", Ok(4.0)),
            ("$.nested.x[*]", Ok(3.0)),
            ("$.none", Err(Absence::Empty)),
            ("$.missing.deep", Err(Absence::Empty)),
            ("$.queues[9].depth", Err(Absence::Empty)),
            ("$.empty[*]", Err(Absence::Empty)),
            ("$.text", Err(Absence::NotANumber)),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().number(&document), expected, "{path}");
        }
        for (path, what) in [("$.flag", "true or false"), ("$", "an object"), ("$.empty", "a list")] {
            let found = JsonPath::parse(path).unwrap().number(&document);
            assert!(
                matches!(&found, Err(Absence::SourceFailed(why)) if why.contains(what)),
                "{path}: {found:?}"
            );
        }
        for path in ["", "queues", "$.", "$..a", "$.a[", "$.a[x]", "$.a['b]", "$a"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_figure_may_say_of_which_moment_it_is() {
        let document = serde_json::json!({"a": "2026-01-02T03:04:05Z", "b": 1.5, "c": "soon"});
        let moment = |path| JsonPath::parse(path).unwrap().moment(&document);
        assert_eq!(moment("$.a").unwrap().as_millis(), 1_767_323_045_000);
        assert_eq!(moment("$.b").unwrap().as_millis(), 1500);
        assert!(moment("$.c").is_err() && moment("$.d").is_err());
    }
}
