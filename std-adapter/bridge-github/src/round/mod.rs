//! One round: compares three snapshots and decides what to change on each side.
//!
//! | snapshot | content |
//! |---|---|
//! | `github` | what GitHub is believed to hold |
//! | `datakit` | what the branch holds |
//! | `synced` | what the branch held when both sides were last made equal |
//!
//! A difference between `datakit` and `synced` is a change that was committed to the branch, so it
//! is pushed. After that, a difference between `github` and `datakit` is written to the branch.

mod import;
mod push;
mod write_back;

pub(crate) use self::import::{Import, import, reread};
pub(crate) use self::push::{Outcome, Push, apply, pushes};
pub(crate) use self::write_back::{Mirror, changed_ids, write_back};
