//! What one replica carries within the objective.
//!
//! A policy that states an objective needs this one figure to turn load into replicas. A person may know it and
//! write it down as a [`CapacityHint`]; else it is learned from what is seen (`learned.rs` says how). Whoever needs
//! it asks [`Context::capacity`] and gets it with its bounds and where it comes from; nobody else reckons one.

mod learned;

use learned::{Learned, Look};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::fleet::{BalancerSignal, Path, Problem, ProcessSignal, SignalSource, Workload};
use crate::names::SignalName;
use crate::observation::Phase;
use crate::say::Language;
use crate::units::{Level, Quantity, Span, Unit};

/// What a person knows of the capacity of one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CapacityHint {
    /// The most one replica carries, in the unit of the demand signal.
    pub per_replica: Quantity,
    /// How much of it is used, 90% by default: at its very limit a queue grows without bound, and the last tenth
    /// takes up what the seconds within a measurement differ by.
    #[serde(default = "default_usable")]
    pub usable: Quantity,
}

fn default_usable() -> Quantity {
    Quantity::ratio(Level::new(0.9).expect("a share is a level"))
}

impl CapacityHint {
    /// What may be used of one replica.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        Level::new(self.per_replica.level.get() * self.usable.level.get()).ok()
    }

    /// Adds what is wrong with the hint. `unit` is the demand signal's, where that is known.
    pub fn check(&self, unit: Option<Unit>, at: &Path, problems: &mut Vec<Problem>) {
        if self.per_replica.level == Level::ZERO {
            problems.push(
                Problem::new(at.key("perReplica"), "a replica that carries nothing would never be enough")
                    .help("write what one replica carries, or leave `capacity` out to have it learned"),
            );
        }
        if let Some(unit) = unit.filter(|unit| !self.per_replica.fits(*unit)) {
            problems.push(
                Problem::new(
                    at.key("perReplica"),
                    format!("{} is not in the unit of the signal", self.per_replica),
                )
                .help(format!("write it like {}", unit.example())),
            );
        }
        let usable = self.usable.level.get();
        if !self.usable.fits(Unit::Ratio) || usable > 1.0 || usable <= 0.0 {
            problems
                .push(Problem::new(at.key("usable"), "is a share above 0% and at most 100%, such as 90%"));
        }
    }
}

/// What the capacity of a workload's replicas is learned from, as the strategy that asks for it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Learning {
    /// The load: a total, such as requests a second or messages being worked on.
    pub demand: SignalName,
    /// What the objective limits; nothing is learned where it limits nothing that is seen.
    pub quality: Option<Quality>,
    /// The share of errors and the most that is borne, where errors are seen.
    pub errors: Option<(SignalName, Level)>,
    /// Requests being worked on, in all.
    pub in_flight: Option<SignalName>,
    /// The share of one core that a replica uses.
    pub cpu: Option<SignalName>,
    /// What the policy says of the capacity.
    pub hint: Option<Level>,
}

/// A signal that shall stay below a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// Which.
    pub signal: SignalName,
    /// The limit, in the signal's unit.
    pub limit: Level,
    /// Whether it is a time, such as a quantile of latency; else it is taken to grow in proportion to the load of a
    /// replica, as a utilisation does.
    pub is_time: bool,
}

/// The share of errors that is borne: 1 %, far above a retried connection and far below a service that sheds load.
const ERRORS_BORNE: f64 = 0.01;

