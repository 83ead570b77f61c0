//! Round robin: each in turn (A14).

/// The backend whose turn it is.
pub(super) fn choose(n: usize, turn: usize) -> usize {
    turn % n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A14: each in turn.
    #[test]
    fn everyone_gets_the_same_share() {
        let seen: Vec<_> = (0..6).map(|turn| choose(3, turn)).collect();
        assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
        assert_eq!(choose(3, usize::MAX), usize::MAX % 3);
    }
}
