//! Fixed: always the same count.
//!
//! The plainest strategy: a baseline under others (the highest want wins), a workload that is not to be scaled, or
//! the static fleet that a comparison needs.
//!
//! Source: the static fleets that A28 reckons against. There are no defaults: the count is the policy's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::reason::Reason;
use crate::units::Replicas;

/// Always the same count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fixed {
    /// The count.
    pub replicas: Replicas,
}

impl Recommend for Fixed {
    fn recommend(&self, _cx: &Context<'_>) -> Advice {
        Advice::wants(self.replicas, Reason::FixedCount)
    }

    fn check(&self, _workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if self.replicas > Replicas::LIMIT {
            problems.push(Problem::new(at.key("replicas"), format!("is above {}", Replicas::LIMIT)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, any_case, behaves, problems, wants};
    use proptest::prelude::*;

    #[test]
    fn the_count_is_the_same_whatever_is_seen() {
        for case in [Case::absent(), Case::cpu(1e300), Case::cpu(0.0).replicas(100)] {
            assert_eq!(wants(&Fixed { replicas: Replicas(4) }, &case), (4, "fixed-count"));
        }
        assert_eq!(problems(&Fixed { replicas: Replicas(u32::MAX) }), ["replicas"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"])) {
            behaves(&Fixed { replicas: Replicas(4) }, &case, &[])?;
        }
    }
}
