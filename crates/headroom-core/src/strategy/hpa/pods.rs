//! Which pods count, and what they request: the HPA's rules.
//!
//! A pod that is going away or has ended is ignored; one that waits for a machine is not ready; one without a
//! sample is missing. For CPU, whose figures during start-up say nothing about load, a pod is also not ready
//! while it is within its initialisation period and unready or not yet measured for a whole window since it
//! became ready, and later if it has never been ready.

use crate::units::Span;

use super::calculator::Milli;

/// The phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Not placed or not started yet.
    Pending,
    /// Runs, or nobody knows.
    Running,
    /// Ended, well or not.
    Ended,
}

/// What is known of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its phase.
    pub phase: PodPhase,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it says that it is ready; `None` if it says nothing.
    pub ready: Option<bool>,
    /// How long ago it started; `None` if it has not.
    pub started: Option<Span>,
    /// How long ago its word on readiness last changed.
    pub ready_changed: Option<Span>,
}

/// A sample's age and the stretch it averages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// How old it is.
    pub age: Span,
    /// Over how long it averages.
    pub window: Span,
}

/// When a starting pod's CPU is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// How long a pod's CPU may be that of its start (HPA: 5 min).
    pub initialization: Span,
    /// A pod whose readiness last changed within this after its start has never been ready (HPA: 30 s).
    pub initial_delay: Span,
}

impl Default for Readiness {
    /// The defaults of the Kubernetes controller manager.
    fn default() -> Self {
        Self { initialization: Span::minutes(5), initial_delay: Span::seconds(30) }
    }
}

/// How a pod counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// With its sample.
    Ready,
    /// As idle when growing, not at all when shrinking.
    Unready,
    /// On the careful side, for want of a sample.
    Missing,
    /// Not at all.
    Ignored,
}

/// How `pod` counts; `readiness` is given for CPU only.
#[must_use]
pub fn classify(pod: &Pod, sample: Option<Sampled>, readiness: Option<&Readiness>) -> Class {
    if pod.deleting || pod.phase == PodPhase::Ended {
        return Class::Ignored;
    }
    if pod.phase == PodPhase::Pending {
        return Class::Unready;
    }
    let Some(sample) = sample else { return Class::Missing };
    let Some(readiness) = readiness else { return Class::Ready };
    let (Some(ready), Some(started)) = (pod.ready, pod.started) else { return Class::Unready };
    let changed = pod.ready_changed.unwrap_or(started);
    let unready = if started < readiness.initialization {
        !ready || sample.age.plus(sample.window) > changed
    } else {
        !ready && started < changed.plus(readiness.initial_delay)
    };
    if unready { Class::Unready } else { Class::Ready }
}

/// A container's request, or its usage in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container<'a> {
    /// Its name.
    pub name: &'a str,
    /// The amount; `None` where none is declared or measured.
    pub amount: Option<Milli>,
}

/// A container declares no request, so no share of it can be reckoned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "container {container} declares no request; declare one, or use an average value instead of a utilisation"
)]
pub struct MissingRequest {
    /// Which container.
    pub container: String,
}

/// What a pod requests: for the pod as a whole where it declares that, else the sum over its containers (and the
/// init containers that keep running), or one container's request where `only` names it.
///
/// # Errors
/// [`MissingRequest`] where a container that counts declares none.
pub fn request<'a>(
    whole: Option<Milli>,
    containers: impl IntoIterator<Item = Container<'a>>,
    only: Option<&str>,
) -> Result<Milli, MissingRequest> {
    if let (Some(whole), None) = (whole, only) {
        return Ok(whole);
    }
    let mut sum: Milli = 0;
    for container in containers.into_iter().filter(|c| only.is_none_or(|name| name == c.name)) {
        let amount =
            container.amount.ok_or_else(|| MissingRequest { container: container.name.to_owned() })?;
        sum = sum.saturating_add(amount);
    }
    Ok(sum)
}

/// What a sample says a pod uses: the sum over its containers, or one container's where `only` names it. `None` where
/// one that counts has no figure: the pod then is without a sample.
#[must_use]
pub fn usage<'a>(containers: impl IntoIterator<Item = Container<'a>>, only: Option<&str>) -> Option<Milli> {
    let mut sum: Milli = 0;
    let mut found = only.is_none();
    for container in containers.into_iter().filter(|c| only.is_none_or(|name| name == c.name)) {
        found = true;
        sum = sum.saturating_add(container.amount?);
    }
    found.then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(ready: Option<bool>, started: u64, changed: u64) -> Pod {
        Pod {
            phase: PodPhase::Running,
            deleting: false,
            ready,
            started: Some(Span::seconds(started)),
            ready_changed: Some(Span::seconds(changed)),
        }
    }

    /// A4: the edges of the rule for CPU during start-up.
    #[test]
    fn a_starting_pods_cpu_is_not_trusted() {
        let rule = Readiness { initialization: Span::seconds(120), initial_delay: Span::seconds(10) };
        let sample = |age, window| Some(Sampled { age: Span::seconds(age), window: Span::seconds(window) });
        for (pod, sample, expected) in [
            (running(Some(true), 60, 30), sample(0, 30), Class::Ready), // exactly one window since it is ready
            (running(Some(true), 60, 29), sample(0, 30), Class::Unready),
            (running(Some(false), 60, 50), sample(0, 30), Class::Unready),
            (running(Some(true), 120, 1), sample(0, 30), Class::Ready), // the period is over
            (running(Some(false), 180, 170), sample(0, 30), Class::Ready), // was ready once
            (running(Some(false), 180, 171), sample(0, 30), Class::Unready), // never was
            (running(None, 180, 180), sample(0, 30), Class::Unready),
            (running(Some(true), 180, 180), None, Class::Missing),
        ] {
            assert_eq!(classify(&pod, sample, Some(&rule)), expected, "{pod:?}");
        }
        assert_eq!(classify(&running(Some(false), 1, 1), sample(0, 30), None), Class::Ready, "CPU only");
    }

    /// A4: one container without a figure leaves the pod without a sample, unless another container is asked for.
    #[test]
    fn a_sample_missing_for_one_container_is_a_missing_sample() {
        let half =
            [Container { name: "app", amount: Some(300) }, Container { name: "sidecar", amount: None }];
        assert_eq!(usage(half, None), None);
        assert_eq!(usage(half, Some("app")), Some(300));
        assert_eq!(usage(half, Some("gone")), None);
        assert!(request(None, half, None).is_err());
        assert_eq!(request(None, half, Some("app")), Ok(300));
        assert_eq!(request(Some(800), half, None), Ok(800));
    }
}
