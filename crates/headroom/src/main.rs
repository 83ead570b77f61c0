//! The command line of headroom.
//!
//! Commands are thin: they read arguments, call a library crate, and print. Data goes to stdout, talk to stderr;
//! `-o json` and `-o yaml` are for programs and stable; exit codes are listed in [`exit`].

/// Says a line on stderr. A terminal or a pipe that is gone must not end a controller, so nothing comes of a failure.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stderr().lock(), $($words)*));
    }};
}

mod cli;
mod client;
mod commands;
mod controller;
mod exit;
mod output;
mod paths;
mod wiring;

use clap::Parser;
use exit::Exit;

fn main() -> std::process::ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; what is an error is not confused with a plan that has changes.
            let _ = error.print();
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            return exit.into();
        }
    };
    match commands::run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            say!("{}", output::harmless(&format!("error: {error}")));
            for cause in error.chain().skip(1) {
                say!("{}", output::harmless(&format!("  because: {cause}")));
            }
            error.downcast_ref::<exit::Failure>().map_or(Exit::Failure, |failure| failure.exit).into()
        }
    }
}
