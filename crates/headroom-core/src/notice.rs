//! Notices: what people must know, in the moment it happens.
//!
//! A notice holds the facts, and the sentence that they make in English; in the reader's language it is made of the facts
//! again, never of the sentence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::DecisionId;
use crate::guard::{Ending, Verdict};
use crate::names::{SignalName, WorkloadName};
use crate::say::{self, Language};
use crate::together::Opened;
use crate::units::{Replicas, Timestamp};

/// Something people must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// About which workload.
    pub workload: WorkloadName,
    /// A stable code.
    pub code: String,
    /// What happened, in an English sentence.
    pub message: String,
    /// The facts of that sentence; absent from notices of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<Noticed>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Noticed {
    /// A target refused a change.
    ActionFailed {
        /// The count that was asked for.
        to: Replicas,
        /// The target's own words.
        error: String,
    },
    /// A signal's past could not be had.
    HistoryMissing {
        /// Which signal.
        signal: SignalName,
        /// The source's own words.
        why: String,
    },
    /// A change that was watched did not stand.
    ChangeEnded(Box<Verdict>),
    /// A change waits for a person.
    ApprovalNeeded {
        /// The decision that asks.
        decision: DecisionId,
        /// The count as it is,
        from: Replicas,
        /// and as it would be.
        to: Replicas,
    },
    /// Too much of the fleet would have changed at once.
    BreakerOpened(Opened),
    /// The breaker is closed again.
    BreakerClosed {
        /// Since when it was open.
        since: Timestamp,
        /// Who closed it; `None` where its time was up.
        by: Option<Closed>,
    },
    /// The check of a plan found a fault.
    PlanRejected {
        /// The count as it is,
        from: Replicas,
        /// and as it would have been.
        to: Replicas,
        /// The fault's stable code.
        finding: String,
    },
    /// A source as a whole can't be read.
    SourceDown {
        /// Since when.
        since: Timestamp,
        /// Its own words.
        why: String,
        /// How many workloads' signals are absent.
        workloads: usize,
    },
    /// A source can be read again.
    SourceBack {
        /// Which.
        source: String,
        /// Since when it was down.
        since: Timestamp,
    },
}

/// Who closed the breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

impl Notice {
    /// A notice of `what`, about `workload`.
    #[must_use]
    pub fn new(at: Timestamp, workload: WorkloadName, what: Noticed) -> Self {
        let message = what.english(&workload);
        Self { at, workload, code: what.code().to_owned(), message, what: Some(what) }
    }

    /// What happened, in the reader's language; in English where the facts are not known.
    #[must_use]
    pub fn say(&self, language: Language) -> String {
        match (&self.what, language) {
            (Some(what), Language::Korean) => what.korean(&self.workload),
            (_, Language::English) | (None, Language::Korean) => self.message.clone(),
        }
    }

    /// The same with its message in the reader's language.
    #[must_use]
    pub fn told_in(self, language: Language) -> Self {
        Self { message: self.say(language), ..self }
    }
}

