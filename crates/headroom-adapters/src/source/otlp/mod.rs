//! Metrics that programs and collectors push here over OTLP.
//!
//! Only what a policy names is kept, so a sender can fill no memory. Each series' last point stands until another
//! comes, with its own moment, and grows old as any value does. From there on it is as if it had been scraped: rates,
//! quantiles and sums over series are reckoned in the same place ([`series`](super::series)).

mod intake;
mod wire;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use headroom_core::fleet::{Ask, OtlpAsk, OtlpSettings, ScrapeAsk};
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::intake::Intake;
use self::wire::{
    DELTA, ExponentialPoint, Export, HistogramPoint, KeyValue, Metric, NO_VALUE, NumberPoint, Numbers,
};
use super::exposition::{Bucket, Exposition, Labels, MOST_BUCKETS, Native, Sample, Type};
use super::poll::{Figure, ReadError, Reader, Want};
use super::refusals::Refusals;
use super::series::Reckoner;
use crate::accept::Acceptor;

/// Series kept at the most; those beyond are refused, and the sender is told.
const MOST_SERIES: usize = 10_000;
/// Bytes of labels and buckets kept at the most, all series together.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Takes in what is pushed.
pub struct Otlp {
    settings: OtlpSettings,
    reckoner: Reckoner,
    /// How old each figure may be.
    fresh_for: Vec<Span>,
    store: Arc<Mutex<Store>>,
    tls: Option<Arc<Acceptor>>,
    intake: Arc<Intake>,
    listener: Option<JoinHandle<()>>,
}

impl Otlp {
    /// Takes in what is wanted. Files are relative to `base`.
    ///
    /// # Errors
    /// Where something else is wanted.
    pub fn new(settings: &OtlpSettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&OtlpAsk> = super::asks(wants, |ask| match ask {
            Ask::Otlp(ask) => Some(ask),
            _ => None,
        })?;
        let wanted = asks.iter().map(|ask| ask.metric.clone()).collect();
        let forget = wants.iter().map(|want| want.fresh_for).max().unwrap_or(Span::ZERO);
        let asks = asks.into_iter().zip(wants).map(|(ask, want)| (as_scraped(ask), want.window));
        let store = Arc::new(Mutex::new(Store { wanted, forget, ..Store::default() }));
        let tls =
            settings.tls.clone().map(|files| Arc::new(Acceptor::new(files, base, &[b"h2", b"http/1.1"])));
        let intake = Intake::new(Arc::clone(&store), tls.clone(), settings.token.clone(), base.to_owned());
        Ok(Self {
            settings: settings.clone(),
            reckoner: Reckoner::new(asks),
            fresh_for: wants.iter().map(|want| want.fresh_for).collect(),
            store,
            tls,
            intake: Arc::new(intake),
            listener: None,
        })
    }

    async fn listen(&mut self) -> Result<(), ReadError> {
        if self.listener.as_ref().is_some_and(|listener| !listener.is_finished()) {
            return Ok(());
        }
        let listen = self.settings.listen;
        if let Some(tls) = &self.tls {
            tls.config()
                .await
                .map_err(|why| ReadError::Setup(format!("TLS can't be spoken at {listen}: {why}")))?;
        }
        let socket = TcpListener::bind(listen)
            .await
            .map_err(|e| ReadError::Setup(format!("metrics can't be taken in at {listen}: {e}")))?;
        // A socket that fails ends the task; the next round binds it anew.
        self.listener = Some(tokio::spawn(Arc::clone(&self.intake).run(socket)));
        Ok(())
    }
}

impl Drop for Otlp {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

/// What a signal makes of its series is the same wherever they come from.
fn as_scraped(ask: &OtlpAsk) -> ScrapeAsk {
    let OtlpAsk { from, metric, labels, quantile, combine } = ask.clone();
    ScrapeAsk { from, metric, labels, quantile, combine }
}

#[async_trait]
impl Reader for Otlp {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        self.listen().await?;
        let at = now();
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        self.reckoner.begin();
        self.reckoner.take_in(store.shown(at), at);
        let explained = |(figure, fresh_for): (Figure, &Span)| store.refusals.explain(figure, *fresh_for, at);
        Ok(self.reckoner.figures(at, None).into_iter().zip(&self.fresh_for).map(explained).collect())
    }
}

