//! A run as one HTML page that needs nothing else: no script, no font, no network.
//!
//! It shows what people ask first: how everyone did (table), when capacity was missing (chart), what each paid for
//! how many violations (scatter), and why headroom did what it did (log). Colours follow the reader's light or
//! dark setting. Its size is bounded whatever the run's length: charts and log are bounded when they are kept.

use std::fmt::Write as _;

use headroom_core::units::{Span, Timestamp};

use crate::chart::Chart;
use crate::run::Outcome;
use crate::table::{figure, percent, seconds};

/// Width and height of a chart in units of its own.
pub(crate) const WIDE: f64 = 960.0;
pub(crate) const HIGH: f64 = 280.0;
/// Room for the axes' figures.
pub(crate) const LEFT: f64 = 56.0;
pub(crate) const RIGHT: f64 = 16.0;
pub(crate) const TOP: f64 = 12.0;
pub(crate) const BOTTOM: f64 = 28.0;
/// Colours for contenders, told apart also by the colour-blind (Okabe and Ito 2008); headroom has the first.
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8f7f00", "#7f7f7f"];

/// The style of a page that is a report: light or dark as the reader has it, with tables that scroll.
pub const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c1c1e;--soft:#6b6b70;--line:#d8d8dc;--paper:#fff;--fill:#eceff3}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8ea;--soft:#9a9aa0;--line:#3a3a3e;--paper:#151517;--fill:#24272c}}
*{box-sizing:border-box}
body{margin:2rem auto;max-width:70rem;padding:0 1rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p,li{color:var(--soft)}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}td.why,th.why{text-align:left;white-space:normal;min-width:18rem}td.name,th.name{text-align:left}
tr.own td{font-weight:600}th{color:var(--soft);font-weight:500}
svg{width:100%;min-width:40rem;height:auto;display:block}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
.axis{stroke:var(--line);fill:none}.need{fill:var(--fill);stroke:var(--soft);stroke-width:.7}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;padding:0;list-style:none;font-size:.85rem}
.key{display:inline-block;width:1.1rem;height:.25rem;margin-right:.4rem;vertical-align:middle;border-radius:2px}
";

/// Renders the page.
#[must_use]
pub fn render_html(outcome: &Outcome) -> String {
    let mut page = String::with_capacity(1 << 18);
    let title = format!("Simulation of {}", escape(&outcome.fleet));
    let length = Span::millis(outcome.step.as_millis().saturating_mul(outcome.steps));
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p>{} from {}, in steps of {}; seed {}.</p>\n",
        length,
        date(outcome.start),
        outcome.step,
        outcome.seed
    );
    notes(&mut page, outcome);
    scores(&mut page, outcome);
    if outcome.contenders.len() > 1 {
        page.push_str("<h2>What each paid for how many violations</h2>\n");
        scatter(&mut page, outcome);
    }
    for (name, chart) in &outcome.charts {
        let _ = writeln!(page, "<h2>Need and ready replicas of {}</h2>", escape(name.as_str()));
        capacity(&mut page, outcome, chart);
        legend(&mut page, outcome);
    }
    decisions(&mut page, outcome);
    page.push_str("</body></html>\n");
    page
}

/// Text as HTML shows it.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A moment to the minute, in UTC.
#[must_use]
pub fn date(at: Timestamp) -> String {
    let text = at.to_string();
    // 2026-11-21T09:30:00.000Z reads better as 2026-11-21 09:30 UTC.
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

fn notes(page: &mut String, outcome: &Outcome) {
    if outcome.notes.is_empty() && outcome.notices.is_empty() {
        return;
    }
    page.push_str("<ul>\n");
    for note in &outcome.notes {
        let _ = writeln!(page, "<li>{}</li>", escape(note));
    }
    for (code, times) in &outcome.notices {
        let _ = writeln!(page, "<li>{} times people would have been told: {}</li>", times, escape(code));
    }
    page.push_str("</ul>\n");
}

fn scores(page: &mut String, outcome: &Outcome) {
    page.push_str(
        "<h2>How everyone did</h2>\n<div class=\"scroll\"><table><thead><tr><th></th><th>Over objective</th>\
         <th>Late or lost</th><th>Replica-hours</th><th>Cost</th><th>Cost / bound</th><th>Surplus</th>\
         <th>Changes</th><th>Flaps</th><th>Enough after</th></tr></thead><tbody>\n",
    );
    for (i, contender) in outcome.contenders.iter().enumerate() {
        let s = &contender.score;
        let _ = writeln!(
            page,
            "<tr{}><td><span class=\"key\" style=\"background:{}\"></span>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>${}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            if i == 0 { " class=\"own\"" } else { "" },
            colour(i),
            escape(&contender.name),
            percent(s.violating()),
            percent(s.bad_requests()),
            figure(s.replica_hours),
            figure(s.cost),
            contender.over_bound.map_or_else(|| "–".to_owned(), |b| format!("{b:.3}")),
            percent(s.over_provision()),
            s.changes,
            s.flaps,
            s.enough_seconds.map_or_else(|| "–".to_owned(), seconds),
        );
    }
    if let Some(best) = &outcome.optimum {
        let _ = writeln!(
            page,
            "<tr><td>optimum</td><td>0 %</td><td>–</td><td>{}</td><td>${}</td><td>1.000</td><td>–</td><td>–</td>\
             <td>–</td><td>–</td></tr>",
            figure(best.replica_hours),
            figure(best.cost)
        );
    }
    page.push_str(
        "</tbody></table></div>\n<p>Over objective: share of the time in which the load was beyond what may be \
         used, or requests were too slow. Cost / bound: cost over the proven least cost with as many violations. \
         Surplus: ready replicas above the need, over the need. Enough after: median time from the onset of a \
         surge to enough ready replicas.</p>\n",
    );
}

