//! Random numbers from a seed.
//!
//! A seed that once showed a bug must show it for ever, on every platform and after every upgrade. The generator
//! is therefore part of this crate and not of a library whose next version may draw other numbers: SplitMix64
//! (Steele, Lea, Flood 2014), 64 bits of state, which passes BigCrush and is enough for arrivals and faults. It
//! is not for secrets.

/// A stream of random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for `purpose`: drawing more numbers for one purpose never moves those of another.
    #[must_use]
    pub fn fork(seed: u64, purpose: &str) -> Self {
        // FNV-1a: the purpose is a short text, and the finaliser below spreads it.
        let hash = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let mut rng = Self(seed ^ hash);
        rng.bits();
        rng
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly between 0 and 1, 1 excluded.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `n`; 0 where `n` is 0. The bias is below n / 2^64.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.bits()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `items`; they must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        &items[index]
    }

    /// The time to the next of events that come by chance, `mean` apart on average.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -libm::log(1.0 - self.unit()) * mean
    }

    /// Normally distributed, mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// A count of independent events of which `mean` are expected. Beyond 30 the normal approximation stands in:
    /// its error is below the noise of any load.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 30.0 {
            return libm::round(mean + libm::sqrt(mean) * self.normal()).max(0.0);
        }
        let limit = libm::exp(-mean);
        let (mut product, mut count) = (self.unit(), 0.0);
        // Ends: the product shrinks; with a mean of at most 30 more than 200 rounds don't occur.
        while product > limit && count < 200.0 {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        // The reference values of SplitMix64 for seed 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.bits(), 6_457_827_717_110_365_317);
        assert_eq!(rng.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn purposes_have_streams_of_their_own() {
        assert_ne!(Rng::fork(1, "a").bits(), Rng::fork(1, "b").bits());
        assert_eq!(Rng::fork(1, "a").bits(), Rng::fork(1, "a").bits());
    }

    #[test]
    fn draws_have_the_mean_they_claim() {
        let mut rng = Rng::new(7);
        let mut mean =
            |draw: &mut dyn FnMut(&mut Rng) -> f64| (0..20_000).map(|_| draw(&mut rng)).sum::<f64>() / 2e4;
        for (expected, got) in [
            (0.5, mean(&mut Rng::unit)),
            (3.0, mean(&mut |r| r.poisson(3.0))),
            (400.0, mean(&mut |r| r.poisson(400.0))),
            (5.0, mean(&mut |r| r.exponential(5.0))),
            (0.0, mean(&mut Rng::normal)),
        ] {
            assert!((got - expected).abs() < 0.03 * f64::max(expected, 1.0), "{expected} but {got}");
        }
    }
}
