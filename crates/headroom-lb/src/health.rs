//! Health of one backend: a state machine fed by active checks and by reports of failed requests, and
//! the check itself.
//!
//! ```text
//! starting ──ok──► healthy ──failed checks──► unhealthy ──ok──► healthy
//!                     └─────failed requests─► ejected ────ok──► healthy
//! any of these ──► draining ──► drained
//! ```

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    control::protocol::Health,
    settings::{HealthCheck, Millis},
};

/// Most bytes read of a check's answer: its status line is all that counts.
const MAX_ANSWER: usize = 1_024;

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckFailed {
    pub(crate) why: String,
    /// It accepts connections, so it might be well enough for an emergency.
    pub(crate) reachable: bool,
}

/// How one backend is.
#[derive(Debug, Clone)]
pub(crate) struct HealthState {
    pub(crate) health: Health,
    pub(crate) why: String,
    /// Checks in a row that speak against the present state.
    against: u32,
    was_healthy: bool,
    reachable: bool,
}

impl HealthState {
    pub(crate) fn starting() -> Self {
        Self {
            health: Health::Starting,
            why: "it has not passed a health check yet".into(),
            against: 0,
            was_healthy: false,
            reachable: false,
        }
    }

    /// Takes a check's result; true if the health has changed.
    pub(crate) fn checked(&mut self, result: &Result<(), CheckFailed>, check: &HealthCheck) -> bool {
        match result {
            Ok(()) => self.reachable = true,
            Err(failed) => {
                self.reachable = failed.reachable;
                if self.health == Health::Starting {
                    self.why.clone_from(&failed.why);
                }
            }
        }
        let needed = match (self.health, result.is_ok()) {
            (Health::Starting, true) => check.initial_healthy,
            (Health::Unhealthy | Health::Ejected, true) => check.healthy,
            (Health::Healthy, false) => check.unhealthy,
            (Health::Draining | Health::Drained, _) => return false,
            _ => {
                self.against = 0;
                return false;
            }
        };
        self.against += 1;
        if self.against < needed {
            return false;
        }
        match result {
            Ok(()) => {
                self.was_healthy = true;
                self.become_(Health::Healthy, format!("it passed {needed} health checks in a row"));
            }
            Err(failed) => {
                self.become_(
                    Health::Unhealthy,
                    format!("it failed {needed} health checks in a row: {}", failed.why),
                );
            }
        }
        true
    }

    /// Its requests failed in a row.
    pub(crate) fn eject(&mut self, unreachable: bool, failures: u32) {
        self.reachable = !unreachable;
        let what = if unreachable { "connections to it" } else { "requests to it" };
        self.become_(Health::Ejected, format!("{failures} {what} failed in a row"));
    }

    pub(crate) fn drain(&mut self) {
        self.become_(Health::Draining, "it was asked to drain".into());
    }

    pub(crate) fn drained(&mut self, left: u32) {
        let why = match left {
            0 => "its last request is done".into(),
            n => format!("its deregistration delay is over with {n} requests in flight"),
        };
        self.become_(Health::Drained, why);
    }

    /// Draining was called off.
    pub(crate) fn reactivate(&mut self) {
        *self = Self { was_healthy: self.was_healthy, ..Self::starting() };
    }

    /// Time until the next check; none while it drains.
    pub(crate) fn next_check(&self, check: &HealthCheck) -> Option<Millis> {
        match self.health {
            Health::Starting => Some(check.startup_interval),
            Health::Healthy | Health::Unhealthy | Health::Ejected => Some(check.interval),
            Health::Draining | Health::Drained => None,
        }
    }

    fn become_(&mut self, health: Health, why: String) {
        (self.health, self.why, self.against) = (health, why, 0);
    }

    fn counts_for_panic(&self) -> bool {
        self.was_healthy && self.health != Health::Starting && !self.is_leaving()
    }

    fn is_leaving(&self) -> bool {
        matches!(self.health, Health::Draining | Health::Drained)
    }
}

/// Which backends, by index, may have traffic: the healthy ones; and if those are less than the panic
/// share of all that have been healthy, also those that still accept connections. One that has never
/// been healthy gets nothing, ever (A14).
pub(crate) fn routable(states: &[&HealthState], panic_below_percent: u8) -> Vec<usize> {
    let known = states.iter().filter(|s| s.counts_for_panic()).count();
    let healthy = states.iter().filter(|s| s.health == Health::Healthy).count();
    let panic = healthy * 100 < known * usize::from(panic_below_percent);
    let may = |s: &HealthState| s.health == Health::Healthy || (panic && s.counts_for_panic() && s.reachable);
    (0..states.len()).filter(|i| may(states[*i])).collect()
}

/// Whether one more healthy backend may be ejected. Never the last; one that answers badly only while
/// the panic share stays; one that cannot be reached always, since it serves nobody.
pub(crate) fn may_eject(states: &[&HealthState], panic_below_percent: u8, unreachable: bool) -> bool {
    let known = states.iter().filter(|s| s.counts_for_panic()).count();
    let healthy = states.iter().filter(|s| s.health == Health::Healthy).count();
    healthy > 1 && (unreachable || (healthy - 1) * 100 >= known * usize::from(panic_below_percent))
}

