//! `rw/`: the tree of a transaction, to be changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock, Weak};

use datakit_core::vfs::{Create, Error, FileStat, Kind, Name, New, OpenMode, Result, read_at};

use super::ro::stat;
use crate::db::object::Mode;
use crate::db::transaction::Transaction;
use crate::db::tree::{File, Node, join};
use crate::db::{self, Database};
use crate::locked;
use crate::tree::{Directory, Entry, Leaf, OpenLeaf, Wait, ready};

/// The largest file that clients can make, in bytes.
const LARGEST: usize = 1 << 30;

/// The tree of a transaction with the inodes that were looked at: a rename moves them, so that whoever has one open has it still.
pub(super) struct Rw {
    database: Database,
    transaction: Arc<Transaction>,
    inodes: Mutex<BTreeMap<Vec<u8>, Inode>>,
}

struct Inode {
    entry: Entry,
    is_dir: bool,
    place: Arc<Place>,
}

/// Where an inode is in the tree. It does not keep the transaction.
struct Place {
    rw: Weak<Rw>,
    path: RwLock<Vec<u8>>,
}

impl Place {
    fn find(&self) -> Result<(Arc<Rw>, Vec<u8>)> {
        let rw = self.rw.upgrade().ok_or(Error::NotFound)?;
        Ok((rw, locked::read(&self.path).clone()))
    }
}

impl Rw {
    pub(super) fn new(database: &Database, transaction: Arc<Transaction>) -> Arc<Rw> {
        Arc::new(Rw { database: database.clone(), transaction, inodes: Mutex::default() })
    }

    pub(super) fn top(self: &Arc<Rw>, name: &str) -> Entry {
        Entry::dir(name, RwDir(self.place(Vec::new())))
    }

    fn place(self: &Arc<Rw>, path: Vec<u8>) -> Arc<Place> {
        Arc::new(Place { rw: Arc::downgrade(self), path: RwLock::new(path) })
    }

    /// The inode of what is at `path`: the same for as long as that is of one kind.
    fn entry(self: &Arc<Rw>, path: Vec<u8>, name: &[u8], node: &Node) -> Option<Entry> {
        let is_dir = match node {
            Node::Dir(_) => true,
            Node::File(_) => false,
            Node::Submodule(_) => return None,
        };
        let mut inodes = locked::lock(&self.inodes);
        if let Some(inode) = inodes.get(&path).filter(|inode| inode.is_dir == is_dir) {
            return Some(inode.entry.clone());
        }
        let place = self.place(path.clone());
        let entry = match is_dir {
            true => Entry::dir(name, RwDir(place.clone())),
            false => Entry::file(name, RwFile(place.clone())),
        };
        inodes.insert(path, Inode { entry: entry.clone(), is_dir, place });
        Some(entry)
    }

    /// The inodes at and below `from` are at and below `to` from now on, in place of those that were there.
    fn moved(&self, from: &[u8], to: &[u8]) {
        let mut inodes = locked::lock(&self.inodes);
        drop(take_below(&mut inodes, to));
        for (path, inode) in take_below(&mut inodes, from) {
            let path = [to, path.get(from.len()..).unwrap_or_default()].concat();
            (*locked::write(&inode.place.path)).clone_from(&path);
            inodes.insert(path, inode);
        }
    }

    fn list(self: &Arc<Rw>, path: &[u8]) -> Result<Vec<Entry>> {
        let objects = self.database.objects();
        let names = self.transaction.tree()?.dir(objects, path)?.list(objects)?;
        Ok(names.iter().filter_map(|(name, node)| self.entry(join(path, name), name, node)).collect())
    }

    fn create(self: &Arc<Rw>, path: Vec<u8>, name: &[u8], create: Create<'_>) -> Result<Entry> {
        let transaction = &self.transaction;
        match create.new {
            New::Dir => transaction.mkdir(&path)?,
            New::File => transaction.create(&path, file_mode(create.mode), b"")?,
            New::Symlink(target) => transaction.create(&path, Mode::Link, target)?,
            New::Special(_) => return Err(Error::NotSupported),
        }
        let node = transaction.get(&path)?;
        self.entry(path, name, &node).ok_or(Error::NotFound)
    }

    fn file(&self, path: &[u8]) -> Result<File> {
        match self.transaction.get(path)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) | Node::Submodule(_) => Err(Error::IsDirectory),
        }
    }

    fn change(&self, path: &[u8], change: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        self.transaction.change(path, |bytes| change(bytes).map_err(Failed)).map_err(|Failed(error)| error)
    }
}

/// An error of the tree's through a call of the database's.
struct Failed(Error);

impl From<db::Error> for Failed {
    fn from(error: db::Error) -> Failed {
        Failed(error.into())
    }
}

fn take_below(inodes: &mut BTreeMap<Vec<u8>, Inode>, top: &[u8]) -> Vec<(Vec<u8>, Inode)> {
    let below = [top, b"/"].concat();
    let paths: Vec<_> = inodes
        .range(below.clone()..)
        .map(|(path, _)| path)
        .take_while(|path| path.starts_with(&below))
        .cloned()
        .collect();
    paths.into_iter().chain([top.to_vec()]).filter_map(|path| inodes.remove_entry(&path)).collect()
}

