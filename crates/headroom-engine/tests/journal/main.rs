//! The journal from outside: what it keeps, what it answers, and what it does when things break.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod kept;
mod process;
mod world;
