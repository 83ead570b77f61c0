//! Worked examples of AWS Auto Scaling and CloudWatch, asked of the alarm, queue and schedule strategies.

use headroom_core::calendar::{Cron, Zone};
use headroom_core::combine::highest;
use headroom_core::context::Direction;
use headroom_core::series::WindowStats;
use headroom_core::strategy::adjust::{AdjustmentKind, Rounding, adjusted, whole_change};
use headroom_core::strategy::alarm::{AlarmState, Statistic, TreatMissing, state, statistic, steps_fit};
use headroom_core::strategy::queue::{acceptable_backlog, workers};
use headroom_core::strategy::target_tracking::waits_for;
use headroom_core::strategy::{Alarm, AlarmStep};
use headroom_core::units::{Level, Quantity, Replicas, Span, Timestamp};
use serde_json::{Value, json};

use crate::{Answer, Given, Unreadable};

pub(crate) fn answer(kind: &str, given: Given<'_>) -> Option<Answer> {
    Some(match kind {
        "step" => step(given),
        "step_choice" => step_choice(given),
        "step_rules" => step_rules(given),
        "adjustment" => adjustment(given),
        "aggregate" => aggregate(given),
        "combine" => combine(given),
        "backlog" => backlog(given),
        "predictive_hour" => predictive_hour(given),
        "scheduled_minimum" => scheduled_minimum(given),
        "cron" => cron(given),
        "cooldown_in" => cooldown_in(given),
        "cooldown_simple" => cooldown_simple(given),
        "alarm" => alarm(given),
        "evaluation_interval" => evaluation_interval(given),
        "alarm_series" => alarm_series(given),
        _ => return None,
    })
}

fn level(value: f64) -> Level {
    Level::new(value.max(0.0)).unwrap_or(Level::ZERO)
}

fn plain(value: f64) -> Quantity {
    Quantity::plain(level(value))
}

fn replicas(value: i64) -> Replicas {
    Replicas(u32::try_from(value).unwrap_or(0))
}

/// The peer's bounds are signed differences from the threshold; headroom's are distances beyond it.
fn steps(given: Given<'_>) -> Result<Vec<AlarmStep>, Unreadable> {
    let shrinks = given.maybe_text("direction") == Some("in")
        || given.list("steps").any(|s| s.maybe_float("lower").is_some_and(|l| l < 0.0));
    given
        .list("steps")
        .map(|step| {
            let (lower, upper) = (step.maybe_float("lower"), step.maybe_float("upper"));
            let (from, to) = if shrinks { (upper.map(|u| -u), lower.map(|l| -l)) } else { (lower, upper) };
            Ok(AlarmStep { from: from.map(plain), to: to.map(plain), by: step.float("adjustment")? })
        })
        .collect()
}

fn rule(given: Given<'_>) -> Result<Alarm, Unreadable> {
    let kind = match given.maybe_text("adjustment_type") {
        Some("PercentChangeInCapacity") => AdjustmentKind::Percent,
        Some("ExactCapacity") => AdjustmentKind::Exact,
        _ => AdjustmentKind::Change,
    };
    Ok(Alarm {
        threshold: plain(given.maybe_float("threshold").unwrap_or(0.0)),
        adjustment: kind,
        by: None,
        steps: steps(given)?,
        min_magnitude: replicas(given.maybe_int("min_magnitude").unwrap_or(0)),
        ..serde_json::from_value(json!({ "signal": "load", "comparison": "above", "threshold": 1 }))
            .expect("a policy")
    })
}

fn step(given: Given<'_>) -> Answer {
    let rule = rule(given)?;
    let desired = replicas(given.int("desired_capacity")?);
    let ready = replicas(given.int("current_capacity")?);
    let threshold = given.float("threshold")?;
    let metric = given.float("metric")?;
    let beyond = if given.text("direction")? == "in" { metric <= threshold } else { metric >= threshold };
    let count = if beyond { rule.adjusted(metric, desired, ready) } else { desired };
    let change = i64::from(count.0) - i64::from(desired.0);
    Ok(json!({ "change": change, "desired_capacity": count }))
}

