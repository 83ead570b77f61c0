//! Cron expressions, time zones and times of day, read once at load.
//!
//! Schedules are about people's clocks: "08:00 on workdays in Seoul" stays 08:00 when the clocks change. Cron lines
//! are croner's (Vixie's rules: five fields, day of month *or* day of week where both are restricted), time zones
//! are jiff's, bundled, so the same file means the same everywhere. Nothing here knows the present.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::Weekday;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::units::{Span, Timestamp};

/// A cron line of five fields: minute, hour, day of month, month, day of week.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron(Arc<croner::Cron>, Arc<str>);

/// Text that is no cron line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no cron line ({why}); write five fields: minute, hour, day of month, month, day of week"
)]
pub struct NotACron {
    text: String,
    why: String,
}

impl FromStr for Cron {
    type Err = NotACron;
    fn from_str(text: &str) -> Result<Self, NotACron> {
        let bad = |why: String| NotACron { text: text.to_owned(), why };
        let fields = text.split_whitespace().count();
        if fields != 5 {
            return Err(bad(format!("it has {fields} fields")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|why| bad(why.to_string()))?;
        Ok(Self(Arc::new(cron), text.into()))
    }
}

impl Cron {
    /// The first firing after `at`; `None` where there is none within croner's horizon (a 30 February).
    #[must_use]
    pub fn next(&self, at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        self.0.find_next_occurrence(&zone.civil(at), false).ok().map(|t| t.timestamp().into())
    }

    /// The last firing up to and including `at`.
    #[must_use]
    pub fn last(&self, at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        self.0.find_previous_occurrence(&zone.civil(at), true).ok().map(|t| t.timestamp().into())
    }

    /// The line as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.1
    }
}

/// A time zone by its IANA name, such as `Asia/Seoul`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(jiff::tz::TimeZone, Arc<str>);

/// Text that is no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone; write its IANA name, such as Asia/Seoul or UTC")]
pub struct NotAZone(String);

impl FromStr for Zone {
    type Err = NotAZone;
    fn from_str(text: &str) -> Result<Self, NotAZone> {
        let zone = jiff::tz::TimeZone::get(text).map_err(|_| NotAZone(text.to_owned()))?;
        Ok(Self(zone, text.into()))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(jiff::tz::TimeZone::UTC, "UTC".into())
    }
}

impl Zone {
    /// `at` on this zone's clocks.
    #[must_use]
    pub fn civil(&self, at: Timestamp) -> jiff::Zoned {
        at.to_jiff().to_zoned(self.0.clone())
    }

    /// The moment at which this zone's clocks show `local`. One they skip is the moment they skip it; of one they
    /// show twice it is the first.
    #[must_use]
    pub fn moment(&self, local: jiff::civil::DateTime) -> Option<Timestamp> {
        local.to_zoned(self.0.clone()).ok().map(|z| z.timestamp().into())
    }

    /// Minutes since midnight and the day of the week that this zone's clocks show.
    #[must_use]
    pub fn clock(&self, at: Timestamp) -> (u16, Weekday) {
        let civil = self.civil(at);
        let minutes = u16::try_from(i32::from(civil.hour()) * 60 + i32::from(civil.minute()));
        (minutes.unwrap_or(0), civil.weekday())
    }
}

/// A time of day, `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

/// Text that is no time of day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time of day; write hours and minutes, such as 09:30")]
pub struct NotATimeOfDay(String);

impl TimeOfDay {
    /// Minutes since midnight.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.0
    }
}

impl FromStr for TimeOfDay {
    type Err = NotATimeOfDay;
    fn from_str(text: &str) -> Result<Self, NotATimeOfDay> {
        let bad = || NotATimeOfDay(text.to_owned());
        let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(hours) || !digits(minutes) {
            return Err(bad());
        }
        let (hours, minutes): (u16, u16) =
            (hours.parse().map_err(|_| bad())?, minutes.parse().map_err(|_| bad())?);
        let all = hours * 60 + minutes;
        if minutes < 60 && all <= 24 * 60 { Ok(Self(all)) } else { Err(bad()) }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A day of the week, as people write it in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of the days say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Weekday> for Day {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

/// A part of each day (or of some days) on a zone's clocks; may pass midnight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Hours {
    /// From this time of day, inclusive.
    pub from: TimeOfDay,
    /// To this time of day, exclusive; at or before `from` means the next day.
    pub to: TimeOfDay,
    /// On these days only (the day it starts on); without any, every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
}

impl Hours {
    /// Whether the clocks show a time within, given minutes since midnight and the day of the week.
    #[must_use]
    pub fn hold(&self, minutes: u16, weekday: Weekday) -> bool {
        let on = |day: Weekday| self.days.is_empty() || self.days.contains(&day.into());
        let (from, to) = (self.from.minutes(), self.to.minutes());
        if from < to {
            return from <= minutes && minutes < to && on(weekday);
        }
        (minutes >= from && on(weekday)) || (minutes < to && on(weekday.previous()))
    }

    /// When the hours that hold at `at` end, to the minute.
    #[must_use]
    pub fn end(&self, at: Timestamp, minutes: u16) -> Timestamp {
        let left = (i64::from(self.to.minutes()) - i64::from(minutes)).rem_euclid(24 * 60);
        let left = if left == 0 { 24 * 60 } else { left };
        let minute = at.as_millis().rem_euclid(60_000).unsigned_abs();
        at.plus(Span::minutes(left.unsigned_abs())).minus(Span::millis(minute))
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.from, self.to)
    }
}

macro_rules! as_text {
    ($type:ident, $error:ident, $format:literal, $description:literal) => {
        impl TryFrom<String> for $type {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $description, "type": "string", "format": $format })
            }
        }
    };
}

