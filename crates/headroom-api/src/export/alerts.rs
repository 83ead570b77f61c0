//! Prometheus' alert rules, for those whose alerts come from there rather than from `spec.notify`.
//!
//! The waits are long enough that what headroom mends by itself (a start, a retry, a short gap) wakes nobody.

use serde_json::{Value, json};

/// A rule: name, severity, expression, wait, summary, and what to do next.
struct Rule {
    name: &'static str,
    severity: &'static str,
    expr: &'static str,
    wait: &'static str,
    summary: &'static str,
    next: &'static str,
}

/// B15's levels: `high` wakes people, `medium` is for the working day.
const RULES: &[Rule] = &[
    Rule {
        name: "HeadroomDown",
        severity: "high",
        expr: "up{job=\"headroom\"} == 0",
        wait: "1m",
        summary: "The controller at {{ $labels.instance }} can't be read; replicas go on, nothing scales",
        next: "start it again with `headroom run`; it continues where its journal ends",
    },
    Rule {
        name: "HeadroomCpuHigh",
        severity: "high",
        // B15: over 90 %. A second or two over it is what a replica is for; a minute is not.
        expr: "headroom_signal_value{unit=\"ratio\",signal=~\"cpu.*\"} > 0.9",
        wait: "1m",
        summary: "{{ $labels.workload }}: {{ $labels.signal }} is {{ $value | humanizePercentage }}",
        next: "headroom why-not {{ $labels.workload }}",
    },
    Rule {
        name: "HeadroomScalingFails",
        severity: "high",
        expr: "increase(headroom_actions_total{result=\"failed\"}[5m]) > 0",
        wait: "0s",
        summary: "{{ $labels.workload }}: the target does not do what it is asked for",
        next: "headroom doctor",
    },
    Rule {
        name: "HeadroomScalingStuck",
        severity: "high",
        // Longer than any start-up time that is still of use for reacting.
        expr: "headroom_replicas_desired - on(instance, workload) headroom_replicas{state=\"ready\"} > 0",
        wait: "10m",
        summary: "{{ $labels.workload }}: {{ $value }} replicas that were asked for are not ready",
        next: "headroom doctor; then the output of the replicas",
    },
    Rule {
        name: "HeadroomSourceOutage",
        severity: "high",
        expr: "headroom_signal_up == 0",
        wait: "1m",
        summary: "{{ $labels.workload }}: the signal {{ $labels.signal }} can't be read, so nothing shrinks on it",
        next: "headroom doctor",
    },
    Rule {
        name: "HeadroomTargetUnseen",
        severity: "high",
        expr: "headroom_target_age_seconds > 30",
        wait: "1m",
        summary: "{{ $labels.workload }}: its target has not been seen for {{ $value | humanizeDuration }}",
        next: "headroom doctor",
    },
    Rule {
        name: "HeadroomAtMaximum",
        severity: "medium",
        expr: "headroom_guard_bound{guard=\"bounds\",reason=\"at-maximum\"} == 1",
        wait: "10m",
        summary: "{{ $labels.workload }} needs more replicas than its maximum allows",
        next: "raise replicas.max, or find out who sends so much",
    },
    Rule {
        name: "HeadroomFlapping",
        severity: "medium",
        // Six changes in half an hour: one every five minutes, faster than the usual stabilisation window.
        expr: "changes(headroom_replicas_desired[30m]) > 6",
        wait: "5m",
        summary: "{{ $labels.workload }} changed {{ $value }} times in half an hour",
        next: "lengthen behavior.scaleDown.stabilization, or set guards.flapping",
    },
    Rule {
        name: "HeadroomFrozen",
        severity: "medium",
        expr: "headroom_frozen == 1",
        // A freeze is made for an evening; one that lasts a day was forgotten.
        wait: "1d",
        summary: "{{ $labels.workload }} has been frozen for more than a day",
        next: "headroom thaw {{ $labels.workload }}",
    },
    Rule {
        name: "HeadroomIdleResources",
        severity: "medium",
        // B15. It is a day old when it is raised.
        expr: "headroom_alerts{kind=\"idle-resources\"} > 0",
        wait: "0s",
        summary: "{{ $value }} workloads have a minimum of which little was needed for a day",
        next: "headroom report; then lower replicas.min",
    },
    Rule {
        name: "HeadroomNotTold",
        severity: "medium",
        // Longer than any grouping, and than the pauses after a hiccup.
        expr: "headroom_notifications_waiting > 0",
        wait: "10m",
        summary: "{{ $labels.notifier }}: {{ $value }} messages can't be delivered",
        next: "headroom doctor",
    },
    Rule {
        name: "HeadroomJournalFails",
        severity: "high",
        expr: "increase(headroom_journal_commit_failures_total[5m]) > 0",
        wait: "1m",
        summary: "The journal can't be written, so nothing is changed",
        next: "free space in the data directory",
    },
    Rule {
        name: "HeadroomTickSlow",
        severity: "medium",
        // A round that takes half of the second it has.
        expr: "histogram_quantile(0.99, rate(headroom_tick_duration_seconds_bucket[5m])) > 0.5",
        wait: "10m",
        summary: "The controller takes {{ $value | humanizeDuration }} for a round",
        next: "give it more processor time, or split the fleet",
    },
];

/// The rules, as the content of a rule file: JSON, which is YAML.
#[must_use]
pub fn alert_rules() -> Value {
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| {
            json!({
                "alert": rule.name,
                "expr": rule.expr,
                "for": rule.wait,
                "labels": { "severity": rule.severity },
                "annotations": { "summary": rule.summary, "next": rule.next }
            })
        })
        .collect();
    json!({ "groups": [{ "name": "headroom", "rules": rules }] })
}
