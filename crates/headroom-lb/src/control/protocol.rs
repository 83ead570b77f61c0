//! Messages of the control socket, version 1: one JSON object per line, either way.
//!
//! ```text
//! → {"id":1,"request":"claim"}
//! ← {"id":1,"reply":{"claimed":4}}
//! → {"id":2,"generation":4,"request":{"put":{"name":"web","listen":"127.0.0.1:8080",…}}}
//! ← {"id":2,"reply":{"service":{…}}}
//! ← {"id":2,"error":{"code":"stale-generation","message":"…"}}
//! → {"id":3,"request":"subscribe"}
//! ← {"id":3,"reply":"done"}
//! ← {"event":{"backendHealth":{…}}}
//! ← {"event":{"figures":{…}}}
//! ```
//!
//! Writes carry the generation their controller claimed. Only the newest claim may write: a controller
//! that was presumed dead and is not cannot undo what its successor did. Reads need none.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    figures::Figures,
    names::{BackendId, ServiceName},
    settings::{Millis, ServiceConfig},
};

/// Version of the protocol. A balancer and a controller of different versions refuse each other; the
/// controller then starts a balancer of its own version and lets the old one drain.
pub const VERSION: u32 = 1;

/// Longest request line in bytes: 1000 backends take about 150 KB.
pub const MAX_REQUEST_LINE: usize = 1 << 20;

/// Longest reply or event line in bytes: 256 services in full, or figures of 1000 backends with full
/// histograms.
pub const MAX_REPLY_LINE: usize = 64 << 20;

/// A controller's generation: rises with every claim, so the greatest is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// A line from a controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLine {
    /// Chosen by the controller; its answer carries the same.
    pub id: u64,
    /// What the controller claimed; needed for writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// What it wants.
    pub request: Request,
}

/// What a controller can ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Who is there. Answer: [`Reply::Hello`].
    Hello,
    /// Become the writing controller. Answer: [`Reply::Claimed`]; earlier claims are void from then on.
    Claim,
    /// The whole state, to adopt a running balancer. Answer: [`Reply::State`].
    State,
    /// Make this service so, new or not. Answer: [`Reply::Service`]. (write)
    Put(Box<ServiceConfig>),
    /// Let a backend drain. Answer: [`Reply::Service`]. (write)
    #[serde(rename_all = "camelCase")]
    DrainBackend {
        /// The service.
        service: ServiceName,
        /// The backend.
        backend: BackendId,
        /// Deregistration delay; see [`crate::settings::BackendState::Draining`].
        delay: Millis,
    },
    /// Stop a service: it listens no more, requests in flight may finish. One that does not exist is
    /// as good as removed. Answer: [`Reply::Done`]. (write)
    #[serde(rename_all = "camelCase")]
    Remove {
        /// The service.
        service: ServiceName,
    },
    /// Send events on this connection from now on, figures included. Answer: [`Reply::Done`].
    Subscribe,
    /// End the process: stop listening, let requests in flight finish for `drain` at most, exit.
    /// Answer: [`Reply::Done`], before the draining. (write)
    #[serde(rename_all = "camelCase")]
    Shutdown {
        /// Longest time to wait for requests in flight.
        drain: Millis,
    },
}

impl Request {
    /// Whether it changes anything, and so needs the newest generation.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Self::Put(_) | Self::DrainBackend { .. } | Self::Remove { .. } | Self::Shutdown { .. } => true,
            Self::Hello | Self::Claim | Self::State | Self::Subscribe => false,
        }
    }
}

/// A line from the balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReplyLine {
    /// A request was carried out.
    Reply {
        /// Of the request.
        id: u64,
        /// Its answer.
        reply: Reply,
    },
    /// A request was refused; nothing has changed.
    Error {
        /// Of the request; absent if the line could not be read at all.
        id: Option<u64>,
        /// Why.
        error: Refusal,
    },
    /// Something happened.
    Event {
        /// What.
        event: Event,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// To [`Request::Claim`].
    Claimed(Generation),
    /// To [`Request::State`].
    State(State),
    /// To [`Request::Put`] and [`Request::DrainBackend`]: the service as it is now.
    Service(Box<ServiceStatus>),
    /// To all else.
    Done,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs; stable.
    pub code: RefusalCode,
    /// For people: what failed, why, what to do next.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The line is no request of this version, or too long.
    BadRequest,
    /// Another controller has claimed the balancer since, or none was claimed.
    StaleGeneration,
    /// The settings cannot be used.
    BadSettings,
    /// The address cannot be listened on.
    ListenFailed,
    /// Certificate or key cannot be used.
    BadCertificate,
    /// There is no such service or backend.
    NotFound,
    /// A bound of the process is reached.
    TooMany,
    /// The balancer is shutting down.
    ShuttingDown,
}

