//! What others' programs need to watch headroom: a Grafana dashboard and Prometheus' alert rules.
//!
//! Both are made here, beside the metrics they read, so a metric that is renamed changes them in the same file tree,
//! and a test asks a real Prometheus every question that stands in them.

mod alerts;
mod grafana;

pub use alerts::alert_rules;
pub use grafana::{dashboard, queries};
