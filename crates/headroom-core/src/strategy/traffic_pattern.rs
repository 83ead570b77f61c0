//! Traffic patterns: load by the time of day (A2).
//!
//! Where traffic is known to follow the clock, its classes are written down as shares of a baseline: 09–10 200 %
//! of ten replicas is 20. Outside the classes the baseline itself is wanted. Rounded up; of overlapping classes the
//! highest counts. It is a rule of thumb, so it goes well with one that measures: the highest want wins (D2).
//!
//! Where nobody knows the classes, they are learned: the load that this hour of the clock had on the days before, from the
//! five-minute steps that the forecast of the signal keeps. Days are those of the week once two of them are known. The
//! hour in which a start made now is ready counts as well, so that who needs more is asked for a start-up time before.
//!
//! Source of rule: A2. There are no default classes; the time zone is UTC. Nothing is learned unless the policy asks for it;
//! that two days make a pattern, that their median counts (one odd day is no pattern) and of each hour its highest step
//! (the replicas must carry it) is our own.

use headroom_forecast::Series;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Recommend;
use crate::calendar::{Hours, Zone};
use crate::context::Context;
use crate::decision::Advice;
use crate::fleet::{Path, Problem, Scope, Signal, Workload};
use crate::names::SignalName;
use crate::reason::{Reason, Seen};
use crate::units::{Level, Quantity, Replicas, Span, Timestamp, Unit};

/// The step in which the hours ahead are looked at.
const LOOK_AHEAD: Span = Span::minutes(5);
/// Days that a signal's steps are kept for.
const KEPT_DAYS: i64 = 28;
/// Fewer days are no pattern.
const LEAST_DAYS: usize = 2;

/// Load by the time of day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TrafficPattern {
    /// The time zone of the hours.
    #[serde(default)]
    pub time_zone: Zone,
    /// The replicas an ordinary hour needs (A2: 10). Required, unless `learn` stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Replicas>,
    /// The hours that are not ordinary (A2: 09–10 200%, 12–13 150%, 18–20 250%, 02–05 30%).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<LoadClass>,
    /// Learn the load of each hour from the days before; by default not. Beside a baseline the higher want counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learn: Option<LearnPattern>,
}

/// How the load of an hour is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LearnPattern {
    /// The load: a total, such as requests a second. Its last 28 days are kept.
    pub signal: SignalName,
    /// How much of it one replica is to carry.
    pub per_replica: Quantity,
}

/// What an hour has been like.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usual {
    /// The median over the days of the hour's highest five minutes.
    load: Level,
    /// How many days it rests on.
    days: u32,
}

/// What the hour of the clock that contains `at` was like on the days before; `None` while they are too few. A day is
/// compared with those of its own weekday where enough of them are known, else with all.
fn usual(series: &Series, zone: &Zone, at: Timestamp) -> Option<Usual> {
    let now = zone.civil(at);
    // Hours of the clock, not of 24 hours before: where the clocks were changed in between, people went by them.
    let began = |days_ago: i64| {
        let date = now.date().checked_sub(jiff::Span::new().days(days_ago)).ok()?;
        Some(zone.moment(date.at(now.hour(), 0, 0, 0))?.as_millis().div_euclid(1000))
    };
    let step = usize::try_from(series.step_s()).ok()?;
    let highest = |begins: i64| {
        let steps = (begins..begins + 3600).step_by(step);
        steps.filter_map(|second| series.value_at(second)).reduce(f64::max)
    };
    let peaks = |every: i64| -> Vec<f64> {
        let days = (1..=KEPT_DAYS / every).filter_map(|k| began(k * every));
        days.filter_map(highest).collect()
    };
    let mut peaks = [7, 1].into_iter().map(peaks).find(|peaks| peaks.len() >= LEAST_DAYS)?;
    peaks.sort_unstable_by(f64::total_cmp);
    let load = Level::new(peaks[peaks.len() / 2]).ok()?;
    Some(Usual { load, days: u32::try_from(peaks.len()).ok()? })
}

impl LearnPattern {
    fn usual(&self, cx: &Context<'_>, zone: &Zone, at: Timestamp) -> Option<Usual> {
        usual(cx.outlook(&self.signal)?.forecaster()?.series(), zone, at)
    }

