//! What the compiler can't check: who may use whom, which spec ids are shown, what must not stand in the tree.
//!
//! `ARCHITECTURE.md` names the invariants; the ones enforced here say so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Crates that do IO, keep time or draw numbers: not for the pure ones.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "axum",
    "rusqlite",
    "rustix",
    "tracing",
    "reqwest",
    "rand",
    "getrandom",
    "notify",
    "procfs",
    "async-trait",
    "futures-util",
];
/// The pure crates.
const PURE: &[&str] = &["headroom-core", "headroom-forecast", "headroom-sim", "headroom-config"];
/// What a pure crate may use all the same, with the reason.
const ALLOWED: &[(&str, &str)] = &[
    // Watches the policy file; the part that parses does no IO.
    ("headroom-config", "notify"),
];
/// Who may use which crate of ours: everything else is forbidden.
const LAYERS: &[(&str, &[&str])] = &[
    ("headroom-core", &["headroom-forecast"]),
    ("headroom-forecast", &[]),
    ("headroom-lb", &[]),
    ("headroom-conformance", &["headroom-core"]),
    ("headroom-config", &["headroom-core"]),
    ("headroom-engine", &["headroom-core", "headroom-forecast"]),
    ("headroom-adapters", &["headroom-core", "headroom-engine", "headroom-lb"]),
    ("headroom-sim", &["headroom-core", "headroom-forecast", "headroom-config"]),
    ("headroom-api", &["headroom-core", "headroom-engine"]),
    ("headroom-testkit", &["headroom-core", "headroom-engine"]),
    ("headroom-sample", &[]),
];
/// Heavy clients: only in the adapters (invariant 10).
const HEAVY: &[&str] = &["kube", "redis", "async-nats", "tonic", "lettre"];
/// Marks of unfinished work.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "#[ignore"];

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Runs every check; all findings at once.
pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    dependencies(&mut findings)?;
    sources(&mut findings)?;
    spec_ids(&mut findings)?;
    if findings.is_empty() {
        println!("tidy");
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("{} findings", findings.len());
}

/// The names in a manifest's `[dependencies]`.
fn dependencies_of(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            && let Some(name) =
                line.split(['.', '=', ' ']).next().filter(|n| !n.is_empty() && !n.starts_with('#'))
        {
            names.insert(name.to_owned());
        }
    }
    names
}

fn dependencies(findings: &mut Vec<String>) -> Result<()> {
    let mut manifests = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        if let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) {
            let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            manifests.insert(name, dependencies_of(&manifest));
        }
    }
    manifests.insert(
        "headroom-sample".to_owned(),
        dependencies_of(&std::fs::read_to_string(root().join("sample/Cargo.toml"))?),
    );
    for (name, uses) in &manifests {
        if PURE.contains(&name.as_str()) {
            for dependency in uses.iter().filter(|d| IMPURE.contains(&d.as_str())) {
                if !ALLOWED.contains(&(name.as_str(), dependency.as_str())) {
                    findings.push(format!("{name} is pure and must not use {dependency} (invariant 1)"));
                }
            }
        }
        if name != "headroom-adapters" {
            for heavy in uses.iter().filter(|d| HEAVY.contains(&d.as_str()) || d.starts_with("aws-")) {
                findings
                    .push(format!("{name} uses {heavy}; heavy clients live in the adapters (invariant 10)"));
            }
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| layer == name) else {
            if name != "headroom" {
                findings.push(format!("{name} stands in no layer; add it to LAYERS in xtask/src/tidy.rs"));
            }
            continue;
        };
        for ours in uses.iter().filter(|d| d.starts_with("headroom")) {
            if !allowed.contains(&ours.as_str()) {
                findings.push(format!("{name} must not use {ours} (ARCHITECTURE.md, map of crates)"));
            }
        }
    }
    Ok(())
}

/// Every file of the tree that git would track, by its path from the root.
fn files() -> Result<Vec<PathBuf>> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()?;
    if !listed.status.success() {
        bail!("git can't list the files: {}", String::from_utf8_lossy(&listed.stderr));
    }
    Ok(String::from_utf8_lossy(&listed.stdout).lines().map(PathBuf::from).collect())
}

fn sources(findings: &mut Vec<String>) -> Result<()> {
    for path in files()? {
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("xtask/src/tidy.rs") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for mark in UNFINISHED.iter().filter(|mark| line.contains(*mark)) {
                findings.push(format!("{}:{}: unfinished: {mark}", path.display(), number + 1));
            }
        }
        let has_module_doc =
            text.lines().find(|l| !l.trim().is_empty()).is_some_and(|l| l.starts_with("//!"));
        if !has_module_doc && !path.starts_with("crates/headroom-lb/benches") {
            findings.push(format!("{}: a file starts with `//!` and says why it exists", path.display()));
        }
    }
    Ok(())
}

/// Invariant 12: each id of the specification is named by a test, or stands on the list of what is not yet there.
fn spec_ids(findings: &mut Vec<String>) -> Result<()> {
    let list = std::fs::read_to_string(root().join("docs/spec-ids.md"))?;
    let mut ids = BTreeSet::new();
    let mut not_yet = BTreeSet::new();
    for line in list.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(id), Some(state)) = (cells.next(), cells.nth(1)) else { continue };
        if is_id(id) {
            ids.insert(id.to_owned());
            if state.starts_with("not yet") {
                not_yet.insert(id.to_owned());
            }
        }
    }
    let mut named = BTreeSet::new();
    for path in files()?.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
        named.extend(ids_of_tests(&text));
    }
    for id in &ids {
        // The other way round is fine: a part may be shown while the list says what is missing of the whole.
        if !named.contains(id) && !not_yet.contains(id) {
            findings.push(format!(
                "{id} is neither named by a test nor marked `not yet` in docs/spec-ids.md (invariant 12)"
            ));
        }
    }
    if ids.len() < 60 {
        findings.push(format!("docs/spec-ids.md names only {} ids", ids.len()));
    }
    Ok(())
}

fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| matches!(c, 'A'..='D')) && chars.as_str().parse::<u32>().is_ok_and(|n| n > 0)
}

/// The ids named in the doc comments of tests: `/// A14: …` above `#[test]`.
fn ids_of_tests(text: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut pending: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            let words = comment.split(|c: char| !c.is_ascii_alphanumeric());
            pending.extend(words.filter(|word| is_id(word)).map(str::to_owned));
        } else if line.starts_with("#[test")
            || line.starts_with("#[tokio::test")
            || line.starts_with("#[rstest")
        {
            ids.extend(pending.drain(..));
        } else if !line.starts_with("#[") && !line.is_empty() {
            pending.clear();
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_only_above_a_test() {
        let text = "/// A14: drains.\n#[test]\nfn a() {}\n/// B2 in a type's doc.\nstruct S;\n/// A1, C5\n#[tokio::test]\nasync fn b() {}";
        let ids: Vec<_> = ids_of_tests(text).into_iter().collect();
        assert_eq!(ids, ["A1", "A14", "C5"]);
    }

    #[test]
    fn the_tree_is_tidy() {
        if let Err(error) = run() {
            panic!("{error}; run `cargo xtask tidy` to see them");
        }
    }
}
