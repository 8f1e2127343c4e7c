//! One connection's fids, dialect and msize: what turns a request into calls on a tree, and their
//! outcome into a reply.
//!
//! Every handler is *check, await, commit*: what it needs of a fid is copied out, the tree is
//! asked, and the fid is found again before it is changed, because another request may have clunked
//! it meanwhile. A `newfid` is reserved before the first await.

mod attrs;
mod fids;
mod files;
mod fixed;
#[cfg(feature = "linux")]
mod linux;
mod names;

use core::cell::{Cell, Ref, RefCell};

use fids::{Access, Role};
pub use fids::{Fid, FidArray, Fids};
use fixed::changeable;

use crate::Decimal;
use crate::vfs::{Error, FileType, Id, NAME_MAX, Name, Result, TreeKind, Vfs, outlined};
use crate::wire::{
    self, Dialect, Errno, Malformed, Qid, Rmessage as R, Str, Tag, Tmessage as T, Writer,
};

/// The smallest msize worth speaking: every reply without data or long names fits.
pub const MSIZE_MIN: u32 = 256;

/// The most data of one read of a file that [waits](Vfs::may_block), in bytes: what it delivers is
/// short, and many may wait.
pub const WAITING: usize = 4096;

/// A record with a name and a link's target, the longest that Linux has.
const LINK_ROOM: usize = 4096 + 512;

/// What a server grants.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest message, in bytes. 4096 is the least that a Linux mount accepts.
    pub msize: u32,
    /// The most data of one read or write, in bytes; 0: what fits a message.
    pub iounit: u32,
}

impl Default for Limits {
    /// 128 KiB of data and 24 bytes of header, what Linux asks for.
    fn default() -> Limits {
        Limits { msize: 128 * 1024 + 24, iounit: 0 }
    }
}

/// What a request does to those in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborts {
    /// Nothing.
    None,
    /// Tflush: the one with this tag.
    One(Tag),
    /// Tversion: all.
    All,
}

/// Who wants to know what a session answers: counters.
pub trait Observe {
    /// A request is about to be answered. Its answer, if it comes to that, is told by the same
    /// future of the session as this: whoever polls several knows which began when. Not told of a
    /// [fixed tree](crate::vfs::ImmutableTree): boards have no flash for it.
    fn began(&self) {}

    /// A request of this type was answered, with an error or not.
    fn answered(&self, kind: u8, error: bool);
}

/// One connection: version, fids and users, over a tree that others share.
///
/// Dropping it closes everything that its fids had open.
pub struct Session<'v, V: Vfs, F: Fids<V>> {
    vfs: &'v V,
    fids: RefCell<F>,
    limits: Limits,
    dialect: Cell<Option<Dialect>>,
    msize: Cell<u32>,
    serial: Cell<u32>,
    attached: Cell<bool>,
    /// See [`polls_again`](Session::polls_again).
    left: Cell<bool>,
    observer: Option<&'v dyn Observe>,
}

impl<'v, V: Vfs, F: Fids<V>> Session<'v, V, F> {
    /// A connection that has not negotiated its version yet.
    pub fn new(vfs: &'v V, fids: F, limits: Limits) -> Self {
        Session {
            vfs,
            fids: RefCell::new(fids),
            limits,
            dialect: Cell::new(None),
            msize: Cell::new(limits.msize),
            serial: Cell::new(0),
            attached: Cell::new(false),
            left: Cell::new(false),
            observer: None,
        }
    }

    /// The same session, telling `observer` of every answer.
    #[must_use]
    pub fn observed(mut self, observer: &'v dyn Observe) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The dialect that was agreed on, if any.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect.get()
    }

    /// The largest message, in bytes: the server's limit before the version is negotiated, what was
    /// agreed on afterwards.
    pub fn msize(&self) -> u32 {
        self.msize.get()
    }

    /// Whether anybody has attached since the connection began.
    pub fn attached(&self) -> bool {
        self.attached.get()
    }

    /// Fids in use.
    pub fn fids(&self) -> usize {
        self.fids.borrow().len()
    }

