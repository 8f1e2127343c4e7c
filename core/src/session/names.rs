//! Requests about names: version, attach, walk, create, remove.

use super::attrs::permissions;
use super::fids::Role;
use super::{COUNTED_HEADER, Fids, MSIZE_MIN, Session, finish_counted, no_room, unknown};
use crate::vfs::{Create, Error, FileType, New, OpenMode, Result, TreeKind, User, Vfs};
use crate::wire::{self, Dialect, Field, List, Numeric, Qid, Str, Tag, Writer};

const DMDIR: u32 = 0x8000_0000;
const DMSYMLINK: u32 = 0x0200_0000;
const DMLINK: u32 = 0x0100_0000;
const DMDEVICE: u32 = 0x0080_0000;
const DMNAMEDPIPE: u32 = 0x0020_0000;
const DMSOCKET: u32 = 0x0010_0000;

impl<V: Vfs, F: Fids<V>> Session<'_, V, F> {
    /// version(5): "resets the session: all outstanding I/O is aborted, all fids are clunked". What
    /// was agreed on.
    pub(super) async fn version(
        &self,
        msize: u32,
        version: Str<'_>,
    ) -> Result<(u32, Str<'static>)> {
        self.hang_up().await;
        let dialect = if msize < MSIZE_MIN { None } else { Dialect::offered(version) };
        self.dialect.set(dialect);
        self.msize.set(if dialect.is_some() {
            msize.min(self.limits.msize)
        } else {
            self.limits.msize
        });
        let version = dialect.map_or("unknown", Dialect::version).into();
        Ok((msize.min(self.limits.msize), version))
    }

    /// attach(5). `aname` is the path of the subtree to be shown; empty or `/` is all of it.
    pub(super) async fn attach(
        &self,
        fid: wire::Fid,
        uname: Str<'_>,
        aname: Str<'_>,
        n_uname: Numeric,
    ) -> Result<Qid> {
        let number = if n_uname == Numeric::NONE { None } else { Some(n_uname.0) };
        let root = self.vfs.attach(User { name: uname.as_bytes(), number });
        let uid = number.unwrap_or(0);
        let reserved = self.reserve(fid, uid, 0, root.clone())?;
        let mut inode = root;
        for name in aname.as_bytes().split(|b| *b == b'/') {
            inode = self.step(&inode, Str(name), 0).await?;
        }
        let id = self.vfs.id(&inode);
        self.commit(fid, reserved.serial, |fid| fid.top = id.ino);
        reserved.keep(inode, Role::Walked);
        self.attached.set(true);
        Ok(self.qid_of(id))
    }

    /// walk(5). The qids go to `rest`, in order; how many there are is returned.
    pub(super) async fn walk(
        &self,
        fid: wire::Fid,
        newfid: wire::Fid,
        wnames: List<'_, Str<'_>>,
        rest: &mut [u8],
    ) -> Result<usize> {
        let (mut inode, serial, uid, top) =
            self.with(fid, |fid| Ok((fid.inode.clone(), fid.serial, fid.uid, fid.top)))?;
        let reserved = if newfid == fid {
            None
        } else {
            Some(self.reserve(newfid, uid, top, inode.clone())?)
        };
        let wanted = wnames.len();
        if rest.len() / Qid::SIZE < wanted {
            return Err(no_room(rest.len()));
        }
        let mut count = 0usize;
        for name in wnames.iter() {
            match self.step(&inode, name, top).await {
                Ok(next) => inode = next,
                Err(error) if count == 0 || self.vfs.strict_walk() => return Err(error),
                // "otherwise the names found so far, and newfid is unaffected"
                Err(_) => return Ok(count),
            }
            put_qid(rest, count, self.qid(&inode));
            count = count.saturating_add(1);
        }
        match reserved {
            Some(reserved) => reserved.keep(inode, Role::Walked),
            None => self.move_fid(fid, serial, inode)?,
        }
        Ok(count)
    }

    /// One name of a walk. The empty name stays, as some clients expect of it.
    async fn step(&self, dir: &V::Inode, name: Str<'_>, top: u64) -> Result<V::Inode> {
        let id = self.vfs.id(dir);
        if id.kind != FileType::Dir && !name.as_bytes().is_empty() {
            return Err(Error::WalkFromFile);
        }
        match name.as_bytes() {
            b"" => Ok(dir.clone()),
            b"." => Err(Error::WalkDot),
            b".." => Ok(self.above(dir, top)),
            name => {
                let name = self.name(name)?;
                self.vfs.lookup(dir, name).await
            }
        }
    }

    /// The directory above `dir`, or `dir` where that is not in the tree that was attached to: at
    /// its top, or because `dir` was removed or moved away since it was walked to.
    fn above(&self, dir: &V::Inode, top: u64) -> V::Inode {
        let mut below = self.vfs.id(dir).ino;
        let above = self.vfs.parent(dir);
        if V::TreeKind::IMMUTABLE {
            // Nothing moves: what was walked to from the top is below it for ever.
            return if below == top { dir.clone() } else { above };
        }
        let mut at = above.clone();
        while below != top {
            let ino = self.vfs.id(&at).ino;
            if ino == top {
                return above;
            }
            // The root is its own parent.
            if ino == below {
                break;
            }
            below = ino;
            at = self.vfs.parent(&at);
        }
        dir.clone()
    }

    /// The fid stands for something else now, not open.
    fn move_fid(&self, fid: wire::Fid, serial: u32, inode: V::Inode) -> Result<()> {
        let old = self.turn(fid, serial, inode, Role::Walked).ok_or_else(|| unknown(fid))?;
        self.leave(&old);
        self.close(&old);
        Ok(())
    }

    /// open(5), Tcreate: the fid then stands for the new object, open. Its qid and iounit.
    pub(super) async fn create(
        &self,
        fid: wire::Fid,
        name: Str<'_>,
        perm: u32,
        mode: u8,
        extension: Option<Str<'_>>,
    ) -> Result<(Qid, u32)> {
        let (dir, serial, uid) = self.directory(fid)?;
        let extension = extension.filter(|_| self.spoken() == Dialect::Unix);
        if perm & DMLINK != 0 && extension.is_some() {
            return self.hard_link(fid, &dir, serial, name, extension).await;
        }
        let new = new(perm, extension)?;
        let bits = permissions(perm)?;
        // open(5): not to be truncated, nor removed on close. That it cannot be written is left to
        // the write: some clients make directories with ORDWR.
        match new {
            New::Dir if mode & (OTRUNC | ORCLOSE) != 0 => return Err(Error::IsDirectory),
            New::Symlink(_) | New::Special(_) if mode & ORCLOSE != 0 => return Err(Error::Invalid),
            _ => {}
        }
        let parent = self.vfs.stat(&dir).await?;
        // open(5): "the permissions of a file are perm & (~0666 | dir.perm & 0666)"
        let most = if new == New::Dir { 0o777 } else { 0o666 };
        let bits = bits & (!most | parent.mode & most);
        let create = Create { new, mode: bits, uid, gid: parent.gid, exclusive: false };
        let name = self.name(name.as_bytes())?;
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
            Error::Invalid.with_message(format_args!("a link needs the number of a fid"))
        })?;
        let inode = self.inode(wire::Fid(target))?;
        let name = self.name(name.as_bytes())?;
        self.vfs.link(&inode, dir, name).await?;
        let id = self.vfs.id(&inode);
        self.move_fid(fid, serial, inode)?;
        Ok((self.qid_of(id), 0))
    }

    /// The directory in which `fid` may create a name.
    pub(super) fn directory(&self, fid: wire::Fid) -> Result<(V::Inode, u32, u32)> {
        let found = self.with(fid, |fid| match fid.role {
            Role::Walked => Ok((fid.inode.clone(), fid.serial, fid.uid)),
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

    /// OpenFiles what was created, where that is a file or a directory, and moves the fid to it; not
    /// before the open has succeeded.
    pub(super) async fn open_created(
        &self,
        (fid, serial, uid): (wire::Fid, u32, u32),
        inode: V::Inode,
        mode: OpenMode,
        remove: bool,
    ) -> Result<Qid> {
        if matches!(self.vfs.id(&inode).kind, FileType::File | FileType::Dir) {
            // A file that was emptied to make room for this one has been emptied by `create`.
            let mode = OpenMode { truncate: false, drops_set_id: uid != 0, ..mode };
            self.open_inode(fid, serial, &inode, mode, remove).await?;
        } else {
            self.move_fid(fid, serial, inode.clone())?;
        }
        Ok(self.qid(&inode))
    }

    /// remove(5): "the fid is clunked even if the remove fails".
    pub(super) async fn remove(&self, fid: wire::Fid) -> Result<()> {
        let taken = self.take(fid)?;
        self.close(&taken.role);
        self.remove_file(&taken).await
    }
}

/// open(5): removed when it is clunked.
pub(super) const ORCLOSE: u8 = 0x40;
/// open(5): emptied when it is opened.
const OTRUNC: u8 = 0x10;

/// The mode byte of Topen and Tcreate.
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

/// What Tcreate is to make.
fn new<'a>(perm: u32, extension: Option<Str<'a>>) -> Result<New<'a>> {
    let text = extension.map(|text| text.as_bytes()).unwrap_or_default();
    if (perm & (DMDIR | DMSYMLINK | DMNAMEDPIPE | DMSOCKET | DMDEVICE)).count_ones() > 1 {
        return Err(Error::Invalid);
    }
    if perm & DMDIR != 0 {
        Ok(New::Dir)
    } else if perm & DMSYMLINK != 0 {
        match text {
            [] => Err(Error::NotFound.with_message(Error::SymlinkTarget)),
            text => symlink(text),
        }
    } else if perm & DMNAMEDPIPE != 0 {
        Ok(New::Special(FileType::Fifo))
    } else if perm & DMSOCKET != 0 {
        Ok(New::Special(FileType::Socket))
    } else if perm & DMDEVICE != 0 {
        let wanted = format_args!("a device is `b MAJOR MINOR` or `c MAJOR MINOR`");
        device(text).map(New::Special).ok_or_else(|| Error::Invalid.with_message(wanted))
    } else {
        Ok(New::File)
    }
}

