//! The target of a copy. Each file is copied either completely or not at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use datakit_client::{Client, Error, Fid, File, FileType, OpenMode};
use rustix::fs::{AtFlags, CWD, FileType as HostType, Mode, OFlags};
use tokio::sync::OwnedSemaphorePermit;

use super::error::CopyError;
use super::parts::{PartGuard, PartialFile, Parts};
use super::transfer::{HostFile, Sink};

use crate::error::{CliError, CliResult, at, io_reason};
use crate::operand::{Location, ServerPath};
use crate::parallel::{ConcurrencyLimits, MaybeExhausted};
use crate::rename::Renames;

const THROUGH_A_LINK: &str = "will not copy through a link";
/// The flags for opening a directory without following a link.
const ENTER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory into which files are copied. A local directory is kept open, so that replacing the
/// directory with a link cannot redirect the copy.
#[derive(Clone)]
pub(super) enum TargetDir {
    Host(Arc<OwnedFd>, PathBuf),
    /// A directory on the server. `is_new` is set if this command created the directory.
    Server {
        fid: KeptFid,
        path: ServerPath,
        is_new: bool,
    },
}

/// The fid of a directory on the server. Keeping the fid avoids a walk to the directory for each
/// file. The fid is `None` if the command or the server cannot keep another fid open.
type KeptFid = Option<Arc<(Fid, OwnedSemaphorePermit)>>;

