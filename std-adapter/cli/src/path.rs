//! Paths as they are typed: bytes, as on both sides.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A path in the server's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerPath(Vec<u8>);

impl ServerPath {
    pub(crate) fn join(&self, name: impl AsRef<[u8]>) -> ServerPath {
        let dir = self.0.strip_suffix(b"/").unwrap_or(&self.0);
        ServerPath([dir, b"/", name.as_ref()].concat())
    }

    /// Another name in the same directory.
    pub(crate) fn beside(&self, name: &[u8]) -> ServerPath {
        let mut names: Vec<&[u8]> = self.names().collect();
        names.pop();
        names.push(name);
        ServerPath(names.join(&b'/'))
    }

    /// The last name; empty for the root.
    pub(crate) fn last(&self) -> &[u8] {
        self.names().last().unwrap_or_default()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }
}

impl AsRef<[u8]> for ServerPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<OsString> for ServerPath {
    fn from(typed: OsString) -> ServerPath {
        ServerPath(typed.into_vec())
    }
}

impl Display for ServerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// One end of a copy. The server's paths are typed with a colon.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Host(PathBuf),
    Server(ServerPath),
}

impl Place {
    pub(crate) fn join(&self, name: &[u8]) -> Place {
        match self {
            Place::Host(path) => Place::Host(path.join(OsStr::from_bytes(name))),
            Place::Server(path) => Place::Server(path.join(name)),
        }
    }

    /// The last name; empty for a root.
    pub(crate) fn last(&self) -> &[u8] {
        match self {
            Place::Host(path) => path.file_name().map(OsStr::as_bytes).unwrap_or_default(),
            Place::Server(path) => path.last(),
        }
    }
}

impl From<OsString> for Place {
    fn from(typed: OsString) -> Place {
        match typed.as_bytes().strip_prefix(b":") {
            Some(path) => Place::Server(ServerPath(path.to_vec())),
            None => Place::Host(typed.into()),
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host(path) => path.display().fmt(f),
            Place::Server(path) => write!(f, ":{path}"),
        }
    }
}
