//! What came out, for people and for programs.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::given::Unreadable;

/// Where an answer differs from what is expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// Which field, as a path.
    pub field: String,
    /// What the peer says.
    pub expected: Value,
    /// What headroom says.
    pub actual: Value,
}

impl Failure {
    pub(crate) fn unreadable(why: &Unreadable) -> Self {
        Self { field: "given".to_owned(), expected: Value::Null, actual: Value::String(why.to_string()) }
    }
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Every expected field is met.
    Passed,
    /// A field differs.
    Failed(Failure),
    /// A field differs on purpose, for this reason.
    Excepted(Failure, &'static str),
    /// The kind of question is none headroom answers, for this reason.
    Unsupported(&'static str),
}

/// One case and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The case's name.
    pub id: String,
    /// Which question it asks.
    pub kind: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a file's cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    file: String,
    verdicts: Vec<Verdict>,
}

impl Report {
    pub(crate) fn new(file: &str, verdicts: Vec<Verdict>) -> Self {
        Self { file: file.to_owned(), verdicts }
    }

    /// The file's name.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Every case, in the file's order.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.verdicts.iter().filter(|v| which(&v.outcome)).count()
    }

    /// How many cases are met.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Passed))
    }

    /// How many cases differ, and should not.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Failed(_)))
    }

    /// How many cases differ on purpose.
    #[must_use]
    pub fn excepted(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Excepted(..)))
    }

    /// How many cases ask what headroom does not answer.
    #[must_use]
    pub fn unsupported(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Unsupported(_)))
    }

    /// Whether no case fails.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.failed() == 0
    }
}

/// `{file, passed, failed, excepted, unsupported, failures: [{id, kind, field, expected, actual}]}`.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            id: &'a str,
            kind: &'a str,
            #[serde(flatten)]
            failure: &'a Failure,
        }
        let failures: Vec<Line<'_>> = self
            .verdicts
            .iter()
            .filter_map(|v| match &v.outcome {
                Outcome::Failed(failure) => Some(Line { id: &v.id, kind: &v.kind, failure }),
                Outcome::Passed | Outcome::Excepted(..) | Outcome::Unsupported(_) => None,
            })
            .collect();
        let mut report = serializer.serialize_struct("Report", 6)?;
        report.serialize_field("file", &self.file)?;
        report.serialize_field("passed", &self.passed())?;
        report.serialize_field("failed", &self.failed())?;
        report.serialize_field("excepted", &self.excepted())?;
        report.serialize_field("unsupported", &self.unsupported())?;
        report.serialize_field("failures", &failures)?;
        report.end()
    }
}

/// One line a case that is not simply met, and a line with the counts.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Verdict { id, kind, outcome } in &self.verdicts {
            match outcome {
                Outcome::Passed => writeln!(f, "passed       {id}")?,
                Outcome::Failed(Failure { field, expected, actual }) => {
                    writeln!(f, "FAILED       {id}: {field} is {actual}, expected {expected}")?;
                }
                Outcome::Excepted(Failure { field, expected, actual }, reason) => {
                    writeln!(f, "excepted     {id}: {field} is {actual}, expected {expected}: {reason}")?;
                }
                Outcome::Unsupported(reason) => writeln!(f, "unsupported  {id} ({kind}): {reason}")?,
            }
        }
        write!(
            f,
            "{}: {} passed, {} failed, {} excepted, {} unsupported",
            self.file,
            self.passed(),
            self.failed(),
            self.excepted(),
            self.unsupported()
        )
    }
}
