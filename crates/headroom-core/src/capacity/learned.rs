//! Learning what one replica carries, from what is seen.
//!
//! Users are never made to wait in order to learn. What was carried within the objective is known to be carried;
//! what lies a little above is tried only as the load itself happens to grow or as the count follows it down, by a
//! step that shrinks as the limit comes near ([`STEP`]). A rare moment of the load is met by what is likely to be carried
//! ([`Capacity::momentary`]), for a fleet sized by the least that is known for the most that may come would never see
//! the load that teaches it better. A breach that comes anyway (a surge) teaches the other
//! side at once: with more waiting than the limit allows every replica is busy, so what they answer meanwhile is
//! what they can. A second of that is enough, for the replicas that end it are on their way.
//!
//! Time is cut into *measurements* as long as the objective's signal looks back. One counts if the set of replicas
//! stayed the same and was warm. Evidence is censored both ways, and each side errs to the safe one: a measurement
//! within the limit says "at least its **mean** load is carried", one beyond it "less than its **highest** load is",
//! the highest since the breach began, for a backlog outlives what made it. The two are kept by bands of load and
//! read as a step function: the load that leaves the least evidence on its wrong side. Evidence fades where it is
//! contradicted, not with time: what was carried by day is still known in the morning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Basis, Capacity, Learning};
use crate::units::{Level, Span, Timestamp, Unit};

/// One band of load is this many times the one below it: finer than the steps by which a count changes load, coarser
/// than its noise.
const BAND: f64 = 1.1;
/// Bands kept: five decades of load; those farthest from the load at hand go first.
const BANDS: usize = 120;
/// The most that is tried above what was carried, while the signal is far from its limit. The load of a replica grows
/// by as much whenever one of five goes.
const STEP: f64 = 0.25;
/// The most that a rare moment is reckoned to be carried above it, likewise: two queueing servers at a third of their
/// limit's latency carry twice as much (M/M/1: the latency is the service time ÷ (1 − load)).
const MOMENTARY: f64 = 1.0;
/// Of what was seen to breach, so much is used at most: a measurement's seconds differ from their mean by a tenth.
const BELOW_BREACH: f64 = 0.9;
/// Of what saturated replicas answered, so much may be used before more was seen to be carried. For one server and
/// random arrivals the 95 % quantile of latency is 3 service times ÷ (1 − load), so the share is
/// 1 − 3 × service time ÷ limit (M/M/1, Kleinrock 1975); several servers do better, so at least the lower bound.
const SATURATED_SHARE: (f64, f64) = (0.6, 0.85);
/// The most of it that is ever used: beyond, the queue's length is beyond any limit.
const SATURATED_MOST: f64 = 0.92;
/// A band's evidence counts this much at the most, so that a change of mind takes a handful of measurements.
const MOST_WEIGHT: f64 = 8.0;
/// What is left of the evidence that less is carried when more is seen to be, and the other way round. A breach is
/// dearer than a replica, so its evidence stays longer.
const BREACH_FADES: f64 = 0.85;
/// See [`BREACH_FADES`].
const CARRIED_FADES: f64 = 0.7;
/// Evidence that has faded to less is dropped.
const LEAST_WEIGHT: f64 = 0.1;
/// What arrived while all replicas were busy is known to this share of what they answered, or nothing is concluded: a
/// load that is counted over a window is seen to change half a window late.
const KNOWN_TO: f64 = 0.15;
/// The longest wait for a new replica to warm up. One that takes longer is measured as it is.
const LONGEST_WARM_UP: Span = Span::seconds(30);
/// The shortest measurement: balancers and processes are read once a second.
const SHORTEST: Span = Span::seconds(1);
/// A silence longer than this between two looks ends a measurement: what happened in between is not known.
const LONGEST_SILENCE: Span = Span::seconds(5);
/// The work one unit of load makes is another when it differs by this factor …
const ANOTHER_WORK: f64 = 1.4;
/// … in so many measurements in a row, …
const ANOTHER_FOR: u32 = 5;
/// … once it is known from so many.
const WORK_KNOWN: u32 = 20;
/// Work per unit of load is compared where the load is between these shares of what is carried: below, what a replica
/// does by itself outweighs it; above, queues do.
const WORK_BETWEEN: (f64, f64) = (0.3, 0.9);
/// How fast the work per unit of load as it is now follows, and as it is known.
const WORK_NOW: f64 = 0.3;
/// See [`WORK_NOW`].
const WORK_USUAL: f64 = 0.02;
/// A core is taken to be used to this share at the most, until more was seen to be carried.
const CORE_SHARE: f64 = 0.8;
/// Below this share of a core, what a replica does by itself is a large part of it.
const CPU_TELLS: f64 = 0.1;
/// A figure that scales with utilisation is known to so much, either way.
const UTILISATION_SPREAD: f64 = 0.15;

