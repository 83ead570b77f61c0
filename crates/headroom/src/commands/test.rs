//! `headroom test`: scenarios beside a policy, with expectations, and decisions taken out of the journal. Made for CI.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use headroom_core::say::{Language, headline};
use headroom_engine::journal::TestCase;
use headroom_sim::Outcome;
use headroom_sim::scenario::{Check, Scenario};
use serde::Serialize;

use crate::cli::Test;
use crate::exit::Exit;
use crate::output::Printer;

/// What came of one file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    file: PathBuf,
    scenario: String,
    passed: bool,
    checks: Vec<Check>,
    /// The run of a scenario, for a closer look.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

impl Tested {
    fn new(file: &Path, scenario: String, checks: Vec<Check>, outcome: Option<Outcome>) -> Self {
        let passed = checks.iter().all(|check| check.met);
        Self { file: file.to_owned(), scenario, passed, checks, outcome }
    }
}

pub(crate) fn run(args: &Test, printer: Printer) -> Result<Exit> {
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, &mut files)?;
    }
    anyhow::ensure!(
        !files.is_empty(),
        "no scenario found; a scenario is a .yaml file, see docs/simulator.md"
    );
    let reports = files.iter().map(|file| one(file)).collect::<Result<Vec<_>>>()?;
    let all = reports.iter().all(|report| report.passed);
    if let Some(path) = &args.junit {
        std::fs::write(path, junit(&reports))
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    printer.print(&reports, |reports| text(reports))?;
    Ok(if all { Exit::Success } else { Exit::Difference })
}

/// The files of a path: itself, or those of a folder, by name.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("{} can't be read", path.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"))
        .collect();
    found.sort();
    files.extend(found);
    Ok(())
}

fn one(file: &Path) -> Result<Tested> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} can't be read"))?;
    if file.extension().is_some_and(|e| e == "json") {
        return decision(file, &text);
    }
    let scenario = Scenario::parse(&text).with_context(|| format!("{name} is no scenario"))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let loaded = super::check::load(&folder.join(&scenario.policy))?;
    let report =
        scenario.run(&Arc::new(loaded.fleet), folder).with_context(|| format!("{name} can't be run"))?;
    Ok(Tested::new(file, report.scenario, report.checks, Some(report.outcome)))
}

/// A decision as `headroom journal extract` gives it: the controller of today must decide the same.
fn decision(file: &Path, text: &str) -> Result<Tested> {
    let name = file.display();
    let case: TestCase = serde_json::from_str(text).with_context(|| {
        format!("{name} is no test case; `headroom journal extract --decision ID` writes one")
    })?;
    let decided = case
        .run()
        .map_err(|problems| anyhow::anyhow!("the policy in {name} is not valid any more: {problems:?}"))?;
    let met = decided.as_ref() == Some(&case.expected);
    let expected = headline(&case.expected, Language::English);
    let saw = match &decided {
        None => "no decision of that name".to_owned(),
        Some(decided) => match headline(decided, Language::English) {
            same if same == expected && !met => {
                format!("the same in short, but {}", serde_json::to_string(decided)?)
            }
            saw => saw,
        },
    };
    let check = Check { expected, saw, met };
    Ok(Tested::new(file, format!("decision {}", case.expected.id), vec![check], None))
}

fn text(reports: &[Tested]) -> String {
    let mut out = String::new();
    let mut failed = 0;
    for report in reports {
        let mark = if report.passed { "pass" } else { "FAIL" };
        out.push_str(&format!("{mark}  {}  ({})\n", report.scenario, report.file.display()));
        for check in report.checks.iter().filter(|check| !check.met) {
            failed += 1;
            out.push_str(&format!("      expected {}, saw {}\n", check.expected, check.saw));
        }
    }
    let passed = reports.iter().filter(|r| r.passed).count();
    out.push_str(&format!("{passed} of {} scenarios passed, {failed} expectations not met\n", reports.len()));
    out
}

/// The results as JUnit XML, as CI systems read it: a suite per file, a case per expectation.
fn junit(reports: &[Tested]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for report in reports {
        let failures = report.checks.iter().filter(|check| !check.met).count();
        xml.push_str(&format!(
            "  <testsuite name=\"{}\" file=\"{}\" tests=\"{}\" failures=\"{failures}\">\n",
            escape(&report.scenario),
            escape(&report.file.display().to_string()),
            report.checks.len()
        ));
        for check in &report.checks {
            let name = escape(&check.expected);
            let class = escape(&report.scenario);
            if check.met {
                xml.push_str(&format!("    <testcase classname=\"{class}\" name=\"{name}\"/>\n"));
            } else {
                xml.push_str(&format!(
                    "    <testcase classname=\"{class}\" name=\"{name}\"><failure message=\"saw {}\"/></testcase>\n",
                    escape(&check.saw)
                ));
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays_text_in_the_xml() {
        let check = |met| Check { expected: "never above 5 & <calm>".into(), saw: "\"9\"".into(), met };
        let tested = Tested::new(Path::new("a.yaml"), "a <b>".into(), vec![check(true), check(false)], None);
        assert!(!tested.passed);
        let xml = junit(&[tested]);
        assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
        assert!(xml.contains("a &lt;b&gt;") && xml.contains("saw &quot;9&quot;"), "{xml}");
    }
}
