//! Notifiers against servers that take what they are told: the example of each page in `docs/notifiers/`.
//!
//! An Alertmanager is the real one; `./check` installs it, and with `HEADROOM_SKIP_REAL=1` its test says so and passes.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

mod alertmanager;
mod mail;
#[path = "../common/server.rs"]
mod server;
mod support;
mod web;
