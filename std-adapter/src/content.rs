//! The bytes of a file: chunks with holes between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datakit_core::vfs::{Error, Result};

use crate::space::{Grant, Space};

/// Bytes in a chunk.
const CHUNK: u64 = 64 * 1024;
/// Offsets are signed in a file system.
const LARGEST: u64 = i64::MAX as u64;

/// A file's bytes. What no chunk holds reads as zeros.
#[derive(Debug)]
pub(crate) struct Content {
    size: u64,
    chunks: BTreeMap<u64, Chunk>,
    space: Arc<Space>,
}

/// Bytes of a chunk up to the last one written; the rest is a hole.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    grant: Grant,
}

impl Content {
    /// No bytes.
    pub(crate) fn new(space: Arc<Space>) -> Content {
        Content { size: 0, chunks: BTreeMap::new(), space }
    }

    /// Length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory set aside for it: holes take none.
    pub(super) fn allocated(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.bytes.capacity() as u64).sum()
    }

    /// Copies what is at `offset` into `buf`: how many bytes, 0 from the end on.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        let mut rest = buf.get_mut(..count).unwrap_or_default();
        let mut at = offset;
        while !rest.is_empty() {
            let (index, within) = (at / CHUNK, (at % CHUNK) as usize);
            let (part, after) = rest.split_at_mut(rest.len().min(CHUNK as usize - within));
            let bytes = self.chunks.get(&index).map_or(&[][..], |chunk| chunk.bytes.get(within..).unwrap_or_default());
            copy_or_zero(part, bytes);
            at = at.saturating_add(part.len() as u64);
            rest = after;
        }
        count
    }

    /// Puts `data` at `offset`: how many bytes were taken, all of them unless the space ends within.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        offset.checked_add(data.len() as u64).filter(|end| *end <= LARGEST).ok_or(Error::TooLarge)?;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (index, within) = (at / CHUNK, (at % CHUNK) as usize);
            let (part, after) = rest.split_at(rest.len().min(CHUNK as usize - within));
            match self.write_chunk(index, within, part) {
                Err(error) if at == offset => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
            at = at.saturating_add(part.len() as u64);
            rest = after;
        }
        if !data.is_empty() {
            self.size = self.size.max(at);
        }
        Ok(data.len() - rest.len())
    }

    fn write_chunk(&mut self, index: u64, within: usize, data: &[u8]) -> Result<()> {
        if let Some(chunk) = self.chunks.get_mut(&index) {
            return chunk.write(index, within, data);
        }
        let mut chunk = Chunk { bytes: Vec::new(), grant: self.space.empty() };
        chunk.write(index, within, data)?;
        self.chunks.insert(index, chunk);
        Ok(())
    }

    /// Cuts, or pads with a hole.
    pub(crate) fn set_size(&mut self, size: u64) -> Result<()> {
        if size > LARGEST {
            return Err(Error::TooLarge);
        }
        if size < self.size {
            drop(self.chunks.split_off(&size.div_ceil(CHUNK)));
            if let Some(last) = self.chunks.get_mut(&(size / CHUNK)) {
                last.cut((size % CHUNK) as usize);
            }
        }
        self.size = size;
        Ok(())
    }
}

impl Chunk {
    fn write(&mut self, index: u64, within: usize, data: &[u8]) -> Result<()> {
        let end = within.saturating_add(data.len());
        self.reserve(index, end)?;
        if self.bytes.len() < within {
            self.bytes.resize(within, 0);
        }
        let over = self.bytes.get_mut(within..).unwrap_or_default();
        let (replacing, appending) = data.split_at(over.len().min(data.len()));
        copy_to_start(over, replacing);
        self.bytes.extend_from_slice(appending);
        Ok(())
    }

    /// Only the first chunk grows by doubling, so that small files stay small: a file that has a second one gets long.
    fn reserve(&mut self, index: u64, end: usize) -> Result<()> {
        if end <= self.bytes.capacity() {
            return Ok(());
        }
        let room = if index == 0 { end.next_power_of_two().max(64) } else { CHUNK as usize };
        self.grant.set(room as u64)?;
        self.bytes.try_reserve_exact(room.saturating_sub(self.bytes.len())).map_err(|_| Error::NoMemory)
    }

    fn cut(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.bytes.shrink_to_fit();
        // Less than before, which is always granted.
        let _ = self.grant.set(self.bytes.capacity() as u64);
    }
}

/// Copies `from` to the start of `to`, which is at least as long.
fn copy_to_start(to: &mut [u8], from: &[u8]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}

/// Fills `to` from `from`, and with zeros where that ends.
fn copy_or_zero(to: &mut [u8], from: &[u8]) {
    let (copied, zeroed) = to.split_at_mut(from.len().min(to.len()));
    copied.copy_from_slice(from.get(..copied.len()).unwrap_or_default());
    zeroed.fill(0);
}
