//! `transactions/`: a directory for each that is open on this connection.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Create, Error, Name, Result, User};

use super::branch::Slot;
use super::branch_table::BranchTable;
use super::quota::Taken;
use super::transaction::TransactionDir;
use crate::transaction::Transaction;
use datakit_server::tree::{BoxFuture, Directory, Entry, ready};

/// The transactions on one branch.
pub(super) struct Transactions {
    slot: Arc<Slot>,
    table: Arc<Table>,
}

/// Those that are open. The connection keeps it while there are any.
pub(super) struct Table {
    pub(super) open: Mutex<Open>,
    keeper: Weak<BranchTable>,
    /// That of the branch.
    number: u64,
}

/// By their names.
type Open = BTreeMap<Box<[u8]>, Kept>;

/// An open transaction, with its place among those that a connection may have.
pub(super) struct Kept {
    pub(super) entry: Entry,
    pub(super) transaction: Arc<Transaction>,
    pub(super) _taken: Taken,
}

impl Table {
    /// The one table of a branch.
    pub(super) fn of(slot: &Slot) -> Arc<Table> {
        let (keeper, number) = (slot.table(), slot.number);
        let kept = keeper.upgrade().and_then(|keeper| keeper.transactions(number));
        kept.unwrap_or_else(|| {
            Arc::new(Table { open: Mutex::default(), keeper: keeper.clone(), number })
        })
    }

    /// Lets go of those that have ended.
    pub(super) fn sweep(self: &Arc<Table>) {
        self.with(|_| ());
    }

    /// Those that have not ended.
    fn with<R>(self: &Arc<Table>, with: impl FnOnce(&mut Open) -> R) -> R {
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
    pub(super) fn new(slot: Arc<Slot>) -> Transactions {
        let table = Table::of(&slot);
        Transactions { slot, table }
    }

    fn begin(&self, name: &[u8], user: User<'_>) -> Result<Entry> {
        self.table.with(|open| {
            if open.contains_key(name) {
                return Err(Error::Exists);
            }
            let taken = self.slot.quota.transactions.take()?;
            let identity = self.slot.database.authors().of(user);
            let head = self.slot.head()?;
            let transaction =
                Transaction::begin_in(&self.slot.database, head, &self.slot.quota.memory)?;
            let transaction = Arc::new(transaction);
            let dir =
                TransactionDir::new(&self.slot, &self.table, transaction.clone(), head, identity);
            let entry = Entry::dir(name, dir);
            open.insert(name.into(), Kept { entry: entry.clone(), transaction, _taken: taken });
            Ok(entry)
        })
    }
}

impl Directory for Transactions {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self.table.with(|open| open.values().map(|kept| kept.entry.clone()).collect())))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(
            self.table
                .with(|open| open.get(name.as_bytes()).map(|kept| kept.entry.clone()))
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
