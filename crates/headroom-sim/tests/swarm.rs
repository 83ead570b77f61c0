//! The fixed set of the swarm: the same seeds in every build, and the seeds that once found a bug.

use headroom_sim::swarm;

/// Seeds that every build flies, twice.
const FIXED: std::ops::Range<u64> = 0..6;

#[test]
fn the_fixed_set_breaks_no_invariant_and_repeats_to_the_byte() {
    for seed in FIXED {
        let first = swarm::run(seed).unwrap_or_else(|violation| panic!("{violation}"));
        let again = swarm::run(seed).unwrap_or_else(|violation| panic!("{violation}"));
        assert_eq!(first, again, "seed {seed}");
    }
}
