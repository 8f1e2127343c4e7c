//! Which repositories there are, and which can be served.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::Repository;
use gix::bstr::{BStr, ByteSlice};
use gix::config::{File, Source};

use crate::{Error, Result};

/// Extensions that change nothing for us.
const KNOWN: [&str; 5] =
    ["noop", "preciousobjects", "partialclone", "worktreeconfig", "relativeworktrees"];

/// Extensions that git does not accept in a repository of version 0.
const SINCE_1: [&str; 5] =
    ["noop-v1", "objectformat", "compatobjectformat", "refstorage", "relativeworktrees"];

/// A repository as it was found.
pub(super) struct Found {
    /// With the branches of all its work trees.
    pub(super) dir: PathBuf,
    /// The main work tree, where only its file `.git` says that it is one.
    led_from: Option<PathBuf>,
}

/// The main work tree of a repository.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// It is bare.
    None,
    In(PathBuf),
    /// There is one, and only a file `.git` in it says where.
    Somewhere,
}

impl Found {
    /// The main work tree.
    pub(super) fn work(&self, repository: &Repository) -> Work {
        let config = repository.config_snapshot();
        let bare = config.boolean("core.bare");
        let known = match (&self.led_from, repository.workdir()) {
            _ if bare == Some(true) => return Work::None,
            (_, Some(dir)) if config.string("core.worktree").is_some() => Some(dir.to_owned()),
            (Some(dir), _) => Some(dir.clone()),
            _ if self.dir.file_name().is_some_and(|name| name == ".git") => {
                self.dir.parent().map(Path::to_owned)
            }
            _ => None,
        };
        match known {
            Some(dir) => Work::In(fs::canonicalize(&dir).unwrap_or(dir)),
            None if bare == Some(false) || self.dir.join("index").exists() => Work::Somewhere,
            None => Work::None,
        }
    }
}

/// The repository at `path`: in `path/.git`, where a file `.git` leads to, or `path` itself. `None`
/// if there is none.
pub(super) fn find(path: &Path) -> Result<Option<Found>> {
    let inside = path.join(".git");
    let mut led_from = None;
    let dir = if inside.is_file() {
        // Of a linked work tree, a submodule, or `git init --separate-git-dir`.
        led_from = Some(path.to_owned());
        led_to(&inside, b"gitdir:")?
    } else if inside.exists() {
        inside
    } else if is_repository(path) {
        path.to_owned()
    } else {
        return Ok(None);
    };
    let common = dir.join("commondir");
    let dir = if common.is_file() {
        led_from = None;
        led_to(&common, b"")?
    } else {
        dir
    };
    // So that its name tells whether it is in a work tree.
    let dir = fs::canonicalize(&dir).unwrap_or(dir);
    if !is_repository(&dir) {
        return Err(refused(&dir, "is no Git repository: it has no HEAD or no objects"));
    }
    Ok(Some(Found { dir, led_from }))
}

fn is_repository(dir: &Path) -> bool {
    // HEAD may be a link to a branch that is not there yet.
    let is_file =
        |name: &str| fs::symlink_metadata(dir.join(name)).is_ok_and(|found| !found.is_dir());
    is_file("HEAD") && (dir.join("objects").is_dir() || is_file("commondir"))
}

/// The directory that a file names, perhaps from where the file is.
fn led_to(file: &Path, prefix: &[u8]) -> Result<PathBuf> {
    let text = fs::read(file).map_err(|error| Error::io(file.display(), &error))?;
    let to = text.strip_prefix(prefix).map(<[u8]>::trim_ascii).filter(|to| !to.is_empty());
    let to = to.map(OsStr::from_bytes).ok_or_else(|| refused(file, "names no directory"))?;
    let to = file.parent().unwrap_or(Path::new("")).join(to);
    if to.is_dir() {
        Ok(to)
    } else {
        Err(refused(file, &format!("leads to {}, which is no directory", to.display())))
    }
}

/// Refuses a repository that would be read or written wrongly. Version and extensions are there for
/// that.
///
/// # Errors
/// [`Error::Store`] with the reason.
pub(super) fn check(dir: &Path) -> Result<()> {
    let path = dir.join("config");
    if !path.exists() {
        return Ok(());
    }
    let config = File::from_path_no_includes(path.clone(), Source::Local)
        .map_err(|error| refused(&path, &format!("is not read: {error}")))?;
    let version = match config.string("core.repositoryformatversion") {
        Some(text) => number(text.as_ref())
            .ok_or_else(|| refused(&path, &format!("core.repositoryFormatVersion is {text:?}")))?,
        None => 0,
    };
    if version > 1 {
        return Err(refused(
            dir,
            &format!("has format version {version}; only 0 and 1 are known here"),
        ));
    }
    for section in config.sections_by_name("extensions").into_iter().flatten() {
        for name in section.value_names() {
            let name = name.to_string().to_ascii_lowercase();
            let value = section
                .value(&name)
                .map(|value| value.to_str_lossy().into_owned())
                .unwrap_or_default();
            if let Some(why) = unfit(version, &name, &value) {
                return Err(refused(dir, &why));
            }
        }
    }
    Ok(())
}

/// What is wrong with an extension.
fn unfit(version: u64, name: &str, value: &str) -> Option<String> {
    if version == 0 {
        let since = SINCE_1.contains(&name);
        return since.then(|| {
            format!(
                "has extensions.{name}, for which core.repositoryFormatVersion must be 1 and is 0"
            )
        });
    }
    match (name, value.to_ascii_lowercase().as_str()) {
        ("objectformat", "sha1") | ("refstorage", "files") | ("noop-v1", _) => None,
        ("objectformat", _) => Some(format!(
            "names its objects by {value}; only SHA-1 is known here (`git init --object-format=sha1` makes such a repository)"
        )),
        ("refstorage", _) => Some(format!(
            "keeps its branches as {value}; only files are known here (`git refs migrate --ref-format=files` makes them files)"
        )),
        (name, _) if KNOWN.contains(&name) => None,
        _ => Some(format!("has extensions.{name}, which is not known here")),
    }
}

fn number(text: &BStr) -> Option<u64> {
    text.to_str().ok()?.trim().parse().ok()
}

fn refused(path: &Path, why: &str) -> Error {
    Error::Store(format!("{} {why}", path.display()))
}
