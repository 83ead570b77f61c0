//! `headroom test`: scenarios beside a policy, with expectations. Made for CI.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use headroom_sim::scenario::{Scenario, ScenarioReport};

use crate::cli::Test;
use crate::exit::Exit;
use crate::output::Printer;

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
    let all = reports.iter().all(ScenarioReport::passed);
    printer.print(&reports, |reports| text(reports, &files))?;
    Ok(if all { Exit::Success } else { Exit::Difference })
}

/// The scenario files of a path: itself, or those of a folder, by name.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("{} can't be read", path.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    found.sort();
    files.extend(found);
    Ok(())
}

fn one(file: &Path) -> Result<ScenarioReport> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} can't be read"))?;
    let scenario = Scenario::parse(&text).with_context(|| format!("{name} is no scenario"))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let loaded = super::check::load(&folder.join(&scenario.policy))?;
    scenario.run(&Arc::new(loaded.fleet), folder).with_context(|| format!("{name} can't be run"))
}

fn text(reports: &[ScenarioReport], files: &[PathBuf]) -> String {
    let mut out = String::new();
    let mut failed = 0;
    for (report, file) in reports.iter().zip(files) {
        let mark = if report.passed() { "pass" } else { "FAIL" };
        out.push_str(&format!("{mark}  {}  ({})\n", report.scenario, file.display()));
        for check in report.checks.iter().filter(|check| !check.met) {
            failed += 1;
            out.push_str(&format!("      expected {}, saw {}\n", check.expected, check.saw));
        }
    }
    let passed = reports.iter().filter(|r| r.passed()).count();
    out.push_str(&format!("{passed} of {} scenarios passed, {failed} expectations not met\n", reports.len()));
    out
}