/// What is seen of a workload at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) at: Timestamp,
    pub(crate) ready: u32,
    /// The load, in all.
    pub(crate) demand: Option<f64>,
    /// The signal with the limit.
    pub(crate) quality: Option<f64>,
    pub(crate) errors: Option<f64>,
    pub(crate) in_flight: Option<f64>,
    /// The share of a core that a replica uses.
    pub(crate) cpu: Option<f64>,
    /// What all ready replicas run; `None` where that is not known or differs.
    pub(crate) version: Option<&'a str>,
    /// Whether they run different things.
    pub(crate) is_mixed: bool,
    /// How long a start takes.
    pub(crate) start_up: Option<Span>,
}

/// What is known of the capacity of one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Learned {
    /// Which of the workload's strategies asks.
    pub(crate) strategy: usize,
    pub(crate) learning: Learning,
    /// How long one measurement takes.
    length: Span,
    bands: BTreeMap<i32, Band>,
    /// How far the load signal looks back.
    #[serde(default)]
    window: Span,
    /// What a replica answered while more waited than the limit allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saturated: Option<f64>,
    /// Load per unit of the limited signal, where that is a utilisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_utilisation: Option<f64>,
    /// Load that would take a whole core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_core: Option<f64>,
    /// The least time a unit of load was in the system, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work: Option<Work>,
    /// The highest load since the breach at hand began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breach: Option<f64>,
    /// Measurements that counted.
    evidence: u32,
    ready: u32,
    /// Until then new replicas warm up.
    warm_at: Timestamp,
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under_way: Option<Measurement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    busy: Option<Busy>,
}

/// The evidence about one band of load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Band {
    /// How much says that it is carried, and the highest such load.
    carried: f64,
    carried_load: f64,
    /// How much says that it is not, and the lowest such load.
    breached: f64,
    breached_load: f64,
    /// How near to its limit the signal was when it was carried: 1 is the limit.
    nearness: f64,
}

/// The work that one unit of load makes: core-seconds, or seconds in the system.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Work {
    usual: f64,
    now: f64,
    seen: u32,
    differs: u32,
}

/// One measurement under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Measurement {
    began: Timestamp,
    last: Timestamp,
    demand: f64,
    /// The sum of load × time, in units × seconds.
    sum: f64,
    most: f64,
    cpu: Mean,
    waits: Mean,
}

/// A stretch of time in which more waits than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Busy {
    began: Timestamp,
    last: Timestamp,
    demand: f64,
    /// What arrived, in units × seconds.
    arrived: f64,
    most: f64,
    least: f64,
    /// In the system: at its beginning, at its end, and at the least.
    first_in_flight: f64,
    in_flight: f64,
    least_in_flight: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn push(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

/// What was found in the evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Step {
    carried: Option<f64>,
    nearness: f64,
    breached: Option<f64>,
}

/// What follows from it; see [`Capacity`].
#[derive(Clone, Copy, Debug)]
struct Found {
    usable: f64,
    momentary: f64,
    low: f64,
    high: Option<f64>,
    basis: Basis,
}

impl Learned {
    /// Nothing known yet. `length` is how far the objective's signal looks back, `window` how far the load does.
    pub(crate) fn new(strategy: usize, learning: Learning, length: Span, window: Span) -> Self {
        Self {
            strategy,
            learning,
            length: length.max(SHORTEST),
            bands: BTreeMap::new(),
            window,
            saturated: None,
            per_utilisation: None,
            per_core: None,
            service: None,
            work: None,
            breach: None,
            evidence: 0,
            ready: 0,
            warm_at: Timestamp::from_millis(0),
            version: None,
            under_way: None,
            busy: None,
        }
    }

    /// Whether this is about the same load, objective and signals as `other`; a policy may have changed.
    pub(crate) fn is_about(&self, other: &Self) -> bool {
        let without_hint = |learned: &Self| Learning { hint: None, ..learned.learning.clone() };
        without_hint(self) == without_hint(other)
    }

    /// Takes over what `known` knows.
    pub(crate) fn take_over(&mut self, known: Self) {
        let own = std::mem::replace(self, known);
        (self.strategy, self.learning, self.length, self.window) =
            (own.strategy, own.learning, own.length, own.window);
    }

