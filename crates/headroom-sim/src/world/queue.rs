//! How long requests take, given how busy the replicas are.
//!
//! A replica is a queue with W places (M/M/W; Erlang 1917), requests are spread at random. The share that waits
//! is Erlang's C; a wait, if there is one, is exponential. A quantile of the answer time is taken as that of the
//! work plus that of the wait plus the delay by a backlog: simple, rising in the load, a little pessimistic. The
//! formula is dear, so its values stand in tables over the load, which all workloads of one model share.

use std::sync::Arc;

use super::Model;

/// The formula has a pole at 1; beyond this load a backlog does the rest.
const BUSIEST: f64 = 0.98;
/// Entries of a table: with 2 048 the straight line between two is off by less than a thousandth.
const ENTRIES: usize = 2048;

/// Answer times of one model.
#[derive(Clone, Debug)]
pub struct Queue {
    tables: Arc<Tables>,
}

#[derive(Debug)]
struct Tables {
    workers: u32,
    service: f64,
    objective: f64,
    /// The work's quantiles.
    work: [f64; 3],
    waits: [Vec<f64>; 3],
    mean_wait: Vec<f64>,
    late: Vec<f64>,
}

/// The quantiles that are tabulated.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
/// Which of them is the objective's.
pub(super) const P95: usize = 1;

impl Queue {
    /// The tables of `model`.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let (workers, service) = (model.workers(), model.service_time.as_secs_f64());
        let objective = model.objective.as_secs_f64();
        let work = QUANTILES.map(|q| -libm::log(1.0 - q) * service);
        let mut tables = Tables {
            workers,
            service,
            objective,
            work,
            waits: QUANTILES.map(|_| Vec::with_capacity(ENTRIES + 1)),
            mean_wait: Vec::with_capacity(ENTRIES + 1),
            late: Vec::with_capacity(ENTRIES + 1),
        };
        for entry in 0..=ENTRIES {
            #[expect(clippy::cast_precision_loss, reason = "a small whole number")]
            let busy = BUSIEST * entry as f64 / ENTRIES as f64;
            let (waiting, rate) = waiting(workers, service, busy);
            for (table, q) in tables.waits.iter_mut().zip(QUANTILES) {
                table.push(if waiting > 1.0 - q { libm::log(waiting / (1.0 - q)) / rate } else { 0.0 });
            }
            tables.mean_wait.push(waiting / rate);
            tables.late.push(late(waiting, rate, objective - work[P95]));
        }
        Self { tables: Arc::new(tables) }
    }

    fn look_up(table: &[f64], busy: f64) -> f64 {
        let place = busy.clamp(0.0, BUSIEST) / BUSIEST * ENTRIES as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the table")]
        let index = (place as usize).min(ENTRIES - 1);
        let share = place - index as f64;
        table[index] + (table[index + 1] - table[index]) * share
    }

    /// The `which`-th of the 50 %, 95 % and 99 % quantiles of the answer time in seconds.
    pub(super) fn quantile(&self, which: usize, busy: f64, delay: f64) -> f64 {
        self.tables.work[which] + Self::look_up(&self.tables.waits[which], busy) + delay
    }

    /// The mean answer time in seconds.
    #[must_use]
    pub fn mean(&self, busy: f64, delay: f64) -> f64 {
        self.tables.service + Self::look_up(&self.tables.mean_wait, busy) + delay
    }

    /// The share of requests that are answered later than the objective.
    #[must_use]
    pub fn late(&self, busy: f64, delay: f64) -> f64 {
        if delay <= 0.0 {
            return Self::look_up(&self.tables.late, busy);
        }
        let t = &self.tables;
        let room = t.objective - t.work[P95] - delay;
        if room <= 0.0 {
            return 1.0;
        }
        let (waiting, rate) = waiting(t.workers, t.service, busy.clamp(0.0, BUSIEST));
        late(waiting, rate, room)
    }

    /// How busy the replicas may be with 95 % of the requests within the objective.
    #[must_use]
    pub fn busiest_within_objective(&self) -> f64 {
        let (mut low, mut high) = (0.0, BUSIEST);
        // 50 halvings reach the resolution of a double.
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if self.quantile(P95, middle, 0.0) > self.tables.objective { high = middle } else { low = middle }
        }
        low
    }
}

/// The share of requests that wait, and the rate (1/s) at which a wait ends.
fn waiting(workers: u32, service: f64, busy: f64) -> (f64, f64) {
    let w = f64::from(workers);
    let rate = w * (1.0 - busy) / service;
    if busy <= 0.0 {
        return (0.0, rate);
    }
    // Erlang's B by its recurrence, upside down: numbers stay near 1 for any number of places.
    let offered = w * busy;
    let mut upside_down = 1.0;
    for place in 1..=workers {
        upside_down = 1.0 + upside_down * f64::from(place) / offered;
        if upside_down > 1e300 {
            return (0.0, rate);
        }
    }
    let blocked = 1.0 / upside_down;
    (blocked / (1.0 - busy * (1.0 - blocked)), rate)
}

/// The share of waits longer than `room`.
fn late(waiting: f64, rate: f64, room: f64) -> f64 {
    if room <= 0.0 { 1.0 } else { waiting * libm::exp(-rate * room) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Erlang C with one place is the load itself; with two, 2a²/(2+a)/2 … by the textbook: ρ = 0.5 → 1/3.
    #[test]
    fn the_share_that_waits_is_the_textbooks() {
        for (workers, busy, expected) in [(1, 0.3, 0.3), (1, 0.9, 0.9), (2, 0.5, 1.0 / 3.0), (5, 0.0, 0.0)] {
            let (share, _) = waiting(workers, 0.05, busy);
            assert!((share - expected).abs() < 1e-12, "{workers} places at {busy}: {share}");
        }
        assert!(waiting(10_000, 1.0, 0.01).0 < 1e-100, "many places, hardly any load");
    }

    #[test]
    fn answers_take_longer_the_busier_the_replicas() {
        let queue = Queue::new(&Model::default());
        let p95: Vec<f64> =
            [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 2.0].map(|r| queue.quantile(P95, r, 0.0)).to_vec();
        assert!(p95.windows(2).all(|w| w[0] <= w[1]), "{p95:?}");
        // With five places and 50 ms: 0.15 s idle, 0.42 s at 0.9, 0.5 s at 0.9205.
        assert!((p95[0] - 0.1498).abs() < 1e-3 && (p95[4] - 0.42).abs() < 5e-3, "{p95:?}");
        assert!((queue.busiest_within_objective() - 0.9205).abs() < 1e-3);
        assert!((queue.late(0.9205, 0.0) - 0.05).abs() < 1e-3, "5 % are late where p95 is the objective");
        assert!((queue.late(0.9, 0.0) - queue.late(0.9, 1e-12)).abs() < 1e-4, "table and formula agree");
        assert_eq!(queue.late(0.5, 9.0), 1.0);
        assert!(queue.mean(0.5, 0.0) > 0.05 && queue.mean(0.5, 1.0) > 1.05);
    }
}
