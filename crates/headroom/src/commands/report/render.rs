//! A report as Markdown, and as one HTML page that needs nothing else.

use std::fmt::Write as _;

use console::measure_text_width;
use headroom_core::outlook::{NearForecast, Proved};
use headroom_core::say::Language;
use headroom_core::units::{Level, Unit};
use headroom_sim::{STYLE, date, escape, figure, percent};

use super::{Changes, Foreseen, Idle, Kept, Of, Report};

/// A part of a report.
struct Section {
    title: &'static str,
    body: Body,
    /// Whether the workloads' courses are drawn below it.
    courses: bool,
}

enum Body {
    Table { head: Vec<Column>, rows: Vec<Vec<String>> },
    Lines(Vec<String>),
}

impl Body {
    fn is_empty(&self) -> bool {
        match self {
            Self::Table { rows, .. } => rows.is_empty(),
            Self::Lines(lines) => lines.is_empty(),
        }
    }
}

/// What stands above a column.
struct Column {
    title: &'static str,
    /// Words begin at the left; figures end at the right.
    words: bool,
}

/// What stands where nothing is known.
const UNKNOWN: &str = "–";

/// What makes the text of a report, in the reader's language.
struct Writer<'a> {
    report: &'a Report,
    language: Language,
}

impl Writer<'_> {
    fn sections(&self) -> Vec<Section> {
        let say = |english, korean| self.language.pick(english, korean);
        let notes = self.report.notes.clone();
        let mut sections = vec![
            Section { title: say("In all", "전체"), body: Body::Lines(self.summary()), courses: false },
            Section { title: say("Workloads", "워크로드"), body: self.workloads(), courses: true },
        ];
        let more = [
            (say("Warm pools", "예열 풀"), self.warm()),
            (say("Objectives", "목표"), self.objectives()),
            (say("Changes by reason", "이유별 변경"), self.changes()),
            (say("Idle resources", "노는 자원"), Body::Lines(self.idle())),
            (say("Forecasts", "예측"), self.forecasts()),
            (say("Forecasts that objectives act on", "목표 전략이 쓰는 예측"), self.near_forecasts()),
            (say("How to read this", "읽는 법"), Body::Lines(notes)),
        ];
        let more = more.into_iter().filter(|(_, body)| !body.is_empty());
        sections.extend(more.map(|(title, body)| Section { title, body, courses: false }));
        sections
    }

    fn words(&self, english: &'static str, korean: &'static str) -> Column {
        Column { title: self.language.pick(english, korean), words: true }
    }

    fn figures(&self, english: &'static str, korean: &'static str) -> Column {
        Column { title: self.language.pick(english, korean), words: false }
    }

    fn summary(&self) -> Vec<String> {
        let total = &self.report.total;
        let hours = figure(total.replica_hours);
        let mut lines = vec![match self.language {
            Language::English => format!("{hours} replica-hours"),
            Language::Korean => format!("레플리카 시간 {hours}"),
        }];
        if let (Some(paid), Some(fixed)) = (total.dollars, total.dollars_fixed) {
            let saved = saved(Some(paid), Some(fixed));
            let (paid, fixed) = (dollars(paid), dollars(fixed));
            lines.push(match self.language {
                Language::English => format!("{paid} paid; {fixed} with fixed counts, so {saved} saved"),
                Language::Korean => format!("지불 {paid}; 고정 개수라면 {fixed}, 절감 {saved}"),
            });
        }
        if let Some(hours) = total.warm_replica_hours {
            let hours = figure(hours);
            let worth = total.warm_dollars.map(dollars);
            lines.push(match (self.language, worth) {
                (Language::English, Some(worth)) => {
                    format!("of it {hours} replica-hours and {worth} for warm pools")
                }
                (Language::English, None) => format!("of it {hours} replica-hours for warm pools"),
                (Language::Korean, Some(worth)) => format!("그중 예열 풀: 레플리카 시간 {hours}, {worth}"),
                (Language::Korean, None) => format!("그중 예열 풀: 레플리카 시간 {hours}"),
            });
        }
        let (grew, shrank, refused) = (total.grew, total.shrank, total.failed_actions);
        let all = grew + shrank;
        lines.push(match self.language {
            Language::English => {
                format!("{all} changes: {grew} up, {shrank} down; {refused} refused by targets")
            }
            Language::Korean => {
                format!("변경 {all}회: 확장 {grew}, 축소 {shrank}; 대상이 거부 {refused}")
            }
        });
        lines.push(self.held());
        lines
    }

    /// How many objectives held.
    fn held(&self) -> String {
        let objectives = self.report.workloads.iter().flat_map(|of| &of.objectives);
        let measured: Vec<_> = objectives.filter(|kept| kept.measured_hours > 0.0).collect();
        let held = measured.iter().filter(|kept| share_over(kept) <= kept.allowed.get()).count();
        match (measured.len(), self.language) {
            (0, Language::English) => "No objective is in the policy, or none was measured".to_owned(),
            (0, Language::Korean) => "정책에 목표가 없거나 측정되지 않음".to_owned(),
            (all, Language::English) => format!("{held} of {all} objectives held"),
            (all, Language::Korean) => format!("목표 {all}개 중 {held}개 지킴"),
        }
    }

    fn workloads(&self) -> Body {
        let head = vec![
            self.words("workload", "워크로드"),
            self.words("tier", "계층"),
            self.figures("replica-hours", "레플리카 시간"),
            self.figures("most", "최대"),
            self.figures("cost", "비용"),
            self.figures("fixed", "고정"),
            self.figures("saved", "절감"),
            self.figures("used", "사용률"),
            self.figures("up", "확장"),
            self.figures("down", "축소"),
            self.figures("refused", "거부"),
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
        Body::Table { head, rows: self.report.workloads.iter().map(row).collect() }
    }

    /// What is ready and idle costs, too.
    fn warm(&self) -> Body {
        let head = vec![
            self.words("workload", "워크로드"),
            self.figures("replica-hours", "레플리카 시간"),
            self.figures("of all", "전체 대비"),
            self.figures("most", "최대"),
            self.figures("cost", "비용"),
            self.figures("recorded", "기록"),
        ];
        let row = |of: &Of| {
            let warm = of.warm.as_ref()?;
            let share = (of.replica_hours > 0.0).then(|| warm.replica_hours / of.replica_hours);
            Some(vec![
                code(of.workload.as_str()),
                figure(warm.replica_hours),
                share.map_or_else(|| UNKNOWN.to_owned(), percent),
                warm.most.to_string(),
                warm.dollars.map_or_else(|| UNKNOWN.to_owned(), dollars),
                length(warm.recorded_hours, self.language),
            ])
        };
        Body::Table { head, rows: self.report.workloads.iter().filter_map(row).collect() }
    }

    fn objectives(&self) -> Body {
        let head = vec![
            self.words("workload", "워크로드"),
            self.words("signal", "신호"),
            self.figures("below", "한도"),
            self.figures("over", "초과"),
            self.figures("of the time", "시간 비율"),
            self.figures("allowed", "허용"),
            self.figures("touched", "스침"),
            self.figures("worst", "최악"),
            self.figures("measured", "측정"),
            self.figures("points of", "구간"),
        ];
        let row = |of: &Of, kept: &Kept| {
            vec![
                code(of.workload.as_str()),
                code(kept.signal.as_str()),
                kept.unit.say(kept.below),
                length(kept.over_hours, self.language),
                percent(share_over(kept)),
                percent(kept.allowed.get()),
                length(kept.touched_hours, self.language),
                say(kept.unit, kept.worst),
                length(kept.measured_hours, self.language),
                kept.points_of.to_string(),
            ]
        };
        let workloads = self.report.workloads.iter();
        let rows = workloads.flat_map(|of| of.objectives.iter().map(move |kept| row(of, kept)));
        Body::Table { head, rows: rows.collect() }
    }

    fn changes(&self) -> Body {
        let head = vec![
            self.words("workload", "워크로드"),
            self.words("reason", "이유"),
            self.figures("up", "확장"),
            self.figures("down", "축소"),
        ];
        let row = |of: &Of, change: &Changes| {
            let (grew, shrank) = (change.grew.to_string(), change.shrank.to_string());
            vec![code(of.workload.as_str()), code(&change.reason), grew, shrank]
        };
        let workloads = self.report.workloads.iter();
        let rows = workloads.flat_map(|of| of.changes.iter().map(move |change| row(of, change)));
        Body::Table { head, rows: rows.collect() }
    }

    fn idle(&self) -> Vec<String> {
        let line = |of: &Of| {
            let Idle { min, share, enough, dollars_a_month } = of.idle.as_ref()?;
            let (workload, share) = (&of.workload, percent(*share));
            let worth = dollars_a_month.map(dollars);
            Some(match self.language {
                Language::English => {
                    let worth = worth.map_or_else(String::new, |worth| format!(", {worth} a month less"));
                    format!(
                        "`{workload}`: at most {share} of what `replicas.min: {min}` carries was needed; \
                         `replicas.min: {enough}` would have been enough{worth}"
                    )
                }
                Language::Korean => {
                    let worth = worth.map_or_else(String::new, |worth| format!(", 월 {worth} 절감"));
                    format!(
                        "`{workload}`: `replicas.min: {min}`이 감당하는 양의 최대 {share}만 필요했음; \
                         `replicas.min: {enough}`이면 충분했음{worth}"
                    )
                }
            })
        };
        self.report.workloads.iter().filter_map(line).collect()
    }

    fn forecasts(&self) -> Body {
        let head = vec![
            self.words("workload", "워크로드"),
            self.words("signal", "신호"),
            self.figures("loss", "손실"),
            self.words("best simple", "최선의 단순 예측"),
            self.figures("its loss", "그 손실"),
            self.figures("95 % held", "95 % 적중"),
            self.figures("forecasts", "예측 수"),
            self.words("counts", "사용"),
        ];
        let row = |of: &Of, foreseen: &Foreseen| {
            let accuracy = &foreseen.accuracy;
            let counts = match accuracy.demoted {
                true => self.language.pick("no: demoted", "아니요: 강등됨"),
                false => self.language.pick("yes", "예"),
            };
            vec![
                code(of.workload.as_str()),
                code(foreseen.signal.as_str()),
                say(foreseen.unit, accuracy.loss),
                accuracy.yardstick.name().to_owned(),
                say(foreseen.unit, accuracy.naive_loss),
                accuracy.coverage95.map_or_else(|| UNKNOWN.to_owned(), percent),
                format!("{:.0}", accuracy.evidence),
                counts.to_owned(),
            ]
        };
        let workloads = self.report.workloads.iter();
        let rows = workloads.flat_map(|of| of.forecasts.iter().map(move |one| row(of, one)));
        Body::Table { head, rows: rows.collect() }
    }

    fn near_forecasts(&self) -> Body {
        let head = vec![
            self.words("workload", "워크로드"),
            self.words("signal", "신호"),
            self.figures("ahead", "앞"),
            self.figures("off by", "오차"),
            self.figures("“as now”", "‘지금과 같음’"),
            self.figures("forecasts", "예측 수"),
            self.words("proved", "판정"),
        ];
        let row = |of: &Of, near: &NearForecast| {
            let proved = match near.proved {
                Proved::Better => self.language.pick("better", "더 정확"),
                Proved::Alike => self.language.pick("may be chance", "우연일 수 있음"),
                Proved::Worse => self.language.pick("worse", "더 부정확"),
            };
            vec![
                code(of.workload.as_str()),
                code(near.signal.as_str()),
                near.within.to_string(),
                say(near.unit, near.loss),
                say(near.unit, near.naive_loss),
                format!("{:.0}", near.evidence),
                proved.to_owned(),
            ]
        };
        let workloads = self.report.workloads.iter();
        let rows = workloads.flat_map(|of| of.near_forecasts.iter().map(move |one| row(of, one)));
        Body::Table { head, rows: rows.collect() }
    }

    fn title(&self) -> String {
        let fleet = &self.report.fleet;
        match self.language {
            Language::English => format!("Report of {fleet}"),
            Language::Korean => format!("{fleet} 보고서"),
        }
    }

    fn range(&self) -> String {
        let Report { since, until, .. } = self.report;
        let (from, to, long) = (date(*since), date(*until), until.since(*since));
        match self.language {
            Language::English => format!("{from} to {to} ({long})"),
            Language::Korean => format!("{from} – {to} ({long})"),
        }
    }
}

