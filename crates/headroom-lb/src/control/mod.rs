//! The control socket: how a controller tells the balancer what to serve and hears how it goes.
//!
//! The balancer outlives its controller, so nothing here is a session: requests are absolute and may
//! be repeated, the whole state can be read back, and a controller that was replaced is refused by its
//! generation. [`protocol`] has the messages, [`client`] the controller's side, `server` the
//! balancer's.

pub mod client;
pub mod protocol;
pub(crate) mod queue;
pub(crate) mod server;

pub use client::{Client, ClientError, Events};
