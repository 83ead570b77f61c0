//! The balancer as a program of its own, for tests and benchmarks; users call `headroom lb`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some("--socket"), Some(socket)) = (args.next().as_deref(), args.next()) else {
        eprintln!("usage: headroom-lb --socket PATH [--workers N]");
        return ExitCode::from(2);
    };
    let mut options = headroom_lb::Options::new(socket);
    if let (Some("--workers"), Some(n)) = (args.next().as_deref(), args.next()) {
        let Ok(n) = n.parse() else {
            eprintln!("--workers must be a number above 0, not `{n}`");
            return ExitCode::from(2);
        };
        options.workers = n;
    }
    match headroom_lb::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("headroom-lb: {e}");
            ExitCode::FAILURE
        }
    }
}
