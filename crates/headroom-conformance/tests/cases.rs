//! Every table, in full. The files stand in `cases/`; newer ones can be tried with `headroom conformance FILE…`.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use headroom_conformance::{Outcome, page, run};

fn every_file() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 11, "the tables are part of this repository");
    files
}

/// No case fails, and every kind that is not answered is on the list with its reason.
#[test]
fn every_case_passes_or_stands_on_a_list() {
    for (name, json) in every_file() {
        let report = run(&name, &json).unwrap();
        assert!(report.is_fine(), "{report}");
        for verdict in report.verdicts() {
            assert!(
                !matches!(verdict.outcome, Outcome::Unsupported("no such question is known")),
                "{} asks {}, which is on no list",
                verdict.id,
                verdict.kind
            );
        }
    }
}

/// The page says what the run says.
#[test]
fn the_committed_page_is_the_generated_one() {
    let reports: Vec<_> = every_file().iter().map(|(name, json)| run(name, json).unwrap()).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == page(&reports),
        "docs/conformance.md is out of date: see its head for the command that writes it"
    );
}

/// A file that is none is refused with its name, and a kind nobody knows is not taken for a success.
#[test]
fn what_is_no_table_is_refused() {
    assert!(run("x.json", "{}").unwrap_err().to_string().contains("x.json"));
    let json = r#"{ "peer": "hpa", "cases": [
        { "id": "hpa-x", "given": { "kind": "nonsense" }, "expect": { "replicas": 1 } },
        { "id": "hpa-y", "given": { "kind": "per_pod_usage" }, "expect": { "usage_milli": 1 } },
        { "id": "hpa-z", "given": { "kind": "per_pod_usage", "usage_milli": 1000, "status_replicas": 3 },
          "expect": { "usage_milli": 333 } } ] }"#;
    let report = run("x.json", json).unwrap();
    assert_eq!((report.passed(), report.failed(), report.unsupported()), (0, 2, 1));
    let text = serde_json::to_value(&report).unwrap();
    assert_eq!(text["failures"][1]["expected"], 333);
    assert_eq!(text["failures"][1]["actual"], 334);
}
