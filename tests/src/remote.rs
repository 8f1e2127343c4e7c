//! A [`Vfs`] that accesses a server through a connection. Tests written for in-process trees can
//! use this type to run against a server.
//!
//! Every call sends one or more requests through [`datakit_client`]. The tree stores only
//! information that it cannot request from the server. The following table shows how the dialects
//! differ:
//!
//! | | 9P2000 | 9P2000.u | 9P2000.L |
//! |---|---|---|---|
//! | name of an inode | asked | asked | remembered |
//! | parent of a directory | asked (`..`) | asked | asked |
//! | parent of a file | remembered | remembered | remembered |
//! | resuming a listing | after a message | after a message | after any entry |
//! | [`Error`] found by | text | text and number | number: the first row that has it |
//! | rename to another directory | no | no | yes |
//! | symbolic links | no | yes | yes |
//!
//! The client does not support owners, times, append mode, hard links, devices, locks or extended
//! attributes. The corresponding methods return [`Error::NotSupported`]. To create a file
//! exclusively, the tree looks up the name first.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use datakit_client::{self, Client, Dialect, Fid, File, Metadata, Qid};
use datakit_core::vfs::{
    Attr, Create, CreateKind, DirEntry, Error, FileType, Id, MutableTree, Name, OpenMode, Result,
    SetAttr, Time, Vfs,
};
use tokio::runtime::Handle;

/// A file tree on a server. The synchronous methods block until the server replies, so the tree
/// requires a multi-threaded tokio runtime.
#[derive(Debug)]
pub struct Remote {
    root: Inode,
    dialect: Dialect,
}

/// A file or directory, represented by an unopened fid.
#[derive(Clone, Debug)]
pub struct Inode(Arc<RemoteInode>);

#[derive(Debug)]
struct RemoteInode {
    fid: Fid,
    /// The last known parent directory and name, or `None` for the root.
    location: Mutex<Option<(Inode, Vec<u8>)>>,
}

/// An open file or directory, represented by an open fid.
#[derive(Clone, Debug)]
pub struct Open(Arc<RemoteFile>);

#[derive(Debug)]
struct RemoteFile {
    /// The open file, or `None` after it has been closed.
    file: Mutex<Option<Arc<File>>>,
    inode: Inode,
    listing: tokio::sync::Mutex<Listing>,
}

/// The directory entries read so far in 9P2000 and 9P2000.u. Each cookie is an index into these
/// entries.
#[derive(Debug, Default)]
struct Listing {
    entries: Vec<datakit_client::DirEntry>,
    offset: u64,
}

impl Remote {
    /// Returns the tree whose root is the directory to which `client` is attached.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the connection is lost.
    pub async fn new(client: &Client) -> Result<Remote> {
        let fid = client.walk("").await.map_err(error)?;
        Ok(Remote {
            root: Inode(Arc::new(RemoteInode { fid, location: Mutex::new(None) })),
            dialect: client.dialect(),
        })
    }

    async fn walk(&self, dir: &Inode, name: &[u8]) -> Result<Inode> {
        let fid = dir.0.fid.walk(utf8(name)?).await.map_err(error)?;
        Ok(Inode(Arc::new(RemoteInode {
            fid,
            location: Mutex::new(Some((dir.clone(), name.to_vec()))),
        })))
    }

    /// Returns the entry at `cookie` in an open directory, and the cookie of the next entry.
    async fn entry(
        &self,
        open: &RemoteFile,
        cookie: u64,
    ) -> Result<Option<(datakit_client::DirEntry, u64)>> {
        let file = open.file()?;
        if self.dialect == Dialect::Linux {
            let page = file.read_dir_at(cookie).await.map_err(error)?;
            let first = page.and_then(|(entries, _)| entries.into_iter().next());
            return Ok(first.and_then(|entry| entry.next.map(|next| (entry, next))));
        }
        let mut listing = open.listing.lock().await;
        if cookie == 0 {
            *listing = Listing::default();
        }
        let index = usize::try_from(cookie).unwrap_or(usize::MAX);
        while listing.entries.len() <= index {
            let Some((page, next)) = file.read_dir_at(listing.offset).await.map_err(error)? else {
                return Ok(None);
            };
            listing.entries.extend(page);
            listing.offset = next;
        }
        Ok(listing.entries.get(index).cloned().map(|entry| (entry, cookie + 1)))
    }
}