fn colour(contender: usize) -> &'static str {
    COLOURS[contender % COLOURS.len()]
}

fn legend(page: &mut String, outcome: &Outcome) {
    page.push_str(
        "<ul class=\"legend\"><li><span class=\"key\" style=\"background:var(--line)\"></span>need</li>",
    );
    for (i, contender) in outcome.contenders.iter().enumerate() {
        let _ = write!(
            page,
            "<li><span class=\"key\" style=\"background:{}\"></span>{}</li>",
            colour(i),
            escape(&contender.name)
        );
    }
    page.push_str("</ul>\n");
}

/// A linear axis.
pub(crate) struct Axis {
    pub(crate) most: f64,
    tick: f64,
}

impl Axis {
    /// From 0 to at least `most`, with about `ticks` round figures.
    pub(crate) fn to(most: f64, ticks: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / ticks;
        let magnitude = libm::pow(10.0, libm::floor(libm::log10(rough)));
        let tick =
            [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|m| m * magnitude).find(|t| *t >= rough).unwrap_or(rough);
        Self { most: libm::ceil(most / tick) * tick, tick }
    }

    pub(crate) fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        // At most a dozen: a tick is at least the rough one.
        (0..=12).map(|i| f64::from(i) * self.tick).take_while(|t| *t <= self.most * 1.000_001)
    }
}

pub(crate) fn x_of(share: f64) -> f64 {
    LEFT + share.clamp(0.0, 1.0) * (WIDE - LEFT - RIGHT)
}

pub(crate) fn y_of(share: f64) -> f64 {
    HIGH - BOTTOM - share.clamp(0.0, 1.0) * (HIGH - TOP - BOTTOM)
}

fn open_svg(page: &mut String, what: &str) {
    let _ = writeln!(
        page,
        "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\" aria-label=\"{}\">",
        escape(what)
    );
}

pub(crate) fn y_axis(page: &mut String, axis: &Axis, say: impl Fn(f64) -> String) {
    for tick in axis.ticks() {
        let y = y_of(tick / axis.most);
        let _ = writeln!(
            page,
            "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDE - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            say(tick)
        );
    }
}

fn x_axis(page: &mut String, axis: &Axis, most: f64, say: impl Fn(f64) -> String) {
    for tick in axis.ticks().filter(|t| *t <= most * 1.000_001) {
        let _ = writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x_of(tick / most),
            HIGH - 10.0,
            say(tick)
        );
    }
}

fn capacity(page: &mut String, outcome: &Outcome, chart: &Chart) {
    let points = chart.need.len();
    if points == 0 {
        return;
    }
    let most_need = f64::from(chart.need.iter().copied().max().unwrap_or(0));
    let most_ready = chart.ready.iter().flatten().copied().fold(0.0, f64::max);
    let y = Axis::to(most_need.max(most_ready), 5.0);
    let length = chart.point_seconds * points as f64;
    // Ticks that people count time in.
    let (unit, name) = if length >= 3.0 * 86_400.0 {
        (86_400.0, "d")
    } else if length >= 3.0 * 3600.0 {
        (3600.0, "h")
    } else {
        (60.0, "min")
    };
    open_svg(page, "need and ready replicas over time");
    y_axis(page, &y, figure_of_count);
    x_axis(page, &Axis::to(length / unit, 8.0), length / unit, |t| format!("{} {name}", figure_of_count(t)));
    let steps = |values: &mut dyn Iterator<Item = f64>| {
        let mut path = String::new();
        for (i, v) in values.enumerate() {
            let (from, to) = (x_of(i as f64 / points as f64), x_of((i + 1) as f64 / points as f64));
            let y = y_of(v / y.most);
            let _ = write!(path, "{}{from:.1} {y:.1}H{to:.1}", if i == 0 { 'M' } else { 'L' });
        }
        path
    };
    let need = steps(&mut chart.need.iter().map(|n| f64::from(*n)));
    let ground = y_of(0.0);
    let _ = writeln!(page, "<path class=\"need\" d=\"{need}V{ground:.1}H{:.1}Z\"/>", x_of(0.0));
    // headroom last, on top of the others.
    for (i, ready) in chart.ready.iter().enumerate().rev() {
        let width = if i == 0 { 1.8 } else { 0.9 };
        let _ = writeln!(
            page,
            "<path fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" d=\"{}\"><title>{}</title></path>",
            colour(i),
            steps(&mut ready.iter().copied()),
            outcome.contenders.get(i).map(|c| escape(&c.name)).unwrap_or_default()
        );
    }
    page.push_str("</svg></div>\n");
}

