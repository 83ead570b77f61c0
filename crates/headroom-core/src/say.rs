//! Reasons as sentences, in the reader's language.
//!
//! The facts are in [`Reason`]; this is the only place that turns them into words, so the page, the command line
//! and reports say the same. Both languages are complete by construction: a reason without a sentence does not
//! compile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{Advice, By, Decision, Outcome};
use crate::guard::{Ending, Verdict};
use crate::reading::Absence;
use crate::reason::{Reason, Seen, Weighed};
use crate::units::{Level, Replicas, Span, Timestamp, Unit};

/// The language of a sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Korean.
    #[serde(rename = "ko")]
    Korean,
}

impl Language {
    /// The one of the same in both languages that is in this one.
    #[must_use]
    pub fn pick<T>(self, english: T, korean: T) -> T {
        match self {
            Self::English => english,
            Self::Korean => korean,
        }
    }
}

/// One decision, in full: a headline and the steps that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was decided and the reason that decided, in one sentence.
    pub headline: String,
    /// What each strategy said.
    pub recommendations: Vec<String>,
    /// What the decision reckons with beside the signals: what one replica carries, the warm pool.
    pub known: Vec<String>,
    /// How the number moved, one line each.
    pub steps: Vec<String>,
    /// Until when it stays so by itself, where that is known.
    pub until: Option<Timestamp>,
}

/// Explains `decision` in `language`.
#[must_use]
pub fn explain(decision: &Decision, language: Language) -> Explanation {
    let steps = decision.steps.iter().map(|step| {
        let by = by(step.by, language);
        format!("{} → {}: {} ({by})", step.from, step.to, sentence(&step.why, language))
    });
    let refusal = decision.refusal.as_ref().map(|r| {
        let verdict = match language {
            Language::English => "not done",
            Language::Korean => "실행하지 않음",
        };
        let (from, why, by) = (decision.from, sentence(&r.why, language), by(r.by, language));
        match (r.wanted == from, language) {
            (false, _) => format!("{from} → {}, {verdict}: {why} ({by})", r.wanted),
            // Another guard has held it back already.
            (true, Language::English) => format!("held at {from}: {why} ({by})"),
            (true, Language::Korean) => format!("{from} 유지: {why} ({by})"),
        }
    });
    let recommendations = decision.recommendations.iter().map(|r| {
        let says = match (&r.advice, language) {
            (Advice::Wants { replicas, .. }, Language::English) => format!("wants {replicas}"),
            (Advice::Wants { replicas, .. }, Language::Korean) => format!("{replicas}개를 원함"),
            (Advice::Floor { replicas, .. }, Language::English) => format!("at least {replicas}"),
            (Advice::Floor { replicas, .. }, Language::Korean) => format!("최소 {replicas}개"),
            (Advice::Ceiling { replicas, .. }, Language::English) => format!("at most {replicas}"),
            (Advice::Ceiling { replicas, .. }, Language::Korean) => format!("최대 {replicas}개"),
            (Advice::Content { replicas, .. }, Language::English) => {
                format!("is content, also with {replicas}")
            }
            (Advice::Content { replicas, .. }, Language::Korean) => format!("{replicas}개까지 괜찮음"),
            (Advice::Abstains { .. }, Language::English) => "abstains".to_owned(),
            (Advice::Abstains { .. }, Language::Korean) => "기권".to_owned(),
        };
        format!("{}: {says} — {}", r.label(), sentence(r.advice.why(), language))
    });
    Explanation {
        headline: headline(decision, language),
        recommendations: recommendations.collect(),
        known: known(decision, language),
        steps: steps.chain(refusal).collect(),
        until: decision.main_reason().and_then(Reason::until),
    }
}

/// What the decision reckons with beside the signals, one sentence each.
#[must_use]
pub fn known(decision: &Decision, language: Language) -> Vec<String> {
    let capacity = decision.capacity.as_ref().map(|capacity| capacity.say(language));
    let warm = decision.warm.as_ref().map(|warm| {
        let why = sentence(&warm.why, language);
        match language {
            Language::English => format!("warm pool of {}, {} warm: {why}", warm.wanted, warm.ready),
            Language::Korean => format!("예열 풀 {}개 중 {}개 준비됨: {why}", warm.wanted, warm.ready),
        }
    });
    let verdict = decision.verdict.as_ref().map(|verdict| self::verdict(verdict, language));
    capacity.into_iter().chain(warm).chain(verdict).collect()
}

/// What came of a change, in one sentence.
#[must_use]
pub fn verdict(verdict: &Verdict, language: Language) -> String {
    let ending = match (verdict.ending, language) {
        (Ending::Completed, Language::English) => "completed",
        (Ending::Completed, Language::Korean) => "완료",
        (Ending::RolledBack, Language::English) => "rolled back",
        (Ending::RolledBack, Language::Korean) => "되돌림",
        (Ending::Failed, Language::English) => "failed",
        (Ending::Failed, Language::Korean) => "실패",
        (Ending::Overtaken, Language::English) => "overtaken",
        (Ending::Overtaken, Language::Korean) => "다른 변경으로 대체됨",
    };
    let Verdict { decision, from, to, why, .. } = verdict;
    format!("{decision} ({from} → {to}) {ending}: {}", sentence(why, language))
}

