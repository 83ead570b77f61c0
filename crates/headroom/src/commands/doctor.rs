//! `headroom doctor`: is everything as it should be, and if not, what is the next step (C5).
//!
//! The checks look at one view of the controller and change nothing. Each says fine, warning or broken; what is not
//! fine says what to do. `docs/troubleshooting.md` has a section for each check, under the check's name.

use anyhow::Result;
use headroom_core::alert::{self, Alert, AlertKind};
use headroom_core::decision::{Advice, Decision, Outcome};
use headroom_core::memory::{Freeze, Pending};
use headroom_core::observation::{TargetStatus, Trouble};
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
    let language = printer.language;
    let client = Client::new(cli)?;
    let asked = now();
    let mut checks = match client.get::<Overview>("/api/v1/overview").await {
        Ok(overview) => {
            let middle = Timestamp::from_millis(i64::midpoint(asked.as_millis(), now().as_millis()));
            examine(&overview, middle, language)
        }
        Err(error) => {
            let unreachable =
                error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Unreachable);
            let next = match unreachable {
                false => language.pick("name the controller with --server", "--server로 컨트롤러를 지정하세요"),
                true => language.pick(
                    "`headroom run -f fleet.yaml` starts one where the last one ended; replicas and balancer go on meanwhile",
                    "`headroom run -f fleet.yaml`로 시작하면 이어서 동작합니다. 그동안 레플리카와 밸런서는 계속 동작합니다",
                ),
            };
            vec![Check::broken("controller", error.to_string(), next)]
        }
    };
    let is_reached = checks[0].state != State::Broken;
    let unread = client.token_trouble().map(str::to_owned);
    let refused = match client.has_token() && is_reached {
        true => client.get::<serde_json::Value>(NOTHING).await.err().map(|error| error.to_string()),
        false => None,
    };
    checks.insert(1, permission(client.has_token(), unread.or(refused).as_deref(), language));
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Fine);
    printer.print(&checks, |checks| text(checks, printer))?;
    Ok(if worst == State::Broken { Exit::Failure } else { Exit::Success })
}

