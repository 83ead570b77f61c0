//! Breaker: the fleet as a whole does not change too much at once.
//!
//! Each workload may be right by its own figures while all of them together are wrong: a source that shows nothing
//! but small numbers, a policy with a mistake, a person with a script. When the replicas taken away within a stretch
//! (5 min) would pass a share of the fleet (30 %), the breaker opens: that change and every further one is refused, and
//! people are told. It closes by itself after a while, or when a person says so, who then has one stretch in which
//! everything passes.
//!
//! ```text
//! gone + leaving + this change  >  max(at least, ⌊share × replicas at the beginning of the stretch⌋)
//! ```
//!
//! Growth neither counts nor is stopped unless the policy says so. Coming back into the policy's range is never
//! refused. The defaults and their sources stand with [`BreakerSettings`](crate::fleet::BreakerSettings).
//!
//! Source: B13 and B14, for the fleet instead of one workload.

use super::safety::comes_back;
use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;
use crate::together::{Together, Word};

pub(crate) fn refuse(cx: &Context<'_>, together: &Together, draft: &mut Draft) {
    if draft.wanted() == draft.from() || comes_back(cx, draft) {
        return;
    }
    match together.word(cx.name(), draft.from(), draft.wanted(), cx.at()) {
        Word::Pass => {}
        Word::Open { until } => draft.refuse(By::Breaker, Reason::BreakerOpen { until }),
        Word::Trips { changed, most } => {
            draft.refuse(By::Breaker, Reason::BreakerTrips { changed, most });
        }
    }
}
