//! Targets: what a size is applied to, one folder or file each.

mod fronted;
pub mod process;

pub use fronted::{Fronted, InFront};
