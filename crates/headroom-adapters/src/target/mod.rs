//! Targets: what a size is applied to, one folder or file each.

pub mod process;
