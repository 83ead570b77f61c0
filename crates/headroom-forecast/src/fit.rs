//! Learning: every model on every stretch, judged out of sample, combined, calibrated.
//!
//! One pure function does a whole refit. It replays the recent past: at origins spread over the last two
//! weeks every model says what it would have said then, from what it could have known. The combination,
//! the demotions and the calibration all come from that record, never from how well a model fits what it
//! was trained on.

use crate::math::{G, GRID, MEDIAN, P95, Quantiles, SCORED, Sample, Scale, decay, loss, settle};
use crate::models::{analog, climate, naive, ridge, smoothing};
use crate::scoreboard::Scoreboard;
use crate::window::Window;
use serde::{Deserialize, Serialize};

/// The models that take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// What came last.
    Naive,
    /// What came at this time of the main season (a day ago).
    SeasonalNaive,
    /// What came at this time a week ago.
    WeeklyNaive,
    /// Direct seasonal autoregression.
    #[serde(rename = "seasonal-regression", alias = "regression")]
    Regression,
    /// Holt-Winters: level, damped trend, profile.
    Smoothing,
    /// What followed the most similar moments.
    Analog,
    /// What this time of day has been like.
    Climate,
}

/// How many models there are.
pub(crate) const MODELS: usize = 7;

impl Model {
    /// All models, in the order of their weights.
    pub const ALL: [Self; MODELS] = [
        Self::Naive,
        Self::SeasonalNaive,
        Self::WeeklyNaive,
        Self::Regression,
        Self::Smoothing,
        Self::Analog,
        Self::Climate,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The stable name, as in journals and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::SeasonalNaive => "seasonal-naive",
            Self::WeeklyNaive => "weekly-naive",
            Self::Regression => "seasonal-regression",
            Self::Smoothing => "smoothing",
            Self::Analog => "analog",
            Self::Climate => "climate",
        }
    }
}

/// Horizons are judged in three parts: up to 12 steps (an hour of five minutes), up to 72, beyond.
pub(crate) const PARTS: [usize; 3] = [12, 72, usize::MAX];
/// The part that a horizon belongs to.
pub(crate) fn part(h: usize) -> usize {
    PARTS.iter().position(|&top| h <= top).unwrap_or(PARTS.len() - 1)
}
/// Horizons that are judged, per part.
pub(crate) fn judged(h_max: usize) -> Vec<usize> {
    let mut out: Vec<usize> =
        [1, 2, 4, 6, 9, 12, 18, 30, 48, 72].into_iter().filter(|&h| h <= h_max).collect();
    if h_max > 72 {
        for k in 1..=4 {
            out.push(72 + (h_max - 72) * k / 4);
        }
    }
    out
}

/// Origins that are replayed.
const ORIGINS: usize = 48;
/// Stretches for which the models are learned anew during the replay.
const STRETCHES: usize = 4;

/// What one end has taught.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learned {
    naive: Option<naive::Fit>,
    season: Option<naive::Fit>,
    week: Option<naive::Fit>,
    regression: Option<ridge::Fit>,
    smoothing: Option<smoothing::Fit>,
}

/// A window with what forecasts are read from.
pub(crate) struct Ready {
    pub(crate) w: Window,
    scaled: ridge::Scaled,
    paths: Vec<Option<smoothing::Path>>,
}

impl Ready {
    pub(crate) fn new(w: Window, only: Option<&Learned>) -> Self {
        let scaled = ridge::Scaled::new(&w, Scale::Root);
        let paths = match only {
            None => smoothing::paths(&w, &scaled, None),
            Some(l) => l.smoothing.as_ref().map_or_else(Vec::new, |f| smoothing::paths(&w, &scaled, Some(f))),
        };
        Self { w, scaled, paths }
    }

    fn predict(
        &self,
        l: &Learned,
        origin: usize,
        hs: &[usize],
        analog_stride: usize,
        h_max: usize,
        sample: &mut Sample,
    ) -> Vec<[Option<Quantiles>; MODELS]> {
        let matches = analog::find(&self.w, &self.scaled, origin, h_max, analog_stride);
        hs.iter()
            .map(|&h| {
                [
                    l.naive.as_ref().map(|f| f.predict(&self.w, origin, h)),
                    l.season.as_ref().map(|f| f.predict(&self.w, origin, h)),
                    l.week.as_ref().map(|f| f.predict(&self.w, origin, h)),
                    l.regression.as_ref().map(|f| f.predict(&self.scaled, origin, h)),
                    l.smoothing.as_ref().and_then(|f| f.predict(&self.scaled, &self.paths, origin, h)),
                    matches.as_ref().and_then(|m| m.predict(&self.w, &self.scaled, h, sample)),
                    climate::predict(&self.w, origin, h, sample),
                ]
            })
            .collect()
    }
}

