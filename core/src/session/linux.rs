//! Handlers for the requests specific to 9P2000.L, which correspond to Linux file system calls.

use core::ops::ControlFlow;

use super::dispatch::{Call, check_end, fields};
use super::fids::{Access, FidRecordOf, FidState};
use super::namespace::symlink;
use super::open_files::{OpenRequest, read_data, too_many_links};
use super::reply::{COUNTED_HEADER, finish_counted, message_too_large};
use super::{FidTable, Session};
use crate::vfs::{
    self, Create, CreateKind, DirEntry, Error, FidRecord, FileType, Lock, LockKind, Name, OpenMode,
    Result, SetTime, Time, TreeKind, Vfs,
};
use crate::wire::{self, Attr, Dirent, Qid, SetAttr, Str};
use crate::wire::{Rmessage as R, Tmessage as T};

/// The file system type that `statfs(2)` reports for 9P.
const V9FS_MAGIC: u32 = 0x0102_1997;

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Decodes a Tlopen (open(2)).
    pub(super) fn tlopen(&self, call: &Call<'_>) -> Result<OpenRequest> {
        let (fid, flags) = fields!(self, call, TLOPEN, Lopen { fid, flags });
        Ok(OpenRequest {
            fid,
            mode: open_mode(flags),
            remove: false,
            only_dir: flags & O_DIRECTORY != 0,
            follows_links: flags & O_NOFOLLOW == 0,
        })
    }

    pub(super) async fn link(&self, call: &mut Call<'_>) -> Result<()> {
        let (dfid, fid, name) = fields!(self, call, TLINK, Link { dfid, fid, name });
        let (inode, dir) = (self.inode(fid)?, self.inode(dfid)?);
        let name = self.parse_name(name.as_bytes())?;
        self.vfs.link(&inode, &dir, name).await?;
        self.encode_empty(call)
    }

    pub(super) async fn rename(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, dfid, name) = fields!(self, call, TRENAME, Rename { fid, dfid, name });
        let inode = self.inode_below_root(fid, Error::RenameRoot)?;
        let dir = self.inode(dfid)?;
        let name = self.parse_name(name.as_bytes())?;
        self.vfs.rename(&inode, &dir, name).await?;
        self.encode_empty(call)
    }

    pub(super) async fn renameat(&self, call: &mut Call<'_>) -> Result<()> {
        let (olddirfid, oldname, newdirfid, newname) =
            fields!(self, call, TRENAMEAT, Renameat { olddirfid, oldname, newdirfid, newname });
        let (old, new) = (self.inode(olddirfid)?, self.inode(newdirfid)?);
        let (oldname, newname) =
            (self.parse_name(oldname.as_bytes())?, self.parse_name(newname.as_bytes())?);
        let inode = self.vfs.lookup(&old, oldname).await?;
        self.vfs.rename(&inode, &new, newname).await?;
        self.encode_empty(call)
    }

    pub(super) async fn fsync(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, datasync) = fields!(self, call, TFSYNC, Fsync { fid, datasync });
        let inode = self.inode(fid)?;
        self.vfs.fsync(&inode, datasync.0 != 0).await?;
        self.encode_empty(call)
    }

    pub(super) async fn lock(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, kind, start, length, proc_id, client_id) =
            fields!(self, call, TLOCK, Lock { fid, kind, start, length, proc_id, client_id });
        let lock = lock(kind, start, length, proc_id, client_id)?;
        let open = self.open_file(fid)?;
        let granted = self.vfs.lock(&open, lock).await?;
        self.encode::<{ wire::TLOCK }>(call, R::Lock { status: u8::from(!granted) })
    }

    pub(super) async fn getattr(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TGETATTR, Getattr { fid });
        let inode = self.inode(fid)?;
        let attr = self.vfs.stat(&inode).await?;
        // An immutable tree stores neither owners nor times, and contains no devices.
        let time =
            |time| if V::TreeKind::IMMUTABLE { wire::Time::default() } else { to_wire(time) };
        let rdev = match attr.id.kind {
            _ if V::TreeKind::IMMUTABLE => 0,
            FileType::Char { major, minor } | FileType::Block { major, minor } => {
                rdev(major, minor)
            }
            _ => 0,
        };
        let reply = R::Getattr {
            attr: Attr {
                valid: Attr::BASIC,
                qid: self.qid_of(attr.id),
                mode: attr.mode & 0o7777 | file_type(attr.id.kind),
                uid: if V::TreeKind::IMMUTABLE { 0 } else { attr.uid },
                gid: if V::TreeKind::IMMUTABLE { 0 } else { attr.gid },
                nlink: attr.nlink.into(),
                rdev,
                size: attr.size,
                blksize: 4096,
                blocks: attr.allocated.div_ceil(512),
                atime: time(attr.atime),
                mtime: time(attr.mtime),
                ctime: time(attr.ctime),
                ..Attr::default()
            },
        };
        self.encode::<{ wire::TGETATTR }>(call, reply)
    }

    pub(super) async fn setattr(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, set) = fields!(self, call, TSETATTR, Setattr { fid, set });
        let inode = self.inode(fid)?;
        // A request that sets only the CTIME bit also counts as a change, even though it contains
        // no time for CTIME.
        if set.valid & SetAttr::CHANGES != 0 {
            let mut wanted = wanted::<V>(&set);
            if !V::TreeKind::IMMUTABLE {
                let (mode, size) = (wanted.mode, wanted.size);
                wanted.mode =
                    V::TreeKind::handle(|| self.mode_with(fid, &inode, mode, size)).await?;
            }
            self.vfs.set_attr(&inode, wanted).await?;
        }
        self.encode_empty(call)
    }

    /// Answers a Tlcreate.
    pub(super) async fn lcreate(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, name, flags, mode, gid) =
            fields!(self, call, TLCREATE, Lcreate { fid, name, flags, mode, gid });
        let qid = self.open_or_create(fid, name, flags, mode, gid).await?;
        self.encode::<{ wire::TLCREATE }>(call, R::Lcreate { qid, iounit: self.iounit() })
    }

    /// Implements open(2) with `O_CREAT`. Opens an existing file, and truncates it if `O_TRUNC` is
    /// set. Returns an error if the file exists and `O_EXCL` is set.
    async fn open_or_create(
        &self,
        fid: wire::Fid,
        name: Str<'_>,
        flags: u32,
        mode: u32,
        gid: u32,
    ) -> Result<Qid> {
        /// The maximum number of attempts to open or create the file. A limit is needed because
        /// other clients may repeatedly remove and create the file between the lookup and the
        /// creation.
        const TRIES: usize = 16;
        let (dir, record) = self.directory(fid)?;
        let uid = record.user();
        if flags & O_DIRECTORY != 0 {
            return Err(Error::Invalid);
        }
        let name = self.parse_name(name.as_bytes())?;
        let create =
            Create { kind: CreateKind::File, mode: mode & 0o7777, uid, gid, exclusive: true };
        let exclusive = flags & O_EXCL != 0;
        for _ in 0..TRIES {
            let there =
                if exclusive { Err(Error::NotFound) } else { self.vfs.lookup(&dir, name).await };
            match there {
                Ok(inode) => {
                    return self.open_existing(fid, record, inode, open_mode(flags)).await;
                }
                Err(error) if error.errno() != Error::NotFound.errno() => return Err(error),
                Err(_) => {}
            }
            match self.vfs.create(&dir, name, create).await {
                Ok(inode) => {
                    return self.open_created(fid, record, inode, open_mode(flags), false).await;
                }
                Err(error) if exclusive || error.errno() != Error::Exists.errno() => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Err(Error::Exists)
    }

    /// Opens an existing file for Tlcreate and makes the fid refer to it.
    async fn open_existing(
        &self,
        fid: wire::Fid,
        mut record: FidRecordOf<V>,
        inode: V::Inode,
        mode: OpenMode,
    ) -> Result<Qid> {
        match self.vfs.id(&inode).kind {
            FileType::Dir => return Err(Error::IsDirectory),
            // The client must follow symbolic links itself, because only the client knows its
            // mounts.
            FileType::Symlink => return Err(too_many_links()),
            _ => {}
        }
        record.enter();
        let mode = OpenMode { drops_set_id: record.user() != 0, ..mode };
        let open = self.vfs.open(&inode, mode).await?;
        self.move_fid_opened(fid, record, inode, open, Access::new(mode, false))
    }

    pub(super) async fn mkdir(&self, call: &mut Call<'_>) -> Result<()> {
        let (dfid, name, mode, gid) = fields!(self, call, TMKDIR, Mkdir { dfid, name, mode, gid });
        let qid = self.create_unopened(dfid, name, CreateKind::Dir, mode, gid).await?;
        self.encode::<{ wire::TMKDIR }>(call, R::Mkdir { qid })
    }

    pub(super) async fn symlink(&self, call: &mut Call<'_>) -> Result<()> {
        let (dfid, name, target, gid) =
            fields!(self, call, TSYMLINK, Symlink { dfid, name, target, gid });
        let link = symlink(target.as_bytes())?;
        let qid = self.create_unopened(dfid, name, link, 0o777, gid).await?;
        self.encode::<{ wire::TSYMLINK }>(call, R::Symlink { qid })
    }

    pub(super) async fn mknod(&self, call: &mut Call<'_>) -> Result<()> {
        let (dfid, name, mode, major, minor, gid) =
            fields!(self, call, TMKNOD, Mknod { dfid, name, mode, major, minor, gid });
        let new = mknod_kind(mode, major, minor)?;
        let qid = self.create_unopened(dfid, name, new, mode, gid).await?;
        self.encode::<{ wire::TMKNOD }>(call, R::Mknod { qid })
    }

    /// Creates a file of any kind without opening it.
    async fn create_unopened(
        &self,
        dfid: wire::Fid,
        name: Str<'_>,
        new: CreateKind<'_>,
        mode: u32,
        gid: u32,
    ) -> Result<Qid> {
        let (dir, uid) = self.with_fid(dfid, |fid| Ok((fid.inode.clone(), fid.record.user())))?;
        let create = Create { kind: new, mode: mode & 0o7777, uid, gid, exclusive: true };
        let name = self.parse_name(name.as_bytes())?;
        let inode = self.vfs.create(&dir, name, create).await?;
        Ok(self.qid(&inode))
    }

    pub(super) async fn unlinkat(&self, call: &mut Call<'_>) -> Result<()> {
        const AT_REMOVEDIR: u32 = 0x200;
        let (dirfid, name, flags) =
            fields!(self, call, TUNLINKAT, Unlinkat { dirfid, name, flags });
        let dir = self.inode(dirfid)?;
        let name = self.parse_name(name.as_bytes())?;
        let inode = self.vfs.lookup(&dir, name).await?;
        match (self.vfs.id(&inode).kind.is_dir(), flags & AT_REMOVEDIR != 0) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            _ => self.vfs.remove(&inode).await?,
        }
        self.encode_empty(call)
    }

    pub(super) async fn statfs(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TSTATFS, Statfs { fid });
        self.inode(fid)?;
        let known = self.vfs.statfs().await?;
        let statfs = wire::StatFs {
            kind: V9FS_MAGIC,
            bsize: known.block_size,
            blocks: known.blocks,
            bfree: known.free,
            bavail: known.free,
            files: known.files,
            ffree: known.files_free,
            fsid: 0,
            namelen: vfs::NAME_MAX as u32,
        };
        self.encode::<{ wire::TSTATFS }>(call, R::Statfs { statfs })
    }

    /// Answers a Treadlink. Reads the link target directly into the reply.
    pub(super) async fn readlink(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TREADLINK, Readlink { fid });
        let Call { buf, tag, .. } = call;
        let tag = *tag;
        let inode = self.inode(fid)?;
        let target = buf.get_mut(COUNTED_HEADER..).unwrap_or_default();
        let room = target.len().min(usize::from(u16::MAX));
        let target = target.get_mut(..room).unwrap_or_default();
        let len = match self.vfs.readlink(&inode, target).await {
            Err(Error::Range) => return Err(message_too_large(room)),
            len => len?,
        };
        finish_counted(buf, wire::RREADLINK, tag, len, len)
    }

    /// Answers a Treaddir with whole entries. `offset` must be 0 or the offset stored in an entry
    /// of an earlier reply.
    pub(super) async fn readdir(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, offset, count) = fields!(self, call, TREADDIR, Readdir { fid, offset, count });
        let Call { buf, tag, .. } = call;
        let tag = *tag;
        let open = self.with_fid(fid, |fid| match &fid.state {
            FidState::Dir { open, .. } => Ok(open.clone()),
            FidState::File { .. } => Err(Error::NotDirectory),
            _ => Err(Error::ReadUnopened),
        })?;
        let data = read_data(buf, self.data_limit(count));
        let (mut filled, mut full) = (0usize, false);
        let mut put = |entry: DirEntry<'_, V::Inode>| {
            let kind = d_type(entry.id.kind);
            let dirent = Dirent {
                qid: self.qid_of(entry.id),
                offset: entry.next,
                kind,
                name: Str(entry.name),
            };
            match dirent.encode_into(data.get_mut(filled..).unwrap_or_default()) {
                Ok(n) => {
                    filled = filled.saturating_add(n);
                    ControlFlow::Continue(())
                }
                Err(_) => {
                    full = true;
                    ControlFlow::Break(())
                }
            }
        };
        self.vfs.readdir(&open, offset, &mut put).await?;
        if full && filled == 0 {
            return Err(Error::CountTooSmall);
        }
        wire::finish_read(buf, wire::RREADDIR, tag, filled);
        Ok(())
    }

    pub(super) async fn xattrwalk(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, newfid, name) = fields!(self, call, TXATTRWALK, Xattrwalk { fid, newfid, name });
        let (inode, record) = self.with_fid(fid, |fid| Ok((fid.inode.clone(), fid.record)))?;
        let reserved = self.reserve_fid(newfid, record, inode.clone())?;
        let name = match name.as_bytes() {
            [] => None,
            name => Some(Name::for_xattr(name)?),
        };
        let (open, size) = self.vfs.open_xattr(&inode, name).await?;
        reserved.commit(record, inode, FidState::Xattr { open, access: Access::READ });
        self.encode::<{ wire::TXATTRWALK }>(call, R::Xattrwalk { size })
    }

    pub(super) async fn xattrcreate(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, name, attr_size, flags) =
            fields!(self, call, TXATTRCREATE, Xattrcreate { fid, name, attr_size, flags });
        let (inode, record) = self.with_fid(fid, |fid| match fid.state {
            FidState::Walked => Ok((fid.inode.clone(), fid.record)),
            _ => Err(Error::AlreadyOpen),
        })?;
        let name = Name::for_xattr(name.as_bytes())?;
        if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
            return Err(Error::Invalid);
        }
        let (create, replace) = (flags & XATTR_CREATE != 0, flags & XATTR_REPLACE != 0);
        let open = self.vfs.create_xattr(&inode, name, attr_size, create, replace).await?;
        self.move_fid_to(fid, record, inode, FidState::Xattr { open, access: Access::WRITE })?;
        self.encode_empty(call)
    }

    /// Answers a Tgetlock. The reply is built in the part of the buffer that follows the request,
    /// because it may borrow a client name from the request.
    pub(super) async fn getlock(&self, call: &mut Call<'_>) -> Result<()> {
        let Call { buf, len, tag } = call;
        let (len, tag) = (*len, *tag);
        let (frame, out) = buf.split_at_mut_checked(len).ok_or(Error::Invalid)?;
        let (fid, kind, start, length, proc_id, client_id) = fields!(
            self.reader(frame),
            TGETLOCK,
            Getlock { fid, kind, start, length, proc_id, client_id }
        );
        let lock = lock(kind, start, length, proc_id, client_id)?;
        let open = self.open_file(fid)?;
        let room = out.len();
        let n = self
            .vfs
            .get_lock(&open, lock, |found| {
                let (kind, found) = found
                    .map_or((2, lock), |found| (u8::from(found.kind == LockKind::Write), found));
                let reply = R::Getlock {
                    kind,
                    start: found.start,
                    length: found.length,
                    proc_id: found.process,
                    client_id: Str(found.client),
                };
                self.try_encode::<{ wire::TGETLOCK }>(&reply, tag, out)
            })
            .await?
            .map_err(|_| message_too_large(room))?;
        buf.copy_within(len..len.saturating_add(n), 0);
        Ok(())
    }

    fn open_file(&self, fid: wire::Fid) -> Result<V::Open> {
        self.with_fid(fid, |fid| match &fid.state {
            FidState::File { open, .. } => Ok(open.clone()),
            _ => Err(Error::BadFile),
        })
    }
}

