//! The kit of the tests.

pub mod board;
