//! Composite score: several figures weighed into one urgency (A16).
//!
//! Each figure is between 0 (at its upper threshold) and 1 (at its ceiling) urgent, and between 0 (at its lower
//! threshold) and 1 (at nothing) an opportunity; weights say what counts how much (cpu .25, memory .15, response time
//! .30, errors .15, queue .10, users .05). Urgency above .6 is high, above .3 medium; an opportunity above .5
//! shrinks.
//!
//! Two mends. The source divides by the threshold, so a CPU, which can't exceed 100 %, adds at most .43 of its
//! weight and the score hardly ever reaches .3: here each figure is measured against its own ceiling. And weights
//! are renormalised over the figures that can be read, but only for growing: shrinking needs them all.
//!
//! Source of rule and defaults: A16; the sizes of steps: A19 (aggressive 4, moderate 2 and 1); the cooldown: A7, A18.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Level, Quantity, Replicas, Span};

/// Several figures weighed into one urgency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Score {
    /// The figures.
    pub figures: Vec<Figure>,
    /// Above this the urgency is high (A16: .6).
    #[serde(default = "high")]
    pub high: Level,
    /// Above this the urgency is medium (A16: .3).
    #[serde(default = "medium")]
    pub medium: Level,
    /// Above this the opportunity is large enough to shrink (A16: .5).
    #[serde(default = "low")]
    pub low: Level,
    /// Replicas added when the urgency is high (A19, aggressive: 4).
    #[serde(default = "four")]
    pub add_high: Replicas,
    /// Replicas added when the urgency is medium (A19, moderate: 2).
    #[serde(default = "two")]
    pub add_medium: Replicas,
    /// Replicas taken away (A19, moderate: 1).
    #[serde(default = "one")]
    pub remove: Replicas,
    /// How long to wait after a change (A7, A18: 300s).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

/// One figure of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Figure {
    /// The signal; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// How much it counts, beside the others.
    pub weight: Level,
    /// Above this it is urgent (A16: cpu 70%, memory 80%, response 2s, errors 5%, queue 100, users 1000).
    pub up: Quantity,
    /// Below this it is an opportunity (A16: cpu 30%, memory 40%, response 500ms, errors 1%, queue 10, users 200).
    pub down: Quantity,
    /// Here it is as urgent as it can be; by default twice `up`, but 100% for a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Quantity>,
}

