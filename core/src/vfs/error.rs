//! What a tree answers when it cannot do what was asked: one table, a row per error.

use core::fmt::{self, Display};

use super::ErrorMessage;

/// The result of every operation on a tree.
pub type Result<T> = core::result::Result<T, Error>;

macro_rules! errors {
    ($($(#[$doc:meta])* $errno:literal $name:ident $text:literal)*) => {
        /// Why an operation was refused.
        ///
        /// A row has a Linux number, which the .u and .L dialects carry, and a text, which 9P2000
        /// and .u carry. Clients compare some of these texts literally; a test pins all of them.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Error {
            $($(#[$doc])* #[doc = concat!("\n\n`", $text, "`, errno ", stringify!($errno))] $name,)*
            /// An error of the given Linux number with a text of its own: what was wrong and what
            /// would be right.
            Custom(u8, ErrorMessage),
        }

        impl Error {
            /// Every row of the table, for tests and documentation.
            pub const ALL: &'static [Error] = &[$(Error::$name),*];

            /// The Linux error number, the asm-generic ones (`errno(3)`).
            #[must_use]
            pub fn errno(&self) -> u16 {
                match self {
                    Error::Custom(errno, _) => (*errno).into(),
                    row => Self::ERRNOS.get(row.row()).copied().unwrap_or_default().into(),
                }
            }

            // Three tables of bytes: of two words a row, the words would be as long as the texts.
            const ERRNOS: &'static [u8] = &[$($errno),*];
            const LENGTHS: &'static [u8] = &[$($text.len() as u8),*];
            const TEXTS: &'static str = concat!($($text),*, "the reason is no longer known");

            /// The number of its row; that of the row behind the last for an error with a text of
            /// its own.
            fn row(&self) -> usize {
                enum Row { $($name,)* Custom }
                let row = match self {
                    $(Error::$name => Row::$name,)*
                    Error::Custom(..) => Row::Custom,
                };
                row as usize
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
    /// A message before the version was negotiated.
    22 TversionFirst "the first message must be Tversion"
    /// The answer to a Tauth (`auth(5)`): an error says that none is needed. diod's clients go on
    /// after this one only.
    2 NoAuthentication "no authentication is needed"
    /// A fid is opened once.
    22 AlreadyOpen "Already open"
    /// A fid that was walked to only.
    9 ReadUnopened "Can't read from unopened fid"
    /// A fid that was walked to only.
    9 WriteUnopened "Can't write to unopened fid"
    /// An open directory is read only.
    21 WriteDirectory "Can't write to directories"
    /// A directory is read from where the last read ended, or from its start.
    22 SeekDirectory "Can't seek in a directory"
    /// Only directories have names.
    20 WalkFromFile "Can't walk from a file"
    /// A directory has no name for itself (`walk(5)`).
    22 WalkDot "'.' is not valid in 9p"
    /// A fid in use for an open file.
    22 CreateInOpened "Can't create in an opened fid"
    /// Tcreate of a symbolic link without a target, or a Twstat that would turn a file into one.
    22 SymlinkTarget "Missing target for symlink!"
    /// A Twstat that would turn a directory into a file, or a file into a directory.
    22 DirectoryFlag "Incorrect is_directory flag for chmod"
    /// A Twstat of which one half could fail.
    22 OneAtATime "Can't rename/truncate/chmod at the same time"
    /// The length of a directory is what its tree makes of it.
    21 DirectoryLength "Can't set length of a directory"
    /// The root of an attach has no name that the client could change.
    22 RenameRoot "Can't rename /"
    /// A file of text was written with something else.
    22 NotUtf8 "the text is not UTF-8"
    /// A rendered text that does not fit a [`StaticTree`](crate::vfs::StaticTree)'s `TEXT`.
    27 TextTooLong "the text is longer than an open file has room for"
}

impl Error {
    /// The same error number with a text that says what was wrong and what would be right; cut to
    /// [`ERROR_MESSAGE_MAX`](super::ERROR_MESSAGE_MAX) bytes.
    ///
    /// ```
    /// use datakit_core::vfs::Error;
    /// let error = Error::Invalid.with_message(format_args!("{} is above the greatest value {}", 12, 10));
    /// assert_eq!((error.errno(), error.to_string().as_str()), (22, "12 is above the greatest value 10"));
    /// ```
    #[must_use]
    pub fn with_message(self, why: impl Display) -> Error {
        // No number of the table is larger.
        Error::Custom(self.errno() as u8, ErrorMessage::new(&why))
    }

    /// An error of a Linux number that no row has, with its text.
    #[must_use]
    pub fn from_errno(errno: u8, text: impl Display) -> Error {
        Error::Custom(errno, ErrorMessage::new(&text))
    }

    /// Calls `with` with the text that 9P2000 and 9P2000.u carry.
    ///
    /// Without the feature `alloc` a text that was made at run time is told soon or not at all: it
    /// is gone when two more were made since.
    pub fn read_message<R>(&self, with: impl FnOnce(&str) -> R) -> R {
        let own = match self {
            Error::Custom(_, why) => why.text(),
            _ => None,
        };
        with(own.as_deref().unwrap_or_else(|| self.text()))
    }

    /// The text of its row.
    #[inline(never)]
    fn text(&self) -> &'static str {
        let (before, own) = Self::LENGTHS.split_at_checked(self.row()).unwrap_or_default();
        let start = before.iter().map(|length| usize::from(*length)).sum();
        let text = Self::TEXTS.get(start..).unwrap_or_default();
        own.first().and_then(|length| text.get(..usize::from(*length))).unwrap_or(text)
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
    use crate::vfs::ERROR_MESSAGE_MAX;

    #[test]
    fn texts_fit_the_buffer_that_linux_sets_aside() {
        for row in Error::ALL {
            assert!(row.text().len() < 120 && row.errno() < 134, "{row:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "\u{fc}".repeat(ERROR_MESSAGE_MAX);
        let cut = Error::Io.with_message(&long).to_string();
        assert_eq!(cut.len(), ERROR_MESSAGE_MAX);
        assert!(long.starts_with(&cut));
    }

    #[test]
    fn an_error_is_handed_on_in_a_few_words() {
        assert!(size_of::<Error>() <= 2 * size_of::<usize>());
    }
}
