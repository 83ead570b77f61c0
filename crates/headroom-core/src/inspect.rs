//! A second opinion on every decision.
//!
//! The checks here know the fleet, what was seen and what came out, not how it was made: two independent pieces
//! of code must agree before a replica is stopped. It runs live, in every simulated tick and in tests; live, a
//! finding holds the workload and is told to people.

use serde::{Deserialize, Serialize};

use crate::decision::{By, Decision, Outcome};
use crate::fleet::{Fleet, ReplicaRange, WhenAbsent, Workload};
use crate::guard;
use crate::memory::{LOOK_FRESH_FOR, Memory};
use crate::names::LimitName;
use crate::reading::Reading;
use crate::together::{Stand, Together};
use crate::units::{Replicas, Timestamp};

/// Something a decision must never do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// The count lies outside the policy's range.
    OutOfRange {
        /// The count.
        to: Replicas,
    },
    /// Fewer replicas while a signal some strategy needs is absent.
    ShrunkOnAbsence {
        /// The first absent signal.
        signal: String,
    },
    /// The steps don't lead from the count before to the count after.
    Unexplained,
    /// A change although a person froze the workload.
    ChangedWhileFrozen,
    /// A change although it says that nothing is done, or the other way round.
    OutcomeMismatch,
    /// Fewer replicas while an action is under way.
    ShrunkWhileInFlight,
    /// More than there is of what several workloads share.
    LimitOverdrawn {
        /// Which limit.
        limit: LimitName,
    },
    /// The warm pool and the replicas that take traffic are together more than the most.
    PoolTooLarge {
        /// The pool.
        wanted: Replicas,
    },
}

impl Finding {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "out-of-range",
            Self::ShrunkOnAbsence { .. } => "shrunk-on-absence",
            Self::Unexplained => "unexplained",
            Self::ChangedWhileFrozen => "changed-while-frozen",
            Self::OutcomeMismatch => "outcome-mismatch",
            Self::ShrunkWhileInFlight => "shrunk-while-in-flight",
            Self::LimitOverdrawn { .. } => "limit-overdrawn",
            Self::PoolTooLarge { .. } => "pool-too-large",
        }
    }
}

/// What is wrong with `decision`, given the policy and what was remembered when it was made.
#[must_use]
pub fn inspect(workload: &Workload, memory: &Memory, decision: &Decision) -> Vec<Finding> {
    let mut findings = Vec::new();
    let changes = decision.to != decision.from;
    let max = guard::maximum(workload, &decision.recommendations, decision.from);
    if changes && (decision.to < workload.replicas.min || decision.to > max) {
        // Moving towards the range from outside, step by step, is allowed.
        let towards = ReplicaRange { max, ..workload.replicas }.clamp(decision.from);
        let nearer = towards.0.abs_diff(decision.to.0) < towards.0.abs_diff(decision.from.0);
        if !nearer {
            findings.push(Finding::OutOfRange { to: decision.to });
        }
    }
    if decision.to < decision.from {
        let needed = |name: &str| {
            decision
                .recommendations
                .iter()
                .any(|r| r.advice.why().absent_signal().is_some_and(|s| s.as_str() == name))
        };
        // A policy may say what stands in for a signal when shrinking; only where it says nothing, nothing may.
        let holds = |s: &crate::decision::SeenSignal| {
            workload.signals.get(&s.name).is_none_or(|signal| signal.absent.shrink == WhenAbsent::Hold)
        };
        let absent = decision
            .signals
            .iter()
            .find(|s| !matches!(s.reading, Reading::Fresh(_)) && needed(s.name.as_str()) && holds(s));
        // Coming down to the maximum is the policy's word, not a conclusion from absent data.
        if let Some(signal) = absent.filter(|_| decision.from <= max) {
            findings.push(Finding::ShrunkOnAbsence { signal: signal.name.to_string() });
        }
        if memory.in_flight.is_some() {
            findings.push(Finding::ShrunkWhileInFlight);
        }
    }
    if let Some(warm) = &decision.warm
        && warm.wanted > Replicas::ZERO
        && decision.to.plus(warm.wanted.0) > workload.replicas.max
    {
        findings.push(Finding::PoolTooLarge { wanted: warm.wanted });
    }
    if !is_explained(decision) {
        findings.push(Finding::Unexplained);
    }
    if changes && memory.freeze(decision.at).is_some() {
        findings.push(Finding::ChangedWhileFrozen);
    }
    if changes != (decision.outcome == Outcome::Act) {
        findings.push(Finding::OutcomeMismatch);
    }
    findings
}

/// What is wrong with `decision` in view of what its workload shares with others: each limit it touches is added up
/// anew from the stands, with the new count in the place of the old.
#[must_use]
pub fn inspect_shared(fleet: &Fleet, together: &Together, decision: &Decision) -> Option<Finding> {
    if decision.to == decision.from {
        return None;
    }
    let own = &decision.id.workload;
    for (name, limit) in fleet.limits() {
        let grows = limit.uses.contains_key(own) && decision.to > decision.from;
        let shrinks = limit.suppliers.contains_key(own) && decision.to < decision.from;
        if !grows && !shrinks {
            continue;
        }
        let mut used = 0_u128;
        for (user, each) in &limit.uses {
            let Some(stand) = together.stand(user) else { continue };
            let count =
                if user == own { decision.to.plus(stand.draining.0).max(stand.held) } else { stand.held };
            used += u128::from(*each) * u128::from(count.0);
        }
        let mut supply = u128::from(limit.supply);
        for (supplier, each) in &limit.suppliers {
            let Some(stand) = together.stand(supplier) else { continue };
            let ready = if supplier == own { stand.ready.min(decision.to) } else { stand.ready };
            let counts = shrinks || is_seen(stand, decision.at);
            supply += if counts { u128::from(*each) * u128::from(ready.0) } else { 0 };
        }
        if used > supply {
            return Some(Finding::LimitOverdrawn { limit: name.clone() });
        }
    }
    None
}

fn is_seen(stand: &Stand, at: Timestamp) -> bool {
    stand.seen.is_some_and(|seen| at.since(seen).max(seen.since(at)) <= LOOK_FRESH_FOR)
}

/// The steps form a chain from the count before to the count after; a refusal takes it back as a whole.
fn is_explained(decision: &Decision) -> bool {
    let mut count = decision.from;
    for step in &decision.steps {
        if step.from != count || step.by == By::Inspect {
            return false;
        }
        count = step.to;
    }
    match &decision.refusal {
        Some(refusal) => refusal.wanted == count && decision.to == decision.from,
        None => decision.to == count,
    }
}
