//! Peers: how others would have kept the same world.
//!
//! Each is an emulation of its own, written from the documented behaviour, with its documented defaults and the
//! metric pipeline it is used with: how often figures are taken, over how long they are averaged, how late they
//! come. All aim at 70 % of what a replica can do, the figure their manuals and A1 to A4 use, so that differences
//! come from how they act and not from how they are set. Peers see every figure; the faults of headroom's own
//! pipeline don't hit them.

mod aws_predictive;
mod aws_step;
mod aws_target_tracking;
mod cloudwatch;
mod fixed;
mod hpa;
mod keda;
mod kpa;

use std::fmt;
use std::str::FromStr;

use headroom_core::units::Span;

use crate::world::{Model, Plant};

/// The share of a replica's capacity every peer aims at.
const TARGET: f64 = 0.7;

/// What a peer may see at the beginning of a step: its own replicas and the step before.
pub(crate) struct Seen<'a> {
    /// The step that begins.
    pub(crate) step: u64,
    /// The replicas, and what the last step was like.
    pub(crate) plant: &'a Plant,
}

/// One peer at one workload.
pub(crate) trait Peer {
    /// The count it asks for now; `None` to leave it.
    fn step(&mut self, seen: &Seen<'_>) -> Option<u32>;
}

/// What a peer is told of the workload it keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat<'a> {
    pub(crate) model: &'a Model,
    pub(crate) step: Span,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) peak_need: Option<u32>,
}

impl Seat<'_> {
    /// Whole steps that last `seconds`, at least one.
    fn steps(&self, seconds: u64) -> u64 {
        (seconds * 1000).div_ceil(self.step.as_millis().max(1)).max(1)
    }

    fn clamp(&self, wanted: u32) -> u32 {
        wanted.min(self.max).max(self.min)
    }
}

/// The smallest count that is not below `value`, as all of them round when growing.
fn ceil(value: f64) -> u32 {
    headroom_core::units::Replicas::ceil(value).0
}

/// Who else may keep the same world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// As many replicas as the peak needs, all the time.
    Static,
    /// Kubernetes' Horizontal Pod Autoscaler on CPU.
    Hpa,
    /// KEDA on requests a second.
    Keda,
    /// Knative's pod autoscaler.
    Kpa,
    /// AWS target tracking on CPU.
    AwsTargetTracking,
    /// AWS step scaling on CPU.
    AwsStep,
    /// AWS predictive scaling with target tracking beside it.
    AwsPredictive,
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
    pub const ALL: [Self; 8] = [
        Self::Static,
        Self::Hpa,
        Self::Keda,
        Self::Kpa,
        Self::AwsTargetTracking,
        Self::AwsStep,
        Self::AwsPredictive,
        Self::Optimum,
    ];

    /// Its name on the command line and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Hpa => "hpa",
            Self::Keda => "keda",
            Self::Kpa => "kpa",
            Self::AwsTargetTracking => "aws-target-tracking",
            Self::AwsStep => "aws-step",
            Self::AwsPredictive => "aws-predictive",
            Self::Optimum => "optimum",
        }
    }

    /// The peer at one workload; `None` for the optimum, which is computed and not played.
    pub(crate) fn peer(self, seat: &Seat<'_>) -> Option<Box<dyn Peer>> {
        Some(match self {
            Self::Static => Box::new(fixed::Fixed::new(seat)),
            Self::Hpa => Box::new(hpa::Hpa::on_cpu(seat)),
            Self::Keda => Box::new(keda::Keda::new(seat)),
            Self::Kpa => Box::new(kpa::Kpa::new(seat)),
            Self::AwsTargetTracking => Box::new(aws_target_tracking::TargetTracking::new(seat)),
            Self::AwsStep => Box::new(aws_step::StepScaling::new(seat)),
            Self::AwsPredictive => Box::new(aws_predictive::Predictive::new(seat)),
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

#[cfg(test)]
pub(crate) mod testing {
    //! A peer at a plant under a load, step by step.

    use std::sync::Arc;

    use headroom_core::units::Timestamp;

    use super::*;
    use crate::rng::Rng;
    use crate::world::Queue;

    /// Flies the peer that `make` makes over `demand` (requests a second at each second) from `begin` replicas;
    /// gives each change as its second and count.
    pub(crate) fn fly<P: Peer>(
        make: impl Fn(&Seat<'_>) -> P,
        begin: u32,
        seconds: u64,
        demand: impl Fn(u64) -> f64,
    ) -> Vec<(u64, u32)> {
        let model = Model::default();
        let step = Span::seconds(1);
        let seat = Seat { model: &model, step, min: 2, max: 100, peak_need: None };
        let mut peer = make(&seat);
        let start = Timestamp::from_millis(0);
        let queue = Queue::new(&model);
        let mut plant = Plant::new(Arc::new(model.clone()), queue, step, start, begin, Rng::new(1));
        let mut changes = Vec::new();
        for step in 0..seconds {
            if let Some(wanted) = peer.step(&Seen { step, plant: &plant })
                && wanted != plant.wanted()
            {
                changes.push((step, wanted));
                plant.want(wanted);
            }
            plant.advance(demand(step));
        }
        changes
    }

    #[test]
    fn names_read_back_and_unknown_ones_are_told() {
        for contender in Contender::ALL {
            assert_eq!(contender.name().parse(), Ok(contender));
        }
        let error = "nginx".parse::<Contender>().unwrap_err().to_string();
        assert!(error.contains("nobody is called \"nginx\"; there are static, hpa"), "{error}");
    }
}
