//! Step: the HPA's limits of speed (A4).
//!
//! The arithmetic is [`super::velocity`]; here the policy's rules meet the remembered changes.
//!
//! Source: Kubernetes' HPA, A4. By default there is no limit; `examples/step.yaml` shows one.

use crate::context::{Context, Direction};
use crate::decision::{By, Draft};
use crate::fleet::PolicySelect;
use crate::guard::velocity::{Moved, furthest};
use crate::reason::Reason;
use crate::units::{Replicas, Span};

pub(super) fn limit(cx: &Context<'_>, draft: &mut Draft) {
    let behavior = &cx.workload().behavior;
    let (rules, direction) = if draft.grows() {
        (&behavior.scale_up, Direction::Up)
    } else if draft.shrinks() {
        (&behavior.scale_down, Direction::Down)
    } else {
        return;
    };
    let Some(rules) = rules else { return };
    if rules.select == PolicySelect::Disabled {
        draft.move_to(draft.from(), By::Step, Reason::DirectionDisabled);
        return;
    }
    let from = draft.from();
    let Some((edge, period)) = furthest(rules, direction, i64::from(from.0), |p| moved(cx, p)) else {
        return;
    };
    let edge = Replicas(u32::try_from(edge.max(0)).unwrap_or(u32::MAX).min(Replicas::LIMIT.0));
    match direction {
        Direction::Up if draft.wanted() > edge => {
            let allowed = edge.minus(from.0);
            draft.move_to(edge, By::Step, Reason::StepUpLimited { allowed, period });
        }
        Direction::Down if draft.wanted() < edge => {
            let allowed = from.minus(edge.0);
            draft.move_to(edge, By::Step, Reason::StepDownLimited { allowed, period });
        }
        Direction::Up | Direction::Down => {}
    }
}

/// What changed within `period`; changes are remembered newest first.
fn moved(cx: &Context<'_>, period: Span) -> Moved {
    let changes =
        cx.memory().changes().map(|c| (cx.at().since(c.at), i64::from(c.to.0) - i64::from(c.from.0)));
    Moved::within(period, changes.take_while(|(age, _)| *age < period))
}

#[cfg(test)]
mod tests {
    use crate::guard::testing::Case;

    /// A4: scaleUp +100 % or +5 within 60 s, scaleDown 10 % within 60 s.
    const SEED: &str = r#"{
        "scaleUp": { "policies": [{ "percent": 100, "period": "60s" }, { "replicas": 5, "period": "60s" }] },
        "scaleDown": { "policies": [{ "percent": 10, "period": "60s" }] } }"#;

    #[test]
    fn speed_is_limited_from_the_count_at_the_start_of_the_period() {
        for (from, want, changes, expected) in [
            (2, 50, vec![], 7),                // +5 allows more than +100 %
            (20, 100, vec![], 40),             // +100 % allows more than +5
            (20, 100, vec![(30, 10, 20)], 20), // ten at the start of the period: 20 is all
            (20, 100, vec![(61, 10, 20)], 40),
            (20, 1, vec![], 18),
            (18, 1, vec![(30, 20, 18)], 18),
            (5, 1, vec![], 4), // 4.5 rounds down: a small workload is not stuck
            (20, 20, vec![], 20),
        ] {
            let case = Case::new(from, want).behavior(SEED).changed(&changes);
            assert_eq!(case.limited(super::limit), expected, "{from} → {want} after {changes:?}");
        }
    }

    #[test]
    fn a_direction_can_be_switched_off_and_the_smaller_policy_chosen() {
        let off = r#"{ "scaleDown": { "select": "disabled" } }"#;
        assert_eq!(Case::new(8, 4).behavior(off).limited(super::limit), 8);
        assert_eq!(Case::new(8, 12).behavior(off).limited(super::limit), 12);
        let min = r#"{ "scaleUp": { "select": "min", "policies":
            [{ "percent": 100, "period": "60s" }, { "replicas": 5, "period": "60s" }] } }"#;
        assert_eq!(Case::new(20, 100).behavior(min).limited(super::limit), 25);
    }
}
