//! A tree made of tables: nothing is allocated, names and structure stay in flash.
//!
//! An inode **is** its path: a byte a level, entry index + 1, the first level lowest. A key of
//! [`Slots`] takes four bytes. So it is `Copy`, borrows nothing, gives no addresses away, and the
//! number of a file is the same after a restart.

mod opens;
mod slots;
mod table;

use core::future::poll_fn;
use core::ops::ControlFlow;
use core::task::Poll;

use opens::{Held, OpenFiles};

pub use opens::Handle;
pub use slots::{Entries, Key, Slots};
pub use table::{DEPTH, Dir, Entry, Node, dir, file, slots};

use super::{
    Attr, DirEntry, Error, FileType, Id, ImmutableTree, Name, OpenMode, Result, SetAttr, Vfs,
    Waiter,
};

/// Directories are shown as DataKit shows them.
const DIR_MODE: u32 = 0o775;

/// The tree below a [`Dir`], with room for `OPENS` open files of at most `TEXT` bytes of rendered
/// text each.
///
/// Opening one more is [`Error::TooManyOpen`]; open directories need no room. Files that are longer
/// than `TEXT` must read without rendering, as [`Blob`](crate::files::Blob) and
/// [`Help`](crate::files::Help) do.
pub struct StaticTree<const OPENS: usize = 16, const TEXT: usize = 128> {
    root: &'static Dir,
    opens: OpenFiles<OPENS, TEXT>,
    strict_walk: bool,
}

/// An inode of a [`StaticTree`]: the way to it, a byte a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Path(u64);

impl<const OPENS: usize, const TEXT: usize> StaticTree<OPENS, TEXT> {
    /// The tree below `root`.
    #[must_use]
    pub const fn new(root: &'static Dir) -> Self {
        StaticTree { root, opens: OpenFiles::new(), strict_walk: false }
    }

    /// Makes a walk that fails halfway an error as a whole ([`Vfs::strict_walk`]).
    #[must_use]
    pub const fn with_strict_walk(mut self) -> Self {
        self.strict_walk = true;
        self
    }

    /// Follows a path down from the root.
    fn place(&self, path: Path) -> Place {
        let bytes = path.0.to_le_bytes();
        let mut place =
            Place { node: Some(Node::Dir(self.root)), dir: None, key: Key(0), start: 0, end: 0 };
        while bytes.get(place.end).is_some_and(|byte| *byte != 0) {
            let dir = place.node.and_then(Node::entries);
            let start = place.end;
            let end = start.saturating_add(dir.map_or(1, |(_, bytes)| bytes));
            let part = bytes.iter().take(end).skip(start).rev();
            let key = Key(part.fold(0, |key, byte| key << 8 | u32::from(*byte)));
            let dir = dir.map(|(dir, _)| dir);
            place = Place { node: dir.and_then(|dir| dir.node(key)), dir, key, start, end };
        }
        place
    }

    fn node(&self, path: Path) -> Result<Node> {
        self.place(path).node.ok_or(Error::Stale)
    }

    fn entries(&self, path: Path) -> Result<(Place, &'static dyn Entries)> {
        let place = self.place(path);
        match place.node.ok_or(Error::Stale)?.entries() {
            Some((dir, _)) => Ok((place, dir)),
            None => Err(Error::NotDirectory),
        }
    }
}

/// Where a path ends.
struct Place {
    /// What is there; `None` once it was taken out of its directory.
    node: Option<Node>,
    /// The directory that has it, and which entry it is there.
    dir: Option<&'static dyn Entries>,
    key: Key,
    /// The bytes of the path that are this key.
    start: usize,
    end: usize,
}

impl Place {
    /// The path of a child; the tables are not so deep that it would not fit.
    fn child(&self, path: Path, key: Key) -> Path {
        let mut bytes = path.0.to_le_bytes();
        for (byte, part) in bytes.iter_mut().skip(self.end).zip(key.0.to_le_bytes()) {
            *byte = part;
        }
        Path(u64::from_le_bytes(bytes))
    }
}

fn id(path: Path, node: Option<Node>) -> Id {
    let kind = match node {
        Some(Node::Dir(_) | Node::Slots(_)) => FileType::Dir,
        Some(Node::File(_)) | None => FileType::File,
    };
    // 0 is no inode number: tools take it for a deleted entry.
    Id { ino: path.0.wrapping_add(1), kind, version: 0 }
}

