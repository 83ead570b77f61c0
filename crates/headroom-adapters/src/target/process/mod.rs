//! The process target: replicas as child processes of this machine.
//!
//! It is the target of the laptop, the single server and the demo: no container engine, no agent, one
//! port for each replica. It exists because starting a process takes milliseconds, which is what makes
//! an answer to a surge within a second possible (C1), and because a policy ought to be tried on the
//! machine it is written on before it is trusted with a cluster.
//!
//! What it promises:
//!
//! * The controller is not in the way of serving. Replicas run in process groups of their own, write
//!   to files and not to pipes, and live on when the controller is killed. The next controller adopts
//!   them, by pid *and* start time *and* boot, never by pid alone (ADR 0016).
//! * Nothing is orphaned by a normal stop, and a replica's own children die with it, also those that
//!   left its process group (ADR 0015).
//! * Dead and unhealthy replicas are replaced (D3), failing ones ever more slowly, and a replica that
//!   keeps failing is named with its last words instead of being restarted in silence.
//! * A replica gets no traffic before it is healthy and is not cut off while it drains (A14): its state
//!   is in [`Status`], which the balancer follows.
//!
//! What it refuses to do: to signal a process it can't prove to be its own; to run two supervisors
//! on one directory; to start a process before the intent to start it is on disk; to isolate
//! replicas from one another (that is a container engine's work).
//!
//! The life of one replica (`replica`) and the choice of who comes and who goes (`crew`) are pure
//! functions of state, event and time. One task (`actor`) owns all state and does the IO. What
//! only Linux has stands in `linux`, so that another system is one more file.

mod actor;
mod adopt;
mod backoff;
mod clock;
mod command;
mod crew;
mod fault;
#[cfg(target_os = "linux")]
mod linux;
mod logs;
mod ports;
mod probe;
mod record;
mod replica;
mod spec;
mod status;
mod supervisor;
mod target;
mod tasks;
mod token;

#[cfg(not(target_os = "linux"))]
compile_error!(
    "the process target runs on Linux; for another system write the functions of `linux.rs` for it"
);

#[cfg(target_os = "linux")]
use linux as host;

pub use fault::{Exit, Fault};
pub use ports::Ports;
pub use spec::{BackoffSpec, EmptyCommand, HealthSpec, PreloadSpec, Probe, ReplicaSpec, StopSpec};
pub use status::{Finding, ReplicaState, ReplicaStatus, Status, Usage};
pub use supervisor::{HeldSupervisor, ProcessSupervisor, Shutdown, SupervisorConfig, SupervisorError};
pub use target::{HeldTarget, ProcessTarget, SetupError};
