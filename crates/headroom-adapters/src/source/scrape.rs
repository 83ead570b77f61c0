//! Metrics fetched from the programs themselves, without a Prometheus in between.
//!
//! A second after a replica is busy its metrics say so; a Prometheus that scrapes every fifteen seconds can't. What is
//! fetched is held only where a signal wants it. A target that can't be read must not look like one without load: a
//! sum over targets is then no number, a mean or a quantile is of those that answered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use headroom_core::fleet::{
    Ask, HttpServer, Quantile, Relabel, RelabelAction, ScrapeAsk, ScrapeSettings, SeriesCombine,
};
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use regex::Regex;
use serde::Deserialize;

use super::exposition::{self, Bucket, Exposition, Labels, Sample, Wanted};
use super::poll::{Figure, ReadError, Reader, Want};
use super::rate::Total;
use crate::http::HttpClient;

/// Targets asked at the same time; what they answer is held until it is read.
const AT_ONCE: usize = 8;
/// The largest file of targets.
const LARGEST_FILE: u64 = 1024 * 1024;
/// Targets of one source at the most: more belong behind a Prometheus.
const MOST_TARGETS: usize = 1000;

const TEXT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.8,*/*;q=0.1";
/// Asked for where a quantile is wanted: native histograms come in no other format.
const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                        application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.6,*/*;q=0.1";

/// Scrapes programs.
pub struct Scrape {
    settings: ScrapeSettings,
    base: PathBuf,
    deadline: Duration,
    rules: Vec<Rule>,
    clients: HashMap<String, HttpClient>,
    asks: Vec<State>,
    /// Names that some ask can use; `None` where relabelling may make a name.
    wanted: Option<HashSet<String>>,
    accept: &'static str,
}

/// A rule of relabelling, its expression compiled.
struct Rule {
    rule: Relabel,
    regex: Regex,
}

/// One ask and what it needs of the past.
struct State {
    ask: ScrapeAsk,
    window: Span,
    series: HashMap<String, Series>,
    /// The values of this round's gauges.
    values: Vec<(Timestamp, f64)>,
}

/// What one series was.
#[derive(Default)]
struct Series {
    total: Total,
    buckets: BTreeMap<Bound, (Bucket, Total)>,
    schema: Option<i32>,
    seen: Option<Timestamp>,
}

/// A bucket's upper bound, in the order of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bound(i64);

impl Bound {
    fn of(value: f64) -> Self {
        let bits = value.to_bits().cast_signed();
        Self(if bits < 0 { i64::MIN - bits } else { bits })
    }
}

/// A target: its address and the labels it gives its series.
type Target = (String, Labels);

/// An entry of a file of targets.
#[derive(Deserialize)]
struct FileEntry {
    targets: Vec<String>,
    #[serde(default)]
    labels: Labels,
}

