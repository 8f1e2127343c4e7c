//! The open files of a static tree: a pool of fixed size.

use core::cell::{Cell, RefCell, RefMut};
use core::mem::ManuallyDrop;

use super::Path;
use crate::vfs::{Error, File, FixedText, OpenFile, OpenMode, OpenState, Result, Text, Waiter};

/// An opened file or directory of a [`StaticTree`](super::StaticTree). Copies are the same open
/// file; one that was closed stays closed, whatever is opened in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handle(pub(super) Held);

impl Handle {
    /// Whether it is one of the open files that a tree has room for. An open directory is not.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self.0, Held::File { .. })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Held {
    /// There is nothing to keep.
    Dir(Path),
    /// Which slot of the pool and whose.
    File { index: u16, generation: u32 },
}

pub(super) struct OpenFiles<const OPENS: usize, const TEXT: usize> {
    slots: RefCell<[OpenSlot<TEXT>; OPENS]>,
    opened: Cell<u32>,
}

/// All zeros while nothing is open in it: a tree in a `static` takes no flash.
struct OpenSlot<const TEXT: usize> {
    /// The file itself, not its path: it can be read on when its name is gone.
    file: Option<&'static (dyn File + Sync)>,
    generation: u32,
    append: bool,
    state: OpenState,
    text: FixedText<TEXT>,
}

impl<const OPENS: usize, const TEXT: usize> OpenFiles<OPENS, TEXT> {
    pub(super) const fn new() -> Self {
        const {
            assert!(
                OPENS <= u16::MAX as usize && TEXT <= u16::MAX as usize,
                "positions have 16 bits"
            )
        };
        OpenFiles { slots: RefCell::new([const { OpenSlot::new() }; OPENS]), opened: Cell::new(0) }
    }

    pub(super) fn open(&self, file: &'static (dyn File + Sync), mode: OpenMode) -> Result<Handle> {
        let mut slots = self.slots.try_borrow_mut().map_err(|_| Error::Busy)?;
        let free = slots.iter_mut().zip(0..).find(|(slot, _)| slot.file.is_none());
        let (slot, index) = free.ok_or(Error::TooManyOpen)?;
        let generation = self.opened.get().wrapping_add(1);
        self.opened.set(generation);
        slot.text.clear();
        slot.state = OpenState::default();
        file.open(&mut slot.lend(&mut no_waiter()), mode)?;
        slot.append = mode.append;
        slot.generation = generation;
        slot.file = Some(file);
        Ok(Handle(Held::File { index, generation }))
    }

    pub(super) fn close(&self, open: Handle) {
        if let Ok((file, mut slot)) = self.slot(open) {
            file.close(&mut slot.lend(&mut no_waiter()));
            slot.file = None;
        }
    }

    /// Lends an open file for the time of a call; also whether it was opened to append.
    pub(super) fn with<R>(
        &self,
        open: Handle,
        with: impl FnOnce(&'static (dyn File + Sync), &mut OpenFile<'_>, bool) -> Result<R>,
    ) -> Result<R> {
        self.with_waiter(open, &mut no_waiter(), with)
    }

    /// As [`with`](OpenFiles::with), for a read that may wait; never over the wait.
    pub(super) fn with_waiter<R>(
        &self,
        open: Handle,
        waiter: &mut Waiter,
        with: impl FnOnce(&'static (dyn File + Sync), &mut OpenFile<'_>, bool) -> Result<R>,
    ) -> Result<R> {
        let (file, mut slot) = self.slot(open)?;
        let append = slot.append;
        with(file, &mut slot.lend(waiter), append)
    }

    /// The slot of an open file, and the file.
    fn slot(
        &self,
        open: Handle,
    ) -> Result<(&'static (dyn File + Sync), RefMut<'_, OpenSlot<TEXT>>)> {
        let Held::File { index, generation } = open.0 else { return Err(Error::IsDirectory) };
        // Borrowed already only when a file calls back into its own tree.
        let slots = self.slots.try_borrow_mut().map_err(|_| Error::Busy)?;
        let slot = RefMut::filter_map(slots, |slots| slots.get_mut(usize::from(index)))
            .map_err(|_| Error::BadFile)?;
        match slot.file {
            Some(file) if slot.generation == generation => Ok((file, slot)),
            _ => Err(Error::BadFile),
        }
    }
}

/// For a call that is no read and registers nothing: it need not be dropped, and its drop would
/// take flash at each call.
fn no_waiter() -> ManuallyDrop<Waiter> {
    ManuallyDrop::new(Waiter::new())
}

impl<const TEXT: usize> OpenSlot<TEXT> {
    const fn new() -> Self {
        let state = OpenState { delivered: 0, next: 0, taken: 0, mark: false, partial: false };
        OpenSlot { file: None, generation: 0, append: false, state, text: FixedText::new() }
    }

    fn lend<'a>(&'a mut self, waiter: &'a mut Waiter) -> OpenFile<'a> {
        OpenFile { text: &mut self.text, state: &mut self.state, waiter }
    }
}
