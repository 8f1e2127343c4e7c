//! Fetching from and pushing to other repositories, with the `git` program.

pub(crate) mod process_group;
pub mod push;
pub(crate) mod said;
pub mod schemes;
pub(crate) mod timeout;