impl Scrape {
    /// Scrapes what `settings` names for `wants`.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub fn new(
        settings: &ScrapeSettings,
        deadline: Span,
        wants: &[Want],
        base: &Path,
    ) -> Result<Self, ReadError> {
        let asks: Vec<&ScrapeAsk> = super::asks(wants, |ask| match ask {
            Ask::Scrape(ask) => Some(ask),
            _ => None,
        })?;
        let rules = settings.relabel.iter().map(Rule::new).collect::<Result<Vec<_>, _>>()?;
        let renames = |rule: &Rule| {
            rule.rule.target_label.as_deref() == Some("__name__")
                || rule.rule.action == RelabelAction::LabelMap
        };
        let wanted = (!rules.iter().any(renames)).then(|| {
            asks.iter()
                .flat_map(|ask| [ask.metric.clone(), format!("{}_bucket", ask.metric)])
                .collect::<HashSet<_>>()
        });
        let accept = if asks.iter().any(|ask| ask.quantile.is_some()) { PROTOBUF } else { TEXT };
        let state = |(ask, want): (&ScrapeAsk, &Want)| State {
            ask: ask.clone(),
            window: want.window,
            series: HashMap::new(),
            values: Vec::new(),
        };
        let asks = asks.into_iter().zip(wants).map(state).collect();
        Ok(Self {
            settings: settings.clone(),
            base: base.to_owned(),
            deadline: deadline.as_std().mul_f64(0.9),
            rules,
            clients: HashMap::new(),
            asks,
            wanted,
            accept,
        })
    }

    /// The targets there are now.
    async fn targets(&self) -> Result<Vec<Target>, ReadError> {
        let mut all: Vec<Target> =
            self.settings.targets.iter().map(|target| (target.clone(), Labels::new())).collect();
        if let Some(file) = &self.settings.file {
            let path = self.base.join(file);
            let setup = |why: String| ReadError::Setup(format!("the targets in {}: {why}", path.display()));
            let size = tokio::fs::metadata(&path).await.map_err(|e| setup(e.to_string()))?.len();
            if size > LARGEST_FILE {
                return Err(setup(format!("it has {size} bytes, more than {LARGEST_FILE}")));
            }
            let text = tokio::fs::read(&path).await.map_err(|e| setup(e.to_string()))?;
            let entries: Vec<FileEntry> = serde_json::from_slice(&text).map_err(|e| setup(e.to_string()))?;
            for entry in entries {
                all.extend(entry.targets.into_iter().map(|target| (target, entry.labels.clone())));
            }
        }
        if let Some(name) = &self.settings.dns {
            let found = tokio::net::lookup_host(name)
                .await
                .map_err(|e| ReadError::Connect { at: name.clone(), why: e.to_string() })?;
            all.extend(found.map(|address| (address.to_string(), Labels::new())));
        }
        all.sort();
        all.dedup();
        if all.len() > MOST_TARGETS {
            return Err(ReadError::Setup(format!(
                "there are {} targets, more than {MOST_TARGETS}",
                all.len()
            )));
        }
        Ok(all)
    }

    fn client(&mut self, target: &str) -> Result<HttpClient, ReadError> {
        if let Some(client) = self.clients.remove(target) {
            return Ok(client);
        }
        let server = HttpServer {
            url: format!("{}://{target}", if self.settings.tls { "https" } else { "http" }),
            auth: self.settings.auth.clone(),
            ca: self.settings.ca.clone(),
        };
        HttpClient::new(&server, &self.base)
    }

    /// Changes a sample's labels by the rules; `None` where it is dropped.
    fn relabel(&self, mut sample: Sample) -> Option<Sample> {
        if self.rules.is_empty() {
            return Some(sample);
        }
        sample.labels.insert("__name__".to_owned(), sample.name);
        for rule in &self.rules {
            if !rule.apply(&mut sample.labels) {
                return None;
            }
        }
        sample.name = sample.labels.remove("__name__")?;
        Some(sample)
    }

    /// Takes in what one target shows.
    fn take_in(&mut self, (address, labels): &Target, shown: Exposition, asked_at: Timestamp) {
        let own = |of: &mut Labels| {
            for (name, value) in labels {
                of.entry(name.clone()).or_insert_with(|| value.clone());
            }
            of.entry("instance".to_owned()).or_insert_with(|| address.clone());
        };
        let types = Exposition { types: shown.types, ..Exposition::default() };
        // The buckets of a classic histogram come one by one; each series' together make its distribution.
        let mut classic: HashMap<(usize, String), Vec<(f64, f64)>> = HashMap::new();
        for mut sample in shown.samples {
            own(&mut sample.labels);
            let Some(sample) = self.relabel(sample) else { continue };
            for (index, state) in self.asks.iter_mut().enumerate() {
                let of_bucket = state.ask.quantile.is_some()
                    && sample.name.strip_suffix("_bucket") == Some(state.ask.metric.as_str());
                let of_value = state.ask.quantile.is_none() && sample.name == state.ask.metric;
                if !(of_bucket || of_value) || !matches(&state.ask.labels, &sample.labels) {
                    continue;
                }
                if of_bucket {
                    let mut labels = sample.labels.clone();
                    let Some(bound) = labels.remove("le").and_then(|le| le.parse().ok()) else { continue };
                    classic.entry((index, format!("{labels:?}"))).or_default().push((bound, sample.value));
                } else if types.is_counter(&sample.name) {
                    let series = state.series.entry(format!("{:?}", sample.labels)).or_default();
                    series.total.push(sample.at.unwrap_or(asked_at), sample.value, state.window);
                    series.seen = Some(asked_at);
                } else {
                    state.values.push((sample.at.unwrap_or(asked_at), sample.value));
                }
            }
        }
        for ((index, key), mut cumulated) in classic {
            cumulated.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let (mut lower, mut below) = (0.0, 0.0);
            let mut buckets = Vec::with_capacity(cumulated.len());
            for (upper, count) in cumulated {
                // The lowest bucket reaches down to 0 where its bound is positive, as Prometheus reckons.
                let from = if buckets.is_empty() && upper <= 0.0 { upper } else { lower };
                buckets.push(Bucket { lower: from, upper, count: count - below });
                (lower, below) = (upper, count);
            }
            if let Some(state) = self.asks.get_mut(index) {
                state.distribution(key, &buckets, None, asked_at);
            }
        }
        for mut native in shown.natives {
            own(&mut native.labels);
            let sample = Sample { name: native.name, labels: native.labels, value: 0.0, at: None };
            let Some(sample) = self.relabel(sample) else { continue };
            for state in &mut self.asks {
                if state.ask.quantile.is_some()
                    && sample.name == state.ask.metric
                    && matches(&state.ask.labels, &sample.labels)
                {
                    let key = format!("{:?}", sample.labels);
                    state.distribution(key, &native.buckets, Some(native.schema), asked_at);
                }
            }
        }
    }
}

