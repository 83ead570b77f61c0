//! Quantities as people write them on a command line.
//!
//! A number without a unit is refused: `--start-up 3` could be seconds or milliseconds, and the
//! reader of a script can't tell. What comes out is a plain Rust type, so the rest of the crate never
//! sees text.

use std::time::Duration;

/// The longest time taken: a year and a day. It keeps `Instant + Duration` from overflowing.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A text that isn't the quantity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` isn't {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

impl UnitError {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }
}

/// Reads a time with its unit: `250us`, `50ms`, `3s`, `1.5m`, `1h`; at most 366 days.
///
/// # Errors
/// When the number or the unit is missing or unknown, or the time is too long.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let wrong =
        || UnitError::new(text, "a time with its unit, such as 50ms, 3s, 5m or 1h (at most 366 days)");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST).ok_or_else(wrong)
}

/// Reads memory in whole mebibytes: `64MB`, `64Mi` or `64MiB`, all 64 × 2²⁰ bytes, at most 1 TiB.
///
/// # Errors
/// When the number or the unit is missing or unknown, or the amount is too large.
pub(crate) fn mebibytes(text: &str) -> Result<u32, UnitError> {
    let wrong = || UnitError::new(text, "an amount of memory such as 64MB (at most 1048576MB)");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    if !matches!(unit, "MB" | "Mi" | "MiB") {
        return Err(wrong());
    }
    number.parse().ok().filter(|amount| *amount <= 1 << 20).ok_or_else(wrong)
}

/// Reads a rate of memory, `5MB/s`, in mebibytes per second.
///
/// # Errors
/// As [`mebibytes`], and when `/s` is missing.
pub(crate) fn mebibytes_per_second(text: &str) -> Result<u32, UnitError> {
    text.strip_suffix("/s")
        .and_then(|amount| mebibytes(amount).ok())
        .ok_or_else(|| UnitError::new(text, "an amount of memory per second such as 5MB/s"))
}

/// Reads a share, `0%` to `100%`, as 0 to 1.
///
/// # Errors
/// When the percent sign is missing or the share is outside 0 to 100.
pub(crate) fn share(text: &str) -> Result<f64, UnitError> {
    split(text)
        .filter(|(percent, unit)| *unit == "%" && *percent <= 100.0)
        .map(|(percent, _)| percent / 100.0)
        .ok_or_else(|| UnitError::new(text, "a share such as 0.5% (0% to 100%)"))
}

/// A number that isn't negative, and what follows it. Exponents, signs, `NaN` and `inf` are refused.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_a_number_and_a_unit() {
        let rows: &[(&str, Option<Duration>)] = &[
            ("0s", Some(Duration::ZERO)),
            ("250us", Some(Duration::from_micros(250))),
            ("50ms", Some(Duration::from_millis(50))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("2m", Some(Duration::from_secs(120))),
            ("1h", Some(Duration::from_secs(3600))),
            ("8784h", Some(LONGEST)),
            ("8785h", None),
            ("3", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1e3s", None),
            ("NaNs", None),
            ("infs", None),
            ("1.2.3s", None),
            ("3 s", None),
            ("3d", None),
            ("99999999999999999999999999999999999999999s", None),
        ];
        for (text, expected) in rows {
            assert_eq!(duration(text).ok(), *expected, "{text}");
        }
    }

    #[test]
    fn memory_needs_a_unit_and_is_bounded() {
        for (text, expected) in [
            ("0MB", Some(0)),
            ("64MB", Some(64)),
            ("64Mi", Some(64)),
            ("64MiB", Some(64)),
            ("1048576MB", Some(1 << 20)),
            ("1048577MB", None),
            ("64", None),
            ("MB", None),
            ("1.5MB", None),
            ("-1MB", None),
            ("99999999999999MB", None),
        ] {
            assert_eq!(mebibytes(text).ok(), expected, "{text}");
        }
        assert_eq!(mebibytes_per_second("5MB/s").ok(), Some(5));
        assert_eq!(mebibytes_per_second("5MB").ok(), None);
    }

    #[test]
    fn a_share_lies_between_none_and_all() {
        for (text, expected) in [
            ("0%", Some(0.0)),
            ("50%", Some(0.5)),
            ("100%", Some(1.0)),
            ("100.1%", None),
            ("0.5", None),
            ("%", None),
        ] {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
    }
}
