//! How a workload stands, from its latest decision, its target and its past.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{AlertKind, Cost, Facts, Stand, Why};
use crate::decision::{Advice, Decision};
use crate::fleet::{AlertSettings, Ask, HostFigure, ProcessSignal, Signal, SignalSource, Workload};
use crate::memory::Memory;
use crate::names::{SignalName, WorkloadName};
use crate::observation::{PoolStatus, Trouble};
use crate::outlook::Proved;
use crate::reading::{Absence, Reading};
use crate::reason::Reason;
use crate::strategy::{Objective, Strategy};
use crate::units::{Level, Replicas, Span, Timestamp, Unit};

/// A stretch in which turns of the count are counted.
const TURNS_WITHIN: Span = Span::hours(1);
/// A start may take so many times as long as it has been seen to take before replicas are called stuck.
const PATIENCE: u64 = 3;
/// Forecasts are judged by how they did so far ahead.
const JUDGED_WITHIN: Span = Span::hours(1);
const MINUTE: Span = Span::minutes(1);

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

/// What the fold remembers of a workload beside its alerts: the way towards one takes up to a day, and a restart must
/// not begin it anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// The stretch in which too few replicas are ready without one more having become so: the count that was ready then.
    #[serde(skip_serializing_if = "Option::is_none")]
    short: Option<(Stretch, Replicas)>,
    /// Whether its forecasts have counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    forecast_counted: bool,
    /// The signals whose forecasts have proved better than naive ones. Bounded by the signals.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    proved: BTreeSet<SignalName>,
    /// The signals whose forecasts that an objective acts on are worse than the present load. Bounded by the signals.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    lost: BTreeSet<SignalName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<IdleTime>,
}

/// A stretch of time in which something was seen at each look.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stretch {
    /// Since when, without the time in which nothing was seen.
    since: Timestamp,
    /// The minute of the last look: finer, it would have to be written down with each.
    minute: Timestamp,
}

impl Stretch {
    fn new(at: Timestamp) -> Self {
        Self { since: at, minute: minute_of(at) }
    }

    /// Goes on with a look at `at`. Whole minutes in which nothing was seen don't count: what is absent says nothing.
    fn go_on(self, at: Timestamp) -> Self {
        let minute = minute_of(at);
        let unseen = minute.since(self.minute.plus(MINUTE));
        Self { since: self.since.plus(unseen), minute }
    }
}

/// A stretch in which a least count is far more than was needed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdleTime {
    /// How long.
    #[serde(flatten)]
    over: Stretch,
    /// The least count.
    min: Replicas,
    /// The largest share of it that was needed.
    most: Level,
}

impl IdleTime {
    fn new(at: Timestamp, min: Replicas, share: Level) -> Self {
        Self { over: Stretch::new(at), min, most: share }
    }

    fn go_on(self, at: Timestamp, share: Level) -> Self {
        let most = if share > self.most { share } else { self.most };
        Self { over: self.over.go_on(at), most, ..self }
    }
}

fn minute_of(at: Timestamp) -> Timestamp {
    let millis = at.as_millis();
    Timestamp::from_millis(millis - millis.rem_euclid(60_000))
}

