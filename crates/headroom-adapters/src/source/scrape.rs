//! Metrics fetched from the programs themselves, without a Prometheus in between.
//!
//! A second after a replica is busy its metrics say so; a Prometheus that scrapes every fifteen seconds can't. What is
//! fetched is held only where a signal wants it. A target that can't be read must not look like one without load: a
//! sum over targets is then no number, a mean or a quantile is of those that answered.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use headroom_core::fleet::{Ask, HttpServer, Relabel, RelabelAction, ScrapeAsk, ScrapeSettings};
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use regex::Regex;
use serde::Deserialize;

use super::exposition::{self, Exposition, Labels, Native, Sample, Wanted};
use super::poll::{Figure, ReadError, Reader, Want};
use super::series::Reckoner;
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
    reckoner: Reckoner,
    /// Names that some ask can use; `None` where relabelling may make a name.
    wanted: Option<HashSet<String>>,
    accept: &'static str,
}

/// A rule of relabelling, its expression compiled.
struct Rule {
    rule: Relabel,
    regex: Regex,
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
        let asks = asks.into_iter().cloned().zip(wants.iter().map(|want| want.window));
        Ok(Self {
            settings: settings.clone(),
            base: base.to_owned(),
            deadline: deadline.as_std().mul_f64(0.9),
            rules,
            clients: HashMap::new(),
            reckoner: Reckoner::new(asks),
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
        let ScrapeSettings { tls, ca, client, auth, .. } = &self.settings;
        let with_tls = *tls || ca.is_some() || client.is_some();
        let server = HttpServer {
            url: format!("{}://{target}", if with_tls { "https" } else { "http" }),
            auth: auth.clone(),
            ca: ca.clone(),
            client: client.clone(),
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

    /// Takes in what one target shows, under the labels it has here.
    fn take_in(&mut self, (address, labels): &Target, shown: Exposition, asked_at: Timestamp) {
        let own = |of: &mut Labels| {
            for (name, value) in labels {
                of.entry(name.clone()).or_insert_with(|| value.clone());
            }
            of.entry("instance".to_owned()).or_insert_with(|| address.clone());
        };
        let mut known = Exposition { types: shown.types, ..Exposition::default() };
        for mut sample in shown.samples {
            own(&mut sample.labels);
            known.samples.extend(self.relabel(sample));
        }
        for Native { name, mut labels, schema, buckets } in shown.natives {
            own(&mut labels);
            let relabelled = self.relabel(Sample { name, labels, value: 0.0, at: None });
            let native = |Sample { name, labels, .. }| Native { name, labels, schema, buckets };
            known.natives.extend(relabelled.map(native));
        }
        self.reckoner.take_in(known, asked_at);
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
        self.reckoner.begin();
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
        Ok(self.reckoner.figures(at, missing.as_ref()))
    }
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

#[cfg(test)]
mod tests {
    use headroom_core::fleet::{Quantile, SeriesCombine};

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
        scrape.reckoner.begin();
        let at = Timestamp::from_millis(second * 1000);
        for (address, text) in targets {
            let shown = exposition::parse(text.as_bytes(), "text/plain", scrape.wanted.as_ref()).unwrap();
            scrape.take_in(&((*address).to_owned(), Labels::new()), shown, at);
        }
        let figures = scrape.reckoner.figures(at, None);
        figures.into_iter().map(|figure| figure.map(|(_, value)| value)).collect()
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
}
