//! Objective: say what must hold, not when to scale.
//!
//! At every step the strategy asks how many replicas must be ready when a start made now becomes ready. A replica
//! too many costs its price, a replica too few a violation; the number is the one at which the next replica would
//! cost more than the violations it prevents, under the distribution of demand that the load itself has taught (a
//! newsvendor's choice over whole replicas). What a violation costs is not asked of anybody: the price is steered so
//! that the share of violations stays within what the policy allows. `course.rs` holds what is remembered and
//! reckoned once a step; this file holds the settings and what is said at a moment.
//!
//! It grows at once. It shrinks when keeping the replicas no longer needed has cost as much as changing one's mind
//! would ([`course::CHANGE_OF_MIND`]): many idle ones go soon, one of many is kept longer. It never shrinks on what
//! it can't see. Its own patience replaces the stabilisation window, which is 0 s for a workload that has objectives
//! only, unless the policy writes one.
//!
//! Sources: the newsvendor's choice (Arrow, Harris and Marschak, Optimal Inventory Policy, 1951), and for letting go the
//! rule that spends on keeping what changing would cost (Karlin, Manasse, Rudolph and Sleator, Competitive Snoopy Caching,
//! 1988). Defaults: `violations` 0.1 % is ours, a minute and a half of a day; `startUp` 30 s is C6's. The constants of
//! `course.rs` carry their reasons; what they come to on public traces is measured in `docs/performance.md`.

pub mod course;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use course::Course;

use super::{Recommend, StrategyMemory, Watch};
use crate::capacity::{CapacityHint, Learning};
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Scope, Signal, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span, Unit};

/// What must hold. Everything else is found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Objective {
    /// The load: a total that replicas share, such as requests a second. By default the workload's only total that
    /// counts events a second, else its only total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,
    /// The share of time in which the objective may be missed (0.1%).
    pub violations: Quantity,
    /// A quantile of latency that shall stay below a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Below>,
    /// A utilisation of each replica that shall stay below a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<Below>,
    /// A backlog that shall be worked off in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What one replica carries. Where it is left out it is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityHint>,
    /// How long a start takes, until that is measured (30s, a container as C6 has it).
    pub start_up: Span,
    /// Whether the forecast counts; if not, load is expected to stay as it is, with the noise it has, and only what was
    /// missed steers.
    pub foresee: bool,
}

/// A signal that shall stay below a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Below {
    /// Which signal.
    pub signal: SignalName,
    /// The limit.
    pub below: Quantity,
}

/// A backlog that shall be worked off in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Drain {
    /// How much waits.
    pub signal: SignalName,
    /// Within which time it shall be worked off, beside what arrives meanwhile.
    pub within: Span,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            signal: None,
            // Of a day a minute and a half.
            violations: Quantity::ratio(Level::new(0.001).unwrap_or(Level::ZERO)),
            latency: None,
            utilisation: None,
            drain: None,
            capacity: None,
            start_up: Span::seconds(30),
            foresee: true,
        }
    }
}

/// A breach of latency or utilisation adds a tenth of the ready replicas, at least one: once for each start-up time,
/// for it counts from the ready ones.
const ON_BREACH: f64 = 0.1;
/// Below this share of what a replica carries a slow answer is no want of replicas: more would not make it faster.
const LOADED_FROM: f64 = 0.5;

impl Objective {
    /// The load signal: as written, or the one that can only be meant.
    #[must_use]
    pub fn demand<'a>(&'a self, workload: &'a Workload) -> Option<&'a SignalName> {
        if let Some(signal) = &self.signal {
            return Some(signal);
        }
        let only = |fits: &dyn Fn(&Signal) -> bool| {
            let backlog = self.drain.as_ref().map(|drain| &drain.signal);
            let mut found = workload
                .signals
                .iter()
                .filter(|(name, s)| s.scope() == Scope::Total && Some(*name) != backlog && fits(s));
            let first = found.next()?;
            found.next().is_none().then_some(first.0)
        };
        only(&|s| s.unit() == Unit::PerSecond).or_else(|| only(&|_| true))
    }