const O_EXCL: u32 = 0o200;
const O_DIRECTORY: u32 = 0o200_000;
const O_NOFOLLOW: u32 = 0o400_000;

const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;

/// Returns the changes that a Tsetattr requests. An immutable tree stores neither owners nor times.
fn wanted<V: Vfs>(set: &SetAttr) -> vfs::SetAttr {
    let on = |bit| set.valid & bit != 0;
    let mode = on(SetAttr::MODE).then_some(set.mode & 0o7777);
    let size = on(SetAttr::SIZE).then_some(set.size);
    if V::TreeKind::IMMUTABLE {
        return vfs::SetAttr { mode, size, ..vfs::SetAttr::default() };
    }
    let time = |touch, given, to: wire::Time| {
        on(touch).then_some(if on(given) { SetTime::To(from_wire(to)) } else { SetTime::Now })
    };
    vfs::SetAttr {
        mode,
        size,
        uid: on(SetAttr::UID).then_some(set.uid),
        gid: on(SetAttr::GID).then_some(set.gid),
        atime: time(SetAttr::ATIME, SetAttr::ATIME_SET, set.atime),
        mtime: time(SetAttr::MTIME, SetAttr::MTIME_SET, set.mtime),
    }
}

/// Parses the flags of Tlopen and Tlcreate. Flags that have no meaning for this server are ignored.
fn open_mode(flags: u32) -> OpenMode {
    let access = flags & 3;
    OpenMode {
        read: access != 1,
        write: matches!(access, 1 | 2),
        truncate: flags & 0o1000 != 0,
        append: flags & 0o2000 != 0,
        drops_set_id: false,
    }
}

