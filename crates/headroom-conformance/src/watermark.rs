//! The watermark autoscaler, asked of `headroom_core::strategy::watermark`.

use headroom_core::fleet::{Path, ReplicaRange};
use headroom_core::strategy::Watermark;
use headroom_core::strategy::hpa::pods::{Pod, PodPhase};
use headroom_core::strategy::watermark::{Algorithm, Limit, Mark, Position, counts_as_ready};
use headroom_core::units::{Level, Quantity, Replicas, Span};
use serde_json::json;

use crate::{Answer, Given, Unreadable};

pub(crate) fn answer(kind: &str, given: Given<'_>) -> Option<Answer> {
    Some(match kind {
        "replicas" => replicas(given),
        "ready_count" => ready_count(given),
        "group_pods" => group_pods(given),
        "up_limit" => {
            limits(given).and_then(|w| Ok(json!({ "limit": w.furthest_up(given.int("current")?) })))
        }
        "down_limit" => {
            limits(given).and_then(|w| Ok(json!({ "limit": w.furthest_down(given.int("current")?) })))
        }
        "limit" => limit(given),
        "may_scale" => may_scale(given),
        "reconcile" => reconcile(given),
        "fill_watermarks" => fill(given),
        "validate" => validate(given),
        _ => return None,
    })
}

fn plain() -> Watermark {
    serde_json::from_value(json!({ "signal": "load", "low": 1, "high": 2 })).expect("a policy")
}

fn share(value: f64) -> Quantity {
    Quantity::ratio(Level::new(value.max(0.0)).unwrap_or(Level::ZERO))
}

#[expect(clippy::cast_precision_loss, reason = "thousandths of a test case")]
fn mark(value: Option<i64>) -> Option<Quantity> {
    value.and_then(|m| Level::new(m as f64 / 1000.0).ok()).map(Quantity::plain)
}

/// The limits of one change and the pauses, whichever names the case gives them.
fn limits(given: Given<'_>) -> Result<Watermark, Unreadable> {
    let mut rule = plain();
    let percent = |field: &str| given.maybe_float(field).or_else(|| given.maybe_float("percent"));
    if let Some(up) = percent("up_percent") {
        rule.up_limit = share(up / 100.0);
    }
    if let Some(down) = percent("down_percent") {
        rule.down_limit = share(down / 100.0);
    }
    rule.up_forbidden = given.maybe_seconds("up_forbidden_s").unwrap_or(Span::ZERO);
    rule.down_forbidden = given.maybe_seconds("down_forbidden_s").unwrap_or(Span::ZERO);
    rule.up_delay = given.maybe_seconds("up_delay_s").unwrap_or(Span::ZERO);
    rule.down_delay = given.maybe_seconds("down_delay_s").unwrap_or(Span::ZERO);
    Ok(rule)
}

fn range(given: Given<'_>, min: &str, max: &str) -> ReplicaRange {
    let count = |field: &str, default: u32| {
        given.maybe_int(field).and_then(|n| u32::try_from(n).ok()).map_or(Replicas(default), Replicas)
    };
    ReplicaRange { min: count(min, 1), max: count(max, Replicas::LIMIT.0) }
}

fn pod(given: Given<'_>) -> Result<Pod, Unreadable> {
    Ok(Pod {
        phase: match given.text("phase")? {
            "Pending" => PodPhase::Pending,
            "Failed" => PodPhase::Ended,
            _ => PodPhase::Running,
        },
        deleting: given.maybe_bool("deleting").unwrap_or(false),
        ready: given.maybe_bool("ready"),
        started: given.maybe_seconds("started_ago_s"),
        ready_changed: given.maybe_seconds("ready_changed_ago_s"),
    })
}

/// Whether a pod's own sample is left out: the peer reads single pods' samples, headroom's sources average over the
/// ready replicas.
fn is_ignored(pod: &Pod, judged: bool, delay: Span) -> bool {
    if pod.phase != PodPhase::Running {
        return true;
    }
    let (Some(ready), Some(started), Some(changed)) = (pod.ready, pod.started, pod.ready_changed) else {
        return judged;
    };
    judged && (!ready || started < changed.plus(delay))
}

fn replicas(given: Given<'_>) -> Answer {
    let rule = Watermark {
        low: mark(given.maybe_int("low_m")),
        high: mark(given.maybe_int("high_m")),
        algorithm: if given.text("algorithm")? == "average" {
            Algorithm::Average
        } else {
            Algorithm::Absolute
        },
        tolerance: share(given.float("tolerance")?),
        round_to_multiple_of: Replicas(given.count("round_to_multiple_of")?),
        converge_towards: match given.maybe_text("converge_towards") {
            Some("lowwatermark") => Some(Mark::Low),
            Some("highwatermark") => Some(Mark::High),
            _ => None,
        },
        readiness_delay: given.seconds("readiness_delay_s")?,
        tolerate_zero: given.bool("tolerate_zero")?,
        ..plain()
    };
    let current = given.int("wanted_replicas")?;
    let mut usage: i64 = 0;
    let (mut ready, mut ignored, mut all, mut samples) = (0_i64, 0_i64, 0_i64, 0_i64);
    let of_pods = given.text("source")? == "resource";
    for item in given.list("pods") {
        let pod = pod(item)?;
        all += 1;
        if !of_pods {
            ready += i64::from(counts_as_ready(&pod, rule.readiness_delay));
        } else if let Some(sample) = item.maybe_int("sample_m") {
            if is_ignored(&pod, true, rule.readiness_delay) {
                ignored += 1;
            } else {
                (ready, samples, usage) = (ready + 1, samples + 1, usage.saturating_add(sample));
            }
        }
    }
    if !of_pods {
        ready = ready.min(given.int("status_replicas")?);
        samples = 1;
        usage = given.ints("samples_m").into_iter().fold(0, i64::saturating_add);
    }
    let available = given.int("min_available_percent")?;
    if ready == 0 || samples == 0 || 100 * ready < available * (all - ignored) {
        return Ok(json!({ "error": true }));
    }
    #[expect(clippy::cast_precision_loss, reason = "thousandths of a test case")]
    let adjusted =
        if rule.algorithm == Algorithm::Average { usage as f64 / ready as f64 } else { usage as f64 };
    let (count, position) = if !of_pods && usage == 0 && !rule.tolerate_zero {
        (current, Position::Within)
    } else {
        rule.propose(adjusted, current, ready, range(given, "min_replicas", "max_replicas"))
    };
    #[expect(clippy::cast_possible_truncation, reason = "the peer truncates")]
    let usage = adjusted as i64;
    Ok(json!({
        "replicas": count,
        "ready": ready,
        "usage_m": usage,
        "above": position == Position::Above,
        "below": position == Position::Below,
    }))
}

