//! Encodes and decodes the messages of the three 9P dialects without copying the data.
//!
//! [`Tmessage::decode`] and [`Tmessage::encode`] convert requests, and [`Rmessage::decode`] and
//! [`Rmessage::encode`] convert replies. These methods guarantee the following:
//!
//! - A decoded message is well-formed: its lengths, counts and strings need no further checks. The
//!   session checks whether fids exist, names are valid and flags are supported. Unknown values are
//!   preserved.
//! - Decoding borrows from the frame, and encoding borrows from the caller. Neither decoding nor
//!   encoding allocates or panics, regardless of the input. Decoding reads each byte of a frame at
//!   most twice.
//! - A frame is a complete message, including its `size[4]`. [`serve`](crate::serve) limits a
//!   frame's length to msize.
//!
//! The message table in `messages.rs` gives an overview of the protocol. To add a message, add a
//! row to the table. To add a field type, implement [`Field`].

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
pub use messages::*;
pub use record::{Fid, Qid, Tag};
pub use stat::{
    DMAPPEND, DMAUTH, DMDEVICE, DMDIR, DMEXCL, DMLINK, DMMOUNT, DMNAMEDPIPE, DMSETGID, DMSETUID,
    DMSETVTX, DMSOCKET, DMSYMLINK, DMTMP, Stat, StatUnix, Stats,
};
pub use text::Str;

/// The combined length of `size[4] type[1] tag[2]`, which is also the length of the shortest
/// message.
pub const HEADER: usize = 7;

/// The combined length of `size[4] type[1] tag[2] count[4]`, the fields that precede the data in
/// Rread and Rreaddir.
pub const RREAD_HEADER: usize = 11;

/// Returns the tag of a frame, or [`Tag::NONE`] if the frame has no header. The rest of the frame
/// may be malformed. A server can therefore use this function to find the tag for the error reply
/// to a malformed request.
#[inline]
pub fn tag(frame: &[u8]) -> Tag {
    match frame.first_chunk::<HEADER>() {
        Some(&[_, _, _, _, _, low, high]) => Tag(u16::from_le_bytes([low, high])),
        None => Tag::NONE,
    }
}

/// Returns the type byte of a frame. If the frame is too short, the result is 0, which is not a
/// valid message type.
#[inline]
pub fn kind(frame: &[u8]) -> u8 {
    frame.get(4).copied().unwrap_or(0)
}

/// Writes the header of an [`RREAD`] or [`RREADDIR`] message to `buf` and returns the length of the
/// message. The `count` bytes of data must already be at `buf[RREAD_HEADER..]`, so a file can be
/// read straight into the reply buffer.
///
/// `count` is limited to the number of bytes that follow the header in `buf`. If `buf` is shorter
/// than the header, nothing is written and the result is 0.
#[inline]
pub fn finish_read(buf: &mut [u8], kind: u8, tag: Tag, count: usize) -> usize {
    let Some((header, data)) = buf.split_first_chunk_mut::<RREAD_HEADER>() else { return 0 };
    // Ensure that the message length fits into 32 bits, as every negotiated msize does.
    let count = count.min(data.len()).min(u32::MAX as usize - RREAD_HEADER);
    let [s0, s1, s2, s3] = ((RREAD_HEADER + count) as u32).to_le_bytes();
    let [t0, t1] = tag.0.to_le_bytes();
    let [c0, c1, c2, c3] = (count as u32).to_le_bytes();
    *header = [s0, s1, s2, s3, kind, t0, t1, c0, c1, c2, c3];
    RREAD_HEADER + count
}