fn level(value: f64) -> Level {
    Level::new(value).unwrap_or(Level::ZERO)
}
fn high() -> Level {
    level(0.6)
}
fn medium() -> Level {
    level(0.3)
}
fn low() -> Level {
    level(0.5)
}
fn one() -> Replicas {
    Replicas(1)
}
fn two() -> Replicas {
    Replicas(2)
}
fn four() -> Replicas {
    Replicas(4)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

impl Figure {
    fn ceiling(&self) -> f64 {
        let twice = self.up.level.get() * 2.0;
        match (self.ceiling, self.up.unit) {
            (Some(ceiling), _) => ceiling.level.get(),
            (None, Some(crate::units::Unit::Ratio)) if self.up.level.get() < 1.0 => 1.0,
            (None, _) => twice,
        }
    }

    /// Urgency and opportunity of a value, each 0 to 1.
    #[must_use]
    pub fn judge(&self, value: Level) -> (f64, f64) {
        let (value, up, down) = (value.get(), self.up.level.get(), self.down.level.get());
        let urgency = (value - up) / (self.ceiling() - up);
        let opportunity = (down - value) / down;
        (urgency.clamp(0.0, 1.0), opportunity.clamp(0.0, 1.0))
    }
}

impl Recommend for Score {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let (mut urgency, mut opportunity, mut weights) = (0.0, 0.0, 0.0);
        let mut absent = None;
        for figure in &self.figures {
            match super::look(cx, &figure.signal) {
                Ok(seen) => {
                    let (urgent, calm) = figure.judge(seen.value);
                    urgency += urgent * figure.weight.get();
                    opportunity += calm * figure.weight.get();
                    weights += figure.weight.get();
                }
                Err(why) => absent = absent.or(Some(why)),
            }
        }
        if weights <= 0.0 {
            return Advice::abstains(absent.unwrap_or(Reason::NobodyWants));
        }
        let (urgency, opportunity) = (level(urgency / weights), level(opportunity / weights));
        let why = Reason::Scored { urgency, opportunity };
        let want = if urgency > self.high {
            cx.current().plus(self.add_high.0)
        } else if urgency > self.medium {
            cx.current().plus(self.add_medium.0)
        } else if opportunity > self.low && urgency == Level::ZERO {
            match absent {
                Some(why) => return Advice::abstains(why),
                None => cx.current().minus(self.remove.0),
            }
        } else {
            cx.current()
        };
        super::after_cooldown(cx, want, why, self.cooldown)
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.figures.iter().all(|f| f.weight == Level::ZERO) {
            problems.push(Problem::new(at.key("figures"), "without a figure that counts there is no score"));
        }
        for (index, figure) in self.figures.iter().enumerate() {
            let at = at.key("figures").index(index);
            let Some(signal) = workload.require_signal(&figure.signal, &at.key("signal"), problems) else {
                continue;
            };
            super::check_unit(&figure.up, signal, &at.key("up"), problems);
            super::check_unit(&figure.down, signal, &at.key("down"), problems);
            super::check_positive(&figure.down, &at.key("down"), problems);
            if figure.down.level >= figure.up.level {
                problems.push(Problem::new(at.key("down"), "is not below `up`"));
            }
            if figure.ceiling() <= figure.up.level.get() {
                problems.push(Problem::new(at.key("ceiling"), "is not above `up`"));
            }
        }
        if self.medium >= self.high {
            problems.push(Problem::new(at.key("medium"), "is not below `high`"));
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.figures.iter().map(|f| f.signal.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, built, problems, wants};
    use proptest::prelude::*;

    fn rule(more: serde_json::Value) -> Score {
        built(
            serde_json::json!({ "figures": [
                { "signal": "cpu", "weight": 0.25, "up": "70%", "down": "30%" },
                { "signal": "p95", "weight": 0.30, "up": "2s", "down": "500ms" },
                { "signal": "errors", "weight": 0.15, "up": "5%", "down": "1%", "ceiling": "20%" } ] }),
            more,
        )
    }
    fn case(cpu: f64, p95: f64, errors: f64) -> Case {
        Case::cpu(cpu).with("p95", p95).with("errors", errors).replicas(10)
    }

    /// A16: weighed, and a CPU at its ceiling counts in full (the mend).
    #[test]
    fn figures_are_weighed_against_their_own_ceilings() {
        let rule = rule(serde_json::json!({}));
        for (case, expected) in [
            (case(0.7, 2.0, 0.05), 10), // at the thresholds nothing is urgent
            (case(1.0, 2.0, 0.05), 12), // .25 of .70: .36, medium
            (case(1.0, 4.0, 0.05), 14), // .55 of .70: .79, high
            (case(1e300, 1e300, 1.0), 14),
            (case(0.0, 0.0, 0.0), 9),
            (case(0.15, 0.25, 0.005), 10), // an opportunity of exactly .5
            (case(0.0, 0.0, 0.051), 10),   // one figure is urgent: nothing shrinks
        ] {
            assert_eq!(wants(&rule, &case), (expected, "scored"), "{case:?}");
        }
    }

    /// A16: weights are renormalised over what can be read; shrinking needs all.
    #[test]
    fn an_absent_figure_leaves_growing_possible() {
        let rule = rule(serde_json::json!({}));
        assert_eq!(wants(&rule, &Case::cpu(1.0).replicas(10)).0, 14);
        assert_eq!(abstains(&rule, &Case::cpu(0.0).replicas(10)), "signal-absent");
        assert_eq!(abstains(&rule, &Case::absent().not_a_number("cpu")), "signal-absent");
        assert_eq!(wants(&rule, &case(1.0, 4.0, 0.05).changed_seconds_ago(299)).1, "strategy-cooling-down");
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(problems(&rule(serde_json::json!({}))), Vec::<String>::new());
        let bad = rule(serde_json::json!({ "figures": [], "medium": 0.7 }));
        assert_eq!(problems(&bad), ["figures", "medium"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu", "p95", "errors"])) {
            behaves(&rule(serde_json::json!({})), &case, &["cpu", "p95", "errors"])?;
        }
    }
}
