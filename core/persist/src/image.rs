//! The copy of the stored values that is kept in RAM.

use core::fmt::{self, Write};

use datakit_core::vfs::Window;

use crate::record::{self, HEADER, Header, OVERHEAD, RecordKind};

/// A buffer with the alignment that some flash drivers require.
#[repr(align(4))]
pub(crate) struct Aligned<const N: usize>(pub(crate) [u8; N]);

/// The newest records of all parameters, stored one after another. Records that are not yet in
/// flash come last, so they can be written as one batch.
pub struct Image<const N: usize> {
    bytes: Aligned<N>,
    /// The number of bytes taken up by records.
    used: usize,
    /// The position of the first record that is not in flash.
    new: usize,
    /// The size of the most recently accepted record.
    last_size: usize,
    /// The alignment of records in bytes, which is a power of two.
    word: usize,
}

impl<const N: usize> Image<N> {
    pub(crate) const fn new(word: usize) -> Image<N> {
        Image { bytes: Aligned([0; N]), used: 0, new: 0, last_size: 0, word }
    }

    /// Removes all records.
    pub(crate) fn clear(&mut self) {
        (self.used, self.new, self.last_size) = (0, 0, 0);
    }

    /// Returns all records.
    pub(crate) fn all(&self) -> &[u8] {
        self.bytes.0.get(..self.used).unwrap_or_default()
    }

    /// Returns the records that are not in flash.
    pub(crate) fn new_records(&self) -> &[u8] {
        self.all().get(self.new..).unwrap_or_default()
    }

    /// Returns the unused part of the buffer. Its length is a multiple of the word size.
    pub(crate) fn free(&mut self) -> &mut [u8] {
        let end = N & !(self.word - 1);
        self.bytes.0.get_mut(self.used..end).unwrap_or_default()
    }

    /// Returns the header and the text of the record with this key.
    pub(crate) fn find(&self, key: u32) -> Option<(Header, &[u8])> {
        let (at, header) = self.position(&mut |header| header.key == key)?;
        let text = at + HEADER..at + HEADER + usize::from(header.length);
        Some((header, self.bytes.0.get(text)?))
    }

    /// Returns the position and the header of the first record that `is_wanted` accepts.
    fn position(&self, is_wanted: &mut dyn FnMut(&Header) -> bool) -> Option<(usize, Header)> {
        let mut at = 0;
        while let Some(header) = self.all().get(at..).and_then(Header::decode) {
            if is_wanted(&header) {
                return Some((at, header));
            }
            at += self.size(header);
        }
        None
    }

    /// Returns the size of a record, including its padding.
    pub(crate) fn size(&self, header: Header) -> usize {
        (header.unpadded() + self.word - 1) & !(self.word - 1)
    }

    /// Removes the record at this position.
    fn remove_at(&mut self, at: usize, header: Header) {
        let size = self.size(header);
        self.bytes.0.copy_within(at + size..self.used, at);
        self.used -= size;
        if at < self.new {
            self.new -= size;
        }
    }

    /// Removes all records that `is_wanted` accepts.
    pub(crate) fn remove(&mut self, is_wanted: &mut dyn FnMut(&Header) -> bool) {
        while let Some((at, header)) = self.position(is_wanted) {
            self.remove_at(at, header);
        }
    }

    /// Returns the header of the record at the beginning of the [free](Image::free) part. Returns
    /// `None` if the first `count` bytes are not a complete record.
    pub(crate) fn free_record(&mut self, count: usize) -> Option<Header> {
        let bytes = self.free().get(..count)?;
        let header = Header::decode(bytes)?;
        record::is_sealed(bytes.get(..header.unpadded())?).then_some(header)
    }

    /// Accepts the record that is stored at the beginning of the [free](Image::free) part, and
    /// removes the older record with the same key.
    pub(crate) fn accept(&mut self, header: Header) {
        let old = self.position(&mut |old| old.key == header.key);
        self.last_size = self.size(header);
        self.used += self.last_size;
        if let Some((at, header)) = old {
            self.remove_at(at, header);
        }
    }

    /// Replaces the record of a parameter with a new record that is not in flash, unless the two
    /// records are equal. `render` writes the text, unless the parameter has its default. Returns
    /// whether the record has been replaced, or `None` if the buffer is full.
    pub(crate) fn replace(
        &mut self,
        mut header: Header,
        render: &mut dyn FnMut(&mut dyn Write) -> fmt::Result,
    ) -> Option<bool> {
        let mut text = Window::new(0, self.free().get_mut(HEADER..)?);
        if header.kind == RecordKind::Value {
            render(&mut text).ok()?;
        }
        // The cast is lossless, because the buffer is smaller than 64 KiB.
        header.length = text.length() as u16;
        let (size, used) = (self.size(header), self.used);
        record::seal(self.free().get_mut(..size)?, header)?;
        let new = self.bytes.0.get(used + HEADER..used + HEADER + usize::from(header.length))?;
        let is_same = match self.find(header.key) {
            None => header.kind == RecordKind::Default,
            Some((old, text)) => (old.kind, old.tag, text) == (header.kind, header.tag, new),
        };
        if !is_same {
            self.accept(header);
        }
        Some(!is_same)
    }

