//! Seconds to minutes ahead: the demand that a fleet must survive once what is ordered now is ready.
//!
//! A replica ordered now serves in `lead` seconds, so what matters is not the load now but its
//! distribution then. This model learns it from the stream itself, one sample at a time, in a few
//! microseconds and bounded memory, per lead:
//!
//! 1. **Mean.** The logarithm of (demand `lead` ahead / level now) is a linear function of how the load
//!    moves on scales from one sample to half an hour, and of how it grew at this phase of the hour, the
//!    day and the week before, and how it stands to a few single samples back. The weights are least squares over the past, exponentially forgotten.
//! 2. **Spread.** The variance of the error is a positive mixture of recent errors, long-run errors, the
//!    agitation of the last minute and what counting few things scatters by (Poisson: the variance of a count is
//!    the count); the mixture follows the likelihood by small steps.
//! 3. **Shape.** Errors over their spread are counted in a forgetting histogram: the quantiles are those
//!    of errors really made, out of sample, so 99.9 % means 99.9 % without any assumed distribution. A
//!    heavy-tailed prior stands in until there are enough.
//! 4. **Surge.** A jump that the load's own noise can't explain is believed at once, and taken as at most
//!    half done: until it has stopped rising, the distribution reaches up by what it has already climbed.
//!
//! It refuses to know what a replica is, to decide how many there should be, and to turn a missing sample
//! into a number: a gap teaches nothing and widens the spread.

use crate::math::{decay, solve_spd};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most leads one forecaster serves.
pub const MAX_LEADS: usize = 8;
/// Longest lead, in steps: ten minutes of seconds. Beyond, [`crate::Forecaster`] knows better.
pub const MAX_LEAD_STEPS: u32 = 600;
/// Longest window over which the largest demand may be asked for, in steps.
pub const MAX_SPAN_STEPS: u32 = 120;

/// Features of the mean.
const P: usize = 15;
/// Which of them say how load grew at this phase of earlier cycles.
const ANNOUNCED: std::ops::Range<usize> = 8..11;
/// How many samples back the load of today is compared with that of then: what smoothed levels blur, a slope that
/// began a moment ago, shows here. The last must be below [`KEPT`].
const LAGS: [usize; 4] = [1, 3, 6, 12];
/// Samples kept for that.
const KEPT: usize = 13;
/// The share of the long-run level below which a load is as good as nothing. In logarithms the way from 1 to 10 is
/// as far as from 100 to 1000, though no fleet notices the first: of a load that comes and goes, what comes next would
/// be expected anywhere between nothing and far above all that was ever seen.
const HARDLY_ANYTHING: f64 = 0.6;
/// The load, as a share of the usual, below which its counts are taken to scatter no less.
const LEAST_COUNTED: f64 = 0.01;
/// Components of the spread.
const V: usize = 5;
/// Time constants of the levels, seconds: from what a few samples say to half an hour.
const SCALES: [f64; 5] = [15.0, 60.0, 300.0, 1800.0, 14_400.0];
/// Bins of the histogram of normalised errors, their first edge and width. The upper side reaches far:
/// that is where fleets are bought.
const BINS: usize = 300;
const FIRST: f64 = -6.0;
const WIDTH: f64 = 0.08;
/// Half-life of what least squares remember, seconds: long enough for a few thousand samples, short
/// enough to follow a new habit within days.
const MEAN_HALF_LIFE: f64 = 43_200.0;
/// Half-life of the histogram: one in a thousand must be seen some tens of times, so days.
const SHAPE_HALF_LIFE: f64 = 172_800.0;
/// Samples between two solutions of the least squares: the sums move little in between.
const SOLVE_EVERY: u64 = 12;
/// The most growth that is ever expected, in logarithms: a factor of seven …
const MOST_GROWTH: f64 = 2.0;
/// … and half of it after so many samples that were judged, five minutes of five seconds: a surge in the first minutes
/// is most of what was seen by then, and would be taken for the rule.
const BELIEVED_AFTER: f64 = 60.0;
/// How firmly weights are held at nothing, over the variance of the errors (ridge regression: the inverse of the
/// variance that weights are thought to have).
const DOUBT: f64 = 20.0;
/// Pseudo-observations of the prior shape.
const PRIOR: f64 = 90.0;
/// Growth in earlier cycles, in logarithms, that counts as announced: a fifth more load.
const EXPECTED: f64 = 0.18;
/// Errors are cut here, in logarithms: a factor of twelve either way.
const CUT: f64 = 2.5;
/// What is larger is no load but a mark of a program that has none (such as the largest `f64`), and squared no number.
const LARGEST: f64 = 1e150;
/// Which feature says how the newest sample stands to the level: all that "as it is now" knows.
const NEWEST: usize = 1;
/// So many standard errors between two mean losses are no chance: it is looked at for months, and two would come by chance
/// every other week.
const SURE: f64 = 3.0;
/// How far the middle of the errors is moved by each, in spreads (Robbins and Monro, 1951): it is known to a twentieth after
/// some hundred.
const MIDDLE_STEP: f64 = 0.01;
/// Stretches of a lead's length from which on the standard error of the losses is believed: with a start of half a minute
/// an hour, in which the first surge is not all that was seen.
const STRETCHES: f64 = 100.0;

