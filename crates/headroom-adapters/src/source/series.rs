//! What signals make of series, wherever they come from: rates of counters, quantiles of histograms, one number of many.

use std::collections::{BTreeMap, HashMap};

use headroom_core::fleet::{Quantile, ScrapeAsk, SeriesCombine};
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};

use super::exposition::{Bucket, Exposition, Labels};
use super::poll::Figure;
use super::rate::Total;

/// The signals of a source, and what each needs of the past.
pub(super) struct Reckoner {
    asks: Vec<State>,
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

impl Reckoner {
    /// Of signals, each with its window.
    pub(super) fn new(asks: impl Iterator<Item = (ScrapeAsk, Span)>) -> Self {
        let state = |(ask, window)| State { ask, window, series: HashMap::new(), values: Vec::new() };
        Self { asks: asks.map(state).collect() }
    }

    /// Begins a round: gauges are of their round alone.
    pub(super) fn begin(&mut self) {
        for state in &mut self.asks {
            state.values.clear();
        }
    }

    /// The figures of the round; `missing` says what of it could not be read.
    pub(super) fn figures(&mut self, at: Timestamp, missing: Option<&Absence>) -> Vec<Figure> {
        self.asks.iter_mut().map(|state| state.figure(at, missing)).collect()
    }

    /// Takes in what is shown, labels and names as they are meant.
    pub(super) fn take_in(&mut self, shown: Exposition, asked_at: Timestamp) {
        let types = Exposition { types: shown.types, ..Exposition::default() };
        // The buckets of a classic histogram come one by one; each series' together make its distribution.
        let mut classic: HashMap<(usize, String), Vec<(f64, f64)>> = HashMap::new();
        for sample in shown.samples {
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
        for native in shown.natives {
            for state in &mut self.asks {
                if state.ask.quantile.is_some()
                    && native.name == state.ask.metric
                    && matches(&state.ask.labels, &native.labels)
                {
                    let key = format!("{:?}", native.labels);
                    state.distribution(key, &native.buckets, Some(native.schema), asked_at);
                }
            }
        }
    }
}

/// Whether a series has all the labels that are asked for.
fn matches(asked: &Labels, labels: &Labels) -> bool {
    asked.iter().all(|(name, value)| labels.get(name) == Some(value))
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

    #[test]
    fn bounds_stand_in_the_order_of_numbers() {
        let values = [f64::NEG_INFINITY, -2.0, -0.5, 0.0, 0.1, 7.0, f64::INFINITY];
        assert!(values.windows(2).all(|pair| Bound::of(pair[0]) < Bound::of(pair[1])));
    }
}
