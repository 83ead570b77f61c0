//! A scorer that shares no code with headroom: it says what its plant gets, headroom decides, it scores.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use headroom_core::names::WorkloadName;
use headroom_core::units::Replicas;
use headroom_sim::load::Load;
use headroom_sim::{Loads, Observer, SimulateOptions};

use super::{Figures, Named, fleet, settings};

/// Where the scorer is, and what with.
pub(super) struct Judge<'a> {
    pub(super) folder: &'a Path,
    pub(super) python: &'a Path,
    pub(super) start_up: u64,
}

/// Writes down what is asked for.
struct Decisions(String);

impl Observer for Decisions {
    fn desired(&mut self, _workload: &WorkloadName, seconds: f64, desired: Replicas) {
        self.0.push_str(&format!("{seconds},{desired}\n"));
    }
}

impl Judge<'_> {
    /// How headroom does on a trace.
    pub(super) fn ask(&self, named: &Named) -> Result<Figures> {
        let trace = named.file.as_deref().context("the scorer takes files only")?;
        let scratch = tempfile::tempdir()?;
        let (demand, decisions) = (scratch.path().join("demand.csv"), scratch.path().join("decisions.csv"));
        self.scorer("demand", trace, &["--out".as_ref(), demand.as_os_str()])?;
        let mut said = Decisions("time_s,desired\n".to_owned());
        let options = SimulateOptions { unscored: 0.0, ..settings(self.start_up) };
        headroom_sim::run(&fleet(true)?, &Loads::from(Load::trace_file(&demand)), &options, &mut said)?;
        std::fs::write(&decisions, said.0)?;
        let answer =
            self.scorer("score", trace, &["--json".as_ref(), "--decisions".as_ref(), decisions.as_os_str()])?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let figure = |name: &str| {
            answer["figures"][name].as_f64().with_context(|| format!("the scorer gives no `{name}`"))
        };
        Ok(Figures {
            who: "headroom, by the independent scorer".to_owned(),
            violating: figure("violation_share")?,
            worst: figure("violation_share")?,
            over_optimum: figure("cost_ratio")?,
            flaps_a_day: figure("flaps_per_day")?,
        })
    }

    fn scorer(&self, command: &str, trace: &Path, more: &[&std::ffi::OsStr]) -> Result<String> {
        let out = Command::new(self.python)
            .arg(self.folder.join("scorer.py"))
            .arg(command)
            .args(["--startup".as_ref(), self.start_up.to_string().as_ref()] as [&std::ffi::OsStr; 2])
            .arg("--trace")
            .arg(trace)
            .args(more)
            .output()
            .with_context(|| format!("{} can't be run; name one with `--python`", self.python.display()))?;
        let why = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "the scorer failed on {}: {why}", trace.display());
        Ok(String::from_utf8(out.stdout)?)
    }
}
