//! Where things lie.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The data directory: the one named, else headroom's folder in the user's state directory (XDG base directory
/// specification).
pub(crate) fn data_dir(named: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(named) = named {
        return std::path::absolute(named).with_context(|| format!("{} can't be resolved", named.display()));
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let root =
        state.or_else(home).context("neither --data, XDG_STATE_HOME nor HOME says where data may be kept")?;
    Ok(root.join("headroom"))
}

/// The token that state-changing requests need.
pub(crate) fn token(data: &std::path::Path) -> PathBuf {
    data.join("token")
}
