//! Watch: a change that was made is looked at for a while, gets a verdict, and is undone where it made things worse
//! (B8, B13).
//!
//! When the target has taken a change, its figures of health are noted. From then on, for `for`:
//!
//! ```text
//! well before and unwell now, for `unwellFor` without a break   a shrink is rolled back, a growth has failed
//! the end, with as many ready as were asked for                 completed
//! the end, with fewer ready                                     failed
//! another change before the end                                 overtaken
//! ```
//!
//! Undoing is a floor at the count before, for `hold`: it brings the replicas back and keeps the same shrink from being
//! made again at once. It stands before the guards of speed and before bounds, so an undo is a change like any other:
//! inspected, recorded, within every limit. Only a shrink is undone. Undoing a growth would take replicas away because
//! something is unwell, which makes most things worse, and mostly it is the load that made both grow; people are told
//! instead. What was unwell before the change is not the change's doing, and what can't be read is no verdict.
//!
//! Defaults: `for` 5m (A29: the health grace of a new replica, 300 s); `unwellFor` 30s (A14: a health check's interval:
//! two looks at the least); `hold` 15m (as [`Flapping`](super::Flapping) holds). A change that a guard or the check of
//! the plan refuses is not watched; its decision says by whom and why it was rejected.
//!
//! Source: B8 (watched, with a verdict and a way back), B13.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::safety::Dependency;
use crate::context::Context;
use crate::decision::{By, DecisionId, Draft};
use crate::fleet::{Path, Problem, Workload};
use crate::memory::Memory;
use crate::names::SignalName;
use crate::reading::Reading;
use crate::reason::{Reason, Seen};
use crate::strategy::Strategy;
use crate::units::{Level, Replicas, Span, Timestamp};

/// A change is watched, and undone where it made things worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct WatchSettings {
    /// How long a change is watched (A29: 300s).
    #[serde(rename = "for")]
    pub lasts: Span,
    /// So long something must be unwell before the verdict falls (A14: 30s).
    pub unwell_for: Span,
    /// So long after an undo the count does not go below what it was brought back to (15m).
    pub hold: Span,
    /// What must stay well. By default the limits of the workload's objective on latency and utilisation.
    pub health: Vec<Dependency>,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            lasts: Span::minutes(5),
            unwell_for: Span::seconds(30),
            hold: Span::minutes(15),
            health: Vec::new(),
        }
    }
}

/// A change that is being watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// The decision that made it.
    pub decision: DecisionId,
    /// When the target had taken it.
    pub at: Timestamp,
    /// The count before.
    pub from: Replicas,
    /// The count after.
    pub to: Replicas,
    /// What was well before.
    pub well: Vec<SignalName>,
    /// Since when one of these is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell_since: Option<Timestamp>,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// It did what it was made for.
    Completed,
    /// It made something worse and is undone.
    RolledBack,
    /// It did not get there, or something became worse that undoing would not mend.
    Failed,
    /// Another change came before the end.
    Overtaken,
}

/// The verdict on a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The decision that made the change.
    pub decision: DecisionId,
    /// The count before.
    pub from: Replicas,
    /// The count after.
    pub to: Replicas,
    /// What came of it.
    pub ending: Ending,
    /// Why.
    pub why: Reason,
}

/// A shrink that was undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undone {
    /// The count that is not gone below.
    pub(crate) floor: Replicas,
    /// What became unwell.
    pub(crate) seen: Seen,
    /// Until when.
    pub(crate) until: Timestamp,
}

/// What must stay well, and below what: as written, else what the objectives ask.
fn health<'a>(settings: &'a WatchSettings, workload: &'a Workload) -> Vec<(&'a SignalName, Level)> {
    if !settings.health.is_empty() {
        return settings.health.iter().map(|h| (&h.signal, h.well_below.level)).collect();
    }
    let objectives = workload.strategies.iter().filter_map(|strategy| match strategy {
        Strategy::Objective(objective) => Some(objective),
        _ => None,
    });
    objectives
        .flat_map(|o| [&o.latency, &o.utilisation])
        .flatten()
        .map(|limit| (&limit.signal, limit.below.level))
        .collect()
}

/// The value of `signal`, where it can be read.
fn fresh(workload: &Workload, memory: &Memory, signal: &SignalName, at: Timestamp) -> Option<Seen> {
    let settings = workload.signals.get(signal)?;
    let known = memory.signal(signal)?;
    match Reading::of(known.last.as_ref(), known.absence.as_ref(), at, settings.fresh_for) {
        Reading::Fresh(sample) => {
            Some(Seen { signal: signal.clone(), unit: settings.unit(), value: sample.value })
        }
        Reading::Stale { .. } | Reading::Missing(_) => None,
    }
}

