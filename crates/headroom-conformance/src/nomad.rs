//! The Nomad Autoscaler's strategies, asked of headroom's: target tracking, alarms between bounds, fixed counts,
//! pass-through and schedules. Texts of a policy are read as the peer reads them, so that what it refuses is refused.

use headroom_core::fleet::ReplicaRange;
use headroom_core::strategy::adjust::{AdjustmentKind, Rounding, adjusted};
use headroom_core::strategy::alarm::{AlarmState, TreatMissing, state};
use headroom_core::strategy::pass_through::within;
use headroom_core::strategy::schedule::Entry;
use headroom_core::strategy::target_tracking::by_factor;
use headroom_core::units::{Level, Replicas, Timestamp};
use serde_json::{Value, json};

use crate::{Answer, Given, Unreadable};

pub(crate) fn answer(kind: &str, given: Given<'_>) -> Option<Answer> {
    Some(match kind {
        "strategy" => strategy(given),
        "factor_direction" => factor_direction(given),
        "count_direction" => count_pair(given).map(|(now, new)| json!({ "direction": direction(now, new) })),
        "cap" => cap(given),
        "preempt" => preempt(given),
        "groups" => groups(given),
        "remaining_cooldown" => remaining_cooldown(given),
        "scaling_needed" => scaling_needed(given),
        "schedule" => schedule(given),
        "validate_schedule" => validate_schedule(given),
        _ => return None,
    })
}

fn replicas(value: i64) -> Replicas {
    Replicas(u32::try_from(value.max(0)).unwrap_or(u32::MAX).min(Replicas::LIMIT.0))
}

fn level(value: f64) -> Level {
    Level::new(value.max(0.0)).unwrap_or(Level::ZERO)
}

fn direction(now: Replicas, new: Replicas) -> &'static str {
    match new.cmp(&now) {
        std::cmp::Ordering::Greater => "up",
        std::cmp::Ordering::Less => "down",
        std::cmp::Ordering::Equal => "none",
    }
}

fn count_pair(given: Given<'_>) -> Result<(Replicas, Replicas), Unreadable> {
    Ok((replicas(given.int("count")?), replicas(given.int("new_count")?)))
}

/// Why a policy's text is refused, in the peer's words.
struct Refused(String);

fn number<T: std::str::FromStr>(config: Given<'_>, field: &str) -> Result<Option<T>, Refused> {
    match config.maybe_text(field).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| Refused(format!("invalid value for `{field}`: {text}")))
        }
    }
}

fn required<T: std::str::FromStr>(config: Given<'_>, field: &str) -> Result<T, Refused> {
    number(config, field)?.ok_or_else(|| Refused(format!("missing required field `{field}`")))
}

fn strategy(given: Given<'_>) -> Answer {
    let now = replicas(given.int("count")?);
    let metrics: Vec<f64> = given.list("metrics").filter_map(|m| m.value().as_f64()).collect();
    let config = given.object("config");
    let answer = match given.text("strategy")? {
        "target-value" => target_value(now, &metrics, config),
        "threshold" => threshold(now, &metrics, config),
        "fixed-value" => required::<i64>(config, "value").map(|value| Some(replicas(value))),
        _ => pass_through(now, &metrics, config),
    };
    Ok(match answer {
        Err(Refused(text)) => json!({ "error_contains": text }),
        Ok(None) => json!({ "result": null }),
        Ok(Some(count)) if count == now => json!({ "direction": "none", "count": null }),
        Ok(Some(count)) => json!({ "direction": direction(now, count), "count": count, "result": {} }),
    })
}

fn limits(config: Given<'_>) -> Result<(Option<Replicas>, Option<Replicas>), Refused> {
    let up = number::<i64>(config, "max_scale_up")?.map(replicas);
    let down = number::<i64>(config, "max_scale_down")?.map(replicas);
    Ok((up, down))
}

fn target_value(now: Replicas, metrics: &[f64], config: Given<'_>) -> Result<Option<Replicas>, Refused> {
    let target: f64 = required(config, "target")?;
    let threshold: f64 = number(config, "threshold")?.unwrap_or(0.01);
    let (up, down) = limits(config)?;
    let Some(metric) = metrics.last() else { return Ok(None) };
    // A target of nothing: every unit of the metric is one too many.
    let factor = if target == 0.0 { *metric } else { metric / target };
    Ok(Some(within(now, by_factor(now, factor, level(threshold)), up, down)))
}

fn pass_through(now: Replicas, metrics: &[f64], config: Given<'_>) -> Result<Option<Replicas>, Refused> {
    let (up, down) = limits(config)?;
    Ok(metrics.last().map(|metric| within(now, Replicas::ceil(*metric), up, down)))
}

