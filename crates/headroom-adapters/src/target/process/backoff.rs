//! How long to wait before a failing replica is started again: twice as long each time, up to a limit,
//! with some jitter so that replicas that fell together don't rise together.

use std::time::Duration;

use super::spec::BackoffSpec;

/// A wait varies by up to this share of itself to either side: enough to spread replicas that failed at
/// the same moment, too little to matter to who waits for one.
const JITTER: f64 = 0.2;

/// The wait after `streak` failures in a row (the first is 1; 0 counts as 1).
///
/// The same `seed` and `streak` give the same wait. From a crash loop on (see [`BackoffSpec`]) it is
/// the longest.
pub(crate) fn delay(spec: &BackoffSpec, streak: u32, seed: u64) -> Duration {
    let doubled = if streak >= spec.crash_loop.get() {
        spec.max
    } else {
        // 2^31 of anything is over every sensible limit, and the shift stays defined.
        let factor = 1_u32 << streak.saturating_sub(1).min(31);
        spec.first.saturating_mul(factor).min(spec.max)
    };
    let random = mix(seed ^ u64::from(streak)) >> 11;
    // 53 random bits make a fraction in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let fraction = random as f64 / (1_u64 << 53) as f64;
    doubled.mul_f64(1.0 + JITTER * (2.0 * fraction - 1.0))
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): spreads neighbouring seeds apart.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_a_crash_loop_waits_longest() {
        let spec = BackoffSpec::default();
        for (streak, middle_ms) in
            [(0, 100), (1, 100), (2, 200), (3, 400), (4, 800), (5, 30_000), (6, 30_000), (u32::MAX, 30_000)]
        {
            for seed in 0..50 {
                let wait = delay(&spec, streak, seed);
                let middle = Duration::from_millis(middle_ms);
                assert!(wait >= middle.mul_f64(0.79) && wait <= middle.mul_f64(1.21), "{streak}: {wait:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_waits_the_same_and_others_differ() {
        let spec = BackoffSpec::default();
        assert_eq!(delay(&spec, 3, 7), delay(&spec, 3, 7));
        assert_ne!(delay(&spec, 3, 7), delay(&spec, 3, 8));
    }

    #[test]
    fn huge_settings_do_not_overflow() {
        let spec = BackoffSpec {
            first: Duration::MAX / 4,
            max: Duration::MAX / 4,
            crash_loop: std::num::NonZeroU32::MAX,
            ..BackoffSpec::default()
        };
        assert!(delay(&spec, 32, 1) > Duration::ZERO);
    }
}