#[async_trait]
impl Reader for Scrape {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let targets = self.targets().await?;
        let path = self.settings.path.clone().unwrap_or_else(|| "/metrics".to_owned());
        let (deadline, accept) = (self.deadline, self.accept);
        let mut questions = Vec::with_capacity(targets.len());
        for target in &targets {
            let client = self.client(&target.0)?;
            questions.push((target.clone(), client));
        }
        // Of targets that are gone no connection is kept.
        self.clients.clear();
        for state in &mut self.asks {
            state.values.clear();
        }
        let path = path.as_str();
        let asked = futures_util::stream::iter(questions).map(|(target, mut client)| async move {
            let asked_at = now();
            let answer = tokio::time::timeout(deadline, client.get(path, accept)).await;
            let answer = answer
                .unwrap_or_else(|_| {
                    let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
                    Err(ReadError::Deadline(Span::millis(ms)))
                })
                .and_then(|answer| {
                    let content_type = answer.content_type.clone();
                    Ok((content_type, answer.good()?))
                });
            (target, client, asked_at, answer)
        });
        let mut answers = asked.buffer_unordered(AT_ONCE);
        let mut taken = Vec::new();
        let mut failed: Vec<(String, ReadError)> = Vec::new();
        let wanted: Wanted<'_> = self.wanted.as_ref();
        let mut clients = Vec::new();
        while let Some((target, client, asked_at, answer)) = answers.next().await {
            let shown = answer.and_then(|(content_type, body)| {
                exposition::parse(&body, &content_type, wanted).map_err(ReadError::Garbage)
            });
            match shown {
                Ok(shown) => {
                    clients.push((target.0.clone(), client));
                    taken.push((target, shown, asked_at));
                }
                Err(error) => failed.push((target.0, error)),
            }
        }
        drop(answers);
        self.clients.extend(clients);
        if taken.is_empty()
            && let Some((_, error)) = failed.first()
        {
            return Err(error.clone());
        }
        for (target, shown, asked_at) in taken {
            self.take_in(&target, shown, asked_at);
        }
        let at = now();
        let missing = failed.first().map(|(target, error)| {
            Absence::SourceFailed(format!(
                "{} of {} targets can't be read: {target}: {error}",
                failed.len(),
                targets.len()
            ))
        });
        Ok(self.asks.iter_mut().map(|state| state.figure(at, missing.as_ref())).collect())
    }
}

/// Whether a series has all the labels that are asked for.
fn matches(asked: &Labels, labels: &Labels) -> bool {
    asked.iter().all(|(name, value)| labels.get(name) == Some(value))
}

impl Rule {
    fn new(rule: &Relabel) -> Result<Self, ReadError> {
        let regex = Regex::new(&format!("^(?s:{})$", rule.regex))
            .map_err(|e| ReadError::Setup(format!("the expression {:?} can't be read: {e}", rule.regex)))?;
        Ok(Self { rule: rule.clone(), regex })
    }

