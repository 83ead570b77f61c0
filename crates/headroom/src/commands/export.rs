//! `headroom export`, `completions`, `man`: what other programs need.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::{Cli, Export};
use crate::exit::Exit;
use crate::output;

pub(crate) fn run(what: Export) -> Result<Exit> {
    match what {
        Export::Schema => output::print(&headroom_config::schema_text())?,
        Export::Grafana => output::print(&format!("{:#}", headroom_api::export::dashboard()))?,
        Export::Alerts => output::print(&serde_saphyr::to_string(&headroom_api::export::alert_rules())?)?,
    }
    Ok(Exit::Success)
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Exit> {
    // Into memory first: the generator panics where it can't write, and a reader may have enough early.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "headroom", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}

pub(crate) fn man(folder: &Path) -> Result<Exit> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("the man pages can't be written into {}", folder.display()))?;
    Ok(Exit::Success)
}