impl RemoteFile {
    fn file(&self) -> Result<Arc<File>> {
        self.file.lock().unwrap().clone().ok_or(Error::BadFile)
    }
}

impl Vfs for Remote {
    type Inode = Inode;
    type Open = Open;
    type TreeKind = MutableTree;

    fn root(&self) -> Inode {
        self.root.clone()
    }

    fn parent(&self, inode: &Inode) -> Inode {
        let location = inode.0.location.lock().unwrap().clone();
        if self.id(inode).kind == FileType::Dir {
            let fid = block_on(inode.0.fid.walk("..")).unwrap();
            // If the remembered directory is still the parent, reuse that directory's location. The
            // client cannot request the location in 9P2000.L, because the server does not report
            // names.
            let above =
                location.map(|(dir, _)| dir).filter(|dir| dir.0.fid.qid().path == fid.qid().path);
            let location = above.and_then(|dir| dir.0.location.lock().unwrap().clone());
            return Inode(Arc::new(RemoteInode { fid, location: Mutex::new(location) }));
        }
        location.map_or_else(|| self.root(), |(dir, _)| dir)
    }

    fn id(&self, inode: &Inode) -> Id {
        id(inode.0.fid.qid())
    }

    fn name(&self, inode: &Inode, with: &mut dyn FnMut(&[u8])) {
        if self.dialect != Dialect::Linux {
            return with(block_on(inode.0.fid.stat()).unwrap().name.as_bytes());
        }
        match &*inode.0.location.lock().unwrap() {
            Some((_, name)) => with(name),
            None => with(b"/"),
        }
    }

    async fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Inode> {
        self.walk(dir, name.as_bytes()).await
    }

    async fn stat(&self, inode: &Inode) -> Result<Attr> {
        attr(&inode.0.fid.stat().await.map_err(error)?)
    }

    async fn open(&self, inode: &Inode, mode: OpenMode) -> Result<Open> {
        let how = match (mode.read, mode.write) {
            _ if mode.append => return Err(Error::NotSupported),
            (_, false) => datakit_client::OpenMode::READ,
            (false, true) => datakit_client::OpenMode::WRITE,
            (true, true) => datakit_client::OpenMode::READ_WRITE,
        };
        let node = inode.0.fid.clone_fid().await.map_err(error)?;
        let file =
            node.open(if mode.truncate { how.truncate() } else { how }).await.map_err(error)?;
        let file = Mutex::new(Some(Arc::new(file)));
        Ok(Open(Arc::new(RemoteFile {
            file,
            inode: inode.clone(),
            listing: tokio::sync::Mutex::default(),
        })))
    }

    fn close(&self, open: &Open) {
        drop(open.0.file.lock().unwrap().take());
    }

    async fn flush(&self, open: &Open) -> Result<()> {
        let file = open.0.file.lock().unwrap().take().ok_or(Error::BadFile)?;
        match Arc::into_inner(file) {
            Some(file) => file.close().await.map_err(error),
            None => Err(Error::Busy),
        }
    }

    async fn read(&self, open: &Open, offset: u64, buf: &mut [u8]) -> Result<usize> {
        open.0.file()?.read_at(offset, buf).await.map_err(error)
    }

    async fn write(&self, open: &Open, offset: u64, data: &[u8]) -> Result<usize> {
        open.0.file()?.write_at(offset, data).await.map_err(error)
    }

