//! Peers: how others would have kept the same world.
//!
//! Each is an emulation of its own, written from the documented behaviour, with its documented defaults and the
//! metric pipeline it is used with: how often figures are taken, over how long they are averaged, how late they
//! come. Peers see every figure; the faults of headroom's own pipeline don't hit them.

mod fixed;

use std::fmt;
use std::str::FromStr;

use headroom_core::units::Span;

use crate::world::{Model, Plant};

/// One peer at one workload.
pub(crate) trait Peer {
    /// The count it asks for now; `None` to leave it.
    fn step(&mut self, plant: &Plant) -> Option<u32>;
}

/// Who else may keep the same world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// As many replicas as the peak needs, all the time.
    Static,
    /// The clairvoyant optimum.
    Optimum,
}

/// A name that no contender has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody is called {name:?}; there are {}", Contender::ALL.map(Contender::name).join(", "))]
pub struct NoSuchContender {
    name: String,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Static, Self::Optimum];

    /// Its name on the command line and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Optimum => "optimum",
        }
    }

    /// The peer at one workload; `None` for the optimum, which is computed and not played.
    pub(crate) fn seat(
        self,
        _model: &Model,
        _step: Span,
        range: (u32, u32),
        peak_need: Option<u32>,
    ) -> Option<Box<dyn Peer>> {
        Some(match self {
            Self::Static => {
                Box::new(fixed::Fixed::new(peak_need.unwrap_or(range.1).clamp(range.0, range.1.max(range.0))))
            }
            Self::Optimum => return None,
        })
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Contender {
    type Err = NoSuchContender;
    fn from_str(text: &str) -> Result<Self, NoSuchContender> {
        Self::ALL
            .into_iter()
            .find(|c| c.name() == text.trim())
            .ok_or_else(|| NoSuchContender { name: text.to_owned() })
    }
}
