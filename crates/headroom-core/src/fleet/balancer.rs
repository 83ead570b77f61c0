//! What stands in front of a workload: the built-in balancer (A14), or an HAProxy that already runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Path, Problem};
use crate::units::Span;

/// Where clients reach the workload and how requests are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BalancerSettings {
    /// The address clients connect to; port 0 takes any free one.
    #[schemars(with = "String", example = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Which replica gets the next request.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Whether a client stays with its replica; off unless named (A14).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Stickiness>,
    /// TLS termination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// What happens to requests while no replica is ready.
    #[serde(default)]
    pub hold: HoldSettings,
    /// Bounds on what a client may send.
    #[serde(default)]
    pub limits: BalancerLimits,
    /// Bounds on how long things may take.
    #[serde(default)]
    pub timeouts: BalancerTimeouts,
}

/// How the next replica is chosen (A14 names the first two).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in flight.
    #[default]
    LeastConnections,
    /// The less busy of two drawn at random: nearly as even, and it does not stampede a new replica.
    TwoRandomChoices,
}

/// Keeping a client with its replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Stickiness {
    /// The name of the cookie that remembers the replica.
    #[serde(default = "default_cookie")]
    pub cookie: String,
}

fn default_cookie() -> String {
    "headroom".to_owned()
}

/// Certificate and key, as PEM files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TlsSettings {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Requests that arrive while no replica is ready wait here (scale from zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HoldSettings {
    /// How many may wait; more get 503 with `Retry-After`.
    pub requests: u32,
    /// How long one may wait; long enough for a container start of about 30 s (C6), twice.
    pub timeout: Span,
}

impl Default for HoldSettings {
    fn default() -> Self {
        Self { requests: 1000, timeout: Span::seconds(60) }
    }
}

/// Bounds on what a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BalancerLimits {
    /// Client connections open at once.
    pub connections: u32,
    /// Bytes of request line and headers together (nginx and HAProxy: 8 to 32 KiB).
    pub header_bytes: u32,
}

impl Default for BalancerLimits {
    fn default() -> Self {
        Self { connections: 20_000, header_bytes: 32 * 1024 }
    }
}

/// Bounds on how long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BalancerTimeouts {
    /// From a connection's first byte to the end of the request's headers.
    pub headers: Span,
    /// A connection to a replica.
    pub connect: Span,
    /// From the request to the start of its answer.
    pub response: Span,
    /// How long a client's connection may idle.
    pub idle: Span,
}

impl Default for BalancerTimeouts {
    fn default() -> Self {
        Self {
            headers: Span::seconds(10),
            connect: Span::seconds(2),
            response: Span::seconds(60),
            idle: Span::seconds(75),
        }
    }
}

impl BalancerSettings {
    pub(super) fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        let t = &self.timeouts;
        for (key, span) in
            [("headers", t.headers), ("connect", t.connect), ("response", t.response), ("idle", t.idle)]
        {
            if span.is_zero() {
                problems.push(Problem::new(at.key("timeouts").key(key), "must be longer than nothing"));
            }
        }
        if self.limits.connections == 0 {
            problems.push(Problem::new(at.key("limits").key("connections"), "0 would let nobody in"));
        }
        if self.limits.header_bytes < 1024 {
            problems.push(Problem::new(
                at.key("limits").key("headerBytes"),
                "less than 1024 bytes refuses ordinary requests",
            ));
        }
        if let Some(sticky) = &self.stickiness {
            let token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if sticky.cookie.is_empty() || !sticky.cookie.chars().all(token) {
                problems.push(Problem::new(
                    at.key("stickiness").key("cookie"),
                    "a cookie's name consists of letters, digits, hyphens and underscores",
                ));
            }
        }
    }
}

/// A backend of an HAProxy that already runs: ready replicas are added to it as servers, drained before they stop, and
/// removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HaproxyBackend {
    /// Its runtime API, at `level admin`: a path relative to the policy's folder, or `host:port`.
    #[schemars(example = "/run/haproxy/admin.sock")]
    pub socket: String,
    /// The backend, which stands in its configuration already. Servers in it that headroom did not add are left alone.
    pub backend: String,
    /// How many connections one replica gets at once (`maxconn`); more wait in HAProxy's queue. By default as many as
    /// come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

impl HaproxyBackend {
    pub(super) fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        if self.socket.trim().is_empty() {
            problems.push(Problem::new(at.key("socket"), "names no socket"));
        }
        // What else is no name, and would be read as another command.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if self.backend.is_empty() || !self.backend.chars().all(plain) {
            problems.push(Problem::new(
                at.key("backend"),
                "a backend's name consists of letters, digits, hyphens, underscores, dots and colons",
            ));
        }
        if self.max_connections == Some(0) {
            problems.push(
                Problem::new(at.key("maxConnections"), "0 would let nobody in")
                    .help("leave it out for as many as come"),
            );
        }
    }
}
