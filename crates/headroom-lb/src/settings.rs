//! What the controller asks for: services, their backends, and how traffic is to be treated.
//!
//! These are plain values. A setting left out has the default documented beside it; a setting that is
//! not known is an error, so a typo never passes for a default.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::names::{BackendId, ServiceName};

/// Most services one process serves. Each has a listener per worker thread; this keeps a runaway
/// controller from exhausting file descriptors.
pub const MAX_SERVICES: usize = 256;

/// Most backends of one service: the limit of targets per AWS load balancer, rounded.
pub const MAX_BACKENDS: usize = 1_000;

/// A length of time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The same length of time as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Millis {
    /// Rounds down; a length beyond `u64` milliseconds is the longest there is.
    fn from(length: Duration) -> Self {
        Self(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    }
}

/// One service in full. Sending it again is harmless: it says what is to be, not what to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConfig {
    /// Its name, the key under which it is replaced or removed.
    pub name: ServiceName,
    /// Where it listens. Port 0 lets the system choose; the choice is kept when the same config is
    /// sent again, and reported in [`crate::control::protocol::ServiceStatus::bound`].
    pub listen: SocketAddr,
    /// Terminates TLS with this certificate. The files are read again each time the service is put.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// How a backend is chosen.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Active health checks.
    #[serde(default)]
    pub health: HealthCheck,
    /// Passive ejection of backends that fail in a row.
    #[serde(default)]
    pub ejection: Ejection,
    /// Limits in size, number and time.
    #[serde(default)]
    pub limits: Limits,
    /// Repetition of requests that never reached a backend.
    #[serde(default)]
    pub retry: Retry,
    /// What happens to a request while no backend is ready: held (the default), or with `null`
    /// answered 503 at once.
    #[serde(default = "some_hold")]
    pub hold: Option<Hold>,
    /// Cookie stickiness. Off by default (A14).
    #[serde(default)]
    pub stickiness: Option<Stickiness>,
    /// Headers that tell a backend who asked.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// The backends. One that is left out gets no new request from then on.
    #[serde(default)]
    pub backends: Vec<BackendConfig>,
}

fn some_hold() -> Option<Hold> {
    Some(Hold::default())
}

impl ServiceConfig {
    /// A service with every setting at its default and no backends.
    #[must_use]
    pub fn new(name: ServiceName, listen: SocketAddr) -> Self {
        Self {
            name,
            listen,
            tls: None,
            algorithm: Algorithm::default(),
            health: HealthCheck::default(),
            ejection: Ejection::default(),
            limits: Limits::default(),
            retry: Retry::default(),
            hold: some_hold(),
            stickiness: None,
            forwarded: Forwarded::default(),
            backends: Vec::new(),
        }
    }