fn step_choice(given: Given<'_>) -> Answer {
    let distance = given.float("metric")? - given.float("threshold")?;
    let beyond = if given.text("direction")? == "in" { -distance } else { distance };
    let step = rule(given)?.step(beyond).filter(|_| beyond >= 0.0);
    Ok(json!({ "adjustment": step.unwrap_or(0.0) }))
}

fn step_rules(given: Given<'_>) -> Answer {
    let open = |field: &str| given.list("steps").filter(|s| !s.has(field)).count();
    // A policy of headroom reads a missing bound as the threshold or as no end, so two of a kind overlap.
    let valid = steps_fit(&steps(given)?) && open("lower") <= 1 && open("upper") <= 1;
    Ok(json!({ "valid": valid }))
}

fn adjustment(given: Given<'_>) -> Answer {
    if let Some(raw) = given.maybe_float("raw_change") {
        return Ok(json!({ "change": whole_change(raw) }));
    }
    let rule = rule(given)?;
    let count = adjusted(
        rule.adjustment,
        Rounding::TowardsZero,
        replicas(given.int("capacity")?),
        given.float("adjustment")?,
        rule.min_magnitude,
    );
    Ok(json!({ "capacity": count }))
}

fn aggregate(given: Given<'_>) -> Answer {
    let values: Vec<f64> = given.list("values").filter_map(|v| v.value().as_f64()).collect();
    let mut series = headroom_core::series::Series::new(Span::minutes(2), Span::minutes(2));
    for value in &values {
        series.push(crate::given::NOW, level(*value));
    }
    let which = match given.text("statistic")? {
        "Average" => Statistic::Average,
        "Minimum" => Statistic::Minimum,
        "Maximum" => Statistic::Maximum,
        "Sum" => Statistic::Sum,
        _ => Statistic::SampleCount,
    };
    let stats: Option<WindowStats> = series.stats(crate::given::NOW, Span::minutes(1));
    Ok(json!({ "value": stats.map(|stats| statistic(which, &stats)) }))
}

/// Several policies at once: the one that leaves most capacity counts.
fn combine(given: Given<'_>) -> Answer {
    if let Some(raw) = given.maybe_float("raw_change") {
        return Ok(json!({ "change": whole_change(raw) }));
    }
    // Without a capacity the changes alone are compared, from a count at which they can all be made.
    let base = replicas(given.maybe_int("capacity").unwrap_or(1_000));
    let wants = given.list("proposals").map(|p| {
        if let Some(desired) = p.maybe_int("desired") {
            return replicas(desired);
        }
        let (kind, amount) = match p.maybe_float("percent") {
            Some(percent) => (AdjustmentKind::Percent, percent),
            None => (AdjustmentKind::Change, p.maybe_float("change").unwrap_or(0.0)),
        };
        adjusted(kind, Rounding::TowardsZero, base, amount, Replicas::ZERO)
    });
    let best = highest(wants).unwrap_or(base);
    Ok(json!({ "desired": best, "change": i64::from(best.0) - i64::from(base.0) }))
}

fn backlog(given: Given<'_>) -> Answer {
    let (messages, instances) = (given.float("messages")?, given.int("instances")?);
    let seconds = given.float("seconds_per_message")?;
    let acceptable = acceptable_backlog(given.float("acceptable_latency_s")?, seconds, 1.0);
    let wanted = acceptable.and_then(|share| workers(level(messages), share));
    #[expect(clippy::cast_precision_loss, reason = "a count of a test case")]
    let actual = (instances > 0).then(|| messages / instances as f64);
    Ok(json!({
        "acceptable_backlog_per_instance": acceptable,
        "backlog_per_instance": actual,
        "instances": wanted,
        "change": wanted.map(|w| i64::from(w.0) - instances),
    }))
}

/// The forecast and what runs now are two wants, the limits bounds: the highest want within them.
fn predictive_hour(given: Given<'_>) -> Answer {
    let mut max = replicas(given.int("max")?);
    let predicted = replicas(given.int("predicted")?);
    if given.maybe_text("breach_behaviour") == Some("IncreaseMaxCapacity") && predicted > max {
        let buffer = given.maybe_float("buffer_percent").unwrap_or(0.0);
        max = headroom_core::guard::raised_maximum(max, predicted, buffer / 100.0);
    }
    let actual = given.maybe_int("actual").map(replicas);
    let want = highest(actual.into_iter().chain([predicted])).unwrap_or(predicted);
    let min = replicas(given.maybe_int("min").unwrap_or(0));
    let range = headroom_core::fleet::ReplicaRange { min, max };
    Ok(json!({ "capacity": range.clamp(want), "effective_max": max }))
}

