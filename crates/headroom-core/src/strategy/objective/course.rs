//! What an objective remembers, and what it reckons once a step.
//!
//! Samples come ten a second or one a minute; the forecaster wants one value a step. Here they become steps: the
//! mean of what came within one, nothing where nothing came. At the end of each step the forecast learns, the price
//! of a violation is steered, and the counts are chosen. It refuses to know guards or the target: what it says is a
//! count and its reasons.

use std::collections::VecDeque;

use headroom_forecast::{OnlineForecaster, OnlineStanding};
use serde::{Deserialize, Serialize};

use super::Objective;
use crate::capacity::Capacity;
use crate::names::SignalName;
use crate::reason::{Seen, Weighed};
use crate::strategy::Watch;
use crate::units::{Level, Replicas, Span, Timestamp};

/// Lengths of a step, seconds. The first that is not shorter than what lies between samples is used. Five seconds: a
/// sixth of a usual start-up, so that a decision comes neither late nor on noise alone.
const STEPS: [u32; 5] = [5, 10, 15, 30, 60];
/// Samples that must come farther apart than a step before the step is lengthened.
const SPARSE_AFTER: u32 = 8;
/// A gap longer than this, in steps of a week, tells nothing more of the phase.
const WEEK_S: u64 = 604_800;
/// The share of the allowed violations that is aimed at, for a usual lead. The rest is for what the past
/// does not show: surges that no price prevents come on top of it (ADR 0064).
const AIM: f64 = 0.58;
/// What a violating second costs at first, in replica-seconds, as a multiple of the usual fleet: where steady
/// loads end up (5 to 20) and far below bursty ones, for the price rises in hours and the first hours should not be the
/// dearest.
const FIRST_PRICE: f64 = 20.0;
/// The least multiple, for a usual lead. Where load is so smooth that far less than the allowance would be
/// missed, the last replicas cost next to nothing: at 6 instead of 2, the public traces missed a twentieth less for a
/// sixth of a percent more. It grows with a longer start, for what is short then stays short as long as a start takes.
const LEAST_PRICE: f64 = 6.0;
/// Half a minute of start and a step.
const USUAL_LEAD_S: f64 = 35.0;
/// The share of the usual fleet that being rid of all allowed violations is worth, all the time: a tenth. It bounds the
/// price, for violations that no price prevents, such as surges faster than a start, would drive it up for ever and
/// the quiet hours would pay for them.
const WORTH_OF_ALLOWANCE: f64 = 0.1;
/// How much one violating step of five seconds raises the price: 3 %, so that a minute of violations raises it by
/// half and a day without any at 0.1 % lowers it by a third (of a usual lead: a longer one aims lower, and it falls slower).
const STEER: f64 = 0.03;
/// In the first days hardly any violation can have been seen: at 0.1 % one in a thousand steps. Until then the violations
/// that the forecast itself expects, with the fleet that is there, steer the price as well, with a weight that falls
/// as one over time (stochastic approximation; Robbins and Monro, 1951): by this much over the aim and the steps so far.
const FORETELL: f64 = 0.1;
/// Seconds before a forecast's risk is believed: of the first hour it knows nothing but the prior.
const FORETELL_AFTER_S: f64 = 3600.0;
/// The highest risk that counts: a surge is one event, not a habit.
const MOST_FORETOLD: f64 = 0.05;
/// A replica that is there is kept at this multiple of the price at which one would be started: a start and a
/// removal cost what keeping one for a minute does, and between the two counts nothing need change.
const KEEP: f64 = 3.0;
/// What changing one's mind is worth: the whole fleet for so many seconds. Replicas not needed go when keeping them
/// has cost that: a tenth of a fleet after five minutes, half of it after one.
pub const CHANGE_OF_MIND: f64 = 28.0;
/// No replica goes before it has been idle for a start and a drain: they cost as much, so within it, whoever stays is
/// never dearer than whoever goes and comes back. A drain takes 30 s (A14), …
const DRAIN: Span = Span::seconds(30);
/// … a start as long as was measured, and in this at least as long as a container's (C6).
const LEAST_START: Span = Span::seconds(30);
/// The usual fleet is the mean of a day.
const USUAL_OVER_S: f64 = 86_400.0;
/// A backlog is worked off within this time, beside what arrives: as long as a request may wait (a proxy's usual
/// time-out is 10 s or more).
const WORK_OFF_S: f64 = 10.0;
/// Distinct counts remembered for patience; a descent of more steps forgets the finest.
const MOST_NEEDS: usize = 512;