impl Learning {
    /// Learning how much of `demand` keeps a signal below its limit; errors, requests in flight and cpu are taken from
    /// the signals the workload has.
    #[must_use]
    pub fn of(
        workload: &Workload,
        demand: &SignalName,
        below: Option<(SignalName, Level)>,
        hint: Option<&CapacityHint>,
    ) -> Self {
        let find = |source: &SignalSource| {
            workload.signals.iter().find(|(_, s)| s.source == *source).map(|(name, _)| name.clone())
        };
        let quality = below.map(|(signal, limit)| {
            let unit = workload.signals.get(&signal).map(crate::fleet::Signal::unit);
            Quality { signal, limit, is_time: unit == Some(Unit::Seconds) }
        });
        let errors = find(&SignalSource::Balancer(BalancerSignal::ErrorRatio));
        Self {
            demand: demand.clone(),
            quality,
            errors: errors.and_then(|name| Some((name, Level::new(ERRORS_BORNE).ok()?))),
            in_flight: find(&SignalSource::Balancer(BalancerSignal::InFlight)),
            cpu: find(&SignalSource::Process(ProcessSignal::Cpu)),
            hint: hint.and_then(CapacityHint::level),
        }
    }
}

/// What one replica carries within the objective, in the unit of the demand signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// What may be put on one replica: what decisions reckon with. Never zero.
    pub usable: Level,
    /// What one replica is reckoned to carry in a rare moment: as much as `usable` where the limit is known, more while
    /// all that is known lies far below it.
    pub momentary: Level,
    /// So much was carried, or is taken on the policy's word.
    pub low: Level,
    /// More than this is not carried; absent where nothing says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<Level>,
    /// How many measurements it rests on; 0 for a figure that only the policy gives.
    pub evidence: u32,
    /// What the figure counts.
    pub unit: Unit,
    /// Where `usable` comes from.
    pub basis: Basis,
}

/// Where a figure of capacity comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// The policy says so, and nothing seen speaks against it.
    Hint,
    /// So much was carried within the objective, and a little more is tried.
    Carried,
    /// A higher load was seen to miss the objective.
    Breached,
    /// What replicas answered while more waited than they could take up.
    Saturated,
    /// The load at which the limited utilisation is reached.
    Utilisation,
    /// More would need more than a core.
    Core,
}

impl Capacity {
    /// The capacity in one sentence.
    #[must_use]
    pub fn say(&self, language: Language) -> String {
        let amount = |level: Level| self.unit.say(level);
        let basis = match (self.basis, language) {
            (Basis::Hint, Language::English) => "as the policy says",
            (Basis::Hint, Language::Korean) => "정책에 적힌 값",
            (Basis::Carried, Language::English) => "a little above what was carried",
            (Basis::Carried, Language::Korean) => "감당한 것보다 조금 높게",
            (Basis::Breached, Language::English) => "more was seen to miss the objective",
            (Basis::Breached, Language::Korean) => "그 이상에서는 목표를 놓침",
            (Basis::Saturated, Language::English) => "of what replicas answered while all were busy",
            (Basis::Saturated, Language::Korean) => "모두 바쁠 때 처리한 양에서 구함",
            (Basis::Utilisation, Language::English) => "where the limit of utilisation is reached",
            (Basis::Utilisation, Language::Korean) => "사용률 한도에 이르는 부하",
            (Basis::Core, Language::English) => "more would take more than a core",
            (Basis::Core, Language::Korean) => "그 이상은 코어 하나를 넘음",
        };
        match (language, self.high) {
            (Language::English, Some(high)) => format!(
                "one replica carries {} ({basis}); {} carried, less than {}; {} measurements",
                amount(self.usable),
                amount(self.low),
                amount(high),
                self.evidence
            ),
            (Language::English, None) => format!(
                "one replica carries {} ({basis}); {} carried; {} measurements",
                amount(self.usable),
                amount(self.low),
                self.evidence
            ),
            (Language::Korean, Some(high)) => format!(
                "레플리카 하나가 {} 감당 ({basis}); {} 감당함, {} 미만; 측정 {}회",
                amount(self.usable),
                amount(self.low),
                amount(high),
                self.evidence
            ),
            (Language::Korean, None) => format!(
                "레플리카 하나가 {} 감당 ({basis}); {} 감당함; 측정 {}회",
                amount(self.usable),
                amount(self.low),
                self.evidence
            ),
        }
    }
}

/// What is learned of a workload's capacity, once for each strategy that reckons with one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Capacities(Vec<Learned>);