fn file_mode(mode: u32) -> Mode {
    if mode & 0o100 == 0 { Mode::Normal } else { Mode::Exec }
}

struct RwDir(Arc<Place>);

impl Directory for RwDir {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        ready(self.0.find().and_then(|(rw, path)| rw.list(&path)))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        ready((|| {
            let (rw, path) = self.0.find()?;
            let path = join(&path, name.as_bytes());
            let node = rw.transaction.get(&path)?;
            rw.entry(path, name.as_bytes(), &node).ok_or(Error::NotFound)
        })())
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> Wait<'a, Entry> {
        ready((|| {
            let (rw, path) = self.0.find()?;
            rw.create(join(&path, name.as_bytes()), name.as_bytes(), create)
        })())
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> Wait<'a, ()> {
        ready((|| {
            let (rw, dir) = self.0.find()?;
            let from = join(&dir, &child.name());
            rw.transaction.rename(&from, name.as_bytes())?;
            let to = join(&dir, name.as_bytes());
            if from != to {
                rw.moved(&from, &to);
            }
            Ok(())
        })())
    }

    /// With everything in it.
    fn remove(&self) -> Wait<'_, ()> {
        ready((|| {
            let (rw, path) = self.0.find()?;
            if path.is_empty() { Err(Error::ReadOnlyFile) } else { Ok(rw.transaction.remove(&path)?) }
        })())
    }
}

/// A file, or a symbolic link: a change of mode makes one the other.
struct RwFile(Arc<Place>);

impl RwFile {
    fn with<R>(&self, with: impl FnOnce(&Rw, &[u8]) -> Result<R>) -> Result<R> {
        let (rw, path) = self.0.find()?;
        with(&rw, &path)
    }
}

impl Leaf for RwFile {
    fn kind(&self) -> Kind {
        match self.with(|rw, path| rw.file(path)) {
            Ok(File { mode: Mode::Link, .. }) => Kind::Symlink,
            _ => Kind::File,
        }
    }

    fn target(&self) -> Wait<'_, Vec<u8>> {
        ready(self.with(|rw, path| match rw.file(path)? {
            File { mode: Mode::Link, content } => Ok(content.bytes(rw.database.objects())?.to_vec()),
            _ => Err(Error::Invalid),
        }))
    }

    fn stat(&self) -> Wait<'_, FileStat> {
        ready(self.with(|rw, path| {
            let file = rw.file(path)?;
            Ok(stat(file.mode, file.content.length(rw.database.objects())?))
        }))
    }

    fn open(&self, mode: OpenMode) -> Wait<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            if mode.truncate {
                self.with(|rw, path| rw.change(path, |bytes| resize(bytes, 0)))?;
            } else {
                self.with(|rw, path| rw.file(path))?;
            }
            Ok(Box::new(OpenRw { place: self.0.clone(), append: mode.append }) as Box<dyn OpenLeaf>)
        })())
    }

    fn truncate(&self, length: u64) -> Wait<'_, ()> {
        ready(self.with(|rw, path| rw.change(path, |bytes| resize(bytes, length))))
    }

    fn chmod(&self, mode: u32) -> Wait<'_, ()> {
        ready(self.with(|rw, path| Ok(rw.transaction.chmod(path, file_mode(mode))?)))
    }

    fn remove(&self) -> Wait<'_, ()> {
        ready(self.with(|rw, path| Ok(rw.transaction.remove(path)?)))
    }
}

struct OpenRw {
    place: Arc<Place>,
    append: bool,
}

impl OpenLeaf for OpenRw {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Wait<'a, usize> {
        ready((|| {
            let (rw, path) = self.place.find()?;
            read_at(&rw.file(&path)?.content.bytes(rw.database.objects())?, offset, buf)
        })())
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> Wait<'a, usize> {
        ready((|| {
            let (rw, path) = self.place.find()?;
            rw.change(&path, |bytes| {
                let offset = if self.append { bytes.len() as u64 } else { offset };
                overlay(bytes, offset, data)
            })?;
            Ok(data.len())
        })())
    }
}

/// An offset or length, which is signed in a file system and unsigned on the wire.
fn checked(offset: u64) -> Result<usize> {
    if offset.cast_signed() < 0 {
        return Err(Error::Invalid.because(format_args!("Negative offset {}", offset.cast_signed())));
    }
    usize::try_from(offset).ok().filter(|offset| *offset <= LARGEST).ok_or(Error::TooLarge)
}

/// Puts `data` over what is at `offset`; zeros fill a gap, what is behind stays. At the end it costs what is written.
fn overlay(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) -> Result<()> {
    let start = checked(offset)?;
    let end = start.checked_add(data.len()).filter(|end| *end <= LARGEST).ok_or(Error::TooLarge)?;
    if bytes.len() < start {
        bytes.resize(start, 0);
    }
    let there = bytes.len().min(end).saturating_sub(start);
    let (over, behind) = data.split_at_checked(there).unwrap_or((data, &[]));
    if let Some(part) = bytes.get_mut(start..start.saturating_add(there)) {
        part.copy_from_slice(over);
    }
    bytes.extend_from_slice(behind);
    Ok(())
}

fn resize(bytes: &mut Vec<u8>, length: u64) -> Result<()> {
    bytes.resize(checked(length)?, 0);
    Ok(())
}
