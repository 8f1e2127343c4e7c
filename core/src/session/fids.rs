//! The fid table, the state of each fid, and the methods that look up, reserve, replace and release
//! fids.

use core::cell::Ref;
use core::fmt;

use super::Session;
use crate::Decimal;
use crate::vfs::{Error, FidRecord, FileType, Id, OpenMode, Result, TreeKind, Vfs};
use crate::wire::{self, Dialect, Qid};

/// The entry for one fid in a [`FidTable`].
pub struct FidEntry<V: Vfs> {
    pub(super) record: FidRecordOf<V>,
    pub(super) inode: V::Inode,
    pub(super) state: FidStateOf<V>,
}

/// The type of the record that a session of the tree `V` stores with each fid.
pub(super) type FidRecordOf<V> = <<V as Vfs>::TreeKind as TreeKind>::FidRecord;
/// The type of the cookie that identifies a position in a directory of the tree `V`.
pub(super) type Cookie<V> = <<V as Vfs>::TreeKind as TreeKind>::Cookie;
/// The type of the state that a session of the tree `V` stores for each fid.
pub(super) type FidStateOf<V> = FidState<<V as Vfs>::Open, Cookie<V>>;

impl<V: Vfs> fmt::Debug for FidEntry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FidEntry").field("user", &self.record.user()).finish_non_exhaustive()
    }
}

impl<V: Vfs> FidEntry<V> {
    /// Returns whether the entry still has this serial number.
    fn has_serial(&self, serial: u32) -> bool {
        V::TreeKind::IMMUTABLE || self.record.serial() == serial
    }
}

/// The state of a fid, which determines the operations that requests may perform on it.
pub(super) enum FidState<O, C> {
    /// The fid is reserved by a request in progress and is invisible to other requests.
    Reserved,
    /// The fid is the result of a walk, and its file has not been opened yet.
    Walked,
    /// An open file.
    File { open: O, access: Access },
    /// An open directory. In 9P2000 and 9P2000.u, the next read must begin at `offset`, and
    /// `cookie` is the tree's cookie for this position. The offset has only 32 bits, which keeps
    /// fids small but limits a client to 4 GiB of records.
    #[cfg_attr(not(feature = "classic"), allow(dead_code, reason = "9P2000.L sends the offset"))]
    Dir { open: O, offset: u32, cookie: C },
    /// An extended attribute that is open for reading or writing.
    #[cfg_attr(not(feature = "linux"), expect(dead_code, reason = "only 9P2000.L opens one"))]
    Xattr { open: O, access: Access },
}

/// A bit set that records which operations an open file allows, whether ORCLOSE is set, and whether
/// a read has blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access(u8);

impl Access {
    /// The bit that allows reading.
    pub(super) const READ: Access = Access(1);
    /// The bit that allows writing.
    pub(super) const WRITE: Access = Access(2);
    /// The bit that is set if the file was opened with ORCLOSE. The file is removed when the fid is
    /// released.
    pub(super) const REMOVE: Access = Access(4);
    /// The bit that is set if a read has blocked and may still be blocked.
    pub(super) const WAITED: Access = Access(8);

    /// Returns the access that is requested when a file is opened in this mode.
    pub(super) fn new(mode: OpenMode, remove: bool) -> Access {
        Access(u8::from(mode.read) | u8::from(mode.write) << 1 | u8::from(remove) << 2)
    }

    pub(super) fn has(self, bit: Access) -> bool {
        self.0 & bit.0 != 0
    }

    pub(super) fn add(&mut self, bit: Access) {
        self.0 |= bit.0;
    }
}

impl<O, C> FidState<O, C> {
    pub(super) fn opened(&self) -> Option<&O> {
        match self {
            FidState::File { open, .. }
            | FidState::Dir { open, .. }
            | FidState::Xattr { open, .. } => Some(open),
            FidState::Reserved | FidState::Walked => None,
        }
    }

    /// Returns `true` if this is an open file and `bit` is set.
    pub(super) fn has(&self, bit: Access) -> bool {
        matches!(self, FidState::File { access, .. } if access.has(bit))
    }

    /// Records that a read of this open file has blocked.
    pub(super) fn mark_waited(&mut self) {
        if let FidState::File { access, .. } = self {
            access.add(Access::WAITED);
        }
    }