/// Why an online forecaster can't be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OnlineError {
    /// The step is zero or longer than a minute.
    #[error("a step of {0} s does not suit the online model: it must be 1 to 60 seconds")]
    Step(u32),
    /// No lead, or too many.
    #[error("{0} leads were given: the online model serves 1 to {MAX_LEADS}")]
    Leads(usize),
    /// A lead that is too short or too long.
    #[error(
        "a lead of {lead_s} s can't be served: it must be one step ({step_s} s) to {MAX_LEAD_STEPS} steps"
    )]
    Lead {
        /// The lead, seconds.
        lead_s: u32,
        /// The step, seconds.
        step_s: u32,
    },
    /// A window that is too long.
    #[error("a window of {0} steps is too long: at most {MAX_SPAN_STEPS}")]
    Span(u32),
}

/// A jump under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Surge {
    /// The level before it.
    pub base: f64,
    /// The highest sample since.
    pub peak: f64,
    /// Seconds since it was noticed.
    pub age_s: f64,
    /// Steepest rise seen lately, load per second.
    pub rise_per_s: f64,
}

/// Load per phase of a cycle, in logarithms, averaged over cycles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Profile {
    period_s: f64,
    bin_s: f64,
    /// How much the newest cycle counts.
    rate: f32,
    bins: Vec<Option<f32>>,
}

impl Profile {
    fn new(period_s: f64, bin_s: f64, rate: f32) -> Self {
        Self { period_s, bin_s, rate, bins: vec![None; (period_s / bin_s) as usize] }
    }
    fn bin(&self, at_s: f64) -> usize {
        let phase = at_s - self.period_s * libm::floor(at_s / self.period_s);
        ((phase / self.bin_s) as usize).min(self.bins.len() - 1)
    }
    fn learn(&mut self, at_s: f64, log_level: f64) {
        let k = self.bin(at_s);
        let rate = self.rate;
        let b = &mut self.bins[k];
        *b = Some(b.map_or(log_level as f32, |v| v + rate * (log_level as f32 - v)));
    }
    /// Growth in logarithms from now to `lead_s` later in past cycles, to the highest of the three bins
    /// around: what happens on the clock happens a little early or late. Zero where not known.
    fn growth(&self, at_s: f64, lead_s: f64) -> f64 {
        let n = self.bins.len();
        // The bin before this one: the present bin may already hold the present cycle.
        let Some(base) = self.bins[(self.bin(at_s) + n - 1) % n] else { return 0.0 };
        let to = self.bin(at_s + lead_s);
        let mut best = f32::NEG_INFINITY;
        for k in [(to + n - 1) % n, to, (to + 1) % n] {
            if let Some(v) = self.bins[k] {
                best = best.max(v);
            }
        }
        if best.is_finite() { f64::from(best - base).clamp(-1.5, CUT) } else { 0.0 }
    }
}

