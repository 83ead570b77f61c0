//! Decisions: a number that explains itself.
//!
//! A wanted count changes only through [`Draft::move_to`], which takes who moved it and why; there is no other
//! door (the fields are private). What comes out is a [`Decision`], also when nothing is done: "why did nothing
//! scale?" is answered from the journal, not from a debug log.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::guard::Verdict;
use crate::names::{SignalName, WorkloadName};
use crate::reading::Reading;
use crate::reason::Reason;
use crate::strategy::StrategyKind;
use crate::units::{Replicas, Span, Timestamp, Unit};
use crate::warm::Warm;

/// Who moved or refused a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// The strategies' wants, combined.
    Strategies,
    /// Requests held at the balancer while nothing runs.
    Waiting,
    /// A person, by applying a plan.
    Person,
    /// Guard: one action at a time.
    Settled,
    /// Guard: absent data never shrinks anything.
    Absence,
    /// Guard: the stabilisation windows.
    Stabilise,
    /// Guard: limits of speed.
    Step,
    /// Guard: pause after a change.
    Cooldown,
    /// Guard: least and most.
    Bounds,
    /// Guard: what is shared with other workloads.
    Share,
    /// Guard: changes an hour.
    RateLimit,
    /// Guard: steps by urgency.
    GradualSteps,
    /// Guard: no change too large, none on something unwell.
    Safety,
    /// Guard: quiet hours.
    QuietHours,
    /// Guard: swinging is damped.
    Flapping,
    /// Guard: a shrink that was undone is not repeated yet.
    Watch,
    /// Guard: a large change waits for a person.
    Approval,
    /// Guard: a person's freeze.
    Freeze,
    /// Guard: too much of the fleet changes at once.
    Breaker,
    /// The independent check of the plan.
    Inspect,
}

/// One move of a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Who moved it.
    pub by: By,
    /// The number before.
    pub from: Replicas,
    /// The number after.
    pub to: Replicas,
    /// Why.
    pub why: Reason,
}

/// What one strategy says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// Which kind of strategy.
    pub strategy: StrategyKind,
    /// Which of the workload's strategies, counted from 0.
    pub index: usize,
    /// What it says.
    pub advice: Advice,
}

impl Recommendation {
    /// How people tell a workload's strategies apart: `targetTracking`, `targetTracking #2`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} #{}", self.strategy.name(), self.index + 1)
    }
}

/// A want, a bound on others' wants, or neither; each with why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Advice {
    /// So many replicas are needed.
    Wants {
        /// How many.
        replicas: Replicas,
        /// Why.
        why: Reason,
    },
    /// At least so many, whatever others want.
    Floor {
        /// How many.
        replicas: Replicas,
        /// Why.
        why: Reason,
    },
    /// At most so many, whatever others want.
    Ceiling {
        /// How many.
        replicas: Replicas,
        /// Why.
        why: Reason,
    },
    /// Fine as it is: no change is wanted, and what others want is not held back above this count.
    Content {
        /// The fewest replicas that would be fine by this strategy's own reckoning.
        replicas: Replicas,
        /// Why.
        why: Reason,
    },
    /// Nothing can be said.
    Abstains {
        /// Why.
        why: Reason,
    },
}

impl Advice {
    /// So many replicas are needed, and why.
    #[must_use]
    pub fn wants(replicas: Replicas, why: Reason) -> Self {
        Self::Wants { replicas, why }
    }

    /// Nothing can be said, and why.
    #[must_use]
    pub fn abstains(why: Reason) -> Self {
        Self::Abstains { why }
    }

    /// The count that it names, if it names one.
    #[must_use]
    pub fn replicas(&self) -> Option<Replicas> {
        match self {
            Self::Wants { replicas, .. }
            | Self::Floor { replicas, .. }
            | Self::Ceiling { replicas, .. }
            | Self::Content { replicas, .. } => Some(*replicas),
            Self::Abstains { .. } => None,
        }
    }

    /// The reason, whatever the advice.
    #[must_use]
    pub fn why(&self) -> &Reason {
        match self {
            Self::Wants { why, .. }
            | Self::Floor { why, .. }
            | Self::Ceiling { why, .. }
            | Self::Content { why, .. }
            | Self::Abstains { why } => why,
        }
    }
}

/// A number on its way from what is to what shall be. Each move has an author and a reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    from: Replicas,
    wanted: Replicas,
    steps: Vec<Step>,
    refusal: Option<Refusal>,
}

/// A change that was refused as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Who refused.
    pub by: By,
    /// The count that would have been asked for.
    pub wanted: Replicas,
    /// Why not.
    pub why: Reason,
}

impl Draft {
    /// A draft that starts at the present count, with `steps` as a buffer to write into.
    #[must_use]
    pub(crate) fn starting_at(from: Replicas, mut steps: Vec<Step>) -> Self {
        steps.clear();
        Self { from, wanted: from, steps, refusal: None }
    }

    /// The count the draft started at.
    #[must_use]
    pub fn from(&self) -> Replicas {
        self.from
    }

    /// The count as it stands.
    #[must_use]
    pub fn wanted(&self) -> Replicas {
        self.wanted
    }

