//! Deadlines of connections.
//!
//! A request sets several deadlines and meets nearly all of them, so setting one must cost nothing:
//! it stores a time. The timer itself is armed at the earliest time ever asked for and looks, when it
//! fires, whether the deadline has moved.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that moves cheaply.
#[derive(Debug)]
pub(crate) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Deadline {
    pub(crate) fn after(length: Duration) -> Self {
        let at = Instant::now() + length;
        Self { sleep: Box::pin(sleep_until(at)), at }
    }

    /// Moves the deadline to `length` from `now`.
    pub(crate) fn set(&mut self, now: Instant, length: Duration) {
        self.at = now + length;
        if self.at < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.at);
        }
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_moved_deadline_passes_when_it_was_moved_to() {
        for (first, then) in [(10, 5), (5, 10), (5, 5)] {
            let start = Instant::now();
            let mut d = Deadline::after(Duration::from_secs(first));
            d.set(start, Duration::from_secs(then));
            poll_fn(|cx| d.poll(cx)).await;
            // The timer's wheel rounds up to a millisecond.
            assert_eq!(start.elapsed().as_secs(), then, "{first} {then}");
        }
    }
}
