//! Runs or checks the pipeline of a work tree.

use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use datakit_ci::command::Sandbox;
use datakit_ci::pipeline::Plan;
use datakit_ci::pipeline::local::{self, LocalOptions};

use crate::args::{LintArgs, RunArgs};
use crate::serve::AnyError;

/// Runs the pipeline. The exit status is 1 if a step fails, and 2 if the pipeline cannot be run.
/// Ends all steps if the program receives SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// Returns an error if signals cannot be handled or if a secret is not in the environment.
pub(crate) async fn run(args: &RunArgs) -> Result<ExitCode, AnyError> {
    let signal = datakit_program::end_signal()?;
    let mut options = LocalOptions::default();
    options.steps.clone_from(&args.step);
    options.target.clone_from(&args.target);
    options.base.clone_from(&args.base);
    options.jobs = usize::try_from(args.jobs).ok().and_then(NonZeroUsize::new);
    options.cache_dir = local::user_cache_dir();
    for name in &args.secret {
        let value = std::env::var(name).map_err(|error| format!("secret {name}: {error}"))?;
        options.settings.secrets.insert(name.clone(), value);
    }
    if args.unsandboxed {
        options.settings.sandbox = Sandbox::Unsandboxed;
    }
    let mut output = std::io::stdout();
    let status = tokio::select! {
        status = signal => status,
        status = local::run(&args.dir, &options, &mut output) => ExitCode::from(status.code()),
    };
    // Ignore errors, because standard output may be closed.
    let _ = output.flush();
    Ok(status)
}

/// Checks a pipeline file and prints the steps. The exit status is 2 if the file has errors.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub(crate) fn lint(args: &LintArgs) -> Result<ExitCode, AnyError> {
    match local::lint(&args.path) {
        Ok(pipeline) => {
            // Ignore errors, because standard output may be closed.
            let _ = write!(std::io::stdout(), "{}", Plan::all(&pipeline));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{}", crate::chain(&error));
            Ok(ExitCode::from(2))
        }
    }
}