/// What was said at one step, to be judged when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    phi: [f64; P],
    level: f64,
    mean: f64,
    parts: [f64; V],
    spread: f64,
    mood: Mood,
}

/// What kind of moment it is. Jumps that the clock or a surge announces must not make the quiet hours
/// look dangerous, nor the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Mood {
    /// Nothing announces a jump.
    Calm,
    /// Load grew at this phase of an earlier hour, day or week.
    Expecting,
    /// A surge is under way.
    Surging,
}

/// Counts of normalised errors.
///
/// Growing weights stand for forgetting: each new error counts a little more than the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    bins: Vec<f64>,
    total: f64,
    one: f64,
}

impl Shape {
    /// Student's t with four degrees of freedom: heavy tails until better is known.
    fn prior() -> Self {
        let mut bins = vec![0.0; BINS];
        let mut sum = 0.0;
        for (k, b) in bins.iter_mut().enumerate() {
            let z = FIRST + (k as f64 + 0.5) * WIDTH;
            *b = libm::pow(1.0 + z * z / 4.0, -2.5);
            sum += *b;
        }
        bins.iter_mut().for_each(|b| *b *= PRIOR / sum);
        Self { bins, total: PRIOR, one: 1.0 }
    }

    fn count(&mut self, z: f64, keep: f64) {
        self.one /= keep;
        if self.one > 1e9 {
            let f = 1.0 / self.one;
            self.bins.iter_mut().for_each(|b| *b *= f);
            self.total *= f;
            self.one = 1.0;
        }
        let k = ((z - FIRST) / WIDTH).clamp(0.0, (BINS - 1) as f64) as usize;
        self.bins[k] += self.one;
        self.total += self.one;
    }

    /// P(error / spread > z), a straight line inside a bin.
    fn tail(&self, z: f64) -> f64 {
        let x = (z - FIRST) / WIDTH;
        if x <= 0.0 {
            return 1.0;
        }
        if x >= BINS as f64 {
            // Beyond all bins: what the last one holds, thinning out like the prior's tail.
            let edge = FIRST + BINS as f64 * WIDTH;
            return self.bins[BINS - 1] / self.total * libm::pow(edge / z, 4.0);
        }
        let k = x as usize;
        let above: f64 = self.bins[k + 1..].iter().sum();
        (above + self.bins[k] * (k as f64 + 1.0 - x)) / self.total
    }

    /// The z that is exceeded with probability `p`.
    fn exceeded_with(&self, p: f64) -> f64 {
        let want = p * self.total;
        let mut above = 0.0;
        for k in (0..BINS).rev() {
            if above + self.bins[k] >= want {
                let f = if self.bins[k] > 0.0 { (want - above) / self.bins[k] } else { 0.0 };
                return FIRST + (k as f64 + 1.0 - f) * WIDTH;
            }
            above += self.bins[k];
        }
        FIRST
    }
}

/// What the forecast's middle was off by beside what "as it is now" was, each judged by a demand that came after it; faded
/// as what least squares remember is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    weight: f64,
    loss: f64,
    naive: f64,
    /// Of the differences.
    squares: f64,
    /// The middle of the normalised errors of each [`Mood`]: what the shapes say at one half, without counting them through.
    middles: [f64; 3],
}

impl Record {
    /// Judges what was said of a `demand` with the floor on top.
    fn judge(&mut self, o: &Open, demand: f64, z: f64, keep: f64) {
        let middle = &mut self.middles[o.mood as usize];
        // No further than the logarithms of loads are read.
        let off = |said: f64| (demand - o.level * libm::exp(said.clamp(-CUT, CUT))).abs();
        let (mut loss, naive) = (off(o.mean + o.spread * *middle), off(o.phi[NEWEST]));
        // The middle is known to its own step. Less is no difference: of a load that stands still "as now" is never off.
        if (naive - loss).abs() <= 1.1 * MIDDLE_STEP * o.spread * o.level {
            loss = naive;
        }
        *middle += if z > *middle { MIDDLE_STEP } else { -MIDDLE_STEP };
        let better = naive - loss;
        self.weight = self.weight * keep + 1.0;
        self.loss = self.loss * keep + loss;
        self.naive = self.naive * keep + naive;
        self.squares = self.squares * keep + better * better;
    }
}

