//! The life of one replica: what happens to it, and what is to be done about it.
//!
//! ```text
//!            ┌──────────────── failed, after a back-off ───────────────┐
//!            ▼                                                         │
//!         Waiting ─► Spawning ─► Starting ─► Ready ◄──► Sick           │
//!                                   │          │          │            │
//!                                   │       Draining      │            │
//!                                   │     (and recalled)  │            │
//!                                   └─────► Terminating ◄─┘            │
//!              exits by itself ──►              │                      │
//!              from any of them ─────────►  Sweeping ──► Stopped or ───┘
//! ```
//!
//! Pure: a transition is a function of state, event and time, and gives back what to do. A state
//! carries its own deadline, so that there is none without the other. An event that means nothing in a
//! state changes nothing: probes, exits and deadlines cross on their way.

use std::time::Duration;

use super::backoff;
use super::clock::Moment;
use super::fault::{Exit, Fault};
use super::spec::ReplicaSpec;

/// So many starts in a row may meet a taken port before it counts as a failure with a back-off: a lost
/// race for a port is mended by another port, a full range isn't.
const FREE_PORT_RETRIES: u32 = 3;

/// Why a replica is on its way out, and thereby whether it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Fewer are wanted.
    ScaleIn,
    /// Its replacement has taken over: it was old, or sick.
    Replaced,
    /// All are stopped.
    Shutdown,
    /// It failed and is to be started again.
    Failed(Fault),
}

/// Where a replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Life {
    /// No process; one is started at `until`.
    Waiting { until: Moment, failed: Option<Fault> },
    /// A process is being started.
    Spawning,
    /// The process runs and hasn't been healthy yet.
    Starting { since: Moment, probe: Option<String> },
    /// It serves. `failures` probes in a row failed since the last success.
    Ready { since: Moment, failures: u32 },
    /// It served and fails its probes. `successes` in a row succeeded since the last failure.
    Sick { since: Moment, successes: u32, probe: String },
    /// It still serves what it has; the balancer sends nothing new.
    Draining { until: Moment, ready_since: Moment, failures: u32, why: Leave },
    /// SIGTERM was sent; SIGKILL follows at `kill_at`.
    Terminating { kill_at: Moment, why: Leave },
    /// The process has ended or is made to; what it started is being killed.
    Sweeping { why: Leave },
    /// Nothing is left of it.
    Stopped,
}

/// What can happen to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time passed; whatever is due, is due.
    Passed,
    /// The process runs.
    Spawned,
    /// It couldn't be started.
    NotSpawned(Fault),
    /// A probe succeeded.
    Healthy,
    /// A probe failed, with what it met.
    Unhealthy(String),
    /// The process ended.
    Exited { exit: Exit, lived: Duration, last_words: String },
    /// Nothing of it is left. `port_taken`: the port it was given, if another process holds it.
    Swept { port_taken: Option<u16>, last_words: String },
    /// It is to go. A drain lasts no longer than `drain`.
    Leave { why: Leave, drain: Duration },
    /// The balancer says that it has nothing left to answer.
    Drained,
    /// More are wanted again before it was told to stop.
    Recall,
    /// What it is to run has changed, which may mend what failed.
    SpecChanged,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Start a process.
    Spawn,
    /// Send SIGTERM to all of it.
    Terminate,
    /// Send SIGKILL to all of it, `after` a last respite for children that are still at work.
    Sweep { after: Duration },
    /// Tell people.
    Report(Fault),
}

/// One replica's life and what is remembered of its failures.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    life: Life,
    /// Failures in a row with no stable time in between.
    streak: u32,
    /// Starts in a row that met a taken port.
    port_losses: u32,
    /// Starts after the first.
    restarts: u32,
    seed: u64,
}

impl Replica {
    /// A replica that is to be started now.
    pub(crate) fn new(now: Moment, seed: u64) -> Self {
        Self::in_state(Life::Waiting { until: now, failed: None }, seed)
    }

    /// A replica as it is found, e.g. when it is adopted.
    pub(crate) fn in_state(life: Life, seed: u64) -> Self {
        Self { life, streak: 0, port_losses: 0, restarts: 0, seed }
    }

