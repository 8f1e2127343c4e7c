//! The bytes of a file: chunks with holes between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datakit_core::vfs::{Error, Result};

use crate::memory;
use crate::space::{Grant, Space};

/// Bytes in a chunk.
const CHUNK: u64 = 64 * 1024;
/// Contents of more chunks are freed apart: a mebibyte takes a quarter of a millisecond.
const FEW: usize = 16;
/// Offsets are signed in a file system.
const LARGEST: u64 = i64::MAX as u64;

/// A file's bytes. What no chunk holds reads as zeros. Clones share the chunks that neither
/// changes.
#[derive(Debug, Clone)]
pub struct Content {
    size: u64,
    chunks: BTreeMap<u64, Arc<Chunk>>,
    space: Arc<Space>,
}

/// Bytes of a chunk, up to the last one written; what is beyond them is a hole.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    grant: Grant,
}

impl Content {
    /// No bytes.
    pub fn new(space: Arc<Space>) -> Content {
        Content { size: 0, chunks: BTreeMap::new(), space }
    }

    /// These bytes.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::NoMemory`].
    pub fn of(bytes: &[u8], space: &Arc<Space>) -> Result<Content> {
        let mut content = Content::new(space.clone());
        let written = content.write(0, bytes)?;
        if written == bytes.len() { Ok(content) } else { Err(Error::NoSpace) }
    }

    /// The same bytes in another space.
    ///
    /// # Errors
    /// Those of [`of`](Content::of).
    pub fn copy(&self, space: &Arc<Space>) -> Result<Content> {
        let mut chunks = BTreeMap::new();
        for (index, chunk) in &self.chunks {
            chunks.insert(*index, Arc::new(chunk.copy(*index, space)?));
        }
        Ok(Content { size: self.size, chunks, space: space.clone() })
    }

    /// Whether it takes its memory from `space`.
    pub fn is_in(&self, space: &Arc<Space>) -> bool {
        Arc::ptr_eq(&self.space, space)
    }

