//! The predictive HPA's limits of speed, which are the HPA's: asked of the same rules.

use headroom_core::context::Direction;
use headroom_core::fleet::ReplicaRange;
use headroom_core::guard::velocity::Moved;
use headroom_core::units::{Replicas, Span};
use serde_json::json;

use crate::hpa;
use crate::{Answer, Given, Unreadable};

pub(crate) fn answer(kind: &str, given: Given<'_>) -> Option<Answer> {
    (kind == "behaviour").then(|| behaviour(given))
}

fn behaviour(given: Given<'_>) -> Answer {
    let written = given.object("behaviour");
    let up = hpa::rules(written.maybe_object("up"), Direction::Up)?;
    let down = hpa::rules(written.maybe_object("down"), Direction::Down)?;
    let now = given.float("now_s")?;
    let mut events: Vec<(Span, i64)> = Vec::new();
    for (field, sign) in [("up_events", 1), ("down_events", -1)] {
        for event in given.list(field) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "ages in a test case"
            )]
            let age = Span::millis(((now - event.float("at_s")?).max(0.0) * 1000.0) as u64);
            events.push((age, sign * event.int("change")?));
        }
    }
    // The histories hold what lies within the windows: any age within them will do.
    let recent = |field: &str| -> Vec<(Span, u32)> {
        let counts = given.ints(field);
        counts.iter().filter_map(|n| Some((Span::ZERO, u32::try_from(*n).ok()?))).collect()
    };
    let forever = Span::hours(1);
    let (_, lowest) = hpa::windows(&recent("up_history"), forever, forever);
    let (highest, _) = hpa::windows(&recent("down_history"), forever, forever);
    let current = given.int("current")?;
    let stable = hpa::stabilized(current, given.int("target")?, &highest, &lowest);
    let range = range(given)?;
    let (count, _) = hpa::limited(current, stable, range, &up, &down, |period| {
        Moved::within(period, events.iter().copied())
    });
    Ok(json!({ "replicas": count }))
}

fn range(given: Given<'_>) -> Result<ReplicaRange, Unreadable> {
    Ok(ReplicaRange { min: Replicas(given.count("min")?), max: Replicas(given.count("max")?) })
}
