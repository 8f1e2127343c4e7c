//! The part of 9P2000.L that the load generator needs.
//!
//! The load generator has its own codec because bugs in a codec shared with the server could go
//! unnoticed.

use std::io::{self, Read};

use crate::Res;

/// Message types. The type of a reply is the type of its request plus one.
pub(crate) mod kind {
    pub(crate) const RLERROR: u8 = 7;
    pub(crate) const TLOPEN: u8 = 12;
    pub(crate) const RLOPEN: u8 = 13;
    pub(crate) const TLCREATE: u8 = 14;
    pub(crate) const TGETATTR: u8 = 24;
    pub(crate) const RGETATTR: u8 = 25;
    pub(crate) const TREADDIR: u8 = 40;
    pub(crate) const RREADDIR: u8 = 41;
    pub(crate) const TMKDIR: u8 = 72;
    pub(crate) const TVERSION: u8 = 100;
    pub(crate) const TATTACH: u8 = 104;
    pub(crate) const TWALK: u8 = 110;
    pub(crate) const RWALK: u8 = 111;
    pub(crate) const TREAD: u8 = 116;
    pub(crate) const RREAD: u8 = 117;
    pub(crate) const TWRITE: u8 = 118;
    pub(crate) const RWRITE: u8 = 119;
    pub(crate) const TCLUNK: u8 = 120;
    pub(crate) const RCLUNK: u8 = 121;
}

/// The combined length of the size, type and tag fields.
pub(crate) const HEADER: usize = 7;
/// The number of bytes that clients reserve for the header of a message that contains data
/// (`IOHDRSZ`).
pub(crate) const OVERHEAD: u32 = 24;
/// The maximum size of a received message, in bytes.
const MESSAGE_MAX: usize = 2 << 20;

/// A builder that appends a message to `out` field by field. `finish` fills in the message's size
/// field.
pub(crate) struct Message<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Message<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, kind: u8, tag: u16) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind]);
        out.extend_from_slice(&tag.to_le_bytes());
        Self { out, start }
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.u16(text.len() as u16).bytes(text.as_bytes())
    }

    /// Appends the path elements of a walk, preceded by their number.
    pub(crate) fn path(self, path: &str) -> Self {
        path.split('/').fold(self.u16(path.split('/').count() as u16), Self::text)
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub(crate) fn finish(self) {
        self.finish_before(0);
    }

    /// Fills in the size field of a message whose last `more` bytes are sent separately, after
    /// `out`.
    pub(crate) fn finish_before(self, more: usize) {
        let size = (self.out.len() - self.start + more) as u32;
        self.out[self.start..self.start + 4].copy_from_slice(&size.to_le_bytes());
    }
}

pub(crate) fn kind_of(frame: &[u8]) -> u8 {
    frame[4]
}

pub(crate) fn tag_of(frame: &[u8]) -> u16 {
    u16::from_le_bytes([frame[5], frame[6]])
}

pub(crate) fn u16_at(frame: &[u8], at: usize) -> Res<u16> {
    Ok(u16::from_le_bytes(array_at(frame, at)?))
}

pub(crate) fn u32_at(frame: &[u8], at: usize) -> Res<u32> {
    Ok(u32::from_le_bytes(array_at(frame, at)?))
}

pub(crate) fn u64_at(frame: &[u8], at: usize) -> Res<u64> {
    Ok(u64::from_le_bytes(array_at(frame, at)?))
}

fn array_at<const N: usize>(frame: &[u8], at: usize) -> Res<[u8; N]> {
    let bytes = frame.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| format!("a message of type {} is too short", kind_of(frame)))
}

/// A receive buffer that splits a stream into frames.
///
/// The buffer starts small so that idle connections need little memory. The buffer grows when a
/// read fills it, so a single system call can read an entire pipelined batch.
pub(crate) struct Frames {
    buf: Vec<u8>,
    head: usize,
    tail: usize,
    /// The offset in `buf` to which unread frames are moved before each read.
    start: usize,
}

