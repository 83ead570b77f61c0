//! The arithmetic of the Horizontal Pod Autoscaler, to the last digit.
//!
//! People who bring an HPA expect its answers, so this follows the replica calculator of Kubernetes where it
//! matters: amounts are whole thousandths, utilisation is whole per cent and *truncated*, the band of tolerance is
//! closed and has no slack for rounding, growth starts from the *ready* pods, pods without a sample count as
//! idle when growing and as busy when shrinking, and pods that are not ready yet count as idle when growing and
//! not at all when shrinking. Sums saturate instead of wrapping.
//!
//! Sources: [algorithm details](https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details)
//! and the peer's test tables (`headroom-conformance`). The live strategy ([`super::Hpa`]) calls these functions
//! and nothing else.

/// Amounts in thousandths, as the HPA reckons: 1500 is 1.5 requests a second, or 1.5 cores.
pub type Milli = i64;

/// The most replicas the HPA can name.
pub const MOST: i64 = i32::MAX as i64;

/// How far a ratio may be from 1 without a change. The edges themselves change nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Below 1: 0.1 keeps everything down to a ratio of 0.9.
    pub down: f64,
    /// Above 1: 0.1 keeps everything up to a ratio of 1.1.
    pub up: f64,
}

impl Tolerance {
    /// Whether `ratio` is near enough to 1 that nothing changes. A NaN is not.
    #[must_use]
    pub fn keeps(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What was measured of a workload's pods for one metric, as sums: all the HPA needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Pods that are ready and have a sample.
    pub ready: i64,
    /// Samples that count, those of pods nobody knows included.
    pub samples: i64,
    /// The usage of all samples that count.
    pub usage: Milli,
    /// Samples whose pod is known, and so its request.
    pub known: i64,
    /// The usage of the known samples.
    pub known_usage: Milli,
    /// What the known samples' pods request.
    pub known_requests: Milli,
    /// What each pod without a sample requests (0 where requests don't matter).
    pub missing: Vec<Milli>,
    /// How many pods are not ready yet.
    pub unready: i64,
    /// What the pods that are not ready yet request together.
    pub unready_requests: Milli,
}

impl Pods {
    /// Takes in a ready pod's sample.
    pub fn add_ready(&mut self, usage: Milli, request: Milli) {
        self.ready += 1;
        self.add_sample(usage, Some(request));
    }

    /// Takes in a sample that counts; `request` is `None` for a pod nobody knows.
    pub fn add_sample(&mut self, usage: Milli, request: Option<Milli>) {
        self.samples += 1;
        self.usage = self.usage.saturating_add(usage);
        if let Some(request) = request {
            self.known += 1;
            self.known_usage = self.known_usage.saturating_add(usage);
            self.known_requests = self.known_requests.saturating_add(request);
        }
    }

    /// Takes in a pod that is not ready yet.
    pub fn add_unready(&mut self, request: Milli) {
        self.unready += 1;
        self.unready_requests = self.unready_requests.saturating_add(request);
    }
}

/// A metric's proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// So many replicas.
    pub replicas: i64,
    /// The value the proposal rests on, before missing and unready pods are reckoned in: whole per cent for a
    /// utilisation, thousandths otherwise, truncated.
    pub value: i64,
    /// The mean raw usage of a pod, truncated; the same as `value` but for a utilisation.
    pub average: Milli,
    /// The ratio of value to target that decided, after missing and unready pods were reckoned in.
    pub ratio: f64,
}

/// Why a metric proposes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No pod at all.
    #[error("there are no pods to reckon with")]
    NoPods,
    /// No sample of a ready pod.
    #[error("no sample of a ready pod; the pods might not be ready yet")]
    NoSamples,
    /// No sample belongs to a pod that requests something.
    #[error("no sample belongs to a pod whose request is known")]
    NoRequests,
}

/// `usage ÷ requests` in whole per cent against a target in whole per cent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Utilization {
    /// Utilisation over target.
    pub ratio: f64,
    /// Whole per cent, truncated.
    pub percent: i64,
    /// Mean usage of a pod, truncated.
    pub average: Milli,
}

