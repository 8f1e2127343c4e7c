#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]
// Callers use static dispatch, so they neither name the returned futures nor require them to be
// `Send`.
#![allow(async_fn_in_trait)]

mod autosave;
mod backend;
mod blocking;
mod error;
mod image;
mod key;
mod load;
mod log;
mod record;
mod region;
#[cfg(feature = "sequential-storage")]
mod sequential;
mod store;
mod task;

pub use autosave::Autosave;
pub use backend::Backend;
pub use blocking::Blocking;
pub use error::Error;
pub use key::{Collision, check_keys};
pub use load::{Reason, Rejected};
pub use log::Log;
pub use region::Region;
#[cfg(feature = "sequential-storage")]
pub use sequential::SequentialStorage;
pub use store::{Store, Unknown};
pub use task::{Requests, run};
