//! Progressive phases: the longer and the hotter, the larger the step (A20).
//!
//! At 70 % for 300 s 20 % more, at 80 % for 180 s 50 % more, at 90 % for 60 s twice as many, at 95 % for 30 s an
//! emergency: four times as many. Mend: the source returns the first phase that holds, which is the mildest; here
//! the most severe counts. Rounded up. The phases only grow; what shrinks is another strategy's business, so while
//! none holds this one abstains.
//!
//! Source of rule and defaults: A20; the pause after growing: the shortest one of A18 (60 s).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::{Context, Direction};
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Scope, Workload};
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Level, Quantity, Replicas, Span};

/// The longer and the hotter, the larger the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Phases {
    /// The signal to watch; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// The phases, in any order (A20: see the strategy's page).
    #[serde(default = "the_four")]
    pub phases: Vec<Phase>,
    /// How long to wait after growing before growing again.
    #[serde(default = "a_minute")]
    pub cooldown: Span,
}

/// One phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Phase {
    /// It holds at this value or above.
    pub at: Quantity,
    /// For so long.
    #[serde(rename = "for")]
    pub lasts: Span,
    /// So much more, as a share of the present count.
    pub grow: Quantity,
}

fn percent(p: f64) -> Quantity {
    Quantity::ratio(Level::new(p / 100.0).unwrap_or(Level::ZERO))
}
fn a_minute() -> Span {
    Span::seconds(60)
}
fn the_four() -> Vec<Phase> {
    [(70.0, 300, 20.0), (80.0, 180, 50.0), (90.0, 60, 100.0), (95.0, 30, 300.0)]
        .into_iter()
        .map(|(at, seconds, grow)| Phase {
            at: percent(at),
            lasts: Span::seconds(seconds),
            grow: percent(grow),
        })
        .collect()
}

impl Recommend for Phases {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let seen = match super::look(cx, &self.signal) {
            Ok(seen) => seen,
            Err(why) => return Advice::abstains(why),
        };
        let total = cx.signal(&self.signal).map(crate::fleet::Signal::scope) == Some(Scope::Total);
        let factor = if total { cx.ready().as_f64().max(1.0) } else { 1.0 };
        let holds = |phase: &&Phase| {
            let from = phase.at.level.get() * factor;
            cx.held(&self.signal, phase.lasts, |min, _| min.get() >= from) >= phase.lasts
        };
        let reached = self.phases.iter().filter(|phase| seen.value >= phase.at.level);
        let severest = reached.filter(holds).max_by(|a, b| a.grow.level.get().total_cmp(&b.grow.level.get()));
        let Some(phase) = severest else { return Advice::abstains(Reason::NoPhase { seen }) };
        let want = Replicas::ceil(cx.current().as_f64() * (1.0 + phase.grow.level.get()));
        if let Some(until) = cx.pause_until(Some(Direction::Up), self.cooldown) {
            return Advice::wants(cx.current(), Reason::StrategyCoolingDown { until, wanted: want });
        }
        let (limit, held, grow) = (phase.at.level, phase.lasts, phase.grow.level);
        Advice::wants(want, Reason::PhaseHolds { seen, limit, held, grow })
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        if self.phases.is_empty() {
            problems.push(Problem::new(at.key("phases"), "without a phase it never grows"));
        }
        for (index, phase) in self.phases.iter().enumerate() {
            let at = at.key("phases").index(index);
            super::check_unit(&phase.at, signal, &at.key("at"), problems);
            super::check_positive(&phase.grow, &at.key("grow"), problems);
            if !phase.grow.fits(crate::units::Unit::Ratio) {
                problems.push(Problem::new(at.key("grow"), "a share of the count, such as 20%"));
            }
        }
    }

    fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        if *signal == self.signal {
            windows.extend(self.phases.iter().map(|phase| phase.lasts.plus(Span::seconds(5))));
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, problems, wants};
    use proptest::prelude::*;

    fn rule() -> Phases {
        serde_json::from_value(serde_json::json!({ "signal": "cpu" })).unwrap()
    }

    /// A20: the most severe phase that holds counts (the mend), each from its value and its time on.
    #[test]
    fn the_most_severe_phase_counts() {
        for (cpu, seconds, expected) in [
            (0.70, 300, Some(12)),
            (0.70, 299, None),
            (0.69, 300, None),
            (0.80, 180, Some(15)),
            (0.90, 60, Some(20)),
            (0.90, 59, None),
            (0.95, 30, Some(40)),
            (1e300, 300, Some(40)), // all four hold
            (0.0, 300, None),
        ] {
            let case = Case::cpu(cpu).for_seconds(seconds).replicas(10);
            match expected {
                Some(count) => assert_eq!(wants(&rule(), &case), (count, "phase-holds"), "{cpu} {seconds}"),
                None => assert_eq!(abstains(&rule(), &case), "no-phase", "{cpu} {seconds}"),
            }
        }
        assert_eq!(abstains(&rule(), &Case::absent()), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::absent().not_a_number("cpu")), "signal-absent");
        let again = Case::cpu(0.95).for_seconds(60).replicas(10).grew_seconds_ago(59);
        assert_eq!(wants(&rule(), &again), (10, "strategy-cooling-down"));
        assert_eq!(problems(&rule()), Vec::<String>::new());
        assert_eq!(problems(&Phases { phases: Vec::new(), ..rule() }), ["phases"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"])) {
            behaves(&rule(), &case, &["cpu"])?;
        }
    }
}
