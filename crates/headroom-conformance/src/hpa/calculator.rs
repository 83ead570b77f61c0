//! The replica calculator's questions, put to `headroom_core::strategy::hpa`.

use std::collections::BTreeMap;

use headroom_core::strategy::hpa::calculator::{
    Milli, Pods, Proposal, Refused, Tolerance, by_average, by_share, by_utilization, by_value, share,
    usage_ratio, utilization,
};
use headroom_core::strategy::hpa::pods::{
    Class, Container, Pod, PodPhase, Readiness, Sampled, classify, request, usage,
};
use headroom_core::units::Span;
use serde_json::{Value, json};

use crate::{Answer, Given, Unreadable};

pub(super) fn answer(kind: &str, given: Given<'_>) -> Answer {
    match kind {
        "resource_utilization" => resource_utilization(given),
        "pods_metric" => pods_metric(given),
        "object_value" | "external_value" => value(given),
        "object_average_value" | "external_average_value" => average_value(given),
        "group_pods" => group_pods(given),
        "pod_requests" => pod_requests(given),
        "per_pod_usage" => Ok(json!({
            "usage_milli": share(given.int("usage_milli")?, given.int("status_replicas")?)
        })),
        "utilization_ratio" => utilization_ratio(given),
        _ => {
            let usages: Vec<i64> =
                given.entries("usage_milli").filter_map(|(_, v)| v.value().as_i64()).collect();
            let (sum, count) = (total(usages.iter().copied()), usages.len() as i64);
            let (ratio, mean) = usage_ratio(sum, count, given.int("target_value_milli")?);
            Ok(json!({ "ratio": ratio, "usage_milli": mean }))
        }
    }
}

/// Why a metric proposes nothing, in the peer's words.
pub(super) enum Error {
    Refused(Refused),
    MissingRequest(String),
    Unreadable(Unreadable),
}

impl From<Refused> for Error {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

impl From<Unreadable> for Error {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

impl Error {
    fn answer(self) -> Answer {
        let text = match self {
            Self::Unreadable(why) => return Err(why),
            Self::MissingRequest(text) => text,
            Self::Refused(Refused::NoPods) => {
                "no pods returned by selector while calculating replica count".to_owned()
            }
            Self::Refused(Refused::NoSamples) => {
                "did not receive metrics for targeted pods (pods might be unready)".to_owned()
            }
            Self::Refused(Refused::NoRequests) => "no metrics returned matched known pods".to_owned(),
        };
        Ok(json!({ "error_contains": text }))
    }
}

pub(super) fn tolerance(given: Given<'_>) -> Result<Tolerance, Unreadable> {
    let t = given.object("tolerance");
    Ok(Tolerance { down: t.float("scale_down")?, up: t.float("scale_up")? })
}

fn readiness(given: Given<'_>) -> Result<Readiness, Unreadable> {
    Ok(Readiness {
        initialization: given.seconds("cpu_initialization_period_s")?,
        initial_delay: given.seconds("initial_readiness_delay_s")?,
    })
}

fn pod(given: Given<'_>) -> Result<Pod, Unreadable> {
    Ok(Pod {
        phase: match given.text("phase")? {
            "Pending" => PodPhase::Pending,
            "Failed" | "Succeeded" => PodPhase::Ended,
            _ => PodPhase::Running,
        },
        deleting: given.maybe_bool("deleting").unwrap_or(false),
        ready: given.maybe_bool("ready"),
        started: given.maybe_seconds("start_age_s"),
        ready_changed: given.maybe_seconds("ready_transition_age_s"),
    })
}

/// What a sample says of a pod: its usage, its age and window.
struct Sample {
    usage: Milli,
    sampled: Sampled,
}

/// The samples by pod; one with a container that counts but has no figure is none.
fn samples<'a>(list: impl Iterator<Item = Given<'a>>, container: Option<&str>) -> BTreeMap<&'a str, Sample> {
    list.filter_map(|s| {
        let usage = match s.maybe_int("value_milli") {
            Some(value) => value,
            None => {
                let containers = s
                    .entries("containers_milli")
                    .map(|(name, amount)| Container { name, amount: amount.value().as_i64() });
                usage(containers, container)?
            }
        };
        let sampled = Sampled {
            age: s.maybe_seconds("age_s").unwrap_or(Span::ZERO),
            window: s.maybe_seconds("window_s").unwrap_or(Span::ZERO),
        };
        Some((s.text("pod").ok()?, Sample { usage, sampled }))
    })
    .collect()
}

fn requests_of<'a>(pod: Given<'a>, container: Option<&str>, pod_level: bool) -> Result<Milli, String> {
    let fixed = pod.list("containers");
    let restarted = pod.list("init_containers").filter(|c| c.maybe_bool("restart_always") == Some(true));
    let containers = fixed.chain(restarted).map(|c| Container {
        name: c.maybe_text("name").unwrap_or_default(),
        amount: c.maybe_int("request_milli"),
    });
    let whole = pod.maybe_int("pod_level_request_milli").filter(|_| pod_level);
    request(whole, containers, container).map_err(|missing| missing.container)
}

