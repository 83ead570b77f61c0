//! Faults: what goes wrong, on a timetable or by chance.
//!
//! A fault is something the world does; the controller learns of it only as it would in life: a sample that does
//! not come, a look that fails, an action that is refused or never answered.

use headroom_core::names::WorkloadName;
use headroom_core::units::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// Faults at work at once at the most: more than a random timetable brings together, and a bound on what a step
/// has to look through.
const MOST_AT_ONCE: usize = 64;

/// One fault and when it comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub what: FaultKind,
    /// When it comes, from the start. Without it and without `every` it is there from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Span>,
    /// It comes by chance, so far apart on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// How long it lasts; to the end of the run, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "for")]
    pub lasts: Option<Span>,
    /// Whom it hits; all, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadName>,
}

impl Fault {
    /// Reads a fault as it stands in a scenario.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, FaultText> {
        serde_saphyr::from_str(text).map_err(|error| FaultText(error.to_string()))
    }
}

/// A text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultText(String);

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FaultKind {
    /// Samples don't arrive.
    SamplesLost,
    /// Samples arrive so much later, with their own time.
    SamplesLate {
        /// How much later.
        by: Span,
    },
    /// The source says that it failed.
    SamplesFail,
    /// The source gives NaN.
    SamplesNan,
    /// The source repeats its last value as if it were new.
    SamplesFrozen,
    /// Looks at the target fail.
    LooksFail,
    /// The target refuses actions.
    ActionsRefused,
    /// Actions take so much longer.
    ActionsSlow {
        /// How much longer.
        by: Span,
    },
    /// Actions are carried out, but the answer never comes.
    ActionsUnanswered,
    /// Actions are delivered twice, the second time so much later.
    ActionsDoubled {
        /// How much later.
        after: Span,
    },
    /// Ready replicas die when it comes.
    ReplicasDie {
        /// How many.
        count: u32,
    },
    /// Ready replicas die by chance, each once in so long on average.
    ReplicasFrail {
        /// How long a replica lives on average.
        mean_life: Span,
    },
    /// The controller's clock is ahead.
    ClockAhead {
        /// How much.
        by: Span,
    },
    /// The controller's clock is behind.
    ClockBehind {
        /// How much.
        by: Span,
    },
    /// The controller is killed, and started again at the end of the fault.
    ControllerDown,
}

/// A fault that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {number} {why}")]
pub struct FaultProblem {
    number: usize,
    why: String,
}

/// Checks a list of faults.
///
/// # Errors
/// The first that can't be.
pub fn check(faults: &[Fault]) -> Result<(), FaultProblem> {
    for (i, fault) in faults.iter().enumerate() {
        let problem = |why: &str| Err(FaultProblem { number: i + 1, why: why.to_owned() });
        if fault.at.is_some() && fault.every.is_some() {
            return problem("comes both `at` a time and by chance (`every`); name one of them");
        }
        if fault.every.is_some_and(Span::is_zero) {
            return problem("comes all the time; make `every` longer than nothing");
        }
        if fault.every.is_some() && fault.lasts.is_none() {
            return problem("comes by chance but never ends; say `for` how long it lasts");
        }
        if fault.what == FaultKind::ControllerDown && fault.lasts.is_none() {
            return problem("kills the controller for good; say `for` how long it is down");
        }
    }
    Ok(())
}

/// A fault at work.
#[derive(Clone, Debug)]
struct Active {
    kind: FaultKind,
    workload: Option<WorkloadName>,
    until: u64,
}

/// The faults of a run: which are at work now.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    step_ms: u64,
    plan: Vec<(Fault, Option<u64>)>,
    active: Vec<Active>,
    rng: Rng,
    /// The next step at which something comes or goes.
    next: u64,
}

/// What came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) kind: FaultKind,
    pub(crate) workload: Option<WorkloadName>,
    pub(crate) begins: bool,
}

impl Weather {
    pub(crate) fn new(faults: &[Fault], step: Span, seed: u64) -> Self {
        let mut rng = Rng::fork(seed, "faults");
        let step_ms = step.as_millis().max(1);
        let plan: Vec<_> = faults
            .iter()
            .map(|fault| {
                let first = match fault.every {
                    Some(every) => chance_steps(&mut rng, every, step_ms),
                    None => fault.at.unwrap_or(Span::ZERO).as_millis() / step_ms,
                };
                (fault.clone(), Some(first))
            })
            .collect();
        Self { step_ms, plan, active: Vec::new(), rng, next: 0 }
    }

    /// Whether nothing ever goes wrong.
    pub(crate) fn is_fair(&self) -> bool {
        self.plan.is_empty()
    }

