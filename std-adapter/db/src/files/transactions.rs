//! `transactions/`: a directory for each that is open on this connection.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Create, Error, Name, Result, User};

use super::branch::BranchHandle;
use super::branch_table::BranchTable;
use super::quota::Permit;
use super::transaction::TransactionDir;
use crate::transaction::Transaction;
use datakit_server::tree::{BoxFuture, Directory, Entry, ready};

/// The transactions on one branch.
pub(super) struct Transactions {
    handle: Arc<BranchHandle>,
    table: Arc<OpenTransactions>,
}

/// Those that are open. The connection keeps it while there are any.
pub(super) struct OpenTransactions {
    pub(super) open: Mutex<TransactionMap>,
    keeper: Weak<BranchTable>,
    /// That of the branch.
    number: u64,
}

/// By their names.
type TransactionMap = BTreeMap<Box<[u8]>, OpenTransaction>;

/// An open transaction, with its place among those that a connection may have.
pub(super) struct OpenTransaction {
    pub(super) entry: Entry,
    pub(super) transaction: Arc<Transaction>,
    pub(super) _permit: Permit,
}

impl OpenTransactions {
    /// The one table of a branch.
    pub(super) fn of(handle: &BranchHandle) -> Arc<OpenTransactions> {
        let (keeper, number) = (handle.table(), handle.number);
        let kept = keeper.upgrade().and_then(|keeper| keeper.transactions(number));
        kept.unwrap_or_else(|| {
            Arc::new(OpenTransactions { open: Mutex::default(), keeper: keeper.clone(), number })
        })
    }

    /// Lets go of those that have ended.
    pub(super) fn sweep(self: &Arc<OpenTransactions>) {
        self.with_open(|_| ());
    }

    /// Those that have not ended.
    fn with_open<R>(
        self: &Arc<OpenTransactions>,
        with: impl FnOnce(&mut TransactionMap) -> R,
    ) -> R {
        let mut open = self.open.lock();
        let before = open.is_empty();
        open.retain(|_, kept| kept.transaction.is_open());
        let result = with(&mut open);
        if open.is_empty() != before
            && let Some(keeper) = self.keeper.upgrade()
        {
            if before { keeper.keep(self.number, self) } else { keeper.let_go(self.number) }
        }
        result
    }
}

impl Transactions {
    pub(super) fn new(handle: Arc<BranchHandle>) -> Transactions {
        let table = OpenTransactions::of(&handle);
        Transactions { handle, table }
    }

    fn begin(&self, name: &[u8], user: User<'_>) -> Result<Entry> {
        self.table.with_open(|open| {
            if open.contains_key(name) {
                return Err(Error::Exists);
            }
            let permit = self.handle.quota.transactions.acquire()?;
            let identity = self.handle.database.authors().of(user);
            let head = self.handle.head()?;
            let transaction =
                Transaction::begin_in(&self.handle.database, head, &self.handle.quota.memory)?;
            let transaction = Arc::new(transaction);
            let dir =
                TransactionDir::new(&self.handle, &self.table, transaction.clone(), head, identity);
            let entry = Entry::dir(name, dir);
            open.insert(
                name.into(),
                OpenTransaction { entry: entry.clone(), transaction, _permit: permit },
            );
            Ok(entry)
        })
    }
}

impl Directory for Transactions {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self
            .table
            .with_open(|open| open.values().map(|kept| kept.entry.clone()).collect())))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(
            self.table
                .with_open(|open| open.get(name.as_bytes()).map(|kept| kept.entry.clone()))
                .ok_or(Error::NotFound),
        )
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        self.create_by(name, create, User::default())
    }

    fn create_by<'a>(
        &'a self,
        name: Name<'a>,
        _: Create<'a>,
        user: User<'a>,
    ) -> BoxFuture<'a, Entry> {
        ready(self.begin(name.as_bytes(), user))
    }
}
