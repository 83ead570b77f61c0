//! `GET /metrics`: the controller for Prometheus.
//!
//! The text format is a dozen lines of code, so it is written here rather than by a library with a registry of its
//! own: gauges are read from the engine's view at the moment of the scrape, and nothing can be out of date. Names
//! follow Prometheus' rules (`promtool check metrics` is a test).
//!
//! Labels are bounded: workloads, their signals and strategies, the catalogue of reasons, guards, sources. No label
//! ever holds a decision's number, a replica's name, an address or an error's text.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use headroom_core::alert::{Alert, AlertKind};
use headroom_core::decision::{Advice, Recommendation, SeenSignal};
use headroom_core::observation::TargetStatus;
use headroom_core::outlook::{Accuracy, NearForecast, Proved, STEP};
use headroom_core::reading::{Absence, Reading};
use headroom_core::units::{Price, Replicas, Span, Timestamp, Unit};
use headroom_engine::driver::paid_for;
use headroom_engine::figures::{Figures, Histogram, WorkloadFigures, guards_bound};
use headroom_engine::handle::{Overview, WorkloadView};
use headroom_engine::outbox::NotifierFigures;

use crate::App;
use crate::params::Params;
use crate::problem::Problem;

/// The text format that every Prometheus reads.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::read(query.as_deref(), &[])?;
    let overview = app.handle.overview().await?;
    let figures = app.handle.figures().await?;
    let mut text = Text::default();
    text.controller(&overview, &figures);
    text.alerts(&overview.alerts);
    text.workloads(&overview.workloads, overview.at);
    text.decisions(&overview.workloads);
    text.forecasts(&overview.workloads, overview.at);
    text.near_forecasts(&overview.workloads);
    text.counted(&figures);
    text.process();
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text.0).into_response())
}

/// A unit's name as a label.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::PerSecond => "per_second",
        Unit::Seconds => "seconds",
        Unit::Ratio => "ratio",
        Unit::Bytes => "bytes",
    }
}

/// Why a signal has no fresh value, as a label.
fn absence(reading: &Reading) -> Option<&'static str> {
    match reading {
        Reading::Fresh(_) => None,
        Reading::Stale { .. } => Some("stale"),
        Reading::Missing(absence) => Some(match absence {
            Absence::NeverSeen => "never_seen",
            Absence::Empty => "empty",
            Absence::NotANumber => "not_a_number",
            Absence::SourceFailed(_) => "source_failed",
            Absence::NoReplica => "no_replica",
            Absence::Idle => "idle",
        }),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a moment in milliseconds is below 2^53 for 285 000 years")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a price is far below 2^53 millionths")]
fn dollars(price: Price) -> f64 {
    price.as_micro_dollars_per_hour() as f64 / 1e6
}

fn flag(is: bool) -> u8 {
    u8::from(is)
}

/// A figure of how good forecasts were, where it is known.
type Judged = fn(&Accuracy) -> Option<f64>;

/// A figure of the forecast that an objective acts on.
type NearFigure = fn(&NearForecast) -> f64;

/// The exposition as it grows.
#[derive(Default)]
struct Text(String);

