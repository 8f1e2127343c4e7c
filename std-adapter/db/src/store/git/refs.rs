//! Reads refs. A ref can be either loose or packed, and either direct or symbolic.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::ByteSlice;
use gix_ref::FullNameRef;
use gix_ref::packed::Buffer;

use super::discover::MainWorkTree;
use super::file_policy::FilePolicy;
use super::packed_refs::PackedRefsCache;
use super::repository::Repository;
use crate::model::object::id_of;
use crate::{BranchName, Error, Id, Result};

/// The prefix of all full branch names.
pub(super) const HEADS: &[u8] = b"refs/heads/";

/// The maximum length of a chain of symbolic refs. `git` has the same limit.
const MAX_SYMREF_DEPTH: usize = 5;

/// The refs in a repository.
pub(super) struct Refs<'g> {
    pub(super) repository: &'g Repository,
    pub(super) policy: &'g FilePolicy,
    pub(super) packed: &'g PackedRefsCache,
    pub(super) work_tree: &'g MainWorkTree,
}

/// The target of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RefTarget {
    /// The ref does not exist.
    Missing,
    Object(Id),
    /// The ref is symbolic and points to the ref with this full name.
    Symbolic(Vec<u8>),
}

impl Refs<'_> {
    pub(super) fn common(&self) -> &Path {
        self.repository.dir()
    }

    /// Returns the path of a loose ref.
    pub(super) fn path(&self, name: &[u8]) -> PathBuf {
        self.common().join(OsStr::from_bytes(name))
    }

    /// Returns the directory directly below `refs` that contains a ref, such as `refs/heads`. This
    /// directory must not be removed.
    pub(super) fn top(&self, name: &[u8]) -> PathBuf {
        let second = name.splitn(3, |byte| *byte == b'/').nth(1).unwrap_or_default();
        self.common().join("refs").join(OsStr::from_bytes(second))
    }

    pub(super) fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        Ok(self.resolve(&branch.full())?.1)
    }

    /// Follows symbolic refs. Returns the name of the last ref in the chain and the object to which
    /// that ref points. The object is `None` if the last ref does not exist.
    pub(super) fn resolve(&self, name: &[u8]) -> Result<(Vec<u8>, Option<Id>)> {
        let mut name = name.to_vec();
        for _ in 0..=MAX_SYMREF_DEPTH {
            match self.target(&name)? {
                RefTarget::Missing => return Ok((name, None)),
                RefTarget::Object(id) => return Ok((name, Some(id))),
                RefTarget::Symbolic(to) => name = to,
            }
        }
        Err(ref_error(&name, "too many symbolic refs in a chain"))
    }

    /// Reads a ref without following symbolic refs.
    pub(super) fn target(&self, name: &[u8]) -> Result<RefTarget> {
        match self.loose_target(name)? {
            RefTarget::Missing => {
                Ok(self.packed_target(name)?.map_or(RefTarget::Missing, RefTarget::Object))
            }
            found => Ok(found),
        }
    }

    /// Reads a loose ref without following symbolic refs.
    pub(super) fn loose_target(&self, name: &[u8]) -> Result<RefTarget> {
        let path = self.path(name);
        // Old versions of Git store symbolic refs as symbolic links.
        let link = fs::read_link(&path).ok().map(|to| to.into_os_string().into_vec());
        if let Some(to) = link.filter(|to| is_ref_name(to)) {
            return Ok(RefTarget::Symbolic(to));
        }
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(RefTarget::Missing),
            Err(error) => return Err(Error::io(name.as_bstr(), error)),
        };
        if let Some(to) = text.strip_prefix(b"ref:") {
            let to = to.trim().to_vec();
            return if is_ref_name(&to) {
                Ok(RefTarget::Symbolic(to))
            } else {
                Err(ref_error(name, "its target is not a valid ref name"))
            };
        }
        let id = text.get(..40).filter(|_| text.get(40).is_none_or(u8::is_ascii_whitespace));
        match id.map(Id::parse) {
            Some(Ok(id)) => Ok(RefTarget::Object(id)),
            _ => Err(ref_error(name, "its file does not contain a hash")),
        }
    }

    pub(super) fn packed_target(&self, name: &[u8]) -> Result<Option<Id>> {
        let Ok(name) = <&FullNameRef>::try_from(name.as_bstr()) else { return Ok(None) };
        let Some(packed) = self.packed_refs()? else { return Ok(None) };
        let found = packed.try_find(name).map_err(|error| ref_error(name.as_bstr(), error))?;
        Ok(found.map(|found| id_of(&found.target())))
    }

    fn packed_refs(&self) -> Result<Option<Arc<Buffer>>> {
        self.packed
            .read(&self.common().join("packed-refs"))
            .map_err(|error| Error::io("packed-refs", error))
    }

    pub(super) fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        let mut heads = Vec::new();
        for (name, target) in self.with_prefix(HEADS)? {
            let Some(branch) = name.strip_prefix(HEADS).and_then(|name| BranchName::new(name).ok())
            else {
                continue;
            };
            let id = match target {
                RefTarget::Missing => None,
                RefTarget::Object(id) => Some(id),
                // Skip symbolic branches whose target is damaged or missing.
                RefTarget::Symbolic(_) => self.resolve(&name).ok().and_then(|(_, id)| id),
            };
            heads.extend(id.map(|id| (branch, id)));
        }
        Ok(heads)
    }

    /// Returns the refs whose names start with `prefix`, which must end with a slash. Leaves out
    /// files that are not valid refs.
    pub(super) fn with_prefix(&self, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, RefTarget>> {
        let names = loose_names(&self.path(prefix), prefix);
        let loose =
            names.into_iter().filter_map(|name| Some((self.loose_target(&name).ok()?, name)));
        let mut found: BTreeMap<_, _> = loose
            .filter(|(target, _)| *target != RefTarget::Missing)
            .map(|(target, name)| (name, target))
            .collect();
        // Read the packed refs after the loose refs, because a loose ref can be packed in the
        // meantime.
        if let Some(packed) = self.packed_refs()? {
            let packed =
                packed.iter_prefixed(prefix.into()).map_err(|error| ref_error(prefix, error))?;
            for packed in packed.flatten() {
                found
                    .entry(packed.name.as_bstr().to_vec())
                    .or_insert(RefTarget::Object(id_of(&packed.target())));
            }
        }
        Ok(found)
    }

    /// Returns the commits listed in the `shallow` file.
    pub(super) fn shallow_commits(&self) -> Result<HashSet<Id>> {
        let path = self.common().join("shallow");
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(HashSet::new()),
            Err(error) => Err(Error::io(path.display(), error)),
            Ok(text) => text.lines().map(|line| Ok(Id::parse(line)?)).collect(),
        }
    }

    /// Returns the name of the existing branch that prevents the creation of `branch`. Returns
    /// `None` if there is no such branch, or if `branch` itself exists.
    pub(super) fn conflicting_branch(&self, branch: &BranchName) -> Result<Option<String>> {
        let (name, head) = self.resolve(&branch.full())?;
        if head.is_some() {
            return Ok(None);
        }
        Ok(self.conflicting_ref(&name, None)?.map(|other| short_name(&other)))
    }

    /// Returns the name of the ref that prevents the creation of `name`. For example, `a` and `a/b`
    /// cannot coexist. Ignores the ref `except`, which is about to be removed.
    pub(super) fn conflicting_ref(
        &self,
        name: &[u8],
        except: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>> {
        for parent in parents(name).filter(|parent| Some(*parent) != except) {
            if self.path(parent).is_file() || self.packed_target(parent)?.is_some() {
                return Ok(Some(parent.to_vec()));
            }
        }
        let prefix = [name, b"/"].concat();
        let mut children = loose_names(&self.path(name), &prefix).into_iter();
        if let Some(child) = children.find(|child| Some(&**child) != except) {
            return Ok(Some(child));
        }
        let Some(packed) = self.packed_refs()? else { return Ok(None) };
        let children =
            packed.iter_prefixed(prefix.into()).map_err(|error| ref_error(name, error))?;
        let mut children = children.flatten().map(|child| child.name.as_bstr().to_vec());
        Ok(children.find(|child| Some(&**child) != except))
    }
}