    fn recommend(&self, cx: &Context<'_>, zone: &Zone) -> Advice {
        let (signal, per_replica) = (&self.signal, self.per_replica.level);
        // What is asked for now serves when it has started.
        let ready = cx.at().plus(cx.memory().start_ups().expected().unwrap_or(Span::ZERO));
        let both = [cx.at(), ready].into_iter().filter_map(|at| self.usual(cx, zone, at));
        let usual = both.max_by(|a, b| a.load.get().total_cmp(&b.load.get()));
        let wanted = usual.and_then(|usual| Some((usual, usual.load.replicas_for(per_replica)?)));
        let Some((usual, replicas)) = wanted else {
            return Advice::abstains(Reason::PatternUnknown { signal: signal.clone() });
        };
        match cx.fresh(signal) {
            // Blind, it may add on the word of the past, and takes nothing away.
            Err(absent) if replicas <= cx.current() => Advice::abstains(absent),
            Ok(_) | Err(_) => {
                let unit = cx.signal(signal).map_or(Unit::Count, Signal::unit);
                let seen = Seen { signal: signal.clone(), unit, value: usual.load };
                Advice::wants(replicas, Reason::UsualLoad { seen, days: usual.days, per_replica })
            }
        }
    }

    /// The load that is usual at `at`, in replicas that it takes.
    fn carried(&self, cx: &Context<'_>, zone: &Zone, at: Timestamp) -> Option<f64> {
        Some(self.usual(cx, zone, at)?.load.get() / self.per_replica.level.get())
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        let Some(signal) = workload.require_signal(&self.signal, &at.key("signal"), problems) else { return };
        super::check_unit(&self.per_replica, signal, &at.key("perReplica"), problems);
        super::check_positive(&self.per_replica, &at.key("perReplica"), problems);
        if signal.scope() != Scope::Total {
            problems.push(
                Problem::new(at.key("signal"), "only a load of the whole workload has a pattern of its own")
                    .help("what each replica shows depends on how many there are"),
            );
        }
    }
}

/// Some hours and their load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LoadClass {
    /// Which hours.
    pub hours: Hours,
    /// Their load, as a share of the baseline.
    pub load: Quantity,
}

impl TrafficPattern {
    /// The highest class that holds at `at`, and the minutes of the day then.
    fn class(&self, at: Timestamp) -> (Option<&LoadClass>, u16) {
        let (minutes, weekday) = self.time_zone.clock(at);
        let holding = self.classes.iter().filter(|class| class.hours.hold(minutes, weekday));
        (holding.max_by(|a, b| a.load.level.get().total_cmp(&b.load.level.get())), minutes)
    }

    /// What the classes say; `None` without a baseline.
    fn written(&self, at: Timestamp) -> Option<(Replicas, Reason)> {
        let baseline = self.baseline?;
        let (Some(class), minutes) = self.class(at) else {
            return Some((baseline, Reason::Scheduled { entry: "100%".to_owned(), until: None }));
        };
        let replicas = Replicas::ceil(baseline.as_f64() * class.load.level.get());
        let entry = format!("{}: {}", class.hours, class.load);
        Some((replicas, Reason::Scheduled { entry, until: Some(class.hours.end(at, minutes)) }))
    }

    /// The load of `at` in replicas that it takes, as far as the classes tell.
    fn told(&self, at: Timestamp) -> Option<f64> {
        let share = self.class(at).0.map_or(1.0, |class| class.load.level.get());
        Some(self.baseline?.as_f64() * share)
    }
}

impl Recommend for TrafficPattern {
    fn recommend(&self, cx: &Context<'_>) -> Advice {
        let learned = self.learn.as_ref().map(|learn| learn.recommend(cx, &self.time_zone));
        match (self.written(cx.at()), learned) {
            (Some((told, _)), Some(Advice::Wants { replicas, why })) if replicas > told => {
                Advice::wants(replicas, why)
            }
            (Some((replicas, why)), _) => Advice::wants(replicas, why),
            (None, Some(learned)) => learned,
            // A checked policy has one or the other.
            (None, None) => Advice::abstains(Reason::OutsideSchedule { next: None }),
        }
    }

    fn forecasts<'a>(&'a self, _workload: &'a Workload) -> Option<&'a SignalName> {
        self.learn.as_ref().map(|learn| &learn.signal)
    }