/// What was decided and the reason that decided, in one sentence.
#[must_use]
pub fn headline(decision: &Decision, language: Language) -> String {
    // What moved the number, then what limited it: "8 → 14: cpu 98 % for a target of 60 %; limited by …".
    let reason = decision.main_reason().map(|why| sentence(why, language));
    let first = match decision.steps.split_first() {
        Some((first, rest)) if !rest.is_empty() || decision.refusal.is_some() => {
            Some(sentence(&first.why, language))
        }
        Some(_) | None => None,
    };
    let wanted = decision
        .recommendations
        .iter()
        .filter_map(|r| match &r.advice {
            Advice::Wants { replicas, why } => Some((*replicas, why)),
            Advice::Floor { .. }
            | Advice::Ceiling { .. }
            | Advice::Content { .. }
            | Advice::Abstains { .. } => None,
        })
        .max_by_key(|(replicas, _)| *replicas)
        .map(|(_, why)| sentence(why, language));
    let (from, to) = (decision.from, decision.to);
    let said = match (first, reason) {
        (Some(first), Some(last)) if first != last => {
            let first = match decision.steps.first().map(|s| &s.why) {
                Some(Reason::HighestWant { .. }) => wanted.unwrap_or(first),
                _ => first,
            };
            match language {
                Language::English => format!("{first}; but {last}"),
                Language::Korean => format!("{first}; 그러나 {last}"),
            }
        }
        (_, Some(last)) => match decision.steps.last().map(|s| &s.why) {
            Some(Reason::HighestWant { .. }) => wanted.unwrap_or(last),
            _ => last,
        },
        (_, None) => match language {
            Language::English => "nothing calls for a change".to_owned(),
            Language::Korean => "바꿀 이유가 없음".to_owned(),
        },
    };
    let verb = match (decision.outcome, language) {
        (Outcome::Act, _) => format!("{from} → {to}"),
        (Outcome::Keep, Language::English) => format!("stays at {to}"),
        (Outcome::Keep, Language::Korean) => format!("{to}개 유지"),
        (Outcome::Held, Language::English) => format!("held at {to}"),
        (Outcome::Held, Language::Korean) => format!("{to}개로 보류"),
        (Outcome::Rejected, Language::English) => format!("rejected, stays at {to}"),
        (Outcome::Rejected, Language::Korean) => format!("거부됨, {to}개 유지"),
    };
    format!("{verb}: {said}")
}

/// Who moved a number, as people call it.
#[must_use]
pub fn by(by: By, language: Language) -> &'static str {
    match (by, language) {
        (By::Strategies, Language::English) => "strategies",
        (By::Strategies, Language::Korean) => "전략",
        (By::Waiting, Language::English) => "waiting requests",
        (By::Waiting, Language::Korean) => "대기 중인 요청",
        (By::Person, Language::English) => "a person",
        (By::Person, Language::Korean) => "사람",
        (By::Settled, Language::English) => "one action at a time",
        (By::Settled, Language::Korean) => "한 번에 한 작업",
        (By::Absence, Language::English) => "absent data",
        (By::Absence, Language::Korean) => "데이터 부재",
        (By::Stabilise, Language::English) => "stabilisation window",
        (By::Stabilise, Language::Korean) => "안정화 구간",
        (By::Step, Language::English) => "limit of speed",
        (By::Step, Language::Korean) => "변경 속도 제한",
        (By::Cooldown, Language::English) => "cooldown",
        (By::Cooldown, Language::Korean) => "쿨다운",
        (By::Bounds, Language::English) => "bounds",
        (By::Bounds, Language::Korean) => "최소/최대 한계",
        (By::Share, Language::English) => "shared limit",
        (By::Share, Language::Korean) => "공유 한도",
        (By::RateLimit, Language::English) => "rate limit",
        (By::RateLimit, Language::Korean) => "변경 횟수 제한",
        (By::GradualSteps, Language::English) => "gradual steps",
        (By::GradualSteps, Language::Korean) => "점진적 단계",
        (By::Safety, Language::English) => "safety",
        (By::Safety, Language::Korean) => "안전 장치",
        (By::QuietHours, Language::English) => "quiet hours",
        (By::QuietHours, Language::Korean) => "변경 금지 시간",
        (By::Flapping, Language::English) => "flap detection",
        (By::Flapping, Language::Korean) => "진동 감지",
        (By::Watch, Language::English) => "watch",
        (By::Watch, Language::Korean) => "변경 감시",
        (By::Approval, Language::English) => "approval",
        (By::Approval, Language::Korean) => "승인",
        (By::Freeze, Language::English) => "freeze",
        (By::Freeze, Language::Korean) => "동결",
        (By::Breaker, Language::English) => "breaker",
        (By::Breaker, Language::Korean) => "차단기",
        (By::Inspect, Language::English) => "plan check",
        (By::Inspect, Language::Korean) => "계획 검사",
    }
}

/// What an objective weighed, with the numbers used.
fn weighed_english(w: &Weighed) -> String {
    let unit = w.demand.unit;
    format!(
        "{}{}; {} expected in {}: {} replicas of {} are enough with {}, at {} replica-seconds for a second missed; {} of the \
         last day missed, {} allowed",
        if w.surge { "surge: " } else { "" },
        seen(&w.demand),
        amount(unit, w.expected),
        length(w.ahead),
        w.needs,
        amount(unit, w.per_replica),
        fine(w.sure),
        amount(Unit::Count, w.price),
        fine(w.missed),
        fine(w.allowed)
    )
}

