//! The board's status light, on pin 0 of port F.

use crate::reg::registers;

registers! {
    RCGC2 = 0x400F_E108;
    /// The data register. Accesses to this address affect only pin 0.
    PIN = 0x4002_5004;
    DIR = 0x4002_5400;
    DEN = 0x4002_551C;
}

/// Configures the pin as an output and turns the light off.
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