/// How the models of one part of the horizon are combined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) weights: [f64; MODELS],
    /// Mean out-of-sample loss; `None` where the model said nothing.
    pub(crate) losses: [Option<f64>; MODELS],
    /// Models that lost to the yardstick.
    pub(crate) demoted: [bool; MODELS],
    /// Out-of-sample coverage of the 0.95 level before calibration; `None` with too few cases.
    pub(crate) coverage: Option<f64>,
    /// Factors on the distance of each level from the median.
    pub(crate) stretch: Quantiles,
}

/// What a refit comes to, apart from the series' own facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The unit of the window; losses and distributions inside are in it.
    pub(crate) unit: f64,
    pub(crate) learned: Learned,
    pub(crate) parts: Vec<Part>,
    /// Fewer steps than this before an origin, and the models would look back beyond the beginning.
    pub(crate) needs: usize,
}

struct Case {
    origin: usize,
    y: f64,
    weight: f64,
    said: [Option<Quantiles>; MODELS],
}

/// A whole refit for horizons up to `h_max`. `live` is what forecasts in earnest have been found to lose.
pub(crate) fn run(w: Window, h_max: usize, live: &Scoreboard) -> (Outcome, Ready) {
    let n = w.len();
    let m = w.seasons.main;
    let ready = Ready::new(w, None);
    let w = &ready.w;
    // Replay the last half, but no more than two weeks.
    let span = (n / 2).min(m.map_or(n, |m| 14 * m));
    let start = n - span;
    let mut ends: Vec<usize> = (0..STRETCHES).map(|k| start + span * k / STRETCHES).collect();
    ends.push(n);
    let learned = learn(&ready, h_max, &ends);
    let hs = judged(h_max);
    let mut sample = Sample::default();
    let mut parts: Vec<Vec<Case>> = PARTS.iter().map(|_| Vec::new()).collect();
    let half_life = m.map_or(span as f64 / 2.0, |m| 5.0 * m as f64);
    let stride = (n / 1000).max(1);
    if span > 2 {
        for k in 0..ORIGINS {
            let jitter = ((k + 1) as f64 * 0.618_033_988_7) % 1.0;
            let origin = start + ((k as f64 + jitter) / ORIGINS as f64 * (span - 1) as f64) as usize;
            if origin + 1 >= n || !w.seen[origin] {
                continue;
            }
            let e = ends.iter().rposition(|&e| e <= origin + 1).unwrap_or(0);
            let said = ready.predict(&learned[e], origin, &hs, stride, h_max, &mut sample);
            for (&h, said) in hs.iter().zip(said) {
                let t = origin + h;
                if t < n && w.seen[t] {
                    let weight = decay((n - t) as f64, half_life);
                    parts[part(h)].push(Case { origin, y: w.y[t], weight, said });
                }
            }
        }
    }
    let parts = parts.iter().enumerate().map(|(p, cases)| combine(cases, live, p, w.unit)).collect();
    let last = learned.into_iter().next_back().expect("there is always the last end");
    let seasons = ready.w.seasons;
    let rows = last.regression.as_ref().map_or(0, ridge::Fit::needs);
    let needs = rows.max(seasons.week.or(seasons.main).map_or(0, |m| m + 1));
    (Outcome { unit: ready.w.unit, learned: last, parts, needs }, ready)
}

fn learn(r: &Ready, h_max: usize, ends: &[usize]) -> Vec<Learned> {
    let w = &r.w;
    let mut naive = spread(naive::fit(w, naive::Back::Last, h_max, ends), ends);
    let mut season =
        spread(w.seasons.main.and_then(|m| naive::fit(w, naive::Back::Season(m), h_max, ends)), ends);
    let mut week =
        spread(w.seasons.week.and_then(|m| naive::fit(w, naive::Back::Season(m), h_max, ends)), ends);
    let mut regression = spread(ridge::fit(w, &r.scaled, h_max, ends), ends);
    let mut smoothing = spread(smoothing::fit(w, &r.scaled, &r.paths, h_max, ends), ends);
    (0..ends.len())
        .map(|k| Learned {
            naive: naive[k].take(),
            season: season[k].take(),
            week: week[k].take(),
            regression: regression[k].take(),
            smoothing: smoothing[k].take(),
        })
        .collect()
}