/// The same in Korean.
fn weighed_korean(w: &Weighed) -> String {
    let unit = w.demand.unit;
    format!(
        "{}{}; {} 뒤 예상 {}: 레플리카 {}개(개당 {})면 {} 확률로 충분, 위반 1초의 값 {} 레플리카초; 최근 하루 위반 {}, 허용 {}",
        if w.surge { "급증: " } else { "" },
        seen(&w.demand),
        length_korean(w.ahead),
        amount(unit, w.expected),
        w.needs,
        amount(unit, w.per_replica),
        fine(w.sure),
        amount(Unit::Count, w.price),
        fine(w.missed),
        fine(w.allowed)
    )
}

/// A share with two places of a percent: 99.93 % is not 100 %.
fn fine(share: Level) -> String {
    format!("{:.2} %", share.get() * 100.0)
}

fn amount(unit: Unit, level: Level) -> String {
    unit.say(level)
}

fn seen(s: &Seen) -> String {
    format!("{} {}", s.signal, amount(s.unit, s.value))
}

/// A length of time as people say it: `4 min 10 s`, without more than two parts.
fn length(span: Span) -> String {
    let seconds = span.as_millis() / 1000;
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..=119 => format!("{seconds} s"),
        120..=7199 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The same in Korean: `4분 10초`.
fn length_korean(span: Span) -> String {
    let seconds = span.as_millis() / 1000;
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..=119 => format!("{seconds}초"),
        120..=7199 if seconds.is_multiple_of(60) => format!("{}분", seconds / 60),
        120..=7199 => format!("{}분 {}초", seconds / 60, seconds % 60),
        _ => format!("{}시간 {}분", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The time of day, UTC, to the second; the date stands beside every decision.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..19).map_or_else(|| text.clone(), |time| format!("{time} UTC"))
}

/// A moment that may lie days ahead: date and time of day, UTC, to the minute.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => text,
    }
}

fn absence(absence: &Absence, language: Language) -> String {
    match (absence, language) {
        (Absence::NeverSeen, Language::English) => "nothing has come yet".to_owned(),
        (Absence::NeverSeen, Language::Korean) => "아직 값이 오지 않음".to_owned(),
        (Absence::Empty, Language::English) => "the source has no such series".to_owned(),
        (Absence::Empty, Language::Korean) => "소스에 해당 시계열이 없음".to_owned(),
        (Absence::NotANumber, Language::English) => "the source gave no number".to_owned(),
        (Absence::NotANumber, Language::Korean) => "소스가 숫자가 아닌 값을 줌".to_owned(),
        (Absence::SourceFailed(error), Language::English) => format!("the source failed: {error}"),
        (Absence::SourceFailed(error), Language::Korean) => format!("소스 오류: {error}"),
        (Absence::NoReplica, Language::English) => "there is no replica to measure".to_owned(),
        (Absence::NoReplica, Language::Korean) => "측정할 레플리카가 없음".to_owned(),
        (Absence::Idle, Language::English) => "there is nothing to measure".to_owned(),
        (Absence::Idle, Language::Korean) => "측정할 것이 없음".to_owned(),
    }
}

/// One reason as a sentence without a full stop.
#[must_use]
pub fn sentence(reason: &Reason, language: Language) -> String {
    match language {
        Language::English => english(reason),
        Language::Korean => korean(reason),
    }
}

