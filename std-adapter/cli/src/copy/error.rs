//! Errors that occur while copying a file.

use datakit_client::Error;

use crate::error::{CliError, at, io_reason};
use crate::operand::Location;
use crate::parallel::MaybeExhausted;

/// The reason that a file could not be copied.
#[derive(Debug)]
pub(super) struct CopyError {
    pub(super) error: CliError,
    /// Whether the command can continue with the other files.
    pub(super) is_skippable: bool,
    /// Whether the server has reached its limit on fids or open files. If so, copying the file may
    /// succeed when no other files are being copied.
    is_exhausted: bool,
}

impl CopyError {
    /// Wraps an error that occurred while accessing the source. The command still copies the other
    /// files unless the connection is lost.
    pub(super) fn of_source(from: &Location, error: &Error) -> CopyError {
        let is_skippable = matches!(error, Error::Server { .. } | Error::Unsupported(_));
        CopyError { is_skippable, ..CopyError::of_target(from, error) }
    }

    /// Wraps an error that occurred while accessing the target. Such an error aborts the whole copy
    /// operation.
    pub(super) fn of_target(to: &Location, error: &Error) -> CopyError {
        CopyError { error: at(to)(error), is_skippable: false, is_exhausted: error.is_exhausted() }
    }

    pub(super) fn of_host_source(from: &Location, error: &std::io::Error) -> CopyError {
        CopyError::skippable(at(from)(io_reason(error)))
    }

    /// Wraps an error that affects only this file, so the other files are still copied.
    pub(super) fn skippable(error: CliError) -> CopyError {
        CopyError { is_skippable: true, ..error.into() }
    }
}

impl From<CliError> for CopyError {
    fn from(error: CliError) -> CopyError {
        CopyError { error, is_skippable: false, is_exhausted: false }
    }
}

impl MaybeExhausted for CopyError {
    fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }
}