    /// Takes in what is seen now.
    pub(crate) fn learn(&mut self, look: &Look<'_>) {
        let Some(demand) = look.demand.filter(|_| look.ready > 0) else {
            (self.under_way, self.busy) = (None, None);
            return;
        };
        if look.version.is_some() && look.version != self.version.as_deref() {
            // What another version carries is a guess until it is measured: it stands as long as nothing contradicts.
            if self.version.is_some() {
                self.doubt(1.0);
            }
            self.version = look.version.map(str::to_owned);
        }
        if look.ready != self.ready {
            let grew = look.ready > self.ready;
            let warm_up = look.start_up.unwrap_or(self.length).max(self.length).min(LONGEST_WARM_UP);
            self.warm_at = look.at.plus(if grew { warm_up } else { self.length });
            self.ready = look.ready;
            (self.under_way, self.busy) = (None, None);
        }
        let per_replica = demand / f64::from(look.ready);
        if let Some(highest) = &mut self.breach {
            *highest = highest.max(per_replica);
        } else if self.is_breached(look) {
            self.breach = Some(per_replica);
        }
        // A clock set back would leave the warm-up in a far future.
        self.warm_at = self.warm_at.min(look.at.plus(LONGEST_WARM_UP.max(self.length)));
        if look.is_mixed || look.at < self.warm_at {
            (self.under_way, self.busy) = (None, None);
            return;
        }
        self.saturation(look, demand);
        let silent = |m: &Measurement| look.at < m.last || look.at.since(m.last) > LONGEST_SILENCE;
        match self.under_way.take_if(|m| !silent(m)) {
            None => self.under_way = Some(Measurement::begin(look, demand)),
            Some(mut measurement) => {
                measurement.go_on(look, demand);
                if look.at.since(measurement.began) >= self.length {
                    self.measured(&measurement, look);
                    self.under_way = Some(Measurement::begin(look, demand));
                } else {
                    self.under_way = Some(measurement);
                }
            }
        }
    }

    /// Whether the objective is missed now; `false` where that is not known.
    fn is_breached(&self, look: &Look<'_>) -> bool {
        let above =
            |value: Option<f64>, limit: Option<f64>| matches!((value, limit), (Some(v), Some(l)) if v > l);
        above(look.quality, self.limit()) || above(look.errors, self.errors_borne())
    }

    fn limit(&self) -> Option<f64> {
        self.learning.quality.as_ref().map(|q| q.limit.get()).filter(|limit| *limit > 0.0)
    }

    fn errors_borne(&self) -> Option<f64> {
        self.learning.errors.as_ref().map(|(_, borne)| borne.get())
    }

    /// Whether the limited signal is a time, so that queues can be reckoned with.
    fn is_latency(&self) -> bool {
        self.learning.quality.as_ref().is_some_and(|q| q.is_time)
    }

    /// Takes in a whole measurement.
    fn measured(&mut self, m: &Measurement, look: &Look<'_>) {
        let replicas = f64::from(self.ready);
        let seconds = m.last.since(m.began).as_secs_f64();
        let load = m.sum / seconds / replicas;
        if !(load > 0.0 && load.is_finite()) {
            return;
        }
        let breached = self.is_breached(look);
        if let Some(used) = m.cpu.get().filter(|used| *used >= CPU_TELLS) {
            self.per_core = Some(follow(self.per_core, load / used, WORK_NOW));
        }
        let Some(limit) = self.limit() else { return };
        if !self.is_latency()
            && let Some(utilisation) = look.quality.filter(|u| *u > 0.0)
        {
            self.per_utilisation = Some(follow(self.per_utilisation, load / utilisation, WORK_NOW));
        }
        match look.quality {
            _ if breached => {
                let blamed = self.breach.unwrap_or(0.0).max(m.most / replicas);
                self.breach_at(blamed);
            }
            Some(value) => {
                self.breach = None;
                self.carried_at(load, value / limit);
                self.work(m, load);
            }
            // Nothing was answered, so nothing was carried.
            None => {}
        }
    }

    /// More waits than the limit allows, however fast it is answered: all replicas are busy, and what they answer is
    /// what they can.
    fn saturation(&mut self, look: &Look<'_>, demand: f64) {
        let refuses = matches!((look.errors, self.errors_borne()), (Some(e), Some(borne)) if e > borne);
        let (Some(limit), Some(in_flight)) = (self.limit(), look.in_flight) else { return };
        if !self.is_latency() || refuses {
            self.busy = None;
            return;
        }
        let fresh = Busy::begin(look.at, demand, in_flight);
        let Some(mut busy) = self.busy.replace(fresh) else { return };
        if look.at < busy.last || look.at.since(busy.last) > LONGEST_SILENCE {
            return;
        }
        let moves = busy.go_on(look.at, demand, in_flight);
        let (answered, seconds) = busy.answered();
        // Nobody has waited longer than the limit: some replica may have been idle.
        if answered <= 0.0 || busy.least_in_flight < answered * limit {
            return;
        }
        let unsure = (busy.most - busy.least) * self.window.as_secs_f64() / 2.0;
        let known = unsure <= KNOWN_TO * answered * seconds;
        if !known && moves {
            return;
        }
        if !known || look.at.since(busy.began) < SHORTEST {
            self.busy = Some(busy);
            return;
        }
        let each = answered / f64::from(self.ready);
        // A replica that idled meanwhile makes it too low, nothing makes it too high.
        let rate = if self.saturated.is_some_and(|known| each < known) { 0.2 } else { 0.5 };
        self.saturated = Some(follow(self.saturated, each, rate));
        self.evidence = self.evidence.saturating_add(1);
    }

