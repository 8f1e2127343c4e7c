//! The CI's state in the database: job results, their history, and an index by commit.
//!
//! | branch | content |
//! |---|---|
//! | `status-USER-REPO-pr-N` | the history of a pull request |
//! | `status-USER-REPO-ref-heads-NAME` | the history of a branch; `tags` instead of `heads` for a tag |
//! | `commit-index` | `USER/REPO/commit/HASH/TARGET`: the hash of the last history commit of a commit under test |
//!
//! A history commit contains the files `source-commit` and `metadata-commit`. For each test, it
//! also contains `job/TEST/output` with the result, and `job/TEST/since` with the time at which the
//! test reached its status.

mod history;
mod names;
#[cfg(test)]
mod original_tests;
mod output;

pub use history::{History, Record};
pub(crate) use history::{first_line, is_no_file, is_no_usable_file};
#[cfg(test)]
pub(crate) use names::NAME_MAX;
pub use names::{INDEX_BRANCH, history_branch, index_path, target_of_index};
pub(crate) use names::{escape, hex, limited, target_suffix};
pub use output::{InvalidOutput, JobResult, JobStatus};
