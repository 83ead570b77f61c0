//! Policies as files: the examples, everything that can be wrong with a file as a file, and what a load gives.

use std::fs;
use std::path::{Path, PathBuf};

use headroom_config::{ConfigError, MAX_FILE_BYTES, Severity, load, parse};

const GOOD: &str = "\
apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: { name: shop }
spec:
  workloads:
    web:
      target: { process: { command: [./web] } }
      replicas: { min: 1, max: 5 }
      signals: { cpu: { process: cpu } }
      strategies: [ { threshold: { signal: cpu } } ]
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn refused(path: &Path) -> ConfigError {
    load(path).expect_err("accepted")
}

/// The report, with the folder of the test taken out.
fn report(error: &ConfigError, folder: &Path) -> String {
    error.to_string().replace(&folder.display().to_string(), "DIR")
}

#[test]
fn every_example_is_a_policy_without_warnings() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(loaded.warnings, [], "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} examples");
}

#[test]
fn a_resolved_policy_reads_back_as_the_same_fleet() {
    for example in ["web", "threshold", "target-tracking", "hpa", "any-all", "fast-steps"] {
        let loaded = load(&root().join(format!("examples/{example}.yaml"))).unwrap();
        let resolved = serde_json::to_string_pretty(&loaded.fleet.document()).unwrap();
        let again = parse("resolved.yaml", &resolved).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.fleet, loaded.fleet, "{example}: JSON is YAML, and defaults change nothing");
    }
}

#[test]
fn what_is_no_policy_file_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("latin1.yaml"), b"kind: Fleet\nmetadata: { name: caf\xe9 }\n").unwrap();
    fs::write(at("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    fs::write(at("large.yaml"), vec![b'#'; MAX_FILE_BYTES as usize + 1]).unwrap();
    fs::write(at("a-file"), "").unwrap();
    let reports: Vec<String> =
        ["missing.yaml", ".", "latin1.yaml", "binary.yaml", "large.yaml", "a-file/fleet.yaml"]
            .iter()
            .map(|name| report(&refused(&at(name)), dir.path()))
            .collect();
    insta::assert_snapshot!(reports.join("\n\n"));
}

/// Root may read everything, so the test can only be made where files can be kept from the user.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_refused_with_a_reason() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    fs::write(&path, GOOD).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        assert!(load(&path).is_ok(), "who may read the file may load it");
    } else {
        assert_eq!(refused(&path).diagnostics()[0].message, "the policy file may not be read");
    }
}

#[test]
fn a_file_of_exactly_the_limit_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    let padding = MAX_FILE_BYTES as usize - GOOD.len() - 1;
    fs::write(&path, format!("{GOOD}#{}", "x".repeat(padding))).unwrap();
    assert!(load(&path).is_ok());
}

#[test]
fn relative_paths_start_at_the_policys_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    fs::write(&path, GOOD).unwrap();
    assert_eq!(load(&path).unwrap().base, dir.path());
    assert_eq!(parse("some/where/fleet.yaml", GOOD).unwrap().base, Path::new("some/where"));
    assert_eq!(parse("fleet.yaml", GOOD).unwrap().base, Path::new(""));
}

#[test]
fn the_digest_is_of_the_text() {
    let digest = |text: &str| parse("a.yaml", text).unwrap().digest;
    assert_eq!(digest(GOOD), digest(GOOD));
    assert_ne!(digest(GOOD), digest(&format!("{GOOD}# a comment\n")));
    assert_eq!(digest(GOOD).len(), 64);
    let bad = parse("a.yaml", "").unwrap_err();
    assert_eq!(bad.digest().map(str::len), Some(64));
}

#[test]
fn a_mark_at_the_start_windows_line_ends_and_a_document_start_change_nothing() {
    let fleet = parse("a.yaml", GOOD).unwrap().fleet;
    for text in [
        format!("\u{feff}{GOOD}"),
        GOOD.replace('\n', "\r\n"),
        format!("---\n{GOOD}...\n"),
        format!("# a comment\n{GOOD}"),
    ] {
        assert_eq!(parse("a.yaml", &text).unwrap_or_else(|e| panic!("{e}")).fleet, fleet);
    }
}

#[test]
fn an_alias_stands_for_its_value() {
    let text = GOOD.replace("    web:", "    web: &web") + "    api: *web\n";
    let fleet = parse("a.yaml", &text).unwrap_or_else(|e| panic!("{e}")).fleet;
    let workloads: Vec<_> = fleet.workloads().values().collect();
    assert_eq!(workloads.len(), 2);
    assert_eq!(workloads[0], workloads[1]);
}

#[test]
fn a_word_that_yaml_1_1_reads_otherwise_is_a_warning() {
    let text = GOOD.replace("      replicas", "      tier: off\n      replicas");
    let loaded = parse("a.yaml", &text).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].severity, Severity::Warning);
    let quoted = text.replace("off", "\"off\"");
    assert_eq!(parse("a.yaml", &quoted).unwrap().warnings, []);
}

#[test]
fn a_program_gets_what_a_person_reads() {
    let text = GOOD.replace("signal: cpu", "signal: gpu");
    let error = parse("fleet.yaml", &text).unwrap_err();
    insta::assert_snapshot!(serde_json::to_string_pretty(error.diagnostics()).unwrap());
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let error = parse("fleet.yaml", "kind: Flet\n").unwrap_err();
    assert!(!error.render(false).contains('\u{1b}'));
    assert_eq!(error.render(false), error.to_string());
    let plain: String = {
        let mut out = String::new();
        let colored = error.render(true);
        let mut rest = colored.as_str();
        while let Some(start) = rest.find("\u{1b}[") {
            out.push_str(&rest[..start]);
            rest = rest[start..].split_once('m').unwrap().1;
        }
        out + rest
    };
    assert_eq!(plain, error.render(false), "colour changes no text");
}
