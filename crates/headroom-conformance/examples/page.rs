//! Writes `docs/conformance.md`: `cargo run -p headroom-conformance --example page > docs/conformance.md`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    let mut reports = Vec::new();
    for path in paths {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        reports.push(headroom_conformance::run(name, &std::fs::read_to_string(&path)?)?);
    }
    print!("{}", headroom_conformance::page(&reports));
    Ok(())
}