    /// What the request in `frame` does to those in flight.
    pub fn aborts(&self, frame: &[u8]) -> Aborts {
        if !matches!(wire::kind(frame), wire::TFLUSH | wire::TVERSION) {
            return Aborts::None;
        }
        match self.message(frame) {
            Ok((_, T::Flush { oldtag })) => Aborts::One(oldtag),
            Ok((_, T::Version { .. })) => Aborts::All,
            _ => Aborts::None,
        }
    }

    /// Bytes that the answer to the request in `frame` may take, the request included.
    pub fn room(&self, frame: &[u8]) -> usize {
        let wanted = match wire::kind(frame) {
            wire::TREAD | wire::TREADDIR => match self.message(frame) {
                Ok((_, T::Read { fid, count, .. })) => self.read_room(fid, count),
                #[cfg(feature = "linux")]
                Ok((_, T::Readdir { count, .. })) => self.data_room(count),
                _ => 0,
            },
            // The qids are kept behind the request until all of them are known.
            wire::TWALK => match self.message(frame) {
                Ok((_, T::Walk { wnames, .. })) => {
                    frame.len().saturating_add(wnames.len().saturating_mul(Qid::SIZE))
                }
                _ => 0,
            },
            // A record with two long strings.
            wire::TSTAT | wire::TREADLINK => LINK_ROOM,
            // Behind the request: the owner that it is told of may have the longest name.
            wire::TGETLOCK => frame.len().saturating_add(64 + NAME_MAX),
            _ => 0,
        };
        let wanted = wanted.max(frame.len().saturating_add(192));
        wanted.min(self.msize.get() as usize).max(frame.len())
    }

    /// Answers the request in `buf[..len]`, in `buf`: the reply's length. Whatever the request,
    /// there is a reply.
    ///
    /// Waits as long as the file does. Dropping the future cancels the request: it leaves no fid
    /// behind and has lost no data.
    pub async fn answer(&self, buf: &mut [u8], len: usize) -> usize {
        let request = buf.get(..len).unwrap_or_default();
        let (tag, kind) = (wire::tag(request), wire::kind(request));
        self.begin();
        let reply = self.reply(buf, len, tag).await;
        self.tell(kind, reply.is_err());
        reply.unwrap_or_else(|error| self.error(buf, tag, &error))
    }

    /// Answers the request at the front of `buf` with an error, in `buf`, without a look at it: the
    /// reply's length.
    pub fn refuse(&self, buf: &mut [u8], error: &Error) -> usize {
        self.begin();
        self.tell(wire::kind(buf), true);
        self.error(buf, wire::tag(buf), error)
    }

    /// Whether a fid went whose reads may wait still: they end when they are polled again. Told
    /// once.
    pub fn polls_again(&self) -> bool {
        self.left.take()
    }

    fn begin(&self) {
        if let (false, Some(observer)) = (V::TreeKind::IMMUTABLE, self.observer) {
            observer.began();
        }
    }

    fn tell(&self, kind: u8, error: bool) {
        if let Some(observer) = self.observer {
            observer.answered(kind, error);
        }
    }

    /// An error reply in the dialect spoken: its length.
    fn error(&self, buf: &mut [u8], tag: Tag, error: &Error) -> usize {
        let errno = u32::from(error.errno());
        let dialect = self.spoken();
        let buf = self.within_msize(buf);
        let full = match dialect {
            #[cfg(feature = "linux")]
            Dialect::Linux => self.put(&R::Lerror { ecode: errno }, tag, buf),
            _ => error.read_message(|text| {
                self.put(&R::Error { ename: text.into(), errno: Errno(errno) }, tag, buf)
            }),
        };
        // Only a board's tiny frame is too small for the text; the bare number or an empty text
        // always fits.
        full.or_else(|_| self.put(&R::Error { ename: Str(b""), errno: Errno(errno) }, tag, buf))
            .unwrap_or(0)
    }

