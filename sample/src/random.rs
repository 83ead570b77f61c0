//! Random numbers from a seed, one independent stream per purpose.
//!
//! Not for secrets. The generator is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
//! number generators", 2014): 64 bits of state, passes BigCrush, and three lines long, so the same seed
//! gives the same load on every machine and with every version of every library. Streams are set apart
//! by a label: asking for one more fault must not reshuffle the arrivals.

use std::time::Duration;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of `seed` that serves the purpose `label`.
    #[must_use]
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        // FNV-1a over the label, mixed once, so that neighbouring seeds and labels start far apart.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut stream = Self(seed ^ hash);
        Self(stream.next_u64())
    }

    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in [0, 1), of 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from the exponential distribution of mean 1. Never negative, at most about 37.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// A time spread evenly over `middle` ± `spread`, never negative.
    pub(crate) fn around(&mut self, middle: Duration, spread: Duration) -> Duration {
        (middle + spread.mul_f64(2.0 * self.unit())).saturating_sub(spread)
    }
}

/// SplitMix64's finaliser: a bijection that spreads every input bit over all output bits.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_numbers_and_a_label_gives_others() {
        let draw = |seed, label| {
            let mut random = Random::new(seed, label);
            [random.next_u64(), random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(7, "arrivals"), draw(7, "arrivals"));
        assert_ne!(draw(7, "arrivals"), draw(8, "arrivals"));
        assert_ne!(draw(7, "arrivals"), draw(7, "faults"));
    }

    #[test]
    fn the_finaliser_agrees_with_the_published_one() {
        // The first outputs of the reference implementation for seed 0.
        let mut random = Random(0);
        assert_eq!(random.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next_u64(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn means_are_what_they_should_be() {
        let mut random = Random::new(1, "means");
        let count = 100_000;
        let unit = (0..count).map(|_| random.unit()).sum::<f64>() / f64::from(count);
        let exponential = (0..count).map(|_| random.exponential()).sum::<f64>() / f64::from(count);
        assert!((unit - 0.5).abs() < 0.01, "{unit}");
        assert!((exponential - 1.0).abs() < 0.02, "{exponential}");
    }

    #[test]
    fn a_spread_time_stays_within_its_spread() {
        let mut random = Random::new(1, "spread");
        let (middle, spread) = (Duration::from_secs(3), Duration::from_secs(1));
        for _ in 0..1000 {
            let time = random.around(middle, spread);
            assert!(time >= middle - spread && time <= middle + spread, "{time:?}");
            assert!(random.around(Duration::ZERO, spread) <= spread);
        }
        assert_eq!(random.around(middle, Duration::ZERO), middle);
    }
}
