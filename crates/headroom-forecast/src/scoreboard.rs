//! What forecasts made in earnest have lost, per model and part of the horizon.
//!
//! The replay inside a fit says how a model would have done; this says how it did. Each refit issues what
//! every model says of the judged horizons; when their time comes, the samples settle them. Old losses
//! fade, so a model that has become bad is found out within days.

use crate::fit::{MODELS, Model, PARTS, part};
use crate::math::{GRID, SCORED, pinball};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most claims that wait for their time: a refit issues about fourteen; an hourly refit with a day's
/// horizon has under 200 open.
const MAX_OPEN: usize = 512;
/// What a settled loss keeps of its weight with each later one of its part. With six judged horizons per
/// refit in the first part it halves in about 23 refits.
const FADE: f64 = 0.995;
/// Claims settled per sample at most, so a sample's cost is bounded.
const SETTLED_PER_SAMPLE: usize = 8;
/// What a settled loss keeps of its weight in the recent mean: about the last five forecasts of an hour count.
const FADE_RECENT: f64 = 0.8;
/// The load has left its ways where the recent loss is so many times the usual one: twice is out of the reach of
/// five forecasts of an even quality.
const WORSE: f64 = 2.0;

/// Faded sums of loss and weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) loss: f64,
    pub(crate) weight: f64,
}

/// What was said of one step to come, at the scored levels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) at_unix_s: i64,
    pub(crate) steps: usize,
    pub(crate) models: [Option<[f64; 4]>; MODELS],
    pub(crate) all: [f64; 4],
}

/// Out-of-sample losses of forecasts that were made in earnest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scoreboard {
    open: VecDeque<Claim>,
    tallies: Vec<[Tally; MODELS]>,
    combined: Vec<Tally>,
    held: Vec<Tally>,
    /// The combination's losses of the first part, of the last steps only.
    #[serde(default)]
    recent: Tally,
}

/// How the forecasts made in earnest stand against the best yardstick (naive, seasonal, weekly).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// About how many settled forecasts it rests on, recent ones counting more.
    pub evidence: f64,
    /// Mean loss of the combination, in the unit of the load.
    pub loss: f64,
    /// The yardstick that did best.
    pub yardstick: Model,
    /// Its mean loss.
    pub yardstick_loss: f64,
}

impl Standing {
    /// Whether the forecasts were better than the best yardstick.
    pub fn is_better(&self) -> bool {
        self.loss < self.yardstick_loss
    }
}

/// One line of the board.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// The model; `None`: the combination.
    pub model: Option<Model>,
    /// The part of the horizon: steps up to this one (`usize::MAX`: all further ones).
    pub up_to_steps: usize,
    /// Mean pinball loss over the levels 0.5, 0.9, 0.95, 0.99, recent ones counting more.
    pub loss: f64,
    /// How much evidence that is: about the number of settled claims, faded.
    pub weight: f64,
}

impl Scoreboard {
    pub(crate) fn tallies(&self, p: usize) -> [Tally; MODELS] {
        self.tallies.get(p).copied().unwrap_or_default()
    }

    pub(crate) fn issue(&mut self, claims: impl IntoIterator<Item = Claim>) {
        for c in claims {
            let place = self.open.partition_point(|o| o.at_unix_s <= c.at_unix_s);
            self.open.insert(place, c);
        }
        while self.open.len() > MAX_OPEN {
            self.open.pop_back();
        }
    }

    /// Whether nothing was settled yet.
    pub(crate) fn is_blank(&self) -> bool {
        self.combined.iter().all(|t| t.weight <= 0.0)
    }

    /// Drops what has not come due.
    pub(crate) fn forget_open(&mut self) {
        self.open.clear();
    }

    /// What has not come due.
    pub(crate) fn into_open(self) -> VecDeque<Claim> {
        self.open
    }

