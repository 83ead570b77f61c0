//! Urgency: how badly more replicas are needed, in points (A18, A19).
//!
//! Points for figures past a limit: cpu above 90 % +2, above 80 % +1; response above 5 s +2, above 2 s +1; errors above
//! 10 % +3, above 5 % +1.5; never less than 1. Of one signal's limits the one with most points counts. A figure
//! that can't be read adds nothing: not knowing is no urgency.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::units::{Level, Quantity};

/// Points for a figure past a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UrgencyRule {
    /// The signal; a total is divided by the ready replicas.
    pub signal: SignalName,
    /// Above this it is urgent.
    pub above: Quantity,
    /// So urgent (A18: 1 to 3).
    pub points: Level,
}

/// The least urgency there is.
pub const CALM: f64 = 1.0;

/// The urgency now: the points of all signals together, at least [`CALM`].
#[must_use]
pub fn urgency(cx: &Context<'_>, rules: &[UrgencyRule]) -> f64 {
    let mut points = 0.0;
    for (index, rule) in rules.iter().enumerate() {
        if rules.iter().take(index).any(|earlier| earlier.signal == rule.signal) {
            continue;
        }
        let Some(value) = cx.fresh(&rule.signal).ok().and_then(|s| cx.per_replica(&rule.signal, s)) else {
            continue;
        };
        let reached = rules.iter().filter(|r| r.signal == rule.signal && value > r.above.level);
        points += reached.map(|r| r.points.get()).fold(0.0, f64::max);
    }
    points.max(CALM)
}

/// Adds what is wrong with the rules.
pub(super) fn check(rules: &[UrgencyRule], workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index);
        if let Some(signal) = workload.require_signal(&rule.signal, &at.key("signal"), problems) {
            crate::strategy::check_unit(&rule.above, signal, &at.key("above"), problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, seeing_with};

    /// A18: the points of the source.
    #[test]
    fn each_signal_counts_once_with_its_highest_points() {
        let rules: Vec<UrgencyRule> = serde_json::from_value(serde_json::json!([
            { "signal": "cpu", "above": "90%", "points": 2 }, { "signal": "cpu", "above": "80%", "points": 1 },
            { "signal": "p95", "above": "5s", "points": 2 }, { "signal": "p95", "above": "2s", "points": 1 },
            { "signal": "errors", "above": "10%", "points": 3 }, { "signal": "errors", "above": "5%", "points": 1.5 },
        ]))
        .unwrap();
        for (case, expected) in [
            (Case::absent(), 1.0),
            (Case::cpu(0.8), 1.0),
            (Case::cpu(0.95), 2.0),
            (Case::cpu(0.85).with("p95", 3.0), 2.0),
            (Case::cpu(0.95).with("p95", 6.0).with("errors", 0.2), 7.0),
            (Case::cpu(1e300).not_a_number("errors"), 2.0),
        ] {
            let found = seeing_with(&case, |_| {}, |cx| urgency(cx, &rules));
            assert!((found - expected).abs() < 1e-9, "{case:?}: {found}");
        }
    }
}
