//! Two random choices: draw two different backends, take the less busy.
//!
//! The busiest of n backends is then only O(log log n) above the mean, against O(log n / log log n) for
//! one draw, at a cost that does not grow with n (Mitzenmacher 2001; Envoy's and Finagle's default).

/// The less busy of two backends drawn with `random`; of equals the first drawn.
pub(super) fn choose(n: usize, random: u64, load: impl Fn(usize) -> u32) -> usize {
    let n64 = n as u64;
    let first = ((random >> 32) % n64) as usize;
    // Drawn among the others, so the two always differ.
    let second = (first + 1 + ((random & 0xffff_ffff) % (n64 - 1)) as usize) % n;
    if load(second) < load(first) { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_busy_of_two_is_chosen() {
        for random in 0..1_000_u64 {
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(choose(2, random, |i| [5, 4][i]), 1);
        }
    }

    #[test]
    fn the_busiest_is_never_chosen() {
        for random in 0..1_000_u64 {
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_ne!(choose(5, random, |i| [1, 1, 9, 1, 1][i]), 2);
        }
    }
}
