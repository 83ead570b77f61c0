//! Database tier: read replicas for reads, a larger class for writes (A24, A33).
//!
//! Reads above 1000 I/O operations a second with a CPU above 70 % add a read replica, at most five in all; when both
//! are below half of that, one goes. Where all five are not enough it stays there and advises caches (A33). Writes can't
//! be spread: more than 500 of them a second with a CPU above 80 % ask for the primary's next machine class, which this
//! strategy says but can't do, so it abstains with that advice.
//!
//! Source of rule and defaults: A24; the cooldown is that of A13's simple policies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Workload};
use crate::names::SignalName;
use crate::reason::Reason;
use crate::units::{Level, Quantity, Replicas, Span};

/// Read replicas for reads, a larger class for writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReadReplicas {
    /// Reads a second.
    pub reads: SignalName,
    /// CPU of the database.
    pub cpu: SignalName,
    /// Writes a second, for the advice on the primary's class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<SignalName>,
    /// Above so many reads, and `cpuAbove`, one is added (A24: 1000/s).
    #[serde(default = "thousand")]
    pub reads_above: Quantity,
    /// See `readsAbove` (A24: 70%).
    #[serde(default = "seventy")]
    pub cpu_above: Quantity,
    /// Above so many writes, and `writesCpuAbove`, the next class is advised (A24: 500/s).
    #[serde(default = "five_hundred")]
    pub writes_above: Quantity,
    /// See `writesAbove` (A24: 80%).
    #[serde(default = "eighty")]
    pub writes_cpu_above: Quantity,
    /// At most so many read replicas (A24: 5).
    #[serde(default = "five")]
    pub most: Replicas,
    /// How long to wait after a change (A13: 300s).
    #[serde(default = "five_minutes")]
    pub cooldown: Span,
}

fn rate(value: f64) -> Quantity {
    Quantity::plain(Level::new(value).unwrap_or(Level::ZERO))
}
fn share(value: f64) -> Quantity {
    Quantity::ratio(Level::new(value).unwrap_or(Level::ZERO))
}
fn thousand() -> Quantity {
    rate(1000.0)
}
fn five_hundred() -> Quantity {
    rate(500.0)
}
fn seventy() -> Quantity {
    share(0.7)
}
fn eighty() -> Quantity {
    share(0.8)
}
fn five() -> Replicas {
    Replicas(5)
}
fn five_minutes() -> Span {
    Span::seconds(300)
}

impl Recommend for ReadReplicas {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let (reads, cpu) = match (cx.fresh(&self.reads), cx.fresh(&self.cpu)) {
            (Ok(reads), Ok(cpu)) => (reads, cpu),
            (Err(why), _) | (_, Err(why)) => return Advice::abstains(why),
        };
        let (reads_seen, cpu_seen) = (cx.seen(&self.reads, reads), cx.seen(&self.cpu, cpu));
        let half = |quantity: &Quantity| quantity.level.get() / 2.0;
        if reads.value > self.reads_above.level && cpu.value > self.cpu_above.level {
            if cx.current() >= self.most {
                let why = Reason::CacheAdvised { seen: reads_seen, replicas: self.most };
                return Advice::wants(cx.current(), why);
            }
            let why = Reason::SignalAbove { seen: reads_seen, limit: self.reads_above.level };
            return super::after_cooldown(cx, cx.current().plus(1), why, self.cooldown);
        }
        if let Some(writes) = &self.writes
            && let Ok(sample) = cx.fresh(writes)
            && sample.value > self.writes_above.level
            && cpu.value > self.writes_cpu_above.level
        {
            return Advice::abstains(Reason::NextClassAdvised { seen: cx.seen(writes, sample) });
        }
        if reads.value.get() < half(&self.reads_above) && cpu.value.get() < half(&self.cpu_above) {
            let why = Reason::AllBelow { seen: vec![reads_seen, cpu_seen] };
            return super::after_cooldown(cx, cx.current().minus(1), why, self.cooldown);
        }
        let (low, high) = (Level::new(half(&self.reads_above)), self.reads_above.level);
        let low = low.unwrap_or(Level::ZERO);
        Advice::wants(cx.current(), Reason::WithinBand { seen: reads_seen, low, high })
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let mut check = |key: &str, name: &SignalName, limit: (&str, &Quantity)| {
            if let Some(signal) = workload.require_signal(name, &at.key(key), problems) {
                super::check_unit(limit.1, signal, &at.key(limit.0), problems);
            }
        };
        check("reads", &self.reads, ("readsAbove", &self.reads_above));
        check("cpu", &self.cpu, ("cpuAbove", &self.cpu_above));
        if let Some(writes) = &self.writes {
            check("writes", writes, ("writesAbove", &self.writes_above));
        }
    }

    fn needs(&self, signals: &mut Vec<SignalName>) {
        signals.extend([self.reads.clone(), self.cpu.clone()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, problems, wants};
    use proptest::prelude::*;

    fn rule() -> ReadReplicas {
        serde_json::from_value(serde_json::json!({ "reads": "iops", "cpu": "cpu", "writes": "rps" })).unwrap()
    }

    /// A24: both limits for a replica, both for a class, at most five. A33: then caches are advised.
    #[test]
    fn reads_add_a_replica_and_writes_ask_for_a_class() {
        for (reads, cpu, current, expected, code) in [
            (1001.0, 0.71, 2, 3, "signal-above"),
            (1000.0, 0.71, 2, 2, "within-band"),
            (1001.0, 0.70, 2, 2, "within-band"),
            (1e300, 1e300, 4, 5, "signal-above"),
            (1001.0, 0.71, 5, 5, "cache-advised"),
            (1e300, 1e300, 6, 6, "cache-advised"),
            (499.0, 0.34, 3, 2, "all-below"),
            (0.0, 0.0, 0, 0, "all-below"),
            (499.0, 0.35, 3, 3, "within-band"),
        ] {
            let case = Case::cpu(cpu).with("iops", reads).replicas(current);
            assert_eq!(wants(&rule(), &case), (expected, code), "{reads} {cpu}");
        }
        let writes = Case::cpu(0.81).with("iops", 10.0).with("rps", 501.0).replicas(2);
        assert_eq!(abstains(&rule(), &writes), "next-class-advised");
        assert_eq!(abstains(&rule(), &Case::cpu(0.9)), "signal-absent");
        assert_eq!(abstains(&rule(), &Case::cpu(0.9).not_a_number("iops")), "signal-absent");
        assert_eq!(problems(&rule()), Vec::<String>::new());
        assert_eq!(problems(&ReadReplicas { reads: "cpu".parse().unwrap(), ..rule() }), ["readsAbove"]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["iops", "cpu"])) {
            behaves(&rule(), &case, &["iops", "cpu"])?;
        }
    }
}