    async fn readdir(
        &self,
        dir: &Open,
        mut cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Inode>) -> ControlFlow<()>,
    ) -> Result<()> {
        while let Some((entry, next)) = self.entry(&dir.0, cookie).await? {
            cookie = next;
            let name = entry.name.as_bytes();
            let inode = match self.walk(&dir.0.inode, name).await {
                // Skip the entry because it has been removed since the server listed it.
                Err(Error::NotFound) => continue,
                walked => walked?,
            };
            if each(DirEntry { name, inode: &|| inode.clone(), id: id(entry.qid), next }).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    async fn create(&self, dir: &Inode, name: Name<'_>, create: Create<'_>) -> Result<Inode> {
        let (node, new_name) = (&dir.0.fid, utf8(name.as_bytes())?);
        if create.exclusive && self.lookup(dir, name).await.is_ok() {
            return Err(Error::Exists);
        }
        let made = match create.kind {
            CreateKind::File => {
                let place = node.clone_fid().await.map_err(error)?;
                place
                    .create(new_name, create.mode, datakit_client::OpenMode::READ_WRITE)
                    .await
                    .map(drop)
            }
            CreateKind::Dir => node.mkdir(new_name, create.mode).await,
            CreateKind::Symlink(target) => node.symlink(new_name, utf8(target)?).await,
            CreateKind::Special(_) => return Err(Error::NotSupported),
        };
        made.map_err(error)?;
        self.lookup(dir, name).await
    }

    async fn remove(&self, inode: &Inode) -> Result<()> {
        inode.0.fid.clone_fid().await.map_err(error)?.remove().await.map_err(error)
    }

    async fn rename(&self, inode: &Inode, dir: &Inode, name: Name<'_>) -> Result<()> {
        let new_name = utf8(name.as_bytes())?;
        if self.dialect == Dialect::Linux {
            inode.0.fid.rename_to(&dir.0.fid, new_name).await.map_err(error)?;
        } else if self.id(&self.parent(inode)).ino == self.id(dir).ino {
            inode.0.fid.set_name(new_name).await.map_err(error)?;
        } else {
            return Err(Error::CrossDevice);
        }
        *inode.0.location.lock().unwrap() = Some((dir.clone(), name.as_bytes().to_vec()));
        Ok(())
    }

    async fn set_attr(&self, inode: &Inode, set: SetAttr) -> Result<()> {
        let node = &inode.0.fid;
        match set {
            SetAttr {
                mode: None,
                size: Some(size),
                uid: None,
                gid: None,
                atime: None,
                mtime: None,
            } => node.set_len(size).await.map_err(error),
            SetAttr {
                mode: Some(mode),
                size: None,
                uid: None,
                gid: None,
                atime: None,
                mtime: None,
            } => node.set_mode(mode).await.map_err(error),
            _ => Err(Error::NotSupported),
        }
    }

    async fn readlink(&self, inode: &Inode, buf: &mut [u8]) -> Result<usize> {
        let target = inode.0.fid.read_link().await.map_err(error)?;
        buf.get_mut(..target.as_bytes().len())
            .ok_or(Error::Range)?
            .copy_from_slice(target.as_bytes());
        Ok(target.as_bytes().len())
    }
}

/// Blocks the current thread until `asked` completes.
fn block_on<T>(asked: impl Future<Output = datakit_client::Result<T>>) -> Result<T> {
    tokio::task::block_in_place(|| Handle::current().block_on(asked)).map_err(error)
}

/// Returns a name as a string. The tests use only UTF-8 names.
fn utf8(name: &[u8]) -> Result<&str> {
    std::str::from_utf8(name).map_err(|_| Error::Invalid)
}

fn id(qid: Qid) -> Id {
    let kind = match qid.kind {
        kind if kind & Qid::DIR != 0 => FileType::Dir,
        kind if kind & Qid::SYMLINK != 0 => FileType::Symlink,
        _ => FileType::File,
    };
    Id { ino: qid.path, kind, version: qid.version }
}

fn attr(metadata: &Metadata) -> Result<Attr> {
    let time = |time: std::time::SystemTime| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time { sec: since.as_secs().cast_signed(), nsec: since.subsec_nanos() }
    };
    let number =
        |owner: &str| if owner == "root" { Ok(0) } else { owner.parse() }.map_err(|_| Error::Io);
    Ok(Attr {
        nlink: u32::try_from(metadata.links).unwrap_or(u32::MAX),
        uid: number(&metadata.owner)?,
        gid: number(&metadata.group)?,
        atime: time(metadata.accessed),
        mtime: time(metadata.modified),
        ..Attr::new(id(metadata.qid), metadata.mode, metadata.len)
    })
}

/// Returns the variant of `Error` with the same number and text as the server's error. If there is
/// no such variant, a variant with the same number is returned with the server's text.
fn error(error: datakit_client::Error) -> Error {
    let (errno, text) = match error {
        datakit_client::Error::Server { errno, text } => (errno, text),
        datakit_client::Error::Unsupported(what) => return Error::NotSupported.with_message(what),
        other => return Error::Io.with_message(other),
    };
    let same = Error::ALL.iter().filter(|row| u32::from(row.errno()) == errno);
    match same.clone().find(|row| row.to_string() == text) {
        Some(row) => row.clone(),
        None => {
            same.clone().next().unwrap_or(&Error::Io).clone().with_message(format_args!("{text}"))
        }
    }
}
