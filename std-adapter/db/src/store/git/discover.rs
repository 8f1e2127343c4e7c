//! Finds the repository at a path and checks that its format is supported.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::{BStr, ByteSlice};
use gix_config::{File, Source};

use crate::{Error, Result};

/// Repository extensions that do not affect the store.
const SUPPORTED_EXTENSIONS: [&str; 5] =
    ["noop", "preciousobjects", "partialclone", "worktreeconfig", "relativeworktrees"];

/// Repository extensions that `git` rejects in a repository with format version 0.
const VERSION_1_EXTENSIONS: [&str; 5] =
    ["noop-v1", "objectformat", "compatobjectformat", "refstorage", "relativeworktrees"];

/// The location of a repository.
pub(super) struct Discovered {
    /// The common Git directory, which contains the branches of all work trees.
    pub(super) dir: PathBuf,
    /// The main work tree, if the repository was found through that work tree's `.git` file.
    linked_from: Option<PathBuf>,
}

/// The main work tree of a repository.
#[derive(Debug, Clone)]
pub(super) enum MainWorkTree {
    /// The repository is bare.
    None,
    At(PathBuf),
    /// The work tree exists, but its path is not known, because the repository does not record it.
    Unknown,
}

impl Discovered {
    pub(super) fn main_work_tree(&self, config: &File) -> MainWorkTree {
        let bare = config.boolean("core.bare").ok().flatten();
        let configured = config.string("core.worktree").filter(|dir| !dir.is_empty());
        let known = match (&self.linked_from, configured) {
            _ if bare == Some(true) => return MainWorkTree::None,
            (_, Some(dir)) => Some(self.dir.join(OsStr::from_bytes(&dir))),
            (Some(dir), None) => Some(dir.clone()),
            _ if self.dir.file_name().is_some_and(|name| name == ".git") => {
                self.dir.parent().map(Path::to_owned)
            }
            _ => None,
        };
        match known {
            Some(dir) => MainWorkTree::At(fs::canonicalize(&dir).unwrap_or(dir)),
            None if bare == Some(false) || self.dir.join("index").exists() => MainWorkTree::Unknown,
            None => MainWorkTree::None,
        }
    }
}

/// Finds the repository at `path`. Tries `path/.git`, the directory that the `path/.git` file
/// points to, and `path` itself. Returns `None` if there is no repository.
///
/// # Errors
/// Returns [`Error::Store`] if a `.git` file points to a directory that is missing or is not a
/// repository.
pub(super) fn discover(path: &Path) -> Result<Option<Discovered>> {
    let dot_git = path.join(".git");
    let mut linked_from = None;
    let dir = if dot_git.is_file() {
        // The `path` directory is a linked work tree, a submodule, or a work tree created by `git
        // init --separate-git-dir`.
        linked_from = Some(path.to_owned());
        read_link_file(&dot_git, b"gitdir:")?
    } else if dot_git.exists() {
        dot_git
    } else if is_repository(path) {
        path.to_owned()
    } else {
        return Ok(None);
    };
    let commondir = dir.join("commondir");
    let dir = if commondir.is_file() {
        linked_from = None;
        read_link_file(&commondir, b"")?
    } else {
        dir
    };
    // Use the canonical path, because its last component indicates whether the repository is inside
    // a work tree.
    let dir = fs::canonicalize(&dir).unwrap_or(dir);
    if !is_repository(&dir) || !dir.join("refs").is_dir() {
        return Err(refused(&dir, "is not a Git repository: it has no HEAD, objects or refs"));
    }
    Ok(Some(Discovered { dir, linked_from }))
}

fn is_repository(dir: &Path) -> bool {
    // Do not follow symbolic links, because `HEAD` can be a symbolic link to a branch that does not
    // exist yet.
    let is_file =
        |name: &str| fs::symlink_metadata(dir.join(name)).is_ok_and(|found| !found.is_dir());
    is_file("HEAD") && (dir.join("objects").is_dir() || is_file("commondir"))
}

/// Reads the path that follows `prefix` in a file and resolves it relative to the file's directory.
fn read_link_file(file: &Path, prefix: &[u8]) -> Result<PathBuf> {
    let text = fs::read(file).map_err(|error| Error::io(file.display(), error))?;
    let to = text.strip_prefix(prefix).map(<[u8]>::trim_ascii).filter(|to| !to.is_empty());
    let to = to.map(OsStr::from_bytes).ok_or_else(|| refused(file, "names no directory"))?;
    let to = file.parent().unwrap_or(Path::new("")).join(to);
    if to.is_dir() {
        Ok(to)
    } else {
        Err(refused(file, &format!("leads to {}, which is not a directory", to.display())))
    }
}

/// Checks the format version and extensions of a repository. A repository with an unsupported
/// format must not be used, because a change could damage it.
///
/// # Errors
/// Returns [`Error::Store`] if the format is not supported.
pub(super) fn check_format(dir: &Path) -> Result<()> {
    let path = dir.join("config");
    if !path.exists() {
        return Ok(());
    }
    let config = File::from_path_no_includes(path.clone(), Source::Local)
        .map_err(|error| refused(&path, &format!("cannot be read: {error}")))?;
    let version = match config.string("core.repositoryformatversion") {
        Some(text) => parse_number(text.as_ref())
            .ok_or_else(|| refused(&path, &format!("core.repositoryFormatVersion is {text:?}")))?,
        None => 0,
    };
    if version > 1 {
        return Err(refused(
            dir,
            &format!("has format version {version}; only 0 and 1 are supported"),
        ));
    }
    for section in config.sections_by_name("extensions").into_iter().flatten() {
        for name in section.value_names() {
            let name = name.to_string().to_ascii_lowercase();
            let value = section
                .value(&name)
                .map(|value| value.to_str_lossy().into_owned())
                .unwrap_or_default();
            if let Some(reason) = unsupported(version, &name, &value) {
                return Err(refused(dir, &reason));
            }
        }
    }
    Ok(())
}

/// Returns the reason for rejecting a repository extension, or `None` if it is supported.
fn unsupported(version: u64, name: &str, value: &str) -> Option<String> {
    if version == 0 {
        let needs_1 = VERSION_1_EXTENSIONS.contains(&name);
        return needs_1.then(|| {
            format!(
                "has extensions.{name}, for which core.repositoryFormatVersion must be 1 and is 0"
            )
        });
    }
    match (name, value.to_ascii_lowercase().as_str()) {
        ("objectformat", "sha1") | ("refstorage", "files") | ("noop-v1", _) => None,
        ("objectformat", _) => Some(format!(
            "has objects named by {value}; only SHA-1 is supported (`git init --object-format=sha1` creates such a repository)"
        )),
        ("refstorage", _) => Some(format!(
            "stores its branches as {value}; only files are supported (`git refs migrate --ref-format=files` converts them)"
        )),
        (name, _) if SUPPORTED_EXTENSIONS.contains(&name) => None,
        _ => Some(format!("has extensions.{name}, which is not supported")),
    }
}

fn parse_number(text: &BStr) -> Option<u64> {
    text.to_str().ok()?.trim().parse().ok()
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::store(format!("{} {reason}", path.display()))
}
