//! Events on their way to one reader, bounded however slow the reader is.
//!
//! Figures that were not read yet merge with the next ones of their service, so none of their counts
//! is lost. Other events are kept up to a bound; past it the oldest go, and the reader is told how many.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard},
};

use tokio::sync::Notify;

use super::protocol::Event;
use crate::{figures::Figures, names::ServiceName};

/// Events kept besides figures: a thousand backends that each change once fit.
const KEPT: usize = 1_024;

/// A bounded queue of events with one reader.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    inner: Mutex<Inner>,
    pushed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    figures: BTreeMap<ServiceName, Box<Figures>>,
    dropped: u64,
    closed: bool,
}

impl EventQueue {
    /// Adds an event; never waits.
    pub(crate) fn push(&self, event: Event) {
        {
            let mut inner = self.lock();
            match event {
                Event::Figures(newer) => match inner.figures.get_mut(&newer.service) {
                    Some(unread) => unread.merge(*newer),
                    None => {
                        inner.figures.insert(newer.service.clone(), newer);
                    }
                },
                other => {
                    if inner.events.len() == KEPT {
                        inner.events.pop_front();
                        inner.dropped += 1;
                    }
                    inner.events.push_back(other);
                }
            }
        }
        self.pushed.notify_one();
    }

    /// No more events will come; the reader gets what is left and then `None`.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.pushed.notify_one();
    }

    /// The next event, other events before figures. `None` once closed and empty. Cancel safe.
    pub(crate) async fn next(&self) -> Option<Event> {
        loop {
            let wait = self.pushed.notified();
            {
                let mut inner = self.lock();
                if inner.dropped > 0 {
                    return Some(Event::Lagged { dropped: std::mem::take(&mut inner.dropped) });
                }
                if let Some(event) = inner.events.pop_front() {
                    return Some(event);
                }
                if let Some((_, figures)) = inner.figures.pop_first() {
                    return Some(Event::Figures(figures));
                }
                if inner.closed {
                    return None;
                }
            }
            wait.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves whole events behind, nothing torn.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{figures::Traffic, settings::Millis};

    fn figures(requests: u64) -> Event {
        let mut t = Traffic::default();
        t.interval.requests = requests;
        Event::Figures(Box::new(Figures {
            service: "web".parse().unwrap(),
            at: Millis(0),
            interval_micros: 1,
            held: 0,
            service_traffic: t,
            backends: BTreeMap::new(),
        }))
    }

    fn held(n: u32) -> Event {
        Event::RequestHeld { service: "web".parse().unwrap(), held: n }
    }

    #[tokio::test]
    async fn unread_figures_merge_and_lose_nothing() {
        let q = EventQueue::default();
        (0..10_000).for_each(|_| q.push(figures(3)));
        q.close();
        let Some(Event::Figures(f)) = q.next().await else { panic!("figures") };
        assert_eq!((f.service_traffic.interval.requests, f.interval_micros), (30_000, 10_000));
        assert_eq!(q.next().await, None);
    }

    #[tokio::test]
    async fn past_the_bound_the_oldest_go_and_the_reader_is_told() {
        let q = EventQueue::default();
        (0..KEPT as u32 + 5).for_each(|n| q.push(held(n)));
        assert_eq!(q.next().await, Some(Event::Lagged { dropped: 5 }));
        assert_eq!(q.next().await, Some(held(5)));
    }
}
