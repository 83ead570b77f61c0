//! Freeze: a person said to leave the workload alone.
//!
//! Whatever strategies and other guards say, nothing changes until the freeze ends or is taken back; who, why and until
//! when stand in every decision meanwhile. Also coming back into bounds waits.
//!
//! Source: KEDA's `paused` annotation and the suspended processes of AWS. There are no defaults: a freeze without an end
//! lasts until the thaw.

use crate::context::Context;
use crate::decision::{By, Draft};
use crate::reason::Reason;

pub(super) fn refuse(cx: &Context<'_>, draft: &mut Draft) {
    if let Some(freeze) = cx.memory().freeze(cx.at()) {
        let why = Reason::Frozen { until: freeze.until, by: freeze.by.clone(), why: freeze.why.clone() };
        draft.hold(By::Freeze, why);
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    #[test]
    fn a_freeze_holds_until_its_end() {
        assert_eq!(Case::new(8, 12).frozen_for(Some(1)).limited(super::refuse), 8);
        assert_eq!(Case::new(8, 12).frozen_for(Some(0)).limited(super::refuse), 12);
        assert_eq!(Case::new(8, 4).frozen_for(None).limited(super::refuse), 8);
    }
}
