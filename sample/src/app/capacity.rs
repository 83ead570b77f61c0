//! What a replica can carry, simulated at almost no cost in CPU.
//!
//! A replica is W workers that each serve one request at a time, and one queue in front of them, first
//! come, first served, with a bound. Beyond W ÷ mean service time requests a second the queue fills and
//! latency rises, as in a real server; when the queue is full, requests are refused.
//!
//! The workers are not tasks and the queue holds no requests. When a request arrives it is known at once
//! when it will start and end: the earliest time at which a worker is free (the recurrence of Kiefer and
//! Wolfowitz, 1955). So the model is a pure function of arrival times and a seed, and a request costs
//! one timer. That is what lets 40 replicas run on two cores.
//!
//! A request whose client has gone still takes its turn: most servers finish what they began.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::str::FromStr;
use std::time::Duration;

use crate::random::Random;
use crate::units::UnitError;

/// The most workers a replica may have. A worker costs 16 bytes; beyond this a flag was mistyped.
const MOST_WORKERS: f64 = 100_000.0;

/// How many requests a second a replica carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Capacity {
    /// As many as the machine can: requests are answered at once.
    Unlimited,
    /// So many a second, more than 0 and at most a million.
    PerSecond(f64),
}

impl FromStr for Capacity {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            _ if text == "unlimited" => Ok(Self::Unlimited),
            Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(Self::PerSecond(rate)),
            _ => Err(UnitError::new(
                text,
                "a number of requests per second above 0 (at most 1000000), or `unlimited`",
            )),
        }
    }
}

/// How service times vary around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Variation {
    /// Every request takes the mean.
    Fixed,
    /// Exponentially distributed, as in the M/M/c queue: many short ones, few long ones.
    Exponential,
}

/// The workers and the queue of one replica. Times are measured from any fixed moment.
#[derive(Debug)]
pub struct ServiceModel {
    mean: Duration,
    variation: Variation,
    queue: usize,
    /// When each worker is free again.
    free: BinaryHeap<Reverse<Duration>>,
    /// When each request that still waits will start, in order; at most `queue` of them.
    waiting: VecDeque<Duration>,
    random: Random,
}

/// The turn of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// When a worker takes it up.
    pub start: Duration,
    /// When its answer is ready.
    pub done: Duration,
}

/// The queue is full: the request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("every worker is busy and the queue is full")]
pub struct QueueFull;

/// A capacity and a service time that need more workers than a replica may have.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "a capacity of {capacity} requests/s at {service:?} each needs {} workers, at most 100000 are simulated; \
     lower one of the two", (.capacity * .service.as_secs_f64()).round()
)]
pub struct TooManyWorkers {
    capacity: f64,
    service: Duration,
}

