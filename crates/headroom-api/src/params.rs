//! Query parameters, strict: an unknown or repeated one is a mistake that is said, not ignored.

use axum::http::StatusCode;
use headroom_core::say::Language;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;

use crate::problem::Problem;

/// A query parameter of a route, as the OpenAPI document shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) shape: Shape,
}

/// What a parameter's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `en` or `ko`.
    Language,
    /// `json` or `csv`.
    Format,
    /// A moment, or how long ago.
    Moment,
    /// `true` or `false`.
    Flag,
    /// A whole number from 1 to this.
    Count(usize),
    /// Any text; may be given several times.
    Texts,
    /// Any text.
    Text,
}

/// The language of explanations.
pub(crate) const LANG: Param =
    Param { name: "lang", about: "The language of explanations.", shape: Shape::Language };
/// The form of a table.
pub(crate) const FORMAT: Param =
    Param { name: "format", about: "`csv` gives the same as a table.", shape: Shape::Format };
/// The start of a range.
pub(crate) const SINCE: Param = Param {
    name: "since",
    about: "From this moment (RFC 3339), or from this long ago (1h).",
    shape: Shape::Moment,
};
/// The end of a range.
pub(crate) const UNTIL: Param = Param {
    name: "until",
    about: "Before this moment (RFC 3339), or before this long ago; by default until now.",
    shape: Shape::Moment,
};

/// The parameters of one request.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query string; only `known` parameters may stand in it.
    pub(crate) fn read(query: Option<&str>, known: &[Param]) -> Result<Self, Problem> {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        for (place, (name, _)) in pairs.iter().enumerate() {
            let Some(param) = known.iter().find(|p| p.name == name) else {
                let names: Vec<_> = known.iter().map(|p| p.name).collect();
                return Err(Problem::parameter(name, "there is none of that name here").help(
                    if names.is_empty() {
                        "this route takes no parameters".to_owned()
                    } else {
                        format!("there are: {}", names.join(", "))
                    },
                ));
            };
            if param.shape != Shape::Texts && pairs.iter().take(place).any(|(other, _)| other == name) {
                return Err(Problem::parameter(name, "it may be given once only"));
            }
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A value that reads itself from text.
    pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        self.one(name).map(|v| v.parse().map_err(|why| Problem::parameter(name, why))).transpose()
    }

    /// The language of explanations.
    pub(crate) fn language(&self) -> Result<Language, Problem> {
        match self.one(LANG.name) {
            None | Some("en") => Ok(Language::English),
            Some("ko") => Ok(Language::Korean),
            Some(other) => {
                Err(Problem::parameter(LANG.name, format!("`{other}` is not spoken here; `en` and `ko` are")))
            }
        }
    }

    /// Whether a table is asked for in place of JSON.
    pub(crate) fn csv(&self) -> Result<bool, Problem> {
        match self.one(FORMAT.name) {
            None | Some("json") => Ok(false),
            Some("csv") => Ok(true),
            Some(other) => {
                Err(Problem::parameter(FORMAT.name, format!("`{other}` is not given; `json` and `csv` are")))
            }
        }
    }

    /// A moment, or how long ago.
    pub(crate) fn moment(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.one(name) else { return Ok(None) };
        if let Ok(ago) = text.parse::<Span>() {
            return Ok(Some(now().minus(ago)));
        }
        text.parse().map(Some).map_err(|_| {
            Problem::parameter(
                name,
                format!("`{text}` is neither a moment (2026-11-21T09:30:00Z) nor a length of time (1h)"),
            )
        })
    }

    /// `true` or `false`; absent is `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.parsed(name)?.unwrap_or(false))
    }

    /// A whole number from 1 to `most`.
    pub(crate) fn count(&self, name: &str, default: usize, most: usize) -> Result<usize, Problem> {
        match self.parsed::<usize>(name)? {
            None => Ok(default),
            Some(n) if (1..=most).contains(&n) => Ok(n),
            Some(n) => Err(Problem::parameter(name, format!("{n} is not a number from 1 to {most}"))),
        }
    }

    /// Who asks, for the record: at most 64 characters without control characters.
    pub(crate) fn by(&self) -> Result<String, Problem> {
        let by = self.one("by").unwrap_or("api");
        plain_text("by", by, 64)?;
        Ok(by.to_owned())
    }
}

/// Text that people read later: not empty, bounded, no control characters.
pub(crate) fn plain_text(name: &str, text: &str, most: usize) -> Result<(), Problem> {
    let fine = !text.trim().is_empty() && text.chars().count() <= most && !text.contains(char::is_control);
    if fine {
        return Ok(());
    }
    let why = format!("`{name}` is a line of 1 to {most} characters");
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-text", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Param] = &[
        LANG,
        SINCE,
        Param { name: "name", about: "", shape: Shape::Texts },
        Param { name: "limit", about: "", shape: Shape::Count(200) },
    ];

    #[test]
    fn a_parameter_is_known_and_given_once() {
        for (query, fine) in [
            (None, true),
            (Some(""), true),
            (Some("lang=ko&name=a&name=b"), true),
            (Some("lang=ko&lang=en"), false),
            (Some("langue=fr"), false),
        ] {
            assert_eq!(Params::read(query, KNOWN).is_ok(), fine, "{query:?}");
        }
    }

    #[test]
    fn a_moment_is_a_point_in_time_or_a_length_before_now() {
        let read = |query| Params::read(Some(query), KNOWN).unwrap().moment("since");
        let then = read("since=2026-11-21T09:30:00Z").unwrap().unwrap();
        assert_eq!(then.to_string(), "2026-11-21T09:30:00.000Z");
        assert!(read("since=1h").unwrap().unwrap() < now());
        assert_eq!(read("lang=en").unwrap(), None);
        for bad in ["since=", "since=yesterday", "since=-1h", "since=60"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_count_has_bounds() {
        let read = |query| Params::read(Some(query), KNOWN).unwrap().count("limit", 50, 200);
        assert_eq!(read("").unwrap(), 50);
        assert_eq!(read("limit=200").unwrap(), 200);
        for bad in ["limit=0", "limit=201", "limit=-1", "limit=ten", "limit="] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
