//! What can go wrong between a call and its result.

use std::fmt::{self, Display};
use std::sync::Arc;

use datakit_core::vfs::Error as Row;

/// The result of every call of the client.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. Cheap to clone: one lost connection fails many calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with an error.
    Server {
        /// The Linux error number. 9P2000 sends none: it is found by the text then, 0 when the text
        /// is unknown.
        errno: u32,
        /// The text. 9P2000.L sends none: it is found by the number then.
        text: String,
    },
    /// The connection could not be made, or is gone. All requests that waited and all later ones
    /// fail with this error; connect again.
    Lost(Arc<str>),
    /// The server broke the protocol. What it did to this one request is unknown.
    Protocol(Arc<str>),
    /// The server sent, or went on sending, more than this call takes. What came of it is gone.
    TooLong {
        /// The kind of thing: a file, a directory, a delivery of a stream.
        what: &'static str,
        /// In bytes; names in a directory.
        limit: usize,
    },
    /// The dialect of this connection, or this system, cannot do it, as the text says; nothing was
    /// sent.
    Unsupported(&'static str),
}

/// Spellings of other servers, for 9P2000, which sends no numbers.
const SPELLINGS: &[(&str, u32)] = &[
    ("file does not exist", 2),
    ("file not found", 2),
    ("permission denied", 13),
    ("File exists", 17),
    ("file already exists", 17),
    ("Not a directory", 20),
    ("not a directory", 20),
    ("Can't walk from a file", 20),
    ("Function not implemented", 38),
    ("Illegal seek", 29),
    ("Read-only file system", 30),
];

impl Error {
    /// An error of the server's kind with the text that belongs to the number.
    pub(crate) fn number(errno: u32) -> Error {
        Error::Server { errno, text: text_of(errno) }
    }

    /// What an error reply says; either half may be missing.
    pub(crate) fn reply(errno: u32, text: String) -> Error {
        match (errno, text.is_empty()) {
            (0, _) => Error::Server { errno: errno_of(&text), text },
            (_, true) => Error::number(errno),
            _ => Error::Server { errno, text },
        }
    }

    /// The system's errors come without their numbers, which are no Linux ones everywhere.
    pub(crate) fn lost(why: impl Display) -> Error {
        let why = why.to_string();
        Error::Lost(why.split(" (os error").next().unwrap_or_default().into())
    }

    pub(crate) fn protocol(why: impl Display) -> Error {
        Error::Protocol(why.to_string().into())
    }

    /// The Linux error number of a server's error; `None` for the other kinds and where it is not
    /// known.
    #[must_use]
    pub fn errno(&self) -> Option<u32> {
        match self {
            Error::Server { errno, .. } if *errno != 0 => Some(*errno),
            _ => None,
        }
    }

    /// There is no entry of that name.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(2)
    }

    /// The name is taken.
    pub(crate) fn is_exists(&self) -> bool {
        self.errno() == Some(17)
    }

    /// The server does not do this, however it says so; another way may work.
    pub(crate) fn is_not_supported(&self) -> bool {
        matches!(self.errno(), Some(38 | 95)) || matches!(self, Error::Unsupported(_))
    }
}

fn errno_of(text: &str) -> u32 {
    let row = Row::ALL
        .iter()
        .find(|row| row.read_message(|row| row == text))
        .map(|row| u32::from(row.errno()));
    row.or_else(|| SPELLINGS.iter().find(|(known, _)| *known == text).map(|(_, errno)| *errno))
        .unwrap_or(0)
}

fn text_of(errno: u32) -> String {
    if let Some(row) = Row::ALL.iter().find(|row| u32::from(row.errno()) == errno) {
        return row.to_string();
    }
    let text = i32::try_from(errno)
        .map(std::io::Error::from_raw_os_error)
        .map(|error| error.to_string())
        .unwrap_or_default();
    text.rsplit_once(" (os error")
        .map_or_else(|| format!("error {errno}"), |(text, _)| text.to_owned())
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Server { text, .. } => f.write_str(text),
            Error::Lost(why) => write!(f, "connection lost: {why}"),
            Error::Protocol(why) => write!(f, "protocol error: {why}"),
            Error::TooLong { what, limit } => {
                write!(f, "the {what} is too long: the limit is {limit}")
            }
            Error::Unsupported(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_half_of_an_error_finds_the_other() {
        let missing = Error::Server { errno: 2, text: "No such file or directory".into() };
        assert_eq!(Error::reply(0, "No such file or directory".into()), missing);
        assert_eq!(Error::number(2), missing);
        assert!(Error::reply(0, "file does not exist".into()).is_not_found());
        assert_eq!(Error::reply(0, "out of cheese".into()).errno(), None);
        assert_eq!(Error::reply(5, "out of cheese".into()).to_string(), "out of cheese");
    }
}
