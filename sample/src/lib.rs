//! The app that is scaled, and the load that makes it necessary.
//!
//! To show that a scaler keeps a promise one needs something to scale, something to scale it for, and
//! figures that can be trusted. [`app`] is a web server with a known capacity and failures on demand;
//! [`load`] sends requests at a planned rate, whatever the answers, and accounts for every one of them.
//!
//! Neither knows anything of headroom: what passes here would pass with any other scaler.

pub mod app;
pub mod load;
mod random;
mod units;

pub use units::UnitError;