    /// Changes labels; false where the series is dropped.
    fn apply(&self, labels: &mut Labels) -> bool {
        let rule = &self.rule;
        let values: Vec<&str> =
            rule.source_labels.iter().map(|name| labels.get(name).map_or("", String::as_str)).collect();
        let joined = values.join(&rule.separator);
        match rule.action {
            RelabelAction::Keep => self.regex.is_match(&joined),
            RelabelAction::Drop => !self.regex.is_match(&joined),
            RelabelAction::Replace => {
                if let (Some(target), Some(groups)) = (&rule.target_label, self.regex.captures(&joined)) {
                    let mut value = String::new();
                    groups.expand(&rule.replacement, &mut value);
                    if value.is_empty() {
                        labels.remove(target);
                    } else {
                        labels.insert(target.clone(), value);
                    }
                }
                true
            }
            RelabelAction::LabelDrop => {
                labels.retain(|name, _| name == "__name__" || !self.regex.is_match(name));
                true
            }
            RelabelAction::LabelMap => {
                let mapped: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| {
                        let mut new = String::new();
                        self.regex.captures(name)?.expand(&rule.replacement, &mut new);
                        Some((new, value.clone()))
                    })
                    .collect();
                labels.extend(mapped);
                true
            }
        }
    }
}

impl State {
    fn distribution(&mut self, key: String, buckets: &[Bucket], schema: Option<i32>, at: Timestamp) {
        let series = self.series.entry(key).or_default();
        if series.schema != schema {
            // Another resolution has other buckets; the past can't be told in them.
            *series = Series { schema, ..Series::default() };
        }
        for bucket in buckets {
            let (_, total) = series.buckets.entry(Bound::of(bucket.upper)).or_insert_with(|| {
                let mut total = Total::default();
                // A sparse bucket that was not there was empty.
                if let Some(before) = series.seen {
                    total.push(before, 0.0, self.window);
                }
                (*bucket, total)
            });
            total.push(at, bucket.count, self.window);
        }
        series.seen = Some(at);
    }