/// Returns the names of the parent directories of a ref, except for `refs` and the directory
/// directly below `refs`.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.skip(2).filter_map(|at| name.get(..at))
}

/// Returns the sorted names of the files below a directory, with `prefix` prepended to each name.
/// Leaves out lock files.
fn loose_names(dir: &Path, prefix: &[u8]) -> Vec<Vec<u8>> {
    let (mut names, mut dirs) = (Vec::new(), vec![(dir.to_owned(), prefix.to_vec())]);
    while let Some((dir, prefix)) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = [&prefix, entry.file_name().as_bytes()].concat();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push((entry.path(), [&name[..], b"/"].concat())),
                Ok(_) if !name.ends_with(b".lock") => names.push(name),
                _ => {}
            }
        }
    }
    names.sort();
    names
}

/// Returns whether `name` is a valid target for a symbolic ref. A valid target is below `refs/`.
fn is_ref_name(name: &[u8]) -> bool {
    name.starts_with(b"refs/") && <&FullNameRef>::try_from(name.as_bstr()).is_ok()
}

/// Returns whether an error indicates that a loose ref does not exist. This is the case if the file
/// is missing, if there is a file in place of a parent directory, or if there is a directory at the
/// ref's path.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

/// Removes the `refs/heads/` prefix from the full name of a branch.
pub(super) fn short_name(name: &[u8]) -> String {
    name.strip_prefix(HEADS).unwrap_or(name).as_bstr().to_string()
}

pub(super) fn ref_error(
    name: &[u8],
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::store_from(name.as_bstr(), error)
}
