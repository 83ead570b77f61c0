//! What headroom does differently on purpose, and what it does not answer, each with its reason.

/// Cases that differ on purpose: their name, and why.
pub const EXCEPTIONS: &[(&str, &str)] = &[];

const IMPORT: &str = "the shape of the peer's own declarations; headroom checks its own policy";
const METRICS: &str = "how the peer collects figures; headroom's sources and series do that";
const MACHINES: &str = "buying and returning machines is not a decision about replicas";
const JOBS: &str = "one-shot jobs started for each message; headroom keeps replicas of a workload";
const PROXY: &str = "the hand-over to the peer's queueing proxy; headroom's balancer holds requests itself";
const LOOP: &str = "the peer's own control loop and its bookkeeping; headroom has one loop for all";

/// Kinds of question that are no decision rule of headroom: the peer's prefix, the kind, and why.
pub const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("vpa", "*", "vertical recommendations are not made yet"),
    ("ca", "*", MACHINES),
    ("aws", "warm_pool", "a pool of stopped machines is not kept yet"),
    ("aws", "price_per_unit", MACHINES),
    ("aws", "weighted_scale_in", MACHINES),
    ("aws", "instances_for_target", MACHINES),
    ("aws", "diversified", MACHINES),
    ("aws", "purchase_mix", MACHINES),
    ("aws", "rebalance_margin", MACHINES),
    ("aws", "replace_at_once", MACHINES),
    ("kpa", "scale_to_zero", PROXY),
    ("kpa", "activator_count", PROXY),
    ("kpa", "initial_scale", "the count a new revision starts with; headroom scales what runs"),
    ("kpa", "sample_size", METRICS),
    ("kpa", "smoothing_coefficient", METRICS),
    ("kpa", "bucket_window", METRICS),
    ("kpa", "round_digits", METRICS),
    (
        "keda",
        "fallback",
        "a count after a number of failures; here `absent` names one by the age of the figure, and it never shrinks",
    ),
    ("keda", "modifier_trigger_value", "absence is told by age, not by a number of failures"),
    (
        "keda",
        "activation",
        "the peer's switch between zero and the HPA; headroom scales from and to zero in one rule",
    ),
    ("keda", "idle_or_min", "a count for idling beside the minimum; a schedule or the minimum says it here"),
    ("keda", "job_strategy", JOBS),
    ("keda", "job_state", JOBS),
    ("keda", "mean_target", JOBS),
    ("keda", "pending_jobs", JOBS),
    ("keda", "job_history", JOBS),
    ("keda", "job_bounds", JOBS),
    ("keda", "hpa_bounds", IMPORT),
    ("keda", "generated_hpa", "the object the peer writes for the HPA; headroom needs none"),
    ("keda", "metric_specs", "names of metrics the peer offers to the HPA; headroom needs none"),
    ("keda", "metric_target_type", IMPORT),
    ("keda", "metric_value", METRICS),
    ("keda", "prometheus_answer", METRICS),
    ("keda", "workload_activity", METRICS),
    ("keda", "validate_bounds", IMPORT),
    ("keda", "validate_fallback", IMPORT),
    ("keda", "validate_triggers", IMPORT),
    ("keda", "paused", "an annotation; headroom is frozen by a command that says who and why"),
    ("keda", "paused_replicas", "an annotation; headroom is frozen by a command that says who and why"),
    ("nomad", "check_loop", LOOP),
    ("nomad", "handler_state", LOOP),
    ("nomad", "check_run", LOOP),
    ("nomad", "on_error", LOOP),
    ("nomad", "select_nodes", MACHINES),
    ("nomad", "node_allocated", MACHINES),
    ("nomad", "group_direction", MACHINES),
    ("phpa", "holt_winters", "forecasts are chosen by their out-of-sample score, not by this formula alone"),
    (
        "phpa",
        "holt_winters_ready",
        "forecasts are chosen by their out-of-sample score, not by this formula alone",
    ),
    ("phpa", "tuning", IMPORT),
    ("phpa", "combine", "of several forecasts the best scored one counts, not their mean"),
    ("phpa", "longest_period", LOOP),
    ("phpa", "prune_seasons", METRICS),
    ("phpa", "prune_window", METRICS),
    ("wpa", "recommended", "an outside recommender's count is taken by `passThrough`, which needs no band"),
];

/// Why the case called `id` differs, if it does on purpose.
pub(crate) fn exception(id: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(name, _)| *name == id).map(|(_, why)| *why)
}

/// Why a question is not answered.
pub(crate) fn why_unsupported(family: &str, kind: &str) -> &'static str {
    UNSUPPORTED
        .iter()
        .find(|(f, k, _)| *f == family && (*k == kind || *k == "*"))
        .map_or("no such question is known", |(_, _, why)| *why)
}
