//! A tree made of tables: nothing is allocated, names and structure stay in flash.
//!
//! An inode **is** its path: a byte a level, entry index + 1, the first level lowest. A key of [`Slots`] takes four bytes. So it
//! is `Copy`, borrows nothing, gives no addresses away, and the number of a file is the same after a restart.

mod opens;
mod slots;
mod table;

use core::future::poll_fn;
use core::ops::ControlFlow;
use core::task::Poll;

use opens::{Held, Opens};

pub use opens::Handle;
pub use slots::{Entries, Key, Slots};
pub use table::{DEPTH, Dir, Entry, Node, dir, file, slots};

use super::{Attr, DirEntry, Error, FixedTree, Id, Kind, Name, OpenMode, Result, SetAttr, Vfs};

/// Directories are shown as DataKit shows them.
const DIR_MODE: u32 = 0o775;

/// The tree below a [`Dir`], with room for `OPENS` open files of at most `TEXT` bytes of rendered text each.
///
/// Opening one more is [`Error::TooManyOpen`]; open directories need no room. Files that are longer than `TEXT` must read without
/// rendering, as [`Blob`](crate::files::Blob) and [`Help`](crate::files::Help) do.
pub struct StaticTree<const OPENS: usize = 16, const TEXT: usize = 128> {
    root: &'static Dir,
    opens: Opens<OPENS, TEXT>,
    whole_walks: bool,
}

/// An inode of a [`StaticTree`]: the way to it, a byte a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Path(u64);

impl<const OPENS: usize, const TEXT: usize> StaticTree<OPENS, TEXT> {
    /// The tree below `root`.
    #[must_use]
    pub const fn new(root: &'static Dir) -> Self {
        StaticTree { root, opens: Opens::new(), whole_walks: false }
    }

    /// Makes a walk that fails halfway an error as a whole ([`Vfs::walks_whole`]).
    #[must_use]
    pub const fn whole_walks(mut self) -> Self {
        self.whole_walks = true;
        self
    }

    /// Follows a path down from the root.
    fn place(&self, path: Path) -> Place {
        let mut place = Place { node: Some(Node::Dir(self.root)), dir: None, part: 0, start: 0, end: 0 };
        while let Some(rest) = path.0.checked_shr(place.end).filter(|rest| *rest != 0) {
            let (node, part, bits) = match place.node {
                Some(Node::Dir(dir)) => (entry(dir, rest as u8).map(|entry| entry.node), rest & 0xff, 8),
                Some(Node::Slots(slots)) => (slots.node(Key(rest as u32)), rest & 0xffff_ffff, 32),
                Some(Node::File(_)) | None => (None, rest & 0xff, 8),
            };
            place = Place { node, dir: place.node, part: part as u32, start: place.end, end: place.end + bits };
        }
        place
    }

    fn node(&self, path: Path) -> Result<Node> {
        self.place(path).node.ok_or(Error::Stale)
    }
}

/// Where a path ends.
struct Place {
    /// What is there; `None` once it was taken out of its directory.
    node: Option<Node>,
    /// The directory that has it.
    dir: Option<Node>,
    /// Its own part of the path, and the bits that this part has.
    part: u32,
    start: u32,
    end: u32,
}

impl Place {
    /// The path of a child; the tables are not so deep that it would not fit.
    fn child(&self, path: Path, part: u32) -> Path {
        Path(path.0 | u64::from(part).checked_shl(self.end).unwrap_or(0))
    }
}

