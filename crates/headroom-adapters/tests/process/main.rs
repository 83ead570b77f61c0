//! The process target with real processes. `bin/` has the replica and the controller they are.

mod life;
mod pool;
mod port;
mod restart;
mod support;
