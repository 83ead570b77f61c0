//! Exit codes. They are part of the interface: scripts branch on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Success = 0,
    /// It failed; stderr says why.
    Failure = 1,
    /// `plan`: something would change. `conformance`, `test`, `replay`: something did not hold.
    Difference = 2,
    /// `apply`: refused, because the world is not the one the plan saw.
    Refused = 3,
    /// The policy has mistakes.
    InvalidPolicy = 4,
    /// No controller answers.
    Unreachable = 5,
    /// The command line has mistakes (`EX_USAGE` of sysexits).
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure that has an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The code.
    pub exit: Exit,
    /// What failed, why, and what to do next.
    pub message: String,
}

impl Failure {
    /// A failure with `exit` as its code.
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        Self { exit, message: message.into() }.into()
    }
}

/// The table of exit codes for the help text.
pub(crate) const TABLE: &str = "\
Exit codes:
  0   done
  1   failed; stderr says why
  2   plan: something would change; conformance, replay, test: something did not hold
  3   apply: refused, the world has moved
  4   the policy has mistakes
  5   no controller answers
  64  the command line has mistakes";