/// Walks to a directory and returns its fid. Returns `None` if no more fids can be kept.
async fn keep_fid(
    client: &Client,
    limits: &ConcurrencyLimits,
    path: &ServerPath,
) -> datakit_client::Result<KeptFid> {
    let Some(permit) = limits.fid_permit() else { return Ok(None) };
    match client.walk(path).await {
        Ok(fid) => Ok(Some(Arc::new((fid, permit)))),
        Err(error) if error.is_exhausted() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name in a directory. An entry with this name does not have to exist.
pub(super) enum CopyTarget {
    Host {
        dir: Arc<OwnedFd>,
        name: OsString,
        path: PathBuf,
    },
    /// A name on the server. `is_new` is set if this command created the parent directory. In that
    /// case, the name cannot be in use yet.
    Server {
        dir: KeptFid,
        path: ServerPath,
        is_new: bool,
    },
}

/// The result of resolving the target operand.
pub(super) enum Destination {
    /// An existing directory.
    Dir(TargetDir),
    Name(CopyTarget),
}

impl Destination {
    /// Resolves a target. If the target is an existing directory, the destination is `last` in that
    /// directory.
    pub(super) async fn new(
        client: &Client,
        limits: &ConcurrencyLimits,
        location: &Location,
        last: &[u8],
    ) -> CliResult<Destination> {
        let destination = match location {
            Location::Host(path) => host_destination(path).map_err(at(location))?,
            Location::Server(path) if is_dir(client, location).await => {
                let fid = keep_fid(client, limits, path).await.map_err(at(location))?;
                let (path, is_new) = (path.clone(), false);
                Destination::Dir(TargetDir::Server { fid, path, is_new })
            }
            Location::Server(path) => {
                let dir = keep_fid(client, limits, &path.parent()).await.map_err(at(location))?;
                let (path, is_new) = (path.clone(), false);
                Destination::Name(CopyTarget::Server { dir, path, is_new })
            }
            Location::Stdio => return Err(at(location)("only one file can be copied to it")),
        };
        Ok(match destination {
            // The path of a source such as `/` or `..` does not contain a name for the copy, so the
            // source's contents are copied directly into the directory.
            Destination::Dir(dir) if matches!(last, b"" | b"." | b"..") => Destination::Dir(dir),
            Destination::Dir(dir) => Destination::Name(dir.join(last)),
            name @ Destination::Name(_) => name,
        })
    }
}

fn host_destination(path: &Path) -> Result<Destination, String> {
    let open =
        |path: &Path| rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Some(name) = path.file_name() else {
        let dir = open(path).map_err(errno_reason)?;
        return Ok(Destination::Dir(TargetDir::Host(Arc::new(dir), path.to_owned())));
    };
    let parent = match path.parent() {
        // Links in an absolute path are followed, because they were created by the system or the
        // user. Links in a relative path are refused, because an earlier copy may have created
        // them.
        Some(parent) if parent.is_absolute() => open(parent).map_err(errno_reason)?,
        parent => enter_all(parent.unwrap_or(Path::new("")))?,
    };
    let (dir, name) = (Arc::new(parent), name.to_owned());
    Ok(match existing_dir(&dir, &name, path)? {
        Some(dir) => Destination::Dir(dir),
        None => Destination::Name(CopyTarget::Host { dir, name, path: path.to_owned() }),
    })
}

/// Opens a directory by its relative path. Fails if any component of the path is a link.
fn enter_all(path: &Path) -> Result<OwnedFd, String> {
    let mut dir = rustix::fs::openat(CWD, ".", ENTER, Mode::empty()).map_err(errno_reason)?;
    for name in path.components().filter(|name| *name != Component::CurDir) {
        dir = enter(&dir, name.as_os_str())?;
    }
    Ok(dir)
}

fn enter(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, String> {
    rustix::fs::openat(dir, name, ENTER, Mode::empty()).map_err(|error| match kind_of(dir, name) {
        Ok(Some(HostType::Symlink)) => THROUGH_A_LINK.to_owned(),
        _ => errno_reason(error),
    })
}

/// Returns the type of a directory entry, or `None` if the entry does not exist.
fn kind_of(dir: &OwnedFd, name: &OsStr) -> Result<Option<HostType>, String> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(HostType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(errno_reason(error)),
    }
}

/// Opens a subdirectory. Returns `None` if the entry does not exist or is a file, and fails if it
/// is a symbolic link.
fn existing_dir(
    dir: &Arc<OwnedFd>,
    name: &OsStr,
    path: &Path,
) -> Result<Option<TargetDir>, String> {
    match kind_of(dir, name)? {
        Some(HostType::Directory) => {
            Ok(Some(TargetDir::Host(Arc::new(enter(dir, name)?), path.to_owned())))
        }
        Some(HostType::Symlink) => Err(THROUGH_A_LINK.to_owned()),
        _ => Ok(None),
    }
}

fn errno_reason(error: rustix::io::Errno) -> String {
    io_reason(&io::Error::from(error))
}

impl TargetDir {
    pub(super) fn join(&self, name: &[u8]) -> CopyTarget {
        match self {
            TargetDir::Host(dir, path) => {
                let name = OsStr::from_bytes(name);
                CopyTarget::Host { dir: dir.clone(), name: name.to_owned(), path: path.join(name) }
            }
            TargetDir::Server { fid, path, is_new } => {
                CopyTarget::Server { dir: fid.clone(), path: path.join(name), is_new: *is_new }
            }
        }
    }
}

/// Returns whether a location is a directory.
pub(super) async fn is_dir(client: &Client, location: &Location) -> bool {
    match location {
        Location::Host(path) => path.is_dir(),
        Location::Server(path) => client.stat(path).await.is_ok_and(|metadata| metadata.is_dir()),
        Location::Stdio => false,
    }
}

/// A file that is open for writing.
pub(super) struct Staged {
    pub(super) sink: Sink,
    pub(super) staging: Staging,
}

/// The method used to write a file.
pub(super) enum Staging {
    /// The file is written under a temporary name and is renamed when it is complete.
    Renamed(PartGuard),
    /// The file is written in place because it cannot be replaced, for example because it is a
    /// device or because its directory does not allow new files. The guard tracks the file only if
    /// this command created it.
    InPlace(PartGuard),
}

impl Staging {
    pub(super) fn into_part(self) -> PartGuard {
        match self {
            Staging::Renamed(part) | Staging::InPlace(part) => part,
        }
    }
}

impl CopyTarget {
    /// Returns the target's location, for use in messages.
    pub(super) fn location(&self) -> Location {
        match self {
            CopyTarget::Host { path, .. } => Location::Host(path.clone()),
            CopyTarget::Server { path, .. } => Location::Server(path.clone()),
        }
    }

    fn error(&self, error: impl std::fmt::Display) -> CliError {
        at(&self.location())(error)
    }

    fn client_error(&self, error: &Error) -> CopyError {
        CopyError::of_target(&self.location(), error)
    }

    /// Creates the directory, or opens the existing one.
    pub(super) async fn create_dir(
        &self,
        client: &Client,
        limits: &ConcurrencyLimits,
    ) -> Result<TargetDir, CopyError> {
        match self {
            CopyTarget::Host { dir, name, path } => {
                let create = || {
                    if let Some(existing) = existing_dir(dir, name, path)? {
                        return Ok(existing);
                    }
                    rustix::fs::mkdirat(dir, name.as_os_str(), Mode::from_raw_mode(0o777))
                        .map_err(errno_reason)?;
                    Ok(TargetDir::Host(Arc::new(enter(dir, name)?), path.clone()))
                };
                create().map_err(|error: String| self.error(error).into())
            }
            CopyTarget::Server { dir, path, .. } => {
                let created = match dir.as_deref() {
                    Some((dir, _)) => dir.mkdir(path.last(), 0o777).await,
                    None => client.mkdir(path, 0o777).await,
                };
                if let Err(error) = &created
                    && (error.is_exhausted() || !is_dir(client, &self.location()).await)
                {
                    return Err(self.client_error(error));
                }
                let fid = keep_fid(client, limits, path).await;
                let fid = fid.map_err(|error| self.client_error(&error))?;
                Ok(TargetDir::Server { fid, path: path.clone(), is_new: created.is_ok() })
            }
        }
    }

    /// Creates a symbolic link, unless an identical link already exists.
    pub(super) async fn create_link(&self, client: &Client, to: &[u8]) -> CliResult {
        let (created, existing) = match self {
            CopyTarget::Host { dir, name, .. } => (
                rustix::fs::symlinkat(OsStr::from_bytes(to), dir, name.as_os_str())
                    .map_err(errno_reason),
                rustix::fs::readlinkat(dir, name.as_os_str(), Vec::new())
                    .ok()
                    .map(std::ffi::CString::into_bytes),
            ),
            CopyTarget::Server { path, .. } => (
                client.symlink(path, to).await.map_err(|error| error.to_string()),
                client.read_link(path).await.ok().map(|target| target.as_bytes().to_vec()),
            ),
        };
        if existing.as_deref() == Some(to) {
            return Ok(());
        }
        created.map_err(|error| self.error(error))
    }

    /// Opens the file that receives the copy. Uses a temporary name if the tree supports renaming.
    pub(super) async fn open(&self, client: &Client, parts: &Parts) -> Result<Staged, CopyError> {
        match self {
            CopyTarget::Host { dir, name, .. } => {
                open_host(dir, name, parts).map_err(|error| self.error(error).into())
            }
            CopyTarget::Server { dir, path, is_new } => {
                let beside = open_beside(client, dir.as_deref(), path, *is_new, parts).await;
                match beside.map_err(|error| self.client_error(&error))? {
                    Some((file, part)) => {
                        Ok(Staged { sink: Sink::Server(file), staging: Staging::Renamed(part) })
                    }
                    None => self.open_in_place(client, parts).await,
                }
            }
        }
    }

    /// Opens the target itself rather than a temporary file. The target must be on the server.
    pub(super) async fn open_in_place(
        &self,
        client: &Client,
        parts: &Parts,
    ) -> Result<Staged, CopyError> {
        let CopyTarget::Server { path, .. } = self else {
            return Err(self.error("cannot be written in place").into());
        };
        let is_missing = client.walk(path).await.is_err_and(|error| error.is_not_found());
        let file = client.open_to_write(path).await.map_err(|error| self.client_error(&error))?;
        let part =
            if is_missing { parts.add(PartialFile::Server(path.clone())) } else { parts.none() };
        Ok(Staged { sink: Sink::Server(file), staging: Staging::InPlace(part) })
    }

    /// Renames the complete file to its final name. Returns `false` if the file cannot be renamed.
    pub(super) async fn publish(
        &self,
        client: &Client,
        renames: &Renames,
        sink: &Sink,
        part: Option<&PartialFile>,
    ) -> Result<bool, CopyError> {
        match (self, part, sink) {
            (CopyTarget::Host { name, .. }, Some(PartialFile::Host(dir, temporary)), _) => {
                rustix::fs::renameat(dir, temporary.as_os_str(), dir, name.as_os_str())
                    .map_err(|error| self.error(errno_reason(error)))?;
                Ok(true)
            }
            (
                CopyTarget::Server { dir, path, .. },
                Some(PartialFile::Server(temporary)),
                Sink::Server(file),
            ) => {
                let dir = dir.as_deref().map(|(fid, _)| fid);
                match renames.rename_open(client, file, dir, temporary, path).await {
                    Err(error) if error.is_exhausted() => Err(self.client_error(&error)),
                    Ok(()) => Ok(true),
                    Err(Error::Server { .. } | Error::Unsupported(_)) => Ok(false),
                    Err(error) => Err(self.client_error(&error)),
                }
            }
            _ => Ok(false),
        }
    }
}

fn open_host(dir: &Arc<OwnedFd>, name: &OsStr, parts: &Parts) -> Result<Staged, String> {
    let open = |name: &OsStr, flags| {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666))
    };
    let temporary = OsStr::from_bytes(&temporary_name(name.as_bytes())).to_owned();
    let staged = |file: OwnedFd, name| Staged {
        sink: Sink::Host(HostFile::direct(file.into(), 0)),
        staging: Staging::Renamed(parts.add(PartialFile::Host(dir.clone(), name))),
    };
    let kind = match kind_of(dir, name)? {
        None => {
            let file = open(&temporary, OFlags::CREATE | OFlags::EXCL).map_err(errno_reason)?;
            return Ok(staged(file, temporary));
        }
        Some(HostType::Symlink) => return Err(THROUGH_A_LINK.to_owned()),
        Some(kind) => kind,
    };
    // Open the existing file, even if it is about to be replaced, to verify that it is writable.
    let file = open(name, OFlags::empty()).map_err(errno_reason)?;
    if kind == HostType::RegularFile {
        if let Ok(copy) = open(&temporary, OFlags::CREATE | OFlags::EXCL) {
            let mode = rustix::fs::fstat(&file).map_err(errno_reason)?.st_mode;
            let _ = rustix::fs::fchmod(&copy, Mode::from_raw_mode(mode & 0o777));
            return Ok(staged(copy, temporary));
        }
        rustix::fs::ftruncate(&file, 0).map_err(errno_reason)?;
    }
    Ok(Staged {
        sink: Sink::Host(HostFile::pooled(file.into())),
        staging: Staging::InPlace(parts.none()),
    })
}