fn share_over(kept: &Kept) -> f64 {
    if kept.measured_hours > 0.0 { kept.over_hours / kept.measured_hours } else { 0.0 }
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
pub(super) fn length(hours: f64, language: Language) -> String {
    let minutes = hours * 60.0;
    let (amount, unit) = if minutes == 0.0 {
        return "0".to_owned();
    } else if minutes < 1.0 {
        (format!("{:.0}", minutes * 60.0), (" s", "초"))
    } else if minutes < 120.0 {
        (format!("{minutes:.0}"), (" min", "분"))
    } else {
        (format!("{hours:.1}"), (" h", "시간"))
    };
    amount + language.pick(unit.0, unit.1)
}

/// The report as Markdown: readable as it is.
pub(super) fn markdown(report: &Report, language: Language) -> String {
    let writer = Writer { report, language };
    let mut text = format!("# {}\n\n{}\n", writer.title(), writer.range());
    for Section { title, body, .. } in writer.sections() {
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

fn markdown_table(text: &mut String, head: &[Column], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| measure_text_width(&row[column]));
        cells.chain([measure_text_width(head[column].title)]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| {
            let fill = " ".repeat(width.saturating_sub(measure_text_width(cell)));
            format!("{}{fill}", cell.replace('|', "\\|"))
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    text.push_str(&line(&mut head.iter().map(|column| column.title)));
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let _ = writeln!(text, "|{}|", rule.join("|"));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
}

/// The report as a page of its own: no script, no font, no network.
pub(super) fn html(report: &Report, language: Language) -> String {
    let writer = Writer { report, language };
    let title = escape(&writer.title());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}{PRINT}</style></head><body>\n<h1>{title}</h1>\n\
         <p>{}</p>\n",
        language.pick("en", "ko"),
        escape(&writer.range())
    );
    for Section { title, body, courses } in writer.sections() {
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
        if courses {
            report.workloads.iter().for_each(|of| course(&mut page, &writer, of));
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

fn html_table(page: &mut String, head: &[Column], rows: &[Vec<String>]) {
    page.push_str("<div class=\"scroll\"><table><thead><tr>");
    for column in head {
        let _ = write!(page, "<th{}>{}</th>", class(column), column.title);
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (cell, column) in row.iter().zip(head) {
            let _ = write!(page, "<td{}>{}</td>", class(column), inline(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn class(column: &Column) -> &'static str {
    if column.words { " class=\"name\"" } else { "" }
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
fn course(page: &mut String, writer: &Writer<'_>, of: &Of) {
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
    let up_to = (most * 10.0).round() / 10.0;
    let (caption, label) = match writer.language {
        Language::English => (format!("ready replicas, up to {up_to}"), format!("ready replicas of {name}")),
        Language::Korean => (format!("준비된 레플리카, 최대 {up_to}"), format!("{name}의 준비된 레플리카")),
    };
    let _ = writeln!(
        page,
        "<figure class=\"course\"><figcaption><code>{name}</code>: {caption}</figcaption>\
         <svg viewBox=\"0 0 {WIDE} {HIGH}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <path class=\"ready\" d=\"{path}\"/></svg><div class=\"ends\"><span>{}</span><span>{}</span></div></figure>",
        date(writer.report.since),
        date(writer.report.until)
    );
}
