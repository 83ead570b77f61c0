//! Safety controller: no change too large, none while something it depends on is unwell, none without a way back
//! (B13).
//!
//! One change moves at most half of the present count (rounded up, so that a single replica can move). While a
//! dependency is unhealthy (a signal at or above its limit, or one that can't be read) nothing changes: more replicas
//! on a sick database make it worse, fewer hide it. A change whose way back is shut, because the present count lies
//! outside what the policy allows, is only made to come back inside.
//!
//! Source of rule and defaults: B13.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Level, Quantity, Replicas, Unit};

/// No change too large, none on something unwell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Safety {
    /// The most one change moves, as a share of the present count (B13: 50%).
    pub max_step: Quantity,
    /// What must be well: the database, the load balancer, external services (B13).
    pub dependencies: Vec<Dependency>,
}

/// Something that must be well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dependency {
    /// The signal that tells.
    pub signal: SignalName,
    /// It is well below this: a latency, a share of errors, a number of failed checks.
    pub well_below: Quantity,
}

impl Default for Safety {
    fn default() -> Self {
        let half = Quantity::ratio(Level::new(0.5).unwrap_or(Level::ZERO));
        Self { max_step: half, dependencies: Vec::new() }
    }
}

/// Whether the draft brings the count back into the policy's range, which no guard refuses.
pub(super) fn comes_back(cx: &Context<'_>, draft: &Draft) -> bool {
    let range = cx.workload().replicas;
    range.clamp(draft.from()) != draft.from()
}

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.safety else { return };
    let from = draft.from();
    let most = Replicas::ceil(from.as_f64() * settings.max_step.level.get()).max(Replicas::ONE);
    let within = draft.wanted().max(from.minus(most.0)).min(from.plus(most.0));
    draft.move_to(within, By::Safety, Reason::ChangeTooLarge { most });
}

pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.safety else { return };
    if draft.wanted() == draft.from() || comes_back(cx, draft) {
        return;
    }
    for dependency in &settings.dependencies {
        let well = cx.fresh(&dependency.signal).is_ok_and(|s| s.value < dependency.well_below.level);
        if !well {
            let signal = dependency.signal.clone();
            draft.refuse(By::Safety, Reason::DependencyUnwell { signal });
            return;
        }
    }
}

pub(super) fn check(settings: &Safety, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
    if !settings.max_step.fits(Unit::Ratio) || settings.max_step.level == Level::ZERO {
        problems.push(Problem::new(at.key("maxStep"), "a share above 0%, such as 50%"));
    }
    for (index, dependency) in settings.dependencies.iter().enumerate() {
        let at = at.key("dependencies").index(index);
        if let Some(signal) = workload.require_signal(&dependency.signal, &at.key("signal"), problems) {
            crate::strategy::check_unit(&dependency.well_below, signal, &at.key("wellBelow"), problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::testing::Case;
    use crate::strategy::testing::{self, seeing_with};

    /// B13: no step over half of the present count.
    #[test]
    fn one_change_moves_at_most_half() {
        for (from, want, expected) in [
            (10, 15, 15),
            (10, 16, 15),
            (10, 5, 5),
            (10, 4, 5),
            (1, 9, 2),
            (0, 9, 1),
            (3, 0, 1),
            (10, 10, 10),
        ] {
            let case = Case::new(from, want).guards(r#"{ "safety": {} }"#);
            assert_eq!(case.limited(super::limit), expected, "{from} → {want}");
        }
    }

    /// B13: nothing changes on a sick dependency, or one that can't be read.
    #[test]
    fn a_sick_dependency_refuses_the_change() {
        let safety: Safety = serde_json::from_value(serde_json::json!({
            "dependencies": [{ "signal": "p95", "wellBelow": "100ms" }] }))
        .unwrap();
        for (case, refused) in [
            (testing::Case::absent().with("p95", 0.099), false),
            (testing::Case::absent().with("p95", 0.1), true),
            (testing::Case::absent().with("p95", 1e300), true),
            (testing::Case::absent(), true),
            (testing::Case::absent().not_a_number("p95"), true),
        ] {
            let set = |w: &mut Workload| w.guards.safety = Some(safety.clone());
            let found = seeing_with(&case.clone().replicas(10), set, |cx| {
                let mut draft = Draft::starting_at(Replicas(10), Vec::new());
                draft.move_to(Replicas(12), By::Strategies, Reason::NobodyWants);
                refuse(cx, &mut draft);
                draft.wanted() == Replicas(10)
            });
            assert_eq!(found, refused, "{case:?}");
        }
    }
}
