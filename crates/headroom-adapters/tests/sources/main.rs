//! Sources against servers: ones that fail in every way, and the real ones.
//!
//! The real servers are started here, on free ports of the loopback, each for one test. `./check` installs them. With
//! `HEADROOM_SKIP_REAL=1` the tests that need one say so and pass.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

mod asked;
mod faults;
mod kafka;
#[cfg(feature = "keda")]
mod keda;
mod local;
mod matrix;
mod otlp;
mod postgres;
mod real;
#[path = "../common/server.rs"]
mod server;
mod sharing;
mod support;
mod tls;