/// A symbolic link to `target`, as `symlink(2)` has it.
///
/// # Errors
/// [`Error::NotFound`] for an empty target, [`Error::NameTooLong`] for one that Linux could not
/// follow, [`Error::Invalid`] with a NUL.
pub(super) fn symlink(target: &[u8]) -> Result<New<'_>> {
    match target.len() {
        0 => Err(Error::NotFound),
        1..=TARGET_MAX if target.contains(&0) => Err(Error::Invalid),
        1..=TARGET_MAX => Ok(New::Symlink(target)),
        _ => Err(Error::NameTooLong),
    }
}

/// The longest target of a symbolic link: PATH_MAX without its NUL.
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

/// Keeps a qid behind the request, in order, where Rwalk will be made of it.
fn put_qid(rest: &mut [u8], index: usize, qid: Qid) {
    let at = index.saturating_mul(Qid::SIZE);
    qid.encode(&mut Writer::new(rest.get_mut(at..).unwrap_or_default(), Dialect::Legacy));
}

/// Rwalk out of the qids that [`walk`](Session::walk) left behind the request of `len` bytes, over
/// the request.
pub(super) fn finish_walk(buf: &mut [u8], len: usize, tag: Tag, count: usize) -> Result<usize> {
    let qids = count.saturating_mul(Qid::SIZE);
    // A Twalk is at least 17 bytes: the qids move to the front.
    buf.copy_within(len..len.saturating_add(qids), COUNTED_HEADER);
    finish_counted(buf, wire::RWALK, tag, count, qids)
}
