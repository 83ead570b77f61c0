//! Who comes and who goes: from the replicas there are and the number wanted to orders.
//!
//! Pure and level-triggered: it looks at everything each time and orders what is missing, so a lost
//! event costs nothing and there is one path, not one for each event.
//!
//! * Sick and outdated replicas are replaced *beside*: the replacement is ready before they go. One that
//!   recovers in the meantime stays, and the replacement goes instead.
//! * Growth first takes back what is still draining: it is warm, and ready at once.
//! * Then it takes from the warm pool, warm ones first, then those that are nearest to it (A31). The pool refills
//!   beside, and its replicas are brought up to date first: nobody notices, and rotation can take from it.
//! * Shrinking takes first what serves least: what waits to be started again, then sick ones, then
//!   starting ones, then ready ones; among equals the youngest, since the oldest are the warmest
//!   (caches, compiled code) and age is bounded by the maximum lifetime anyway.
//! * Rotation, out of age (A29) or to another version, takes one at a time, and only while all others are
//!   ready. So a version that never gets ready replaces nothing.

/// So many replicas may be started by one round of orders: a bound for the case of a mistyped size, far
/// above what one machine starts at once.
const MOST_STARTS: usize = 256;

/// What a replica counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It waits to be started, for the first time or after a failure (whose remains may still be cleared
    /// away).
    Waiting,
    /// It was ready and isn't well.
    Sick,
    /// It is on its way up.
    Starting,
    /// It serves.
    Ready,
    /// It is on its way out by a scale-in, and could be taken back.
    Recallable,
    /// It is on its way out.
    Leaving,
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Higher is younger; unique.
    pub(crate) index: u32,
    pub(crate) stage: Stage,
    /// It is being rotated out: it serves until its replacement does.
    pub(crate) outgoing: bool,
    /// It has passed its maximum lifetime, or runs another version than the one wanted.
    pub(crate) outdated: bool,
    /// It is of the warm pool: `Ready` is warm, and takes no traffic.
    pub(crate) spare: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Add this many.
    Add(usize),
    /// Take this draining one back.
    Recall(u32),
    /// Let this one of the warm pool serve.
    Promote(u32),
    /// Add this many to the warm pool.
    AddSpare(usize),
    /// Let this one go, as fewer are wanted.
    Remove(u32),
    /// Let this one go, as its replacement serves.
    Retire(u32),
    /// Begin to replace this one.
    Rotate(u32),
}

/// The orders that lead to `desired` replicas that serve, and `pool` warm ones beside.
pub(crate) fn plan(desired: u32, pool: u32, members: &[Member]) -> Vec<Order> {
    let desired = desired as usize;
    let of = |stage: Stage| {
        let mut found: Vec<&Member> =
            members.iter().filter(|m| m.stage == stage && !m.outgoing && !m.spare).collect();
        found.sort_by_key(|m| std::cmp::Reverse(m.index));
        found
    };
    let (waiting, sick, starting, ready) =
        (of(Stage::Waiting), of(Stage::Sick), of(Stage::Starting), of(Stage::Ready));
    let outgoing: Vec<&Member> = members.iter().filter(|m| m.outgoing && m.stage <= Stage::Ready).collect();
    let mut orders = Vec::new();

    // Sick ones are replaced beside, a quarter of the crew at a time: when all are sick at once they are
    // overloaded or share a broken dependency, and twice as many would not help.
    let surge = sick.len().min((desired / 4).max(1));
    let counted = waiting.len() + starting.len() + ready.len() + (sick.len() - surge);

    if counted < desired {
        let mut missing = desired - counted;
        for member in of(Stage::Recallable).into_iter().rev().take(missing) {
            orders.push(Order::Recall(member.index));
            missing -= 1;
        }
        for member in takeable(members).into_iter().take(missing) {
            orders.push(Order::Promote(member.index));
            missing -= 1;
        }
        if missing > 0 {
            orders.push(Order::Add(missing.min(MOST_STARTS)));
        }
    } else if counted > desired {
        let surplus = counted - desired;
        let by_worth = waiting.iter().chain(sick.iter().skip(surge)).chain(&starting).chain(&ready);
        orders.extend(by_worth.take(surplus).map(|m| Order::Remove(m.index)));
    }

    if ready.len() >= desired {
        orders.extend(outgoing.iter().map(|m| Order::Retire(m.index)));
    }
    if ready.len() + (sick.len() - surge) >= desired {
        orders.extend(sick.iter().take(surge).map(|m| Order::Retire(m.index)));
    }

    let promoted = orders.iter().filter(|order| matches!(order, Order::Promote(_))).count();
    let pool_is_well = keep_pool(pool as usize, promoted, members, &mut orders);

    let all_is_well = pool_is_well
        && counted == desired
        && ready.len() == desired
        && sick.is_empty()
        && outgoing.is_empty();
    let none_leaves = members.iter().all(|m| m.stage < Stage::Recallable);
    if all_is_well
        && none_leaves
        && let Some(oldest) = ready.iter().rev().find(|m| m.outdated)
    {
        orders.push(Order::Rotate(oldest.index));
    }
    orders
}

