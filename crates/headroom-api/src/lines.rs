//! The fleet in lines: what a list shows of each workload, and of which of them there is news.
//!
//! A view of a workload holds each replica and each step of its last decision, some kilobytes; a list of a thousand needs
//! a line of each. A listener is told of a line once what it counts has changed. Sentences, which hold figures and so
//! change every second, take turns: what is sent in a second is bounded however large the fleet is.

use std::collections::BTreeMap;

use headroom_core::decision::{Decision, DecisionId, Outcome};
use headroom_core::fleet::ReplicaRange;
use headroom_core::memory::{Freeze, Pending};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::reading::{Absence, Reading};
use headroom_core::reason::Reason;
use headroom_core::say::{self, Language};
use headroom_core::units::{Level, Price, Replicas, Timestamp};
use headroom_engine::handle::{Overview, WorkloadView};
use schemars::JsonSchema;
use serde::Serialize;

/// Sentences that are sent anew in one second, beside the lines whose counts changed: as many as a screen shows.
const SENTENCES: usize = 40;

/// One workload in a line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    /// What is counted of it.
    #[serde(flatten)]
    standing: Standing,
    /// What one replica carries, where that was learned.
    carries: Option<Level>,
    /// The last decision.
    decision: Option<Headline>,
}

/// What is counted of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Standing {
    /// Which workload.
    name: WorkloadName,
    /// Its tier.
    tier: Option<String>,
    /// The bounds of its count.
    range: ReplicaRange,
    /// What it costs now, where the price is known.
    cost: Option<Price>,
    /// Its replicas, once they were seen.
    replicas: Option<Counts>,
    /// The target's first trouble, in its own words.
    trouble: Option<String>,
    /// The freeze in force.
    freeze: Option<Freeze>,
    /// The change that waits for a person's word.
    pending: Option<Pending>,
    /// The signals that can't be read, or not any more.
    faults: Vec<SignalName>,
    /// Whether more is wanted than the most allowed.
    at_maximum: bool,
    /// What came of the last decision.
    outcome: Option<Outcome>,
}

/// Replicas by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Counts {
    wanted: Replicas,
    ready: Replicas,
    starting: Replicas,
    draining: Replicas,
    failed: Replicas,
}

/// A decision in a line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Headline {
    /// Which one.
    id: DecisionId,
    /// When.
    at: Timestamp,
    /// The count before,
    from: Replicas,
    /// and after.
    to: Replicas,
    /// The count that was refused, where one was.
    refused: Option<Replicas>,
    /// What came of it.
    outcome: Outcome,
    /// The one sentence.
    headline: String,
    /// Until when it stays so by itself, where that is known.
    until: Option<Timestamp>,
}

impl Headline {
    pub(crate) fn new(decision: &Decision, language: Language) -> Self {
        Self {
            id: decision.id.clone(),
            at: decision.at,
            from: decision.from,
            to: decision.to,
            refused: decision.refusal.as_ref().map(|refusal| refusal.wanted),
            outcome: decision.outcome,
            headline: say::headline(decision, language),
            until: decision.main_reason().and_then(Reason::until),
        }
    }
}

impl Line {
    pub(crate) fn new(view: &WorkloadView, language: Language) -> Self {
        Self::with(Standing::of(view), view, language)
    }

    fn with(standing: Standing, view: &WorkloadView, language: Language) -> Self {
        Self {
            standing,
            carries: view.capacity.as_ref().map(|capacity| capacity.usable),
            decision: view.latest.as_ref().map(|decision| Headline::new(decision, language)),
        }
    }
}

impl Standing {
    fn of(view: &WorkloadView) -> Self {
        let status = view.status.as_ref();
        Self {
            name: view.name.clone(),
            tier: view.tier.clone(),
            range: view.range,
            cost: view.cost.map(|cost| cost.per_hour),
            replicas: status.map(|s| Counts {
                wanted: s.wanted,
                ready: s.ready,
                starting: s.starting,
                draining: s.draining,
                failed: s.failed,
            }),
            trouble: status.and_then(|s| s.troubles.first()).map(|trouble| trouble.message.clone()),
            freeze: view.freeze.clone(),
            pending: view.pending.clone(),
            faults: view.signals.iter().filter(|s| is_fault(&s.reading)).map(|s| s.name.clone()).collect(),
            at_maximum: view.latest.as_ref().is_some_and(at_maximum),
            outcome: view.latest.as_ref().map(|decision| decision.outcome),
        }
    }
}

/// Whether more was wanted than the most allowed, and that is all that is there.
pub(crate) fn at_maximum(decision: &Decision) -> bool {
    decision.outcome != Outcome::Act
        && decision.steps.iter().any(|step| matches!(step.why, Reason::AtMaximum { .. }))
}