/// What is remembered of a workload's load and of how it was carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Course {
    /// The load that it is of.
    of: Option<SignalName>,
    step_s: u32,
    online: Option<OnlineForecaster>,
    /// The moment that ends step 0.
    origin: Option<Timestamp>,
    /// The step that is being filled.
    open: i64,
    sum: f64,
    count: u32,
    newest: Option<Timestamp>,
    /// Samples in a row that came farther apart than a step.
    sparse: u32,
    lead_s: u32,
    price: f64,
    usual: f64,
    steps: u64,
    /// The share of violating steps, of about a day.
    missed: f64,
    /// Load that was not carried and may still wait.
    owed: f64,
    /// The loads that were last to be carried, with the moment, each lower than the one before. As loads, for what a
    /// replica carries is learned meanwhile.
    needed: VecDeque<(Timestamp, f64)>,
    choice: Option<Choice>,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            of: None,
            step_s: STEPS[0],
            online: None,
            origin: None,
            open: 0,
            sum: 0.0,
            count: 0,
            newest: None,
            sparse: 0,
            lead_s: 0,
            price: FIRST_PRICE,
            usual: 0.0,
            steps: 0,
            missed: 0.0,
            owed: 0.0,
            needed: VecDeque::new(),
            choice: None,
        }
    }
}

/// What was chosen at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// So many must be ready when a start made now becomes ready.
    pub needs: Replicas,
    /// So many are kept where they are there.
    pub keeps: Replicas,
    /// The middle of what is expected then.
    expected: f64,
    /// The probability that these replicas are enough then.
    sure: f64,
    lead_s: u32,
    price: f64,
    missed: f64,
    surge: bool,
}

impl Choice {
    pub(super) fn weighed(&self, demand: Seen, per_replica: Level, allowed: Level) -> Weighed {
        let level = |v: f64| Level::new(v.max(0.0)).unwrap_or(Level::ZERO);
        Weighed {
            demand,
            expected: level(self.expected),
            ahead: Span::seconds(u64::from(self.lead_s)),
            needs: self.needs,
            sure: level(self.sure),
            per_replica,
            missed: level(self.missed),
            allowed,
            price: level(self.price),
            surge: self.surge,
        }
    }
}

/// How far a fleet may shrink now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// The count that is left.
    pub to: Replicas,
    /// What keeping the replicas not needed has cost so far, in replica-time.
    pub idle: Span,
    /// What it must have cost before they go.
    pub worth: Span,
}

impl Course {
    /// What was chosen last.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// Takes in what a moment shows: a sample, or that none came.
    pub(super) fn follow(&mut self, objective: &Objective, signal: &SignalName, watch: &Watch<'_>) {
        let Some(memory) = watch.memory.signal(signal) else { return };
        if self.of.as_ref() != Some(signal) {
            // What one load was like says nothing of another.
            if self.of.is_some() {
                *self = Self::default();
            }
            self.of = Some(signal.clone());
        }
        let fresh = memory.last.as_ref().filter(|_| memory.absence.is_none());
        if let Some(sample) = fresh.filter(|s| self.newest != Some(s.at)) {
            let (at, value) = (sample.at, sample.value.get());
            if self.newest.is_none_or(|newest| at < newest) {
                // The first sample, or the clock was set back: what comes now ends the open step.
                let before = self.open * i64::from(self.step_s) * 1000;
                self.origin = Some(Timestamp::from_millis(at.as_millis() - before));
            } else {
                self.notice_spacing(at);
            }
            self.newest = Some(at);
            let position = self.position(at);
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds over a step, far inside i64")]
            let slot = (position - EARLY).ceil() as i64;
            self.close_until(slot, objective, watch);
            if slot == self.open {
                self.sum += value;
                self.count += 1;
                #[expect(clippy::cast_precision_loss, reason = "counts of steps")]
                let ends = position >= slot as f64 - EARLY;
                if ends {
                    self.close(objective, watch);
                }
            }
        } else if self.newest.is_some() {
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds over a step, far inside i64")]
            let slot = self.position(watch.at).floor() as i64;
            // A sample may be on its way for as long as a step.
            self.close_until(slot, objective, watch);
        }
    }