fn lock(kind: u8, start: u64, length: u64, process: u32, client: Str<'_>) -> Result<Lock<'_>> {
    let kind = match kind {
        0 => LockKind::Read,
        1 => LockKind::Write,
        2 => LockKind::Unlock,
        other => {
            return Err(
                Error::Invalid.with_message(format_args!("lock type {other} is not 0, 1 or 2"))
            );
        }
    };
    Ok(Lock { kind, start, length, process, client: client.as_bytes() })
}

/// Returns the kind of file that Tmknod creates. Like `mknod(2)`, Tmknod can also create regular
/// files.
fn mknod_kind(mode: u32, major: u32, minor: u32) -> Result<CreateKind<'static>> {
    match mode & 0o170_000 {
        0 | 0o100_000 => Ok(CreateKind::File),
        0o010_000 => Ok(CreateKind::Special(FileType::Fifo)),
        0o140_000 => Ok(CreateKind::Special(FileType::Socket)),
        0o020_000 => Ok(CreateKind::Special(FileType::Char { major, minor })),
        0o060_000 => Ok(CreateKind::Special(FileType::Block { major, minor })),
        _ => Err(Error::Invalid),
    }
}

fn file_type(kind: FileType) -> u32 {
    u32::from(d_type(kind)) << 12
}

/// Returns the `d_type` of a directory entry (`readdir(3)`). The value equals the file type bits of
/// a mode, shifted right by 12 bits.
fn d_type(kind: FileType) -> u8 {
    match kind {
        FileType::Fifo => 1,
        FileType::Char { .. } => 2,
        FileType::Dir => 4,
        FileType::Block { .. } => 6,
        FileType::File => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
    }
}

/// Packs a device number in the format that Linux uses in 9P messages (`makedev(3)`).
fn rdev(major: u32, minor: u32) -> u64 {
    u64::from(minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12)
}

fn to_wire(time: Time) -> wire::Time {
    wire::Time { sec: time.sec.cast_unsigned(), nsec: time.nsec.into() }
}

fn from_wire(time: wire::Time) -> Time {
    Time {
        sec: time.sec.cast_signed(),
        nsec: u32::try_from(time.nsec).unwrap_or(0).min(999_999_999),
    }
}
