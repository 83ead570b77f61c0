//! What is generated from the config types and committed is what the types say today.

use std::fs;
use std::path::Path;

fn committed(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap_or_default()
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    assert!(
        committed("schemas/fleet.v1alpha1.json") == headroom_config::schema_text(),
        "schemas/fleet.v1alpha1.json is out of date: run `cargo xtask generate` and commit what it writes"
    );
}

#[test]
fn the_committed_reference_is_the_generated_one() {
    assert!(
        committed("docs/reference/policy.md") == headroom_config::policy_reference(),
        "docs/reference/policy.md is out of date: run `cargo xtask generate` and commit what it writes"
    );
}

/// Every setting is explained.
#[test]
fn every_setting_has_a_description() {
    let schema = headroom_config::schema();
    let mut bare = Vec::new();
    for (name, def) in schema["$defs"].as_object().unwrap() {
        for (key, setting) in def["properties"].as_object().into_iter().flatten() {
            if setting["description"].as_str().is_none_or(str::is_empty) {
                bare.push(format!("{name}.{key}"));
            }
        }
    }
    assert_eq!(bare, Vec::<String>::new());
}