    /// Answers a read or write of memory from `frame` into `out`, if it is one and the tree has it
    /// at hand: the reply's length.
    pub fn now(&self, frame: &[u8], out: &mut [u8]) -> Option<usize> {
        if !V::TreeKind::HAS_FAST_PATH || !matches!(wire::kind(frame), wire::TREAD | wire::TWRITE) {
            return None;
        }
        self.dialect.get()?;
        let out = self.within_msize(out);
        match self.message(frame).ok()? {
            (tag, T::Read { fid, offset, count }) => {
                let fids = self.fids.borrow();
                let open = fids.get(fid.0)?.role.file(Access::READ)?;
                let data = out.get_mut(wire::RREAD_HEADER..)?.get_mut(..self.data(count))?;
                self.begin();
                let n = self.vfs.try_read_now(open, offset, data)?.ok()?;
                self.tell(wire::TREAD, false);
                Some(wire::finish_read(out, wire::RREAD, tag, n))
            }
            (tag, T::Write { fid, offset, data }) => {
                let fids = self.fids.borrow();
                let open = fids.get(fid.0)?.role.file(Access::WRITE)?;
                // Room for the reply first: what has been written must be answered.
                let out = out.get_mut(..MSIZE_MIN as usize)?;
                self.begin();
                let n = if data.0.is_empty() {
                    Ok(0)
                } else {
                    self.vfs.try_write_now(open, offset, data.0)?
                };
                self.tell(wire::TWRITE, n.is_err());
                Some(match n {
                    Ok(n) => {
                        let count = u32::try_from(n).unwrap_or(u32::MAX);
                        self.put(&R::Write { count }, tag, out).unwrap_or(0)
                    }
                    Err(error) => self.error(out, tag, &error),
                })
            }
            _ => None,
        }
    }

    async fn reply(&self, buf: &mut [u8], len: usize, tag: Tag) -> Result<usize> {
        let buf = self.within_msize(buf);
        let frame = buf.get(..len).ok_or(Error::Invalid)?;
        let kind = wire::kind(frame);
        if self.dialect.get().is_none() && kind != wire::TVERSION {
            return Err(Error::TversionFirst);
        }
        // In a tree that is fixed nothing else waits, and keeps memory of its connection.
        if kind == wire::TREAD {
            let T::Read { fid, offset, count } = self.decode(frame)? else {
                return Err(Error::NotSupported);
            };
            return outlined(self.read(buf, tag, fid, offset, count)).await;
        }
        #[cfg(feature = "linux")]
        if kind < wire::TVERSION {
            return V::TreeKind::handle(move || self.linux(buf, len, tag)).await;
        }
        V::TreeKind::handle(move || self.shared(buf, len, tag)).await
    }

    /// Answers one of the requests that 9P2000 has, but for Tread.
    async fn shared(&self, buf: &mut [u8], len: usize, tag: Tag) -> Result<usize> {
        let (frame, rest) = buf.split_at_mut_checked(len).ok_or(Error::Invalid)?;
        macro_rules! done {
            ($handler:expr) => {
                V::TreeKind::handle(move || $handler).await?
            };
            ($handler:expr, $reply:expr) => {{
                V::TreeKind::handle(move || $handler).await?;
                $reply
            }};
        }
        // Not in the `match` itself: its temporaries live as long as the handlers.
        let message = self.decode(frame)?;
        let reply = match message {
            T::Stat { fid } => return V::TreeKind::handle(move || self.stat(buf, tag, fid)).await,
            T::Walk { fid, newfid, wnames } => {
                let count = done!(self.walk(fid, newfid, wnames, rest));
                return names::finish_walk(buf, len, tag, count);
            }
            T::Version { msize, version } => {
                let (msize, version) = done!(self.version(msize, version));
                R::Version { msize, version }
            }
            T::Auth { .. } => return Err(Error::NoAuthentication),
            T::Attach { fid, uname, aname, n_uname, .. } => {
                R::Attach { qid: done!(self.attach(fid, uname, aname, n_uname)) }
            }
            // Whatever had to be cancelled is gone by now.
            T::Flush { .. } => R::Flush,
            T::Open { fid, mode } => {
                R::Open { qid: done!(self.open(fid, mode)), iounit: self.iounit() }
            }
            T::Create { fid, name, perm, mode, extension } => {
                changeable::<V>()?;
                let (qid, iounit) = done!(self.create(fid, name, perm, mode, extension.0));
                R::Create { qid, iounit }
            }
            T::Write { fid, offset, data } => {
                R::Write { count: done!(self.write(fid, offset, data.0)) }
            }
            T::Clunk { fid } => done!(self.clunk(fid), R::Clunk),
            T::Remove { fid } => done!(self.remove(fid), R::Remove),
            T::Wstat { fid, stat } => {
                V::TreeKind::boxed(move || self.wstat(fid, stat)).await?;
                R::Wstat
            }
            _ => return Err(Error::NotSupported),
        };
        self.encode(buf, tag, &reply)
    }

