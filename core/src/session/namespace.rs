//! Handlers for version, attach, walk, create and remove requests.

use super::attributes::permissions;
use super::dispatch::{Call, check_end, fields};
use super::fids::{Access, FidState};
use super::reply::{reply_too_large, store_qid};
use super::{FidTable, MIN_MSIZE, Session};
use crate::vfs::{
    Create, CreateKind, Error, FileType, Name, OpenMode, Result, TreeKind, User, Vfs,
};
use crate::wire::{self, DMDEVICE, DMDIR, DMLINK, DMNAMEDPIPE, DMSOCKET, DMSYMLINK};
use crate::wire::{Dialect, Numeric, Qid, Rmessage as R, Str, Tmessage as T};

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Answers a Tversion (version(5)). Clunks all fids and negotiates the msize and
    /// version. The caller has already aborted the requests in flight.
    pub(super) async fn version(&self, call: &mut Call<'_>) -> Result<()> {
        let (msize, version) = fields!(self, call, TVERSION, Version { msize, version });
        self.close().await;
        let dialect = if msize < MIN_MSIZE { None } else { Dialect::offered(version) };
        self.dialect.set(dialect);
        self.msize.set(if dialect.is_some() {
            msize.min(self.limits.msize)
        } else {
            self.limits.msize
        });
        let version = dialect.map_or("unknown", Dialect::version).into();
        let msize = msize.min(self.limits.msize);
        self.encode::<{ wire::TVERSION }>(call, R::Version { msize, version })
    }

    /// Answers a Tattach (attach(5)). `aname` is the path of the subtree to attach to. An empty
    /// path or `/` attaches to the whole tree.
    pub(super) async fn attach(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, uname, aname, n_uname) =
            fields!(self, call, TATTACH, Attach { fid, uname, aname, n_uname });
        let number = if n_uname == Numeric::NONE { None } else { Some(n_uname.0) };
        let mut inode = self.vfs.attach(User { name: uname.as_bytes(), number });
        let uid = number.unwrap_or(0);
        let reserved = self.reserve_fid(fid, uid, 0, inode.clone())?;
        for name in aname.as_bytes().split(|b| *b == b'/') {
            inode = self.step(&inode, Str(name), 0).await?;
        }
        let id = self.vfs.id(&inode);
        self.update_fid(fid, reserved.serial, |fid| fid.root = id.ino);
        reserved.commit(inode, FidState::Walked);
        self.attached.set(true);
        self.encode::<{ wire::TATTACH }>(call, R::Attach { qid: self.qid_of(id) })
    }

    /// Answers a Twalk (walk(5)).
    pub(super) async fn walk(&self, call: &mut Call<'_>) -> Result<()> {
        let Call { buf, len, tag } = call;
        let (len, tag) = (*len, *tag);
        let (frame, rest) = buf.split_at_mut_checked(len).ok_or(Error::Invalid)?;
        let (fid, newfid, wnames) =
            fields!(self, len, self.reader(frame), TWALK, Walk { fid, newfid, wnames });
        let (mut inode, serial, uid, root) =
            self.with_fid(fid, |fid| Ok((fid.inode.clone(), fid.serial, fid.uid, fid.root)))?;
        let reserved = if newfid == fid {
            None
        } else {
            Some(self.reserve_fid(newfid, uid, root, inode.clone())?)
        };
        let wanted = wnames.len();
        if rest.len() / Qid::SIZE < wanted {
            return Err(reply_too_large(rest.len()));
        }
        let mut count = 0usize;
        for name in wnames.iter() {
            match self.step(&inode, name, root).await {
                Ok(next) => inode = next,
                Err(error) if count == 0 || self.vfs.strict_walk() => return Err(error),
                // According to walk(5), the reply contains the qids found so far, and newfid is
                // unaffected.
                Err(_) => return self.encode_walk(buf, len, tag, count),
            }
            store_qid(rest, count, self.qid(&inode));
            count = count.saturating_add(1);
        }
        match reserved {
            Some(reserved) => reserved.commit(inode, FidState::Walked),
            None => self.move_fid(fid, serial, inode)?,
        }
        self.encode_walk(buf, len, tag, count)
    }

    /// Checks that a name sent by a client is valid and returns the name.
    pub(super) fn parse_name<'n>(&self, name: &'n [u8]) -> Result<Name<'n>> {
        if self.vfs.allows_slash() { Name::allowing_slash(name) } else { Name::new(name) }
    }

    /// Walks from `dir` to the file called `name`. An empty name refers to the directory itself, as
    /// some clients expect.
    async fn step(&self, dir: &V::Inode, name: Str<'_>, root: u64) -> Result<V::Inode> {
        let id = self.vfs.id(dir);
        if id.kind != FileType::Dir && !name.as_bytes().is_empty() {
            return Err(Error::WalkFromFile);
        }
        match name.as_bytes() {
            b"" => Ok(dir.clone()),
            b"." => Err(Error::WalkDot),
            b".." => Ok(self.above(dir, root)),
            name => {
                let name = self.parse_name(name)?;
                self.vfs.lookup(dir, name).await
            }
        }
    }

    /// Returns the parent of `dir`, or `dir` itself if the parent is outside the attached tree. The
    /// parent is outside if `dir` is the attach point, was removed, or was moved out of the
    /// attached tree.
    fn above(&self, dir: &V::Inode, root: u64) -> V::Inode {
        let mut below = self.vfs.id(dir).ino;
        let above = self.vfs.parent(dir);
        if V::TreeKind::IMMUTABLE {
            // Files are never moved in an immutable tree, so `dir` is still at or below the attach
            // point.
            return if below == root { dir.clone() } else { above };
        }
        let mut at = above.clone();
        while below != root {
            let ino = self.vfs.id(&at).ino;
            if ino == root {
                return above;
            }
            // The root of the tree is its own parent.
            if ino == below {
                break;
            }
            below = ino;
            at = self.vfs.parent(&at);
        }
        dir.clone()
    }

    /// Answers a Tcreate (open(5)). Creates and opens a file, and makes the fid refer to it.
    pub(super) async fn create(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, name, perm, mode, extension) =
            fields!(self, call, TCREATE, Create { fid, name, perm, mode, extension });
        let (qid, iounit) = self.create_file(fid, name, perm, mode, extension.0).await?;
        self.encode::<{ wire::TCREATE }>(call, R::Create { qid, iounit })
    }

    /// Creates and opens a file, makes the fid refer to it, and returns its qid and iounit.
    async fn create_file(
        &self,
        fid: wire::Fid,
        name: Str<'_>,
        perm: u32,
        mode: u8,
        extension: Option<Str<'_>>,
    ) -> Result<(Qid, u32)> {
        let (dir, serial, uid) = self.directory(fid)?;
        let extension = extension.filter(|_| self.current_dialect() == Dialect::Unix);
        if perm & DMLINK != 0 && extension.is_some() {
            return self.hard_link(fid, &dir, serial, name, extension).await;
        }
        let new = new_kind(perm, extension)?;
        let bits = permissions(perm)?;
        // According to open(5), a directory can be neither truncated nor removed on close. ORDWR is
        // accepted because some clients create directories with this mode. Later writes to the
        // directory fail.
        match new {
            CreateKind::Dir if mode & (OTRUNC | ORCLOSE) != 0 => return Err(Error::IsDirectory),
            CreateKind::Symlink(_) | CreateKind::Special(_) if mode & ORCLOSE != 0 => {
                return Err(Error::Invalid);
            }
            _ => {}
        }
        let parent = self.vfs.stat(&dir).await?;
        // According to open(5), a new file gets the permissions `perm & (~0666 | (dir.perm &
        // 0666))`.
        let most = if new == CreateKind::Dir { 0o777 } else { 0o666 };
        let bits = bits & (!most | parent.mode & most);
        let create = Create { kind: new, mode: bits, uid, gid: parent.gid, exclusive: false };
        let name = self.parse_name(name.as_bytes())?;
        let inode = self.vfs.create(&dir, name, create).await?;
        let qid = self
            .open_created((fid, serial, uid), inode, open_mode(mode), mode & ORCLOSE != 0)
            .await?;
        Ok((qid, self.iounit()))
    }

    async fn hard_link(
        &self,
        fid: wire::Fid,
        dir: &V::Inode,
        serial: u32,
        name: Str<'_>,
        extension: Option<Str<'_>>,
    ) -> Result<(Qid, u32)> {
        let target = extension
            .and_then(|text| core::str::from_utf8(text.as_bytes().trim_ascii()).ok()?.parse().ok());
        let target = target.ok_or_else(|| {
            Error::Invalid.with_message(format_args!("a hard link needs a fid number as extension"))
        })?;
        let inode = self.inode(wire::Fid(target))?;
        let name = self.parse_name(name.as_bytes())?;
        self.vfs.link(&inode, dir, name).await?;
        let id = self.vfs.id(&inode);
        self.move_fid(fid, serial, inode)?;
        Ok((self.qid_of(id), 0))
    }

    /// Returns the inode, serial number and user of `fid` if it refers to an unopened directory.
    /// Files cannot be created through the fid of an open directory.
    pub(super) fn directory(&self, fid: wire::Fid) -> Result<(V::Inode, u32, u32)> {
        let found = self.with_fid(fid, |fid| match fid.state {
            FidState::Walked => Ok((fid.inode.clone(), fid.serial, fid.uid)),
            _ => Err(Error::CreateInOpened),
        })?;
        if self.vfs.id(&found.0).kind != FileType::Dir {
            let mut error = Error::NotDirectory;
            self.vfs.name(&found.0, &mut |name| {
                error = Error::NotDirectory
                    .with_message(format_args!("\"{}\" is not a directory", Str(name)));
            });
            return Err(error);
        }
        Ok(found)
    }

    /// Opens a new file or directory, then makes the fid refer to it. New files of other kinds are
    /// not opened.
    pub(super) async fn open_created(
        &self,
        (fid, serial, uid): (wire::Fid, u32, u32),
        inode: V::Inode,
        mode: OpenMode,
        remove: bool,
    ) -> Result<Qid> {
        if matches!(self.vfs.id(&inode).kind, FileType::File | FileType::Dir) {
            // If the file already existed, `create` has truncated it.
            let mode = OpenMode { truncate: false, drops_set_id: uid != 0, ..mode };
            let open = self.vfs.open(&inode, mode).await?;
            return self.move_fid_opened(fid, serial, inode, open, Access::new(mode, remove));
        }
        self.move_fid(fid, serial, inode.clone())?;
        Ok(self.qid(&inode))
    }

    /// Answers a Tremove (remove(5)). The fid is clunked even if the removal fails.
    pub(super) async fn remove(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TREMOVE, Remove { fid });
        let taken = self.take_fid(fid)?;
        self.close_state(&taken.state);
        self.remove_file(&taken).await?;
        self.encode::<{ wire::TREMOVE }>(call, R::Remove)
    }
}

