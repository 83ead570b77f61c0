//! Quiet hours: at some times nothing is taken away, or nothing is changed at all.
//!
//! A sale, a shift without anyone at hand, the hour of the backup: people know hours in which a change is not worth
//! its risk. By default growing stays possible, because a surge does not keep office hours.
//!
//! Source: B6 (business hours in the resource's own zone). There are no default hours; the time zone is UTC.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::safety::comes_back;
use crate::calendar::{Hours, Zone};
use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;

/// Hours in which nothing shrinks, or nothing changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QuietHours {
    /// The time zone of the hours.
    #[serde(default)]
    pub time_zone: Zone,
    /// Which hours.
    pub hours: Vec<Hours>,
    /// Whether growing is refused, too.
    #[serde(default)]
    pub refuse_growth: bool,
}

pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    let Some(settings) = &cx.workload().guards.quiet_hours else { return };
    if draft.wanted() == draft.from() || comes_back(cx, draft) || (draft.grows() && !settings.refuse_growth) {
        return;
    }
    let (minutes, weekday) = settings.time_zone.clock(cx.at());
    if let Some(hours) = settings.hours.iter().find(|h| h.hold(minutes, weekday)) {
        draft.refuse(By::QuietHours, Reason::Quiet { until: hours.end(cx.at(), minutes) });
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    #[test]
    fn nothing_shrinks_in_quiet_hours() {
        // The guards' moment is 2001-09-09T01:46:40Z, a Sunday.
        let quiet =
            |hours: &str, more: &str| format!(r#"{{ "quietHours": {{ "hours": [{hours}] {more} }} }}"#);
        let night = r#"{ "from": "00:00", "to": "06:00" }"#;
        for (want, json, expected) in [
            (4, quiet(night, ""), 8),
            (12, quiet(night, ""), 12),
            (12, quiet(night, r#", "refuseGrowth": true"#), 8),
            (4, quiet(r#"{ "from": "02:00", "to": "06:00" }"#, ""), 4),
            (4, quiet(r#"{ "from": "00:00", "to": "06:00", "days": ["mon"] }"#, ""), 4),
            (4, quiet(night, r#", "timeZone": "Asia/Seoul""#), 4),
            (4, quiet("", ""), 4),
        ] {
            assert_eq!(Case::new(8, want).guards(&json).limited(super::refuse), expected, "{want} {json}");
        }
    }
}