/// Whether a signal can't be read, or not any more: where there is nothing to measure, nothing is wrong.
pub(crate) fn is_fault(reading: &Reading) -> bool {
    match reading {
        Reading::Fresh(_) | Reading::Missing(Absence::Idle | Absence::NoReplica) => false,
        Reading::Stale { .. } | Reading::Missing(_) => true,
    }
}

/// What a listener was told of each workload. Bounded by the fleet.
#[derive(Debug)]
pub(crate) struct Told {
    lines: BTreeMap<WorkloadName, Sent>,
    turn: u64,
}

#[derive(Debug)]
struct Sent {
    standing: Standing,
    /// The moment of the decision whose sentence was sent.
    decided: Option<Timestamp>,
    /// In which turn it was sent.
    turn: u64,
}

impl Sent {
    fn new(standing: Standing, view: &WorkloadView, turn: u64) -> Self {
        Self { standing, decided: view.latest.as_ref().map(|decision| decision.at), turn }
    }
}

impl Told {
    /// Everything is known as it is in `overview`.
    pub(crate) fn all(overview: &Overview) -> Self {
        let sent = |view: &WorkloadView| (view.name.clone(), Sent::new(Standing::of(view), view, 0));
        Self { lines: overview.workloads.iter().map(sent).collect(), turn: 0 }
    }

    /// The lines of which there is news: those whose counts changed, and some of those whose sentence is another, the
    /// longest waiting first.
    pub(crate) fn news(&mut self, overview: &Overview, language: Language) -> Vec<Line> {
        self.turn += 1;
        let (mut lines, mut waiting) = (Vec::new(), Vec::new());
        for view in &overview.workloads {
            let standing = Standing::of(view);
            match self.lines.get(&view.name) {
                Some(sent) if sent.standing == standing => {
                    if sent.decided != view.latest.as_ref().map(|decision| decision.at) {
                        waiting.push((sent.turn, view, standing));
                    }
                }
                Some(_) | None => lines.push(self.send(view, standing, language)),
            }
        }
        waiting.sort_by_key(|(turn, ..)| *turn);
        for (_, view, standing) in waiting.into_iter().take(SENTENCES) {
            lines.push(self.send(view, standing, language));
        }
        if self.lines.len() > overview.workloads.len() {
            self.lines.retain(|name, _| overview.workloads.iter().any(|view| view.name == *name));
        }
        lines
    }

    fn send(&mut self, view: &WorkloadView, standing: Standing, language: Language) -> Line {
        self.lines.insert(view.name.clone(), Sent::new(standing.clone(), view, self.turn));
        Line::with(standing, view, language)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A fleet of `n` workloads that were decided on at second `second`.
    fn overview(n: usize, second: u64) -> Overview {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        let workload = |i: usize| -> Value {
            json!({
                "name": format!("w-{i:03}"), "tier": null, "range": { "min": 1, "max": 9 }, "price": null, "listen": null,
                "seenAt": null, "status": { "wanted": 2, "ready": 2 }, "signals": [], "freeze": null,
                "latest": {
                    "id": format!("w-{i:03}-{second}"), "at": at, "from": 2, "to": 2, "ready": 2, "starting": 0,
                    "signals": [], "recommendations": [], "steps": [], "refusal": null, "outcome": "keep"
                },
                "startUp": { "seen": 0, "p50": null, "p90": null }
            })
        };
        serde_json::from_value(json!({
            "at": at, "fleet": "shop", "advise": false, "startedAt": at, "notices": [],
            "workloads": (0..n).map(workload).collect::<Vec<_>>()
        }))
        .unwrap()
    }

    fn names(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.standing.name.to_string()).collect()
    }

    #[test]
    fn sentences_take_turns_and_counts_do_not_wait() {
        let mut told = Told::all(&overview(100, 0));
        assert!(told.news(&overview(100, 0), Language::English).is_empty(), "nothing is new");
        let mut seen = std::collections::BTreeSet::new();
        for second in 1..=3 {
            let news = told.news(&overview(100, second), Language::English);
            assert!(news.len() <= SENTENCES, "{}", news.len());
            seen.extend(names(&news));
        }
        assert_eq!(seen.len(), 100, "each had its turn");
        let mut changed = overview(100, 4);
        changed.workloads[99].status.as_mut().unwrap().ready = Replicas(1);
        let news = told.news(&changed, Language::English);
        assert_eq!(names(&news)[0], "w-099", "what is counted goes first");
        assert_eq!(news.len(), SENTENCES + 1);
    }

    #[test]
    fn what_comes_is_told_and_what_went_is_forgotten() {
        let mut told = Told::all(&overview(3, 0));
        assert_eq!(names(&told.news(&overview(4, 0), Language::Korean)), ["w-003"]);
        assert!(told.news(&overview(2, 0), Language::English).is_empty());
        assert_eq!(told.lines.len(), 2);
    }
}
