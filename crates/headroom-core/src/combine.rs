//! Several strategies become one number (D2).
//!
//! By default the highest want wins: prediction, schedules and measurement each see a part, and too few replicas cost
//! more than one too many. A policy may say otherwise: the first strategy that has something to say decides
//! (`priority`), all have to agree on a direction (`all`), or the one that fits the situation best (`fitness`).
//! A strategy that is content wants nothing and only keeps others from shrinking below what it needs itself; where all
//! have to agree, it does not. Whatever the mode, floors lift and ceilings lower; the kinds of strategy that are to be only that are named.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::decision::{Advice, By, Draft, Recommendation};
use crate::fitness::fitness;
use crate::reason::Reason;
use crate::strategy::StrategyKind;
use crate::units::{Level, Replicas};

/// How several strategies become one number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Combine {
    /// Whose want counts.
    pub by: CombineBy,
    /// Strategies of these kinds only set a floor under the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<StrategyKind>,
    /// Strategies of these kinds only set a ceiling over the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ceilings: Vec<StrategyKind>,
}

/// Whose want counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CombineBy {
    /// The highest.
    #[default]
    Highest,
    /// That of the first strategy, in the order of the policy, that does not abstain.
    Priority,
    /// The smallest change all agree on: growth only if all want more, shrinking only if all want less. One that
    /// abstains or is content does not agree.
    All,
    /// That of the strategy which fits the situation best (B8).
    Fitness,
}

impl Combine {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What a strategy of `kind` says, as a floor or a ceiling where the policy wants it to be only that.
    #[must_use]
    pub fn cast(&self, kind: StrategyKind, advice: Advice) -> Advice {
        match advice {
            Advice::Wants { replicas, why } if self.floors.contains(&kind) => Advice::Floor { replicas, why },
            Advice::Wants { replicas, why } if self.ceilings.contains(&kind) => {
                Advice::Ceiling { replicas, why }
            }
            // What is only a ceiling lifts nobody.
            Advice::Content { why, .. } if self.ceilings.contains(&kind) => Advice::Abstains { why },
            advice => advice,
        }
    }
}

/// The highest of several wants; `None` where nobody wants anything.
#[must_use]
pub fn highest(wants: impl IntoIterator<Item = Replicas>) -> Option<Replicas> {
    wants.into_iter().max()
}

/// A want among the recommendations.
fn want(r: &Recommendation) -> Option<(Replicas, &Recommendation)> {
    match r.advice {
        Advice::Wants { replicas, .. } => Some((replicas, r)),
        Advice::Floor { .. } | Advice::Ceiling { .. } | Advice::Content { .. } | Advice::Abstains { .. } => {
            None
        }
    }
}

/// Moves `draft` to what the strategies together want.
pub(crate) fn combine(cx: &Context<'_>, recommendations: &[Recommendation], draft: &mut Draft) {
    let wants = || recommendations.iter().filter_map(want);
    let single = recommendations.len() == 1;
    let chosen = match cx.workload().combine.by {
        CombineBy::Highest => {
            // Of equal wants the first in the policy's order gives the reason.
            wants().reduce(|best, next| if next.0 > best.0 { next } else { best })
        }
        CombineBy::Priority => wants().next(),
        CombineBy::All => agreed(cx.current(), recommendations),
        CombineBy::Fitness => {
            let scored = wants().map(|(count, r)| (fitness(cx, r.index).get(), count, r));
            let best = scored.reduce(|best, next| {
                let fitter = next.0 > best.0 + 1e-9;
                let equal = (next.0 - best.0).abs() <= 1e-9;
                if fitter || (equal && next.1 > best.1) { next } else { best }
            });
            best.map(|(_, count, r)| (count, r))
        }
    };
    // The reason is made only where it is told: a quiet tick allocates nothing for it.
    if let Some((count, r)) = chosen.filter(|(count, _)| *count != draft.wanted()) {
        let strategy = || r.label();
        let why = match cx.workload().combine.by {
            _ if single => r.advice.why().clone(),
            CombineBy::Highest => Reason::HighestWant { strategy: strategy() },
            CombineBy::Priority => Reason::FirstToSpeak { strategy: strategy() },
            CombineBy::All => Reason::AllAgree { strategy: strategy() },
            CombineBy::Fitness => Reason::Fittest { strategy: strategy(), score: fitness(cx, r.index) },
        };
        draft.move_to(count, By::Strategies, why);
    }
    for r in recommendations {
        match r.advice {
            Advice::Floor { replicas, .. } | Advice::Content { replicas, .. }
                if replicas > draft.wanted() =>
            {
                draft.move_to(replicas, By::Strategies, Reason::Floor { strategy: r.label() });
            }
            Advice::Wants { .. }
            | Advice::Floor { .. }
            | Advice::Ceiling { .. }
            | Advice::Content { .. }
            | Advice::Abstains { .. } => {}
        }
    }
    // Ceilings have the last word: a floor above a ceiling is a mistake, and the ceiling is the money.
    for r in recommendations {
        match r.advice {
            Advice::Ceiling { replicas, .. } if replicas < draft.wanted() => {
                draft.move_to(replicas, By::Strategies, Reason::Ceiling { strategy: r.label() });
            }
            Advice::Wants { .. }
            | Advice::Floor { .. }
            | Advice::Ceiling { .. }
            | Advice::Content { .. }
            | Advice::Abstains { .. } => {}
        }
    }
    if let Some(requests) = cx.memory().waiting(cx.at()).filter(|r| *r > 0)
        && draft.wanted() == Replicas::ZERO
    {
        draft.move_to(Replicas::ONE, By::Waiting, Reason::RequestsWaiting { requests });
    }
}

