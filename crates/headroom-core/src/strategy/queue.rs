//! Queue workers: by backlog and by the time to work it off (A26).
//!
//! The backlog is what waits plus what is being worked on. One worker for every `perWorker` messages, rounded up
//! (the source divides and rounds down, which starves a small queue), or as many as work the backlog off within
//! `drainWithin` given how long one message takes; with both, the larger. From zero the first message wakes a
//! worker; back to zero it goes only after the queue has been empty for a while, because a worker that starts anew
//! for every message is the dearest of all. Where messages come in partitions, a number of workers that divides
//! them evenly serves as well as the next larger one.
//!
//! The same arithmetic is AWS's "backlog per instance" (acceptable latency ÷ time per message) and KEDA's queue
//! scalers; their tables are run against [`workers`] and [`evenly`].
//!
//! Source of rule: A26. Defaults: `idleFor` KEDA's `cooldownPeriod` (300 s), `activation` KEDA's
//! `activationThreshold` (0), `concurrency` 1: a worker that takes one message at a time is the least.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Scope, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span, Unit};

/// Workers by backlog and by the time to work it off. At least one of `perWorker` and `drainWithin` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Queue {
    /// The signals that make up the backlog, added up: messages that wait, messages being worked on.
    pub backlog: Vec<SignalName>,
    /// One worker for so many messages (A26: 10; as target tracking: 30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_worker: Option<Quantity>,
    /// Work the backlog off within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_within: Option<DrainWithin>,
    /// Wake from zero only above this backlog.
    #[serde(default = "nothing")]
    pub activation: Quantity,
    /// How long the backlog must have been at or below `activation` before the last worker goes (KEDA: 300s).
    #[serde(default = "five_minutes")]
    pub idle_for: Span,
    /// Messages come in so many partitions, which workers are to divide evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Replicas>,
}

/// A latency objective for a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DrainWithin {
    /// Within which time what waits now is to be worked off.
    pub time: Span,
    /// How long one message takes: a measured signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time_signal: Option<SignalName>,
    /// How long one message takes, where it is not measured or can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time: Option<Span>,
    /// How many messages a worker works on at a time.
    #[serde(default = "one")]
    pub concurrency: Replicas,
}

fn nothing() -> Quantity {
    Quantity::plain(Level::ZERO)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}
fn one() -> Replicas {
    Replicas::ONE
}

/// How many workers a backlog needs at so much for each, rounded up; `None` where a worker can carry nothing.
#[must_use]
pub fn workers(backlog: Level, per_worker: Level) -> Option<Replicas> {
    backlog.replicas_for(per_worker)
}

/// How much of a backlog one worker can work off in time: the acceptable latency over the time for one message.
#[must_use]
pub fn acceptable_backlog(within: f64, service_time: f64, concurrency: f64) -> Option<Level> {
    (service_time > 0.0).then(|| Level::new(within * concurrency / service_time).ok()).flatten()
}

/// The smallest number of workers that is at least `workers` and divides `partitions` evenly; all of them where
/// none is.
#[must_use]
pub fn evenly(workers: Replicas, partitions: Replicas) -> Replicas {
    // Partitions are bounded by Replicas::LIMIT through the policy's check; the loop by their number.
    let divides = |n: &u32| *n > 0 && partitions.0.is_multiple_of(*n);
    (workers.0.max(1)..=partitions.0).find(divides).map_or(partitions, Replicas)
}

/// Whether there is enough to do that a sleeping workload wakes.
#[must_use]
pub fn is_active(amount: Level, activation: Level) -> bool {
    amount > activation
}

impl Queue {
    /// The backlog, or why it is not known. A part that can be read is not enough: what is missing may be the most.
    fn backlog(&self, cx: &Context<'_>) -> Result<Seen, Reason> {
        let mut sum = 0.0;
        let mut first = None;
        for signal in &self.backlog {
            let sample = cx.fresh(signal)?;
            sum += sample.value.get();
            first = first.or(Some(signal));
        }
        let signal = first.ok_or(Reason::NobodyWants)?.clone();
        let value = Level::new(sum).map_err(|_| Reason::NobodyWants)?;
        Ok(Seen { signal, unit: Unit::Count, value })
    }