    fn carried_at(&mut self, load: f64, nearness: f64) {
        self.evidence = self.evidence.saturating_add(1);
        for (_, band) in self.bands.range_mut(..=band_of(load)) {
            if band.breached_load <= load {
                band.breached *= BREACH_FADES;
            }
        }
        // More than they can is not carried by replicas that can no more.
        if let Some(saturated) = &mut self.saturated {
            *saturated = saturated.max(load);
        }
        let band = self.bands.entry(band_of(load)).or_default();
        band.nearness =
            if band.carried > 0.0 { follow(Some(band.nearness), nearness, WORK_NOW) } else { nearness };
        band.carried = (band.carried + 1.0).min(MOST_WEIGHT);
        band.carried_load = band.carried_load.max(load);
        self.tidy(load);
    }

    fn breach_at(&mut self, load: f64) {
        self.evidence = self.evidence.saturating_add(1);
        for (_, band) in self.bands.range_mut(band_of(load)..) {
            if band.carried_load >= load {
                band.carried *= CARRIED_FADES;
            }
        }
        let band = self.bands.entry(band_of(load)).or_default();
        band.breached_load = if band.breached > 0.0 { band.breached_load.min(load) } else { load };
        band.breached = (band.breached + 1.0).min(MOST_WEIGHT);
        self.tidy(load);
    }

    /// Drops what has faded, and what is farthest from `load` where there is too much.
    fn tidy(&mut self, load: f64) {
        self.bands.retain(|_, band| {
            if band.carried < LEAST_WEIGHT {
                (band.carried, band.carried_load) = (0.0, 0.0);
            }
            if band.breached < LEAST_WEIGHT {
                (band.breached, band.breached_load) = (0.0, 0.0);
            }
            band.carried + band.breached > 0.0
        });
        while self.bands.len() > BANDS {
            let here = band_of(load);
            let first = self.bands.keys().next().map_or(0, |band| band.abs_diff(here));
            let last = self.bands.keys().next_back().map_or(0, |band| band.abs_diff(here));
            if first > last {
                self.bands.pop_first()
            } else {
                self.bands.pop_last()
            };
        }
    }

    /// Notices that a unit of load makes another amount of work than it used to: another version, another machine.
    fn work(&mut self, m: &Measurement, load: f64) {
        // Waiting only adds to it, so the least that was seen is nearest to the service itself.
        if let Some(wait) = m.waits.get() {
            self.service = Some(self.service.map_or(wait, |known| known.min(wait)));
        }
        let carried = self.step().carried.unwrap_or(0.0);
        if load < carried * WORK_BETWEEN.0 || load > carried * WORK_BETWEEN.1 {
            return;
        }
        let cpu = m.cpu.get().filter(|used| *used >= CPU_TELLS).map(|used| used / load);
        let Some(seen) = cpu.or(m.waits.get()).filter(|seen| *seen > 0.0) else { return };
        let Some(work) = &mut self.work else {
            self.work = Some(Work { usual: seen, now: seen, seen: 1, differs: 0 });
            return;
        };
        work.now = follow(Some(work.now), seen, WORK_NOW);
        work.seen = work.seen.saturating_add(1);
        let ratio = work.now / work.usual;
        if work.seen > WORK_KNOWN && !(1.0 / ANOTHER_WORK..=ANOTHER_WORK).contains(&ratio) {
            work.differs += 1;
        } else {
            work.differs = 0;
            work.usual = follow(Some(work.usual), seen, WORK_USUAL);
        }
        if work.differs >= ANOTHER_FOR {
            self.doubt(1.0 / ratio);
        }
    }

    /// Keeps what is known as a guess, scaled by `factor`: the first contradiction outweighs it.
    fn doubt(&mut self, factor: f64) {
        // More work for the same load lowers what can be carried; less work does not prove that more can be.
        let carried = self.step().carried.map(|carried| carried * factor.min(1.0));
        self.bands.clear();
        if let Some(load) = carried.filter(|load| *load > 0.0) {
            let guess = Band { carried: 1.0, carried_load: load, nearness: 1.0, ..Band::default() };
            self.bands.insert(band_of(load), guess);
        }
        (self.saturated, self.service, self.work, self.breach) = (None, None, None, None);
        (self.per_core, self.per_utilisation) = (None, None);
        (self.evidence, self.under_way, self.busy) = (0, None, None);
    }

