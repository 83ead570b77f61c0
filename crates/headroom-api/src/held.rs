//! What keeps workloads from what they should be: approvals to give, freezes, faults of targets and sources, maximums, and
//! the breaker. The same that the page lists as held up.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use headroom_core::decision::DecisionId;
use headroom_core::names::WorkloadName;
use headroom_core::say::Language;
use headroom_core::units::{Replicas, Timestamp};
use headroom_engine::handle::{Overview, WorkloadView};
use schemars::JsonSchema;
use serde::Serialize;

use crate::App;
use crate::lines::{at_maximum, is_fault};
use crate::params::{FORMAT, LANG, Param, Params, Shape};
use crate::problem::Problem;
use crate::tables::{cell, code, csv};

pub(crate) const HELD_QUERY: &[Param] = &[
    Param {
        name: "kind",
        about: "Only these kinds: `breaker`, `approval`, `trouble`, `source`, `frozen`, `maximum`. May be repeated.",
        shape: Shape::Texts,
    },
    LANG,
    FORMAT,
];

/// Something that is held up.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Held {
    /// What holds it up.
    kind: Kind,
    /// Which workload; `null` for the breaker, which holds up the fleet.
    workload: Option<WorkloadName>,
    /// Since when, where that is known.
    since: Option<Timestamp>,
    /// Until when by itself, where that is known.
    until: Option<Timestamp>,
    /// The count there is, where a change waits.
    from: Option<Replicas>,
    /// The count that is wanted, where a change waits.
    to: Option<Replicas>,
    /// The decision that asks.
    decision: Option<DecisionId>,
    /// Who holds it up, where that is a person.
    by: Option<String>,
    /// Why, in a sentence.
    why: String,
}

/// What holds something up, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// Too much would have changed at once.
    Breaker,
    /// A person's word is waited for.
    Approval,
    /// The target is in trouble.
    Trouble,
    /// Signals can't be read.
    Source,
    /// A person asked for it to be left alone.
    Frozen,
    /// More is wanted than the most allowed.
    Maximum,
}

impl Held {
    fn new(kind: Kind, view: &WorkloadView, why: String) -> Self {
        let workload = Some(view.name.clone());
        Self { kind, workload, since: None, until: None, from: None, to: None, decision: None, by: None, why }
    }
}

fn approval(view: &WorkloadView, language: Language) -> Option<Held> {
    let pending = view.pending.as_ref()?;
    let why = match language {
        Language::English => "waits for a person's word",
        Language::Korean => "사람의 승인을 기다립니다",
    };
    Some(Held {
        since: Some(pending.at),
        until: Some(pending.until),
        from: Some(pending.from),
        to: Some(pending.to),
        decision: Some(pending.decision.clone()),
        ..Held::new(Kind::Approval, view, why.to_owned())
    })
}

fn trouble(view: &WorkloadView, language: Language) -> Option<Held> {
    let status = view.status.as_ref()?;
    let why = match (status.troubles.first(), language) {
        (Some(trouble), _) => trouble.message.clone(),
        (None, _) if status.failed == Replicas::ZERO => return None,
        (None, Language::English) => format!("{} replicas failed", status.failed),
        (None, Language::Korean) => format!("레플리카 {}개 실패", status.failed),
    };
    Some(Held::new(Kind::Trouble, view, why))
}

fn source(view: &WorkloadView, language: Language) -> Option<Held> {
    let faults: Vec<_> =
        view.signals.iter().filter(|s| is_fault(&s.reading)).map(|s| s.name.as_str()).collect();
    if faults.is_empty() {
        return None;
    }
    let faults = faults.join(", ");
    let why = match language {
        Language::English => format!("can't be read: {faults}"),
        Language::Korean => format!("읽을 수 없음: {faults}"),
    };
    Some(Held::new(Kind::Source, view, why))
}

fn frozen(view: &WorkloadView) -> Option<Held> {
    let freeze = view.freeze.as_ref()?;
    Some(Held {
        until: freeze.until,
        by: Some(freeze.by.clone()),
        ..Held::new(Kind::Frozen, view, freeze.why.clone())
    })
}

fn maximum(view: &WorkloadView, language: Language) -> Option<Held> {
    let decision = view.latest.as_ref().filter(|decision| at_maximum(decision))?;
    let max = view.range.max;
    let why = match language {
        Language::English => format!("all {max} replicas that are allowed are in use"),
        Language::Korean => format!("허용된 레플리카 {max}개를 모두 쓰고 있습니다"),
    };
    Some(Held { decision: Some(decision.id.clone()), ..Held::new(Kind::Maximum, view, why) })
}

/// All that is held up, the most urgent first.
fn all(overview: &Overview, language: Language) -> Vec<Held> {
    let breaker = overview.breaker.as_ref().map(|opened| Held {
        kind: Kind::Breaker,
        workload: None,
        since: Some(opened.at),
        until: Some(opened.until),
        from: None,
        to: None,
        decision: None,
        by: None,
        why: match language {
            Language::English => {
                format!("{} replicas would have gone at once, {} may", opened.changed, opened.most)
            }
            Language::Korean => {
                format!("한꺼번에 레플리카 {}개가 줄 뻔했습니다(허용 {}개)", opened.changed, opened.most)
            }
        },
    });
    let of = |view| {
        [
            approval(view, language),
            trouble(view, language),
            source(view, language),
            frozen(view),
            maximum(view, language),
        ]
    };
    let mut held: Vec<_> =
        breaker.into_iter().chain(overview.workloads.iter().flat_map(of).flatten()).collect();
    held.sort_by(|a, b| (a.kind, &a.workload).cmp(&(b.kind, &b.workload)));
    held
}

/// What is held up.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeldUp {
    /// The most urgent first.
    held: Vec<Held>,
}

/// `GET /api/v1/held`
pub(crate) async fn held(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), HELD_QUERY)?;
    let mut held = all(&app.handle.overview().await?, params.language()?);
    if params.one("kind").is_some() {
        held.retain(|one| params.all("kind").any(|kind| kind == code(one.kind)));
    }
    if params.csv()? {
        let header = ["kind", "workload", "since", "until", "from", "to", "decision", "by", "why"];
        let row = |one: Held| {
            [
                code(one.kind),
                cell(one.workload),
                cell(one.since),
                cell(one.until),
                cell(one.from),
                cell(one.to),
                cell(one.decision),
                cell(one.by),
                one.why,
            ]
        };
        return Ok(csv("held", header, held.into_iter().map(row)));
    }
    Ok(Json(HeldUp { held }).into_response())
}
