//! Schedules: counts, floors or ceilings by the calendar (A10, A11).
//!
//! An entry fires by cron in a time zone. Without an end it is in force until the next entry of the schedule fires
//! (workdays 08:00 15, 11:30 25, 19:00 8, 23:00 3); with `for` or `until` only for that window; a dated window
//! (Black Friday 100) once. A dated window goes before a recurring one, and both before an entry without an end;
//! of several of a kind the highest counts. What is in force is a question about the calendar, not about what was
//! seen: a tick that was missed, a restart, an hour's outage change nothing (the source's own scheduler runs every
//! entry on Mondays and forgets what it missed).
//!
//! A schedule sets counts (`replicas`), floors (`min`, A11: reactive scaling works above it) or ceilings (`max`). The
//! calendar is asked only when something may change; in between the answer is remembered.
//!
//! Source of rule: A10, A11. There are no default entries; the time zone is UTC, as cron in Kubernetes has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Recommend, StrategyMemory};
use crate::calendar::{Cron, Zone};
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::reason::Reason;
use crate::units::{Level, Replicas, Span, Timestamp};
use crate::warm::load_of;

/// Counts, floors or ceilings by the calendar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Schedule {
    /// The time zone of every time in this schedule.
    #[serde(default)]
    pub time_zone: Zone,
    /// What recurs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    /// What happens once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<Dated>,
}

/// A recurring entry. Exactly one of `replicas`, `min` and `max` is given, and at most one of `for` and `until`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Entry {
    /// When it comes into force.
    pub cron: Cron,
    /// For how long it is in force.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// When it ends, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Cron>,
    /// So many replicas are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// At least so many, whatever others want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Replicas>,
    /// At most so many, whatever others want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Replicas>,
}

/// A window with a date. Exactly one of `replicas`, `min` and `max` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dated {
    /// What it is called, for the explanation.
    pub name: String,
    /// From when on the zone's clocks, inclusive, such as `2026-11-27T00:00`.
    #[schemars(with = "String")]
    pub from: jiff::civil::DateTime,
    /// Until when on the zone's clocks, exclusive.
    #[schemars(with = "String")]
    pub to: jiff::civil::DateTime,
    /// So many replicas are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// At least so many, whatever others want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Replicas>,
    /// At most so many, whatever others want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Replicas>,
}

/// What a schedule sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sets {
    Count,
    Floor,
    Ceiling,
}

/// The one of three that is given.
fn setting(
    replicas: Option<Replicas>,
    min: Option<Replicas>,
    max: Option<Replicas>,
) -> Option<(Sets, Replicas)> {
    match (replicas, min, max) {
        (Some(n), None, None) => Some((Sets::Count, n)),
        (None, Some(n), None) => Some((Sets::Floor, n)),
        (None, None, Some(n)) => Some((Sets::Ceiling, n)),
        _ => None,
    }
}

impl Entry {
    fn setting(&self) -> Option<(Sets, Replicas)> {
        setting(self.replicas, self.min, self.max)
    }

    /// When the window that is open at `at` ends; `None` where it is shut or the entry has no end.
    #[must_use]
    pub fn window_end(&self, at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let started = self.cron.last(at, zone)?;
        let end = match (&self.lasts, &self.until) {
            (Some(lasts), _) => started.plus(*lasts),
            (None, Some(until)) => until.next(started, zone)?,
            (None, None) => return None,
        };
        (at < end).then_some(end)
    }

    fn has_end(&self) -> bool {
        self.lasts.is_some() || self.until.is_some()
    }
}

impl Dated {
    fn setting(&self) -> Option<(Sets, Replicas)> {
        setting(self.replicas, self.min, self.max)
    }
}

/// What the calendar says from `from` until `until`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    from: Timestamp,
    until: Option<Timestamp>,
    /// What is in force: how many, and what the entry is called.
    force: Option<(Replicas, String)>,
    /// Which schedule this page is of.
    of: u64,
}

