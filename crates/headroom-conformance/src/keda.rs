//! KEDA's triggers, asked of headroom's schedules, queues and formulas.

use headroom_core::calendar::Zone;
use headroom_core::formula::Formula;
use headroom_core::strategy::queue::{evenly, is_active, workers};
use headroom_core::units::{Level, Replicas, Timestamp};
use serde_json::json;

use crate::nomad::entry;
use crate::{Answer, Given};

pub(crate) fn answer(kind: &str, given: Given<'_>) -> Option<Answer> {
    Some(match kind {
        "cron_metadata" => cron_metadata(given),
        "cron_active" => cron_active(given),
        "queue_activity" => queue_activity(given),
        "partition_factor" => partition_factor(given),
        "sqs_value" => sqs_value(given),
        "tube_activity" => tube_activity(given),
        "activation_threshold" => activation_threshold(given),
        "modifier_formula" => modifier_formula(given),
        _ => return None,
    })
}

fn level(value: f64) -> Level {
    Level::new(value.max(0.0)).unwrap_or(Level::ZERO)
}

fn cron_metadata(given: Given<'_>) -> Answer {
    let zone = given.maybe_text("timezone").is_some_and(|zone| zone.parse::<Zone>().is_ok());
    let count = given.maybe_text("desired_replicas").is_some_and(|n| n.parse::<u32>().is_ok());
    let window = match (given.maybe_text("start"), given.maybe_text("end")) {
        // An entry that ends when it begins is refused by a schedule's check.
        (Some(start), Some(end)) => entry(start, Some(end), None).is_ok() && start != end,
        _ => false,
    };
    Ok(json!({ "valid": zone && count && window }))
}

fn cron_active(given: Given<'_>) -> Answer {
    let entry = entry(given.text("start")?, given.maybe_text("end"), None);
    let (Ok(entry), Ok(zone), Ok(at)) =
        (entry, given.text("timezone")?.parse::<Zone>(), given.text("now")?.parse::<Timestamp>())
    else {
        return Ok(json!({ "error": true }));
    };
    let active = entry.window_end(at, &zone).is_some();
    let value = if active { given.int("desired_replicas")? } else { 0 };
    Ok(json!({ "active": active, "metric_value": value }))
}

fn queue_activity(given: Given<'_>) -> Answer {
    let messages = given.float("messages")?;
    let activation = level(given.float("activation_value")?);
    let (published, delivered) = (given.float("publish_rate")?, given.float("deliver_get_rate")?);
    let any = |amounts: &[f64]| amounts.iter().any(|amount| is_active(level(*amount), activation));
    Ok(match given.text("mode")? {
        "MessageRate" => json!({ "active": any(&[published, messages]) }),
        "DeliverGetRate" => json!({ "active": any(&[delivered, messages]) }),
        "ExpectedQueueConsumptionTime" => {
            // What waits and what is added within a second, over what is worked off.
            let seconds = if delivered > 0.0 {
                (messages + (published - delivered).max(0.0)) / delivered
            } else if messages > 0.0 || published > 0.0 {
                messages + published
            } else {
                0.0
            };
            json!({ "active": any(&[seconds]), "metric_value_milli": seconds * 1000.0 })
        }
        _ => json!({ "active": any(&[messages]) }),
    })
}

fn partition_factor(given: Given<'_>) -> Answer {
    let share = level(given.float("lag_threshold")?);
    let wanted = workers(level(given.float("total_lag")?), share).unwrap_or(Replicas::LIMIT);
    let partitions = Replicas(given.count("partitions")?);
    Ok(json!({ "consumers": evenly(wanted, partitions) }))
}

/// Which counts make up the backlog is the policy's list of signals.
fn sqs_value(given: Given<'_>) -> Answer {
    let mut backlog = given.int("visible")?;
    if given.bool("scale_on_in_flight")? {
        backlog += given.int("not_visible")?;
    }
    if given.bool("scale_on_delayed")? {
        backlog += given.int("delayed")?;
    }
    Ok(json!({ "value": backlog }))
}

fn tube_activity(given: Given<'_>) -> Answer {
    let delayed = if given.bool("include_delayed")? { given.float("delayed")? } else { 0.0 };
    let backlog = level(given.float("ready")? + delayed);
    Ok(json!({ "active": is_active(backlog, level(given.float("activation_value")?)) }))
}

fn activation_threshold(given: Given<'_>) -> Answer {
    let value = given.float("value")?;
    Ok(json!({ "active": is_active(level(value), level(given.float("activation_value")?)), "value": value }))
}

/// The peer's formula over triggers, read and reckoned by headroom's. Where it has no value, the fallback replicas are
/// handed on as the total that gives them.
fn modifier_formula(given: Given<'_>) -> Answer {
    let triggers: Vec<(&str, Option<f64>)> =
        given.entries("triggers").map(|(name, value)| (name, value.value().as_f64())).collect();
    let value = match given.maybe_text("formula") {
        // Without a formula the only trigger stands for itself.
        None => triggers.first().and_then(|(_, value)| *value),
        Some(text) => match text.parse::<Formula>() {
            Err(why) => return Ok(json!({ "error": true, "error_contains": why.to_string() })),
            Ok(formula) => formula.value(0.0, 0.0, |index| {
                let name = formula.signals().get(index)?.as_str();
                triggers.iter().find(|(known, _)| *known == name).and_then(|(_, value)| *value)
            }),
        },
    };
    let fallback = given.maybe_float("fallback_replicas");
    Ok(match (value, fallback) {
        (Some(value), _) => json!({ "value": value, "error": false }),
        (None, Some(replicas)) => json!({ "value": replicas * given.float("target")?, "error": false }),
        (None, None) => json!({ "error": true }),
    })
}
