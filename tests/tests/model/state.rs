//! The model, which predicts a session's fids and the names in its tree.

use std::collections::{BTreeMap, BTreeSet};

use datakit_core::wire::{Dialect, Dirent, Qid, Rmessage as R, Stat};

use super::messages::{Message, ORCLOSE, OTRUNC};

/// The maximum number of fids in the session. To test this limit, the generated messages try to use
/// more fids.
pub const FIDS: usize = 5;

/// A model of a tree and of one connection's fids.
pub struct Model {
    pub dialect: Option<Dialect>,
    /// All inodes, by number. The map includes removed inodes, because fids may still refer to
    /// them.
    pub nodes: BTreeMap<u64, Node>,
    pub fids: BTreeMap<u32, Known>,
    root: u64,
}

/// A file or directory in the model.
pub struct Node {
    pub name: String,
    /// The parent directory, or `None` for the root and for removed files.
    dir: Option<u64>,
    /// The entries of a directory, or `None` for a file.
    pub entries: Option<BTreeMap<String, u64>>,
}

/// The state of a fid.
#[derive(Debug, Clone)]
pub struct Known {
    pub ino: u64,
    /// The directory to which the client attached.
    top: u64,
    pub opened: OpenState,
}

/// The open mode of a fid.
#[derive(Debug, Clone)]
pub enum OpenState {
    No,
    /// An open file. `access` is 0 for reading, 1 for writing, 2 for both and 3 for executing.
    File {
        access: u8,
        orclose: bool,
    },
    /// An open directory. `at` is the offset at which the next Tread continues.
    Dir {
        at: u64,
    },
}

impl Model {
    pub fn new(root: u64) -> Model {
        let node = Node { name: "/".into(), dir: None, entries: Some(BTreeMap::new()) };
        Model { dialect: None, nodes: BTreeMap::from([(root, node)]), fids: BTreeMap::new(), root }
    }

    /// Returns the path of an inode from the root, or `None` if the inode was removed.
    pub fn path(&self, mut ino: u64) -> Option<Vec<String>> {
        let mut path = Vec::new();
        while ino != self.root {
            let node = &self.nodes[&ino];
            path.insert(0, node.name.clone());
            ino = node.dir?;
        }
        Some(path)
    }

    /// Returns the inodes that are removed when their fids are clunked.
    pub fn leaving(&self) -> Vec<u64> {
        let leaves = |opened: &OpenState| matches!(opened, OpenState::File { orclose: true, .. });
        self.fids.values().filter(|known| leaves(&known.opened)).map(|known| known.ino).collect()
    }

