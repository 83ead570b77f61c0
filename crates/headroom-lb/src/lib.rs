//! headroom's balancer: a data plane in its own process that outlives its controller.
pub mod control;
pub mod figures;
pub mod histogram;
pub mod names;
pub mod settings;
