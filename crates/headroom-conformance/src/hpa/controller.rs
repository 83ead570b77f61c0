//! One pass of the peer's control loop, made of headroom's rules in the peer's order: metrics, the highest of their
//! proposals, stabilisation, speed and bounds. The conditions are the peer's names for headroom's reasons.

use std::collections::BTreeMap;

use headroom_core::context::Direction;
use headroom_core::fleet::ScalingRules;
use headroom_core::guard::velocity::Moved;
use headroom_core::strategy::hpa::calculator::{
    Tolerance, by_average, by_share, by_utilization, by_value, highest,
};
use headroom_core::units::Span;
use serde_json::{Value, json};

use super::calculator::{Error, group, ready_count, tolerance, total};
use super::rules;
use crate::{Answer, Given, Unreadable};

/// What the peer's status says in the end.
#[derive(Default)]
struct Pass {
    conditions: BTreeMap<&'static str, Value>,
    cpu: Option<i64>,
}

impl Pass {
    fn set(&mut self, name: &'static str, status: bool, reason: &str) {
        self.conditions.insert(name, json!({ "status": status, "reason": reason }));
    }

    fn ends(self, desired: i64, written: bool, error: bool) -> Answer {
        Ok(json!({
            "desired_replicas": desired,
            "scale_written": written,
            "conditions": self.conditions,
            "cpu_utilization_percent": self.cpu,
            "error": error,
            "status_written": true,
        }))
    }
}