impl Schedule {
    fn sets(&self) -> Sets {
        let entries = self.entries.iter().filter_map(Entry::setting);
        let dates = self.dates.iter().filter_map(Dated::setting);
        entries.chain(dates).next().map_or(Sets::Count, |(sets, _)| sets)
    }

    /// What the calendar says at `at`, and how long it says so.
    #[must_use]
    pub fn page(&self, at: Timestamp) -> Page {
        let zone = &self.time_zone;
        let mut changes: Vec<Timestamp> = Vec::new();
        let mut dated: Option<(Replicas, String)> = None;
        let mut windowed: Option<(Replicas, String)> = None;
        let mut open: Option<(Timestamp, Replicas, String)> = None;
        let keep = |slot: &mut Option<(Replicas, String)>, count: Replicas, name: &str| {
            if slot.as_ref().is_none_or(|(highest, _)| count > *highest) {
                *slot = Some((count, name.to_owned()));
            }
        };
        for date in &self.dates {
            let (Some(from), Some(to)) = (zone.moment(date.from), zone.moment(date.to)) else { continue };
            changes.extend([from, to]);
            if from <= at
                && at < to
                && let Some((_, count)) = date.setting()
            {
                keep(&mut dated, count, &date.name);
            }
        }
        for entry in &self.entries {
            changes.extend(entry.cron.next(at, zone));
            let Some((_, count)) = entry.setting() else { continue };
            if entry.has_end() {
                if let Some(end) = entry.window_end(at, zone) {
                    changes.push(end);
                    keep(&mut windowed, count, entry.cron.as_str());
                }
            } else if let Some(fired) = entry.cron.last(at, zone)
                && open.as_ref().is_none_or(|(last, ..)| fired > *last)
            {
                open = Some((fired, count, entry.cron.as_str().to_owned()));
            }
        }
        let force = dated.or(windowed).or(open.map(|(_, count, name)| (count, name)));
        Page { from: at, until: changes.into_iter().filter(|c| *c > at).min(), force, of: self.fingerprint() }
    }

    /// Tells one schedule from another, so that a remembered page is never taken for that of a changed one.
    fn fingerprint(&self) -> u64 {
        // FNV-1a over the text of the schedule; a collision would only keep a page until its end.
        let text = serde_json::to_string(self).unwrap_or_default();
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }
}

impl Page {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// Pages of the calendar turned at the most in one look ahead; an entry every minute for an hour.
const PAGES_AHEAD: usize = 60;

impl Recommend for Schedule {
    /// The highest count that comes into force within the time. A ceiling foresees nothing.
    fn foresees(&self, cx: &Context<'_>, within: Span) -> Option<Level> {
        if self.sets() == Sets::Ceiling {
            return None;
        }
        let end = cx.at().plus(within);
        let mut page = match cx.own() {
            StrategyMemory::Schedule(page) if page.holds(cx.at()) => page.clone(),
            _ => self.page(cx.at()),
        };
        let mut highest = page.force.as_ref().map(|(count, _)| *count);
        for _ in 0..PAGES_AHEAD {
            let Some(next) = page.until.filter(|next| *next <= end) else { break };
            page = self.page(next);
            highest = highest.max(page.force.as_ref().map(|(count, _)| *count));
        }
        highest.map(load_of)
    }

    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let computed;
        let page = match cx.own() {
            StrategyMemory::Schedule(page) if page.holds(cx.at()) => page,
            _ => {
                computed = self.page(cx.at());
                &computed
            }
        };
        let Some((replicas, entry)) = &page.force else {
            return Advice::abstains(Reason::OutsideSchedule { next: page.until });
        };
        let (replicas, why) = (*replicas, Reason::Scheduled { entry: entry.clone(), until: page.until });
        match self.sets() {
            Sets::Count => Advice::Wants { replicas, why },
            Sets::Floor => Advice::Floor { replicas, why },
            Sets::Ceiling => Advice::Ceiling { replicas, why },
        }
    }

