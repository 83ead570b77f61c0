//! Traffic patterns: load by the time of day (A2).
//!
//! Where traffic is known to follow the clock, its classes are written down as shares of a baseline: 09–10 200 %
//! of ten replicas is 20. Outside the classes the baseline itself is wanted. Rounded up; of overlapping classes the
//! highest counts. It is a rule of thumb, so it goes well with one that measures: the highest want wins (D2).
//!
//! Source of rule: A2. There are no default classes; the time zone is UTC.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::calendar::{Hours, Zone};
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::reason::Reason;
use crate::units::{Level, Quantity, Replicas, Span};

/// The step in which the hours ahead are looked at.
const LOOK_AHEAD: Span = Span::minutes(5);

/// Load by the time of day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TrafficPattern {
    /// The time zone of the hours.
    #[serde(default)]
    pub time_zone: Zone,
    /// The replicas an ordinary hour needs (A2: 10).
    pub baseline: Replicas,
    /// The hours that are not ordinary (A2: 09–10 200%, 12–13 150%, 18–20 250%, 02–05 30%).
    pub classes: Vec<LoadClass>,
}

/// Some hours and their load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LoadClass {
    /// Which hours.
    pub hours: Hours,
    /// Their load, as a share of the baseline.
    pub load: Quantity,
}

impl Recommend for TrafficPattern {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let (minutes, weekday) = self.time_zone.clock(cx.at());
        let highest = self
            .classes
            .iter()
            .filter(|class| class.hours.hold(minutes, weekday))
            .max_by(|a, b| a.load.level.get().total_cmp(&b.load.level.get()));
        let Some(class) = highest else {
            let why = Reason::Scheduled { entry: "100%".to_owned(), until: None };
            return Advice::wants(self.baseline, why);
        };
        let replicas = Replicas::ceil(self.baseline.as_f64() * class.load.level.get());
        let entry = format!("{}: {}", class.hours, class.load);
        let until = Some(class.hours.end(cx.at(), minutes));
        Advice::wants(replicas, Reason::Scheduled { entry, until })
    }

    /// The highest class within the time; classes begin and end on minutes, so a step of five misses none that matters
    /// to a pool.
    fn foresees(&self, cx: &Context<'_>, within: Span) -> Option<Level> {
        let steps = within.as_millis() / LOOK_AHEAD.as_millis();
        let loads = (0..=steps).map(|step| {
            let (minutes, weekday) = self.time_zone.clock(cx.at().plus(LOOK_AHEAD.times(step)));
            let holding = self.classes.iter().filter(|class| class.hours.hold(minutes, weekday));
            let highest = holding.map(|class| class.load.level.get()).reduce(f64::max);
            self.baseline.as_f64() * highest.unwrap_or(1.0)
        });
        Level::new(loads.reduce(f64::max)?).ok()
    }

    fn check(&self, _workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.classes.is_empty() {
            problems.push(Problem::new(at.key("classes"), "without a class it always wants the baseline"));
        }
        for (index, class) in self.classes.iter().enumerate() {
            if !class.load.fits(crate::units::Unit::Ratio) {
                problems.push(Problem::new(
                    at.key("classes").index(index).key("load"),
                    "a load is a share of the baseline, such as 200%",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, any_case, behaves, problems, wants};
    use proptest::prelude::*;

    fn pattern() -> TrafficPattern {
        let class = |from: &str, to: &str, load: &str| serde_json::json!({ "hours": { "from": from, "to": to }, "load": load });
        serde_json::from_value(serde_json::json!({ "baseline": 10, "classes": [
            class("09:00", "10:00", "200%"), class("12:00", "13:00", "150%"),
            class("18:00", "20:00", "250%"), class("02:00", "05:00", "30%") ] }))
        .unwrap()
    }

    /// A2: the figures of the source.
    #[test]
    fn the_hour_decides() {
        for (time, expected) in [
            ("08:59:59", 10),
            ("09:00:00", 20),
            ("10:00:00", 10),
            ("12:30:00", 15),
            ("19:59:59", 25),
            ("03:00:00", 3),
            ("00:00:00", 10),
        ] {
            let case = Case::absent().at(&format!("2026-11-23T{time}Z"));
            assert_eq!(wants(&pattern(), &case), (expected, "scheduled"), "{time}");
        }
        assert_eq!(problems(&TrafficPattern { classes: Vec::new(), ..pattern() }), ["classes"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"]), ms in 0_i64..4_000_000_000_000) {
            behaves(&pattern(), &case.at(&crate::units::Timestamp::from_millis(ms).to_string()), &[])?;
        }
    }
}
