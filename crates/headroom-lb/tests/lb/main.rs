//! The balancer in a process of its own, over real sockets. One test program: they share their helpers
//! and are linked once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;
mod control;
mod hostile;
mod replicas;
mod tls_and_http2;
mod traffic;
