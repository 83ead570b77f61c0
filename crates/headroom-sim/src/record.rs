//! What really happened, as a contender.
//!
//! A backtest sets what a policy would have done beside what was done. The replicas of the record are played back as
//! they were seen, and the same requests meet them in the same model, so both rows of the table count by the same
//! rules; what the journal itself can't tell (requests lost, answers too late) is the model's for either.

use std::sync::Arc;

use headroom_core::units::{Span, Timestamp};

use crate::rng::Rng;
use crate::score::{Meter, Surge};
use crate::world::{Model, Plant, Queue};

/// The name of the contender.
pub const RECORDED: &str = "recorded";

/// The replicas as they were seen from a moment on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordedPoint {
    /// The moment, in seconds from the start of the run.
    pub seconds: f64,
    /// Replicas asked for.
    pub wanted: u32,
    /// Replicas that took traffic.
    pub ready: u32,
    /// Replicas that started.
    pub starting: u32,
    /// Replicas that drained.
    pub draining: u32,
    /// Replicas of the warm pool, warm or on their way.
    pub pool: u32,
}

/// A record being played back.
pub(crate) struct Playback {
    points: Vec<RecordedPoint>,
    next: usize,
    now: Option<RecordedPoint>,
    plant: Plant,
    pub(crate) meter: Meter,
    dt: f64,
}

impl Playback {
    /// Of `points`, oldest first.
    pub(crate) fn new(
        points: &[RecordedPoint],
        model: &Model,
        queue: Queue,
        step: Span,
        start: Timestamp,
    ) -> Self {
        // A replica is there when the record says so, not a start-up later.
        let model =
            Model { start_up: Span::ZERO, start_up_spread: Span::ZERO, drain: Span::ZERO, ..model.clone() };
        let begin = points.first().map_or(0, |p| p.ready);
        let dt = step.as_secs_f64();
        Self {
            meter: Meter::new(dt, model.price),
            plant: Plant::new(Arc::new(model), queue, step, start, begin, Rng::new(0)),
            points: points.to_vec(),
            next: 0,
            now: points.first().copied(),
            dt,
        }
    }

    /// One step. Where the record has a gap, the last that was seen stands.
    pub(crate) fn step(&mut self, step: u64, demand: f64, need: u32, surge: Option<Surge>, counts: bool) {
        while let Some(point) = self.points.get(self.next).filter(|p| p.seconds <= step as f64 * self.dt) {
            self.now = Some(*point);
            self.next += 1;
        }
        let Some(now) = self.now else { return };
        if self.plant.wanted() != now.ready {
            self.plant.want(now.ready);
        }
        let mut stepped = self.plant.advance(demand);
        (stepped.starting, stepped.draining, stepped.pool) = (now.starting, now.draining, now.pool);
        self.meter.push(&stepped, now.wanted, need, surge, counts);
    }

    /// Replicas that take traffic.
    pub(crate) fn ready(&self) -> u32 {
        self.plant.ready()
    }
}