    /// Goes on to `step`; gives what came and went.
    pub(crate) fn turn(&mut self, step: u64) -> Vec<Turn> {
        if self.plan.is_empty() || step < self.next {
            return Vec::new();
        }
        let mut turns = Vec::new();
        self.active.retain(|a| {
            let over = a.until <= step;
            if over {
                turns.push(Turn { kind: a.kind, workload: a.workload.clone(), begins: false });
            }
            !over
        });
        for (fault, due) in &mut self.plan {
            if due.is_none_or(|due| due > step) {
                continue;
            }
            let lasts = fault.lasts.map_or(u64::MAX - step, |l| l.as_millis().div_ceil(self.step_ms).max(1));
            *due = fault.every.map(|every| {
                step.saturating_add(lasts).saturating_add(chance_steps(&mut self.rng, every, self.step_ms))
            });
            if self.active.len() < MOST_AT_ONCE {
                let active =
                    Active { kind: fault.what, workload: fault.workload.clone(), until: step + lasts };
                turns.push(Turn { kind: active.kind, workload: active.workload.clone(), begins: true });
                self.active.push(active);
            }
        }
        let ends = self.active.iter().map(|a| a.until);
        let comes = self.plan.iter().filter_map(|(_, due)| *due);
        self.next = ends.chain(comes).min().unwrap_or(u64::MAX);
        turns
    }

    /// The first fault at work on `workload` that `pick` knows what to do with.
    pub(crate) fn on<T>(&self, workload: &WorkloadName, pick: impl Fn(FaultKind) -> Option<T>) -> Option<T> {
        self.active
            .iter()
            .filter(|a| a.workload.as_ref().is_none_or(|w| w == workload))
            .find_map(|a| pick(a.kind))
    }

    /// Whether the controller is down.
    pub(crate) fn controller_is_down(&self) -> bool {
        self.active.iter().any(|a| a.kind == FaultKind::ControllerDown)
    }

    /// The controller's clock at the moment `at`.
    pub(crate) fn clock(&self, at: Timestamp) -> Timestamp {
        self.active.iter().fold(at, |at, a| match a.kind {
            FaultKind::ClockAhead { by } => at.plus(by),
            FaultKind::ClockBehind { by } => at.minus(by),
            _ => at,
        })
    }
}

fn chance_steps(rng: &mut Rng, mean: Span, step_ms: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating; not negative")]
    let ms = (rng.exponential(mean.as_secs_f64()) * 1000.0) as u64;
    (ms / step_ms).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(what: FaultKind, at: Option<u64>, every: Option<u64>, lasts: Option<u64>) -> Fault {
        let s = |x: Option<u64>| x.map(Span::seconds);
        Fault { what, at: s(at), every: s(every), lasts: s(lasts), workload: None }
    }

    #[test]
    fn a_timetable_is_kept() {
        let mut weather =
            Weather::new(&[fault(FaultKind::LooksFail, Some(3), None, Some(2))], Span::seconds(1), 1);
        let web: WorkloadName = "web".parse().unwrap();
        let at_work: Vec<bool> = (0..7)
            .map(|step| {
                weather.turn(step);
                weather.on(&web, |k| (k == FaultKind::LooksFail).then_some(())).is_some()
            })
            .collect();
        assert_eq!(at_work, [false, false, false, true, true, false, false]);
    }

    #[test]
    fn chance_faults_come_about_as_often_as_asked() {
        let plan = [fault(FaultKind::SamplesLost, None, Some(100), Some(10))];
        let mut weather = Weather::new(&plan, Span::seconds(1), 1);
        let begins = (0..110_000).flat_map(|s| weather.turn(s)).filter(|t| t.begins).count();
        assert!((850..1150).contains(&begins), "{begins} in 110 000 s, each 110 s on average");
    }

    #[test]
    fn impossible_faults_are_refused() {
        for (f, expected) in [
            (fault(FaultKind::LooksFail, Some(1), Some(1), Some(1)), "name one"),
            (fault(FaultKind::LooksFail, None, Some(0), Some(1)), "longer than nothing"),
            (fault(FaultKind::LooksFail, None, Some(1), None), "never ends"),
            (fault(FaultKind::ControllerDown, Some(1), None, None), "for good"),
        ] {
            assert!(check(&[f]).unwrap_err().to_string().contains(expected), "{expected}");
        }
    }

    #[test]
    fn clocks_go_wrong_and_right_again() {
        let plan = [fault(FaultKind::ClockBehind { by: Span::hours(1) }, Some(1), None, Some(1))];
        let mut weather = Weather::new(&plan, Span::seconds(1), 1);
        let at = Timestamp::from_millis(7_200_000);
        let seen: Vec<i64> = (0..3)
            .map(|s| {
                weather.turn(s);
                weather.clock(at).as_millis()
            })
            .collect();
        assert_eq!(seen, [7_200_000, 3_600_000, 7_200_000]);
    }
}