fn ready_count(given: Given<'_>) -> Answer {
    let delay = given.seconds("readiness_delay_s")?;
    let mut ready = 0;
    for item in given.list("pods") {
        ready += u32::from(counts_as_ready(&pod(item)?, delay));
    }
    Ok(json!({ "ready": ready, "error": ready == 0 }))
}

fn group_pods(given: Given<'_>) -> Answer {
    let delay = given.seconds("readiness_delay_s")?;
    let judged = given.text("resource")? == "cpu";
    let (mut ready, mut ignored) = (0, Vec::new());
    for item in given.list("pods").filter(|p| p.maybe_bool("owned") != Some(false)) {
        let pod = pod(item)?;
        let measured = item.maybe_bool("has_sample") != Some(false);
        if pod.phase != PodPhase::Running || (measured && is_ignored(&pod, judged, delay)) {
            ignored.push(item.text("name")?);
        } else if measured {
            ready += 1;
        }
    }
    Ok(json!({ "ready": ready, "ignored": ignored }))
}

fn name(limit: Limit) -> &'static str {
    match limit {
        Limit::None => "DesiredWithinRange",
        Limit::Minimum => "TooFewReplicas",
        Limit::Maximum => "TooManyReplicas",
        Limit::Up => "ScaleUpLimit",
        Limit::Down => "ScaleDownLimit",
    }
}

fn limit(given: Given<'_>) -> Answer {
    let (desired, current, ready) = (given.int("desired")?, given.int("current")?, given.int("ready")?);
    let (count, limit) = limits(given)?.limited(desired, current, ready, range(given, "min", "max"));
    Ok(json!({ "replicas": count, "condition": name(limit) }))
}

/// For how long the condition of the wanted direction has been true.
fn held(given: Given<'_>, grows: bool, names: (&str, &str)) -> Option<Span> {
    let condition = given.maybe_object(if grows { names.0 } else { names.1 })?;
    condition.maybe_seconds("for_s").filter(|_| condition.maybe_bool("state") == Some(true))
}

fn may_scale(given: Given<'_>) -> Answer {
    let (current, desired) = (given.int("current")?, given.int("desired")?);
    let position = if given.maybe_bool("within_band") == Some(true) {
        Position::Within
    } else if desired > current {
        Position::Above
    } else {
        Position::Below
    };
    let held = held(given, desired > current, ("above", "below"));
    let since = given.maybe_seconds("since_last_scale_s");
    Ok(json!({ "scale": limits(given)?.may_change(current, desired, since, held, position) }))
}

fn reconcile(given: Given<'_>) -> Answer {
    let rule = limits(given)?;
    let current = given.int("wanted_replicas")?;
    let range = range(given, "min_replicas", "max_replicas");
    let (min, max) = (i64::from(range.min.0), i64::from(range.max.0));
    if current == 0 {
        return Ok(json!({ "replicas": 0 }));
    }
    if current > max || current < min {
        return Ok(json!({ "replicas": current.min(max).max(min) }));
    }
    let position = match (given.bool("above")?, given.bool("below")?) {
        (true, _) => Position::Above,
        (_, true) => Position::Below,
        _ => Position::Within,
    };
    let (desired, _) = rule.limited(given.int("proposed")?, current, given.int("ready")?, range);
    let held = held(given, desired > current, ("condition_above", "condition_below"));
    let since = given.maybe_seconds("since_last_scale_s");
    let may = rule.may_change(current, desired, since, held, position);
    Ok(json!({ "replicas": if may { desired } else { current } }))
}

fn fill(given: Given<'_>) -> Answer {
    let (low, high) = (mark(given.maybe_int("low_m")), mark(given.maybe_int("high_m")));
    let marks = Watermark { low, high, ..plain() }.marks();
    let milli = |level: Level| level.get() * 1000.0;
    Ok(json!({ "low_m": marks.map(|(low, _)| milli(low)), "high_m": marks.map(|(_, high)| milli(high)) }))
}

fn validate(given: Given<'_>) -> Answer {
    let mut rule = limits(given)?;
    if let Some(tolerance) = given.maybe_float("tolerance") {
        rule.tolerance = share(tolerance);
    }
    let mut problems = Vec::new();
    rule.check_limits(&Path::root(), &mut problems);
    let range = range(given, "min", "max");
    let negative = ["tolerance", "up_percent", "down_percent"]
        .iter()
        .any(|field| given.maybe_float(field).is_some_and(|value| value < 0.0));
    // A workload of headroom always has a target, and a range that is the wrong way round is refused.
    let valid = problems.is_empty() && !negative && given.bool("has_target")? && range.min <= range.max;
    Ok(json!({ "valid": valid }))
}