    fn figure(&mut self, at: Timestamp, missing: Option<&Absence>) -> Figure {
        let forget = self.window.times(2);
        self.series.retain(|_, series| series.seen.is_some_and(|seen| at.since(seen) <= forget));
        if let Some(quantile) = self.ask.quantile {
            return self.quantile(quantile, at);
        }
        if let (SeriesCombine::Sum, Some(missing)) = (self.ask.combine, missing) {
            return Err(missing.clone());
        }
        let rates =
            self.series.values().filter_map(|s| Some((s.total.last_seen()?, s.total.growth()?.per_second())));
        let all: Vec<(Timestamp, f64)> = self.values.iter().copied().chain(rates).collect();
        // The oldest part is what the whole is as old as.
        let oldest = all.iter().map(|(at, _)| *at).min().ok_or(Absence::Empty)?;
        let values = all.iter().map(|(_, value)| *value);
        if values.clone().any(f64::is_nan) {
            return Err(Absence::NotANumber);
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousand series")]
        let value = match self.ask.combine {
            SeriesCombine::Sum => values.sum(),
            SeriesCombine::Mean => values.sum::<f64>() / all.len() as f64,
            SeriesCombine::Max => values.fold(f64::NEG_INFINITY, f64::max),
            SeriesCombine::Min => values.fold(f64::INFINITY, f64::min),
        };
        Ok((oldest, value))
    }

    fn quantile(&self, quantile: Quantile, at: Timestamp) -> Figure {
        let mut merged: BTreeMap<Bound, Bucket> = BTreeMap::new();
        for (bound, (bucket, total)) in self.series.values().flat_map(|series| &series.buckets) {
            if let Some(growth) = total.growth() {
                let all = merged.entry(*bound).or_insert(Bucket { count: 0.0, ..*bucket });
                all.count += growth.by;
            }
        }
        if merged.is_empty() {
            return Err(Absence::Empty);
        }
        let buckets: Vec<Bucket> = merged.into_values().collect();
        let native = self.series.values().any(|series| series.schema.is_some());
        let share = match quantile {
            Quantile::P50 => 0.5,
            Quantile::P95 => 0.95,
            Quantile::P99 => 0.99,
        };
        quantile_of(&buckets, share, native).map(|value| (at, value)).ok_or(Absence::Idle)
    }
}

/// The value below which `share` of what the buckets hold lies, as `histogram_quantile` reckons: evenly spread within
/// a classic bucket, exponentially within a native one. `None` where they hold nothing.
fn quantile_of(buckets: &[Bucket], share: f64, native: bool) -> Option<f64> {
    let all: f64 = buckets.iter().map(|b| b.count.max(0.0)).sum();
    if all <= 0.0 {
        return None;
    }
    let rank = all * share;
    let mut below = 0.0;
    for bucket in buckets.iter().filter(|b| b.count > 0.0) {
        if below + bucket.count >= rank {
            if bucket.upper.is_infinite() {
                return Some(bucket.lower);
            }
            let part = ((rank - below) / bucket.count).clamp(0.0, 1.0);
            return Some(if native && bucket.lower > 0.0 {
                bucket.lower * (bucket.upper / bucket.lower).powf(part)
            } else {
                bucket.lower + (bucket.upper - bucket.lower) * part
            });
        }
        below += bucket.count;
    }
    buckets.last().map(|bucket| if bucket.upper.is_finite() { bucket.upper } else { bucket.lower })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(relabel: Vec<Relabel>, asks: Vec<ScrapeAsk>) -> Scrape {
        let settings =
            ScrapeSettings { targets: vec!["a:1".to_owned()], relabel, ..ScrapeSettings::default() };
        let want =
            |ask| Want { ask: Ask::Scrape(ask), window: Span::seconds(10), fresh_for: Span::seconds(3) };
        let wants: Vec<Want> = asks.into_iter().map(want).collect();
        Scrape::new(&settings, Span::seconds(1), &wants, Path::new("/")).unwrap()
    }

    fn ask(metric: &str) -> ScrapeAsk {
        ScrapeAsk {
            from: "apps".parse().unwrap(),
            metric: metric.to_owned(),
            labels: Labels::new(),
            quantile: None,
            combine: SeriesCombine::Sum,
        }
    }

    fn rule(json: &str) -> Relabel {
        serde_json::from_str(json).unwrap()
    }

    fn round(scrape: &mut Scrape, second: i64, targets: &[(&str, &str)]) -> Vec<Result<f64, Absence>> {
        scrape.asks.iter_mut().for_each(|state| state.values.clear());
        let at = Timestamp::from_millis(second * 1000);
        for (address, text) in targets {
            let shown = exposition::parse(text.as_bytes(), "text/plain", scrape.wanted.as_ref()).unwrap();
            scrape.take_in(&((*address).to_owned(), Labels::new()), shown, at);
        }
        scrape.asks.iter_mut().map(|state| state.figure(at, None).map(|(_, value)| value)).collect()
    }

    /// A12: counters are turned into rates, resets handled; gauges; several targets.
    #[test]
    fn counters_of_all_targets_become_one_rate() {
        let mut scrape = scrape(
            Vec::new(),
            vec![ask("req_total"), ScrapeAsk { combine: SeriesCombine::Max, ..ask("depth") }],
        );
        let show = |n: u64, depth: u64| {
            format!("# TYPE req_total counter\nreq_total{{code=\"200\"}} {n}\ndepth {depth}\nother 1\n")
        };
        let first = round(&mut scrape, 0, &[("a:1", &show(100, 5)), ("b:1", &show(10, 7))]);
        assert_eq!(first, [Err(Absence::Empty), Ok(7.0)], "a rate needs two rounds");
        let second = round(&mut scrape, 1, &[("a:1", &show(150, 5)), ("b:1", &show(20, 1))]);
        assert_eq!(second, [Ok(60.0), Ok(5.0)]);
        // The second was restarted: 20 fell to 4.
        let third = round(&mut scrape, 2, &[("a:1", &show(200, 5)), ("b:1", &show(4, 1))]);
        assert_eq!(third[0], Ok(57.0));
    }

    /// A12: quantiles of classic histograms, over what came within the window.
    #[test]
    fn classic_histograms_become_quantiles() {
        let mut scrape = scrape(Vec::new(), vec![ScrapeAsk { quantile: Some(Quantile::P95), ..ask("lat") }]);
        let show = |a: u64, b: u64, c: u64| {
            format!(
                "lat_bucket{{le=\"0.1\"}} {a}\nlat_bucket{{le=\"0.5\"}} {b}\nlat_bucket{{le=\"+Inf\"}} {c}\nlat_count {c}\n"
            )
        };
        assert_eq!(round(&mut scrape, 0, &[("a:1", &show(1000, 1000, 1000))]), [Err(Absence::Empty)]);
        assert_eq!(round(&mut scrape, 1, &[("a:1", &show(1000, 1000, 1000))]), [Err(Absence::Idle)]);
        let busy = round(&mut scrape, 2, &[("a:1", &show(1090, 1100, 1100))]);
        assert!((busy[0].clone().unwrap() - 0.3).abs() < 1e-9, "{busy:?}");
        // What is above all bounds is at least the largest.
        assert_eq!(round(&mut scrape, 3, &[("a:1", &show(1090, 1100, 2100))]), [Ok(0.5)]);
    }

    /// A12: native histograms have exponential buckets.
    #[test]
    fn native_buckets_are_spread_exponentially() {
        let buckets =
            [Bucket { lower: 1.0, upper: 2.0, count: 1.0 }, Bucket { lower: 2.0, upper: 4.0, count: 1.0 }];
        assert_eq!(quantile_of(&buckets, 0.5, true), Some(2.0));
        assert!((quantile_of(&buckets, 0.75, true).unwrap() - 8f64.sqrt()).abs() < 1e-12);
        assert_eq!(quantile_of(&buckets, 0.75, false), Some(3.0));
        assert_eq!(quantile_of(&[], 0.5, true), None);
    }

    /// A12: relabelling.
    #[test]
    fn relabelling_keeps_drops_and_renames() {
        let rules = vec![
            rule(r#"{"sourceLabels": ["__name__", "code"], "regex": "req_total;5..", "action": "drop"}"#),
            rule(r#"{"sourceLabels": ["path"], "regex": "/api/(.*)", "targetLabel": "api"}"#),
            rule(
                r#"{"sourceLabels": ["__name__"], "regex": "old_(.+)", "targetLabel": "__name__", "replacement": "new_$1"}"#,
            ),
            rule(r#"{"regex": "secret", "action": "labelDrop"}"#),
        ];
        let mut scrape = scrape(
            rules,
            vec![
                ScrapeAsk { labels: Labels::from([("api".to_owned(), "users".to_owned())]), ..ask("depth") },
                ask("new_size"),
                ScrapeAsk { labels: Labels::from([("secret".to_owned(), "x".to_owned())]), ..ask("depth") },
                ask("errors"),
            ],
        );
        let text = "depth{path=\"/api/users\",secret=\"x\"} 3\ndepth{path=\"/\"} 4\nold_size 9\nreq_total{code=\"500\"} 1\n";
        let got = round(&mut scrape, 0, &[("a:1", text)]);
        assert_eq!(got, [Ok(3.0), Ok(9.0), Err(Absence::Empty), Err(Absence::Empty)]);
    }

    #[test]
    fn nothing_to_show_is_not_zero_and_nan_is_no_number() {
        let mut scrape = scrape(Vec::new(), vec![ask("depth")]);
        assert_eq!(round(&mut scrape, 0, &[("a:1", "")]), [Err(Absence::Empty)]);
        assert_eq!(round(&mut scrape, 1, &[("a:1", "depth NaN\n")]), [Err(Absence::NotANumber)]);
        assert_eq!(round(&mut scrape, 2, &[("a:1", "depth 0\n")]), [Ok(0.0)]);
    }

    #[test]
    fn bounds_stand_in_the_order_of_numbers() {
        let values = [f64::NEG_INFINITY, -2.0, -0.5, 0.0, 0.1, 7.0, f64::INFINITY];
        assert!(values.windows(2).all(|pair| Bound::of(pair[0]) < Bound::of(pair[1])));
    }
}
