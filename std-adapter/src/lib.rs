//! The desktop side.
#![forbid(unsafe_code)]

pub mod client;
pub mod url;
