//! Guards: what limits or refuses a change.
//!
//! They run in this order, whatever the policy file's order is, because it matters: first the guards that say
//! "not now" (settled, absence), then the ones that shape the move (stabilise, step, cooldown), then bounds,
//! which have the last word on the number; last the refusals (pause after a failure, rate limit, freeze), which see the change as it
//! would be made. A guard keeps no state; it asks the [`Context`].

mod absence;
mod bounds;
mod cooldown;
mod freeze;
mod rate_limit;
mod settled;
mod stabilise;
mod step;
pub mod velocity;

pub use bounds::raised_maximum;
pub use stabilise::stabilised;

use crate::context::Context;
use crate::decision::{Draft, Recommendation};

/// Runs every guard over `draft`.
pub(crate) fn limit(cx: &Context<'_>, recommendations: &[Recommendation], draft: &mut Draft) {
    settled::limit(cx, draft);
    absence::limit(recommendations, draft);
    stabilise::limit(cx, draft);
    step::limit(cx, draft);
    cooldown::limit(cx, draft);
    rate_limit::limit(cx, draft);
    bounds::limit(cx, draft);
    settled::refuse(cx, draft);
    rate_limit::refuse(cx, draft);
    freeze::refuse(cx, draft);
}

#[cfg(test)]
pub(crate) mod testing;
