//! The simulator.
pub mod load;
pub mod rng;
pub mod world;
