//! Reasons: why a number is what it is.
//!
//! A reason carries the facts, not the sentence: [`crate::say`] makes sentences at the edge, in the reader's
//! language. Its [`Reason::code`] is stable and the same in the journal, the API, metrics, logs and tests; each
//! code has a place in `docs/reference/reasons.md`, which is generated from [`Reason::CATALOGUE`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{LimitName, SignalName, WorkloadName};
use crate::reading::{Absence, Reading};
use crate::units::{Level, Replicas, Span, Timestamp, Unit};

/// A signal's value as a reason quotes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Which signal.
    pub signal: SignalName,
    /// What its values count.
    pub unit: Unit,
    /// The value.
    pub value: Level,
}

/// What an objective weighed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Weighed {
    /// The load now.
    pub demand: Seen,
    /// The middle of what is expected when a start made now is ready, in the unit of the load.
    pub expected: Level,
    /// How far ahead that is.
    pub ahead: Span,
    /// The cheapest number of replicas then.
    pub needs: Replicas,
    /// The probability that they are enough then.
    pub sure: Level,
    /// What one replica is taken to carry.
    pub per_replica: Level,
    /// The share of steps in the last day that missed the objective.
    pub missed: Level,
    /// The share that may.
    pub allowed: Level,
    /// What a second of violation is taken to cost, in replica-seconds.
    pub price: Level,
    /// Whether a jump that noise can't explain is under way.
    pub surge: bool,
}

/// Why a strategy wants a number, or why a guard moved or refused one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "a variant's line and its sentence in `say` name every field")]
pub enum Reason {
    // Strategies.
    /// A signal is over a limit.
    SignalAbove { seen: Seen, limit: Level },
    /// A signal is under a limit.
    SignalBelow { seen: Seen, limit: Level },
    /// A signal lies between its limits, so nothing changes.
    WithinBand { seen: Seen, low: Level, high: Level },
    /// A total is shared out: so much for each replica.
    SharePerReplica { seen: Seen, per_replica: Level },
    /// A value each replica shows is to be brought to a target, starting from the ready replicas.
    TowardsTarget { seen: Seen, target: Level, ready: Replicas },
    /// The value is so near its target that nothing changes.
    WithinTolerance { seen: Seen, target: Level, tolerance: Level },
    /// Every condition for shrinking holds.
    AllBelow { seen: Vec<Seen> },
    /// Not every condition for shrinking holds; the first that does not.
    NotAllBelow { seen: Seen, limit: Level },
    /// The breach is so large that the step has this size.
    FastStep { seen: Seen, limit: Level, step: Replicas },
    /// A condition must hold longer before it counts.
    NotYetLongEnough { seen: Seen, limit: Level, held: Span, needed: Span },
    /// The strategy waits after a change of its own direction.
    StrategyCoolingDown { until: Timestamp, wanted: Replicas },
    /// A signal the strategy needs is absent.
    SignalAbsent { signal: SignalName, absence: Absence },
    /// A signal the strategy needs is too old.
    SignalStale {
        signal: SignalName,
        age: Span,
        /// It is stamped so far ahead of this machine's clock.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ahead: bool,
    },
    /// No replica is ready, so what each of them shows says nothing.
    NoReadyReplica,
    /// Requests are held at the balancer because no replica is there.
    RequestsWaiting { requests: u32 },
    /// The short window shows a surge: the highest count of it is kept until it has passed.
    Panicking { seen: Seen, per_replica: Level, until: Timestamp },
    /// The strategy itself changes only so much at a time.
    RateOfChange { wanted: Replicas, allowed: Replicas },
    /// Too few of the replicas are ready to judge by.
    TooFewReady { ready: Replicas, of: Replicas, needed: Level },
    /// A zero that the policy does not take at its word.
    ZeroNotBelieved { signal: SignalName },
    /// A backlog is to be worked off in time.
    DrainWithin { backlog: Seen, service: Span, within: Span },
    /// An entry of the schedule is in force.
    Scheduled { entry: String, until: Option<Timestamp> },
    /// At this hour of so many days before, the load was usually so high.
    UsualLoad { seen: Seen, days: u32, per_replica: Level },
    /// The days before are too few to show a pattern.
    PatternUnknown { signal: SignalName },
    /// No entry of the schedule is in force.
    OutsideSchedule { next: Option<Timestamp> },
    /// Enough of the last periods breach a threshold.
    AlarmRings { seen: Seen, limit: Level, breached: u32, of: u32 },
    /// An alarm does not ring, or asks for nothing more.
    AlarmQuiet { signal: SignalName },
    /// Something outside asks for this count.
    AskedFor { seen: Seen },
    /// The policy names a fixed count.
    FixedCount,
    /// A formula gives this.
    FormulaGives { value: Level },
    /// A formula has no value.
    FormulaUndefined,
    /// Several figures were weighed into one urgency and one opportunity.
    Scored { urgency: Level, opportunity: Level },
    /// A value has been high for long enough for a step of this size.
    PhaseHolds { seen: Seen, limit: Level, held: Span, grow: Level },
    /// No phase holds.
    NoPhase { seen: Seen },
    /// Writes can not be spread over replicas: a larger machine class is advised.
    NextClassAdvised { seen: Seen },
    /// There are as many read replicas as there may be, and they are not enough: caches are advised.
    CacheAdvised { seen: Seen, replicas: Replicas },
    /// The worst of several ratios decides.
    UnderPressure { seen: Seen, pressure: Level },
    /// The load foreseen, at this level, needs so many before `by`.
    ForecastNeeds { peak: Seen, level: Level, by: Timestamp, per_replica: Level },
    /// The load foreseen needs more than the maximum before `by`, and the policy lets it raise that.
    ForecastRaises { peak: Seen, by: Timestamp, max: Replicas, to: Replicas },
    /// The load foreseen is surely carried by so many until the stabilisation window is over: it ends early.
    ForecastReleases { peak: Seen, by: Timestamp, replicas: Replicas },
    /// The forecast would want this, and the policy lets it only say so.
    ForecastOnly { wanted: Replicas },
    /// The forecast wants about what there is.
    ForecastNear { wanted: Replicas },
    /// There is no forecast yet, or it does not reach so far.
    ForecastMissing { signal: SignalName },
    /// Forecasts have not (yet) proved better than the naive ones: their mean losses, where known.
    ForecastUnproved { signal: SignalName, loss: Option<Level>, naive: Option<Level> },
    /// What one replica carries of the load is not known.
    ForecastWithoutCapacity { signal: SignalName },
    /// So many are the cheapest when a start made now is ready.
    ObjectiveNeeds { weighed: Box<Weighed> },
    /// Fewer are needed, but keeping them has not yet cost what a change of mind is worth.
    ObjectiveKeeps { weighed: Box<Weighed>, idle: Span, worth: Span },
    /// Fewer are needed, and have been for long enough.
    ObjectiveSpares { weighed: Box<Weighed>, idle: Span },
    /// A limit of the objective is not kept while the replicas are loaded.
    ObjectiveMissed { seen: Seen, limit: Level },
    /// What waits is to be worked off in time, beside what arrives.
    WorksOff { backlog: Seen, within: Span, per_replica: Level },
    /// Neither the policy nor experience says what one replica carries.
    CapacityUnknown { signal: SignalName },

