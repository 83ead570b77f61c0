//! HTTP/1.1 on the wire: heads, and where bodies end.
//!
//! The balancer reads and writes HTTP/1.1 itself, on both sides, in one task per client connection
//! (ADR 0010 says why). Everything that is ambiguous is refused rather than passed on: a message is
//! forwarded only if there is one way to read it, and it is written anew from what was read. No byte
//! of framing that a client sent reaches a backend, which is what makes request smuggling impossible
//! rather than filtered.

pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod headers;