as_text!(Cron, NotACron, "cron", "A cron line: minute, hour, day of month, month, day of week.");
as_text!(Zone, NotAZone, "time-zone", "A time zone by its IANA name, such as Asia/Seoul.");
as_text!(TimeOfDay, NotATimeOfDay, "time-of-day", "A time of day, such as 09:30.");

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn five_fields_and_nothing_else() {
        for good in ["0 8 * * 1-5", "*/30 9-17 * * MON-FRI", "0 0 L * *", "15,45 * * * *"] {
            assert!(good.parse::<Cron>().is_ok(), "{good}");
        }
        for bad in
            ["", "0 8 * *", "0 0 8 * * 1-5", "61 * * * *", "-30 * * * *", "0 8 * * -3", "@daily", "a b c d e"]
        {
            assert!(bad.parse::<Cron>().is_err(), "{bad}");
        }
        assert!("Mars/Olympus".parse::<Zone>().is_err());
    }

    /// A10: eight o'clock stays eight o'clock when the clocks change.
    #[test]
    fn a_cron_line_follows_the_clocks_of_its_zone() {
        let eight: Cron = "0 8 * * *".parse().unwrap();
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        // Summer time ends on 2026-10-25.
        assert_eq!(eight.next(at("2026-10-24T00:00:00Z"), &berlin), Some(at("2026-10-24T06:00:00Z")));
        assert_eq!(eight.next(at("2026-10-25T00:00:00Z"), &berlin), Some(at("2026-10-25T07:00:00Z")));
        assert_eq!(eight.last(at("2026-10-25T07:00:00Z"), &berlin), Some(at("2026-10-25T07:00:00Z")));
        assert_eq!(eight.last(at("2026-10-25T06:59:59Z"), &berlin), Some(at("2026-10-24T06:00:00Z")));
        let never: Cron = "0 0 30 2 *".parse().unwrap();
        assert_eq!(never.next(at("2026-10-25T06:59:59Z"), &berlin), None);
    }

    /// A10: a time the clocks skip, and one they show twice.
    #[test]
    fn a_skipped_time_is_not_lost_and_a_repeated_one_fires_once() {
        let half_past_two: Cron = "30 2 * * *".parse().unwrap();
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let fires = |from: &str, to: &str| {
            let (mut moment, mut count) = (at(from), 0);
            while let Some(next) = half_past_two.next(moment, &berlin).filter(|n| *n < at(to)) {
                (moment, count) = (next, count + 1);
            }
            count
        };
        assert_eq!(fires("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), 1, "02:30 does not exist");
        assert_eq!(fires("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), 1, "02:30 exists twice");
    }

    #[test]
    fn hours_may_pass_midnight_and_belong_to_the_day_they_start_on() {
        let hours = |from: &str, to: &str, days: &[Day]| Hours {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            days: days.to_vec(),
        };
        for (h, minutes, day, expected) in [
            (hours("09:00", "10:00", &[]), 540, Weekday::Monday, true),
            (hours("09:00", "10:00", &[]), 600, Weekday::Monday, false),
            (hours("22:00", "06:00", &[Day::Fri]), 1380, Weekday::Friday, true),
            (hours("22:00", "06:00", &[Day::Fri]), 60, Weekday::Saturday, true),
            (hours("22:00", "06:00", &[Day::Fri]), 60, Weekday::Friday, false),
            (hours("00:00", "24:00", &[]), 1439, Weekday::Sunday, true),
            (hours("00:00", "00:00", &[]), 720, Weekday::Sunday, true),
        ] {
            assert_eq!(h.hold(minutes, day), expected, "{h} at {minutes} on {day:?}");
        }
        for bad in ["9:00", "24:01", "12:60", "", "12", "1a:00"] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
        }
    }
}