    /// The signal whose limit one replica's capacity is learned from.
    fn quality(&self) -> Option<&Below> {
        self.latency.as_ref().or(self.utilisation.as_ref())
    }

    /// The share of steps that may violate.
    pub(crate) fn allowed(&self) -> f64 {
        self.violations.level.get()
    }

    /// A limit that is not kept now while the replicas have something to do, and what that asks for.
    fn breach(&self, cx: &Context<'_>, per_replica: Level, demand: Level) -> Option<(Replicas, Reason)> {
        let ready = cx.ready();
        let busy = demand.get() >= LOADED_FROM * per_replica.get() * ready.as_f64();
        if !busy || ready == Replicas::ZERO {
            return None;
        }
        let limits = [self.latency.as_ref(), self.utilisation.as_ref()];
        limits.into_iter().flatten().find_map(|limit| {
            let sample = cx.fresh(&limit.signal).ok()?;
            if sample.value <= limit.below.level {
                return None;
            }
            let more = Replicas::ceil(ready.as_f64() * (1.0 + ON_BREACH)).max(ready.plus(1));
            let seen = cx.seen(&limit.signal, sample);
            Some((more, Reason::ObjectiveMissed { seen, limit: limit.below.level }))
        })
    }

    /// What a backlog asks for beside the load.
    fn backlog(&self, cx: &Context<'_>, per_replica: Level, demand: Level) -> Option<(Replicas, Reason)> {
        let drain = self.drain.as_ref()?;
        let sample = cx.fresh(&drain.signal).ok()?;
        let rate = sample.value.get() / drain.within.as_secs_f64();
        let count = Replicas::ceil((demand.get() + rate) / per_replica.get());
        let backlog = cx.seen(&drain.signal, sample);
        Some((count, Reason::WorksOff { backlog, within: drain.within, per_replica }))
    }
}

