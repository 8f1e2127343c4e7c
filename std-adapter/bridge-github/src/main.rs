//! The `datakit-bridge-github` program.
#![forbid(unsafe_code)]

mod args;
mod bridge;
mod debug_dir;
mod events;
mod github;
mod inbox;
mod metrics;
mod round;
mod run;
mod secret;
mod tokens;
mod webhook;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    match run::run(Args::parse()) {
        Ok(status) => status,
        Err(error) => {
            datakit_program::flush();
            eprintln!("datakit-bridge-github: {error}");
            ExitCode::FAILURE
        }
    }
}
