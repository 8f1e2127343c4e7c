//! The content of a file, stored as chunks with holes between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datakit_core::vfs::{Error, Result};

use crate::budget::{Budget, Reservation};
use crate::memory;

/// The size of a chunk in bytes.
const CHUNK: u64 = 64 * 1024;
/// The maximum number of chunks to free immediately. If there are more chunks, all of them are
/// freed in the background, because unmapping 1 MiB takes about 250 µs.
const FREE_IN_PLACE: usize = 16;
/// The maximum size of a file, which is the largest signed 64-bit offset.
const MAX_SIZE: u64 = i64::MAX as u64;

/// The content of a file that may have holes. Holes take up no memory and read as zeros.
///
/// Clones share their chunks, and a shared chunk is copied before it is modified (copy-on-write).
/// Memory for the chunks is reserved from a [`Budget`].
#[derive(Debug, Clone)]
pub struct SparseBytes {
    size: u64,
    chunks: BTreeMap<u64, Arc<Chunk>>,
    budget: Arc<Budget>,
}

/// The chunk's content, up to the last byte written. The rest of the chunk is a hole.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    reservation: Reservation,
}

impl SparseBytes {
    /// Creates empty content.
    pub fn new(budget: Arc<Budget>) -> SparseBytes {
        SparseBytes { size: 0, chunks: BTreeMap::new(), budget }
    }

    /// Creates content by copying `bytes`.
    ///
    /// # Errors
    /// Returns [`Error::NoSpace`] if the budget is exhausted, or [`Error::NoMemory`] if the
    /// allocation fails.
    pub fn from_slice(bytes: &[u8], budget: &Arc<Budget>) -> Result<SparseBytes> {
        let mut content = SparseBytes::new(budget.clone());
        let written = content.write(0, bytes)?;
        if written == bytes.len() { Ok(content) } else { Err(Error::NoSpace) }
    }

    /// Copies the content and reserves the memory for the copy from `budget`.
    ///
    /// # Errors
    /// Returns [`Error::NoSpace`] if the budget is exhausted, or [`Error::NoMemory`] if the
    /// allocation fails.
    pub fn copy_to(&self, budget: &Arc<Budget>) -> Result<SparseBytes> {
        let mut chunks = BTreeMap::new();
        for (index, chunk) in &self.chunks {
            chunks.insert(*index, Arc::new(chunk.copy_to(*index, budget)?));
        }
        Ok(SparseBytes { size: self.size, chunks, budget: budget.clone() })
    }

    /// Returns `true` if the memory for the content is reserved from `budget`.
    pub fn is_charged_to(&self, budget: &Arc<Budget>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }

    /// Copies the content, including its holes, into a single allocation.
    ///
    /// # Errors
    /// Returns [`Error::NoMemory`] if the allocation fails.
    pub fn to_bytes(&self) -> Result<Arc<[u8]>> {
        let size = usize::try_from(self.size).map_err(|_| Error::NoMemory)?;
        // If memory is exhausted, allocating an `Arc` aborts the process. Therefore, first check
        // that an allocation of the same size succeeds.
        Vec::<u8>::new().try_reserve_exact(size).map_err(|_| Error::NoMemory)?;
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, size).collect();
        if let Some(slice) = Arc::get_mut(&mut bytes) {
            self.read(0, slice);
        }
        Ok(bytes)
    }

    /// Returns the size in bytes, including holes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many bytes of memory the content occupies, excluding holes.
    pub(crate) fn allocated(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.bytes.capacity() as u64).sum()
    }

    /// Copies the bytes at `offset` into `buf`. Returns the number of bytes copied, which is 0 at
    /// the end of the content.
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

    /// Writes `data` at `offset`. Returns the number of bytes written, which is less than the
    /// length of `data` only if memory runs out during the write.
    ///
    /// # Errors
    /// Returns [`Error::TooLarge`] if the data would extend beyond 2⁶³ - 1. Returns
    /// [`Error::NoSpace`] if the budget is exhausted, or [`Error::NoMemory`] if the allocation
    /// fails. On failure, no bytes have been written.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= MAX_SIZE)
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
                // The chunk is shared with another value, so copy it first.
                None => chunk.copy_to(index, &self.budget)?,
            },
            None => Chunk { bytes: Vec::new(), reservation: self.budget.empty_reservation() },
        };
        chunk.write(index, within, data)?;
        self.chunks.insert(index, Arc::new(chunk));
        Ok(())
    }

    /// Truncates the content or extends it with a hole.
    ///
    /// # Errors
    /// Returns [`Error::TooLarge`] if `size` is greater than 2⁶³ - 1. A last chunk that is shared
    /// may have to be copied, which fails with [`Error::NoSpace`] if the budget is exhausted, or
    /// with [`Error::NoMemory`] if the allocation fails. On failure, the content is unchanged.
    pub fn set_size(&mut self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Error::TooLarge);
        }
        if size < self.size {
            let (last, within) = (size / CHUNK, (size % CHUNK) as usize);
            // A shared chunk is copied before anything else is changed, because copying is the only
            // step that can fail.
            match self.chunks.get_mut(&last) {
                Some(chunk) if within > 0 => {
                    if Arc::get_mut(chunk).is_none() {
                        *chunk = Arc::new(chunk.copy_to(last, &self.budget)?);
                    }
                    if let Some(chunk) = Arc::get_mut(chunk) {
                        chunk.truncate(within);
                    }
                }
                _ => {}
            }
            free_chunks(self.chunks.split_off(&size.div_ceil(CHUNK)));
        }
        self.size = size;
        Ok(())
    }
}

