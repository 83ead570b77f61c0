//! `headroom explain` and `headroom why-not`: a decision unfolded.

use anyhow::Result;
use headroom_core::decision::{By, Decision, DecisionId};
use headroom_core::names::WorkloadName;
use headroom_core::reading::Reading;
use headroom_core::say::{self, Language};
use headroom_core::units::Timestamp;
use headroom_engine::handle::WorkloadView;
use serde::Deserialize;

use crate::cli::{Cli, Explain, OfWorkload};
use crate::client::Client;
use crate::exit::Exit;
use crate::output::Printer;

#[derive(Debug, Deserialize)]
struct DecisionAnswer {
    decision: Decision,
}

pub(crate) async fn explain(args: &Explain, cli: &Cli, printer: Printer) -> Result<Exit> {
    let client = Client::new(cli)?;
    // `web-17` may be a decision or a workload; a decision that exists is meant first.
    let view = match args.what.parse::<DecisionId>() {
        Ok(id) => match client.get::<DecisionAnswer>(&format!("/api/v1/decisions/{id}")).await {
            Ok(answer) => {
                printer.print(&answer.decision, |decision| text(decision, printer))?;
                return Ok(Exit::Success);
            }
            Err(error) => match args.what.parse::<WorkloadName>() {
                Ok(name) => view(&client, &name).await.map_err(|_| error)?,
                Err(_) => return Err(error),
            },
        },
        Err(_) => view(&client, &args.what.parse()?).await?,
    };
    match &view.latest {
        Some(decision) => printer.print(decision, |decision| {
            let far = view.forecast.as_ref().map(|far| far.say(printer.language));
            let near = view.near.as_ref().map(|near| near.say(printer.language));
            let more = frozen(&view, decision, printer.language).into_iter().chain(far).chain(near);
            text(decision, printer) + &more.map(|said| format!("  {said}\n")).collect::<String>()
        })?,
        None => say!("nothing has been decided yet"),
    }
    Ok(Exit::Success)
}

pub(crate) async fn why_not(args: &OfWorkload, cli: &Cli, printer: Printer) -> Result<Exit> {
    let view = view(&Client::new(cli)?, &args.workload).await?;
    let Some(decision) = &view.latest else {
        say!("nothing has been decided yet");
        return Ok(Exit::Success);
    };
    let explanation = say::explain(decision, printer.language);
    let answer =
        serde_json::json!({ "workload": view.name, "explanation": explanation, "decision": decision });
    printer.print(&answer, |_| {
        let mut out = text(decision, printer);
        if let Some(said) = frozen(&view, decision, printer.language) {
            out.push_str(&format!("  {said}\n"));
        }
        if let Some(until) = explanation.until {
            out.push_str(&match printer.language {
                Language::English => format!("  holds until {}\n", moment(until)),
                Language::Korean => format!("  {}까지 유지\n", moment(until)),
            });
        }
        out
    })?;
    Ok(Exit::Success)
}

/// The freeze that stands, where the decision does not say so: nothing would have changed then.
fn frozen(view: &WorkloadView, decision: &Decision, language: Language) -> Option<String> {
    let says_so = decision.refusal.as_ref().is_some_and(|refusal| refusal.by == By::Freeze);
    view.freeze.as_ref().filter(|_| !says_so).map(|freeze| super::freeze::say(freeze, language))
}

async fn view(client: &Client, name: &WorkloadName) -> Result<WorkloadView> {
    client.get(&format!("/api/v1/workloads/{name}")).await
}

/// A decision unfolded: what was seen, what was wanted, how the number moved.
pub(crate) fn text(decision: &Decision, printer: Printer) -> String {
    let explanation = say::explain(decision, printer.language);
    let (seen, wanted, moved) = match printer.language {
        Language::English => ("seen", "wanted", "moved"),
        Language::Korean => ("관측", "요구", "변경"),
    };
    let mut out = format!(
        "{}  {}\n{}\n",
        printer.bold(&decision.id.to_string()),
        moment(decision.at),
        explanation.headline
    );
    let mut part = |title: &str, lines: Vec<String>| {
        for (i, line) in lines.iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            let fill = " "
                .repeat(8_usize.saturating_sub(title.chars().count() * if title.is_ascii() { 1 } else { 2 }));
            out.push_str(&format!("  {title}{fill}{line}\n"));
        }
    };
    let start_up = decision.start_up.map(|span| match printer.language {
        Language::English => format!("a start takes about {span}"),
        Language::Korean => format!("시작에 약 {span} 소요"),
    });
    let replicas = match printer.language {
        Language::English => format!("{} ready, {} starting", decision.ready, decision.starting),
        Language::Korean => format!("준비 {}개, 시작 중 {}개", decision.ready, decision.starting),
    };
    let mut lines = vec![match start_up {
        Some(start_up) => format!("{replicas}; {start_up}"),
        None => replicas,
    }];
    lines.extend(
        decision
            .signals
            .iter()
            .map(|s| format!("{} {}", s.name, reading(s.unit, &s.reading, printer.language))),
    );
    lines.extend(explanation.known);
    part(seen, lines);
    part(wanted, explanation.recommendations);
    part(moved, explanation.steps);
    out
}

fn reading(unit: headroom_core::units::Unit, reading: &Reading, language: Language) -> String {
    match (reading, language) {
        (Reading::Fresh(sample), _) => unit.say(sample.value),
        (Reading::Stale { last, age, ahead }, Language::English) => {
            format!("{} (stale: {age} {})", unit.say(last.value), if *ahead { "ahead" } else { "old" })
        }
        (Reading::Stale { last, age, ahead }, Language::Korean) => {
            format!("{} ({}: {age})", unit.say(last.value), if *ahead { "시계보다 앞섬" } else { "오래됨" })
        }
        (Reading::Missing(_), Language::English) => "no value".to_owned(),
        (Reading::Missing(_), Language::Korean) => "값 없음".to_owned(),
    }
}

/// A moment in the reader's time zone, to the second.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_jiff().to_zoned(headroom_time_zone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

fn headroom_time_zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::system()
}
