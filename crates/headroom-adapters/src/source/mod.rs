//! Sources: what signals are read from, one file each.

pub mod channel;
pub mod process;
