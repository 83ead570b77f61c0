//! `headroom status`: the fleet at a glance.

use anyhow::Result;
use headroom_core::alert::{Alert, headline};
use headroom_core::memory::Pending;
use headroom_core::reading::Reading;
use headroom_core::say::{self, Language};
use headroom_core::together::{Opened, Part};
use headroom_engine::handle::{Overview, WorkloadView};

use crate::cli::Cli;
use crate::client::Client;
use crate::exit::Exit;
use crate::output::{Printer, table};

pub(crate) async fn run(cli: &Cli, printer: Printer) -> Result<Exit> {
    let overview: Overview = Client::new(cli)?.get("/api/v1/overview").await?;
    printer.print(&overview, |overview| text(overview, printer))?;
    Ok(Exit::Success)
}

fn text(overview: &Overview, printer: Printer) -> String {
    let language = printer.language;
    let mode = match overview.advise {
        true => language.pick(
            ", advise mode: decisions are said, not done",
            ", 조언 모드: 결정을 알리기만 하고 실행하지 않음",
        ),
        false => "",
    };
    let mut out = format!("{}{mode}\n\n", printer.bold(overview.fleet.as_str()));
    let rows: Vec<_> = overview.workloads.iter().map(|w| row(w, language)).collect();
    let head = language.pick(
        ["WORKLOAD", "READY", "WANTED", "RANGE", "SIGNALS", "NOW"],
        ["워크로드", "준비", "목표", "범위", "신호", "현재"],
    );
    out.push_str(&table(&head, &rows));
    let about = overview.workloads.iter().flat_map(|view| about(view, language));
    let fleet = overview.breaker.iter().map(|opened| breaker(opened, language));
    let sources = overview.sources.iter().filter(|source| source.down_since.is_some());
    let sources = sources.map(|source| {
        let why = source.why.as_deref().unwrap_or_default();
        match language {
            Language::English => format!("source {}: down: {why}", source.name),
            Language::Korean => format!("소스 {}: 장애: {why}", source.name),
        }
    });
    let alerts = overview.alerts.iter().map(|alert| standing(alert, language));
    for line in about.chain(fleet).chain(sources).chain(alerts) {
        out.push('\n');
        out.push_str(&line);
    }
    out
}

/// What there is to say of a workload beside its line.
fn about(view: &WorkloadView, language: Language) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(Pending { decision, from, to, .. }) = &view.pending {
        lines.push(match language {
            Language::English => {
                format!("{from} → {to} waits for a person: headroom approve {decision} (or reject)")
            }
            Language::Korean => {
                format!("{from} → {to} 변경이 승인을 기다림: headroom approve {decision} (또는 reject)")
            }
        });
    }
    if let Some(freeze) = &view.freeze {
        lines.push(super::freeze::say(freeze, language));
    }
    if let Some(change) = &view.watched {
        let what = format!("{} → {} ({})", change.from, change.to, change.decision);
        lines.push(match language {
            Language::English => format!("{what} is watched"),
            Language::Korean => format!("{what} 변경을 지켜보는 중"),
        });
    }
    lines.extend(view.shares.iter().map(|Part { limit, held, supply, pool, .. }| match language {
        Language::English => {
            format!("{limit} {held} of {supply} in use; each replica may take up to {pool}")
        }
        Language::Korean => format!("{limit} {supply} 중 {held} 사용; 레플리카당 최대 {pool}"),
    }));
    lines.extend(view.forecast.as_ref().map(|far| far.say(language)));
    lines.extend(view.near.as_ref().map(|near| near.say(language)));
    if let Some(cost) = view.cost {
        let pool = view.status.as_ref().is_some_and(|s| s.pool.is_some()).then_some(cost.warm_pool);
        lines.push(match (pool, language) {
            (None, _) => cost.per_hour.to_string(),
            (Some(pool), Language::English) => {
                format!("{}, of which {pool} for the warm pool", cost.per_hour)
            }
            (Some(pool), Language::Korean) => format!("{}, 그중 예열 풀 {pool}", cost.per_hour),
        });
    }
    let troubles = view.status.iter().flat_map(|status| &status.troubles);
    lines.extend(troubles.map(|trouble| format!("{} ({})", trouble.message, trouble.code)));
    lines.into_iter().map(|line| format!("{}: {line}", view.name)).collect()
}

fn breaker(opened: &Opened, language: Language) -> String {
    let Opened { until, workload, changed, most, .. } = opened;
    let until = super::explain::moment(*until);
    match language {
        Language::English => format!(
            "The breaker is open until {until}: {changed} replicas would have changed at once, and at most {most} may (the last \
             was {workload}). `headroom breaker close` lets them pass.\n"
        ),
        Language::Korean => format!(
            "차단기가 {until}까지 열려 있음: 레플리카 {changed}개가 한꺼번에 바뀔 뻔했음(허용 {most}개, 마지막은 {workload}). \
             `headroom breaker close`로 실행을 허용할 수 있음.\n"
        ),
    }
}

