#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod capabilities;
mod changes;
mod clone_url;
mod context;
mod diff;
mod element;
mod files;
mod hash;
pub mod layout;
mod message;
mod name;
mod read;
mod ref_name;
mod repo;
mod snapshot;
#[cfg(test)]
mod strategies;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use capabilities::Capabilities;
pub use changes::{Changes, DirtyId};
pub use clone_url::{read_clone_url, write_clone_url};
pub use context::Context;
pub use diff::Diff;
pub use element::{
    Comment, Commit, Element, ElementId, Pr, PrId, PrState, Ref, RefId, Status, StatusId,
    StatusState,
};
pub use files::{Files, Parsed, print};
pub use hash::Hash;
pub use message::CLEAN_MESSAGE;
pub use name::InvalidName;
pub use read::{BranchContent, FILE_MAX, OversizedFile, read, read_refs, update};
pub use ref_name::{RefKind, RefName};
pub use repo::{InvalidRepo, Repo};
pub use snapshot::Snapshot;
pub use text::{Description, Text};
pub use write::{DEFAULT_BRANCH, add_monitors, ensure_branch, remove_dirty, write};
