//! The handler for Tcreate and the decoder for Topen. Both requests contain an open mode and exist
//! only in 9P2000 and 9P2000.u.

use super::attributes::permissions;
use super::dispatch::{Call, check_end, fields};
use super::fids::FidRecordOf;
use super::namespace::symlink;
use super::open_files::OpenRequest;
use super::{FidTable, Session};
use crate::vfs::{Create, CreateKind, Error, FidRecord, FileType, OpenMode, Result, Vfs};
use crate::wire::{self, DMDEVICE, DMDIR, DMLINK, DMNAMEDPIPE, DMSOCKET, DMSYMLINK};
use crate::wire::{Dialect, Qid, Rmessage as R, Str, Tmessage as T};

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Decodes a Topen (open(5)).
    pub(super) fn topen(&self, call: &Call<'_>) -> Result<OpenRequest> {
        let (fid, mode) = fields!(self, call, TOPEN, Open { fid, mode });
        let remove = mode & ORCLOSE != 0;
        Ok(OpenRequest {
            fid,
            mode: open_mode(mode),
            remove,
            only_dir: false,
            #[cfg(feature = "linux")]
            follows_links: true,
        })
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
        let (dir, record) = self.directory(fid)?;
        let extension = extension.filter(|_| self.current_dialect() == Dialect::Unix);
        if perm & DMLINK != 0 && extension.is_some() {
            return self.hard_link(fid, &dir, record, name, extension).await;
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
        // According to open(5), a new file has the permissions `perm & (~0666 | (dir.perm &
        // 0666))`.
        let most = if new == CreateKind::Dir { 0o777 } else { 0o666 };
        let bits = bits & (!most | parent.mode & most);
        let create =
            Create { kind: new, mode: bits, uid: record.user(), gid: parent.gid, exclusive: false };
        let name = self.parse_name(name.as_bytes())?;
        let inode = self.vfs.create(&dir, name, create).await?;
        let qid =
            self.open_created(fid, record, inode, open_mode(mode), mode & ORCLOSE != 0).await?;
        Ok((qid, self.iounit()))
    }

    async fn hard_link(
        &self,
        fid: wire::Fid,
        dir: &V::Inode,
        record: FidRecordOf<V>,
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
        self.move_fid(fid, record, inode)?;
        Ok((self.qid_of(id), 0))
    }
}

/// The mode bit that requests removal of the file when the fid is clunked (open(5)).
const ORCLOSE: u8 = 0x40;
/// The mode bit that requests truncation of the file when it is opened (open(5)).
const OTRUNC: u8 = 0x10;

/// Parses the mode byte of Topen and Tcreate.
fn open_mode(mode: u8) -> OpenMode {
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