    /// Whether the draft wants more than there is.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.wanted > self.from
    }

    /// Whether the draft wants less than there is.
    #[must_use]
    pub fn shrinks(&self) -> bool {
        self.wanted < self.from
    }

    /// Moves the count: the only way to do so. A move to where it stands leaves no trace.
    pub fn move_to(&mut self, to: Replicas, by: By, why: Reason) {
        if to != self.wanted {
            self.steps.push(Step { by, from: self.wanted, to, why });
            self.wanted = to;
        }
    }

    /// Refuses whatever the strategies want, also where another guard has put the count back already: who asks why
    /// nothing changes must hear of the one that holds longest.
    pub fn hold(&mut self, by: By, why: Reason) {
        if self.refusal.is_none() && !self.steps.is_empty() {
            self.refusal = Some(Refusal { by, wanted: self.wanted, why });
            self.wanted = self.from;
        }
    }

    /// Refuses the change: the count stays what it is. The first refusal counts.
    pub fn refuse(&mut self, by: By, why: Reason) {
        if self.refusal.is_none() && self.wanted != self.from {
            self.refusal = Some(Refusal { by, wanted: self.wanted, why });
            self.wanted = self.from;
        }
    }

    /// The moves so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) fn into_parts(self) -> (Replicas, Vec<Step>, Option<Refusal>) {
        (self.wanted, self.steps, self.refusal)
    }
}

/// Which decision: the workload and a number counted up from 1. Written `web-17`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DecisionId {
    /// Whose decision.
    pub workload: WorkloadName,
    /// The how-many-th.
    pub number: u64,
}

impl JsonSchema for DecisionId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DecisionId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A workload and the number of its decision: web-17.",
            "type": "string",
            "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?-[0-9]+$"
        })
    }
}

/// Text that is no [`DecisionId`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0:?} is no decision; a decision is called by its workload and number, such as web-17")]
pub struct NotADecisionId(String);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.workload, self.number)
    }
}

impl FromStr for DecisionId {
    type Err = NotADecisionId;
    fn from_str(text: &str) -> Result<Self, NotADecisionId> {
        let bad = || NotADecisionId(text.to_owned());
        let (workload, number) = text.rsplit_once('-').ok_or_else(bad)?;
        Ok(Self {
            workload: workload.parse().map_err(|_| bad())?,
            number: number.parse().map_err(|_| bad())?,
        })
    }
}

impl TryFrom<String> for DecisionId {
    type Error = NotADecisionId;
    fn try_from(text: String) -> Result<Self, NotADecisionId> {
        text.parse()
    }
}

impl From<DecisionId> for String {
    fn from(id: DecisionId) -> Self {
        id.to_string()
    }
}

/// A signal as a decision saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeenSignal {
    /// Which signal.
    pub name: SignalName,
    /// What its values count.
    pub unit: Unit,
    /// What was known of it.
    pub reading: Reading,
}

/// What comes of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The target is asked for the new count.
    Act,
    /// Nothing was wanted but what is there.
    Keep,
    /// Something was wanted, and a guard held it back.
    Held,
    /// The independent check of the plan rejected it.
    Rejected,
}

/// What was decided about one workload at one moment, and everything it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Which decision.
    pub id: DecisionId,
    /// When.
    pub at: Timestamp,
    /// The count before: what the target was asked for last.
    pub from: Replicas,
    /// The count from now on.
    pub to: Replicas,
    /// What comes of it.
    pub outcome: Outcome,
    /// Replicas that took traffic at that moment.
    pub ready: Replicas,
    /// Replicas that were starting.
    pub starting: Replicas,
    /// How long a start has been seen to take (C6), where that is known: a replica asked for now is ready then.
    pub start_up: Option<Span>,
    /// What one replica carries within the objective, where a strategy reckons with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// What is decided about the warm pool, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Warm>,
    /// The signals as seen.
    pub signals: Vec<SeenSignal>,
    /// What the strategies said.
    pub recommendations: Vec<Recommendation>,
    /// How the number moved.
    pub steps: Vec<Step>,
    /// Who refused the change as a whole, if someone did.
    pub refusal: Option<Refusal>,
    /// What came of an earlier change, where that has just become clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

impl Decision {
    /// The reason that decided: the refusal, else the last move, else that of the strategy whose count it is.
    #[must_use]
    pub fn main_reason(&self) -> Option<&Reason> {
        self.refusal
            .as_ref()
            .map(|r| &r.why)
            .or_else(|| self.steps.last().map(|s| &s.why))
            .or_else(|| self.followed().map(|r| r.advice.why()))
    }

    /// What the count stands at where nothing moved it: the advice that names it, else the one that names most, else the
    /// first.
    fn followed(&self) -> Option<&Recommendation> {
        let all = || self.recommendations.iter();
        let most = || all().filter_map(|r| r.advice.replicas()).max();
        let naming = |count| all().find(|r| r.advice.replicas() == Some(count));
        naming(self.to).or_else(|| naming(most()?)).or_else(|| all().next())
    }

