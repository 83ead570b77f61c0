//! Values with units.
//!
//! A decision is arithmetic over counts, levels and spans of time. Most bugs in autoscalers are a number
//! of one kind taken for another: a percentage for a ratio, milliseconds for seconds, "absent" for zero.
//! So each kind is a type here, its constructor refuses nonsense, and rounding has one place
//! ([`Level::replicas_for`]) that says which way it goes. Plain `f64` and `u32` stay inside one function.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number of replicas: whole, never negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Replicas(pub u32);

impl Replicas {
    /// No replica at all: scaled to zero.
    pub const ZERO: Self = Self(0);
    /// One replica.
    pub const ONE: Self = Self(1);
    /// The most replicas a policy may name; a bound on arithmetic, not on clusters.
    pub const LIMIT: Self = Self(1_000_000);

    /// The count as a floating-point number, exact for every `u32`.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0)
    }

    /// The sum, kept within [`Replicas::LIMIT`].
    #[must_use]
    pub fn plus(self, more: u32) -> Self {
        Self(self.0.saturating_add(more).min(Self::LIMIT.0))
    }

    /// The difference, not below zero.
    #[must_use]
    pub fn minus(self, fewer: u32) -> Self {
        Self(self.0.saturating_sub(fewer))
    }

    /// The smallest count that is not below `value`: growth rounds up.
    ///
    /// A value a billionth above a whole number counts as that number: it is the residue of a division
    /// such as `3.3 / 1.1`, not demand. Beyond [`Replicas::LIMIT`], or where `value` is not a number,
    /// the answer is the limit: too much is safe, bounds cut it.
    #[must_use]
    pub fn ceil(value: f64) -> Self {
        let slack = 1e-9 * value.abs().max(1.0);
        let up = (value - slack).ceil();
        if up.is_nan() || up >= Self::LIMIT.as_f64() {
            return Self::LIMIT;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked: 0 ≤ up < LIMIT"
        )]
        Self(up.max(0.0) as u32)
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A measured or wanted amount: finite and not negative. What it is an amount of is its [`Unit`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Level(f64);

/// The value offered is no [`Level`]: negative, infinite or not a number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a level: a finite number that is not negative is needed")]
pub struct NotALevel(pub f64);

impl Level {
    /// Nothing of it, as measured: not the same as absent.
    pub const ZERO: Self = Self(0.0);

    /// A level of `value`.
    ///
    /// # Errors
    /// [`NotALevel`] where `value` is negative, infinite or NaN.
    pub fn new(value: f64) -> Result<Self, NotALevel> {
        if value.is_finite() && value >= 0.0 { Ok(Self(value + 0.0)) } else { Err(NotALevel(value)) }
    }

    /// The bare number, for arithmetic inside one function.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// How many replicas carry this level when each carries `per_replica`, rounded up.
    ///
    /// `None` where `per_replica` is zero: no number of replicas would do.
    #[must_use]
    pub fn replicas_for(self, per_replica: Level) -> Option<Replicas> {
        (per_replica.0 > 0.0).then(|| Replicas::ceil(self.0 / per_replica.0))
    }
}

impl TryFrom<f64> for Level {
    type Error = NotALevel;
    fn try_from(value: f64) -> Result<Self, NotALevel> {
        Self::new(value)
    }
}

impl From<Level> for f64 {
    fn from(level: Level) -> f64 {
        level.0
    }
}

impl JsonSchema for Level {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Level".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A finite amount that is not negative.", "type": "number", "minimum": 0 })
    }
}

/// What a [`Level`] counts. A signal's source knows it; a policy's quantities are checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// A plain count: messages, connections, requests in flight.
    Count,
    /// Events a second.
    PerSecond,
    /// A duration, in seconds.
    Seconds,
    /// A share of a whole: 1 is all of it (100 %).
    Ratio,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// How a person would write an amount of this unit in a policy.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Count => "100",
            Self::PerSecond => "100 (a plain number, or 100/s)",
            Self::Seconds => "200ms",
            Self::Ratio => "70%",
            Self::Bytes => "512Mi",
        }
    }

    /// `level` as a person reads it: `70 %`, `200 ms`, `512 Mi`, `120/s`.
    #[must_use]
    pub fn say(self, level: Level) -> String {
        let v = level.get();
        match self {
            Self::Count => trim(v),
            Self::PerSecond => format!("{}/s", trim(v)),
            Self::Ratio => format!("{} %", trim(v * 100.0)),
            Self::Seconds if v < 1.0 => format!("{} ms", trim(v * 1000.0)),
            Self::Seconds => format!("{} s", trim(v)),
            Self::Bytes => {
                let steps = [("Gi", 1024.0 * 1024.0 * 1024.0), ("Mi", 1024.0 * 1024.0), ("Ki", 1024.0)];
                steps.iter().find(|(_, size)| v >= *size).map_or_else(
                    || format!("{} B", trim(v)),
                    |(name, size)| format!("{} {name}", trim(v / size)),
                )
            }
        }
    }
}