/// Creates a temporary file in the target's directory. Returns `None` if the server refuses to
/// create the file or if an existing target must not be replaced.
async fn open_beside(
    client: &Client,
    dir: Option<&(Fid, OwnedSemaphorePermit)>,
    path: &ServerPath,
    is_new: bool,
    parts: &Parts,
) -> datakit_client::Result<Option<(File, PartGuard)>> {
    let mut existing = None;
    if !is_new {
        let walked = match dir {
            Some((dir, _)) => dir.walk(path.last()).await,
            None => client.walk(path).await,
        };
        match walked {
            Ok(fid) => {
                let metadata = fid.stat().await?;
                if metadata.kind != FileType::File {
                    return Ok(None);
                }
                existing = Some((fid, metadata.mode & 0o777));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_exhausted() => return Err(error),
            Err(_) => return Ok(None),
        }
    }
    let temporary = path.parent().join(temporary_name(path.last()));
    let part = parts.add(PartialFile::Server(temporary.clone()));
    let mode = existing.as_ref().map_or(0o666, |(_, mode)| *mode);
    let create = async {
        let dir = match dir {
            Some((dir, _)) => dir.clone_fid().await?,
            None => client.walk(path.parent()).await?,
        };
        dir.create(temporary.last(), mode, OpenMode::WRITE).await
    };
    let created = create.await;
    let file = match created {
        Ok(file) => file,
        Err(error) => {
            part.complete();
            return if error.is_exhausted() { Err(error) } else { Ok(None) };
        }
    };
    if let Some((fid, _)) = existing
        && fid.open(OpenMode::WRITE).await.is_err()
    {
        part.remove(client).await;
        return Ok(None);
    }
    Ok(Some((file, part)))
}

/// Returns a temporary name that begins with `name`. The name is shortened if necessary, because a
/// file name can be at most 255 bytes long.
fn temporary_name(name: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unique = format!(".{}-{:x}.part", std::process::id(), now.as_nanos());
    [b".", name.get(..200).unwrap_or(name), unique.as_bytes()].concat()
}
