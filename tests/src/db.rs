//! A database with a server, and a blocking client for the database's branches and transactions.
//!
//! Any call that takes longer than [`TIMEOUT`] fails the test. The default dialect is 9P2000.u, in
//! which error replies contain text.

mod repository;

use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datakit_client::{Client, File, Metadata, OpenMode, Options, Result, Watch};
use datakit_core::wire::Dialect;
use datakit_db::store::{GitStore, MemoryStore, Store};
use datakit_db::{Database, TRANSACTION_MEMORY, file_tree};
use datakit_server::Limits;
use datakit_server::tree::log::{Level, LogSources};
use datakit_server::tree::{Dir, Entry, ReadOnly};
use tokio::runtime::Runtime;
use tokio::time::timeout;

pub use self::repository::Repository;
use crate::wire_client::WireClient;
use crate::{Served, TIMEOUT, serve};

/// How long a test waits before it concludes that a stream delivers nothing.
const QUIET: Duration = Duration::from_millis(30);

/// The hash of the empty tree.
pub const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
/// A hash that does not match any object.
pub const UNKNOWN: &str = "0123456789012345678901234567890123456789";

/// Runs each case on an in-memory database and on a database in a Git repository. A case is a
/// function that takes a [`TestDb`].
#[macro_export]
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $case() { super::$case(&datakit_tests::db::TestDb::memory()); })*
        }
        mod git {
            $(#[test] fn $case() { super::$case(&datakit_tests::db::TestDb::git()); })*
        }
    };
}

/// A database, its repository, and the server that exports it.
pub struct TestDb {
    served: Served,
    /// The database. Tests can use this field to read the database's counters.
    pub database: Database,
    /// The repository on disk, or `None` for an in-memory database. The repository must be dropped
    /// last, so this field is declared last.
    repository: Option<Repository>,
}

impl TestDb {
    /// Serves an empty in-memory database.
    #[must_use]
    pub fn memory() -> TestDb {
        TestDb::serve(Arc::new(MemoryStore::new()), None, TRANSACTION_MEMORY)
    }

    /// Serves another empty database in the same kind of store: in memory or in a Git repository.
    #[must_use]
    pub fn new_like(&self) -> TestDb {
        if self.repository.is_some() { TestDb::git() } else { TestDb::memory() }
    }

    /// Returns the URL of the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tcp://{}", self.served.addr)
    }

    /// Restarts the server on the same store with a limit of `memory` bytes for uncommitted
    /// changes.
    #[must_use]
    pub fn limited(self, memory: u64) -> TestDb {
        let TestDb { served, database, repository } = self;
        let store = database.store().clone();
        drop((served, database));
        TestDb::serve(store, repository, memory)
    }

    /// Serves an empty database in a new Git repository.
    #[must_use]
    pub fn git() -> TestDb {
        TestDb::on(Repository::none())
    }

    /// Serves the database in `repository`.
    #[must_use]
    pub fn on(repository: Repository) -> TestDb {
        TestDb::serve(stored(repository.path()), Some(repository), TRANSACTION_MEMORY)
    }

    fn serve(store: Arc<dyn Store>, repository: Option<Repository>, memory: u64) -> TestDb {
        let database = Database::with_memory(store, memory).unwrap();
        let sources = LogSources::new();
        let _ = sources.register("db", "the database", Level::Warning);
        let (tree, debug) = (database.clone(), sources.entry());
        let served = serve(Limits::default(), move |_| {
            let debug: Dir = [debug.clone()].into_iter().collect();
            file_tree(&tree, Entry::dir("debug", ReadOnly(debug)))
        });
        TestDb { served, database, repository }
    }

    /// Returns the repository.
    ///
    /// # Panics
    /// Panics if the database is in memory.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        self.repository.as_ref().unwrap()
    }

    /// Stops the server and returns its repository.
    #[must_use]
    pub fn stop(self) -> Repository {
        let TestDb { served, database, repository } = self;
        drop((served, database));
        repository.unwrap()
    }

    /// Opens a connection.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::to(&self.url())
    }

    /// Opens a connection that uses `dialect`.
    #[must_use]
    pub fn connect_in(&self, dialect: Dialect) -> Connection {
        Connection::speaking(&format!("tcp://{}", self.served.addr), dialect)
    }

    /// Opens a connection as the given user. If `n_uname` is `u32::MAX`, the user is identified by
    /// name only.
    #[must_use]
    pub fn connect_as(&self, dialect: Dialect, uname: &str, n_uname: u32) -> Connection {
        let options = Options::default().dialect(dialect).uname(uname).n_uname(n_uname);
        Connection::with(&format!("tcp://{}", self.served.addr), options)
    }

    /// Opens a connection for sending individual messages.
    #[must_use]
    pub fn raw(&self, dialect: Dialect) -> WireClient {
        WireClient::attached(self.served.addr, dialect, 8215)
    }
}

