//! `cargo run -p headroom-conformance --example conformance -- FILE…`: what the `headroom conformance` command prints.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let report = headroom_conformance::run(&path, &std::fs::read_to_string(&path)?)?;
        println!("{report}");
    }
    Ok(())
}