fn standing(alert: &Alert, language: Language) -> String {
    let (severity, subject, since) =
        (alert.severity.say(language), &alert.subject, super::explain::moment(alert.since));
    let why = alert.why_in(language);
    match language {
        Language::English => format!("[{severity}] {subject}: {} since {since}: {why}", alert.kind.code()),
        Language::Korean => {
            format!("[{severity}] {subject}: {} ({since}부터): {why}", headline(alert.kind, language))
        }
    }
}

/// The signals that can be read now.
pub(super) fn load(view: &WorkloadView) -> String {
    let signals = view.signals.iter().filter_map(|s| match &s.reading {
        Reading::Fresh(sample) => Some(format!("{} {}", s.name, s.unit.say(sample.value))),
        Reading::Stale { .. } | Reading::Missing(_) => None,
    });
    signals.collect::<Vec<_>>().join(", ")
}

/// The replicas that are ready, with those that start and those that are warm; `None` before the first look.
pub(super) fn ready(view: &WorkloadView, language: Language) -> Option<String> {
    let status = view.status.as_ref()?;
    let mut ready = status.ready.to_string();
    if status.starting.0 > 0 {
        ready.push_str(&format!(" (+{})", status.starting));
    }
    if let Some(pool) = &status.pool {
        ready.push_str(&match language {
            Language::English => format!(", {} warm", pool.warm),
            Language::Korean => format!(", 예열 {}", pool.warm),
        });
    }
    Some(ready)
}

fn row(view: &WorkloadView, language: Language) -> Vec<String> {
    let unknown = || "?".to_owned();
    let undecided = language.pick("nothing decided yet", "아직 결정 없음");
    vec![
        view.name.to_string(),
        ready(view, language).unwrap_or_else(unknown),
        view.status.as_ref().map_or_else(unknown, |s| s.wanted.to_string()),
        format!("{}–{}", view.range.min, view.range.max),
        load(view),
        view.latest.as_ref().map_or_else(|| undecided.to_owned(), |d| say::headline(d, language)),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::Format;

    /// A fleet with something of everything that `status` says.
    fn fleet() -> Overview {
        let at = "2026-11-21T09:30:00Z";
        let workload = json!({
            "name": "web", "tier": null, "range": { "min": 2, "max": 20 }, "price": "0.1 USD/h", "listen": null,
            "seenAt": at,
            "status": { "wanted": 4, "ready": 3, "starting": 1, "pool": { "wanted": 2, "warm": 2, "warming": 0 },
                "troubles": [{ "code": "exits", "message": "it dies" }] },
            "signals": [{ "name": "rps", "unit": "perSecond", "reading": { "fresh": { "at": at, "value": 100 } } }],
            "freeze": null, "latest": null, "startUp": { "seen": 0, "p50": null, "p90": null },
            "pending": { "decision": "web-7", "from": 4, "to": 12, "at": at, "until": at },
            "shares": [{ "limit": "connections", "supply": 1000, "held": 300, "each": 20, "pool": 25 }],
            "near": { "signal": "rps", "unit": "perSecond", "within": "35s", "evidence": 1200.0, "loss": 4.0,
                "naiveLoss": 5.5, "proved": "better" },
            "cost": { "perHour": "0.6 USD/h", "warmPool": "0.2 USD/h" }
        });
        let alert = json!({ "id": "web-at-maximum-1", "kind": "atMaximum", "severity": "medium",
            "subject": { "workload": "web" }, "since": at, "why": "23 replicas are wanted",
            "because": { "atMaximum": { "wanted": 23, "most": 20 } } });
        serde_json::from_value(json!({
            "at": at, "fleet": "shop", "advise": true, "startedAt": at, "workloads": [workload], "notices": [],
            "breaker": { "at": at, "until": at, "workload": "web", "changed": 12, "most": 10 },
            "alerts": [alert],
            "sources": [{ "name": "depths", "heardAt": at, "downSince": at, "why": "it answered 500" }]
        }))
        .unwrap()
    }

    #[test]
    fn status_reads_well_in_both_languages() {
        let said = |language| {
            let text = text(&fleet(), Printer { format: Format::Text, language, colour: false });
            // Moments are in the reader's time zone.
            let zone = super::super::explain::moment(fleet().at);
            text.replace(&zone, "<moment>")
        };
        insta::assert_snapshot!("status_english", said(Language::English));
        insta::assert_snapshot!("status_korean", said(Language::Korean));
    }
}
