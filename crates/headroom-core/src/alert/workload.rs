//! How a workload stands, from its latest decision, its target and its past.

use super::{AlertKind, Cost, Facts, Stand};
use crate::decision::Decision;
use crate::fleet::{AlertSettings, Ask, HostFigure, ProcessSignal, Signal, SignalSource, Workload};
use crate::memory::Memory;
use crate::names::WorkloadName;
use crate::observation::PoolStatus;
use crate::reason::Reason;
use crate::say::{Language, sentence};
use crate::units::{Replicas, Span, Timestamp, Unit};

/// A stretch in which turns of the count are counted.
const TURNS_WITHIN: Span = Span::hours(1);
/// A start may take so many times as long as it has been seen to take before replicas are called stuck.
const PATIENCE: u64 = 3;

/// A workload at one moment.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub name: &'a WorkloadName,
    /// Its policy.
    pub workload: &'a Workload,
    /// What is remembered of it.
    pub memory: &'a Memory,
}

/// What the fold remembers of a workload beside its alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// Since when too few replicas are ready without one more having become so: the count that was ready then.
    short: Option<(Timestamp, Replicas)>,
    /// Whether its forecasts have counted.
    forecast_counted: bool,
}

/// How every kind of alert about a workload stands.
pub(super) fn stands(
    settings: &AlertSettings,
    seen: &Seen<'_>,
    progress: &mut Progress,
) -> Vec<(AlertKind, Stand)> {
    let Some(decision) = seen.memory.latest() else { return Vec::new() };
    let facts = |why: String| Facts { why, cost: cost(seen), decision: recorded(decision) };
    vec![
        (AlertKind::AtMaximum, at_maximum(decision, facts)),
        (AlertKind::CpuHigh, cpu_high(settings, seen, decision, facts)),
        (AlertKind::TargetUnseen, target_unseen(decision, facts)),
        (AlertKind::PlanRejected, plan_rejected(decision, facts)),
        (AlertKind::ActionFailed, action_failed(seen, facts)),
        (AlertKind::ApprovalNeeded, approval_needed(seen)),
        (AlertKind::Stuck, stuck(settings, seen, progress, facts)),
        (AlertKind::Flapping, flapping(settings, seen, facts)),
        (AlertKind::ForecastDemoted, forecast_demoted(decision, progress, facts)),
    ]
}

/// The decision that people can look up: the first one, before anything is recorded, has no number.
fn recorded(decision: &Decision) -> Option<crate::decision::DecisionId> {
    (decision.id.number > 0).then(|| decision.id.clone())
}

fn cost(seen: &Seen<'_>) -> Option<Cost> {
    let (_, status) = seen.memory.status()?;
    let warm = status.pool.as_ref().map_or(Replicas::ZERO, PoolStatus::running);
    let running = status.ready.plus(status.starting.0).plus(status.draining.0).plus(warm.0);
    Some(Cost { now: seen.workload.price?.times(running), then: None })
}

fn refused(decision: &Decision, of: impl Fn(&Reason) -> bool) -> Option<&Reason> {
    decision.refusal.as_ref().map(|refusal| &refusal.why).filter(|why| of(why))
}

fn unseen(decision: &Decision) -> Option<&Reason> {
    refused(decision, |why| matches!(why, Reason::TargetUnseen { .. }))
}

fn at_maximum(decision: &Decision, facts: impl Fn(String) -> Facts) -> Stand {
    if unseen(decision).is_some() {
        return Stand::Unknown;
    }
    let bound = decision.steps.iter().find(|step| matches!(step.why, Reason::AtMaximum { .. }));
    bound.map_or(Stand::Clear, |step| {
        Stand::Holds(facts(format!(
            "{} replicas are wanted, and {} are the most allowed; raise `replicas.max` if they are needed",
            step.from, step.to
        )))
    })
}

/// Whether a signal tells the use of cpu as a share.
fn tells_cpu(signal: &Signal) -> bool {
    let source = match &signal.source {
        SignalSource::Process(ProcessSignal::Cpu) => true,
        SignalSource::Read(read) => matches!(&read.ask, Ask::Host(ask) if ask.figure == HostFigure::Cpu),
        _ => false,
    };
    source && signal.unit() == Unit::Ratio
}

