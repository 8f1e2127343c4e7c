//! The storage format of the `sequential-storage` crate.

use core::fmt;
use core::ops::Range;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, ReadNorFlash};
use sequential_storage::Error as MapError;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{Key, MapConfig, MapStorage, SerializationError};

use crate::Error;
use crate::backend::Records;
use crate::image::Image;
use crate::record::{HEADER, Header, RecordKind};
use crate::region::{Region, word};

/// A map of the [`sequential-storage`](https://docs.rs/sequential-storage) crate in a region of the
/// flash. This is the format that [`Store::with_sequential_storage`] uses.
///
/// [`Store::with_sequential_storage`]: crate::Store::with_sequential_storage
pub struct SequentialStorage<F: NorFlash> {
    map: MapStorage<RecordKey, CountErases<F>, NoCache>,
    /// Whether the values can be read.
    readable: bool,
    /// The number of page erases since the store was created.
    erases: u32,
}

type NoCache = Cache<Uncached, Uncached, Uncached, RecordKey>;

impl<F: NorFlash> SequentialStorage<F> {
    /// Creates a map that has not been read.
    ///
    /// # Panics
    /// Panics if a page of the flash is too small for one item.
    pub(crate) const fn new(flash: F, region: Region) -> SequentialStorage<F> {
        let Range { start, end } = region.range();
        let flash = CountErases { flash, erases: 0 };
        let map = MapStorage::new(flash, MapConfig::new(start..end), Cache::new_uncached());
        SequentialStorage { map, readable: false, erases: 0 }
    }

    /// Copies the newest item of each parameter to `image`.
    async fn read_items<const N: usize>(
        &mut self,
        image: &mut Image<N>,
    ) -> Result<(), MapError<F::Error>> {
        image.clear();
        let mut items = self.map.fetch_all_items(image.free()).await?;
        // An item that is returned later is newer.
        while let Some((key, text)) = items.next::<&[u8]>(image.free()).await? {
            let length = text.len();
            // The key and the text are at the beginning of the free part of the image. An item that
            // a later version of this crate has written is skipped.
            match key.header(length) {
                Some(header) if header.kind == RecordKind::Default => {
                    image.remove(&mut |old| old.key == header.key);
                }
                Some(header) => {
                    image.accept_text(header).ok_or(MapError::BufferTooSmall(length))?;
                    image.set_stored();
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl<F: NorFlash> Records for SequentialStorage<F> {
    const REPLACES_REMOVED: bool = true;

    fn can_erase(error: Error) -> bool {
        !matches!(error, Error::Flash(_))
    }

    async fn mount<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error> {
        let mut read = self.read_items(image).await;
        if let Err(MapError::Corrupted { .. }) = read {
            // Reading a single item repairs the map, but reading all items does not.
            let repaired = self.map.fetch_item::<&[u8]>(image.free(), &RecordKey::NONE).await;
            read = match repaired {
                Ok(_) => self.read_items(image).await,
                Err(error) => Err(error),
            };
        }
        self.readable = read.is_ok();
        if !self.readable {
            image.clear();
        }
        self.erases = self.map.flash().erases;
        read.map_err(error::<F, N>)
    }

    /// Replaces the values in `image` with records of defaults, because the map cannot remove items
    /// from a flash whose words can be written only once.
    fn remove<const N: usize>(image: &mut Image<N>, is_wanted: &mut dyn FnMut(&Header) -> bool) {
        image.set_default(is_wanted);
    }

    fn require_rewrite(&mut self) {}

    fn fits(&self, _: usize) -> bool {
        true
    }

    /// Stores the records one after another, so a power failure may separate them.
    async fn append<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error> {
        let (mut records, buffer) = image.new_and_free();
        while let Some(header) = Header::decode(records) {
            let text = records.get(HEADER..HEADER + usize::from(header.length)).unwrap_or_default();
            let stored = self.map.store_item(buffer, &RecordKey(header.encode()), &text).await;
            self.erases = self.map.flash().erases;
            stored.map_err(error::<F, N>)?;
            let size = header.unpadded().next_multiple_of(word::<F>());
            records = records.get(size..).unwrap_or_default();
        }
        Ok(())
    }

    /// Stores the records of defaults. If that is not possible, erases the region.
    async fn rewrite<const N: usize>(&mut self, image: &mut Image<N>) -> Result<(), Error> {
        if self.readable {
            let appended = self.append(image).await;
            if !appended.is_err_and(Self::can_erase) {
                return appended;
            }
        }
        let erased = self.map.erase_all().await;
        self.readable = erased.is_ok();
        self.erases = self.map.flash().erases;
        erased.map_err(error::<F, N>)
    }

    /// Returns the number of pages.
    fn blocks(&self) -> u32 {
        let Range { start, end } = self.map.flash_range();
        (end - start) / F::ERASE_SIZE as u32
    }

    fn erases(&self) -> u32 {
        self.erases
    }
}

impl<F: NorFlash> fmt::Debug for SequentialStorage<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = self.map.flash_range();
        f.debug_struct("SequentialStorage").field("range", &range).finish_non_exhaustive()
    }
}

/// Converts an error of the map. The image has `N` bytes.
fn error<F: NorFlash, const N: usize>(error: MapError<F::Error>) -> Error {
    match error {
        MapError::Storage { value, .. } => Error::Flash(value.kind()),
        MapError::FullStorage | MapError::ItemTooBig => Error::RegionFull,
        MapError::BufferTooSmall(_)
        | MapError::SerializationError(SerializationError::BufferTooSmall) => {
            Error::Full { buffer: N as u16 }
        }
        _ => Error::Unreadable,
    }
}

/// The header of a record, which identifies its parameter. Two keys are equal if they belong to the
/// same parameter. Together with the text, a key is a record without its checksum.
#[derive(Debug, Clone)]
struct RecordKey([u8; HEADER]);

impl RecordKey {
    /// A key that is never stored.
    const NONE: RecordKey = RecordKey([0; HEADER]);

    /// Returns the header of a record whose text has this length. Returns `None` if it is not a
    /// record of this version.
    fn header(&self, length: usize) -> Option<Header> {
        let header = Header::decode(&self.0)?;
        (header.kind != RecordKind::Block && usize::from(header.length) == length).then_some(header)
    }

    fn parameter(&self) -> Option<&[u8; 4]> {
        self.0.last_chunk()
    }
}

impl PartialEq for RecordKey {
    fn eq(&self, other: &RecordKey) -> bool {
        self.parameter() == other.parameter()
    }
}

impl Eq for RecordKey {}

impl Key for RecordKey {
    fn serialize_into(&self, buffer: &mut [u8]) -> Result<usize, SerializationError> {
        *buffer.first_chunk_mut().ok_or(SerializationError::BufferTooSmall)? = self.0;
        Ok(HEADER)
    }

    fn deserialize_from(buffer: &[u8]) -> Result<(RecordKey, usize), SerializationError> {
        let header = buffer.first_chunk().ok_or(SerializationError::InvalidFormat)?;
        Ok((RecordKey(*header), HEADER))
    }
}

/// A flash that counts how many pages have been erased.
struct CountErases<F> {
    flash: F,
    erases: u32,
}

impl<F: NorFlash> ErrorType for CountErases<F> {
    type Error = F::Error;
}

impl<F: NorFlash> ReadNorFlash for CountErases<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.flash.read(offset, bytes).await
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: NorFlash> NorFlash for CountErases<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.erases = self.erases.saturating_add((to - from) / F::ERASE_SIZE as u32);
        self.flash.erase(from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.flash.write(offset, bytes).await
    }
}
