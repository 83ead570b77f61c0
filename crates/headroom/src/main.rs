//! The command line of headroom.
//!
//! Commands are thin: they read arguments, call a library crate, and print. Data goes to stdout, talk to stderr;
//! `-o json` and `-o yaml` are for programs and stable; exit codes are listed in [`exit`].

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
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            error.downcast_ref::<exit::Failure>().map_or(Exit::Failure, |failure| failure.exit).into()
        }
    }
}
