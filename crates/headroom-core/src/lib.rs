//! The decision core of headroom: how many replicas a workload shall have now, and why.
//!
//! Everything here is pure. There is no IO, no async, no clock, no randomness, no logging and no hash map: the
//! same inputs give the same bytes, live, simulated, replayed from the journal, or from one observation in a
//! file. `ARCHITECTURE.md` names what enforces that.
//!
//! Read in this order: [`units`] and [`reading`] (values), [`fleet`] (what a policy says), [`strategy`] and
//! [`guard`] (who moves a number), [`decision`] (a number that explains itself), [`controller`] (one tick).

pub mod action;
pub mod alert;
pub mod calendar;
pub mod capacity;
pub mod combine;
pub mod context;
pub mod controller;
pub mod decision;
pub mod extremes;
pub mod fitness;
pub mod fleet;
pub mod formula;
pub mod guard;
pub mod inspect;
pub mod memory;
pub mod names;
pub mod notice;
pub mod observation;
pub mod outlook;
pub mod reading;
pub mod reason;
pub mod say;
pub mod series;
pub mod start_up;
pub mod strategy;
pub mod together;
pub mod units;
pub mod warm;
