//! A fixed fleet, large enough for the peak: what people run who don't scale.
//!
//! It knows the peak beforehand, which no one does; so it is the cheapest fixed fleet, not a typical one.

use super::Peer;
use crate::world::Plant;

/// Always the same count.
#[derive(Debug)]
pub(crate) struct Fixed {
    replicas: u32,
}

impl Fixed {
    pub(crate) fn new(replicas: u32) -> Self {
        Self { replicas }
    }
}

impl Peer for Fixed {
    fn step(&mut self, _plant: &Plant) -> Option<u32> {
        Some(self.replicas)
    }
}
