//! What is sent to a source that listens, and can't be taken in.
//!
//! One sender's garbage is no fault while the figures come from another. Where a figure is absent, it is the likely
//! reason, and its words are better than none.

use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};

use super::poll::Figure;

/// So long one stray packet is the likely reason, however long a figure may be used: as long as a slow sender takes to
/// come again.
const EXPLAINS: Span = Span::minutes(5);

/// The last refusal.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Refusals(Option<(Timestamp, String)>);

impl Refusals {
    /// Something was refused; `why` says what it was and what to do.
    pub(super) fn note(&mut self, at: Timestamp, why: String) {
        self.0 = Some((at, why));
    }

    /// The figure; where it is absent or older than `fresh_for`, and something was refused within that time (and
    /// [`EXPLAINS`]), the failure that says so.
    pub(super) fn explain(&self, figure: Figure, fresh_for: Span, at: Timestamp) -> Figure {
        let is_recent = |then: Timestamp| at.since(then) <= fresh_for;
        // A clock that was set back makes it neither newer nor older than it is.
        let explains = |then: Timestamp| at.since(then).max(then.since(at)) <= fresh_for.min(EXPLAINS);
        match &self.0 {
            // Its series comes; there is nothing to measure in it.
            _ if figure == Err(Absence::Idle) => figure,
            Some((then, why)) if explains(*then) && !figure.as_ref().is_ok_and(|(of, _)| is_recent(*of)) => {
                Err(Absence::SourceFailed(why.clone()))
            }
            _ => figure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_explains_what_is_absent_for_a_while() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let explained = |refusals: &Refusals, figure| refusals.explain(figure, Span::seconds(5), at(20));
        let mut refusals = Refusals::default();
        assert_eq!(explained(&refusals, Err(Absence::Empty)), Err(Absence::Empty));
        refusals.note(at(10), "garbage".to_owned());
        assert_eq!(explained(&refusals, Err(Absence::Empty)), Err(Absence::Empty), "long ago");
        refusals.note(at(18), "garbage".to_owned());
        let failed = Err(Absence::SourceFailed("garbage".to_owned()));
        assert_eq!(explained(&refusals, Err(Absence::Empty)), failed);
        assert_eq!(
            explained(&refusals, Err(Absence::Idle)),
            Err(Absence::Idle),
            "nothing to measure is no fault"
        );
        assert_eq!(explained(&refusals, Ok((at(14), 1.0))), failed, "too old to act on");
        assert_eq!(explained(&refusals, Ok((at(19), 1.0))), Ok((at(19), 1.0)), "another sender is well");
        let later = |second| refusals.explain(Err(Absence::Empty), Span::hours(24), at(second));
        assert_eq!(later(300), failed);
        assert_eq!(later(319), Err(Absence::Empty), "one packet explains no day");
        assert_eq!(later(-283), Err(Absence::Empty), "nor does it after the clock was set back");
    }
}
