//! Step: the HPA's limits of speed (A4).
//!
//! A policy allows so many replicas, or so many per cent, within a period; the present count less what the
//! period's changes added (or plus what they took) is the base it counts from. Of several policies the one that
//! allows most counts, or least, as written. Percentages of growth round up and of shrinking round down, as the
//! HPA does, so that a small workload is not stuck.

use crate::context::{Context, Direction};
use crate::decision::{By, Draft};
use crate::fleet::{PolicySelect, ScalingPolicy, ScalingRules};
use crate::reason::Reason;
use crate::units::{Replicas, Span, Timestamp};

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
    let Some((edge, period)) = furthest(cx, rules, direction, draft.from()) else { return };
    match direction {
        Direction::Up if draft.wanted() > edge => {
            let edge = edge.max(draft.from());
            let allowed = edge.minus(draft.from().0);
            draft.move_to(edge, By::Step, Reason::StepUpLimited { allowed, period });
        }
        Direction::Down if draft.wanted() < edge => {
            let edge = edge.min(draft.from());
            let allowed = draft.from().minus(edge.0);
            draft.move_to(edge, By::Step, Reason::StepDownLimited { allowed, period });
        }
        Direction::Up | Direction::Down => {}
    }
}

/// How far the rules allow to go from `present`, and the period of the policy that says so.
fn furthest(
    cx: &Context<'_>,
    rules: &ScalingRules,
    direction: Direction,
    present: Replicas,
) -> Option<(Replicas, Span)> {
    let edges = rules.policies.iter().map(|policy| (edge(cx, policy, direction, present), policy.period));
    // Growing as far as possible is the largest count, shrinking as far as possible the smallest.
    match (direction, rules.select) {
        (Direction::Up, PolicySelect::Max) | (Direction::Down, PolicySelect::Min) => {
            edges.max_by_key(|e| e.0)
        }
        (Direction::Up, _) | (Direction::Down, _) => edges.min_by_key(|e| e.0),
    }
}

fn edge(cx: &Context<'_>, policy: &ScalingPolicy, direction: Direction, present: Replicas) -> Replicas {
    let since = cx.at().minus(policy.period);
    let (added, taken) = moved(cx, since);
    // The HPA adds back what was taken and takes off what was added, in either direction.
    let base = present.plus(taken).minus(added);
    match (direction, policy.replicas, policy.percent) {
        (Direction::Up, Some(replicas), _) => base.plus(replicas),
        (Direction::Up, None, percent) => {
            Replicas::ceil(base.as_f64() * (1.0 + f64::from(percent.unwrap_or(0)) / 100.0))
        }
        (Direction::Down, Some(replicas), _) => base.minus(replicas),
        (Direction::Down, None, percent) => {
            let left = base.as_f64() * (1.0 - f64::from(percent.unwrap_or(0).min(100)) / 100.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 ≤ left ≤ base, a u32"
            )]
            Replicas(left.trunc() as u32)
        }
    }
}

/// Replicas added and taken after `since`.
fn moved(cx: &Context<'_>, since: Timestamp) -> (u32, u32) {
    let recent = cx.memory().changes().take_while(|c| c.at > since);
    recent.fold((0, 0), |(added, taken), c| {
        (added + c.to.0.saturating_sub(c.from.0), taken + c.from.0.saturating_sub(c.to.0))
    })
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
