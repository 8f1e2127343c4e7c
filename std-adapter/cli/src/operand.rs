//! Command-line operands, as typed by the user. Paths are byte strings, both on this machine and on
//! the server.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use datakit_client::db::Path;

/// A path in the server's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerPath(Vec<u8>);

impl ServerPath {
    pub(crate) fn join(&self, name: impl AsRef<[u8]>) -> ServerPath {
        let dir = self.0.strip_suffix(b"/").unwrap_or(&self.0);
        ServerPath([dir, b"/", name.as_ref()].concat())
    }

    /// Returns the final component of the path, or an empty name for the root.
    pub(crate) fn last(&self) -> &[u8] {
        self.names().last().unwrap_or_default()
    }

    /// Returns the path without its final component.
    pub(crate) fn parent(&self) -> ServerPath {
        let mut names: Vec<&[u8]> = self.names().collect();
        names.pop();
        ServerPath(names.join(&b'/'))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
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

impl From<String> for ServerPath {
    fn from(path: String) -> ServerPath {
        ServerPath(path.into_bytes())
    }
}

impl Display for ServerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The source or target of a copy. On the command line, a path on the server starts with a colon.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// A path on this machine.
    Host(PathBuf),
    Server(ServerPath),
    /// The `-` operand, which means standard input for a source and standard output for a target.
    Stdio,
}

impl Location {
    pub(crate) fn join(&self, name: &[u8]) -> Location {
        match self {
            Location::Host(path) => Location::Host(path.join(OsStr::from_bytes(name))),
            Location::Server(path) => Location::Server(path.join(name)),
            Location::Stdio => Location::Stdio,
        }
    }

    /// Returns the final component of the path, or an empty name for a root directory or `-`.
    pub(crate) fn last(&self) -> &[u8] {
        match self {
            Location::Host(path) => path.file_name().map(OsStr::as_bytes).unwrap_or_default(),
            Location::Server(path) => path.last(),
            Location::Stdio => b"",
        }
    }
}

impl From<OsString> for Location {
    fn from(typed: OsString) -> Location {
        match typed.as_bytes() {
            b"-" => Location::Stdio,
            [b':', path @ ..] => Location::Server(ServerPath(path.to_vec())),
            _ => Location::Host(typed.into()),
        }
    }
}

impl Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Host(path) => path.display().fmt(f),
            Location::Server(path) => write!(f, ":{path}"),
            Location::Stdio => f.write_str("-"),
        }
    }
}

/// An operand of the form `COMMIT[:PATH]`, where `COMMIT` may also be a branch.
#[derive(Debug, Clone)]
pub(crate) struct CommitPath {
    pub(crate) commit: String,
    /// The path, which is empty for the whole tree.
    pub(crate) path: String,
}

impl From<String> for CommitPath {
    fn from(typed: String) -> CommitPath {
        // Branch names cannot contain a colon.
        let (commit, path) = typed.split_once(':').unwrap_or((&typed, ""));
        CommitPath { commit: commit.to_owned(), path: path.to_owned() }
    }
}

impl Display for CommitPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.commit)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ":{}", self.path) }
    }
}

/// An operand of the form `FILE=PATH`, where `FILE` is a file in a branch and `PATH` is the local
/// file that supplies its content.
#[derive(Debug, Clone)]
pub(crate) struct FileUpdate {
    pub(crate) file: Path,
    /// The local file, or `None` for standard input.
    pub(crate) source: Option<PathBuf>,
}

impl FileUpdate {
    /// Splits the operand at the first `=`, so the path in the branch cannot contain `=`.
    pub(crate) fn parse(typed: OsString) -> Result<FileUpdate, String> {
        let typed = typed.into_vec();
        let mut halves = typed.splitn(2, |byte| *byte == b'=');
        let (Some(file), Some(source)) = (halves.next(), halves.next()) else {
            return Err("there is no '=': use FILE=PATH, for example etc/motd=motd.txt".to_owned());
        };
        if source.is_empty() {
            return Err("there is no path after the '=': use FILE=PATH, or FILE=- to read \
                        standard input"
                .to_owned());
        }
        let file = Path::parse(file).map_err(|error| error.to_string())?;
        let source = (source != b"-").then(|| OsString::from_vec(source.to_vec()).into());
        Ok(FileUpdate { file, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_path_is_split_at_slashes() {
        let path = ServerPath::from("/a//b/./c/".to_owned());
        assert_eq!((path.last(), path.parent().as_ref()), (&b"c"[..], &b"a/b"[..]));
        assert_eq!(ServerPath::from("/".to_owned()).last(), b"");
        assert_eq!(ServerPath::from("/".to_owned()).join("x").to_string(), "/x");
    }

    #[test]
    fn a_commit_path_is_split_at_the_first_colon() {
        let path = CommitPath::from("a/b:c:d".to_owned());
        assert_eq!((&*path.commit, &*path.path), ("a/b", "c:d"));
        assert_eq!(CommitPath::from("master:".to_owned()).to_string(), "master");
    }
}
