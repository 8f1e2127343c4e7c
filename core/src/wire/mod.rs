//! Encoding and decoding of messages in the three dialects of 9P, without copying.
//!
//! [`Tmessage::decode`] and [`Tmessage::encode`] convert requests, [`Rmessage::decode`] and
//! [`Rmessage::encode`] replies. They guarantee:
//!
//! - A decoded message is well-formed: its lengths, counts and strings need no further check. The
//!   session decides whether a fid exists, a name is allowed or a flag is known. Unknown values are
//!   kept.
//! - Decoding borrows from the frame, encoding borrows from the caller. Neither allocates nor
//!   panics, whatever the bytes. Both read each byte at most twice.
//! - A frame is a whole message, its `size[4]` included. [`serve`](crate::serve) limits it to
//!   msize.
//!
//! Start reading at `messages.rs`, the table with one row per message. To add a message, add a row.
//! To add a kind of value, implement [`Field`].

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

/// Bytes of `size[4] type[1] tag[2]`, the shortest message.
pub const HEADER: usize = 7;

/// Bytes of `size[4] type[1] tag[2] count[4]`, which precede the data of Rread and Rreaddir.
pub const RREAD_HEADER: usize = 11;

/// Returns the tag of a frame, or [`Tag::NONE`] if the frame has no header. The rest of the frame
/// may be malformed, so an error reply can carry the tag.
#[inline]
pub fn tag(frame: &[u8]) -> Tag {
    match frame.first_chunk::<HEADER>() {
        Some(&[_, _, _, _, _, low, high]) => Tag(u16::from_le_bytes([low, high])),
        None => Tag::NONE,
    }
}

/// Returns the type byte of a frame, or 0, which no message has, if the frame is too short.
#[inline]
pub fn kind(frame: &[u8]) -> u8 {
    frame.get(4).copied().unwrap_or(0)
}

/// Writes the header of an [`RREAD`] or [`RREADDIR`] message in front of `count` bytes of data that
/// are already at `buf[RREAD_HEADER..]`, and returns the length of the message. This lets a file
/// read straight into its reply.
///
/// Limits `count` to the data in `buf`. Returns 0 and writes nothing if `buf` is shorter than the
/// header.
#[inline]
pub fn finish_read(buf: &mut [u8], kind: u8, tag: Tag, count: usize) -> usize {
    let Some((header, data)) = buf.split_first_chunk_mut::<RREAD_HEADER>() else { return 0 };
    // Fits into 32 bits, as every negotiated msize does.
    let count = count.min(data.len()).min(u32::MAX as usize - RREAD_HEADER);
    let [s0, s1, s2, s3] = ((RREAD_HEADER + count) as u32).to_le_bytes();
    let [t0, t1] = tag.0.to_le_bytes();
    let [c0, c1, c2, c3] = (count as u32).to_le_bytes();
    *header = [s0, s1, s2, s3, kind, t0, t1, c0, c1, c2, c3];
    RREAD_HEADER + count
}
