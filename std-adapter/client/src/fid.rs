//! A fid that refers to a file on the server but has not been opened.

use std::fmt::{self, Debug};
use std::sync::Arc;

use datakit_core::wire::{
    DMDIR, DMSYMLINK, Dialect, Extension, Fid as FidNumber, List, Numeric, Qid, Rmessage as R,
    SetAttr, Stat, Str, Tmessage as T,
};

use super::byte_string::ByteString;
use super::connection::{Connection, OwnedFid, unexpected};
use super::error::{Error, Result};
use super::file::File;
use super::metadata::{Metadata, unchanged_stat, wire_bits};

/// The maximum number of names in one Twalk (MAXWELEM).
const MAX_WALK_NAMES: usize = 16;

/// The mode in which to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenMode {
    access: u8,
    truncate: bool,
    append: bool,
}

impl OpenMode {
    /// Opens the file for reading.
    pub const READ: OpenMode = OpenMode { access: 0, truncate: false, append: false };
    /// Opens the file for writing.
    pub const WRITE: OpenMode = OpenMode { access: 1, truncate: false, append: false };
    /// Opens the file for reading and writing.
    pub const READ_WRITE: OpenMode = OpenMode { access: 2, truncate: false, append: false };

    /// Also truncates the file to length 0 when it is opened. Servers ignore this flag for files
    /// that have no length.
    #[must_use]
    pub fn truncate(self) -> OpenMode {
        OpenMode { truncate: true, ..self }
    }

    /// Also sets the append flag. If the file is opened for writing, the server writes at the end
    /// of the file. If the file is a parameter and is opened only for reading, the first read
    /// returns the value, and each further read waits until the value is set again.
    #[must_use]
    pub fn append(self) -> OpenMode {
        OpenMode { append: true, ..self }
    }

    /// Returns the mode byte for Topen and Tcreate.
    fn byte(self) -> u8 {
        let truncate = if self.truncate { 0x10 } else { 0 };
        self.access | truncate | if self.append { 0x80 } else { 0 }
    }

    /// Returns the flags for Tlopen and Tlcreate.
    fn flags(self) -> u32 {
        let truncate = if self.truncate { 0o1000 } else { 0 };
        u32::from(self.access) | truncate | if self.append { 0o2000 } else { 0 }
    }
}

/// A reference to an unopened file or directory on the server, similar to a file descriptor opened
/// with `O_PATH` (`open(2)`).
///
/// A fid still refers to the same file after the file is renamed. Dropping the fid clunks it in the
/// background.
pub struct Fid {
    owned: OwnedFid,
    /// The qid returned by the walk.
    qid: Qid,
}

/// Splits a path into its components. Omits empty components and `.`, but keeps `..`, which the
/// server resolves.
pub(crate) fn split_names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect()
}

/// Splits a path into its parent directory and its final component.
pub(crate) fn split_last(path: &[u8]) -> Result<(Vec<&[u8]>, &[u8])> {
    let mut names = split_names(path);
    match names.pop() {
        Some(last) if last != b".." => Ok((names, last)),
        _ => {
            Err(Error::from_reply(22, "the path must end in a name, for example etc/hosts".into()))
        }
    }
}