/// Whole figures without places, others with one.
pub(crate) fn figure_of_count(v: f64) -> String {
    if (v - libm::round(v)).abs() < 1e-6 { format!("{v:.0}") } else { format!("{v:.1}") }
}

fn scatter(page: &mut String, outcome: &Outcome) {
    let best = outcome.optimum.as_ref().map(|o| (o.cost, 0.0));
    let all: Vec<(f64, f64)> =
        outcome.contenders.iter().map(|c| (c.score.cost, c.score.violating())).chain(best).collect();
    // The square root spreads the small shares, which are the ones that matter.
    let root = |share: f64| libm::sqrt(share);
    let x = Axis::to(all.iter().map(|p| p.0).fold(0.0, f64::max) * 1.05, 6.0);
    let most = root(all.iter().map(|p| p.1).fold(0.001, f64::max)) * 1.1;
    open_svg(page, "cost against share of time over the objective");
    for share in [0.0, 0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0] {
        if root(share) > most {
            break;
        }
        let y = y_of(root(share) / most);
        let _ = writeln!(
            page,
            "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} %</text>",
            WIDE - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            share * 100.0
        );
    }
    x_axis(page, &x, x.most, |v| format!("${}", figure_of_count(v)));
    for (i, (cost, share)) in all.iter().enumerate() {
        let (px, py) = (x_of(cost / x.most), y_of(root(*share) / most));
        let name = outcome.contenders.get(i).map_or("optimum", |c| c.name.as_str());
        let fill = if i < outcome.contenders.len() { colour(i) } else { "var(--ink)" };
        // Names stand alternately above and below, so that neighbours don't cover each other.
        let dy = if i % 2 == 0 { -8.0 } else { 16.0 };
        let anchor = if px > WIDE * 0.85 { "end" } else { "start" };
        let _ = writeln!(
            page,
            "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"{}\" fill=\"{fill}\"/><text x=\"{px:.1}\" y=\"{:.1}\" \
             text-anchor=\"{anchor}\">{}</text>",
            if i == 0 { 6 } else { 4 },
            py + dy,
            escape(name)
        );
    }
    page.push_str("</svg></div>\n<p>Left is cheaper, down is better kept.</p>\n");
}

fn decisions(page: &mut String, outcome: &Outcome) {
    let log = &outcome.decisions;
    page.push_str("<h2>What headroom decided, and why</h2>\n");
    if log.first.is_empty() {
        page.push_str("<p>It never had a reason to change anything.</p>\n");
        return;
    }
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>After</th><th class=\"name\">Workload</th><th>Change</th>\
         <th class=\"why\">Why</th></tr></thead><tbody>\n",
    );
    for (i, d) in log.iter().enumerate() {
        if i == log.first.len() && log.left_out > 0 {
            let _ = writeln!(
                page,
                "<tr><td colspan=\"4\" class=\"why\">… {} more are left out …</td></tr>",
                log.left_out
            );
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since the start"
        )]
        let after = Span::seconds(d.seconds as u64);
        let _ = writeln!(
            page,
            "<tr><td>{after}</td><td class=\"name\">{}</td><td>{} → {}</td><td class=\"why\">{}</td></tr>",
            escape(d.workload.as_str()),
            d.from,
            d.to,
            escape(&d.why)
        );
    }
    page.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_figures() {
        for (most, ticks) in [
            (40.0, vec![0.0, 10.0, 20.0, 30.0, 40.0]),
            (7.0, vec![0.0, 2.0, 4.0, 6.0, 8.0]),
            (0.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ] {
            let got: Vec<f64> = Axis::to(most, 5.0).ticks().collect();
            assert_eq!(got.len(), ticks.len(), "{most}: {got:?}");
            assert!(got.iter().zip(&ticks).all(|(a, b)| (a - b).abs() < 1e-9), "{most}: {got:?}");
        }
    }

    #[test]
    fn what_people_wrote_stays_text() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        assert_eq!(date(Timestamp::from_millis(0)), "1970-01-01 00:00 UTC");
    }
}
