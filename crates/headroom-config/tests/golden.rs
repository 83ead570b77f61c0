//! What people read when a policy is wrong: one file of mistakes each in `tests/bad`, and the whole report.
//!
//! `INSTA_UPDATE=always cargo test -p headroom-config --test golden` writes the reports anew; read them as the
//! person who made the mistake.

use std::fs;
use std::path::Path;

use headroom_config::ConfigError;

fn refused(name: &str, text: &str) -> ConfigError {
    match headroom_config::parse(name, text) {
        Ok(_) => panic!("{name} was accepted"),
        Err(error) => error,
    }
}

/// C8: a mistake is reported with file, line, the text it is about and what to do.
#[test]
fn every_mistake_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "only {} files", files.len());
    for file in files {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let error = refused("fleet.yaml", &fs::read_to_string(&file).unwrap());
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(stem, error.to_string());
        });
    }
}