impl Fid {
    /// Sends Tattach.
    pub(crate) async fn attach(
        connection: &Arc<Connection>,
        uname: &str,
        aname: &str,
        n_uname: u32,
    ) -> Result<Fid> {
        let message = |fid| T::Attach {
            fid,
            afid: FidNumber::NONE,
            uname: Str(uname.as_bytes()),
            aname: Str(aname.as_bytes()),
            n_uname: Numeric(n_uname),
        };
        let (frame, created) = connection.call_creating(0, message).await?;
        match (connection.decode(&frame)?, created) {
            (R::Attach { qid }, Some(owned)) => Ok(Fid { owned, qid }),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn connection(&self) -> &Arc<Connection> {
        &self.owned.connection
    }

    fn number(&self) -> FidNumber {
        self.owned.number
    }

    /// Returns the server's identifier for the file, as reported by the walk.
    #[must_use]
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// Returns `true` if the file is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.qid.kind & Qid::DIR != 0
    }

    /// Walks to `path` relative to this directory (`walk(5)`). Sends one request for every 16
    /// components of the path.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `ENOENT` (2) if the file does not exist, or with `ENOTDIR`
    /// (20) if a component other than the last is not a directory.
    pub async fn walk(&self, path: impl AsRef<[u8]>) -> Result<Fid> {
        self.walk_names(&split_names(path.as_ref())).await
    }

    pub(crate) async fn walk_names(&self, names: &[&[u8]]) -> Result<Fid> {
        let mut steps = names.chunks(MAX_WALK_NAMES);
        let mut fid = self.walk_step(steps.next().unwrap_or_default()).await?;
        for step in steps {
            fid = fid.walk_step(step).await?;
        }
        Ok(fid)
    }

    /// Sends one Twalk that creates a new fid.
    async fn walk_step(&self, names: &[&[u8]]) -> Result<Fid> {
        let wnames: Vec<Str<'_>> = names.iter().map(|name| Str(name)).collect();
        let fid = self.number();
        let message = |newfid| T::Walk { fid, newfid, wnames: List::from(wnames.as_slice()) };
        let (frame, created) = self.connection().call_creating(names.len(), message).await?;
        let last = match self.connection().decode(&frame)? {
            R::Walk { wqids } => wqids.iter().last(),
            other => return Err(unexpected(&other)),
        };
        match created {
            Some(owned) => Ok(Fid { owned, qid: last.unwrap_or(self.qid) }),
            // A reply with fewer qids than names means that the next name was not found
            // (`walk(5)`).
            None if last.is_some_and(|qid| qid.kind & Qid::DIR == 0) => Err(Error::from_errno(20)),
            None => Err(Error::from_errno(2)),
        }
    }

    /// Returns another fid for the same file.
    ///
    /// # Errors
    /// Returns [`Error::Lost`] if the connection is lost, or [`Error::Server`] if the server
    /// refuses the request.
    pub async fn clone_fid(&self) -> Result<Fid> {
        self.walk_names(&[]).await
    }

    /// Reads the attributes of the file.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `ESTALE` (116)
    /// if the file was removed.
    pub async fn stat(&self) -> Result<Metadata> {
        self.connection().stat(self.number()).await
    }

    /// Opens the file (`open(5)`). Use [`OpenMode::READ`] to list a directory.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request.
    pub async fn open(self, mode: OpenMode) -> Result<File> {
        let frame = self.connection().call(&self.open_message(mode)).await?;
        self.opened(&frame)
    }

    /// Truncates the file to length 0 and opens it for writing. Both requests are sent at once,
    /// because the result does not depend on their order.
    pub(crate) async fn open_truncated(self) -> Result<File> {
        let message = self.open_message(OpenMode::WRITE);
        let (truncated, frame) = tokio::join!(self.set_len(0), self.connection().call(&message));
        let file = self.opened(&frame?);
        truncated.and(file)
    }

    /// Opens the file for reading and reads its attributes. Both requests are sent at once. Opening
    /// the file can fail even if its attributes can be read.
    pub(crate) async fn open_and_stat(self) -> Result<(Metadata, Result<File>)> {
        let message = self.open_message(OpenMode::READ);
        let (metadata, frame) = tokio::join!(self.stat(), self.connection().call(&message));
        Ok((metadata?, frame.and_then(|frame| self.opened(&frame))))
    }

    fn open_message(&self, mode: OpenMode) -> T<'static> {
        let fid = self.number();
        match self.connection().dialect {
            Dialect::Linux => T::Lopen { fid, flags: mode.flags() },
            _ => T::Open { fid, mode: mode.byte() },
        }
    }

    /// Decodes the reply to a request to open the file.
    fn opened(self, frame: &[u8]) -> Result<File> {
        let connection = Arc::clone(self.connection());
        match connection.decode(frame)? {
            R::Open { qid, iounit }
            | R::Lopen { qid, iounit }
            | R::Create { qid, iounit }
            | R::Lcreate { qid, iounit } => Ok(File::new(self.owned, qid, iounit)),
            other => Err(unexpected(&other)),
        }
    }

