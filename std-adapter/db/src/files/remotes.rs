//! The `/remotes` directory, which contains a directory for each repository from which branches can
//! be fetched.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datakit_core::vfs::{Create, CreateKind, Error, FileStat, Name, OpenMode};

use tokio::sync::Semaphore;

use super::hash_text::line;
use super::quota::{Guarded, Permit, Quota};
use crate::counters::GaugeGuard;
use crate::remote::fetch::CancelOnDrop;
use crate::remote::sanitize::sanitize_url;
use crate::remote::{CancelFlag, FetchError};
use crate::{BranchName, Database, Id};
use datakit_server::inode_numbers;
use datakit_server::tree::{
    BoxFuture, Command, CommandError, Directory, Entry, Leaf, Live, OpenLeaf, Text, ready,
};

/// The remotes of one connection.
pub(super) struct Remotes {
    database: Database,
    quota: Arc<Quota>,
    known: Mutex<KnownRemotes>,
    /// A semaphore that limits this connection's concurrent fetches, to leave capacity for other
    /// connections.
    turns: Arc<Semaphore>,
}

/// The remotes' names and directories, sorted by name.
type KnownRemotes = Vec<(Box<[u8]>, Entry)>;

/// The maximum number of fetches that one connection can run concurrently.
const MAX_CONCURRENT_FETCHES: usize = 2;

impl Remotes {
    pub(super) fn new(database: &Database, quota: &Arc<Quota>) -> Remotes {
        let turns = Arc::new(Semaphore::new(MAX_CONCURRENT_FETCHES));
        Remotes { database: database.clone(), quota: quota.clone(), known: Mutex::default(), turns }
    }
}

impl Directory for Remotes {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self.known.lock().iter().map(|(_, entry)| entry.clone()).collect()))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        let known = self.known.lock();
        let found = position(&known, name.as_bytes()).ok().and_then(|at| known.get(at));
        ready(found.map(|(_, entry)| entry.clone()).ok_or(Error::NotFound))
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        ready((|| {
            if create.kind != CreateKind::Dir {
                return Err(Error::OnlyDirectories);
            }
            let mut known = self.known.lock();
            let Err(at) = position(&known, name.as_bytes()) else { return Err(Error::Exists) };
            let permit = self.quota.remotes.acquire()?;
            let entry = Entry::dir(
                name.as_bytes(),
                RemoteDir::new(&self.database, &self.quota, &self.turns, permit),
            );
            known.insert(at, (name.as_bytes().into(), entry.clone()));
            Ok(entry)
        })())
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        ready((|| {
            let mut known = self.known.lock();
            if *child.name() == *name.as_bytes() {
                return Ok(());
            }
            if position(&known, name.as_bytes()).is_ok() {
                return Err(Error::Exists);
            }
            let old = position(&known, &child.name()).map_err(|_| Error::NotFound)?;
            let (_, entry) = known.remove(old);
            let (Ok(new) | Err(new)) = position(&known, name.as_bytes());
            known.insert(new, (name.as_bytes().into(), entry));
            Ok(())
        })())
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.known.lock().retain(|(_, entry)| !entry.is_same(child));
        ready(Ok(()))
    }
}

/// Returns the position of the remote called `name`, or the position at which to insert it.
fn position(known: &KnownRemotes, name: &[u8]) -> Result<usize, usize> {
    known.binary_search_by(|(found, _)| (**found).cmp(name))
}

struct RemoteDir {
    entries: [Entry; 3],
}

/// The state shared by a remote's files.
struct Remote {
    refs: Arc<FetchedRefs>,
    url: Text,
    head: Live<Option<Id>>,
    quota: Arc<Quota>,
    turns: Arc<Semaphore>,
    _counted: GaugeGuard,
    _permit: Permit,
}

/// A guard that protects fetched objects from garbage collection. The remote and its running
/// fetches hold the guard.
struct FetchedRefs {
    database: Database,
    /// The remote's name in the refs that protect the fetched objects from garbage collection. No
    /// other connection uses this name.
    name: String,
    /// Whether a fetch has been started.
    used: AtomicBool,
}