    fn check(&self, _workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.entries.is_empty() && self.dates.is_empty() {
            problems.push(Problem::new(at.clone(), "a schedule without entries and dates says nothing"));
        }
        let one_kind = self.sets();
        let mut check = |at: Path, setting: Option<(Sets, Replicas)>| match setting {
            None => problems.push(Problem::new(at, "exactly one of `replicas`, `min` and `max` is needed")),
            Some((sets, _)) if sets != one_kind => problems.push(
                Problem::new(at, "a schedule sets counts, floors or ceilings, not several of them")
                    .help("write a second schedule for the others"),
            ),
            Some(_) => {}
        };
        for (index, entry) in self.entries.iter().enumerate() {
            check(at.key("entries").index(index), entry.setting());
        }
        for (index, date) in self.dates.iter().enumerate() {
            check(at.key("dates").index(index), date.setting());
        }
        for (index, entry) in self.entries.iter().enumerate() {
            let at = at.key("entries").index(index);
            if entry.lasts.is_some() && entry.until.is_some() {
                problems
                    .push(Problem::new(at.key("until"), "exactly one of `for` and `until` can end an entry"));
            }
            if entry.lasts.is_some_and(Span::is_zero) {
                problems.push(Problem::new(at.key("for"), "must be longer than nothing"));
            }
            if entry.until.as_ref() == Some(&entry.cron) {
                problems.push(Problem::new(at.key("until"), "ends when it begins"));
            }
        }
        for (index, date) in self.dates.iter().enumerate() {
            if date.from >= date.to {
                problems.push(Problem::new(at.key("dates").index(index).key("to"), "is not after `from`"));
            }
        }
    }

    fn remember(&self, cx: &Context<'_>) -> Option<StrategyMemory> {
        match cx.own() {
            StrategyMemory::Schedule(page) if page.holds(cx.at()) => None,
            _ => Some(StrategyMemory::Schedule(self.page(cx.at()))),
        }
    }