    /// The same with what an earlier controller knew of its failures.
    pub(crate) fn with_history(self, restarts: u32, streak: u32) -> Self {
        Self { restarts, streak, ..self }
    }

    pub(crate) fn life(&self) -> &Life {
        &self.life
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    pub(crate) fn streak(&self) -> u32 {
        self.streak
    }

    /// Whether it fails again and again.
    pub(crate) fn in_crash_loop(&self, spec: &ReplicaSpec) -> bool {
        self.streak >= spec.backoff.crash_loop.get()
    }

    /// When something is due by time alone.
    pub(crate) fn deadline(&self, spec: &ReplicaSpec) -> Option<Moment> {
        match &self.life {
            Life::Waiting { until, .. } | Life::Draining { until, .. } => Some(*until),
            Life::Starting { since, .. } | Life::Sick { since, .. } => Some(*since + spec.health.start_grace),
            Life::Terminating { kill_at, .. } => Some(*kill_at),
            Life::Spawning | Life::Ready { .. } | Life::Sweeping { .. } | Life::Stopped => None,
        }
    }

    /// Applies an event.
    #[must_use]
    pub(crate) fn on(&mut self, event: Event, now: Moment, spec: &ReplicaSpec) -> Vec<Effect> {
        // A placeholder while the old state is taken apart; every arm sets the new one.
        let life = std::mem::replace(&mut self.life, Life::Stopped);
        let (life, effects) = self.step(life, event, now, spec);
        self.life = life;
        effects
    }

    fn step(&mut self, life: Life, event: Event, now: Moment, spec: &ReplicaSpec) -> (Life, Vec<Effect>) {
        let terminate =
            |why| (Life::Terminating { kill_at: now + spec.stop.term_grace, why }, vec![Effect::Terminate]);
        let sweep = |why, after| (Life::Sweeping { why }, vec![Effect::Sweep { after }]);
        match (life, event) {
            (Life::Waiting { until, .. }, Event::Passed) if now >= until => {
                (Life::Spawning, vec![Effect::Spawn])
            }
            (Life::Waiting { .. }, Event::Leave { .. }) => (Life::Stopped, vec![]),
            (Life::Waiting { failed, .. }, Event::SpecChanged) => {
                self.streak = 0;
                (Life::Waiting { until: now, failed }, vec![])
            }

            (Life::Spawning, Event::Spawned) => (Life::Starting { since: now, probe: None }, vec![]),
            (Life::Spawning, Event::NotSpawned(fault)) => self.fail(fault, now, spec),

            (Life::Starting { .. }, Event::Healthy) => {
                self.port_losses = 0;
                (Life::Ready { since: now, failures: 0 }, vec![])
            }
            (Life::Starting { since, .. }, Event::Unhealthy(probe)) => {
                (Life::Starting { since, probe: Some(probe) }, vec![])
            }
            (Life::Starting { since, probe }, Event::Passed) if now >= since + spec.health.start_grace => {
                let probe = probe.unwrap_or_else(|| "no probe has been answered yet".to_owned());
                terminate(Leave::Failed(Fault::NeverReady {
                    grace: spec.health.start_grace,
                    probe,
                    last_words: String::new(),
                }))
            }
            (Life::Starting { .. }, Event::Leave { why, .. }) => terminate(why),
            (Life::Starting { .. }, Event::Exited { exit, lived, last_words }) => sweep(
                Leave::Failed(Fault::Exited { exit, after: lived, was_ready: false, last_words }),
                Duration::ZERO,
            ),

            (Life::Ready { since, .. }, Event::Healthy) => {
                self.forgive(since, now, spec);
                (Life::Ready { since, failures: 0 }, vec![])
            }
            (Life::Ready { since, failures }, Event::Unhealthy(probe)) => {
                let failures = failures.saturating_add(1);
                if failures >= spec.health.unhealthy.get() {
                    (Life::Sick { since: now, successes: 0, probe }, vec![])
                } else {
                    (Life::Ready { since, failures }, vec![])
                }
            }
            (Life::Ready { since, failures }, Event::Leave { why, drain }) => {
                let drain = drain.min(spec.stop.drain);
                if drain.is_zero() || !spec.health.probe.needs_port() {
                    terminate(why)
                } else {
                    (Life::Draining { until: now + drain, ready_since: since, failures, why }, vec![])
                }
            }
            (Life::Ready { since, .. }, Event::Exited { exit, lived, last_words }) => {
                self.forgive(since, now, spec);
                let fault = Fault::Exited { exit, after: lived, was_ready: true, last_words };
                sweep(Leave::Failed(fault), Duration::ZERO)
            }

            (Life::Sick { since, successes, probe }, Event::Healthy) => {
                let successes = successes.saturating_add(1);
                if successes >= spec.health.healthy.get() {
                    (Life::Ready { since: now, failures: 0 }, vec![])
                } else {
                    (Life::Sick { since, successes, probe }, vec![])
                }
            }
            (Life::Sick { since, .. }, Event::Unhealthy(probe)) => {
                (Life::Sick { since, successes: 0, probe }, vec![])
            }
            (Life::Sick { since, probe, .. }, Event::Passed) if now >= since + spec.health.start_grace => {
                terminate(Leave::Failed(Fault::Unhealthy { lasted: now.since(since), probe }))
            }
            // The balancer has taken it out already, so there is nothing to drain.
            (Life::Sick { .. }, Event::Leave { why, .. }) => terminate(why),
            (Life::Sick { .. }, Event::Exited { exit, lived, last_words }) => sweep(
                Leave::Failed(Fault::Exited { exit, after: lived, was_ready: true, last_words }),
                Duration::ZERO,
            ),

            (Life::Draining { until, why, .. }, Event::Passed) if now >= until => terminate(why),
            (Life::Draining { why, .. }, Event::Drained) => terminate(why),
            (Life::Draining { ready_since, failures, why: Leave::ScaleIn, .. }, Event::Recall) => {
                (Life::Ready { since: ready_since, failures }, vec![])
            }
            (Life::Draining { until, ready_since, why, .. }, Event::Healthy) => {
                (Life::Draining { until, ready_since, failures: 0, why }, vec![])
            }
            (Life::Draining { until, ready_since, failures, why }, Event::Unhealthy(_)) => {
                (Life::Draining { until, ready_since, failures: failures.saturating_add(1), why }, vec![])
            }
            (Life::Draining { until, ready_since, failures, .. }, Event::Leave { why, drain }) => {
                (Life::Draining { until: until.min(now + drain), ready_since, failures, why }, vec![])
            }
            // It was leaving anyway: whatever it died of, it isn't started again.
            (Life::Draining { why, .. }, Event::Exited { .. }) => sweep(why, Duration::ZERO),

            (Life::Terminating { kill_at, .. }, Event::Leave { why, .. }) => {
                (Life::Terminating { kill_at, why }, vec![])
            }
            // Children may finish in the grace that is left: behind a shell that ends at once, the
            // server that drains is a child.
            (Life::Terminating { kill_at, why }, Event::Exited { .. }) => sweep(why, kill_at.since(now)),
            (Life::Terminating { kill_at, why }, Event::Passed) if now >= kill_at => {
                sweep(why, Duration::ZERO)
            }

            (Life::Sweeping { .. }, Event::Leave { why, .. }) => (Life::Sweeping { why }, vec![]),
            (Life::Sweeping { why: Leave::Failed(fault) }, Event::Swept { port_taken, last_words }) => {
                let fault = match (fault, port_taken) {
                    (Fault::Exited { was_ready: false, .. }, Some(port)) => Fault::PortTaken { port },
                    (Fault::NeverReady { grace, probe, .. }, _) => {
                        Fault::NeverReady { grace, probe, last_words }
                    }
                    (fault, _) => fault,
                };
                self.fail(fault, now, spec)
            }
            (Life::Sweeping { .. }, Event::Swept { .. }) => (Life::Stopped, vec![]),

            (life, _) => (life, vec![]),
        }
    }

    fn fail(&mut self, fault: Fault, now: Moment, spec: &ReplicaSpec) -> (Life, Vec<Effect>) {
        self.restarts = self.restarts.saturating_add(1);
        let lost_a_port = matches!(fault, Fault::PortTaken { .. });
        self.port_losses = if lost_a_port { self.port_losses.saturating_add(1) } else { 0 };
        let wait = if lost_a_port && self.port_losses <= FREE_PORT_RETRIES {
            Duration::ZERO
        } else {
            self.streak = self.streak.saturating_add(1);
            backoff::delay(&spec.backoff, self.streak, self.seed)
        };
        let report = Effect::Report(fault.clone());
        (Life::Waiting { until: now + wait, failed: Some(fault) }, vec![report])
    }

    /// Failures count in a row only; a stable time ends the row.
    fn forgive(&mut self, ready_since: Moment, now: Moment, spec: &ReplicaSpec) {
        if now.since(ready_since) >= spec.backoff.stable {
            self.streak = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::process::spec::Probe;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    fn spec() -> ReplicaSpec {
        ReplicaSpec::new(vec!["web".to_owned()], "/").unwrap()
    }

    fn fault() -> Fault {
        Fault::Spawn { command: "web".to_owned(), error: "no".to_owned() }
    }

    fn exited(was_ready: bool) -> Fault {
        Fault::Exited {
            exit: Exit::Code(1),
            after: Duration::from_secs(1),
            was_ready,
            last_words: "bye".to_owned(),
        }
    }

    fn exit() -> Event {
        Event::Exited { exit: Exit::Code(1), lived: Duration::from_secs(1), last_words: "bye".to_owned() }
    }

    fn bad() -> Event {
        Event::Unhealthy("503".to_owned())
    }

    fn leave(why: Leave, seconds: u64) -> Event {
        Event::Leave { why, drain: Duration::from_secs(seconds) }
    }

    fn swept() -> Event {
        Event::Swept { port_taken: None, last_words: "bye".to_owned() }
    }

    fn starting() -> Life {
        Life::Starting { since: at(0), probe: None }
    }

    fn ready() -> Life {
        Life::Ready { since: at(0), failures: 0 }
    }

    fn sick() -> Life {
        Life::Sick { since: at(0), successes: 0, probe: "503".to_owned() }
    }

    fn draining(why: Leave) -> Life {
        Life::Draining { until: at(30), ready_since: at(0), failures: 0, why }
    }

    fn terminating(why: Leave) -> Life {
        Life::Terminating { kill_at: at(20), why }
    }

    fn step(life: Life, event: Event, now: Moment) -> (Life, Vec<Effect>) {
        let mut replica = Replica::in_state(life, 1);
        let effects = replica.on(event, now, &spec());
        (replica.life, effects)
    }

    const NOW: u64 = 10;

    /// A14: drain, SIGTERM, SIGKILL; a first success makes ready, 3 failures unhealthy, 2 successes
    /// healthy. D3: what ends or stays unhealthy is started again. (Defaults: drain 30 s, term grace
    /// 10 s, start grace 60 s.)
    #[test]
    fn each_transition_is_as_drawn() {
        let never_ready = |probe: &str| {
            Leave::Failed(Fault::NeverReady {
                grace: Duration::from_secs(60),
                probe: probe.to_owned(),
                last_words: String::new(),
            })
        };
        let kill_now = vec![Effect::Sweep { after: Duration::ZERO }];
        /// Claim; life, time in seconds, event; life and effects that follow.
        type Row = (&'static str, Life, u64, Event, Life, Vec<Effect>);
        let table: Vec<Row> = vec![
            (
                "a start that isn't due waits",
                Life::Waiting { until: at(11), failed: None },
                NOW,
                Event::Passed,
                Life::Waiting { until: at(11), failed: None },
                vec![],
            ),
            (
                "a start that is due begins",
                Life::Waiting { until: at(10), failed: None },
                NOW,
                Event::Passed,
                Life::Spawning,
                vec![Effect::Spawn],
            ),
            (
                "what has no process is gone at once",
                Life::Waiting { until: at(99), failed: Some(fault()) },
                NOW,
                leave(Leave::ScaleIn, 30),
                Life::Stopped,
                vec![],
            ),
            (
                "a changed spec is tried at once",
                Life::Waiting { until: at(99), failed: Some(fault()) },
                NOW,
                Event::SpecChanged,
                Life::Waiting { until: at(10), failed: Some(fault()) },
                vec![],
            ),
            ("and leaves what serves alone", ready(), NOW, Event::SpecChanged, ready(), vec![]),
            (
                "a started process is starting",
                Life::Spawning,
                NOW,
                Event::Spawned,
                Life::Starting { since: at(10), probe: None },
                vec![],
            ),
            (
                "the first success makes ready",
                starting(),
                NOW,
                Event::Healthy,
                Life::Ready { since: at(10), failures: 0 },
                vec![],
            ),
            (
                "a failure while starting is remembered only",
                starting(),
                NOW,
                bad(),
                Life::Starting { since: at(0), probe: Some("503".to_owned()) },
                vec![],
            ),
            ("just within the grace", starting(), 59, Event::Passed, starting(), vec![]),
            (
                "at the end of the grace it is stopped",
                Life::Starting { since: at(0), probe: Some("503".to_owned()) },
                60,
                Event::Passed,
                Life::Terminating { kill_at: at(70), why: never_ready("503") },
                vec![Effect::Terminate],
            ),
            (
                "what never served isn't drained",
                starting(),
                NOW,
                leave(Leave::ScaleIn, 30),
                terminating(Leave::ScaleIn),
                vec![Effect::Terminate],
            ),
            (
                "an early end is cleared away",
                starting(),
                NOW,
                exit(),
                Life::Sweeping { why: Leave::Failed(exited(false)) },
                kill_now.clone(),
            ),
            (
                "a failure below the count is borne",
                Life::Ready { since: at(0), failures: 1 },
                NOW,
                bad(),
                Life::Ready { since: at(0), failures: 2 },
                vec![],
            ),
            (
                "a success between failures starts the count anew",
                Life::Ready { since: at(0), failures: 2 },
                NOW,
                Event::Healthy,
                ready(),
                vec![],
            ),
            (
                "the third failure in a row makes sick",
                Life::Ready { since: at(0), failures: 2 },
                NOW,
                bad(),
                Life::Sick { since: at(10), successes: 0, probe: "503".to_owned() },
                vec![],
            ),
            (
                "what serves is drained, no longer than asked",
                ready(),
                NOW,
                leave(Leave::Shutdown, 5),
                Life::Draining { until: at(15), ready_since: at(0), failures: 0, why: Leave::Shutdown },
                vec![],
            ),
            (
                "and no longer than the spec says",
                ready(),
                NOW,
                leave(Leave::ScaleIn, 500),
                Life::Draining { until: at(40), ready_since: at(0), failures: 0, why: Leave::ScaleIn },
                vec![],
            ),
            (
                "a drain of nothing is none",
                ready(),
                NOW,
                leave(Leave::Shutdown, 0),
                terminating(Leave::Shutdown),
                vec![Effect::Terminate],
            ),
            (
                "a ready one that ends is cleared away",
                ready(),
                NOW,
                exit(),
                Life::Sweeping { why: Leave::Failed(exited(true)) },
                kill_now.clone(),
            ),
            (
                "one success doesn't heal",
                sick(),
                NOW,
                Event::Healthy,
                Life::Sick { since: at(0), successes: 1, probe: "503".to_owned() },
                vec![],
            ),
            (
                "two in a row do",
                Life::Sick { since: at(0), successes: 1, probe: "503".to_owned() },
                NOW,
                Event::Healthy,
                Life::Ready { since: at(10), failures: 0 },
                vec![],
            ),
            (
                "a failure between starts the count anew",
                Life::Sick { since: at(0), successes: 1, probe: "500".to_owned() },
                NOW,
                bad(),
                sick(),
                vec![],
            ),
            (
                "sick for a whole grace, it is started again",
                sick(),
                60,
                Event::Passed,
                Life::Terminating {
                    kill_at: at(70),
                    why: Leave::Failed(Fault::Unhealthy {
                        lasted: Duration::from_secs(60),
                        probe: "503".to_owned(),
                    }),
                },
                vec![Effect::Terminate],
            ),
            (
                "a sick one isn't drained: it has been out of traffic",
                sick(),
                NOW,
                leave(Leave::Replaced, 30),
                terminating(Leave::Replaced),
                vec![Effect::Terminate],
            ),
            (
                "the drain lasts",
                draining(Leave::ScaleIn),
                29,
                Event::Passed,
                draining(Leave::ScaleIn),
                vec![],
            ),
            (
                "then comes SIGTERM",
                draining(Leave::ScaleIn),
                30,
                Event::Passed,
                Life::Terminating { kill_at: at(40), why: Leave::ScaleIn },
                vec![Effect::Terminate],
            ),
            (
                "or sooner when it is empty",
                draining(Leave::ScaleIn),
                NOW,
                Event::Drained,
                terminating(Leave::ScaleIn),
                vec![Effect::Terminate],
            ),
            (
                "a draining one can be taken back",
                draining(Leave::ScaleIn),
                NOW,
                Event::Recall,
                ready(),
                vec![],
            ),
            (
                "but not one that was replaced",
                draining(Leave::Replaced),
                NOW,
                Event::Recall,
                draining(Leave::Replaced),
                vec![],
            ),
            (
                "a shutdown cuts a drain short",
                draining(Leave::ScaleIn),
                NOW,
                leave(Leave::Shutdown, 3),
                Life::Draining { until: at(13), ready_since: at(0), failures: 0, why: Leave::Shutdown },
                vec![],
            ),
            (
                "one that ends while draining doesn't come back",
                draining(Leave::ScaleIn),
                NOW,
                exit(),
                Life::Sweeping { why: Leave::ScaleIn },
                kill_now.clone(),
            ),
            (
                "the grace after SIGTERM lasts",
                terminating(Leave::ScaleIn),
                19,
                Event::Passed,
                terminating(Leave::ScaleIn),
                vec![],
            ),
            (
                "then comes SIGKILL",
                terminating(Leave::ScaleIn),
                20,
                Event::Passed,
                Life::Sweeping { why: Leave::ScaleIn },
                kill_now,
            ),
            (
                "its children have what is left of the grace",
                terminating(Leave::ScaleIn),
                NOW,
                exit(),
                Life::Sweeping { why: Leave::ScaleIn },
                vec![Effect::Sweep { after: Duration::from_secs(10) }],
            ),
            (
                "a failing one can be let go of while it is stopped",
                terminating(Leave::Failed(fault())),
                NOW,
                leave(Leave::ScaleIn, 30),
                terminating(Leave::ScaleIn),
                vec![],
            ),
            (
                "and while it is cleared away",
                Life::Sweeping { why: Leave::Failed(fault()) },
                NOW,
                leave(Leave::Shutdown, 30),
                Life::Sweeping { why: Leave::Shutdown },
                vec![],
            ),
            (
                "cleared away, it is gone",
                Life::Sweeping { why: Leave::ScaleIn },
                NOW,
                swept(),
                Life::Stopped,
                vec![],
            ),
            ("what is gone stays gone", Life::Stopped, NOW, Event::Healthy, Life::Stopped, vec![]),
        ];
        for (claim, life, now, event, expected, effects) in table {
            assert_eq!(step(life, event, at(now)), (expected, effects), "{claim}");
        }
    }

    #[test]
    fn a_worker_is_not_drained() {
        let mut spec = spec();
        spec.health.probe = Probe::Alive;
        let mut worker = Replica::in_state(ready(), 1);
        assert_eq!(worker.on(leave(Leave::ScaleIn, 30), at(NOW), &spec), [Effect::Terminate]);
    }

    /// Lets a replica fail in every state it comes to, and gives the wait before the next start.
    fn fail_once(replica: &mut Replica, now: Moment) -> Duration {
        let _ = replica.on(Event::Passed, now, &spec());
        let _ = replica.on(Event::Spawned, now, &spec());
        let _ = replica.on(exit(), now, &spec());
        let _ = replica.on(swept(), now, &spec());
        match replica.life() {
            Life::Waiting { until, .. } => until.since(now),
            other => panic!("it waits after a failure, and is {other:?}"),
        }
    }

    #[test]
    fn failures_in_a_row_wait_longer_and_the_fifth_is_a_crash_loop() {
        let mut replica = Replica::new(at(0), 1);
        let mut last = Duration::ZERO;
        for failure in 1..=5 {
            let wait = fail_once(&mut replica, at(failure * 100));
            assert!(wait > last, "{wait:?} after {last:?}");
            assert_eq!(replica.in_crash_loop(&spec()), failure == 5);
            last = wait;
        }
        assert_eq!(replica.restarts(), 5);
    }

    #[test]
    fn a_stable_time_ends_the_row_of_failures_and_one_second_less_does_not() {
        for (stable_for, streak) in [(59, 5), (60, 1)] {
            let mut replica = Replica::in_state(ready(), 1).with_history(4, 4);
            let _ = replica.on(exit(), at(stable_for), &spec());
            let _ = replica.on(swept(), at(stable_for), &spec());
            assert_eq!(replica.streak(), streak, "ready for {stable_for} s");
        }
    }

    #[test]
    fn a_lost_port_costs_no_wait_three_times_and_then_counts_as_a_failure() {
        let mut replica = Replica::new(at(0), 1);
        for loss in 1..=4 {
            let now = at(loss * 100);
            let _ = replica.on(Event::Passed, now, &spec());
            let _ = replica.on(Event::Spawned, now, &spec());
            let _ = replica.on(exit(), now, &spec());
            let lost = Event::Swept { port_taken: Some(80), last_words: String::new() };
            let effects = replica.on(lost, now, &spec());
            assert_eq!(effects, [Effect::Report(Fault::PortTaken { port: 80 })]);
            let Life::Waiting { until, .. } = replica.life() else { panic!("it waits") };
            assert_eq!(*until > now, loss == 4, "loss {loss}");
        }
    }

    #[test]
    fn a_replica_that_never_got_ready_is_reported_with_its_last_words() {
        let mut replica = Replica::in_state(starting(), 1);
        let _ = replica.on(Event::Passed, at(60), &spec());
        let _ = replica.on(Event::Passed, at(70), &spec());
        let effects = replica.on(swept(), at(71), &spec());
        let [Effect::Report(Fault::NeverReady { last_words, .. })] = effects.as_slice() else {
            panic!("it is reported: {effects:?}")
        };
        assert_eq!(last_words, "bye");
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Passed),
            Just(Event::Spawned),
            Just(Event::NotSpawned(fault())),
            Just(Event::Healthy),
            Just(bad()),
            Just(exit()),
            Just(swept()),
            Just(Event::Drained),
            Just(Event::Recall),
            Just(leave(Leave::ScaleIn, 30)),
        ]
    }

    proptest! {
        /// Whatever crosses whatever: a shut-down replica with nothing but time passing and its remains
        /// being cleared away ends, and is never started again.
        #[test]
        fn a_shut_down_replica_ends_whatever_happened_before(
            events in proptest::collection::vec((any_event(), 0_u64..40), 0..60)
        ) {
            let mut replica = Replica::new(at(0), 1);
            let mut now = 0;
            for (event, passed) in events {
                now += passed;
                let _ = replica.on(event, at(now), &spec());
            }
            if *replica.life() == Life::Spawning {
                let _ = replica.on(Event::Spawned, at(now), &spec());
            }
            let _ = replica.on(leave(Leave::Shutdown, 30), at(now), &spec());
            for _ in 0..3 {
                now += 100;
                prop_assert!(!replica.on(Event::Passed, at(now), &spec()).contains(&Effect::Spawn));
                let _ = replica.on(swept(), at(now), &spec());
            }
            prop_assert_eq!(replica.life(), &Life::Stopped);
        }

        /// A state with a deadline always leaves it when the deadline comes: nothing spins.
        #[test]
        fn no_deadline_stays_in_the_past(
            events in proptest::collection::vec((any_event(), 0_u64..40), 0..60)
        ) {
            let mut replica = Replica::new(at(0), 1);
            let mut now = 0;
            for (event, passed) in events {
                now += passed;
                let _ = replica.on(event, at(now), &spec());
                let _ = replica.on(Event::Passed, at(now), &spec());
                if let Some(deadline) = replica.deadline(&spec()) {
                    prop_assert!(deadline > at(now), "{:?} at {now}", replica.life());
                }
            }
        }
    }
}