impl Noticed {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ActionFailed { .. } => "action-failed",
            Self::HistoryMissing { .. } => "history-missing",
            Self::ChangeEnded(verdict) if verdict.ending == Ending::RolledBack => "change-undone",
            Self::ChangeEnded(_) => "change-failed",
            Self::ApprovalNeeded { .. } => "approval-needed",
            Self::BreakerOpened(_) => "breaker-open",
            Self::BreakerClosed { .. } => "breaker-closed",
            Self::PlanRejected { .. } => "plan-rejected",
            Self::SourceDown { .. } => "source-down",
            Self::SourceBack { .. } => "source-back",
        }
    }

    fn english(&self, workload: &WorkloadName) -> String {
        match self {
            Self::ActionFailed { to, error } => {
                format!("asking the target of `{workload}` for {to} replicas failed: {error}")
            }
            Self::HistoryMissing { signal, why } => format!(
                "the past of `{signal}` could not be had: {why}. Its forecasts learn from now on; the next start asks again"
            ),
            Self::ChangeEnded(verdict) => say::verdict(verdict, Language::English),
            Self::ApprovalNeeded { decision, from, to } => format!(
                "`{workload}` would go from {from} to {to} and waits for a person: `headroom approve {decision}` or \
                 `headroom reject {decision}`"
            ),
            Self::BreakerOpened(Opened { changed, most, until, .. }) => format!(
                "{changed} replicas of the fleet would have changed at once, and at most {most} may; nothing changes until \
                 {until}. See what they have in common; `headroom breaker close` lets them pass"
            ),
            Self::BreakerClosed { since, by } => {
                let why = by.as_ref().map_or_else(
                    || "its time is up".to_owned(),
                    |Closed { by, why }| format!("{by} closed the breaker: {why}"),
                );
                format!("the breaker is closed again, open since {since}: {why}")
            }
            Self::PlanRejected { from, to, finding } => format!(
                "the plan {from} → {to} for `{workload}` was rejected by its check ({finding}); nothing is done; please report \
                 this"
            ),
            Self::SourceDown { since, why, workloads } => {
                let whose = match workloads {
                    1 => format!("`{workload}`"),
                    many => format!("{many} workloads"),
                };
                format!("{why}. Down since {since}; signals of {whose} are absent")
            }
            Self::SourceBack { source, since } => {
                format!("the source `{source}` can be read again; it was down since {since}")
            }
        }
    }

    fn korean(&self, workload: &WorkloadName) -> String {
        match self {
            Self::ActionFailed { to, error } => {
                format!("`{workload}`의 대상에 레플리카 {to}개를 요청했으나 실패했습니다: {error}")
            }
            Self::HistoryMissing { signal, why } => format!(
                "`{signal}`의 과거 데이터를 가져오지 못했습니다: {why}. 예측은 지금부터 학습하며, 다음 시작 때 다시 요청합니다"
            ),
            Self::ChangeEnded(verdict) => say::verdict(verdict, Language::Korean),
            Self::ApprovalNeeded { decision, from, to } => format!(
                "`{workload}`의 {from} → {to} 변경이 승인을 기다립니다: `headroom approve {decision}` 또는 `headroom reject \
                 {decision}`"
            ),
            Self::BreakerOpened(Opened { changed, most, until, .. }) => format!(
                "전체에서 레플리카 {changed}개가 한꺼번에 바뀔 뻔했습니다(허용 {most}개). {until}까지 아무것도 바꾸지 않습니다. \
                 공통 원인을 확인하세요. `headroom breaker close`로 실행을 허용할 수 있습니다"
            ),
            Self::BreakerClosed { since, by } => {
                let why = by.as_ref().map_or_else(
                    || "정해진 시간이 지남".to_owned(),
                    |Closed { by, why }| format!("{by}: {why}"),
                );
                format!("{since}부터 열려 있던 차단기가 다시 닫혔습니다: {why}")
            }
            Self::PlanRejected { from, to, finding } => format!(
                "`{workload}`의 계획 {from} → {to}이(가) 검사에서 거부되어({finding}) 아무것도 바꾸지 않습니다. headroom의 오류이니 알려 \
                 주세요"
            ),
            Self::SourceDown { since, why, workloads } => {
                let whose = match workloads {
                    1 => format!("`{workload}`"),
                    many => format!("워크로드 {many}개"),
                };
                format!("{why}. {since}부터 장애이며, {whose}의 신호가 없습니다")
            }
            Self::SourceBack { source, since } => {
                format!("소스 `{source}`를 다시 읽을 수 있습니다. {since}부터 장애였습니다")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    /// Every notice reads in both languages with the same figures; what is from an earlier version stays as it was said.
    #[test]
    fn notices_read_in_both_languages() {
        let at = Timestamp::from_millis(1_764_328_800_000);
        let decision: DecisionId = "web-7".parse().unwrap();
        let verdict = Verdict {
            decision: decision.clone(),
            from: Replicas(9),
            to: Replicas(4),
            ending: Ending::RolledBack,
            why: Reason::NobodyWants,
        };
        let opened = Opened { at, until: at, workload: "web".parse().unwrap(), changed: 12, most: 10 };
        let (from, to) = (Replicas(4), Replicas(9));
        let error = || "no room".to_owned();
        let by = Some(Closed { by: "me".to_owned(), why: "quiet".to_owned() });
        let all = [
            (Noticed::ActionFailed { to, error: error() }, vec!["`web`", "9", "no room"]),
            (
                Noticed::HistoryMissing { signal: "rps".parse().unwrap(), why: error() },
                vec!["`rps`", "no room"],
            ),
            (Noticed::ChangeEnded(Box::new(verdict)), vec!["web-7", "9 → 4"]),
            (Noticed::ApprovalNeeded { decision, from, to }, vec!["`web`", "approve web-7", "reject web-7"]),
            (Noticed::BreakerOpened(opened), vec!["12", "10", "breaker close"]),
            (Noticed::BreakerClosed { since: at, by }, vec!["me", ": quiet"]),
            (Noticed::BreakerClosed { since: at, by: None }, vec!["2025-11-28"]),
            (
                Noticed::PlanRejected { from, to, finding: "out-of-range".to_owned() },
                vec!["4 → 9", "out-of-range"],
            ),
            (Noticed::SourceDown { since: at, why: error(), workloads: 1 }, vec!["no room", "`web`"]),
            (Noticed::SourceDown { since: at, why: error(), workloads: 3 }, vec!["no room", "3"]),
            (Noticed::SourceBack { source: "queue".to_owned(), since: at }, vec!["`queue`"]),
        ];
        for (what, parts) in all {
            let notice = Notice::new(at, "web".parse().unwrap(), what);
            let [english, korean] = [Language::English, Language::Korean].map(|l| notice.say(l));
            assert_eq!(english, notice.message);
            assert_ne!(english, korean);
            for part in parts {
                assert!(english.contains(part) && korean.contains(part), "{part}: {english} / {korean}");
            }
            let text = serde_json::to_string(&notice).unwrap();
            assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice);
            let earlier = Notice { what: None, ..notice };
            assert_eq!(earlier.say(Language::Korean), english);
        }
    }
}
