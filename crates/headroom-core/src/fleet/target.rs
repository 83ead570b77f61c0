//! Targets: what changes the number of replicas.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Path, Problem};
use crate::units::Span;

/// Where a workload runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TargetSettings {
    /// Replicas are child processes on this machine.
    Process(ProcessSettings),
}

impl TargetSettings {
    pub(super) fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        match self {
            Self::Process(process) => process.check(&at.key("process"), problems),
        }
    }
}

/// How a replica is started, watched and stopped as a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProcessSettings {
    /// The program and its arguments. `$PORT` stands for the replica's own port.
    pub command: Vec<String>,
    /// Variables added to the environment. `PORT`, `HEADROOM_WORKLOAD` and `HEADROOM_REPLICA` are always set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The folder to start in; by default the policy file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<PathBuf>,
    /// How it is found out whether a replica is well.
    #[serde(default)]
    pub health: HealthSettings,
    /// How a replica is stopped.
    #[serde(default)]
    pub stop: StopSettings,
    /// What happens when a replica exits by itself.
    #[serde(default)]
    pub restart: RestartSettings,
    /// How old a replica may become before it is replaced, one at a time (A29 suggests 7d). By default it is
    /// left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<Span>,
}

/// Health checks over HTTP (A14).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HealthSettings {
    /// The path that answers 2xx when the replica is well.
    pub path: String,
    /// How often a replica is asked (A14 says 30s, C1 5s; a second is cheap on one machine).
    pub interval: Span,
    /// How long an answer may take (A14: 5s).
    pub timeout: Span,
    /// How many good answers in a row make an unhealthy replica healthy again (A14: 2). A starting replica is
    /// ready at its first good answer.
    pub healthy: u32,
    /// How many bad answers in a row make a replica unhealthy (A14: 3).
    pub unhealthy: u32,
    /// How long a replica may take to its first good answer before it is replaced (A29: 300s; processes start
    /// faster than machines: 60s).
    pub start_grace: Span,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            path: "/health".to_owned(),
            interval: Span::seconds(1),
            timeout: Span::seconds(5),
            healthy: 2,
            unhealthy: 3,
            start_grace: Span::seconds(60),
        }
    }
}

/// How a replica is stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct StopSettings {
    /// How long requests in flight may take to end once no new ones come (A14: deregistration delay 30s).
    pub drain: Span,
    /// How long the process may take from SIGTERM to its exit before SIGKILL.
    pub grace: Span,
}

impl Default for StopSettings {
    fn default() -> Self {
        Self { drain: Span::seconds(30), grace: Span::seconds(10) }
    }
}

/// What happens when a replica exits by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RestartSettings {
    /// The first pause before a replacement starts; it doubles with each exit in a row.
    pub backoff: Span,
    /// The longest pause.
    pub max_backoff: Span,
    /// So many exits within `crashLoopWindow` are a crash loop, which is reported.
    pub crash_loop_exits: u32,
    /// See `crashLoopExits`; also how long a replica must have lived for the pause to start over.
    pub crash_loop_window: Span,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            backoff: Span::millis(500),
            max_backoff: Span::seconds(30),
            crash_loop_exits: 5,
            crash_loop_window: Span::minutes(2),
        }
    }
}

impl ProcessSettings {
    fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        if self.command.first().is_none_or(|program| program.trim().is_empty()) {
            problems.push(
                Problem::new(at.key("command"), "no program is named")
                    .help("write the program and its arguments, for example [./my-app, --port, \"$PORT\"]"),
            );
        }
        let health = &self.health;
        let at_health = at.key("health");
        if !health.path.starts_with('/') {
            problems.push(Problem::new(at_health.key("path"), "a path starts with `/`"));
        }
        for (key, span) in
            [("interval", health.interval), ("timeout", health.timeout), ("startGrace", health.start_grace)]
        {
            if span.is_zero() {
                problems.push(Problem::new(at_health.key(key), "must be longer than nothing"));
            }
        }
        for (key, count) in [("healthy", health.healthy), ("unhealthy", health.unhealthy)] {
            if count == 0 {
                problems.push(Problem::new(at_health.key(key), "at least one answer is needed"));
            }
        }
        if self.restart.backoff.is_zero() {
            problems.push(Problem::new(
                at.key("restart").key("backoff"),
                "without a pause a program that exits at once would be started without end",
            ));
        }
        if self.max_lifetime.is_some_and(|life| life < health.start_grace) {
            problems.push(
                Problem::new(at.key("maxLifetime"), "is shorter than a replica may take to start")
                    .help("make it longer than health.startGrace"),
            );
        }
    }
}