/// From here on an amount is written with an exponent: nobody counts hundreds of digits, and no table holds them.
const EXPONENT_FROM: f64 = 1e15;

/// At most three significant places, without trailing zeros.
fn trim(v: f64) -> String {
    if v >= EXPONENT_FROM {
        return format!("{v:.2e}");
    }
    let places = if v >= 100.0 {
        0
    } else if v >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{v:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An amount as written in a policy, with the unit it was written in: `70%`, `200ms`, `512Mi`, `100/s`, `100`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "QuantityText", into = "QuantityText")]
pub struct Quantity {
    /// The amount in the base unit: a ratio of 1, seconds, bytes, events a second, or plain.
    pub level: Level,
    /// The unit that was written; `None` for a plain number.
    pub unit: Option<Unit>,
}

/// Text that is no [`Quantity`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{text:?} is not a quantity; write a number with its unit, such as 70%, 200ms, 512Mi, 100/s or 100")]
pub struct NotAQuantity {
    text: String,
}

impl Quantity {
    /// A plain number.
    #[must_use]
    pub fn plain(level: Level) -> Self {
        Self { level, unit: None }
    }

    /// A share: `0.7` is 70 %.
    #[must_use]
    pub fn ratio(level: Level) -> Self {
        Self { level, unit: Some(Unit::Ratio) }
    }

    /// Whether this may be compared with a signal of `unit`. A plain number stands for a count or a rate only:
    /// a bare `70` is never a percentage and a bare `200` never milliseconds.
    #[must_use]
    pub fn fits(&self, unit: Unit) -> bool {
        match (self.unit, unit) {
            (None, Unit::Count | Unit::PerSecond) => true,
            (None, _) => false,
            (Some(own), unit) => own == unit,
        }
    }
}

impl FromStr for Quantity {
    type Err = NotAQuantity;
    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let bad = || NotAQuantity { text: text.to_owned() };
        let trimmed = text.trim();
        let split =
            trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(trimmed.len());
        let (digits, suffix) = trimmed.split_at(split);
        let number: f64 = digits.replace('_', "").parse().map_err(|_| bad())?;
        let (factor, unit) = match suffix.trim() {
            "" => (1.0, None),
            "%" => (0.01, Some(Unit::Ratio)),
            "/s" => (1.0, Some(Unit::PerSecond)),
            "/min" => (1.0 / 60.0, Some(Unit::PerSecond)),
            "ms" => (0.001, Some(Unit::Seconds)),
            "s" => (1.0, Some(Unit::Seconds)),
            "m" | "min" => (60.0, Some(Unit::Seconds)),
            "h" => (3600.0, Some(Unit::Seconds)),
            "B" => (1.0, Some(Unit::Bytes)),
            "Ki" => (1024.0, Some(Unit::Bytes)),
            "Mi" => (1024.0 * 1024.0, Some(Unit::Bytes)),
            "Gi" => (1024.0 * 1024.0 * 1024.0, Some(Unit::Bytes)),
            _ => return Err(bad()),
        };
        // Dividing by 100 keeps `70%` at the float nearest 0.7; multiplying by 0.01 would not.
        let value = if unit == Some(Unit::Ratio) { number / 100.0 } else { number * factor };
        Ok(Self { level: Level::new(value).map_err(|_| bad())?, unit })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.level.get();
        match self.unit {
            None | Some(Unit::Count) => write!(f, "{v}"),
            Some(Unit::PerSecond) => write!(f, "{v}/s"),
            Some(Unit::Seconds) => write!(f, "{}ms", v * 1000.0),
            Some(Unit::Ratio) => write!(f, "{}%", v * 100.0),
            Some(Unit::Bytes) => write!(f, "{v}B"),
        }
    }
}

/// How a quantity stands in YAML: a plain number or text with a unit.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum QuantityText {
    Number(f64),
    Text(String),
}

impl TryFrom<QuantityText> for Quantity {
    type Error = NotAQuantity;
    fn try_from(text: QuantityText) -> Result<Self, NotAQuantity> {
        match text {
            QuantityText::Number(n) => {
                Level::new(n).map(Quantity::plain).map_err(|_| NotAQuantity { text: n.to_string() })
            }
            QuantityText::Text(text) => text.parse(),
        }
    }
}

impl From<Quantity> for QuantityText {
    fn from(q: Quantity) -> Self {
        match q.unit {
            None => Self::Number(q.level.get()),
            Some(_) => Self::Text(q.to_string()),
        }
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number with its unit: 70%, 200ms, 512Mi, 100/s, or a plain count such as 100.",
            "type": ["string", "number"],
            "format": "quantity"
        })
    }
}

