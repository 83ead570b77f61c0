//! Least connections: the backend with the fewest requests in flight (A14).

/// The least loaded backend; among equals the first from `turn` on, so that an idle service does not
/// send everything to its first replica.
pub(super) fn choose(n: usize, turn: usize, load: impl Fn(usize) -> u32) -> usize {
    let start = turn % n;
    let (mut best, mut least) = (start, load(start));
    for i in (start + 1..n).chain(0..start) {
        if least == 0 {
            break;
        }
        let l = load(i);
        if l < least {
            (best, least) = (i, l);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A14: least connections.
    #[test]
    fn the_least_loaded_is_chosen_and_ties_go_in_turn() {
        let rows: [(&[u32], usize, usize); 6] = [
            (&[3, 1, 2], 0, 1),
            (&[3, 1, 2], 2, 1),
            (&[1, 1, 1], 0, 0),
            (&[1, 1, 1], 5, 2),
            (&[0, 0], 1, 1),
            (&[u32::MAX, u32::MAX - 1], 0, 1),
        ];
        for (loads, turn, expected) in rows {
            assert_eq!(choose(loads.len(), turn, |i| loads[i]), expected, "{loads:?} turn {turn}");
        }
    }
}
