//! The `datakit-ci` program, which tests commits with the pipelines defined in their repositories.
#![forbid(unsafe_code)]

mod args;
mod config;
mod metrics;
mod schedule;
mod serve;
mod steady_clock;
mod work_tree;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use datakit_ci::command::landlock;

use crate::args::{Args, Command};
use crate::serve::AnyError;

/// How long the program waits for its tasks to end before it exits.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == args::LANDLOCK) {
        eprintln!("datakit-ci: {}", landlock::restrict_and_run(arguments));
        return ExitCode::FAILURE;
    }
    match run(Args::parse().command) {
        Ok(status) => status,
        Err(error) => {
            datakit_program::flush();
            eprintln!("datakit-ci: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, AnyError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::serve(*args).await,
            Command::Run(args) => work_tree::run(&args).await,
            Command::Lint(args) => work_tree::lint(&args),
            Command::Explain(args) => serve::explain(&args).await,
        }
    });
    // Wait until all tasks have been dropped, because builds kill their processes and remove their
    // worktrees when they are dropped.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    status
}

/// Formats an error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
