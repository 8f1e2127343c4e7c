//! Checks that every input is either decoded or rejected, and that every field of a decoded message
//! can be read.
#![no_main]

use std::fmt::{Display, Write};

use datakit_core::wire::{Dialect, Dirent, Rmessage, Stat, Tmessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        if let Ok((_, message)) = Tmessage::decode(data, dialect) {
            look(&message);
        }
        if let Ok((_, message)) = Rmessage::decode(data, dialect) {
            look(&message);
        }
        let _ = Stat::decode_all(data, dialect).count();
    }
    let _ = Dirent::decode_all(data).count();
});

/// Formats the message, so that every field and every list element is read.
fn look(message: &impl Display) {
    let mut line = String::new();
    let _ = write!(line, "{message}");
}
