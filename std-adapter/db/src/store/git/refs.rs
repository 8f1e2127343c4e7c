//! Where branches are: loose or packed, symbolic ones included.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::Repository;
use gix::bstr::ByteSlice;
use gix::refs::FullNameRef;
use gix::refs::packed::Buffer;

use super::files::Files;
use super::form::Work;
use crate::{BranchName, Error, Id, Result};

/// Of the names of branches.
pub(super) const HEADS: &[u8] = b"refs/heads/";

/// Symbolic branches that lead to each other, as in git.
const DEEPEST: usize = 5;

/// `packed-refs` as it was read last.
#[derive(Default)]
pub(super) struct PackedRefs(Mutex<Option<Read>>);

struct Read {
    /// While this is open no other file gets its inode. Times alone do not tell two files apart:
    /// both may be made within one tick of the clock.
    _file: File,
    stamp: [u64; 5],
    refs: Arc<Buffer>,
}

impl PackedRefs {
    /// As it is now; `None` if there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Arc<Buffer>>> {
        let mut read = self.0.lock();
        let now = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *read = None;
                return Ok(None);
            }
            found => found?,
        };
        if read.as_ref().is_none_or(|read| read.stamp != stamp(&now)) {
            *read = Read::new(path)?;
        }
        Ok(read.as_ref().map(|read| read.refs.clone()))
    }
}

impl Read {
    fn new(path: &Path) -> io::Result<Option<Read>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let stamp = stamp(&file.metadata()?);
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let refs = Buffer::from_bytes(&text, gix::hash::Kind::Sha1).map_err(io::Error::other)?;
        Ok(Some(Read { _file: file, stamp, refs: Arc::new(refs) }))
    }
}

fn stamp(of: &Metadata) -> [u64; 5] {
    [of.dev(), of.ino(), of.size(), of.mtime().cast_unsigned(), of.mtime_nsec().cast_unsigned()]
}

/// The refs of a repository.
pub(super) struct Refs<'g> {
    pub(super) repository: &'g Repository,
    pub(super) files: &'g Files,
    pub(super) packed: &'g PackedRefs,
    pub(super) work: &'g Work,
}

/// What a ref is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Missing,
    At(Id),
    /// The name of another ref.
    Symbolic(Vec<u8>),
}