    /// All bytes, holes included, in one piece.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn whole(&self) -> Result<Arc<[u8]>> {
        let size = usize::try_from(self.size).map_err(|_| Error::NoMemory)?;
        // An `Arc` cannot be asked for without aborting when there is none; so the same amount is
        // asked for before.
        Vec::<u8>::new().try_reserve_exact(size).map_err(|_| Error::NoMemory)?;
        let mut whole: Arc<[u8]> = std::iter::repeat_n(0, size).collect();
        if let Some(bytes) = Arc::get_mut(&mut whole) {
            self.read(0, bytes);
        }
        Ok(whole)
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory set aside for it: holes take none.
    pub(super) fn allocated(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.bytes.capacity() as u64).sum()
    }

    /// Copies what is at `offset` into `buf`: how many bytes, 0 from the end on.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        let mut rest = buf.get_mut(..count).unwrap_or_default();
        let mut at = offset;
        while !rest.is_empty() {
            let (index, within) = (at / CHUNK, (at % CHUNK) as usize);
            let (part, after) = rest.split_at_mut(rest.len().min(CHUNK as usize - within));
            let bytes = self
                .chunks
                .get(&index)
                .map_or(&[][..], |chunk| chunk.bytes.get(within..).unwrap_or_default());
            copy_or_zero(part, bytes);
            at = at.saturating_add(part.len() as u64);
            rest = after;
        }
        count
    }

    /// Puts `data` at `offset`: how many bytes were taken, all of them unless the space ends
    /// within.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= LARGEST)
            .ok_or(Error::TooLarge)?;
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
        let mut chunk = match self.chunks.get_mut(&index) {
            Some(chunk) => match Arc::get_mut(chunk) {
                Some(chunk) => return chunk.write(index, within, data),
                // A clone has it as well.
                None => chunk.copy(index, &self.space)?,
            },
            None => Chunk { bytes: Vec::new(), grant: self.space.empty() },
        };
        chunk.write(index, within, data)?;
        self.chunks.insert(index, Arc::new(chunk));
        Ok(())
    }

    /// Cuts, or pads with a hole.
    pub fn set_size(&mut self, size: u64) -> Result<()> {
        if size > LARGEST {
            return Err(Error::TooLarge);
        }
        if size < self.size {
            let (last, within) = (size / CHUNK, (size % CHUNK) as usize);
            // First what can fail.
            match self.chunks.get_mut(&last) {
                Some(chunk) if within > 0 => {
                    if Arc::get_mut(chunk).is_none() {
                        *chunk = Arc::new(chunk.copy(last, &self.space)?);
                    }
                    if let Some(chunk) = Arc::get_mut(chunk) {
                        chunk.cut(within);
                    }
                }
                _ => {}
            }
            free(self.chunks.split_off(&size.div_ceil(CHUNK)));
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
fn free(mut chunks: BTreeMap<u64, Arc<Chunk>>) {
    if chunks.len() > FEW {
        // Less than before, which is always granted.
        chunks
            .values_mut()
            .filter_map(Arc::get_mut)
            .for_each(|chunk| chunk.grant.set(0).unwrap_or_default());
        memory::drop_apart(chunks);
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Content) -> bool {
        let (mut ours, mut theirs) = ([0; 4096], [0; 4096]);
        let indexes = || self.chunks.keys().chain(other.chunks.keys());
        let mut offsets =
            indexes().flat_map(|index| (0..CHUNK).step_by(4096).map(move |at| index * CHUNK + at));
        self.size == other.size
            && offsets
                .all(|at| self.read(at, &mut ours) == other.read(at, &mut theirs) && ours == theirs)
    }
}

impl Eq for Content {}

impl Chunk {
    fn copy(&self, index: u64, space: &Arc<Space>) -> Result<Chunk> {
        let mut copy = Chunk { bytes: Vec::new(), grant: space.empty() };
        copy.reserve(index, self.bytes.capacity())?;
        copy.write(index, 0, &self.bytes)?;
        Ok(copy)
    }

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

    /// Only the first chunk grows by doubling, so that small files stay small: a file that has a
    /// second one gets long.
    fn reserve(&mut self, index: u64, end: usize) -> Result<()> {
        if end <= self.bytes.capacity() {
            return Ok(());
        }
        let room = if index == 0 { end.next_power_of_two().max(64) } else { CHUNK as usize };
        self.grant.set(room as u64)?;
        self.bytes
            .try_reserve_exact(room.saturating_sub(self.bytes.len()))
            .map_err(|_| Error::NoMemory)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_what_neither_changes() {
        let space = Space::new(1 << 20);
        let mut one = Content::of(&[1; 3 * CHUNK as usize], &space).unwrap();
        let used = space.used();
        let other = one.clone();
        assert_eq!((space.used(), one == other), (used, true));
        one.write(CHUNK, b"x").unwrap();
        assert_eq!((space.used(), one == other), (used + CHUNK, false));
        one.set_size(CHUNK + 10).unwrap();
        let mut bytes = [0; 2];
        assert_eq!((other.read(CHUNK, &mut bytes), bytes, other.size()), (2, [1, 1], 3 * CHUNK));
        drop(other);
        assert_eq!(&one.whole().unwrap()[CHUNK as usize - 1..][..3], b"\x01x\x01");
        drop(one);
        assert_eq!(space.used(), 0);
    }

    #[test]
    fn a_change_that_is_refused_leaves_the_content_as_it_was() {
        let whole = Space::new(4 * CHUNK);
        let (one, other) = (whole.part(3 * CHUNK), whole.part(3 * CHUNK));
        let mut content = Content::of(&[7; 3 * CHUNK as usize], &one).unwrap();
        assert_eq!(content.write(3 * CHUNK, b"x"), Err(Error::NoSpace));
        let clone = content.clone();
        assert_eq!(content.set_size(10), Err(Error::NoSpace));
        assert_eq!(content.write(5, b"x"), Err(Error::NoSpace));
        assert_eq!(content, clone);
        // What one part uses the other one cannot.
        assert!(Content::of(&[7; 2 * CHUNK as usize], &other).is_err());
        assert_eq!((one.used(), other.used(), whole.used()), (3 * CHUNK, 0, 3 * CHUNK));
        drop((content, clone));
        assert!(Content::of(&[7; 2 * CHUNK as usize], &other).is_ok());
    }
}
