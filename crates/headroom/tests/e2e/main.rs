//! The whole program: real processes, real sockets, real requests.

mod commands;
mod faults;
mod first_day;
mod haproxy;
mod life;
mod past;
mod rig;
mod told;
mod top;
mod traces;