impl<const OPENS: usize, const TEXT: usize> Vfs for StaticTree<OPENS, TEXT> {
    type Inode = Path;
    type Open = Handle;
    type TreeKind = ImmutableTree;

    fn root(&self) -> Path {
        Path(0)
    }

    fn parent(&self, inode: &Path) -> Path {
        let above = (0..self.place(*inode).start).fold(0, |above, _| above << 8 | 0xff);
        Path(inode.0 & above)
    }

    fn id(&self, inode: &Path) -> Id {
        id(*inode, self.place(*inode).node)
    }

    fn name(&self, inode: &Path, with: &mut dyn FnMut(&[u8])) {
        let place = self.place(*inode);
        match place.dir {
            Some(dir) if place.node.is_some() => dir.name(place.key, with),
            Some(_) => with(b""),
            None => with(b"/"),
        }
    }

    fn strict_walk(&self) -> bool {
        self.strict_walk
    }

    async fn lookup(&self, dir: &Path, name: Name<'_>) -> Result<Path> {
        let (place, entries) = self.entries(*dir)?;
        let key = entries.find(name.as_bytes()).ok_or(Error::NotFound)?;
        Ok(place.child(*dir, key))
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

    async fn flush(&self, open: &Handle) -> Result<()> {
        match open.0 {
            Held::Dir(_) => Ok(()),
            Held::File { .. } => self.opens.with(*open, |file, open, _| file.flush(open)),
        }
    }

    fn may_block(&self, open: &Handle) -> bool {
        self.opens.with(*open, |file, _, _| Ok(file.may_block())).unwrap_or(false)
    }

    async fn read(&self, open: &Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut waiter = Waiter::new();
        poll_fn(|cx| {
            let read = self.opens.with_waiter(*open, &mut waiter, |file, open, _| {
                Ok(file.poll_read(open, cx, offset, buf))
            });
            read.unwrap_or_else(|error| Poll::Ready(Err(error)))
        })
        .await
    }

    async fn write(&self, open: &Handle, offset: u64, data: &[u8]) -> Result<usize> {
        self.opens.with(*open, |file, open, append| {
            let offset = match append {
                // The pieces of a value follow each other.
                true if open.state.partial && !open.text.bytes().is_empty() => open.state.delivered,
                true => file.stat().length,
                false => offset,
            };
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
        let (place, dir) = self.entries(path)?;
        let mut from = u8::try_from(cookie).ok();
        while let Some(key) = from.and_then(|from| dir.next(from)) {
            let inode = place.child(path, key);
            let id = id(inode, dir.node(key));
            // The lowest byte of a key is the entry's index + 1, which is where to go on.
            let next = key.0 as u8;
            let mut flow = ControlFlow::Continue(());
            dir.name(key, &mut |name| {
                flow = each(DirEntry { name, inode: &|| inode, id, next: next.into() })
            });
            from = Some(next).filter(|next| *next != u8::MAX && flow.is_continue());
        }
        Ok(())
    }

    async fn remove(&self, inode: &Path) -> Result<()> {
        let place = self.place(*inode);
        match (place.node.ok_or(Error::Stale)?, place.dir) {
            (Node::File(file), Some(dir)) => file.remove().and_then(|()| dir.remove(place.key)),
            _ => Err(Error::ReadOnlyDirectory),
        }
    }

    async fn set_attr(&self, inode: &Path, set: SetAttr) -> Result<()> {
        match (self.node(*inode)?, set.mode, set.size) {
            // Owners and times are not kept, and asking for them is no error: `cp -p` and `touch`
            // do.
            (_, None, None) | (Node::Dir(_) | Node::Slots(_), None, Some(0)) => Ok(()),
            (Node::Dir(_) | Node::Slots(_), None, Some(_)) => Err(Error::IsDirectory),
            (Node::Dir(_) | Node::Slots(_), Some(_), _) => Err(Error::NotPermitted),
            (Node::File(file), mode, size) => {
                // The one that keeps nothing goes first, so that its refusal leaves the length
                // alone.
                mode.map_or(Ok(()), |mode| file.chmod(mode))?;
                size.map_or(Ok(()), |size| file.truncate(size))
            }
        }
    }
}

#[cfg(test)]
mod tests;
