//! What headroom does differently on purpose, and what it does not answer, each with its reason.

/// Cases that differ on purpose: their name, and why.
pub const EXCEPTIONS: &[(&str, &str)] = &[];

/// Kinds of question that are no decision rule of headroom: the peer's prefix, the kind, and why.
pub const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("vpa", "*", "vertical recommendations are not made yet"),
    ("ca", "*", "machines are not bought or returned yet"),
    ("aws", "*", "not run yet"),
    ("keda", "*", "not run yet"),
    ("kpa", "*", "not run yet"),
    ("nomad", "*", "not run yet"),
    ("phpa", "*", "not run yet"),
    ("wpa", "*", "not run yet"),
];

/// Why the case called `id` differs, if it does on purpose.
pub(crate) fn exception(id: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(name, _)| *name == id).map(|(_, why)| *why)
}

/// Why a question is not answered.
pub(crate) fn why_unsupported(family: &str, kind: &str) -> &'static str {
    UNSUPPORTED
        .iter()
        .find(|(f, k, _)| *f == family && (*k == kind || *k == "*"))
        .map_or("no such question is known", |(_, _, why)| *why)
}