    fn decode<'f>(&self, frame: &'f [u8]) -> Result<T<'f>> {
        if V::TreeKind::IMMUTABLE
            && let Some((fid, error)) = fixed::refusal(frame, self.spoken())
        {
            return self.with(fid, |_| Err(error));
        }
        match self.message(frame) {
            Ok((_, message)) => Ok(message),
            Err(malformed) => Err(refusal(frame.len(), malformed)),
        }
    }

    fn message<'f>(&self, frame: &'f [u8]) -> core::result::Result<(Tag, T<'f>), Malformed> {
        T::decode_known(frame, self.spoken(), fixed::knows::<V>)
    }

    #[inline(never)]
    fn encode(&self, buf: &mut [u8], tag: Tag, reply: &R<'_>) -> Result<usize> {
        self.put(reply, tag, buf).map_err(|_| no_room(buf.len()))
    }

    fn put(
        &self,
        reply: &R<'_>,
        tag: Tag,
        buf: &mut [u8],
    ) -> core::result::Result<usize, wire::Full> {
        reply.encode_known(tag, self.spoken(), buf, encoded::<V>)
    }

    /// A name that a client sent.
    fn name<'n>(&self, name: &'n [u8]) -> Result<Name<'n>> {
        if self.vfs.allows_slash() { Name::allowing_slash(name) } else { Name::new(name) }
    }

    fn spoken(&self) -> Dialect {
        self.dialect.get().unwrap_or(Dialect::Legacy)
    }

    fn within_msize<'b>(&self, buf: &'b mut [u8]) -> &'b mut [u8] {
        let len = buf.len().min(self.msize.get() as usize);
        buf.get_mut(..len).unwrap_or_default()
    }

    /// How much data a read of `count` bytes may be answered with.
    fn data(&self, count: u32) -> usize {
        let most = self.msize.get().saturating_sub(wire::RREAD_HEADER as u32);
        let most = if self.limits.iounit == 0 { most } else { most.min(self.limits.iounit) };
        count.min(most) as usize
    }

    /// A read that may wait for long is not to hold a large buffer meanwhile.
    fn read_room(&self, fid: wire::Fid, count: u32) -> usize {
        let waits = match self.fids.borrow().get(fid.0) {
            Some(Fid { role: Role::File { open, .. }, .. }) => self.vfs.may_block(open),
            _ => false,
        };
        let room = self.data_room(count);
        if waits { room.min(WAITING + wire::RREAD_HEADER) } else { room }
    }

    fn data_room(&self, count: u32) -> usize {
        self.data(count).saturating_add(wire::RREAD_HEADER)
    }

    fn iounit(&self) -> u32 {
        self.limits.iounit.min(self.msize.get().saturating_sub(24))
    }

    /// A copy of what the fid stands for.
    fn inode(&self, fid: wire::Fid) -> Result<V::Inode> {
        self.with(fid, |fid| Ok(fid.inode.clone()))
    }

    /// Looks at a fid that is in use.
    fn with<X>(&self, fid: wire::Fid, look: impl FnOnce(&Fid<V>) -> Result<X>) -> Result<X> {
        look(&*self.found(fid)?)
    }

    // One copy for a board.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn found(&self, fid: wire::Fid) -> Result<Ref<'_, Fid<V>>> {
        let found = Ref::filter_map(self.fids.borrow(), |fids| fids.get(fid.0));
        found.ok().filter(|found| !matches!(found.role, Role::Reserved)).ok_or_else(|| unknown(fid))
    }

    /// A copy of what the fid stands for, unless that is what it was attached to: the name of that
    /// is in a directory that the client may not see.
    fn below_top(&self, fid: wire::Fid, or: Error) -> Result<V::Inode> {
        let (inode, top) = self.with(fid, |fid| Ok((fid.inode.clone(), fid.top)))?;
        if self.vfs.id(&inode).ino == top { Err(or) } else { Ok(inode) }
    }

    /// The qid of an inode as it is now.
    fn qid(&self, inode: &V::Inode) -> Qid {
        self.qid_of(self.vfs.id(inode))
    }

    /// The qid of an inode that has this id.
    // One copy for a board.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn qid_of(&self, id: Id) -> Qid {
        let kind = match id.kind {
            FileType::Dir => Qid::DIR,
            FileType::Symlink if !V::TreeKind::IMMUTABLE && self.spoken() != Dialect::Legacy => {
                Qid::SYMLINK
            }
            _ => Qid::FILE,
        };
        Qid { kind, version: id.version, path: id.ino }
    }

    /// Changes the fid that had this serial number, if it is still there.
    fn commit<X>(
        &self,
        fid: wire::Fid,
        serial: u32,
        change: impl FnOnce(&mut Fid<V>) -> X,
    ) -> Option<X> {
        self.fids.borrow_mut().get_mut(fid.0).filter(|found| found.serial == serial).map(change)
    }

    /// Makes the fid that had this serial number stand for something else: what it stood for, if it
    /// is still there.
    fn turn(
        &self,
        fid: wire::Fid,
        serial: u32,
        inode: V::Inode,
        role: Role<V::Open>,
    ) -> Option<Role<V::Open>> {
        // Requests that wait on what it was are to find it gone.
        let fresh = self.next_serial();
        self.commit(fid, serial, |fid| {
            fid.serial = fresh;
            fid.inode = inode;
            core::mem::replace(&mut fid.role, role)
        })
    }

    /// As [`turn`](Session::turn), for a fid that now has something open.
    fn turn_open(
        &self,
        fid: wire::Fid,
        serial: u32,
        inode: V::Inode,
        role: Role<V::Open>,
    ) -> Result<()> {
        let open = role.opened().cloned();
        if self.turn(fid, serial, inode, role).is_some() {
            return Ok(());
        }
        if let Some(open) = open {
            self.vfs.close(&open);
        }
        Err(unknown(fid))
    }

    /// Takes a number for a fid that a request is about to make.
    fn reserve(
        &self,
        fid: wire::Fid,
        uid: u32,
        top: u64,
        inode: V::Inode,
    ) -> Result<Reserved<'_, 'v, V, F>> {
        let mut fids = self.fids.borrow_mut();
        if fids.get(fid.0).is_some() {
            return Err(Error::Invalid
                .with_message(format_args!("Fid {} already in use", Decimal::from(fid.0))));
        }
        let serial = self.next_serial();
        let count = fids.len();
        match fids.insert(fid.0, Fid { serial, uid, top, inode, role: Role::Reserved }) {
            Ok(()) => Ok(Reserved { session: self, fid, serial }),
            Err(_) => Err(Error::TooManyOpen
                .with_message(format_args!("all {} fids are in use", Decimal::from(count)))),
        }
    }

    fn next_serial(&self) -> u32 {
        let serial = self.serial.get().wrapping_add(1);
        self.serial.set(serial);
        serial
    }

    /// Takes a fid out of use.
    fn take(&self, fid: wire::Fid) -> Result<Fid<V>> {
        let mut fids = self.fids.borrow_mut();
        match fids.get(fid.0) {
            Some(found) if !matches!(found.role, Role::Reserved) => {
                let taken = fids.remove(fid.0).ok_or_else(|| unknown(fid))?;
                self.leave(&taken.role);
                Ok(taken)
            }
            _ => Err(unknown(fid)),
        }
    }

    /// Has the reads looked at that may wait in what a fid stood for until now.
    fn leave(&self, role: &Role<V::Open>) {
        // A fixed tree, which finds the file closed when it is polled, is polled after every file:
        // to know more takes more flash.
        if role.has(Access::WAITED) || V::TreeKind::IMMUTABLE && matches!(role, Role::File { .. }) {
            self.left.set(true);
        }
    }

    /// Removes what a fid stood for: by Tremove, by ORCLOSE at the clunk or when the connection
    /// ends. What was attached to stays: its name is in a directory that the client may not see.
    async fn remove_file(&self, gone: &Fid<V>) -> Result<()> {
        if self.vfs.id(&gone.inode).ino == gone.top {
            return Err(Error::Busy);
        }
        self.vfs.remove(&gone.inode).await
    }

    /// Closes what a fid had open.
    fn close(&self, role: &Role<V::Open>) {
        if let Some(open) = role.opened() {
            self.vfs.close(open);
        }
    }

    /// Takes any fid out of use and closes what it had open.
    fn drop_one(&self) -> Option<Fid<V>> {
        // The borrow ends before the tree is called.
        let fid = self.fids.borrow_mut().pop()?;
        self.close(&fid.role);
        Some(fid)
    }

    /// Ends the connection in order: frees every fid and removes the files that were to go when
    /// they are closed. Waits as long as the tree does to remove them.
    pub async fn hang_up(&self) {
        while let Some(fid) = self.drop_one() {
            if !V::TreeKind::IMMUTABLE && fid.role.has(Access::REMOVE) {
                // Nobody is left to be told.
                let _ = self.remove_file(&fid).await;
            }
        }
    }
}

