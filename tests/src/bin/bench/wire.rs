//! Just enough of 9P2000.L, written by hand: a load generator with the server's own codec would
//! share its mistakes and could be tuned together with it.

use std::io::{self, Read};

use crate::Res;

/// Message types; the answer to a request has its number plus one.
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

/// size, type and tag.
pub(crate) const HEADER: usize = 7;
/// What a message that carries data needs besides the data, by custom.
pub(crate) const OVERHEAD: u32 = 24;
/// The greatest frame that is taken from anybody.
const LARGEST: usize = 2 << 20;

/// One message being appended to `out`; nothing is sent before `end` has filled in its size.
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

    /// The names of a walk, with their number before them.
    pub(crate) fn path(self, path: &str) -> Self {
        path.split('/').fold(self.u16(path.split('/').count() as u16), Self::text)
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub(crate) fn end(self) {
        self.end_before(0);
    }

    /// Ends a message whose last `more` bytes are sent from elsewhere, right behind `out`.
    pub(crate) fn end_before(self, more: usize) {
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
    bytes.ok_or_else(|| format!("a message of type {} ends early", kind_of(frame)))
}

/// The incoming half of a stream, cut into frames. Starts small, so that an idle connection costs
/// little, and grows when one read fills it: the whole pipelined batch should come in with one
/// system call.
pub(crate) struct Frames {
    buf: Vec<u8>,
    head: usize,
    tail: usize,
    /// Where the first frame begins.
    start: usize,
}

/// Where in a page a buffer starts, so that it is the same for everybody and in every run: on some
/// processors the kernel's copy to a few bytes further in a page than it copies from is many times
/// slower, and that would be all there is to see.
const IN_PAGE: usize = 1024;
const PAGE: usize = 4096;

impl Frames {
    pub(crate) fn new() -> Self {
        Self { buf: vec![0; 4096], head: 0, tail: 0, start: 0 }
    }

    /// One read; 0 is the end of the stream.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.buf.copy_within(self.head..self.tail, self.start);
        self.tail -= self.head - self.start;
        self.head = self.start;
        let len = from.read(&mut self.buf[self.tail..])?;
        self.tail += len;
        if self.tail == self.buf.len() && self.buf.len() < 2 * LARGEST {
            self.grow((self.buf.len() * 8).min(2 * LARGEST));
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

    /// Whether `next` has something to say.
    pub(crate) fn ready(&self) -> bool {
        let rest = &self.buf[self.head..self.tail];
        rest.first_chunk().is_some_and(|size| u32::from_le_bytes(*size) as usize <= rest.len())
    }

    /// The next complete frame with its header.
    pub(crate) fn next(&mut self) -> Res<Option<&[u8]>> {
        let rest = &self.buf[self.head..self.tail];
        let Some(size) = rest.first_chunk().map(|size| u32::from_le_bytes(*size) as usize) else {
            return Ok(None);
        };
        if !(HEADER..=LARGEST).contains(&size) {
            return Err(format!("a frame of {size} bytes"));
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
    fn frames_come_whole_however_they_arrive() {
        let mut sent = Vec::new();
        Message::new(&mut sent, kind::TCLUNK, 3).u32(9).end();
        Message::new(&mut sent, kind::TWALK, 4).u32(0).u32(1).u16(1).text("small.txt").end();
        let mut frames = Frames::new();
        let mut got = Vec::new();
        for byte in &sent {
            frames.fill(&mut &[*byte][..]).unwrap();
            assert_eq!(
                frames.ready(),
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
        assert!(frames.ready() && frames.next().is_err());
    }

    #[test]
    fn a_message_larger_than_the_first_buffer_arrives() {
        let mut sent = Vec::new();
        Message::new(&mut sent, kind::RREAD, 0).u32(100_000).bytes(&[1; 100_000]).end();
        let (mut frames, mut from) = (Frames::new(), &sent[..]);
        while !frames.ready() {
            assert_ne!(frames.fill(&mut from).unwrap(), 0);
        }
        assert_eq!(frames.next().unwrap().map(<[u8]>::len), Some(sent.len()));
    }
}
