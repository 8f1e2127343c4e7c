//! Tests the bridge with a fake GitHub and a real database.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

mod apps;
mod expected;
mod failures;
mod import;
mod limits;
mod push;
mod random;
mod readme;
mod secrets;
mod setup;
mod status;
mod webhooks;
