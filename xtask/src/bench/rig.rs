//! A controller in its release build, as a process, for benchmarks of the whole program.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds the release program and gives its path.
pub(crate) fn program() -> Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "headroom"])
        .current_dir(crate::tidy::root())
        .status()?;
    if !built.success() {
        bail!("the release build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::tidy::root().join("target"), PathBuf::from);
    Ok(target.join("release/headroom"))
}

/// A folder with a policy, and the controller on it.
pub(crate) struct Rig {
    program: PathBuf,
    folder: tempfile::TempDir,
    controller: Option<Child>,
    server: String,
}

impl Rig {
    /// A rig on `policy`, running.
    pub(crate) fn start(program: &Path, policy: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("fleet.yaml"), policy)?;
        let mut rig = Self { program: program.to_owned(), folder, controller: None, server: String::new() };
        rig.restart()?;
        Ok(rig)
    }

    /// Starts the controller, and waits until it says where its page is.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let mut child = Command::new(&self.program)
            .args(["run", "--bind", "127.0.0.1:0", "-f"])
            .arg(self.folder.path().join("fleet.yaml"))
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the controller can't be started")?;
        let mut said = std::io::BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
        self.server = loop {
            let line = said.next().context("the controller ended before it served its page")??;
            if let Some(rest) =
                line.split_once("http://").map(|(_, rest)| rest).filter(|r| r.contains("/#token="))
            {
                break rest.split('/').next().unwrap_or_default().to_owned();
            }
        };
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || said.for_each(drop));
        self.controller = Some(child);
        Ok(())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.controller.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// The controller's pid.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.controller.as_ref().context("no controller runs")?.id())
    }

    /// Runs a command against this controller.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.program)
            .args(arguments)
            .args(["--server", &self.server, "--data"])
            .arg(self.folder.path().join("data"))
            .output()?;
        if !output.status.success() {
            bail!("headroom {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// `headroom status -o json`.
    pub(crate) fn status(&self) -> Result<serde_json::Value> {
        let output = Command::new(&self.program)
            .args(["status", "-o", "json", "--server", &self.server, "--data"])
            .arg(self.folder.path().join("data"))
            .output()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no status: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Waits until `condition` gives something of the status.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        condition: impl Fn(&serde_json::Value) -> Option<T>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.status().ok().as_ref().and_then(&condition) {
                return Ok(found);
            }
            if begun.elapsed() > PATIENCE {
                bail!("did not happen within {} s: {what}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where the first workload is reached, once `replicas` of it are ready.
    pub(crate) fn ready(&self, replicas: u64) -> Result<String> {
        self.wait("the first workload is served", |status| {
            let workload = status.pointer("/workloads/0")?;
            let listen = workload.get("listen")?.as_str()?;
            let ready = workload.pointer("/status/ready")?.as_u64()?;
            (ready >= replicas && !listen.ends_with(":0")).then(|| listen.to_owned())
        })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let Some(child) = &mut self.controller else { return };
        // A normal stop, so that replicas and balancer end with it.
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        let _ = child.wait();
    }
}