/// How every kind of alert about a workload stands.
pub(super) fn stands(
    settings: &AlertSettings,
    seen: &Seen<'_>,
    progress: &mut Progress,
) -> Vec<(AlertKind, Stand)> {
    let Some(decision) = seen.memory.latest() else { return Vec::new() };
    let facts = |why: Why| Facts { why, cost: cost(seen), decision: recorded(decision) };
    vec![
        (AlertKind::AtMaximum, at_maximum(decision, facts)),
        (AlertKind::CpuHigh, cpu_high(settings, seen, decision, facts)),
        (AlertKind::TargetUnseen, target_unseen(decision, facts)),
        (AlertKind::NotListening, not_listening(seen, facts)),
        (AlertKind::PlanRejected, plan_rejected(decision, facts)),
        (AlertKind::ActionFailed, action_failed(seen, facts)),
        (AlertKind::ApprovalNeeded, approval_needed(seen)),
        (AlertKind::Stuck, stuck(settings, seen, progress, facts)),
        (AlertKind::Flapping, flapping(settings, seen, facts)),
        (AlertKind::ForecastDemoted, forecast_demoted(seen, decision, progress, facts)),
        (AlertKind::IdleResources, idle(settings, seen, decision, progress, facts)),
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

fn at_maximum(decision: &Decision, facts: impl Fn(Why) -> Facts) -> Stand {
    if unseen(decision).is_some() {
        return Stand::Unknown;
    }
    let bound = decision.steps.iter().find(|step| matches!(step.why, Reason::AtMaximum { .. }));
    bound
        .map_or(Stand::Clear, |step| Stand::Holds(facts(Why::AtMaximum { wanted: step.from, most: step.to })))
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
    facts: impl Fn(Why) -> Facts,
) -> Stand {
    let mut known = true;
    for (name, _) in seen.workload.signals.iter().filter(|(_, signal)| tells_cpu(signal)) {
        let reading = decision.signals.iter().find(|s| s.name == *name).map(|s| &s.reading);
        match reading.and_then(|reading| reading.fresh()) {
            Some(sample) if sample.value > settings.cpu_above.level => {
                let limit = settings.cpu_above.level;
                return Stand::Holds(facts(Why::CpuHigh { signal: name.clone(), used: sample.value, limit }));
            }
            Some(_) => {}
            None => known = false,
        }
    }
    if known { Stand::Clear } else { Stand::Unknown }
}

fn target_unseen(decision: &Decision, facts: impl Fn(Why) -> Facts) -> Stand {
    unseen(decision).map_or(Stand::Clear, |why| Stand::Holds(facts(why.into())))
}

fn not_listening(seen: &Seen<'_>, facts: impl Fn(Why) -> Facts) -> Stand {
    let Some((_, status)) = seen.memory.status() else { return Stand::Unknown };
    let trouble = status.troubles.iter().find(|trouble| trouble.code == Trouble::NOT_LISTENING);
    trouble.map_or(Stand::Clear, |trouble| Stand::Holds(facts(Why::Said(trouble.message.clone()))))
}

fn plan_rejected(decision: &Decision, facts: impl Fn(Why) -> Facts) -> Stand {
    let why = refused(decision, |why| matches!(why, Reason::PlanRejected { .. }));
    why.map_or(Stand::Clear, |why| Stand::Holds(facts(why.into())))
}

fn action_failed(seen: &Seen<'_>, facts: impl Fn(Why) -> Facts) -> Stand {
    let failure = seen.memory.failure.as_ref().and_then(|failure| Some((failure.error.as_ref()?, failure)));
    failure.map_or(Stand::Clear, |(error, failure)| {
        Stand::Holds(facts(Why::Refused { times: failure.in_a_row, error: error.clone() }))
    })
}

fn approval_needed(seen: &Seen<'_>) -> Stand {
    seen.memory.pending(seen.at).map_or(Stand::Clear, |pending| {
        let id = &pending.decision;
        let cost = seen
            .workload
            .price
            .map(|price| Cost { now: price.times(pending.from), then: Some(price.times(pending.to)) });
        let why =
            Why::Waits { decision: id.clone(), from: pending.from, to: pending.to, until: pending.until };
        Stand::Holds(Facts { why, cost, decision: Some(id.clone()) })
    })
}

fn stuck(
    settings: &AlertSettings,
    seen: &Seen<'_>,
    progress: &mut Progress,
    facts: impl Fn(Why) -> Facts,
) -> Stand {
    let Some((_, status)) = seen.memory.status() else { return Stand::Unknown };
    if status.ready >= status.wanted {
        progress.short = None;
        return Stand::Clear;
    }
    let over = match progress.short {
        Some((over, ready)) if status.ready <= ready => over.go_on(seen.at),
        _ => Stretch::new(seen.at),
    };
    // One that dies is no progress when it comes back.
    let most = progress.short.map_or(status.ready, |(_, ready)| ready.max(status.ready));
    progress.short = Some((over, most));
    let since = over.since;
    let expected = seen.memory.start_ups().expected().unwrap_or(Span::ZERO);
    if seen.at.since(since) < settings.stuck_after.max(expected.times(PATIENCE)) {
        return Stand::Clear;
    }
    let trouble = status.troubles.first().map(|trouble| trouble.message.clone());
    Stand::Holds(facts(Why::Stuck { ready: status.ready, wanted: status.wanted, since, trouble }))
}

fn flapping(settings: &AlertSettings, seen: &Seen<'_>, facts: impl Fn(Why) -> Facts) -> Stand {
    let recent = seen.memory.changes().filter(|change| seen.at.since(change.at) <= TURNS_WITHIN);
    let grows: Vec<bool> = recent.filter(|c| c.from != c.to).map(|c| c.to > c.from).collect();
    let turns = grows.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if turns < settings.flapping_at as usize {
        return Stand::Clear;
    }
    Stand::Holds(facts(Why::Turned { times: turns, within: TURNS_WITHIN }))
}

/// That a forecast is not worse than the one to beat, or why it is said to be.
type Verdict = Result<(), Why>;

/// Whether a forecast is worse than the one to beat: that of an objective, by its record; else that of another strategy, by
/// what it says; else that of a forecast signal, by its judged forecasts: of these there is no word in a decision.
fn forecast_demoted(
    seen: &Seen<'_>,
    decision: &Decision,
    progress: &mut Progress,
    facts: impl Fn(Why) -> Facts,
) -> Stand {
    let near = near_loses(seen, progress);
    let other = unproved(decision, progress).or_else(|| outlook_loses(seen, progress));
    match (near, other) {
        (Some(Err(why)), _) | (_, Some(Err(why))) => Stand::Holds(facts(why)),
        (Some(Ok(())), _) | (_, Some(Ok(()))) => Stand::Clear,
        (None, None) => Stand::Unknown,
    }
}

/// Of the forecasts that objectives act on; `None` where nothing is known.
fn near_loses(seen: &Seen<'_>, progress: &mut Progress) -> Option<Verdict> {
    // What no objective acts on any more can't lose.
    let acts_on = |name: &SignalName| {
        let acts = |objective: &Objective| objective.foresee && objective.demand(seen.workload) == Some(name);
        seen.workload.strategies.iter().any(|s| matches!(s, Strategy::Objective(o) if acts(o)))
    };
    let lost = progress.lost.len();
    progress.lost.retain(acts_on);
    let mut known = (progress.lost.len() < lost).then_some(Ok(()));
    for near in seen.memory.near_forecasts(seen.workload) {
        let is_lost = match near.proved {
            Proved::Worse => true,
            // Once it has lost it has to be ahead again, not only less far behind than can be told.
            Proved::Alike => progress.lost.contains(&near.signal) && near.loss >= near.naive_loss,
            Proved::Better => false,
        };
        if is_lost {
            progress.lost.insert(near.signal.clone());
            return Some(Err(Why::NearLoses(Box::new(near))));
        }
        progress.lost.remove(&near.signal);
        known = Some(Ok(()));
    }
    known
}

/// Of the forecasts that other strategies act on; `None` where none says anything of one that has counted.
fn unproved(decision: &Decision, progress: &mut Progress) -> Option<Verdict> {
    let mut known = None;
    for recommendation in &decision.recommendations {
        match recommendation.advice.why() {
            Reason::ForecastNeeds { .. }
            | Reason::ForecastRaises { .. }
            | Reason::ForecastNear { .. }
            | Reason::ForecastOnly { .. } => {
                progress.forecast_counted = true;
                known = Some(Ok(()));
            }
            why @ Reason::ForecastUnproved { .. } if progress.forecast_counted => {
                return Some(Err(why.into()));
            }
            _ => {}
        }
    }
    known
}

/// Of the forecasts of signals that have been ahead; `None` where nothing is known.
fn outlook_loses(seen: &Seen<'_>, progress: &mut Progress) -> Option<Verdict> {
    let mut known = None;
    for (signal, outlook) in seen.memory.outlooks() {
        let Some(standing) = outlook.standing(JUDGED_WITHIN) else { continue };
        if standing.is_better() {
            progress.proved.insert(signal.clone());
            known = Some(Ok(()));
        } else if progress.proved.contains(signal) {
            let [loss, naive] = [standing.loss, standing.yardstick_loss].map(|l| Level::new(l).ok());
            return Some(Err((&Reason::ForecastUnproved { signal: signal.clone(), loss, naive }).into()));
        }
    }
    known
}

/// Whether the least count has been far more than was needed, for long.
fn idle(
    settings: &AlertSettings,
    seen: &Seen<'_>,
    decision: &Decision,
    progress: &mut Progress,
    facts: impl Fn(Why) -> Facts,
) -> Stand {
    let min = seen.workload.replicas.min;
    let Some((_, status)) = seen.memory.status() else { return Stand::Unknown };
    // One replica is what being there costs.
    if min <= Replicas::ONE || status.wanted > min {
        progress.idle = None;
        return Stand::Clear;
    }
    let Some(need) = need(decision) else { return Stand::Unknown };
    let Ok(share) = Level::new(need / min.as_f64()) else { return Stand::Unknown };
    if share >= settings.idle_below.level {
        progress.idle = None;
        return Stand::Clear;
    }
    // Of another least count, or where less is far too much now, it begins anew.
    let same = |idle: &IdleTime| idle.min == min && idle.most < settings.idle_below.level;
    let idle = match progress.idle.filter(same) {
        Some(idle) => idle.go_on(seen.at, share),
        None => IdleTime::new(seen.at, min, share),
    };
    progress.idle = Some(idle);
    let IdleTime { over: Stretch { since, .. }, most, .. } = idle;
    if seen.at.since(since) < settings.idle_after {
        // What was raised before a restart is not over because the controller has not seen it for a day.
        return Stand::Unknown;
    }
    let enough = Replicas::ceil(most.get() * min.as_f64()).max(Replicas::ONE);
    Stand::Holds(facts(Why::Idle { min, share: most, since, enough }))
}

/// How many replicas' worth the strategies need, in fractions where they tell them; `None` where that is not known:
/// because a signal is absent, or because nobody says anything.
fn need(decision: &Decision) -> Option<f64> {
    let is_absent = |reading: &Reading| match reading {
        Reading::Fresh(_) | Reading::Missing(Absence::Idle) => false,
        Reading::Stale { .. } | Reading::Missing(_) => true,
    };
    if decision.signals.iter().any(|seen| is_absent(&seen.reading)) {
        return None;
    }
    let needs = decision.recommendations.iter().filter_map(|recommendation| match &recommendation.advice {
        Advice::Wants { replicas, why }
        | Advice::Floor { replicas, why }
        | Advice::Content { replicas, why } => Some(fraction(why).unwrap_or(replicas.as_f64())),
        Advice::Ceiling { .. } | Advice::Abstains { .. } => None,
    });
    needs.max_by(f64::total_cmp)
}

/// The load in replicas, where a reason holds both.
fn fraction(why: &Reason) -> Option<f64> {
    let over = |load: Level, each: Level| (each > Level::ZERO).then(|| load.get() / each.get());
    match why {
        Reason::SharePerReplica { seen, per_replica } => over(seen.value, *per_replica),
        Reason::TowardsTarget { seen, target, ready } => {
            over(seen.value, *target).map(|share| share * ready.as_f64())
        }
        Reason::ObjectiveNeeds { weighed }
        | Reason::ObjectiveKeeps { weighed, .. }
        | Reason::ObjectiveSpares { weighed, .. } => {
            let expected = weighed.expected.get().max(weighed.demand.value.get());
            over(Level::new(expected).ok()?, weighed.per_replica)
        }
        _ => None,
    }
}
