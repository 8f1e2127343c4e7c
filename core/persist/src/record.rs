//! The format of the records in flash.
//!
//! A record holds the text of one value. All integers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 0 | bits 0 to 6: the [kind](RecordKind), bit 7: the record is the last one in a batch |
//! | 1 | the [tag](crate::key::type_tag) of the parameter's type |
//! | 2 to 3 | the length of the text in bytes |
//! | 4 to 7 | the [key](crate::key::path_key) of the parameter |
//! | 8.. | the text |
//! | 4 bytes | the CRC-32 of all preceding bytes |
//! | padding | zeros that pad the record to a multiple of the flash's word size |

/// The number of bytes before the text.
pub(crate) const HEADER: usize = 8;
/// The number of bytes that a record takes up in addition to the text and the padding.
pub(crate) const OVERHEAD: usize = HEADER + CRC;
const CRC: usize = 4;

/// The bit in byte 0 that marks the last record in a batch.
const LAST: u8 = 0x80;

/// The kind of a record. The number also identifies the format version, because a later version
/// uses different numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The parameter has a value.
    Value = 1,
    /// The parameter has its default. The text is empty.
    Default = 2,
    /// The record is the first one in a block. The key is the [sequence](crate::log::Log) number of
    /// the block, and the text is the number of block erases as a 32-bit integer.
    Block = 3,
}

/// The header of a record, which precedes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub(crate) kind: RecordKind,
    pub(crate) last: bool,
    pub(crate) tag: u8,
    pub(crate) length: u16,
    pub(crate) key: u32,
}

impl Header {
    /// Decodes the header at the beginning of `bytes`. Returns `None` if there is no header of this
    /// version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let [first, tag, l0, l1, k0, k1, k2, k3] = *bytes.first_chunk()?;
        let kind = match first & !LAST {
            1 => RecordKind::Value,
            2 => RecordKind::Default,
            3 => RecordKind::Block,
            _ => return None,
        };
        Some(Header {
            kind,
            last: first & LAST != 0,
            tag,
            length: u16::from_le_bytes([l0, l1]),
            key: u32::from_le_bytes([k0, k1, k2, k3]),
        })
    }

    pub(crate) fn encode(self) -> [u8; HEADER] {
        let first = self.kind as u8 | if self.last { LAST } else { 0 };
        let [l0, l1] = self.length.to_le_bytes();
        let [k0, k1, k2, k3] = self.key.to_le_bytes();
        [first, self.tag, l0, l1, k0, k1, k2, k3]
    }

    /// Returns the size of the record without its padding.
    pub(crate) fn unpadded(self) -> usize {
        OVERHEAD + usize::from(self.length)
    }
}

/// Completes a record whose text is already in the `record` buffer by writing the header, the
/// checksum, and the padding. Returns `None` if the buffer is too small.
pub(crate) fn seal(record: &mut [u8], header: Header) -> Option<()> {
    *record.first_chunk_mut()? = header.encode();
    let (content, rest) = record.split_at_mut_checked(HEADER + usize::from(header.length))?;
    for byte in &mut *rest {
        // Without `black_box`, the compiler would generate a call to a function that takes up 200
        // bytes.
        *byte = core::hint::black_box(0);
    }
    *rest.first_chunk_mut()? = (!crc_state(content)).to_le_bytes();
    Some(())
}

/// Returns whether `record` consists of at least one byte followed by a checksum that is valid for
/// the preceding bytes.
pub(crate) fn is_sealed(record: &[u8]) -> bool {
    /// The CRC residue, which is the CRC of any bytes followed by their own checksum.
    const GOOD: u32 = 0xdebb_20e3;
    crc_state(record) == GOOD
}

/// Returns the complement of the CRC-32 (IEEE 802.3) of `bytes`. The bits are processed one at a
/// time, because a table would take up 1 KiB of flash.
pub(crate) fn crc_state(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_the_usual_crc_32() {
        assert_eq!(!crc_state(b"123456789"), 0xcbf4_3926);
        assert!(is_sealed(&[&b"123456789"[..], &0xcbf4_3926_u32.to_le_bytes()].concat()));
        assert!(!is_sealed(&[&b"123456788"[..], &0xcbf4_3926_u32.to_le_bytes()].concat()));
    }

    #[test]
    fn record_has_the_documented_layout() {
        let mut record = [0xff; 16];
        record[HEADER..HEADER + 3].copy_from_slice(b"500");
        let header =
            Header { kind: RecordKind::Value, last: true, tag: 7, length: 3, key: 0x0403_0201 };
        assert_eq!(seal(&mut record, header), Some(()));
        assert_eq!(record[..11], [0x81, 7, 3, 0, 1, 2, 3, 4, b'5', b'0', b'0']);
        assert_eq!(record[11..15], (!crc_state(&record[..11])).to_le_bytes());
        assert_eq!(record[15..], [0]);
        assert_eq!(Header::decode(&record), Some(header));
    }

    #[test]
    fn record_that_does_not_fit_is_refused() {
        let header = Header { kind: RecordKind::Value, last: false, tag: 0, length: 9, key: 0 };
        assert_eq!(seal(&mut [0; 16], header), None);
        assert_eq!(seal(&mut [0; 20], header), None, "no room for the checksum");
    }

    #[test]
    fn unknown_kinds_are_not_headers() {
        for first in [0, 4, 0x7f, 0x80, 0xff] {
            assert_eq!(Header::decode(&[first, 0, 0, 0, 0, 0, 0, 0]), None);
        }
    }
}
