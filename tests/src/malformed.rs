//! Malformed frames.

use datakit_core::wire::Tag;

use crate::random::Random;
use crate::wire_client::WireClient;

/// Malformed frames to which the server replies with an error, without closing the connection.
pub const ANSWERED: &[(&str, &[u8])] = &[
    ("a type that does not exist", &[7, 0, 0, 0, 255, 1, 0]),
    ("a reply", &[7, 0, 0, 0, 121, 1, 0]),
    ("Tclunk without a fid", &[7, 0, 0, 0, 120, 1, 0]),
    ("Tclunk with trailing bytes", &[12, 0, 0, 0, 120, 1, 0, 9, 0, 0, 0, 0]),
    (
        "Twalk with fewer names than its count",
        &[17, 0, 0, 0, 110, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0],
    ),
    (
        "Twalk with a name longer than the frame",
        &[19, 0, 0, 0, 110, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 255, 255],
    ),
    (
        "Twrite with fewer bytes than its count",
        &[23, 0, 0, 0, 118, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255],
    ),
];

/// Frames with an invalid size. After such a frame, the server cannot find the beginning of the
/// next frame, so it closes the connection.
pub const FATAL: &[(&str, &[u8])] = &[
    ("a size of 0", &[0, 0, 0, 0, 120, 1, 0]),
    ("a size below the header", &[6, 0, 0, 0, 120, 1, 0]),
    ("a size of 4 GiB", &[255, 255, 255, 255, 120, 1, 0]),
    ("a size above msize", &[1, 16, 0, 0, 118, 1, 0]),
];

/// Sends requests of every type with random bodies and expects a reply to each one.
pub fn noise(client: &mut WireClient, random: &mut Random) {
    // The loop covers all 9P2000 requests except Tversion, which would restart the session. No
    // request uses type 106.
    for kind in (102..=126u8).step_by(2).filter(|kind| *kind != 106) {
        for len in 0..40 {
            let body: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            client.send_raw(kind, Tag(1), &body);
            assert_eq!(client.reply().0, Tag(1), "type {kind}, {body:?}");
        }
    }
}
