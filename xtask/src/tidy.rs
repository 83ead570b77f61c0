//! What the compiler can't check: who may use whom, which spec ids are shown, what must not stand in the tree, and what
//! stands beside each strategy and guard.
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

/// Files among the strategies and guards that are neither.
const HELPERS: &[&str] = &["adjust", "harness", "mod", "testing", "urgency", "velocity"];
/// Guards whose setting is not called as their file is; nothing for those that need none and hold everywhere.
const SETTINGS: &[(&str, &str)] = &[
    ("absence", ""),
    ("bounds", "replicas"),
    ("freeze", ""),
    ("gradual", "gradualSteps"),
    ("settled", ""),
    ("share", "limits"),
    ("stabilise", "stabilization"),
    ("step", "policies"),
];

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
    kinds(&mut findings)?;
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

/// Each strategy and each guard says where its rule and its defaults come from, and has a scenario with an example policy.
fn kinds(findings: &mut Vec<String>) -> Result<()> {
    let root = root();
    for folder in ["strategy", "guard"] {
        for entry in std::fs::read_dir(root.join("crates/headroom-core/src").join(folder))? {
            let mut path = entry?.path();
            if path.is_dir() {
                path = path.join("mod.rs");
            }
            // The name of a folder's `mod.rs` is that of the folder.
            let named = if path.ends_with("mod.rs") { path.parent() } else { Some(path.as_path()) };
            let module = named.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
            let (Some(module), Ok(code)) = (module, std::fs::read_to_string(&path)) else { continue };
            if HELPERS.contains(&module.as_str()) || module == folder {
                continue;
            }
            let file = format!("scenarios/{}.yaml", module.replace('_', "-"));
            let scenario = std::fs::read_to_string(root.join(&file)).ok();
            let policy = scenario.as_deref().and_then(policy_of);
            let policy =
                policy.and_then(|file| std::fs::read_to_string(root.join("examples").join(file)).ok());
            let missing = missing_of(&module, &code, scenario.as_deref(), policy.as_deref());
            findings.extend(missing.into_iter().map(|what| format!("{folder} {module}: {what} ({file})")));
        }
    }
    Ok(())
}

/// The example policy that a scenario is about.
fn policy_of(scenario: &str) -> Option<&str> {
    scenario.lines().find_map(|line| line.strip_prefix("policy: ../examples/"))
}

/// What a strategy or guard lacks of all that stands beside it.
fn missing_of(module: &str, code: &str, scenario: Option<&str>, policy: Option<&str>) -> Vec<String> {
    let mut missing = Vec::new();
    if !code.lines().take_while(|line| line.starts_with("//!")).any(|line| line.starts_with("//! Source")) {
        missing
            .push("its module doc names no source; end it with `Source of rule and defaults: …`".to_owned());
    }
    if scenario.is_none() {
        missing.push("it has no scenario".to_owned());
    }
    let exception = SETTINGS.iter().find(|(name, _)| *name == module);
    let setting = exception.map_or_else(|| camel_case(module), |(_, setting)| (*setting).to_owned());
    let shown = |policy: &str| setting.is_empty() || policy.contains(&format!("{setting}:"));
    if !policy.is_some_and(shown) {
        missing.push(format!("its scenario's `policy` is no policy in examples/ with `{setting}`"));
    }
    missing
}

fn camel_case(snake_case: &str) -> String {
    let mut words = snake_case.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let mut letters = word.chars();
        let capital = letters.next().map(|c| c.to_ascii_uppercase());
        text + &capital.into_iter().chain(letters).collect::<String>()
    })
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
    fn what_is_missing_of_a_kind_is_named() {
        let (sourced, scenario) = ("//! Why.\n//!\n//! Source: A1.\n", "policy: ../examples/any-all.yaml\n");
        let policy = "strategies:\n  - anyAll: {}\n";
        assert_eq!(policy_of(scenario), Some("any-all.yaml"));
        let missing = |module, code, scenario, policy| missing_of(module, code, scenario, policy).len();
        assert_eq!(missing("any_all", sourced, Some(scenario), Some(policy)), 0);
        assert_eq!(
            missing("any_all", "//! Why.\nfn x() {}\n//! Source: A1.\n", Some(scenario), Some(policy)),
            1
        );
        assert_eq!(missing("dual_window", sourced, Some(scenario), Some(policy)), 1, "another's policy");
        assert_eq!(missing("any_all", sourced, None, None), 2);
        assert_eq!(missing("settled", sourced, Some(scenario), Some("")), 0, "it has no setting");
        assert_eq!(missing("gradual", sourced, Some(scenario), Some("gradualSteps: {}")), 0);
    }

    #[test]
    fn the_tree_is_tidy() {
        if let Err(error) = run() {
            panic!("{error}; run `cargo xtask tidy` to see them");
        }
    }
}
