//! Scores: how well a workload was kept, and for how much.
//!
//! Everything is counted while it happens; nothing grows with the length of the run. What is late, lost or too
//! small is the user's side; replica-hours and money are the owner's; changes and flaps the operator's.

use serde::Serialize;

use crate::world::Stepped;

/// A reversal of direction within this time of the change before is a flap (seconds).
const FLAP_WITHIN_S: f64 = 600.0;
/// A surge is answered or given up within this time (seconds).
const GIVEN_UP_AFTER_S: f64 = 900.0;
/// Surges whose answer is remembered for the median; the first ones, and enough for any median to be stable.
const SURGES_REMEMBERED: usize = 4096;

/// How one contender did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Seconds that were scored.
    pub seconds: f64,
    /// Seconds beyond the objective: too small, or too slow because of what had piled up.
    pub violating_seconds: f64,
    /// Requests that came.
    pub requests: f64,
    /// Requests that were lost.
    pub lost: f64,
    /// Requests answered later than the objective.
    pub late: f64,
    /// Hours of replicas ready, starting, draining or waiting in the warm pool.
    pub replica_hours: f64,
    /// What they cost, in the model's currency.
    pub cost: f64,
    /// Changes of the count asked for.
    pub changes: u64,
    /// Changes that took back the change before within ten minutes.
    pub flaps: u64,
    /// Ready replica-hours above the need.
    pub surplus_hours: f64,
    /// Replica-hours needed.
    pub needed_hours: f64,
    /// Surges of the load.
    pub surges: u64,
    /// Median time from the onset of a surge to the first growth, in seconds; `None` without a surge.
    pub reaction_seconds: Option<f64>,
    /// Median time from the onset of a surge to enough ready replicas for its peak, in seconds, 900 at the most.
    pub enough_seconds: Option<f64>,
    /// The slowest of them; a surge that was never answered counts as 900.
    pub slowest_enough_seconds: Option<f64>,
}

impl Score {
    /// The share of the time beyond the objective.
    #[must_use]
    pub fn violating(&self) -> f64 {
        share(self.violating_seconds, self.seconds)
    }

    /// The share of requests late or lost.
    #[must_use]
    pub fn bad_requests(&self) -> f64 {
        share(self.lost + self.late, self.requests)
    }

    /// Ready replicas above the need, over the need.
    #[must_use]
    pub fn over_provision(&self) -> f64 {
        share(self.surplus_hours, self.needed_hours)
    }

    /// Both together; medians are those of the one with more surges, for medians can't be added.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let more = if other.surges > self.surges { other } else { self };
        Self {
            seconds: self.seconds + other.seconds,
            violating_seconds: self.violating_seconds + other.violating_seconds,
            requests: self.requests + other.requests,
            lost: self.lost + other.lost,
            late: self.late + other.late,
            replica_hours: self.replica_hours + other.replica_hours,
            cost: self.cost + other.cost,
            changes: self.changes + other.changes,
            flaps: self.flaps + other.flaps,
            surplus_hours: self.surplus_hours + other.surplus_hours,
            needed_hours: self.needed_hours + other.needed_hours,
            surges: self.surges + other.surges,
            reaction_seconds: more.reaction_seconds,
            enough_seconds: more.enough_seconds,
            slowest_enough_seconds: larger(self.slowest_enough_seconds, other.slowest_enough_seconds),
        }
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A surge whose peak is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Surge {
    /// The step of its onset.
    pub(crate) onset: u64,
    /// The replicas its peak needs.
    pub(crate) peak: u32,
}

/// Finds surges: smoothed over 15 s, the need grows within 60 s by 30 % and by two replicas. The onset is the last
/// moment still within 10 % of the old level, the peak the largest need of the next 120 s. Surges less than six
/// minutes apart count once.
#[derive(Clone, Debug)]
pub(crate) struct SurgeWatch {
    carries: f64,
    smooth: Ring<f64>,
    sum: f64,
    past: Ring<u32>,
    /// Steps since which the smoothed need, with that need, may yet be the least of the last 60 s.
    least: std::collections::VecDeque<(u64, u32)>,
    step: u64,
    open: Option<Surge>,
    last: Option<u64>,
    steps_60: u64,
    steps_120: u64,
    steps_360: u64,
}

impl SurgeWatch {
    pub(crate) fn new(dt: f64, carries: f64) -> Self {
        Self {
            carries,
            smooth: Ring::new(steps(15.0, dt), 0.0),
            sum: 0.0,
            past: Ring::new(steps(60.0, dt), 0),
            least: std::collections::VecDeque::new(),
            step: 0,
            open: None,
            last: None,
            steps_60: steps(60.0, dt) as u64,
            steps_120: steps(120.0, dt) as u64,
            steps_360: steps(360.0, dt) as u64,
        }
    }