impl RemoteDir {
    fn new(
        database: &Database,
        quota: &Arc<Quota>,
        turns: &Arc<Semaphore>,
        permit: Permit,
    ) -> RemoteDir {
        let name = format!("datakit-{}-{}", std::process::id(), inode_numbers::next());
        let remote = Arc::new(Remote {
            refs: Arc::new(FetchedRefs {
                database: database.clone(),
                name,
                used: AtomicBool::new(false),
            }),
            url: Text::in_space("", &quota.memory),
            head: Live::new(None),
            quota: quota.clone(),
            turns: turns.clone(),
            _counted: database.count(|counters| &counters.remotes),
            _permit: permit,
        });
        let fetch = {
            let remote = remote.clone();
            Command::explaining(move |branch| {
                let remote = remote.clone();
                async move { remote.fetch(branch).await.map(|()| "") }
            })
        };
        RemoteDir {
            entries: [
                Entry::file("fetch", fetch),
                Entry::file("head", Head(remote.clone())),
                Entry::file("url", remote.url.clone()),
            ],
        }
    }
}

impl Directory for RemoteDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self.entries.to_vec()))
    }

    fn ignores_removal(&self, _: &Entry) -> bool {
        true
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }
}

impl Remote {
    async fn fetch(&self, branch: String) -> Result<(), CommandError> {
        let url = String::from_utf8_lossy(self.url.get().trim_ascii()).into_owned();
        if url.is_empty() {
            return Err(Error::Invalid.with_message("error: remote url is not defined").into());
        }
        let shown = sanitize_url(&url);
        let database = &self.refs.database;
        database
            .schemes()
            .check(&url)
            .map_err(|why| refused(Error::Invalid, &shown, &sanitize_url(&why.to_string())))?;
        let branch = BranchName::new(&branch).map_err(crate::Error::from)?;
        let cancel = CancelFlag::default();
        let _cancel_on_drop = CancelOnDrop(cancel.clone());
        // The semaphore is fair, so fetches start in the order in which they were requested.
        let turn = self.turns.clone().acquire_owned().await;
        let refs = self.refs.clone();
        let in_flight = database.in_flight();
        let fetched = database.run_remote(move |_| {
            // Keep the process from exiting before the fetch has stopped. The wait is short,
            // because all fetches are cancelled first.
            let _in_flight = in_flight;
            // Hold the permit until the fetch has stopped, because a cancelled fetch does not stop
            // immediately.
            let _turn = turn;
            Ok(refs.fetch(&url, &branch, &cancel))
        });
        let error = match fetched.await? {
            Ok(head) => {
                self.head.publish(Some(head));
                return Ok(());
            }
            Err(error) => error,
        };
        Err(match error {
            FetchError::NoSuchBranch => {
                Error::Invalid.with_message("error: no head to fetch").into()
            }
            FetchError::Store(error) => error.into(),
            other => refused(Error::Io, &shown, &other.to_string()),
        })
    }
}

/// Logs and returns the reason why the fetch from `url` failed. The reason may be truncated in a 9P
/// error reply, but can be read in full from the command file.
fn refused(error: Error, url: &str, why: &str) -> CommandError {
    tracing::warn!("cannot fetch {url}: {why}");
    let text = format!("error: cannot fetch {url}: {why}");
    CommandError { error: error.with_message(&text), text: text + "\n" }
}

impl FetchedRefs {
    fn fetch(&self, url: &str, branch: &BranchName, cancel: &CancelFlag) -> Result<Id, FetchError> {
        self.used.store(true, Ordering::Relaxed);
        self.database.objects().store().fetch_cancellable(&self.name, url, branch, cancel)
    }
}

impl Drop for FetchedRefs {
    fn drop(&mut self) {
        if !*self.used.get_mut() {
            return;
        }
        let (database, name) = (self.database.clone(), std::mem::take(&mut self.name));
        let in_flight = self.database.in_flight();
        let forget = move || {
            // The process does not exit until this guard has been dropped.
            let _in_flight = in_flight;
            if let Err(error) = database.objects().store().forget_remote(&name) {
                tracing::warn!("cannot forget the remote {name}: {error}");
            }
        };
        // Use a separate thread, because the connection's thread also serves other connections. An
        // async task would not work, because the runtime drops its tasks when it shuts down.
        if let Err(error) = std::thread::Builder::new().name("forget".to_owned()).spawn(forget) {
            tracing::warn!(
                "cannot start a thread, fetched objects are kept until the next start: {error}"
            );
        }
    }
}

/// The `head` file, which streams the fetched heads, one per line.
struct Head(Arc<Remote>);

impl Leaf for Head {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(0).read_only()))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            let permit = self.0.quota.watches.acquire()?;
            let counted = self.0.refs.database.count(|counters| &counters.watches);
            let text = |head: &Option<Id>| head.map(|head| line(Some(head))).unwrap_or_default();
            let open = self.0.head.file(text).open(mode).await?;
            Ok(Box::new(Guarded { open, _guard: (counted, permit, self.0.clone()) })
                as Box<dyn OpenLeaf>)
        })
    }
}
