//! Signals: what is measured of a workload, and where the figure comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Path, Problem, TargetSettings, Workload};
use crate::names::SignalName;
use crate::units::{Replicas, Span, Unit};

/// A metric stream of a workload. Exactly one source is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SignalText", into = "SignalText")]
#[schemars(with = "SignalText")]
pub struct Signal {
    /// Where the figure comes from.
    pub source: SignalSource,
    /// How old a value may be and still be acted on.
    pub fresh_for: Span,
    /// Over how long the source averages.
    pub window: Span,
    /// What is done while the figure can't be read.
    pub absent: AbsentRule,
}

/// What is done while a signal can't be read, by direction of the change. Having nothing to measure (no request, no
/// replica) is no fault and not meant here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AbsentRule {
    /// For growing. `hold`: what needs the signal abstains, others may grow.
    pub grow: WhenAbsent,
    /// For shrinking. `hold`: nothing shrinks.
    pub shrink: WhenAbsent,
}

/// What stands in for a signal that can't be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenAbsent {
    /// Nothing.
    #[default]
    Hold,
    /// Its last value, up to this age.
    LastKnown(Span),
    /// Another signal of the same unit.
    Signal(SignalName),
    /// A count of replicas: at least so many when growing, no fewer when shrinking.
    Replicas(Replicas),
}

impl AbsentRule {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a figure comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum SignalSource {
    /// Figures of the built-in balancer.
    Balancer(BalancerSignal),
    /// Figures of the replicas' processes.
    Process(ProcessSignal),
    /// Values that someone sends to the API.
    Push(PushSettings),
}

/// What the built-in balancer measures (C1's three and A12's application class).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BalancerSignal {
    /// Requests that arrived a second, held ones included, in all.
    RequestsPerSecond,
    /// Requests being worked on or held, in all.
    InFlight,
    /// Client connections open, in all.
    Connections,
    /// The share of answers that are 5xx, failed connections and time-outs.
    ErrorRatio,
    /// A quantile of the time from a request's arrival to the end of its answer.
    Latency(Quantile),
}

/// Which quantile of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Quantile {
    /// The median.
    P50,
    /// 95 %.
    P95,
    /// 99 %.
    P99,
}

/// What is measured of the replicas' processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProcessSignal {
    /// Share of one core a ready replica uses on average, its children included: 1 is a whole core.
    Cpu,
    /// Resident memory of a ready replica on average, in bytes.
    Memory,
}

/// A signal that someone else sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PushSettings {
    /// What the value counts.
    pub unit: Unit,
    /// Whether the value is of the whole workload, of one replica on average, or of neither.
    #[serde(default)]
    pub scope: Scope,
}

/// What a value is of, which decides how it turns into replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The whole workload's: more replicas share it (requests a second, queue length).
    #[default]
    Total,
    /// One replica's on average (CPU, memory).
    PerReplica,
    /// Neither: it describes how well requests fare (latency, share of errors).
    Quality,
}

/// How a signal stands in a policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "Signal")]
struct SignalText {
    /// Read from the built-in balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    balancer: Option<BalancerSignal>,
    /// Read from the replicas' processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<ProcessSignal>,
    /// Sent to the API by someone else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    push: Option<PushSettings>,
    /// How old a value may be and still be acted on. By default 3s for the balancer, 10s for processes, 2m for
    /// pushed values: three missed deliveries and a little more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fresh_for: Option<Span>,
    /// Over how long the source averages. By default 1s, and 10s for latency and errors, of which a second of a
    /// quiet service holds too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Span>,
    /// What is done while the figure can't be read, by direction of the change. By default nothing shrinks, and what
    /// needs the signal abstains.
    #[serde(default, skip_serializing_if = "AbsentRule::is_default")]
    absent: AbsentRule,
}

/// A signal without a source, or with two.
#[derive(Debug, thiserror::Error)]
#[error("a signal is read from exactly one source; name one of `balancer`, `process`, `push`")]
struct NotOneSource;