    /// The time one message takes: as measured, else as written.
    fn service_time(drain: &DrainWithin, cx: &Context<'_>) -> Result<f64, Reason> {
        let measured = drain.service_time_signal.as_ref().map(|signal| cx.fresh(signal));
        match (measured, drain.service_time) {
            (Some(Ok(sample)), _) if sample.value.get() > 0.0 => Ok(sample.value.get()),
            (_, Some(written)) => Ok(written.as_secs_f64()),
            (Some(Err(why)), None) => Err(why),
            (Some(Ok(_)) | None, None) => Err(Reason::NobodyWants),
        }
    }

    fn want(&self, cx: &Context<'_>, backlog: Seen) -> Result<(Replicas, Reason), Reason> {
        let mut best: Option<(Replicas, Reason)> = None;
        if let Some(share) = &self.per_worker {
            let count = workers(backlog.value, share.level).ok_or(Reason::NobodyWants)?;
            best = Some((count, Reason::SharePerReplica { seen: backlog.clone(), per_replica: share.level }));
        }
        if let Some(drain) = &self.drain_within {
            let service = Self::service_time(drain, cx)?;
            let per_worker =
                acceptable_backlog(drain.time.as_secs_f64(), service, drain.concurrency.as_f64());
            let count = per_worker.and_then(|p| workers(backlog.value, p)).ok_or(Reason::NobodyWants)?;
            if best.as_ref().is_none_or(|(highest, _)| count > *highest) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
                let service = Span::millis((service * 1000.0).round() as u64);
                best = Some((count, Reason::DrainWithin { backlog, service, within: drain.time }));
            }
        }
        best.ok_or(Reason::NobodyWants)
    }
}