    /// Settles the claims about the step that starts at `at_unix_s`; those whose step was not measured
    /// are dropped.
    pub(crate) fn settle(&mut self, at_unix_s: i64, value: Option<f64>) {
        for _ in 0..SETTLED_PER_SAMPLE {
            if self.open.front().is_none_or(|c| c.at_unix_s > at_unix_s) {
                return;
            }
            let Some(c) = self.open.pop_front() else { return };
            let Some(y) = value.filter(|_| c.at_unix_s == at_unix_s) else { continue };
            if self.tallies.len() < PARTS.len() {
                self.tallies.resize(PARTS.len(), Default::default());
                self.combined.resize(PARTS.len(), Tally::default());
                self.held.resize(PARTS.len(), Tally::default());
            }
            let p = part(c.steps);
            for (tally, said) in self.tallies[p].iter_mut().zip(&c.models) {
                if let Some(q) = said {
                    tally.add(mean_loss(y, q));
                }
            }
            let loss = mean_loss(y, &c.all);
            self.combined[p].add(loss);
            if p == 0 {
                self.recent.loss = self.recent.loss * FADE_RECENT + loss;
                self.recent.weight = self.recent.weight * FADE_RECENT + 1.0;
            }
            self.held[p].add(if y <= c.all[2] { 1.0 } else { 0.0 });
        }
    }

    /// The losses so far.
    pub fn scores(&self) -> Vec<Score> {
        let mut out = Vec::new();
        for (p, &up_to_steps) in PARTS.iter().enumerate() {
            let Some(combined) = self.combined.get(p).filter(|t| t.weight > 0.0) else { continue };
            let mut line = |model, t: Tally| {
                if t.weight > 0.0 {
                    out.push(Score { model, up_to_steps, loss: t.loss / t.weight, weight: t.weight });
                }
            };
            line(None, *combined);
            for (m, t) in Model::ALL.into_iter().zip(self.tallies(p)) {
                line(Some(m), t);
            }
        }
        out
    }

    /// How the forecasts `steps` ahead stand; `None` before any was settled.
    pub fn standing(&self, steps: usize) -> Option<Standing> {
        let p = part(steps);
        let mean = |t: &Tally| (t.weight > 0.0).then(|| t.loss / t.weight);
        let combined = self.combined.get(p)?;
        let tallies = self.tallies(p);
        let yardsticks = [Model::Naive, Model::SeasonalNaive, Model::WeeklyNaive];
        let judged = yardsticks.into_iter().filter_map(|m| Some((m, mean(&tallies[m.index()])?)));
        let (yardstick, yardstick_loss) = judged.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Standing { evidence: combined.weight, loss: mean(combined)?, yardstick, yardstick_loss })
    }

    /// Whether the last forecasts were much worse than usual: it is time to learn anew, whatever the plan was.
    pub fn has_worsened(&self) -> bool {
        let usual = self.combined.first().filter(|t| t.weight >= 10.0).map(|t| t.loss / t.weight);
        let recent = (self.recent.weight >= 2.0).then(|| self.recent.loss / self.recent.weight);
        matches!((recent, usual), (Some(recent), Some(usual)) if recent > WORSE * usual)
    }

    /// The share of settled steps that stayed within the 0.95 quantile, for the part of the horizon that
    /// `steps` belongs to; `None` before any was settled.
    pub fn coverage(&self, steps: usize) -> Option<f64> {
        self.held.get(part(steps)).filter(|t| t.weight > 0.0).map(|t| t.loss / t.weight)
    }
}

impl Tally {
    fn add(&mut self, x: f64) {
        self.loss = self.loss * FADE + x;
        self.weight = self.weight * FADE + 1.0;
    }
}

fn mean_loss(y: f64, q: &[f64; 4]) -> f64 {
    let sum: f64 = SCORED.iter().zip(q).map(|(&k, &v)| pinball(y, v, GRID[k])).sum();
    sum / 4.0
}
