//! A place in the server's tree: a fid that is not open.

use std::sync::Arc;

use datakit_core::wire::{
    DMDIR, DMSYMLINK, Data, Dialect, Extension, Fid, List, Numeric, Qid, Rmessage as R, SetAttr,
    Stat, StatUnix, Str, Tmessage as T,
};

use super::error::{Error, Result};
use super::file::File;
use super::link::{Handle, Link};
use super::metadata::{FileType, Metadata, wire_bits};
use super::text::ByteString;

/// The most names in one walk (MAXWELEM).
const MOST_NAMES: usize = 16;
/// The getattr mask of everything a [`Metadata`] shows.
const BASIC: u64 = 0x7ff;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenMode {
    access: u8,
    truncate: bool,
}

impl OpenMode {
    /// For reading.
    pub const READ: OpenMode = OpenMode { access: 0, truncate: false };
    /// For writing.
    pub const WRITE: OpenMode = OpenMode { access: 1, truncate: false };
    /// For both.
    pub const READ_WRITE: OpenMode = OpenMode { access: 2, truncate: false };

    /// The same, and makes the file empty first. Servers ignore it on files that have no length to
    /// set.
    #[must_use]
    pub fn truncate(self) -> OpenMode {
        OpenMode { truncate: true, ..self }
    }

    /// The mode byte of Topen and Tcreate.
    fn byte(self) -> u8 {
        self.access | if self.truncate { 0x10 } else { 0 }
    }

    /// The flags of Tlopen and Tlcreate.
    fn flags(self) -> u32 {
        u32::from(self.access) | if self.truncate { 0o1000 } else { 0 }
    }
}

/// A place in the server's tree, not open. Dropping it clunks its fid in the background.
///
/// It stays on the file it was walked to when the file is renamed.
pub struct Node {
    handle: Handle,
    /// As the walk told it.
    qid: Qid,
}

/// The names of a path: empty ones and `.` are left out, `..` is left to the server.
pub(crate) fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect()
}

/// A path as its directory and its last name. The root and paths that end in `..` have none.
pub(crate) fn split_last(path: &[u8]) -> Result<(Vec<&[u8]>, &[u8])> {
    let mut names = names(path);
    match names.pop() {
        Some(last) if last != b".." => Ok((names, last)),
        _ => Err(Error::number(22)),
    }
}

impl Node {
    /// Tattach.
    pub(crate) async fn attach(
        link: &Arc<Link>,
        uname: &str,
        aname: &str,
        n_uname: u32,
    ) -> Result<Node> {
        let message = |fid| T::Attach {
            fid,
            afid: Fid::NONE,
            uname: Str(uname.as_bytes()),
            aname: Str(aname.as_bytes()),
            n_uname: Numeric(n_uname),
        };
        let (frame, handle) = link.call_making(0, message).await?;
        match (link.decode(&frame)?, handle) {
            (R::Attach { qid }, Some(handle)) => Ok(Node { handle, qid }),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }

    fn fid(&self) -> Fid {
        self.handle.fid
    }

    /// The server's identity of the file, as the walk told it.
    #[must_use]
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// Another place, `path` below this one; an empty path is this one again. Longer paths than 16
    /// names take several requests.
    ///
    /// # Errors
    /// `No such file or directory` (2), or `Is not a directory` (20) when a name before the last
    /// one is no directory.
    pub async fn walk(&self, path: impl AsRef<[u8]>) -> Result<Node> {
        self.walk_names(&names(path.as_ref())).await
    }

    pub(crate) async fn walk_names(&self, names: &[&[u8]]) -> Result<Node> {
        let mut steps = names.chunks(MOST_NAMES);
        let mut node = self.step(self.fid(), steps.next().unwrap_or_default()).await?;
        for step in steps {
            node = node.step(node.fid(), step).await?;
        }
        Ok(node)
    }

    /// One Twalk to a new fid.
    async fn step(&self, fid: Fid, names: &[&[u8]]) -> Result<Node> {
        let wnames: Vec<Str<'_>> = names.iter().map(|name| Str(name)).collect();
        let message = |newfid| T::Walk { fid, newfid, wnames: List::from(wnames.as_slice()) };
        let (frame, handle) = self.link().call_making(names.len(), message).await?;
        let last = match self.link().decode(&frame)? {
            R::Walk { wqids } => wqids.iter().last(),
            other => return Err(unexpected(&other)),
        };
        match handle {
            Some(handle) => Ok(Node { handle, qid: last.unwrap_or(self.qid) }),
            // The manual's way to say which name is missing: fewer qids.
            None if last.is_some_and(|qid| qid.kind & Qid::DIR == 0) => Err(Error::number(20)),
            None => Err(Error::number(2)),
        }
    }

    /// The same place with a fid of its own.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn clone_fid(&self) -> Result<Node> {
        self.walk_names(&[]).await
    }

    /// What the server says about the file.
    ///
    /// # Errors
    /// `Stale file handle` (116) or the like when it was removed.
    pub async fn stat(&self) -> Result<Metadata> {
        stat(self.link(), self.fid()).await
    }

