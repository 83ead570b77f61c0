//! The Knative pod autoscaler, asked of `headroom_core::strategy::dual_window`.

use headroom_core::extremes::Extremes;
use headroom_core::strategy::DualWindow;
use headroom_core::strategy::dual_window::{Load, Panic, spare_capacity};
use headroom_core::units::{Level, Quantity, Replicas, Span, Timestamp, Unit};
use serde_json::{Value, json};

use crate::given::NOW;
use crate::{Answer, Given, Unreadable};

pub(crate) fn answer(kind: &str, given: Given<'_>) -> Option<Answer> {
    Some(match kind {
        "decide" => decide(given),
        "start" => start(given),
        "resolve_target" => resolve_target(given),
        "max_time_window" => max_time_window(given),
        "max_index_window" => max_index_window(given),
        _ => return None,
    })
}

fn level(value: f64) -> Level {
    Level::new(value.max(0.0)).unwrap_or(Level::ZERO)
}

fn rule(spec: Given<'_>) -> Result<DualWindow, Unreadable> {
    let ratio = |value| Quantity { level: level(value), unit: Some(Unit::Ratio) };
    let activation = spec.maybe_int("activation_scale").unwrap_or(0).max(1);
    Ok(DualWindow {
        signal: "load".parse().expect("a name"),
        per_replica: Quantity::plain(level(spec.float("target_value")?)),
        utilization: ratio(1.0),
        stable_window: spec.seconds("stable_window_s")?,
        panic_window: spec.seconds("stable_window_s")?,
        panic_threshold: ratio(spec.float("panic_threshold")?),
        max_scale_up_rate: spec.float("max_scale_up_rate")?,
        max_scale_down_rate: spec.float("max_scale_down_rate")?,
        scale_down_delay: spec.maybe_seconds("scale_down_delay_s").unwrap_or(Span::ZERO),
        activation_scale: Replicas(u32::try_from(activation).unwrap_or(1)),
    })
}

fn seconds(at: Timestamp) -> i64 {
    (at.as_millis() - NOW.as_millis()) / 1000
}

/// The moment `t` seconds after (before, if negative) the case's start.
fn moment(t: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test case")]
    Timestamp::from_millis(NOW.as_millis() + (t * 1000.0).round() as i64)
}

fn decide(given: Given<'_>) -> Answer {
    let mut spec = given.object("spec");
    let mut state = Panic::starting(NOW, Replicas(given.count("pods_at_creation")?));
    if let Some(panic) = given.maybe_object("initial_panic") {
        state.since = Some(moment(panic.float("since_s")?));
        state.most = Replicas(panic.count("max_pods")?);
    }
    let mut answers = Vec::new();
    for step in given.list("steps") {
        if let Some(updated) = step.maybe_object("update_spec") {
            spec = updated;
        }
        let (Some(ready), false) = (step.maybe_int("ready_pods"), step.has("error")) else {
            answers.push(json!({ "valid": false }));
            continue;
        };
        let ready = Replicas(u32::try_from(ready).unwrap_or(0));
        let panic = level(step.float("panic")?);
        let load = Load {
            stable: level(step.float("stable")?),
            panic,
            ready,
            reachable: spec.maybe_bool("reachable").unwrap_or(true),
        };
        let (wanted, after) = rule(spec)?.step(moment(step.float("t_s")?), load, &state);
        state = after;
        let burst = spec.float("target_burst_capacity")?;
        let spare = match burst {
            0.0 => 0.0,
            always if always < 0.0 => -1.0,
            burst => spare_capacity(ready, level(spec.float("total_value")?), burst, panic),
        };
        answers.push(json!({
            "valid": true,
            "desired_pods": wanted.replicas,
            "excess_burst_capacity": spare,
            "panic_since_s": state.since.map(seconds),
        }));
    }
    Ok(json!({ "steps": answers }))
}

fn start(given: Given<'_>) -> Answer {
    let ready = given.maybe_int("ready_pods").unwrap_or(0);
    let state = Panic::starting(NOW, Replicas(u32::try_from(ready).unwrap_or(0)));
    Ok(json!({ "in_panic": state.since.is_some(), "max_panic_pods": state.most }))
}

/// Which of the peer's settings is a replica's capacity, then headroom's target for it.
fn resolve_target(given: Given<'_>) -> Answer {
    let config = given.object("config");
    let limit = given.maybe_float("container_concurrency").filter(|limit| *limit > 0.0);
    let (mut total, utilization) = if given.text("metric")? == "rps" {
        (config.float("rps_target_default")?, config.float("rps_target_utilization")?)
    } else {
        let default = config.float("concurrency_target_default")?;
        (limit.unwrap_or(default), config.float("concurrency_target_fraction")?)
    };
    if let Some(target) = given.maybe_float("target_annotation") {
        let limit = limit.filter(|_| given.maybe_text("metric") != Some("rps"));
        total = limit.map_or(target, |limit| target.min(limit));
    }
    let annotated = given.maybe_float("utilization_annotation_percent").map(|percent| percent / 100.0);
    let rule = DualWindow {
        per_replica: Quantity::plain(level(total)),
        utilization: Quantity::ratio(level(annotated.unwrap_or(utilization))),
        ..serde_json::from_value(json!({ "signal": "load", "perReplica": 1 })).expect("a policy")
    };
    Ok(json!({ "target": rule.target(), "total": total }))
}

/// Whole numbers of the case as counts.
fn count(value: Given<'_>) -> Result<Replicas, Unreadable> {
    value.count("value").map(Replicas)
}

fn max_time_window(given: Given<'_>) -> Answer {
    let granularity = given.float("granularity_s")?;
    let buckets = (given.float("window_s")? / granularity).ceil();
    let mut extremes = Extremes::highest(Span::millis(1000).times(as_u64(buckets)));
    let mut at = NOW;
    for record in given.list("records") {
        at = moment((record.float("t_s")? / granularity).floor());
        extremes.push(at, count(record)?);
    }
    Ok(json!({ "current": extremes.extreme(at).map(|(highest, _)| highest) }))
}

fn max_index_window(given: Given<'_>) -> Answer {
    let mut extremes = Extremes::highest(Span::seconds(as_u64(given.float("size")?)));
    let mut answers: Vec<Value> = Vec::new();
    for record in given.list("records") {
        let at = moment(record.float("index")?);
        extremes.push(at, count(record)?);
        answers.push(json!(extremes.extreme(at).map(|(highest, _)| highest)));
    }
    Ok(json!({ "current_after_each": answers }))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of a test case")]
fn as_u64(value: f64) -> u64 {
    value.max(0.0) as u64
}
