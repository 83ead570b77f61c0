//! Pass-through: a count that something else has reckoned.
//!
//! An outside recommender (a planning tool, another autoscaler, a person with a push) sends a count as a signal;
//! here it becomes a want, and headroom's guards, bounds and explanations apply to it. Rounded up, limited to so many
//! replicas at a time, and like any signal it is only acted on while it is fresh.
//!
//! Source: Nomad Autoscaler, strategy plugin `pass-through`. There are no defaults: without limits a step is as large as
//! it is asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Replicas, Unit};

/// A count that something else has reckoned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PassThrough {
    /// The signal whose value is the count.
    pub signal: SignalName,
    /// At most so many more at a time; by default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_scale_up: Option<Replicas>,
    /// At most so many fewer at a time; by default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_scale_down: Option<Replicas>,
}

/// `wanted`, at most so many more or fewer than `current`.
#[must_use]
pub fn within(
    current: Replicas,
    wanted: Replicas,
    max_up: Option<Replicas>,
    max_down: Option<Replicas>,
) -> Replicas {
    let most = max_up.map_or(Replicas::LIMIT, |up| current.plus(up.0));
    let least = max_down.map_or(Replicas::ZERO, |down| current.minus(down.0));
    wanted.min(most).max(least)
}

impl Recommend for PassThrough {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let sample = match cx.fresh(&self.signal) {
            Ok(sample) => sample,
            Err(why) => return Advice::abstains(why),
        };
        let wanted = Replicas::ceil(sample.value.get());
        let allowed = within(cx.current(), wanted, self.max_scale_up, self.max_scale_down);
        let why = if allowed == wanted {
            Reason::AskedFor { seen: cx.seen(&self.signal, sample) }
        } else {
            Reason::RateOfChange { wanted, allowed }
        };
        Advice::wants(allowed, why)
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.push(self.signal.clone());
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let at_signal = at.key("signal");
        if let Some(signal) = workload.require_signal(&self.signal, &at_signal, problems)
            && signal.unit() != Unit::Count
        {
            problems.push(Problem::new(at_signal, format!("`{}` is no count", self.signal)));
        }
        for (key, most) in [("maxScaleUp", self.max_scale_up), ("maxScaleDown", self.max_scale_down)] {
            if most == Some(Replicas::ZERO) {
                problems.push(Problem::new(at.key(key), "0 would never change anything in this direction"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, problems, wants};
    use proptest::prelude::*;

    fn rule() -> PassThrough {
        PassThrough {
            signal: "users".parse().unwrap(),
            max_scale_up: Some(Replicas(3)),
            max_scale_down: Some(Replicas(1)),
        }
    }

    #[test]
    fn the_count_is_taken_within_its_limits() {
        for (asked, expected, code) in [
            (0.0, 9, "rate-of-change"),
            (9.0, 9, "asked-for"),
            (9.1, 10, "asked-for"),
            (13.0, 13, "asked-for"),
            (14.0, 13, "rate-of-change"),
            (1e300, 13, "rate-of-change"),
        ] {
            let case = Case::absent().with("users", asked).replicas(10);
            assert_eq!(wants(&rule(), &case), (expected, code), "{asked}");
        }
        assert_eq!(abstains(&rule(), &Case::absent()), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::absent().not_a_number("users")), "signal-absent");
        assert_eq!(problems(&PassThrough { signal: "cpu".parse().unwrap(), ..rule() }), ["signal"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["users"])) {
            behaves(&rule(), &case, &["users"])?;
        }
    }
}