    /// The highest load within the time; classes begin and end on minutes, so a step of five misses none that matters
    /// to a pool.
    fn foresees(&self, cx: &Context<'_>, within: Span) -> Option<Level> {
        let steps = 0..=within.as_millis() / LOOK_AHEAD.as_millis();
        let loads = steps.flat_map(|step| {
            let at = cx.at().plus(LOOK_AHEAD.times(step));
            let usual = self.learn.as_ref().and_then(|learn| learn.carried(cx, &self.time_zone, at));
            [self.told(at), usual]
        });
        Level::new(loads.flatten().reduce(f64::max)?).ok()
    }

    fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        if let Some(learn) = &self.learn {
            learn.check(workload, &at.key("learn"), problems);
        }
        let is_written = self.learn.is_none() || !self.classes.is_empty();
        if is_written && self.baseline.is_none() {
            problems.push(
                Problem::new(at.key("baseline"), "is required: every class is a share of it")
                    .help("write the replicas of an ordinary hour, or have the load learned (`learn`)"),
            );
        }
        if self.classes.is_empty() && self.learn.is_none() {
            problems.push(Problem::new(at.key("classes"), "without a class it always wants the baseline"));
        }
        for (index, class) in self.classes.iter().enumerate() {
            if !class.load.fits(crate::units::Unit::Ratio) {
                problems.push(Problem::new(
                    at.key("classes").index(index).key("load"),
                    "a load is a share of the baseline, such as 200%",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::testing::{Case, abstains, any_case, behaves, problems, seeing, wants};
    use proptest::prelude::*;

    fn pattern() -> TrafficPattern {
        let class = |from: &str, to: &str, load: &str| serde_json::json!({ "hours": { "from": from, "to": to }, "load": load });
        serde_json::from_value(serde_json::json!({ "baseline": 10, "classes": [
            class("09:00", "10:00", "200%"), class("12:00", "13:00", "150%"),
            class("18:00", "20:00", "250%"), class("02:00", "05:00", "30%") ] }))
        .unwrap()
    }

    /// A2: the figures of the source.
    #[test]
    fn the_hour_decides() {
        for (time, expected) in [
            ("08:59:59", 10),
            ("09:00:00", 20),
            ("10:00:00", 10),
            ("12:30:00", 15),
            ("19:59:59", 25),
            ("03:00:00", 3),
            ("00:00:00", 10),
        ] {
            let case = Case::absent().at(&format!("2026-11-23T{time}Z"));
            assert_eq!(wants(&pattern(), &case), (expected, "scheduled"), "{time}");
        }
        assert_eq!(problems(&TrafficPattern { classes: Vec::new(), ..pattern() }), ["classes"]);
    }

    /// Load by the hour: on each day `k` it is `of(k, hour)`, with a peak five minutes long a tenth above.
    fn past(days: i64, of: impl Fn(i64, i64) -> Option<f64>) -> Series {
        let values = (0..days * 288).map(|step| {
            let peak = if step % 12 == 5 { 1.1 } else { 1.0 };
            of(step / 288, step % 288 / 12).map(|load| load * peak)
        });
        Series::from_values(300, 0, values).unwrap()
    }
    fn usual_at(series: &Series, hour: i64) -> Option<(f64, u32)> {
        let at = Timestamp::from_millis((series.end_unix_s() + hour * 3600) * 1000 + 1);
        usual(series, &Zone::default(), at).map(|u| (u.load.get().round(), u.days))
    }

    /// A2: what the hour was like on the days before, the peak of it, whatever one odd day had.
    #[test]
    fn the_pattern_of_a_day_is_learned() {
        let by_hour = |_: i64, hour: i64| Some(100.0 * (hour + 1) as f64);
        assert_eq!(usual_at(&past(1, by_hour), 9), None, "one day is no pattern");
        assert_eq!(usual_at(&past(2, by_hour), 9), Some((1100.0, 2)));
        let odd = past(5, |day, hour| Some(if day == 3 { 99_999.0 } else { 10.0 * hour as f64 }));
        assert_eq!(usual_at(&odd, 10), Some((110.0, 5)));
        let gaps = past(4, |day, hour| (day != 2).then_some(10.0 * hour as f64));
        assert_eq!(usual_at(&gaps, 10), Some((110.0, 3)), "a gap is no load of zero");
        assert_eq!(usual_at(&past(4, |_, _| None), 10), None);
    }

    /// A2: once two weeks are known, a Monday is like a Monday.
    #[test]
    fn the_pattern_of_a_week_is_learned() {
        let weekly = past(21, |day, _| Some(if day % 7 < 5 { 500.0 } else { 100.0 }));
        assert_eq!(usual_at(&weekly, 10), Some((550.0, 3)));
        assert_eq!(usual_at(&weekly, 5 * 24 + 10), Some((110.0, 3)));
        let fortnight = past(13, |day, _| Some(if day % 7 < 5 { 500.0 } else { 100.0 }));
        assert_eq!(usual_at(&fortnight, 10), Some((550.0, 13)), "one Sunday is no pattern of Sundays");
    }

    /// A2: people go by the clock, also after it was changed: 09:00 in New York is 14:00 UTC in winter, 13:00 in summer.
    #[test]
    fn an_hour_is_one_of_the_clock() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let from = at("2026-03-05T00:00:00Z").as_millis() / 1000;
        let values = (0..3 * 288).map(|step| Some(if step % 288 / 12 == 14 { 900.0 } else { 100.0 }));
        let series = Series::from_values(300, from, values).unwrap();
        let load = |zone: &str| {
            usual(&series, &zone.parse().unwrap(), at("2026-03-08T13:30:00Z")).map(|u| u.load.get())
        };
        assert_eq!(load("America/New_York"), Some(900.0));
        assert_eq!(load("UTC"), Some(100.0));
    }

    fn learning(signal: &str, share: &str) -> TrafficPattern {
        let learn = serde_json::json!({ "signal": signal, "perReplica": share });
        serde_json::from_value(serde_json::json!({ "learn": learn })).unwrap()
    }

    /// A2: the hour's usual load becomes replicas; the higher of it and what is written counts; blind, nothing shrinks.
    #[test]
    fn what_is_learned_is_wanted() {
        let learned = learning("rps", "70");
        let known = |case: Case| case.at("2026-11-23T10:00:00Z").known_for_days("rps", 1400.0, 3);
        assert_eq!(wants(&learned, &known(Case::rps(100.0).replicas(10))), (20, "usual-load"));
        assert_eq!(wants(&learned, &known(Case::rps(100.0).replicas(30))), (20, "usual-load"));
        assert_eq!(wants(&learned, &known(Case::absent().replicas(10))), (20, "usual-load"));
        assert_eq!(abstains(&learned, &known(Case::absent().replicas(30))), "signal-absent");
        let both = TrafficPattern { learn: learned.learn.clone(), ..pattern() };
        assert_eq!(wants(&both, &known(Case::rps(100.0))), (20, "usual-load"));
        let foreseen = |pattern: &TrafficPattern, case: &Case, within: Span| {
            seeing(pattern, case, |cx| pattern.foresees(cx, within).map(Level::get))
        };
        let case = known(Case::rps(100.0));
        assert_eq!(foreseen(&learned, &case, Span::hours(1)), Some(20.0));
        assert_eq!(foreseen(&both, &case, Span::hours(8)), Some(25.0), "18:00 is written down");
        assert_eq!(
            foreseen(&learned, &Case::rps(100.0), Span::hours(1)),
            None,
            "nothing known is no load of zero"
        );
    }

    /// A2
    #[test]
    fn a_pattern_to_be_learned_is_checked_and_silent_before_it_is_known() {
        assert_eq!(problems(&learning("rps", "70")), Vec::<String>::new());
        assert_eq!(problems(&learning("rps", "0")), ["learn.perReplica"]);
        assert_eq!(problems(&learning("cpu", "70%")), ["learn.signal"]);
        let lacking = TrafficPattern { baseline: None, ..pattern() };
        assert_eq!(problems(&lacking), ["baseline"]);
        assert_eq!(problems(&TrafficPattern { learn: learning("rps", "70").learn, ..lacking }), ["baseline"]);
        assert_eq!(abstains(&learning("rps", "70"), &Case::rps(100.0)), "pattern-unknown");
        let both = TrafficPattern { learn: learning("rps", "70").learn, ..pattern() };
        let case = Case::rps(100.0).at("2026-11-23T09:00:00Z");
        assert_eq!(wants(&both, &case), (20, "scheduled"));
    }

    proptest! {
        #[test]
        fn whatever_is_seen(case in any_case(&["cpu"]), ms in 0_i64..4_000_000_000_000) {
            behaves(&pattern(), &case.at(&crate::units::Timestamp::from_millis(ms).to_string()), &[])?;
        }
    }
}