    /// Takes in a step's demand; gives a surge once its peak is known.
    pub(crate) fn push(&mut self, demand: f64) -> Option<Surge> {
        let step = self.step;
        self.step += 1;
        if step == 0 {
            // Before the first moment the load is taken to have stood where it starts.
            self.smooth.fill(demand);
            self.sum = demand * self.smooth.len() as f64;
        }
        self.sum += demand - self.smooth.push(demand);
        let need = headroom_core::units::Replicas::ceil(
            (self.sum / self.smooth.len() as f64).max(0.0) / self.carries,
        )
        .0;
        if step == 0 {
            self.past.fill(need);
        }
        self.past.push(need);
        while self.least.back().is_some_and(|&(_, n)| n >= need) {
            self.least.pop_back();
        }
        self.least.push_back((step, need));
        while self.least.front().is_some_and(|&(s, _)| s + self.steps_60 < step) {
            self.least.pop_front();
        }
        if let Some(surge) = &mut self.open {
            surge.peak = surge.peak.max(need);
            if step >= surge.onset + self.steps_120 {
                return self.open.take();
            }
            return None;
        }
        let low = self.least.front().map_or(need, |&(_, n)| n);
        let grows = need >= low.saturating_add(2) && f64::from(need) >= 1.3 * f64::from(low);
        if grows && self.last.is_none_or(|last| step >= last + self.steps_360) {
            let calm = f64::from(low) * 1.1;
            let back =
                (0..self.past.len()).find(|&back| f64::from(self.past.back(back)) <= calm).unwrap_or(0);
            self.last = Some(step);
            self.open = Some(Surge { onset: step.saturating_sub(back as u64), peak: need });
        }
        None
    }
}

/// Steps that last `seconds`, at least one.
fn steps(seconds: f64, dt: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand at the most")]
    let n = libm::ceil(seconds / dt) as usize;
    n.max(1)
}

/// The last so many values.
#[derive(Clone, Debug)]
pub(crate) struct Ring<T> {
    values: Vec<T>,
    next: usize,
}

impl<T: Copy> Ring<T> {
    pub(crate) fn new(len: usize, of: T) -> Self {
        Self { values: vec![of; len.max(1)], next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// All values, in no order that matters.
    pub(crate) fn values(&self) -> impl Iterator<Item = T> {
        self.values.iter().copied()
    }

    fn fill(&mut self, value: T) {
        self.values.fill(value);
    }

    /// Puts a value in and gives the one that falls out.
    pub(crate) fn push(&mut self, value: T) -> T {
        let old = std::mem::replace(&mut self.values[self.next], value);
        self.next += 1;
        if self.next == self.values.len() {
            self.next = 0;
        }
        old
    }

    /// The value put in `back` pushes before the last one.
    fn back(&self, back: usize) -> T {
        let len = self.values.len();
        self.values[(self.next + len - 1 - back.min(len - 1)) % len]
    }
}

/// Counts one contender's steps.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    dt: f64,
    price: f64,
    sums: Score,
    ready_steps: u64,
    paid_steps: u64,
    surplus_steps: u64,
    needed_steps: u64,
    violating_steps: u64,
    scored_steps: u64,
    step: u64,
    wanted: Option<u32>,
    last_change: Option<(u64, bool)>,
    /// Ready and wanted of the last steps: long enough to hold a surge from its onset to its known peak.
    past: Ring<(u32, u32)>,
    open: Vec<OpenSurge>,
    reactions: Vec<f64>,
    enoughs: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct OpenSurge {
    surge: Surge,
    before: u32,
    reacted: bool,
    enough: bool,
}

impl Meter {
    pub(crate) fn new(dt: f64, price: f64) -> Self {
        Self {
            dt,
            price,
            sums: Score::default(),
            ready_steps: 0,
            paid_steps: 0,
            surplus_steps: 0,
            needed_steps: 0,
            violating_steps: 0,
            scored_steps: 0,
            step: 0,
            wanted: None,
            last_change: None,
            past: Ring::new(steps(200.0, dt), (0, 0)),
            open: Vec::new(),
            reactions: Vec::new(),
            enoughs: Vec::new(),
        }
    }

    /// Takes in a step: what it was like, the count asked for, the need, a surge that has become known, and
    /// whether it counts.
    pub(crate) fn push(&mut self, s: &Stepped, wanted: u32, need: u32, surge: Option<Surge>, counts: bool) {
        let step = self.step;
        self.step += 1;
        if step == 0 {
            self.past.fill((s.ready, wanted));
        }
        self.past.push((s.ready, wanted));
        if let Some(before) = self.wanted.filter(|before| *before != wanted) {
            let up = wanted > before;
            if counts {
                self.sums.changes += 1;
                let flap = self.last_change.is_some_and(|(at, was_up)| {
                    was_up != up && (step - at) as f64 * self.dt <= FLAP_WITHIN_S
                });
                self.sums.flaps += u64::from(flap);
            }
            self.last_change = Some((step, up));
        }
        self.wanted = Some(wanted);
        if counts {
            self.scored_steps += 1;
            self.violating_steps += u64::from(s.violates);
            self.ready_steps += u64::from(s.ready);
            self.paid_steps +=
                u64::from(s.ready) + u64::from(s.starting) + u64::from(s.draining) + u64::from(s.pool);
            self.surplus_steps += u64::from(s.ready.saturating_sub(need));
            self.needed_steps += u64::from(need);
            self.sums.requests += s.demand * self.dt;
            self.sums.lost += s.lost;
            self.sums.late += s.late;
        }
        if let Some(surge) = surge.filter(|_| counts) {
            self.learn_of(surge);
        }
        if !self.open.is_empty() {
            self.watch_open(step, s.ready, wanted);
        }
    }

    /// Goes through the steps since the surge's onset, which have passed already.
    fn learn_of(&mut self, surge: Surge) {
        self.sums.surges += 1;
        let now = self.step - 1;
        let since = usize::try_from(now - surge.onset.min(now)).unwrap_or(usize::MAX);
        let before = self.past.back(since).1;
        let mut open = OpenSurge { surge, before, reacted: false, enough: false };
        for back in (1..=since.min(self.past.len() - 1)).rev() {
            let (ready, wanted) = self.past.back(back);
            self.settle(&mut open, now - back as u64, ready, wanted);
        }
        self.open.push(open);
    }

    fn watch_open(&mut self, step: u64, ready: u32, wanted: u32) {
        let mut open = std::mem::take(&mut self.open);
        open.retain_mut(|o| {
            self.settle(o, step, ready, wanted);
            !(o.reacted && o.enough)
        });
        self.open = open;
    }

    fn settle(&mut self, o: &mut OpenSurge, step: u64, ready: u32, wanted: u32) {
        let took = (step - o.surge.onset) as f64 * self.dt;
        let given_up = took >= GIVEN_UP_AFTER_S;
        if !o.reacted && (wanted > o.before || o.before >= o.surge.peak || given_up) {
            o.reacted = true;
            remember(
                &mut self.reactions,
                if o.before >= o.surge.peak { 0.0 } else { took.min(GIVEN_UP_AFTER_S) },
            );
        }
        if !o.enough && (ready >= o.surge.peak || given_up) {
            o.enough = true;
            remember(&mut self.enoughs, took.min(GIVEN_UP_AFTER_S));
        }
    }

    /// The score so far.
    pub(crate) fn score(&self) -> Score {
        let hours = |steps: u64| steps as f64 * self.dt / 3600.0;
        let replica_hours = hours(self.paid_steps);
        Score {
            seconds: self.scored_steps as f64 * self.dt,
            violating_seconds: self.violating_steps as f64 * self.dt,
            replica_hours,
            cost: replica_hours * self.price,
            surplus_hours: hours(self.surplus_steps),
            needed_hours: hours(self.needed_steps),
            reaction_seconds: median(&self.reactions),
            enough_seconds: median(&self.enoughs),
            slowest_enough_seconds: self.slowest_enough(),
            ..self.sums
        }
    }

    /// Steps in violation, for the optimum of as many.
    pub(crate) fn violating_steps(&self) -> u64 {
        self.violating_steps
    }

    fn slowest_enough(&self) -> Option<f64> {
        let open = self.open.iter().any(|o| !o.enough).then_some(GIVEN_UP_AFTER_S);
        self.enoughs.iter().copied().map(Some).fold(open, larger)
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

fn remember(list: &mut Vec<f64>, value: f64) {
    if list.len() < SURGES_REMEMBERED {
        list.push(value);
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted.get(middle).copied()
    } else {
        Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, *sorted.get(middle)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stepped(ready: u32, violates: bool) -> Stepped {
        Stepped { demand: 100.0, ready, starting: 1, violates, lost: 2.0, late: 3.0, ..Stepped::default() }
    }

    #[test]
    fn sums_are_what_they_say() {
        let mut meter = Meter::new(10.0, 0.1);
        meter.push(&stepped(9, true), 9, 2, None, false);
        for i in 0..360 {
            meter.push(&stepped(3, i < 36), 3, 2, None, true);
        }
        let s = meter.score();
        assert_eq!((s.seconds, s.violating_seconds, s.changes), (3600.0, 360.0, 1));
        assert_eq!((s.replica_hours, s.surplus_hours, s.needed_hours), (4.0, 1.0, 2.0));
        assert!((s.cost - 0.4).abs() < 1e-12 && s.over_provision() == 0.5 && s.violating() == 0.1);
        assert!((s.bad_requests() - 5.0 / 1000.0).abs() < 1e-12);
        assert_eq!((s.surges, s.enough_seconds), (0, None));
        assert_eq!(Score::default().violating(), 0.0, "nothing scored is no violation");
    }

    #[test]
    fn taking_back_soon_is_a_flap() {
        for (pause, flaps) in [(600, 1), (601, 0)] {
            let mut meter = Meter::new(1.0, 0.0);
            let mut hold =
                |wanted, n| (0..n).for_each(|_| meter.push(&stepped(3, false), wanted, 2, None, true));
            hold(3, 5);
            hold(5, pause);
            hold(4, 5);
            assert_eq!((meter.score().changes, meter.score().flaps), (2, flaps), "after {pause} s");
        }
    }

    #[test]
    fn a_surge_is_found_with_its_onset_and_peak() {
        let mut watch = SurgeWatch::new(1.0, 90.0);
        let mut found = Vec::new();
        for i in 0..2000 {
            let demand = if (1000..1600).contains(&i) { 1800.0 } else { 360.0 };
            found.extend(watch.push(demand).map(|s| (i, s)));
        }
        let [(seen, surge)] = found[..] else { panic!("{found:?}") };
        assert!((999..1005).contains(&surge.onset) && surge.peak == 20, "{surge:?} at {seen}");
        let mut calm = SurgeWatch::new(1.0, 90.0);
        assert!(
            (0..5000).all(|i| calm.push(360.0 + 0.05 * f64::from(i)).is_none()),
            "a slow rise is no surge"
        );
    }

    #[test]
    fn the_time_to_enough_counts_from_the_onset() {
        for (delay, reaction, enough) in [(3, 3.0, 33.0), (400, 400.0, 430.0), (5000, 900.0, 900.0)] {
            let mut meter = Meter::new(1.0, 0.0);
            for i in 0..3000_u64 {
                let known = (i == 1120).then_some(Surge { onset: 1000, peak: 20 });
                let wanted = if i >= 1000 + delay { 20 } else { 5 };
                let ready = if i >= 1030 + delay { 20 } else { 5 };
                meter.push(&stepped(ready, false), wanted, 5, known, true);
            }
            let s = meter.score();
            assert_eq!((s.reaction_seconds, s.enough_seconds), (Some(reaction), Some(enough)), "{delay}");
        }
        let mut ready_before = Meter::new(1.0, 0.0);
        for i in 0..200_u64 {
            let known = (i == 150).then_some(Surge { onset: 100, peak: 20 });
            ready_before.push(&stepped(30, false), 30, 5, known, true);
        }
        let s = ready_before.score();
        assert_eq!((s.reaction_seconds, s.enough_seconds), (Some(0.0), Some(0.0)));
    }
}
