//! What the API answers when it can't do what was asked: what failed, why, and what to do next.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headroom_core::names::WorkloadName;
use headroom_engine::handle::HandleError;
use headroom_engine::journal::JournalError;
use schemars::JsonSchema;
use serde::Serialize;

/// An answer that is not what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    said: Said,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemBody {
    /// What is wrong.
    error: Said,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ProblemText")]
#[serde(rename_all = "camelCase")]
struct Said {
    /// A stable code, such as `no-such-workload`.
    code: &'static str,
    /// What failed and why.
    message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    /// Where a policy was refused: every mistake in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<PolicyProblem>,
}

/// One mistake in a policy.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyProblem {
    /// Which value: keys and indices from the root, joined by dots.
    path: String,
    /// What is wrong with it.
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl From<headroom_core::fleet::Problem> for PolicyProblem {
    fn from(problem: headroom_core::fleet::Problem) -> Self {
        let known = problem.unknown.map(|u| format!("there are: {}", u.known.join(", ")));
        Self { path: problem.path.to_string(), message: problem.what, help: problem.help.or(known) }
    }
}

impl Problem {
    /// A problem with a stable code and its message.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, said: Said { code, message: message.into(), help: None, problems: Vec::new() } }
    }

    /// Adds what to do next.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.said.help = Some(help.into());
        self
    }

    /// A query parameter that can't be understood.
    pub(crate) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-parameter", format!("the parameter `{name}`: {why}"))
    }

    /// A body that can't be understood.
    pub(crate) fn body(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-body", why)
    }

    /// A policy that can't be put in force.
    pub(crate) fn policy(problems: Vec<headroom_core::fleet::Problem>) -> Self {
        let mut problem = Self::body(match problems.len() {
            1 => "the policy has a mistake".to_owned(),
            n => format!("the policy has {n} mistakes"),
        });
        problem.said.problems = problems.into_iter().map(PolicyProblem::from).collect();
        problem
    }

    /// A workload that is not in the fleet.
    pub(crate) fn no_such_workload(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-workload",
            format!("no workload called `{name}` in this fleet"),
        )
        .help("GET /api/v1/overview lists the workloads")
    }

    /// More was asked than can be done at once.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).help("try again in a second")
    }
}

impl From<HandleError> for Problem {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Gone => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", error.to_string())
            }
            HandleError::NoSuchWorkload(name) => Self::no_such_workload(WorkloadName::as_str(&name)),
            HandleError::NotPending(_) => Self::new(StatusCode::CONFLICT, "nothing-waits", error.to_string()),
            HandleError::NotOpen => {
                Self::new(StatusCode::CONFLICT, "breaker-not-open", HandleError::NotOpen.to_string())
            }
            HandleError::PlanRefused(why) => Self::new(StatusCode::CONFLICT, "plan-refused", why)
                .help("nothing was changed; make a new plan and look at it"),
            HandleError::Journal(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "journal-failed", error.to_string())
            }
        }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "journal-failed", error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ProblemBody { error: self.said })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
