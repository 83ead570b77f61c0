//! HAProxy's runtime API: one command, one answer, one connection.
//!
//! Used by the source (`show stat`) and by the data plane (servers added, drained, removed). Answers are text: an
//! empty line is success, anything else is the error or the table.

mod front;
pub(crate) mod log;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::first_words;
use crate::net::connect_local;
use crate::source::ReadError;

pub use front::Fronts;

/// The largest answer that is read: the statistics of some thousand servers.
const LARGEST_ANSWER: u64 = 4 * 1024 * 1024;

/// A way to an HAProxy.
#[derive(Clone, Debug)]
pub struct Runtime {
    socket: String,
    base: PathBuf,
}

/// A row of `show stat`, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(HashMap<String, String>);

impl Row {
    /// A column's text; empty ones are none.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A column's number.
    #[must_use]
    pub fn number(&self, column: &str) -> Option<f64> {
        self.text(column)?.parse().ok()
    }
}

impl Runtime {
    /// The API at `socket`: a path relative to `base`, or `host:port`.
    #[must_use]
    pub fn new(socket: &str, base: &Path) -> Self {
        Self { socket: socket.to_owned(), base: base.to_owned() }
    }

    /// Sends one command and gives its answer, without blank lines at its end.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn ask(&self, command: &str) -> Result<String, ReadError> {
        Ok(self.exchange(command).await?.trim_end().to_owned())
    }

    async fn exchange(&self, command: &str) -> Result<String, ReadError> {
        let mut stream = connect_local(&self.socket, &self.base).await?;
        let broken = |e: std::io::Error| ReadError::Broken { why: e.to_string() };
        stream.write_all(format!("{command}\n").as_bytes()).await.map_err(broken)?;
        let mut answer = Vec::new();
        let read = stream.take(LARGEST_ANSWER + 1).read_to_end(&mut answer).await.map_err(broken)?;
        if read as u64 > LARGEST_ANSWER {
            return Err(ReadError::TooLarge { limit: LARGEST_ANSWER as usize });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The statistics of every proxy and server.
    ///
    /// # Errors
    /// Where there is no answer, or one that is no table.
    pub async fn stats(&self) -> Result<Vec<Row>, ReadError> {
        table(&self.exchange("show stat").await?)
    }
}

fn table(text: &str) -> Result<Vec<Row>, ReadError> {
    let mut lines = text.lines();
    let head = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(|| {
        // What is refused is said in the place of the table.
        ReadError::Garbage(format!("no table of statistics but {:?}", first_words(text.as_bytes())))
    })?;
    // The answer's end is an empty line: a table that was cut off may end in half a number.
    if !text.ends_with("\n\n") {
        return Err(ReadError::Garbage("its table has no end".to_owned()));
    }
    let columns: Vec<&str> = head.split(',').collect();
    let row = |line: &str| {
        let values = split(line);
        Row(columns.iter().zip(values).map(|(column, value)| ((*column).to_owned(), value)).collect())
    };
    Ok(lines.filter(|line| !line.is_empty()).map(row).collect())
}

/// The values of a line; one in quotes may hold commas.
fn split(line: &str) -> Vec<String> {
    let (mut values, mut value, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => values.push(std::mem::take(&mut value)),
            other => value.push(other),
        }
    }
    values.push(value);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_by_column_name() {
        let rows =
            table("# pxname,svname,qcur,last_chk\napp,s1,3,\"no, really\"\napp,BACKEND,,\n\n").unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].number("qcur"), rows[0].text("last_chk")), (Some(3.0), Some("no, really")));
        assert_eq!((rows[1].number("qcur"), rows[1].text("svname")), (None, Some("BACKEND")));
        assert!(table("Unknown command.\n\n").is_err());
        assert!(table("# pxname,svname,qcur\napp,BACKEND,1").is_err(), "12 may have been meant");
    }
}