fn threshold(now: Replicas, metrics: &[f64], config: Given<'_>) -> Result<Option<Replicas>, Refused> {
    if metrics.is_empty() {
        return Ok(None);
    }
    let quoted = |why: Refused| Refused(why.0.replace('`', "\""));
    let lower: Option<f64> = number(config, "lower_bound").map_err(quoted)?;
    let upper: Option<f64> = number(config, "upper_bound").map_err(quoted)?;
    if lower.is_none() && upper.is_none() {
        let text = "missing required field, must have either \"lower_bound\" or \"upper_bound\"";
        return Err(Refused(text.to_owned()));
    }
    let trigger: usize = number(config, "within_bounds_trigger").map_err(quoted)?.unwrap_or(5);
    let whole = |field: &str| {
        number::<i64>(config, field).map_err(|_| Refused(format!("\"{field}\" value is not an interger")))
    };
    let delta = whole("delta")?.map(|n| (AdjustmentKind::Change, as_float(n)));
    let percentage = number::<f64>(config, "percentage")
        .map_err(|_| Refused("\"percentage\" value is not a number".to_owned()))?
        .map(|n| (AdjustmentKind::Percent, n));
    let value = whole("value")?.map(|n| (AdjustmentKind::Exact, as_float(n)));
    if value.is_some_and(|(_, n)| n < 0.0) {
        return Err(Refused("\"value\" value is negative".to_owned()));
    }
    let actions: Vec<_> = [delta, percentage, value].into_iter().flatten().collect();
    let [(kind, amount)] = actions[..] else {
        let names = "\"delta\", \"percentage\" or \"value\"";
        let text = if actions.is_empty() {
            format!("missing required field, must have either {names}")
        } else {
            format!("only one of {names} must be provided")
        };
        return Err(Refused(text));
    };
    let within = |metric: &f64| lower.is_none_or(|l| *metric >= l) && upper.is_none_or(|u| *metric < u);
    let points: Vec<Option<bool>> = metrics.iter().map(|m| Some(within(m))).collect();
    let rings = state(&points, trigger, points.len(), TreatMissing::Missing).0 == AlarmState::Ringing;
    Ok(Some(if rings { adjusted(kind, Rounding::Up, now, amount, Replicas::ZERO) } else { now }))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test case")]
fn as_float(n: i64) -> f64 {
    n as f64
}

fn factor_direction(given: Given<'_>) -> Answer {
    let now = replicas(given.int("count")?);
    let tolerance = level(given.float("threshold")?);
    // A large count tells every factor outside the band from 1, whatever the rounding.
    let judged = if now == Replicas::ZERO { now } else { Replicas(1000) };
    let new = by_factor(judged, given.float("factor")?, tolerance);
    Ok(json!({ "direction": direction(judged, new) }))
}

fn cap(given: Given<'_>) -> Answer {
    let count = replicas(given.int("count")?);
    let range = ReplicaRange { min: replicas(given.int("min")?), max: replicas(given.int("max")?) };
    let capped = range.clamp(count);
    Ok(json!({ "count": capped, "capped": capped != count }))
}

/// Growth goes before shrinking, shrinking before nothing (an abstention), and the higher count before the lower.
fn rank(action: Given<'_>) -> (u8, i64) {
    let by_direction = match action.maybe_text("direction") {
        Some("up") => 2,
        Some("down") => 1,
        _ => 0,
    };
    (by_direction, action.maybe_int("count").unwrap_or(0))
}

fn winner<'a>(actions: impl Iterator<Item = Given<'a>>) -> Option<Given<'a>> {
    actions.filter(|a| !a.value().is_null()).fold(None, |best, action| match best {
        Some(best) if rank(best) >= rank(action) => Some(best),
        _ => Some(action),
    })
}

fn preempt(given: Given<'_>) -> Answer {
    let best = winner([given.object("a"), given.object("b")].into_iter());
    Ok(best.map_or(Value::Null, |b| b.value().clone()))
}

fn groups(given: Given<'_>) -> Answer {
    let actions: Vec<Given<'_>> = given
        .entries("groups")
        .flat_map(|(_, group)| group.value().as_array().into_iter().flatten().map(Given::new))
        .collect();
    let best = winner(actions.into_iter());
    Ok(json!({ "winner": best.map(|b| b.value().clone()) }))
}

fn remaining_cooldown(given: Given<'_>) -> Answer {
    Ok(json!({ "remaining_s": given.int("cooldown_s")? - given.int("since_last_event_s")? }))
}

fn scaling_needed(given: Given<'_>) -> Answer {
    let (wanted, now) = (given.int("action_count")?, given.int("current_count")?);
    let needed = match given.text("direction")? {
        "up" => wanted > now,
        "down" => wanted < now,
        _ => false,
    };
    Ok(json!({ "needed": needed }))
}

/// The peer's schedule as an entry of headroom's.
pub(crate) fn entry(start: &str, end: Option<&str>, lasts: Option<String>) -> Result<Entry, String> {
    let mut json = json!({ "cron": start, "replicas": 1 });
    if let Some(fields) = json.as_object_mut() {
        fields.extend(end.map(|end| ("until".to_owned(), json!(end))));
        fields.extend(lasts.map(|lasts| ("for".to_owned(), json!(lasts))));
    }
    serde_json::from_value(json).map_err(|why| why.to_string())
}

fn schedule(given: Given<'_>) -> Answer {
    let schedule = given.object("schedule");
    let lasts = schedule.maybe_int("duration_s").map(|s| format!("{s}s"));
    let entry = entry(schedule.text("start")?, schedule.maybe_text("end"), lasts);
    let at: Option<Timestamp> = given.text("now_utc")?.parse().ok();
    let (Ok(entry), Some(at)) = (entry, at) else { return Ok(json!({ "error": true })) };
    Ok(json!({ "active": entry.window_end(at, &headroom_core::calendar::Zone::default()).is_some() }))
}

fn validate_schedule(given: Given<'_>) -> Answer {
    let Some(schedule) = given.maybe_object("schedule") else {
        return Ok(json!({ "valid": true }));
    };
    let refused = |why: &str| Ok(json!({ "valid": false, "error_contains": why }));
    let text = |field: &str| schedule.maybe_text(field).filter(|text| !text.is_empty());
    let Some(start) = text("start") else { return refused("start is required") };
    let (end, duration) = (text("end"), text("duration"));
    if end.is_some() == duration.is_some() {
        return refused("exactly one of end or duration must be set");
    }
    match entry(start, end, duration.map(str::to_owned)) {
        Ok(_) => Ok(json!({ "valid": true })),
        Err(why) if why.contains("cron line") => refused("must be a strict 5-field cron expression"),
        Err(why) => refused(&format!("invalid duration: {why}")),
    }
}