/// The last point of each series that someone wants.
#[derive(Debug, Default)]
struct Store {
    wanted: HashSet<String>,
    /// A series that was not heard of for so long is gone: its value could not be acted on, and one that ended must not
    /// make the others look old.
    forget: Span,
    series: HashMap<(String, Labels), Kept>,
    refusals: Refusals,
    /// About how many bytes they are.
    held: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    /// When it came.
    heard: Timestamp,
    /// Of which moment it is.
    at: Timestamp,
    point: Point,
}

#[derive(Clone, Debug, PartialEq)]
enum Point {
    Gauge(f64),
    /// What came since the start.
    Counter(f64),
    /// The upper bounds, and how many came up to each since the start.
    Classic(Vec<(f64, f64)>),
    /// The resolution, and the buckets since the start.
    Native(i32, Vec<Bucket>),
}

impl Store {
    /// Takes in a request; gives how many points had no room.
    fn take_in(&mut self, export: &Export, heard: Timestamp) -> usize {
        let mut refused = 0;
        for of in &export.resource_metrics {
            let resource = of.resource.as_ref().map_or(&[][..], |r| r.attributes.as_slice());
            for metric in of.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                if self.wanted.contains(&metric.name) {
                    for (attributes, nanos, delta, point) in points(metric) {
                        let key = (metric.name.clone(), wire::labels(resource, attributes));
                        refused += usize::from(!self.keep(key, heard, moment(nanos, heard), delta, point));
                    }
                }
            }
        }
        refused
    }

    /// Keeps a point, or forgets the series where there is none; false where there is no room.
    fn keep(
        &mut self,
        key: (String, Labels),
        heard: Timestamp,
        at: Timestamp,
        delta: bool,
        point: Option<Point>,
    ) -> bool {
        let Some(mut point) = point else {
            let gone = self.series.remove(&key).map_or(0, |gone| gone.point.weight() + weight(&key));
            self.held = self.held.saturating_sub(gone);
            return true;
        };
        let known = self.series.get(&key);
        if known.is_some_and(|known| known.at >= at) {
            // Sent again, or too late.
            return true;
        }
        if known.is_none() && self.series.len() >= MOST_SERIES {
            return false;
        }
        let before = known.map_or(0, |known| known.point.weight() + weight(&key));
        if let Some(known) = known.filter(|_| delta) {
            point = point.after(&known.point);
        }
        let held = self.held.saturating_sub(before) + point.weight() + weight(&key);
        if held > MOST_BYTES && held > self.held {
            return false;
        }
        self.held = held;
        self.series.insert(key, Kept { heard, at, point });
        true
    }

    /// All that is known, as a program would show it.
    fn shown(&mut self, at: Timestamp) -> Exposition {
        let forget = self.forget;
        let held = &mut self.held;
        self.series.retain(|key, kept| {
            let stays = at.since(kept.heard) <= forget;
            if !stays {
                *held = held.saturating_sub(kept.point.weight() + weight(key));
            }
            stays
        });
        let mut shown = Exposition::default();
        for ((name, labels), kept) in &self.series {
            let (name, labels) = (name.clone(), labels.clone());
            let at = Some(kept.at);
            let kind = match &kept.point {
                Point::Gauge(_) => Type::Gauge,
                Point::Counter(_) => Type::Counter,
                Point::Classic(_) | Point::Native(..) => Type::Distribution,
            };
            shown.types.insert(name.clone(), kind);
            match &kept.point {
                Point::Gauge(value) | Point::Counter(value) => {
                    shown.samples.push(Sample { name, labels, value: *value, at });
                }
                Point::Classic(buckets) => {
                    for (bound, count) in buckets {
                        let mut labels = labels.clone();
                        labels.insert("le".to_owned(), bound.to_string());
                        shown.samples.push(Sample {
                            name: format!("{name}_bucket"),
                            labels,
                            value: *count,
                            at,
                        });
                    }
                }
                Point::Native(schema, buckets) => {
                    shown.natives.push(Native { name, labels, schema: *schema, buckets: buckets.clone() });
                }
            }
        }
        shown
    }
}

/// About how many bytes a series' name and labels take.
fn weight((name, labels): &(String, Labels)) -> usize {
    labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() + name.len()
}

impl Point {
    fn weight(&self) -> usize {
        match self {
            Self::Gauge(_) | Self::Counter(_) => size_of::<Self>(),
            Self::Classic(buckets) => size_of_val(buckets.as_slice()),
            Self::Native(_, buckets) => size_of_val(buckets.as_slice()),
        }
    }

