//! The warm pool: replicas that are started and warm, and take no traffic yet (A31).
//!
//! Growing takes from the pool first, which costs no start; the pool refills behind it. It is paid for like any
//! replica, so it is off unless a policy asks for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Path, Problem, TargetSettings, Workload};
use crate::units::{Level, Quantity, Replicas, Span, Unit};

/// Replicas kept started and warm beside those that take traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct WarmPool {
    /// How many are kept warm at least (A31: 3). With those that take traffic they are never more than the
    /// workload's most: beyond it nothing could be done with them.
    pub keep: Replicas,
    /// How far ahead the load is looked at, where a strategy foresees it (A31: the next hour).
    pub ahead: Span,
    /// More is prepared when the load foreseen is above this share of what the replicas carry (A31: 120%).
    pub when_above: Quantity,
    /// Then so much of what is missing is prepared (A31: 110%).
    pub prepare: Quantity,
    /// What a replica is asked, in this order, before it counts as warm (A31: GET /warmup, POST /cache/warm). One
    /// that does not know a path (404, 405, 501) has nothing to warm there.
    pub preload: Vec<Preload>,
}

/// One request that warms a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Preload {
    /// GET this path.
    Get(String),
    /// POST to this path, with nothing in it.
    Post(String),
}

impl Preload {
    /// The path that is asked.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Get(path) | Self::Post(path) => path,
        }
    }
}

/// A share that the specification names, in percent.
fn percent(share: f64) -> Quantity {
    Quantity::ratio(Level::new(share / 100.0).expect("a figure of the specification is a level"))
}

impl Default for WarmPool {
    fn default() -> Self {
        Self {
            keep: Replicas(3),
            ahead: Span::minutes(60),
            when_above: percent(120.0),
            prepare: percent(110.0),
            preload: vec![Preload::Get("/warmup".to_owned()), Preload::Post("/cache/warm".to_owned())],
        }
    }
}

impl WarmPool {
    pub(super) fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        // Every kind of target is named here, so that a new one has to say whether it keeps a pool.
        match &workload.target {
            TargetSettings::Process(_) => {}
        }
        if self.keep >= workload.replicas.max {
            problems.push(
                Problem::new(at.key("keep"), format!("{} warm ones leave no room below the most", self.keep))
                    .help(
                        "keep fewer, or raise replicas.max: pool and serving replicas together stay below it",
                    ),
            );
        }
        if self.ahead.is_zero() {
            problems.push(Problem::new(at.key("ahead"), "must be longer than nothing"));
        }
        for (key, share) in [("whenAbove", &self.when_above), ("prepare", &self.prepare)] {
            if !share.fits(Unit::Ratio) || share.level == Level::ZERO {
                problems.push(Problem::new(at.key(key), "is a share above 0%, such as 120%"));
            }
        }
        for (index, preload) in self.preload.iter().enumerate() {
            if !preload.path().starts_with('/') {
                problems.push(Problem::new(at.key("preload").index(index), "a path starts with `/`"));
            }
        }
    }
}