impl Recommend for Queue {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let backlog = match self.backlog(cx) {
            Ok(backlog) => backlog,
            Err(why) => return Advice::abstains(why),
        };
        let (mut count, why) = match self.want(cx, backlog.clone()) {
            Ok(want) => want,
            Err(why) => return Advice::abstains(why),
        };
        if let Some(partitions) = self.partitions {
            count = if count == Replicas::ZERO { count } else { evenly(count, partitions) };
        }
        if is_active(backlog.value, self.activation.level) {
            return Advice::wants(count.max(Replicas::ONE), why);
        }
        if cx.current() == Replicas::ZERO {
            return Advice::wants(Replicas::ZERO, why);
        }
        let limit = self.activation.level;
        let idle = |signal| cx.held(signal, self.idle_for, |_, max| max <= limit);
        let held = self.backlog.iter().map(idle).min().unwrap_or(Span::ZERO);
        if held < self.idle_for {
            let (seen, needed) = (backlog, self.idle_for);
            let why = Reason::NotYetLongEnough { seen, limit, held, needed };
            return Advice::wants(count.max(Replicas::ONE), why);
        }
        Advice::wants(Replicas::ZERO, why)
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend(self.backlog.iter().cloned());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.backlog.is_empty() {
            problems.push(Problem::new(at.key("backlog"), "without a signal there is no backlog"));
        }
        for (index, name) in self.backlog.iter().enumerate() {
            let at = at.key("backlog").index(index);
            if let Some(signal) = workload.require_signal(name, &at, problems)
                && (signal.scope() != Scope::Total || signal.unit() != Unit::Count)
            {
                problems.push(Problem::new(at, format!("`{name}` is no count of messages")));
            }
        }
        if self.per_worker.is_none() && self.drain_within.is_none() {
            problems
                .push(Problem::new(at.clone(), "at least one of `perWorker` and `drainWithin` is needed"));
        }
        if let Some(share) = &self.per_worker {
            super::check_positive(share, &at.key("perWorker"), problems);
        }
        if let Some(drain) = &self.drain_within {
            let at = at.key("drainWithin");
            if drain.time.is_zero() {
                problems.push(Problem::new(at.key("time"), "must be longer than nothing"));
            }
            if drain.concurrency == Replicas::ZERO {
                problems.push(Problem::new(at.key("concurrency"), "a worker works on at least one message"));
            }
            if drain.service_time.is_some_and(Span::is_zero) {
                problems.push(Problem::new(at.key("serviceTime"), "must be longer than nothing"));
            }
            match &drain.service_time_signal {
                Some(name) => {
                    let at = at.key("serviceTimeSignal");
                    if let Some(signal) = workload.require_signal(name, &at, problems)
                        && signal.unit() != Unit::Seconds
                    {
                        problems.push(Problem::new(at, format!("`{name}` is no length of time")));
                    }
                }
                None if drain.service_time.is_none() => problems.push(Problem::new(
                    at,
                    "how long one message takes is needed: `serviceTimeSignal` or `serviceTime`",
                )),
                None => {}
            }
        }
        if self.partitions.is_some_and(|p| p == Replicas::ZERO || p > Replicas(100_000)) {
            problems.push(Problem::new(at.key("partitions"), "must be 1 to 100000"));
        }
    }

    fn windows(&self, signal: &SignalName, windows: &mut Vec<Span>) {
        if self.backlog.contains(signal) {
            windows.push(self.idle_for.plus(Span::seconds(5)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, built, problems, wants};
    use proptest::prelude::*;

    fn rule(more: serde_json::Value) -> Queue {
        built(serde_json::json!({ "backlog": ["queue", "inFlight"] }), more)
    }
    fn by_backlog() -> Queue {
        rule(serde_json::json!({ "perWorker": 10 }))
    }
    fn messages(waiting: f64, in_flight: f64) -> Case {
        Case::absent().with("queue", waiting).with("inFlight", in_flight)
    }

    /// A26: one worker for ten messages, rounded up, those being worked on included.
    #[test]
    fn a_small_queue_is_not_starved() {
        for (waiting, in_flight, expected) in [
            (1.0, 0.0, 1),
            (0.0, 1.0, 1),
            (10.0, 0.0, 1),
            (9.0, 2.0, 2),
            (100.0, 0.0, 10),
            (1e300, 0.0, 1_000_000),
        ] {
            let case = messages(waiting, in_flight).replicas(1);
            assert_eq!(
                wants(&by_backlog(), &case),
                (expected, "share-per-replica"),
                "{waiting} + {in_flight}"
            );
        }
        assert_eq!(abstains(&by_backlog(), &Case::absent().with("queue", 5.0)), "signal-absent");
        let nan = Case::absent().with("queue", 5.0).not_a_number("inFlight");
        assert_eq!(abstains(&by_backlog(), &nan), "signal-absent");
    }

    /// A26: to and from zero.
    #[test]
    fn the_last_worker_goes_only_after_a_while_and_comes_back_at_once() {
        let empty = |seconds| messages(0.0, 0.0).for_seconds(seconds).replicas(1);
        assert_eq!(wants(&by_backlog(), &empty(299)), (1, "not-yet-long-enough"));
        assert_eq!(wants(&by_backlog(), &empty(300)), (0, "share-per-replica"));
        assert_eq!(wants(&by_backlog(), &messages(0.0, 0.0).replicas(0)).0, 0);
        assert_eq!(wants(&by_backlog(), &messages(1.0, 0.0).replicas(0)).0, 1);
        let lazy = rule(serde_json::json!({ "perWorker": 10, "activation": 5 }));
        assert_eq!(wants(&lazy, &messages(5.0, 0.0).replicas(0)).0, 0);
        assert_eq!(wants(&lazy, &messages(6.0, 0.0).replicas(0)).0, 1);
    }

    /// A26: the backlog is worked off within the time given, by what a message was seen to take.
    #[test]
    fn a_latency_objective_counts_the_time_a_message_takes() {
        let within = rule(serde_json::json!({ "drainWithin": {
            "time": "10s", "serviceTimeSignal": "serviceTime", "serviceTime": "100ms" } }));
        let measured = messages(1500.0, 0.0).with("serviceTime", 0.2).replicas(10);
        assert_eq!(wants(&within, &measured), (30, "drain-within"));
        assert_eq!(wants(&within, &messages(1500.0, 0.0).replicas(10)), (15, "drain-within"), "as written");
        let unwritten =
            rule(serde_json::json!({ "drainWithin": { "time": "10s", "serviceTimeSignal": "serviceTime" } }));
        assert_eq!(abstains(&unwritten, &messages(1500.0, 0.0).replicas(10)), "signal-absent");
    }

    #[test]
    fn partitions_are_divided_evenly() {
        for (workers, partitions, expected) in
            [(1, 100, 1), (3, 100, 4), (11, 100, 20), (51, 100, 100), (500, 100, 100), (0, 7, 1), (2, 7, 7)]
        {
            assert_eq!(evenly(Replicas(workers), Replicas(partitions)), Replicas(expected), "{workers}");
        }
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(problems(&by_backlog()), Vec::<String>::new());
        assert_eq!(problems(&rule(serde_json::json!({}))).len(), 1);
        let bad = rule(serde_json::json!({ "perWorker": 0, "drainWithin": { "time": "0s" } }));
        assert_eq!(problems(&bad), ["perWorker", "drainWithin.time", "drainWithin"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["queue", "inFlight"])) {
            behaves(&by_backlog(), &case, &["queue", "inFlight"])?;
        }
    }
}
