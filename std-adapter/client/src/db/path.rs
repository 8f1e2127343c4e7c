//! Paths in the trees of the database.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::error::{Error, Result};
use crate::ByteString;

/// A path below the root of a tree: names that are not empty, not `.`, not `..` and have no slash
/// and no NUL in them.
///
/// ```
/// use datakit_client::db::Path;
///
/// let path: Path = "src/main.rs".parse()?;
/// assert_eq!(path.pop(), Some(("src".parse()?, "main.rs".into())));
/// assert_eq!(path.parent().join("lib.rs")?.to_string(), "src/lib.rs");
/// for wrong in ["", "/src", "src/", "a//b", ".", "a/../b"] {
///     assert!(wrong.parse::<Path>().is_err());
/// }
/// # Ok::<(), datakit_client::db::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Vec<ByteString>);

impl Path {
    /// The root, which has no text: the path without names.
    pub const ROOT: Path = Path(Vec::new());

    /// The path in a text, split at the slashes.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] when one of the names is not allowed, so also for the empty text and
    /// for slashes at either end.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Path> {
        let text = text.as_ref();
        let names: Vec<&[u8]> = text.split(|byte| *byte == b'/').collect();
        if names.iter().all(|name| allowed(name)) {
            Ok(Path(names.into_iter().map(ByteString::from).collect()))
        } else {
            Err(invalid(text))
        }
    }

    /// The path of these names; of none, the root.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] when one of the names is not allowed.
    pub fn from_names<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Result<Path> {
        names.into_iter().try_fold(Path::ROOT, |path, name| path.join(name))
    }

    /// The path with one more name.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] when the name is not allowed.
    pub fn join(mut self, name: impl AsRef<[u8]>) -> Result<Path> {
        let name = name.as_ref();
        if !allowed(name) {
            return Err(invalid(name));
        }
        self.0.push(name.into());
        Ok(self)
    }

    /// The path with all of another one behind it.
    #[must_use]
    pub fn concat(mut self, below: &Path) -> Path {
        self.0.extend_from_slice(&below.0);
        self
    }

    /// The directory and the last name; `None` for the root.
    #[must_use]
    pub fn pop(&self) -> Option<(Path, ByteString)> {
        let (last, dir) = self.0.split_last()?;
        Some((Path(dir.to_vec()), last.clone()))
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&ByteString> {
        self.0.last()
    }

    /// The directory that it is in; that of the root is the root.
    #[must_use]
    pub fn parent(&self) -> Path {
        self.pop().map_or(Path::ROOT, |(dir, _)| dir)
    }

    /// The names.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &ByteString> {
        self.0.iter()
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The same for what the root cannot be: a file, a link, something to remove.
    pub(super) fn split(&self) -> Result<(Path, ByteString)> {
        self.pop().ok_or_else(|| invalid(b"/"))
    }
}

fn allowed(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn invalid(text: &[u8]) -> Error {
    Error::InvalidPath(String::from_utf8_lossy(text).into_owned())
}

impl FromStr for Path {
    type Err = Error;

    fn from_str(text: &str) -> Result<Path> {
        Path::parse(text)
    }
}

/// The names with slashes between them; the root shows as `/`.
impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            name.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_only_plain_paths_are_paths() {
        for wrong in ["a//b", "/a", "a/", "", ".", "..", "a/../b", "a/./b", "a\0b"] {
            assert_eq!(wrong.parse::<Path>(), Err(Error::InvalidPath(wrong.to_owned())));
        }
        assert!(Path::from_names(["a/b"]).is_err() && Path::from_names([""]).is_err());
        assert_eq!(Path::from_names(["a", "b"]), "a/b".parse());
        assert_eq!(Path::from_names(<[&str; 0]>::default()), Ok(Path::ROOT));
        assert_eq!(Path::parse(b"caf\xe9").unwrap().name().unwrap().as_bytes(), b"caf\xe9");
    }

    #[test]
    fn c1_a_path_is_taken_apart() {
        let path: Path = "a/b/c".parse().unwrap();
        let dir: Path = "a/b".parse().unwrap();
        assert_eq!(path.pop(), Some((dir.clone(), "c".into())));
        assert_eq!((path.name(), path.parent()), (Some(&"c".into()), dir.clone()));
        assert_eq!(dir.join("c").unwrap(), path);
        assert_eq!("a".parse::<Path>().unwrap().concat(&"b/c".parse().unwrap()), path);
        assert_eq!(
            (Path::ROOT.pop(), Path::ROOT.name(), Path::ROOT.parent()),
            (None, None, Path::ROOT)
        );
        assert_eq!(
            (Path::ROOT.to_string(), path.to_string()),
            ("/".to_owned(), "a/b/c".to_owned())
        );
        assert!(Path::ROOT < path && path.parent() < path);
    }
}
