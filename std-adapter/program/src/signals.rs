//! The signals that terminate a program.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Returns a future that completes on the first SIGINT, SIGTERM or SIGHUP. The future's output is a
/// failure status for SIGINT and a success status for SIGTERM and SIGHUP. Under nohup(1), SIGHUP
/// remains ignored.
///
/// # Errors
/// Returns an error if a signal handler cannot be installed.
pub fn end() -> std::io::Result<impl Future<Output = ExitCode>> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => ExitCode::FAILURE,
            _ = terminate.recv() => ExitCode::SUCCESS,
            _ = hung_up => ExitCode::SUCCESS,
        }
    })
}

/// Returns whether SIGHUP was ignored when the program started. Returns `false` on systems other
/// than Linux.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & 1 == 1)
}
