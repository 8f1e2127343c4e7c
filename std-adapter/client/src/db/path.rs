//! Paths in database trees.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::error::{Error, Result};
use crate::ByteString;

/// A path relative to the root of a tree. A component must not be empty, `.` or `..`, and must not
/// contain a slash or a NUL byte.
///
/// ```
/// use datakit_client::db::Path;
///
/// let path: Path = "src/main.rs".parse()?;
/// assert_eq!(path.split_last(), Some(("src".parse()?, "main.rs".into())));
/// assert_eq!(path.parent().join("lib.rs")?.to_string(), "src/lib.rs");
/// for wrong in ["", "/src", "src/", "a//b", ".", "a/../b"] {
///     assert!(wrong.parse::<Path>().is_err());
/// }
/// # Ok::<(), datakit_client::db::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Vec<ByteString>);

impl Path {
    /// The path without components, which refers to the root of a tree.
    pub const ROOT: Path = Path(Vec::new());

    /// Parses a path whose components are separated by single slashes.
    ///
    /// # Errors
    /// Returns [`Error::InvalidPath`] if a component is not allowed. An empty string is an error,
    /// as is a leading or trailing slash.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Path> {
        let text = text.as_ref();
        let names: Vec<&[u8]> = text.split(|byte| *byte == b'/').collect();
        if names.iter().all(|name| broken_rule(name).is_none()) {
            return Ok(Path(names.into_iter().map(ByteString::from).collect()));
        }
        Err(invalid(
            text,
            match text {
                b"" => "a path must not be empty",
                [b'/', ..] => "the path must be relative, for example etc/hosts",
                [.., b'/'] => "the path must not end with a slash",
                _ => names.iter().find_map(|name| broken_rule(name)).unwrap_or_default(),
            },
        ))
    }

    /// Creates a path from its components. An empty iterator yields the root.
    ///
    /// # Errors
    /// Returns [`Error::InvalidPath`] if a component is not allowed.
    pub fn from_names<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Result<Path> {
        names.into_iter().try_fold(Path::ROOT, |path, name| path.join(name))
    }

    /// Appends a component.
    ///
    /// # Errors
    /// Returns [`Error::InvalidPath`] if the component is not allowed.
    pub fn join(mut self, name: impl AsRef<[u8]>) -> Result<Path> {
        let name = name.as_ref();
        if let Some(rule) = broken_rule(name) {
            return Err(invalid(name, rule));
        }
        self.0.push(name.into());
        Ok(self)
    }

    /// Appends all components of another path.
    #[must_use]
    pub fn concat(mut self, below: &Path) -> Path {
        self.0.extend_from_slice(&below.0);
        self
    }

    /// Returns the parent directory and the final component, or `None` for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(Path, ByteString)> {
        let (last, dir) = self.0.split_last()?;
        Some((Path(dir.to_vec()), last.clone()))
    }

    /// Returns the final component, or `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&ByteString> {
        self.0.last()
    }

    /// Returns the path without its final component. The parent of the root is the root.
    #[must_use]
    pub fn parent(&self) -> Path {
        self.split_last().map_or(Path::ROOT, |(dir, _)| dir)
    }

    /// Returns the components.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &ByteString> {
        self.0.iter()
    }

    /// Returns `true` if this path is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Like [`Path::split_last`], but fails for the root.
    ///
    /// # Errors
    /// Returns [`Error::InvalidPath`] for the root.
    pub fn dir_and_name(&self) -> Result<(Path, ByteString)> {
        self.split_last().ok_or_else(|| invalid(b"/", "the operation does not accept the root"))
    }
}

/// Returns the rule that a component violates, or `None` if the component is valid.
fn broken_rule(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("a name must not be empty"),
        b"." | b".." => Some("`.` and `..` are not allowed"),
        name if name.contains(&b'/') => Some("a name must not contain a slash"),
        name if name.contains(&0) => Some("a name must not contain a NUL byte"),
        _ => None,
    }
}

fn invalid(text: &[u8], reason: &'static str) -> Error {
    Error::InvalidPath { path: String::from_utf8_lossy(text).into_owned(), reason }
}

impl FromStr for Path {
    type Err = Error;

    fn from_str(text: &str) -> Result<Path> {
        Path::parse(text)
    }
}

/// Formats the components, separated by slashes. The root is formatted as `/`.
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
    fn c1_refuses_paths_that_are_not_plain() {
        for (wrong, reason) in [
            ("a//b", "a name must not be empty"),
            ("/a", "the path must be relative, for example etc/hosts"),
            ("a/", "the path must not end with a slash"),
            ("", "a path must not be empty"),
            (".", "`.` and `..` are not allowed"),
            ("..", "`.` and `..` are not allowed"),
            ("a/../b", "`.` and `..` are not allowed"),
            ("a/./b", "`.` and `..` are not allowed"),
            ("a\0b", "a name must not contain a NUL byte"),
        ] {
            let path = wrong.to_owned();
            assert_eq!(wrong.parse::<Path>(), Err(Error::InvalidPath { path, reason }));
        }
        assert!(Path::from_names(["a/b"]).is_err() && Path::from_names([""]).is_err());
        assert_eq!(Path::from_names(["a", "b"]), "a/b".parse());
        assert_eq!(Path::from_names(<[&str; 0]>::default()), Ok(Path::ROOT));
        assert_eq!(Path::parse(b"caf\xe9").unwrap().name().unwrap().as_bytes(), b"caf\xe9");
    }

    #[test]
    fn c1_splits_and_joins_paths() {
        let path: Path = "a/b/c".parse().unwrap();
        let dir: Path = "a/b".parse().unwrap();
        assert_eq!(path.split_last(), Some((dir.clone(), "c".into())));
        assert_eq!((path.name(), path.parent()), (Some(&"c".into()), dir.clone()));
        assert_eq!(dir.join("c").unwrap(), path);
        assert_eq!("a".parse::<Path>().unwrap().concat(&"b/c".parse().unwrap()), path);
        assert_eq!(
            (Path::ROOT.split_last(), Path::ROOT.name(), Path::ROOT.parent()),
            (None, None, Path::ROOT)
        );
        assert_eq!(
            (Path::ROOT.to_string(), path.to_string()),
            ("/".to_owned(), "a/b/c".to_owned())
        );
        assert!(Path::ROOT < path && path.parent() < path);
    }
}
