//! Loads made of formulas and a seeded scatter.

/// A small generator of scatter (SplitMix64): the tests need repeatable noise, nothing more.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// Evenly in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    /// About normal, mean 0, deviation 1 (the sum of twelve).
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A day's rise and fall around `mean`, in steps of five minutes, with relative scatter.
pub(crate) fn daily(n: usize, mean: f64, scatter: f64, seed: u64) -> Vec<Option<f64>> {
    let mut noise = Noise::new(seed);
    (0..n)
        .map(|k| {
            let phase = k as f64 / 288.0 * std::f64::consts::TAU;
            let v = mean * (1.0 + 0.5 * libm::sin(phase)) * (1.0 + scatter * noise.normal());
            Some(v.max(0.0))
        })
        .collect()
}
