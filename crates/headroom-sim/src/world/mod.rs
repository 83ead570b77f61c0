//! The world: what a target and its replicas would do.
//!
//! A model, not an emulation: identical replicas that take time to start, carry so much each, make requests wait
//! when there are more than they carry, and are paid for while they run. It knows no policy.

mod model;
mod plant;
mod queue;

pub use model::{Model, ModelProblem};
pub use plant::{Figure, Plant, Stepped};
pub use queue::Queue;
