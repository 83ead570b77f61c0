//! Holds headroom's decision rules against other autoscalers' own test tables.
//!
//! Whoever migrates expects the answers they know. The tables say what other autoscalers' authors assert about
//! their own decisions, as inputs and expected results; this crate feeds each input to the rules of
//! `headroom-core` that the live engine calls, and compares every field that is expected. It does no IO: text in,
//! a [`Report`] out. What is not followed on purpose stands in [`exceptions`] with its reason; what is no decision
//! rule (a peer's inner plumbing) is *unsupported*, with its reason, and nothing is built to pass it.

mod aws;
mod compare;
mod exceptions;
mod given;
mod hpa;
mod keda;
mod kpa;
mod nomad;
mod page;
mod phpa;
mod report;
mod watermark;

use serde::Deserialize;
use serde_json::Value;

pub use exceptions::{EXCEPTIONS, UNSUPPORTED};
pub use given::{Given, Unreadable};
pub use page::page;
pub use report::{Failure, Outcome, Report, Verdict};

/// The answer of the engine to one case: an object with the fields a case of its kind may expect.
pub(crate) type Answer = Result<Value, Unreadable>;

/// Text that is no file of cases.
#[derive(Debug, thiserror::Error)]
#[error("{file} is no file of conformance cases: {source}; it must hold an object with `peer` and `cases`")]
pub struct NotCases {
    file: String,
    source: serde_json::Error,
}

#[derive(Deserialize)]
struct File {
    peer: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    given: Value,
    expect: Value,
}

/// Runs every case of `json`, the content of the file called `file`.
///
/// # Errors
/// Where the text is no file of cases.
pub fn run(file: &str, json: &str) -> Result<Report, NotCases> {
    let cases: File =
        serde_json::from_str(json).map_err(|source| NotCases { file: file.to_owned(), source })?;
    let verdicts = cases.cases.iter().map(|case| judge(&cases.peer, case)).collect();
    Ok(Report::new(file, verdicts))
}

/// Asks the engine and compares.
fn judge(peer: &str, case: &Case) -> Verdict {
    let given = with_expected_steps(case);
    let given = Given::new(&given);
    let kind = given.text("kind").unwrap_or_default().to_owned();
    let verdict = |outcome| Verdict { id: case.id.clone(), kind: kind.clone(), outcome };
    // A kind can mean one thing to one peer and another to the next; an identifier starts with its peer's name.
    let family = case.id.split('-').next().unwrap_or(peer);
    let answer = match family {
        "hpa" => hpa::answer(&kind, given),
        "kpa" => kpa::answer(&kind, given),
        "keda" => keda::answer(&kind, given),
        "nomad" => nomad::answer(&kind, given),
        "wpa" => watermark::answer(&kind, given),
        "phpa" => phpa::answer(&kind, given),
        "aws" => aws::answer(&kind, given),
        _ => None,
    };
    let Some(answer) = answer else {
        return verdict(Outcome::Unsupported(exceptions::why_unsupported(family, &kind)));
    };
    let failure = match answer {
        Ok(actual) => compare::difference(&case.expect, &actual),
        Err(why) => Some(Failure::unreadable(&why)),
    };
    let outcome = match (failure, exceptions::exception(&case.id)) {
        (None, _) => Outcome::Passed,
        (Some(failure), Some(reason)) => Outcome::Excepted(failure, reason),
        (Some(failure), None) => Outcome::Failed(failure),
    };
    verdict(outcome)
}

/// A closed loop is run against the clock of its expectations: how long to wait for a count stands there.
fn with_expected_steps(case: &Case) -> std::borrow::Cow<'_, Value> {
    let phases = case.expect.get("phases");
    match (case.given.as_object(), phases) {
        (Some(given), Some(phases)) => {
            let mut given = given.clone();
            given.insert("expected_phases".to_owned(), phases.clone());
            std::borrow::Cow::Owned(Value::Object(given))
        }
        _ => std::borrow::Cow::Borrowed(&case.given),
    }
}
