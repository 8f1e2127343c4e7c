//! Implements a round, which synchronizes the branch with GitHub once. A round compares three
//! snapshots to find the changes to make on each side:
//!
//! | snapshot | content |
//! |---|---|
//! | `github` | the last known content of GitHub |
//! | `datakit` | the content of the branch |
//! | `synced` | the content of the branch when it was last synchronized with GitHub |
//!
//! A difference between `datakit` and `synced` is a change that was committed to the branch, so it
//! is sent to GitHub. After that, each remaining difference between `github` and `datakit` is
//! written to the branch.

mod import;
mod push;
mod write_back;

pub(crate) use self::import::{Import, import, reread};
pub(crate) use self::push::{Outcome, Push, apply, pushes};
pub(crate) use self::write_back::{Mirror, changed_ids, write_back};
