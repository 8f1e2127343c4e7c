//! What a tree answers when it cannot do what was asked: one table, a row per error.

use core::fmt::{self, Display, Write};

use heapless::String;

/// The longest reason, in bytes. Linux sets aside 128 bytes for the text of an error reply.
pub const REASON: usize = 104;

/// The result of every operation on a tree.
pub type Result<T> = core::result::Result<T, Error>;

macro_rules! errors {
    ($($(#[$doc:meta])* $errno:literal $name:ident $text:literal)*) => {
        /// Why an operation was refused.
        ///
        /// A row has a Linux number, which the .u and .L dialects carry, and a text, which 9P2000 and .u carry. Clients compare some
        /// of these texts literally; a test pins all of them.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        pub enum Error {
            $($(#[$doc])* #[doc = concat!("\n\n`", $text, "`, errno ", stringify!($errno))] $name,)*
            /// An error of the given Linux number with a text of its own: what was wrong and what would be right.
            Because(u16, String<REASON>),
        }

        impl Error {
            /// Every row of the table, for tests and documentation.
            pub const ROWS: &'static [Error] = &[$(Error::$name),*];

            /// The Linux error number, the asm-generic ones (`errno(3)`).
            #[must_use]
            // A table: inlined, all that follows would be copied into every row.
            #[inline(never)]
            pub fn errno(&self) -> u16 {
                match self {
                    $(Error::$name => $errno,)*
                    Error::Because(errno, _) => *errno,
                }
            }

            /// The text that 9P2000 and 9P2000.u carry.
            #[must_use]
            #[inline(never)]
            pub fn text(&self) -> &str {
                match self {
                    $(Error::$name => $text,)*
                    Error::Because(_, text) => text,
                }
            }
        }
    };
}

errors! {
    /// The object does not allow it, whoever asks.
    1 NotPermitted "Operation not permitted"
    /// No entry of that name.
    2 NotFound "No such file or directory"
    /// The transport, the store or the device failed.
    5 Io "Input/output error"
    /// An open file that is gone, or a file that is not open.
    9 BadFile "Bad file descriptor"
    /// Every worker but one waits inside a file, and this request would wait too.
    11 TooManyWaiting "too many requests are waiting"
    /// Out of memory, or out of the memory set aside.
    12 NoMemory "Cannot allocate memory"
    /// The caller may not do it.
    13 AccessDenied "Permission denied"
    /// In use by somebody else.
    16 Busy "Device or resource busy"
    /// The name is taken.
    17 Exists "Already exists"
    /// Two names of one file in two trees.
    18 CrossDevice "Invalid cross-device link"
    /// A directory was needed.
    20 NotDirectory "Is not a directory"
    /// Anything but a directory was needed.
    21 IsDirectory "Is a directory"
    /// A value that makes no sense here.
    22 Invalid "Invalid argument"
    /// The space set aside for open files is used up.
    24 TooManyOpen "Too many open files"
    /// The file would become larger than it may.
    27 TooLarge "File too large"
    /// The tree is full.
    28 NoSpace "No space left on device"
    /// A stream was read or written out of order.
    29 Seek "Attempt to seek in stream"
    /// A write to a file that is only read.
    30 ReadOnlyFile "Read-only file"
    /// A change in a directory that is only read.
    30 ReadOnlyDirectory "Directory is read-only"
    /// A number outside of what can be represented.
    34 Range "Numerical result out of range"
    /// A name longer than [`NAME_MAX`](crate::vfs::NAME_MAX) bytes.
    36 NameTooLong "File name too long"
    /// A directory with entries cannot be removed.
    39 NotEmpty "Directory not empty"
    /// No such extended attribute.
    61 NoData "No data available"
    /// The tree, or this file of it, has no such operation.
    95 NotSupported "Operation not supported"
    /// It took too long.
    110 TimedOut "Connection timed out"
    /// The object has been removed.
    116 Stale "Stale file handle"
    /// A command file has no length to set.
    27 ExtendCommand "Can't extend command file"
    /// Only plain files can be made executable or a link.
    1 ChmodSpecial "Can't chmod special file"
    /// A directory of directories.
    1 OnlyDirectories "Can only contain directories"
}

impl Error {
    /// The same error number with a text that says what was wrong and what would be right; cut to [`REASON`] bytes.
    ///
    /// ```
    /// use datakit_core::vfs::Error;
    /// let error = Error::Invalid.because(format_args!("{} is above the greatest value {}", 12, 10));
    /// assert_eq!((error.errno(), error.text()), (22, "12 is above the greatest value 10"));
    /// ```
    #[must_use]
    pub fn because(self, why: impl Display) -> Error {
        reason(self.errno(), &why)
    }
}

/// One copy for all callers, away from their straight line.
#[cold]
#[inline(never)]
fn reason(errno: u16, why: &dyn Display) -> Error {
    let mut text = Cut(String::new());
    // `Cut` takes what fits and never fails; a `Display` that fails gives the text so far.
    let _ = write!(text, "{why}");
    Error::Because(errno, text.0)
}

/// A string that takes what fits, whole characters.
struct Cut(String<REASON>);

impl Write for Cut {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            if self.0.push(c).is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_the_buffer_that_linux_sets_aside() {
        for row in Error::ROWS {
            assert!(row.text().len() < 120 && row.errno() < 134, "{row:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "\u{fc}".repeat(REASON);
        let error = Error::Io.because(&long);
        assert_eq!(error.text().len(), REASON);
        assert!(long.starts_with(error.text()));
    }
}