    /// The load that leaves the least evidence on its wrong side; among equals the lower.
    fn step(&self) -> Step {
        let mut wrong: f64 = self.bands.values().map(|band| band.carried).sum();
        let mut best = (wrong, None);
        for (index, band) in &self.bands {
            // Within a band, the higher of the two loads decides on which side of the step the other lies.
            wrong -= band.carried;
            let breach_counts = band.breached > 0.0 && band.breached_load <= band.carried_load;
            let with = wrong + if breach_counts { band.breached } else { 0.0 };
            if with < best.0 && band.carried > 0.0 {
                best = (with, Some(*index));
            }
            wrong += band.breached;
        }
        let carried = best.1.and_then(|index| self.bands.get(&index));
        let floor = carried.map_or(0.0, |band| band.carried_load);
        let breached = self.bands.values().filter(|band| band.breached > 0.0 && band.breached_load > floor);
        Step {
            carried: carried.map(|band| band.carried_load),
            nearness: carried.map_or(1.0, |band| band.nearness),
            breached: breached.map(|band| band.breached_load).reduce(f64::min),
        }
    }

    /// What is known of the capacity; `None` while nothing is.
    pub(crate) fn capacity(&self, unit: Unit) -> Option<Capacity> {
        let hint = self.learning.hint.map(Level::get).filter(|hint| *hint > 0.0);
        let by_hint = || hint.map(|hint| Found::exactly(hint, hint, None, Basis::Hint));
        let found = match (self.limit(), self.per_utilisation) {
            (Some(limit), Some(per)) if !self.is_latency() => {
                let usable = per * limit;
                let (low, high) = (usable * (1.0 - UTILISATION_SPREAD), usable * (1.0 + UTILISATION_SPREAD));
                Some(Found::exactly(usable, low, Some(high), Basis::Utilisation))
            }
            _ => self.by_evidence(hint),
        };
        let Found { usable, momentary, low, high, basis } = found.or_else(by_hint)?;
        let level = |value: f64| Level::new(value).ok().filter(|level| *level > Level::ZERO);
        Some(Capacity {
            usable: level(usable)?,
            momentary: level(momentary.max(usable))?,
            low: level(low.min(usable))?,
            high: high.and_then(|high| level(high.max(usable))),
            evidence: self.evidence,
            unit,
            basis,
        })
    }

    /// From what was carried, what breached and what was answered when all was busy.
    fn by_evidence(&self, hint: Option<f64>) -> Option<Found> {
        let step = self.step();
        let carried = step.carried;
        let slack = (1.0 - step.nearness).clamp(0.0, 1.0);
        let tried = carried.map(|carried| carried * (1.0 + STEP * slack));
        let saturated = self.saturated.map(|most| {
            let (least, usual) = SATURATED_SHARE;
            let share = match (self.service, self.limit()) {
                (Some(service), Some(limit)) => (1.0 - 3.0 * service / limit).clamp(least, usual),
                _ => least,
            };
            (most, most * share)
        });
        // What is reckoned with where nothing speaks against it …
        let (mut usable, mut basis) = match (hint, tried, saturated) {
            (Some(hint), Some(tried), _) if tried > hint => (tried, Basis::Carried),
            (Some(hint), ..) => (hint, Basis::Hint),
            (None, Some(tried), Some((_, share))) if share > tried => (share, Basis::Saturated),
            (None, Some(tried), _) => (tried, Basis::Carried),
            (None, None, Some((_, share))) => (share, Basis::Saturated),
            // Nothing but breaches: a half of the least is a guess, and the next measurement tells.
            (None, None, None) => (step.breached? / 2.0, Basis::Breached),
        };
        let mut momentary = match (hint, carried) {
            (None, Some(carried)) => usable.max(carried * (1.0 + MOMENTARY * slack)),
            _ => usable,
        };
        // … and what does.
        let floor = carried.unwrap_or(0.0);
        let mut cap = |limit: f64, by: Basis| {
            let limit = limit.max(floor);
            momentary = momentary.min(limit);
            if limit < usable {
                (usable, basis) = (limit, by);
            }
        };
        if let Some(breached) = step.breached {
            cap(breached * BELOW_BREACH, Basis::Breached);
        }
        if let Some((most, _)) = saturated {
            cap(most * SATURATED_MOST, Basis::Saturated);
        }
        if let Some(per_core) = self.per_core.filter(|_| hint.is_none()) {
            cap(per_core * CORE_SHARE, Basis::Core);
        }
        let low = if basis == Basis::Hint { usable } else { carried.unwrap_or(usable) };
        let high = [step.breached, saturated.map(|(most, _)| most)].into_iter().flatten().reduce(f64::min);
        Some(Found { usable, momentary, low, high, basis })
    }
}

impl Found {
    /// A figure that holds at every moment.
    fn exactly(usable: f64, low: f64, high: Option<f64>, basis: Basis) -> Self {
        Self { usable, momentary: usable, low, high, basis }
    }
}

impl Busy {
    fn begin(at: Timestamp, demand: f64, in_flight: f64) -> Self {
        Self {
            began: at,
            last: at,
            demand,
            arrived: 0.0,
            most: demand,
            least: demand,
            first_in_flight: in_flight,
            in_flight,
            least_in_flight: in_flight,
        }
    }

