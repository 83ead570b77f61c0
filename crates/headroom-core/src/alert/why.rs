//! Why an alert holds: the facts, and the sentence they make in the reader's language.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::DecisionId;
use crate::names::SignalName;
use crate::outlook::NearForecast;
use crate::reason::Reason;
use crate::say::{Language, sentence};
use crate::units::{Level, Replicas, Span, Timestamp, Unit};

/// Why an alert holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Why {
    /// Somebody else's words, in whatever language: a source's, a disk's.
    Said(String),
    /// What a decision says.
    Reason(Box<Reason>),
    /// More is wanted than the most allowed.
    AtMaximum {
        /// So many are wanted.
        wanted: Replicas,
        /// So many are allowed.
        most: Replicas,
    },
    /// A signal of cpu is too high.
    CpuHigh {
        /// Which.
        signal: SignalName,
        /// The share that is used.
        used: Level,
        /// The share above which it is told.
        limit: Level,
    },
    /// A target refused a change.
    Refused {
        /// So many times in a row.
        times: u32,
        /// Its own words.
        error: String,
    },
    /// A change waits for a person.
    Waits {
        /// The decision that asks.
        decision: DecisionId,
        /// The count as it is,
        from: Replicas,
        /// and as it would be.
        to: Replicas,
        /// Until when it waits.
        until: Timestamp,
    },
    /// Replicas don't become ready.
    Stuck {
        /// So many are ready
        ready: Replicas,
        /// of so many.
        wanted: Replicas,
        /// None has become ready since then.
        since: Timestamp,
        /// The target's first trouble, in its own words.
        trouble: Option<String>,
    },
    /// The count went up and down.
    Turned {
        /// So many times
        times: usize,
        /// within so long.
        within: Span,
    },
    /// The breaker is open.
    Opened {
        /// So many replicas would have changed,
        changed: u64,
        /// and so many may.
        most: u64,
        /// Until when it is open.
        until: Timestamp,
    },
    /// The forecast that an objective acts on is worse than the present load.
    NearLoses(Box<NearForecast>),
    /// The least count is far more than was needed.
    Idle {
        /// The least count.
        min: Replicas,
        /// The largest share of it that was needed.
        share: Level,
        /// Since when.
        since: Timestamp,
        /// The least count that would have been enough.
        enough: Replicas,
    },
}

impl From<&Reason> for Why {
    fn from(reason: &Reason) -> Self {
        Self::Reason(Box::new(reason.clone()))
    }
}

/// Why, in a sentence.
#[must_use]
pub fn why(why: &Why, language: Language) -> String {
    match (why, language) {
        (Why::Said(words), _) => words.clone(),
        (Why::Reason(reason), _) => sentence(reason, language),
        (_, Language::English) => english(why),
        (_, Language::Korean) => korean(why),
    }
}

fn english(why: &Why) -> String {
    match why {
        Why::Said(words) => words.clone(),
        Why::Reason(reason) => sentence(reason, Language::English),
        Why::AtMaximum { wanted, most } => format!(
            "{wanted} replicas are wanted, and {most} are the most allowed; raise `replicas.max` if they are needed"
        ),
        Why::CpuHigh { signal, used, limit } => {
            format!("`{signal}` is {}, above {}", Unit::Ratio.say(*used), Unit::Ratio.say(*limit))
        }
        Why::Refused { times: 1, error } => format!("the target refused the change once: {error}"),
        Why::Refused { times, error } => {
            format!("the target refused the change {times} times in a row: {error}")
        }
        Why::Waits { decision, from, to, until } => format!(
            "{from} → {to} waits until {until}: `headroom approve {decision}` or `headroom reject {decision}`"
        ),
        Why::Stuck { ready, wanted, since, trouble } => format!(
            "{ready} of {wanted} replicas are ready, and none has become so since {since}{}",
            said(trouble.as_deref())
        ),
        Why::Turned { times, within } => format!(
            "the count turned {times} times within {within}; a longer `behavior.scaleDown.stabilization` damps it"
        ),
        Why::Opened { changed, most, until } => format!(
            "{changed} replicas would have changed at once, and at most {most} may; open until {until}; `headroom breaker \
             close` lets them pass"
        ),
        Why::NearLoses(near) => format!(
            "{}; the objective acts on it, and `foresee: false` does without",
            near.say(Language::English)
        ),
        Why::Idle { min, share, since, enough } => format!(
            "at most {} of what its minimum of {min} carries was needed since {since}; `replicas.min: {enough}` would be \
             enough",
            Unit::Ratio.say(*share)
        ),
    }
}

