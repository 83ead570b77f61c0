//! How many replicas wait, warm, for what comes (A31).
//!
//! The pool's size is decided beside the count, by the same tick, from what the strategies foresee: more load in the
//! next hour than 1.2 times what the replicas carry prepares 1.1 times what is missing. It is an order like any other:
//! absolute, recorded before it is given, and made by this crate alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::names::WorkloadName;
use crate::reason::Reason;
use crate::units::{Level, Replicas, Span, Timestamp};

/// An order that was given and does not show is given again after this long; a look comes every second.
const ASK_AGAIN: Span = Span::seconds(10);

/// What is decided about the pool of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warm {
    /// How many shall wait, warm.
    pub wanted: Replicas,
    /// How many do.
    pub ready: Replicas,
    /// Why so many.
    pub why: Reason,
}

/// What the target is to keep warm. Made only by a decision; doing it twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmOrder {
    workload: WorkloadName,
    keep: Replicas,
}

impl WarmOrder {
    /// Whose pool.
    #[must_use]
    pub fn workload(&self) -> &WorkloadName {
        &self.workload
    }

    /// How many are to wait, warm.
    #[must_use]
    pub fn keep(&self) -> Replicas {
        self.keep
    }
}

/// The last order to a pool that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    at: Timestamp,
    keep: Replicas,
}

/// What the pool shall be once `to` replicas take traffic; `None` where there is none and shall be none.
pub(crate) fn wanted(cx: &Context<'_>, to: Replicas) -> Option<Warm> {
    let seen = cx.status().pool.as_ref();
    let ready = seen.map_or(Replicas::ZERO, |pool| pool.warm);
    let Some(settings) = &cx.workload().warm_pool else {
        let left = seen.is_some_and(|pool| pool.wanted > Replicas::ZERO);
        return left.then_some(Warm { wanted: Replicas::ZERO, ready, why: Reason::WarmPoolOff });
    };
    let (mut wanted, mut why) = (settings.keep, Reason::WarmKept { keep: settings.keep });
    let foreseen = cx.workload().strategies.iter().enumerate().filter_map(|(index, strategy)| {
        strategy.foresees(&Context { strategy: index, ..*cx }, settings.ahead)
    });
    // The load that is foreseen, in replicas that it takes.
    if let Some(load) = foreseen.reduce(|a, b| if b > a { b } else { a })
        && load.get() > settings.when_above.level.get() * to.as_f64()
    {
        let missing = load.get() - to.as_f64();
        let prepared = Replicas::ceil(settings.prepare.level.get() * missing);
        if prepared > wanted {
            (wanted, why) = (prepared, Reason::WarmForeseen { load, carried: to, within: settings.ahead });
        }
    }
    let room = cx.workload().replicas.max.minus(to.0);
    if wanted > room {
        (wanted, why) = (room, Reason::WarmNoRoom { max: cx.workload().replicas.max });
    }
    Some(Warm { wanted, ready, why })
}

/// The order that makes the pool what was decided; `None` where it is so, or was asked for a moment ago. `shown` is
/// what the target says it was asked for last.
pub(crate) fn order(
    workload: &WorkloadName,
    wanted: Replicas,
    shown: Option<Replicas>,
    at: Timestamp,
    asked: &mut Option<Asked>,
) -> Option<WarmOrder> {
    if shown.unwrap_or(Replicas::ZERO) == wanted {
        *asked = None;
        return None;
    }
    let waits =
        |asked: &Asked| asked.keep == wanted && at.since(asked.at).max(asked.at.since(at)) < ASK_AGAIN;
    if asked.as_ref().is_some_and(waits) {
        return None;
    }
    *asked = Some(Asked { at, keep: wanted });
    Some(WarmOrder { workload: workload.clone(), keep: wanted })
}

/// A load in replicas, of a count that is wanted.
#[must_use]
pub(crate) fn load_of(replicas: Replicas) -> Level {
    Level::new(replicas.as_f64()).unwrap_or(Level::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::WarmPool;
    use crate::observation::PoolStatus;
    use crate::strategy::testing::{Case, seeing_with};
    use crate::strategy::{Strategy, TrafficPattern};

    /// Always `load` in the next hour, as a share of a baseline of 10.
    fn pattern(load: &str) -> Strategy {
        let hours = serde_json::json!({ "from": "00:00", "to": "00:00" });
        let class = serde_json::json!({ "hours": hours, "load": load });
        let pattern = serde_json::json!({ "baseline": 10, "classes": [class] });
        Strategy::TrafficPattern(serde_json::from_value::<TrafficPattern>(pattern).unwrap())
    }

    fn pool(load: &str, to: u32, max: u32) -> (u32, &'static str) {
        let change = |workload: &mut crate::fleet::Workload| {
            workload.warm_pool = Some(WarmPool::default());
            workload.replicas.max = Replicas(max);
            workload.strategies = vec![pattern(load)];
        };
        seeing_with(&Case::absent().replicas(to), change, |cx| {
            let warm = wanted(cx, Replicas(to)).unwrap();
            (warm.wanted.0, warm.why.code())
        })
    }

    /// A31: 3 are kept; above 1.2 times what is there, 1.1 times what is missing is prepared.
    #[test]
    fn the_pool_follows_what_is_foreseen() {
        for (claim, load, to, max, expected) in [
            ("nothing more is foreseen", "100%", 10, 100, (3, "warm-kept")),
            ("at 1.2 times nothing more is prepared", "120%", 10, 100, (3, "warm-kept")),
            ("above it, a gap of 3 makes 4", "130%", 10, 100, (4, "warm-foreseen")),
            ("a gap of 20 makes 22", "300%", 10, 100, (22, "warm-foreseen")),
            ("less than what is kept is not prepared", "100%", 8, 100, (3, "warm-kept")),
            ("never more than the most in all", "300%", 10, 25, (15, "warm-no-room")),
            ("at the most there is no room", "100%", 25, 25, (0, "warm-no-room")),
        ] {
            assert_eq!(pool(load, to, max), expected, "{claim}");
        }
    }

    #[test]
    fn a_pool_that_the_policy_no_longer_names_is_let_go() {
        seeing_with(
            &Case::absent().replicas(2),
            |_| {},
            |cx| {
                assert_eq!(wanted(cx, Replicas(2)), None);
                let three = PoolStatus {
                    wanted: Replicas(3),
                    warm: Replicas(2),
                    warming: Replicas(1),
                    replicas: Vec::new(),
                };
                let status = crate::observation::TargetStatus { pool: Some(three), ..cx.status().clone() };
                let warm = wanted(&Context { status: &status, ..*cx }, Replicas(2)).unwrap();
                assert_eq!((warm.wanted.0, warm.ready.0, warm.why.code()), (0, 2, "warm-pool-off"));
            },
        );
    }

    #[test]
    fn an_order_is_given_once_and_again_only_when_it_does_not_show() {
        let (name, at) = ("web".parse().unwrap(), Timestamp::from_millis(0));
        let mut asked = None;
        let mut ask = |wanted: u32, shown: u32, seconds: u64| {
            let at = at.plus(Span::seconds(seconds));
            order(&name, Replicas(wanted), Some(Replicas(shown)), at, &mut asked).map(|o| o.keep().0)
        };
        assert_eq!(ask(3, 0, 0), Some(3));
        assert_eq!(ask(3, 0, 9), None, "it is on its way");
        assert_eq!(ask(5, 0, 9), Some(5), "another size is another order");
        assert_eq!(ask(5, 0, 19), Some(5), "it does not show");
        assert_eq!(ask(5, 5, 20), None, "it is so");
    }
}