fn permission(has_token: bool, refused: Option<&str>, language: Language) -> Check {
    if let Some(why) = refused {
        let why = why.lines().next().unwrap_or(why);
        return Check::broken(
            "permission",
            language.pick(
                format!("freeze, thaw, apply and push will be refused: {why}"),
                format!("freeze, thaw, apply, push가 거부됩니다: {why}"),
            ),
            language.pick(
                "name the data directory of this very controller with --data, or set HEADROOM_TOKEN to what its file `token` holds",
                "--data로 이 컨트롤러의 데이터 디렉터리를 지정하거나 HEADROOM_TOKEN에 그 안의 `token` 파일 내용을 넣으세요",
            ),
        );
    }
    if has_token {
        return Check::fine(
            "permission",
            language.pick("there is a token for changes", "변경에 쓸 토큰이 있음"),
        );
    }
    Check::warning(
        "permission",
        language.pick(
            "no token was found, so freeze, thaw, apply and push will be refused",
            "토큰이 없어 freeze, thaw, apply, push가 거부됩니다",
        ),
        language.pick(
            "set HEADROOM_TOKEN, or name the controller's data directory with --data",
            "HEADROOM_TOKEN을 설정하거나 --data로 컨트롤러의 데이터 디렉터리를 지정하세요",
        ),
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
        // As wide as the widest on a terminal, where a Korean letter takes two places.
        let (mark, word) = match check.state {
            State::Fine => ("✓", printer.language.pick("fine    ", "정상    ")),
            State::Warning => ("!", printer.language.pick("warning ", "주의    ")),
            State::Broken => ("✗", printer.language.pick("broken  ", "고장    ")),
        };
        out.push_str(&format!("  {mark} {word} {:<11} {}\n", check.name, check.says));
        if let Some(next) = &check.next {
            out.push_str(&format!("               {:<9} → {next}\n", ""));
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (broken, warnings) = (count(State::Broken), count(State::Warning));
    out.push_str(&match printer.language {
        Language::English => format!("\n{broken} broken, {warnings} to be looked at\n"),
        Language::Korean => format!("\n고장 {broken}건, 확인 필요 {warnings}건\n"),
    });
    out
}

/// Every check on one view, the controller's first; `at` is this machine's time of the view.
fn examine(overview: &Overview, at: Timestamp, language: Language) -> Vec<Check> {
    let (fleet, since) = (&overview.fleet, moment(overview.started_at));
    let kept =
        language.pick(format!("`{fleet}` is kept since {since}"), format!("`{fleet}`, {since}부터 동작 중"));
    let mut checks = vec![Check::fine("controller", kept), clock(overview.at, at, language)];
    if overview.advise {
        checks.push(Check::warning(
            "mode",
            language.pick("decisions are only said, not done", "결정을 알리기만 하고 실행하지 않음"),
            language.pick(
                "start `headroom run` without --advise once you agree with what it says",
                "결정에 동의하면 `headroom run`을 --advise 없이 시작하세요",
            ),
        ));
    }
    checks.push(journal(overview, language));
    checks.extend(overview.breaker.as_ref().map(|opened| breaker(opened, language)));
    checks.extend(overview.sources.iter().map(|view| source(view, language)));
    checks.extend(overview.notifiers.iter().map(|view| notifier(view, overview.at, language)));
    for view in &overview.workloads {
        checks.push(target(view, overview.at, language).of(view));
        if let Some(status) = &view.status {
            checks.push(obeying(view, status, overview.at, language).of(view));
        }
        checks.extend(
            view.signals
                .iter()
                .map(|signal| samples(signal.name.as_str(), &signal.reading, overview.at, language).of(view)),
        );
        checks.extend(view.freeze.as_ref().map(|freeze| frozen(view, freeze, language).of(view)));
        match &view.latest {
            Some(decision) => {
                checks.push(strategies(view, decision, language).of(view));
                checks.push(scaling(view, decision, language).of(view));
            }
            None => checks.push(
                Check::warning(
                    "scaling",
                    language.pick("nothing has been decided yet", "아직 아무것도 결정하지 않음"),
                    language.pick(
                        "wait for the first look at its target",
                        "대상을 처음 조회할 때까지 기다리세요",
                    ),
                )
                .of(view),
            ),
        }
        checks.extend(idle(view, &overview.alerts, language).map(|check| check.of(view)));
    }
    checks
}

/// Is it to be left alone?
fn frozen(view: &WorkloadView, freeze: &Freeze, language: Language) -> Check {
    Check::warning("frozen", super::freeze::say(freeze, language), format!("headroom thaw {}", view.name))
}

/// Can the journal be written?
fn journal(overview: &Overview, language: Language) -> Check {
    match overview.alerts.iter().find(|alert| alert.kind == AlertKind::JournalFailing) {
        Some(alert) => {
            let why = alert.why_in(language);
            Check::broken(
                "journal",
                language.pick(
                    format!("can't be written, so nothing is changed: {why}"),
                    format!("쓸 수 없어 아무것도 바꾸지 않음: {why}"),
                ),
                next_step(alert.kind, language),
            )
        }
        None => Check::fine("journal", language.pick("is written", "기록되고 있음")),
    }
}

/// Is anything held back by the breaker?
fn breaker(opened: &Opened, language: Language) -> Check {
    let Opened { changed, most, .. } = opened;
    let until = moment(opened.until);
    Check::warning(
        "breaker",
        language.pick(
            format!(
                "{changed} replicas would have changed at once, {most} may: nothing shrinks until {until}"
            ),
            format!("레플리카 {changed}개가 한꺼번에 바뀔 뻔함(허용 {most}개): {until}까지 축소하지 않음"),
        ),
        language.pick(
            "look at `headroom status` for what would go, then `headroom breaker close`",
            "`headroom status`에서 무엇이 줄어들지 확인한 뒤 `headroom breaker close`를 실행하세요",
        ),
    )
}

/// Is the least count far more than is needed?
fn idle(view: &WorkloadView, alerts: &[Alert], language: Language) -> Option<Check> {
    let alert = alerts.iter().find(|alert| {
        alert.kind == AlertKind::IdleResources && alert.subject.workload() == Some(&view.name)
    })?;
    Some(Check::warning("idle", alert.why_in(language), next_step(alert.kind, language)))
}

fn next_step(kind: AlertKind, language: Language) -> &'static str {
    alert::next_step(kind, language).unwrap_or_default()
}

/// Are people told?
fn notifier(view: &NotifierView, at: Timestamp, language: Language) -> Check {
    let name = &view.name;
    let mut says = match (view.told_at.map(|told| ago(at, told)), language) {
        (None, Language::English) => format!("`{name}` was not told anything yet"),
        (None, Language::Korean) => format!("`{name}`: 아직 보낸 것 없음"),
        (Some(ago), Language::English) => format!("`{name}` was told {ago} ago"),
        (Some(ago), Language::Korean) => format!("`{name}`: {ago} 전에 보냄"),
    };
    let (waiting, lost) = (view.waiting, view.given_up);
    if waiting > 0 {
        says.push_str(&language.pick(format!("; {waiting} wait"), format!("; 대기 {waiting}건")));
    }
    if lost > 0 {
        says.push_str(&language.pick(format!("; {lost} were given up"), format!("; 포기 {lost}건")));
    }
    if let Some(since) = view.failing_since.map(moment) {
        let why = unanswered(view.why.as_deref(), language);
        says.push_str(
            &language.pick(format!("; it fails since {since}: {why}"), format!("; {since}부터 실패: {why}")),
        );
    }
    match (view.state, view.next_step(language)) {
        (NotifierState::Down, next) => Check::broken("notifier", says, next.unwrap_or_default()),
        (NotifierState::Failing, next) => Check::warning("notifier", says, next.unwrap_or_default()),
        (NotifierState::Fine, _) => Check::fine("notifier", says),
    }
}

/// Why something fails, in its own words where it has any.
fn unanswered(why: Option<&str>, language: Language) -> &str {
    why.unwrap_or(language.pick("it does not answer", "응답 없음"))
}

/// How long ago, to the second.
fn ago(at: Timestamp, then: Timestamp) -> Span {
    Span::seconds(at.since(then).as_millis() / 1000)
}

/// Can the source be read as a whole?
fn source(view: &SourceView, language: Language) -> Check {
    let name = &view.name;
    let why = unanswered(view.why.as_deref(), language);
    let next = view.next_step(language).unwrap_or_default();
    match (view.down_since.map(moment), &view.why) {
        (Some(since), _) => Check::broken(
            "source",
            language.pick(
                format!("`{name}` is down since {since}: {why}"),
                format!("`{name}` {since}부터 장애: {why}"),
            ),
            next,
        ),
        (None, Some(_)) => Check::warning(
            "source",
            language.pick(
                format!("the last round of `{name}` failed: {why}"),
                format!("`{name}`의 마지막 조회 실패: {why}"),
            ),
            next,
        ),
        (None, None) => {
            Check::fine("source", language.pick(format!("`{name}` answers"), format!("`{name}` 응답함")))
        }
    }
}

/// Is the clock sane?
fn clock(theirs: Timestamp, ours: Timestamp, language: Language) -> Check {
    let apart = theirs.since(ours).max(ours.since(theirs));
    if apart <= CLOCK_SLACK {
        return Check::fine(
            "clock",
            language.pick(
                "the controller's clock and this machine's agree",
                "컨트롤러와 이 컴퓨터의 시계가 일치함",
            ),
        );
    }
    Check::warning(
        "clock",
        language.pick(
            format!("the controller's clock and this machine's are {apart} apart"),
            format!("컨트롤러와 이 컴퓨터의 시계가 {apart} 차이 남"),
        ),
        language.pick(
            "let both follow a time server; values that come from the future are refused",
            "둘 다 시간 서버에 맞추세요. 미래 시각의 값은 거부됩니다",
        ),
    )
}

/// Is the target seen, and is it well?
fn target(view: &WorkloadView, at: Timestamp, language: Language) -> Check {
    let Some(seen) = view.seen_at else {
        return Check::broken(
            "target",
            language.pick(
                "has not been seen yet, so nothing is changed",
                "아직 조회하지 못해 아무것도 바꾸지 않음",
            ),
            language.pick(
                "the controller's stderr says why; `headroom run -v` says more",
                "컨트롤러의 stderr에 이유가 있습니다. `headroom run -v`는 더 자세합니다",
            ),
        );
    };
    let age = at.since(seen);
    if age > SEEN_WITHIN {
        return Check::broken(
            "target",
            language.pick(
                format!("was seen {age} ago, so nothing is changed"),
                format!("{age} 전에 조회되어 아무것도 바꾸지 않음"),
            ),
            language.pick(
                "find out why the target does not answer; the controller's stderr has its words",
                "대상이 응답하지 않는 이유를 찾으세요. 컨트롤러의 stderr에 대상의 메시지가 있습니다",
            ),
        );
    }
    match view.status.as_ref().and_then(|status| status.troubles.first()) {
        Some(trouble) => Check::broken(
            "target",
            format!("{} ({})", trouble.message, trouble.code),
            if trouble.code == Trouble::NOT_LISTENING {
                next_step(AlertKind::NotListening, language)
            } else {
                language.pick(
                "mend what it names, then look at the output of the replicas in the data directory under process/",
                "알린 문제를 고친 뒤 데이터 디렉터리의 process/에서 레플리카의 출력을 확인하세요",
                )
            },
        ),
        None => Check::fine("target", language.pick("is seen and well", "조회되며 이상 없음")),
    }
}

/// Does the target do what it is asked for?
fn obeying(view: &WorkloadView, status: &TargetStatus, at: Timestamp, language: Language) -> Check {
    let TargetStatus { wanted, ready, starting, failed, .. } = status;
    let missing = wanted.minus(ready.0).minus(starting.0);
    if *failed > Replicas::ZERO || missing > Replicas::ZERO {
        return Check::broken(
            "obeying",
            language.pick(
                format!("{wanted} are asked for, {ready} are ready, {starting} start, {failed} failed"),
                format!("요청 {wanted}개, 준비 {ready}개, 시작 중 {starting}개, 실패 {failed}개"),
            ),
            language.pick(
                format!("headroom explain {}; then the output of the replicas", view.name),
                format!("headroom explain {}, 그다음 레플리카의 출력을 확인하세요", view.name),
            ),
        );
    }
    let limit = view.start_up.p90.map_or(START_SLACK, |p90| p90.times(2).max(START_SLACK));
    let hangs = status.replicas.iter().find(|replica| {
        replica.phase == headroom_core::observation::Phase::Starting && at.since(replica.started_at) > limit
    });
    match hangs {
        Some(replica) => {
            let (id, since) = (&replica.id, at.since(replica.started_at));
            Check::warning(
                "obeying",
                language.pick(
                    format!("the replica {id} has been starting for {since}"),
                    format!("레플리카 {id}: {since}째 시작 중"),
                ),
                language.pick(
                    "see whether its health check asks the right path, and what the replica writes",
                    "상태 검사 경로가 맞는지, 레플리카가 무엇을 출력하는지 확인하세요",
                ),
            )
        }
        None => Check::fine(
            "obeying",
            language.pick(
                format!("{wanted} are asked for, {ready} are ready, {starting} start"),
                format!("요청 {wanted}개, 준비 {ready}개, 시작 중 {starting}개"),
            ),
        ),
    }
}

/// Are samples flowing, and how old are they?
fn samples(signal: &str, reading: &Reading, at: Timestamp, language: Language) -> Check {
    let of = |english: &str, korean: &str| format!("{signal}{}", language.pick(english, korean));
    let by_hand =
        language.pick("ask the source the same question by hand", "소스에 같은 질의를 직접 해 보세요");
    match reading {
        Reading::Fresh(sample) => {
            let age = at.since(sample.at);
            Check::fine(
                "samples",
                language.pick(format!("{signal} is {age} old"), format!("{signal}: {age} 전 값")),
            )
        }
        Reading::Missing(Absence::Idle) => {
            Check::fine("samples", of(": nothing to measure now", ": 지금은 측정할 것이 없음"))
        }
        Reading::Missing(Absence::NoReplica) => {
            Check::fine("samples", of(": no replica to measure it on", ": 측정할 레플리카가 없음"))
        }
        Reading::Stale { age, ahead: true, .. } => Check::broken(
            "samples",
            language.pick(
                format!("{signal} is stamped {age} ahead of this machine's clock, so nothing shrinks on it"),
                format!("{signal}: 이 장비의 시계보다 {age} 앞선 값이라 이 값으로는 축소하지 않음"),
            ),
            language.pick(
                "set the clock of its sender or of this machine (NTP)",
                "보내는 쪽이나 이 장비의 시계를 맞추세요(NTP)",
            ),
        ),
        Reading::Stale { age, .. } => Check::broken(
            "samples",
            language.pick(
                format!("{signal} is {age} old, so nothing shrinks on it"),
                format!("{signal}: {age} 전 값이라 이 값으로는 축소하지 않음"),
            ),
            language.pick(
                "see whether its sender or source still runs; if it is slower than that by nature, raise freshFor",
                "보내는 쪽이나 소스가 동작하는지 확인하세요. 원래 더 느리다면 freshFor를 늘리세요",
            ),
        ),
        Reading::Missing(Absence::NeverSeen) => Check::broken(
            "samples",
            of(" has never been seen", ": 한 번도 오지 않음"),
            language.pick(
                "see whether its sender or source runs and uses this workload's and signal's names",
                "보내는 쪽이나 소스가 동작하는지, 워크로드와 신호의 이름이 맞는지 확인하세요",
            ),
        ),
        Reading::Missing(Absence::Empty) => Check::broken(
            "samples",
            of(": its source has no such series", ": 소스에 해당 시계열이 없음"),
            by_hand,
        ),
        Reading::Missing(Absence::NotANumber) => Check::broken(
            "samples",
            of(
                ": its source gave no usable number (NaN, infinite or negative)",
                ": 소스가 쓸 수 없는 값(NaN, 무한대, 음수)을 줌",
            ),
            by_hand,
        ),
        Reading::Missing(Absence::SourceFailed(why)) => Check::broken(
            "samples",
            format!("{signal}: {why}"),
            language.pick("mend what the source names", "소스가 알린 문제를 고치세요"),
        ),
    }
}

/// Does any strategy know what it wants?
fn strategies(view: &WorkloadView, decision: &Decision, language: Language) -> Check {
    let said = &decision.recommendations;
    let silent: Vec<_> = said.iter().filter(|r| matches!(r.advice, Advice::Abstains { .. })).collect();
    match silent.first() {
        Some(first) if silent.len() == said.len() => {
            let (why, name) = (say::sentence(first.advice.why(), language), &view.name);
            Check::warning(
                "strategies",
                language.pick(format!("none says anything: {why}"), format!("모두 기권: {why}")),
                language.pick(
                    format!("headroom explain {name} shows what each of them lacks"),
                    format!("headroom explain {name}에서 무엇이 부족한지 확인하세요"),
                ),
            )
        }
        _ => {
            let (all, speak) = (said.len(), said.len() - silent.len());
            Check::fine(
                "strategies",
                language.pick(
                    format!("{speak} of {all} say what they want"),
                    format!("{all}개 중 {speak}개가 의견을 냄"),
                ),
            )
        }
    }
}

/// Why did nothing scale?
fn scaling(view: &WorkloadView, decision: &Decision, language: Language) -> Check {
    let why = decision.main_reason();
    let mut says = say::headline(decision, language);
    if let Some(until) = why.and_then(Reason::until).map(moment) {
        says.push_str(&language.pick(format!("; holds until {until}"), format!("; {until}까지 유지")));
    }
    let at_maximum = decision.steps.iter().any(|step| matches!(step.why, Reason::AtMaximum { .. }));
    let name = &view.name;
    match (decision.outcome, why) {
        (Outcome::Rejected, _) => Check::broken(
            "scaling",
            says,
            language.pick(
                "please report this with `headroom journal extract`",
                "`headroom journal extract`의 결과와 함께 알려 주세요",
            ),
        ),
        (_, Some(Reason::ActionFailed { .. })) => Check::broken(
            "scaling",
            says,
            language.pick(
                "the target's own words stand in `headroom explain`; it is tried again by itself",
                "대상의 메시지는 `headroom explain`에 있습니다. 자동으로 다시 시도합니다",
            ),
        ),
        (_, Some(Reason::NeedsApproval { .. })) => {
            let next = match &view.pending {
                None => language.pick(
                    format!("headroom plan; it waits for a person's word on {name}"),
                    format!("headroom plan을 확인하세요. {name}의 승인을 기다립니다"),
                ),
                Some(Pending { decision: id, .. }) => language.pick(
                    format!("headroom approve {id}, or headroom reject {id}"),
                    format!("headroom approve {id} 또는 headroom reject {id}"),
                ),
            };
            Check::warning("scaling", says, next)
        }
        _ if at_maximum => Check::warning(
            "scaling",
            says,
            language.pick(
                "raise replicas.max if it is to grow further",
                "더 늘려야 하면 replicas.max를 올리세요",
            ),
        ),
        // An idle service at its least count is as it should be.
        (Outcome::Held, Some(Reason::AtMinimum { .. })) => Check::fine("scaling", says),
        (Outcome::Held, _) => Check::warning(
            "scaling",
            says,
            language.pick(
                format!("headroom why-not {name} names the guard; most of them pass with time"),
                format!("headroom why-not {name}에서 막은 가드를 확인하세요. 대부분 시간이 지나면 풀립니다"),
            ),
        ),
        (Outcome::Act | Outcome::Keep, _) => Check::fine("scaling", says),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::Format;

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

    #[test]
    fn a_source_that_has_only_failed_so_far_does_not_answer() {
        let view = |why: Option<&str>| -> SourceView {
            serde_json::from_value(json!({ "name": "db", "heardAt": "2026-11-21T09:30:00Z", "why": why }))
                .unwrap()
        };
        let failing = source(&view(Some("no answer within 2000 ms")), Language::English);
        assert_eq!(failing.state, State::Warning);
        assert!(failing.says.contains("no answer within") && failing.next.is_some(), "{failing:?}");
        assert_eq!(source(&view(None), Language::English).state, State::Fine);
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
            let checks = examine(&overview, overview.at, Language::English);
            let check = checks.iter().find(|check| check.name == name).unwrap();
            assert_eq!(check.state, state, "{changes}: {check:?}");
            assert!(check.says.contains(says), "{changes}: {check:?}");
            assert_eq!(check.next.is_some(), state != State::Fine, "{check:?}");
        }
    }

    #[test]
    fn a_token_may_be_missing_or_of_another_controller() {
        for (check, state, says) in [
            (permission(true, None, Language::English), State::Fine, "there is a token"),
            (permission(false, None, Language::English), State::Warning, "no token was found"),
            (
                permission(true, Some("this is not the token\n  help: x"), Language::English),
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
            let checks = examine(&overview, overview.at, Language::English);
            let check = checks.iter().find(|check| check.name == "notifier").unwrap();
            assert_eq!(check.state, state, "{check:?}");
            assert_eq!(check.next.is_some(), state != State::Fine, "{check:?}");
            for part in parts {
                assert!(check.says.contains(part), "{part}: {check:?}");
            }
        }
        let found = |overview: &Overview, name: &str| {
            examine(overview, overview.at, Language::English).into_iter().find(|check| check.name == name)
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

    /// All that may be found, in both languages: the same checks come out the same way.
    #[test]
    fn what_is_found_reads_well_in_both_languages() {
        let at = "2026-11-21T09:30:00Z";
        let signal = |name: &str, reading: serde_json::Value| json!({ "name": name, "unit": "perSecond", "reading": reading });
        let stale =
            json!({ "stale": { "last": { "at": "2026-11-21T09:29:00Z", "value": 1 }, "age": "61s" } });
        let mut overview = view(&json!({
            "status": { "wanted": 3, "ready": 1, "failed": 1, "troubles": [{ "code": "crash-loop", "message": "it dies" }] },
            "freeze": { "until": at, "by": "mina", "why": "release" },
            "signals": [
                signal("a", json!({ "fresh": { "at": at, "value": 100 } })),
                signal("b", stale),
                signal("c", json!({ "missing": "neverSeen" })),
                signal("d", json!({ "missing": "idle" })),
                signal("e", json!({ "missing": "noReplica" })),
                signal("f", json!({ "missing": "empty" })),
                signal("g", json!({ "missing": "notANumber" })),
                signal("h", json!({ "missing": { "sourceFailed": "connection refused" } })),
            ],
        }));
        overview.advise = true;
        overview.breaker = serde_json::from_value(
            json!({ "at": at, "until": at, "workload": "web", "changed": 12, "most": 10 }),
        )
        .unwrap();
        overview.alerts = serde_json::from_value(json!([
            { "id": "1", "kind": "journalFailing", "severity": "high", "subject": "fleet", "since": at, "why": "no space" },
            { "id": "2", "kind": "idleResources", "severity": "medium", "subject": { "workload": "web" }, "since": at,
              "why": "idle", "because": { "idle": { "min": 8, "share": 0.12, "since": at, "enough": 1 } } },
        ]))
        .unwrap();
        overview.notifiers = serde_json::from_value(json!([
            { "name": "ops", "state": "down", "toldAt": at, "waiting": 3, "givenUp": 2, "failingSince": at },
            { "name": "mail", "state": "fine", "waiting": 0, "givenUp": 0 },
        ]))
        .unwrap();
        overview.sources = serde_json::from_value(json!([
            { "name": "depths", "heardAt": at, "downSince": at, "why": "it answered 500" },
            { "name": "prom", "heardAt": at },
        ]))
        .unwrap();
        let said = |language| {
            let mut checks = examine(&overview, overview.at.plus(Span::minutes(1)), language);
            checks.insert(1, permission(false, None, language));
            let text = text(&checks, Printer { format: Format::Text, language, colour: false });
            // Moments are in the reader's time zone.
            text.replace(&moment(at.parse::<jiff::Timestamp>().unwrap().into()), "<moment>")
                .replace(&moment(overview.started_at), "<start>")
        };
        insta::assert_snapshot!("doctor_english", said(Language::English));
        insta::assert_snapshot!("doctor_korean", said(Language::Korean));
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
            assert_eq!(clock(at(theirs), at(0), Language::English).state, state, "{theirs}");
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
