//! Choice of a backend among those that may have traffic.
//!
//! Each algorithm is a pure function of the backends' loads, a turn that counts up, and a random
//! number, so all that matters of it can be shown in a table.

mod least_connections;
mod round_robin;
mod two_choices;

use crate::settings::Algorithm;

/// Index of the chosen one of `n` backends; `None` if there is none. `load` tells the requests in
/// flight to a backend.
pub(crate) fn choose(
    algorithm: Algorithm,
    n: usize,
    turn: usize,
    random: u64,
    load: impl Fn(usize) -> u32,
) -> Option<usize> {
    match n {
        0 => None,
        1 => Some(0),
        _ => Some(match algorithm {
            Algorithm::RoundRobin => round_robin::choose(n, turn),
            Algorithm::LeastConnections => least_connections::choose(n, turn, load),
            Algorithm::TwoChoices => two_choices::choose(n, random, load),
        }),
    }
}

/// The next number of a SplitMix64 sequence: well spread and a few instructions. Not for secrets.
pub(crate) fn next_random(state: &std::cell::Cell<u64>) -> u64 {
    let s = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    state.set(s);
    let z = (s ^ (s >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_and_one_need_no_algorithm() {
        for a in [Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::TwoChoices] {
            assert_eq!(choose(a, 0, 7, 7, |_| 0), None);
            assert_eq!(choose(a, 1, 7, 7, |_| 9), Some(0));
        }
    }

    /// A14: round robin, least connections.
    #[test]
    fn every_algorithm_stays_in_range_and_reaches_everyone() {
        let random = std::cell::Cell::new(1);
        for a in [Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::TwoChoices] {
            for n in 2..20 {
                let mut seen = vec![0; n];
                (0..n * 40).for_each(|t| seen[choose(a, n, t, next_random(&random), |_| 3).unwrap()] += 1);
                assert!(seen.iter().all(|s| *s > 0), "{a:?} {n} {seen:?}");
            }
        }
    }
}