impl Drop for SparseBytes {
    fn drop(&mut self) {
        free_chunks(std::mem::take(&mut self.chunks));
    }
}

/// Frees the chunks and releases their reservations. If there are more than [`FREE_IN_PLACE`]
/// chunks, they are freed in the background, but their reservations are released immediately.
fn free_chunks(mut chunks: BTreeMap<u64, Arc<Chunk>>) {
    if chunks.len() > FREE_IN_PLACE {
        // Shrinking a reservation always succeeds.
        chunks
            .values_mut()
            .filter_map(Arc::get_mut)
            .for_each(|chunk| chunk.reservation.resize(0).unwrap_or_default());
        memory::drop_in_background(chunks);
    }
}

impl PartialEq for SparseBytes {
    fn eq(&self, other: &SparseBytes) -> bool {
        let (mut ours, mut theirs) = ([0; 4096], [0; 4096]);
        let indexes = || self.chunks.keys().chain(other.chunks.keys());
        let mut offsets =
            indexes().flat_map(|index| (0..CHUNK).step_by(4096).map(move |at| index * CHUNK + at));
        self.size == other.size
            && offsets
                .all(|at| self.read(at, &mut ours) == other.read(at, &mut theirs) && ours == theirs)
    }
}

impl Eq for SparseBytes {}

impl Chunk {
    fn copy_to(&self, index: u64, budget: &Arc<Budget>) -> Result<Chunk> {
        let mut copy = Chunk { bytes: Vec::new(), reservation: budget.empty_reservation() };
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

    /// Allocates memory for the chunk up to offset `end`. The first chunk of a file grows by
    /// doubling so that small files use little memory. All other chunks are allocated at full size,
    /// because a file with multiple chunks is likely to grow.
    fn reserve(&mut self, index: u64, end: usize) -> Result<()> {
        if end <= self.bytes.capacity() {
            return Ok(());
        }
        let capacity = if index == 0 { end.next_power_of_two().max(64) } else { CHUNK as usize };
        self.reservation.resize(capacity as u64)?;
        self.bytes
            .try_reserve_exact(capacity.saturating_sub(self.bytes.len()))
            .map_err(|_| Error::NoMemory)
    }

    fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.bytes.shrink_to_fit();
        // Shrinking a reservation always succeeds.
        let _ = self.reservation.resize(self.bytes.capacity() as u64);
    }
}

/// Copies `from` to the beginning of `to`. `to` must be at least as long as `from`.
fn copy_to_start(to: &mut [u8], from: &[u8]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}

/// Fills `to` with the bytes of `from`, followed by zeros.
fn copy_or_zero(to: &mut [u8], from: &[u8]) {
    let (copied, zeroed) = to.split_at_mut(from.len().min(to.len()));
    copied.copy_from_slice(from.get(..copied.len()).unwrap_or_default());
    zeroed.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_chunks_until_one_changes_them() {
        let budget = Budget::new(1 << 20);
        let mut one = SparseBytes::from_slice(&[1; 3 * CHUNK as usize], &budget).unwrap();
        let used = budget.used();
        let other = one.clone();
        assert_eq!((budget.used(), one == other), (used, true));
        one.write(CHUNK, b"x").unwrap();
        assert_eq!((budget.used(), one == other), (used + CHUNK, false));
        one.set_size(CHUNK + 10).unwrap();
        let mut bytes = [0; 2];
        assert_eq!((other.read(CHUNK, &mut bytes), bytes, other.size()), (2, [1, 1], 3 * CHUNK));
        drop(other);
        assert_eq!(&one.to_bytes().unwrap()[CHUNK as usize - 1..][..3], b"\x01x\x01");
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_failed_change_leaves_the_content_unchanged() {
        let parent = Budget::new(4 * CHUNK);
        let (one, other) = (parent.child(3 * CHUNK), parent.child(3 * CHUNK));
        let mut content = SparseBytes::from_slice(&[7; 3 * CHUNK as usize], &one).unwrap();
        assert_eq!(content.write(3 * CHUNK, b"x"), Err(Error::NoSpace));
        let clone = content.clone();
        assert_eq!(content.set_size(10), Err(Error::NoSpace));
        assert_eq!(content.write(5, b"x"), Err(Error::NoSpace));
        assert_eq!(content, clone);
        // Reservations from both child budgets count against the limit of the parent.
        assert!(SparseBytes::from_slice(&[7; 2 * CHUNK as usize], &other).is_err());
        assert_eq!((one.used(), other.used(), parent.used()), (3 * CHUNK, 0, 3 * CHUNK));
        drop((content, clone));
        assert!(SparseBytes::from_slice(&[7; 2 * CHUNK as usize], &other).is_ok());
    }
}
