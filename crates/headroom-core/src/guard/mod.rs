//! Guards: what limits or refuses a change.
//!
//! They run in this order, whatever the policy file's order is, because it matters: first the guards that say
//! "not now" (settled, absence), then the ones that shape the move (stabilise, watch, step, gradual steps, cooldowns, sizes of
//! a change), then bounds, which have the last word on the number; then what is shared with others; last the refusals (freeze, pause after a failure,
//! quiet hours, flapping, safety, approval, rate limit, breaker), which see the change as it would be made. A guard keeps no state; it asks the [`Context`].

mod absence;
mod approval;
mod bounds;
mod breaker;
mod cooldown;
mod dynamic_cooldown;
mod flapping;
mod freeze;
mod gradual;
mod quiet_hours;
mod rate_limit;
mod safety;
mod settled;
mod share;
mod stabilise;
mod step;
pub mod urgency;
pub mod velocity;
pub(crate) mod watch;

pub use approval::{APPROVED_FOR, Approval, PENDING_FOR, REJECTED_FOR};
pub(crate) use bounds::maximum;
pub use bounds::raised_maximum;
pub use dynamic_cooldown::DynamicCooldown;
pub use flapping::{Flapping, turns};
pub use gradual::{GradualSteps, StepSize};
pub use quiet_hours::QuietHours;
pub use safety::{Dependency, Safety};
pub use stabilise::stabilised;
pub use watch::{Ending, Verdict, WatchSettings, Watched};

use crate::context::Context;
use crate::decision::{Draft, Recommendation};
use crate::fleet::{GuardSettings, Path, Problem, Workload};
use crate::together::{Ask, Room, Together};
use crate::units::Replicas;

/// Runs every guard over `draft`; says what the workload asks of what it shares.
pub(crate) fn run(
    cx: &Context<'_>,
    recommendations: &[Recommendation],
    room: Option<&Room>,
    together: Option<&Together>,
    draft: &mut Draft,
) -> Option<Ask> {
    limit(cx, recommendations, draft);
    let ask = room.map(|room| share::limit(cx, recommendations, room, draft));
    refuse(cx, draft);
    if let Some(together) = together {
        breaker::refuse(cx, together, draft);
    }
    ask
}

/// The guards that also stand over a plan that a person applied: it is done as it is, or not at all. Those of speed and
/// of size had their say when it was made; these ask what may have changed since.
pub(crate) fn run_over_plan(
    cx: &Context<'_>,
    recommendations: &[Recommendation],
    room: Option<&Room>,
    together: Option<&Together>,
    draft: &mut Draft,
) {
    settled::refuse_overtaking(cx, draft);
    absence::refuse(cx, recommendations, draft);
    bounds::refuse(cx, recommendations, draft);
    if let Some(room) = room {
        share::refuse(room, draft);
    }
    freeze::refuse(cx, draft);
    if let Some(together) = together {
        breaker::refuse(cx, together, draft);
    }
}

/// Runs the guards that shape a change.
pub(crate) fn limit(cx: &Context<'_>, recommendations: &[Recommendation], draft: &mut Draft) {
    settled::limit(cx, draft);
    absence::limit(cx, recommendations, draft);
    stabilise::limit(cx, draft);
    watch::limit(cx, draft);
    pace(cx, draft);
    bounds::limit(cx, recommendations, draft);
}

/// Runs the guards that say how much may change how soon.
fn pace(cx: &Context<'_>, draft: &mut Draft) {
    step::limit(cx, draft);
    gradual::limit(cx, draft);
    cooldown::limit(cx, draft);
    dynamic_cooldown::limit(cx, draft);
    rate_limit::limit(cx, draft);
    safety::limit(cx, draft);
}

/// Runs the guards that refuse a change as a whole.
fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    freeze::refuse(cx, draft);
    settled::refuse(cx, draft);
    quiet_hours::refuse(cx, draft);
    flapping::refuse(cx, draft);
    safety::refuse(cx, draft);
    approval::refuse(cx, draft);
    rate_limit::refuse(cx, draft);
}

/// Adds what is wrong with the settings of guards that name signals or times.
pub(crate) fn check(settings: &GuardSettings, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
    if let Some(cooldown) = &settings.dynamic_cooldown {
        urgency::check(&cooldown.urgency, workload, &at.key("dynamicCooldown").key("urgency"), problems);
    }
    if let Some(steps) = &settings.gradual_steps {
        let at = at.key("gradualSteps");
        urgency::check(&steps.urgency, workload, &at.key("urgency"), problems);
        for (key, size) in [
            ("conservative", steps.conservative),
            ("moderate", steps.moderate),
            ("aggressive", steps.aggressive),
        ] {
            if size.up == Replicas::ZERO || size.down == Replicas::ZERO {
                problems.push(Problem::new(at.key(key), "a step of 0 changes nothing"));
            }
        }
    }
    if let Some(safety) = &settings.safety {
        safety::check(safety, workload, &at.key("safety"), problems);
    }
    if let Some(watch) = &settings.watch {
        watch::check(watch, workload, &at.key("watch"), problems);
    }
    if settings.flapping.is_some_and(|f| f.turns == 0) {
        problems.push(Problem::new(at.key("flapping").key("turns"), "0 would never let anything shrink"));
    }
    if settings.quiet_hours.as_ref().is_some_and(|q| q.hours.is_empty()) {
        problems.push(Problem::new(at.key("quietHours").key("hours"), "without hours none are quiet"));
    }
}

#[cfg(test)]
mod harness;
#[cfg(test)]
pub(crate) mod testing;