    /// Creates a file with the given permission bits in this directory and opens it.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `EEXIST` (17)
    /// if the file already exists and the server does not truncate existing files.
    pub async fn create(
        self,
        name: impl AsRef<[u8]>,
        permissions: u32,
        mode: OpenMode,
    ) -> Result<File> {
        let (fid, gid) = (self.number(), self.connection().gid);
        let name = Str(name.as_ref());
        let message = match self.connection().dialect {
            Dialect::Linux => {
                T::Lcreate { fid, name, flags: mode.flags() | 0o100, mode: permissions, gid }
            }
            dialect => {
                let (perm, mode) = (wire_mode(permissions, dialect), mode.byte());
                T::Create { fid, name, perm, mode, extension: Extension(None) }
            }
        };
        let frame = self.connection().call(&message).await?;
        self.opened(&frame)
    }

    /// Creates a subdirectory with the permission bits `mode`.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `EEXIST` (17)
    /// if the name already exists.
    pub async fn mkdir(&self, name: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let (name, gid) = (Str(name.as_ref()), self.connection().gid);
        match self.connection().dialect {
            Dialect::Linux => {
                self.request(&T::Mkdir { dfid: self.number(), name, mode, gid }).await
            }
            dialect => {
                let perm = DMDIR | wire_mode(mode, dialect);
                self.create_special(name, perm, Extension(None)).await
            }
        }
    }

    /// Like [`Fid::mkdir`], but consumes this fid, so that Tcreate does not need a separate one.
    pub(crate) async fn into_mkdir(self, name: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let dialect = self.connection().dialect;
        if dialect == Dialect::Linux {
            return self.mkdir(name, mode).await;
        }
        let (fid, name, perm) =
            (self.number(), Str(name.as_ref()), DMDIR | wire_mode(mode, dialect));
        self.request(&T::Create { fid, name, perm, mode: 0, extension: Extension(None) }).await
    }