/// Begins to watch a change that the target has just taken. One that is still watched is overtaken.
pub(crate) fn begin(workload: &Workload, memory: &mut Memory, mut watched: Watched) {
    let Some(settings) = workload.guards.watch.as_ref().filter(|_| watched.from != watched.to) else {
        return;
    };
    let well = health(settings, workload).into_iter().filter(|(signal, limit)| {
        fresh(workload, memory, signal, watched.at).is_some_and(|seen| seen.value < *limit)
    });
    watched.well = well.map(|(signal, _)| signal.clone()).collect();
    let why = Reason::ChangeOvertaken { by: watched.decision.to_string() };
    if let Some(old) = memory.watched.replace(watched) {
        memory.verdict = Some(old.ends(Ending::Overtaken, why));
    }
}

impl Watched {
    fn ends(self, ending: Ending, why: Reason) -> Verdict {
        Verdict { decision: self.decision, from: self.from, to: self.to, ending, why }
    }
}

/// Looks at what is watched, and says what came of it once that is clear.
pub(crate) fn judge(workload: &Workload, memory: &mut Memory, at: Timestamp) -> Option<Verdict> {
    memory.undone.take_if(|undone| at >= undone.until || workload.guards.watch.is_none());
    if let Some(verdict) = memory.verdict.take() {
        return Some(verdict);
    }
    let mut watched = memory.watched.take()?;
    let settings = workload.guards.watch.as_ref()?;
    let limits = health(settings, workload);
    let looks = limits.iter().filter(|(signal, _)| watched.well.contains(signal));
    let seen: Vec<_> = looks
        .filter_map(|(signal, limit)| fresh(workload, memory, signal, at).map(|seen| (seen, *limit)))
        .collect();
    let unwell = seen.iter().find(|(seen, limit)| seen.value >= *limit).cloned();
    if unwell.is_some() {
        watched.unwell_since.get_or_insert(at);
    } else if !seen.is_empty() {
        watched.unwell_since = None;
    }
    let held = watched.unwell_since.map(|since| at.since(since));
    if let Some(((seen, limit), held)) = unwell.zip(held.filter(|held| *held >= settings.unwell_for)) {
        let why = Reason::BecameUnwell { seen: seen.clone(), limit, held };
        if watched.to > watched.from {
            return Some(watched.ends(Ending::Failed, why));
        }
        memory.undone = Some(Undone { floor: watched.from, seen, until: at.plus(settings.hold) });
        return Some(watched.ends(Ending::RolledBack, why));
    }
    if at.since(watched.at) < settings.lasts {
        memory.watched = Some(watched);
        return None;
    }
    // Whoever can't be seen has no end yet.
    let Some((_, status)) = &memory.status else {
        memory.watched = Some(watched);
        return None;
    };
    let (ready, to) = (status.ready, watched.to);
    Some(if to > watched.from && ready < to {
        watched.ends(Ending::Failed, Reason::NotReached { ready, to, within: settings.lasts })
    } else {
        watched.ends(Ending::Completed, Reason::ChangeHolds { ready, within: settings.lasts })
    })
}

/// Brings back what an undone shrink took away, and does not take it away again yet.
pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let Some(undone) = cx.memory().undone.as_ref().filter(|undone| cx.at() < undone.until) else { return };
    if draft.wanted() < undone.floor {
        let why = Reason::ShrinkUndone { seen: undone.seen.clone(), until: undone.until };
        draft.move_to(undone.floor, By::Watch, why);
    }
}

pub(super) fn check(settings: &WatchSettings, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
    if settings.lasts.is_zero() {
        problems.push(Problem::new(at.key("for"), "must be longer than nothing"));
    }
    if settings.unwell_for > settings.lasts {
        problems.push(
            Problem::new(at.key("unwellFor"), format!("is longer than the watch of {}", settings.lasts))
                .help("no change would ever be undone; raise `for`, or lower `unwellFor`"),
        );
    }
    for (index, health) in settings.health.iter().enumerate() {
        let at = at.key("health").index(index);
        if let Some(signal) = workload.require_signal(&health.signal, &at.key("signal"), problems) {
            crate::strategy::check_unit(&health.well_below, signal, &at.key("wellBelow"), problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    /// B13: an undone shrink is brought back and not repeated while the hold lasts; growth is left alone.
    #[test]
    fn a_floor_stands_where_a_shrink_was_undone() {
        for (from, want, expected) in [
            (0, 0, 10),
            (6, 6, 10),
            (6, 4, 10),
            (6, 9, 10),
            (10, 10, 10),
            (10, 9, 10),
            (10, 11, 11),
            (6, 100_000, 100_000),
        ] {
            let case = Case::new(from, want).guards(r#"{ "watch": {} }"#);
            assert_eq!(case.clone().undone(10, 1).limited(super::limit), expected, "{from} → {want}");
            assert_eq!(case.clone().undone(10, 0).limited(super::limit), want, "the hold is over");
            assert_eq!(case.limited(super::limit), want, "nothing was undone");
        }
    }
}