/// Asks a backend how it is.
pub(crate) async fn check(address: SocketAddr, settings: &HealthCheck) -> Result<(), CheckFailed> {
    let limit: Duration = settings.timeout.duration();
    let mut reachable = false;
    let asked = timeout(limit, ask(address, &settings.path, &mut reachable)).await;
    let failed = |why| CheckFailed { why, reachable };
    match asked {
        Err(_) => Err(failed(format!("no answer on {} within {} ms", settings.path, settings.timeout.0))),
        Ok(Err(why)) => Err(failed(format!("{}: {why}", settings.path))),
        Ok(Ok(200..300)) => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("{} answered {status}", settings.path))),
    }
}

async fn ask(address: SocketAddr, path: &str, reachable: &mut bool) -> Result<u16, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|e| format!("cannot connect: {e}"))?;
    *reachable = true;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: headroom-health\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    while !answer.contains(&b'\n') && answer.len() < MAX_ANSWER {
        if stream.read_buf(&mut answer).await.map_err(|e| e.to_string())? == 0 {
            break;
        }
    }
    status(&answer).ok_or_else(|| "the answer is not HTTP/1".into())
}

/// The status in an answer's first line.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    let digits = line.get(2..5).filter(|d| d.iter().all(u8::is_ascii_digit))?;
    let ends = matches!(line.get(5), Some(b' ' | b'\r' | b'\n'));
    (line[1] == b' ' && ends).then(|| digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(reachable: bool) -> Result<(), CheckFailed> {
        Err(CheckFailed { why: "it is down".into(), reachable })
    }

    fn healthy() -> HealthState {
        let mut s = HealthState::starting();
        assert!(s.checked(&Ok(()), &HealthCheck::default()));
        s
    }

    /// A14: healthy 2, unhealthy 3; a new replica gets traffic only after it is healthy.
    #[test]
    fn thresholds_count_checks_in_a_row() {
        let c = HealthCheck::default();
        let mut s = HealthState::starting();
        assert!((0..100).all(|_| !s.checked(&bad(false), &c)));
        assert_eq!((s.health, s.why.as_str()), (Health::Starting, "it is down"));
        let mut s = healthy();
        for _ in 0..5 {
            assert!(!s.checked(&bad(true), &c) && !s.checked(&bad(true), &c) && !s.checked(&Ok(()), &c));
        }
        assert!(!s.checked(&bad(true), &c) && !s.checked(&bad(true), &c) && s.checked(&bad(true), &c));
        assert_eq!(s.health, Health::Unhealthy);
        assert!(!s.checked(&Ok(()), &c) && !s.checked(&bad(true), &c) && !s.checked(&Ok(()), &c));
        assert!(s.checked(&Ok(()), &c));
        assert_eq!(s.health, Health::Healthy);
    }

    #[test]
    fn an_ejected_backend_comes_back_through_checks() {
        let c = HealthCheck::default();
        let mut s = healthy();
        s.eject(false, 5);
        assert_eq!((s.health, s.why.as_str()), (Health::Ejected, "5 requests to it failed in a row"));
        assert!(!s.checked(&Ok(()), &c) && s.checked(&Ok(()), &c));
        assert_eq!(s.health, Health::Healthy);
    }

    #[test]
    fn what_drains_is_not_checked_back_into_service() {
        let c = HealthCheck::default();
        let mut s = healthy();
        s.drain();
        assert!((0..9).all(|_| !s.checked(&Ok(()), &c)) && s.next_check(&c).is_none());
        s.reactivate();
        assert_eq!(s.health, Health::Starting);
    }

    fn states(spec: &str) -> Vec<HealthState> {
        spec.chars()
            .map(|c| {
                let mut s = if c == 's' { HealthState::starting() } else { healthy() };
                match c {
                    'h' | 's' => {}
                    'e' => s.eject(false, 5),
                    'x' => s.eject(true, 5),
                    'd' => s.drain(),
                    _ => unreachable!(),
                }
                s
            })
            .collect()
    }

    /// h healthy, e ejected but reachable, x not reachable, s starting, d draining.
    #[test]
    fn traffic_goes_to_the_healthy_and_in_a_panic_to_whoever_listens() {
        let rows: [(&str, &[usize]); 10] = [
            ("", &[]),
            ("s", &[]),
            ("h", &[0]),
            ("hs", &[0]),
            ("he", &[0]),
            ("hee", &[0, 1, 2]),
            ("hex", &[0, 1]),
            ("ee", &[0, 1]),
            ("xs", &[]),
            ("hdd", &[0]),
        ];
        for (spec, expected) in rows {
            let states = states(spec);
            assert_eq!(routable(&states.iter().collect::<Vec<_>>(), 50), expected, "{spec}");
        }
        let off = states("hee");
        assert_eq!(routable(&off.iter().collect::<Vec<_>>(), 0), [0]);
    }

    #[test]
    fn the_last_healthy_backend_is_never_ejected() {
        let rows = [
            ("h", false, false),
            ("h", true, false),
            ("hh", false, true),
            ("hhe", false, false),
            ("hhe", true, true),
            ("hhhh", false, true),
            ("hhss", false, true),
        ];
        for (spec, unreachable, expected) in rows {
            let states = states(spec);
            let all: Vec<_> = states.iter().collect();
            assert_eq!(may_eject(&all, 50, unreachable), expected, "{spec} {unreachable}");
        }
    }

    #[test]
    fn only_an_http_status_line_is_an_answer() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for not in [&b""[..], b"HTTP/1.1 2", b"HTTP/1.1 2000", b"HTTP/2 200", b"SSH-2.0", b"HTTP/1.1 20x "] {
            assert_eq!(status(not), None, "{}", not.escape_ascii());
        }
    }
}
