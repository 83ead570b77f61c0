//! `cargo xtask swarm`: as many random fleets as fit into a time.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use headroom_core::units::Span;
use headroom_sim::swarm::{self, Size, Violation};

/// How long, and from which seed.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long to go on, such as 10m.
    #[arg(long = "for", value_name = "SPAN", default_value = "1m")]
    lasts: Span,
    /// The first seed; by default one that differs from run to run. It is printed.
    #[arg(long)]
    from: Option<u64>,
    /// Fly this one seed and nothing else.
    #[arg(long, conflicts_with_all = ["from", "lasts"])]
    seed: Option<u64>,
    /// How many to fly at a time; by default one per processor.
    #[arg(long)]
    threads: Option<usize>,
}

/// Flies until the time is over.
pub(crate) fn run(options: &Options) -> ExitCode {
    if let Some(seed) = options.seed {
        let report = match swarm::run(seed) {
            Ok(report) => report,
            Err(violation) => return tell(&violation),
        };
        println!(
            "seed {seed}: {} inputs, {} actions, digest {:016x}",
            report.size.inputs, report.size.actions, report.digest
        );
        return ExitCode::SUCCESS;
    }
    let from = options.from.unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |d| d.as_secs()) * 1_000_000
    });
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1)
        .max(1);
    let until = Instant::now() + options.lasts.as_std();
    eprintln!("flying from seed {from} on, {threads} at a time, for {}", options.lasts);
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let (sum, broken) = (Mutex::new((0_u64, Size::default())), Mutex::new(None::<Violation>));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                    match swarm::run(next.fetch_add(1, Ordering::Relaxed)) {
                        Ok(report) => {
                            let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            *sum = (sum.0 + 1, sum.1.and(report.size));
                        }
                        Err(violation) => {
                            stop.store(true, Ordering::Relaxed);
                            *broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                                Some(violation);
                        }
                    }
                }
            });
        }
        let mut told = Instant::now();
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            if told.elapsed() > Duration::from_secs(30) {
                told = Instant::now();
                let (fleets, _) = *sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                eprintln!("{fleets} fleet-days");
            }
        }
    });
    let (fleets, size) = *sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!(
        "{fleets} fleet-days from seed {from} on: {} workload-days, {} kinds of fault planned, {} inputs, {} \
         decisions, {} actions, {} restores",
        size.workloads, size.faults, size.inputs, size.decisions, size.actions, size.restores
    );
    match broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(violation) => tell(&violation),
        None => ExitCode::SUCCESS,
    }
}

/// Says what broke and what shows it again.
fn tell(violation: &Violation) -> ExitCode {
    eprintln!("{violation}\nshow it again: cargo run --release -p xtask -- swarm --seed {}", violation.seed);
    ExitCode::FAILURE
}
