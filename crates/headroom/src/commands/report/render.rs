//! A report as Markdown, and as one HTML page that needs nothing else.

use std::fmt::Write as _;

use headroom_core::units::{Level, Unit};
use headroom_sim::{STYLE, date, escape, figure, percent};

use super::{Foreseen, Idle, Kept, Of, Report};

/// A part of a report.
struct Section {
    title: &'static str,
    body: Body,
}

enum Body {
    Table { head: Vec<&'static str>, rows: Vec<Vec<String>> },
    Lines(Vec<String>),
}

/// What stands where nothing is known.
const UNKNOWN: &str = "–";

fn sections(report: &Report) -> Vec<Section> {
    let mut sections = vec![
        Section { title: "In all", body: Body::Lines(summary(report)) },
        Section { title: "Workloads", body: workloads(report) },
    ];
    let mut add = |title, body: Body| {
        let is_empty = match &body {
            Body::Table { rows, .. } => rows.is_empty(),
            Body::Lines(lines) => lines.is_empty(),
        };
        if !is_empty {
            sections.push(Section { title, body });
        }
    };
    add("Objectives", objectives(report));
    add("Changes by reason", changes(report));
    add("Idle resources", Body::Lines(report.workloads.iter().filter_map(idle).collect()));
    add("Forecasts", forecasts(report));
    add("How to read this", Body::Lines(report.notes.clone()));
    sections
}

fn summary(report: &Report) -> Vec<String> {
    let total = &report.total;
    let mut lines = vec![format!("{} replica-hours", figure(total.replica_hours))];
    if let (Some(paid), Some(fixed)) = (total.dollars, total.dollars_fixed) {
        lines.push(format!(
            "{} paid; {} with fixed counts, so {} saved",
            dollars(paid),
            dollars(fixed),
            saved(Some(paid), Some(fixed))
        ));
    }
    lines.push(format!(
        "{} changes: {} up, {} down; {} refused by targets",
        total.grew + total.shrank,
        total.grew,
        total.shrank,
        total.failed_actions
    ));
    let kept =
        || report.workloads.iter().flat_map(|of| &of.objectives).filter(|kept| kept.measured_hours > 0.0);
    let missed = kept().filter(|kept| share_over(kept) > kept.allowed.get()).count();
    match kept().count() {
        0 => lines.push("No objective is in the policy, or none was measured".to_owned()),
        all => lines.push(format!("{} of {all} objectives held", all - missed)),
    }
    lines
}

fn workloads(report: &Report) -> Body {
    let head = vec![
        "workload",
        "tier",
        "replica-hours",
        "most",
        "cost",
        "fixed",
        "saved",
        "used",
        "up",
        "down",
        "refused",
    ];
    let row = |of: &Of| {
        vec![
            code(of.workload.as_str()),
            of.tier.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            figure(of.replica_hours),
            of.most.to_string(),
            of.dollars.map_or_else(|| UNKNOWN.to_owned(), dollars),
            of.dollars_fixed.map_or_else(|| UNKNOWN.to_owned(), dollars),
            saved(of.dollars, of.dollars_fixed),
            of.utilisation.map_or_else(|| UNKNOWN.to_owned(), percent),
            of.changes.iter().map(|change| change.grew).sum::<u64>().to_string(),
            of.changes.iter().map(|change| change.shrank).sum::<u64>().to_string(),
            of.failed_actions.to_string(),
        ]
    };
    Body::Table { head, rows: report.workloads.iter().map(row).collect() }
}

fn objectives(report: &Report) -> Body {
    let head = vec![
        "workload",
        "signal",
        "below",
        "over",
        "of the time",
        "allowed",
        "touched",
        "worst",
        "measured",
        "points of",
    ];
    let row = |of: &Of, kept: &Kept| {
        vec![
            code(of.workload.as_str()),
            code(kept.signal.as_str()),
            kept.unit.say(kept.below),
            length(kept.over_hours),
            percent(share_over(kept)),
            percent(kept.allowed.get()),
            length(kept.touched_hours),
            say(kept.unit, kept.worst),
            length(kept.measured_hours),
            kept.points_of.to_string(),
        ]
    };
    let rows = report.workloads.iter().flat_map(|of| of.objectives.iter().map(move |kept| row(of, kept)));
    Body::Table { head, rows: rows.collect() }
}

fn share_over(kept: &Kept) -> f64 {
    if kept.measured_hours > 0.0 { kept.over_hours / kept.measured_hours } else { 0.0 }
}

fn changes(report: &Report) -> Body {
    let rows = report.workloads.iter().flat_map(|of| {
        of.changes.iter().map(move |change| {
            vec![
                code(of.workload.as_str()),
                code(&change.reason),
                change.grew.to_string(),
                change.shrank.to_string(),
            ]
        })
    });
    Body::Table { head: vec!["workload", "reason", "up", "down"], rows: rows.collect() }
}

fn idle(of: &Of) -> Option<String> {
    let Idle { min, share, enough, dollars_a_month } = of.idle.as_ref()?;
    let worth =
        dollars_a_month.map_or_else(String::new, |amount| format!(", {} a month less", dollars(amount)));
    Some(format!(
        "`{}`: at most {} of what `replicas.min: {min}` carries was needed; `replicas.min: {enough}` would have been \
         enough{worth}",
        of.workload,
        percent(*share)
    ))
}

fn forecasts(report: &Report) -> Body {
    let head =
        vec!["workload", "signal", "loss", "best simple", "its loss", "95 % held", "forecasts", "counts"];
    let row = |of: &Of, foreseen: &Foreseen| {
        let accuracy = &foreseen.accuracy;
        vec![
            code(of.workload.as_str()),
            code(foreseen.signal.as_str()),
            say(foreseen.unit, accuracy.loss),
            accuracy.yardstick.name().to_owned(),
            say(foreseen.unit, accuracy.naive_loss),
            accuracy.coverage95.map_or_else(|| UNKNOWN.to_owned(), percent),
            format!("{:.0}", accuracy.evidence),
            if accuracy.demoted { "no: demoted" } else { "yes" }.to_owned(),
        ]
    };
    let rows = report.workloads.iter().flat_map(|of| of.forecasts.iter().map(move |one| row(of, one)));
    Body::Table { head, rows: rows.collect() }
}

/// A name as code, in Markdown's way; HTML is made from the same.
fn code(name: &str) -> String {
    format!("`{name}`")
}

fn dollars(amount: f64) -> String {
    // Of an hour's report cents are too coarse.
    if amount < 1.0 { format!("${amount:.4}") } else { format!("${amount:.2}") }
}

fn saved(paid: Option<f64>, fixed: Option<f64>) -> String {
    match (paid, fixed) {
        (Some(paid), Some(fixed)) if fixed > 0.0 => percent((1.0 - paid / fixed).max(0.0)),
        _ => UNKNOWN.to_owned(),
    }
}

fn say(unit: Unit, value: f64) -> String {
    Level::new(value).map_or_else(|_| UNKNOWN.to_owned(), |level| unit.say(level))
}

/// Hours as people say them.
pub(super) fn length(hours: f64) -> String {
    let minutes = hours * 60.0;
    if minutes == 0.0 {
        "0".to_owned()
    } else if minutes < 1.0 {
        format!("{:.0} s", minutes * 60.0)
    } else if minutes < 120.0 {
        format!("{minutes:.0} min")
    } else {
        format!("{hours:.1} h")
    }
}

fn title(report: &Report) -> String {
    format!("Report of {}", report.fleet)
}

fn range(report: &Report) -> String {
    let Report { since, until, .. } = report;
    format!("{} to {} ({})", date(*since), date(*until), until.since(*since))
}

/// The report as Markdown: readable as it is.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n{}\n", title(report), range(report));
    for Section { title, body } in sections(report) {
        // Writing to a string does not fail.
        let _ = write!(text, "\n## {title}\n\n");
        match body {
            Body::Lines(lines) => lines.iter().for_each(|line| {
                let _ = writeln!(text, "- {line}");
            }),
            Body::Table { head, rows } => markdown_table(&mut text, &head, &rows),
        }
    }
    text
}

