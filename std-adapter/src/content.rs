//! The bytes of a file: chunks with holes between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datakit_core::vfs::{Error, Result};
use memmap2::MmapMut;

use crate::memory;
use crate::space::{Grant, Space};

/// Bytes in a chunk.
const CHUNK: u64 = 64 * 1024;
/// Contents of more chunks are freed apart: a mebibyte takes a quarter of a millisecond.
const FEW: usize = 16;
/// Offsets are signed in a file system.
const LARGEST: u64 = i64::MAX as u64;

/// A file's bytes. What no chunk holds reads as zeros.
#[derive(Debug)]
pub(crate) struct Content {
    size: u64,
    chunks: BTreeMap<u64, Chunk>,
    space: Arc<Space>,
}

/// Bytes of a chunk; what is beyond them is a hole.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    grant: Grant,
}

#[derive(Debug)]
enum Bytes {
    /// Up to the last one written.
    Part(Vec<u8>),
    /// All of them. Mapped, since the C library would keep what is freed.
    All(MmapMut),
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
            let bytes =
                self.chunks.get(&index).map_or(&[][..], |chunk| chunk.bytes.get().get(within..).unwrap_or_default());
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
        let mut chunk = Chunk { bytes: Bytes::Part(Vec::new()), grant: self.space.empty() };
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
            free(self.chunks.split_off(&size.div_ceil(CHUNK)));
            if let Some(last) = self.chunks.get_mut(&(size / CHUNK)) {
                last.cut((size % CHUNK) as usize);
            }
        }
        self.size = size;
        Ok(())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        free(std::mem::take(&mut self.chunks));
    }
}

/// Gives the space back at once, and the memory behind it without holding the thread up.
fn free(mut chunks: BTreeMap<u64, Chunk>) {
    if chunks.len() > FEW {
        // Less than before, which is always granted.
        chunks.values_mut().for_each(|chunk| chunk.grant.set(0).unwrap_or_default());
        memory::drop_apart(chunks);
    }
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Part(bytes) => bytes,
            Bytes::All(bytes) => bytes,
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Bytes::Part(bytes) => bytes.capacity(),
            Bytes::All(bytes) => bytes.len(),
        }
    }
}

impl Chunk {
    fn write(&mut self, index: u64, within: usize, data: &[u8]) -> Result<()> {
        let end = within.saturating_add(data.len());
        self.reserve(index, end)?;
        match &mut self.bytes {
            Bytes::All(bytes) => copy_to_start(bytes.get_mut(within..).unwrap_or_default(), data),
            Bytes::Part(bytes) => {
                if bytes.len() < within {
                    bytes.resize(within, 0);
                }
                let over = bytes.get_mut(within..).unwrap_or_default();
                let (replacing, appending) = data.split_at(over.len().min(data.len()));
                copy_to_start(over, replacing);
                bytes.extend_from_slice(appending);
            }
        }
        Ok(())
    }

    /// Only the first chunk grows by doubling, so that small files stay small: a file that has a second one gets long.
    fn reserve(&mut self, index: u64, end: usize) -> Result<()> {
        if end <= self.bytes.capacity() {
            return Ok(());
        }
        let room = if index == 0 { end.next_power_of_two().max(64) } else { CHUNK as usize };
        self.grant.set(room as u64)?;
        match &mut self.bytes {
            Bytes::Part(bytes) if room < CHUNK as usize => {
                bytes.try_reserve_exact(room.saturating_sub(bytes.len())).map_err(|_| Error::NoMemory)
            }
            bytes => {
                let mut all = MmapMut::map_anon(room).map_err(|_| Error::NoMemory)?;
                copy_to_start(&mut all, bytes.get());
                *bytes = Bytes::All(all);
                Ok(())
            }
        }
    }

    fn cut(&mut self, length: usize) {
        match &mut self.bytes {
            Bytes::Part(bytes) => {
                bytes.truncate(length);
                bytes.shrink_to_fit();
            }
            Bytes::All(bytes) => self.bytes = Bytes::Part(bytes.get(..length).unwrap_or_default().into()),
        }
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