    /// Returns the open file if it allows this access. According to open(5), permissions are
    /// checked only once, when the file is opened. The permitted access is therefore stored with
    /// the open file.
    pub(super) fn file(&self, bit: Access) -> Option<&O> {
        match self {
            FidState::File { open, access } | FidState::Xattr { open, access }
                if access.has(bit) =>
            {
                Some(open)
            }
            _ => None,
        }
    }
}

/// A table of fids. Embedded boards use [`FidArray`], and servers with many fids use a hash map.
pub trait FidTable<V: Vfs> {
    /// Returns the fid with this number.
    fn get(&self, number: u32) -> Option<&FidEntry<V>>;

    /// Returns a mutable reference to the fid with this number.
    fn get_mut(&mut self, number: u32) -> Option<&mut FidEntry<V>>;

    /// Adds a fid whose number is not in use.
    ///
    /// # Errors
    /// Returns `fid` if the table is full.
    fn insert(&mut self, number: u32, fid: FidEntry<V>) -> core::result::Result<(), FidEntry<V>>;

    /// Removes and returns the fid with this number.
    fn remove(&mut self, number: u32) -> Option<FidEntry<V>>;

    /// Removes and returns an arbitrary fid. The session calls this method repeatedly until the
    /// table is empty. While the table is being emptied, [`get`](FidTable::get) need not find the
    /// remaining fids.
    fn pop(&mut self) -> Option<FidEntry<V>>;

    /// Returns the number of fids.
    fn len(&self) -> usize;

    /// Returns whether the table is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A borrowed table. Successive sessions can share one table, because a session leaves its table
/// empty when it is dropped or closed.
impl<V: Vfs, F: FidTable<V> + ?Sized> FidTable<V> for &mut F {
    fn get(&self, number: u32) -> Option<&FidEntry<V>> {
        (**self).get(number)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut FidEntry<V>> {
        (**self).get_mut(number)
    }

    fn insert(&mut self, number: u32, fid: FidEntry<V>) -> core::result::Result<(), FidEntry<V>> {
        (**self).insert(number, fid)
    }

    fn remove(&mut self, number: u32) -> Option<FidEntry<V>> {
        (**self).remove(number)
    }

    fn pop(&mut self) -> Option<FidEntry<V>> {
        (**self).pop()
    }

    fn len(&self) -> usize {
        (**self).len()
    }
}

/// A table of at most `N` fids. Lookups use linear search, which is the fastest method for up to
/// about 64 fids.
pub struct FidArray<V: Vfs, const N: usize>(heapless::Vec<(u32, FidEntry<V>), N>);

impl<V: Vfs, const N: usize> fmt::Debug for FidArray<V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(number, fid)| (number, fid))).finish()
    }
}

impl<V: Vfs, const N: usize> FidArray<V, N> {
    /// Creates an empty table.
    #[must_use]
    pub const fn new() -> Self {
        FidArray(heapless::Vec::new())
    }
}

