//! Probes: a workload's signals, read from the world instead of from their sources.
//!
//! Every signal a policy may name is mapped to a figure of the world by its declared source, so any policy runs
//! in the simulator unchanged. A source the world doesn't have (pushed values, a monitoring system) is mapped by
//! what the signal counts and what it is called.

use headroom_core::fleet::{BalancerSignal, ProcessSignal, Quantile, Scope, Signal, SignalSource, Workload};
use headroom_core::names::SignalName;
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Unit};

use crate::average::Average;
use crate::world::{Figure, Plant};

/// The longest averaging window in steps; a longer one averages over this many, which is an hour of seconds.
const LONGEST_WINDOW: u64 = 3600;

/// One signal of one workload.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) signal: SignalName,
    figure: Figure,
    /// Where the source averages over more than a step.
    window: Option<Average>,
    /// What was delivered last, for a source that freezes.
    pub(crate) last: Option<f64>,
}

impl Probe {
    /// The probes of a workload's signals, in their order.
    pub(crate) fn all(workload: &Workload, step: Span) -> Vec<Self> {
        // The controller counts the replicas of others by itself.
        let measured = workload.signals.iter().filter(|(_, signal)| signal.replicas_of().is_none());
        measured.map(|(name, signal)| Self::new(name, signal, step)).collect()
    }

    fn new(name: &SignalName, signal: &Signal, step: Span) -> Self {
        let steps = (signal.window.as_millis() / step.as_millis().max(1)).min(LONGEST_WINDOW);
        let window = usize::try_from(steps).ok().filter(|n| *n > 1).map(Average::over);
        Self { signal: name.clone(), figure: figure_of(name, signal), window, last: None }
    }

    /// Reads the last step; where there is nothing to read, says why.
    pub(crate) fn read(&mut self, plant: &Plant) -> Result<f64, Absence> {
        let now = plant.figure(self.figure);
        let value = match &mut self.window {
            Some(window) => {
                window.push(now);
                window.mean()
            }
            None => now,
        };
        value.ok_or(match self.figure {
            Figure::Cpu | Figure::Busy | Figure::Memory => Absence::NoReplica,
            _ => Absence::Idle,
        })
    }
}

/// Which figure of the world a signal shows.
pub(crate) fn figure_of(name: &SignalName, signal: &Signal) -> Figure {
    let quantile = |q: Quantile| match q {
        Quantile::P50 => Figure::Latency(0),
        Quantile::P95 => Figure::Latency(1),
        Quantile::P99 => Figure::Latency(2),
    };
    match &signal.source {
        SignalSource::Balancer(BalancerSignal::RequestsPerSecond) => Figure::Demand,
        SignalSource::Balancer(BalancerSignal::InFlight | BalancerSignal::Connections) => Figure::InFlight,
        SignalSource::Balancer(BalancerSignal::ErrorRatio) => Figure::ErrorRatio,
        SignalSource::Balancer(BalancerSignal::Latency(q)) => quantile(*q),
        SignalSource::Process(ProcessSignal::Cpu) => Figure::Cpu,
        SignalSource::Process(ProcessSignal::Memory) => Figure::Memory,
        _ => by_meaning(name.as_str(), signal.unit(), signal.scope()),
    }
}

/// By what it counts, and where that leaves a choice by its name.
fn by_meaning(name: &str, unit: Unit, scope: Scope) -> Figure {
    let name = name.to_ascii_lowercase();
    let called = |words: &[&str]| words.iter().any(|w| name.contains(w));
    match (unit, scope) {
        (Unit::PerSecond, _) => Figure::Demand,
        (Unit::Seconds, _) if called(&["p99"]) => Figure::Latency(2),
        (Unit::Seconds, _) if called(&["p50", "median"]) => Figure::Latency(0),
        (Unit::Seconds, _) => Figure::Latency(1),
        (Unit::Bytes, _) => Figure::Memory,
        (Unit::Ratio, Scope::Quality) if called(&["err", "fail"]) => Figure::ErrorRatio,
        (Unit::Ratio, _) => Figure::Busy,
        (Unit::Count, _) if called(&["queue", "backlog", "lag", "message", "pending", "depth"]) => {
            Figure::Backlog
        }
        (Unit::Count, _) if called(&["rps", "request", "demand", "load", "rate"]) => Figure::Demand,
        (Unit::Count, _) => Figure::InFlight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushed_signals_show_what_they_mean() {
        for (name, unit, scope, expected) in [
            ("rps", Unit::PerSecond, Scope::Total, Figure::Demand),
            ("orders", Unit::PerSecond, Scope::PerReplica, Figure::Demand),
            ("queueLength", Unit::Count, Scope::Total, Figure::Backlog),
            ("users", Unit::Count, Scope::Total, Figure::InFlight),
            ("demand", Unit::Count, Scope::Total, Figure::Demand),
            ("cpu", Unit::Ratio, Scope::PerReplica, Figure::Busy),
            ("errors", Unit::Ratio, Scope::Quality, Figure::ErrorRatio),
            ("p99", Unit::Seconds, Scope::Quality, Figure::Latency(2)),
            ("response", Unit::Seconds, Scope::Quality, Figure::Latency(1)),
            ("memory", Unit::Bytes, Scope::PerReplica, Figure::Memory),
        ] {
            assert_eq!(by_meaning(name, unit, scope), expected, "{name}");
        }
    }
}