impl Recommend for Objective {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let Some(signal) = self.demand(cx.workload()) else { return Advice::abstains(Reason::NobodyWants) };
        let sample = match cx.fresh(signal) {
            Ok(sample) => sample,
            Err(why) => return Advice::abstains(why),
        };
        let Some(capacity) = cx.capacity() else {
            return Advice::abstains(Reason::CapacityUnknown { signal: signal.clone() });
        };
        let (per_replica, demand, current) = (capacity.usable, sample.value, cx.current());
        let course = match cx.own() {
            StrategyMemory::Objective(course) => Some(course.as_ref()),
            _ => None,
        };
        let Some((course, choice)) = course.and_then(|course| Some((course, course.choice()?))) else {
            // Nothing is known of how this load moves: the present load, and never less than there is.
            let count = Replicas::ceil(demand.get() / per_replica.get()).max(current);
            let why = Reason::SharePerReplica { seen: cx.seen(signal, sample), per_replica };
            return Advice::wants(count, why);
        };
        // What the present alone asks for, over what was reckoned at the last step.
        let mut urgent = [self.breach(cx, per_replica, demand), self.backlog(cx, per_replica, demand)]
            .into_iter()
            .flatten()
            .filter(|(count, _)| *count > choice.needs);
        let urgent = urgent.next().into_iter().chain(urgent).max_by_key(|(count, _)| *count);
        if let Some((count, why)) = urgent.filter(|(count, _)| *count > current) {
            return Advice::wants(count, why);
        }
        let seen = Seen { value: demand, ..cx.seen(signal, sample) };
        let now = Replicas::ceil(demand.get() / capacity.momentary.get());
        if now > current && now > choice.needs {
            return Advice::wants(now, Reason::SharePerReplica { seen, per_replica });
        }
        let weighed = Box::new(choice.weighed(seen, per_replica, self.violations.level));
        if choice.needs >= current {
            return Advice::wants(choice.needs, Reason::ObjectiveNeeds { weighed });
        }
        let patience = course.patience(cx.at(), current, capacity.momentary);
        // What is over its limit, or waits, is no reason to take anything away.
        let floor = [self.breach(cx, per_replica, demand), self.backlog(cx, per_replica, demand)]
            .into_iter()
            .flatten()
            .map(|(count, _)| count.min(current))
            .max();
        let to = patience.to.max(floor.unwrap_or(Replicas::ZERO)).min(current);
        if to < current {
            return Advice::wants(to, Reason::ObjectiveSpares { weighed, idle: patience.idle });
        }
        Advice::wants(current, Reason::ObjectiveKeeps { weighed, idle: patience.idle, worth: patience.worth })
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.signal.iter().cloned());
        signals.extend(self.quality().map(|limit| limit.signal.clone()));
        signals.extend(self.drain.iter().map(|drain| drain.signal.clone()));
    }

    fn learns(&self, workload: &Workload) -> Option<Learning> {
        let demand = self.demand(workload)?;
        let below = self.quality().map(|limit| (limit.signal.clone(), limit.below.level));
        Some(Learning::of(workload, demand, below, self.capacity.as_ref()))
    }

    fn watches(&self) -> bool {
        true
    }

    fn watch(&self, watch: &Watch<'_>, own: &mut StrategyMemory) {
        let Some(signal) = self.demand(watch.workload) else { return };
        if !matches!(own, StrategyMemory::Objective(_)) {
            *own = StrategyMemory::Objective(Box::default());
        }
        if let StrategyMemory::Objective(course) = own {
            course.follow(self, signal, watch);
        }
    }

    fn remembers_as(&self, memory: &StrategyMemory) -> bool {
        matches!(memory, StrategyMemory::Objective(_))
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let demand = self.demand(workload);
        match (&self.signal, demand) {
            (Some(named), _) => {
                if let Some(signal) = workload.require_signal(named, &at.key("signal"), problems)
                    && signal.scope() != Scope::Total
                {
                    let why = format!("`{named}` is no total that replicas could share");
                    problems.push(
                        Problem::new(at.key("signal"), why).help("name a load, such as requests a second"),
                    );
                }
            }
            (None, None) => problems.push(
                Problem::new(at.clone(), "there is no load signal, or there are several that could be meant").help(
                    "an objective needs the load that replicas share: add `rps: { balancer: requestsPerSecond }` \
                     under `signals`, or name one of them with `signal`",
                ),
            ),
            (None, Some(_)) => {}
        }
        let unit = demand.and_then(|name| workload.signals.get(name)).map(Signal::unit);
        if let Some(hint) = &self.capacity {
            hint.check(unit, &at.key("capacity"), problems);
        } else if self.quality().is_none() {
            problems.push(Problem::new(at.clone(), "nothing says what one replica carries").help(
                "write `capacity: { perReplica: 100 }`, or `latency: { signal: p95, below: 200ms }` from \
                     which it is learned",
            ));
        }
        let share = self.violations.level.get();
        if !self.violations.fits(Unit::Ratio) || !(1e-5..=0.2).contains(&share) {
            problems.push(
                Problem::new(at.key("violations"), "is a share of time between 0.001% and 20%, such as 0.1%")
                    .help("never to miss an objective would take more replicas than there are"),
            );
        }
        for (key, limit, scope) in [
            ("latency", &self.latency, Scope::Quality),
            ("utilisation", &self.utilisation, Scope::PerReplica),
        ] {
            let Some(limit) = limit else { continue };
            let at = at.key(key);
            let Some(signal) = workload.require_signal(&limit.signal, &at.key("signal"), problems) else {
                continue;
            };
            super::check_unit(&limit.below, signal, &at.key("below"), problems);
            super::check_positive(&limit.below, &at.key("below"), problems);
            if signal.scope() != scope {
                let what = if scope == Scope::Quality { "no latency" } else { "nothing each replica shows" };
                problems.push(Problem::new(at.key("signal"), format!("`{}` is {what}", limit.signal)));
            }
        }
        if let Some(drain) = &self.drain {
            let at = at.key("drain");
            workload.require_signal(&drain.signal, &at.key("signal"), problems);
            if drain.within.is_zero() {
                problems.push(Problem::new(at.key("within"), "must be longer than nothing"));
            }
        }
        if self.start_up > Span::minutes(10) {
            problems.push(Problem::new(
                at.key("startUp"),
                "is longer than 10m, the farthest that the online forecast reaches",
            ));
        }
    }
}

#[cfg(test)]
mod tests;