impl Capacities {
    /// Whether nothing is to be learned.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes room for what `workload`'s strategies ask about, and keeps what is still of use.
    pub(crate) fn fit(&mut self, workload: &Workload) {
        let mut old = std::mem::take(&mut self.0);
        for (index, strategy) in workload.strategies.iter().enumerate() {
            let Some(learning) = strategy.learns(workload) else { continue };
            let quality = learning.quality.as_ref().and_then(|q| workload.signals.get(&q.signal));
            let length = quality.map_or(Span::ZERO, |signal| signal.window);
            let window = workload.signals.get(&learning.demand).map_or(Span::ZERO, |signal| signal.window);
            let mut fresh = Learned::new(index, learning, length, window);
            if let Some(known) = old.iter().position(|known| known.is_about(&fresh)) {
                fresh.take_over(old.swap_remove(known));
            }
            self.0.push(fresh);
        }
    }

    /// Takes in the moment that `cx` shows.
    pub(crate) fn learn(&mut self, cx: &Context<'_>) {
        for learned in &mut self.0 {
            let value = |signal: &SignalName| Some(cx.reading(signal)?.fresh()?.value.get());
            let learning = &learned.learning;
            let ready = cx.status().replicas.iter().filter(|replica| replica.phase == Phase::Ready);
            let mut versions = ready.map(|replica| replica.version.as_deref());
            let version = versions.next().flatten();
            let look = Look {
                at: cx.at(),
                ready: cx.ready().0,
                demand: value(&learning.demand),
                quality: learning.quality.as_ref().and_then(|q| value(&q.signal)),
                errors: learning.errors.as_ref().and_then(|(signal, _)| value(signal)),
                in_flight: learning.in_flight.as_ref().and_then(value),
                cpu: learning.cpu.as_ref().and_then(value),
                version,
                is_mixed: versions.any(|other| other != version),
                start_up: cx.memory().start_ups().expected(),
            };
            learned.learn(&look);
        }
    }

    /// What is known for the strategy at `index`.
    pub(crate) fn of(&self, index: usize, workload: &Workload) -> Option<Capacity> {
        let learned = self.0.iter().find(|learned| learned.strategy == index)?;
        let unit = workload.signals.get(&learned.learning.demand)?.unit();
        learned.capacity(unit)
    }

    /// What is known for the first strategy that reckons with a capacity.
    pub(crate) fn first(&self, workload: &Workload) -> Option<Capacity> {
        self.of(self.0.first()?.strategy, workload)
    }
}

impl Context<'_> {
    /// What one replica carries within the objective of the strategy that asks; `None` while neither the policy nor
    /// experience says.
    #[must_use]
    pub fn capacity(&self) -> Option<Capacity> {
        self.memory().capacities.of(self.strategy, self.workload())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(per_replica: &str, usable: &str) -> CapacityHint {
        CapacityHint { per_replica: per_replica.parse().unwrap(), usable: usable.parse().unwrap() }
    }

    #[test]
    fn a_hint_is_used_to_the_share_it_names() {
        assert_eq!(hint("100/s", "90%").level(), Level::new(90.0).ok());
        assert_eq!(default_usable().to_string(), "90%");
    }

    #[test]
    fn a_hint_that_says_nothing_is_refused() {
        let table = [
            ("100/s", "90%", vec![]),
            ("100/s", "100%", vec![]),
            ("0/s", "90%", vec!["perReplica"]),
            ("100ms", "90%", vec!["perReplica"]),
            ("100/s", "0%", vec!["usable"]),
            ("100/s", "101%", vec!["usable"]),
            ("100/s", "1", vec!["usable"]),
        ];
        for (per_replica, usable, wrong) in table {
            let mut problems = Vec::new();
            hint(per_replica, usable).check(Some(Unit::PerSecond), &Path::root(), &mut problems);
            let keys: Vec<String> = problems.iter().map(|p| p.path.to_string()).collect();
            assert_eq!(keys, wrong, "{per_replica} at {usable}");
        }
    }
}
