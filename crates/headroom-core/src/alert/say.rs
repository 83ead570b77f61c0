//! Alerts as text: what happened, why, what it costs, and where to see more. In English: a channel has many readers.

use super::{AlertKind, AlertNews, State, Subject};
use crate::say::Language;
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
        AlertKind::ForecastDemoted => "with a forecast that loses to a naive one",
        AlertKind::AtMaximum => "at its maximum",
        AlertKind::Flapping => "flapping",
        AlertKind::ApprovalNeeded => "waiting for approval",
        AlertKind::IdleResources => "larger than needed: its minimum is idle",
        AlertKind::CpuHigh => "short of cpu",
        AlertKind::ActionFailed => "failing to scale",
        AlertKind::Stuck => "stuck: replicas do not become ready",
        AlertKind::TargetUnseen => "out of sight",
        AlertKind::NotListening => "without a balancer that listens",
        AlertKind::PlanRejected => "held by the check of its plan",
        AlertKind::SourceDown => "down",
        AlertKind::BreakerOpen => "held by its breaker",
        AlertKind::JournalFailing => "without a journal that can be written; nothing is changed",
    }
}

/// What holds, for a list: `at its maximum`.
#[must_use]
pub fn headline(kind: AlertKind, language: Language) -> &'static str {
    match language {
        Language::English => what(kind),
        Language::Korean => match kind {
            AlertKind::Scaled => "확장 또는 축소됨",
            AlertKind::ForecastDemoted => "예측이 단순 예측보다 부정확함",
            AlertKind::AtMaximum => "최대치 도달",
            AlertKind::Flapping => "늘었다 줄었다 반복",
            AlertKind::ApprovalNeeded => "승인 대기",
            AlertKind::IdleResources => "최소 레플리카가 놀고 있음",
            AlertKind::CpuHigh => "CPU 부족",
            AlertKind::ActionFailed => "확장·축소 실패",
            AlertKind::Stuck => "레플리카가 준비되지 않음",
            AlertKind::TargetUnseen => "대상을 조회할 수 없음",
            AlertKind::NotListening => "밸런서가 주소에서 수신하지 못함",
            AlertKind::PlanRejected => "계획 검사에서 거부됨",
            AlertKind::SourceDown => "소스 장애",
            AlertKind::BreakerOpen => "차단기가 열림",
            AlertKind::JournalFailing => "저널에 쓸 수 없어 아무것도 바꾸지 않음",
        },
    }
}

/// What to do about it; `None` where there is nothing to do.
#[must_use]
pub fn next_step(kind: AlertKind, language: Language) -> Option<&'static str> {
    let (english, korean) = match kind {
        AlertKind::Scaled => return None,
        AlertKind::ForecastDemoted => (
            "see how it did on the workload's page; a strategy does without it until it proves better, an objective where \
             `foresee: false` says so",
            "워크로드 화면에서 정확도를 확인하세요. 전략은 다시 정확해질 때까지 예측 없이 동작하고, 목표 전략은 \
             `foresee: false`로 끌 수 있습니다",
        ),
        AlertKind::AtMaximum => (
            "raise `replicas.max`, or find out why so much is asked for",
            "`replicas.max`를 올리거나 부하가 늘어난 원인을 찾으세요",
        ),
        AlertKind::Flapping => (
            "lengthen `behavior.scaleDown.stabilization`, or widen the strategy's band",
            "`behavior.scaleDown.stabilization`을 늘리거나 전략의 범위를 넓히세요",
        ),
        AlertKind::ApprovalNeeded => ("approve or reject it", "승인하거나 거절하세요"),
        AlertKind::IdleResources => (
            "lower `replicas.min`, or raise `notify.alerts.idleBelow` if the reserve is meant",
            "`replicas.min`을 낮추세요. 일부러 둔 여유라면 `notify.alerts.idleBelow`를 조정하세요",
        ),
        AlertKind::CpuHigh => (
            "see whether the workload is at its maximum or held back; lower what a replica is to carry",
            "최대치이거나 보류 중인지 확인하고, 레플리카당 부하 목표를 낮추세요",
        ),
        AlertKind::ActionFailed => (
            "mend what the target names; it is tried again by itself",
            "대상이 알린 문제를 고치세요. 자동으로 다시 시도합니다",
        ),
        AlertKind::Stuck => (
            "read the output of the replicas and check the path of their health check",
            "레플리카의 출력과 상태 검사 경로를 확인하세요",
        ),
        AlertKind::TargetUnseen => (
            "find out why the target does not answer; `headroom doctor` has its words",
            "대상이 응답하지 않는 이유를 찾으세요. `headroom doctor`에 자세한 내용이 있습니다",
        ),
        AlertKind::NotListening => (
            "stop what has the port (`ss -ltnp` names it) or change `balancer.listen`; it is tried again every two seconds",
            "포트를 쓰는 프로그램을 종료하거나(`ss -ltnp`로 확인) `balancer.listen`을 바꾸세요. 2초마다 다시 시도합니다",
        ),
        AlertKind::PlanRejected => (
            "read the decision, then correct the policy it names; this may be a mistake of headroom: tell us",
            "결정을 확인하고 정책을 고치세요. headroom의 오류일 수 있으니 알려 주세요",
        ),
        AlertKind::SourceDown => (
            "see that its server runs and that the policy names it right; nothing shrinks on it meanwhile",
            "서버가 실행 중인지, 정책의 주소가 맞는지 확인하세요. 그동안 이 값으로는 축소하지 않습니다",
        ),
        AlertKind::BreakerOpen => (
            "look at what would have gone, then close the breaker",
            "무엇이 줄어들 뻔했는지 확인한 뒤 차단기를 닫으세요",
        ),
        AlertKind::JournalFailing => (
            "make room on the disk of the data directory, or mend its permissions",
            "데이터 디렉터리의 디스크 공간이나 권한을 확인하세요",
        ),
    };
    Some(match language {
        Language::English => english,
        Language::Korean => korean,
    })
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