impl ServiceModel {
    /// A replica that carries `capacity` requests a second of about `service` each, and lets at most
    /// `queue` requests wait.
    ///
    /// The number of workers is `capacity × service`, rounded, at least one; the mean service time is
    /// then bent to `workers ÷ capacity`, so that the capacity is exactly the one asked for.
    ///
    /// # Errors
    /// When that takes more than 100 000 workers.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and MOST_WORKERS by the lines above"
    )]
    pub fn new(
        capacity: f64,
        service: Duration,
        variation: Variation,
        queue: usize,
        seed: u64,
    ) -> Result<Self, TooManyWorkers> {
        let workers = (capacity * service.as_secs_f64()).round().max(1.0);
        if workers > MOST_WORKERS {
            return Err(TooManyWorkers { capacity, service });
        }
        Ok(Self {
            mean: Duration::from_secs_f64(workers / capacity),
            variation,
            queue,
            free: (0..workers as usize).map(|_| Reverse(Duration::ZERO)).collect(),
            waiting: VecDeque::new(),
            random: Random::new(seed, "service"),
        })
    }

    /// The number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.free.len()
    }

    /// The mean service time.
    #[must_use]
    pub fn mean(&self) -> Duration {
        self.mean
    }

    /// The requests that wait at `now`.
    pub fn waiting(&mut self, now: Duration) -> usize {
        while self.waiting.front().is_some_and(|start| *start <= now) {
            self.waiting.pop_front();
        }
        self.waiting.len()
    }

    /// A request arrives at `now`, which is never earlier than the last one's. It takes the time
    /// `service` if given, else one drawn from the distribution, times `slowness` (1 is normal).
    ///
    /// # Errors
    /// When no worker is free and the queue is full.
    pub fn admit(
        &mut self,
        now: Duration,
        service: Option<Duration>,
        slowness: f64,
    ) -> Result<Turn, QueueFull> {
        let waiting = self.waiting(now);
        let mut next = self.free.peek_mut().expect("there is at least one worker");
        let start = next.0.max(now);
        if start > now && waiting >= self.queue {
            return Err(QueueFull);
        }
        let service = service.unwrap_or_else(|| match self.variation {
            Variation::Fixed => self.mean,
            Variation::Exponential => self.mean.mul_f64(self.random.exponential()),
        });
        let done = start + service.mul_f64(slowness);
        *next = Reverse(done);
        drop(next);
        if start > now {
            self.waiting.push_back(start);
        }
        Ok(Turn { start, done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn model(capacity: f64, service: Duration, variation: Variation, queue: usize) -> ServiceModel {
        ServiceModel::new(capacity, service, variation, queue, 1).unwrap()
    }

    #[test]
    fn workers_are_capacity_times_service_time_and_the_capacity_is_exact() {
        for (capacity, service, workers, mean) in [
            (100.0, 50 * MS, 5, 50 * MS),
            (100.0, 12 * MS, 1, 10 * MS),
            (100.0, 18 * MS, 2, 20 * MS),
            (100.0, Duration::ZERO, 1, 10 * MS),
            (0.5, 50 * MS, 1, 2000 * MS),
            (1e6, 100 * MS, 100_000, 100 * MS),
        ] {
            let model = model(capacity, service, Variation::Fixed, 1);
            assert_eq!((model.workers(), model.mean()), (workers, mean), "{capacity}/s, {service:?}");
        }
        let refused = ServiceModel::new(1e6, 101 * MS, Variation::Fixed, 1, 1).unwrap_err();
        assert!(refused.to_string().contains("101000 workers"), "{refused}");
    }

    #[test]
    fn requests_wait_for_the_first_free_worker_in_order() {
        let mut model = model(200.0, 10 * MS, Variation::Fixed, 2);
        assert_eq!(model.workers(), 2);
        assert_eq!(model.admit(Duration::ZERO, None, 1.0), Ok(Turn { start: Duration::ZERO, done: 10 * MS }));
        assert_eq!(model.admit(1 * MS, None, 1.0), Ok(Turn { start: 1 * MS, done: 11 * MS }));
        assert_eq!(model.admit(2 * MS, None, 1.0), Ok(Turn { start: 10 * MS, done: 20 * MS }));
        assert_eq!(model.admit(3 * MS, None, 1.0), Ok(Turn { start: 11 * MS, done: 21 * MS }));
        assert_eq!(model.admit(4 * MS, None, 1.0), Err(QueueFull));
        assert_eq!(model.waiting(10 * MS), 1, "the first has been taken up");
        assert_eq!(model.admit(10 * MS, Some(5 * MS), 2.0), Ok(Turn { start: 20 * MS, done: 30 * MS }));
        assert_eq!(model.admit(500 * MS, None, 1.0), Ok(Turn { start: 500 * MS, done: 510 * MS }));
    }

    #[test]
    fn without_a_queue_a_request_is_served_at_once_or_refused() {
        let mut model = model(100.0, 10 * MS, Variation::Fixed, 0);
        assert!(model.admit(Duration::ZERO, None, 1.0).is_ok());
        assert_eq!(model.admit(9 * MS, None, 1.0), Err(QueueFull));
        assert!(model.admit(10 * MS, None, 1.0).is_ok());
    }

    /// C2: throughput saturates at the capacity, whatever the load beyond it; below it nothing is refused.
    #[test]
    fn throughput_follows_the_load_up_to_the_capacity_and_stays_there() {
        for (offered, carried) in [(50_u32, 50_u32), (100, 100), (200, 100), (1000, 100)] {
            let mut model = model(100.0, 50 * MS, Variation::Fixed, 200);
            let seconds = 60;
            let end = Duration::from_secs(u64::from(seconds));
            let done = (0..offered * seconds)
                .filter_map(|i| model.admit(Duration::from_secs(1) * i / offered, None, 1.0).ok())
                .filter(|turn| turn.done <= end)
                .count();
            let (expected, slack) = (f64::from(carried * seconds), f64::from(carried));
            #[expect(clippy::cast_precision_loss, reason = "thousands")]
            let difference = (done as f64 - expected).abs();
            assert!(difference <= slack, "{offered}/s offered: {done} carried, {expected} expected");
        }
    }

    /// C2: the mean wait is Erlang's C formula for the M/M/c queue, so latency rises as in a real server.
    #[test]
    fn waits_agree_with_queueing_theory() {
        let (capacity, workers) = (100.0, 5_i32);
        for load in [0.5, 0.8, 0.9] {
            let mut model = model(capacity, 50 * MS, Variation::Exponential, 1_000_000);
            let mut random = Random::new(42, "arrivals");
            let mut now = Duration::ZERO;
            let requests = 400_000;
            let mut waited = Duration::ZERO;
            for _ in 0..requests {
                now += Duration::from_secs_f64(random.exponential() / (capacity * load));
                waited += model.admit(now, None, 1.0).unwrap().start - now;
            }
            let mean = waited.as_secs_f64() / f64::from(requests);

            // Erlang's B by its recurrence, then C, then the mean wait.
            let traffic = load * f64::from(workers);
            let blocked =
                (1..=workers).fold(1.0, |blocked, k| traffic * blocked / (f64::from(k) + traffic * blocked));
            let waits = blocked / (1.0 - load * (1.0 - blocked));
            let expected = waits / (capacity * (1.0 - load));
            assert!((mean / expected - 1.0).abs() < 0.05, "load {load}: {mean} s, theory {expected} s");
        }
    }

    #[test]
    fn capacity_is_a_positive_rate_or_unlimited() {
        for (text, expected) in [
            ("unlimited", Some(Capacity::Unlimited)),
            ("100", Some(Capacity::PerSecond(100.0))),
            ("0.5", Some(Capacity::PerSecond(0.5))),
            ("1000000", Some(Capacity::PerSecond(1e6))),
            ("1000001", None),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