/// How the middle of an online forecast stands against the present load, taken as the load to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnlineStanding {
    /// How far ahead, seconds.
    pub lead_s: u32,
    /// About how many forecasts that came due it rests on, recent ones counting more.
    pub evidence: f64,
    /// What the forecast was off by, on average, in the unit of the load.
    pub loss: f64,
    /// What the present load was off by.
    pub naive_loss: f64,
    /// How much better the forecast was, in standard errors; negative where it was worse, 0 while that can't be told.
    pub better_by: f64,
}

impl OnlineStanding {
    /// Whether the forecast was better, beyond chance.
    pub fn is_better(&self) -> bool {
        self.better_by > SURE
    }

    /// Whether the forecast was worse, beyond chance.
    pub fn is_worse(&self) -> bool {
        self.better_by < -SURE
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Lead {
    lead_s: u32,
    steps: u32,
    gram: Vec<f64>,
    xy: [f64; P],
    weights: [f64; P],
    /// Logarithms of the spread's mixture.
    mixture: [f64; V],
    fast: f64,
    slow: f64,
    /// One shape per [`Mood`]: what is rare in one is the rule in another.
    shapes: Vec<Shape>,
    open: VecDeque<Option<Open>>,
    /// What was said last; through a gap it goes on to hold, wider.
    latest: Option<Open>,
    judged: u64,
    #[serde(default)]
    record: Record,
}

/// Distribution of demand at fixed leads, learned from the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnlineForecaster {
    step_s: u32,
    span: u32,
    taken: u64,
    measured: u64,
    last: f64,
    before: f64,
    stale: u32,
    levels: [f64; SCALES.len()],
    /// Agitation: squared log change against the short level, over a minute and over half an hour.
    agitation: [f64; 2],
    noise: f64,
    surge: Option<Surge>,
    recent: VecDeque<Option<f64>>,
    /// The newest samples, newest first.
    newest: VecDeque<f64>,
    /// A load that is as good as nothing, as the user says.
    nothing: f64,
    /// Whether the mean is forecast; if not, load is expected to stay as it is.
    foresees: bool,
    profiles: Vec<Profile>,
    leads: Vec<Lead>,
}

impl Lead {
    fn new(lead_s: u32, step_s: u32) -> Self {
        Self {
            lead_s,
            steps: lead_s.div_ceil(step_s),
            gram: vec![0.0; P * P],
            xy: [0.0; P],
            weights: [0.0; P],
            mixture: [libm::log(0.3), libm::log(0.4), libm::log(0.5), libm::log(1e-4), libm::log(1e-3)],
            fast: 0.01,
            slow: 0.01,
            shapes: vec![Shape::prior(); 3],
            open: VecDeque::new(),
            latest: None,
            judged: 0,
            record: Record::default(),
        }
    }

    fn spread(&self, parts: &[f64; V]) -> f64 {
        let v: f64 = self.mixture.iter().zip(parts).map(|(m, p)| libm::exp(*m) * p).sum();
        libm::sqrt(v.max(1e-8))
    }

    fn mean(&self, phi: &[f64; P]) -> f64 {
        let m: f64 = self.weights.iter().zip(phi).map(|(w, x)| w * x).sum();
        let judged = self.judged as f64;
        m.clamp(-1.0, MOST_GROWTH * judged / (judged + BELIEVED_AFTER))
    }

