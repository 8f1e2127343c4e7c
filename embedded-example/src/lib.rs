//! What the board is made of, without the board: its tree and what the tree drives.
//!
//! Depends on nothing but `datakit-core`, so that the host can serve and test the very same tree.
#![no_std]
#![forbid(unsafe_code)]

pub mod board;
pub mod cycles;
pub mod facts;
pub mod params;
pub mod shares;
pub mod signal;
