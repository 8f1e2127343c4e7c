//! The `datakit` program, which contains the server and the client commands. The program consists
//! of a library and a small binary, so that cargo can compile the library while the database crate
//! is still being optimized.
#![forbid(unsafe_code)]

mod args;
mod byte_count;
mod commands;
mod connect;
mod copy;
mod db;
mod debug_dir;
mod error;
mod external;
mod manual;
mod metrics;
mod operand;
mod parallel;
mod params;
mod rename;
mod serve;
mod stdio;

use std::pin::Pin;
use std::process::ExitCode;

use signal_hook::{consts::SIGPIPE, low_level::emulate_default_handler};

use crate::args::{Command, Program};
use crate::error::{CliError, CliResult};

/// Runs the program with the arguments of the process and returns its exit status.
pub fn main() -> ExitCode {
    let program = match Program::read() {
        Ok(program) => program,
        Err(error) => error.exit(),
    };
    let result = match program.command {
        Command::Serve(args) => match serve::run(args) {
            Ok(status) => return status,
            Err(error) => Err(CliError::Failed(error.to_string())),
        },
        Command::External(_) => external::run(Program::arguments().get(1..).unwrap_or_default()),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man(dir.as_deref()),
        Command::Client(command) => {
            run_client(Box::pin(commands::run(program.connection, command)))
        }
        Command::Db(command) => run_client(Box::pin(db::run(program.connection, command))),
        Command::Params(args) => run_client(Box::pin(params::run(program.connection, args))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::BrokenPipe) => {
            // Let SIGPIPE terminate the process, as is usual for Unix commands. Rust programs
            // ignore SIGPIPE by default.
            let _ = emulate_default_handler(SIGPIPE);
            ExitCode::FAILURE
        }
        Err(CliError::Reported) => ExitCode::FAILURE,
        Err(CliError::Failed(text)) => {
            stdio::complain(&text);
            ExitCode::FAILURE
        }
    }
}

/// Runs a client command on this thread, and its connection and tasks on another thread.
fn run_client(command: Pin<Box<dyn Future<Output = CliResult>>>) -> CliResult {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let result = runtime.block_on(command);
    // Do not wait for blocking threads, because a read from the terminal cannot be interrupted.
    runtime.shutdown_background();
    result
}