fn markdown_table(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| {
            let fill = " ".repeat(width.saturating_sub(cell.chars().count()));
            format!("{}{fill}", cell.replace('|', "\\|"))
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    text.push_str(&line(&mut head.iter().copied()));
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let _ = writeln!(text, "|{}|", rule.join("|"));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
}

/// The report as a page of its own: no script, no font, no network.
pub(super) fn html(report: &Report) -> String {
    let title = escape(&title(report));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}{PRINT}</style></head><body>\n<h1>{title}</h1>\n\
         <p>{}</p>\n",
        escape(&range(report))
    );
    for Section { title, body } in sections(report) {
        let _ = writeln!(page, "<h2>{title}</h2>");
        match body {
            Body::Lines(lines) => {
                page.push_str("<ul>\n");
                for line in &lines {
                    let _ = writeln!(page, "<li>{}</li>", inline(line));
                }
                page.push_str("</ul>\n");
            }
            Body::Table { head, rows } => html_table(&mut page, &head, &rows),
        }
        if title == "Workloads" {
            report.workloads.iter().for_each(|of| course(&mut page, report, of));
        }
    }
    page.push_str("</body></html>\n");
    page
}

const PRINT: &str = "
.course{margin:.8rem 0}.course svg{min-width:0;max-height:90px}.course figcaption{color:var(--soft);font-size:.85rem}
.course svg{border-bottom:1px solid var(--line)}.ends{display:flex;justify-content:space-between;color:var(--soft);font-size:.8rem}
.ready{fill:#0072b2;opacity:.75}code{font:13px ui-monospace,monospace}
@media print{body{margin:0;max-width:none}tr,figure{break-inside:avoid}}
";

fn html_table(page: &mut String, head: &[&str], rows: &[Vec<String>]) {
    page.push_str("<div class=\"scroll\"><table><thead><tr>");
    for cell in head {
        let _ = write!(page, "<th{}>{cell}</th>", class(cell));
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (cell, head) in row.iter().zip(head) {
            let _ = write!(page, "<td{}>{}</td>", class(head), inline(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

/// Columns of words, which begin at the left; figures end at the right.
const WORDS: [&str; 6] = ["workload", "tier", "signal", "reason", "best simple", "counts"];

fn class(head: &str) -> &'static str {
    if WORDS.contains(&head) { " class=\"name\"" } else { "" }
}

/// Text with what stands in backticks as code.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (place, part) in text.split('`').enumerate() {
        match place % 2 {
            0 => out.push_str(&escape(part)),
            _ => out.push_str(&format!("<code>{}</code>", escape(part))),
        }
    }
    out
}

/// Width and height of a course, in units of its own.
const WIDE: f64 = 960.0;
const HIGH: f64 = 80.0;

/// The ready replicas of a workload over the time, as a picture.
fn course(page: &mut String, report: &Report, of: &Of) {
    let most = of.course.iter().flatten().fold(0.0_f64, |most, n| most.max(*n));
    if most <= 0.0 {
        return;
    }
    let name = escape(of.workload.as_str());
    let steps = u32::try_from(of.course.len()).unwrap_or(1).max(1);
    let width = WIDE / f64::from(steps);
    let mut path = String::new();
    for (place, count) in (0_u32..).zip(&of.course) {
        let Some(count) = count else { continue };
        let (x, high) = (f64::from(place) * width, count / most * HIGH);
        let _ = write!(path, "M{x:.1} {HIGH}v{:.1}h{width:.2}v{high:.1}z", -high);
    }
    let _ = writeln!(
        page,
        "<figure class=\"course\"><figcaption><code>{name}</code>: ready replicas, up to {}</figcaption>\
         <svg viewBox=\"0 0 {WIDE} {HIGH}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"ready replicas of {name}\">\
         <path class=\"ready\" d=\"{path}\"/></svg><div class=\"ends\"><span>{}</span><span>{}</span></div></figure>",
        (most * 10.0).round() / 10.0,
        date(report.since),
        date(report.until)
    );
}
