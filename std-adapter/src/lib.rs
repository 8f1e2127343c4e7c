//! The desktop side.
#![forbid(unsafe_code)]
// Static dispatch only: nobody needs to name these futures.
#![allow(async_fn_in_trait)]

mod ino;
mod locked;
pub mod scratch;
