//! A run as one table for a terminal.

use std::fmt::Write as _;

use crate::run::Outcome;

/// Renders the scores of all contenders, headroom first, as text in columns.
#[must_use]
pub fn render_table(outcome: &Outcome) -> String {
    let mut rows = vec![
        [
            "",
            "over objective",
            "bad requests",
            "replica-hours",
            "cost",
            "/ bound",
            "surplus",
            "changes",
            "flaps",
            "reacts",
            "enough",
        ]
        .map(str::to_owned),
    ];
    for contender in &outcome.contenders {
        let s = &contender.score;
        rows.push([
            contender.name.clone(),
            percent(s.violating()),
            percent(s.bad_requests()),
            figure(s.replica_hours),
            format!("${}", figure(s.cost)),
            contender.over_bound.map_or_else(dash, |b| format!("{b:.3}")),
            percent(s.over_provision()),
            s.changes.to_string(),
            s.flaps.to_string(),
            s.reaction_seconds.map_or_else(dash, seconds),
            s.enough_seconds.map_or_else(dash, seconds),
        ]);
    }
    if let Some(best) = &outcome.optimum {
        let mut row: [String; 11] = std::array::from_fn(|_| dash());
        row[0] = "optimum".to_owned();
        row[1] = percent(0.0);
        row[3] = figure(best.replica_hours);
        row[4] = format!("${}", figure(best.cost));
        row[5] = "1.000".to_owned();
        rows.push(row);
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Names to the left, figures to the right.
            let _ = if i == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn dash() -> String {
    "–".to_owned()
}

/// A share as per cent with as many places as say something.
#[must_use]
pub fn percent(share: f64) -> String {
    let p = share * 100.0;
    if p == 0.0 {
        "0 %".to_owned()
    } else if p < 0.001 {
        "<0.001 %".to_owned()
    } else if p < 1.0 {
        format!("{p:.3} %")
    } else if p < 10.0 {
        format!("{p:.2} %")
    } else {
        format!("{p:.1} %")
    }
}

/// A figure with three or four significant places.
#[must_use]
pub fn figure(v: f64) -> String {
    let places = if v >= 1000.0 {
        0
    } else if v >= 100.0 {
        1
    } else if v >= 1.0 {
        2
    } else {
        3
    };
    format!("{v:.places$}")
}

/// Seconds as people say them.
pub(crate) fn seconds(s: f64) -> String {
    if s >= 900.0 {
        ">15 min".to_owned()
    } else if s < 10.0 {
        format!("{s:.1} s")
    } else {
        format!("{s:.0} s")
    }
}
