//! Printing: tables and sentences for people, JSON and YAML for programs.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use console::measure_text_width;
use headroom_core::say::Language;
use serde::Serialize;

use crate::cli::{Cli, Format, Lang};

const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    /// For people or programs.
    pub format: Format,
    /// The language of explanations.
    pub language: Language,
    /// Whether colours may be used.
    pub colour: bool,
}

impl Printer {
    /// As the arguments and the environment say.
    pub(crate) fn new(cli: &Cli) -> Self {
        let korean = || {
            let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
            locale.is_some_and(|locale| locale.starts_with("ko"))
        };
        let language = match cli.lang {
            Some(Lang::Ko) => Language::Korean,
            Some(Lang::En) => Language::English,
            None if korean() => Language::Korean,
            None => Language::English,
        };
        Self { format: cli.output, language, colour: coloured(&std::io::stdout()) }
    }

    /// Prints `value` for programs, or what `text` makes of it for people.
    pub(crate) fn print<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        let out = match self.format {
            Format::Text | Format::Html | Format::Md => text(value),
            Format::Json => serde_json::to_string_pretty(value)?,
            Format::Yaml => serde_saphyr::to_string(value)?,
        };
        print(&out)
    }

    /// `text` in bold, where colours may be used.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.colour { format!("{BOLD}{text}{PLAIN}") } else { text.to_owned() }
    }
}

/// Whether colours may be written to `stream`: to a terminal, unless <https://no-color.org> says otherwise.
pub(crate) fn coloured(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && stream.is_terminal()
}

/// `text` as it may be written to a terminal: what others wrote into it (the words of a server, of a command) must not
/// steer it, so of all that does, only ends of lines, tabs and our own bold type stay.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() && c != '\n' && c != '\t'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let ours = [BOLD, PLAIN].into_iter().find(|ours| rest.starts_with(*ours));
        let length = ours.map_or(c.len_utf8(), str::len);
        match ours {
            Some(ours) => clean.push_str(ours),
            None if steers(c) => clean.push(char::REPLACEMENT_CHARACTER),
            None => clean.push(c),
        }
        rest = &rest[length..];
    }
    Cow::Owned(clean)
}

/// Prints a text to stdout and ends its last line.
pub(crate) fn print(text: &str) -> Result<()> {
    let text = harmless(text);
    let mut stdout = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(end.as_bytes()))
        .and_then(|()| stdout.flush());
    match written {
        // `headroom history | head`: the reader has what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("stdout can't be written"),
    }
}

/// Rows as a table: columns as wide as their widest cell on a terminal, two spaces between.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let columns = head.len();
    let mut widths: Vec<usize> = head.iter().map(|cell| measure_text_width(cell)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(measure_text_width(cell));
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (i, (cell, width)) in cells.zip(&widths).enumerate() {
            out.push_str(cell);
            if i + 1 < columns {
                let fill = width.saturating_sub(measure_text_width(cell)) + 2;
                out.extend(std::iter::repeat_n(' ', fill));
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    };
    let mut out = line(&mut head.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_can_steer_no_terminal() {
        let ours = format!("{BOLD}shop{PLAIN}\n\tweb");
        assert_eq!(harmless(&ours), ours);
        assert_eq!(harmless("\u{1b}[31mred\u{1b}[0m\r\u{9b}2J\u{202e}"), "�[31mred\u{1b}[0m��2J�");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_space() {
        let rows = vec![vec!["web".into(), "12".into()], vec!["a-long-name".into(), String::new()]];
        assert_eq!(table(&["NAME", "READY"], &rows), "NAME         READY\nweb          12\na-long-name\n");
        let rows = vec![vec!["웹".into(), "12".into()], vec!["api".into(), "3".into()]];
        assert_eq!(
            table(&["이름", "준비"], &rows),
            "이름  준비\n웹    12\napi   3\n",
            "a Korean letter is two wide"
        );
    }
}
