//! The examples of the documentation, as tests run them: a page that no longer works fails its test.

use std::path::Path;

/// The first policy on a page of `docs/`, such as `sources/kafka`, as YAML, with its texts replaced by the test's.
///
/// # Panics
/// Where the page can't be read, has no policy, or lacks a text that is to be replaced.
#[must_use]
pub fn policy(page: &str, replace: &[(&str, &str)]) -> String {
    block(page, "yaml", replace)
}

/// The first example of a kind (`yaml`, `text`, …) on a page, with its texts replaced by the test's.
///
/// # Panics
/// As [`policy`].
#[must_use]
pub fn block(page: &str, kind: &str, replace: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/{page}.md"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let found = text.split(&format!("```{kind}\n")).nth(1).and_then(|rest| rest.split("```").next());
    let mut found = found.unwrap_or_else(|| panic!("{page} has no example of {kind}")).to_owned();
    for (from, to) in replace {
        assert!(found.contains(from), "the example of {page} has no {from}");
        found = found.replace(from, to);
    }
    found
}