    /// Judges what was said for this moment, and learns.
    fn learn(&mut self, o: &Open, demand: f64, floor: f64, step_s: f64, taken: u64) {
        let y = libm::log((demand + floor) / o.level).clamp(-CUT, CUT);
        let keep = decay(step_s, MEAN_HALF_LIFE);
        for a in 0..P {
            let x = o.phi[a];
            self.xy[a] = self.xy[a] * keep + x * y;
            let row = &mut self.gram[a * P..=a * P + a];
            for (g, v) in row.iter_mut().zip(&o.phi) {
                *g = *g * keep + x * v;
            }
        }
        let e = y - o.mean;
        let z = e / o.spread;
        // What stays as it is for want of foresight is no forecast to be judged.
        if o.phi[0] != 0.0 {
            self.record.judge(o, demand + floor, z, keep);
        }
        self.shapes[o.mood as usize].count(z, decay(step_s, SHAPE_HALF_LIFE));
        // Spread: a small step up the likelihood, with single errors cut so that none rules.
        let r = (z * z).min(9.0);
        let v = o.spread * o.spread;
        for (m, part) in self.mixture.iter_mut().zip(&o.parts) {
            let share = libm::exp(*m) * part / v;
            *m = (*m + 0.01 * share.min(1.0) * (r - 1.0)).clamp(-12.0, 2.0);
        }
        // A surge is a rare jump, not a wide spread for hours after: the shape's tail has it.
        let ee = (e * e).min(16.0 * v);
        self.fast += (ee - self.fast) * (step_s / 300.0).min(1.0);
        self.slow += (ee - self.slow) * (step_s / 7200.0).min(1.0).max(1.0 / (self.judged + 1) as f64);
        self.judged += 1;
        if taken.is_multiple_of(SOLVE_EVERY) {
            self.solve();
        }
    }

    fn solve(&mut self) {
        let mut a = self.gram.clone();
        for i in 0..P {
            for j in 0..i {
                a[j * P + i] = a[i * P + j];
            }
            // A prior of "no growth": hardly for the intercept, mild for the rest, firmer where errors are large.
            a[i * P + i] += if i == 0 { 0.1 } else { 0.5 + DOUBT * self.slow };
        }
        let mut b = self.xy;
        solve_spd(&mut a, &mut b, P);
        self.weights = b;
    }
}

impl OnlineForecaster {
    /// A forecaster for samples every `step_s` seconds and these leads, in seconds. The demand at a lead
    /// is that of one step.
    ///
    /// # Errors
    /// [`OnlineError`] where step or leads are out of range.
    pub fn new(step_s: u32, leads_s: &[u32]) -> Result<Self, OnlineError> {
        Self::over_span(step_s, leads_s, 1)
    }

    /// The same, for the *largest* demand of the `span` steps that begin at the lead: what a fleet must
    /// survive if the next decision takes so long to show.
    ///
    /// # Errors
    /// [`OnlineError`] where step, leads or span are out of range.
    pub fn over_span(step_s: u32, leads_s: &[u32], span: u32) -> Result<Self, OnlineError> {
        if step_s == 0 || step_s > 60 {
            return Err(OnlineError::Step(step_s));
        }
        if leads_s.is_empty() || leads_s.len() > MAX_LEADS {
            return Err(OnlineError::Leads(leads_s.len()));
        }
        if let Some(&lead_s) = leads_s.iter().find(|l| **l < step_s || l.div_ceil(step_s) > MAX_LEAD_STEPS) {
            return Err(OnlineError::Lead { lead_s, step_s });
        }
        if span == 0 || span > MAX_SPAN_STEPS {
            return Err(OnlineError::Span(span));
        }
        let bin = f64::from(step_s).max(15.0);
        Ok(Self {
            step_s,
            span,
            taken: 0,
            measured: 0,
            last: 0.0,
            before: 0.0,
            stale: 0,
            levels: [0.0; SCALES.len()],
            agitation: [0.01; 2],
            noise: 0.01,
            surge: None,
            recent: VecDeque::new(),
            newest: VecDeque::new(),
            nothing: 0.0,
            foresees: true,
            // The hour on a fine grid, the day on minutes, the week on five minutes, to keep the state small.
            profiles: vec![
                Profile::new(3600.0, bin, 0.4),
                Profile::new(86_400.0, 60.0, 0.5),
                Profile::new(604_800.0, 300.0, 0.6),
            ],
            leads: leads_s.iter().map(|l| Lead::new(*l, step_s)).collect(),
        })
    }