fn english(reason: &Reason) -> String {
    match reason {
        Reason::SignalAbove { seen: s, limit } => format!("{} is above {}", seen(s), amount(s.unit, *limit)),
        Reason::SignalBelow { seen: s, limit } => format!("{} is below {}", seen(s), amount(s.unit, *limit)),
        Reason::WithinBand { seen: s, low, high } => {
            format!("{} lies between {} and {}", seen(s), amount(s.unit, *low), amount(s.unit, *high))
        }
        Reason::SharePerReplica { seen: s, per_replica } => {
            format!("{} at {} a replica", seen(s), amount(s.unit, *per_replica))
        }
        Reason::TowardsTarget { seen: s, target, ready } => {
            format!("{} on {} for a target of {}", seen(s), ready_replicas(*ready), amount(s.unit, *target))
        }
        Reason::WithinTolerance { seen: s, target, tolerance } => {
            format!(
                "{} is within {} of {}",
                seen(s),
                amount(Unit::Ratio, *tolerance),
                amount(s.unit, *target)
            )
        }
        Reason::AllBelow { seen: all } => {
            let all: Vec<_> = all.iter().map(seen).collect();
            format!("all conditions for shrinking hold: {}", all.join(", "))
        }
        Reason::NotAllBelow { seen: s, limit } => {
            format!(
                "{} is not below {}, and shrinking needs every condition",
                seen(s),
                amount(s.unit, *limit)
            )
        }
        Reason::FastStep { seen: s, limit, step } => {
            format!("{} a replica, from {} on {step} more", seen(s), amount(s.unit, *limit))
        }
        Reason::NotYetLongEnough { seen: s, limit, held, needed } => format!(
            "{} has been past {} for {}, {} are needed",
            seen(s),
            amount(s.unit, *limit),
            length(*held),
            length(*needed)
        ),
        Reason::StrategyCoolingDown { until, wanted } => {
            format!("would want {wanted}, but waits until {} after the last change", clock(*until))
        }
        Reason::SignalAbsent { signal, absence: a } => {
            format!("{signal} is absent: {}", absence(a, Language::English))
        }
        Reason::SignalStale { signal, age, ahead: false } => {
            format!("the last value of {signal} is {} old", length(*age))
        }
        Reason::SignalStale { signal, age, ahead: true } => {
            format!("the last value of {signal} is stamped {} ahead of this machine's clock", length(*age))
        }
        Reason::NoReadyReplica => "no replica is ready, so what each of them shows says nothing".to_owned(),
        Reason::RequestsWaiting { requests } => format!("{requests} requests wait and no replica is there"),
        Reason::HighestWant { strategy } => format!("the highest want is that of {strategy}"),
        Reason::Floor { strategy } => format!("{strategy} sets a floor"),
        Reason::Ceiling { strategy } => format!("{strategy} sets a ceiling"),
        Reason::NobodyWants => "nothing calls for a change".to_owned(),
        Reason::PlanApplied { by } => format!("{by} applied a plan"),
        Reason::ActionInFlight { to, since } => {
            format!(
                "a change to {to} is under way since {}; only a larger growth may overtake it",
                clock(*since)
            )
        }
        Reason::ActionFailed { error, until } => {
            format!("the last change failed ({error}); the next try is at {}", clock(*until))
        }
        Reason::AdvisedOnly { .. } => "in advise mode it is said, not done".to_owned(),
        Reason::HeldForAbsence { signal } => format!("nothing shrinks while {signal} can't be read"),
        Reason::TargetUnseen { error: Some(error) } => format!("the target can't be looked at: {error}"),
        Reason::TargetUnseen { error: None } => "the target has not been seen of late".to_owned(),
        Reason::StabilisingDown { window, until } => {
            format!("a higher count was wanted within the last {}, until {}", length(*window), clock(*until))
        }
        Reason::StabilisingUp { window, until } => {
            format!("a lower count was wanted within the last {}, until {}", length(*window), clock(*until))
        }
        Reason::StepUpLimited { allowed, period } if period.is_zero() => {
            format!("one change adds at most {allowed}")
        }
        Reason::StepUpLimited { allowed, period } => {
            format!("limited to {allowed} more now (at most so many within {})", length(*period))
        }
        Reason::StepDownLimited { allowed, period } => {
            format!("limited to {allowed} fewer now (at most so many within {})", length(*period))
        }
        Reason::DirectionDisabled => "changes in this direction are switched off".to_owned(),
        Reason::CoolingDown { until } => {
            format!("cooling down until {} after the last change", clock(*until))
        }
        Reason::AtMaximum { max } => format!("limited by the maximum of {max}"),
        Reason::AtMinimum { min } => format!("kept at the minimum of {min}"),
        Reason::RateLimited { until, per_hour } => {
            format!("at most {per_hour} changes an hour; the next may come at {}", clock(*until))
        }
        Reason::ChangeTooLarge { most } => format!("one change moves at most {most}"),
        Reason::Frozen { until: Some(until), by, why } => {
            format!("frozen by {by} until {}: {why}", clock(*until))
        }
        Reason::Frozen { until: None, by, why } => format!("frozen by {by} until thawed: {why}"),
        Reason::Panicking { seen: s, per_replica, until } => format!(
            "a surge: {} in the short window at {} a replica; nothing shrinks until {}",
            seen(s),
            amount(s.unit, *per_replica),
            clock(*until)
        ),
        Reason::RateOfChange { wanted, allowed } => {
            format!("would want {wanted}, but {allowed} is as far as it goes at a time")
        }
        Reason::TooFewReady { ready, of, needed } => format!(
            "{ready} of {of} replicas are ready, {} are needed to judge",
            amount(Unit::Ratio, *needed)
        ),
        Reason::ZeroNotBelieved { signal } => {
            format!("{signal} is 0, which this policy does not take at its word")
        }
        Reason::DrainWithin { backlog, service, within } => format!(
            "{} at {} each, to be worked off within {}",
            seen(backlog),
            length(*service),
            length(*within)
        ),
        Reason::Scheduled { entry, until } => match until {
            Some(until) => format!("the schedule says so ({entry}), until {}", moment(*until)),
            None => format!("the schedule says so ({entry})"),
        },
        Reason::UsualLoad { seen: s, days, per_replica } => format!(
            "at this hour {} is usual (over {days} days), at {} a replica",
            seen(s),
            amount(s.unit, *per_replica)
        ),
        Reason::PatternUnknown { signal } => format!("less than two days of {signal} are known"),
        Reason::OutsideSchedule { next } => match next {
            Some(next) => {
                format!("no entry of the schedule is in force; the next one starts {}", moment(*next))
            }
            None => "no entry of the schedule is in force".to_owned(),
        },
        Reason::AlarmRings { seen: s, limit, breached, of } => format!(
            "{} breaches {} in at least {breached} of the last {of} periods",
            seen(s),
            amount(s.unit, *limit)
        ),
        Reason::AlarmQuiet { signal } => format!("the alarm on {signal} asks for nothing"),
        Reason::AskedFor { seen: s } => format!("{} asks for it", seen(s)),
        Reason::FixedCount => "the policy names this count".to_owned(),
        Reason::FormulaGives { value } => format!("the formula gives {}", amount(Unit::Count, *value)),
        Reason::FormulaUndefined => "the formula has no value".to_owned(),
        Reason::Scored { urgency, opportunity } => format!(
            "urgency {}, opportunity {}",
            amount(Unit::Ratio, *urgency),
            amount(Unit::Ratio, *opportunity)
        ),
        Reason::PhaseHolds { seen: s, limit, held, grow } => format!(
            "{}, at or above {} for {}: {} more",
            seen(s),
            amount(s.unit, *limit),
            length(*held),
            amount(Unit::Ratio, *grow)
        ),
        Reason::NoPhase { seen: s } => format!("{}: no phase holds", seen(s)),
        Reason::NextClassAdvised { seen: s } => {
            format!(
                "{}: more replicas do not help, a larger machine class would; a write-behind cache takes bursts off it",
                seen(s)
            )
        }
        Reason::CacheAdvised { seen: s, replicas } => format!(
            "{} with all {replicas} read replicas there may be: cache what is read often (cache-aside with a TTL; \
             write-through where the newest value must be read)",
            seen(s)
        ),
        Reason::UnderPressure { seen: s, pressure } => {
            format!("{} gives the highest pressure, {}", seen(s), amount(Unit::Ratio, *pressure))
        }
        Reason::ForecastNeeds { peak, level, by, per_replica } => format!(
            "up to {} is foreseen (at {}) until {}, at {} a replica",
            seen(peak),
            amount(Unit::Ratio, *level),
            moment(*by),
            amount(peak.unit, *per_replica)
        ),
        Reason::ForecastRaises { peak, by, max, to } => format!(
            "up to {} is foreseen until {}, for which the maximum of {max} is raised to {to}",
            seen(peak),
            moment(*by)
        ),
        Reason::ForecastReleases { peak, by, replicas } => format!(
            "no more than {} is foreseen until {} with 99 %, for which {replicas} are enough: the window ends early",
            seen(peak),
            moment(*by)
        ),
        Reason::ForecastOnly { wanted } => format!("the forecast would want {wanted}, and is only to say so"),
        Reason::ForecastNear { wanted } => format!("the forecast wants {wanted}, which is near enough"),
        Reason::ForecastMissing { signal } => format!("{signal} is not foreseen yet"),
        Reason::ForecastUnproved { signal, loss: Some(loss), naive: Some(naive) } => format!(
            "forecasts of {signal} have not been better than naive ones (mean loss {} against {})",
            amount(Unit::Count, *loss),
            amount(Unit::Count, *naive)
        ),
        Reason::ForecastUnproved { signal, .. } => {
            format!("too few forecasts of {signal} have come due to be trusted")
        }
        Reason::ForecastWithoutCapacity { signal } => {
            format!("what a replica carries of {signal} is not known yet")
        }
        Reason::ObjectiveNeeds { weighed } => weighed_english(weighed),
        Reason::ObjectiveKeeps { weighed, idle, worth } => format!(
            "{}; kept for now: idle replicas have cost {} of replica time, a change of mind is worth {}",
            weighed_english(weighed),
            length(*idle),
            length(*worth)
        ),
        Reason::ObjectiveSpares { weighed, idle } => format!(
            "{}; idle replicas have cost {} of replica time, more than a change of mind is worth",
            weighed_english(weighed),
            length(*idle)
        ),
        Reason::ObjectiveMissed { seen: s, limit } => {
            format!("{} misses the objective of {} under load", seen(s), amount(s.unit, *limit))
        }
        Reason::WorksOff { backlog, within, per_replica } => format!(
            "{} to be worked off within {} beside what arrives, {} a replica",
            seen(backlog),
            length(*within),
            amount(Unit::PerSecond, *per_replica)
        ),
        Reason::CapacityUnknown { signal } => {
            format!("nothing says yet how much of {signal} one replica carries; a hint in the policy would")
        }
        Reason::FirstToSpeak { strategy } => format!("the first that has something to say is {strategy}"),
        Reason::AllAgree { strategy } => format!("all agree; the smallest change is that of {strategy}"),
        Reason::Fittest { strategy, score } => {
            format!("{strategy} fits best ({})", amount(Unit::Ratio, *score))
        }
        Reason::GradualStep { most, urgency } => {
            format!("at an urgency of {} one change moves at most {most}", amount(Unit::Count, *urgency))
        }
        Reason::DependencyUnwell { signal } => format!("a dependency is unwell or can't be read ({signal})"),
        Reason::Quiet { until } => format!("quiet hours until {}", clock(*until)),
        Reason::Swings { turns, within, until } => format!(
            "the count turned {turns} times within {}; nothing shrinks until {}",
            length(*within),
            clock(*until)
        ),
        Reason::NeedsApproval { limit } => {
            format!("a change by more than {limit} waits for a person's approval")
        }
        Reason::ApprovalRefused { by, why, until } => {
            format!("{by} refused it until {}: {why}", clock(*until))
        }
        Reason::FallbackReplicas { signal, replicas } => {
            format!("{signal} can't be read; the policy names {replicas} for that case")
        }
        Reason::LimitReached { limit, supply, held } => {
            format!("{limit} is used up: {held} of {supply} are held or promised")
        }
        Reason::GivesWay { limit, to } => format!("{to} goes first and is short of {limit}"),
        Reason::SupplyHeld { limit, supply, held } => {
            format!("it supplies {limit}, of which {held} of {supply} are held")
        }
        Reason::BreakerTrips { changed, most } => {
            format!("{changed} replicas of the fleet would change at once, and at most {most} may")
        }
        Reason::BreakerOpen { until } => {
            format!("too much of the fleet changed at once; the breaker is open until {}", clock(*until))
        }
        Reason::ShrinkUndone { seen: s, until } => {
            format!("fewer made {} unwell; not taken away again before {}", seen(s), clock(*until))
        }
        Reason::ChangeHolds { ready, within } => {
            format!("{ready} ready and nothing worse after {}", length(*within))
        }
        Reason::BecameUnwell { seen: s, limit, held } => format!(
            "{} has been at or above {} for {}, and was below it before",
            seen(s),
            amount(s.unit, *limit),
            length(*held)
        ),
        Reason::NotReached { ready, to, within } => {
            format!("only {ready} of {to} are ready after {}", length(*within))
        }
        Reason::ChangeOvertaken { by } => format!("{by} changed the count again"),
        Reason::WarmKept { keep } => format!("{keep} are kept warm"),
        Reason::WarmForeseen { load, carried, within } => format!(
            "load for {} replicas is foreseen within {}, and {carried} carry it now",
            amount(Unit::Count, *load),
            length(*within)
        ),
        Reason::WarmNoRoom { max } => format!("warm and serving replicas together stay within {max}"),
        Reason::WarmPoolOff => "the policy names no warm pool any more".to_owned(),
        Reason::PlanRejected { finding } => format!("the check of the plan found a fault ({finding})"),
    }
}

