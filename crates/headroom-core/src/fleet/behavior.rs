//! How fast a count may move, and what else limits or refuses a change.
//!
//! `behavior` has the semantics of the Horizontal Pod Autoscaler's field of the same name, because people bring
//! their manifests. The other guards stand under `guards`, each at most once; their order is fixed in
//! [`crate::guard`], not by the file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Path, Problem, Workload};
use crate::guard::{Approval, DynamicCooldown, Flapping, GradualSteps, QuietHours, Safety, WatchSettings};
use crate::units::{Quantity, Replicas, Span};

/// Rules for growing and for shrinking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Behavior {
    /// When more replicas are wanted. By default no waiting and no limit of speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// When fewer are wanted. By default the highest recommendation of the last 5m counts (the HPA's default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

/// Rules for one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ScalingRules {
    /// The stabilisation window: growing takes the lowest recommendation within it, shrinking the highest.
    /// By default 0s for growing and 5m for shrinking; at most 1h, as in the HPA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stabilization: Option<Span>,
    /// Limits of speed. Without any, none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<ScalingPolicy>,
    /// Which of the policies counts.
    pub select: PolicySelect,
    /// How far from its target an `hpa` strategy's metric may be in this direction without a change; by default
    /// the strategy's own tolerance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Quantity>,
    /// A limit of one change of growth, whatever the policies allow. By default none; the HPA uses factor 2 and
    /// atLeast 4 where its manifest has no `behavior`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
}

/// One change grows to at most `max(factor × count, atLeast)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Burst {
    /// So many times the present count (HPA: 2).
    pub factor: f64,
    /// Up to this count in any case (HPA: 4).
    pub at_least: Replicas,
}

/// At most so much within so long. Exactly one of `percent` and `replicas` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// Percent of the count at the start of the period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The length of the period; at most 30m, as in the HPA.
    pub period: Span,
}

/// Which policy of several counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PolicySelect {
    /// The one that allows the larger change.
    #[default]
    Max,
    /// The one that allows the smaller change.
    Min,
    /// None: no change in this direction at all.
    Disabled,
}

/// What limits or refuses a change, beside `behavior`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct GuardSettings {
    /// Leave the workload alone for a while after it changed (D7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<CooldownSettings>,
    /// A pause after a change that follows the situation (A18).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_cooldown: Option<DynamicCooldown>,
    /// Steps by urgency (A19).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradual_steps: Option<GradualSteps>,
    /// At most so many changes an hour (B14).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSettings>,
    /// No change too large, none on something unwell (B13).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety: Option<Safety>,
    /// Hours in which nothing shrinks, or nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// Swinging is damped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flapping: Option<Flapping>,
    /// A large change waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// A change that was made is watched, gets a verdict, and is undone where it made things worse (B8, B13). `{}`
    /// watches what the workload's objective names. By default nothing is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchSettings>,
}

/// How long to wait after a change before the next one in the same or the other direction (D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CooldownSettings {
    /// After any change, before growing (A3: 300s; A13: 300s).
    pub up: Span,
    /// After any change, before shrinking (A3: 600s; A13: 600s).
    pub down: Span,
}

impl Default for CooldownSettings {
    fn default() -> Self {
        Self { up: Span::seconds(300), down: Span::seconds(600) }
    }
}

/// The rate limiter of B14; its memory is the journal, so a restart does not forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RateLimitSettings {
    /// Changes within an hour (B14: 5).
    pub per_hour: u32,
    /// Replicas in one change (B14: 3).
    pub replicas_per_change: Replicas,
    /// Time between two changes (B14: 300s).
    pub apart: Span,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { per_hour: 5, replicas_per_change: Replicas(3), apart: Span::seconds(300) }
    }
}

impl Behavior {
    /// The longest stabilisation window the HPA allows.
    pub const MAX_STABILIZATION: Span = Span::hours(1);
    /// The longest period of a policy the HPA allows.
    pub const MAX_PERIOD: Span = Span::minutes(30);

    /// Whether nothing was written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The stabilisation window for growing (HPA: 0 s).
    #[must_use]
    pub fn up_window(&self) -> Span {
        self.scale_up.as_ref().and_then(|r| r.stabilization).unwrap_or(Span::ZERO)
    }

    /// The stabilisation window for shrinking (HPA: 300 s).
    #[must_use]
    pub fn down_window(&self) -> Span {
        self.scale_down.as_ref().and_then(|r| r.stabilization).unwrap_or(Span::minutes(5))
    }

    pub(super) fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        for (key, rules) in [("scaleUp", &self.scale_up), ("scaleDown", &self.scale_down)] {
            let Some(rules) = rules else { continue };
            let at = at.key(key);
            if rules.stabilization.is_some_and(|s| s > Self::MAX_STABILIZATION) {
                problems.push(Problem::new(
                    at.key("stabilization"),
                    format!("is longer than {}, the longest window", Self::MAX_STABILIZATION),
                ));
            }
            if let Some(burst) = &rules.burst {
                if key == "scaleDown" {
                    problems.push(Problem::new(at.key("burst"), "a burst limits growing only"));
                }
                if !(burst.factor.is_finite() && burst.factor >= 1.0) {
                    problems.push(Problem::new(at.key("burst").key("factor"), "must be at least 1"));
                }
            }
            if let Some(tolerance) = &rules.tolerance {
                crate::strategy::check_tolerance(tolerance, &at.key("tolerance"), problems);
            }
            for (index, policy) in rules.policies.iter().enumerate() {
                let at = at.key("policies").index(index);
                match (policy.percent, policy.replicas) {
                    (Some(0), None) => problems.push(Problem::new(at.key("percent"), "must be at least 1")),
                    (None, Some(0)) => problems.push(Problem::new(at.key("replicas"), "must be at least 1")),
                    (Some(_), None) | (None, Some(_)) => {}
                    (Some(_), Some(_)) | (None, None) => problems
                        .push(Problem::new(at.clone(), "a policy names either `percent` or `replicas`")),
                }
                if policy.period.is_zero() || policy.period > Self::MAX_PERIOD {
                    problems.push(Problem::new(
                        at.key("period"),
                        format!("must be longer than nothing and at most {}", Self::MAX_PERIOD),
                    ));
                }
            }
        }
    }
}

impl GuardSettings {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        crate::guard::check(self, workload, at, problems);
        if let Some(limit) = &self.rate_limit {
            let at = at.key("rateLimit");
            if limit.per_hour == 0 {
                problems.push(Problem::new(
                    at.key("perHour"),
                    "0 would refuse every change; use `freeze` for that",
                ));
            }
            if limit.replicas_per_change == Replicas::ZERO {
                problems.push(Problem::new(at.key("replicasPerChange"), "0 would refuse every change"));
            }
        }
    }
}
