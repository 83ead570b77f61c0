//! What is wrong with a policy file, for people and for programs.
//!
//! A person who mends a file wants the place, what is wrong, and what to write instead; a program (an editor, the
//! API) wants the same as fields. Both come from one [`Diagnostic`].

use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::say::printable;

/// How many mistakes are reported of one file. Beyond, the file is no policy with slips but something else, and
/// nobody reads on.
pub(crate) const MAX_DIAGNOSTICS: usize = 50;
/// The widest part of a line shown, in columns: a terminal of 120 less the margin.
const MAX_SNIPPET: usize = 110;
/// How much of a long line is shown before the place it is about.
const BEFORE: usize = 40;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// The file can be used, but may not mean what its author thinks.
    Warning,
}

/// One thing that is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file as it was named.
    pub file: String,
    /// The place in the file; `None` where it is about the file as a whole.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to write instead, in a few words, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The keys and indices that lead to the value, from the root; items are counted from 0.
    pub path: Vec<String>,
}

/// Where in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, in characters, counted from 1.
    pub column: usize,
    /// How many characters of that line it is about; at least 1.
    pub length: usize,
    /// The line's text; of a very long line a part, with `…` where something is left out.
    pub snippet: String,
    /// The character of the snippet that `column` means is `column - offset`, counted from 1.
    pub offset: usize,
}

/// A policy file that can't be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    diagnostics: Vec<Diagnostic>,
    more: usize,
    digest: Option<String>,
}

/// A mistake on its way to a [`Diagnostic`]: its place still counts bytes.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) at: Option<Range<usize>>,
    pub(crate) suggestion: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) path: Box<[String]>,
}

impl Finding {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            at: None,
            suggestion: None,
            help: None,
            path: Box::default(),
        }
    }

    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(message) }
    }

    pub(crate) fn at(mut self, at: Range<usize>) -> Self {
        self.at = Some(at);
        self
    }

    pub(crate) fn path(mut self, path: &[String]) -> Self {
        self.path = path.into();
        self
    }

    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl ConfigError {
    /// A file of which no text could be had.
    pub(crate) fn unreadable(file: &str, message: impl Into<String>, help: &str) -> Self {
        let finding = Finding::new(message).help(help);
        Self::new(file, "", vec![finding], None)
    }

    /// All `findings` of `text`, in its order.
    pub(crate) fn new(file: &str, text: &str, findings: Vec<Finding>, digest: Option<String>) -> Self {
        let (diagnostics, more) = place(file, text, findings);
        Self { file: file.to_owned(), diagnostics, more, digest }
    }

    /// The file as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Everything that is wrong, in the order of the file, warnings included. At most 50.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many mistakes there are beyond [`ConfigError::diagnostics`].
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// The digest of the text that was refused; `None` where no text could be read.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The whole report as a person reads it, in colour if wanted. Ends without a line break.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            out.push_str(&diagnostic.render(color));
            out.push_str("\n\n");
        }
        let count = self.more + self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        let errors = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
        let style = Style { color };
        let file = visible(&self.file);
        out.push_str(&style.bold(&format!("{file}: {errors}")));
        if self.more > 0 {
            let _ = write!(out, ", the first {} of them shown", self.diagnostics.len());
        }
        out
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic {
    /// The diagnostic as a person reads it, in colour if wanted. Ends without a line break.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let style = Style { color };
        let word = match self.severity {
            Severity::Error => style.red("error"),
            Severity::Warning => style.yellow("warning"),
        };
        let mut out = format!("{word}{}", style.bold(&format!(": {}", self.message)));
        let file = visible(&self.file);
        let Some(place) = &self.place else {
            let _ = write!(out, "\n  {} {file}", style.blue("-->"));
            if let Some(help) = &self.help {
                let _ = write!(out, "\n  {} help: {help}", style.blue("="));
            }
            return out;
        };
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let bar = style.blue("|");
        let _ = write!(out, "\n{margin}{} {file}:{}:{}", style.blue("-->"), place.line, place.column);
        let _ = write!(out, "\n{margin} {bar}");
        let shown: String = place.snippet.chars().map(printable).collect();
        let _ = write!(out, "\n{} {bar} {}", style.blue(&number), shown.trim_end());
        let before: String = shown.chars().take(place.column.saturating_sub(1 + place.offset)).collect();
        let about: String =
            shown.chars().skip(place.column.saturating_sub(1 + place.offset)).take(place.length).collect();
        let carets = "^".repeat(about.width().max(1));
        let marks = match self.severity {
            Severity::Error => style.red(&carets),
            Severity::Warning => style.yellow(&carets),
        };
        let _ = write!(out, "\n{margin} {bar} {}{marks}", " ".repeat(before.width()));
        if let Some(suggestion) = &self.suggestion {
            let _ = write!(out, " {suggestion}");
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n{margin} {} help: {help}", style.blue("="));
        }
        out
    }
}

