//! The errors that a tree reports, defined in a table with one row per error.

use core::fmt::{self, Display};

mod message;

pub use message::ERROR_MESSAGE_MAX;
#[cfg(feature = "params")]
pub(crate) use message::truncated;
use message::{ErrorKind, Packed};

/// The result of every operation on a tree.
pub type Result<T> = core::result::Result<T, Error>;

macro_rules! errors {
    ($lost:literal $($(#[$doc:meta])* $errno:literal $name:ident $text:literal)*) => {
        /// The reason that an operation failed.
        ///
        /// Each error has a Linux error number and a message. Error replies contain the number in
        /// 9P2000.u and 9P2000.L, and the message in 9P2000 and 9P2000.u. Some clients compare
        /// these messages literally, so a test checks that no message changes.
        ///
        /// The errors with a fixed message are constants, which can be used as patterns.
        // On an embedded board, an error is one nonzero word. An enum with one variant for each
        // error would have the same size, but every function that propagates errors would compile
        // to more code.
        #[derive(Clone, PartialEq, Eq)]
        pub struct Error(Packed);

        /// Each error's row in the table.
        enum Row { $($name,)* Count }

        // The constants are named like the variants of an enum, because they are used in the same
        // way.
        #[allow(non_upper_case_globals)]
        impl Error {
            $($(#[$doc])* #[doc = concat!("\n\n`", $text, "`, errno ", stringify!($errno))]
            pub const $name: Error = Error(Packed::row(Row::$name as u8));)*
        }

        impl Error {
            /// All errors with a fixed message, for tests and documentation.
            pub const ALL: &'static [Error] = &[$(Error::$name),*];

            // Use two tables of bytes and one string, because a table of `&str` would take up as
            // much flash as the messages themselves.
            const ERRNOS: &'static [u8] = &[$($errno),*];
            const LENGTHS: &'static [u8] = &[$($text.len() as u8,)* $lost.len() as u8];
            const TEXTS: &'static str = concat!($($text,)* $lost);
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
        }
    };
}

errors! {
    // The message of an error whose own message is no longer stored.
    "the reason is no longer known"

    /// The operation is not permitted for any user.
    1 NotPermitted "Operation not permitted"
    /// The name does not exist.
    2 NotFound "No such file or directory"
    /// The transport, the store or the device failed.
    5 Io "Input/output error"
    /// The open file no longer exists, or the fid is not open.
    9 BadFile "Bad file descriptor"
    /// The request cannot wait, because all other workers are already waiting and one worker must
    /// stay free.
    11 TooManyWaiting "too many requests are waiting"
    /// Memory is exhausted, or a limit on memory use has been reached.
    12 NoMemory "Cannot allocate memory"
    /// The caller lacks permission.
    13 AccessDenied "Permission denied"
    /// The object is in use.
    16 Busy "Device or resource busy"
    /// The name already exists.
    17 Exists "Already exists"
    /// The old name and the new name are in different trees.
    18 CrossDevice "Invalid cross-device link"
    /// The operation requires a directory.
    20 NotDirectory "Is not a directory"
    /// The operation cannot be performed on a directory.
    21 IsDirectory "Is a directory"
    /// An argument is invalid.
    22 Invalid "Invalid argument"
    /// There is no room for another open file.
    24 TooManyOpen "Too many open files"
    /// The file would exceed its maximum size.
    27 TooLarge "File too large"
    /// The tree is full.
    28 NoSpace "No space left on device"
    /// A stream was read or written out of order.
    29 Seek "Attempt to seek in stream"
    /// The file is read-only.
    30 ReadOnlyFile "Read-only file"
    /// The directory is read-only.
    30 ReadOnlyDirectory "Directory is read-only"
    /// A number or a result is out of range.
    34 Range "Numerical result out of range"
    /// The name is longer than [`NAME_MAX`](crate::vfs::NAME_MAX) bytes.
    36 NameTooLong "File name too long"
    /// The directory has entries and cannot be removed.
    39 NotEmpty "Directory not empty"
    /// The extended attribute does not exist.
    61 NoData "No data available"
    /// The tree or the file does not support the operation.
    95 NotSupported "Operation not supported"
    /// The operation took too long.
    110 TimedOut "Connection timed out"
    /// The object has been removed.
    116 Stale "Stale file handle"
    /// The length of a command file cannot be set.
    27 ExtendCommand "Can't extend command file"
    /// Only plain files can be made executable or turned into symbolic links.
    1 ChmodSpecial "Can't chmod special file"
    /// The directory can contain only directories.
    1 OnlyDirectories "Can only contain directories"
    /// A message arrived before Tversion.
    22 TversionFirst "the first message must be Tversion"
    /// The server does not require authentication. Every Tauth is answered with this error
    /// (`auth(5)`). Clients written for diod continue only if they receive this error.
    2 NoAuthentication "no authentication is needed"
    /// The fid is already open.
    22 AlreadyOpen "Already open"
    /// The fid to read from is not open.
    9 ReadUnopened "Can't read from unopened fid"
    /// The fid to write to is not open.
    9 WriteUnopened "Can't write to unopened fid"
    /// Directories cannot be written to.
    21 WriteDirectory "Can't write to directories"
    /// The offset is neither 0 nor the offset at which the previous read of the directory ended.
    22 SeekDirectory "Can't seek in a directory"
    /// The walk starts at a file rather than a directory.
    20 WalkFromFile "Can't walk from a file"
    /// A walk cannot contain `.`, because a 9P directory has no entry for itself (`walk(5)`).
    22 WalkDot "'.' is not valid in 9p"
    /// The directory fid passed to Tcreate is already open.
    22 CreateInOpened "Can't create in an opened fid"
    /// A Tcreate for a symbolic link does not specify a target, or a Twstat would turn a file into
    /// a link.
    22 SymlinkTarget "Missing target for symlink!"
    /// A Twstat would turn a directory into a file, or a file into a directory.
    22 DirectoryFlag "Incorrect is_directory flag for chmod"
    /// A Twstat requests several changes, one of which could fail after another has succeeded.
    22 OneAtATime "Can't rename/truncate/chmod at the same time"
    /// The length of a directory cannot be set.
    21 DirectoryLength "Can't set length of a directory"
    /// The directory that a client attached to cannot be renamed.
    22 RenameRoot "Can't rename /"
    /// The message ends before its last field.
    22 MessageTooShort "message ends early"
    /// Extra bytes follow the last field of the message.
    22 MessageTooLong "message has trailing bytes"
    /// A string in the message contains a NUL byte.
    22 NulInString "string contains a NUL byte"
    /// The tag belongs to a request that is still in progress.
    22 TagInUse "the tag is in use"
    /// The next directory entry is longer than the number of bytes to read. An empty reply would be
    /// mistaken for the end of the directory.
    22 CountTooSmall "the count is too small for the next entry"
    /// The text is not UTF-8.
    22 NotUtf8 "the text is not UTF-8"
    /// The rendered text is longer than the `TEXT` bytes that the
    /// [`StaticTree`](crate::vfs::StaticTree) provides.
    27 TextTooLong "the text is longer than an open file has room for"
}

impl Error {
    /// Replaces the message and keeps the error number. The message should name the invalid value
    /// and the valid values. A message that does not fit into [`ERROR_MESSAGE_MAX`] bytes is
    /// truncated and ends with `...`. Without the `reasons` feature, the error keeps its original
    /// message.
    ///
    /// ```
    /// use datakit_core::vfs::Error;
    /// let error = Error::Invalid.with_message(format_args!("{} is above the maximum {}", 12, 10));
    /// assert_eq!(error.errno(), 22);
    /// assert_eq!(error.to_string(), "12 is above the maximum 10");
    /// ```
    #[must_use]
    pub fn with_message(self, message: impl Display) -> Error {
        if cfg!(not(feature = "reasons")) {
            return self;
        }
        Error::from_errno(self.number(), message)
    }

    /// Creates an error with an arbitrary Linux error number, which need not be in the table.
    #[must_use]
    pub fn from_errno(errno: u8, message: impl Display) -> Error {
        Error(Packed::custom(errno, &message))
    }

    /// Returns the Linux error number, as defined in asm-generic (`errno(3)`).
    #[must_use]
    pub fn errno(&self) -> u16 {
        self.number().into()
    }

    /// Returns the error number. All error numbers fit into a byte.
    fn number(&self) -> u8 {
        match self.0.kind() {
            ErrorKind::Row(row) => Self::ERRNOS.get(usize::from(row)).copied().unwrap_or_default(),
            ErrorKind::Custom(errno) => errno,
        }
    }

    /// Calls `with`, passing the error message to send in 9P2000 and 9P2000.u.
    ///
    /// Without the `alloc` feature, only the last two messages formatted at run time are kept. An
    /// older message is replaced by a note that the original text has been lost. Without the
    /// `reasons` feature, no message formatted at run time is kept.
    pub fn read_message<R>(&self, with: impl FnOnce(&str) -> R) -> R {
        with(self.0.message().as_deref().unwrap_or_else(|| self.text()))
    }

    /// Returns the message from the error's row in the table.
    #[inline(never)]
    fn text(&self) -> &'static str {
        let row = match self.0.kind() {
            ErrorKind::Row(row) => row,
            ErrorKind::Custom(_) => Row::Count as u8,
        };
        let (mut start, mut end) = (0, 0);
        for length in Self::LENGTHS.iter().take(usize::from(row) + 1) {
            (start, end) = (end, end + usize::from(*length));
        }
        Self::TEXTS.get(start..end).unwrap_or_default()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            ErrorKind::Row(row) => {
                f.write_str(Self::NAMES.get(usize::from(row)).unwrap_or(&"Error"))
            }
            ErrorKind::Custom(errno) => self.read_message(|message| {
                f.debug_tuple("Custom").field(&errno).field(&message).finish()
            }),
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read_message(|text| f.write_str(text))
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Error {
    fn format(&self, f: defmt::Formatter<'_>) {
        self.read_message(|text| defmt::write!(f, "{=str}", text));
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    #[test]
    fn texts_fit_the_error_buffer_of_linux() {
        for row in Error::ALL {
            assert!(row.text().len() < 120 && row.errno() < 134, "{row:?}");
        }
    }

    #[test]
    fn long_messages_end_with_a_mark_after_a_whole_character() {
        let long = "\u{fc}".repeat(ERROR_MESSAGE_MAX);
        let cut = Error::Io.with_message(&long).to_string();
        assert_eq!(cut, "\u{fc}".repeat(52) + "...");
        let fits = "x".repeat(ERROR_MESSAGE_MAX - 3);
        assert_eq!(Error::Io.with_message(&fits).to_string(), fits);
        let pieces = Error::Io.with_message(format_args!("{fits}{}{}", "yz", "z")).to_string();
        assert_eq!(pieces, fits + "...");
    }

    #[test]
    fn an_error_takes_at_most_two_words() {
        assert!(size_of::<Error>() <= 2 * size_of::<usize>());
    }
}