/// Those of the warm pool that can serve at once or soon: warm ones first, the oldest of each first.
fn takeable(members: &[Member]) -> Vec<&Member> {
    let mut found: Vec<&Member> =
        members.iter().filter(|m| m.spare && matches!(m.stage, Stage::Ready | Stage::Starting)).collect();
    found.sort_by_key(|m| (std::cmp::Reverse(m.stage), m.index));
    found
}

/// Refills the warm pool, of which `promoted` are taken, lets go of what is too much, sick or outdated; `true` where
/// all of it is warm and up to date. A version that never gets warm replaces nothing.
fn keep_pool(pool: usize, promoted: usize, members: &[Member], orders: &mut Vec<Order>) -> bool {
    let before = orders.len();
    let taken: Vec<u32> = takeable(members).into_iter().take(promoted).map(|m| m.index).collect();
    let mut spares: Vec<&Member> =
        members.iter().filter(|m| m.spare && m.stage <= Stage::Ready && !taken.contains(&m.index)).collect();
    // Nobody waits for a sick one: it goes, and another comes.
    orders.extend(spares.iter().filter(|m| m.stage == Stage::Sick).map(|m| Order::Retire(m.index)));
    spares.retain(|m| m.stage != Stage::Sick);
    spares.sort_by_key(|m| (m.stage, std::cmp::Reverse(m.index)));
    if spares.len() < pool {
        orders.push(Order::AddSpare((pool - spares.len()).min(MOST_STARTS)));
    } else if spares.len() > pool {
        orders.extend(spares.iter().take(spares.len() - pool).map(|m| Order::Remove(m.index)));
    } else if spares.iter().all(|m| m.stage == Stage::Ready)
        && let Some(oldest) = spares.iter().filter(|m| m.outdated).min_by_key(|m| m.index)
    {
        orders.push(Order::Retire(oldest.index));
    }
    orders.len() == before && spares.iter().all(|m| m.stage == Stage::Ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"R1 S2o"`: stage by letter, index, then `o` for outgoing, `x` for outdated, `w` for one of the warm pool.
    fn crew(text: &str) -> Vec<Member> {
        text.split_whitespace()
            .map(|word| {
                let stage = match &word[..1] {
                    "W" => Stage::Waiting,
                    "K" => Stage::Sick,
                    "S" => Stage::Starting,
                    "R" => Stage::Ready,
                    "D" => Stage::Recallable,
                    "L" => Stage::Leaving,
                    other => panic!("no stage {other}"),
                };
                let digits: String = word[1..].chars().take_while(char::is_ascii_digit).collect();
                Member {
                    index: digits.parse().unwrap(),
                    stage,
                    outgoing: word.ends_with('o'),
                    outdated: word.contains('x'),
                    spare: word.ends_with('w'),
                }
            })
            .collect()
    }

    #[test]
    fn orders_lead_to_the_desired_number() {
        use Order::{Add, Recall, Remove, Retire, Rotate};
        let table: &[(&str, u32, &str, Vec<Order>)] = &[
            ("nothing to do at zero", 0, "", vec![]),
            ("nothing to do when all is well", 2, "R1 R2", vec![]),
            ("all missing ones at once", 3, "", vec![Add(3)]),
            ("a start under way counts", 3, "R1 S2", vec![Add(1)]),
            ("a restart to come counts", 2, "R1 W2", vec![]),
            ("leaving ones don't count", 1, "L1", vec![Add(1)]),
            ("draining ones are taken back, oldest first", 2, "R1 D2 D3", vec![Recall(2)]),
            ("and what is still missing is added", 4, "R1 D2", vec![Recall(2), Add(2)]),
            ("the youngest ready one goes first", 1, "R1 R2 R3", vec![Remove(3), Remove(2)]),
            ("a starting one goes before a ready one", 2, "S1 R2 R3", vec![Remove(1)]),
            ("a failed one goes before a starting one", 2, "W1 S2 R3", vec![Remove(1)]),
            ("to zero", 0, "R1 S2", vec![Remove(2), Remove(1)]),
            ("a sick one is replaced beside", 2, "R1 K2", vec![Add(1)]),
            ("and stays while its replacement starts", 2, "R1 K2 S3", vec![]),
            ("and goes once that is ready", 2, "R1 K2 R3", vec![Retire(2)]),
            ("a recovered one makes its replacement superfluous", 2, "R1 R2 S3", vec![Remove(3)]),
            ("all sick at once: only a quarter is replaced", 4, "K1 K2 K3 K4", vec![Add(1)]),
            ("its replacement ready, the first goes", 4, "K1 K2 K3 K4 R5", vec![Retire(4)]),
            ("and the next is replaced", 4, "K1 K2 K3 R5", vec![Add(1)]),
            ("at zero a sick one goes", 0, "K1", vec![Retire(1)]),
            ("the oldest outdated one is rotated", 2, "R1x R2x", vec![Rotate(1)]),
            ("its replacement is added", 2, "R1o R2x", vec![Add(1)]),
            ("it serves while that starts", 2, "R1o R2x S3", vec![]),
            ("it goes when that is ready", 2, "R1o R2x R3", vec![Retire(1)]),
            ("the next waits until it is gone", 2, "L1 R2x R3", vec![]),
            ("then it is its turn", 2, "R2x R3", vec![Rotate(2)]),
            ("no rotation while one starts", 2, "R1x S2", vec![]),
            ("no rotation while one is sick", 2, "R1x K2", vec![Add(1)]),
            ("a mistyped size is bounded", u32::MAX, "", vec![Add(MOST_STARTS)]),
        ];
        for (claim, desired, text, expected) in table {
            assert_eq!(&plan(*desired, 0, &crew(text)), expected, "{claim}");
        }
    }

    /// A31: growth takes from the pool first; the pool refills.
    #[test]
    fn the_warm_pool_serves_first_and_refills() {
        use Order::{Add, AddSpare, Promote, Recall, Remove, Retire, Rotate};
        let table: &[(&str, u32, u32, &str, Vec<Order>)] = &[
            ("an empty pool is filled", 1, 3, "R1", vec![AddSpare(3)]),
            ("a full one is left alone", 1, 2, "R1 R2w R3w", vec![]),
            ("warm ones serve nobody until they are asked", 2, 1, "R1 R2w", vec![Promote(2), AddSpare(1)]),
            ("the oldest warm one first", 2, 2, "R1 R2w R3w", vec![Promote(2), AddSpare(1)]),
            ("a warm one before one that starts", 2, 2, "R1 S2w R3w", vec![Promote(3), AddSpare(1)]),
            ("one that starts is nearer than a new one", 2, 1, "R1 S2w", vec![Promote(2), AddSpare(1)]),
            ("what is draining comes first", 2, 1, "R1 D2 R3w", vec![Recall(2)]),
            ("what the pool lacks is added", 4, 1, "R1 R2w", vec![Promote(2), Add(2), AddSpare(1)]),
            ("one that failed is no help, and counts", 2, 1, "R1 W2w", vec![Add(1)]),
            (
                "a smaller pool lets the least ready go first",
                1,
                1,
                "R1 R2w S3w R4w",
                vec![Remove(3), Remove(4)],
            ),
            ("no pool", 1, 0, "R1 R2w", vec![Remove(2)]),
            ("a sick one goes, and another comes", 1, 1, "R1 K2w", vec![Retire(2), AddSpare(1)]),
            ("shrinking leaves the pool alone", 1, 1, "R1 R2 R3w", vec![Remove(2)]),
            ("the pool is brought up to date first", 1, 2, "R1x R2xw R3xw", vec![Retire(2)]),
            ("one after the other", 1, 2, "R1x R3xw S4w", vec![]),
            ("then what serves is rotated", 1, 2, "R1x R3w R4w", vec![Rotate(1)]),
            ("and its replacement is a warm one", 1, 2, "R1xo R3w R4w", vec![Promote(3), AddSpare(1)]),
            ("all go at the end", 0, 0, "R1 R2w S3w", vec![Remove(1), Remove(3), Remove(2)]),
        ];
        for (claim, desired, pool, text, expected) in table {
            assert_eq!(&plan(*desired, *pool, &crew(text)), expected, "{claim}");
        }
    }
}