/// A file's whole name, without what would rewrite the terminal.
fn visible(name: &str) -> String {
    name.chars().map(printable).collect()
}

/// Turns findings into diagnostics: in the order of the text, each once, at most [`MAX_DIAGNOSTICS`].
pub(crate) fn place(file: &str, text: &str, mut findings: Vec<Finding>) -> (Vec<Diagnostic>, usize) {
    findings.sort_by_key(|f| f.at.as_ref().map_or((0, 0), |at| (at.start, at.end)));
    // An alias brings the same text, and so the same mistake, to several paths.
    findings.dedup_by(|a, b| a.at == b.at && a.message == b.message);
    let more = findings.len().saturating_sub(MAX_DIAGNOSTICS);
    findings.truncate(MAX_DIAGNOSTICS);
    let mut line = Line { number: 1, start: 0 };
    let diagnostics = findings
        .into_iter()
        .map(|finding| Diagnostic {
            severity: finding.severity,
            file: file.to_owned(),
            place: finding.at.map(|at| line.place(text, &at)),
            message: finding.message,
            suggestion: finding.suggestion,
            help: finding.help,
            path: finding.path.into_vec(),
        })
        .collect();
    (diagnostics, more)
}

/// A line of the text; moves forward only, so that a file is gone through once.
struct Line {
    number: usize,
    start: usize,
}

impl Line {
    fn place(&mut self, text: &str, at: &Range<usize>) -> Place {
        let start = floor_boundary(text, at.start);
        while let Some(next) =
            text[self.start..].find('\n').map(|n| self.start + n + 1).filter(|n| *n <= start)
        {
            self.start = next;
            self.number += 1;
        }
        let rest = &text[self.start..];
        let line = rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r');
        let in_line = (start - self.start).min(line.len());
        let end = floor_boundary(text, at.end.max(start)).min(self.start + line.len());
        let column = line[..in_line].chars().count();
        let length =
            text[(self.start + in_line)..end.max(self.start + in_line)].trim_end().chars().count().max(1);
        let (snippet, offset) = cut(line, column);
        Place { line: self.number, column: column + 1, length, snippet, offset }
    }
}

/// The part of `line` around `column` that fits, and how many characters stand before it.
fn cut(line: &str, column: usize) -> (String, usize) {
    if line.width() <= MAX_SNIPPET && line.len() <= 4 * MAX_SNIPPET {
        return (line.to_owned(), 0);
    }
    let skipped = column.saturating_sub(BEFORE);
    let mut width = 0;
    let mut shown = String::new();
    let mut rest = line.chars().skip(skipped);
    let cut_off = rest.any(|c| {
        // A character without width still takes room in memory.
        width += c.width().unwrap_or(1).max(1);
        let fits = width <= MAX_SNIPPET;
        if fits {
            shown.push(c);
        }
        !fits
    });
    let end = if cut_off { "…" } else { "" };
    // The mark that says something is left out takes the place of one character.
    if skipped == 0 { (format!("{shown}{end}"), 0) } else { (format!("…{shown}{end}"), skipped - 1) }
}

/// `at`, or the start of the character that it lies in, or the end of the text.
pub(crate) fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Terminal colours (ECMA-48 SGR), or none.
#[derive(Clone, Copy)]
struct Style {
    color: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
    fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }
    fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }
    fn blue(self, text: &str) -> String {
        self.paint("1;34", text)
    }
    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}