/// The utilisation of the samples whose pods are known.
///
/// # Errors
/// [`Refused::NoRequests`] where they request nothing together.
pub fn utilization(pods: &Pods, target_percent: i64) -> Result<Utilization, Refused> {
    if pods.known_requests == 0 || pods.known == 0 {
        return Err(Refused::NoRequests);
    }
    let percent = i128::from(pods.known_usage) * 100 / i128::from(pods.known_requests);
    let percent = i64::try_from(percent).unwrap_or(i64::MAX).min(MOST);
    Ok(Utilization {
        ratio: float(percent) / float(target_percent),
        percent,
        average: pods.known_usage / pods.known,
    })
}

/// The mean of all samples over `target`, and that mean, truncated.
#[must_use]
pub fn usage_ratio(usage: Milli, samples: i64, target: Milli) -> (f64, Milli) {
    let mean = usage.checked_div(samples).unwrap_or(0);
    (float(mean) / float(target), mean)
}

/// A share of what pods request, brought to `target_percent` (resource metrics with a utilisation).
///
/// # Errors
/// Why nothing is proposed.
pub fn by_utilization(
    current: i64,
    target_percent: i64,
    tolerance: Tolerance,
    pods: &Pods,
) -> Result<Proposal, Refused> {
    if pods.samples == 0 {
        return Err(Refused::NoSamples);
    }
    let seen = utilization(pods, target_percent)?;
    let propose = |replicas, ratio| Proposal { replicas, value: seen.percent, average: seen.average, ratio };
    let unready_count = pods.unready > 0 && seen.ratio > 1.0;
    if !unready_count && pods.missing.is_empty() {
        let replicas = if tolerance.keeps(seen.ratio) { current } else { times(seen.ratio, pods.ready) };
        return Ok(propose(replicas, seen.ratio));
    }
    let mut all = pods.clone();
    // A pod without a sample is as busy as can be when shrinking, and idle when growing; at a ratio of exactly 1
    // it is left out.
    let fallback = target_percent.max(100);
    for request in &pods.missing {
        if seen.ratio < 1.0 {
            all.add_sample(request.saturating_mul(fallback) / 100, Some(*request));
        } else if seen.ratio > 1.0 {
            all.add_sample(0, Some(*request));
        }
    }
    if unready_count {
        all.samples += pods.unready;
        all.known += pods.unready;
        all.known_requests = all.known_requests.saturating_add(pods.unready_requests);
    }
    let again = utilization(&all, target_percent)?;
    Ok(propose(settle(current, tolerance, seen.ratio, again.ratio, all.samples), again.ratio))
}

/// What each pod shows, brought to `target` on average (pods metrics, and resource metrics with an average value).
///
/// # Errors
/// Why nothing is proposed.
pub fn by_average(
    current: i64,
    target: Milli,
    tolerance: Tolerance,
    pods: &Pods,
) -> Result<Proposal, Refused> {
    if pods.samples == 0 {
        return Err(Refused::NoSamples);
    }
    let (ratio, mean) = usage_ratio(pods.usage, pods.samples, target);
    let propose = |replicas, ratio| Proposal { replicas, value: mean, average: mean, ratio };
    let unready_count = pods.unready > 0 && ratio > 1.0;
    if !unready_count && pods.missing.is_empty() {
        let replicas = if tolerance.keeps(ratio) { current } else { times(ratio, pods.ready) };
        return Ok(propose(replicas, ratio));
    }
    let assumed = if ratio < 1.0 { target } else { 0 };
    let missing = i64::try_from(pods.missing.len()).unwrap_or(i64::MAX);
    let usage = pods.usage.saturating_add(assumed.saturating_mul(missing));
    let samples = pods.samples + missing + if unready_count { pods.unready } else { 0 };
    let (again, _) = usage_ratio(usage, samples, target);
    Ok(propose(settle(current, tolerance, ratio, again, samples), again))
}