fn spread<T>(fits: Option<Vec<T>>, ends: &[usize]) -> Vec<Option<T>> {
    match fits {
        Some(v) => v.into_iter().map(Some).collect(),
        None => ends.iter().map(|_| None).collect(),
    }
}

/// Loses to a yardstick by more than this share, and by more than chance: demoted. The losses of a few
/// dozen origins are not known better.
const DEMOTION_MARGIN: f64 = 1.02;
/// What a demoted model keeps of its say. Not nothing: one that errs differently still steadies the others
/// (dropping it made the far horizon of the public traces half a percent worse).
const DEMOTED_SAY: f64 = 0.1;

fn combine(cases: &[Case], live: &Scoreboard, p: usize, unit: f64) -> Part {
    let mut sum = [0.0; MODELS];
    let mut wsum = [0.0; MODELS];
    for c in cases {
        for (k, q) in c.said.iter().enumerate() {
            if let Some(q) = q {
                sum[k] += c.weight * loss(c.y, q);
                wsum[k] += c.weight;
            }
        }
    }
    for (k, tally) in live.tallies(p).iter().enumerate() {
        sum[k] += tally.loss / unit;
        wsum[k] += tally.weight;
    }
    let most = wsum.iter().copied().fold(0.0, f64::max);
    let mut losses = [None; MODELS];
    for k in 0..MODELS {
        // A model that kept silent half of the time can't be compared.
        if wsum[k] > 0.5 * most && most > 0.0 {
            losses[k] = Some(sum[k] / wsum[k]);
        }
    }
    let known: Vec<f64> = losses.iter().flatten().copied().collect();
    let mut weights = [0.0; MODELS];
    let mut demoted = [false; MODELS];
    if known.is_empty() {
        weights = [1.0 / MODELS as f64; MODELS];
    } else {
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        let yardstick = Model::SeasonalNaive.index();
        let bar = losses[yardstick].or(losses[Model::Naive.index()]);
        for k in 0..MODELS {
            let Some(l) = losses[k] else { continue };
            demoted[k] =
                k != yardstick && bar.is_some_and(|b| l > b * DEMOTION_MARGIN) && loses(cases, k, yardstick);
            // Fourth power: twice the loss, a sixteenth of the say.
            weights[k] = libm::pow((l + 0.02 * mean + 1e-300) / (mean + 1e-300), -4.0);
            if demoted[k] {
                weights[k] *= DEMOTED_SAY;
            }
        }
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= total);
        stack(cases, &mut weights, mean);
    }
    let (stretch, coverage) = calibrate(cases, &weights);
    Part { weights, losses, demoted, coverage, stretch }
}

/// Whether a model's losses exceed the yardstick's by more than chance: two standard errors of the mean
/// difference, where the horizons of one origin, which err alike, count as one observation.
fn loses(cases: &[Case], model: usize, yardstick: usize) -> bool {
    let bar = |c: &Case| c.said[yardstick].or(c.said[Model::Naive.index()]);
    let diffs: Vec<(usize, f64, f64)> = cases
        .iter()
        .filter_map(|c| Some((c.origin, c.weight, loss(c.y, c.said[model].as_ref()?) - loss(c.y, &bar(c)?))))
        .collect();
    let total: f64 = diffs.iter().map(|d| d.1).sum();
    if total <= 0.0 {
        return false;
    }
    let mean = diffs.iter().map(|d| d.1 * d.2).sum::<f64>() / total;
    let mut variance = 0.0;
    for origin in diffs.chunk_by(|a, b| a.0 == b.0) {
        let s: f64 = origin.iter().map(|d| d.1 * (d.2 - mean)).sum();
        variance += s * s;
    }
    mean > 2.0 * libm::sqrt(variance) / total
}