/// Why a metric proposes nothing: the peer's reason, or an input that can't be read.
enum Invalid {
    Because(&'static str),
    Unreadable(Unreadable),
}

impl From<Unreadable> for Invalid {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

struct Behavior {
    up: ScalingRules,
    down: ScalingRules,
    tolerance: Tolerance,
}

fn behavior(given: Given<'_>) -> Result<Behavior, Unreadable> {
    let general = tolerance(given)?;
    let Some(written) = given.maybe_object("behavior") else {
        let (up, down) = (rules::legacy(given)?, ScalingRules::default());
        return Ok(Behavior { up, down, tolerance: general });
    };
    let (up, down) = (written.maybe_object("scale_up"), written.maybe_object("scale_down"));
    let own = |rules: Option<Given<'_>>, general| {
        let own = rules.and_then(|r| r.maybe_float("tolerance"));
        own.filter(|_| given.maybe_bool("configurable_tolerance_enabled") == Some(true)).unwrap_or(general)
    };
    Ok(Behavior {
        up: rules::rules(up, Direction::Up)?,
        down: rules::rules(down, Direction::Down)?,
        tolerance: Tolerance { down: own(down, general.down), up: own(up, general.up) },
    })
}

pub(super) fn reconcile(given: Given<'_>) -> Answer {
    let mut pass = Pass::default();
    let spec = given.int("spec_replicas")?;
    let fault = given.maybe_text("fault").unwrap_or("none");
    if fault == "scale_get_error" {
        pass.set("AbleToScale", false, "FailedGetScale");
        return pass.ends(spec, false, true);
    }
    pass.set("AbleToScale", true, "SucceededGetScale");
    let range = rules::range(given)?;
    let (min, max) = (i64::from(range.min.0), i64::from(range.max.0));
    let to_zero = given.bool("scale_to_zero_enabled")?;
    let by_us = to_zero && given.bool("was_scaled_to_zero_by_autoscaler")?;
    if spec == 0 && (min != 0 || !by_us) {
        pass.set("ScalingActive", false, "ScalingDisabled");
        return pass.ends(0, false, false);
    }
    let mut error = false;
    let desired = if spec > max {
        max
    } else if spec < min {
        min
    } else {
        let refused = match fault {
            "selector_missing" | "selector_unparsable" => Some("InvalidSelector"),
            "other_hpa_same_selector" | "other_hpa_selects_same_pods" => Some("AmbiguousSelector"),
            _ => None,
        };
        if let Some(reason) = refused {
            pass.set("ScalingActive", false, reason);
            return pass.ends(spec, false, true);
        }
        let behavior = behavior(given)?;
        let mut proposals = Vec::new();
        for metric in given.list("metrics") {
            match propose(given, metric, spec, behavior.tolerance, fault, &mut pass) {
                Err(Invalid::Unreadable(why)) => return Err(why),
                Err(Invalid::Because(reason)) => {
                    error = true;
                    proposals.push(Err(reason));
                }
                Ok(count) => proposals.push(Ok(count)),
            }
        }
        match highest(spec, proposals) {
            Err(reason) => {
                pass.set("ScalingActive", false, reason);
                return pass.ends(spec, false, true);
            }
            Ok((_, count)) => {
                pass.set("ScalingActive", true, "ValidMetricFound");
                normalize(given, spec, count, &behavior, &mut pass)?
            }
        }
    };
    if desired == spec {
        return pass.ends(spec, false, error);
    }
    if fault == "scale_update_error" {
        pass.set("AbleToScale", false, "FailedUpdateScale");
        return pass.ends(spec, false, true);
    }
    pass.set("AbleToScale", true, "SucceededRescale");
    if to_zero {
        let reason = if desired == 0 { "ScaledToZero" } else { "NotScaledToZero" };
        pass.set("ScaledToZero", desired == 0, reason);
    }
    pass.ends(desired, true, error)
}

/// Stabilisation, then speed and bounds.
fn normalize(
    given: Given<'_>,
    spec: i64,
    count: i64,
    behavior: &Behavior,
    pass: &mut Pass,
) -> Result<i64, Unreadable> {
    let window = given.seconds("downscale_stabilization_s")?;
    let mut past = rules::recommendations(given)?;
    if !given.has("recommendations") {
        // Nothing is known of the past, so the present count stands for it.
        past.push((Span::ZERO, u32::try_from(spec).unwrap_or(u32::MAX)));
    }
    let up = behavior.up.stabilization.unwrap_or(Span::ZERO);
    let (highest, lowest) = rules::windows(&past, up, behavior.down.stabilization.unwrap_or(window));
    let stabilised = rules::stabilized(spec, count, &highest, &lowest);
    let reason = match () {
        () if stabilised == count => "ReadyForNewScale",
        () if count > spec => "ScaleUpStabilized",
        () => "ScaleDownStabilized",
    };
    pass.set("AbleToScale", true, reason);
    let range = rules::range(given)?;
    // A case tells no past changes, so nothing moved within any period.
    let (desired, limit) =
        rules::limited(spec, stabilised, range, &behavior.up, &behavior.down, |_| Moved::default());
    pass.set("ScalingLimited", desired != stabilised, limit);
    Ok(desired)
}

fn propose(
    given: Given<'_>,
    metric: Given<'_>,
    spec: i64,
    tolerance: Tolerance,
    fault: &str,
    pass: &mut Pass,
) -> Result<i64, Invalid> {
    let failed = match metric.text("type")? {
        "resource" => "FailedGetResourceMetric",
        "container_resource" => "FailedGetContainerResourceMetric",
        "pods" => "FailedGetPodsMetric",
        "object" => "FailedGetObjectMetric",
        "external" => "FailedGetExternalMetric",
        _ => return Err(Invalid::Because("InvalidMetricSourceType")),
    };
    let is_external = failed == "FailedGetExternalMetric";
    if fault == "metrics_error" || (fault == "external_metrics_error" && is_external) {
        return Err(Invalid::Because(failed));
    }
    let refused = |why| match why {
        Error::Unreadable(why) => Invalid::Unreadable(why),
        Error::Refused(_) | Error::MissingRequest(_) => Invalid::Because(failed),
    };
    let of_pods = metric.has("samples") || !(is_external || failed == "FailedGetObjectMetric");
    if of_pods {
        let judged = metric.maybe_text("resource") == Some("cpu");
        if let Some(percent) = metric.maybe_int("target_utilization_percent") {
            let pods = group(given, metric, judged, true).map_err(refused)?;
            let p = by_utilization(spec, percent, tolerance, &pods).map_err(|e| refused(e.into()))?;
            if judged {
                pass.cpu = Some(p.value);
            }
            return Ok(p.replicas);
        }
        let target = metric.int("target_average_value_milli")?;
        let pods = group(given, metric, judged, false).map_err(refused)?;
        return Ok(by_average(spec, target, tolerance, &pods).map_err(|e| refused(e.into()))?.replicas);
    }
    let usage = match metric.maybe_int("value_milli") {
        Some(value) => value,
        None => total(metric.ints("values_milli")),
    };
    if let Some(target) = metric.maybe_int("target_average_value_milli") {
        return Ok(by_share(given.int("status_replicas")?, usage, target, tolerance).replicas);
    }
    let ready = if spec == 0 { 0 } else { ready_count(given).map_err(refused)? };
    Ok(by_value(spec, usage, metric.int("target_value_milli")?, tolerance, ready).replicas)
}
