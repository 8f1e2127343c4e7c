//! Where a copy goes, and how a file gets there whole or not at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use datakit_client::{Client, Error, OpenMode};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::{End, reason};
use crate::commands::{Done, at};
use crate::path::{Place, ServerPath};

const THROUGH_A_LINK: &str = "nothing is copied through a link";
/// A directory that is entered by itself, not by a link.
const ENTER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that files are copied into. On this machine it is open, so a link that appears later
/// leads nowhere else.
#[derive(Clone)]
pub(crate) enum Dir {
    Host(Arc<OwnedFd>, PathBuf),
    Server(ServerPath),
}

/// A name in a directory; there may be nothing yet.
pub(crate) enum Target {
    Host { dir: Arc<OwnedFd>, name: OsString, path: PathBuf },
    Server(ServerPath),
}

/// The destination as it was typed.
pub(crate) enum Top {
    /// A directory that is there.
    Dir(Dir),
    Name(Target),
}

impl Top {
    /// What is typed as a directory that is there means the name `last` in it.
    pub(crate) async fn new(client: &Client, place: &Place, last: &[u8]) -> Done<Top> {
        let top = match place {
            Place::Host(path) => host_top(path).map_err(at(place))?,
            Place::Server(path) if super::is_dir(client, place).await => {
                Top::Dir(Dir::Server(path.clone()))
            }
            Place::Server(path) => Top::Name(Target::Server(path.clone())),
        };
        Ok(match top {
            // The source has no name of its own.
            Top::Dir(dir) if matches!(last, b"" | b"." | b"..") => Top::Dir(dir),
            Top::Dir(dir) => Top::Name(dir.join(last)),
            name @ Top::Name(_) => name,
        })
    }
}

fn host_top(path: &Path) -> Done<Top> {
    let open =
        |path: &Path| rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Some(name) = path.file_name() else {
        let dir = open(path).map_err(system)?;
        return Ok(Top::Dir(Dir::Host(Arc::new(dir), path.to_owned())));
    };
    let parent = match path.parent() {
        // The links of an absolute path are the system's or the user's. A relative one may lead
        // through an earlier copy.
        Some(parent) if parent.is_absolute() => open(parent).map_err(system)?,
        parent => enter_all(parent.unwrap_or(Path::new("")))?,
    };
    let target =
        Target::Host { dir: Arc::new(parent), name: name.to_owned(), path: path.to_owned() };
    Ok(match target.existing_dir()? {
        Some(dir) => Top::Dir(dir),
        None => Top::Name(target),
    })
}

/// Opens a relative path, none of whose names may be a link.
fn enter_all(path: &Path) -> Done<OwnedFd> {
    let mut dir = rustix::fs::openat(CWD, ".", ENTER, Mode::empty()).map_err(system)?;
    for name in path.components().filter(|name| *name != Component::CurDir) {
        dir = enter(&dir, name.as_os_str())?;
    }
    Ok(dir)
}

fn enter(dir: &OwnedFd, name: &OsStr) -> Done<OwnedFd> {
    rustix::fs::openat(dir, name, ENTER, Mode::empty()).map_err(|error| match kind_of(dir, name) {
        Ok(Some(FileType::Symlink)) => THROUGH_A_LINK.to_owned(),
        _ => system(error),
    })
}

/// What has this name; `None` is nothing.
fn kind_of(dir: &OwnedFd, name: &OsStr) -> Done<Option<FileType>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(system(error)),
    }
}

/// The system's text without its number.
fn system(error: rustix::io::Errno) -> String {
    reason(&io::Error::from(error))
}

impl Dir {
    pub(crate) fn join(&self, name: &[u8]) -> Target {
        match self {
            Dir::Host(dir, path) => {
                let name = OsStr::from_bytes(name);
                Target::Host { dir: dir.clone(), name: name.to_owned(), path: path.join(name) }
            }
            Dir::Server(path) => Target::Server(path.join(name)),
        }
    }
}

impl Target {
    /// As it is shown, and as a place of the server is compared.
    pub(crate) fn place(&self) -> Place {
        match self {
            Target::Host { path, .. } => Place::Host(path.clone()),
            Target::Server(path) => Place::Server(path.clone()),
        }
    }

    fn existing_dir(&self) -> Done<Option<Dir>> {
        let Target::Host { dir, name, path } = self else { return Ok(None) };
        match kind_of(dir, name)? {
            Some(FileType::Directory) => {
                Ok(Some(Dir::Host(Arc::new(enter(dir, name)?), path.clone())))
            }
            Some(FileType::Symlink) => Err(THROUGH_A_LINK.to_owned()),
            _ => Ok(None),
        }
    }

    /// Makes the directory, or takes the one that is there.
    pub(crate) async fn make_dir(&self, client: &Client) -> Done<Dir> {
        match self {
            Target::Host { dir, name, path } => {
                if let Some(there) = self.existing_dir()? {
                    return Ok(there);
                }
                rustix::fs::mkdirat(dir, name.as_os_str(), Mode::from_raw_mode(0o777))
                    .map_err(system)?;
                Ok(Dir::Host(Arc::new(enter(dir, name)?), path.clone()))
            }
            Target::Server(path) => match client.mkdir(path, 0o777).await {
                Err(error) if !super::is_dir(client, &self.place()).await => Err(error.to_string()),
                _ => Ok(Dir::Server(path.clone())),
            },
        }
    }

