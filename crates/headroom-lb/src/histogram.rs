//! Latency histograms that merge by addition.
//!
//! Worker threads count, the pusher adds, the controller adds again over replicas or time; quantiles
//! are read only at the end. That is right for histograms and wrong for quantiles, which is why the
//! counts travel and not only p99.
//!
//! # Bucket layout (part of the control protocol, version 1)
//! Values are whole microseconds. Buckets 0 to 63 hold exactly the value of their index. From 64 µs on
//! each doubling is cut into 32 equal buckets: for `v >= 64` with `e = floor(log2 v)`, the index is
//! `(e - 4) * 32 + (v >> (e - 5)) - 32`, so a bucket is at most 1/32 (3.1 %) of its value wide.
//! Values from 2³² µs (71 min) on count in the last bucket, [`BUCKETS`]` - 1`.
//!
//! It refuses to keep exact values, or a minimum and maximum: neither merges over a sliding window.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Buckets of every histogram.
pub const BUCKETS: usize = 28 * 32;

/// Largest value told apart, in microseconds.
const LARGEST: u64 = (1 << 32) - 1;

/// Index of the bucket of a value in microseconds.
#[must_use]
pub fn bucket_of(micros: u64) -> usize {
    let v = micros.min(LARGEST);
    if v < 64 {
        return v as usize;
    }
    let e = 63 - v.leading_zeros() as usize;
    (e - 4) * 32 + (v >> (e - 5)) as usize - 32
}

/// Least and greatest value, in microseconds, of a bucket. The last one has no upper end; what it
/// says is the greatest value told apart.
///
/// # Panics
/// If `bucket` is not below [`BUCKETS`].
#[must_use]
pub fn range_of(bucket: usize) -> (u64, u64) {
    assert!(bucket < BUCKETS, "a bucket index is below {BUCKETS}");
    if bucket < 64 {
        return (bucket as u64, bucket as u64);
    }
    let e = bucket / 32 + 4;
    let low = (bucket as u64 % 32 + 32) << (e - 5);
    (low, low + (1 << (e - 5)) - 1)
}

/// Counts written by one thread and read by another.
#[derive(Debug)]
pub(crate) struct Shared {
    counts: Box<[AtomicU64; BUCKETS]>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { counts: Box::new([const { AtomicU64::new(0) }; BUCKETS]) }
    }
}

impl Shared {
    /// Counts one value. Only one thread may call this: it loads and stores without a locked
    /// instruction.
    pub(crate) fn record(&self, micros: u64) {
        let count = &self.counts[bucket_of(micros)];
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Adds all counts to `into`.
    pub(crate) fn add_to(&self, into: &mut Histogram) {
        for (sum, count) in into.counts.iter_mut().zip(self.counts.iter()) {
            *sum += count.load(Relaxed);
        }
    }
}

/// A histogram: counts per bucket. As JSON it is a flat list of pairs `[bucket, count, bucket,
/// count, …]` with rising buckets and no zero counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts one value, in microseconds.
    pub fn record(&mut self, micros: u64) {
        self.counts[bucket_of(micros)] += 1;
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a = a.saturating_add(*b);
        }
    }

    /// Takes another histogram's counts away, each down to zero at the least.
    pub fn subtract(&mut self, other: &Self) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a = a.saturating_sub(*b);
        }
    }

    /// The same counts in the room they need: for keeping many.
    #[must_use]
    pub fn sparse(&self) -> Sparse {
        Sparse(self.filled().collect())
    }

    /// As [`Self::merge`] for a sparse one.
    pub fn merge_sparse(&mut self, other: &Sparse) {
        for (bucket, count) in &other.0 {
            self.counts[*bucket] = self.counts[*bucket].saturating_add(*count);
        }
    }

    /// As [`Self::subtract`] for a sparse one.
    pub fn subtract_sparse(&mut self, other: &Sparse) {
        for (bucket, count) in &other.0 {
            self.counts[*bucket] = self.counts[*bucket].saturating_sub(*count);
        }
    }

    /// The value, in microseconds, that at least the share `q` of all values does not exceed: the upper
    /// end of its bucket, so never too low and at most 3.1 % too high. `None` without values: an
    /// unknown latency is not 0. `q` outside 0 to 1, or NaN, counts as the nearer end.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|&c| {
            seen += c;
            seen >= rank
        })?;
        Some(range_of(bucket).1)
    }

    /// Buckets that are not empty, in rising order, with their counts.
    pub fn filled(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, c)| **c > 0).map(|(i, c)| (i, *c))
    }
}

/// A histogram without its empty buckets. An interval of a tenth of a second fills few of the 896: a minute of them takes
/// kilobytes, not megabytes, and adding them up costs what was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse(Box<[(usize, u64)]>);

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.filled().flat_map(|(i, c)| [i as u64, c]))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let flat = Vec::<u64>::deserialize(d)?;
        let mut histogram = Self::default();
        if flat.len() % 2 != 0 {
            return Err(de::Error::custom("a histogram is a list of pairs: bucket, count, bucket, count, …"));
        }
        for pair in flat.chunks_exact(2) {
            let bucket = usize::try_from(pair[0]).ok().filter(|b| *b < BUCKETS);
            let bucket = bucket.ok_or_else(|| de::Error::custom("a histogram's bucket is below 896"))?;
            histogram.counts[bucket] = histogram.counts[bucket].saturating_add(pair[1]);
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_touch_without_gap_or_overlap() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (low, high) = range_of(bucket);
            assert_eq!(low, next, "bucket {bucket}");
            assert_eq!((bucket_of(low), bucket_of(high)), (bucket, bucket));
            next = high + 1;
        }
        assert_eq!(next, LARGEST + 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_bucket_is_at_most_a_thirty_second_of_its_value_wide() {
        for bucket in 64..BUCKETS {
            let (low, high) = range_of(bucket);
            assert!((high - low + 1) * 32 <= low, "bucket {bucket}");
        }
    }

    #[test]
    fn quantiles_are_never_too_low_and_absent_without_values() {
        let mut h = Histogram::default();
        assert_eq!(h.quantile(0.5), None);
        for v in 1..=1000 {
            h.record(v);
        }
        for (q, exact) in [(0.0, 1), (0.5, 500), (0.95, 950), (0.99, 990), (1.0, 1000), (f64::NAN, 1)] {
            let got = h.quantile(q).unwrap();
            assert!(got >= exact && got as f64 <= exact as f64 * 1.032 + 1.0, "q={q}: {got} for {exact}");
        }
    }

    #[test]
    fn merging_equals_counting_together_and_json_loses_nothing() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for v in [0, 1, 63, 64, 65, 1_000_000, u64::MAX] {
            a.record(v);
            b.record(v / 3);
            both.record(v);
            both.record(v / 3);
        }
        a.merge(&b);
        assert_eq!(a, both);
        let json = serde_json::to_string(&a).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), a);
        a.subtract(&b);
        assert_eq!(a.count(), 7);
        let before = a.clone();
        a.merge_sparse(&b.sparse());
        assert_eq!(a, both);
        a.subtract_sparse(&b.sparse());
        assert_eq!(a, before);
        assert!(serde_json::from_str::<Histogram>("[1]").is_err());
        assert!(serde_json::from_str::<Histogram>("[896,1]").is_err());
    }
}
