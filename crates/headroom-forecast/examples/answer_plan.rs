//! Answers an evaluation plan: `answer_plan DIR OUT.csv` reads `DIR/origins.json` and the files it names.
//!
//! Times are those of the thread on a processor (from `/proc`), as the plan's own methods count theirs;
//! where that can't be read, wall time.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the ban is for the library; this is where the clock comes in")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, dir, out] = args.as_slice() else {
        eprintln!("usage: answer_plan DIR OUT.csv");
        return ExitCode::from(2);
    };
    let dir = Path::new(dir);
    let began = Instant::now();
    let millis = || cpu_millis().unwrap_or_else(|| began.elapsed().as_secs_f64() * 1e3);
    let answer = std::fs::read_to_string(dir.join("origins.json"))
        .map_err(|e| format!("{}: {e}", dir.join("origins.json").display()))
        .and_then(|plan| {
            headroom_forecast::answer_plan(&plan, |file| std::fs::read_to_string(dir.join(file)), millis)
                .map_err(|e| e.to_string())
        })
        .and_then(|text| std::fs::write(out, text).map_err(|e| format!("{out}: {e}")));
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Milliseconds this thread has been on a processor.
fn cpu_millis() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanos / 1e6)
}
