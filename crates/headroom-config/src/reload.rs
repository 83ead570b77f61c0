//! A policy file that changes while the fleet runs.
//!
//! The watcher says that there is a new text and what became of it; whoever runs the fleet decides. A bad text
//! arrives as an error like any other, so that the old fleet stays and the error is shown.
//!
//! The folder is watched, not the file: editors and Kubernetes put a new file (or link) in the old one's place,
//! which ends a watch on the file itself. Events only say that it is time to look; what counts is the digest of the
//! text, so a touched file is no change. And because events can fail to come (network file systems, a link into
//! another folder, too few inotify watches), the file is looked at every [`POLL`] as well.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::{ConfigError, Loaded, load};

/// How long the folder must be quiet before the file is read: longer than the pause between the truncating, the
/// writing and the renaming of one save, shorter than anybody waits.
const QUIET: Duration = Duration::from_millis(100);
/// The longest wait for quiet: a folder in which something is always written must not hide a change.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// How often the file is looked at when no event comes. A policy is a few kilobytes: reading it costs nothing.
const POLL: Duration = Duration::from_secs(2);

/// A text that differs from the one before, read and checked.
#[derive(Debug)]
pub struct Reloaded(pub Result<Loaded, ConfigError>);

/// Watches one policy file until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    // Dropped first: without it nobody pokes the thread, which ends it.
    events: Option<RecommendedWatcher>,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Calls `on_change` for every new text of the policy file at `path`, from a thread of its own. `current` is
    /// the [`Loaded::digest`] of the text in use: the same text is no news, nor is the same text (or the same
    /// failure to read) twice in a row.
    ///
    /// # Errors
    /// If no thread can be had. A folder that can't be watched is no error: the file is then looked at every two
    /// seconds.
    pub fn start(
        path: &Path,
        current: &str,
        on_change: impl FnMut(Reloaded) + Send + 'static,
    ) -> std::io::Result<Self> {
        let path = std::path::absolute(path)?;
        // One place is enough: a poke says "look", and one that waits already says it.
        let (poke, pokes) = sync_channel(1);
        let events = watch_folder(&path, poke.clone());
        let last = current.to_owned();
        let thread = thread::Builder::new()
            .name("policy-reload".to_owned())
            .spawn(move || follow(&path, &pokes, last, on_change))?;
        Ok(Self { events, stop: Some(poke), thread: Some(thread) })
    }

    /// Whether changes are noticed at once; `false` where the folder can't be watched and the file is only looked
    /// at every two seconds.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        self.events.is_some()
    }
}

impl Drop for Watcher {
    /// Waits for a call of `on_change` that is under way.
    fn drop(&mut self) {
        self.events = None;
        self.stop = None;
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != thread::current().id()) {
            // A panic in `on_change` has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn watch_folder(path: &Path, poke: SyncSender<()>) -> Option<RecommendedWatcher> {
    let folder = path.parent()?;
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error may mean lost events: look as well.
        if event.map_or(true, |event| is_change(event.kind)) {
            let _ = poke.try_send(());
        }
    })
    .ok()?;
    watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

/// Reading the file causes events too; they must not cause reading.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn follow(path: &Path, pokes: &Receiver<()>, mut last: String, mut on_change: impl FnMut(Reloaded)) {
    loop {
        match pokes.recv_timeout(POLL) {
            Ok(()) => {
                if !wait_for_quiet(pokes) {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let result = load(path);
        let seen = match &result {
            Ok(loaded) => loaded.digest.clone(),
            Err(error) => error.digest().map_or_else(|| error.to_string(), str::to_owned),
        };
        if seen != last {
            last = seen;
            on_change(Reloaded(result));
        }
    }
}

/// Waits until no poke has come for [`QUIET`], at most [`MAX_WAIT`]. `false` if the watcher is gone.
fn wait_for_quiet(pokes: &Receiver<()>) -> bool {
    let started = Instant::now();
    while started.elapsed() < MAX_WAIT {
        match pokes.recv_timeout(QUIET) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}
