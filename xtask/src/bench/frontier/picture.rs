//! The picture: cost to the right, misses upwards, both logarithmic. Good is at the lower left.

use super::{Figures, Table, WITH};

/// Size and margin, pixels.
const SIZE: (f64, f64) = (720.0, 440.0);
const MARGIN: f64 = 56.0;
/// What the axes show: cost over the optimum, and the share of time beyond the objective. What lies outside is drawn
/// at the edge.
const COST: (f64, f64) = (0.9, 4.0);
const MISSED: (f64, f64) = (1e-4, 0.3);
/// The share of violations aimed at.
const AIM: f64 = 0.001;

/// An SVG of one table.
pub(super) fn draw(table: &Table) -> String {
    let (width, height) = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for cost in [1.0, 1.25, 1.5, 2.0, 3.0, 4.0] {
        let x = across(cost);
        line(&mut svg, (x, MARGIN), (x, height - MARGIN), "#ddd");
        text(&mut svg, (x, height - MARGIN + 18.0), "middle", &format!("{cost}"));
    }
    for missed in [0.0001, 0.001, 0.01, 0.1] {
        let y = up(missed);
        line(&mut svg, (MARGIN, y), (width - MARGIN, y), if missed == AIM { "#2a7" } else { "#ddd" });
        text(&mut svg, (MARGIN - 6.0, y + 4.0), "end", &format!("{} %", 100.0 * missed));
    }
    let title = format!(
        "Time over the objective, and cost over the clairvoyant optimum: start-up {} s, mean of {} loads",
        table.start_up_seconds, table.loads
    );
    text(&mut svg, (width / 2.0, 30.0), "middle", &title);
    text(&mut svg, (width / 2.0, height - 12.0), "middle", "cost / optimum");
    let optimum = Figures { who: "optimum".to_owned(), over_optimum: 1.0, ..Figures::default() };
    let rows = || table.rows.iter().chain(&table.judged).chain([&optimum]);
    // No label stands on a point.
    let mut taken: Vec<Label> = rows().map(place).map(|at| (at.0 - 7.0, at.0 + 7.0, at.1 + BASE)).collect();
    for row in rows() {
        point(&mut svg, row, &mut taken);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a label stands: from, to, and the height of its base line.
type Label = (f64, f64, f64);
/// What a letter takes, about, and a line.
const LETTER: (f64, f64) = (6.6, 13.0);

/// From the middle of a line to where its letters stand.
const BASE: f64 = 4.0;

fn place(row: &Figures) -> (f64, f64) {
    (across(row.over_optimum), up(row.violating))
}

fn point(svg: &mut String, row: &Figures, taken: &mut Vec<Label>) {
    let at = place(row);
    let (colour, size) = if row.who.starts_with(WITH) { ("#c33", 6.0) } else { ("#357", 4.0) };
    svg.push_str(&format!(
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{size}\" fill=\"{colour}\"/>\n",
        at.0, at.1
    ));
    #[expect(clippy::cast_precision_loss, reason = "the letters of a name")]
    let width = row.who.chars().count() as f64 * LETTER.0;
    // Beyond the middle there is more room on the left.
    let sides = if at.0 > SIZE.0 / 2.0 { [-9.0, 9.0] } else { [9.0, -9.0] };
    // Beside its point, on one side or the other, or a line or two above or below.
    let lines = [0.0, -1.0, 1.0, -2.0, 2.0].map(|line| at.1 + BASE + line * LETTER.1);
    let mut places = lines.into_iter().flat_map(|y| sides.map(|side| (side, y)));
    let span = |side: f64| {
        if side < 0.0 { (at.0 + side - width, at.0 + side) } else { (at.0 + side, at.0 + side + width) }
    };
    let is_free = |(side, y): &(f64, f64)| {
        let (from, to) = span(*side);
        from > 0.0
            && taken
                .iter()
                .all(|(left, right, base)| to < *left || *right < from || (y - base).abs() >= LETTER.1)
    };
    let (side, y) = places.find(is_free).unwrap_or((sides[0], lines[0]));
    let (from, to) = span(side);
    taken.push((from, to, y));
    text(svg, (at.0 + side, y), if side < 0.0 { "end" } else { "start" }, &row.who);
}

fn across(cost: f64) -> f64 {
    MARGIN + scale(cost, COST) * (SIZE.0 - 2.0 * MARGIN)
}

fn up(missed: f64) -> f64 {
    SIZE.1 - MARGIN - scale(missed, MISSED) * (SIZE.1 - 2.0 * MARGIN)
}

/// Where a value lies between two others, 0 to 1, on a logarithmic scale.
fn scale(value: f64, (low, high): (f64, f64)) -> f64 {
    (value.clamp(low, high) / low).ln() / (high / low).ln()
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    svg.push_str(&format!(
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\n",
        from.0, from.1, to.0, to.1
    ));
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    svg.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>\n",
        at.0, at.1
    ));
}