/// The entry that a byte of a path stands for.
fn entry(dir: &'static Dir, part: u8) -> Option<&'static Entry> {
    dir.entries().get(usize::from(part).checked_sub(1)?)
}

fn id(path: Path, node: Option<Node>) -> Id {
    let kind = match node {
        Some(Node::Dir(_) | Node::Slots(_)) => Kind::Dir,
        Some(Node::File(_)) | None => Kind::File,
    };
    // 0 is no inode number: tools take it for a deleted entry.
    Id { ino: path.0.wrapping_add(1), kind, version: 0 }
}

impl<const OPENS: usize, const TEXT: usize> Vfs for StaticTree<OPENS, TEXT> {
    type Inode = Path;
    type Open = Handle;
    type Nature = FixedTree;

    fn root(&self) -> Path {
        Path(0)
    }

    fn parent(&self, inode: &Path) -> Path {
        let above = 1u64.checked_shl(self.place(*inode).start).unwrap_or(0).wrapping_sub(1);
        Path(inode.0 & above)
    }

    fn id(&self, inode: &Path) -> Id {
        id(*inode, self.place(*inode).node)
    }

    fn name<R>(&self, inode: &Path, with: impl FnOnce(&[u8]) -> R) -> R {
        let place = self.place(*inode);
        match place.dir {
            None => with(b"/"),
            Some(Node::Dir(dir)) => with(entry(dir, place.part as u8).map_or(b"", |entry| entry.name.as_bytes())),
            Some(Node::Slots(slots)) => {
                let mut copy = heapless::Vec::<u8, { super::NAME_MAX }>::new();
                slots.name(Key(place.part), &mut |name| copy = heapless::Vec::from_slice(name).unwrap_or_default());
                with(&copy)
            }
            Some(Node::File(_)) => with(b""),
        }
    }

    fn walks_whole(&self) -> bool {
        self.whole_walks
    }

    async fn lookup(&self, dir: &Path, name: Name<'_>) -> Result<Path> {
        let place = self.place(*dir);
        let part = match place.node.ok_or(Error::Stale)? {
            Node::Dir(dir) => (1..).zip(dir.entries()).find(|(_, entry)| name == entry.name).map(|(part, _)| part),
            Node::Slots(slots) => slots.find(name.as_bytes()).map(|key| key.0),
            Node::File(_) => return Err(Error::NotDirectory),
        };
        Ok(place.child(*dir, part.ok_or(Error::NotFound)?))
    }

    async fn stat(&self, inode: &Path) -> Result<Attr> {
        let node = self.node(*inode)?;
        let id = id(*inode, Some(node));
        Ok(match node {
            Node::File(file) => {
                let stat = file.stat();
                Attr::new(id, stat.mode, stat.length)
            }
            Node::Dir(_) | Node::Slots(_) => Attr::new(id, DIR_MODE, 0),
        })
    }

    async fn open(&self, inode: &Path, mode: OpenMode) -> Result<Handle> {
        match self.node(*inode)? {
            Node::File(file) => self.opens.open(file, mode),
            Node::Dir(_) | Node::Slots(_) => Ok(Handle(Held::Dir(*inode))),
        }
    }

    fn close(&self, open: &Handle) {
        self.opens.close(*open);
    }

    fn waits(&self, open: &Handle) -> bool {
        self.opens.with(*open, |file, _, _| Ok(file.waits())).unwrap_or(false)
    }

    async fn read(&self, open: &Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        poll_fn(|cx| {
            let read = self.opens.with(*open, |file, open, _| Ok(file.poll_read(open, cx, offset, buf)));
            read.unwrap_or_else(|error| Poll::Ready(Err(error)))
        })
        .await
    }

    async fn write(&self, open: &Handle, offset: u64, data: &[u8]) -> Result<usize> {
        self.opens.with(*open, |file, open, append| {
            let offset = if append { file.stat().length } else { offset };
            file.write(open, offset, data)
        })
    }

    async fn readdir(
        &self,
        dir: &Handle,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Path>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Held::Dir(path) = dir.0 else { return Err(Error::NotDirectory) };
        let place = self.place(path);
        match place.node.ok_or(Error::Stale)? {
            Node::File(_) => Err(Error::NotDirectory),
            Node::Dir(table) => {
                let from = usize::try_from(cookie).unwrap_or(usize::MAX);
                for (part, entry) in (1..).zip(table.entries()).skip(from) {
                    let (inode, name) = (place.child(path, part), entry.name.as_bytes());
                    let id = id(inode, Some(entry.node));
                    if each(DirEntry { name, inode: &inode, id, next: part.into() }).is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Node::Slots(slots) => {
                let mut from = u8::try_from(cookie).ok();
                while let Some(key) = from.and_then(|from| slots.next(from)) {
                    let inode = place.child(path, key.0);
                    let id = id(inode, slots.node(key));
                    // The key holds the slot's index + 1, which is where to go on.
                    let next = key.0 as u8;
                    let mut flow = ControlFlow::Continue(());
                    slots.name(key, &mut |name| flow = each(DirEntry { name, inode: &inode, id, next: next.into() }));
                    from = Some(next).filter(|next| *next != u8::MAX && flow.is_continue());
                }
                Ok(())
            }
        }
    }

    async fn remove(&self, inode: &Path) -> Result<()> {
        let place = self.place(*inode);
        match place.node.ok_or(Error::Stale)? {
            Node::File(file) => file.remove()?,
            Node::Dir(_) | Node::Slots(_) => return Err(Error::ReadOnlyDirectory),
        }
        match place.dir {
            Some(Node::Slots(slots)) => slots.remove(Key(place.part)),
            _ => Err(Error::NotPermitted),
        }
    }

    async fn set_attr(&self, inode: &Path, set: SetAttr) -> Result<()> {
        match (self.node(*inode)?, set.mode, set.size) {
            // Owners and times are not kept, and asking for them is no error: `cp -p` and `touch` do.
            (_, None, None) | (Node::Dir(_) | Node::Slots(_), None, Some(0)) => Ok(()),
            (Node::Dir(_) | Node::Slots(_), None, Some(_)) => Err(Error::IsDirectory),
            (Node::Dir(_) | Node::Slots(_), Some(_), _) => Err(Error::NotPermitted),
            (Node::File(file), mode, size) => {
                // The one that keeps nothing goes first, so that its refusal leaves the length alone.
                mode.map_or(Ok(()), |mode| file.chmod(mode))?;
                size.map_or(Ok(()), |size| file.truncate(size))
            }
        }
    }
}

#[cfg(test)]
mod tests;
