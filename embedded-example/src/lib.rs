//! The hardware-independent half of the firmware: the board's file tree and the code behind it.
//!
//! The library depends only on `datakit-core`, so the host can serve and test the same tree.
#![no_std]
#![forbid(unsafe_code)]

pub mod board;
pub mod cycles;
pub mod params;
pub mod quota;
pub mod simulation;
pub mod state;
