#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]
// If no dialect is enabled, no requests are answered, so some of the code is unused.
#![cfg_attr(not(any(feature = "classic", feature = "linux")), allow(dead_code, unused_variables))]
// Callers use static dispatch, so they neither name the returned futures nor require them to be
// `Send`.
#![allow(async_fn_in_trait)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod decimal;
pub mod files;
mod float;
#[cfg(feature = "params")]
pub mod params;
pub mod serve;
pub mod session;
pub mod vfs;
pub mod wire;

pub use decimal::Decimal;
#[doc(inline)]
pub use files::Plain;
pub use float::{Float, parse_f32, parse_f64};
