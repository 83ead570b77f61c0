//! What is wrong with a policy, and where.
//!
//! A person who mends a policy wants all mistakes in one go, each with its place, the reason, and the next step.

use std::fmt;

use serde::Serialize;

/// Where in a document a value stands: keys and indices from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Path(Vec<String>);

impl Path {
    /// The document itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The value under `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(key.to_owned());
        Self(parts)
    }

    /// The item at `index`, counted from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }

    /// The keys and indices, from the root.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which value it is about.
    pub path: Path,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where the problem is an unknown name: the name as written, and those that exist.
    pub unknown: Option<UnknownName>,
}

/// A name that refers to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownName {
    /// As written.
    pub written: String,
    /// Names that exist at that place, in order.
    pub known: Vec<String>,
}

impl Problem {
    /// A problem with the value at `path`.
    #[must_use]
    pub fn new(path: Path, what: impl Into<String>) -> Self {
        Self { path, what: what.into(), help: None, unknown: None }
    }

    /// Adds the next step.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the names that exist where an unknown one was written.
    #[must_use]
    pub fn candidates(mut self, written: &str, known: impl IntoIterator<Item = String>) -> Self {
        self.unknown = Some(UnknownName { written: written.to_owned(), known: known.into_iter().collect() });
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}