    /// Accepts the record whose header and text are at the beginning of the [free](Image::free)
    /// part. Returns `None` if there is no room for the rest of the record.
    #[cfg(feature = "sequential-storage")]
    pub(crate) fn accept_text(&mut self, header: Header) -> Option<()> {
        let size = self.size(header);
        record::seal(self.free().get_mut(..size)?, header)?;
        self.accept(header);
        Some(())
    }

    /// Replaces each record that `is_wanted` accepts and that contains a value with a new record of
    /// a default.
    #[cfg(feature = "sequential-storage")]
    pub(crate) fn set_default(&mut self, is_wanted: &mut dyn FnMut(&Header) -> bool) {
        let is_value = &mut |header: &Header| header.kind == RecordKind::Value && is_wanted(header);
        while let Some((at, header)) = self.position(is_value) {
            self.remove_at(at, header);
            // There is room, because the removed record was at least as long.
            let kind = RecordKind::Default;
            let _ = self.accept_text(Header { kind, last: false, length: 0, ..header });
        }
    }

    /// Returns the records that are not in flash, and the unused part of the buffer.
    #[cfg(feature = "sequential-storage")]
    pub(crate) fn new_and_free(&mut self) -> (&[u8], &mut [u8]) {
        let end = N & !(self.word - 1);
        let (records, free) = self.bytes.0.split_at_mut(self.used);
        let free = free.get_mut(..end - self.used).unwrap_or_default();
        (records.get(self.new..).unwrap_or_default(), free)
    }

    /// Marks the most recently accepted record as the last one in its batch. The caller must not
    /// remove a record between [`accept`](Image::accept) and this call.
    pub(crate) fn mark_last(&mut self) {
        let record = self.bytes.0.get_mut(self.used - self.last_size..self.used);
        if let Some(record) = record
            && let Some(header) = Header::decode(record)
        {
            // Sealing cannot fail, because the record was sealed before and its size is unchanged.
            let _ = record::seal(record, Header { last: true, ..header });
        }
    }

    /// Removes all records that do not contain a value, and treats the others as stored in flash.
    pub(crate) fn set_stored(&mut self) {
        self.remove(&mut |header| header.kind != RecordKind::Value);
        self.new = self.used;
    }
}

impl<const N: usize> fmt::Debug for Image<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("used", &self.used).finish_non_exhaustive()
    }
}

/// Checks that the buffer has room for the first record of a block and for one record without text,
/// and that the length of the longest text fits into the length field.
pub(crate) const fn check_size(size: usize, word: usize) {
    assert!(size >= OVERHEAD + word, "the buffer has at least 12 bytes and one word of the flash");
    assert!(size & !(word - 1) >= OVERHEAD + 4, "the buffer has at least 16 bytes in whole words");
    assert!(size <= u16::MAX as usize, "the buffer is smaller than 64 KiB");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(image: &mut Image<64>, key: u32, text: &str) -> bool {
        let kind = if text.is_empty() { RecordKind::Default } else { RecordKind::Value };
        let header = Header { kind, last: false, tag: 0, length: 0, key };
        image.replace(header, &mut |out| out.write_str(text)).is_some()
    }

    fn text(image: &Image<64>, key: u32) -> Option<&[u8]> {
        image.find(key).map(|(_, text)| text)
    }

    #[test]
    fn changed_records_are_the_last_ones() {
        let mut image = Image::<64>::new(4);
        assert!(put(&mut image, 1, "a") && put(&mut image, 2, "bbbbb"));
        assert_eq!(image.all().len(), 16 + 20);
        image.set_stored();
        assert_eq!(image.new_records(), b"");
        assert!(put(&mut image, 1, "cc"));
        assert_eq!((text(&image, 1), text(&image, 2)), (Some(&b"cc"[..]), Some(&b"bbbbb"[..])));
        assert_eq!(Header::decode(image.new_records()).unwrap().key, 1);
        assert_eq!(image.new_records().len(), 16);
        assert!(put(&mut image, 1, "dd"), "a new record is replaced, too");
        assert_eq!(image.new_records().len(), 16);
    }

    #[test]
    fn record_of_a_default_is_removed_when_it_is_stored() {
        let mut image = Image::<64>::new(4);
        assert!(put(&mut image, 1, "a"));
        image.set_stored();
        assert!(put(&mut image, 1, ""));
        assert_eq!(image.new_records().len(), 12);
        image.set_stored();
        assert_eq!(image.all(), b"");
    }

    #[test]
    fn only_the_last_record_is_marked() {
        let mut image = Image::<64>::new(8);
        assert!(put(&mut image, 1, "a") && put(&mut image, 2, "b"));
        image.mark_last();
        let (first, second) = image.all().split_at(16);
        assert!(!Header::decode(first).unwrap().last && Header::decode(second).unwrap().last);
        assert!(record::is_sealed(&second[..13]));
    }

    #[test]
    fn full_buffer_is_reported() {
        let mut image = Image::<64>::new(4);
        assert!(put(&mut image, 1, "a text of 20 letters") && put(&mut image, 2, "four"));
        assert!(!put(&mut image, 3, "fives"), "48 of 64 bytes are used");
        assert!(
            !put(&mut image, 2, "fives"),
            "the old record is kept until the new one is complete"
        );
        assert_eq!(text(&image, 2), Some(&b"four"[..]));
        assert!(put(&mut image, 2, "five"));
        assert_eq!(image.all().len(), 48);
    }
}
