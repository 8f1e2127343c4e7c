//! Messages as bytes: the three dialects of 9P, decoded and encoded without a copy.
//!
//! `Tmessage::decode(frame, dialect)` and `encode(tag, dialect, buf)`, the same two on
//! [`Rmessage`]. What they promise:
//!
//! - A decoded message is well-formed: nobody checks its lengths, counts or terminators again.
//!   Whether a fid exists, a name is allowed or a flag is known is the session's business; values
//!   we do not know are kept.
//! - Decoding borrows from the frame, encoding borrows from the caller. Neither allocates nor
//!   panics, whatever the bytes; both look at each byte at most twice.
//! - A frame is a whole message, its `size[4]` included. Bounding it by msize is the reader's
//!   business (`serve`).
//!
//! Read [`messages`](Tmessage) first: one row per message. A new message is a new row there, a new
//! kind of value an implementation of [`Field`].

#[macro_use]
mod table;

mod attr;
mod cursor;
mod dialect;
mod field;
mod messages;
mod record;
mod stat;
#[cfg(test)]
mod tests;
mod text;

pub use attr::{Attr, Dirent, Dirents, SetAttr, StatFs, Time};
pub use cursor::{Full, Malformed, Reader, Writer};
pub use dialect::Dialect;
pub use field::{Data, Datasync, Errno, Extension, Field, Iter, List, Numeric};
pub use messages::{Rmessage, Tmessage};
pub use record::{Fid, Qid, Tag};
pub use stat::{Stat, StatUnix, Stats};
pub use text::Str;

/// Bytes of `size[4] type[1] tag[2]`: the shortest message, and the smallest legal size.
pub const HEADER: usize = 7;

/// Bytes in front of the data of Rread and Rreaddir: `size[4] type[1] tag[2] count[4]`.
pub const RREAD_HEADER: usize = 11;

/// Type bytes of messages that something is done about before, or instead of, decoding them.
pub const TREADLINK: u8 = 22;
/// See [`TREADLINK`].
pub const RREADLINK: u8 = 23;
/// See [`TREADLINK`].
pub const TREADDIR: u8 = 40;
/// See [`TREADLINK`].
pub const RREADDIR: u8 = 41;
/// See [`TREADLINK`].
pub const TGETLOCK: u8 = 54;
/// The types below are those that only 9P2000.L has.
pub const TVERSION: u8 = 100;
/// See [`TREADLINK`].
pub const TFLUSH: u8 = 108;
/// See [`TREADLINK`].
pub const TWALK: u8 = 110;
/// See [`TREADLINK`].
pub const RWALK: u8 = 111;
/// See [`TREADLINK`].
pub const TREAD: u8 = 116;
/// See [`TREADLINK`].
pub const RREAD: u8 = 117;
/// See [`TREADLINK`].
pub const TWRITE: u8 = 118;
/// See [`TREADLINK`].
pub const TSTAT: u8 = 124;
/// See [`TREADLINK`].
pub const RSTAT: u8 = 125;

/// The tag of a frame that need not be decodable, to answer it with an error; [`Tag::NONE`] if the
/// frame has no header.
#[inline]
pub fn tag(frame: &[u8]) -> Tag {
    match frame.first_chunk::<HEADER>() {
        Some(&[_, _, _, _, _, low, high]) => Tag(u16::from_le_bytes([low, high])),
        None => Tag::NONE,
    }
}

/// The type byte of a frame, 0 (no message has it) if the frame is too short to have one.
#[inline]
pub fn kind(frame: &[u8]) -> u8 {
    frame.get(4).copied().unwrap_or(0)
}

/// Writes the header of an Rread (`kind` 117) or Rreaddir (41) in front of `count` bytes of data
/// that are already at `buf[RREAD_HEADER..]`, so that a file reads straight into its reply. Returns
/// the length of the message.
///
/// A `count` beyond the end of `buf` is cut to what is there; a `buf` without room for the header
/// is left alone and gives 0.
#[inline]
pub fn finish_read(buf: &mut [u8], kind: u8, tag: Tag, count: usize) -> usize {
    let Some((header, data)) = buf.split_first_chunk_mut::<RREAD_HEADER>() else { return 0 };
    // Within `u32`: no negotiated msize is larger.
    let count = count.min(data.len()).min(u32::MAX as usize - RREAD_HEADER);
    let [s0, s1, s2, s3] = ((RREAD_HEADER + count) as u32).to_le_bytes();
    let [t0, t1] = tag.0.to_le_bytes();
    let [c0, c1, c2, c3] = (count as u32).to_le_bytes();
    *header = [s0, s1, s2, s3, kind, t0, t1, c0, c1, c2, c3];
    RREAD_HEADER + count
}
