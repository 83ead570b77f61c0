//! Requests at a planned rate, whatever the answers.
//!
//! A closed loop of clients that wait for their answers slows down together with the server it measures,
//! and so hides the very overload a scaler must deal with. Here the load is *open*: a [`LoadPlan`] says
//! when requests are due, a [`Generator`] sends them then, [`LiveStats`] says what became of each of
//! them. How late the generator itself was is part of the result, so that its limit isn't taken for the
//! server's.

mod generator;
mod plan;
mod stats;

use std::fmt::Write as _;

pub use self::generator::{Generator, LoadOptions, Target};
pub use self::plan::{Arrival, Arrivals, LoadPlan, Phase, PlanError, Rate, Shape, Spacing};
pub use self::stats::{
    FailureClass, FirstRequest, LiveStats, PhaseReport, Quantiles, Report, Requests, Stats,
};

/// The schedule lag (p99, milliseconds) above which the generator says that it was too slow itself. The
/// timers of the runtime tick in milliseconds; ten of them are no longer the timer.
const LAG_WORTH_A_WORD_MS: f64 = 10.0;

/// A report for people.
#[must_use]
pub fn describe(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("writing to a string can't fail");
    };
    let Requests { sent, ok, failed, in_flight, overrun, by_class } = &report.requests;
    line(format_args!(
        "requests  {sent} sent, {ok} ok, {failed} failed, {in_flight} in flight, {overrun} overrun"
    ));
    for (class, count) in by_class {
        line(format_args!("          {count} {class:?}"));
    }
    line(format_args!("latency   {}", quantiles(report.latency_ms)));
    line(format_args!("lag       {}", quantiles(report.schedule_lag_ms)));
    for phase in &report.phases {
        let PhaseReport { name, sent, ok, failed, overrun, .. } = phase;
        let begin = phase.planned_start_ms / 1e3;
        let latency = quantiles(phase.latency_ms);
        line(format_args!(
            "{begin:>8.1}s {name}: {sent} sent, {ok} ok, {failed} failed, {overrun} overrun; {latency}"
        ));
    }
    if report.schedule_lag_ms.is_some_and(|lag| lag.p99 > LAG_WORTH_A_WORD_MS) {
        line(format_args!(
            "warning: requests went out late; the generator, not only the server, was at its limit"
        ));
    }
    if *overrun > 0 {
        line(format_args!("warning: {overrun} requests found no free connection; raise `--connections`"));
    }
    text
}

fn quantiles(quantiles: Option<Quantiles>) -> String {
    quantiles.map_or_else(
        || "nothing measured".to_owned(),
        |Quantiles { p50, p95, p99, max }| {
            format!("p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")
        },
    )
}
