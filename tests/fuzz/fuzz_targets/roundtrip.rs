//! Checks that a decoded message survives a round trip. Encoding and decoding the message must
//! yield an equal message with the same encoding.
#![no_main]

use datakit_core::wire::{Dialect, Rmessage, Tmessage};
use libfuzzer_sys::fuzz_target;

/// The maximum number of bytes by which an encoded message may exceed the original frame. The
/// encoding may be longer than the frame because older clients omit some fields.
const SLACK: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut frame = data.to_vec();
    // Set the size field, because the fuzzer rarely guesses the correct size.
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
                // Encoding adds missing fields to a 9P2000.u stat record. The longer record may be
                // too long for its size field.
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
