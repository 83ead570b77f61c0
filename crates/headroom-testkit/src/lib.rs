//! Test kit: the conformance suites of the seams, and the fakes they need. For tests only.

pub mod page;
pub mod port;
pub mod receiver;
pub mod source;
pub mod target;