impl Refs<'_> {
    pub(super) fn common(&self) -> &Path {
        self.repository.common_dir()
    }

    /// The file of a loose ref.
    pub(super) fn path(&self, name: &[u8]) -> PathBuf {
        self.common().join(std::ffi::OsStr::from_bytes(name))
    }

    /// The directory that stays when the last ref in it goes: `refs/heads`.
    pub(super) fn top(&self, name: &[u8]) -> PathBuf {
        let second = name.splitn(3, |byte| *byte == b'/').nth(1).unwrap_or_default();
        self.common().join("refs").join(std::ffi::OsStr::from_bytes(second))
    }

    pub(super) fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        Ok(self.resolve(&branch.full())?.1)
    }

    /// The ref that a name stands for, and where it is.
    pub(super) fn resolve(&self, name: &[u8]) -> Result<(Vec<u8>, Option<Id>)> {
        let mut name = name.to_vec();
        for _ in 0..=DEEPEST {
            match self.value(&name)? {
                Value::Missing => return Ok((name, None)),
                Value::At(id) => return Ok((name, Some(id))),
                Value::Symbolic(to) => name = to,
            }
        }
        Err(failed(&name, &"symbolic refs lead to each other"))
    }

    /// What a ref is now.
    pub(super) fn value(&self, name: &[u8]) -> Result<Value> {
        match self.loose(name)? {
            Value::Missing => Ok(self.packed(name)?.map_or(Value::Missing, Value::At)),
            found => Ok(found),
        }
    }

    /// The same of its file only.
    pub(super) fn loose(&self, name: &[u8]) -> Result<Value> {
        let path = self.path(name);
        // Old versions of git made symbolic refs so.
        if let Some(to) = fs::read_link(&path)
            .ok()
            .map(|to| to.into_os_string().into_vec())
            .filter(|to| is_ref(to))
        {
            return Ok(Value::Symbolic(to));
        }
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(Value::Missing),
            Err(error) => return Err(Error::io(name.as_bstr(), &error)),
        };
        if let Some(to) = text.strip_prefix(b"ref:") {
            let to = to.trim().to_vec();
            return if is_ref(&to) {
                Ok(Value::Symbolic(to))
            } else {
                Err(failed(name, &"leads to no ref"))
            };
        }
        let id = text.get(..40).filter(|_| text.get(40).is_none_or(u8::is_ascii_whitespace));
        match id.map(Id::parse) {
            Some(Ok(id)) => Ok(Value::At(id)),
            _ => Err(failed(name, &"its file has no hash")),
        }
    }

    pub(super) fn packed(&self, name: &[u8]) -> Result<Option<Id>> {
        let Ok(name) = <&FullNameRef>::try_from(name.as_bstr()) else { return Ok(None) };
        let Some(packed) = self.packed_refs()? else { return Ok(None) };
        let found = packed.try_find(name).map_err(|error| failed(name.as_bstr(), &error))?;
        Ok(found.map(|found| crate::model::object::id_of(&found.target())))
    }

    /// `packed-refs` as it is now.
    fn packed_refs(&self) -> Result<Option<Arc<Buffer>>> {
        self.packed
            .read(&self.common().join("packed-refs"))
            .map_err(|error| Error::io("packed-refs", &error))
    }

    pub(super) fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        let mut heads = Vec::new();
        for (name, value) in self.below(HEADS)? {
            let Some(branch) = name.strip_prefix(HEADS).and_then(|name| BranchName::new(name).ok())
            else {
                continue;
            };
            let id = match value {
                Value::Missing => None,
                Value::At(id) => Some(id),
                // One that leads nowhere is no branch yet, or none of ours.
                Value::Symbolic(_) => self.resolve(&name).ok().and_then(|(_, id)| id),
            };
            heads.extend(id.map(|id| (branch, id)));
        }
        heads.sort();
        Ok(heads)
    }

    /// The refs whose names begin with `prefix`, which ends with a slash. The leftover of another
    /// program is no ref.
    pub(super) fn below(&self, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, Value>> {
        let loose = loose_below(&self.path(prefix), prefix);
        let loose =
            loose.into_iter().filter_map(|name| self.loose(&name).ok().map(|value| (name, value)));
        let mut found: BTreeMap<_, _> =
            loose.filter(|(_, value)| *value != Value::Missing).collect();
        // Read behind the others: what is packed meanwhile is found there.
        if let Some(packed) = self.packed_refs()? {
            let packed =
                packed.iter_prefixed(prefix.into()).map_err(|error| failed(prefix, &error))?;
            for packed in packed.flatten() {
                found
                    .entry(packed.name.as_bstr().to_vec())
                    .or_insert(Value::At(crate::model::object::id_of(&packed.target())));
            }
        }
        Ok(found)
    }

    /// The branch that keeps this one, which is not there, from being made.
    pub(super) fn blocker(&self, branch: &BranchName) -> Result<Option<String>> {
        let (name, at) = self.resolve(&branch.full())?;
        if at.is_some() {
            return Ok(None);
        }
        Ok(self.in_the_way(&name, None)?.map(|other| short(&other)))
    }

    /// The ref that keeps `name` from being made: one of a directory in it, or one in a directory
    /// of its name. `but` is about to go.
    pub(super) fn in_the_way(&self, name: &[u8], but: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        for prefix in prefixes(name).filter(|prefix| Some(*prefix) != but) {
            if self.path(prefix).is_file() || self.packed(prefix)?.is_some() {
                return Ok(Some(prefix.to_vec()));
            }
        }
        let below = [name, b"/"].concat();
        if let Some(found) =
            loose_below(&self.path(name), &below).into_iter().find(|found| Some(&**found) != but)
        {
            return Ok(Some(found));
        }
        let Some(packed) = self.packed_refs()? else { return Ok(None) };
        let found = packed.iter_prefixed(below.into()).map_err(|error| failed(name, &error))?;
        let mut names = found.flatten().map(|found| found.name.as_bstr().to_vec());
        Ok(names.find(|found| Some(&**found) != but))
    }
}

/// The names of directories that a ref is in, but for `refs` and the next.
fn prefixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.skip(2).filter_map(|at| name.get(..at))
}

/// The refs that have files in a directory, by name.
fn loose_below(dir: &Path, prefix: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut left) = (Vec::new(), vec![(dir.to_owned(), prefix.to_vec())]);
    while let Some((dir, prefix)) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = [&prefix, entry.file_name().as_bytes()].concat();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push((entry.path(), [&name[..], b"/"].concat())),
                Ok(_) if !name.ends_with(b".lock") => found.push(name),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// A name that a symbolic ref may lead to: nothing outside the refs.
fn is_ref(name: &[u8]) -> bool {
    name.starts_with(b"refs/") && gix::validate::reference::name(name.as_bstr()).is_ok()
}

/// There is no such file: directories are there where others are files, and files where others are
/// directories.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

/// A branch as users know it.
pub(super) fn short(name: &[u8]) -> String {
    name.strip_prefix(HEADS).unwrap_or(name).as_bstr().to_string()
}

pub(super) fn failed(name: &[u8], error: &dyn std::fmt::Display) -> Error {
    Error::Store(format!("{}: {error}", name.as_bstr()))
}