    /// Opens the file; the place becomes the open file. A directory is opened for reading its
    /// names.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn open(self, how: OpenMode) -> Result<File> {
        let link = Arc::clone(self.link());
        let fid = self.fid();
        let message = match link.dialect {
            Dialect::Linux => T::Lopen { fid, flags: how.flags() },
            _ => T::Open { fid, mode: how.byte() },
        };
        let frame = link.call(&message).await?;
        match link.decode(&frame)? {
            R::Open { qid, iounit } | R::Lopen { qid, iounit } => {
                Ok(File::new(self.handle, qid, iounit))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a file in this directory and opens it; the place becomes the new file, open. `mode` is
    /// its permission bits.
    ///
    /// # Errors
    /// `Already exists` (17) where the directory minds, and what the server refuses.
    pub async fn create(self, name: impl AsRef<[u8]>, mode: u32, how: OpenMode) -> Result<File> {
        let link = Arc::clone(self.link());
        let fid = self.fid();
        let str = Str(name.as_ref());
        let message = match link.dialect {
            Dialect::Linux => T::Lcreate {
                fid,
                name: str,
                flags: how.flags() | 0o100,
                mode,
                gid: self.link().gid,
            },
            dialect => {
                let perm = permissions(mode, dialect);
                T::Create { fid, name: str, perm, mode: how.byte(), extension: Extension(None) }
            }
        };
        let frame = link.call(&message).await?;
        match link.decode(&frame)? {
            R::Create { qid, iounit } | R::Lcreate { qid, iounit } => {
                Ok(File::new(self.handle, qid, iounit))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a directory in this one. `mode` is its permission bits.
    ///
    /// # Errors
    /// `Already exists` (17) where the directory minds, and what the server refuses.
    pub async fn mkdir(&self, name: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let str = Str(name.as_ref());
        if self.link().dialect == Dialect::Linux {
            return self
                .done(&T::Mkdir { dfid: self.fid(), name: str, mode, gid: self.link().gid })
                .await;
        }
        self.create_special(str, DMDIR | permissions(mode, self.link().dialect), Extension(None))
            .await
    }

    /// Makes a symbolic link in this directory.
    ///
    /// # Errors
    /// [`Error::Unsupported`] in 9P2000, and what the server refuses.
    pub async fn symlink(&self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<()> {
        let (name, target) = (Str(name.as_ref()), Str(target.as_ref()));
        match self.link().dialect {
            Dialect::Linux => {
                self.done(&T::Symlink { dfid: self.fid(), name, target, gid: self.link().gid })
                    .await
            }
            Dialect::Unix => {
                self.create_special(name, DMSYMLINK | 0o777, Extension(Some(target))).await
            }
            Dialect::Legacy => Err(Error::Unsupported("9P2000 has no request for symbolic links")),
        }
    }

    /// Tcreate moves the fid to what it makes, so it gets one of its own.
    async fn create_special(
        &self,
        name: Str<'_>,
        perm: u32,
        extension: Extension<'_>,
    ) -> Result<()> {
        let place = self.clone_fid().await?;
        place.done(&T::Create { fid: place.fid(), name, perm, mode: 0, extension }).await
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// `Invalid argument` (22) for anything else; [`Error::Unsupported`] in 9P2000.
    pub async fn read_link(&self) -> Result<ByteString> {
        match self.link().dialect {
            Dialect::Linux => read_link(self.link(), self.fid()).await,
            Dialect::Unix => self.stat().await?.target.ok_or_else(|| Error::number(22)),
            Dialect::Legacy => Err(Error::Unsupported("9P2000 does not tell where a link points")),
        }
    }

    /// Removes the file; its fid is gone afterwards, also when that fails.
    ///
    /// # Errors
    /// `Directory not empty` (39), and what the server refuses.
    pub async fn remove(self) -> Result<()> {
        let link = Arc::clone(self.link());
        let frame = link.call_freeing(self.handle, |fid| T::Remove { fid }).await?;
        link.decode(&frame).map(drop)
    }

    /// Cuts the file, or extends it with zeros. `len` is in bytes.
    ///
    /// # Errors
    /// What the server refuses; parameters and streams have no length to set.
    pub async fn set_len(&self, len: u64) -> Result<()> {
        let set = SetAttr { valid: SetAttr::SIZE, size: len, ..SetAttr::default() };
        self.change(set, Stat { length: len, ..no_stat() }).await
    }

    /// Sets the permission bits, `0o7777` at most; 9P2000 has only the lower nine.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn set_mode(&self, mode: u32) -> Result<()> {
        let set = SetAttr { valid: SetAttr::MODE, mode: mode & 0o7777, ..SetAttr::default() };
        // Twstat refuses to turn a directory into a file, so the bit has to be right.
        let dir = match self.link().dialect {
            Dialect::Linux => 0,
            _ if self.stat().await?.is_dir() => DMDIR,
            _ => 0,
        };
        self.change(set, Stat { mode: dir | permissions(mode, self.link().dialect), ..no_stat() })
            .await
    }

    async fn change(&self, set: SetAttr, stat: Stat<'_>) -> Result<()> {
        match self.link().dialect {
            Dialect::Linux => self.done(&T::Setattr { fid: self.fid(), set }).await,
            _ => self.done(&T::Wstat { fid: self.fid(), stat }).await,
        }
    }

    /// Gives the file another name in the same directory, by Twstat; 9P2000.L has no such request.
    ///
    /// # Errors
    /// `Already exists` (17), and what the server refuses; [`Error::Unsupported`] in 9P2000.L.
    pub async fn set_name(&self, name: impl AsRef<[u8]>) -> Result<()> {
        match self.link().dialect {
            Dialect::Linux => {
                Err(Error::Unsupported("9P2000.L has no request for a name without its directory"))
            }
            _ => {
                self.done(&T::Wstat {
                    fid: self.fid(),
                    stat: Stat { name: Str(name.as_ref()), ..no_stat() },
                })
                .await
            }
        }
    }

    /// Renames the entry `oldname` of this directory to `newname` in `dir`, by Trenameat. Whether it
    /// replaces what has that name is up to the server.
    ///
    /// # Errors
    /// [`Error::Server`] if the server refuses it; the dialects other than 9P2000.L have no such
    /// request.
    pub async fn rename_at(&self, oldname: &[u8], dir: &Node, newname: &[u8]) -> Result<()> {
        let (olddirfid, newdirfid) = (self.fid(), dir.fid());
        let (oldname, newname) = (Str(oldname), Str(newname));
        self.done(&T::Renameat { olddirfid, oldname, newdirfid, newname }).await
    }

    /// Moves the file to `name` in `dir`, by Trename; 9P2000 and .u have no such request. Whether
    /// it replaces what has that name is up to the server.
    ///
    /// # Errors
    /// What the server refuses; [`Error::Unsupported`] in 9P2000 and .u.
    pub async fn rename_to(&self, dir: &Node, name: impl AsRef<[u8]>) -> Result<()> {
        if self.link().dialect != Dialect::Linux {
            return Err(Error::Unsupported(
                "9P2000 and 9P2000.u have no request to move a file to another directory",
            ));
        }
        self.done(&T::Rename { fid: self.fid(), dfid: dir.fid(), name: Str(name.as_ref()) }).await
    }

    /// A request whose reply says nothing else.
    async fn done(&self, message: &T<'_>) -> Result<()> {
        let frame = self.link().call(message).await?;
        self.link().decode(&frame).map(drop)
    }
}

pub(crate) async fn stat(link: &Arc<Link>, fid: Fid) -> Result<Metadata> {
    let message = match link.dialect {
        Dialect::Linux => T::Getattr { fid, mask: BASIC },
        _ => T::Stat { fid },
    };
    let frame = link.call(&message).await?;
    match link.decode(&frame)? {
        R::Stat { stat } => Ok(Metadata::of_stat(&stat)),
        R::Getattr { attr } => {
            let mut metadata = Metadata::of_attr(&attr);
            if metadata.kind == FileType::Symlink {
                metadata.target = read_link(link, fid).await.ok();
            }
            Ok(metadata)
        }
        other => Err(unexpected(&other)),
    }
}

async fn read_link(link: &Arc<Link>, fid: Fid) -> Result<ByteString> {
    let frame = link.call(&T::Readlink { fid }).await?;
    match link.decode(&frame)? {
        R::Readlink { target } => Ok(target.into()),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn write_message(fid: Fid, offset: u64, data: &[u8]) -> T<'_> {
    T::Write { fid, offset, data: Data(data) }
}

pub(crate) fn unexpected(message: &R<'_>) -> Error {
    Error::protocol(format_args!("a reply to another request: {message:?}"))
}

/// The permission bits of a mode of 9P2000 and .u.
fn permissions(mode: u32, dialect: Dialect) -> u32 {
    mode & 0o777 | if dialect == Dialect::Unix { wire_bits(mode) } else { 0 }
}

/// A stat that changes nothing: all ones and empty texts.
fn no_stat() -> Stat<'static> {
    let unix = StatUnix { extension: Str(b""), n_uid: u32::MAX, n_gid: u32::MAX, n_muid: u32::MAX };
    Stat {
        kind: u16::MAX,
        dev: u32::MAX,
        qid: Qid { kind: u8::MAX, version: u32::MAX, path: u64::MAX },
        mode: u32::MAX,
        atime: u32::MAX,
        mtime: u32::MAX,
        length: u64::MAX,
        unix: Some(unix),
        ..Stat::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_slashes() {
        assert_eq!(names(b"/a//b/./c/"), [b"a", b"b", b"c"]);
        assert_eq!(names(b"../a"), [&b".."[..], b"a"]);
        assert!(names(b"/").is_empty() && names(b"").is_empty());
        assert_eq!(split_last(b"/a/b/").unwrap(), (vec![&b"a"[..]], &b"b"[..]));
        assert!(split_last(b"/").is_err() && split_last(b"a/..").is_err());
    }
}
