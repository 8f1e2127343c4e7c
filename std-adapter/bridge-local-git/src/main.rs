//! The `datakit-bridge-local-git` program, which publishes the branches of local Git repositories
//! in a DataKit database.
#![forbid(unsafe_code)]

mod args;
mod bridge;
mod error;
mod metrics;
mod plan;
mod refs;
mod repository;
mod run;
mod source;
mod wakes;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    match run::run(Args::parse()) {
        Ok(status) => status,
        Err(error) => {
            datakit_program::flush();
            eprintln!("datakit-bridge-local-git: {error}");
            ExitCode::FAILURE
        }
    }
}