impl<V: Vfs, F: Fids<V>> Drop for Session<'_, V, F> {
    fn drop(&mut self) {
        while self.drop_one().is_some() {}
    }
}

/// A fid that a request is making. Dropped before [`keep`](Reserved::keep), the number is free
/// again.
struct Reserved<'s, 'v, V: Vfs, F: Fids<V>> {
    session: &'s Session<'v, V, F>,
    fid: wire::Fid,
    serial: u32,
}

impl<V: Vfs, F: Fids<V>> Reserved<'_, '_, V, F> {
    fn keep(self, inode: V::Inode, role: Role<V::Open>) {
        // Nobody else can have changed it: a reserved fid is unknown to all other requests.
        self.session.turn(self.fid, self.serial, inode, role);
        core::mem::forget(self);
    }
}

impl<V: Vfs, F: Fids<V>> Drop for Reserved<'_, '_, V, F> {
    fn drop(&mut self) {
        let mut fids = self.session.fids.borrow_mut();
        if fids.get(self.fid.0).is_some_and(|fid| fid.serial == self.serial) {
            let _ = fids.remove(self.fid.0);
        }
    }
}

#[cold]
#[inline(never)]
fn unknown(fid: wire::Fid) -> Error {
    Error::BadFile.with_message(format_args!("Unknown fid {}", Decimal::from(fid.0)))
}