    /// Makes a symbolic link, if it is not there already.
    pub(crate) async fn link(&self, client: &Client, to: &[u8]) -> Done {
        let (made, there) = match self {
            Target::Host { dir, name, .. } => (
                rustix::fs::symlinkat(OsStr::from_bytes(to), dir, name.as_os_str()).map_err(system),
                rustix::fs::readlinkat(dir, name.as_os_str(), Vec::new())
                    .ok()
                    .map(std::ffi::CString::into_bytes),
            ),
            Target::Server(path) => (
                client.symlink(path, to).await.map_err(|error| error.to_string()),
                client.read_link(path).await.ok().map(|target| target.as_bytes().to_vec()),
            ),
        };
        if there.as_deref() == Some(to) { Ok(()) } else { made }
    }
}

/// What is to be removed when a copy is not finished.
pub(crate) enum Unfinished {
    Host(Arc<OwnedFd>, OsString),
    Server(ServerPath),
}

impl Unfinished {
    pub(crate) async fn remove(self, client: &Client) {
        // Nothing to be done about a failure: the name says that it is a part.
        match self {
            Unfinished::Host(dir, name) => drop(rustix::fs::unlinkat(dir, name, AtFlags::empty())),
            Unfinished::Server(path) => drop(client.remove(path).await),
        }
    }
}

/// How a file is written.
pub(crate) enum Staging {
    /// Under another name, which becomes the target's when it is whole.
    Renamed(Unfinished),
    /// In its place, since there is no other way: a device, a control file, a directory that takes
    /// no new names. It is removed on failure if it was made here.
    InPlace(Option<Unfinished>),
}

/// Opens what the data goes to: beside the target where the tree allows that.
pub(crate) async fn open(client: &Client, target: &Target) -> Done<(End, Staging)> {
    match target {
        Target::Host { dir, name, .. } => open_host(dir, name),
        Target::Server(path) => match open_beside(client, path).await {
            Some((end, temporary)) => Ok((end, Staging::Renamed(Unfinished::Server(temporary)))),
            None => open_in_place(client, path).await,
        },
    }
}

/// Opens the target itself.
pub(crate) async fn open_in_place(client: &Client, path: &ServerPath) -> Done<(End, Staging)> {
    let missing = client.walk(path).await.is_err_and(|error| error.is_not_found());
    let file = client.open_to_write(path).await.map_err(|error| error.to_string())?;
    Ok((End::Server(file), Staging::InPlace(missing.then(|| Unfinished::Server(path.clone())))))
}

fn open_host(dir: &Arc<OwnedFd>, name: &OsStr) -> Done<(End, Staging)> {
    let open = |name: &OsStr, flags| {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666))
    };
    let end = |file: OwnedFd| End::Host(tokio::fs::File::from_std(file.into()));
    let kind = kind_of(dir, name)?;
    let there = match kind {
        None => None,
        Some(FileType::Symlink) => return Err(THROUGH_A_LINK.to_owned()),
        // Also to learn that it may be written.
        Some(_) => Some(open(name, OFlags::empty()).map_err(system)?),
    };
    if let (Some(file), Some(kind)) = (there, kind) {
        let temporary = temporary_name(name.as_bytes());
        let stat = rustix::fs::fstat(&file).map_err(system)?;
        if kind == FileType::RegularFile
            && let Ok(copy) = open(OsStr::from_bytes(&temporary), OFlags::CREATE | OFlags::EXCL)
        {
            let _ = rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o777));
            let name = OsStr::from_bytes(&temporary).to_owned();
            return Ok((end(copy), Staging::Renamed(Unfinished::Host(dir.clone(), name))));
        }
        if kind == FileType::RegularFile {
            rustix::fs::ftruncate(&file, 0).map_err(system)?;
        }
        return Ok((end(file), Staging::InPlace(None)));
    }
    let temporary = OsStr::from_bytes(&temporary_name(name.as_bytes())).to_owned();
    let copy = open(&temporary, OFlags::CREATE | OFlags::EXCL).map_err(system)?;
    Ok((end(copy), Staging::Renamed(Unfinished::Host(dir.clone(), temporary))))
}

/// A new file beside the target, if the tree takes one, and if the target may be replaced.
async fn open_beside(client: &Client, path: &ServerPath) -> Option<(End, ServerPath)> {
    let there = match client.stat(path).await {
        Ok(there) if there.kind == datakit_client::FileType::File => Some(there),
        Err(error) if error.is_not_found() => None,
        _ => return None,
    };
    let temporary = path.beside(&temporary_name(path.last()));
    let mode = there.as_ref().map_or(0o666, |there| there.mode & 0o777);
    let file = client.create(&temporary, mode, OpenMode::WRITE).await.ok()?;
    if there.is_some() && client.open(path, OpenMode::WRITE).await.is_err() {
        Unfinished::Server(temporary).remove(client).await;
        return None;
    }
    Some((End::Server(file), temporary))
}

/// Says whose part it is. Names are at most 255 bytes.
fn temporary_name(name: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unique = format!(".{}-{:x}.part", std::process::id(), now.as_nanos());
    [b".", name.get(..200).unwrap_or(name), unique.as_bytes()].concat()
}

/// Gives the whole file its name. `false`: the tree does not do that.
pub(crate) async fn publish(
    client: &Client,
    unfinished: &Unfinished,
    target: &Target,
) -> Done<bool> {
    match (unfinished, target) {
        (Unfinished::Host(dir, temporary), Target::Host { name, .. }) => {
            rustix::fs::renameat(dir, temporary.as_os_str(), dir, name.as_os_str())
                .map_err(system)?;
            Ok(true)
        }
        (Unfinished::Server(temporary), Target::Server(path)) => {
            match client.rename(temporary, path).await {
                Ok(()) => Ok(true),
                Err(Error::Server { .. } | Error::Unsupported(_)) => Ok(false),
                Err(error) => Err(error.to_string()),
            }
        }
        _ => Ok(false),
    }
}
