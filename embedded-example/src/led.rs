//! The board's status light, on pin 0 of port F.

use crate::reg::registers;

registers! {
    RCGC2 = 0x400F_E108;
    /// The data register, with every pin but 0 masked out by the address.
    PIN = 0x4002_5004;
    DIR = 0x4002_5400;
    DEN = 0x4002_551C;
}

/// Makes the pin an output, dark.
pub fn start() {
    RCGC2.set(1 << 5);
    DIR.set(1);
    DEN.set(1);
    set(false);
}

/// Turns the light on or off.
pub fn set(on: bool) {
    PIN.write(u32::from(on));
}