    fn remembers_as(&self, memory: &StrategyMemory) -> bool {
        matches!(memory, StrategyMemory::Schedule(page) if page.of == self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, any_case, behaves, problems, remembers, says, seeing};
    use proptest::prelude::*;

    fn schedule(json: serde_json::Value) -> Schedule {
        serde_json::from_value(json).unwrap()
    }

    /// A10 of the source, in Seoul.
    fn week() -> Schedule {
        schedule(serde_json::json!({ "timeZone": "Asia/Seoul", "entries": [
            { "cron": "0 8 * * 1-5", "replicas": 15 }, { "cron": "30 11 * * 1-5", "replicas": 25 },
            { "cron": "0 19 * * 1-5", "replicas": 8 }, { "cron": "0 23 * * 1-5", "replicas": 3 },
            { "cron": "0 9 * * 6,0", "replicas": 5 } ],
            "dates": [{ "name": "Black Friday", "from": "2026-11-27T00:00", "to": "2026-11-28T00:00", "replicas": 100 }],
        }))
    }

    fn count(schedule: &Schedule, at: &str) -> Option<u32> {
        match says(schedule, &Case::absent().at(at)) {
            Advice::Wants { replicas, .. }
            | Advice::Floor { replicas, .. }
            | Advice::Ceiling { replicas, .. } => Some(replicas.0),
            Advice::Content { .. } | Advice::Abstains { .. } => None,
        }
    }

    /// A10: each entry holds from its time to the next one's; a date goes before.
    #[test]
    fn entries_hold_until_the_next_one() {
        for (at, expected) in [
            ("2026-11-22T23:00:00Z", 15), // Monday 08:00 in Seoul
            ("2026-11-22T22:59:59Z", 5),  // still the weekend's
            ("2026-11-23T02:30:00Z", 25),
            ("2026-11-23T10:00:00Z", 8),
            ("2026-11-23T14:00:00Z", 3),
            ("2026-11-24T12:00:00Z", 8), // Tuesday as Monday: the source forgot it
            ("2026-11-26T14:59:59Z", 3),
            ("2026-11-26T15:00:00Z", 100),
            ("2026-11-27T14:59:59Z", 100),
            ("2026-11-27T15:00:00Z", 3),
        ] {
            assert_eq!(count(&week(), at), Some(expected), "{at}");
        }
    }

    /// A11: floors, and a window shut at its end.
    #[test]
    fn floors_and_windows() {
        let floors = schedule(serde_json::json!({ "entries": [
            { "cron": "0 8 * * 1-5", "min": 15 }, { "cron": "0 22 * * 1-5", "min": 3 } ] }));
        let floor = says(&floors, &Case::absent().at("2026-11-23T08:00:00Z"));
        assert!(matches!(floor, Advice::Floor { replicas: Replicas(15), .. }), "{floor:?}");
        for end in [serde_json::json!({ "for": "8h" }), serde_json::json!({ "until": "0 17 * * *" })] {
            let mut entry = serde_json::json!({ "cron": "0 9 * * *", "max": 5 });
            entry.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
            let window = schedule(serde_json::json!({ "entries": [entry] }));
            for (at, expected) in
                [("08:59:59", None), ("09:00:00", Some(5)), ("16:59:59", Some(5)), ("17:00:00", None)]
            {
                assert_eq!(count(&window, &format!("2026-11-23T{at}Z")), expected, "{at}");
            }
        }
    }

    /// A31: the hour ahead, for a warm pool.
    #[test]
    fn it_foresees_the_highest_count_of_the_hour() {
        let foresees = |schedule: &Schedule, at: &str| {
            seeing(schedule, &Case::absent().at(at), |cx| {
                schedule.foresees(cx, Span::minutes(60)).map(crate::units::Level::get)
            })
        };
        for (at, expected) in [
            ("2026-11-23T01:29:59Z", 15.0),
            ("2026-11-23T01:30:00Z", 25.0),
            ("2026-11-23T09:30:00Z", 25.0),
            ("2026-11-23T10:30:00Z", 8.0),
            ("2026-11-26T14:30:00Z", 100.0),
        ] {
            assert_eq!(foresees(&week(), at), Some(expected), "{at}");
        }
        let ceiling = schedule(serde_json::json!({ "entries": [{ "cron": "0 8 * * *", "max": 15 }] }));
        assert_eq!(foresees(&ceiling, "2026-11-23T07:30:00Z"), None);
    }

    /// A10: what is remembered between changes never outlives them, and a missed tick is caught up.
    #[test]
    fn a_remembered_page_ends_at_the_next_change() {
        let case = Case::absent().at("2026-11-23T00:00:00Z");
        let memory = remembers(&week(), &case);
        let StrategyMemory::Schedule(page) = &memory else { panic!("{memory:?}") };
        assert_eq!(page.until, Some("2026-11-23T02:30:00Z".parse().unwrap()));
        let later = |at: &str| match says(&week(), &Case::absent().at(at).remembering(memory.clone())) {
            Advice::Wants { replicas, .. } => replicas.0,
            other => panic!("{other:?}"),
        };
        assert_eq!((later("2026-11-23T02:29:59Z"), later("2026-11-23T02:30:00Z")), (15, 25));
        assert_eq!(later("2026-11-25T20:00:00Z"), 3, "two days later, everything between was missed");
        assert!(!schedule(serde_json::json!({ "entries": [] })).remembers_as(&memory));
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(problems(&week()), Vec::<String>::new());
        let bad = schedule(serde_json::json!({ "entries": [
            { "cron": "0 8 * * *", "min": 3 }, { "cron": "0 9 * * *", "replicas": 3 }, { "cron": "0 9 * * *" },
            { "cron": "0 9 * * *", "min": 3, "until": "0 9 * * *", "for": "1h" } ],
            "dates": [{ "name": "x", "from": "2026-11-27T00:00", "to": "2026-11-27T00:00", "min": 1 }] }));
        assert_eq!(
            problems(&bad),
            ["entries.1", "entries.2", "entries.3.until", "entries.3.until", "dates.0.to"]
        );
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"]), ms in 0_i64..4_000_000_000_000) {
            let at = Timestamp::from_millis(ms).to_string();
            behaves(&week(), &case.at(&at), &[])?;
            prop_assert!(count(&week(), &at).is_some(), "some entry always holds");
        }
    }
}
