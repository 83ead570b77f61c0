//! The health of sources: which of them can't be read as a whole, since when, and why.
//!
//! A pure fold over their news. One failed round is a hiccup; a source is down once several in a row brought nothing but
//! failures, and well again with the first round that brought anything else. What is wrong with a single figure is that
//! signal's absence, not its source's.

use std::collections::BTreeMap;

use headroom_core::controller::Measured;
use headroom_core::fleet::Fleet;
use headroom_core::reading::Absence;
use headroom_core::say::Language;
use headroom_core::units::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Failed rounds in a row after which a source is down.
const ROUNDS: u32 = 3;
/// A source that fails for so long is down after two rounds: one that is asked every five minutes need not fail for a
/// quarter of an hour.
const LONGEST: Span = Span::seconds(30);

/// A source as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceView {
    /// What it is called.
    pub name: String,
    /// When it was heard last.
    pub heard_at: Timestamp,
    /// Since when it has been down; absent where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_since: Option<Timestamp>,
    /// Why its last round failed; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl SourceView {
    /// What to do where its last round failed; `None` where it did not. A source may be a server, a command or a port of
    /// ours, and its words name the fault and often the remedy, so this says no more than fits all of them.
    #[must_use]
    pub fn next_step(&self, language: Language) -> Option<&'static str> {
        self.why.as_ref()?;
        Some(language.pick(
            "mend what it says; where that is not plain, ask its server, or run its command, by hand. Nothing shrinks on it \
             meanwhile",
            "알린 문제를 고치세요. 분명하지 않으면 서버에 직접 질의하거나 명령을 직접 실행해 보세요. 그동안 이 값으로는 축소하지 \
             않습니다",
        ))
    }
}

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is down since then.
    Down { since: Timestamp, why: String },
    /// It was down since then and can be read again.
    Back { since: Timestamp },
}

#[derive(Clone, Debug)]
struct Health {
    heard_at: Timestamp,
    failing: Option<Failing>,
}

#[derive(Clone, Debug)]
struct Failing {
    since: Timestamp,
    rounds: u32,
    why: String,
    down: bool,
}

/// The health of every source that was heard. Bounded by the sources of the policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(BTreeMap<String, Health>);

impl Sources {
    /// Takes in a round of `source`.
    pub(crate) fn heard(&mut self, source: &str, samples: &[Measured], at: Timestamp) -> Option<Turn> {
        if !self.0.contains_key(source) {
            self.0.insert(source.to_owned(), Health { heard_at: at, failing: None });
        }
        let health = self.0.get_mut(source)?;
        health.heard_at = at;
        let Some(why) = failure(samples) else {
            return health.failing.take().filter(|f| f.down).map(|f| Turn::Back { since: f.since });
        };
        let failing =
            health.failing.get_or_insert(Failing { since: at, rounds: 0, why: String::new(), down: false });
        failing.rounds = failing.rounds.saturating_add(1);
        why.clone_into(&mut failing.why);
        let long = failing.rounds >= ROUNDS || (failing.rounds > 1 && at.since(failing.since) >= LONGEST);
        if failing.down || !long {
            return None;
        }
        failing.down = true;
        Some(Turn::Down { since: failing.since, why: why.to_owned() })
    }

    /// Forgets the sources that a policy does not have.
    pub(crate) fn keep(&mut self, there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| there(name));
    }

    /// Each source with why it is down, if it is.
    pub(crate) fn down(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, health)| {
            (name.as_str(), health.failing.as_ref().filter(|f| f.down).map(|f| f.why.as_str()))
        })
    }

    /// All of them as they are.
    pub(crate) fn views(&self) -> Vec<SourceView> {
        let view = |(name, health): (&String, &Health)| SourceView {
            name: name.clone(),
            heard_at: health.heard_at,
            down_since: health.failing.as_ref().filter(|f| f.down).map(|f| f.since),
            why: health.failing.as_ref().map(|f| f.why.clone()),
        };
        self.0.iter().map(view).collect()
    }
}

/// Whether `name` is what the policy calls a source, or the balancer, which needs no name there. What many parts share
/// (the replicas' processes, values that are sent) has no health of its own.
pub(crate) fn is_source(fleet: &Fleet, name: &str) -> bool {
    let is_balanced = || fleet.workloads().values().any(|workload| workload.balancer.is_some());
    name == "balancer" && is_balanced() || fleet.sources().keys().any(|source| source.as_str() == name)
}

/// Why a round failed, if all of it did.
fn failure(samples: &[Measured]) -> Option<&str> {
    let failed = |measured: &'_ Measured| matches!(measured.value, Err(Absence::SourceFailed(_)));
    if !samples.iter().all(failed) {
        return None;
    }
    samples.iter().find_map(|measured| match &measured.value {
        Err(Absence::SourceFailed(why)) => Some(why.as_str()),
        Ok(_) | Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use headroom_core::reading::Sample;
    use headroom_core::units::Level;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn round(values: &[Result<f64, Absence>]) -> Vec<Measured> {
        let measured = |value: &Result<f64, Absence>| Measured {
            workload: "web".parse().unwrap(),
            signal: "rps".parse().unwrap(),
            value: value.clone().map(|v| Sample::new(at(0), Level::new(v).unwrap())),
        };
        values.iter().map(measured).collect()
    }

    fn failed() -> Vec<Measured> {
        round(&[Err(Absence::SourceFailed("gone".to_owned()))])
    }

    #[test]
    fn a_hiccup_is_no_outage() {
        let mut sources = Sources::default();
        for second in 0..20 {
            let samples = if second % 3 == 0 { round(&[Ok(1.0)]) } else { failed() };
            assert_eq!(sources.heard("prom", &samples, at(second)), None, "{second}");
        }
    }

    #[test]
    fn an_outage_and_its_end_are_said_once() {
        let mut sources = Sources::default();
        let heard: Vec<_> = (0..10).filter_map(|s| sources.heard("prom", &failed(), at(s))).collect();
        assert_eq!(heard, [Turn::Down { since: at(0), why: "gone".to_owned() }]);
        assert_eq!(sources.down().collect::<Vec<_>>(), [("prom", Some("gone"))]);
        assert_eq!(sources.views()[0].down_since, Some(at(0)));
        assert_eq!(sources.heard("prom", &round(&[Ok(1.0)]), at(20)), Some(Turn::Back { since: at(0) }));
        assert_eq!(sources.heard("prom", &round(&[Ok(1.0)]), at(21)), None);
        assert_eq!(sources.down().collect::<Vec<_>>(), [("prom", None)]);
    }

    #[test]
    fn a_slow_source_is_down_after_two_rounds() {
        let mut sources = Sources::default();
        assert_eq!(sources.heard("prom", &failed(), at(0)), None);
        let view = &sources.views()[0];
        assert!(view.down_since.is_none() && view.next_step(Language::English).is_some(), "{view:?}");
        assert!(matches!(sources.heard("prom", &failed(), at(300)), Some(Turn::Down { .. })));
    }

    /// A figure that can't be read, or has nothing to measure, is no outage of its source.
    #[test]
    fn one_good_or_idle_figure_is_enough() {
        let mut sources = Sources::default();
        let lost = || Err(Absence::SourceFailed("no such series".to_owned()));
        for second in 0..9 {
            assert_eq!(sources.heard("prom", &round(&[lost(), Ok(1.0)]), at(second)), None);
            assert_eq!(sources.heard("prom", &round(&[lost(), Err(Absence::Idle)]), at(second)), None);
        }
    }
}
