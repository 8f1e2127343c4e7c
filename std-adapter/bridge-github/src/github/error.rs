//! Errors from calls to GitHub.

use std::error::Error;
use std::fmt;

/// The result of a call.
pub(crate) type Result<T> = std::result::Result<T, ApiError>;

/// The reason why a call to GitHub failed.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The resource does not exist, or the credentials do not grant access to it.
    NotFound {
        /// The method and the path.
        call: String,
    },
    /// GitHub refused the request, and a retry would not succeed. For example, the commit may not
    /// exist.
    Refused {
        /// The method and the path.
        call: String,
        /// The status code.
        status: u16,
        /// GitHub's message.
        message: String,
    },
    /// The call failed but may succeed later. GitHub may still have made the requested change.
    Failed {
        /// The method and the path.
        call: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ApiError {
    /// Returns an error for a call that may succeed later.
    pub(crate) fn failed(
        call: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ApiError {
        ApiError::Failed { call: call.into(), source: source.into() }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiError::NotFound { call } => write!(f, "{call}: not found, or not visible"),
            ApiError::Refused { call, status, message } => {
                write!(f, "{call}: refused with {status}: {message}")
            }
            ApiError::Failed { call, source } => {
                write!(f, "{call}: {source}")?;
                let mut cause = source.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ApiError::Failed { source, .. } => Some(&**source),
            ApiError::NotFound { .. } | ApiError::Refused { .. } => None,
        }
    }
}
