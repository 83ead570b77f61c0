//! `headroom doctor`: is everything as it should be, and if not, what is the next step (C5).
//!
//! The checks look at one view of the controller and change nothing. Each says fine, warning or broken; what is not
//! fine says what to do. `docs/troubleshooting.md` has a section for each check, under the check's name.

use anyhow::Result;
use headroom_core::alert::{self, Alert, AlertKind};
use headroom_core::decision::{Advice, Decision, Outcome};
use headroom_core::observation::TargetStatus;
use headroom_core::reading::{Absence, Reading};
use headroom_core::reason::Reason;
use headroom_core::say::{self, Language};
use headroom_core::together::Opened;
use headroom_core::units::{Replicas, Span, Timestamp};
use headroom_engine::driver::now;
use headroom_engine::handle::{Overview, WorkloadView};
use headroom_engine::outbox::{NotifierState, NotifierView};
use headroom_engine::sources::SourceView;
use serde::Serialize;

use super::explain::moment;
use crate::cli::Cli;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Printer;

/// Clocks further apart than this are named: pushed values from further ahead are refused.
const CLOCK_SLACK: Span = Span::seconds(5);
/// Targets are looked at once a second and may take five for an answer; twice that is a target that does not answer.
const SEEN_WITHIN: Span = Span::seconds(10);
/// Replicas that start for longer than twice what nine of ten took, and for longer than this, hang.
const START_SLACK: Span = Span::seconds(60);

/// A question of which the answer is empty, and that a wrong token is refused.
const NOTHING: &str = "/api/v1/policy?workload=-";

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Fine,
    Warning,
    Broken,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    /// What is checked: a section of docs/troubleshooting.md.
    name: &'static str,
    /// Of which workload; `None` for the controller itself.
    workload: Option<String>,
    state: State,
    /// What was found.
    says: String,
    /// What to do, where something is to be done.
    next: Option<String>,
}

impl Check {
    fn fine(name: &'static str, says: impl Into<String>) -> Self {
        Self { name, workload: None, state: State::Fine, says: says.into(), next: None }
    }

    fn warning(name: &'static str, says: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state: State::Warning, next: Some(next.into()), ..Self::fine(name, says) }
    }

    fn broken(name: &'static str, says: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state: State::Broken, next: Some(next.into()), ..Self::fine(name, says) }
    }

    fn of(mut self, view: &WorkloadView) -> Self {
        self.workload = Some(view.name.to_string());
        self
    }
}

pub(crate) async fn run(cli: &Cli, printer: Printer) -> Result<Exit> {
    let client = Client::new(cli)?;
    let asked = now();
    let mut checks = match client.get::<Overview>("/api/v1/overview").await {
        Ok(overview) => {
            let middle = Timestamp::from_millis(i64::midpoint(asked.as_millis(), now().as_millis()));
            examine(&overview, middle)
        }
        Err(error) => {
            let unreachable =
                error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Unreachable);
            if !unreachable {
                return Err(error);
            }
            vec![Check::broken(
                "controller",
                error.to_string(),
                "`headroom run -f fleet.yaml` starts one where the last one ended; replicas and balancer go on meanwhile",
            )]
        }
    };
    let is_reached = checks[0].state != State::Broken;
    let refused = match client.has_token() && is_reached {
        true => client.get::<serde_json::Value>(NOTHING).await.err().map(|error| error.to_string()),
        false => None,
    };
    checks.insert(1, permission(client.has_token(), refused.as_deref()));
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Fine);
    printer.print(&checks, |checks| text(checks, printer))?;
    Ok(if worst == State::Broken { Exit::Failure } else { Exit::Success })
}

fn permission(has_token: bool, refused: Option<&str>) -> Check {
    if let Some(why) = refused {
        return Check::broken(
            "permission",
            format!("freeze, thaw, apply and push will be refused: {}", why.lines().next().unwrap_or(why)),
            "name the data directory of this very controller with --data, or set HEADROOM_TOKEN to what its file `token` holds",
        );
    }
    if has_token {
        return Check::fine("permission", "there is a token for changes");
    }
    Check::warning(
        "permission",
        "no token was found, so freeze, thaw, apply and push will be refused",
        "set HEADROOM_TOKEN, or name the controller's data directory with --data",
    )
}