#[cold]
#[inline(never)]
fn no_room(room: usize) -> Error {
    Error::TooLarge
        .with_message(format_args!("the reply does not fit {} bytes", Decimal::from(room)))
}

#[cold]
#[inline(never)]
fn refusal(size: usize, malformed: Malformed) -> Error {
    match malformed {
        Malformed::Unknown(_) => Error::NotSupported.with_message(malformed),
        other => Error::Invalid.with_message(format_args!(
            "malformed message of {} bytes: {other}",
            Decimal::from(size)
        )),
    }
}

/// Bytes of `size[4] type[1] tag[2] count[2]`.
const COUNTED_HEADER: usize = wire::HEADER + 2;

/// Puts the header in front of `len` bytes of a reply that are in their place already: the length
/// of it all.
#[inline(never)]
fn finish_counted(buf: &mut [u8], kind: u8, tag: Tag, count: usize, len: usize) -> Result<usize> {
    let room = buf.len();
    let mut writer = Writer::new(buf, Dialect::Legacy);
    writer.open(kind, tag);
    writer.count(count);
    writer.skip(len);
    writer.close().map_err(|_| no_room(room))
}

/// Whether replies of this type are encoded, and not made in place.
#[inline(always)]
fn encoded<V: Vfs>(kind: u8) -> bool {
    !matches!(kind, wire::TWALK | wire::TSTAT | wire::TREAD | wire::TREADDIR)
        && fixed::knows::<V>(kind)
}