fn cpu_high(
    settings: &AlertSettings,
    seen: &Seen<'_>,
    decision: &Decision,
    facts: impl Fn(String) -> Facts,
) -> Stand {
    let mut known = true;
    for (name, _) in seen.workload.signals.iter().filter(|(_, signal)| tells_cpu(signal)) {
        let reading = decision.signals.iter().find(|s| s.name == *name).map(|s| &s.reading);
        match reading.and_then(|reading| reading.fresh()) {
            Some(sample) if sample.value > settings.cpu_above.level => {
                return Stand::Holds(facts(format!(
                    "`{name}` is {}, above {}",
                    Unit::Ratio.say(sample.value),
                    Unit::Ratio.say(settings.cpu_above.level)
                )));
            }
            Some(_) => {}
            None => known = false,
        }
    }
    if known { Stand::Clear } else { Stand::Unknown }
}

fn target_unseen(decision: &Decision, facts: impl Fn(String) -> Facts) -> Stand {
    unseen(decision).map_or(Stand::Clear, |why| Stand::Holds(facts(sentence(why, Language::English))))
}

fn plan_rejected(decision: &Decision, facts: impl Fn(String) -> Facts) -> Stand {
    let why = refused(decision, |why| matches!(why, Reason::PlanRejected { .. }));
    why.map_or(Stand::Clear, |why| Stand::Holds(facts(sentence(why, Language::English))))
}

fn action_failed(seen: &Seen<'_>, facts: impl Fn(String) -> Facts) -> Stand {
    let failure = seen.memory.failure.as_ref().and_then(|failure| Some((failure.error.as_ref()?, failure)));
    failure.map_or(Stand::Clear, |(error, failure)| {
        let times = if failure.in_a_row == 1 {
            "once".into()
        } else {
            format!("{} times in a row", failure.in_a_row)
        };
        Stand::Holds(facts(format!("the target refused the change {times}: {error}")))
    })
}

fn approval_needed(seen: &Seen<'_>) -> Stand {
    seen.memory.pending(seen.at).map_or(Stand::Clear, |pending| {
        let id = &pending.decision;
        let cost = seen
            .workload
            .price
            .map(|price| Cost { now: price.times(pending.from), then: Some(price.times(pending.to)) });
        let why = format!(
            "{} → {} waits until {}: `headroom approve {id}` or `headroom reject {id}`",
            pending.from, pending.to, pending.until
        );
        Stand::Holds(Facts { why, cost, decision: Some(id.clone()) })
    })
}

fn stuck(
    settings: &AlertSettings,
    seen: &Seen<'_>,
    progress: &mut Progress,
    facts: impl Fn(String) -> Facts,
) -> Stand {
    let Some((_, status)) = seen.memory.status() else { return Stand::Unknown };
    if status.ready >= status.wanted {
        progress.short = None;
        return Stand::Clear;
    }
    let since = match progress.short {
        Some((since, ready)) if status.ready <= ready => since,
        _ => seen.at,
    };
    // One that dies is no progress when it comes back.
    let most = progress.short.map_or(status.ready, |(_, ready)| ready.max(status.ready));
    progress.short = Some((since, most));
    let expected = seen.memory.start_ups().expected().unwrap_or(Span::ZERO);
    if seen.at.since(since) < settings.stuck_after.max(expected.times(PATIENCE)) {
        return Stand::Clear;
    }
    let trouble =
        status.troubles.first().map_or_else(String::new, |trouble| format!(": {}", trouble.message));
    Stand::Holds(facts(format!(
        "{} of {} replicas are ready, and none has become so since {since}{trouble}",
        status.ready, status.wanted
    )))
}

fn flapping(settings: &AlertSettings, seen: &Seen<'_>, facts: impl Fn(String) -> Facts) -> Stand {
    let recent = seen.memory.changes().filter(|change| seen.at.since(change.at) <= TURNS_WITHIN);
    let grows: Vec<bool> = recent.filter(|c| c.from != c.to).map(|c| c.to > c.from).collect();
    let turns = grows.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if turns < settings.flapping_at as usize {
        return Stand::Clear;
    }
    Stand::Holds(facts(format!(
        "the count turned {turns} times within {TURNS_WITHIN}; a longer `behavior.scaleDown.stabilization` damps it"
    )))
}

fn forecast_demoted(decision: &Decision, progress: &mut Progress, facts: impl Fn(String) -> Facts) -> Stand {
    let mut stand = Stand::Unknown;
    for recommendation in &decision.recommendations {
        match recommendation.advice.why() {
            Reason::ForecastNeeds { .. }
            | Reason::ForecastRaises { .. }
            | Reason::ForecastNear { .. }
            | Reason::ForecastOnly { .. } => {
                progress.forecast_counted = true;
                stand = Stand::Clear;
            }
            why @ Reason::ForecastUnproved { .. } if progress.forecast_counted => {
                return Stand::Holds(facts(sentence(why, Language::English)));
            }
            _ => {}
        }
    }
    stand
}