fn text(checks: &[Check], printer: Printer) -> String {
    let mut out = String::new();
    let mut of = None;
    for check in checks {
        if check.workload != of {
            of.clone_from(&check.workload);
            out.push_str(&format!("\n{}\n", printer.bold(of.as_deref().unwrap_or_default())));
        }
        let (mark, word) = match check.state {
            State::Fine => ("✓", "fine"),
            State::Warning => ("!", "warning"),
            State::Broken => ("✗", "broken"),
        };
        out.push_str(&format!("  {mark} {word:<8} {:<11} {}\n", check.name, check.says));
        if let Some(next) = &check.next {
            out.push_str(&format!("               {:<9} → {next}\n", ""));
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    out.push_str(&format!("\n{} broken, {} to be looked at\n", count(State::Broken), count(State::Warning)));
    out
}

/// Every check on one view, the controller's first; `at` is this machine's time of the view.
fn examine(overview: &Overview, at: Timestamp) -> Vec<Check> {
    let mut checks = vec![
        Check::fine(
            "controller",
            format!("`{}` is kept since {}", overview.fleet, moment(overview.started_at)),
        ),
        clock(overview.at, at),
    ];
    if overview.advise {
        checks.push(Check::warning(
            "mode",
            "decisions are only said, not done",
            "start `headroom run` without --advise once you agree with what it says",
        ));
    }
    checks.push(journal(overview));
    checks.extend(overview.breaker.as_ref().map(breaker));
    checks.extend(overview.sources.iter().map(source));
    checks.extend(overview.notifiers.iter().map(|view| notifier(view, overview.at)));
    for view in &overview.workloads {
        let target = target(view, overview.at);
        checks.push(target.of(view));
        if let Some(status) = &view.status {
            checks.push(obeying(view, status, overview.at).of(view));
        }
        checks.extend(
            view.signals
                .iter()
                .map(|signal| samples(signal.name.as_str(), &signal.reading, overview.at).of(view)),
        );
        if let Some(freeze) = &view.freeze {
            let until = freeze
                .until
                .map_or_else(|| "until it is thawed".to_owned(), |u| format!("until {}", moment(u)));
            let says = format!("frozen by {} {until}: {}", freeze.by, freeze.why);
            checks.push(Check::warning("frozen", says, format!("headroom thaw {}", view.name)).of(view));
        }
        match &view.latest {
            Some(decision) => {
                checks.push(strategies(view, decision).of(view));
                checks.push(scaling(view, decision).of(view));
            }
            None => checks.push(
                Check::warning(
                    "scaling",
                    "nothing has been decided yet",
                    "wait for the first look at its target",
                )
                .of(view),
            ),
        }
        checks.extend(idle(view, &overview.alerts).map(|check| check.of(view)));
    }
    checks
}

/// Can the journal be written?
fn journal(overview: &Overview) -> Check {
    match overview.alerts.iter().find(|alert| alert.kind == AlertKind::JournalFailing) {
        Some(alert) => Check::broken(
            "journal",
            format!("can't be written, so nothing is changed: {}", alert.why),
            next_step(alert.kind),
        ),
        None => Check::fine("journal", "is written"),
    }
}

/// Is anything held back by the breaker?
fn breaker(opened: &Opened) -> Check {
    Check::warning(
        "breaker",
        format!(
            "{} replicas would have changed at once, {} may: nothing shrinks until {}",
            opened.changed,
            opened.most,
            moment(opened.until)
        ),
        "look at `headroom status` for what would go, then `headroom breaker close`",
    )
}

/// Is the least count far more than is needed?
fn idle(view: &WorkloadView, alerts: &[Alert]) -> Option<Check> {
    let alert = alerts.iter().find(|alert| {
        alert.kind == AlertKind::IdleResources && alert.subject.workload() == Some(&view.name)
    })?;
    Some(Check::warning("idle", alert.why.clone(), next_step(alert.kind)))
}

fn next_step(kind: AlertKind) -> &'static str {
    alert::next_step(kind, Language::English).unwrap_or_default()
}

/// Are people told?
fn notifier(view: &NotifierView, at: Timestamp) -> Check {
    let told = view.told_at.map_or_else(
        || "was not told anything yet".to_owned(),
        |told| format!("was told {} ago", ago(at, told)),
    );
    let mut says = format!("`{}` {told}", view.name);
    if view.waiting > 0 {
        says.push_str(&format!("; {} wait", view.waiting));
    }
    if view.given_up > 0 {
        says.push_str(&format!("; {} were given up", view.given_up));
    }
    if let Some(since) = view.failing_since {
        let why = view.why.as_deref().unwrap_or("it does not answer");
        says.push_str(&format!("; it fails since {}: {why}", moment(since)));
    }
    match (view.state, view.next_step(Language::English)) {
        (NotifierState::Down, next) => Check::broken("notifier", says, next.unwrap_or_default()),
        (NotifierState::Failing, next) => Check::warning("notifier", says, next.unwrap_or_default()),
        (NotifierState::Fine, _) => Check::fine("notifier", says),
    }
}

/// How long ago, to the second.
fn ago(at: Timestamp, then: Timestamp) -> Span {
    Span::seconds(at.since(then).as_millis() / 1000)
}

/// Can the source be read as a whole?
fn source(view: &SourceView) -> Check {
    let Some(since) = view.down_since else {
        return Check::fine("source", format!("`{}` answers", view.name));
    };
    let why = view.why.as_deref().unwrap_or("it does not answer");
    Check::broken(
        "source",
        format!("`{}` is down since {}: {why}", view.name, moment(since)),
        view.next_step(Language::English).unwrap_or_default(),
    )
}

/// Is the clock sane?
fn clock(theirs: Timestamp, ours: Timestamp) -> Check {
    let apart = theirs.since(ours).max(ours.since(theirs));
    if apart <= CLOCK_SLACK {
        return Check::fine("clock", "the controller's clock and this machine's agree");
    }
    Check::warning(
        "clock",
        format!("the controller's clock and this machine's are {apart} apart"),
        "let both follow a time server; values that come from the future are refused",
    )
}

/// Is the target seen, and is it well?
fn target(view: &WorkloadView, at: Timestamp) -> Check {
    let Some(seen) = view.seen_at else {
        return Check::broken(
            "target",
            "has not been seen yet, so nothing is changed",
            "the controller's stderr says why; `headroom run -v` says more",
        );
    };
    let age = at.since(seen);
    if age > SEEN_WITHIN {
        return Check::broken(
            "target",
            format!("was seen {age} ago, so nothing is changed"),
            "find out why the target does not answer; the controller's stderr has its words",
        );
    }
    match view.status.as_ref().and_then(|status| status.troubles.first()) {
        Some(trouble) => Check::broken(
            "target",
            format!("{} ({})", trouble.message, trouble.code),
            "mend what it names, then look at the output of the replicas in the data directory under process/",
        ),
        None => Check::fine("target", "is seen and well"),
    }
}

/// Does the target do what it is asked for?
fn obeying(view: &WorkloadView, status: &TargetStatus, at: Timestamp) -> Check {
    let TargetStatus { wanted, ready, starting, failed, .. } = status;
    let missing = wanted.minus(ready.0).minus(starting.0);
    if *failed > Replicas::ZERO || missing > Replicas::ZERO {
        return Check::broken(
            "obeying",
            format!("{wanted} are asked for, {ready} are ready, {starting} start, {failed} failed"),
            format!("headroom explain {}; then the output of the replicas", view.name),
        );
    }
    let limit = view.start_up.p90.map_or(START_SLACK, |p90| p90.times(2).max(START_SLACK));
    let hangs = status.replicas.iter().find(|replica| {
        replica.phase == headroom_core::observation::Phase::Starting && at.since(replica.started_at) > limit
    });
    match hangs {
        Some(replica) => Check::warning(
            "obeying",
            format!("the replica {} has been starting for {}", replica.id, at.since(replica.started_at)),
            "see whether its health check asks the right path, and what the replica writes",
        ),
        None => {
            Check::fine("obeying", format!("{wanted} are asked for, {ready} are ready, {starting} start"))
        }
    }
}

/// Are samples flowing, and how old are they?
fn samples(signal: &str, reading: &Reading, at: Timestamp) -> Check {
    match reading {
        Reading::Fresh(sample) => Check::fine("samples", format!("{signal} is {} old", at.since(sample.at))),
        Reading::Missing(Absence::Idle) => {
            Check::fine("samples", format!("{signal}: nothing to measure now"))
        }
        Reading::Missing(Absence::NoReplica) => {
            Check::fine("samples", format!("{signal}: no replica to measure it on"))
        }
        Reading::Stale { age, .. } => Check::broken(
            "samples",
            format!("{signal} is {age} old, so nothing shrinks on it"),
            "see whether its sender or source still runs; if it is slower than that by nature, raise freshFor",
        ),
        Reading::Missing(Absence::NeverSeen) => Check::broken(
            "samples",
            format!("{signal} has never been seen"),
            "see whether its sender or source runs and uses this workload's and signal's names",
        ),
        Reading::Missing(Absence::Empty) => Check::broken(
            "samples",
            format!("{signal}: its source has no such series"),
            "ask the source the same question by hand",
        ),
        Reading::Missing(Absence::NotANumber) => Check::broken(
            "samples",
            format!("{signal}: its source gave no usable number (NaN, infinite or negative)"),
            "ask the source the same question by hand",
        ),
        Reading::Missing(Absence::SourceFailed(why)) => {
            Check::broken("samples", format!("{signal}: {why}"), "mend what the source names")
        }
    }
}

/// Does any strategy know what it wants?
fn strategies(view: &WorkloadView, decision: &Decision) -> Check {
    let said = &decision.recommendations;
    let silent: Vec<_> = said.iter().filter(|r| matches!(r.advice, Advice::Abstains { .. })).collect();
    match silent.first() {
        Some(first) if silent.len() == said.len() => Check::warning(
            "strategies",
            format!("none says anything: {}", say::sentence(first.advice.why(), Language::English)),
            format!("headroom explain {} shows what each of them lacks", view.name),
        ),
        _ => Check::fine(
            "strategies",
            format!("{} of {} say what they want", said.len() - silent.len(), said.len()),
        ),
    }
}

/// Why did nothing scale?
fn scaling(view: &WorkloadView, decision: &Decision) -> Check {
    let headline = say::headline(decision, Language::English);
    let why = decision.main_reason();
    let until = why
        .and_then(Reason::until)
        .map(|until| format!("; holds until {}", moment(until)))
        .unwrap_or_default();
    let says = format!("{headline}{until}");
    let at_maximum = decision.steps.iter().any(|step| matches!(step.why, Reason::AtMaximum { .. }));
    match (decision.outcome, why) {
        (Outcome::Rejected, _) => {
            Check::broken("scaling", says, "please report this with `headroom journal extract`")
        }
        (_, Some(Reason::ActionFailed { .. })) => Check::broken(
            "scaling",
            says,
            "the target's own words stand in `headroom explain`; it is tried again by itself",
        ),
        (_, Some(Reason::NeedsApproval { .. })) => {
            let next = view.pending.as_ref().map_or_else(
                || format!("headroom plan; it waits for a person's word on {}", view.name),
                |pending| format!("headroom approve {id}, or headroom reject {id}", id = pending.decision),
            );
            Check::warning("scaling", says, next)
        }
        _ if at_maximum => Check::warning("scaling", says, "raise replicas.max if it is to grow further"),
        // An idle service at its least count is as it should be.
        (Outcome::Held, Some(Reason::AtMinimum { .. })) => Check::fine("scaling", says),
        (Outcome::Held, _) => Check::warning(
            "scaling",
            says,
            format!("headroom why-not {} names the guard; most of them pass with time", view.name),
        ),
        (Outcome::Act | Outcome::Keep, _) => Check::fine("scaling", says),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A view as the API gives it, with some of it replaced.
    fn view(changes: &serde_json::Value) -> Overview {
        let mut workload = json!({
            "name": "web", "tier": null, "range": { "min": 2, "max": 20 }, "price": null, "listen": null,
            "seenAt": "2026-11-21T09:30:00Z",
            "status": { "wanted": 3, "ready": 3 },
            "signals": [{ "name": "rps", "unit": "perSecond",
                "reading": { "fresh": { "at": "2026-11-21T09:30:00Z", "value": 100 } } }],
            "freeze": null, "latest": null, "startUp": { "seen": 0, "p50": null, "p90": null }
        });
        for (name, value) in changes.as_object().unwrap() {
            workload[name] = value.clone();
        }
        let overview = json!({
            "at": "2026-11-21T09:30:01Z", "fleet": "shop", "advise": false, "startedAt": "2026-11-21T09:00:00Z",
            "workloads": [workload], "notices": []
        });
        serde_json::from_value(overview).unwrap()
    }

    /// C5: metrics flowing, target obeying, frozen, clock: each check says fine or not, and what to do next.
    #[test]
    fn each_check_tells_fine_from_broken_and_names_the_next_step() {
        let reading = |reading: serde_json::Value| json!({ "signals": [{ "name": "rps", "unit": "perSecond", "reading": reading }] });
        let stale =
            json!({ "stale": { "last": { "at": "2026-11-21T09:29:00Z", "value": 1 }, "age": "61s" } });
        let frozen = json!({ "freeze": { "until": null, "by": "mina", "why": "release" } });
        for (changes, name, state, says) in [
            (json!({}), "target", State::Fine, "seen and well"),
            (json!({ "seenAt": null, "status": null }), "target", State::Broken, "not been seen"),
            (json!({ "seenAt": "2026-11-21T09:29:51Z" }), "target", State::Fine, "seen"),
            (json!({ "seenAt": "2026-11-21T09:29:50Z" }), "target", State::Broken, "11s ago"),
            (
                json!({ "status": { "wanted": 3, "ready": 0, "troubles": [{ "code": "crash-loop", "message": "it dies" }] } }),
                "target",
                State::Broken,
                "crash-loop",
            ),
            (json!({}), "obeying", State::Fine, "3 are ready"),
            (
                json!({ "status": { "wanted": 3, "ready": 1, "starting": 2 } }),
                "obeying",
                State::Fine,
                "2 start",
            ),
            (
                json!({ "status": { "wanted": 3, "ready": 1, "starting": 1 } }),
                "obeying",
                State::Broken,
                "1 are ready",
            ),
            (
                json!({ "status": { "wanted": 3, "ready": 3, "failed": 1 } }),
                "obeying",
                State::Broken,
                "1 failed",
            ),
            (json!({}), "samples", State::Fine, "rps is 1s old"),
            (reading(stale), "samples", State::Broken, "old"),
            (reading(json!({ "missing": "neverSeen" })), "samples", State::Broken, "never"),
            (reading(json!({ "missing": "idle" })), "samples", State::Fine, "nothing to measure"),
            (
                reading(json!({ "missing": { "sourceFailed": "connection refused" } })),
                "samples",
                State::Broken,
                "connection refused",
            ),
            (frozen, "frozen", State::Warning, "mina until it is thawed: release"),
            (json!({}), "scaling", State::Warning, "nothing has been decided"),
        ] {
            let overview = view(&changes);
            let checks = examine(&overview, overview.at);
            let check = checks.iter().find(|check| check.name == name).unwrap();
            assert_eq!(check.state, state, "{changes}: {check:?}");
            assert!(check.says.contains(says), "{changes}: {check:?}");
            assert_eq!(check.next.is_some(), state != State::Fine, "{check:?}");
        }
    }

    #[test]
    fn a_token_may_be_missing_or_of_another_controller() {
        for (check, state, says) in [
            (permission(true, None), State::Fine, "there is a token"),
            (permission(false, None), State::Warning, "no token was found"),
            (
                permission(true, Some("this is not the token\n  help: x")),
                State::Broken,
                "refused: this is not the token",
            ),
        ] {
            assert_eq!(check.state, state);
            assert!(check.says.contains(says), "{check:?}");
            assert_eq!(check.next.is_some(), state != State::Fine);
        }
    }

    /// Whether people are told: last delivery, what waits, why it fails, what to do. And what else is the fleet's.
    #[test]
    fn notifiers_the_journal_the_breaker_and_idle_minimums_are_checked() {
        let mut overview = view(&json!({}));
        let told = json!({ "name": "ops", "state": "fine", "toldAt": "2026-11-21T09:29:56Z", "waiting": 0, "givenUp": 0 });
        let fresh = json!({ "name": "ops", "state": "fine", "waiting": 0, "givenUp": 0 });
        let hiccup = json!({ "name": "ops", "state": "failing", "waiting": 1, "givenUp": 0,
            "failingSince": "2026-11-21T09:29:59Z", "why": "connection refused" });
        let down = json!({ "name": "ops", "state": "down", "toldAt": "2026-11-21T09:00:00Z", "waiting": 3, "givenUp": 0,
            "failingSince": "2026-11-21T09:20:00Z", "why": "it answered 500" });
        let lost = json!({ "name": "ops", "state": "failing", "waiting": 0, "givenUp": 2 });
        for (notifier, state, parts) in [
            (told, State::Fine, vec!["`ops` was told 5s ago"]),
            (fresh, State::Fine, vec!["not told anything yet"]),
            (hiccup, State::Warning, vec!["1 wait", "connection refused"]),
            (down, State::Broken, vec!["30m1s ago", "3 wait", "it answered 500"]),
            (lost, State::Warning, vec!["2 were given up"]),
        ] {
            overview.notifiers = vec![serde_json::from_value(notifier).unwrap()];
            let checks = examine(&overview, overview.at);
            let check = checks.iter().find(|check| check.name == "notifier").unwrap();
            assert_eq!(check.state, state, "{check:?}");
            assert_eq!(check.next.is_some(), state != State::Fine, "{check:?}");
            for part in parts {
                assert!(check.says.contains(part), "{part}: {check:?}");
            }
        }
        let found = |overview: &Overview, name: &str| {
            examine(overview, overview.at).into_iter().find(|check| check.name == name)
        };
        assert_eq!(found(&overview, "journal").unwrap().state, State::Fine);
        assert_eq!((found(&overview, "breaker"), found(&overview, "idle")), (None, None));
        let alert = |kind: &str, subject: serde_json::Value, why: &str| {
            serde_json::from_value(json!({ "id": kind, "kind": kind, "severity": "high", "subject": subject,
                "since": "2026-11-21T09:00:00Z", "why": why }))
            .unwrap()
        };
        overview.alerts = vec![
            alert("journalFailing", json!("fleet"), "permission denied"),
            alert("idleResources", json!({ "workload": "web" }), "at most 12 % was needed"),
        ];
        overview.breaker = serde_json::from_value(json!({ "at": "2026-11-21T09:29:00Z",
            "until": "2026-11-21T09:39:00Z", "workload": "web", "changed": 12, "most": 10 }))
        .unwrap();
        for (name, state, part) in [
            ("journal", State::Broken, "permission denied"),
            ("idle", State::Warning, "12 %"),
            ("breaker", State::Warning, "12 replicas"),
        ] {
            let check = found(&overview, name).unwrap();
            assert_eq!(check.state, state);
            assert!(check.says.contains(part) && check.next.is_some(), "{check:?}");
        }
    }

    #[test]
    fn clocks_may_be_a_little_apart_either_way() {
        let at = |ms: i64| Timestamp::from_millis(1_000_000 + ms);
        for (theirs, state) in [
            (0, State::Fine),
            (5_000, State::Fine),
            (-5_000, State::Fine),
            (5_001, State::Warning),
            (-5_001, State::Warning),
        ] {
            assert_eq!(clock(at(theirs), at(0)).state, state, "{theirs}");
        }
    }

    #[test]
    fn every_check_has_a_section_in_the_troubleshooting_guide() {
        let guide = include_str!("../../../../docs/troubleshooting.md");
        for name in [
            "controller",
            "permission",
            "clock",
            "mode",
            "journal",
            "breaker",
            "source",
            "notifier",
            "idle",
            "target",
            "obeying",
            "samples",
            "frozen",
            "strategies",
            "scaling",
        ] {
            assert!(guide.contains(&format!("\n## {name}\n")), "{name}");
        }
    }
}