/// The mode bit that requests removal of the file when the fid is clunked (open(5)).
pub(super) const ORCLOSE: u8 = 0x40;
/// The mode bit that requests truncation of the file when it is opened (open(5)).
const OTRUNC: u8 = 0x10;

/// Parses the mode byte of Topen and Tcreate.
pub(super) fn open_mode(mode: u8) -> OpenMode {
    let access = mode & 3;
    OpenMode {
        read: access != 1,
        write: matches!(access, 1 | 2),
        truncate: mode & OTRUNC != 0,
        append: mode & 0x80 != 0,
        drops_set_id: false,
    }
}

/// Returns the kind of file that Tcreate creates.
fn new_kind<'a>(perm: u32, extension: Option<Str<'a>>) -> Result<CreateKind<'a>> {
    let text = extension.map(|text| text.as_bytes()).unwrap_or_default();
    if (perm & (DMDIR | DMSYMLINK | DMNAMEDPIPE | DMSOCKET | DMDEVICE)).count_ones() > 1 {
        return Err(Error::Invalid);
    }
    if perm & DMDIR != 0 {
        Ok(CreateKind::Dir)
    } else if perm & DMSYMLINK != 0 {
        match text {
            [] => Err(Error::NotFound.with_message(Error::SymlinkTarget)),
            text => symlink(text),
        }
    } else if perm & DMNAMEDPIPE != 0 {
        Ok(CreateKind::Special(FileType::Fifo))
    } else if perm & DMSOCKET != 0 {
        Ok(CreateKind::Special(FileType::Socket))
    } else if perm & DMDEVICE != 0 {
        let wanted = format_args!("a device needs `b MAJOR MINOR` or `c MAJOR MINOR`");
        device(text).map(CreateKind::Special).ok_or_else(|| Error::Invalid.with_message(wanted))
    } else {
        Ok(CreateKind::File)
    }
}

/// Returns a symbolic link to `target`. The target must meet the requirements of `symlink(2)`.
///
/// # Errors
/// Returns [`Error::NotFound`] if `target` is empty, [`Error::NameTooLong`] if it is longer than
/// [`TARGET_MAX`], and [`Error::Invalid`] if it contains a NUL.
pub(super) fn symlink(target: &[u8]) -> Result<CreateKind<'_>> {
    match target.len() {
        0 => Err(Error::NotFound),
        1..=TARGET_MAX if target.contains(&0) => Err(Error::Invalid),
        1..=TARGET_MAX => Ok(CreateKind::Symlink(target)),
        _ => Err(Error::NameTooLong),
    }
}

/// The maximum length, in bytes, of a symbolic link's target. The limit is one less than
/// `PATH_MAX`, which counts the terminating NUL.
const TARGET_MAX: usize = 4095;

fn device(text: &[u8]) -> Option<FileType> {
    let mut words = core::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let kind = words.next()?;
    let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    match kind {
        "b" => Some(FileType::Block { major, minor }),
        "c" => Some(FileType::Char { major, minor }),
        _ => None,
    }
}
