//! Share: what several workloads draw from together is never asked for twice (A33, A35).
//!
//! With `Σ each × replicas ≤ supply` a workload grows to at most
//!
//! ```text
//! (supply − what the others hold − what those of a higher priority are short of) ÷ each − its own draining replicas
//! ```
//!
//! where "hold" is the most there may be of each: asked for, under way, running, draining. When one of a higher priority
//! is short, those of lower priorities give way, the lowest first, down to their minimum: each takes away what is
//! missing after all below it have given what they can. A supplier does not shrink below what is held of it. A limit
//! that is overdrawn (a supplier died, someone else started replicas) stops growth and takes nothing away.
//!
//! Giving way is no conclusion from absent data, but it stops at the same line, and at every limit of speed: what is
//! blind, frozen, cooling down or refused by another guard does not give, and the next higher priority gives instead.
//!
//! Source: A33 (20 connections a replica, 1000 in all), A35 (priorities). There are no defaults: what there is of a thing is
//! for the policy to say.

use super::absence;
use crate::context::Context;
use crate::decision::{By, Draft, Recommendation};
use crate::reason::Reason;
use crate::together::{Ask, Room};
use crate::units::Replicas;

/// Limits `draft` to the room there is; says what the workload would have without limits.
pub(crate) fn limit(
    cx: &Context<'_>,
    recommendations: &[Recommendation],
    room: &Room,
    draft: &mut Draft,
) -> Ask {
    let from = draft.from();
    let mut ask = Ask { wants: from, short_of: None, least: from };
    if let Some(tight) = room.growth.as_ref().filter(|tight| draft.wanted() > tight.bound.max(from)) {
        let mut unlimited = draft.clone();
        super::refuse(cx, &mut unlimited);
        if unlimited.grows() {
            (ask.wants, ask.short_of) = (unlimited.wanted(), Some(tight.limit.clone()));
        }
        let why = Reason::LimitReached { limit: tight.limit.clone(), supply: tight.supply, held: tight.held };
        draft.move_to(tight.bound.max(from), By::Share, why);
    }
    if let Some(tight) = room.keeps.as_ref().filter(|tight| draft.wanted() < tight.bound.min(from)) {
        let why = Reason::SupplyHeld { limit: tight.limit.clone(), supply: tight.supply, held: tight.held };
        draft.move_to(tight.bound.min(from), By::Share, why);
    }
    let floor = absence::floor_of_faults(cx, recommendations).map_or(Replicas::ZERO, |(floor, _)| floor);
    let least =
        cx.workload().replicas.min.max(floor).max(room.keeps.as_ref().map_or(Replicas::ZERO, |k| k.bound));
    if cx.memory().in_flight.is_some() {
        // It gives once it has settled; till then it counts as one that can.
        ask.least = least.min(from);
        return ask;
    }
    let mut one_fewer = Draft::starting_at(from, Vec::new());
    one_fewer.move_to(least.max(from.minus(1)).min(from), By::Share, Reason::NobodyWants);
    super::pace(cx, &mut one_fewer);
    super::refuse(cx, &mut one_fewer);
    if one_fewer.shrinks() {
        ask.least = least.min(from);
    }
    if let Some(give) = &room.gives {
        let to = from.minus(give.replicas.0).max(ask.least);
        if to < draft.wanted() {
            draft.move_to(to, By::Share, Reason::GivesWay { limit: give.limit.clone(), to: give.to.clone() });
            // No faster than the policy lets anything shrink.
            super::pace(cx, draft);
        }
    }
    ask
}

/// What a person asked for is done as it stands or not at all.
pub(crate) fn refuse(room: &Room, draft: &mut Draft) {
    if let Some(tight) = room.growth.as_ref().filter(|t| draft.grows() && draft.wanted() > t.bound) {
        let why = Reason::LimitReached { limit: tight.limit.clone(), supply: tight.supply, held: tight.held };
        draft.refuse(By::Share, why);
    }
    if let Some(tight) = room.keeps.as_ref().filter(|t| draft.shrinks() && draft.wanted() < t.bound) {
        let why = Reason::SupplyHeld { limit: tight.limit.clone(), supply: tight.supply, held: tight.held };
        draft.refuse(By::Share, why);
    }
}
