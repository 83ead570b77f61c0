//! What strategies and guards may ask.
//!
//! One view of one workload at one moment. There is no other "now" than [`Context::at`], and nothing here can
//! be changed.

use crate::decision::SeenSignal;
use crate::fleet::{Signal, WhenAbsent, Workload};
use crate::memory::Memory;
use crate::names::{SignalName, WorkloadName};
use crate::observation::TargetStatus;
use crate::outlook::Outlook;
use crate::reading::{Reading, Sample};
use crate::reason::{Reason, Seen};
use crate::series::WindowStats;
use crate::strategy::StrategyMemory;
use crate::units::{Replicas, Span, Timestamp};

/// One workload at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub(crate) at: Timestamp,
    pub(crate) name: &'a WorkloadName,
    pub(crate) workload: &'a Workload,
    pub(crate) status: &'a TargetStatus,
    pub(crate) current: Replicas,
    pub(crate) signals: &'a [SeenSignal],
    pub(crate) memory: &'a Memory,
    /// Which of the workload's strategies asks.
    pub(crate) strategy: usize,
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More replicas.
    Up,
    /// Fewer replicas.
    Down,
}

impl<'a> Context<'a> {
    /// The present.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What the workload is called.
    #[must_use]
    pub fn name(&self) -> &'a WorkloadName {
        self.name
    }

    /// The workload's policy.
    #[must_use]
    pub fn workload(&self) -> &'a Workload {
        self.workload
    }

    /// The count the target was asked for last, an action under way included.
    #[must_use]
    pub fn current(&self) -> Replicas {
        self.current
    }

    /// Replicas that take traffic.
    #[must_use]
    pub fn ready(&self) -> Replicas {
        self.status.ready
    }

    /// The target as seen.
    #[must_use]
    pub fn status(&self) -> &'a TargetStatus {
        self.status
    }

    /// The past.
    #[must_use]
    pub fn memory(&self) -> &'a Memory {
        self.memory
    }

    /// What the strategy that asks remembers.
    #[must_use]
    pub fn own(&self) -> &'a StrategyMemory {
        self.memory.strategies.get(self.strategy).unwrap_or(&StrategyMemory::Nothing)
    }

    /// What is known of `signal`; `None` where the policy has no such signal.
    #[must_use]
    pub fn reading(&self, signal: &SignalName) -> Option<&'a Reading> {
        self.signals.iter().find(|s| s.name == *signal).map(|s| &s.reading)
    }

    /// The settings of `signal`.
    #[must_use]
    pub fn signal(&self, signal: &SignalName) -> Option<&'a Signal> {
        self.workload.signals.get(signal)
    }

    /// A value of `signal` that may be acted on (its own, or what the policy lets stand in), or the reason to abstain.
    ///
    /// # Errors
    /// The reason, where the value is stale or missing.
    pub fn fresh(&self, signal: &SignalName) -> Result<&'a Sample, Reason> {
        match self.reading(signal) {
            Some(Reading::Fresh(sample)) => Ok(sample),
            Some(reading) => match self.stand_in(signal).filter(|_| reading.is_fault()) {
                Some(sample) => Ok(sample),
                None => Err(Reason::for_absent(signal, reading).unwrap_or(Reason::NobodyWants)),
            },
            // A checked policy names only signals it has; one that is gone is absent.
            None => Err(Reason::SignalAbsent {
                signal: signal.clone(),
                absence: crate::reading::Absence::NeverSeen,
            }),
        }
    }

    /// What the policy lets stand in for a signal that can't be read, for either direction; whether it may shrink the
    /// workload is the absence guard's question.
    fn stand_in(&self, signal: &SignalName) -> Option<&'a Sample> {
        let rule = &self.signal(signal)?.absent;
        self.stands_in(signal, &rule.grow).or_else(|| self.stands_in(signal, &rule.shrink))
    }

    /// What stands in for `signal` by one direction's rule.
    #[must_use]
    pub fn stands_in(&self, signal: &SignalName, rule: &WhenAbsent) -> Option<&'a Sample> {
        match rule {
            WhenAbsent::Hold | WhenAbsent::Replicas(_) => None,
            WhenAbsent::LastKnown(limit) => {
                let last = self.memory.signal(signal)?.last.as_ref()?;
                (self.at.since(last.at).max(last.at.since(self.at)) <= *limit).then_some(last)
            }
            WhenAbsent::Signal(other) => self.reading(other)?.fresh(),
        }
    }

    /// `sample` of `signal` as a reason quotes it.
    #[must_use]
    pub fn seen(&self, signal: &SignalName, sample: &Sample) -> Seen {
        Seen {
            signal: signal.clone(),
            unit: self.signal(signal).map_or(crate::units::Unit::Count, Signal::unit),
            value: sample.value,
        }
    }

    /// What is foreseen of `signal`, where the policy asks for a forecast of it.
    #[must_use]
    pub fn outlook(&self, signal: &SignalName) -> Option<&'a Outlook> {
        self.memory.signal(signal)?.outlook.as_deref()
    }

    /// What the last `window` of `signal` holds, if a strategy asked for it to be remembered.
    #[must_use]
    pub fn window(&self, signal: &SignalName, window: Span) -> Option<WindowStats> {
        self.memory.signal(signal)?.series(window)?.stats(self.at, window)
    }

    /// For how long, within the last `window` that a strategy asked for, `holds(min, max)` has been true of `signal`
    /// without a gap.
    #[must_use]
    pub fn held(
        &self,
        signal: &SignalName,
        window: Span,
        holds: impl Fn(crate::units::Level, crate::units::Level) -> bool,
    ) -> Span {
        self.memory
            .signal(signal)
            .and_then(|s| s.series(window))
            .map_or(Span::ZERO, |series| series.held(self.at, holds))
    }

    /// When the workload last changed in `direction`; in any, where that is `None`.
    #[must_use]
    pub fn last_change(&self, direction: Option<Direction>) -> Option<Timestamp> {
        self.memory
            .changes()
            .find(|c| match direction {
                None => true,
                Some(Direction::Up) => c.to > c.from,
                Some(Direction::Down) => c.to < c.from,
            })
            .map(|c| c.at)
    }

    /// Until when a pause of `length` after the last change in `direction` lasts; `None` where it is over.
    #[must_use]
    pub fn pause_until(&self, direction: Option<Direction>, length: Span) -> Option<Timestamp> {
        let changed = self.last_change(direction)?;
        // A change in the future (a clock set back) must not pause for longer than the pause itself.
        let until = changed.min(self.at).plus(length);
        (self.at < until).then_some(until)
    }
}

impl Context<'_> {
    /// `sample` of `signal` as one ready replica carries it: a total is divided by the ready replicas, other
    /// values stand as they are. `None` for a total while no replica is ready.
    #[must_use]
    pub fn per_replica(&self, signal: &SignalName, sample: &Sample) -> Option<crate::units::Level> {
        if self.signal(signal).map(Signal::scope) != Some(crate::fleet::Scope::Total) {
            return Some(sample.value);
        }
        let ready = self.ready();
        (ready > Replicas::ZERO)
            .then(|| crate::units::Level::new(sample.value.get() / ready.as_f64()).ok())
            .flatten()
    }
}