/// Labels of one sample: names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    /// Begins a family; its samples follow at once.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string can't fail; the same below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels, value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.buckets() {
            self.sample(&bucket, &[("le", &bound.to_string())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], histogram.sum());
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }

    /// One gauge per workload; a workload of which nothing is known has no sample.
    fn each<T: Display>(
        &mut self,
        name: &str,
        help: &str,
        of: &[WorkloadView],
        value: impl Fn(&WorkloadView) -> Option<T>,
    ) {
        self.family(name, "gauge", help);
        for view in of {
            if let Some(value) = value(view) {
                let tier = view.tier.as_deref().unwrap_or_default();
                self.sample(name, &[("workload", view.name.as_str()), ("tier", tier)], value);
            }
        }
    }

    /// One gauge per signal.
    fn each_signal<T: Display>(
        &mut self,
        name: &str,
        help: &str,
        of: &[WorkloadView],
        value: impl Fn(&SeenSignal) -> Option<T>,
    ) {
        self.family(name, "gauge", help);
        for view in of {
            for signal in &view.signals {
                if let Some(value) = value(signal) {
                    let labels = [
                        ("workload", view.name.as_str()),
                        ("signal", signal.name.as_str()),
                        ("unit", unit(signal.unit)),
                    ];
                    self.sample(name, &labels, value);
                }
            }
        }
    }

    fn controller(&mut self, overview: &Overview, figures: &Figures) {
        self.family("headroom_build_info", "gauge", "The version that runs; always 1.");
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("fleet", overview.fleet.as_str())];
        self.sample("headroom_build_info", &labels, 1);
        self.one(
            "headroom_advise_mode",
            "gauge",
            "1 where decisions are only said, not done.",
            flag(overview.advise),
        );
        self.histogram(
            "headroom_tick_duration_seconds",
            "How long the controller took for a round of inputs, decisions and their commit.",
            &figures.rounds,
        );
        self.histogram(
            "headroom_journal_commit_duration_seconds",
            "How long the journal took for a commit.",
            &figures.commits,
        );
        self.one(
            "headroom_journal_commit_failures_total",
            "counter",
            "Commits that failed; nothing is changed until they succeed.",
            figures.commit_failures,
        );
        self.histogram(
            "headroom_action_duration_seconds",
            "How long targets took to take an order.",
            &figures.actions,
        );
    }

    fn workloads(&mut self, of: &[WorkloadView], at: Timestamp) {
        self.family("headroom_replicas", "gauge", "Replicas by what they do.");
        for view in of {
            let Some(TargetStatus { ready, starting, draining, failed, .. }) = view.status else { continue };
            let states =
                [("ready", ready), ("starting", starting), ("draining", draining), ("failed", failed)];
            for (state, count) in states {
                let tier = view.tier.as_deref().unwrap_or_default();
                let labels = [("workload", view.name.as_str()), ("tier", tier), ("state", state)];
                self.sample("headroom_replicas", &labels, count);
            }
        }
        let status = |view: &WorkloadView| view.status.clone();
        self.each("headroom_replicas_desired", "The count the target was asked for last.", of, |view| {
            status(view).map(|s| s.wanted)
        });
        self.each("headroom_replicas_min", "The least count.", of, |view| Some(view.range.min));
        self.each("headroom_replicas_max", "The most.", of, |view| Some(view.range.max));
        self.each("headroom_target_troubles", "What the target says is wrong with it.", of, |view| {
            status(view).map(|s| s.troubles.len())
        });
        self.each("headroom_target_age_seconds", "How long ago the target was looked at.", of, |view| {
            Some(at.since(view.seen_at?).as_secs_f64())
        });
        self.each("headroom_start_up_p90_seconds", "Nine of ten starts took no longer.", of, |view| {
            view.start_up.p90.map(|span| span.as_secs_f64())
        });
        self.each("headroom_frozen", "1 while a person's freeze holds.", of, |view| {
            Some(flag(view.freeze.is_some()))
        });
        self.each("headroom_price_dollars_per_hour", "What one replica costs an hour.", of, |view| {
            Some(dollars(view.price?))
        });
        self.each(
            "headroom_cost_dollars_per_hour",
            "What the replicas that exist cost an hour.",
            of,
            |view| Some(dollars(view.price?.times(paid_for(view.status.as_ref()?)))),
        );
        self.each_signal("headroom_signal_value", "A signal's last value, in its unit.", of, |signal| {
            match &signal.reading {
                Reading::Fresh(sample) | Reading::Stale { last: sample, .. } => Some(sample.value.get()),
                Reading::Missing(_) => None,
            }
        });
        self.each_signal("headroom_signal_age_seconds", "How old a signal's last value is.", of, |signal| {
            match &signal.reading {
                Reading::Fresh(sample) | Reading::Stale { last: sample, .. } => {
                    Some(at.since(sample.at).as_secs_f64())
                }
                Reading::Missing(_) => None,
            }
        });
        self.each_signal(
            "headroom_signal_up",
            "0 while a fault keeps a signal from being read; having nothing to measure is no fault.",
            of,
            |signal| Some(flag(!signal.reading.is_fault())),
        );
        self.family("headroom_signal_absent", "gauge", "1 for why a signal has no fresh value.");
        for view in of {
            for signal in &view.signals {
                if let Some(why) = absence(&signal.reading) {
                    let labels =
                        [("workload", view.name.as_str()), ("signal", signal.name.as_str()), ("reason", why)];
                    self.sample("headroom_signal_absent", &labels, 1);
                }
            }
        }
    }

    /// What is foreseen of loads, and how good that has been.
    fn forecasts(&mut self, of: &[WorkloadView], at: Timestamp) {
        let foreseen = || of.iter().filter_map(|view| Some((view, view.forecast.as_ref()?)));
        let load = "headroom_forecast_load";
        self.family(
            load,
            "gauge",
            "The load foreseen of the present and of an hour ahead: quantiles, in its unit.",
        );
        for (view, forecast) in foreseen() {
            for (ahead, moment) in [("0", at), ("1h", at.plus(Span::hours(1)))] {
                let Some(point) = forecast.points.iter().rev().find(|point| point.at <= moment) else {
                    continue;
                };
                if moment.since(point.at) >= STEP {
                    continue;
                }
                for (level, value) in [("0.5", point.q50), ("0.95", point.q95)] {
                    let labels = [
                        ("workload", view.name.as_str()),
                        ("signal", forecast.signal.as_str()),
                        ("unit", unit(forecast.unit)),
                        ("ahead", ahead),
                        ("level", level),
                    ];
                    self.sample(load, &labels, value);
                }
            }
        }
        let judged = |value: Judged| {
            foreseen().filter_map(move |(view, forecast)| {
                Some((view, forecast, value(forecast.accuracy.as_ref()?)?))
            })
        };
        let figures: [(&str, &str, Judged); 4] = [
            (
                "headroom_forecast_loss",
                "Mean quantile loss of forecasts that came due, in the load's unit.",
                |a| Some(a.loss),
            ),
            ("headroom_forecast_naive_loss", "That of the best simple forecast.", |a| Some(a.naive_loss)),
            ("headroom_forecast_held_ratio", "The share of loads within the 95 % quantile.", |a| {
                a.coverage95
            }),
            (
                "headroom_forecast_demoted",
                "1 where forecasts are no better than simple ones, so nothing scales by them.",
                |a| Some(f64::from(flag(a.demoted))),
            ),
        ];
        for (name, help, value) in figures {
            self.family(name, "gauge", help);
            for (view, forecast, value) in judged(value) {
                let labels = [
                    ("workload", view.name.as_str()),
                    ("signal", forecast.signal.as_str()),
                    ("unit", unit(forecast.unit)),
                ];
                self.sample(name, &labels, value);
            }
        }
    }

    /// How the forecasts have done that objectives act on.
    fn near_forecasts(&mut self, of: &[WorkloadView]) {
        let figures: [(&str, &str, NearFigure); 4] = [
            (
                "headroom_near_forecast_ahead_seconds",
                "How far ahead the forecast looks that an objective acts on.",
                |near| near.within.as_secs_f64(),
            ),
            (
                "headroom_near_forecast_loss",
                "What its middle was off by when it came due, on average, in the load's unit.",
                |near| near.loss,
            ),
            (
                "headroom_near_forecast_naive_loss",
                "What the present load was off by, taken as the load to come.",
                |near| near.naive_loss,
            ),
            (
                "headroom_near_forecast_better",
                "1 where it was better than the present load beyond chance, -1 where it was worse, else 0.",
                |near| match near.proved {
                    Proved::Better => 1.0,
                    Proved::Alike => 0.0,
                    Proved::Worse => -1.0,
                },
            ),
        ];
        for (name, help, value) in figures {
            self.family(name, "gauge", help);
            for (view, near) in of.iter().filter_map(|view| Some((view, view.near.as_ref()?))) {
                let labels = [
                    ("workload", view.name.as_str()),
                    ("signal", near.signal.as_str()),
                    ("unit", unit(near.unit)),
                ];
                self.sample(name, &labels, value(near));
            }
        }
    }

    /// What the latest decision of each workload rests on.
    fn decisions(&mut self, of: &[WorkloadView]) {
        let latest = || of.iter().filter_map(|view| Some((view, view.latest.as_ref()?)));
        let wanted = "headroom_strategy_wanted_replicas";
        self.family(wanted, "gauge", "What a strategy says: a want, or a bound on others' wants.");
        for (view, decision) in latest() {
            for Recommendation { strategy, index, advice } in &decision.recommendations {
                let (kind, replicas): (_, Replicas) = match advice {
                    Advice::Wants { replicas, .. } => ("wants", *replicas),
                    Advice::Floor { replicas, .. } => ("floor", *replicas),
                    Advice::Ceiling { replicas, .. } => ("ceiling", *replicas),
                    Advice::Content { replicas, .. } => ("content", *replicas),
                    Advice::Abstains { .. } => continue,
                };
                let labels = [
                    ("workload", view.name.as_str()),
                    ("strategy", strategy.name()),
                    ("index", &(index + 1).to_string()),
                    ("advice", kind),
                ];
                self.sample(wanted, &labels, replicas);
            }
        }
        let abstains = "headroom_strategy_abstaining";
        self.family(abstains, "gauge", "1 while a strategy can't say anything, with the reason's code.");
        for (view, decision) in latest() {
            for Recommendation { strategy, index, advice } in &decision.recommendations {
                if let Advice::Abstains { why } = advice {
                    let labels = [
                        ("workload", view.name.as_str()),
                        ("strategy", strategy.name()),
                        ("index", &(index + 1).to_string()),
                        ("reason", why.code()),
                    ];
                    self.sample(abstains, &labels, 1);
                }
            }
        }
        let bound = "headroom_guard_bound";
        self.family(bound, "gauge", "1 for a guard that moved or refused the latest decision's number.");
        for (view, decision) in latest() {
            for (guard, reason) in guards_bound(decision) {
                let labels = [("workload", view.name.as_str()), ("guard", guard), ("reason", reason)];
                self.sample(bound, &labels, 1);
            }
        }
    }

    /// A counter by workload and one more label.
    fn by_workload<'a, I: Iterator<Item = (&'a str, u64)>>(
        &mut self,
        (name, help, label): (&str, &str, &str),
        figures: &'a Figures,
        counts: impl Fn(&'a WorkloadFigures) -> I,
    ) {
        self.family(name, "counter", help);
        for (workload, counted) in &figures.workloads {
            for (value, count) in counts(counted) {
                self.sample(name, &[("workload", workload.as_str()), (label, value)], count);
            }
        }
    }

    fn counted(&mut self, figures: &Figures) {
        let decisions = "headroom_decisions_total";
        self.family(decisions, "counter", "Recorded decisions by outcome and the reason that decided.");
        for (workload, counted) in &figures.workloads {
            for ((outcome, reason), count) in &counted.decisions {
                let labels = [("workload", workload.as_str()), ("outcome", *outcome), ("reason", *reason)];
                self.sample(decisions, &labels, count);
            }
        }
        self.by_workload(
            (
                "headroom_guard_interventions_total",
                "Recorded decisions that a guard moved or refused.",
                "guard",
            ),
            figures,
            |counted| counted.guards.iter().map(|(guard, count)| (*guard, *count)),
        );
        self.by_workload(
            ("headroom_actions_total", "Orders to targets by how they ended.", "result"),
            figures,
            |counted| counted.actions.iter().map(|(result, count)| (*result, *count)),
        );
        self.by_workload(
            ("headroom_notices_total", "What people had to know, by code.", "code"),
            figures,
            |counted| counted.notices.iter().map(|(code, count)| (code.as_str(), *count)),
        );
        let spent = "headroom_cost_dollars_total";
        self.family(spent, "counter", "What replicas with a known price cost since the controller started.");
        for (workload, counted) in &figures.workloads {
            if let Some(dollars) = counted.spent {
                self.sample(spent, &[("workload", workload.as_str())], dollars);
            }
        }
        let (values, faults) = ("headroom_source_values_total", "headroom_source_faults_total");
        self.family(values, "counter", "Values that a source gave.");
        for (source, heard) in &figures.sources {
            self.sample(values, &[("source", source)], heard.values);
        }
        self.family(faults, "counter", "Values that a source could not give because of a fault.");
        for (source, heard) in &figures.sources {
            self.sample(faults, &[("source", source)], heard.faults);
        }
        let last = "headroom_source_last_news_timestamp_seconds";
        self.family(last, "gauge", "When a source was heard last.");
        for (source, heard) in &figures.sources {
            if let Some(at) = heard.heard_at {
                self.sample(last, &[("source", source)], seconds(at));
            }
        }
        let up = "headroom_source_up";
        self.family(up, "gauge", "Whether a source as a whole can be read.");
        for source in &figures.health {
            self.sample(up, &[("source", &source.name)], flag(source.down_since.is_none()));
        }
        self.notifiers(figures);
    }

    fn notifiers(&mut self, figures: &Figures) {
        type Count = fn(&NotifierFigures) -> u64;
        let families: [(&str, &str, &str, Count); 4] = [
            ("headroom_notifications_total", "counter", "News that a notifier took.", |f| f.told),
            (
                "headroom_notification_failures_total",
                "counter",
                "Attempts to tell a notifier that failed.",
                |f| f.failures,
            ),
            ("headroom_notifications_given_up_total", "counter", "News that a notifier never took.", |f| {
                f.given_up
            }),
            ("headroom_notifications_waiting", "gauge", "News on its way to a notifier.", |f| {
                f.waiting as u64
            }),
        ];
        for (name, kind, help, count) in families {
            self.family(name, kind, help);
            for (notifier, counted) in &figures.notifiers {
                self.sample(name, &[("notifier", notifier.as_str())], count(counted));
            }
        }
    }

    /// The alerts that are raised.
    fn alerts(&mut self, alerts: &[Alert]) {
        let name = "headroom_alerts";
        self.family(name, "gauge", "Alerts that are raised, by kind.");
        for kind in AlertKind::ALL {
            let raised = alerts.iter().filter(|alert| alert.kind == kind).count();
            self.sample(name, &[("kind", kind.code()), ("severity", kind.severity().word())], raised);
        }
    }

    /// What the controller itself takes, under the names that every Prometheus client uses.
    fn process(&mut self) {
        let Ok(stat) = procfs::process::Process::myself().and_then(|me| me.stat()) else { return };
        #[expect(clippy::cast_precision_loss, reason = "ticks of a processor")]
        let cpu = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        self.one("process_cpu_seconds_total", "counter", "Processor time the controller used.", cpu);
        let memory = stat.rss * procfs::page_size();
        self.one("process_resident_memory_bytes", "gauge", "Memory the controller holds.", memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_as_the_format_asks() {
        let mut text = Text::default();
        text.sample("a", &[("b", "x\"y\\z\n"), ("c", "d")], 1.5);
        assert_eq!(text.0, "a{b=\"x\\\"y\\\\z\\n\",c=\"d\"} 1.5\n");
    }
}
