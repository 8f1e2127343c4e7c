//! Saves the parameters to flash.

use core::fmt::{self, Write};

use datakit_core::Decimal;
use datakit_core::files::{Param, Value};
use datakit_persist::Requests;

/// Requests from clients to save, load, or erase the parameters.
pub static REQUESTS: Requests = Requests::new();

/// The number of flash blocks for the parameters.
pub const BLOCKS: u32 = 4;

static SAVE_RATE: Value<u32> = Value::new(2000);

/// The `params/save-rate` file.
pub static SAVE_RATE_FILE: Param<u32> = Param::new(&SAVE_RATE)
    .range(1000, 3_600_000)
    .default(2000)
    .unit(&"ms")
    .doc("shortest time between two saves, which limits the wear of the flash");

/// Returns the minimum time between two saves, in milliseconds.
pub fn save_interval_ms() -> u32 {
    SAVE_RATE.get()
}

/// Writes the content of `sys/wear`.
pub fn wear(out: &mut dyn Write) -> fmt::Result {
    let (erases, blocks) = (Decimal::from(REQUESTS.erases()), Decimal::from(BLOCKS));
    writeln!(out, "{erases} erases of {blocks} blocks")
}
