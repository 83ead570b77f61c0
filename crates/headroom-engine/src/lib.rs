//! The live driver of the controller.
//!
//! The controller is pure; this crate gives it time, samples and looks, writes down every input before anything
//! is done, and carries out its effects with deadlines. IO runs in tasks beside the loop and reports back as
//! inputs; nothing but the loop touches the controller.

pub mod driver;
pub mod figures;
pub mod handle;
pub mod journal;
pub mod outbox;
pub mod plan;
pub mod ports;
pub mod repeated;
pub mod sources;
mod watch;
