//! Expressions: a want as a formula over signals.
//!
//! For the rule that no other strategy has. The formula ([`crate::formula`]) gives a count, or, with `perReplica`, a
//! total that is shared out (KEDA's scaling modifiers: a formula over triggers and a target). Where it has no value,
//! because a signal it needs can't be read and no `??` stands in, the strategy abstains.
//!
//! Source: KEDA, `scalingModifiers`. There are no defaults: the formula is the policy's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::formula::Formula;
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Level, Replicas};

/// A want as a formula over signals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expression {
    /// The formula. Signals stand by their names, in their base units: seconds, bytes, a ratio of 1.
    pub formula: Formula,
    /// The formula gives a total, of which each replica carries so much; without it, it gives the count itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_replica: Option<Level>,
}

impl Recommend for Expression {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let signals = self.formula.signals();
        let signal = |index: usize| Some(cx.fresh(signals.get(index)?).ok()?.value.get());
        let value = self.formula.value(cx.current().as_f64(), cx.ready().as_f64(), signal);
        let Some(value) = value.and_then(|v| Level::new(v.max(0.0)).ok()) else {
            // The first signal that can't be read is why, or else a division by zero.
            let absent = signals.iter().find_map(|signal| cx.fresh(signal).err());
            return Advice::abstains(absent.unwrap_or(Reason::FormulaUndefined));
        };
        let count = match self.per_replica {
            Some(share) => value.replicas_for(share),
            None => Some(Replicas::ceil(value.get())),
        };
        match count {
            Some(count) => {
                // What stands in for a signal that can't be read may grow a workload, never shrink it.
                let absent = signals.iter().find_map(|signal| cx.fresh(signal).err());
                match absent.filter(|_| count < cx.current()) {
                    Some(why) => Advice::abstains(why),
                    None => Advice::wants(count, Reason::FormulaGives { value }),
                }
            }
            None => Advice::abstains(Reason::FormulaUndefined),
        }
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        for signal in self.formula.signals() {
            workload.require_signal(signal, &at.key("formula"), problems);
        }
        if self.per_replica == Some(Level::ZERO) {
            problems.push(Problem::new(at.key("perReplica"), "must be above 0"));
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.formula.signals().iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, problems, wants};
    use proptest::prelude::*;

    fn rule(text: &str) -> Expression {
        Expression { formula: text.parse().unwrap(), per_replica: None }
    }

    #[test]
    fn the_formula_decides() {
        let plain = rule("rps / 100 + (p95 > 0.5 ? 2 : 0)");
        for (rps, p95, expected) in
            [(0.0, 0.1, 0), (250.0, 0.5, 3), (250.0, 0.51, 5), (1e300, 0.1, 1_000_000)]
        {
            let case = Case::rps(rps).with("p95", p95).replicas(5);
            assert_eq!(wants(&plain, &case), (expected, "formula-gives"), "{rps} {p95}");
        }
        assert_eq!(abstains(&plain, &Case::rps(1.0).replicas(5)), "signal-absent");
        assert_eq!(abstains(&plain, &Case::rps(1.0).not_a_number("p95")), "signal-absent");
        assert_eq!(abstains(&rule("rps / 0"), &Case::rps(1.0)), "formula-undefined");
        let shared = Expression { per_replica: Some(Level::new(100.0).unwrap()), ..rule("rps + queue") };
        assert_eq!(wants(&shared, &Case::rps(150.0).with("queue", 60.0)).0, 3);
    }

    #[test]
    fn a_stand_in_grows_but_never_shrinks() {
        let standing = rule("(rps ?? 2000) / 100");
        assert_eq!(wants(&standing, &Case::absent().replicas(5)).0, 20);
        assert_eq!(abstains(&standing, &Case::absent().replicas(50)), "signal-absent");
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(problems(&rule("rps + nonsense")), ["formula"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["rps", "p95"])) {
            behaves(&rule("rps / 100 + (p95 > 0.5 ? 2 : 0)"), &case, &["rps", "p95"])?;
        }
    }
}
