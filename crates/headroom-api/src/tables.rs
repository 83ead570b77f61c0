//! Answers as CSV (RFC 4180), for spreadsheets and scripts.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A table with a header line, offered to browsers as a file called `name`.
///
/// A text that a spreadsheet would take for a formula gets an apostrophe before it: reasons hold what people wrote.
pub(crate) fn csv<const N: usize>(
    name: &str,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Response {
    let mut table = csv::Writer::from_writer(Vec::new());
    let rows = rows.into_iter().map(|row| row.map(harmless));
    let written = table.write_record(header).and_then(|()| {
        for row in rows {
            table.write_record(row)?;
        }
        Ok(())
    });
    // Writing to memory fails only where memory does.
    debug_assert!(written.is_ok(), "{written:?}");
    let body = table.into_inner().unwrap_or_default();
    let file = format!("attachment; filename=\"{name}.csv\"");
    (
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, file)],
        body,
    )
        .into_response()
}

fn harmless(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

/// A value, or an empty cell.
pub(crate) fn cell(value: Option<impl std::fmt::Display>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// How JSON writes a value that is one of a few.
pub(crate) fn code(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn quotes_commas_and_formulas_do_no_harm() {
        let row = ["a,b", "say \"no\"", "=1+1"].map(str::to_owned);
        let answer = csv("x", ["one", "two", "three"], [row]);
        assert_eq!(answer.headers()[header::CONTENT_DISPOSITION], "attachment; filename=\"x.csv\"");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "one,two,three\n\"a,b\",\"say \"\"no\"\"\",'=1+1\n");
    }

    #[tokio::test]
    async fn a_table_without_rows_has_its_header() {
        let body = csv("x", ["one"], []).into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "one\n");
    }
}
