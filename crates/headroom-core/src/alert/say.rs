//! Alerts as text: what happened, why, what it costs, and where to see more. In English: a channel has many readers.

use super::{AlertKind, AlertNews, State, Subject};
use crate::units::Span;

/// What happened, in a line: `[high] web: at its maximum`.
#[must_use]
pub fn title(news: &AlertNews) -> String {
    let alert = &news.alert;
    let what = what(alert.kind);
    let subject = match &alert.subject {
        Subject::Workload(name) => name.to_string(),
        Subject::Source(name) => format!("source {name}"),
        Subject::Fleet => "fleet".to_owned(),
    };
    let word = alert.severity.word();
    match news.state {
        State::Raised | State::Happened => format!("[{word}] {subject}: {what}"),
        State::Still => format!("[{word}] {subject}: still {what}"),
        State::Resolved => format!("[resolved] {subject}: no longer {what}"),
    }
}

/// What holds, as the end of "is", "is still" and "is no longer".
fn what(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Scaled => "scaled",
        AlertKind::ForecastDemoted => "without a forecast that counts",
        AlertKind::AtMaximum => "at its maximum",
        AlertKind::Flapping => "flapping",
        AlertKind::ApprovalNeeded => "waiting for approval",
        AlertKind::CpuHigh => "short of cpu",
        AlertKind::ActionFailed => "failing to scale",
        AlertKind::Stuck => "stuck: replicas do not become ready",
        AlertKind::TargetUnseen => "out of sight",
        AlertKind::PlanRejected => "held by the check of its plan",
        AlertKind::SourceDown => "down",
        AlertKind::BreakerOpen => "held by its breaker",
        AlertKind::JournalFailing => "without a journal that can be written; nothing is changed",
    }
}

/// All of it below the title, a line each. `page` is where people reach the page.
#[must_use]
pub fn text(news: &AlertNews, page: Option<&str>) -> String {
    let alert = &news.alert;
    let mut lines = vec![alert.why.clone()];
    if let Some(cost) = alert.cost {
        lines.push(match cost.then {
            Some(then) => format!("Cost: {} now, {then} after it", cost.now),
            None => format!("Cost: {} now", cost.now),
        });
    }
    match news.state {
        State::Happened => {}
        State::Raised => lines.push(format!("Since {}", alert.since)),
        State::Still | State::Resolved => {
            let lasted = Span::seconds(news.at.since(alert.since).as_millis() / 1000);
            let verb = if news.state == State::Still { "lasting" } else { "lasted" };
            lines.push(format!("Since {}, {verb} {lasted}", alert.since));
        }
    }
    lines.extend(page.map(|page| link(news, page)));
    lines.join("\n")
}

/// The place on the page that shows more: the decision, else the workload, else the overview.
#[must_use]
pub fn link(news: &AlertNews, page: &str) -> String {
    let page = page.trim_end_matches('/');
    match (&news.alert.decision, &news.alert.subject) {
        (Some(decision), _) => format!("{page}/#/d/{decision}"),
        (None, Subject::Workload(name)) => format!("{page}/#/w/{name}"),
        (None, Subject::Source(_) | Subject::Fleet) => format!("{page}/#/"),
    }
}