/// One value for the whole workload, brought to `target` (object and external metrics with a value).
#[must_use]
pub fn by_value(current: i64, usage: Milli, target: Milli, tolerance: Tolerance, ready: i64) -> Proposal {
    let ratio = float(usage) / float(target);
    let replicas = if current == 0 {
        // From zero the tolerance does not apply: the ratio itself is the count.
        times(ratio, 1)
    } else if tolerance.keeps(ratio) {
        current
    } else {
        times(ratio, ready)
    };
    Proposal { replicas, value: usage, average: usage, ratio }
}

/// One value for the whole workload, shared out (object and external metrics with an average value). `reported` is
/// the count the target reports, not the count asked for: the band is measured against what is there.
#[must_use]
pub fn by_share(reported: i64, usage: Milli, target: Milli, tolerance: Tolerance) -> Proposal {
    let ratio = float(usage) / (float(target) * float(reported));
    let replicas = if tolerance.keeps(ratio) { reported } else { times(float(usage) / float(target), 1) };
    let average = share(usage, reported);
    Proposal { replicas, value: average, average, ratio }
}

/// The part of one replica of a whole, rounded up; of the whole, where there is no replica to share it.
#[must_use]
pub fn share(usage: Milli, reported: i64) -> Milli {
    if reported <= 0 { usage } else { ceil(float(usage) / float(reported), i64::MAX) }
}