    /// Whether two decisions say the same for the same reasons, numbers aside. A run of such is recorded once
    /// a minute, not each tick.
    #[must_use]
    pub fn same_story(&self, other: &Self) -> bool {
        let steps = |d: &Self| d.steps.len();
        self.to == other.to
            && self.from == other.from
            && self.outcome == other.outcome
            && self.warm.as_ref().map(|w| w.wanted) == other.warm.as_ref().map(|w| w.wanted)
            && steps(self) == steps(other)
            && self.steps.iter().zip(&other.steps).all(|(a, b)| a.by == b.by && a.why.code() == b.why.code())
            && self.refusal.as_ref().map(|r| (r.by, r.why.code()))
                == other.refusal.as_ref().map(|r| (r.by, r.why.code()))
            && self.recommendations.len() == other.recommendations.len()
            && self
                .recommendations
                .iter()
                .zip(&other.recommendations)
                .all(|(a, b)| a.advice.why().code() == b.advice.why().code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_moves_only_with_a_reason_and_remembers_it() {
        let mut draft = Draft::starting_at(Replicas(8), Vec::new());
        draft.move_to(Replicas(8), By::Strategies, Reason::NobodyWants);
        assert!(draft.steps().is_empty(), "a move to where it stands leaves no trace");
        draft.move_to(Replicas(30), By::Strategies, Reason::NobodyWants);
        draft.move_to(Replicas(20), By::Bounds, Reason::AtMaximum { max: Replicas(20) });
        assert_eq!(draft.wanted(), Replicas(20));
        assert_eq!(draft.steps().len(), 2);
    }

    #[test]
    fn a_refusal_puts_the_count_back_and_the_first_one_counts() {
        let mut draft = Draft::starting_at(Replicas(8), Vec::new());
        draft.refuse(By::Freeze, Reason::DirectionDisabled);
        draft.move_to(Replicas(9), By::Strategies, Reason::NobodyWants);
        draft.refuse(By::RateLimit, Reason::DirectionDisabled);
        draft.refuse(By::Freeze, Reason::DirectionDisabled);
        let (to, _, refusal) = draft.into_parts();
        assert_eq!(to, Replicas(8));
        assert_eq!(refusal.unwrap().by, By::RateLimit);
    }

    /// Who asks why nothing changes hears of the hold, also where another guard would have held for now.
    #[test]
    fn a_hold_is_seen_wherever_strategies_want_a_change() {
        let held = |moves: &[u32]| {
            let mut draft = Draft::starting_at(Replicas(8), Vec::new());
            for to in moves {
                draft.move_to(Replicas(*to), By::Strategies, Reason::NobodyWants);
            }
            draft.hold(By::Freeze, Reason::DirectionDisabled);
            let (to, _, refusal) = draft.into_parts();
            assert_eq!(to, Replicas(8));
            refusal.map(|refusal| refusal.wanted)
        };
        assert_eq!(held(&[12]), Some(Replicas(12)));
        assert_eq!(held(&[3, 8]), Some(Replicas(8)), "stabilised");
        assert_eq!(held(&[]), None, "nobody wants a change");
    }

    /// Where nothing moves the count, the reason is that of the strategy whose count it is.
    #[test]
    fn the_main_reason_is_of_the_strategy_that_is_followed() {
        let reason = |signal: &str| Reason::SignalAbsent {
            signal: signal.parse().unwrap(),
            absence: crate::reading::Absence::Empty,
        };
        let wants = |n, signal| Advice::wants(Replicas(n), reason(signal));
        let main = |advice: Vec<Advice>| {
            let all = advice.into_iter().enumerate().map(|(index, advice)| Recommendation {
                strategy: StrategyKind::TargetTracking,
                index,
                advice,
            });
            let decision = Decision {
                id: "web-1".parse().unwrap(),
                at: Timestamp::from_millis(0),
                from: Replicas(3),
                to: Replicas(3),
                outcome: Outcome::Keep,
                ready: Replicas(3),
                starting: Replicas(0),
                start_up: None,
                capacity: None,
                warm: None,
                signals: vec![],
                recommendations: all.collect(),
                steps: vec![],
                refusal: None,
                verdict: None,
            };
            decision.main_reason().cloned()
        };
        assert_eq!(main(vec![wants(0, "rps"), wants(3, "backlog")]), Some(reason("backlog")));
        assert_eq!(main(vec![Advice::abstains(reason("a")), wants(3, "b")]), Some(reason("b")));
        assert_eq!(main(vec![wants(1, "a"), wants(2, "b")]), Some(reason("b")), "at the minimum");
        assert_eq!(
            main(vec![Advice::abstains(reason("a")), Advice::abstains(reason("b"))]),
            Some(reason("a"))
        );
        assert_eq!(main(vec![]), None);
    }

    #[test]
    fn decision_ids_read_back() {
        let id: DecisionId = "web-api-17".parse().unwrap();
        assert_eq!((id.workload.as_str(), id.number), ("web-api", 17));
        assert_eq!(id.to_string(), "web-api-17");
        assert!("web".parse::<DecisionId>().is_err());
    }
}
