//! Handlers for version, attach, walk and remove requests, and the steps shared by all requests
//! that create a file.

use super::dispatch::{Call, check_end, fields};
use super::fids::{Access, FidRecordOf, FidState};
use super::reply::message_too_large;
use super::{FidTable, MIN_MSIZE, Session};
use crate::vfs::{
    CreateKind, Error, FidRecord, FileType, Name, OpenMode, Result, TreeKind, User, Vfs,
};
use crate::wire::{
    self, Dialect, Field, List, Numeric, Qid, Reader, Rmessage as R, Str, Tmessage as T, Writer,
};

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
        let mut record = FidRecordOf::<V>::new(number.unwrap_or(0));
        let reserved = self.reserve_fid(fid, record, inode.clone())?;
        for name in aname.as_bytes().split(|b| *b == b'/') {
            inode = self.step(&inode, Str(name), &mut record).await?;
        }
        let id = self.vfs.id(&inode);
        record.set_attach_point(id.ino);
        reserved.commit(record, inode, FidState::Walked);
        self.attached.set(true);
        self.encode::<{ wire::TATTACH }>(call, R::Attach { qid: self.qid_of(id) })
    }

    /// Answers a Twalk (walk(5)).
    pub(super) async fn walk(&self, call: &mut Call<'_>) -> Result<()> {
        let Call { buf, len, tag } = call;
        let (len, tag) = (*len, *tag);
        let (frame, rest) = buf.split_at_mut_checked(len).ok_or(Error::Invalid)?;
        let (fid, newfid, wnames) =
            fields!(self.reader(frame), TWALK, Walk { fid, newfid, wnames });
        let (mut inode, mut record) =
            self.with_fid(fid, |fid| Ok((fid.inode.clone(), fid.record)))?;
        let reserved = if newfid == fid {
            None
        } else {
            Some(self.reserve_fid(newfid, record, inode.clone())?)
        };
        // A decoded list borrows the bytes of the frame.
        let List::Wire { count: wanted, bytes } = wnames else { return Err(Error::Invalid) };
        let mut names = Reader::new(bytes, Dialect::Legacy);
        // Store the qids in the space after the request, because the reply overwrites the request.
        let room = rest.len();
        let mut qids = Writer::new(rest, Dialect::Legacy);
        let mut count = 0;
        while count < wanted {
            match self.step(&inode, Str::decode(&mut names), &mut record).await {
                Ok(next) => inode = next,
                Err(error) if count == 0 || self.vfs.strict_walk() => return Err(error),
                Err(_) => break,
            }
            self.qid(&inode).encode(&mut qids);
            count = count.saturating_add(1);
        }
        if qids.finish().is_err() {
            return Err(message_too_large(room));
        }
        // According to walk(5), if a name is not found, the reply contains the qids of the names
        // before it, and newfid is unaffected.
        if count == wanted {
            match reserved {
                Some(reserved) => reserved.commit(record, inode, FidState::Walked),
                None => self.move_fid(fid, record, inode)?,
            }
        }
        self.encode_walk(buf, len, tag, count.into())
    }

    /// Checks that a name sent by a client is valid and returns it.
    pub(super) fn parse_name<'n>(&self, name: &'n [u8]) -> Result<Name<'n>> {
        if self.vfs.allows_slash() { Name::allowing_slash(name) } else { Name::new(name) }
    }

    /// Walks from `dir` to the file named `name`. An empty name refers to the directory itself, as
    /// some clients expect.
    fn step<'s>(
        &'s self,
        dir: &'s V::Inode,
        name: Str<'s>,
        record: &'s mut FidRecordOf<V>,
    ) -> impl Future<Output = Result<V::Inode>> {
        V::TreeKind::handle(move || self.find(dir, name, record))
    }

    async fn find(
        &self,
        dir: &V::Inode,
        name: Str<'_>,
        record: &mut FidRecordOf<V>,
    ) -> Result<V::Inode> {
        let id = self.vfs.id(dir);
        if !id.kind.is_dir() && !name.as_bytes().is_empty() {
            return Err(Error::WalkFromFile);
        }
        match name.as_bytes() {
            b"" => Ok(dir.clone()),
            b"." => Err(Error::WalkDot),
            b".." => Ok(self.above(dir, record)),
            name => {
                let name = self.parse_name(name)?;
                let found = self.vfs.lookup(dir, name).await?;
                record.enter();
                Ok(found)
            }
        }
    }

    /// Returns the parent of `dir`, or `dir` itself if the parent is outside the attached tree. The
    /// parent is outside if `dir` is the attach point, was removed, or was moved out of the
    /// attached tree.
    fn above(&self, dir: &V::Inode, record: &mut FidRecordOf<V>) -> V::Inode {
        let mut below = self.vfs.id(dir).ino;
        let above = self.vfs.parent(dir);
        let mut at = above.clone();
        while !record.is_attach_point(below) {
            let ino = self.vfs.id(&at).ino;
            // Files are never moved in an immutable tree, so `dir` is still below the attach point.
            if V::TreeKind::IMMUTABLE || record.is_attach_point(ino) {
                record.leave();
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

    /// Returns the inode and the record of `fid` if it refers to an unopened directory.
    /// Files cannot be created through the fid of an open directory.
    pub(super) fn directory(&self, fid: wire::Fid) -> Result<(V::Inode, FidRecordOf<V>)> {
        let found = self.with_fid(fid, |fid| match fid.state {
            FidState::Walked => Ok((fid.inode.clone(), fid.record)),
            _ => Err(Error::CreateInOpened),
        })?;
        if !self.vfs.id(&found.0).kind.is_dir() {
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
        fid: wire::Fid,
        mut record: FidRecordOf<V>,
        inode: V::Inode,
        mode: OpenMode,
        remove: bool,
    ) -> Result<Qid> {
        record.enter();
        if matches!(self.vfs.id(&inode).kind, FileType::File | FileType::Dir) {
            // If the file already existed, `create` has truncated it.
            let mode = OpenMode { truncate: false, drops_set_id: record.user() != 0, ..mode };
            let open = self.vfs.open(&inode, mode).await?;
            return self.move_fid_opened(fid, record, inode, open, Access::new(mode, remove));
        }
        self.move_fid(fid, record, inode.clone())?;
        Ok(self.qid(&inode))
    }

    /// Answers a Tremove (remove(5)). The fid is clunked even if the removal fails.
    pub(super) async fn remove(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TREMOVE, Remove { fid });
        let taken = self.take_fid(fid)?;
        self.close_state(&taken.state);
        self.remove_file(&taken).await?;
        self.encode_empty(call)
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