    /// Checks what types alone do not: numbers that must not be zero, counts that are bounded, ids
    /// that must differ.
    ///
    /// # Errors
    /// Every [`Mistake`] found, not only the first.
    pub fn check(&self) -> Result<(), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut need = |holds: bool, setting: &'static str, says: &'static str| {
            if !holds {
                mistakes.push(Mistake { setting, says });
            }
        };
        let h = &self.health;
        need(self.backends.len() <= MAX_BACKENDS, "backends", "at most 1000 backends fit one service");
        let mut ids: Vec<_> = self.backends.iter().map(|b| &b.id).collect();
        ids.sort();
        need(ids.windows(2).all(|w| w[0] != w[1]), "backends", "each id may stand once");
        let plain = |b: u8| (0x21..0x7f).contains(&b);
        need(
            h.path.starts_with('/') && h.path.len() <= 1024 && h.path.bytes().all(plain),
            "health.path",
            "must start with '/', have no spaces and at most 1024 bytes",
        );
        need(
            h.interval.0 > 0 && h.startup_interval.0 > 0 && h.timeout.0 > 0,
            "health",
            "intervals and timeout must be above 0 ms",
        );
        need(
            h.healthy > 0 && h.unhealthy > 0 && h.initial_healthy > 0,
            "health",
            "thresholds must be at least 1",
        );
        need(self.ejection.consecutive > 0, "ejection.consecutive", "must be at least 1");
        need(
            self.ejection.panic_below_percent <= 100,
            "ejection.panicBelowPercent",
            "is a percentage, 0 to 100",
        );
        let l = &self.limits;
        need(
            (1_024..=1_048_576).contains(&l.header_bytes),
            "limits.headerBytes",
            "must be between 1 KiB and 1 MiB",
        );
        need((1..=1_000_000).contains(&l.connections), "limits.connections", "must be between 1 and 1000000");
        need(
            [l.header_timeout, l.idle_timeout, l.connect_timeout, l.response_timeout, l.tunnel_timeout]
                .iter()
                .all(|t| t.0 > 0),
            "limits",
            "timeouts must be above 0 ms",
        );
        need(self.retry.attempts <= 10, "retry.attempts", "at most 10 further attempts are made");
        if let Some(hold) = &self.hold {
            need(
                (1..=1_000_000).contains(&hold.requests),
                "hold.requests",
                "must be between 1 and 1000000; leave out `hold` to answer 503 at once",
            );
            need(hold.wait.0 > 0, "hold.wait", "must be above 0 ms");
        }
        if let Some(s) = &self.stickiness {
            let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            need(
                (1..=64).contains(&s.cookie.len()) && s.cookie.bytes().all(token),
                "stickiness.cookie",
                "must be 1 to 64 of a-z, A-Z, 0-9, '_', '-' and '.'",
            );
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

/// A setting that cannot be used, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {says}")]
pub struct Mistake {
    /// The setting, as it is written in JSON.
    pub setting: &'static str,
    /// What it must be.
    pub says: &'static str,
}

/// Where certificate chain and private key lie, both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate chain, the server's own certificate first.
    pub cert: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// How a backend is chosen among those that may have traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest requests in flight; among equals, in turn.
    LeastConnections,
    /// The less busy of two drawn at random: close to the above at a constant cost, and without herds
    /// when several balancers choose at once (Mitzenmacher, "The power of two choices", 2001).
    #[default]
    TwoChoices,
}

/// Active health checks: `GET path` on each backend; an answer of 200 to 299 in time is a success.
///
/// A14 asks for an interval of 30 s (its sample for containers: 5 s) with a timeout of 5 s. The
/// default here is 1 s for both, since a controller that reacts within a second cannot wait half a
/// minute to learn of a dead replica, and one small request per second costs a backend nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Path asked for. Default `/health` (A14).
    pub path: String,
    /// Time between checks of a backend that has been healthy before. Default 1 s.
    pub interval: Millis,
    /// Time between checks of a backend that has never been healthy. Default 50 ms, so that a new
    /// replica gets its first request well within 500 ms of being ready.
    pub startup_interval: Millis,
    /// A check that takes longer has failed. Default 1 s.
    pub timeout: Millis,
    /// Successes in a row that bring a failed backend back. Default 2 (A14).
    pub healthy: u32,
    /// Failures in a row after which a backend gets no more traffic. Default 3 (A14).
    pub unhealthy: u32,
    /// Successes in a row that a new backend needs. Default 1: a process that answers its health
    /// path has started, and waiting for a second answer only delays the replica that was asked for.
    pub initial_healthy: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/health".into(),
            interval: Millis(1_000),
            startup_interval: Millis(50),
            timeout: Millis(1_000),
            healthy: 2,
            unhealthy: 3,
            initial_healthy: 1,
        }
    }
}

/// Passive ejection: a backend whose answers fail in a row gets no more traffic until active checks
/// find it well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ejection {
    /// Failures in a row (connect failures, broken answers, timeouts, 5xx) that eject. Default 5, as
    /// Envoy's `consecutive_5xx`.
    pub consecutive: u32,
    /// A backend is not ejected if that would leave fewer than this share of the active backends in
    /// service; and if fewer are, those that still accept connections get traffic again, since a
    /// doubtful answer is better than an overload of the few. Default 50 %, as Envoy's panic threshold.
    pub panic_below_percent: u8,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { consecutive: 5, panic_below_percent: 50 }
    }
}

/// Limits in size, number and time. Each bounds what one client or one backend can hold on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Most bytes of a request's or response's head. Default 32 KiB, nginx's `large_client_header_buffers`
    /// in all. A larger request is answered 431, a larger response 502.
    pub header_bytes: u32,
    /// Most client connections at once. Further ones wait in the listen queue. Default 50 000.
    pub connections: u32,
    /// Time a client has to send a request's head once it has begun. Default 10 s (HAProxy's
    /// `timeout http-request` in its guides); against clients that send a byte at a time.
    pub header_timeout: Millis,
    /// Time a connection may be idle: a client's between requests, or a body without a byte of
    /// progress. Default 60 s, as AWS's load balancer.
    pub idle_timeout: Millis,
    /// Time to connect to a backend. Default 1 s: backends are near.
    pub connect_timeout: Millis,
    /// Time a backend has for the head of its answer once it has the whole request. Default 60 s,
    /// nginx's `proxy_read_timeout`. A slower one is answered 504.
    pub response_timeout: Millis,
    /// Time an upgraded connection (WebSocket) may be idle. Default 1 h, HAProxy's `timeout tunnel`.
    pub tunnel_timeout: Millis,
    /// Time a pooled connection to a backend may be idle before it is closed. Default 4 s: just under
    /// the 5 s after which Node.js, Apache and uvicorn close it themselves.
    pub pool_idle: Millis,
    /// Most idle connections kept per backend and worker thread. Default 128.
    pub pool_size: u32,
    /// Seconds in the `Retry-After` of a 503. Default 1: a replica starts within seconds.
    pub retry_after_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            connections: 50_000,
            header_timeout: Millis(10_000),
            idle_timeout: Millis(60_000),
            connect_timeout: Millis(1_000),
            response_timeout: Millis(60_000),
            tunnel_timeout: Millis(3_600_000),
            pool_idle: Millis(4_000),
            pool_size: 128,
            retry_after_seconds: 1,
        }
    }
}

