//! The client's error types.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use datakit_core::vfs::Error as VfsError;
use datakit_core::wire::Malformed;
use datakit_server::io_reason;

/// The result type of the client's methods.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error returned by the client. Errors are cheap to clone so that many calls can return the
/// same error after the connection is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the request.
    Server {
        /// The Linux error number, or 0 if the number is unknown. 9P2000 error replies contain no
        /// number, so the client derives the number from the text.
        errno: u32,
        /// The error message. 9P2000.L error replies contain no text, so the client derives the
        /// message from the number.
        text: String,
    },
    /// The connection could not be established or was lost. All pending and future requests fail
    /// with this error. Connect again to recover.
    Lost(Disconnect),
    /// A single reply violated the protocol. The server may or may not have executed the request.
    Protocol(ProtocolError),
    /// The server sent more data than this call accepts. The client discarded the data.
    TooLong {
        /// The kind of data that exceeded the limit: a file, a directory, or a single delivery from
        /// a stream file.
        what: &'static str,
        /// The limit in bytes, or the maximum number of names in a directory.
        limit: usize,
    },
    /// The connection's dialect or this operating system does not support the operation. The client
    /// sent no request.
    Unsupported(&'static str),
}

/// The reason why a connection could not be established or was lost.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Disconnect {
    /// A system call failed.
    Io(Arc<io::Error>),
    /// The server closed the connection.
    Closed,
    /// The server closed the connection before replying to Tversion. It might not support 9P.
    ClosedBeforeVersion,
    /// Connecting took longer than [`Options::timeout`](crate::Options::timeout).
    TimedOut(Duration),
    /// The last handle was dropped, but the server did not accept the remaining requests within one
    /// second.
    Stuck,
    /// The server violated the protocol, and its replies can no longer be matched with requests.
    Protocol(ProtocolError),
}

/// A protocol violation by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reply or a directory entry could not be decoded.
    Malformed(Malformed),
    /// The type of the reply does not match the type of the request.
    UnexpectedReply {
        /// The type byte of the request.
        request: u8,
        /// The type byte of the reply.
        reply: u8,
    },
    /// No pending request has the reply's tag.
    UnknownTag(u16),
    /// The reply is shorter than a message header or longer than the msize.
    FrameSize {
        /// The size in bytes given in the reply's header.
        size: usize,
        /// The negotiated limit in bytes.
        msize: usize,
    },
    /// The reply is well-formed, but its content is invalid.
    Invalid(Cow<'static, str>),
}

/// Error messages sent by other servers. In 9P2000, which does not send error numbers, the client
/// derives the numbers from these messages.
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

/// Error numbers and their corresponding [`ErrorKind`] values.
const KINDS: &[(u32, ErrorKind)] = &[
    (1, ErrorKind::PermissionDenied),
    (2, ErrorKind::NotFound),
    (13, ErrorKind::PermissionDenied),
    (16, ErrorKind::ResourceBusy),
    (17, ErrorKind::AlreadyExists),
    (18, ErrorKind::CrossesDevices),
    (20, ErrorKind::NotADirectory),
    (21, ErrorKind::IsADirectory),
    (22, ErrorKind::InvalidInput),
    (27, ErrorKind::FileTooLarge),
    (28, ErrorKind::StorageFull),
    (29, ErrorKind::NotSeekable),
    (30, ErrorKind::ReadOnlyFilesystem),
    (38, ErrorKind::Unsupported),
    (39, ErrorKind::DirectoryNotEmpty),
    (95, ErrorKind::Unsupported),
    (116, ErrorKind::StaleNetworkFileHandle),
];

impl Error {
    /// Returns the error for a Linux error number, with the usual message for that number.
    pub(crate) fn from_errno(errno: u32) -> Error {
        Error::Server { errno, text: text_of(errno) }
    }

    /// Returns the error for an error reply. The reply may lack the number or the text.
    pub(crate) fn from_reply(errno: u32, text: String) -> Error {
        match (errno, text.is_empty()) {
            (0, _) => Error::Server { errno: errno_of(&text), text },
            (_, true) => Error::from_errno(errno),
            _ => Error::Server { errno, text },
        }
    }

    pub(crate) fn invalid_reply(reason: impl Into<Cow<'static, str>>) -> Error {
        Error::Protocol(ProtocolError::Invalid(reason.into()))
    }

    /// Returns the Linux error number of an error sent by the server. Returns `None` if the error
    /// did not come from the server or its number is unknown.
    #[must_use]
    pub fn errno(&self) -> Option<u32> {
        match self {
            Error::Server { errno, .. } if *errno != 0 => Some(*errno),
            _ => None,
        }
    }

