//! The log of records in flash.
//!
//! Records are appended to the active block. The last record of a batch is marked, and records
//! after the last mark are ignored, so a batch takes effect as a whole or not at all. When the
//! active block is full, the newest record of each parameter is written to the next block. The
//! first record in a block contains the block's sequence number and is written last. Writing this
//! record makes the block the active one, because the block then has the largest sequence number.
//!
//! A block is erased immediately before records are written to it, and a block is read only if its
//! first record is valid. Therefore, it does not matter if an interrupted erase leaves arbitrary
//! content in the block. After an interrupted write, no record is appended to the block, because
//! NOR flash does not allow a word to be written twice.

use core::fmt;

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError};

use crate::Error;
use crate::backend::Records;
use crate::image::{Aligned, Image};
use crate::record::{self, HEADER, Header, OVERHEAD, RecordKind};
use crate::region::{Region, WORD_MAX, word};

/// A log of records in a region of the flash. This is the format that [`Store::new`] uses.
///
/// Each save appends a batch of records, which takes effect as a whole or not at all.
///
/// [`Store::new`]: crate::Store::new
pub struct Log<F> {
    flash: F,
    region: Region,
    /// The number of the active block. If the flash contains no log, this is the last block, so
    /// that the first block is used next.
    active: u32,
    /// The sequence number of the active block. Each block gets the next number when it becomes
    /// active.
    sequence: u32,
    /// The number of block erases since the region was first used.
    erases: u32,
    /// The address at which the next record is written.
    end: u32,
    /// Whether all bytes from `end` to the end of the active block are erased.
    clean: bool,
    /// The first record in a block.
    first: Aligned<WORD_MAX>,
}

impl<F: NorFlash> Log<F> {
    /// The size of the first record in a block.
    const FIRST: usize = (OVERHEAD + 4).next_multiple_of(word::<F>());

    pub(crate) const fn new(flash: F, region: Region) -> Log<F> {
        let first = Aligned([0; WORD_MAX]);
        Log { flash, region, active: 0, sequence: 0, erases: 0, end: 0, clean: false, first }
    }

    /// Returns how many bytes of a block are available for parameter records.
    pub(crate) const fn capacity(region: &Region) -> usize {
        region.block_size() as usize - Self::FIRST
    }

    /// Reads the valid records of the active block up to address `end`, and adds them to `image`.
    /// If `end` is `None`, no records are added, but the method determines whether the rest of the
    /// block is erased. Returns the address after the last complete batch.
    async fn read_records<const N: usize>(
        &mut self,
        image: &mut Image<N>,
        end: Option<u32>,
    ) -> Result<u32, Error> {
        let block_end = self.block_end();
        let stop = end.unwrap_or(block_end);
        let mut at = self.region.address(self.active);
        let (mut records_end, mut batch_end) = (at, at);
        while at < stop {
            let free = image.free();
            let count = free.len().min((block_end - at) as usize);
            let bytes = free.get_mut(..count).unwrap_or_default();
            self.flash.read(at, bytes).await.map_err(flash_error)?;
            if bytes.iter().all(|byte| *byte == 0xff) && count != 0 {
                at += count as u32;
                continue;
            }
            let Some(header) = image.free_record(count).filter(|_| at == records_end) else {
                if end.is_some() {
                    // The first pass has read this record, so the buffer is too small for all
                    // records. Values of older and newer batches must not be mixed.
                    return Err(Error::Full { buffer: N as u16 });
                }
                break;
            };
            at += image.size(header) as u32;
            records_end = at;
            if header.last {
                batch_end = at;
            }
            if end.is_some() && header.kind != RecordKind::Block {
                image.accept(header);
                image.set_stored();
            }
        }
        self.clean = at == stop && (end.is_none() || self.clean) && records_end == batch_end;
        Ok(batch_end)
    }

    /// Returns the first address after the active block.
    fn block_end(&self) -> u32 {
        self.region.address(self.active) + self.region.block_size()
    }
}

impl<F: NorFlash> Records for Log<F> {
    const REPLACES_REMOVED: bool = false;

    fn can_erase(error: Error) -> bool {
        matches!(error, Error::Full { .. })
    }

    /// Finds the active block and copies its newest record of each parameter to `image`.
    async fn mount<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error> {
        image.clear();
        (self.active, self.sequence, self.clean) = (self.region.blocks() - 1, 0, false);
        for block in 0..self.region.blocks() {
            let first = image.free().get_mut(..Self::FIRST).unwrap_or_default();
            self.flash.read(self.region.address(block), first).await.map_err(flash_error)?;
            if let Some(header) = image.free_record(Self::FIRST)
                && header.kind == RecordKind::Block
                && header.key > self.sequence
                && let Some((_, text)) = image.free().split_first_chunk::<HEADER>()
                && let Some(erases) = text.first_chunk()
            {
                self.erases = u32::from_le_bytes(*erases);
                (self.active, self.sequence) = (block, header.key);
            }
        }
        if self.sequence != 0 {
            // The first pass finds the end of the last complete batch. The second pass copies the
            // records before the end.
            let mut end = None;
            for _ in 0..2 {
                self.end = self.read_records(image, end).await?;
                end = Some(self.end);
            }
        }
        Ok(())
    }

    fn remove<const N: usize>(image: &mut Image<N>, is_wanted: &mut dyn FnMut(&Header) -> bool) {
        image.remove(is_wanted);
    }

    /// Marks the active block as full, so that no record [fits](Records::fits) into it.
    fn require_rewrite(&mut self) {
        self.clean = false;
    }

    /// Returns whether `size` bytes of records fit into the active block.
    fn fits(&self, size: usize) -> bool {
        self.clean && size <= (self.block_end() - self.end) as usize
    }

    /// Appends records to the active block. The last record must be marked.
    async fn append<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error> {
        let records = image.new_records();
        // If this future is dropped, `clean` stays `false`, because part of the batch may have been
        // written.
        self.clean = false;
        self.flash.write(self.end, records).await.map_err(flash_error)?;
        self.end += records.len() as u32;
        self.clean = true;
        Ok(())
    }

    /// Writes records to the next block and makes it the active block. The last record must be
    /// marked.
    async fn rewrite<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error> {
        let records = image.all();
        let block = self.region.next(self.active);
        let from = self.region.address(block);
        self.erases = self.erases.saturating_add(1);
        self.flash.erase(from, from + self.region.block_size()).await.map_err(flash_error)?;
        let at = from + Self::FIRST as u32;
        if !records.is_empty() {
            self.flash.write(at, records).await.map_err(flash_error)?;
        }
        let key = self.sequence.saturating_add(1);
        let header = Header { kind: RecordKind::Block, last: true, tag: 0, length: 4, key };
        let (first, _) = self.first.0.split_at_mut(Self::FIRST);
        if let Some([_, _, _, _, _, _, _, _, text @ ..]) = first.first_chunk_mut::<{ HEADER + 4 }>()
        {
            *text = self.erases.to_le_bytes();
        }
        // The write cannot fail, because the buffer is large enough.
        let _ = record::seal(first, header);
        self.flash.write(from, first).await.map_err(flash_error)?;
        (self.active, self.sequence, self.clean) = (block, key, true);
        self.end = at + records.len() as u32;
        Ok(())
    }

    fn blocks(&self) -> u32 {
        self.region.blocks()
    }

    fn erases(&self) -> u32 {
        self.erases
    }
}

impl<F> fmt::Debug for Log<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("region", &self.region).finish_non_exhaustive()
    }
}

#[inline(never)]
fn flash_error(error: impl NorFlashError) -> Error {
    Error::Flash(error.kind())
}