    /// Where a moment lies, in steps since the end of step 0.
    fn position(&self, at: Timestamp) -> f64 {
        let origin = self.origin.unwrap_or(at);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds within centuries")]
        let millis = (at.as_millis() - origin.as_millis()) as f64;
        millis / (f64::from(self.step_s) * 1000.0)
    }

    /// Lengthens the step where samples come too seldom for it.
    fn notice_spacing(&mut self, at: Timestamp) {
        let Some(newest) = self.newest else { return };
        let apart = at.since(newest).as_secs_f64();
        if apart <= 1.5 * f64::from(self.step_s) {
            self.sparse = 0;
            return;
        }
        self.sparse += 1;
        if self.sparse < SPARSE_AFTER {
            return;
        }
        let fits = STEPS.iter().copied().find(|step| apart <= 1.2 * f64::from(*step));
        let step_s = fits.unwrap_or(STEPS[STEPS.len() - 1]);
        self.sparse = 0;
        if step_s > self.step_s {
            let kept = std::mem::take(self);
            *self =
                // The price is that of a start so long.
                Self { step_s, lead_s: kept.lead_s, price: kept.price, usual: kept.usual, needed: kept.needed, ..Self::default() };
            self.origin = Some(at);
        }
    }

    /// Closes every step before `slot`; those nothing came in are gaps.
    fn close_until(&mut self, slot: i64, objective: &Objective, watch: &Watch<'_>) {
        let week = i64::try_from(WEEK_S / u64::from(self.step_s)).unwrap_or(i64::MAX);
        if slot - self.open > week {
            // Longer than a week of nothing: only the phase of the week is kept.
            self.open = slot - (slot - self.open) % week;
        }
        while self.open < slot {
            self.close(objective, watch);
        }
    }