/// The highest of the metrics' proposals. Where a metric proposes nothing, the others may still keep or grow
/// the workload, but not shrink it below `current`.
///
/// # Errors
/// The first refusal, where no metric proposes, or where shrinking would rest on some metrics only.
pub fn highest<E>(
    current: i64,
    proposals: impl IntoIterator<Item = Result<i64, E>>,
) -> Result<(usize, i64), E> {
    let mut best: Option<(usize, i64)> = None;
    let mut refused = None;
    for (index, proposal) in proposals.into_iter().enumerate() {
        match proposal {
            Ok(count) if best.is_none_or(|(_, highest)| count > highest) => best = Some((index, count)),
            Ok(_) => {}
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match (best, refused) {
        (Some((_, count)), Some(why)) if count < current => Err(why),
        (None, Some(why)) => Err(why),
        (Some(best), _) => Ok(best),
        (None, None) => Ok((0, current)),
    }
}

/// The count after missing and unready pods were reckoned in. Where that would turn the direction round, nothing
/// changes.
fn settle(current: i64, tolerance: Tolerance, before: f64, after: f64, samples: i64) -> i64 {
    let turned = (before < 1.0 && after > 1.0) || (before > 1.0 && after < 1.0);
    if tolerance.keeps(after) || turned {
        return current;
    }
    let replicas = times(after, samples);
    let against = (after < 1.0 && replicas > current) || (after > 1.0 && replicas < current);
    if against { current } else { replicas }
}

/// `ratio × count`, rounded up, at most [`MOST`].
fn times(ratio: f64, count: i64) -> i64 {
    ceil(ratio * float(count), MOST)
}

fn ceil(value: f64, most: i64) -> i64 {
    let up = value.ceil();
    if up.is_nan() {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
    (up as i64).clamp(0, most)
}

fn float(value: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the HPA divides in floating point, too")]
    {
        value as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_PERCENT: Tolerance = Tolerance { down: 0.1, up: 0.1 };

    fn pods(usages: &[Milli], request: Milli) -> Pods {
        let mut pods = Pods::default();
        for usage in usages {
            pods.add_ready(*usage, request);
        }
        pods
    }

    /// A4: the band is closed, and utilisation is truncated before it is compared.
    #[test]
    fn the_edge_of_the_tolerance_changes_nothing() {
        for (usage, target, expected) in [
            (550, 50, 10), // ratio exactly 1.1
            (559, 50, 10), // 55.9 % is 55 %
            (560, 50, 12), // 56 %: ratio 1.12, 11.2 replicas
            (450, 50, 10), // ratio exactly 0.9
            (449, 50, 9),  // 44 %: ratio 0.88
            (0, 50, 0),
            (i64::MAX / 100, 50, 429_496_730), // utilisation itself saturates at 2^31 − 1 per cent
        ] {
            let ten = pods(&[usage; 10], 1000);
            assert_eq!(by_utilization(10, target, TEN_PERCENT, &ten).unwrap().replicas, expected, "{usage}");
        }
    }

    /// A4: pods that are not ready yet count as idle when growing, not at all when shrinking.
    #[test]
    fn unready_pods_count_as_zero_when_growing() {
        let mut growing = pods(&[900, 900], 1000);
        growing.add_unready(1000);
        // 90 % of 50 %: 1.8 on two; with the third as zero 60 %: 1.2 on three.
        assert_eq!(by_utilization(3, 50, TEN_PERCENT, &growing).unwrap().replicas, 4);
        let mut shrinking = pods(&[100, 100], 1000);
        shrinking.add_unready(1000);
        assert_eq!(by_utilization(3, 50, TEN_PERCENT, &shrinking).unwrap().replicas, 1);
    }

    /// A4: a pod without a sample holds back, whichever way the change goes.
    #[test]
    fn a_missing_sample_counts_for_the_careful_side() {
        let mut shrinking = pods(&[100, 100], 1000);
        shrinking.missing.push(1000);
        // (100 + 100 + 1000) ÷ 3000 = 40 % of 50 %: 0.8 × 3.
        assert_eq!(by_utilization(3, 50, TEN_PERCENT, &shrinking).unwrap().replicas, 3);
        let mut growing = pods(&[600, 600], 1000);
        growing.missing.push(1000);
        // 60 % of 50 % would grow; with the missing one idle it is 40 %: the direction would turn, so nothing.
        assert_eq!(by_utilization(3, 50, TEN_PERCENT, &growing).unwrap().replicas, 3);
    }

    /// A4: an average is of the count that is there, not of the count that was asked for.
    #[test]
    fn a_share_is_measured_against_the_reported_count() {
        assert_eq!(by_share(4, 20_166, 5000, TEN_PERCENT).replicas, 4);
        assert_eq!(by_share(0, 0, 5000, TEN_PERCENT).replicas, 0);
        assert_eq!(by_share(0, 5001, 5000, TEN_PERCENT).replicas, 2);
        assert_eq!(share(1000, 3), 334);
    }

    #[test]
    fn a_metric_that_proposes_nothing_stops_shrinking_only() {
        assert_eq!(highest(5, [Ok(7), Err("absent")]), Ok((0, 7)));
        assert_eq!(highest(5, [Err("absent"), Ok(5)]), Ok((1, 5)));
        assert_eq!(highest(5, [Ok(4), Err("absent"), Err("other")]), Err("absent"));
        assert_eq!(highest(5, [Err::<i64, _>("absent")]), Err("absent"));
        assert_eq!(highest::<&str>(5, []), Ok((0, 5)));
    }

    proptest::proptest! {
        /// Whatever is measured, a sum never wraps and a count never leaves its range.
        #[test]
        fn every_answer_is_a_count(
            usages in proptest::collection::vec(0..=i64::MAX, 1..5),
            request in 0..=i64::MAX,
            missing in proptest::collection::vec(0..=i64::MAX, 0..3),
            unready in 0_i64..3,
            target in 1..=i64::MAX,
            current in 0..=MOST,
        ) {
            let mut seen = pods(&usages, request);
            seen.missing = missing;
            for _ in 0..unready {
                seen.add_unready(request);
            }
            for proposal in [
                by_utilization(current, target, TEN_PERCENT, &seen),
                by_average(current, target, TEN_PERCENT, &seen),
                Ok(by_value(current, seen.usage, target, TEN_PERCENT, seen.ready)),
                Ok(by_share(current, seen.usage, target, TEN_PERCENT)),
            ].into_iter().flatten() {
                proptest::prop_assert!((0..=MOST).contains(&proposal.replicas), "{proposal:?}");
            }
        }
    }
}