/// Repetition on another backend.
///
/// Always safe, and done for every method: the connection was refused or timed out, or a pooled
/// connection turned out closed before a byte was written. Safe only for idempotent methods (RFC 9110
/// §9.2.2) without a body: the connection broke after the request was written and before the first
/// byte of an answer. Nothing else is ever repeated: such a request is answered 502.
///
/// A backend may close a pooled connection at the very moment a request is sent on it. To keep that from
/// costing a request that must not be repeated, those go only on connections used within the last second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Further attempts after the first. Default 2: with two replicas gone at once, a third answers.
    pub attempts: u32,
    /// Also repeat idempotent requests that a backend may have seen. Default true, as nginx's
    /// `proxy_next_upstream error`.
    pub idempotent: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 2, idempotent: true }
    }
}

/// Holding of requests while no backend is ready, so that scaling to zero loses none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hold {
    /// Most requests held at once; a further one is answered 503. Default 1 000.
    pub requests: u32,
    /// Longest time one is held before it is answered 503. Default 20 s, as KEDA's HTTP add-on.
    pub wait: Millis,
}

impl Default for Hold {
    fn default() -> Self {
        Self { requests: 1_000, wait: Millis(20_000) }
    }
}

/// Cookie stickiness: a client returns to the backend that answered it first while that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stickiness {
    /// Name of the cookie. It carries a hash of the backend's id, not the id.
    pub cookie: String,
    /// Life of the cookie in seconds; left out, it ends with the browser's session.
    #[serde(default)]
    pub max_age_seconds: Option<u32>,
}

/// Headers that tell a backend who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Forwarded {
    /// `X-Forwarded-For`, `-Proto` and `-Host`. Default true.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239). Default false: few backends read it.
    pub rfc7239: bool,
    /// Keep what the client sent in these headers and add to it. Default false: at the edge anyone
    /// can write them. True only behind another proxy.
    pub trust_incoming: bool,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self { x_forwarded: true, rfc7239: false, trust_incoming: false }
    }
}

/// One backend of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendConfig {
    /// Its identity.
    pub id: BackendId,
    /// Where it listens, HTTP/1.1 without TLS.
    pub address: SocketAddr,
    /// Whether it may have new requests.
    #[serde(default)]
    pub state: BackendState,
}

impl BackendConfig {
    /// A backend that may have traffic once it is healthy.
    #[must_use]
    pub fn active(id: BackendId, address: SocketAddr) -> Self {
        Self { id, address, state: BackendState::Active }
    }
}

/// What the controller wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendState {
    /// Gets traffic while it is healthy.
    #[default]
    Active,
    /// Gets no new requests. Those in flight may finish; it counts as drained when none is left, or
    /// after `delay` (A14: 30 s) if some are. Saying so again does not start the delay anew.
    #[serde(rename_all = "camelCase")]
    Draining {
        /// The deregistration delay.
        delay: Millis,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ServiceConfig {
        ServiceConfig::new("web".parse().unwrap(), "127.0.0.1:0".parse().unwrap())
    }

    /// A14: path /health, healthy 2, unhealthy 3, stickiness off.
    #[test]
    fn defaults_are_those_of_the_specification() {
        let s = web();
        assert_eq!((s.health.path.as_str(), s.health.healthy, s.health.unhealthy), ("/health", 2, 3));
        assert!(s.stickiness.is_none());
        assert_eq!(s.check(), Ok(()));
    }

    #[test]
    fn a_service_with_only_a_name_and_an_address_is_complete() {
        let s: ServiceConfig = serde_json::from_str(r#"{"name":"web","listen":"127.0.0.1:0"}"#).unwrap();
        assert_eq!(s, web());
        let none: ServiceConfig =
            serde_json::from_str(r#"{"name":"web","listen":"127.0.0.1:0","hold":null}"#).unwrap();
        assert_eq!(none.hold, None);
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        let e = serde_json::from_str::<ServiceConfig>(r#"{"name":"web","listen":"127.0.0.1:0","retries":1}"#)
            .unwrap_err();
        assert!(e.to_string().contains("unknown field `retries`"), "{e}");
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mut s = web();
        s.health.path = "health".into();
        s.health.timeout = Millis(0);
        s.limits.connections = 0;
        s.ejection.panic_below_percent = 101;
        let b = BackendConfig::active("a".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        s.backends = vec![b.clone(), b];
        let found: Vec<_> = s.check().unwrap_err().iter().map(|m| m.setting).collect();
        assert_eq!(
            found,
            ["backends", "health.path", "health", "ejection.panicBelowPercent", "limits.connections"]
        );
    }
}
