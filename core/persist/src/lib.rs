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
mod blocking;
mod error;
mod image;
mod key;
mod load;
mod log;
mod record;
mod region;
mod store;
mod task;

pub use autosave::Autosave;
pub use blocking::Blocking;
pub use error::Error;
pub use key::{Collision, check_keys};
pub use load::{Reason, Rejected};
pub use region::Region;
pub use store::{Store, Unknown};
pub use task::{Requests, run};
