//! Every table, in full. The files stand in `cases/`; newer ones can be tried with `headroom conformance FILE…`.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

use headroom_conformance::{Outcome, run};

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