fn ready_replicas(ready: Replicas) -> String {
    if ready == Replicas::ONE { "1 ready replica".to_owned() } else { format!("{ready} ready replicas") }
}

fn korean(reason: &Reason) -> String {
    match reason {
        Reason::SignalAbove { seen: s, limit } => {
            format!("{}, 한계 {} 초과", seen(s), amount(s.unit, *limit))
        }
        Reason::SignalBelow { seen: s, limit } => {
            format!("{}, 한계 {} 미만", seen(s), amount(s.unit, *limit))
        }
        Reason::WithinBand { seen: s, low, high } => {
            format!("{}, {}와 {} 사이", seen(s), amount(s.unit, *low), amount(s.unit, *high))
        }
        Reason::SharePerReplica { seen: s, per_replica } => {
            format!("{}, 레플리카당 {}", seen(s), amount(s.unit, *per_replica))
        }
        Reason::TowardsTarget { seen: s, target, ready } => {
            format!("{}, 준비된 레플리카 {ready}개, 목표 {}", seen(s), amount(s.unit, *target))
        }
        Reason::WithinTolerance { seen: s, target, tolerance } => {
            format!(
                "{}, 목표 {}의 허용 오차 {} 이내",
                seen(s),
                amount(s.unit, *target),
                amount(Unit::Ratio, *tolerance)
            )
        }
        Reason::AllBelow { seen: all } => {
            let all: Vec<_> = all.iter().map(seen).collect();
            format!("축소 조건을 모두 충족: {}", all.join(", "))
        }
        Reason::NotAllBelow { seen: s, limit } => {
            format!("{}, {} 미만이 아님; 축소는 모든 조건이 필요", seen(s), amount(s.unit, *limit))
        }
        Reason::FastStep { seen: s, limit, step } => {
            format!("레플리카당 {}, {}부터 {step}개 추가", seen(s), amount(s.unit, *limit))
        }
        Reason::NotYetLongEnough { seen: s, limit, held, needed } => format!(
            "{}, {} 이탈 {}째; {} 필요",
            seen(s),
            amount(s.unit, *limit),
            length_korean(*held),
            length_korean(*needed)
        ),
        Reason::StrategyCoolingDown { until, wanted } => {
            format!("{wanted}개를 원하지만 마지막 변경 후 {}까지 대기", clock(*until))
        }
        Reason::SignalAbsent { signal, absence: a } => {
            format!("{signal} 없음: {}", absence(a, Language::Korean))
        }
        Reason::SignalStale { signal, age, ahead: false } => {
            format!("{signal}의 마지막 값이 {} 전의 것", length_korean(*age))
        }
        Reason::SignalStale { signal, age, ahead: true } => {
            format!("{signal}의 마지막 값이 이 장비의 시계보다 {} 앞선 것", length_korean(*age))
        }
        Reason::NoReadyReplica => "준비된 레플리카가 없어 레플리카별 값을 쓸 수 없음".to_owned(),
        Reason::RequestsWaiting { requests } => format!("레플리카가 없는데 요청 {requests}건이 대기 중"),
        Reason::HighestWant { strategy } => format!("가장 높은 요구는 {strategy}"),
        Reason::Floor { strategy } => format!("{strategy}의 하한"),
        Reason::Ceiling { strategy } => format!("{strategy}의 상한"),
        Reason::NobodyWants => "바꿀 이유가 없음".to_owned(),
        Reason::PlanApplied { by } => format!("{by}이(가) 계획을 적용"),
        Reason::ActionInFlight { to, since } => {
            format!("{}부터 {to}개로 변경 중; 더 큰 확장만 앞지를 수 있음", clock(*since))
        }
        Reason::ActionFailed { error, until } => {
            format!("마지막 변경 실패({error}); 다음 시도는 {}", clock(*until))
        }
        Reason::AdvisedOnly { .. } => "조언 모드라 실행하지 않고 알리기만 함".to_owned(),
        Reason::HeldForAbsence { signal } => format!("{signal}을(를) 읽을 수 없는 동안에는 축소하지 않음"),
        Reason::TargetUnseen { error: Some(error) } => format!("대상을 조회할 수 없음: {error}"),
        Reason::TargetUnseen { error: None } => "최근에 대상이 조회되지 않음".to_owned(),
        Reason::StabilisingDown { window, until } => {
            format!("최근 {} 안에 더 높은 수가 요구됨, {}까지", length_korean(*window), clock(*until))
        }
        Reason::StabilisingUp { window, until } => {
            format!("최근 {} 안에 더 낮은 수가 요구됨, {}까지", length_korean(*window), clock(*until))
        }
        Reason::StepUpLimited { allowed, period } if period.is_zero() => {
            format!("한 번에 최대 {allowed}개 추가")
        }
        Reason::StepUpLimited { allowed, period } => {
            format!("지금은 {allowed}개까지만 추가 가능({} 기준)", length_korean(*period))
        }
        Reason::StepDownLimited { allowed, period } => {
            format!("지금은 {allowed}개까지만 축소 가능({} 기준)", length_korean(*period))
        }
        Reason::DirectionDisabled => "이 방향의 변경이 꺼져 있음".to_owned(),
        Reason::CoolingDown { until } => format!("마지막 변경 후 {}까지 쿨다운", clock(*until)),
        Reason::AtMaximum { max } => format!("최대 {max}개로 제한"),
        Reason::AtMinimum { min } => format!("최소 {min}개 유지"),
        Reason::RateLimited { until, per_hour } => {
            format!("시간당 최대 {per_hour}회 변경; 다음 변경은 {}", clock(*until))
        }
        Reason::ChangeTooLarge { most } => format!("한 번에 최대 {most}개까지 변경"),
        Reason::Frozen { until: Some(until), by, why } => {
            format!("{by}이(가) {}까지 동결: {why}", clock(*until))
        }
        Reason::Frozen { until: None, by, why } => format!("{by}이(가) 해제할 때까지 동결: {why}"),
        Reason::Panicking { seen: s, per_replica, until } => format!(
            "급증: 짧은 구간에서 {}, 레플리카당 {}; {}까지 축소하지 않음",
            seen(s),
            amount(s.unit, *per_replica),
            clock(*until)
        ),
        Reason::RateOfChange { wanted, allowed } => {
            format!("{wanted}개를 원하지만 한 번에 {allowed}개까지만 변경")
        }
        Reason::TooFewReady { ready, of, needed } => {
            format!("{of}개 중 {ready}개만 준비됨; 판단에는 {} 필요", amount(Unit::Ratio, *needed))
        }
        Reason::ZeroNotBelieved { signal } => format!("{signal} 값이 0이지만 정책상 그대로 믿지 않음"),
        Reason::DrainWithin { backlog, service, within } => {
            format!(
                "{}, 건당 {}; {} 안에 처리",
                seen(backlog),
                length_korean(*service),
                length_korean(*within)
            )
        }
        Reason::Scheduled { entry, until } => match until {
            Some(until) => format!("일정({entry}), {}까지", moment(*until)),
            None => format!("일정({entry})"),
        },
        Reason::UsualLoad { seen: s, days, per_replica } => {
            format!("이 시간대 평소 {}({days}일 기준), 레플리카당 {}", seen(s), amount(s.unit, *per_replica))
        }
        Reason::PatternUnknown { signal } => format!("{signal} 기록이 이틀 미만"),
        Reason::OutsideSchedule { next } => match next {
            Some(next) => format!("적용 중인 일정 없음; 다음 일정은 {}", moment(*next)),
            None => "적용 중인 일정 없음".to_owned(),
        },
        Reason::AlarmRings { seen: s, limit, breached, of } => format!(
            "{}, 최근 {of}개 구간 중 {breached}개 이상이 기준 {} 위반",
            seen(s),
            amount(s.unit, *limit)
        ),
        Reason::AlarmQuiet { signal } => format!("{signal} 경보가 요구하는 것 없음"),
        Reason::AskedFor { seen: s } => format!("{}의 요청", seen(s)),
        Reason::FixedCount => "정책에 정해진 수".to_owned(),
        Reason::FormulaGives { value } => format!("수식 결과 {}", amount(Unit::Count, *value)),
        Reason::FormulaUndefined => "수식 값이 정의되지 않음".to_owned(),
        Reason::Scored { urgency, opportunity } => format!(
            "긴급도 {}, 축소 여지 {}",
            amount(Unit::Ratio, *urgency),
            amount(Unit::Ratio, *opportunity)
        ),
        Reason::PhaseHolds { seen: s, limit, held, grow } => format!(
            "{}, {} 이상이 {} 지속: {} 증가",
            seen(s),
            amount(s.unit, *limit),
            length_korean(*held),
            amount(Unit::Ratio, *grow)
        ),
        Reason::NoPhase { seen: s } => format!("{}: 해당하는 단계 없음", seen(s)),
        Reason::NextClassAdvised { seen: s } => {
            format!(
                "{}: 레플리카 증설보다 상위 머신 등급이 필요; 순간 부하는 write-behind 캐시로 완화",
                seen(s)
            )
        }
        Reason::CacheAdvised { seen: s, replicas } => format!(
            "{}, 허용된 읽기 레플리카 {replicas}개를 모두 사용 중: 자주 읽는 값은 캐시 권장(TTL을 둔 cache-aside, 최신 값이 \
             필요하면 write-through)",
            seen(s)
        ),
        Reason::UnderPressure { seen: s, pressure } => {
            format!("가장 높은 압력 {}: {}", amount(Unit::Ratio, *pressure), seen(s))
        }
        Reason::ForecastNeeds { peak, level, by, per_replica } => format!(
            "{}까지 최대 {} 예측({} 수준), 레플리카당 {}",
            moment(*by),
            seen(peak),
            amount(Unit::Ratio, *level),
            amount(peak.unit, *per_replica)
        ),
        Reason::ForecastRaises { peak, by, max, to } => {
            format!("{}까지 최대 {} 예측, 최대 {max}개를 {to}개로 올림", moment(*by), seen(peak))
        }
        Reason::ForecastReleases { peak, by, replicas } => format!(
            "{}까지 99 % 확률로 최대 {} 예측, {replicas}개면 충분하므로 안정화 창을 일찍 마침",
            moment(*by),
            seen(peak)
        ),
        Reason::ForecastOnly { wanted } => format!("예측은 {wanted}개를 원하지만 알리기만 함"),
        Reason::ForecastNear { wanted } => format!("예측이 원하는 {wanted}개는 현재와 충분히 가까움"),
        Reason::ForecastMissing { signal } => format!("{signal}의 예측이 아직 없음"),
        Reason::ForecastUnproved { signal, loss: Some(loss), naive: Some(naive) } => format!(
            "{signal} 예측이 단순 예측보다 낫지 않음(평균 손실 {} 대 {})",
            amount(Unit::Count, *loss),
            amount(Unit::Count, *naive)
        ),
        Reason::ForecastUnproved { signal, .. } => format!("{signal} 예측의 실적이 아직 부족함"),
        Reason::ForecastWithoutCapacity { signal } => format!("레플리카당 {signal} 처리량을 아직 모름"),
        Reason::ObjectiveNeeds { weighed } => weighed_korean(weighed),
        Reason::ObjectiveKeeps { weighed, idle, worth } => format!(
            "{}; 아직 유지: 유휴 비용 {}(레플리카 시간), 변경의 값 {}",
            weighed_korean(weighed),
            length_korean(*idle),
            length_korean(*worth)
        ),
        Reason::ObjectiveSpares { weighed, idle } => format!(
            "{}; 유휴 비용 {}(레플리카 시간)이 변경의 값을 넘음",
            weighed_korean(weighed),
            length_korean(*idle)
        ),
        Reason::ObjectiveMissed { seen: s, limit } => {
            format!("부하 중 {}, 목표 {}을(를) 놓침", seen(s), amount(s.unit, *limit))
        }
        Reason::WorksOff { backlog, within, per_replica } => format!(
            "{}을(를) 유입과 함께 {} 안에 처리, 레플리카당 {}",
            seen(backlog),
            length_korean(*within),
            amount(Unit::PerSecond, *per_replica)
        ),
        Reason::CapacityUnknown { signal } => {
            format!("레플리카 하나가 감당하는 {signal} 양을 아직 알 수 없음")
        }
        Reason::FirstToSpeak { strategy } => format!("우선순위상 첫 의견은 {strategy}"),
        Reason::AllAgree { strategy } => format!("모두 동의; 가장 작은 변경은 {strategy}"),
        Reason::Fittest { strategy, score } => {
            format!("가장 적합한 전략 {strategy}({})", amount(Unit::Ratio, *score))
        }
        Reason::GradualStep { most, urgency } => {
            format!("긴급도 {}에서는 한 번에 최대 {most}개", amount(Unit::Count, *urgency))
        }
        Reason::DependencyUnwell { signal } => format!("의존 대상 이상 또는 확인 불가({signal})"),
        Reason::Quiet { until } => format!("{}까지 변경 금지 시간", clock(*until)),
        Reason::Swings { turns, within, until } => {
            format!(
                "{} 안에 방향이 {turns}번 바뀜; {}까지 축소하지 않음",
                length_korean(*within),
                clock(*until)
            )
        }
        Reason::NeedsApproval { limit } => format!("{limit}개 초과 변경은 사람의 승인 필요"),
        Reason::ApprovalRefused { by, why, until } => {
            format!("{by}이(가) {}까지 거절: {why}", clock(*until))
        }
        Reason::FallbackReplicas { signal, replicas } => {
            format!("{signal} 확인 불가; 정책상 이때는 {replicas}개")
        }
        Reason::LimitReached { limit, supply, held } => {
            format!("{limit} 소진: {supply} 중 {held} 사용 또는 예약")
        }
        Reason::GivesWay { limit, to } => format!("우선순위가 높은 {to}에 {limit} 양보"),
        Reason::SupplyHeld { limit, supply, held } => {
            format!("{limit} 공급 중: {supply} 중 {held} 사용")
        }
        Reason::BreakerTrips { changed, most } => {
            format!("한꺼번에 {changed}개가 바뀌게 됨; 최대 {most}개")
        }
        Reason::BreakerOpen { until } => {
            format!("한꺼번에 너무 많이 바뀜; 차단기가 {}까지 열림", clock(*until))
        }
        Reason::ShrinkUndone { seen: s, until } => {
            format!("줄인 뒤 {} 악화; {}까지 다시 줄이지 않음", seen(s), clock(*until))
        }
        Reason::ChangeHolds { ready, within } => {
            format!("{} 동안 {ready}개 준비됨, 나빠진 것 없음", length_korean(*within))
        }
        Reason::BecameUnwell { seen: s, limit, held } => format!(
            "{}, 이전에는 {} 미만이었으나 {} 동안 이상",
            seen(s),
            amount(s.unit, *limit),
            length_korean(*held)
        ),
        Reason::NotReached { ready, to, within } => {
            format!("{} 안에 {to}개 중 {ready}개만 준비됨", length_korean(*within))
        }
        Reason::ChangeOvertaken { by } => format!("{by}에서 다시 변경됨"),
        Reason::WarmKept { keep } => format!("예열 레플리카 {keep}개 유지"),
        Reason::WarmForeseen { load, carried, within } => format!(
            "{} 안에 레플리카 {}개분의 부하가 예상되는데 지금은 {carried}개",
            length_korean(*within),
            amount(Unit::Count, *load)
        ),
        Reason::WarmNoRoom { max } => format!("예열과 서비스 레플리카를 합해 최대 {max}개"),
        Reason::WarmPoolOff => "정책에 예열 풀이 더 이상 없음".to_owned(),
        Reason::PlanRejected { finding } => format!("계획 검사에서 결함 발견({finding})"),
    }
}
