//! Everything headroom talks to: what signals are read from, what sizes are applied to, who is told or traces it.
//!
//! The heavy clients live here and nowhere else, so that the core stays pure and quick to test.

mod accept;
pub mod balancer;
pub mod haproxy;
pub mod http;
#[cfg(feature = "keda")]
pub mod keda;
mod net;
pub mod notifier;
pub mod secret;
pub mod source;
pub mod target;
pub mod traces;
