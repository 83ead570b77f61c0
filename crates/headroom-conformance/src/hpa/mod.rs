//! The Horizontal Pod Autoscaler: its calculator, its controller, and closed loops.

mod calculator;
mod closed_loop;
mod controller;
mod rules;

use crate::{Answer, Given};

pub(crate) use rules::{limited, rules, stabilized, windows};

pub(crate) fn answer(kind: &str, given: Given<'_>) -> Option<Answer> {
    Some(match kind {
        "resource_utilization"
        | "pods_metric"
        | "object_value"
        | "external_value"
        | "object_average_value"
        | "external_average_value"
        | "group_pods"
        | "pod_requests"
        | "per_pod_usage"
        | "utilization_ratio"
        | "usage_ratio" => calculator::answer(kind, given),
        "reconcile" => controller::reconcile(given),
        "convert" => rules::convert(given),
        "rate_limit" => rules::rate_limit(given),
        "stabilize" => rules::stabilize(given),
        "stabilize_legacy" => rules::stabilize_legacy(given),
        "store_event" => rules::store_event(given),
        "default_rules" => rules::default_rules(given),
        "closed_loop" => closed_loop::answer(given),
        _ => return None,
    })
}