/// Improves the weights by exponentiated gradient on the loss of the *combination*: two models that err
/// alike need not both be there, two that err apart help each other.
fn stack(cases: &[Case], weights: &mut [f64; MODELS], mean_loss: f64) {
    if cases.len() < 20 || mean_loss <= 0.0 {
        return;
    }
    let prior = *weights;
    let total: f64 = cases.iter().map(|c| c.weight).sum();
    for round in 0..40 {
        let mut grad = [0.0; MODELS];
        for c in cases {
            let q = mix(&c.said, weights);
            for k in SCORED {
                let slope = if c.y >= q[k] { -GRID[k] } else { 1.0 - GRID[k] };
                for (g, said) in grad.iter_mut().zip(&c.said) {
                    if let Some(v) = said {
                        *g += c.weight * slope * (v[k] - q[k]);
                    }
                }
            }
        }
        let rate = 0.3 / (1.0 + 0.1 * round as f64);
        let mut sum = 0.0;
        for m in 0..MODELS {
            if prior[m] > 0.0 {
                let g = grad[m] / (total * SCORED.len() as f64 * mean_loss);
                let pull = libm::log(weights[m].max(1e-12) / prior[m].max(1e-12));
                weights[m] *= libm::exp((-rate * (g + 0.05 * pull)).clamp(-2.0, 2.0));
                sum += weights[m];
            }
        }
        weights.iter_mut().for_each(|w| *w /= sum);
    }
}

/// The weighted mean of the quantiles of those that said something.
pub(crate) fn mix(said: &[Option<Quantiles>; MODELS], weights: &[f64; MODELS]) -> Quantiles {
    let mut q = [0.0; G];
    let mut sum = 0.0;
    for (s, &w) in said.iter().zip(weights) {
        if let Some(s) = s {
            sum += w;
            for (a, b) in q.iter_mut().zip(s) {
                *a += w * b;
            }
        }
    }
    if sum > 0.0 {
        q.iter_mut().for_each(|v| *v /= sum);
    } else if let Some(s) = said.iter().flatten().next() {
        q = *s;
    }
    q
}

/// The factor on each level's distance from the median that would have given the right coverage.
fn calibrate(cases: &[Case], weights: &[f64; MODELS]) -> (Quantiles, Option<f64>) {
    let mut out = [1.0; G];
    let mixed: Vec<(f64, f64, Quantiles)> =
        cases.iter().map(|c| (c.y, c.weight, mix(&c.said, weights))).collect();
    let origins = cases.chunk_by(|a, b| a.origin == b.origin).count() as f64;
    let lambda = cases.len() as f64 / (cases.len() as f64 + 60.0);
    let mut ratios: Vec<(f64, f64)> = Vec::with_capacity(cases.len());
    for k in MEDIAN + 1..G {
        ratios.clear();
        for (y, w, q) in &mixed {
            let width = q[k] - q[MEDIAN];
            if width > 1e-9 * q[k].abs() {
                ratios.push(((y - q[MEDIAN]) / width, *w));
            }
        }
        if ratios.len() < 20 {
            continue;
        }
        ratios.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = ratios.iter().map(|r| r.1).sum();
        // Split-conformal correction for few observations; those of one origin count as one. Never more
        // than half of what is left above the level.
        let level = (GRID[k] * (1.0 + 1.0 / origins.max(1.0))).min(0.5 * (1.0 + GRID[k]));
        let mut sum = 0.0;
        let mut f = 1.0;
        for (r, w) in &ratios {
            sum += w;
            if sum >= level * total {
                f = *r;
                break;
            }
        }
        out[k] = 1.0 + lambda * (f.clamp(0.3, 3.0) - 1.0);
    }
    let total: f64 = mixed.iter().map(|c| c.1).sum();
    let held: f64 = mixed.iter().filter(|(y, _, q)| *y <= q[P95]).map(|c| c.1).sum();
    (out, (mixed.len() >= 20 && total > 0.0).then(|| held / total))
}

/// What is said of one step: by each model, and by all together, calibrated.
pub(crate) struct Said {
    pub(crate) models: [Option<Quantiles>; MODELS],
    pub(crate) all: Quantiles,
}

/// Distributions at the horizons asked for, from the last value of the window.
pub(crate) fn forecast(f: &Outcome, r: &Ready, hs: &[usize]) -> Vec<Said> {
    let mut sample = Sample::default();
    let h_max = hs.iter().copied().max().unwrap_or(1);
    let said = r.predict(&f.learned, r.w.len() - 1, hs, (r.w.len() / 2000).max(1), h_max, &mut sample);
    hs.iter()
        .zip(said)
        .map(|(&h, models)| {
            let p = &f.parts[part(h)];
            let mut all = mix(&models, &p.weights);
            let mid = all[MEDIAN];
            for (v, s) in all.iter_mut().zip(&p.stretch) {
                *v = mid + s * (*v - mid);
            }
            settle(&mut all);
            Said { models, all }
        })
        .collect()
}
