//! A store that is a Git repository.

mod fetch;
mod loose;
mod owner;
mod refs;
#[cfg(test)]
mod tests;
mod watch;

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use gix::objs::Find;
use gix::{Repository, ThreadSafeRepository};

use super::{FetchError, Move, Store, Watching};
use crate::db::object::{Kind, Object};
use crate::db::{BranchName, Error, Id, Result};
use crate::locked;

/// Packs that may be there, also while others repack.
const PACKS: u16 = 4096;

/// A Git repository, bare or with a working tree, of which neither index nor files are touched.
///
/// Other programs may use it at the same time, `git gc` included. What was written is on the disk when a call returns: files are
/// written under another name, synced and renamed, and the directories are synced, too.
///
/// One of these at a time: of another one on the same repository, also in another process, [`Git::open`] fails. So the locks of
/// branches that a killed server leaves behind are known to be nobody's, and are removed when the repository is opened.
pub struct Git {
    repository: ThreadSafeRepository,
    synced: bool,
    owner: Option<owner::Owner>,
    /// Handles that nobody uses now: what they have found out is not found out again.
    idle: Mutex<Vec<Repository>>,
}

impl Git {
    /// The repository at `path`: in `path/.git`, or `path` itself where that is one. It is made where there is none.
    ///
    /// Locks of branches that nobody gives up are removed, for which this waits a few seconds where there are some.
    ///
    /// # Errors
    /// What is wrong with the path, or with the repository there; that it is open already.
    pub fn open(path: &Path) -> Result<Git> {
        let dir = match found(path) {
            Some(dir) => dir,
            None => create(path)?,
        };
        let repository = ThreadSafeRepository::open_opts(&dir, options()).map_err(|error| failed(&dir, &error))?;
        let owner = owner::Owner::of(&dir, repository.refs.common_dir().unwrap_or(repository.refs.git_dir()))?;
        let git = Git { repository, synced: true, owner, idle: Mutex::default() };
        if git.handle().object_hash() != gix::hash::Kind::Sha1 {
            return Err(failed(&dir, &"its objects are not named by SHA-1"));
        }
        if git.owner.is_some()
            && let Err(error) = refs::forget_left(&git.handle(), git.synced)
        {
            tracing::warn!("what a killed server fetched stays: {error}");
        }
        Ok(git)
    }

    /// The same without waiting for the disk: calls return as soon as the kernel has what was written. A process that is killed
    /// loses nothing then either, a machine without power may lose what came last, and be left with a branch that leads to nothing.
    #[must_use]
    pub fn unsynced(self) -> Git {
        Git { synced: false, ..self }
    }

    /// Where it is: the directory with `objects` and `refs`.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.handle().common_dir().to_owned()
    }

    fn handle(&self) -> Handle<'_> {
        let idle = locked::lock(&self.idle).pop();
        Handle { git: self, repository: Some(idle.unwrap_or_else(|| self.repository.to_thread_local())) }
    }
}

fn failed(dir: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Store(format!("{}: {error}", dir.display()))
}

/// Nothing of the user's or the system's settings: a server is the same wherever it runs.
fn options() -> gix::open::Options {
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Full)
        .object_store_slots(gix::odb::store::init::Slots::Given(PACKS))
        .config_overrides(["init.defaultBranch=master", "core.logAllRefUpdates=false"])
}

/// The Git directory that is there already.
fn found(path: &Path) -> Option<PathBuf> {
    let inside = path.join(".git");
    // A file `.git` names the directory of a worktree or submodule.
    if inside.exists() {
        return Some(inside);
    }
    (path.join("HEAD").is_file() && path.join("objects").is_dir()).then(|| path.to_owned())
}

/// Makes an empty one in `path/.git`, that every `git` accepts.
fn create(path: &Path) -> Result<PathBuf> {
    let dir = path.join(".git");
    fs::create_dir_all(&dir).map_err(|error| Error::io(dir.display(), &error))?;
    ThreadSafeRepository::init_opts(&dir, gix::create::Kind::Bare, gix::create::Options::default(), options())
        .map_err(|error| failed(&dir, &error))?;
    // It lies in a directory that may get a working tree, as `git init` makes it.
    let config = dir.join("config");
    let text = fs::read_to_string(&config).map_err(|error| Error::io(config.display(), &error))?;
    fs::write(&config, text.replace("bare = true", "bare = false"))
        .map_err(|error| Error::io(config.display(), &error))?;
    Ok(dir)
}

/// A handle in use.
struct Handle<'g> {
    git: &'g Git,
    repository: Option<Repository>,
}

impl Deref for Handle<'_> {
    type Target = Repository;

    #[allow(clippy::expect_used, reason = "it is there until the handle is dropped")]
    fn deref(&self) -> &Repository {
        self.repository.as_ref().expect("until it is dropped")
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        locked::lock(&self.git.idle).extend(self.repository.take());
    }
}

impl Store for Git {
    fn waits(&self) -> bool {
        true
    }

    fn read(&self, id: Id) -> Result<Option<Object>> {
        let mut data = Vec::new();
        let found = self
            .handle()
            .objects
            .try_find(&gix::ObjectId::from(id), &mut data)
            .map(|found| found.map(|object| object.kind));
        let kind = found.map_err(|error| Error::Store(format!("object {id}: {error}")))?;
        Ok(kind.and_then(Kind::of_git).map(|kind| Object { kind, data: data.into() }))
    }

    fn header(&self, id: Id) -> Result<Option<(Kind, u64)>> {
        use gix::objs::FindHeader;
        let header = self.handle().objects.try_header(&gix::ObjectId::from(id));
        let header = header.map_err(|error| Error::Store(format!("object {id}: {error}")))?;
        Ok(header.and_then(|header| Some((Kind::of_git(header.kind)?, header.size))))
    }

    fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
        loose::write(&self.handle(), self.synced, objects)
    }

    fn write_again(&self, objects: &[(Id, Object)]) -> Result<()> {
        loose::write_again(&self.handle(), self.synced, objects)
    }

    fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        refs::head(&self.handle(), branch)
    }

    fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        refs::heads(&self.handle())
    }

    fn update(&self, moves: &[Move<'_>]) -> Result<bool> {
        refs::update(&self.handle(), self.synced, moves)
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Option<Box<dyn Watching>>> {
        Ok(Some(Box::new(watch::Watcher::new(&self.dir(), changed))))
    }

    fn fetch(&self, remote: &str, url: &str, branch: &BranchName) -> std::result::Result<Id, FetchError> {
        fetch::fetch(&self.handle(), remote, url, branch)
    }

    fn forget(&self, remote: &str) -> Result<()> {
        refs::forget(&self.handle(), self.synced, remote)
    }
}

/// Waits until the names in a directory are on the disk.
fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