    /// Seconds between samples.
    pub fn step_s(&self) -> u32 {
        self.step_s
    }
    /// Whether the mean is forecast, or load expected to stay as it is.
    pub fn foresees(&self) -> bool {
        self.foresees
    }
    /// Samples measured so far.
    pub fn measured(&self) -> u64 {
        self.measured
    }

    /// Says below which load nothing matters to the user: what the smallest fleet carries anyhow.
    pub fn ignore_below(&mut self, load: f64) {
        if load.is_finite() && load >= 0.0 {
            self.nothing = load;
        }
    }

    /// Expects load to stay as it is, with the noise it has: for comparison, and for whoever trusts no forecast.
    #[must_use]
    pub fn without_foresight(mut self) -> Self {
        self.foresees = false;
        self
    }

    /// Serves another lead instead of the one at `index`: what a start takes has changed. What was learned stays as
    /// a beginning.
    ///
    /// # Errors
    /// [`OnlineError::Lead`] where the lead is out of range.
    pub fn move_lead(&mut self, index: usize, lead_s: u32) -> Result<(), OnlineError> {
        let step_s = self.step_s;
        if lead_s < step_s || lead_s.div_ceil(step_s) > MAX_LEAD_STEPS {
            return Err(OnlineError::Lead { lead_s, step_s });
        }
        if let Some(lead) = self.leads.get_mut(index) {
            lead.lead_s = lead_s;
            lead.steps = lead_s.div_ceil(step_s);
            // What was said for the old lead must not be judged at the new one.
            lead.open.clear();
        }
        Ok(())
    }

    /// The load that counts as nothing. Keeps logarithms finite, and small loads from looking wild.
    fn floor(&self) -> f64 {
        self.nothing.max(1e-3 * self.levels[3] + 1e-9) + HARDLY_ANYTHING * self.levels[4]
    }

    fn now_s(&self) -> f64 {
        self.taken as f64 * f64::from(self.step_s)
    }

    /// Takes in the load of the next step; `None` where nothing was measured. Values that are no loads
    /// (NaN, infinite, negative, [beyond all](LARGEST)) count as not measured.
    pub fn observe(&mut self, value: Option<f64>) {
        let value = value.filter(|v| (0.0..LARGEST).contains(v));
        self.taken += 1;
        self.recent.push_back(value);
        while self.recent.len() > self.span as usize {
            self.recent.pop_front();
        }
        let Some(x) = value else {
            self.stale = self.stale.saturating_add(1);
            for lead in &mut self.leads {
                lead.open.push_back(None);
                if lead.open.len() > (lead.steps + self.span - 1) as usize {
                    lead.open.pop_front();
                }
            }
            return;
        };
        self.judge();
        self.take(x);
        let features = self.features();
        let floor = self.floor();
        // Of a load whose variance is the load: that of its logarithm, one where the load is as usual and no floor is.
        let level = self.levels[0];
        let usual = self.levels[4];
        let base = level + floor;
        let counted = usual * level.max(LEAST_COUNTED * usual) / (base * base);
        for (k, lead) in self.leads.iter_mut().enumerate() {
            let phi = features[k];
            let parts = [lead.fast, lead.slow, self.agitation[0], 1.0, counted];
            let open = Open {
                phi,
                level: self.levels[0] + floor,
                mean: lead.mean(&phi),
                spread: lead.spread(&parts),
                parts,
                mood: if self.surge.is_some() {
                    Mood::Surging
                } else if phi[ANNOUNCED].iter().any(|g| *g > EXPECTED) {
                    Mood::Expecting
                } else {
                    Mood::Calm
                },
            };
            lead.latest = Some(open);
            lead.open.push_back(Some(open));
        }
    }

    /// Settles what was said for the window that ends with the newest sample.
    fn judge(&mut self) {
        let known: Vec<f64> = self.recent.iter().flatten().copied().collect();
        let whole = known.len() == self.span as usize;
        let largest = known.into_iter().fold(0.0, f64::max);
        let (floor, step, taken) = (self.floor(), f64::from(self.step_s), self.taken);
        for lead in &mut self.leads {
            // Said `steps` before the window's first step.
            if lead.open.len() >= (lead.steps + self.span - 1) as usize
                && let Some(Some(o)) = lead.open.pop_front()
                && whole
            {
                lead.learn(&o, largest, floor, step, taken);
            }
        }
    }