fn korean(why: &Why) -> String {
    match why {
        Why::Said(words) => words.clone(),
        Why::Reason(reason) => sentence(reason, Language::Korean),
        Why::AtMaximum { wanted, most } => format!(
            "레플리카 {wanted}개가 필요하지만 최대 {most}개까지 허용됩니다. 더 필요하면 `replicas.max`를 올리세요"
        ),
        Why::CpuHigh { signal, used, limit } => {
            format!("`{signal}` {}, 한도 {} 초과", Unit::Ratio.say(*used), Unit::Ratio.say(*limit))
        }
        Why::Refused { times: 1, error } => format!("대상이 변경을 한 번 거부했습니다: {error}"),
        Why::Refused { times, error } => format!("대상이 변경을 연속 {times}번 거부했습니다: {error}"),
        Why::Waits { decision, from, to, until } => format!(
            "{from} → {to} 변경이 {until}까지 승인을 기다립니다: `headroom approve {decision}` 또는 `headroom reject {decision}`"
        ),
        Why::Stuck { ready, wanted, since, trouble } => format!(
            "레플리카 {wanted}개 중 {ready}개만 준비되었고 {since}부터 새로 준비된 것이 없습니다{}",
            said(trouble.as_deref())
        ),
        Why::Turned { times, within } => format!(
            "{within} 동안 레플리카 수가 {times}번 방향을 바꾸었습니다. `behavior.scaleDown.stabilization`을 늘리면 줄어듭니다"
        ),
        Why::Opened { changed, most, until } => format!(
            "레플리카 {changed}개가 한꺼번에 바뀔 뻔했습니다(허용 {most}개). {until}까지 열려 있으며, `headroom breaker close`로 닫으면 \
             실행됩니다"
        ),
        Why::NearLoses(near) => format!(
            "{}. 목표 전략이 이 예측을 쓰고 있으며, `foresee: false`로 끌 수 있습니다",
            near.say(Language::Korean)
        ),
        Why::Idle { min, share, since, enough } => format!(
            "{since}부터 최소 {min}개가 처리하는 양의 {}까지만 필요했습니다. `replicas.min: {enough}`이면 충분합니다",
            Unit::Ratio.say(*share)
        ),
    }
}

fn said(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(": {trouble}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind of facts has a sentence in both languages, and both hold the same figures.
    #[test]
    fn facts_read_in_both_languages() {
        let at = Timestamp::from_millis(1_764_328_800_000);
        let level = |value| Level::new(value).unwrap();
        let all = [
            (Why::AtMaximum { wanted: Replicas(23), most: Replicas(20) }, vec!["23", "20", "`replicas.max`"]),
            (
                Why::CpuHigh { signal: "load".parse().unwrap(), used: level(0.97), limit: level(0.9) },
                vec!["`load`", "97 %", "90 %"],
            ),
            (Why::Refused { times: 1, error: "no room".to_owned() }, vec!["no room"]),
            (Why::Refused { times: 3, error: "no room".to_owned() }, vec!["3", "no room"]),
            (
                Why::Waits {
                    decision: "web-7".parse().unwrap(),
                    from: Replicas(4),
                    to: Replicas(9),
                    until: at,
                },
                vec!["4 → 9", "approve web-7", "reject web-7"],
            ),
            (
                Why::Stuck {
                    ready: Replicas(1),
                    wanted: Replicas(5),
                    since: at,
                    trouble: Some("it dies".to_owned()),
                },
                vec!["1", "5", ": it dies"],
            ),
            (Why::Turned { times: 7, within: Span::hours(1) }, vec!["7", "1h"]),
            (Why::Opened { changed: 12, most: 10, until: at }, vec!["12", "10", "breaker close"]),
            (
                Why::NearLoses(Box::new(NearForecast {
                    signal: "rps".parse().unwrap(),
                    unit: Unit::PerSecond,
                    within: Span::seconds(35),
                    evidence: 900.0,
                    loss: 120.0,
                    naive_loss: 80.0,
                    proved: crate::outlook::Proved::Worse,
                })),
                vec!["rps", "35s", "120", "80", "900", "`foresee: false`"],
            ),
            (
                Why::Idle { min: Replicas(8), share: level(0.12), since: at, enough: Replicas(1) },
                vec!["8", "12 %", "`replicas.min: 1`"],
            ),
        ];
        for (facts, parts) in all {
            let [english, korean] = [Language::English, Language::Korean].map(|l| why(&facts, l));
            assert_ne!(english, korean);
            let text = serde_json::to_string(&facts).unwrap();
            assert_eq!(serde_json::from_str::<Why>(&text).unwrap(), facts, "facts outlive a restart");
            assert!(english.chars().all(|c| c.is_ascii() || "→“”".contains(c)), "{english}");
            for part in parts {
                assert!(english.contains(part) && korean.contains(part), "{part}: {english} / {korean}");
            }
        }
        let words = Why::Said("connection refused".to_owned());
        assert_eq!(why(&words, Language::Korean), "connection refused", "words of others stay as they are");
    }
}