    /// Ends the open step.
    fn close(&mut self, objective: &Objective, watch: &Watch<'_>) {
        let demand = (self.count > 0).then(|| self.sum / f64::from(self.count));
        (self.sum, self.count) = (0.0, 0);
        self.open += 1;
        let start_up = watch.memory.start_ups().expected().unwrap_or(objective.start_up);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most ten minutes of seconds"
        )]
        let lead_s = (start_up.as_secs_f64().min(600.0 - 60.0).ceil() as u32) + self.step_s;
        let lead_s = lead_s.div_ceil(self.step_s) * self.step_s;
        // What was learned with foresight says nothing of the spread without, nor the other way round.
        self.online.take_if(|online| online.foresees() != objective.foresee);
        if self.online.is_none() {
            let made = OnlineForecaster::new(self.step_s, &[lead_s]).ok();
            self.online =
                if objective.foresee { made } else { made.map(OnlineForecaster::without_foresight) };
        } else if lead_s != self.lead_s
            && let Some(online) = &mut self.online
            && online.move_lead(0, lead_s).is_err()
        {
            return;
        }
        let before = self.long();
        self.lead_s = lead_s;
        if objective.foresee {
            // On public traces the price settles at 1.3 to 4.3 times as much for twice the start (ADR 0064).
            self.turn(objective, 0.5 * libm::log(self.long() / before));
        }
        let capacity = watch.memory.capacities.of(watch.strategy, watch.workload);
        let Some(online) = &mut self.online else { return };
        if let Some(capacity) = capacity {
            online.ignore_below(capacity.usable.get() * watch.workload.replicas.min.as_f64().max(1.0));
        }
        online.observe(demand);
        let Some(capacity) = capacity else { return };
        let ready = watch.memory.status().map_or(0.0, |(_, status)| status.ready.as_f64());
        if let Some(demand) = demand {
            self.steer(objective, watch, demand, &capacity, ready);
        }
        self.choose(watch, demand, &capacity);
        if demand.is_some() {
            self.foretell(objective, &capacity, ready);
        }
    }

    /// Whether the limit of the objective is missed now; `None` where it names none, or it is not seen.
    fn late(objective: &Objective, watch: &Watch<'_>) -> Option<bool> {
        let limit = objective.latency.as_ref()?;
        let signal = watch.memory.signal(&limit.signal).filter(|s| s.absence.is_none())?;
        Some(signal.last.as_ref()?.value > limit.below.level)
    }

    /// The price of a violation follows the violations there are.
    fn steer(
        &mut self,
        objective: &Objective,
        watch: &Watch<'_>,
        demand: f64,
        capacity: &Capacity,
        ready: f64,
    ) {
        let step = f64::from(self.step_s);
        let unit = capacity.momentary.get();
        self.steps += 1;
        #[expect(clippy::cast_precision_loss, reason = "a count of steps")]
        let known = (self.steps as f64).min(USUAL_OVER_S / step);
        let late = Self::late(objective, watch);
        let misses = match late {
            // Below half of what it carries, more replicas would not make it faster.
            Some(late) => late && demand >= super::LOADED_FROM * unit * ready,
            None => demand > unit * ready * (1.0 + 1e-9),
        };
        let violates = f64::from(u8::from(misses));
        let allowed = objective.allowed();
        self.missed += (violates - self.missed) / known;
        // At an allowance of 0.1 % a violating step counts as much as a thousand good ones, at 1 % as a hundred.
        let pull = (violates - self.aim(objective)) * STEER * step / 5.0 * (allowed / 0.001).min(1.0);
        self.turn(objective, pull);
        self.usual += (demand / capacity.usable.get() - self.usual) / known;
        let most = ready * unit * WORK_OFF_S;
        // What is answered in time does not wait, whatever one replica is thought to carry.
        let left = if late == Some(false) { 0.0 } else { self.owed + (demand - unit * ready) * step };
        self.owed = left.clamp(0.0, most.max(0.0));
    }

    /// Until violations have told enough, the price follows those that are expected, too. Not where a latency tells of
    /// them: there a replica is taken to carry no more than it was seen to, and the risk would look larger than it is.
    fn foretell(&mut self, objective: &Objective, capacity: &Capacity, ready: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a count of steps")]
        let steps = self.steps as f64;
        let known = steps * f64::from(self.step_s) >= FORETELL_AFTER_S;
        if !objective.foresee || objective.latency.is_some() || !known {
            return;
        }
        let (Some(choice), Some(online)) = (&self.choice, &self.online) else { return };
        let there = choice.needs.as_f64().max(ready);
        let Some(risk) = online.exceedance(0, there * capacity.momentary.get()) else { return };
        let aim = self.aim(objective);
        self.turn(objective, FORETELL / (aim * steps) * (risk.min(MOST_FORETOLD) - aim));
    }

    /// The share of violating steps that is aimed at. A surge that no forecast saw lasts as long as a start, so of a longer
    /// one more room is left for them.
    fn aim(&self, objective: &Objective) -> f64 {
        let unforeseen = if objective.foresee { self.long() } else { 1.0 };
        AIM * objective.allowed() / unforeseen
    }

    /// How many times as long as a usual start a start is, at least 1.
    fn long(&self) -> f64 {
        (f64::from(self.lead_s) / USUAL_LEAD_S).max(1.0)
    }

    /// Turns the price by so much, in logarithms, within its bounds.
    fn turn(&mut self, objective: &Objective, pull: f64) {
        let dearest = (WORTH_OF_ALLOWANCE / objective.allowed()).max(FIRST_PRICE);
        let least = LEAST_PRICE * self.long();
        self.price = (self.price * libm::exp(pull)).clamp(least.min(dearest), dearest);
    }

    /// The whole number of replicas at which the next would cost more than the violations it prevents.
    fn choose(&mut self, watch: &Watch<'_>, demand: Option<f64>, capacity: &Capacity) {
        let Some(online) = &self.online else { return };
        let Some(expected) = online.quantile(0, 0.5) else { return };
        let range = watch.workload.replicas;
        let price = self.price * self.usual.max(1.0);
        let unit = capacity.momentary.get();
        // The middle of what is expected is carried at all events; beyond it, it is a matter of the price.
        let first = Replicas::ceil(expected / capacity.usable.get()).max(range.min).max(Replicas::ONE);
        let (mut needs, mut keeps) = ((f64::INFINITY, first, 0.0), (f64::INFINITY, first));
        let mut count = first;
        while let Some(risk) = online.exceedance(0, count.as_f64() * unit) {
            let start = count.as_f64() + price * risk;
            if start < needs.0 {
                needs = (start, count, risk);
            }
            let keep = count.as_f64() + KEEP * price * risk;
            if keep < keeps.0 {
                keeps = (keep, count);
            }
            // Beyond, not even all that is left to prevent is worth a replica. Beyond the most, bounds cut anyway.
            if KEEP * price * risk < 0.5 || count > range.max {
                break;
            }
            // One by one to a hundred, then by a hundredth: nobody sees the difference in a fleet of thousands.
            count = count.plus((count.0 / 100).max(1));
        }
        let mut count = needs.1;
        if let Some(demand) = demand.filter(|_| self.owed > 0.0) {
            count = count.max(Replicas::ceil((demand + self.owed / WORK_OFF_S) / unit));
        }
        let keeps = keeps.1.max(count);
        self.choice = Some(Choice {
            needs: count,
            keeps,
            expected,
            sure: 1.0 - needs.2,
            lead_s: self.lead_s,
            price,
            missed: self.missed,
            surge: online.surge().is_some(),
        });
        if demand.is_some() {
            self.need(watch.at, keeps.as_f64() * unit);
        }
    }

    /// Remembers that `load` is to be carried at `at`.
    fn need(&mut self, at: Timestamp, load: f64) {
        while self.needed.back().is_some_and(|(_, lower)| *lower <= load) {
            self.needed.pop_back();
        }
        if self.needed.len() == MOST_NEEDS {
            self.needed.remove(1);
        }
        self.needed.push_back((at, load));
    }

    /// How far `current` replicas, of which each carries `unit`, may shrink at `at`: to the lowest count for which all
    /// above have been idle for the least patience, and have cost together what a change of mind is worth.
    #[must_use]
    pub fn patience(&self, at: Timestamp, current: Replicas, unit: Level) -> Patience {
        let least = DRAIN.as_secs_f64()
            + f64::from(self.lead_s.saturating_sub(self.step_s)).max(LEAST_START.as_secs_f64());
        let worth = CHANGE_OF_MIND * current.as_f64();
        let (mut to, mut top, mut idle) = (current, current, 0.0);
        for (index, (_, load)) in self.needed.iter().enumerate() {
            // Whole counts times a unit, over that unit: a rounding error is no replica.
            let count = Replicas::ceil(load / unit.get() - 1e-6).min(current);
            if count == top {
                continue;
            }
            // The levels between this count and the one before were last needed when that one was; of those that never
            // were, it is known since the first sample.
            let needed = index.checked_sub(1).and_then(|before| self.needed.get(before));
            let since = needed.map(|(then, _)| *then).or(self.origin);
            let age = since.map_or(Span::ZERO, |then| at.since(then).min(Span::days(1)));
            if age.as_secs_f64() < least {
                break;
            }
            idle += f64::from(top.0 - count.0) * age.as_secs_f64();
            top = count;
            if idle >= worth {
                to = count;
            }
        }
        let span = |seconds: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, bounded by days"
            )]
            Span::seconds(seconds as u64)
        };
        Patience { to, idle: span(idle), worth: span(worth) }
    }

    /// How what was foreseen a start ahead stands against the present load; `None` before anything came due.
    #[must_use]
    pub fn standing(&self) -> Option<OnlineStanding> {
        self.online.as_ref()?.standing(0)
    }

    /// How long a step is.
    #[must_use]
    pub fn step(&self) -> Span {
        Span::seconds(u64::from(self.step_s))
    }
}