/// Opens the store of a repository on disk.
fn stored(path: &Path) -> Arc<dyn Store> {
    Arc::new(GitStore::open(path).unwrap())
}

/// A connection to a database. Paths are relative to the root.
pub struct Connection {
    client: Client,
    runtime: Runtime,
    transactions: Cell<u32>,
}

impl Connection {
    /// Connects to a server.
    #[must_use]
    pub fn to(url: &str) -> Connection {
        Connection::speaking(url, Dialect::Unix)
    }

    /// Connects to a server and uses `dialect`.
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
        self.runtime.block_on(async { timeout(TIMEOUT, future).await }).expect("a reply in time")
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn try_read(&self, path: &str) -> Result<String> {
        self.wait(self.client.read(path)).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// Reads a whole file.
    pub fn read(&self, path: &str) -> String {
        self.try_read(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Opens a file once, reads the given ranges, and returns the concatenated data. Each range
    /// consists of an offset and a length in bytes.
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

    /// Opens a file for writing and writes `text` at the beginning of the file in a single message.
    ///
    /// # Errors
    /// Returns any error that the server reports when the file is opened, written or closed.
    pub fn put(&self, path: &str, text: &str) -> Result<()> {
        self.wait(async {
            let file = self.client.open(path, OpenMode::WRITE).await?;
            file.write_at(0, text.as_bytes()).await?;
            file.close().await
        })
    }

    /// Creates a file and writes `text` into it.
    ///
    /// # Errors
    /// Returns any error that the server reports when the file is created, written or closed.
    pub fn create(&self, path: &str, mode: u32, text: &str) -> Result<()> {
        self.wait(async {
            let file = self.client.create(path, mode, OpenMode::WRITE).await?;
            file.write_all_at(0, text.as_bytes()).await?;
            file.close().await
        })
    }

    /// Returns the sorted names in a directory.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn try_names(&self, path: &str) -> Result<Vec<String>> {
        let entries = self.wait(self.client.read_dir(path))?;
        let mut names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
        names.sort();
        Ok(names)
    }

    /// Returns the names in a directory, sorted and joined with spaces.
    pub fn names(&self, path: &str) -> String {
        self.try_names(path).unwrap_or_else(|error| panic!("{path}: {error}")).join(" ")
    }

    /// Returns the attributes of a file.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn stat(&self, path: &str) -> Result<Metadata> {
        self.wait(self.client.stat(path))
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn mkdir(&self, path: &str) -> Result<()> {
        self.wait(self.client.mkdir(path, 0o755))
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn symlink(&self, path: &str, target: &str) -> Result<()> {
        self.wait(self.client.symlink(path, target))
    }

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.wait(self.client.remove(path))
    }

    /// Renames the file at `path` to `name` within the same directory.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn rename(&self, path: &str, name: &str) -> Result<()> {
        self.wait(async { self.client.walk(path).await?.set_name(name).await })
    }

    /// Sets the permission bits of a file.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        self.wait(async { self.client.walk(path).await?.set_mode(mode).await })
    }

