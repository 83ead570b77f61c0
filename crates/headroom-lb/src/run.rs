//! The balancer's process: worker threads, the control thread, and an orderly end.

use std::{
    io,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    control::server::{Socket, SocketError},
    registry::Control,
    service::{ServiceShared, Table, Worker},
    settings::Millis,
    worker,
};

/// Reports of workers that wait to be read; more are dropped, since all they tell is also counted.
const REPORTS: usize = 1_024;

/// Time between looks whether requests are still in flight at the end.
const LOOK: Duration = Duration::from_millis(10);

/// How to run a balancer.
#[derive(Debug, Clone)]
pub struct Options {
    /// The control socket.
    pub socket: PathBuf,
    /// Worker threads. Default: one per core this process may use.
    pub workers: NonZeroUsize,
    /// Time between figures, at least 10 ms. Default 100 ms: ten a second lets a controller see a surge
    /// within its first fifth of a second, at no measurable cost.
    pub figures_interval: Millis,
    /// Longest time requests in flight have after SIGTERM or SIGINT. Default 30 s, A14's deregistration
    /// delay.
    pub drain: Millis,
}

impl Options {
    /// Defaults with this control socket.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            figures_interval: Millis(100),
            drain: Millis(30_000),
        }
    }
}

/// Why a balancer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Threads, runtimes or signal handlers.
    #[error("cannot start the balancer's {what}: {source}")]
    Start {
        /// What.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Runs a balancer on this thread and `options.workers` others, until it is told to end over its
/// socket or by SIGTERM or SIGINT. It starts empty; whoever claims it puts the services.
///
/// The process should have a session or process group of its own, or Ctrl-C meant for the controller
/// ends it too.
///
/// # Errors
/// See [`RunError`]; after it has started it does not fail.
///
/// # Panics
/// If it is called from within an async runtime.
pub fn run(options: &Options) -> Result<(), RunError> {
    raise_file_limit();
    let start = |what| move |source| RunError::Start { what, source };
    let control = Builder::new_current_thread().enable_all().build().map_err(start("control runtime"))?;
    let workers = options.workers.get();
    let applied: Arc<[AtomicU64]> = (0..workers).map(|_| AtomicU64::new(0)).collect();
    let (tables, table) = watch::channel(Arc::new(Table::default()));
    let (reports, reported) = mpsc::channel(REPORTS);
    let mut threads = Vec::with_capacity(workers);
    for index in 0..workers {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let (table, reports, applied) = (table.clone(), reports.clone(), Arc::clone(&applied));
        let runtime = move || Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let (started, starts) = std::sync::mpsc::sync_channel(1);
        let work = move || match runtime() {
            Ok(runtime) => {
                let random = std::cell::Cell::new(seed.as_nanos() as u64 ^ (index as u64) << 48);
                let _ = started.send(Ok(()));
                let _guard = EndWithWorker;
                runtime.block_on(worker::run(Worker { index, random, reports, applied }, table));
            }
            Err(e) => drop(started.send(Err(e))),
        };
        let thread = thread::Builder::new().name(format!("lb-worker-{index}")).spawn(work);
        threads.push(thread.map_err(start("worker thread"))?);
        let runs = starts.recv().unwrap_or_else(|_| Err(io::Error::other("it ended at once")));
        runs.map_err(start("worker runtime"))?;
    }
    drop((table, reports));
    let ended = control.block_on(serve(options, tables, reported, applied));
    // With its tasks goes the tables' sender, and without that the workers end.
    drop(control);
    for thread in threads {
        let _ = thread.join();
    }
    ended
}

async fn serve(
    options: &Options,
    tables: watch::Sender<Arc<Table>>,
    mut reported: mpsc::Receiver<crate::service::Report>,
    applied: Arc<[AtomicU64]>,
) -> Result<(), RunError> {
    let start = |source| RunError::Start { what: "signal handlers", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(start)?;
    // The terminal a controller was started from may close; this process goes on.
    let mut hangup = signal(SignalKind::hangup()).map_err(start)?;
    let period = options.figures_interval.duration().max(Duration::from_millis(10));
    let control = Control::new(applied.len(), period, tables, applied);
    let socket = Socket::bind(&options.socket)?;
    let mut stopping = control.stopping();
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let serving = socket.serve(&control);
    tokio::pin!(serving);
    tracing::info!(socket = %options.socket.display(), workers = options.workers, "balancer runs");
    let mut end: Option<(Instant, Vec<Arc<ServiceShared>>)> = None;
    loop {
        let drain = tokio::select! {
            () = &mut serving => None,
            Some(report) = reported.recv() => {
                control.report(report);
                None
            }
            now = ticks.tick() => {
                control.tick(now);
                None
            }
            _ = hangup.recv() => None,
            _ = terminate.recv() => Some(options.drain),
            _ = interrupt.recv() => Some(options.drain),
            Ok(()) = stopping.changed() => *stopping.borrow_and_update(),
            () = sleep(LOOK), if end.is_some() => None,
        };
        if let (Some(drain), None) = (drain, &end) {
            tracing::info!("balancer drains");
            end = Some((Instant::now() + drain.duration(), control.stop_all()));
        }
        if let Some((at, services)) = &end {
            let in_flight = |s: &Arc<ServiceShared>| s.tallies.iter().any(|t| t.in_flight.get() > 0);
            if Instant::now() >= *at || !services.iter().any(in_flight) {
                // What was accepted just before the end has its answer on the way to the kernel.
                sleep(LOOK).await;
                return Ok(());
            }
        }
    }
}

/// Ends the process if a worker panics: its listening socket would go on taking connections that nobody
/// serves, while a process that ended is started anew by its supervisor. A panic within one connection
/// ends only that.
struct EndWithWorker;

impl Drop for EndWithWorker {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// Raises the number of files this process may open to what it is allowed: every connection is two.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