    /// Goes on to `at`; whether the load is higher or lower than all before.
    fn go_on(&mut self, at: Timestamp, demand: f64, in_flight: f64) -> bool {
        let moves = demand > self.most || demand < self.least;
        self.arrived += f64::midpoint(self.demand, demand) * at.since(self.last).as_secs_f64();
        (self.last, self.demand, self.in_flight) = (at, demand, in_flight);
        (self.most, self.least) = (self.most.max(demand), self.least.min(demand));
        self.least_in_flight = self.least_in_flight.min(in_flight);
        moves
    }

    /// How much was answered a second, and in how many seconds.
    fn answered(&self) -> (f64, f64) {
        let seconds = self.last.since(self.began).as_secs_f64();
        let arrived = self.arrived - (self.in_flight - self.first_in_flight);
        (if seconds > 0.0 { arrived / seconds } else { 0.0 }, seconds)
    }
}

impl Measurement {
    fn begin(look: &Look<'_>, demand: f64) -> Self {
        Self {
            began: look.at,
            last: look.at,
            demand,
            sum: 0.0,
            most: demand,
            cpu: Mean::default(),
            waits: Mean::default(),
        }
    }

    fn go_on(&mut self, look: &Look<'_>, demand: f64) {
        // Between two looks the load is taken to have gone straight from one to the other.
        self.sum += f64::midpoint(self.demand, demand) * look.at.since(self.last).as_secs_f64();
        (self.last, self.demand) = (look.at, demand);
        self.most = self.most.max(demand);
        self.cpu.push(look.cpu);
        // Little's law: what is in the system is the load times how long it stays.
        self.waits.push(look.in_flight.filter(|_| demand > 0.0).map(|in_flight| in_flight / demand));
    }
}

/// `known`, moved by `rate` of the way towards `seen`.
fn follow(known: Option<f64>, seen: f64, rate: f64) -> f64 {
    known.map_or(seen, |known| known + (seen - known) * rate)
}

