//! Frames that no well-behaved client sends.

use datakit_core::wire::Tag;

use crate::random::Random;
use crate::wire_client::WireClient;

/// Frames that are wrong and leave the connection as it is.
pub const ANSWERED: &[(&str, &[u8])] = &[
    ("a type that does not exist", &[7, 0, 0, 0, 255, 1, 0]),
    ("a reply", &[7, 0, 0, 0, 121, 1, 0]),
    ("Tclunk without a fid", &[7, 0, 0, 0, 120, 1, 0]),
    ("Tclunk with more", &[12, 0, 0, 0, 120, 1, 0, 9, 0, 0, 0, 0]),
    ("Twalk of more names than it has", &[17, 0, 0, 0, 110, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0]),
    (
        "Twalk of a name longer than the frame",
        &[19, 0, 0, 0, 110, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 255, 255],
    ),
    (
        "Twrite of more bytes than it has",
        &[23, 0, 0, 0, 118, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255],
    ),
];

/// Frames after which nobody can tell where the next one starts.
pub const FATAL: &[(&str, &[u8])] = &[
    ("a size of 0", &[0, 0, 0, 0, 120, 1, 0]),
    ("a size below the header", &[6, 0, 0, 0, 120, 1, 0]),
    ("a size of 4 GiB", &[255, 255, 255, 255, 120, 1, 0]),
    ("a size above msize", &[1, 16, 0, 0, 118, 1, 0]),
];

/// Sends bodies of noise, of every type, each of which must be answered.
pub fn noise(client: &mut WireClient, random: &mut Random) {
    // All of 9P2000 but Tversion, which starts the session anew; 106 is no request.
    for kind in (102..=126u8).step_by(2).filter(|kind| *kind != 106) {
        for len in 0..40 {
            let body: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            client.send_raw(kind, Tag(1), &body);
            assert_eq!(client.reply().0, Tag(1), "type {kind}, {body:?}");
        }
    }
}