    /// Creates a symbolic link in this directory. The target may be any byte string.
    ///
    /// # Errors
    /// Returns [`Error::Unsupported`] in 9P2000, or [`Error::Server`] if the server refuses the
    /// request.
    pub async fn symlink(&self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<()> {
        let (name, target) = (Str(name.as_ref()), Str(target.as_ref()));
        match self.connection().dialect {
            Dialect::Linux => {
                let gid = self.connection().gid;
                self.request(&T::Symlink { dfid: self.number(), name, target, gid }).await
            }
            Dialect::Unix => {
                self.create_special(name, DMSYMLINK | 0o777, Extension(Some(target))).await
            }
            Dialect::Legacy => Err(Error::Unsupported("9P2000 has no symbolic links")),
        }
    }

    /// Sends Tcreate on a separate fid, because Tcreate makes its fid refer to the new file.
    async fn create_special(
        &self,
        name: Str<'_>,
        perm: u32,
        extension: Extension<'_>,
    ) -> Result<()> {
        let dir = self.clone_fid().await?;
        dir.request(&T::Create { fid: dir.number(), name, perm, mode: 0, extension }).await
    }

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `EINVAL` (22) if the file is not a symbolic link, or
    /// [`Error::Unsupported`] in 9P2000.
    pub async fn read_link(&self) -> Result<ByteString> {
        match self.connection().dialect {
            Dialect::Linux => self.connection().read_link(self.number()).await,
            Dialect::Unix => self.stat().await?.target.ok_or_else(|| Error::from_errno(22)),
            Dialect::Legacy => Err(Error::Unsupported("9P2000 cannot read symbolic links")),
        }
    }

    /// Removes the file (`remove(5)`). The server clunks the fid even if it refuses to remove the
    /// file.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example with `ENOTEMPTY`
    /// (39) if the directory is not empty.
    pub async fn remove(self) -> Result<()> {
        let connection = Arc::clone(self.connection());
        connection.call_freeing(self.owned, |fid| T::Remove { fid }).await
    }

    /// Truncates the file to `len` bytes or extends it with zeros.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example because the file is
    /// a parameter or a stream.
    pub async fn set_len(&self, len: u64) -> Result<()> {
        let set = SetAttr { valid: SetAttr::SIZE, size: len, ..SetAttr::default() };
        self.set_attributes(set, Stat { length: len, ..unchanged_stat() }).await
    }

    /// Sets the permission bits, which must not exceed `0o7777`. 9P2000 supports only the lower
    /// nine bits.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request.
    pub async fn set_mode(&self, mode: u32) -> Result<()> {
        let set = SetAttr { valid: SetAttr::MODE, mode: mode & 0o7777, ..SetAttr::default() };
        let dialect = self.connection().dialect;
        // Twstat must not change the directory bit (`stat(5)`).
        let dir = match dialect {
            Dialect::Linux => 0,
            _ if self.stat().await?.is_dir() => DMDIR,
            _ => 0,
        };
        let stat = Stat { mode: dir | wire_mode(mode, dialect), ..unchanged_stat() };
        self.set_attributes(set, stat).await
    }

    async fn set_attributes(&self, set: SetAttr, stat: Stat<'_>) -> Result<()> {
        match self.connection().dialect {
            Dialect::Linux => self.request(&T::Setattr { fid: self.number(), set }).await,
            _ => self.request(&T::Wstat { fid: self.number(), stat }).await,
        }
    }

    /// Renames the file within its directory. Sends Twstat, which does not exist in 9P2000.L.
    ///
    /// # Errors
    /// Returns [`Error::Unsupported`] in 9P2000.L, or [`Error::Server`] if the server refuses the
    /// request, for example with `EEXIST` (17) if the name already exists.
    pub async fn set_name(&self, name: impl AsRef<[u8]>) -> Result<()> {
        self.connection().set_name(self.number(), name.as_ref()).await
    }

    /// Renames the `oldname` entry in this directory to `newname` in the `dir` directory. Sends
    /// Trenameat, which exists only in 9P2000.L. The server decides whether an existing file is
    /// replaced.
    ///
    /// # Errors
    /// Returns [`Error::Unsupported`] in 9P2000 and 9P2000.u, or [`Error::Server`] if the server
    /// refuses the request.
    pub async fn rename_at(
        &self,
        oldname: impl AsRef<[u8]>,
        dir: &Fid,
        newname: impl AsRef<[u8]>,
    ) -> Result<()> {
        self.check_linux()?;
        let (olddirfid, newdirfid) = (self.number(), dir.number());
        let (oldname, newname) = (Str(oldname.as_ref()), Str(newname.as_ref()));
        self.request(&T::Renameat { olddirfid, oldname, newdirfid, newname }).await
    }

    /// Moves the file into the `dir` directory under the name `name`. Sends Trename, which exists
    /// only in 9P2000.L. The server decides whether an existing file is replaced.
    ///
    /// # Errors
    /// Returns [`Error::Unsupported`] in 9P2000 and 9P2000.u, or [`Error::Server`] if the server
    /// refuses the request.
    pub async fn rename_to(&self, dir: &Fid, name: impl AsRef<[u8]>) -> Result<()> {
        self.check_linux()?;
        let name = Str(name.as_ref());
        self.request(&T::Rename { fid: self.number(), dfid: dir.number(), name }).await
    }

    fn check_linux(&self) -> Result<()> {
        if self.connection().dialect == Dialect::Linux {
            return Ok(());
        }
        Err(Error::Unsupported("9P2000 and 9P2000.u cannot move a file to another directory"))
    }

    async fn request(&self, message: &T<'_>) -> Result<()> {
        self.connection().call_for_unit(message).await
    }
}

impl Debug for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fid")
            .field("number", &self.owned.number)
            .field("qid", &self.qid)
            .finish_non_exhaustive()
    }
}

/// Converts permission bits to a 9P2000 or 9P2000.u mode.
fn wire_mode(mode: u32, dialect: Dialect) -> u32 {
    mode & 0o777 | if dialect == Dialect::Unix { wire_bits(mode) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_slashes() {
        assert_eq!(split_names(b"/a//b/./c/"), [b"a", b"b", b"c"]);
        assert_eq!(split_names(b"../a"), [&b".."[..], b"a"]);
        assert!(split_names(b"/").is_empty() && split_names(b"").is_empty());
        assert_eq!(split_last(b"/a/b/").unwrap(), (vec![&b"a"[..]], &b"b"[..]));
        assert!(split_last(b"/").is_err() && split_last(b"a/..").is_err());
    }
}
