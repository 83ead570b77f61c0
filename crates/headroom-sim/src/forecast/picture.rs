//! A forecast as a picture: the load so far, the middle of what is to come, and the bands above it.

use std::fmt::Write as _;

use headroom_core::outlook::Point;
use headroom_core::units::{Span, Timestamp};

use super::{TraceForecast, score_lines, short};
use crate::report::{
    Axis, BOTTOM, HIGH, LEFT, RIGHT, STYLE, WIDE, date, escape, figure_of_count, x_of, y_axis, y_of,
};

/// Of the history so many horizons are shown, for the eye to compare,
const SHOWN: usize = 4;
/// and at least so many steps.
const SHOWN_LEAST: usize = 96;

/// What the picture has beside the page's style.
const COLOURS: &str = "
.past{stroke:var(--ink);stroke-width:1;fill:none}.middle{stroke:#0072b2;stroke-width:1.8;fill:none}
.band{fill:#0072b2;stroke:none}.now{stroke:var(--soft);stroke-dasharray:3 3}
";

/// An upper edge of a band, and how dense the band is painted.
type Band = (fn(&Point) -> f64, f64);
const BANDS: [Band; 3] = [(|p| p.q99, 0.15), (|p| p.q95, 0.2), (|p| p.q90, 0.25)];

/// The forecast as one SVG that needs nothing else.
#[must_use]
pub fn render_svg(forecast: &TraceForecast) -> String {
    let mut picture = String::with_capacity(1 << 16);
    svg(&mut picture, forecast, &format!("<style>{STYLE}{COLOURS}</style>"));
    picture
}

/// The forecast as one HTML page that needs nothing else: the picture, the scores, the figures.
#[must_use]
pub fn render_html(forecast: &TraceForecast) -> String {
    let mut page = String::with_capacity(1 << 17);
    let title = format!("Forecast of {}", escape(&forecast.trace));
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}{COLOURS}</style></head><body>\n\
         <h1>{title}</h1>\n<p>{} steps of {} from {}, {} without a value.</p>\n",
        forecast.steps,
        forecast.step,
        date(forecast.start),
        forecast.gaps
    );
    svg(&mut page, forecast, "");
    page.push_str(
        "<p>Line: the load so far and the middle of what is to come. Bands: the load stays below their upper edge \
         in 90, 95 and 99 of 100 cases.</p>\n<h2>How good such forecasts would have been</h2>\n<ul>\n",
    );
    for line in score_lines(forecast) {
        let _ = writeln!(page, "<li>{}</li>", escape(&line));
    }
    page.push_str(
        "</ul>\n<h2>Figures</h2>\n<div class=\"scroll\"><table><thead><tr><th>Time</th><th>50 %</th><th>90 %</th>\
         <th>95 %</th><th>99 %</th></tr></thead><tbody>\n",
    );
    for p in &forecast.points {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            date(p.at),
            short(p.q50),
            short(p.q90),
            short(p.q95),
            short(p.q99)
        );
    }
    page.push_str("</tbody></table></div>\n</body></html>\n");
    page
}

#[expect(clippy::cast_precision_loss, reason = "some thousand steps")]
fn svg(out: &mut String, f: &TraceForecast, style: &str) {
    let shown = (SHOWN * f.points.len()).max(SHOWN_LEAST).min(f.history.len());
    let past = &f.history[f.history.len() - shown..];
    let total = shown + f.points.len();
    let highest = past.iter().flatten().copied().chain(f.points.iter().map(|p| p.q99)).fold(0.0, f64::max);
    let axis = Axis::to(highest, 5.0);
    let place = |k: usize, v: f64| (x_of((k as f64 + 0.5) / total as f64), y_of(v / axis.most));
    let ahead = |of: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        f.points.iter().enumerate().map(|(k, p)| place(k + shown, of(p))).collect()
    };
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\" \
         aria-label=\"forecast of {}\">{style}",
        escape(&f.trace)
    );
    y_axis(out, &axis, figure_of_count);
    let begins = f.points.first().map_or(f.start, |p| p.at).minus(f.step.times(shown as u64));
    times(out, begins, f.step.times(total as u64));
    let middle = ahead(|p| p.q50);
    for (upper, density) in BANDS {
        let outline = ahead(upper).into_iter().chain(middle.iter().rev().copied());
        let _ = writeln!(out, "<path class=\"band\" fill-opacity=\"{density}\" d=\"{}Z\"/>", line(outline));
    }
    for stretch in stretches(past) {
        let d = line(stretch.map(|(k, v)| place(k, v)));
        let _ = writeln!(out, "<path class=\"past\" d=\"{d}\"/>");
    }
    let _ = writeln!(out, "<path class=\"middle\" d=\"{}\"/>", line(middle));
    let now = x_of(shown as f64 / total.max(1) as f64);
    let _ = writeln!(out, "<path class=\"now\" d=\"M{now:.1} {:.1}V{:.1}\"/>", y_of(1.0), y_of(0.0));
    out.push_str("</svg>\n");
}

/// A path through points; a lone point is a dot's width long, so that it is seen.
fn line(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (k, (x, y)) in points.into_iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if k == 0 { 'M' } else { 'L' });
    }
    if !path.contains('L') && !path.is_empty() {
        path.push_str("h1");
    }
    path
}

/// The values between gaps, each with its place.
fn stretches(values: &[Option<f64>]) -> impl Iterator<Item = impl Iterator<Item = (usize, f64)>> {
    let mut from = 0;
    values.split(Option::is_none).filter_map(move |stretch| {
        let at = from;
        from += stretch.len() + 1;
        let known = stretch.iter().enumerate().filter_map(move |(k, v)| v.map(|v| (at + k, v)));
        (!stretch.is_empty()).then_some(known)
    })
}

/// Moments under the picture, at whole multiples of a unit people count time in.
fn times(out: &mut String, begins: Timestamp, length: Span) {
    const UNITS: [Span; 11] = [
        Span::seconds(10),
        Span::minutes(1),
        Span::minutes(5),
        Span::minutes(15),
        Span::hours(1),
        Span::hours(3),
        Span::hours(6),
        Span::hours(12),
        Span::days(1),
        Span::days(7),
        Span::days(28),
    ];
    let rough = length.as_millis() / 8;
    let unit = UNITS.into_iter().find(|u| u.as_millis() >= rough).unwrap_or(length);
    let ms = i64::try_from(unit.as_millis()).unwrap_or(i64::MAX).max(1);
    let first = begins.as_millis().div_euclid(ms) + 1;
    // A unit is at least an eighth of the length.
    for k in 0..9 {
        let at = Timestamp::from_millis((first + k) * ms);
        if at.since(begins) > length {
            break;
        }
        let share = at.since(begins).as_secs_f64() / length.as_secs_f64().max(1e-9);
        let text = date(at);
        let said = if unit >= Span::days(1) { text.get(5..10) } else { text.get(5..16) };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x_of(share).clamp(LEFT, WIDE - RIGHT),
            HIGH - BOTTOM + 18.0,
            said.unwrap_or(&text)
        );
    }
}
