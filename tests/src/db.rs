//! A served database, and a blocking client that speaks of branches and transactions.
//!
//! Every call ends within [`PATIENCE`] or fails the test. The dialect is 9P2000.u, which sends
//! errors as texts.

mod repository;

use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datakit_client::{Client, File, Metadata, OpenMode, Options, Result, Watch};
use datakit_core::wire::Dialect;
use datakit_db::store::{Git, Memory, Store};
use datakit_db::{Database, TRANSACTION_MEMORY, file_tree};
use datakit_server::Limits;
use datakit_server::tree::log::{Level, LogSources};
use datakit_server::tree::{Dir, Entry, ReadOnly};
use tokio::runtime::Runtime;
use tokio::time::timeout;

pub use self::repository::Repository;
use crate::wire_client::WireClient;
use crate::{PATIENCE, Served, serve};

/// How long nothing must come where nothing is due.
const QUIET: Duration = Duration::from_millis(30);

/// The tree without entries.
pub const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
/// A hash that nothing has.
pub const UNKNOWN: &str = "0123456789012345678901234567890123456789";

/// Runs cases on a database in memory and on one in a Git repository. A case is a function of a
/// [`Place`].
#[macro_export]
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $case() { super::$case(&datakit_tests::db::Place::memory()); })*
        }
        mod git {
            $(#[test] fn $case() { super::$case(&datakit_tests::db::Place::git()); })*
        }
    };
}

/// An empty database that is served, and the repository that it is in.
pub struct Place {
    served: Served,
    /// The database itself, for its counters.
    pub database: Database,
    /// Nothing for one in memory. Goes last.
    repository: Option<Repository>,
}

impl Place {
    /// In memory.
    #[must_use]
    pub fn memory() -> Place {
        Place::of(Arc::new(Memory::new()), None, TRANSACTION_MEMORY)
    }

    /// Another one of the same kind, empty.
    #[must_use]
    pub fn again(&self) -> Place {
        if self.repository.is_some() { Place::git() } else { Place::memory() }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tcp://{}", self.served.addr)
    }

    /// The same with at most so many bytes for what is not committed yet.
    #[must_use]
    pub fn limited(self, memory: u64) -> Place {
        let Place { served, database, repository } = self;
        let store = database.objects().store().clone();
        drop((served, database));
        Place::of(store, repository, memory)
    }

    /// In a Git repository that was not there before.
    #[must_use]
    pub fn git() -> Place {
        Place::on(Repository::none())
    }

    /// On a repository.
    #[must_use]
    pub fn on(repository: Repository) -> Place {
        Place::of(stored(repository.path()), Some(repository), TRANSACTION_MEMORY)
    }

    fn of(store: Arc<dyn Store>, repository: Option<Repository>, memory: u64) -> Place {
        let database = Database::with_memory(store, memory).unwrap();
        let sources = LogSources::new();
        let _ = sources.register("db", "the database", Level::Warning);
        let (tree, debug) = (database.clone(), sources.entry());
        let served = serve(Limits::default(), move |_| {
            let debug: Dir = [debug.clone()].into_iter().collect();
            file_tree(&tree, Entry::dir("debug", ReadOnly(debug)))
        });
        Place { served, database, repository }
    }

    /// The repository.
    ///
    /// # Panics
    /// In memory.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        self.repository.as_ref().unwrap()
    }

    /// Ends the server: what it leaves.
    #[must_use]
    pub fn stop(self) -> Repository {
        let Place { served, database, repository } = self;
        drop((served, database));
        repository.unwrap()
    }

    /// A new connection.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::to(&self.url())
    }

    /// A new connection in this dialect.
    #[must_use]
    pub fn connect_in(&self, dialect: Dialect) -> Connection {
        Connection::speaking(&format!("tcp://{}", self.served.addr), dialect)
    }

    /// A new connection of a user. `u32::MAX` is no number.
    #[must_use]
    pub fn connect_as(&self, dialect: Dialect, uname: &str, n_uname: u32) -> Connection {
        let options = Options::default().dialect(dialect).uname(uname).n_uname(n_uname);
        Connection::with(&format!("tcp://{}", self.served.addr), options)
    }

    /// A new connection on the level of messages.
    #[must_use]
    pub fn raw(&self, dialect: Dialect) -> WireClient {
        WireClient::attached(self.served.addr, dialect, 8215)
    }
}

