//! Fetches from and pushes to other repositories with the `git` program.
//!
//! The `git` program handles transports, credentials, proxies and the ssh configuration. If `git`
//! is not installed, fetches and pushes fail with [`GitError::NotInstalled`], but everything else
//! works.

mod auto_push;
pub(crate) mod fetch;
mod process_group;
mod push;
pub(crate) mod sanitize;
pub(crate) mod subprocess;
mod url;

pub use auto_push::{PUSH_DEBOUNCE, auto_push};
pub use fetch::{CancelFlag, FetchError, FetchLimits, MAX_FETCH_BYTES};
pub use push::{GitPush, Push, PushError};
pub use subprocess::{GitError, TIMEOUT};
pub use url::{Scheme, Schemes, UrlError};
