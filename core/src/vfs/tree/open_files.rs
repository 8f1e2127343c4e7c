//! A fixed-size pool for the open files of a static tree.

use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::mem::ManuallyDrop;

use super::{Node, PackedPath};
use crate::vfs::{
    Call, Client, Error, File, FixedText, OpenFile, OpenMode, OpenState, Result, Text, Waiter,
};

/// A handle to an open file or directory in a [`StaticTree`](super::StaticTree). All copies refer
/// to the same open file. After a file is closed, its handle remains invalid, even if the slot in
/// the pool is reused for another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handle(PackedPath);

impl Handle {
    /// Creates a handle to an open directory.
    pub(super) const fn dir(path: PackedPath) -> Handle {
        Handle(path)
    }

    /// Creates a handle to an open file. The first byte of the handle is 0 and the next bytes are
    /// not all 0, so the handle differs from every path.
    const fn file(index: u16, generation: u32) -> Handle {
        Handle(PackedPath::new((generation as u64) << 32 | (index as u64 + 1) << 8))
    }

    pub(super) const fn kind(self) -> HandleKind {
        let bits = self.0.bits();
        match (bits as u8, (bits as u32 >> 8).checked_sub(1)) {
            (0, Some(index)) => {
                HandleKind::File { index: index as u16, generation: (bits >> 32) as u32 }
            }
            _ => HandleKind::Dir(self.0),
        }
    }

    /// Returns whether the handle refers to an open file rather than an open directory. Only open
    /// files occupy a slot.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self.kind(), HandleKind::File { .. })
    }
}

/// The decoded form of a [`Handle`]. Each fid contains a handle, so a [`Handle`] encodes this value
/// as a path to save memory.
pub(super) enum HandleKind {
    /// A directory, which needs no slot.
    Dir(PackedPath),
    /// The index of the slot, and the generation of the open file.
    File { index: u16, generation: u32 },
}

/// A pool for at most `OPENS` open files, each with at most `TEXT` bytes of text.
pub struct OpenFiles<const OPENS: usize, const TEXT: usize> {
    slots: RefCell<[OpenSlot<TEXT>; OPENS]>,
    opened: Cell<u32>,
}

/// A slot in the pool, with room for one open file. A free slot is all zeros, so a tree in a
/// `static` needs no flash for its initial value.
struct OpenSlot<const TEXT: usize> {
    /// The open file. The slot stores a node instead of a path, because an open file stays usable
    /// after its name is removed.
    file: Option<Node>,
    generation: u32,
    append: bool,
    follows: bool,
    client: Client,
    state: OpenState,
    text: FixedText<TEXT>,
}

impl<const OPENS: usize, const TEXT: usize> OpenFiles<OPENS, TEXT> {
    pub(super) const fn new() -> Self {
        const {
            assert!(
                OPENS <= u16::MAX as usize && TEXT <= u16::MAX as usize,
                "OPENS and TEXT must be below 65536"
            )
        };
        OpenFiles { slots: RefCell::new([const { OpenSlot::new() }; OPENS]), opened: Cell::new(0) }
    }

    /// Opens the file that `node` refers to. `node` must not be a directory.
    pub(super) fn open(&self, node: Node, mode: OpenMode, client: Client) -> Result<Handle> {
        let mut slots = self.slots.try_borrow_mut().map_err(|_| Error::Busy)?;
        let free = slots.iter_mut().zip(0..).find(|(slot, _)| slot.file.is_none());
        let (slot, index) = free.ok_or(Error::TooManyOpen)?;
        let generation = self.opened.get().wrapping_add(1);
        self.opened.set(generation);
        slot.text.truncate(0);
        slot.state = OpenState::default();
        slot.client = client;
        slot.follows = mode.follows();
        let waiter = &mut no_waiter();
        let open = &mut slot.open_file(waiter);
        node.with_file(|file| file.open(open, mode)).unwrap_or(Err(Error::IsDirectory))?;
        slot.append = mode.append;
        slot.generation = generation;
        slot.file = Some(node);
        Ok(Handle::file(index, generation))
    }

    pub(super) fn close(&self, open: Handle) {
        if let Ok(mut slot) = self.slot(open) {
            slot.visit(&mut no_waiter(), &mut |(node, open, _): (
                Node,
                &mut OpenFile<'_>,
                bool,
            )| {
                node.visit_file(&mut |file: &dyn File| file.close(open));
            });
            slot.file = None;
        }
    }

