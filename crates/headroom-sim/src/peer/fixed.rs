//! A fixed fleet, large enough for the peak: what people run who don't scale.
//!
//! It knows the peak beforehand, which no one does; so it is the cheapest fixed fleet, not a typical one.

use super::{Peer, Seat, Seen};

/// Always the same count.
#[derive(Debug)]
pub(crate) struct Fixed {
    replicas: u32,
}

impl Fixed {
    pub(crate) fn new(seat: &Seat<'_>) -> Self {
        Self { replicas: seat.clamp(seat.peak_need.unwrap_or(seat.max)) }
    }
}

impl Peer for Fixed {
    fn step(&mut self, _seen: &Seen<'_>) -> Option<u32> {
        Some(self.replicas)
    }
}