    /// Sets the length of a file.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn truncate(&self, path: &str, length: u64) -> Result<()> {
        self.wait(async { self.client.walk(path).await?.set_len(length).await })
    }

    /// Opens a file for reading and writing.
    pub fn open(&self, path: &str) -> DbFile<'_> {
        let file = self
            .wait(self.client.open(path, OpenMode::READ_WRITE))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        DbFile { connection: self, file }
    }

    /// Opens a stream.
    pub fn follow(&self, path: &str) -> Stream<'_> {
        let watch =
            self.wait(self.client.watch(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Stream { connection: self, watch }
    }

    /// Returns a branch, creating it if it does not exist.
    pub fn branch(&self, name: &str) -> Branch<'_> {
        self.mkdir(&format!("branch/{name}")).unwrap();
        Branch { connection: self, path: format!("branch/{name}") }
    }

    /// Returns the `master` branch, creating it if it does not exist.
    pub fn master(&self) -> Branch<'_> {
        self.branch("master")
    }
}

/// An open file.
pub struct DbFile<'c> {
    connection: &'c Connection,
    file: File,
}

impl DbFile<'_> {
    /// Reads the file's current content.
    pub fn read(&self) -> String {
        String::from_utf8(self.connection.wait(self.file.read_all()).unwrap()).unwrap()
    }

    /// Writes `text` at `offset` in a single message.
    pub fn write(&self, offset: u64, text: &str) {
        let written = self.connection.wait(self.file.write_at(offset, text.as_bytes())).unwrap();
        assert_eq!(written, text.len());
    }
}

/// An open stream.
pub struct Stream<'c> {
    connection: &'c Connection,
    watch: Watch,
}

impl Stream<'_> {
    /// Returns the next delivery without its newline.
    ///
    /// # Panics
    /// Panics if nothing is delivered within [`TIMEOUT`].
    pub fn line(&mut self) -> String {
        let text = self.connection.wait(self.watch.next()).unwrap().expect("the stream is open");
        let line = str::from_utf8(&text).unwrap().strip_suffix('\n').expect("a whole line");
        assert!(!line.contains('\n'), "one line at a time: {line:?}");
        line.to_owned()
    }

    /// Asserts that the stream delivers nothing for a short time.
    pub fn quiet(&mut self) {
        let next =
            self.connection.runtime.block_on(async { timeout(QUIET, self.watch.next()).await });
        assert!(next.is_err(), "unexpected delivery: {next:?}");
    }

    /// Closes the stream and waits for the server's reply.
    pub fn close(self) {
        self.connection.wait(self.watch.close()).unwrap();
    }
}

/// A branch accessed through a connection.
pub struct Branch<'c> {
    connection: &'c Connection,
    path: String,
}

impl<'c> Branch<'c> {
    /// Returns the path of a file in the branch's directory.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.path)
    }

    /// Reads a file in the branch's directory.
    pub fn read(&self, file: &str) -> String {
        self.connection.read(&self.path(file))
    }

    /// Returns the hash of the branch's head, or an empty string if the branch has no commits.
    pub fn head(&self) -> String {
        let head = self.read("head");
        head.strip_suffix('\n').expect("a whole line").to_owned()
    }

    /// Opens a stream in the branch's directory.
    pub fn follow(&self, file: &str) -> Stream<'c> {
        self.connection.follow(&self.path(file))
    }

    /// Watches a path in the branch.
    pub fn watch(&self, path: &str) -> Stream<'c> {
        let nodes: String = path
            .split('/')
            .filter(|name| !name.is_empty())
            .map(|name| format!("{name}.node/"))
            .collect();
        self.follow(&format!("watch/{nodes}tree.live"))
    }

    /// Fast-forwards the branch to a commit.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn fast_forward(&self, commit: &str) -> Result<()> {
        self.connection.put(&self.path("fast-forward"), commit)
    }

    /// Starts a transaction with an unused name.
    pub fn transaction(&self) -> Transaction<'c> {
        let number = self.connection.transactions.get() + 1;
        self.connection.transactions.set(number);
        self.begin(&number.to_string()).unwrap()
    }

    /// Starts a transaction with the given name.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn begin(&self, name: &str) -> Result<Transaction<'c>> {
        let path = self.path(&format!("transactions/{name}"));
        self.connection.mkdir(&path)?;
        Ok(Transaction { connection: self.connection, path })
    }

    /// Commits files in a new transaction and returns the new head.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        self.change(|transaction| {
            files.iter().for_each(|(path, text)| transaction.write(path, text))
        })
    }

    /// Runs `change` on a new transaction, commits the transaction and returns the new head.
    pub fn change(&self, change: impl FnOnce(&Transaction<'_>)) -> String {
        let transaction = self.transaction();
        change(&transaction);
        transaction.commit("a change").unwrap();
        self.head()
    }
}

