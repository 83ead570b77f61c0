//! Writes the code of the protocol of KEDA's external scalers anew: `cargo run -p xtask-proto`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What stands before the code.
const HEAD: &str = "//! The protocol of KEDA's external scalers, generated from `proto/externalscaler.proto` by \
                    `cargo run -p xtask-proto`.\n\n";

fn main() -> Result<()> {
    generate(&adapters().join("src/keda"))
}

fn adapters() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/headroom-adapters")
}

/// Writes `externalscaler.rs` into `folder`.
fn generate(folder: &Path) -> Result<()> {
    let protocols = adapters().join("proto");
    let files = protox::compile(["externalscaler.proto"], [&protocols])
        .with_context(|| format!("{} can't be read", protocols.display()))?;
    tonic_prost_build::configure().out_dir(folder).build_transport(false).compile_fds(files)?;
    let path = folder.join("externalscaler.rs");
    let code = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{HEAD}{code}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_the_published_protocol() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let committed = read(adapters().join("src/keda/externalscaler.rs"));
        let fresh = read(folder.path().join("externalscaler.rs"));
        assert!(
            committed == fresh,
            "run `cargo run -p xtask-proto` and commit crates/headroom-adapters/src/keda"
        );
    }
}
