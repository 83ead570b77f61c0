//! Words of error messages: names cut to size, choices as a sentence, the nearest valid name.

use strsim::damerau_levenshtein;

/// The longest piece of a file quoted within a sentence, in characters: longer than any name (63).
const LONGEST_QUOTE: usize = 70;
/// How many choices a sentence lists before it says how many more there are.
const LONGEST_LIST: usize = 14;

/// `text` as it may stand in a sentence: cut to size, without line breaks and control characters.
pub(crate) fn brief(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_QUOTE).map(printable).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        short.push('…');
    }
    short
}

/// The character itself if a terminal shows it as one; else a mark in its place. Control characters could rewrite
/// the terminal, and bidirectional ones the order of what is read.
pub(crate) fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            '\u{fffd}'
        }
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// `a`, `b` or `c`.
pub(crate) fn choices<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    list(names, "or")
}

/// `a`, `b` and `c`, or what stands in for `and`.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("`{}`", brief(n))).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., end] if names.len() <= LONGEST_LIST => format!("{} {last} {end}", first.join(", ")),
        many => format!("{} and {} more", many[..LONGEST_LIST].join(", "), many.len() - LONGEST_LIST),
    }
}

/// The known name that was most likely meant by `written`: another way to write it (`per-replica` for
/// `perReplica`), one it begins with or ends in, or one at most a third of its letters away.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Names are at most 63 characters; what is longer was not meant as one.
    const LONGEST: usize = 80;
    if written.is_empty() || written.len() > LONGEST {
        return None;
    }
    let plain = |s: &str| {
        s.chars().filter(|c| !matches!(c, '-' | '_' | '.' | ' ')).collect::<String>().to_lowercase()
    };
    let wanted = plain(written);
    known
        .into_iter()
        .filter_map(|name| {
            let candidate = plain(name);
            let distance = damerau_levenshtein(&wanted, &candidate);
            let allowed = (wanted.chars().count().max(candidate.chars().count()) / 3).max(1);
            let longer = wanted.len().max(candidate.len());
            let shorter = wanted.len().min(candidate.len());
            let overlaps = shorter >= 3
                && longer <= 2 * shorter + 2
                && (candidate.starts_with(&wanted) || wanted.starts_with(&candidate));
            (distance <= allowed && distance < shorter.max(2) || overlaps).then_some((distance, name))
        })
        .min()
        .map(|(_, name)| name)
}

/// A sentence's start as it reads within another; an abbreviation keeps its capitals.
pub(crate) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// The first sentence or line of a description.
pub(crate) fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or(text);
    line.split(". ").next().unwrap_or(line).trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let known = ["perReplica", "signal", "target", "tolerance", "scaleOutCooldown", "p95", "min", "max"];
        for (written, meant) in [
            ("perReplcia", Some("perReplica")),
            ("per-replica", Some("perReplica")),
            ("PER_REPLICA", Some("perReplica")),
            ("signals", Some("signal")),
            ("singal", Some("signal")),
            ("p96", Some("p95")),
            ("scaleOut", Some("scaleOutCooldown")),
            ("colour", None),
            ("", None),
            ("x", None),
            ("minimum", Some("min")),
            ("mi", Some("min")),
            ("ma", Some("max")),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }

    #[test]
    fn a_quote_is_short_and_shows_no_control_character() {
        assert_eq!(brief("a\u{1b}[31mb\u{202e}c\td"), "a\u{fffd}[31mb\u{fffd}c d");
        assert_eq!(brief(&"x".repeat(1000)).chars().count(), LONGEST_QUOTE + 1);
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        assert_eq!(choices(["a"]), "`a`");
        assert_eq!(choices(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(choices([]), "nothing");
    }
}