    /// Moves levels, noise, surge and profiles on by a sample.
    fn take(&mut self, x: f64) {
        let step = f64::from(self.step_s);
        self.measured += 1;
        let n = self.measured as f64;
        let floor = self.floor();
        let calm = self.levels[1];
        if self.measured > 1 {
            let change = libm::log((x + floor) / (self.levels[0] + floor)).clamp(-CUT, CUT);
            let c2 = (change * change).min(0.25);
            self.agitation[0] += (c2 - self.agitation[0]) * (step / 60.0).min(1.0).max(1.0 / n);
            self.agitation[1] += (c2 - self.agitation[1]) * (step / 1800.0).min(1.0).max(1.0 / n);
        }
        self.watch_surge(x, calm, floor);
        for (level, scale) in self.levels.iter_mut().zip(SCALES) {
            let rate = (1.0 - libm::exp(-step / scale)).max(1.0 / n);
            *level += (x - *level) * rate;
        }
        self.newest.push_front(x);
        self.newest.truncate(KEPT);
        self.before = if self.measured > 1 { self.last } else { x };
        self.last = x;
        self.stale = 0;
        let at = self.now_s();
        let log_level = libm::log(self.levels[0] + self.floor());
        for p in &mut self.profiles {
            p.learn(at, log_level);
        }
    }

    fn watch_surge(&mut self, x: f64, calm: f64, floor: f64) {
        let step = f64::from(self.step_s);
        if self.measured < 20 {
            return;
        }
        let jump = libm::log((x + floor) / (calm + floor));
        let rise = ((x - self.last) / step).max((x - self.before) / (2.0 * step)).max(0.0);
        match &mut self.surge {
            None => {
                let noise = libm::sqrt(self.noise) + 0.01;
                // Five deviations of the load's own noise, and a tenth more load: below that, the ordinary
                // distribution copes.
                if jump > 5.0 * noise && x > 1.1 * calm && self.now_s() > 120.0 {
                    self.surge = Some(Surge { base: calm, peak: x, age_s: 0.0, rise_per_s: rise });
                } else {
                    let rate = (step / 1800.0).min(1.0).max(1.0 / self.measured as f64);
                    self.noise += ((jump * jump).min(0.25) - self.noise) * rate;
                }
            }
            Some(s) => {
                s.age_s += step;
                s.rise_per_s = rise.max(s.rise_per_s * decay(step, 10.0));
                let higher = x > s.peak;
                s.peak = s.peak.max(x);
                // Over when the level has caught up or the load has fallen back; after ten minutes it is
                // the new normal whatever it does.
                let settled = !higher && (jump < 2.0 * libm::sqrt(self.noise) + 0.02);
                if settled || x < 0.5 * (s.base + s.peak) || s.age_s > 600.0 {
                    self.surge = None;
                }
            }
        }
    }

    fn features(&self) -> Vec<[f64; P]> {
        let f = self.floor();
        let l = |k: usize| self.levels[k] + f;
        let log = |a: f64, b: f64| libm::log(a / b).clamp(-2.0, CUT);
        let since = |k: usize| self.newest.get(k).map_or(0.0, |then| log(self.last + f, *then + f));
        let newest = log(self.last + f, l(0));
        let short = log(l(0), l(1));
        let at = self.now_s();
        self.leads
            .iter()
            .map(|lead| {
                let ahead = f64::from(lead.lead_s);
                let mut phi = [
                    1.0,
                    newest,
                    short,
                    log(l(1), l(2)),
                    log(l(2), l(3)),
                    log(l(3), l(4)),
                    short.max(0.0),
                    newest.max(0.0),
                    0.0,
                    0.0,
                    0.0,
                    since(LAGS[0]),
                    since(LAGS[1]),
                    since(LAGS[2]),
                    since(LAGS[3]),
                ];
                if !self.foresees {
                    return [0.0; P];
                }
                for (x, p) in phi[ANNOUNCED].iter_mut().zip(&self.profiles) {
                    *x = p.growth(at, ahead);
                }
                phi
            })
            .collect()
    }

