//! Store errors.

use core::fmt;

use datakit_core::Decimal;
use embedded_storage_async::nor_flash::NorFlashErrorKind;

/// The reason that values could not be stored or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The flash driver reported an error.
    Flash(NorFlashErrorKind),
    /// The parameter values do not fit into the store's buffer, which has this many bytes.
    Full {
        /// The size of the buffer in bytes.
        buffer: u16,
    },
    /// The stored values have not been loaded, because a load failed. A save would replace them.
    NotLoaded,
    /// The parameter values do not fit into the region of the flash.
    #[cfg(feature = "sequential-storage")]
    RegionFull,
    /// The content of the flash is damaged and cannot be repaired.
    #[cfg(feature = "sequential-storage")]
    Unreadable,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Flash(_) => f.write_str("the flash failed"),
            Error::Full { buffer } => {
                let buffer = Decimal::from(*buffer);
                write!(f, "the values do not fit into {buffer} bytes")
            }
            Error::NotLoaded => f.write_str("load the stored values first, or erase them"),
            #[cfg(feature = "sequential-storage")]
            Error::RegionFull => f.write_str("the values do not fit into the flash region"),
            #[cfg(feature = "sequential-storage")]
            Error::Unreadable => f.write_str("the stored values are damaged: erase them"),
        }
    }
}

impl core::error::Error for Error {}
