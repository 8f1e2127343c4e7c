//! Finds the directory in which a repository stores its refs.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{SourceError, at};

/// Returns the directory that contains a repository's refs. `path` may be a bare repository, a main
/// work tree, a linked work tree, or a submodule.
pub(crate) fn find(path: &Path) -> Result<PathBuf, SourceError> {
    let git_dir = git_dir(path)?;
    // A linked work tree shares the refs of its main repository.
    let common = match fs::read(git_dir.join("commondir")) {
        Ok(text) => git_dir.join(path_of(&text)),
        Err(_) => git_dir,
    };
    if !is_git_dir(&common)? {
        return Err(SourceError::NotARepository(path.to_owned()));
    }
    Ok(common)
}

fn git_dir(path: &Path) -> Result<PathBuf, SourceError> {
    let dot_git = path.join(".git");
    match fs::metadata(&dot_git) {
        Ok(metadata) if metadata.is_dir() => Ok(dot_git),
        Ok(_) => {
            let text = fs::read(&dot_git).map_err(at(&dot_git))?;
            match text.strip_prefix(b"gitdir: ") {
                Some(target) => Ok(path.join(path_of(target))),
                None => Err(SourceError::NotARepository(path.to_owned())),
            }
        }
        Err(error) if is_absent(&error) => {
            // Report an error if the directory itself cannot be read.
            fs::read_dir(path).map_err(at(path))?;
            Ok(path.to_owned())
        }
        Err(error) => Err(at(&dot_git)(error)),
    }
}

/// Returns whether a directory looks like a Git directory according to Git's own rules.
fn is_git_dir(dir: &Path) -> Result<bool, SourceError> {
    for name in ["HEAD", "objects", "refs"] {
        match fs::symlink_metadata(dir.join(name)) {
            Ok(_) => {}
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(at(&dir.join(name))(error)),
        }
    }
    Ok(true)
}

pub(crate) fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Returns the path stored in a file such as `commondir`.
fn path_of(text: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(text.trim_ascii_end()))
}

/// The identity of a repository, which distinguishes it from any other repository created later at
/// the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity([(u64, u64, Option<SystemTime>); 2]);

impl Identity {
    /// Returns the identity of the repository whose refs are in `common`.
    pub(crate) fn of(common: &Path) -> Result<Identity, SourceError> {
        let of = |path: &Path| {
            let metadata = fs::metadata(path).map_err(at(path))?;
            Ok::<_, SourceError>((metadata.dev(), metadata.ino(), metadata.created().ok()))
        };
        Ok(Identity([of(common)?, of(&common.join("objects"))?]))
    }
}