    /// Applies `message`, or returns `None` if the session must refuse the message. The numbers of
    /// new inodes and the lengths of directory reads are taken from the session's reply.
    pub fn apply(&mut self, message: &Message, reply: &R<'_>) -> Option<()> {
        if let Message::Version(version) = message {
            for ino in self.leaving() {
                self.unlink(ino);
            }
            self.fids.clear();
            self.dialect = version.dialect();
            return Some(());
        }
        let linux = self.dialect? == Dialect::Linux;
        match *message {
            Message::Version(_) | Message::Foreign { .. } => None,
            Message::Attach { fid, aname } => {
                self.free(fid)?;
                let names = aname.split('/').filter(|name| !name.is_empty());
                let ino =
                    names.into_iter().try_fold(self.root, |ino, name| self.child(ino, name))?;
                self.fids.insert(fid, Known { ino, top: ino, opened: OpenState::No });
                Some(())
            }
            Message::Walk { fid, newfid, ref names } => self.walk(fid, newfid, names, reply),
            Message::Open { fid, mode } => {
                let Known { ino, top, opened: OpenState::No } = *self.fids.get(&fid)? else {
                    return None;
                };
                let orclose = !linux && mode & ORCLOSE != 0;
                if self.is_dir(ino) && (matches!(mode & 3, 1 | 2) || mode & OTRUNC != 0 || orclose)
                {
                    return None;
                }
                // A client cannot remove the directory to which it attached.
                if orclose && ino == top { None } else { self.open(fid, ino, mode, orclose) }
            }
            Message::Create { fid, name, mode, exclusive } => {
                let Known { ino: dir, opened: OpenState::No, .. } = *self.fids.get(&fid)? else {
                    return None;
                };
                let ino = match self.child(dir, name) {
                    Some(there) if self.is_dir(there) || !linux || exclusive => return None,
                    Some(there) => there,
                    None => self.make(dir, name, None, reply)?,
                };
                self.open(fid, ino, mode, !linux && mode & ORCLOSE != 0)
            }
            Message::Mkdir { fid, name, mode } => {
                let Known { ino: dir, ref opened, .. } = *self.fids.get(&fid)?;
                if !linux && (!matches!(opened, OpenState::No) || mode & (OTRUNC | ORCLOSE) != 0) {
                    return None;
                }
                let ino = self.make(dir, name, Some(BTreeMap::new()), reply)?;
                if linux { Some(()) } else { self.open(fid, ino, mode, false) }
            }
            Message::Read { fid, at, count } => {
                let offset = at.offset(fid, self);
                self.read(fid, offset, count, reply)
            }
            Message::Readdir { fid } if linux => {
                let Known { ino, opened: OpenState::Dir { .. }, .. } = self.fids.get(&fid)? else {
                    return None;
                };
                let R::Readdir { data } = reply else { return Some(()) };
                self.listed(
                    *ino,
                    Dirent::decode_all(data.0).map(|entry| entry.unwrap().name.to_string()),
                );
                Some(())
            }
            Message::Readdir { fid } => self.read(fid, 0, u32::MAX, reply),
            Message::Write { fid } => match self.fids.get(&fid)?.opened {
                OpenState::File { access: 1 | 2, .. } => Some(()),
                _ => None,
            },
            Message::Clunk { fid } => match self.fids.remove(&fid)? {
                Known { ino, opened: OpenState::File { orclose: true, .. }, .. } => {
                    self.unlink(ino)
                }
                _ => Some(()),
            },
            Message::Remove { fid } => {
                let known = self.fids.remove(&fid)?;
                // A client cannot remove the directory to which it attached.
                if known.ino == known.top { None } else { self.unlink(known.ino) }
            }
            Message::Stat { fid } => self.fids.get(&fid).map(drop),
            Message::Rename { fid, dfid, name } if linux => {
                let Known { ino, top, .. } = *self.fids.get(&fid)?;
                if ino == top { None } else { self.rename(ino, self.fids.get(&dfid)?.ino, name) }
            }
            // According to stat(5), an empty name leaves the file's name unchanged.
            Message::Rename { fid, name: "", .. } => self.fids.get(&fid).map(drop),
            Message::Rename { fid, name, .. } => {
                let Known { ino, top, .. } = *self.fids.get(&fid)?;
                if ino == top { None } else { self.rename(ino, self.nodes[&ino].dir?, name) }
            }
        }
    }

    /// Checks that `fid` can be created. Returns `None` if `fid` is in use or there are too many
    /// fids.
    fn free(&self, fid: u32) -> Option<()> {
        (!self.fids.contains_key(&fid) && self.fids.len() < FIDS).then_some(())
    }

    fn is_dir(&self, ino: u64) -> bool {
        self.nodes[&ino].entries.is_some()
    }

    fn child(&self, dir: u64, name: &str) -> Option<u64> {
        self.nodes[&dir].entries.as_ref()?.get(name).copied()
    }

    fn walk(&mut self, fid: u32, newfid: u32, names: &[&str], reply: &R<'_>) -> Option<()> {
        let Known { mut ino, top, .. } = *self.fids.get(&fid)?;
        if newfid != fid {
            self.free(newfid)?;
        }
        let mut way = Vec::new();
        for name in names {
            let Some(next) = self.step(ino, name, top) else { break };
            ino = next;
            way.push(ino);
        }
        if way.is_empty() && !names.is_empty() {
            return None;
        }
        if let R::Walk { wqids } = reply {
            assert_eq!(
                wqids.iter().map(|qid| qid.path).collect::<Vec<_>>(),
                way,
                "the way of {names:?}"
            );
        }
        if way.len() == names.len() {
            self.fids.insert(newfid, Known { ino, top, opened: OpenState::No });
        }
        Some(())
    }

    fn step(&self, ino: u64, name: &str, top: u64) -> Option<u64> {
        match name {
            "" => Some(ino),
            _ if !self.is_dir(ino) => None,
            ".." if ino == top => Some(ino),
            ".." => {
                // The parent of a removed directory is the root. `..` never leaves the attached
                // tree. In a directory that was moved out of the attached tree, `..` refers to the
                // directory itself.
                let up = self.nodes[&ino].dir.unwrap_or(self.root);
                Some(if self.is_below(up, top) { up } else { ino })
            }
            name => self.child(ino, name),
        }
    }

    fn is_below(&self, ino: u64, top: u64) -> bool {
        top == self.root
            || std::iter::successors(Some(ino), |ino| self.nodes[ino].dir).any(|ino| ino == top)
    }