/// The smallest change every strategy agrees on, floors and ceilings aside.
fn agreed(current: Replicas, recommendations: &[Recommendation]) -> Option<(Replicas, &Recommendation)> {
    let speaks = |r: &&Recommendation| !matches!(r.advice, Advice::Floor { .. } | Advice::Ceiling { .. });
    let mut smallest: Option<(Replicas, &Recommendation)> = None;
    for r in recommendations.iter().filter(speaks) {
        let (count, r) = want(r)?;
        smallest = match smallest {
            None => Some((count, r)),
            Some((other, _))
                if (other > current) != (count > current) || (other < current) != (count < current) =>
            {
                return None;
            }
            Some((other, _)) if count.0.abs_diff(current.0) < other.0.abs_diff(current.0) => Some((count, r)),
            Some(smallest) => Some(smallest),
        };
    }
    smallest
}

/// A share as a level; shares of the fitness formulas are known to be levels.
pub(crate) fn share(value: f64) -> Level {
    Level::new(value).unwrap_or(Level::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, seeing_with};

    /// Recommendations of threshold strategies: a want, or an abstention.
    fn says(list: &[Option<u32>]) -> Vec<Recommendation> {
        let advice = |count: &Option<u32>| match count {
            Some(n) => Advice::wants(Replicas(*n), Reason::FixedCount),
            None => Advice::abstains(Reason::NoReadyReplica),
        };
        let kinds = [StrategyKind::Threshold, StrategyKind::Schedule, StrategyKind::Fixed];
        list.iter()
            .zip(kinds)
            .enumerate()
            .map(|(index, (count, strategy))| Recommendation { strategy, index, advice: advice(count) })
            .collect()
    }

    /// D2: one that is content does not hold others back, but keeps what it needs; where all have to agree, it does not
    /// agree. Only-a-ceiling lifts nobody.
    #[test]
    fn who_is_content_keeps_only_what_it_needs() {
        for (json, other, expected) in [
            ("{}", Some(4), 6),
            ("{}", Some(8), 8),
            ("{}", Some(15), 15),
            ("{}", None, 10),
            (r#"{"by":"priority"}"#, Some(4), 6),
            (r#"{"by":"all"}"#, Some(4), 10),
            (r#"{"by":"all"}"#, Some(15), 10),
            (r#"{"ceilings":["threshold"]}"#, Some(4), 4),
        ] {
            let content = Advice::Content { replicas: Replicas(6), why: Reason::FixedCount };
            let said = |r: Recommendation| match r.strategy {
                StrategyKind::Threshold => Recommendation { advice: content.clone(), ..r },
                _ => r,
            };
            let list = says(&[None, other]).into_iter().map(said).collect();
            assert_eq!(combined_of(json, list).0, expected, "{json} {other:?}");
        }
    }

    fn combined(json: &str, list: &[Option<u32>]) -> (u32, Vec<&'static str>) {
        combined_of(json, says(list))
    }

    fn combined_of(json: &str, list: Vec<Recommendation>) -> (u32, Vec<&'static str>) {
        let combine_by: Combine = serde_json::from_str(json).unwrap();
        let cast =
            list.into_iter().map(|r| Recommendation { advice: combine_by.cast(r.strategy, r.advice), ..r });
        let recommendations: Vec<_> = cast.collect();
        let workload = |w: &mut crate::fleet::Workload| w.combine = combine_by.clone();
        seeing_with(&Case::absent().replicas(10), workload, |cx| {
            let mut draft = Draft::starting_at(Replicas(10), Vec::new());
            combine(cx, &recommendations, &mut draft);
            (draft.wanted().0, draft.steps().iter().map(|s| s.why.code()).collect())
        })
    }

    /// D2: highest need wins by default; priority, AND, floor and ceiling where written.
    #[test]
    fn the_policy_says_whose_want_counts() {
        for (json, list, expected, codes) in [
            ("{}", vec![Some(12), Some(15), None], 15, vec!["highest-want"]),
            ("{}", vec![None, None, None], 10, vec![]),
            (r#"{"by":"priority"}"#, vec![None, Some(8), Some(15)], 8, vec!["first-to-speak"]),
            (r#"{"by":"all"}"#, vec![Some(12), Some(15)], 12, vec!["all-agree"]),
            (r#"{"by":"all"}"#, vec![Some(8), Some(5)], 8, vec!["all-agree"]),
            (r#"{"by":"all"}"#, vec![Some(8), Some(15)], 10, vec![]),
            (r#"{"by":"all"}"#, vec![Some(8), None], 10, vec![]),
            (r#"{"floors":["schedule"]}"#, vec![Some(5), Some(7)], 7, vec!["highest-want", "floor"]),
            (r#"{"ceilings":["schedule"]}"#, vec![Some(25), Some(20)], 20, vec!["highest-want", "ceiling"]),
            (
                r#"{"floors":["schedule"],"ceilings":["fixed"]}"#,
                vec![Some(5), Some(30), Some(20)],
                20,
                vec!["highest-want", "floor", "ceiling"],
            ),
        ] {
            assert_eq!(combined(json, &list), (expected, codes), "{json} {list:?}");
        }
    }
}
