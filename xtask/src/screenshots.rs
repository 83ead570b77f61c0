//! Pictures of every view of the page: light and dark, wide and narrow, in both languages.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// Takes the pictures into `folder`: of every view, or of a controller that runs.
pub(crate) fn run(folder: &Path, of: Option<SocketAddr>, workload: Option<String>) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let taken = Command::new(env!("CARGO"))
        .args(["run", "--locked", "-p", "headroom-api", "--example", "page_pictures", "--"])
        .arg(&folder)
        .args(of.map(|address| address.to_string()))
        .args(workload)
        .current_dir(crate::tidy::root())
        .status()?;
    if !taken.success() {
        bail!("no pictures were taken; that needs Debian's packages chromium and chromium-driver");
    }
    Ok(())
}