/// The page offset at which the frames in a grown buffer start. The page offset is the same in
/// every run.
///
/// On some processors, a copy is many times slower if the destination's page offset is slightly
/// greater than the source's. With random offsets, slow copies would dominate some measurements.
const IN_PAGE: usize = 1024;
const PAGE: usize = 4096;

impl Frames {
    pub(crate) fn new() -> Self {
        Self { buf: vec![0; 4096], head: 0, tail: 0, start: 0 }
    }

    /// Reads once and returns the number of bytes read, which is 0 at the end of the stream.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.buf.copy_within(self.head..self.tail, self.start);
        self.tail -= self.head - self.start;
        self.head = self.start;
        let len = from.read(&mut self.buf[self.tail..])?;
        self.tail += len;
        if self.tail == self.buf.len() && self.buf.len() < 2 * MESSAGE_MAX {
            self.grow((self.buf.len() * 8).min(2 * MESSAGE_MAX));
        }
        Ok(len)
    }

    fn grow(&mut self, size: usize) {
        let mut buf = vec![0; size + PAGE];
        let start = IN_PAGE.wrapping_sub(buf.as_ptr().addr()) % PAGE;
        let kept = self.tail - self.head;
        buf[start..start + kept].copy_from_slice(&self.buf[self.head..self.tail]);
        *self = Self { buf, head: start, tail: start + kept, start };
    }

    /// Returns whether `next` would return a frame or an error rather than `None`.
    pub(crate) fn has_frame(&self) -> bool {
        let rest = &self.buf[self.head..self.tail];
        rest.first_chunk().is_some_and(|size| u32::from_le_bytes(*size) as usize <= rest.len())
    }

    /// Returns the next frame including its header, or `None` if the frame is not yet complete.
    pub(crate) fn next(&mut self) -> Res<Option<&[u8]>> {
        let rest = &self.buf[self.head..self.tail];
        let Some(size) = rest.first_chunk().map(|size| u32::from_le_bytes(*size) as usize) else {
            return Ok(None);
        };
        if !(HEADER..=MESSAGE_MAX).contains(&size) {
            return Err(format!("a frame of {size} bytes: must be {HEADER} to {MESSAGE_MAX}"));
        }
        let frame = rest.get(..size);
        self.head += frame.map_or(0, <[u8]>::len);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_arrive_byte_by_byte_are_returned_whole() {
        let mut sent = Vec::new();
        Message::new(&mut sent, kind::TCLUNK, 3).u32(9).finish();
        Message::new(&mut sent, kind::TWALK, 4).u32(0).u32(1).u16(1).text("small.txt").finish();
        let mut frames = Frames::new();
        let mut got = Vec::new();
        for byte in &sent {
            frames.fill(&mut &[*byte][..]).unwrap();
            assert_eq!(
                frames.has_frame(),
                frames.buf[frames.head..frames.tail].len() == [11, 28][got.len().min(1)]
            );
            if let Some(frame) = frames.next().unwrap() {
                got.push((kind_of(frame), tag_of(frame), frame.len()));
            }
        }
        assert_eq!(got, [(kind::TCLUNK, 3, 11), (kind::TWALK, 4, 28)]);
    }

    #[test]
    fn a_size_below_the_header_is_refused() {
        let mut frames = Frames::new();
        frames.fill(&mut &[6, 0, 0, 0, 0, 0, 0][..]).unwrap();
        assert!(frames.has_frame() && frames.next().is_err());
    }

    #[test]
    fn a_message_larger_than_the_first_buffer_arrives() {
        let mut sent = Vec::new();
        Message::new(&mut sent, kind::RREAD, 0).u32(100_000).bytes(&[1; 100_000]).finish();
        let (mut frames, mut from) = (Frames::new(), &sent[..]);
        while !frames.has_frame() {
            assert_ne!(frames.fill(&mut from).unwrap(), 0);
        }
        assert_eq!(frames.next().unwrap().map(<[u8]>::len), Some(sent.len()));
    }
}
