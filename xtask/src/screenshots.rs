//! Pictures of every view of the page: light and dark, wide and narrow, in both languages.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// Takes the pictures into `folder`.
pub(crate) fn run(folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let taken = Command::new(env!("CARGO"))
        .args(["run", "--locked", "-p", "headroom-api", "--example", "page_pictures", "--"])
        .arg(&folder)
        .current_dir(crate::tidy::root())
        .status()?;
    if !taken.success() {
        bail!("no pictures were taken; that needs Debian's packages chromium and chromium-driver");
    }
    Ok(())
}
