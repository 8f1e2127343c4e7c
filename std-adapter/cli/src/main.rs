//! The program: a server, and the commands of a client.
#![forbid(unsafe_code)]

mod args;
mod bytes;
mod commands;
mod copy;
mod db;
mod debug;
mod log;
mod metrics;
mod output;
mod path;
mod serve;

use std::process::ExitCode;

use clap::CommandFactory;

use mimalloc::MiMalloc;

use crate::args::{Command, Program};

/// The C library's allocator keeps what small allocations have freed: see `datakit_server::memory`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let program = match Program::read() {
        Ok(program) => program,
        // Help is asked for; anything else is a failure like the others.
        Err(other) => {
            let _ = other.print();
            return if other.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let done = match program.command {
        None => serve::run(program.serve).map_err(|error| error.to_string()),
        Some(Command::Serve(args)) => serve::run(args).map_err(|error| error.to_string()),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(
                shell,
                &mut Program::command(),
                "datakit",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Client(command)) => client(commands::run(program.connection, command)),
        Some(Command::Db(command)) => client(db::run(program.connection, command)),
    };
    match done {
        Ok(status) => status,
        // The reader of a pipe that has read enough is no failure worth a word.
        Err(text) if text == output::BROKEN_PIPE => ExitCode::FAILURE,
        Err(text) => {
            output::complain(&text);
            ExitCode::FAILURE
        }
    }
}

fn client(command: impl Future<Output = commands::Done>) -> Result<ExitCode, String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let done = runtime.block_on(command);
    // A read of the terminal cannot be called back.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}