/// The store in a repository on disk.
fn stored(path: &Path) -> Arc<dyn Store> {
    Arc::new(Git::open(path).unwrap())
}

/// One connection to a database. Paths are from its root.
pub struct Connection {
    client: Client,
    runtime: Runtime,
    transactions: Cell<u32>,
}

impl Connection {
    /// Connects.
    #[must_use]
    pub fn to(url: &str) -> Connection {
        Connection::speaking(url, Dialect::Unix)
    }

    /// Connects in a dialect.
    #[must_use]
    pub fn speaking(url: &str, dialect: Dialect) -> Connection {
        Connection::with(url, Options::default().dialect(dialect))
    }

    fn with(url: &str, options: Options) -> Connection {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect(&url.parse().unwrap(), options)).unwrap();
        Connection { client, runtime, transactions: Cell::new(0) }
    }

    fn wait<X>(&self, future: impl Future<Output = X>) -> X {
        self.runtime.block_on(async { timeout(PATIENCE, future).await }).expect("an answer in time")
    }

    /// All of a file.
    ///
    /// # Errors
    /// The server's, here and below.
    pub fn try_read(&self, path: &str) -> Result<String> {
        self.wait(self.client.read(path)).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// All of a file.
    pub fn read(&self, path: &str) -> String {
        self.try_read(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// What one open file has at these offsets, at most so many bytes of each.
    pub fn read_in(&self, path: &str, pieces: &mut dyn Iterator<Item = (u64, usize)>) -> String {
        self.wait(async {
            let (file, mut text) =
                (self.client.open(path, OpenMode::READ).await.unwrap(), Vec::new());
            for (offset, count) in pieces {
                let mut buf = vec![0; count];
                let count = file.read_at(offset, &mut buf).await.unwrap();
                text.extend_from_slice(&buf[..count]);
            }
            String::from_utf8(text).unwrap()
        })
    }

    /// Opens a file to write, and writes `text` at its start in one message.
    ///
    /// # Errors
    /// Those of the write too.
    pub fn put(&self, path: &str, text: &str) -> Result<()> {
        self.wait(async {
            let file = self.client.open(path, OpenMode::WRITE).await?;
            file.write_at(0, text.as_bytes()).await?;
            file.close().await
        })
    }

    /// Creates a file, and writes it in pieces.
    ///
    /// # Errors
    /// Those of the writes too.
    pub fn create(&self, path: &str, mode: u32, text: &str) -> Result<()> {
        self.wait(async {
            let file = self.client.create(path, mode, OpenMode::WRITE).await?;
            file.write_all_at(0, text.as_bytes()).await?;
            file.close().await
        })
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// The server's.
    pub fn try_names(&self, path: &str) -> Result<Vec<String>> {
        let entries = self.wait(self.client.read_dir(path))?;
        let mut names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
        names.sort();
        Ok(names)
    }

    /// The names in a directory, sorted, with spaces between.
    pub fn names(&self, path: &str) -> String {
        self.try_names(path).unwrap_or_else(|error| panic!("{path}: {error}")).join(" ")
    }

    /// What is known about a file.
    ///
    /// # Errors
    /// The server's.
    pub fn stat(&self, path: &str) -> Result<Metadata> {
        self.wait(self.client.stat(path))
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The server's.
    pub fn mkdir(&self, path: &str) -> Result<()> {
        self.wait(self.client.mkdir(path, 0o755))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// The server's.
    pub fn symlink(&self, path: &str, target: &str) -> Result<()> {
        self.wait(self.client.symlink(path, target))
    }

    /// Removes.
    ///
    /// # Errors
    /// The server's.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.wait(self.client.remove(path))
    }

    /// Gives what is at `path` another name.
    ///
    /// # Errors
    /// The server's.
    pub fn rename(&self, path: &str, name: &str) -> Result<()> {
        self.wait(async { self.client.walk(path).await?.set_name(name).await })
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    /// The server's.
    pub fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        self.wait(async { self.client.walk(path).await?.set_mode(mode).await })
    }

    /// Sets the length.
    ///
    /// # Errors
    /// The server's.
    pub fn truncate(&self, path: &str, length: u64) -> Result<()> {
        self.wait(async { self.client.walk(path).await?.set_len(length).await })
    }

    /// Opens a file to read and write.
    pub fn open(&self, path: &str) -> Opened<'_> {
        let file = self
            .wait(self.client.open(path, OpenMode::READ_WRITE))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        Opened { connection: self, file }
    }

    /// Follows a stream.
    pub fn follow(&self, path: &str) -> Stream<'_> {
        let watch =
            self.wait(self.client.watch(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Stream { connection: self, watch }
    }

    /// A branch, which is made if it is not there.
    pub fn branch(&self, name: &str) -> Branch<'_> {
        self.mkdir(&format!("branch/{name}")).unwrap();
        Branch { connection: self, path: format!("branch/{name}") }
    }

    /// The branch `master`.
    pub fn master(&self) -> Branch<'_> {
        self.branch("master")
    }
}

/// An open file.
pub struct Opened<'c> {
    connection: &'c Connection,
    file: File,
}

impl Opened<'_> {
    /// All of it, now.
    pub fn read(&self) -> String {
        String::from_utf8(self.connection.wait(self.file.read_all()).unwrap()).unwrap()
    }

    /// Writes in one message.
    pub fn write(&self, offset: u64, text: &str) {
        let written = self.connection.wait(self.file.write_at(offset, text.as_bytes())).unwrap();
        assert_eq!(written, text.len());
    }
}