    // Combination.
    /// The highest want counts.
    HighestWant { strategy: String },
    /// A floor lifts the want.
    Floor { strategy: String },
    /// A ceiling lowers the want.
    Ceiling { strategy: String },
    /// No strategy wants anything.
    NobodyWants,
    /// A person applied a plan.
    PlanApplied { by: String },
    /// The first strategy that does not abstain decides.
    FirstToSpeak { strategy: String },
    /// All strategies agree on the direction; the smallest change counts.
    AllAgree { strategy: String },
    /// The strategy that fits the situation best decides.
    Fittest { strategy: String, score: Level },

    // Guards.
    /// An action is under way; only a larger growth may overtake it.
    ActionInFlight { to: Replicas, since: Timestamp },
    /// The last action failed; it is tried again later.
    ActionFailed { error: String, until: Timestamp },
    /// The controller runs in advise mode: the change was said, not done; it is said again later.
    AdvisedOnly { until: Timestamp },
    /// Nothing shrinks while something that matters can't be read.
    HeldForAbsence { signal: SignalName },
    /// The target can't be looked at, so its size is not known.
    TargetUnseen { error: Option<String> },
    /// Shrinking waits until no higher recommendation lies within the window.
    StabilisingDown { window: Span, until: Timestamp },
    /// Growing waits until no lower recommendation lies within the window.
    StabilisingUp { window: Span, until: Timestamp },
    /// A policy limits how many may be added.
    StepUpLimited { allowed: Replicas, period: Span },
    /// A policy limits how many may be taken away.
    StepDownLimited { allowed: Replicas, period: Span },
    /// Changes in this direction are switched off.
    DirectionDisabled,
    /// The workload changed a short while ago.
    CoolingDown { until: Timestamp },
    /// More is wanted than the most allowed.
    AtMaximum { max: Replicas },
    /// Less is wanted than the least allowed.
    AtMinimum { min: Replicas },
    /// Too many changes of late.
    RateLimited { until: Timestamp, per_hour: u32 },
    /// The change is cut to the most replicas one change may move.
    ChangeTooLarge { most: Replicas },
    /// A person froze the workload.
    Frozen { until: Option<Timestamp>, by: String, why: String },
    /// One change moves more only when it is urgent.
    GradualStep { most: Replicas, urgency: Level },
    /// Something the workload depends on is unwell, or can not be read.
    DependencyUnwell { signal: SignalName },
    /// Quiet hours: no change of this direction.
    Quiet { until: Timestamp },
    /// The count swings; shrinking waits.
    Swings { turns: u32, within: Span, until: Timestamp },
    /// A change of this size waits for a person.
    NeedsApproval { limit: Replicas },
    /// A person refused the change.
    ApprovalRefused { by: String, why: String, until: Timestamp },
    /// While a signal can not be read the policy names a count.
    FallbackReplicas { signal: SignalName, replicas: Replicas },
    /// What several workloads draw from together is used up.
    LimitReached { limit: LimitName, supply: u64, held: u64 },
    /// A workload of a higher priority needs the room.
    GivesWay { limit: LimitName, to: WorkloadName },
    /// Others hold what this workload supplies.
    SupplyHeld { limit: LimitName, supply: u64, held: u64 },
    /// With this change too much of the fleet would change at once.
    BreakerTrips { changed: u64, most: u64 },
    /// Too much of the fleet changed at once: the breaker is open.
    BreakerOpen { until: Timestamp },
    /// A shrink made something unwell and was undone: the count is brought back, and stays for a while.
    ShrinkUndone { seen: Seen, until: Timestamp },
    /// A change was watched to the end and did what it was made for.
    ChangeHolds { ready: Replicas, within: Span },
    /// Something that was well before a change is not any more.
    BecameUnwell { seen: Seen, limit: Level, held: Span },
    /// A growth did not get there in time.
    NotReached { ready: Replicas, to: Replicas, within: Span },
    /// Another change came before a verdict.
    ChangeOvertaken { by: String },
    /// So many are kept warm.
    WarmKept { keep: Replicas },
    /// More load is foreseen than the replicas carry, so what is missing is made warm.
    WarmForeseen { load: Level, carried: Replicas, within: Span },
    /// The warm pool and the replicas that take traffic are together at the most.
    WarmNoRoom { max: Replicas },
    /// The policy names no warm pool any more.
    WarmPoolOff,
    /// The independent check of the plan found a fault; nothing is done.
    PlanRejected { finding: String },
}