    /// Calls `with`, passing the file, its state, and whether it was opened for appending.
    pub(super) fn with_file<R>(
        &self,
        open: Handle,
        with: impl FnMut(&dyn File, &mut OpenFile<'_>, bool) -> Result<R>,
    ) -> Result<R> {
        self.with_file_and_waiter(open, &mut no_waiter(), with)
    }

    /// Calls `with` in the same way as [`with_file`](OpenFiles::with_file), for a single poll of a
    /// read. The file can register `waiter` during the poll. The pool is not borrowed between
    /// polls.
    pub(super) fn with_file_and_waiter<R>(
        &self,
        open: Handle,
        waiter: &mut Waiter,
        mut with: impl FnMut(&dyn File, &mut OpenFile<'_>, bool) -> Result<R>,
    ) -> Result<R> {
        let mut result = Err(Error::BadFile);
        self.visit(open, waiter, &mut |(node, open, append): (Node, &mut OpenFile<'_>, bool)| {
            node.visit_file(&mut |file: &dyn File| result = with(file, open, append));
        })?;
        result
    }

    /// Calls `with` for a single poll, like
    /// [`with_file_and_waiter`](OpenFiles::with_file_and_waiter), but passes the file's node
    /// instead of the file.
    pub(super) fn with_node<R>(
        &self,
        open: Handle,
        waiter: &mut Waiter,
        mut with: impl FnMut(Node, &mut OpenFile<'_>, bool) -> Result<R>,
    ) -> Result<R> {
        let mut result = Err(Error::BadFile);
        self.visit(open, waiter, &mut |(node, open, append): (Node, &mut OpenFile<'_>, bool)| {
            result = with(node, open, append)
        })?;
        result
    }

    // This function is not generic, so that a single copy of the code serves all callers.
    #[inline(never)]
    fn visit(&self, open: Handle, waiter: &mut Waiter, with: &mut WithNode<'_>) -> Result<()> {
        self.slot(open)?.visit(waiter, with);
        Ok(())
    }

    /// Returns the slot of the file that a handle refers to.
    fn slot(&self, open: Handle) -> Result<RefMut<'_, OpenSlot<TEXT>>> {
        let HandleKind::File { index, generation } = open.kind() else {
            return Err(Error::IsDirectory);
        };
        // The borrow fails only if a file calls into the tree that contains it.
        let slots = self.slots.try_borrow_mut().map_err(|_| Error::Busy)?;
        RefMut::filter_map(slots, |slots| {
            let slot = slots.get_mut(usize::from(index))?;
            (slot.file.is_some() && slot.generation == generation).then_some(slot)
        })
        .map_err(|_| Error::BadFile)
    }
}

/// A function that receives an open file's node, its state, and whether it was opened for
/// appending.
type WithNode<'a> = dyn for<'o, 'w> Call<(Node, &'o mut OpenFile<'w>, bool)> + 'a;

/// Returns a waiter for calls that never register it. The waiter is never dropped, because the drop
/// glue at each call site would take up flash.
fn no_waiter() -> ManuallyDrop<Waiter> {
    ManuallyDrop::new(Waiter::new())
}

impl<const OPENS: usize, const TEXT: usize> fmt::Debug for OpenFiles<OPENS, TEXT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFiles").finish_non_exhaustive()
    }
}

impl<const TEXT: usize> OpenSlot<TEXT> {
    const fn new() -> Self {
        let state = OpenState { delivered: 0, next: 0, taken: 0, mark: false, partial: false };
        let client = Client(0);
        OpenSlot {
            file: None,
            generation: 0,
            append: false,
            follows: false,
            client,
            state,
            text: FixedText::new(),
        }
    }

    /// Calls `with` if the slot contains an open file.
    fn visit(&mut self, waiter: &mut Waiter, with: &mut WithNode<'_>) {
        if let Some(node) = self.file {
            let append = self.append;
            with.call((node, &mut self.open_file(waiter), append));
        }
    }

    fn open_file<'a>(&'a mut self, waiter: &'a mut Waiter) -> OpenFile<'a> {
        let OpenSlot { text, state, client, follows, .. } = self;
        OpenFile { text, state, waiter, client: *client, follows: *follows }
    }
}