/// A stream that is read delivery by delivery.
pub struct Stream<'c> {
    connection: &'c Connection,
    watch: Watch,
}

impl Stream<'_> {
    /// The next delivery without its newline.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn line(&mut self) -> String {
        let text = self.connection.wait(self.watch.next()).unwrap().expect("the stream goes on");
        let line = str::from_utf8(&text).unwrap().strip_suffix('\n').expect("a whole line");
        assert!(!line.contains('\n'), "one line at a time: {line:?}");
        line.to_owned()
    }

    /// Has a read wait: nothing is there to be delivered.
    pub fn quiet(&mut self) {
        let next =
            self.connection.runtime.block_on(async { timeout(QUIET, self.watch.next()).await });
        assert!(next.is_err(), "nothing was due: {next:?}");
    }

    /// Closes the file and waits until the server has.
    pub fn close(self) {
        self.connection.wait(self.watch.close()).unwrap();
    }
}

/// A branch on a connection.
pub struct Branch<'c> {
    connection: &'c Connection,
    path: String,
}

impl<'c> Branch<'c> {
    /// The path of a file of the branch.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.path)
    }

    /// A file of the branch.
    pub fn read(&self, file: &str) -> String {
        self.connection.read(&self.path(file))
    }

    /// The hash of the head; empty if there is none.
    pub fn head(&self) -> String {
        let head = self.read("head");
        head.strip_suffix('\n').expect("a whole line").to_owned()
    }

    /// Follows a stream of the branch.
    pub fn follow(&self, file: &str) -> Stream<'c> {
        self.connection.follow(&self.path(file))
    }

    /// Follows what is at a path of the branch.
    pub fn watch(&self, path: &str) -> Stream<'c> {
        let nodes: String = path
            .split('/')
            .filter(|name| !name.is_empty())
            .map(|name| format!("{name}.node/"))
            .collect();
        self.follow(&format!("watch/{nodes}tree.live"))
    }

    /// Moves it forward to a commit.
    ///
    /// # Errors
    /// The server's.
    pub fn fast_forward(&self, commit: &str) -> Result<()> {
        self.connection.put(&self.path("fast-forward"), commit)
    }

    /// Begins a transaction.
    pub fn transaction(&self) -> Transaction<'c> {
        let number = self.connection.transactions.get() + 1;
        self.connection.transactions.set(number);
        self.begin(&number.to_string()).unwrap()
    }

    /// Begins a transaction of this name.
    ///
    /// # Errors
    /// The server's.
    pub fn begin(&self, name: &str) -> Result<Transaction<'c>> {
        let path = self.path(&format!("transactions/{name}"));
        self.connection.mkdir(&path)?;
        Ok(Transaction { connection: self.connection, path })
    }

    /// Commits files in a transaction of their own: the new head.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        self.change(|transaction| {
            files.iter().for_each(|(path, text)| transaction.write(path, text))
        })
    }

    /// Commits what `change` does in a transaction of its own: the new head.
    pub fn change(&self, change: impl FnOnce(&Transaction<'_>)) -> String {
        let transaction = self.transaction();
        change(&transaction);
        transaction.commit("a change").unwrap();
        self.head()
    }
}