/// The band that `load` lies in.
#[expect(clippy::cast_possible_truncation, reason = "the logarithm of a float to the base 1.1 is below 7450")]
fn band_of(load: f64) -> i32 {
    (libm::log(load.max(f64::MIN_POSITIVE)) / libm::log(BAND)).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Quality;
    use crate::units::Replicas;
    use proptest::prelude::*;

    /// The limit of latency in the tests, in seconds.
    const LIMIT: f64 = 0.25;

    fn learning(hint: Option<f64>) -> Learning {
        Learning {
            demand: "rps".parse().unwrap(),
            quality: Some(Quality {
                signal: "p95".parse().unwrap(),
                limit: Level::new(LIMIT).unwrap(),
                is_time: true,
            }),
            errors: Some(("errors".parse().unwrap(), Level::new(0.01).unwrap())),
            in_flight: Some("inFlight".parse().unwrap()),
            cpu: Some("cpu".parse().unwrap()),
            hint: hint.and_then(|hint| Level::new(hint).ok()),
        }
    }

    /// Replicas that each carry `capacity` a second with exponential service, one server each: the fluid of the
    /// backlog, and the latency of M/M/1 on top.
    struct World {
        learned: Learned,
        at: Timestamp,
        capacity: f64,
        backlog: f64,
        version: &'static str,
        quality: f64,
    }

    impl World {
        fn new(hint: Option<f64>) -> Self {
            Self {
                learned: Learned::new(0, learning(hint), Span::seconds(2), Span::millis(500)),
                at: Timestamp::from_millis(1_000_000),
                capacity: 100.0,
                backlog: 0.0,
                version: "a",
                quality: 0.0,
            }
        }

        /// `seconds` of `demand` on `ready` replicas.
        fn run(&mut self, seconds: u32, demand: f64, ready: u32) -> &mut Self {
            for _ in 0..seconds * 2 {
                self.at = self.at.plus(Span::millis(500));
                let total = self.capacity * f64::from(ready);
                self.backlog = (self.backlog + (demand - total) * 0.5).max(0.0);
                let load = (demand / total).min(0.99);
                let service = 1.0 / self.capacity;
                self.quality = 3.0 * service / (1.0 - load) + self.backlog / total;
                let in_flight = self.backlog + demand.min(total) * service / (1.0 - load);
                self.learned.learn(&Look {
                    at: self.at,
                    ready,
                    demand: Some(demand),
                    quality: Some(self.quality),
                    errors: Some(0.0),
                    in_flight: Some(in_flight),
                    cpu: Some(load),
                    version: Some(self.version),
                    is_mixed: false,
                    start_up: Some(Span::seconds(3)),
                });
            }
            self
        }

        fn capacity(&self) -> Option<Capacity> {
            self.learned.capacity(Unit::PerSecond)
        }

        fn usable(&self) -> f64 {
            self.capacity().unwrap().usable.get()
        }
    }

    fn near(value: f64, low: f64, high: f64) {
        assert!((low..=high).contains(&value), "{value} is not between {low} and {high}");
    }

    #[test]
    fn nothing_seen_is_no_capacity_and_a_hint_stands_until_something_is() {
        assert_eq!(World::new(None).capacity(), None);
        let hinted = World::new(Some(80.0)).capacity().unwrap();
        assert_eq!((hinted.usable.get(), hinted.basis, hinted.evidence), (80.0, Basis::Hint, 0));
    }

    #[test]
    fn what_was_carried_is_known_and_a_little_more_is_tried() {
        let mut world = World::new(None);
        world.run(10, 60.0, 2);
        let capacity = world.capacity().unwrap();
        assert_eq!((capacity.low.get(), capacity.basis), (30.0, Basis::Carried));
        near(capacity.momentary.get(), capacity.usable.get() * 1.2, 60.0);
        near(capacity.usable.get(), 31.0, 30.0 * (1.0 + STEP));
        assert_eq!(capacity.high, None);
    }

    /// The count follows what is learned; nobody is starved on the way, and in the end the true figure is known: at
    /// a limit of 25 service times one server carries 1 − 3 ÷ 25 = 88 % of its capacity.
    #[test]
    fn a_steady_load_teaches_the_capacity_step_by_step() {
        let mut world = World::new(None);
        world.run(10, 600.0, 20);
        let mut missed = 0;
        for _ in 0..60 {
            let ready = Replicas::ceil(600.0 / world.usable()).0;
            world.run(8, 600.0, ready);
            missed += u32::from(world.quality > LIMIT);
        }
        near(world.usable(), 75.0, 92.0);
        assert!(missed <= 2, "{missed} of 60 measurements missed the objective");
    }

    #[test]
    fn a_surge_teaches_at_once_what_replicas_can() {
        let mut world = World::new(None);
        world.run(10, 60.0, 2).run(6, 600.0, 2);
        let capacity = world.capacity().unwrap();
        assert_eq!(capacity.basis, Basis::Saturated);
        near(capacity.usable.get(), 60.0, 88.0);
        near(capacity.high.unwrap().get(), 90.0, 110.0);
    }

    /// New replicas come after two seconds, sooner than a whole measurement of the surge.
    #[test]
    fn a_surge_teaches_before_the_replicas_that_end_it_come() {
        let mut world = World::new(None);
        world.run(9, 60.0, 2).run(2, 600.0, 2).run(1, 600.0, 8);
        let capacity = world.capacity().unwrap();
        assert_eq!(capacity.basis, Basis::Saturated);
        near(capacity.usable.get(), 60.0, 88.0);
        near(capacity.momentary.get(), 60.0, 92.0);
    }

    /// What is counted over a window says too little while it rises.
    #[test]
    fn a_load_that_still_rises_says_nothing_of_what_is_answered() {
        let mut world = World::new(None);
        world.run(9, 60.0, 2);
        for step in 1..=6 {
            world.run(1, 60.0 + 200.0 * f64::from(step), 2);
        }
        assert_eq!(world.learned.saturated, None);
    }

    #[test]
    fn the_backlog_of_a_surge_is_not_blamed_on_the_load_after_it() {
        let mut world = World::new(None);
        world.run(60, 160.0, 2).run(4, 600.0, 2);
        // Many are there now, and the backlog is still being worked off.
        world.run(12, 600.0, 12);
        near(world.usable(), 75.0, 92.0);
    }

    #[test]
    fn new_replicas_are_left_out_while_they_warm_up() {
        let mut world = World::new(None);
        world.run(10, 60.0, 2);
        let before = world.capacity();
        world.run(2, 60.0, 3);
        assert_eq!(world.capacity(), before, "a start takes 3 s, so it is warm after 3 more");
    }

    #[test]
    fn one_hiccup_unlearns_nothing_and_many_do() {
        let mut world = World::new(None);
        world.run(60, 160.0, 2);
        let before = world.usable();
        let breach = |world: &mut World| {
            world.learned.breach_at(70.0);
            world.learned.breach = None;
        };
        breach(&mut world);
        near(world.usable(), 70.0, before);
        assert!(world.capacity().unwrap().low.get() >= 80.0);
        for _ in 0..8 {
            breach(&mut world);
        }
        near(world.usable(), 1.0, 63.0);
    }

    #[test]
    fn a_hint_gives_way_to_what_is_seen_in_both_directions() {
        let mut world = World::new(Some(150.0));
        world.run(20, 220.0, 2);
        near(world.usable(), 40.0, 99.0);
        let mut modest = World::new(Some(20.0));
        modest.run(20, 160.0, 2);
        near(modest.usable(), 80.0, 92.0);
    }

    /// A service that takes twice as long is noticed by its cpu time, also while nothing is late yet.
    #[test]
    fn slower_work_is_noticed_and_relearned() {
        let mut world = World::new(None);
        world.run(20, 160.0, 2).run(100, 100.0, 2);
        near(world.usable(), 80.0, 92.0);
        world.capacity = 55.0;
        world.run(40, 70.0, 2);
        near(world.usable(), 30.0, 55.0);
    }

    #[test]
    fn another_version_starts_from_a_guess() {
        let mut world = World::new(None);
        world.run(60, 160.0, 2);
        world.version = "b";
        world.run(1, 160.0, 2);
        let guess = world.capacity().unwrap();
        assert_eq!(
            (guess.evidence, guess.low.get()),
            (0, 80.0),
            "what is known stands until something contradicts"
        );
        world.capacity = 50.0;
        world.run(12, 160.0, 2);
        near(world.usable(), 25.0, 50.0);
    }

    /// Half of the new version's replicas say nothing about either.
    #[test]
    fn nothing_is_learned_from_a_mixture() {
        let mut world = World::new(None);
        world.run(10, 60.0, 2);
        let before = world.capacity();
        let look = Look {
            at: world.at.plus(Span::seconds(1)),
            ready: 2,
            demand: Some(190.0),
            quality: Some(0.01),
            errors: None,
            in_flight: None,
            cpu: None,
            version: None,
            is_mixed: true,
            start_up: None,
        };
        for second in 1..30 {
            world.learned.learn(&Look { at: world.at.plus(Span::seconds(second)), ..look });
        }
        assert_eq!(world.capacity(), before);
    }

    #[test]
    fn a_utilisation_scales_with_the_load() {
        let mut learning = learning(None);
        learning.quality =
            Some(Quality { signal: "cpu".parse().unwrap(), limit: Level::new(0.7).unwrap(), is_time: false });
        let mut learned = Learned::new(0, learning, Span::seconds(1), Span::seconds(1));
        for second in 1..20 {
            learned.learn(&Look {
                at: Timestamp::from_millis(second * 1000),
                ready: 4,
                demand: Some(200.0),
                quality: Some(0.35),
                errors: None,
                in_flight: None,
                cpu: None,
                version: None,
                is_mixed: false,
                start_up: None,
            });
        }
        let capacity = learned.capacity(Unit::PerSecond).unwrap();
        near(capacity.usable.get(), 99.9, 100.1);
        assert_eq!(capacity.basis, Basis::Utilisation);
    }

    fn any_value() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(0.0)),
            1 => Just(Some(1e300)),
            6 => (0.0..1000.0_f64).prop_map(Some),
            3 => (0.0..1.0_f64).prop_map(Some),
        ]
    }

    proptest! {
        /// Whatever is seen, in whatever order of time: a capacity is a positive figure between its bounds, memory is
        /// bounded, and what was written down and read back goes on the same.
        #[test]
        fn any_past_gives_a_sane_figure_and_survives_a_restart(
            looks in proptest::collection::vec(
                ((-3_000_i64..9_000), 0_u32..5, any_value(), any_value(), any_value(), any_value(), any_value()),
                1..200,
            ),
            hint in prop_oneof![Just(None), Just(Some(50.0))],
        ) {
            let mut learned = Learned::new(0, learning(hint), Span::seconds(2), Span::millis(500));
            let mut at = 1_000_000;
            for (passed, ready, demand, quality, errors, in_flight, cpu) in looks {
                at += passed;
                learned.learn(&Look {
                    at: Timestamp::from_millis(at),
                    ready,
                    demand,
                    quality,
                    errors,
                    in_flight,
                    cpu,
                    version: (ready == 3).then_some("b"),
                    is_mixed: false,
                    start_up: Some(Span::seconds(1)),
                });
                if let Some(capacity) = learned.capacity(Unit::PerSecond) {
                    prop_assert!(capacity.usable > Level::ZERO);
                    prop_assert!(capacity.momentary >= capacity.usable);
                    prop_assert!(capacity.low <= capacity.usable);
                    prop_assert!(capacity.high.is_none_or(|high| high >= capacity.usable));
                }
                prop_assert!(learned.bands.len() <= BANDS);
                let text = serde_json::to_string(&learned).unwrap();
                let read: Learned = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&read, &learned);
            }
        }

        /// Where nothing breached, what was carried once may be used.
        #[test]
        fn what_was_carried_may_be_used(loads in proptest::collection::vec(1.0..200.0_f64, 1..30)) {
            let mut learned = Learned::new(0, learning(None), Span::seconds(2), Span::millis(500));
            let mut highest = 0.0_f64;
            for load in loads {
                learned.carried_at(load, 0.4);
                let usable = learned.capacity(Unit::PerSecond).unwrap().usable.get();
                highest = highest.max(load);
                prop_assert!(usable >= highest, "{usable} after {highest} was carried");
            }
        }
    }
}
