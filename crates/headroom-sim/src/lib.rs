//! The simulator: the real controller in a modelled world.
//!
//! A policy that has never met a surge is a guess. Here it meets any load (a trace, a formula, a mixture) and any
//! fault on a virtual clock, driven by the very controller that runs live, and is scored beside emulated peers and
//! the clairvoyant optimum. The same machinery tests headroom itself: random fleets, loads and faults from a seed,
//! with invariants checked at each tick.
//!
//! It refuses to be an emulator: replicas are alike, the queue is a formula, and nothing here touches a network
//! or a clock. A simulation is a function of its inputs and its seed, to the byte.
//!
//! Read in this order: [`load`] (what comes), [`world`] (what replicas do with it), [`fault`] (what goes wrong),
//! [`run`] (all of it together), [`score`] and [`optimum`] (how good it was).

mod average;
mod chart;
pub mod fault;
pub mod forecast;
pub mod load;
pub mod optimum;
pub mod peer;
pub mod people;
mod pilot;
mod probe;
pub mod record;
mod report;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod score;
pub mod swarm;
mod table;
pub mod world;

pub use chart::Chart;
pub use peer::Contender;
pub use report::{STYLE, date, escape, render_html};
pub use run::{
    ContenderResult, DecisionLog, Loads, LoggedDecision, Observer, OptimumResult, Outcome, SimError,
    SimulateOptions, run,
};
pub use table::{figure, percent, render_table};
