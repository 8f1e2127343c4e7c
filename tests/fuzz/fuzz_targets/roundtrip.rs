//! A decoded message survives a round trip: encoding it and decoding the result gives the same
//! message, and encoding that message gives the same bytes.
#![no_main]

use datakit_core::wire::{Dialect, Rmessage, Tmessage};
use libfuzzer_sys::fuzz_target;

/// The maximum number of bytes by which a canonical encoding may be longer than the frame. Older
/// clients omit some fields.
const SLACK: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut frame = data.to_vec();
    // Set the correct size, because the fuzzer would rarely find it.
    let size = (frame.len() as u32).to_le_bytes();
    let Some(field) = frame.first_chunk_mut::<4>() else { return };
    *field = size;
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        request(&frame, dialect);
        reply(&frame, dialect);
    }
});

macro_rules! there_and_back {
    ($name:ident, $message:ident) => {
        fn $name(frame: &[u8], dialect: Dialect) {
            let Ok((tag, message)) = $message::decode(frame, dialect) else { return };
            let mut first = vec![0; frame.len() + SLACK];
            let Ok(n) = message.encode(tag, dialect, &mut first) else {
                // Encoding adds missing fields to a .u record, which may then be too long for its
                // size field.
                assert!(dialect == Dialect::Unix, "no room for {message:?}");
                return;
            };
            first.truncate(n);
            let (again_tag, again) =
                $message::decode(&first, dialect).expect("an encoded message can be decoded");
            assert_eq!(tag, again_tag);
            if n == frame.len() {
                assert_eq!(first, frame, "{message:?}");
                assert_eq!(message, again);
            }
            let mut second = vec![0; first.len()];
            assert_eq!(again.encode(tag, dialect, &mut second), Ok(n), "{again:?}");
            assert_eq!(first, second, "{again:?}");
        }
    };
}

there_and_back!(request, Tmessage);
there_and_back!(reply, Rmessage);