    /// A surge under way, if any.
    pub fn surge(&self) -> Option<Surge> {
        self.surge
    }

    /// Mean and spread (in logarithms against the level) that rule now at a lead.
    fn state(&self, lead: usize) -> Option<(&Lead, &Shape, f64, f64, f64)> {
        let l = self.leads.get(lead)?;
        let o = l.latest.as_ref()?;
        // A gap widens the spread like a longer lead would.
        let wider = libm::sqrt(1.0 + f64::from(self.stale) / f64::from(l.steps));
        Some((l, &l.shapes[o.mood as usize], o.level, o.mean, o.spread * wider))
    }

    /// How far up the surge may still go by the time of the lead: as far as it has come at most.
    fn surge_reach(&self, lead: &Lead) -> Option<(f64, f64)> {
        let s = self.surge?;
        // A surge that no longer rises is a level: what the levels say holds.
        if s.rise_per_s <= 0.0 {
            return None;
        }
        let climb = (s.rise_per_s * f64::from(lead.lead_s)).min((self.last - s.base).max(0.0));
        (climb > 0.0).then_some((self.last, self.last + climb))
    }

    /// The demand that is not exceeded with probability `q` at a lead (by its index in the list given);
    /// `None` before the first sample, for an unknown lead, or for a `q` that is not between 0 and 1.
    pub fn quantile(&self, lead: usize, q: f64) -> Option<f64> {
        if !(q > 0.0 && q < 1.0) {
            return None;
        }
        let (l, shape, level, mean, spread) = self.state(lead)?;
        let z = shape.exceeded_with(1.0 - q);
        let x = (level * libm::exp((mean + spread * z).min(60.0)) - self.floor()).max(0.0);
        Some(match self.surge_reach(l) {
            // Half of surges are done, the other half evenly on the way to the reach.
            Some((from, to)) if q > 0.5 => x.max(from + (to - from) * (2.0 * q - 1.0)),
            _ => x,
        })
    }

    /// The probability that the demand at a lead exceeds `level`; `None` as for [`Self::quantile`], and
    /// for a level that is not a number.
    pub fn exceedance(&self, lead: usize, level: f64) -> Option<f64> {
        if level.is_nan() {
            return None;
        }
        let (l, shape, now, mean, spread) = self.state(lead)?;
        if level < 0.0 {
            return Some(1.0);
        }
        let z = (libm::log((level + self.floor()) / now) - mean) / spread;
        let p = shape.tail(z);
        Some(match self.surge_reach(l) {
            Some((from, to)) if level < to => p.max(0.5 * (1.0 - (level.max(from) - from) / (to - from))),
            _ => p,
        })
    }

    /// How what was foreseen at a lead stands against the present load; `None` before anything came due, for an unknown
    /// lead, and without foresight.
    pub fn standing(&self, lead: usize) -> Option<OnlineStanding> {
        let lead = self.leads.get(lead)?;
        let Record { weight, loss, naive, squares, .. } = lead.record;
        if weight <= 0.0 {
            return None;
        }
        let better = (naive - loss) / weight;
        // Forecasts of one stretch err together: each stretch of a lead's length counts as one.
        let stretches = weight / f64::from(lead.steps + self.span - 1);
        let variance = (squares / weight - better * better).max(0.0) / stretches;
        let known = stretches >= STRETCHES && variance > 0.0;
        Some(OnlineStanding {
            lead_s: lead.lead_s,
            evidence: weight,
            loss: loss / weight,
            naive_loss: naive / weight,
            better_by: if known { better / libm::sqrt(variance) } else { 0.0 },
        })
    }

    /// The leads served, in seconds.
    pub fn leads_s(&self) -> impl Iterator<Item = u32> + '_ {
        self.leads.iter().map(|l| l.lead_s)
    }
}
