//! Real CPU and real memory, on request and within bounds.
//!
//! Unlike [`capacity`](super::capacity), which only waits, this uses what it says: for tests whose
//! signal is the CPU or the memory of a process.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::random::mix;

/// Rounds of integer mixing per level: about 10 ms of a 3 GHz core in a release build. A fixed amount of
/// work, not of time, so that a crowded CPU takes longer over it, as over a real request.
const ROUNDS_PER_LEVEL: u64 = 5_000_000;
/// Burns that run at once. More than the cores of a small machine, fewer than would starve it.
const BURNS_AT_ONCE: usize = 4;
/// Burns that run or wait. At level 10 the last of them waits about 2 s for its turn.
const BURNS_ADMITTED: usize = 64;
const MEBIBYTE: usize = 1 << 20;

/// Keeps CPU burns within bounds.
#[derive(Debug)]
pub(super) struct Burner {
    admitted: Semaphore,
    running: std::sync::Arc<Semaphore>,
}

/// Too many burns at once: refused.
#[derive(Debug, thiserror::Error)]
#[error("{BURNS_ADMITTED} CPU burns already run or wait; ask again later")]
pub(super) struct TooManyBurns;

impl Burner {
    pub(super) fn new() -> Self {
        Self {
            admitted: Semaphore::new(BURNS_ADMITTED),
            running: std::sync::Arc::new(Semaphore::new(BURNS_AT_ONCE)),
        }
    }

    /// Uses CPU in proportion to `level`, away from the threads that answer requests.
    pub(super) async fn burn(&self, level: u8) -> Result<(), TooManyBurns> {
        let _place = self.admitted.try_acquire().map_err(|_| TooManyBurns)?;
        let turn = self.running.clone().acquire_owned().await.expect("the semaphore is never closed");
        let work = tokio::task::spawn_blocking(move || {
            let mixed =
                (0..u64::from(level) * ROUNDS_PER_LEVEL).fold(u64::from(level), |bits, i| mix(bits ^ i));
            std::hint::black_box(mixed);
            // The turn ends with the work, also when the client has gone meanwhile.
            drop(turn);
        });
        work.await.expect("mixing integers doesn't panic");
        Ok(())
    }
}

/// The memory held on request, up to a limit.
#[derive(Debug)]
pub(super) struct Ballast {
    limit: u32,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    mebibytes: u32,
    leaked: Vec<Vec<u8>>,
}

/// The limit would be passed: refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "{asked} MB more would pass the limit of {limit} MB, of which {held} MB are in use (`--memory-limit`)"
)]
pub(super) struct MemoryRefused {
    asked: u32,
    held: u32,
    limit: u32,
}

impl Ballast {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, held: Mutex::default() }
    }

    /// Mebibytes held now.
    pub(super) fn held(&self) -> u32 {
        self.lock().mebibytes
    }

    /// Sets `mebibytes` of the limit aside. Give them back with [`Ballast::release`].
    pub(super) fn reserve(&self, mebibytes: u32) -> Result<(), MemoryRefused> {
        let mut held = self.lock();
        let total = held.mebibytes.checked_add(mebibytes).filter(|total| *total <= self.limit);
        held.mebibytes =
            total.ok_or(MemoryRefused { asked: mebibytes, held: held.mebibytes, limit: self.limit })?;
        Ok(())
    }

    /// Gives back what was reserved.
    pub(super) fn release(&self, mebibytes: u32) {
        self.lock().mebibytes -= mebibytes;
    }

    /// Takes memory for good, as far as the limit allows.
    pub(super) fn leak(&self, mebibytes: u32) -> Result<(), MemoryRefused> {
        self.reserve(mebibytes)?;
        let memory = allocate(mebibytes);
        self.lock().leaked.push(memory);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory whose every page has been written, so that it is really in RAM.
pub(super) fn allocate(mebibytes: u32) -> Vec<u8> {
    vec![0xA5; mebibytes as usize * MEBIBYTE]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_refused_just_over_the_limit() {
        let ballast = Ballast::new(10);
        ballast.reserve(10).unwrap();
        let refused = ballast.reserve(1).unwrap_err();
        assert!(refused.to_string().contains("limit of 10 MB, of which 10 MB are in use"), "{refused}");
        ballast.release(1);
        ballast.leak(1).unwrap();
        assert!(ballast.leak(1).is_err());
        assert!(ballast.reserve(u32::MAX).is_err());
        assert_eq!(ballast.held(), 10);
    }
}
