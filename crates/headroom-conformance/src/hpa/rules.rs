//! Stabilisation, speed and bounds: the questions put to `headroom_core`'s windows and guards.
//!
//! Two of the peer's answers are about its own bookkeeping: the order of slots in its logs, of which it uses an
//! outdated one again. headroom keeps its past in order of time instead; [`Slots`] models the peer's log around
//! headroom's answers, so that every expected field can be compared.

use headroom_core::context::Direction;
use headroom_core::extremes::Extremes;
use headroom_core::fleet::{Burst, PolicySelect, ReplicaRange, ScalingPolicy, ScalingRules};
use headroom_core::guard::velocity::{Moved, furthest};
use headroom_core::units::{Replicas, Span};
use serde_json::{Value, json};

use crate::given::NOW;
use crate::{Answer, Given, Unreadable};

/// A log that uses an outdated slot again instead of growing.
struct Slots<T>(Vec<(T, bool)>);

impl<T> Slots<T> {
    fn new(entries: impl IntoIterator<Item = (T, bool)>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// Puts an entry into the last outdated slot, else at the end.
    fn put(&mut self, entry: T) {
        match self.0.iter_mut().rev().find(|(_, outdated)| *outdated) {
            Some(slot) => *slot = (entry, false),
            None => self.0.push((entry, false)),
        }
    }
}

/// Rules of one direction as a case writes them, with the peer's defaults for what it leaves out.
pub(crate) fn rules(given: Option<Given<'_>>, direction: Direction) -> Result<ScalingRules, Unreadable> {
    let mut rules = ScalingRules::default();
    if let Some(given) = given {
        rules.stabilization =
            given.maybe_seconds("stabilization_window_s").or_else(|| given.maybe_seconds("window_s"));
        rules.select = match given.maybe_text("select_policy").or_else(|| given.maybe_text("select")) {
            Some("Min") => PolicySelect::Min,
            Some("Disabled") => PolicySelect::Disabled,
            _ => PolicySelect::Max,
        };
        for policy in given.list("policies") {
            let value = Some(policy.count("value")?);
            let (percent, replicas) =
                if policy.text("type")? == "Percent" { (value, None) } else { (None, value) };
            rules.policies.push(ScalingPolicy { percent, replicas, period: policy.seconds("period_s")? });
        }
    }
    Ok(rules.completed_as_hpa(direction))
}

/// The limit of one change of growth that holds where no behaviour is written.
pub(super) fn legacy(given: Given<'_>) -> Result<ScalingRules, Unreadable> {
    let limit = given.object("legacy_scale_up_limit");
    let burst = Burst { factor: limit.float("factor")?, at_least: Replicas(limit.count("minimum")?) };
    Ok(ScalingRules { burst: Some(burst), ..ScalingRules::default() })
}

/// A count within its limits, and which limit it met, in the peer's word.
pub(crate) fn limited(
    current: i64,
    desired: i64,
    range: ReplicaRange,
    up: &ScalingRules,
    down: &ScalingRules,
    moved: impl Fn(Span) -> Moved,
) -> (i64, &'static str) {
    let (min, max) = (i64::from(range.min.0), i64::from(range.max.0));
    if desired > current {
        let speed = furthest(up, Direction::Up, current, &moved).map_or(i64::MAX, |(edge, _)| edge);
        let (most, reason) = if max > speed { (speed, "ScaleUpLimit") } else { (max, "TooManyReplicas") };
        if desired > most {
            return (most, reason);
        }
    } else if desired < current {
        let speed = furthest(down, Direction::Down, current, &moved).map_or(i64::MIN, |(edge, _)| edge);
        let (least, reason) = if min < speed { (speed, "ScaleDownLimit") } else { (min, "TooFewReplicas") };
        if desired < least {
            return (least, reason);
        }
    }
    within(desired, range)
}

fn within(desired: i64, range: ReplicaRange) -> (i64, &'static str) {
    let wanted = Replicas(u32::try_from(desired).unwrap_or(u32::MAX));
    let clamped = range.clamp(wanted);
    let reason = match clamped.cmp(&wanted) {
        std::cmp::Ordering::Less => "TooManyReplicas",
        std::cmp::Ordering::Equal => "DesiredWithinRange",
        std::cmp::Ordering::Greater => "TooFewReplicas",
    };
    (i64::from(clamped.0), reason)
}

pub(super) fn range(given: Given<'_>) -> Result<ReplicaRange, Unreadable> {
    Ok(ReplicaRange {
        min: Replicas(given.count("min_replicas")?),
        max: Replicas(given.count("max_replicas")?),
    })
}

pub(super) fn convert(given: Given<'_>) -> Answer {
    let (current, desired) = (given.int("current_replicas")?, given.int("desired_replicas")?);
    let up = legacy(given)?;
    let none = ScalingRules::default();
    let (replicas, reason) = limited(current, desired, range(given)?, &up, &none, |_| Moved::default());
    Ok(json!({ "replicas": replicas, "reason": reason }))
}

/// The changes of both logs, as ages and differences.
pub(super) fn events(given: Given<'_>, up: &str, down: &str) -> Result<Vec<(Span, i64)>, Unreadable> {
    let mut events = Vec::new();
    for (field, sign) in [(up, 1), (down, -1)] {
        for event in given.list(field) {
            events.push((event.seconds("age_s")?, sign * event.int("change")?));
        }
    }
    Ok(events)
}

pub(super) fn rate_limit(given: Given<'_>) -> Answer {
    let behavior = given.object("behavior");
    let up = rules(behavior.maybe_object("scale_up"), Direction::Up)?;
    let down = rules(behavior.maybe_object("scale_down"), Direction::Down)?;
    let events = events(given, "scale_up_events", "scale_down_events")?;
    let (replicas, reason) = limited(
        given.int("current_replicas")?,
        given.int("desired_replicas")?,
        range(given)?,
        &up,
        &down,
        |period| Moved::within(period, events.iter().copied()),
    );
    Ok(json!({ "replicas": replicas, "reason": reason }))
}

/// The two windows, filled with a case's recommendations.
pub(crate) fn windows(recommendations: &[(Span, u32)], up: Span, down: Span) -> (Extremes, Extremes) {
    let (mut highest, mut lowest) = (Extremes::highest(down), Extremes::lowest(up));
    let mut in_time = recommendations.to_vec();
    in_time.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    for (age, count) in in_time {
        highest.push(NOW.minus(age), Replicas(count));
        lowest.push(NOW.minus(age), Replicas(count));
    }
    (highest, lowest)
}

pub(super) fn recommendations(given: Given<'_>) -> Result<Vec<(Span, u32)>, Unreadable> {
    given.list("recommendations").map(|r| Ok((r.seconds("age_s")?, r.count("replicas")?))).collect()
}

/// The guard's rule: shrinking to no less than the highest, growing to no more than the lowest of the window.
pub(crate) fn stabilized(current: i64, desired: i64, highest: &Extremes, lowest: &Extremes) -> i64 {
    headroom_core::guard::stabilised(current, desired, highest, lowest, NOW)
}

pub(super) fn stabilize(given: Given<'_>) -> Answer {
    let (up, down) = (given.seconds("scale_up_window_s")?, given.seconds("scale_down_window_s")?);
    let past = recommendations(given)?;
    let (highest, lowest) = windows(&past, up, down);
    let (current, desired) = (given.int("current_replicas")?, given.int("desired_replicas")?);
    let mut log = Slots::new(past.iter().map(|(age, n)| (i64::from(*n), *age > up && *age > down)));
    log.put(desired);
    let after: Vec<i64> = log.0.iter().map(|(n, _)| *n).collect();
    Ok(json!({
        "replicas": stabilized(current, desired, &highest, &lowest), "recommendations_after": after
    }))
}

pub(super) fn stabilize_legacy(given: Given<'_>) -> Answer {
    let window = given.seconds("downscale_stabilization_s")?;
    let past = recommendations(given)?;
    let (highest, lowest) = windows(&past, Span::ZERO, window);
    let desired = given.int("desired_replicas")?;
    let mut log = Slots::new(past.iter().map(|(age, _)| ((), *age > window)));
    log.put(());
    // The peer's older rule knows no present count: whatever the window held, the highest counts.
    let replicas = stabilized(i64::from(u32::MAX), desired, &highest, &lowest);
    Ok(json!({ "replicas": replicas, "log_length": log.0.len() }))
}

pub(super) fn store_event(given: Given<'_>) -> Answer {
    let lookback = given.seconds("lookback_s")?;
    let events: Vec<(Span, i64)> = given
        .list("events")
        .map(|e| Ok((e.seconds("age_s")?, e.int("change")?)))
        .collect::<Result<_, Unreadable>>()?;
    let before = Moved::within(lookback, events.iter().copied()).added;
    let change = (given.int("new_replicas")? - given.int("previous_replicas")?).abs();
    let mut log = Slots::new(events.iter().map(|(_, change)| (*change, false)));
    if let Some(rules) = given.maybe_object("rules") {
        let longest = rules.list("policies").filter_map(|p| p.maybe_seconds("period_s")).max();
        for (slot, (age, _)) in log.0.iter_mut().zip(&events) {
            slot.1 = longest.is_some_and(|longest| *age > longest);
        }
        log.put(change);
    }
    let after: Vec<Value> =
        log.0.iter().map(|(change, outdated)| json!({ "change": change, "outdated": outdated })).collect();
    Ok(json!({ "change_in_lookback_before": before, "events_after": after }))
}

pub(super) fn default_rules(given: Given<'_>) -> Answer {
    let direction = if given.text("direction")? == "up" { Direction::Up } else { Direction::Down };
    let rules = rules(given.maybe_object("rules"), direction)?;
    let policies: Vec<Value> = rules
        .policies
        .iter()
        .map(|p| {
            let (kind, value) = match p.percent {
                Some(percent) => ("Percent", percent),
                None => ("Pods", p.replicas.unwrap_or(0)),
            };
            json!({ "type": kind, "value": value, "period_s": p.period.as_millis() / 1000 })
        })
        .collect();
    let select = match rules.select {
        PolicySelect::Max => "Max",
        PolicySelect::Min => "Min",
        PolicySelect::Disabled => "Disabled",
    };
    Ok(json!({
        "policies": policies,
        "select_policy": select,
        "stabilization_window_s": rules.stabilization.map(|s| s.as_millis() / 1000),
    }))
}
