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

/// The report without the lists that grow with every strategy and every setting of a workload.
fn without_growing_lists(report: &str) -> String {
    let lists = [
        ("choose ", "`targetTracking`", "one of the strategies"),
        ("the settings here are ", "`strategies`", "those of a workload"),
    ];
    let line = |line: &str| {
        for (intro, member, stand_in) in lists {
            if let Some((before, list)) = line.split_once(intro)
                && list.contains(member)
            {
                return format!("{before}{intro}({stand_in})");
            }
        }
        line.to_owned()
    };
    report.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A mistake is reported with file, line, the text it is about and what to do.
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
            insta::assert_snapshot!(stem, without_growing_lists(&error.to_string()));
        });
    }
}
