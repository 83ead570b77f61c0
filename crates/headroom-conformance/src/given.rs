//! Reading a case's inputs, strictly: a field that should be there and is not makes the case fail, loudly.

use headroom_core::units::{Span, Timestamp};
use serde_json::Value;

/// A moment long after the epoch, so that ages can be taken from it.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(4_000_000_000_000);

/// An input that can't be read as its kind requires.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the input's `{field}` is not {needed}")]
pub struct Unreadable {
    field: String,
    needed: &'static str,
}

/// A JSON object with typed access.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a>(&'a Value);

impl<'a> Given<'a> {
    /// Reads `value`.
    #[must_use]
    pub fn new(value: &'a Value) -> Self {
        Self(value)
    }

    pub(crate) fn value(self) -> &'a Value {
        self.0
    }

    fn unreadable(field: &str, needed: &'static str) -> Unreadable {
        Unreadable { field: field.to_owned(), needed }
    }

    /// Whether the field is there and not null.
    pub(crate) fn has(self, field: &str) -> bool {
        self.0.get(field).is_some_and(|v| !v.is_null())
    }

    /// The object under `field`; one without fields where it is absent or null.
    pub(crate) fn object(self, field: &str) -> Self {
        Self(self.0.get(field).unwrap_or(&Value::Null))
    }

    /// The object under `field`, if it is there.
    pub(crate) fn maybe_object(self, field: &str) -> Option<Self> {
        self.0.get(field).filter(|v| !v.is_null()).map(Self)
    }

    /// A whole number.
    pub(crate) fn int(self, field: &str) -> Result<i64, Unreadable> {
        self.maybe_int(field).ok_or_else(|| Self::unreadable(field, "a whole number"))
    }

    pub(crate) fn maybe_int(self, field: &str) -> Option<i64> {
        self.0.get(field).and_then(Value::as_i64)
    }

    pub(crate) fn count(self, field: &str) -> Result<u32, Unreadable> {
        u32::try_from(self.int(field)?).map_err(|_| Self::unreadable(field, "a count"))
    }

    /// A number.
    pub(crate) fn float(self, field: &str) -> Result<f64, Unreadable> {
        self.maybe_float(field).ok_or_else(|| Self::unreadable(field, "a number"))
    }

    pub(crate) fn maybe_float(self, field: &str) -> Option<f64> {
        self.0.get(field).and_then(Value::as_f64)
    }

    pub(crate) fn bool(self, field: &str) -> Result<bool, Unreadable> {
        self.maybe_bool(field).ok_or_else(|| Self::unreadable(field, "true or false"))
    }

    pub(crate) fn maybe_bool(self, field: &str) -> Option<bool> {
        self.0.get(field).and_then(Value::as_bool)
    }

    /// Text.
    ///
    /// # Errors
    /// Where there is none.
    pub fn text(self, field: &str) -> Result<&'a str, Unreadable> {
        self.maybe_text(field).ok_or_else(|| Self::unreadable(field, "text"))
    }

    pub(crate) fn maybe_text(self, field: &str) -> Option<&'a str> {
        self.0.get(field).and_then(Value::as_str)
    }

    /// Seconds as a length of time; fractions count.
    pub(crate) fn seconds(self, field: &str) -> Result<Span, Unreadable> {
        self.maybe_seconds(field).ok_or_else(|| Self::unreadable(field, "a length of time in seconds"))
    }

    pub(crate) fn maybe_seconds(self, field: &str) -> Option<Span> {
        let seconds = self.maybe_float(field).filter(|s| *s >= 0.0)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test case")]
        Some(Span::millis((seconds * 1000.0).round() as u64))
    }

    /// The objects of a list; none where it is absent or null.
    pub(crate) fn list(self, field: &str) -> impl Iterator<Item = Given<'a>> + Clone {
        self.0.get(field).and_then(Value::as_array).into_iter().flatten().map(Given)
    }

    pub(crate) fn ints(self, field: &str) -> Vec<i64> {
        self.list(field).filter_map(|v| v.0.as_i64()).collect()
    }

    /// The named values of an object, in its order.
    pub(crate) fn entries(self, field: &str) -> impl Iterator<Item = (&'a str, Given<'a>)> {
        self.0
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), Given(value)))
    }
}
