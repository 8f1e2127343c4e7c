//! The hardware-independent part of the firmware: the board's file tree and its implementation.
//!
//! The library does not depend on any drivers, so the same tree can be served and tested on the
//! host.
#![no_std]
#![forbid(unsafe_code)]

pub mod board;
pub mod cycles;
pub mod i2c;
pub mod params;
pub mod saving;
pub mod simulation;
pub mod state;