/// A transaction. Paths are relative to the transaction's `rw` directory.
pub struct Transaction<'c> {
    connection: &'c Connection,
    path: String,
}

impl Transaction<'_> {
    /// Returns the path of a file in the transaction's directory, such as `msg`.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.path)
    }

    /// Returns the path of a file in the transaction's `rw` directory.
    #[must_use]
    pub fn rw(&self, path: &str) -> String {
        self.path(&format!("rw/{path}"))
    }

    /// Returns whether the transaction is still open.
    pub fn is_open(&self) -> bool {
        self.connection.stat(&self.path).is_ok()
    }

    /// Creates or replaces a file, creating any missing parent directories.
    pub fn write(&self, path: &str, text: &str) {
        self.write_as(path, 0o644, text);
    }

    /// Like [`write`](Transaction::write), but also sets the permission bits.
    pub fn write_as(&self, path: &str, mode: u32, text: &str) {
        if let Some((dir, _)) = path.rsplit_once('/') {
            self.make_dirs(dir);
        }
        self.connection
            .create(&self.rw(path), mode, text)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Creates a directory and any missing parents.
    pub fn make_dirs(&self, path: &str) {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            match self.connection.mkdir(&self.rw(&path[..end])) {
                Err(error) if error.to_string() != "Already exists" => panic!("{path}: {error}"),
                _ => {}
            }
        }
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        self.connection.read(&self.rw(path))
    }

    /// Returns the names in a directory, sorted and joined with spaces.
    pub fn names(&self, path: &str) -> String {
        self.connection.names(&self.rw(path))
    }

    /// Removes a file or an empty directory.
    pub fn remove(&self, path: &str) {
        self.connection.remove(&self.rw(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Writes a word to the transaction's `ctl` file.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn ctl(&self, word: &str) -> Result<()> {
        self.connection.put(&self.path("ctl"), word)
    }

    /// Commits the transaction. If `message` is not empty, it is written to `msg` first.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn commit(&self, message: &str) -> Result<()> {
        if !message.is_empty() {
            self.connection.put(&self.path("msg"), message)?;
        }
        self.ctl("commit")
    }

    /// Truncates the `parents` file and writes the given hashes to it, one per line.
    pub fn set_parents(&self, parents: &[&str]) {
        let path = self.path("parents");
        self.connection.truncate(&path, 0).unwrap();
        self.connection
            .put(&path, &parents.iter().map(|parent| format!("{parent}\n")).collect::<String>())
            .unwrap();
    }

    /// Merges a commit into the transaction and returns the conflicting paths, joined with spaces.
    ///
    /// # Errors
    /// Returns any error returned by the server.
    pub fn merge(&self, commit: &str) -> Result<String> {
        self.connection.put(&self.path("merge"), commit)?;
        Ok(self.conflicts())
    }

    /// Returns the conflicting paths, joined with spaces.
    pub fn conflicts(&self) -> String {
        let lines = self.connection.read(&self.path("conflicts"));
        lines.strip_suffix('\n').unwrap_or(&lines).replace('\n', " ")
    }
}

/// Returns the text of the error.
///
/// # Panics
/// Panics if the result is `Ok`.
pub fn refused<X>(result: Result<X>) -> String {
    match result {
        Ok(_) => panic!("the call must fail"),
        Err(error) => error.to_string(),
    }
}