/// A length of time, in whole milliseconds. Written `250ms`, `5s`, `10m`, `1h30m`, `7d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

/// Text that is no [`Span`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{text:?} is not a length of time; write it with its unit, such as 250ms, 5s, 10m, 1h30m or 7d")]
pub struct NotASpan {
    text: String,
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `ms` milliseconds.
    #[must_use]
    pub const fn millis(ms: u64) -> Self {
        Self(ms)
    }

    /// `s` seconds.
    #[must_use]
    pub const fn seconds(s: u64) -> Self {
        Self(s * 1000)
    }

    /// `m` minutes.
    #[must_use]
    pub const fn minutes(m: u64) -> Self {
        Self::seconds(m * 60)
    }

    /// `h` hours.
    #[must_use]
    pub const fn hours(h: u64) -> Self {
        Self::minutes(h * 60)
    }

    /// `d` days of 24 hours.
    #[must_use]
    pub const fn days(d: u64) -> Self {
        Self::hours(d * 24)
    }

    /// The length in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The length in seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 ms, which is 285 000 years")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The length as the standard library's duration, for timers at the edge.
    #[must_use]
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// Whether there is nothing to wait for.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, kept within range.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `n` times this length, kept within range.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl FromStr for Span {
    type Err = NotASpan;
    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let bad = || NotASpan { text: text.to_owned() };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total: f64 = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let number: f64 = number.parse().map_err(|_| bad())?;
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let ms = match unit {
                "ms" => 1.0,
                "s" => 1e3,
                "m" | "min" => 6e4,
                "h" => 3.6e6,
                "d" => 8.64e7,
                _ => return Err(bad()),
            };
            total += number * ms;
            rest = tail.trim_start();
        }
        // 1000 years: far beyond any policy, far below overflow.
        if total > 3.2e13 {
            return Err(bad());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked: 0 ≤ total ≤ 3.2e13"
        )]
        Ok(Self(total.round() as u64))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            let n = rest / size;
            if n > 0 {
                write!(f, "{n}{unit}")?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Span {
    type Error = NotASpan;
    fn try_from(text: String) -> Result<Self, NotASpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time with its unit: 250ms, 5s, 10m, 1h30m, 7d.",
            "type": "string",
            "format": "span"
        })
    }
}

/// The price of one replica, in millionths of a dollar an hour. Written `0.096 USD/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price(u64);

/// Text that is no [`Price`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{text:?} is not a price; write dollars an hour, such as 0.096 USD/h")]
pub struct NotAPrice {
    text: String,
}

impl Price {
    /// `micros` millionths of a dollar an hour.
    #[must_use]
    pub const fn micro_dollars_per_hour(micros: u64) -> Self {
        Self(micros)
    }

    /// Millionths of a dollar an hour.
    #[must_use]
    pub const fn as_micro_dollars_per_hour(self) -> u64 {
        self.0
    }

    /// The price of `replicas` replicas.
    #[must_use]
    pub const fn times(self, replicas: Replicas) -> Self {
        Self(self.0.saturating_mul(replicas.0 as u64))
    }
}

impl FromStr for Price {
    type Err = NotAPrice;
    fn from_str(text: &str) -> Result<Self, NotAPrice> {
        let bad = || NotAPrice { text: text.to_owned() };
        let number = text.trim().strip_suffix("/h").map(str::trim_end).ok_or_else(bad)?;
        let number = number.strip_suffix("USD").or_else(|| number.strip_suffix('$')).ok_or_else(bad)?;
        let dollars: f64 = number.trim().parse().map_err(|_| bad())?;
        // A million dollars an hour: beyond it the text is a mistake.
        if !(0.0..=1e6).contains(&dollars) {
            return Err(bad());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked: 0 ≤ dollars ≤ 1e6"
        )]
        Ok(Self((dollars * 1e6).round() as u64))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{text} USD/h")
    }
}

impl TryFrom<String> for Price {
    type Error = NotAPrice;
    fn try_from(text: String) -> Result<Self, NotAPrice> {
        text.parse()
    }
}

impl From<Price> for String {
    fn from(price: Price) -> Self {
        price.to_string()
    }
}

impl JsonSchema for Price {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Price".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Dollars an hour: 0.096 USD/h.", "type": "string", "format": "price", "examples": ["0.096 USD/h"] })
    }
}

/// A moment, in milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// Text that is no [`Timestamp`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{text:?} is not a moment; write it as RFC 3339, such as 2026-11-21T09:30:00Z")]
pub struct NotATimestamp {
    text: String,
}