    /// Returns `true` if the request failed because the file does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(2)
    }

    /// Returns `true` if the request failed because the name already exists.
    pub(crate) fn is_exists(&self) -> bool {
        self.errno() == Some(17)
    }

    /// Returns `true` if the request failed because the operation is not supported. The caller may
    /// then try a different request.
    pub(crate) fn is_not_supported(&self) -> bool {
        matches!(self.errno(), Some(38 | 95)) || matches!(self, Error::Unsupported(_))
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Error::Server { errno, .. } => KINDS
                .iter()
                .find(|(number, _)| number == errno)
                .map_or(ErrorKind::Other, |(_, kind)| *kind),
            Error::Lost(Disconnect::Io(error)) => error.kind(),
            Error::Lost(Disconnect::TimedOut(_)) => ErrorKind::TimedOut,
            Error::Lost(_) => ErrorKind::ConnectionAborted,
            Error::Protocol(_) => ErrorKind::InvalidData,
            Error::TooLong { .. } => ErrorKind::FileTooLarge,
            Error::Unsupported(_) => ErrorKind::Unsupported,
        }
    }
}

fn errno_of(text: &str) -> u32 {
    let row = VfsError::ALL
        .iter()
        .find(|row| row.read_message(|row| row == text))
        .map(|row| u32::from(row.errno()));
    row.or_else(|| SPELLINGS.iter().find(|(known, _)| *known == text).map(|(_, errno)| *errno))
        .unwrap_or(0)
}

fn text_of(errno: u32) -> String {
    if let Some(row) = VfsError::ALL.iter().find(|row| u32::from(row.errno()) == errno) {
        return row.to_string();
    }
    match i32::try_from(errno) {
        Ok(number) => io_reason(&io::Error::from_raw_os_error(number)),
        Err(_) => format!("error {errno}"),
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Server { text, .. } => f.write_str(text),
            Error::Lost(reason) => write!(f, "connection lost: {reason}"),
            Error::Protocol(violation) => write!(f, "protocol error: {violation}"),
            Error::TooLong { what, limit } => {
                write!(f, "the {what} is too long: the limit is {limit}")
            }
            Error::Unsupported(reason) => f.write_str(reason),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Lost(reason) => Some(reason),
            Error::Protocol(violation) => Some(violation),
            _ => None,
        }
    }
}

/// Wraps the error in an I/O error whose kind corresponds to the error number.
/// [`io::Error::get_ref`] returns the original [`Error`].
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

impl From<Disconnect> for Error {
    fn from(reason: Disconnect) -> Error {
        Error::Lost(reason)
    }
}

impl From<ProtocolError> for Error {
    fn from(violation: ProtocolError) -> Error {
        Error::Protocol(violation)
    }
}

impl From<io::Error> for Disconnect {
    fn from(error: io::Error) -> Disconnect {
        Disconnect::Io(Arc::new(error))
    }
}

impl From<ProtocolError> for Disconnect {
    fn from(violation: ProtocolError) -> Disconnect {
        Disconnect::Protocol(violation)
    }
}

impl Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Omit the number, because the protocol uses Linux error numbers, which differ from the
            // numbers on other platforms.
            Disconnect::Io(error) => f.write_str(&io_reason(error)),
            Disconnect::Closed => f.write_str("the server closed the connection"),
            Disconnect::ClosedBeforeVersion => {
                f.write_str("the server closed the connection without answering Tversion")
            }
            Disconnect::TimedOut(limit) => {
                write!(f, "timed out: no connection within {} s", limit.as_secs_f64())
            }
            Disconnect::Stuck => f.write_str("the server does not accept any data"),
            Disconnect::Protocol(violation) => violation.fmt(f),
        }
    }
}

/// Two [`Disconnect`] values are equal if their messages are equal.
impl PartialEq for Disconnect {
    fn eq(&self, other: &Disconnect) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Disconnect {}

impl StdError for Disconnect {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Disconnect::Io(error) => Some(&**error),
            Disconnect::Protocol(violation) => Some(violation),
            _ => None,
        }
    }
}

impl Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::Malformed(malformed) => write!(f, "malformed reply: {malformed}"),
            ProtocolError::UnexpectedReply { request, reply } => {
                write!(f, "reply of type {reply} to a request of type {request}")
            }
            ProtocolError::UnknownTag(tag) => {
                write!(f, "reply with tag {tag}, which no request has")
            }
            ProtocolError::FrameSize { size, msize } => {
                write!(f, "reply of {size} bytes: the msize is {msize}")
            }
            ProtocolError::Invalid(reason) => f.write_str(reason),
        }
    }
}

impl StdError for ProtocolError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ProtocolError::Malformed(malformed) => Some(malformed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_number_or_text_is_looked_up() {
        let missing = Error::Server { errno: 2, text: "No such file or directory".into() };
        assert_eq!(Error::from_reply(0, "No such file or directory".into()), missing);
        assert_eq!(Error::from_errno(2), missing);
        assert!(Error::from_reply(0, "file does not exist".into()).is_not_found());
        assert_eq!(Error::from_reply(0, "out of cheese".into()).errno(), None);
        assert_eq!(Error::from_reply(5, "out of cheese".into()).to_string(), "out of cheese");
    }

    #[test]
    fn causes_are_reachable_by_source() {
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        let error = Error::Lost(refused.into());
        let cause = error.source().and_then(StdError::source);
        let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(ErrorKind::ConnectionRefused));

        let io = io::Error::from(Error::from_errno(17));
        assert_eq!(io.kind(), ErrorKind::AlreadyExists);
        let inner = io.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        assert_eq!(inner, Some(&Error::from_errno(17)));
    }
}