    /// What came since the start, if `self` came after `before`; of another shape, it begins anew.
    fn after(self, before: &Self) -> Self {
        match (self, before) {
            (Self::Counter(more), Self::Counter(before)) => Self::Counter(before + more),
            (Self::Classic(more), Self::Classic(before))
                if more.len() == before.len()
                    && more.iter().zip(before).all(|(a, b)| a.0.total_cmp(&b.0).is_eq()) =>
            {
                Self::Classic(more.iter().zip(before).map(|((bound, a), (_, b))| (*bound, a + b)).collect())
            }
            (Self::Native(schema, mut more), Self::Native(same, before)) if schema == *same => {
                for old in before {
                    match more.iter_mut().find(|new| new.upper.total_cmp(&old.upper).is_eq()) {
                        Some(new) => new.count += old.count,
                        None => more.push(*old),
                    }
                }
                more.truncate(MOST_BUCKETS);
                Self::Native(schema, more)
            }
            (other, _) => other,
        }
    }
}

/// A point: its attributes, its moment, whether it counts from the last one, and what it says.
type Read<'a> = (&'a [KeyValue], u64, bool, Option<Point>);

/// The points of a metric.
fn points(metric: &Metric) -> Vec<Read<'_>> {
    let mut all = Vec::new();
    let is_delta = |temporality| temporality == DELTA;
    for gauge in metric.gauge.iter().flat_map(|g| &g.data_points) {
        all.push((gauge.attributes.as_slice(), gauge.time_unix_nano, false, number(gauge).map(Point::Gauge)));
    }
    if let Some(Numbers { data_points, aggregation_temporality, is_monotonic }) = &metric.sum {
        let delta = is_delta(*aggregation_temporality);
        for point in data_points {
            // A sum of steps up and down can't be told without its beginning.
            let kind = match (*is_monotonic, delta) {
                (true, _) => Point::Counter,
                (false, false) => Point::Gauge,
                (false, true) => continue,
            };
            all.push((point.attributes.as_slice(), point.time_unix_nano, delta, number(point).map(kind)));
        }
    }
    if let Some(histogram) = &metric.histogram {
        let delta = is_delta(histogram.aggregation_temporality);
        for point in &histogram.data_points {
            all.push((point.attributes.as_slice(), point.time_unix_nano, delta, classic(point)));
        }
    }
    if let Some(histogram) = &metric.exponential_histogram {
        let delta = is_delta(histogram.aggregation_temporality);
        for point in &histogram.data_points {
            all.push((point.attributes.as_slice(), point.time_unix_nano, delta, native(point)));
        }
    }
    all
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn number(point: &NumberPoint) -> Option<f64> {
    let value = point.as_double.or_else(|| point.as_int.map(|n| n as f64));
    value.filter(|value| value.is_finite() && point.flags & NO_VALUE == 0)
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn classic(point: &HistogramPoint) -> Option<Point> {
    let fits = point.bucket_counts.len() == point.explicit_bounds.len() + 1;
    if point.flags & NO_VALUE != 0 || !fits || point.bucket_counts.len() > MOST_BUCKETS {
        return None;
    }
    let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
    let below = point.bucket_counts.iter().scan(0.0, |sum, count| {
        *sum += *count as f64;
        Some(*sum)
    });
    Some(Point::Classic(bounds.zip(below).collect()))
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn native(point: &ExponentialPoint) -> Option<Point> {
    let sides = [(1.0, &point.positive), (-1.0, &point.negative)];
    let length: usize = sides.iter().filter_map(|(_, side)| Some(side.as_ref()?.bucket_counts.len())).sum();
    if point.flags & NO_VALUE != 0 || length > MOST_BUCKETS {
        return None;
    }
    let bound = |index: i64| 2_f64.powf(index as f64 * 2_f64.powi(-point.scale));
    let mut buckets = Vec::with_capacity(length + 1);
    for (sign, side) in sides {
        let Some(side) = side else { continue };
        for (index, count) in (i64::from(side.offset)..).zip(&side.bucket_counts).filter(|(_, n)| **n > 0) {
            let (near, far) = (sign * bound(index), sign * bound(index + 1));
            buckets.push(Bucket { lower: near.min(far), upper: near.max(far), count: *count as f64 });
        }
    }
    let (threshold, count) = (point.zero_threshold.abs(), point.zero_count as f64);
    buckets.push(Bucket { lower: -threshold, upper: threshold, count });
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    Some(Point::Native(point.scale, buckets))
}

/// A point's moment; one that names none is of when it came.
fn moment(nanos: u64, heard: Timestamp) -> Timestamp {
    match i64::try_from(nanos / 1_000_000) {
        Ok(millis @ 1..) => Timestamp::from_millis(millis),
        _ => heard,
    }
}

#[cfg(test)]
mod tests {
    use super::wire::{AnyValue, ExponentialHistogram, Resource, ResourceMetrics, ScopeMetrics};
    use prost::Message as _;

    use super::*;

    fn store(names: &[&str]) -> Store {
        let wanted = names.iter().map(|n| (*n).to_owned()).collect();
        Store { wanted, forget: Span::hours(1), ..Store::default() }
    }

    fn json(metric: &str) -> Export {
        let text = format!(
            r#"{{"resourceMetrics": [{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
                "scopeMetrics": [{{"scope": {{"name": "x"}}, "metrics": [{metric}]}}], "schemaUrl": "y"}}]}}"#
        );
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    fn sum(temporality: u8, second: u64, value: &str) -> Export {
        json(&format!(
            r#"{{"name": "hits", "unit": "1", "sum": {{"aggregationTemporality": {temporality}, "isMonotonic": true,
               "dataPoints": [{{"startTimeUnixNano": "1", "timeUnixNano": "{second}000000000", {value}}}]}}}}"#
        ))
    }

    fn values(store: &mut Store) -> Vec<(String, f64)> {
        let shown = store.shown(Timestamp::from_millis(0));
        shown.samples.into_iter().map(|s| (s.name, s.value)).collect()
    }

    #[test]
    fn both_formats_say_the_same() {
        let text =
            sum(2, 5, r#""asInt": "7", "attributes": [{"key": "code", "value": {"intValue": "200"}}]"#);
        let binary = Export::decode(text.encode_to_vec().as_slice()).unwrap();
        assert_eq!(text, binary);
        let mut store = store(&["hits"]);
        assert_eq!(store.take_in(&binary, Timestamp::from_millis(9000)), 0);
        let shown = store.shown(Timestamp::from_millis(9000));
        let sample = &shown.samples[0];
        let labels: Vec<_> = sample.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(labels, [("code", "200"), ("service.name", "shop")]);
        assert_eq!((sample.value, sample.at), (7.0, Some(Timestamp::from_millis(5000))));
        assert!(shown.is_counter("hits"));
    }

    /// Protobuf's JSON writes doubles that JSON has no number for as texts.
    #[test]
    fn a_point_that_is_no_number_is_left_out_and_the_others_count() {
        for odd in ["NaN", "Infinity", "-Infinity"] {
            let mut store = store(&["load"]);
            let export = json(&format!(
                r#"{{"name": "load", "gauge": {{"dataPoints": [{{"asDouble": "{odd}"}},
                   {{"asDouble": "2.5", "attributes": [{{"key": "a", "value": {{"doubleValue": "{odd}"}}}}]}}]}}}}"#
            ));
            assert_eq!(store.take_in(&export, Timestamp::from_millis(0)), 0);
            assert_eq!(values(&mut store), [("load".to_owned(), 2.5)], "{odd}");
        }
        let odd = r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "load", "gauge": {"dataPoints": [{"asDouble": "much"}]}}]}]}]}"#;
        assert!(serde_json::from_str::<Export>(odd).is_err());
    }

    #[test]
    fn deltas_add_up_and_what_is_sent_again_counts_once() {
        let mut store = store(&["hits"]);
        for (second, value) in [(1, 5), (2, 3), (2, 3), (1, 9), (3, 1)] {
            store.take_in(&sum(1, second, &format!(r#""asDouble": {value}"#)), Timestamp::from_millis(0));
        }
        assert_eq!(values(&mut store), [("hits".to_owned(), 9.0)]);
        // Cumulative ones stand for themselves, a reset included; a point without a value ends the series.
        store.take_in(&sum(2, 4, r#""asInt": 2"#), Timestamp::from_millis(0));
        assert_eq!(values(&mut store), [("hits".to_owned(), 2.0)]);
        store.take_in(&sum(2, 5, r#""flags": 1"#), Timestamp::from_millis(0));
        assert_eq!(values(&mut store), []);
    }

    #[test]
    fn only_what_is_named_is_kept_and_no_more_than_there_is_room_for() {
        let mut store = store(&["hits"]);
        store.take_in(
            &json(r#"{"name": "other", "gauge": {"dataPoints": [{"asDouble": 1}]}}"#),
            Timestamp::from_millis(0),
        );
        assert!(store.series.is_empty());
        for k in 0..MOST_SERIES + 5 {
            let attribute =
                format!(r#""asInt": 1, "attributes": [{{"key": "id", "value": {{"intValue": {k}}}}}]"#);
            let refused = store.take_in(&sum(2, 1, &attribute), Timestamp::from_millis(0));
            assert_eq!(refused, usize::from(k >= MOST_SERIES), "{k}");
        }
        assert_eq!(store.shown(Timestamp::from_millis(0).plus(Span::hours(2))), Exposition::default());
        assert_eq!(store.held, 0);
        let mut refused = 0;
        for k in 0..20 {
            let long = "x".repeat(2 * 1024 * 1024);
            let attribute = format!(
                r#""asInt": 1, "attributes": [{{"key": "{k}", "value": {{"stringValue": "{long}"}}}}]"#
            );
            refused += store.take_in(&sum(2, 1, &attribute), Timestamp::from_millis(0));
        }
        assert!(refused >= 4 && store.held <= MOST_BYTES, "{refused} of 20, {} bytes", store.held);
    }

    #[test]
    fn explicit_buckets_are_cumulated_and_those_that_do_not_fit_are_none() {
        let histogram = |counts: &str| {
            json(&format!(
                r#"{{"name": "lat", "histogram": {{"aggregationTemporality": 2, "dataPoints": [
                   {{"timeUnixNano": "1000000000", "count": "6", "bucketCounts": {counts}, "explicitBounds": [0.1, 1]}}]}}}}"#
            ))
        };
        let mut store = store(&["lat"]);
        store.take_in(&histogram(r#"["1", 2, "3"]"#), Timestamp::from_millis(0));
        let counts: Vec<f64> = values(&mut store).into_iter().map(|(_, value)| value).collect();
        assert_eq!(counts, [1.0, 3.0, 6.0]);
        store.take_in(&histogram(r#"["1"]"#), Timestamp::from_millis(0));
        assert_eq!(values(&mut store), []);
    }

    #[test]
    fn exponential_buckets_have_the_bounds_of_their_scale() {
        let point = ExponentialPoint {
            time_unix_nano: 1_000_000_000,
            scale: 1,
            zero_count: 2,
            positive: Some(wire::Buckets { offset: -1, bucket_counts: vec![3, 0, 4] }),
            negative: Some(wire::Buckets { offset: 0, bucket_counts: vec![1] }),
            ..ExponentialPoint::default()
        };
        let Some(Point::Native(1, buckets)) = native(&point) else { panic!("it is one") };
        let root = 2_f64.sqrt();
        let expected = [(-root, -1.0, 1.0), (0.0, 0.0, 2.0), (1.0 / root, 1.0, 3.0), (root, 2.0, 4.0)];
        for (bucket, (lower, upper, count)) in buckets.iter().zip(expected) {
            assert!(
                (bucket.lower - lower).abs() < 1e-12 && (bucket.upper - upper).abs() < 1e-12,
                "{bucket:?}"
            );
            assert_eq!(bucket.count, count);
        }
        assert_eq!(buckets.len(), expected.len());
        let metric = Metric {
            name: "lat".to_owned(),
            exponential_histogram: Some(ExponentialHistogram {
                data_points: vec![point],
                aggregation_temporality: DELTA,
            }),
            ..Metric::default()
        };
        let value = Some(AnyValue { bool_value: Some(true), ..AnyValue::default() });
        let resource = Some(Resource { attributes: vec![KeyValue { key: "canary".to_owned(), value }] });
        let scope_metrics = vec![ScopeMetrics { metrics: vec![metric] }];
        let export = Export { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] };
        let mut store = store(&["lat"]);
        store.take_in(&export, Timestamp::from_millis(0));
        let mut later = export;
        later.resource_metrics[0].scope_metrics[0].metrics[0]
            .exponential_histogram
            .as_mut()
            .unwrap()
            .data_points[0]
            .time_unix_nano += 1_000_000_000;
        store.take_in(&later, Timestamp::from_millis(0));
        let native = &store.shown(Timestamp::from_millis(0)).natives[0];
        assert_eq!(native.labels["canary"], "true");
        let counts: Vec<f64> = native.buckets.iter().map(|b| b.count).collect();
        assert_eq!(counts, [2.0, 4.0, 6.0, 8.0], "deltas add up");
    }
}