/// A transaction on a connection. Paths are those of its `rw`.
pub struct Transaction<'c> {
    connection: &'c Connection,
    path: String,
}

impl Transaction<'_> {
    /// The path of a file of the transaction.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.path)
    }

    /// The path of a file in `rw`.
    #[must_use]
    pub fn rw(&self, path: &str) -> String {
        self.path(&format!("rw/{path}"))
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.connection.stat(&self.path).is_ok()
    }

    /// Makes a file in place of what was there, and the directories on its way.
    pub fn write(&self, path: &str, text: &str) {
        self.write_as(path, 0o644, text);
    }

    /// The same with permission bits.
    pub fn write_as(&self, path: &str, mode: u32, text: &str) {
        if let Some((dir, _)) = path.rsplit_once('/') {
            self.make_dirs(dir);
        }
        self.connection
            .create(&self.rw(path), mode, text)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Makes a directory and those on its way, as far as they are missing.
    pub fn make_dirs(&self, path: &str) {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            match self.connection.mkdir(&self.rw(&path[..end])) {
                Err(error) if error.to_string() != "Already exists" => panic!("{path}: {error}"),
                _ => {}
            }
        }
    }

    /// A file.
    pub fn read(&self, path: &str) -> String {
        self.connection.read(&self.rw(path))
    }

    /// The names in a directory, with spaces between.
    pub fn names(&self, path: &str) -> String {
        self.connection.names(&self.rw(path))
    }

    /// Removes.
    pub fn remove(&self, path: &str) {
        self.connection.remove(&self.rw(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Writes a word to `ctl`.
    ///
    /// # Errors
    /// The server's.
    pub fn ctl(&self, word: &str) -> Result<()> {
        self.connection.put(&self.path("ctl"), word)
    }

    /// Commits with a message.
    ///
    /// # Errors
    /// The server's.
    pub fn commit(&self, message: &str) -> Result<()> {
        if !message.is_empty() {
            self.connection.put(&self.path("msg"), message)?;
        }
        self.ctl("commit")
    }

    /// Replaces `parents` by these hashes, in the way clients do.
    pub fn set_parents(&self, parents: &[&str]) {
        let path = self.path("parents");
        self.connection.truncate(&path, 0).unwrap();
        self.connection
            .put(&path, &parents.iter().map(|parent| format!("{parent}\n")).collect::<String>())
            .unwrap();
    }

    /// Merges a commit: what is to be resolved, with spaces between.
    ///
    /// # Errors
    /// The server's.
    pub fn merge(&self, commit: &str) -> Result<String> {
        self.connection.put(&self.path("merge"), commit)?;
        Ok(self.conflicts())
    }

    /// What is to be resolved, with spaces between.
    pub fn conflicts(&self) -> String {
        let lines = self.connection.read(&self.path("conflicts"));
        lines.strip_suffix('\n').unwrap_or(&lines).replace('\n', " ")
    }
}

/// The text of an error.
///
/// # Panics
/// If there was none.
pub fn refused<X>(result: Result<X>) -> String {
    match result {
        Ok(_) => panic!("an error was due"),
        Err(error) => error.to_string(),
    }
}