    fn open(&mut self, fid: u32, ino: u64, mode: u8, orclose: bool) -> Option<()> {
        let file = OpenState::File { access: mode & 3, orclose };
        let opened = if self.is_dir(ino) { OpenState::Dir { at: 0 } } else { file };
        let known = self.fids.get_mut(&fid)?;
        *known = Known { ino, opened, ..known.clone() };
        Some(())
    }

    fn make(
        &mut self,
        dir: u64,
        name: &str,
        entries: Option<BTreeMap<String, u64>>,
        reply: &R<'_>,
    ) -> Option<u64> {
        self.nodes[&dir].entries.as_ref()?;
        if matches!(name, "" | "." | "..")
            || self.path(dir).is_none()
            || self.child(dir, name).is_some()
        {
            return None;
        }
        let (R::Create { qid, .. } | R::Lcreate { qid, .. } | R::Mkdir { qid }) = *reply else {
            panic!("{name} can be created, but the reply is {reply:?}");
        };
        assert_eq!(qid.kind == Qid::DIR, entries.is_some());
        let node = Node { name: name.to_owned(), dir: Some(dir), entries };
        assert!(self.nodes.insert(qid.path, node).is_none(), "{qid:?} is not new");
        self.enter(dir, name, qid.path);
        Some(qid.path)
    }

    fn enter(&mut self, dir: u64, name: &str, ino: u64) {
        let entries = self.nodes.get_mut(&dir).and_then(|node| node.entries.as_mut());
        entries.unwrap().insert(name.to_owned(), ino);
    }

    /// Removes an inode from its directory. Returns `None` if the inode is a non-empty directory or
    /// has already been removed.
    fn unlink(&mut self, ino: u64) -> Option<()> {
        let node = self.nodes.get_mut(&ino)?;
        if node.entries.as_ref().is_some_and(|entries| !entries.is_empty()) {
            return None;
        }
        let (dir, name) = (node.dir?, node.name.clone());
        node.dir = None;
        self.nodes.get_mut(&dir)?.entries.as_mut()?.remove(&name).map(drop)
    }

    fn rename(&mut self, ino: u64, dir: u64, name: &str) -> Option<()> {
        let from = self.nodes[&ino].dir?;
        self.nodes[&dir].entries.as_ref()?;
        if matches!(name, "" | "." | "..") || self.path(dir).is_none() || self.is_below(dir, ino) {
            return None;
        }
        match self.child(dir, name) {
            Some(there) if there == ino => return Some(()),
            Some(there) if self.is_dir(there) != self.is_dir(ino) => return None,
            Some(there) => self.unlink(there)?,
            None => {}
        }
        let old = std::mem::replace(&mut self.nodes.get_mut(&ino)?.name, name.to_owned());
        self.nodes.get_mut(&from)?.entries.as_mut()?.remove(&old);
        self.nodes.get_mut(&ino)?.dir = Some(dir);
        self.enter(dir, name, ino);
        Some(())
    }

    fn read(&mut self, fid: u32, offset: u64, count: u32, reply: &R<'_>) -> Option<()> {
        let Known { ino, ref opened, .. } = *self.fids.get(&fid)?;
        let place = match opened {
            OpenState::No | OpenState::File { access: 1, .. } => return None,
            OpenState::File { .. } => return Some(()),
            OpenState::Dir { .. } if self.dialect? == Dialect::Linux => return None,
            OpenState::Dir { at, .. } if offset != 0 && offset != *at => return None,
            OpenState::Dir { .. } => offset,
        };
        let R::Read { data } = reply else {
            // An error is allowed only if the next entry might not fit into the reply. Every entry
            // fits into 100 bytes.
            return if count < 100 { None } else { Some(()) };
        };
        if offset == 0 && count >= 8000 {
            let dialect = self.dialect?;
            self.listed(
                ino,
                Stat::decode_all(data.0, dialect).map(|stat| stat.unwrap().name.to_string()),
            );
        }
        if let Some(Known { opened: OpenState::Dir { at, .. }, .. }) = self.fids.get_mut(&fid) {
            *at = place + data.0.len() as u64;
        }
        Some(())
    }

    /// Checks that a complete listing contains every entry exactly once.
    fn listed(&self, ino: u64, names: impl Iterator<Item = String>) {
        let names: Vec<String> = names.collect();
        let due: BTreeSet<&String> =
            self.nodes[&ino].entries.iter().flat_map(BTreeMap::keys).collect();
        assert_eq!((names.len(), names.iter().collect()), (due.len(), due), "a listing");
    }
}