/// Who answers on the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`VERSION`] of the balancer.
    pub version: u32,
    /// Version of its package.
    pub software: String,
    /// Its process id.
    pub pid: u32,
    /// The newest claim; 0 if none was made yet.
    pub generation: Generation,
}

/// The whole state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The newest claim.
    pub generation: Generation,
    /// Every service, by name.
    pub services: Vec<ServiceStatus>,
}

/// A service as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// As it was put, drains since then included.
    pub config: ServiceConfig,
    /// Where it listens: `config.listen` with its port 0 replaced.
    pub bound: SocketAddr,
    /// Its backends, in the order of the config.
    pub backends: Vec<BackendStatus>,
}

/// A backend as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// Which.
    pub id: BackendId,
    /// Where.
    pub address: SocketAddr,
    /// How it is.
    pub health: Health,
    /// Why it is so, for people.
    pub why: String,
    /// Requests in flight to it.
    pub in_flight: u32,
}

/// How a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Never was healthy yet; no traffic.
    Starting,
    /// Gets traffic.
    Healthy,
    /// Failed its active checks; no traffic, save in a panic (see
    /// [`crate::settings::Ejection::panic_below_percent`]).
    Unhealthy,
    /// Failed requests in a row; else as `Unhealthy`.
    Ejected,
    /// Gets no new requests, finishes those it has.
    Draining,
    /// Has none left, or its delay is over. It can be stopped.
    Drained,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Figures of one service, once per interval.
    Figures(Box<Figures>),
    /// A backend's health changed.
    BackendHealth(HealthChange),
    /// A request is held because no backend is ready: make one ready. Sent for the first, and again
    /// each second while some are held.
    #[serde(rename_all = "camelCase")]
    RequestHeld {
        /// The service.
        service: ServiceName,
        /// Requests held now.
        held: u32,
    },
    /// A listener failed while it was serving.
    #[serde(rename_all = "camelCase")]
    ListenFailed {
        /// The service.
        service: ServiceName,
        /// For people.
        message: String,
    },
    /// This reader was too slow and the oldest events, figures not among them, were dropped: read the
    /// state again.
    #[serde(rename_all = "camelCase")]
    Lagged {
        /// How many.
        dropped: u64,
    },
}

/// A backend's health changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthChange {
    /// The service.
    pub service: ServiceName,
    /// The backend.
    pub backend: BackendId,
    /// How it was.
    pub from: Health,
    /// How it is.
    pub to: Health,
    /// Why, for people.
    pub why: String,
    /// Requests in flight to it. After a drain: those that its delay left unfinished.
    pub in_flight: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(line: &RequestLine) -> String {
        let json = serde_json::to_string(line).unwrap();
        assert_eq!(&serde_json::from_str::<RequestLine>(&json).unwrap(), line);
        json
    }

    #[test]
    fn requests_read_as_documented() {
        let line = |generation, request| RequestLine { id: 7, generation, request };
        assert_eq!(round_trip(&line(None, Request::Claim)), r#"{"id":7,"request":"claim"}"#);
        let drain = Request::DrainBackend {
            service: "web".parse().unwrap(),
            backend: "a".parse().unwrap(),
            delay: Millis(30_000),
        };
        assert_eq!(
            round_trip(&line(Some(Generation(4)), drain)),
            r#"{"id":7,"generation":4,"request":{"drainBackend":{"service":"web","backend":"a","delay":30000}}}"#
        );
    }

    #[test]
    fn replies_errors_and_events_are_told_apart() {
        let lines = [
            ReplyLine::Reply { id: 1, reply: Reply::Done },
            ReplyLine::Reply { id: 1, reply: Reply::Claimed(Generation(2)) },
            ReplyLine::Error {
                id: None,
                error: Refusal { code: RefusalCode::BadRequest, message: "x".into() },
            },
            ReplyLine::Event { event: Event::Lagged { dropped: 3 } },
        ];
        for line in lines {
            let json = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<ReplyLine>(&json).unwrap(), line, "{json}");
        }
    }

    #[test]
    fn everything_that_changes_something_is_a_write() {
        assert!(Request::Shutdown { drain: Millis(0) }.writes());
        assert!(Request::Remove { service: "a".parse().unwrap() }.writes());
        assert!(!Request::State.writes());
        assert!(!Request::Claim.writes());
    }
}