impl TryFrom<SignalText> for Signal {
    type Error = NotOneSource;
    fn try_from(text: SignalText) -> Result<Self, NotOneSource> {
        let source = match (text.balancer, text.process, text.push) {
            (Some(b), None, None) => SignalSource::Balancer(b),
            (None, Some(p), None) => SignalSource::Process(p),
            (None, None, Some(p)) => SignalSource::Push(p),
            _ => return Err(NotOneSource),
        };
        Ok(Self {
            fresh_for: text.fresh_for.unwrap_or(source.default_freshness()),
            window: text.window.unwrap_or(source.default_window()),
            absent: text.absent,
            source,
        })
    }
}

impl From<Signal> for SignalText {
    fn from(signal: Signal) -> Self {
        let mut text = Self {
            fresh_for: Some(signal.fresh_for),
            window: Some(signal.window),
            absent: signal.absent,
            ..Self::default()
        };
        match signal.source {
            SignalSource::Balancer(b) => text.balancer = Some(b),
            SignalSource::Process(p) => text.process = Some(p),
            SignalSource::Push(p) => text.push = Some(p),
        }
        text
    }
}

impl SignalSource {
    fn default_freshness(&self) -> Span {
        match self {
            Self::Balancer(_) => Span::seconds(3),
            Self::Process(_) => Span::seconds(10),
            Self::Push(_) => Span::minutes(2),
        }
    }
}

impl SignalSource {
    fn default_window(&self) -> Span {
        match self {
            Self::Balancer(BalancerSignal::Latency(_) | BalancerSignal::ErrorRatio) => Span::seconds(10),
            Self::Balancer(_) | Self::Process(_) | Self::Push(_) => Span::seconds(1),
        }
    }
}

impl Signal {
    /// What the signal's values count.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match &self.source {
            SignalSource::Balancer(b) => match b {
                BalancerSignal::RequestsPerSecond => Unit::PerSecond,
                BalancerSignal::InFlight | BalancerSignal::Connections => Unit::Count,
                BalancerSignal::ErrorRatio => Unit::Ratio,
                BalancerSignal::Latency(_) => Unit::Seconds,
            },
            SignalSource::Process(ProcessSignal::Cpu) => Unit::Ratio,
            SignalSource::Process(ProcessSignal::Memory) => Unit::Bytes,
            SignalSource::Push(push) => push.unit,
        }
    }

    /// What the signal's values are of.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match &self.source {
            SignalSource::Balancer(b) => match b {
                BalancerSignal::RequestsPerSecond
                | BalancerSignal::InFlight
                | BalancerSignal::Connections => Scope::Total,
                BalancerSignal::ErrorRatio | BalancerSignal::Latency(_) => Scope::Quality,
            },
            SignalSource::Process(_) => Scope::PerReplica,
            SignalSource::Push(push) => push.scope,
        }
    }

    pub(super) fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        match &self.source {
            SignalSource::Balancer(_) if workload.balancer.is_none() => problems.push(
                Problem::new(at.key("balancer"), "this workload has no balancer to read from").help(
                    "add `balancer: { listen: 127.0.0.1:8080 }` to the workload, or name another source",
                ),
            ),
            SignalSource::Process(_) if !matches!(workload.target, TargetSettings::Process(_)) => problems
                .push(
                    Problem::new(at.key("process"), "this workload's target is no process")
                        .help("name another source for the signal"),
                ),
            SignalSource::Balancer(_) | SignalSource::Process(_) | SignalSource::Push(_) => {}
        }
        for (key, rule) in [("grow", &self.absent.grow), ("shrink", &self.absent.shrink)] {
            let at = at.key("absent").key(key);
            match rule {
                WhenAbsent::LastKnown(age) if *age < self.fresh_for => problems.push(Problem::new(
                    at.key("lastKnown"),
                    format!(
                        "is shorter than `freshFor`, {}: the last value is used that long anyway",
                        self.fresh_for
                    ),
                )),
                WhenAbsent::Signal(name) => {
                    let at = at.key("signal");
                    if let Some(other) = workload.require_signal(name, &at, problems)
                        && (other.unit() != self.unit() || other.scope() != self.scope())
                    {
                        problems.push(Problem::new(at, format!("`{name}` is of another unit or scope")));
                    }
                }
                WhenAbsent::Hold | WhenAbsent::LastKnown(_) | WhenAbsent::Replicas(_) => {}
            }
        }
        for (key, span) in [("freshFor", self.fresh_for), ("window", self.window)] {
            if span.is_zero() {
                problems.push(Problem::new(at.key(key), "must be longer than nothing"));
            }
        }
    }
}