/// The pods as the engine counts them. Requests matter only where `with_requests`.
pub(super) fn group(
    given: Given<'_>,
    metric: Given<'_>,
    judged: bool,
    with_requests: bool,
) -> Result<Pods, Error> {
    let container = metric.maybe_text("container");
    let samples = samples(metric.list("samples"), container);
    let readiness = readiness(given)?;
    let readiness = judged.then_some(&readiness);
    let mut pods = Pods::default();
    let mut known = Vec::new();
    let resource = metric.maybe_text("resource").unwrap_or("cpu");
    for item in given.list("pods") {
        let name = item.text("name")?;
        known.push(name);
        let request = if with_requests {
            requests_of(item, container, false).map_err(|container| {
                Error::MissingRequest(format!(
                    "missing request for {resource} in container {container} of Pod {name}"
                ))
            })?
        } else {
            0
        };
        let sample = samples.get(name);
        match classify(&pod(item)?, sample.map(|s| s.sampled), readiness) {
            Class::Ready => pods.add_ready(sample.map_or(0, |s| s.usage), request),
            Class::Unready => pods.add_unready(request),
            Class::Missing => pods.missing.push(request),
            Class::Ignored => {}
        }
    }
    if known.is_empty() {
        return Err(Refused::NoPods.into());
    }
    for (name, sample) in samples {
        if !known.contains(&name) {
            pods.add_sample(sample.usage, None);
        }
    }
    Ok(pods)
}

fn proposed(proposal: Result<Proposal, Error>, name: &str) -> Answer {
    match proposal {
        Ok(p) => Ok(json!({ "replicas": p.replicas, name: p.value, "average_value_milli": p.average })),
        Err(why) => why.answer(),
    }
}

fn resource_utilization(given: Given<'_>) -> Answer {
    let judged = given.text("resource")? == "cpu";
    let (current, target) = (given.int("current_replicas")?, given.int("target_utilization_percent")?);
    let tolerance = tolerance(given)?;
    let proposal = group(given, given, judged, true)
        .and_then(|pods| Ok(by_utilization(current, target, tolerance, &pods)?));
    proposed(proposal, "utilization_percent")
}

fn pods_metric(given: Given<'_>) -> Answer {
    let (current, target) = (given.int("current_replicas")?, given.int("target_value_milli")?);
    let tolerance = tolerance(given)?;
    let proposal =
        group(given, given, false, false).and_then(|pods| Ok(by_average(current, target, tolerance, &pods)?));
    proposed(proposal, "usage_milli")
}

pub(super) fn total(values: impl IntoIterator<Item = i64>) -> i64 {
    values.into_iter().fold(0, i64::saturating_add)
}

/// Pods that run and say that they are ready.
pub(super) fn ready_count(given: Given<'_>) -> Result<i64, Error> {
    let mut pods = given.list("pods").peekable();
    if pods.peek().is_none() {
        return Err(Refused::NoPods.into());
    }
    let ready =
        pods.filter(|p| p.maybe_text("phase") == Some("Running") && p.maybe_bool("ready") == Some(true));
    Ok(ready.count() as i64)
}

fn value(given: Given<'_>) -> Answer {
    let (current, target) = (given.int("current_replicas")?, given.int("target_value_milli")?);
    let usage = total(given.ints("values_milli"));
    let tolerance = tolerance(given)?;
    let ready = if current == 0 { Ok(0) } else { ready_count(given) };
    match ready {
        Ok(ready) => {
            let p = by_value(current, usage, target, tolerance, ready);
            Ok(json!({ "replicas": p.replicas, "usage_milli": p.value }))
        }
        Err(why) => why.answer(),
    }
}

fn average_value(given: Given<'_>) -> Answer {
    let reported = given.int("current_replicas")?;
    let usage = total(given.ints("values_milli"));
    let p = by_share(reported, usage, given.int("target_value_milli")?, tolerance(given)?);
    Ok(json!({ "replicas": p.replicas, "usage_milli": p.value }))
}

fn group_pods(given: Given<'_>) -> Answer {
    let samples = samples(given.list("samples"), None);
    let rule = readiness(given)?;
    let readiness = (given.text("resource")? == "cpu").then_some(&rule);
    let mut names: BTreeMap<Class, Vec<&str>> = BTreeMap::new();
    for item in given.list("pods") {
        let name = item.text("name")?;
        let class = classify(&pod(item)?, samples.get(name).map(|s| s.sampled), readiness);
        names.entry(class).or_default().push(name);
    }
    let of = |class| names.get(&class).cloned().unwrap_or_default();
    Ok(json!({
        "ready_count": of(Class::Ready).len(),
        "unready": of(Class::Unready),
        "missing": of(Class::Missing),
        "ignored": of(Class::Ignored),
    }))
}

fn pod_requests(given: Given<'_>) -> Answer {
    let pod_level = given.bool("pod_level_resources_enabled")?;
    let container = given.maybe_text("container");
    let resource = given.text("resource")?;
    let mut sums = serde_json::Map::new();
    for pod in given.list("pods") {
        let name = pod.text("name")?;
        match requests_of(pod, container, pod_level) {
            Ok(sum) => sums.insert(name.to_owned(), Value::from(sum)),
            Err(container) => {
                let text = format!("missing request for {resource} in container {container} of Pod {name}");
                return Ok(json!({ "error_contains": text }));
            }
        };
    }
    Ok(json!({ "requests_milli": sums }))
}

fn utilization_ratio(given: Given<'_>) -> Answer {
    let requests: BTreeMap<&str, i64> =
        given.entries("requests_milli").filter_map(|(name, v)| Some((name, v.value().as_i64()?))).collect();
    let mut pods = Pods::default();
    for (name, usage) in given.entries("usage_milli") {
        if let Some(usage) = usage.value().as_i64() {
            pods.add_sample(usage, requests.get(name).copied());
        }
    }
    match utilization(&pods, given.int("target_utilization_percent")?) {
        Ok(u) => Ok(json!({
            "ratio": u.ratio, "utilization_percent": u.percent, "average_value_milli": u.average
        })),
        Err(why) => Error::from(why).answer(),
    }
}