impl Timestamp {
    /// The moment `ms` milliseconds after (before, if negative) the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero where `earlier` is later (a clock set back).
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        let ms = self.0.saturating_sub(earlier.0);
        Span(if ms > 0 { ms.unsigned_abs() } else { 0 })
    }

    /// This moment moved on by `span`.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add_unsigned(span.0))
    }

    /// This moment moved back by `span`.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub_unsigned(span.0))
    }

    /// As jiff's type, for calendars and time zones. Moments outside jiff's range become its nearest end.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(at: jiff::Timestamp) -> Self {
        Self(at.as_millisecond())
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;
    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        text.parse::<jiff::Timestamp>().map(Self::from).map_err(|_| NotATimestamp { text: text.to_owned() })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

impl TryFrom<String> for Timestamp {
    type Error = NotATimestamp;
    fn try_from(text: String) -> Result<Self, NotATimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> Self {
        at.to_string()
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A moment, RFC 3339.", "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_rounds_up_but_not_on_the_residue_of_a_division() {
        for (value, expected) in [
            (0.0, 0),
            (1e-12, 0),
            (0.01, 1),
            (1.0, 1),
            (1.0 + 1e-10, 1),
            (1.01, 2),
            (0.3 / 0.1, 3),
            (f64::NAN, Replicas::LIMIT.0),
            (f64::INFINITY, Replicas::LIMIT.0),
            (1e18, Replicas::LIMIT.0),
            (-5.0, 0),
        ] {
            assert_eq!(Replicas::ceil(value), Replicas(expected), "ceil of {value}");
        }
    }

    #[test]
    fn a_level_is_finite_and_not_negative() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
            assert!(Level::new(bad).is_err(), "{bad}");
        }
        assert!(Level::new(-0.0).unwrap().get().is_sign_positive());
    }

    #[test]
    fn quantities_carry_their_unit() {
        for (text, value, unit) in [
            ("70%", 0.7, Some(Unit::Ratio)),
            ("70 %", 0.7, Some(Unit::Ratio)),
            ("200ms", 0.2, Some(Unit::Seconds)),
            ("1.5s", 1.5, Some(Unit::Seconds)),
            ("512Mi", 536_870_912.0, Some(Unit::Bytes)),
            ("100/s", 100.0, Some(Unit::PerSecond)),
            ("1_000", 1000.0, None),
        ] {
            let q: Quantity = text.parse().unwrap();
            assert!((q.level.get() - value).abs() < 1e-12, "{text}");
            assert_eq!(q.unit, unit, "{text}");
        }
        for bad in ["", "%", "-1", "70 percent", "1e400", "NaN", "ms", "1.2.3"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_number_is_never_a_share_or_a_duration() {
        let seventy: Quantity = "70".parse().unwrap();
        assert!(seventy.fits(Unit::Count) && seventy.fits(Unit::PerSecond));
        assert!(!seventy.fits(Unit::Ratio) && !seventy.fits(Unit::Seconds) && !seventy.fits(Unit::Bytes));
    }

    #[test]
    fn spans_read_and_write_the_same_text() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1s500ms", 1500),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.as_millis(), ms);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("1.5m".parse::<Span>().unwrap(), Span::seconds(90));
        for bad in ["", "5", "s", "-5s", "5 parsecs", "9999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prices_are_exact_to_the_millionth() {
        for (text, micros, said) in [
            ("0.096 USD/h", 96_000, "0.096 USD/h"),
            ("0.0416 $/h", 41_600, "0.0416 USD/h"),
            ("12USD/h", 12_000_000, "12 USD/h"),
            ("0 USD/h", 0, "0 USD/h"),
        ] {
            let price: Price = text.parse().unwrap();
            assert_eq!((price.as_micro_dollars_per_hour(), price.to_string().as_str()), (micros, said));
        }
        for bad in ["", "0.1", "0.1 USD", "-1 USD/h", "NaN USD/h", "1 EUR/h"] {
            assert!(bad.parse::<Price>().is_err(), "{bad}");
        }
    }

    #[test]
    fn time_since_a_later_moment_is_zero() {
        let noon = Timestamp::from_millis(43_200_000);
        assert_eq!(noon.since(noon.plus(Span::hours(1))), Span::ZERO);
        assert_eq!(noon.plus(Span::hours(1)).since(noon), Span::hours(1));
    }

    #[test]
    fn amounts_read_well() {
        let l = |v| Level::new(v).unwrap();
        assert_eq!(Unit::Ratio.say(l(0.983)), "98.3 %");
        assert_eq!(Unit::Seconds.say(l(0.2)), "200 ms");
        assert_eq!(Unit::PerSecond.say(l(1234.5)), "1234/s");
        assert_eq!(Unit::Bytes.say(l(536_870_912.0)), "512 Mi");
        assert_eq!(Unit::Count.say(l(0.0)), "0");
    }
}