/// A scheduled minimum is a floor under the other wants.
fn scheduled_minimum(given: Given<'_>) -> Answer {
    let wants = ["minimum", "running", "predicted"].iter().filter_map(|f| given.maybe_int(f)).map(replicas);
    let want = highest(wants).unwrap_or(Replicas::ZERO);
    Ok(json!({ "capacity": given.maybe_int("max").map_or(want, |max| want.min(replicas(max))) }))
}

fn cron(given: Given<'_>) -> Answer {
    let (Ok(cron), Ok(zone)) =
        (given.text("cron")?.parse::<Cron>(), given.maybe_text("time_zone").unwrap_or("UTC").parse::<Zone>())
    else {
        return Ok(json!({ "error": true }));
    };
    let fires: Vec<Value> = given
        .list("instants")
        .map(|instant| {
            let at: Option<Timestamp> = instant.value().as_str().and_then(|text| text.parse().ok());
            json!(at.is_some_and(|at| cron.last(at, &zone) == Some(at)))
        })
        .collect();
    Ok(json!({ "fires": fires }))
}

fn direction(text: &str) -> Direction {
    if text == "out" { Direction::Up } else { Direction::Down }
}

fn cooldown_in(given: Given<'_>) -> Answer {
    let (last, wanted) = (direction(given.text("last")?), direction(given.text("wanted")?));
    let allowed = !(given.bool("in_cooldown")? && waits_for(wanted) == last && last == Direction::Down);
    // A growth is not held back by a shrink's cooldown, and what follows it waits for the growth's own.
    Ok(json!({ "allowed": allowed, "cooldown_ends": allowed && last != wanted }))
}

fn cooldown_simple(given: Given<'_>) -> Answer {
    let waits = given.float("since_last_s")? < given.float("cooldown_s")?;
    Ok(json!({ "change": if waits { 0 } else { given.int("change")? } }))
}

fn treat(text: &str) -> TreatMissing {
    match text {
        "ignore" => TreatMissing::Ignore,
        "breaching" => TreatMissing::Breaching,
        "notBreaching" => TreatMissing::NotBreaching,
        _ => TreatMissing::Missing,
    }
}

fn alarm(given: Given<'_>) -> Answer {
    let points: Vec<Option<bool>> = given
        .list("points")
        .map(|p| match p.value().as_str() {
            Some("X") => Some(true),
            Some("0") => Some(false),
            _ => None,
        })
        .collect();
    let of = given.count("datapoints_to_alarm")? as usize;
    let periods = given.count("evaluation_periods")? as usize;
    let (state, filled) = state(&points, of, periods, treat(given.text("treat_missing")?));
    let name = match state {
        AlarmState::Ok => "OK",
        AlarmState::Ringing => "ALARM",
        AlarmState::Insufficient => "INSUFFICIENT_DATA",
        AlarmState::Keep => "KEEP",
    };
    Ok(json!({ "state": name, "filled": filled }))
}

fn evaluation_interval(given: Given<'_>) -> Answer {
    let period = given.seconds("period_s")?;
    let interval = period.times(u64::from(given.count("evaluation_periods")?));
    Ok(json!({ "interval_s": interval.as_millis() / 1000 }))
}

fn alarm_series(given: Given<'_>) -> Answer {
    let points: Vec<Option<bool>> = given.list("breaching").map(|p| p.value().as_bool()).collect();
    let of = given.count("datapoints_to_alarm")? as usize;
    let periods = given.count("evaluation_periods")? as usize;
    let rings = (1..=points.len()).map(|n| {
        let known = points.get(..n).unwrap_or_default();
        state(known, of, periods, TreatMissing::Missing).0 == AlarmState::Ringing
    });
    Ok(json!({ "alarm": rings.collect::<Vec<_>>() }))
}
