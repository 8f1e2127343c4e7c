#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod metadata;
mod target;
pub mod term;
#[cfg(test)]
mod tests;

pub use metadata::Metadata;
pub use target::{InvalidTarget, Target};
