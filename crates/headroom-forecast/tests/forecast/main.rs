//! What the forecasters promise, checked from outside.

mod broken_inputs;
mod common;
mod online;
mod plan;
mod properties;