/// A sample that comes within this last share of a step ends it: sources are a little early at times.
const EARLY: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    /// 58 % of the allowance; of a longer start, that over how many times as long it is, where load is foreseen.
    #[test]
    fn a_longer_start_aims_lower() {
        let cases =
            [(5, true, 0.58), (35, true, 0.58), (70, true, 0.29), (125, true, 0.1624), (125, false, 0.58)];
        for (lead_s, foresee, expected) in cases {
            let settings = serde_json::json!({ "signal": "rps", "violations": "1%", "foresee": foresee });
            let objective: Objective = crate::strategy::testing::built(settings, serde_json::json!({}));
            let aim = Course { lead_s, ..Course::default() }.aim(&objective);
            assert!((aim - expected * 0.01).abs() < 1e-9, "{lead_s} s, {foresee}: {aim}");
        }
    }

    /// A step that is lengthened keeps the price and the start that it is for: else it would be raised for that again.
    #[test]
    fn a_longer_step_keeps_the_price_with_its_start() {
        let at = |sample: i64| Timestamp::from_millis(sample * 15_000);
        let mut course = Course { lead_s: 125, price: 37.8, newest: Some(at(0)), ..Course::default() };
        for sample in 1..=i64::from(SPARSE_AFTER) {
            course.notice_spacing(at(sample));
            course.newest = Some(at(sample));
        }
        assert_eq!((course.step_s, course.lead_s, course.price), (15, 125, 37.8));
    }
}