impl<V: Vfs, const N: usize> Default for FidArray<V, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Vfs, const N: usize> FidTable<V> for FidArray<V, N> {
    fn get(&self, number: u32) -> Option<&FidEntry<V>> {
        self.0.iter().find(|(n, _)| *n == number).map(|(_, fid)| fid)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut FidEntry<V>> {
        self.0.iter_mut().find(|(n, _)| *n == number).map(|(_, fid)| fid)
    }

    fn insert(&mut self, number: u32, fid: FidEntry<V>) -> core::result::Result<(), FidEntry<V>> {
        self.0.push((number, fid)).map_err(|(_, fid)| fid)
    }

    fn remove(&mut self, number: u32) -> Option<FidEntry<V>> {
        let at = self.0.iter().position(|(n, _)| *n == number)?;
        Some(self.0.swap_remove(at).1)
    }

    fn pop(&mut self) -> Option<FidEntry<V>> {
        self.0.pop().map(|(_, fid)| fid)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'v, V: Vfs, F: FidTable<V>> Session<'v, V, F> {
    /// Returns a fid's inode.
    pub(super) fn inode(&self, fid: wire::Fid) -> Result<V::Inode> {
        self.with_fid(fid, |fid| Ok(fid.inode.clone()))
    }

    /// Calls `look` with a fid's entry, or returns an error if the fid is not in use.
    pub(super) fn with_fid<X>(
        &self,
        fid: wire::Fid,
        look: impl FnOnce(&FidEntry<V>) -> Result<X>,
    ) -> Result<X> {
        look(&*self.find_fid(fid)?)
    }

    // This function is not inlined on embedded boards, because a single copy of the code saves
    // flash.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn find_fid(&self, fid: wire::Fid) -> Result<Ref<'_, FidEntry<V>>> {
        let found = Ref::filter_map(self.fids.borrow(), |fids| fids.get(fid.0));
        found
            .ok()
            .filter(|found| !matches!(found.state, FidState::Reserved))
            .ok_or_else(|| unknown_fid(fid))
    }

    /// Returns the inode of a fid, or `error` if the inode is the attach point. The parent
    /// directory of the attach point must stay hidden from the client.
    #[cfg(feature = "linux")]
    pub(super) fn inode_below_root(&self, fid: wire::Fid, error: Error) -> Result<V::Inode> {
        let (inode, record) = self.with_fid(fid, |fid| Ok((fid.inode.clone(), fid.record)))?;
        if record.is_attach_point(self.vfs.id(&inode).ino) { Err(error) } else { Ok(inode) }
    }

    /// Returns an inode's current qid.
    pub(super) fn qid(&self, inode: &V::Inode) -> Qid {
        self.qid_of(self.vfs.id(inode))
    }

    /// Returns the qid of the inode with this identity.
    // Inlining lets the compiler keep the qid in registers.
    #[inline(always)]
    pub(super) fn qid_of(&self, id: Id) -> Qid {
        let kind = match id.kind {
            FileType::Dir => Qid::DIR,
            FileType::Symlink
                if !V::TreeKind::IMMUTABLE && self.current_dialect() != Dialect::Legacy =>
            {
                Qid::SYMLINK
            }
            _ => Qid::FILE,
        };
        Qid { kind, version: id.version, path: id.ino }
    }

    /// Calls `change` with the fid's entry if the fid still has this serial number.
    pub(super) fn update_fid<X>(
        &self,
        fid: wire::Fid,
        serial: u32,
        change: impl FnOnce(&mut FidEntry<V>) -> X,
    ) -> Option<X> {
        self.fids.borrow_mut().get_mut(fid.0).filter(|found| found.has_serial(serial)).map(change)
    }

    /// Sets the fid's inode and swaps the fid's state with `state` if the fid still has this serial
    /// number. Returns whether the fid has this serial number.
    fn replace_fid(
        &self,
        fid: wire::Fid,
        mut record: FidRecordOf<V>,
        inode: V::Inode,
        state: &mut FidStateOf<V>,
    ) -> bool {
        // The fid also gets a new serial number, so that requests that are still waiting on the old
        // state fail.
        let fresh = self.next_serial();
        match self.fids.borrow_mut().get_mut(fid.0) {
            Some(found) if found.has_serial(record.serial()) => {
                record.set_serial(fresh);
                found.record = record;
                found.inode = inode;
                core::mem::swap(&mut found.state, state);
                true
            }
            _ => false,
        }
    }

    /// Makes the fid refer to `inode` and closes the file that the fid had open, if any.
    pub(super) fn move_fid(
        &self,
        fid: wire::Fid,
        record: FidRecordOf<V>,
        inode: V::Inode,
    ) -> Result<()> {
        self.move_fid_to(fid, record, inode, FidState::Walked)
    }

    /// Makes the fid refer to the open file or directory `open` and returns its qid. Closes `open`
    /// if the fid no longer exists.
    pub(super) fn move_fid_opened(
        &self,
        fid: wire::Fid,
        record: FidRecordOf<V>,
        inode: V::Inode,
        open: V::Open,
        access: Access,
    ) -> Result<Qid> {
        let id = self.vfs.id(&inode);
        let state = match id.kind {
            FileType::Dir => FidState::Dir { open, offset: 0, cookie: Default::default() },
            _ => FidState::File { open, access },
        };
        self.move_fid_to(fid, record, inode, state)?;
        Ok(self.qid_of(id))
    }

    /// Makes the fid refer to `inode` and sets the fid's state to `state`. Closes the file that the
    /// fid had open, if any. If the fid no longer exists, the file in `state` is closed instead.
    pub(super) fn move_fid_to(
        &self,
        fid: wire::Fid,
        record: FidRecordOf<V>,
        inode: V::Inode,
        mut state: FidStateOf<V>,
    ) -> Result<()> {
        let found = self.replace_fid(fid, record, inode, &mut state);
        self.repoll_readers(&state);
        self.close_state(&state);
        if found { Ok(()) } else { Err(unknown_fid(fid)) }
    }

    /// Reserves a fid number for a request that is about to create the fid.
    pub(super) fn reserve_fid(
        &self,
        fid: wire::Fid,
        mut record: FidRecordOf<V>,
        inode: V::Inode,
    ) -> Result<ReservedFid<'_, 'v, V, F>> {
        let mut fids = self.fids.borrow_mut();
        if fids.get(fid.0).is_some() {
            return Err(Error::Invalid
                .with_message(format_args!("Fid {} already in use", Decimal::from(fid.0))));
        }
        record.set_serial(self.next_serial());
        let serial = record.serial();
        let count = fids.len();
        match fids.insert(fid.0, FidEntry { record, inode, state: FidState::Reserved }) {
            Ok(()) => Ok(ReservedFid { session: self, fid, serial }),
            Err(_) => Err(Error::TooManyOpen
                .with_message(format_args!("all {} fids are in use", Decimal::from(count)))),
        }
    }

    fn next_serial(&self) -> u32 {
        if V::TreeKind::IMMUTABLE {
            return 0;
        }
        let serial = self.serial.get().wrapping_add(1);
        self.serial.set(serial);
        serial
    }

    /// Removes a fid from the table.
    pub(super) fn take_fid(&self, fid: wire::Fid) -> Result<FidEntry<V>> {
        let mut fids = self.fids.borrow_mut();
        match fids.get(fid.0) {
            Some(found) if !matches!(found.state, FidState::Reserved) => {
                let taken = fids.remove(fid.0).ok_or_else(|| unknown_fid(fid))?;
                self.repoll_readers(&taken.state);
                Ok(taken)
            }
            _ => Err(unknown_fid(fid)),
        }
    }

    /// Removes an arbitrary fid from the table and closes the file that the fid had open, if any.
    pub(super) fn pop_fid(&self) -> Option<FidEntry<V>> {
        // End the borrow of the table before calling the tree.
        let fid = self.fids.borrow_mut().pop()?;
        self.close_state(&fid.state);
        Some(fid)
    }

    /// Requests another poll of the pending reads if any of them may be using the released `state`.
    fn repoll_readers(&self, state: &FidStateOf<V>) {
        // In an immutable tree, request another poll after every close, because tracking whether a
        // read has blocked would take up more flash.
        if state.has(Access::WAITED)
            || V::TreeKind::IMMUTABLE && matches!(state, FidState::File { .. })
        {
            self.repoll.set(true);
        }
    }

    /// Removes the file of a released fid, as requested by Tremove or ORCLOSE. Refuses to remove
    /// the attach point, because its parent directory must stay hidden from the client.
    pub(super) async fn remove_file(&self, released: &FidEntry<V>) -> Result<()> {
        if released.record.is_attach_point(self.vfs.id(&released.inode).ino) {
            return Err(Error::Busy);
        }
        self.vfs.remove(&released.inode).await
    }

    /// Closes the file or directory that a fid had open, if any.
    pub(super) fn close_state(&self, state: &FidStateOf<V>) {
        if let Some(open) = state.opened() {
            self.vfs.close(open);
        }
    }
}

/// A fid that a request is creating. Dropping the fid without calling
/// [`commit`](ReservedFid::commit) frees its number.
pub(super) struct ReservedFid<'s, 'v, V: Vfs, F: FidTable<V>> {
    session: &'s Session<'v, V, F>,
    fid: wire::Fid,
    serial: u32,
}

impl<V: Vfs, F: FidTable<V>> ReservedFid<'_, '_, V, F> {
    pub(super) fn commit(
        self,
        mut record: FidRecordOf<V>,
        inode: V::Inode,
        mut state: FidStateOf<V>,
    ) {
        record.set_serial(self.serial);
        // No other request has changed the fid, because a reserved fid is invisible to other
        // requests.
        let _ = self.session.replace_fid(self.fid, record, inode, &mut state);
        core::mem::forget(self);
    }
}

impl<V: Vfs, F: FidTable<V>> Drop for ReservedFid<'_, '_, V, F> {
    fn drop(&mut self) {
        let mut fids = self.session.fids.borrow_mut();
        if fids.get(self.fid.0).is_some_and(|fid| fid.has_serial(self.serial)) {
            let _ = fids.remove(self.fid.0);
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn unknown_fid(fid: wire::Fid) -> Error {
    Error::BadFile.with_message(format_args!("Unknown fid {}", Decimal::from(fid.0)))
}