impl Reason {
    /// Every code with one line for the reference page, in the order of the enum.
    pub const CATALOGUE: &'static [(&'static str, &'static str)] = &[
        ("signal-above", "A signal is over a limit, so more is wanted."),
        ("signal-below", "A signal is under a limit, so less is wanted."),
        ("within-band", "A signal lies between its limits; nothing changes."),
        ("share-per-replica", "A total is divided by what one replica is to carry, rounded up."),
        ("towards-target", "The ready replicas times value ÷ target, rounded up."),
        ("within-tolerance", "The value is so near its target that nothing changes."),
        ("all-below", "Every condition for shrinking holds."),
        ("not-all-below", "At least one condition for shrinking does not hold."),
        ("fast-step", "A breach of this size adds a step of this size."),
        ("not-yet-long-enough", "A condition holds, but not yet for as long as it must."),
        ("strategy-cooling-down", "The strategy waits after a change in its direction."),
        ("signal-absent", "A signal the strategy needs has no value; it abstains."),
        ("signal-stale", "A signal the strategy needs is older than its limit; it abstains."),
        ("no-ready-replica", "No replica is ready, so what each shows says nothing; the strategy abstains."),
        ("requests-waiting", "Requests are held at the balancer because no replica is there."),
        ("panicking", "The short window shows a surge: nothing shrinks until it has passed."),
        ("rate-of-change", "The strategy changes only so much at a time."),
        ("too-few-ready", "Too few replicas are ready to judge by; the strategy abstains."),
        ("zero-not-believed", "A signal is 0, and the policy does not take that at its word."),
        ("drain-within", "So many workers work off the backlog within the time given."),
        ("scheduled", "An entry of the schedule is in force."),
        ("usual-load", "The load that this hour had on the days before needs so many replicas."),
        ("pattern-unknown", "Fewer than two days of the load are known; it abstains."),
        ("outside-schedule", "No entry of the schedule is in force; it abstains."),
        ("alarm-rings", "Enough of the last periods breach a threshold."),
        ("alarm-quiet", "An alarm does not ring, or asks for nothing more; it abstains."),
        ("asked-for", "Something outside asks for this count."),
        ("fixed-count", "The policy names a fixed count."),
        ("formula-gives", "A formula gives this."),
        ("formula-undefined", "A formula has no value (a division by zero); it abstains."),
        ("scored", "Several figures were weighed into one urgency and one opportunity."),
        ("phase-holds", "A value has been high for long enough for a step of this size."),
        ("no-phase", "No phase of progressive growth holds; it abstains."),
        ("next-class-advised", "Writes can not be spread over replicas: a larger machine class is advised."),
        (
            "cache-advised",
            "There are as many read replicas as there may be, and they are not enough: caches are advised.",
        ),
        ("under-pressure", "The worst of several ratios decides."),
        ("forecast-needs", "The load foreseen needs so many replicas by the time a start made now is ready."),
        (
            "forecast-raises",
            "The load foreseen needs more than the maximum, and the policy lets it raise that, so far.",
        ),
        (
            "forecast-releases",
            "The load foreseen is surely carried by so many until the stabilisation window is over: it ends early.",
        ),
        ("forecast-only", "The forecast only says what it would want; the strategy abstains."),
        ("forecast-near", "The forecast wants about what there is; it abstains."),
        ("forecast-missing", "There is no forecast yet, or it does not reach so far; the strategy abstains."),
        ("forecast-unproved", "Forecasts have not proved better than naive ones; the strategy abstains."),
        ("forecast-without-capacity", "What one replica carries is not known; the forecast abstains."),
        ("objective-needs", "So many replicas are the cheapest when a start made now is ready."),
        (
            "objective-keeps",
            "Fewer are needed; keeping them has not yet cost what a change of mind is worth.",
        ),
        ("objective-spares", "Fewer are needed, and keeping them has cost what a change of mind is worth."),
        ("objective-missed", "A limit of the objective is not kept while the replicas are loaded."),
        ("works-off", "What waits is to be worked off in time, beside what arrives."),
        ("capacity-unknown", "Neither the policy nor experience says what one replica carries; it abstains."),
        ("highest-want", "Of several wants the highest counts."),
        ("floor", "A floor lifts the want."),
        ("ceiling", "A ceiling lowers the want."),
        ("nobody-wants", "No strategy wants anything, so nothing changes."),
        ("plan-applied", "A person applied a plan that was shown before."),
        ("first-to-speak", "By priority: the first strategy that does not abstain decides."),
        ("all-agree", "All strategies agree on the direction; the smallest change counts."),
        ("fittest", "The strategy that fits the situation best decides."),
        ("action-in-flight", "An action is under way; only a larger growth may overtake it."),
        ("action-failed", "The last action failed and is tried again after a pause."),
        ("advised-only", "The controller runs in advise mode: the change was said, not done."),
        ("held-for-absence", "Nothing shrinks while a signal that matters can't be read."),
        ("target-unseen", "The target can't be looked at, so nothing is decided."),
        ("stabilising-down", "Shrinking waits for the stabilisation window."),
        ("stabilising-up", "Growing waits for the stabilisation window."),
        ("step-up-limited", "A policy limits how fast the count may grow."),
        ("step-down-limited", "A policy limits how fast the count may shrink."),
        ("direction-disabled", "Changes in this direction are switched off."),
        ("cooling-down", "The workload changed a short while ago."),
        ("at-maximum", "More is wanted than the most allowed."),
        ("at-minimum", "Less is wanted than the least allowed."),
        ("rate-limited", "Too many changes of late."),
        ("change-too-large", "One change may move only so many replicas."),
        ("frozen", "A person froze the workload."),
        ("gradual-step", "One change moves more only when it is urgent."),
        ("dependency-unwell", "Something the workload depends on is unwell, or can not be read."),
        ("quiet-hours", "Quiet hours: no change of this direction."),
        ("swings", "The count swings up and down; shrinking waits."),
        ("needs-approval", "A change of this size waits for a person."),
        ("approval-refused", "A person refused a change of this direction."),
        ("fallback-replicas", "While a signal can not be read the policy names a count."),
        ("limit-reached", "What several workloads draw from together is used up."),
        ("gives-way", "A workload of a higher priority needs what this one holds."),
        ("supply-held", "Others hold what this workload supplies, so it does not shrink."),
        ("breaker-trips", "With this change too much of the fleet would change at once."),
        ("breaker-open", "Too much of the fleet changed at once; nothing changes until the breaker closes."),
        ("shrink-undone", "A shrink made something unwell and was undone; the count stays for a while."),
        ("change-holds", "A change was watched to the end and did what it was made for."),
        ("became-unwell", "Something that was well before a change is not any more."),
        ("not-reached", "A growth did not get there in time."),
        ("change-overtaken", "Another change came before a verdict."),
        ("warm-kept", "So many replicas are kept warm, as the policy says."),
        ("warm-foreseen", "More load is foreseen than the replicas carry, so what is missing is made warm."),
        ("warm-no-room", "The warm pool and the replicas that take traffic are together at the most."),
        ("warm-pool-off", "The policy names no warm pool any more, so it is let go."),
        ("plan-rejected", "The independent check of the plan found a fault."),
    ];

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::SignalAbove { .. } => "signal-above",
            Self::SignalBelow { .. } => "signal-below",
            Self::WithinBand { .. } => "within-band",
            Self::SharePerReplica { .. } => "share-per-replica",
            Self::TowardsTarget { .. } => "towards-target",
            Self::WithinTolerance { .. } => "within-tolerance",
            Self::AllBelow { .. } => "all-below",
            Self::NotAllBelow { .. } => "not-all-below",
            Self::FastStep { .. } => "fast-step",
            Self::NotYetLongEnough { .. } => "not-yet-long-enough",
            Self::StrategyCoolingDown { .. } => "strategy-cooling-down",
            Self::SignalAbsent { .. } => "signal-absent",
            Self::SignalStale { .. } => "signal-stale",
            Self::NoReadyReplica => "no-ready-replica",
            Self::RequestsWaiting { .. } => "requests-waiting",
            Self::Panicking { .. } => "panicking",
            Self::RateOfChange { .. } => "rate-of-change",
            Self::TooFewReady { .. } => "too-few-ready",
            Self::ZeroNotBelieved { .. } => "zero-not-believed",
            Self::DrainWithin { .. } => "drain-within",
            Self::Scheduled { .. } => "scheduled",
            Self::UsualLoad { .. } => "usual-load",
            Self::PatternUnknown { .. } => "pattern-unknown",
            Self::OutsideSchedule { .. } => "outside-schedule",
            Self::AlarmRings { .. } => "alarm-rings",
            Self::AlarmQuiet { .. } => "alarm-quiet",
            Self::AskedFor { .. } => "asked-for",
            Self::FixedCount => "fixed-count",
            Self::FormulaGives { .. } => "formula-gives",
            Self::FormulaUndefined => "formula-undefined",
            Self::Scored { .. } => "scored",
            Self::PhaseHolds { .. } => "phase-holds",
            Self::NoPhase { .. } => "no-phase",
            Self::NextClassAdvised { .. } => "next-class-advised",
            Self::CacheAdvised { .. } => "cache-advised",
            Self::UnderPressure { .. } => "under-pressure",
            Self::ForecastNeeds { .. } => "forecast-needs",
            Self::ForecastRaises { .. } => "forecast-raises",
            Self::ForecastReleases { .. } => "forecast-releases",
            Self::ForecastOnly { .. } => "forecast-only",
            Self::ForecastNear { .. } => "forecast-near",
            Self::ForecastMissing { .. } => "forecast-missing",
            Self::ForecastUnproved { .. } => "forecast-unproved",
            Self::ForecastWithoutCapacity { .. } => "forecast-without-capacity",
            Self::ObjectiveNeeds { .. } => "objective-needs",
            Self::ObjectiveKeeps { .. } => "objective-keeps",
            Self::ObjectiveSpares { .. } => "objective-spares",
            Self::ObjectiveMissed { .. } => "objective-missed",
            Self::WorksOff { .. } => "works-off",
            Self::CapacityUnknown { .. } => "capacity-unknown",
            Self::HighestWant { .. } => "highest-want",
            Self::Floor { .. } => "floor",
            Self::Ceiling { .. } => "ceiling",
            Self::NobodyWants => "nobody-wants",
            Self::PlanApplied { .. } => "plan-applied",
            Self::FirstToSpeak { .. } => "first-to-speak",
            Self::AllAgree { .. } => "all-agree",
            Self::Fittest { .. } => "fittest",
            Self::ActionInFlight { .. } => "action-in-flight",
            Self::ActionFailed { .. } => "action-failed",
            Self::AdvisedOnly { .. } => "advised-only",
            Self::HeldForAbsence { .. } => "held-for-absence",
            Self::TargetUnseen { .. } => "target-unseen",
            Self::StabilisingDown { .. } => "stabilising-down",
            Self::StabilisingUp { .. } => "stabilising-up",
            Self::StepUpLimited { .. } => "step-up-limited",
            Self::StepDownLimited { .. } => "step-down-limited",
            Self::DirectionDisabled => "direction-disabled",
            Self::CoolingDown { .. } => "cooling-down",
            Self::AtMaximum { .. } => "at-maximum",
            Self::AtMinimum { .. } => "at-minimum",
            Self::RateLimited { .. } => "rate-limited",
            Self::ChangeTooLarge { .. } => "change-too-large",
            Self::Frozen { .. } => "frozen",
            Self::GradualStep { .. } => "gradual-step",
            Self::DependencyUnwell { .. } => "dependency-unwell",
            Self::Quiet { .. } => "quiet-hours",
            Self::Swings { .. } => "swings",
            Self::NeedsApproval { .. } => "needs-approval",
            Self::ApprovalRefused { .. } => "approval-refused",
            Self::FallbackReplicas { .. } => "fallback-replicas",
            Self::LimitReached { .. } => "limit-reached",
            Self::GivesWay { .. } => "gives-way",
            Self::SupplyHeld { .. } => "supply-held",
            Self::BreakerTrips { .. } => "breaker-trips",
            Self::BreakerOpen { .. } => "breaker-open",
            Self::ShrinkUndone { .. } => "shrink-undone",
            Self::ChangeHolds { .. } => "change-holds",
            Self::BecameUnwell { .. } => "became-unwell",
            Self::NotReached { .. } => "not-reached",
            Self::ChangeOvertaken { .. } => "change-overtaken",
            Self::WarmKept { .. } => "warm-kept",
            Self::WarmForeseen { .. } => "warm-foreseen",
            Self::WarmNoRoom { .. } => "warm-no-room",
            Self::WarmPoolOff => "warm-pool-off",
            Self::PlanRejected { .. } => "plan-rejected",
        }
    }

    /// The reason a strategy gives when it needs `signal` and only has `reading`; `None` where it is fresh.
    #[must_use]
    pub fn for_absent(signal: &SignalName, reading: &Reading) -> Option<Self> {
        match reading {
            Reading::Fresh(_) => None,
            Reading::Stale { age, ahead, .. } => {
                Some(Self::SignalStale { signal: signal.clone(), age: *age, ahead: *ahead })
            }
            Reading::Missing(absence) => {
                Some(Self::SignalAbsent { signal: signal.clone(), absence: absence.clone() })
            }
        }
    }

    /// The signal whose absence this reason is about, if it is about one that a fault explains. Having nothing to
    /// measure is no fault: a service without requests has no latency and may still shrink.
    #[must_use]
    pub fn absent_signal(&self) -> Option<&SignalName> {
        match self {
            Self::SignalAbsent { absence: Absence::Idle | Absence::NoReplica, .. } => None,
            Self::SignalAbsent { signal, .. } | Self::SignalStale { signal, .. } => Some(signal),
            _ => None,
        }
    }

    /// Until when this reason holds by itself, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::StrategyCoolingDown { until, .. }
            | Self::ActionFailed { until, .. }
            | Self::AdvisedOnly { until }
            | Self::Quiet { until }
            | Self::Swings { until, .. }
            | Self::ShrinkUndone { until, .. }
            | Self::StabilisingDown { until, .. }
            | Self::StabilisingUp { until, .. }
            | Self::CoolingDown { until }
            | Self::BreakerOpen { until }
            | Self::ApprovalRefused { until, .. }
            | Self::RateLimited { until, .. } => Some(*until),
            Self::Panicking { until, .. } => Some(*until),
            Self::Frozen { until, .. } | Self::Scheduled { until, .. } => *until,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted_like_the_enum() {
        let codes: std::collections::BTreeSet<_> = Reason::CATALOGUE.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), Reason::CATALOGUE.len());
        for reason in [Reason::NoReadyReplica, Reason::NobodyWants, Reason::DirectionDisabled] {
            assert!(codes.contains(&reason.code()));
        }
    }
}
